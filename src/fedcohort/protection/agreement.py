"""Locked help, which opens only together with enough help for the same survivors.

A coordinator that tells each helper another set of survivors would collect, of one site,
shares of both kinds. So a helper locks what it gives with a fresh key, shares that key
among its neighbours (Shamir 1979), and hides each share by a pad that only this neighbour
can compute, for one set of survivors. A neighbour that helps to open the same set reveals
the pad; one that was given another set reveals another pad. All of it takes one message a
helper, and so no third exchange, such as the consistency check of Bonawitz et al. 2017.

With more than (n + c) / 2 sites to agree there is at most one set of survivors for which
any help can be unlocked, c colluding sites notwithstanding (docs/decisions/0005).
"""

import hashlib
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fedcohort.errors import WireError
from fedcohort.protection.context import PairSecret, RoundContext, SiteId
from fedcohort.protection.neighbours import Graph
from fedcohort.protection.shamir import SECRET_BYTES, SHARE_BYTES, recover, share

TAG_BYTES = 16
_NONCE = bytes(12)
"""Every key locks one help only."""


def overhead(graph: Graph, site: SiteId) -> int:
    """How many bytes longer locked help is."""
    n_holders = len(graph.holders(site))
    return SHARE_BYTES * (2 * n_holders - 1) + TAG_BYTES


def lock(
    context: RoundContext, site: SiteId, pair_secret: PairSecret, survivors: tuple[SiteId, ...], body: bytes
) -> bytes:
    """Lock a site's help for one set of survivors, and confirm that set to its neighbours' help.

    Returns:
        a hidden share of the key for each holder, this site's pad for each neighbour, the locked help.
    """
    graph = Graph(context)
    holders, neighbours = graph.holders(site), graph.neighbours(site)
    key = os.urandom(SECRET_BYTES)
    pads = {other: _pads(context, pair_secret(other), survivors, site, other) for other in neighbours}
    hidden = []
    for holder, plain in zip(holders, share([key], graph.threshold, len(holders)), strict=True):
        hidden.append(plain if holder == site else _xor(plain, pads[holder][0]))
    confirmations = [pads[other][1] for other in neighbours]
    return b"".join((*hidden, *confirmations, AESGCM(key).encrypt(_NONCE, body, None)))


def _pads(
    context: RoundContext, secret: bytes, survivors: tuple[SiteId, ...], site: SiteId, other: SiteId
) -> tuple[bytes, bytes]:
    """What hides this site's share for the other, and what hides the other's for this site."""
    low, high = sorted((site, other))
    digest = hashlib.sha256("\n".join(sorted(survivors)).encode()).digest()
    info = b"|".join((b"fedcohort-agreement-1", context.binding, digest, low.encode(), high.encode()))
    derived = HKDF(hashes.SHA256(), 2 * SHARE_BYTES, context.study_hash.encode(), info).derive(secret)
    of_low, of_high = derived[:SHARE_BYTES], derived[SHARE_BYTES:]
    return (of_low, of_high) if site == low else (of_high, of_low)


def _xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def unlock(context: RoundContext, locked: Mapping[SiteId, bytes]) -> dict[SiteId, bytes]:
    """Open all help that enough of its helper's neighbours have confirmed.

    Args:
        locked: by helper, as `lock` made it and of a length that was checked.
    Returns:
        by helper, its help; helpers with too few, or false, confirmations are left out.
    """
    graph = Graph(context)
    opened = {helper: _unlock(graph, helper, locked) for helper in locked}
    return {helper: body for helper, body in opened.items() if body is not None}


def _unlock(graph: Graph, helper: SiteId, locked: Mapping[SiteId, bytes]) -> bytes | None:
    holders, data = graph.holders(helper), locked[helper]
    shares = {}
    for place, holder in enumerate(holders):
        if holder in locked:
            hidden = data[SHARE_BYTES * place : SHARE_BYTES * (place + 1)]
            pad = bytes(SHARE_BYTES) if holder == helper else _confirmation(graph, holder, helper, locked)
            shares[place] = _xor(hidden, pad)
    places, body = sorted(shares), data[overhead(graph, helper) - TAG_BYTES :]
    for first in range(len(places) if len(places) >= graph.threshold else 0):
        # A false confirmation spoils the key; another row of confirmations may be true.
        chosen = [places[(first + step) % len(places)] for step in range(graph.threshold)]
        try:
            key = recover({place: shares[place] for place in chosen})
            return AESGCM(key).decrypt(_NONCE, body, None)
        except (WireError, InvalidTag):
            continue
    return None


def _confirmation(graph: Graph, holder: SiteId, helper: SiteId, locked: Mapping[SiteId, bytes]) -> bytes:
    """The part of a neighbour's message that unlocks this helper's share."""
    place = len(graph.holders(holder)) + graph.neighbours(holder).index(helper)
    return locked[holder][SHARE_BYTES * place : SHARE_BYTES * (place + 1)]

"""Protection `masks`: secure aggregation with double masks (Bonawitz et al. 2017, eprint 2017/281).

A site adds to its integers a mask for each neighbour, which the neighbour subtracts,
and a mask of its own. The coordinator sees uniform integers. In a second exchange
those who contributed help to recover the self-masks of all survivors and the pair
masks that a lost site left behind; what remains is the sum and nothing else.

Unlike the paper's, a site's Diffie-Hellman secret is never shared. The seed of a pair
is derived from it for one attempt at one round; shares of these seeds and of a fresh
self-mask seed travel sealed with the masked vector, so that a round takes two exchanges.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from fedcohort.errors import RoundError, TooFewSitesError, WireError
from fedcohort.protection import agreement
from fedcohort.protection.context import PairSecret, RoundContext, Sealed, SiteId
from fedcohort.protection.contract import CipherKey, OpeningExchange, Participant, Protection
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, zero_ring
from fedcohort.protection.neighbours import Graph
from fedcohort.protection.shamir import SECRET_BYTES, SHARE_BYTES, recover, share, weights

BLOCK_BYTES = 2**17
"""Masks are expanded in blocks that stay in the processor's cache."""
COMMITMENT_BYTES, NONCE_BYTES, TAG_BYTES, KEY_BYTES = 16, 12, 16, 32
_ZEROS = bytes(BLOCK_BYTES)


def mask(context: RoundContext, site: SiteId, pair_secret: PairSecret, ring: Ring) -> Sealed:
    """Mask a site's integers, and share the seeds that unmask their sum.

    Returns:
        body: commitments to the site's round secrets (its own seed, then its pairs' seeds), then the
        masked integers; extras: by holder, its sealed shares of these secrets.
    """
    graph = Graph(context)
    neighbours = graph.neighbours(site)
    own = os.urandom(SECRET_BYTES)
    pairs = [pair_seed(context, pair_secret(other), site, other) for other in neighbours]
    added = ((seed, site < other) for other, seed in zip(neighbours, pairs, strict=True))
    masked = add_masks(ring, [(own, True), *added])
    holders = graph.holders(site)
    parcels = share([own, *pairs], graph.threshold, len(holders))
    extras = {
        holder: _seal_parcel(context, pair_secret(holder), site, holder, parcel)
        for holder, parcel in zip(holders, parcels, strict=True)
    }
    commitments = b"".join(_commitment(context, site, secret) for secret in (own, *pairs))
    return Sealed(masked.to_bytes(commitments), extras)


def pair_seed(context: RoundContext, secret: bytes, site: SiteId, other: SiteId) -> bytes:
    """The seed of two sites' mask in one attempt at one round: HKDF (RFC 5869) of their DH secret."""
    low, high = sorted((site, other))
    return _derive(context, secret, SECRET_BYTES, b"mask", low, high)


def _derive(context: RoundContext, secret: bytes, size: int, purpose: bytes, *sites: SiteId) -> bytes:
    info = b"|".join((b"fedcohort-masks-1", purpose, context.binding, *map(str.encode, sites)))
    return HKDF(hashes.SHA256(), size, context.study_hash.encode(), info).derive(secret)


def _seal_parcel(
    context: RoundContext, secret: bytes, sender: SiteId, holder: SiteId, parcel: bytes
) -> bytes:
    key = _derive(context, secret, KEY_BYTES, b"parcel", sender, holder)
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, parcel, None)


def _open_parcel(
    context: RoundContext, secret: bytes, sender: SiteId, holder: SiteId, sealed: bytes
) -> bytes:
    key = _derive(context, secret, KEY_BYTES, b"parcel", sender, holder)
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        raise WireError(
            f"the shares from {sender} are not for this round and state, or its key has changed"
        ) from None


def _commitment(context: RoundContext, site: SiteId, secret: bytes) -> bytes:
    """A hash that verifies a recovered secret, and reveals nothing of its 16 random bytes."""
    return hashlib.sha256(b"fedcohort-commitment-1" + context.binding + site.encode() + secret).digest()[
        :COMMITMENT_BYTES
    ]


def _stream(seed: bytes) -> CipherContext:
    """AES-128 in counter mode from nonce 0; each seed is the key of one stream.

    It is asked for as GCM, whose tag is never made, because OpenSSL computes that twice as fast as CTR.
    """
    return Cipher(algorithms.AES(seed), modes.GCM(bytes(NONCE_BYTES))).encryptor()


def add_masks(ring: Ring, seeds: Iterable[tuple[bytes, bool]]) -> Ring:
    """Expand seeds, and return a ring vector with each mask added to, or subtracted from, it.

    Args:
        seeds: at least one, of 16 bytes, each with True where its mask is added.
    """
    streams = [(_stream(seed), np.add if added else np.subtract) for seed, added in seeds]
    buffer = bytearray(BLOCK_BYTES + 15)
    masked = Ring(np.empty_like(ring.wide), np.empty_like(ring.narrow))
    for part, target in ((ring.wide, masked.wide), (ring.narrow, masked.narrow)):
        _add_streams(part, target, streams, buffer)
    return masked


def _add_streams(
    part: NDArray[Any],
    masked: NDArray[Any],
    streams: Sequence[tuple[CipherContext, np.ufunc]],
    buffer: bytearray,
) -> None:
    """Block by block, every stream in turn: a block of the vector is brought into the cache once."""
    per_block = BLOCK_BYTES // part.itemsize
    stream_of = np.frombuffer(buffer, part.dtype.newbyteorder("<"), per_block)
    zeros = memoryview(_ZEROS)
    for start in range(0, part.size, per_block):
        before, piece = part[start : start + per_block], masked[start : start + per_block]
        some_zeros, some_stream = zeros[: piece.nbytes], stream_of[: piece.size]
        for stream, combine in streams:
            stream.update_into(some_zeros, buffer)
            combine(before, some_stream, out=piece)
            before = piece


def body_parts(context: RoundContext, site: SiteId, body: bytes) -> tuple[bytes, Ring]:
    """A body's commitments, and its masked integers.

    Raises:
        WireError: the length does not fit the layout.
    """
    size = COMMITMENT_BYTES * len(Graph(context).holders(site))
    return body[:size], ring_from_bytes(memoryview(body)[size:], context.shape.sizes)


def check_extras(context: RoundContext, site: SiteId, extras: Mapping[SiteId, bytes]) -> None:
    """Refuse a contribution whose shares could not open it.

    Raises:
        WireError: a holder has none, or they are of another size.
    """
    holders = Graph(context).holders(site)
    size = NONCE_BYTES + SHARE_BYTES * len(holders) + TAG_BYTES
    if set(extras) != set(holders) or any(len(parcel) != size for parcel in extras.values()):
        raise WireError(f"{site}: shares that are not one for each of its {len(holders)} holders")


def opening_shares(
    context: RoundContext,
    site: SiteId,
    pair_secret: PairSecret,
    survivors: tuple[SiteId, ...],
    extras: Mapping[SiteId, bytes],
) -> bytes:
    """Give the shares that open the sum of these survivors.

    For a survivor that is its share of the self-mask seed; for a lost site its shares of the seeds that
    survivors had with it. It is never both for one site, since a site survives or does not.

    Args:
        extras: by sender, the shares that the survivors among this site's neighbours sealed for it.
    Returns:
        shares of 17 bytes, in the order of `needed`.
    Raises:
        WireError: survivors or shares are not those of this round.
        TooFewSitesError: fewer survivors than may be opened.
    """
    context.check_survivors(survivors, site)
    graph, surviving = Graph(context), frozenset(survivors)
    senders = [sender for sender in graph.holders(site) if sender in surviving]
    if any(len(surviving.intersection(graph.holders(sender))) < graph.threshold for sender in senders):
        raise TooFewSitesError("a survivor too few of whose holders have survived; its secrets stay closed")
    if set(extras) != set(senders):
        raise WireError("an opening with other shares than the survivors sealed for this site")
    opened = []
    for sender in senders:
        parcel = _open_parcel(context, pair_secret(sender), sender, site, extras[sender])
        wanted = needed(graph, sender, surviving)
        if len(parcel) != SHARE_BYTES * len(graph.holders(sender)):
            raise WireError(f"{sender}: shares of another size")
        opened += [parcel[SHARE_BYTES * index : SHARE_BYTES * (index + 1)] for index in wanted]
    return b"".join(opened)


def needed(graph: Graph, sender: SiteId, survivors: frozenset[SiteId]) -> list[int]:
    """Which of a survivor's secrets must be opened: its own seed (0), and its pairs with lost sites."""
    lost = (index for index, other in enumerate(graph.neighbours(sender), start=1) if other not in survivors)
    return [0, *lost]


@dataclass(frozen=True)
class UnmaskingShares:
    """The coordinator's input to unmask a sum.

    Attributes:
        commitments: by survivor, as its body began.
        helps: by helper, what `opening_shares` gave, unlocked.
    """

    context: RoundContext
    survivors: frozenset[SiteId]
    commitments: Mapping[SiteId, bytes]
    helps: Mapping[SiteId, bytes]


def check_help(context: RoundContext, survivors: frozenset[SiteId], site: SiteId, body: bytes) -> None:
    """Refuse locked help (`agreement`) of another length than this site's shares have.

    Raises:
        WireError: it has.
    """
    graph = Graph(context)
    n_shares = sum(
        len(needed(graph, sender, survivors)) for sender in graph.holders(site) if sender in survivors
    )
    size = SHARE_BYTES * n_shares + agreement.overhead(graph, site)
    if len(body) != size:
        raise WireError(f"{site}: help of {len(body)} bytes where {size} are needed")


def open_sum(opening: UnmaskingShares, total: Ring) -> Ring:
    """Remove all masks from a sum of survivors' masked integers.

    Raises:
        RoundError: a helper's shares are false, and too few true ones are left.
    """
    graph, survivors = Graph(opening.context), opening.survivors
    shares = _sort_shares(graph, opening)
    removed: list[tuple[bytes, bool]] = []
    for site in survivors:
        neighbours = graph.neighbours(site)
        seeds = _recover(graph, opening, site, shares[site])
        for index, seed in zip(needed(graph, site, survivors), seeds, strict=True):
            was_added = index == 0 or site < neighbours[index - 1]
            removed.append((seed, not was_added))
    return add_masks(total, removed)


def _sort_shares(graph: Graph, opening: UnmaskingShares) -> dict[SiteId, dict[int, bytes]]:
    """By survivor and place of the holder: that holder's shares of the secrets that are needed."""
    sorted_: dict[SiteId, dict[int, bytes]] = {site: {} for site in opening.survivors}
    for helper, body in opening.helps.items():
        start = 0
        for sender in graph.holders(helper):
            if sender in sorted_:
                size = SHARE_BYTES * len(needed(graph, sender, opening.survivors))
                place = graph.holders(sender).index(helper)
                sorted_[sender][place] = body[start : start + size]
                start += size
    return sorted_


def _recover(graph: Graph, opening: UnmaskingShares, site: SiteId, shares: dict[int, bytes]) -> list[bytes]:
    """The needed secrets of a survivor, from the first holders in a row whose shares are true."""
    places, threshold = sorted(shares), graph.threshold
    for first in range(len(places) if len(places) >= threshold else 0):
        chosen = [places[(first + step) % len(places)] for step in range(threshold)]
        seeds = _try(graph, opening, site, {place: shares[place] for place in chosen})
        if seeds is not None:
            return seeds
    raise RoundError("the shares of {site}'s masks are too few or false", site=site)


def _try(
    graph: Graph, opening: UnmaskingShares, site: SiteId, chosen: dict[int, bytes]
) -> list[bytes] | None:
    lagrange, seeds = weights(list(chosen)), []
    for position, index in enumerate(needed(graph, site, opening.survivors)):
        pieces = {place: data[SHARE_BYTES * position :][:SHARE_BYTES] for place, data in chosen.items()}
        try:
            seed = recover(pieces, lagrange)
        except WireError:
            return None
        commitment = opening.commitments[site][COMMITMENT_BYTES * index :][:COMMITMENT_BYTES]
        if _commitment(opening.context, site, seed) != commitment:
            return None
        seeds.append(seed)
    return seeds


def seal(context: RoundContext, site: Participant, integers: bytes) -> Sealed:
    """Mask a site's integers for one attempt at one round."""
    ring = ring_from_bytes(integers, context.shape.sizes)
    return mask(context, site.name, site.pair_secrets(), ring)


@dataclass
class MaskedSum:
    """The sum of masked integers, in place: two vectors in memory for any number of sites."""

    context: RoundContext
    ring: Ring

    def add(self, site: SiteId, body: bytes, extras: Mapping[SiteId, bytes]) -> bytes:
        """Add one site's masked integers.

        Returns:
            its commitments, which distinguish true shares from false ones.
        """
        check_extras(self.context, site, extras)
        commitments, part = body_parts(self.context, site, body)
        add_ring(self.ring, part)
        return commitments

    def total(self) -> bytes:
        """The sum of the integers, still masked."""
        return self.ring.to_bytes()


def new_sum(context: RoundContext, key: CipherKey) -> MaskedSum:
    """An empty sum."""
    return MaskedSum(context, zero_ring(context.shape.sizes))


def help_open(
    context: RoundContext,
    site: Participant,
    survivors: tuple[SiteId, ...],
    total: bytes,
    extras: Mapping[SiteId, bytes],
) -> bytes:
    """Give the shares that open the survivors' sum, locked until enough others help to open the same one.

    Raises:
        WireError: survivors or shares are not those of this round.
        TooFewSitesError: fewer survivors than may be opened.
    """
    pair_secret = site.pair_secrets()
    body = opening_shares(context, site.name, pair_secret, survivors, extras)
    return agreement.lock(context, site.name, pair_secret, survivors, body)


@dataclass
class CollectedShares:
    """Shares of the survivors' seeds.

    Attributes:
        commitments: by survivor, as its body began.
        total: the sum, masked.
        missing: by survivor, how many more shares of its secrets are needed; empty when enough has come.
        around: by site, how many of its holders have helped; enough of them unlock its help.
    """

    context: RoundContext
    commitments: Mapping[SiteId, bytes]
    total: bytes
    bodies: dict[SiteId, bytes] = field(default_factory=dict)
    missing: dict[SiteId, int] = field(default_factory=dict)
    around: dict[SiteId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = Graph(self.context)
        self.survivors = frozenset(self.commitments)
        self.missing = dict.fromkeys(self.survivors, self.graph.threshold)

    def add(self, site: SiteId, body: bytes) -> None:
        """Take a site's shares.

        Raises:
            WireError: they are of another length than its shares have.
        """
        check_help(self.context, self.survivors, site, body)
        new = site not in self.bodies
        self.bodies[site] = body
        if new:
            self._count(site)

    def _count(self, helper: SiteId) -> None:
        """After one more helper: unlock the help that now can be, and update what is missing."""
        threshold = self.graph.threshold
        for site in self.graph.holders(helper):
            self.around[site] = self.around.get(site, 0) + 1
            just_enough = self.around[site] == threshold and site in self.bodies
            if just_enough or (site == helper and self.around[site] > threshold):
                self._unlocked(site)

    def _unlocked(self, helper: SiteId) -> None:
        for site in self.graph.holders(helper):
            if site in self.missing:
                self.missing[site] -= 1
                if self.missing[site] == 0:
                    del self.missing[site]

    @property
    def enough(self) -> bool:
        """Whether the shares open every survivor's secrets, if all of them are true."""
        return bool(self.bodies) and not self.missing

    def open(self) -> Ring:
        """Remove the masks.

        Raises:
            RoundError: a helper's shares are false, and too few true ones are left.
        """
        unlocked = agreement.unlock(self.context, self.bodies)
        shares = UnmaskingShares(self.context, self.survivors, self.commitments, unlocked)
        return open_sum(shares, ring_from_bytes(self.total, self.context.shape.sizes))


def can_open(context: RoundContext, survivors: Collection[SiteId]) -> bool:
    """Whether enough holders of each survivor's shares survive."""
    return Graph(context).can_open(survivors, survivors)


MASKS = Protection(
    seal=seal,
    new_sum=new_sum,
    opening=OpeningExchange(alone=False, help=help_open, helps=CollectedShares),
    can_open=can_open,
)

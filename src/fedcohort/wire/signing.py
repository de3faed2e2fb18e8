"""What keys sign and digests cover: every field with its length, so that no two messages give equal bytes."""

import hashlib
import json
import struct
from collections.abc import Mapping

import numpy as np

from fedcohort.wire.identity import Identity, verify
from fedcohort.wire.messages import (
    Approval,
    Array,
    Card,
    Contribution,
    Countersignature,
    Help,
    LedgerHead,
    OpenRequest,
)


def state_digest(phase: str, number: int, arrays: Mapping[str, Array]) -> bytes:
    """SHA-256 over phase, round and arrays, each field with its length."""
    digest = hashlib.sha256(b"fedcohort-state-1")
    for field in (phase.encode(), number.to_bytes(8, "little")):
        digest.update(struct.pack("<Q", len(field)) + field)
    for name, array in arrays.items():
        head = f"{name}|{little(array).dtype.str}|{array.shape}".encode()
        digest.update(struct.pack("<QQ", len(head), array.nbytes) + head)
        digest.update(little(array).data.cast("B") if array.size else b"")
    return digest.digest()


def little(array: Array) -> Array:
    """The same array, contiguous and little-endian."""
    ready = np.ascontiguousarray(array)
    return ready.astype(ready.dtype.newbyteorder("<"), copy=False)


def submission(canonical: bytes, identity: Identity) -> dict[str, object]:
    """The request that hands a study in: the study, and its signature by this key."""
    return {
        "study": json.loads(canonical),
        "public_key": identity.public_key.hex(),
        "signature": identity.sign(study_signing_bytes(canonical)).hex(),
    }


def study_signing_bytes(study: bytes) -> bytes:
    """What a researcher signs."""
    return b"fedcohort-study-1" + hashlib.sha256(study).digest()


def contribution_signing_bytes(c: Contribution, bodies: bytes | None = None) -> bytes:
    """What a site signs with each contribution.

    Args:
        bodies: the `bodies_digest` of a contribution whose body is not here.
    """
    digest = bodies_digest(c.body, c.extras) if bodies is None else bodies
    return _signing_bytes("contribution", c.study_hash, c.round, c.attempt, c.site, c.state_digest, digest)


def approval_signing_bytes(a: Approval) -> bytes:
    """What a site signs when it says yes or no."""
    # A yes of before there were numbers keeps the bytes that were signed, and that coordinator reads a no.
    rules = (a.rules,) if a.approved and a.rules != 1 else ()
    # So does one of before there were rules of disclosure, or of a site that has the default's.
    more: tuple[str | int, ...] = (*rules, a.disclosure) if a.disclosure else rules
    if a.release_seconds:
        more = (*rules, a.disclosure, a.release_seconds)
    return _signing_bytes(
        "approval", a.study_hash, a.site, int(a.approved), a.code, a.max_rounds, a.expires_at, *more
    )


def release_signing_bytes(
    study_hash: str, number: int, state_digest: bytes, integers: bytes, shape: str, roster: str, state: bytes
) -> bytes:
    """What a site signs when a person there lets an answer go.

    Args:
        integers: SHA-256 of the answer as it is before it is hidden.
        state: what the site keeps for its later rounds.
    """
    return _signing_bytes("release", study_hash, number, state_digest, integers, shape, roster, state)


def help_signing_bytes(h: Help) -> bytes:
    """What a site signs with its part in opening a sum."""
    return _signing_bytes(
        "help", h.study_hash, h.round, h.attempt, h.site, h.request, bodies_digest(h.body, {})
    )


def card_signing_bytes(c: Card) -> bytes:
    """What a site's identity key signs: that the agreement key is its own."""
    return _signing_bytes("card", c.site, c.identity_key, c.agreement_key)


def head_signing_bytes(h: LedgerHead) -> bytes:
    """What a site signs of its event log: how far it has come."""
    return _signing_bytes("head", h.site, h.epoch, h.sequence, h.hash)


def is_signed_head(head: LedgerHead, key: bytes) -> bool:
    """Whether this key has signed the head."""
    return verify(key, head.signature, head_signing_bytes(head))


def countersigning_bytes(c: Countersignature) -> bytes:
    """What a site signs of another site's head: that it holds no newer one, in answer to a nonce."""
    return _signing_bytes(
        "countersignature", c.site, c.nonce, c.head.site, c.head.epoch, c.head.sequence, c.head.hash
    )


def request_digest(r: OpenRequest) -> bytes:
    """SHA-256 of what a site is asked to open; it helps to open one such request a round."""
    # No name holds a line break (fields.py), so that no two lists read alike.
    survivors, roster = "\n".join(r.survivors), "\n".join(r.roster)
    content = bodies_digest(r.total, r.extras)
    fields = _signing_bytes("open-request", r.study_hash, r.round, r.attempt, survivors, roster, content)
    return hashlib.sha256(fields).digest()


def bodies_digest(body: bytes, extras: Mapping[str, bytes]) -> bytes:
    """SHA-256 over a body and its extras, in the order of their sites."""
    return hashed_bodies_digest(hashlib.sha256(body).digest(), extras)


def hashed_bodies_digest(body_sha256: bytes, extras: Mapping[str, bytes]) -> bytes:
    """The same, of a body that is hashed already."""
    digest = hashlib.sha256(body_sha256)
    for site in sorted(extras):
        name = site.encode()
        digest.update(struct.pack("<Q", len(name)) + name + hashlib.sha256(extras[site]).digest())
    return digest.digest()


def _signing_bytes(kind: str, *fields: str | int | bytes) -> bytes:
    parts = [f"fedcohort-{kind}-1".encode()]
    for field in fields:
        data = (
            field.to_bytes(8, "little")
            if isinstance(field, int)
            else field.encode()
            if isinstance(field, str)
            else field
        )
        parts.append(struct.pack("<Q", len(data)) + data)
    return b"".join(parts)

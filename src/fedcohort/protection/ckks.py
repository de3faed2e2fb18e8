"""Protection `ckks`: sums under the scheme of Cheon, Kim, Kim and Song 2017 (eprint 2016/421), by TenSEAL.

CKKS computes on approximate numbers; here its error stays so far below half a unit that
the rounded sum is the exact one. Degree N = 8192 and a ciphertext modulus of 60 bits (and
60 more that only key switching would use; 128 bits of security allow 218) hold numbers up
to 2^30 at a scale of 2^28. What encryption adds to a slot has a standard deviation of
about 3.2 sqrt(4N/3) sqrt(N) = 2^15, of n sites sqrt(n) times that: after division by the
scale, six deviations for 10,000 sites are 2^-4, and for 100 sites 2^-7.

A site's integer is cut into balanced digits whose sums stay below 2^30. Only rounded
sums leave this file: a raw decryption tells the secret key (Li and Micciancio 2021,
eprint 2020/1533).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import KeyFileError, WireError
from fedcohort.protection import ckks_worker
from fedcohort.protection.ckks_process import TENSEAL
from fedcohort.protection.ckks_worker import SLOTS
from fedcohort.protection.fixed_point import Ring, Segment, Shape

LARGEST_BITS = 30
"""Sums of digits stay below this power of two: the modulus over the scale, with a bit of margin."""
CLOSE = 0.25
MAX_KEY_BYTES = 2**20
MAX_CIPHERTEXT_BYTES, MIN_CIPHERTEXT_BYTES = 150_000, 1_000
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class CkksKey:
    """A serialised TenSEAL context: with the secret key at a site, without it at the coordinator."""

    data: bytes = field(repr=False)


def make_key() -> tuple[bytes, bytes]:
    """A new key: (public, secret), the public part without the secret key.

    Raises:
        ConfigError: TenSEAL is not installed.
    """
    public, secret = TENSEAL.ask(ckks_worker.make)
    return public, secret


def load_public(public: bytes) -> CkksKey:
    """The coordinator's part of a key.

    Raises:
        WireError: it is none of ours, or holds a secret.
    """
    if _kind(public) != b"public":
        raise WireError("not the public part of a CKKS key")
    return CkksKey(public)


def load_secret(public: bytes, secret: bytes) -> CkksKey:
    """A site's key.

    Raises:
        WireError: the public part is none of ours.
        KeyFileError: the secret part does not belong to it.
    """
    theirs = load_public(public)
    if _kind(secret) != b"secret":
        raise KeyFileError("not the secret part of a CKKS key")
    ours, probe = CkksKey(secret), np.arange(SLOTS, dtype=np.float64)
    if np.max(np.abs(_decrypt(ours, _encrypt(theirs, probe)) - probe)) > CLOSE:
        raise KeyFileError("the secret part of a CKKS key does not belong to its public part")
    return ours


def _kind(data: bytes) -> bytes:
    """Which part of a key this is; nothing when it is none of ours."""
    if len(data) > MAX_KEY_BYTES:
        return b""
    try:
        return TENSEAL.ask(ckks_worker.check, data)[0]
    except WireError:
        return b""


def seal(key: CkksKey, shape: Shape, ring: Ring) -> bytes:
    """Encrypt a site's integers."""
    digits = np.concatenate([np.zeros(0), *_digits_of(shape, ring)])
    padded = np.zeros(-(-digits.size // SLOTS) * SLOTS)
    padded[: digits.size] = digits
    return _join(_encrypt(key, padded))


def add(key: CkksKey, shape: Shape, total: bytes | None, body: bytes) -> bytes:
    """Add one site's ciphertexts to a total, without any secret.

    Raises:
        WireError: they are not ciphertexts of this layout.
    """
    parts = _split(shape, body)
    if total is None:
        TENSEAL.ask(ckks_worker.check, key.data, *parts)
        return body
    return _join(TENSEAL.ask(ckks_worker.add, key.data, *_split(shape, total), *parts))


def open_sum(key: CkksKey, shape: Shape, total: bytes, n_contributors: int) -> Ring:
    """Decrypt a total, and round it to the exact sum.

    Raises:
        WireError: it is not the sum of so many sites' ciphertexts under this key.
    """
    slots = _decrypt(key, _split(shape, total))
    rounded = np.rint(slots)
    if slots.size and np.max(np.abs(slots - rounded)) >= CLOSE:
        raise WireError("a total that does not decrypt to integers: another key, or not a sum")
    return _ring_of(shape, rounded, n_contributors)


def _digit_bits(shape: Shape, segment: Segment) -> tuple[int, int]:
    """Bits of a digit, and how many digits a segment's integers have.

    One digit in [-half_range, half_range] where the sum of all sites fits, else digits in
    [-2^(bits-1), 2^(bits-1)], of which the highest takes what is left.
    """
    if shape.n_sites * segment.half_range <= 2**LARGEST_BITS:
        return 0, 1
    bits = LARGEST_BITS + 1 - (shape.n_sites - 1).bit_length()
    return bits, 1 + -(-(segment.half_range.bit_length() - bits + 2) // bits)


def _segments(shape: Shape, ring: Ring) -> Iterator[tuple[Segment, Integers]]:
    """Each segment's integers, signed."""
    n_wide = n_narrow = 0
    for segment in shape.segments:
        if segment.bits == 64:
            yield segment, ring.wide[n_wide : n_wide + segment.count].view(np.int64)
            n_wide += segment.count
        else:
            part = ring.narrow[n_narrow : n_narrow + segment.count].view(np.int32)
            yield segment, part.astype(np.int64)
            n_narrow += segment.count


def _digits_of(shape: Shape, ring: Ring) -> Iterator[NDArray[np.float64]]:
    """Segment by segment, the lowest digits of all its integers first."""
    for segment, integers in _segments(shape, ring):
        bits, count = _digit_bits(shape, segment)
        for _ in range(count - 1):
            half = np.int64(1) << np.int64(bits - 1)
            low = ((integers + half) & (2 * half - 1)) - half
            yield low.astype(np.float64)
            integers = (integers - low) >> bits  # noqa: PLW2901
        yield integers.astype(np.float64)


def _ring_of(shape: Shape, rounded: NDArray[np.float64], n_contributors: int) -> Ring:
    """Put the digits' sums together again, in the ring."""
    wide, narrow, start = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint32)], 0
    for segment in shape.segments:
        bits, count = _digit_bits(shape, segment)
        value = np.zeros(segment.count, np.int64)
        for place in range(count):
            part = rounded[start : start + segment.count]
            limit = (
                float(1 << (bits - 1)) if place < count - 1 else float(segment.half_range >> bits * place) + 1
            )
            if part.size and np.max(np.abs(part)) > n_contributors * limit:
                raise WireError(f"a total beyond what {n_contributors} sites can give")
            value += part.astype(np.int64) << np.int64(bits * place)
            start += segment.count
        (wide if segment.bits == 64 else narrow).append(_reduced(segment, value))
    return Ring(np.concatenate(wide), np.concatenate(narrow))


def _reduced(segment: Segment, value: Integers) -> NDArray[Any]:
    return value.view(np.uint64) if segment.bits == 64 else value.astype(np.uint32)


def n_ciphertexts(shape: Shape) -> int:
    """How many ciphertexts a body has."""
    digits = sum(segment.count * _digit_bits(shape, segment)[1] for segment in shape.segments)
    return -(-digits // SLOTS)


def _encrypt(key: CkksKey, slots: NDArray[np.float64]) -> list[bytes]:
    return TENSEAL.ask(ckks_worker.encrypt, key.data, slots.tobytes())


def _decrypt(key: CkksKey, ciphertexts: list[bytes]) -> NDArray[np.float64]:
    return np.frombuffer(b"".join(TENSEAL.ask(ckks_worker.decrypt, key.data, *ciphertexts)), np.float64)


def _join(parts: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _split(shape: Shape, body: bytes) -> list[bytes]:
    parts: list[bytes] = []
    start = 0
    while start + 4 <= len(body) and len(parts) <= n_ciphertexts(shape):
        (size,) = struct.unpack_from("<I", body, start)
        if not MIN_CIPHERTEXT_BYTES <= size <= MAX_CIPHERTEXT_BYTES:
            break
        parts.append(body[start + 4 : start + 4 + size])
        start += 4 + size
    if start != len(body) or len(parts) != n_ciphertexts(shape):
        raise WireError(f"not {n_ciphertexts(shape)} CKKS ciphertexts")
    return parts

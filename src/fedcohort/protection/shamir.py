"""Shamir's secret sharing (Shamir 1979, "How to share a secret") of 16-byte secrets.

A secret is the constant term of a random polynomial of degree `threshold` - 1 over
the integers mod 2^128 + 51, the smallest prime above all secrets; holder i gets its
value at i + 1. Any `threshold` values give the secret, fewer tell nothing.
"""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from fedcohort.errors import WireError

SECRET_BYTES, SHARE_BYTES = 16, 17
PRIME = 2**128 + 51
_DRAWN_BYTES = 32
"""A coefficient is drawn as 256 bits and reduced with the value: no residue is likelier by 2^-127."""


def share(secret_values: Sequence[bytes], threshold: int, n_holders: int) -> list[bytes]:
    """Share several secrets among the same holders.

    Args:
        secret_values: each of 16 bytes.
        threshold: how many holders it takes to recover a secret.
    Returns:
        by holder, its shares of 17 bytes each, joined in the order of the secrets.
    Raises:
        ValueError: the threshold is not from 1 to the number of holders, or a secret is not of 16 bytes.
    """
    if not 1 <= threshold <= n_holders:
        raise ValueError(f"a threshold of {threshold} of {n_holders} holders")
    if any(len(secret) != SECRET_BYTES for secret in secret_values):
        raise ValueError(f"a secret that is not of {SECRET_BYTES} bytes")
    # All polynomials at once, as lanes of one large integer that are too wide to overflow each other.
    lane = _DRAWN_BYTES + 1 + threshold * n_holders.bit_length() // 8 + 1
    n = len(secret_values)
    coefficients = np.zeros((threshold, n, lane), np.uint8)
    drawn = np.frombuffer(os.urandom((threshold - 1) * n * _DRAWN_BYTES), np.uint8)
    coefficients[:-1, :, :_DRAWN_BYTES] = drawn.reshape(threshold - 1, n, _DRAWN_BYTES)
    constants = np.frombuffer(b"".join(secret_values), np.uint8).reshape(n, SECRET_BYTES)
    coefficients[-1, :, :SECRET_BYTES] = constants
    rows = [int.from_bytes(row.tobytes(), "little") for row in coefficients]
    return [_lanes(_value(rows, x), n, lane) for x in range(1, n_holders + 1)]


def _value(rows: Sequence[int], x: int) -> int:
    """Horner's rule, highest coefficient first, without reduction."""
    value = 0
    for row in rows:
        value = value * x + row
    return value


def _lanes(value: int, count: int, lane: int) -> bytes:
    """Each lane's number mod the prime, as a share."""
    data = value.to_bytes(count * lane, "little")
    numbers = (int.from_bytes(data[start : start + lane], "little") for start in range(0, len(data), lane))
    return b"".join((number % PRIME).to_bytes(SHARE_BYTES, "little") for number in numbers)


def weights(holders: Sequence[int]) -> list[int]:
    """Lagrange's weights at zero for the shares of these holders, counted from 0."""
    points = [holder + 1 for holder in holders]
    lagrange = []
    for x in points:
        numerator = denominator = 1
        for other in points:
            if other != x:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - x) % PRIME
        lagrange.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return lagrange


def recover(shares: Mapping[int, bytes], lagrange: Sequence[int] | None = None) -> bytes:
    """Recover one secret from exactly as many shares as its threshold.

    Args:
        shares: by holder, counted from 0, 17 bytes each.
        lagrange: `weights` of these holders, where they are needed more than once.
    Raises:
        WireError: these are not shares of a 16-byte secret.
    """
    total = 0
    for weight, data in zip(lagrange or weights(list(shares)), shares.values(), strict=True):
        total += weight * int.from_bytes(data, "little")
    secret = total % PRIME
    if secret >> (8 * SECRET_BYTES):
        raise WireError("shares that give no secret")
    return secret.to_bytes(SECRET_BYTES, "little")

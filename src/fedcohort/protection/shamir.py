"""Shamir's secret sharing (Shamir 1979, "How to share a secret") of 16-byte secrets.

A secret is the constant term of a random polynomial of degree `threshold` - 1 over
the integers mod 2^128 + 51, the smallest prime above all secrets; holder i gets its
value at i + 1. Any `threshold` values give the secret, fewer tell nothing.
"""

import secrets
from collections.abc import Mapping, Sequence

from fedcohort.errors import WireError

SECRET_BYTES, SHARE_BYTES = 16, 17
PRIME = 2**128 + 51


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
    polynomials = [
        [*(secrets.randbelow(PRIME) for _ in range(threshold - 1)), int.from_bytes(secret, "little")]
        for secret in secret_values
    ]
    return [
        b"".join(_value(polynomial, x).to_bytes(SHARE_BYTES, "little") for polynomial in polynomials)
        for x in range(1, n_holders + 1)
    ]


def _value(polynomial: Sequence[int], x: int) -> int:
    """Horner's rule, highest coefficient first; x is small, so that one reduction at the end is enough."""
    value = 0
    for coefficient in polynomial:
        value = value * x + coefficient
    return value % PRIME


def weights(holders: Sequence[int]) -> list[int]:
    """Lagrange's weights at zero for the shares of these holders, counted from 0."""
    points = [holder + 1 for holder in holders]
    found = []
    for x in points:
        numerator = denominator = 1
        for other in points:
            if other != x:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - x) % PRIME
        found.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return found


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

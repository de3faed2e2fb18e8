"""Paillier: the coordinator multiplies ciphertexts, the sites that hold the key read only the sum.

A vector is packed into plaintexts (packing.py); c = (1 + n)^m w mod n^2 hides a
plaintext m behind a random n-th residue w (Paillier 1999). Sites hold the secret key
(paillier_key.py) and so work modulo p^2 and q^2 on their own:

- w = h_s^r comes from a fixed-base table, with exponents that are independent under p
  and under q, each a quarter of the modulus' length: together the half length that
  Damgård, Jurik, Nielsen 2010 take. That such a w cannot be distinguished from a random n-th
  residue is assumed (short-exponent indistinguishability: Koshiba, Kurosawa 2004);
  the best attack known, a search over one exponent that meets in the middle, takes
  2^(bits / 8) multiplications, far more than to factor n.
- The table holds a power w = a (1 + p t) mod p^2 as a and t: while the a are
  multiplied, the t are only added, so that no factor is longer than p.
- Opening raises to p - 1 and q - 1 on all cores: gmpy2 lets go of Python's lock there.
  Sealing cannot gain from threads: its steps take less time than to hand over the lock.

How long a step takes may depend on the key: nobody but the node should be able to
time it to the microsecond.
"""

import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import gmpy2
import numpy as np
from gmpy2 import mpz
from numpy.typing import NDArray

from fedcohort.errors import WireError
from fedcohort.protection.fixed_point import Ring, Shape
from fedcohort.protection.packing import Plaintexts, n_plaintexts, pack, unpack
from fedcohort.protection.paillier_key import PublicKey, SecretKey, bits_to_bytes

_WINDOW = 10
"""Bits of an exponent that one look-up covers: 27 MB of tables for a key of 2048 bits, 61 MB for 3072."""

_BATCH = 32
"""Ciphertexts whose look-ups numpy gathers at once."""


@dataclass(frozen=True, repr=False)
class _Side:
    """One prime of the key, and the powers of h_s mod prime^2.

    Attributes:
        other: the other prime.
        n_rows: digits of an exponent; entry j of row i is h_s^(j 1024^i) = unit (1 + prime log).
        units: (n_rows x 1024) units, bytes.
        logs: (n_rows x 1024, words) logs, 32-bit words.
    """

    prime: mpz
    square: mpz
    other: mpz
    n_rows: int
    units: NDArray[np.void]
    logs: NDArray[np.uint32]


def body_bytes(public_bits: int, shape: Shape) -> int:
    """Length of a sealed vector, and of a sum of them."""
    return n_plaintexts(shape, (public_bits - 1) // 8) * bits_to_bytes(2 * public_bits)


def seal(key: SecretKey, shape: Shape, ring: Ring) -> bytes:
    """Encrypt a site's vector; no two calls give the same bytes.

    Raises:
        SaturationError: a value lies beyond its block's range.
    """
    capacity, size = key.public.plaintext_bytes, key.public.ciphertext_bytes
    plaintexts = [mpz.from_bytes(row.tobytes(), "little") for row in pack(shape, ring, capacity)]
    under_p, under_q = (_encrypt(side, plaintexts) for side in _sides(key))
    p_squared, q_squared = key.p * key.p, key.q * key.q
    inverse = gmpy2.invert(p_squared, q_squared)
    return b"".join(
        (c_p + p_squared * ((c_q - c_p) * inverse % q_squared)).to_bytes(size)
        for c_p, c_q in zip(under_p, under_q, strict=True)
    )


def add(public: PublicKey, shape: Shape, total: bytes | None, body: bytes) -> bytes:
    """Add a site's sealed vector to the total, or begin one; needs no secret.

    Raises:
        WireError: not as many ciphertexts as the shape has, or not ciphertexts under this key.
    """
    factors = _ciphertexts(public, shape, body)
    if total is None:
        return body
    products = [
        a * b % public.n_squared for a, b in zip(_ciphertexts(public, shape, total), factors, strict=True)
    ]
    return b"".join(c.to_bytes(public.ciphertext_bytes) for c in products)


def open_sum(key: SecretKey, shape: Shape, total: bytes, n_contributors: int) -> Ring:
    """Decrypt the sum over so many sites.

    Raises:
        WireError: not ciphertexts under this key, or not a sum of so many vectors.
    """
    ciphertexts = _ciphertexts(key.public, shape, total)
    p, q = key.p, key.q
    under_p, under_q = _decrypt(key, ciphertexts)
    p_inverse = gmpy2.invert(p, q)
    plaintexts = [m_p + p * ((m_q - m_p) * p_inverse % q) for m_p, m_q in zip(under_p, under_q, strict=True)]
    return unpack(shape, _rows(plaintexts, key.public.plaintext_bytes), n_contributors)


def _rows(plaintexts: list[mpz], capacity: int) -> Plaintexts:
    """Plaintexts as rows of bytes."""
    if any(plaintext.bit_length() > 8 * capacity for plaintext in plaintexts):
        raise WireError("what was opened is not a sum under this key; compare the sites' versions and keys")
    data = b"".join(plaintext.to_bytes(capacity, "little") for plaintext in plaintexts)
    return np.frombuffer(data, np.uint8).reshape(-1, capacity)


def _ciphertexts(public: PublicKey, shape: Shape, data: bytes) -> list[mpz]:
    """Read and check ciphertexts; one gcd for all, of their product."""
    size = public.ciphertext_bytes
    if len(data) != body_bytes(public.bits, shape):
        raise WireError(f"a sealed vector of {len(data)} bytes; {body_bytes(public.bits, shape)} are needed")
    ciphertexts = [mpz.from_bytes(data[start : start + size]) for start in range(0, len(data), size)]
    product = mpz(1)
    for c in ciphertexts:
        product = product * c % public.n
    if any(c >= public.n_squared for c in ciphertexts) or gmpy2.gcd(product, public.n) != 1:
        raise WireError("a sealed vector holds a number that is no Paillier ciphertext under this key")
    return ciphertexts


def _encrypt(side: _Side, plaintexts: list[mpz]) -> list[mpz]:
    """(1 + n)^plaintext times a fresh random residue, mod prime^2."""
    residues = []
    for start in range(0, len(plaintexts), _BATCH):
        batch = plaintexts[start : start + _BATCH]
        draws = np.frombuffer(secrets.token_bytes(2 * len(batch) * side.n_rows), "<u2")
        digits = (draws >> (16 - _WINDOW)).reshape(len(batch), side.n_rows)
        residues += _residues(side, digits, [plaintext * side.other for plaintext in batch])
    return residues


def _residues(side: _Side, digits: NDArray[np.integer], logs: list[mpz]) -> list[mpz]:
    """(1 + prime log) h_s^exponent mod prime^2 for every row of digits, least significant first."""
    entries = digits + (np.arange(side.n_rows) << _WINDOW)
    read, square = mpz.from_bytes, side.square
    sums = side.logs[entries].sum(axis=1, dtype=np.uint64)
    residues = []
    for factors, words, log in zip(side.units[entries].tolist(), sums, logs, strict=True):
        unit = mpz(1)
        for factor in factors:
            unit = unit * read(factor, "little") % square
        even, odd = (read(words[first::2].tobytes(), "little") for first in (0, 1))
        total = (log + even + (odd << 32)) % side.prime
        residues.append((unit + side.prime * (unit * total % side.prime)) % square)
    return residues


def _decrypt(key: SecretKey, ciphertexts: list[mpz]) -> tuple[list[mpz], list[mpz]]:
    """Plaintexts mod p and mod q; every core raises a slice under either prime."""
    n_cores = os.cpu_count() or 1
    size = max(1, -(-len(ciphertexts) // n_cores))
    slices = [ciphertexts[start : start + size] for start in range(0, len(ciphertexts), size)]
    with ThreadPoolExecutor(n_cores) as pool:
        halves = [
            [pool.submit(_decrypt_slice, *primes, part) for part in slices]
            for primes in ((key.p, key.q), (key.q, key.p))
        ]
        under_p, under_q = ([m for part in half for m in part.result()] for half in halves)
    return under_p, under_q


def _decrypt_slice(prime: mpz, other: mpz, ciphertexts: list[mpz]) -> list[mpz]:
    """c^(prime - 1) = 1 - prime other m mod prime^2, from which m mod prime follows."""
    square = prime * prime
    powers = gmpy2.powmod_base_list([c % square for c in ciphertexts], prime - 1, square)
    minus_inverse = prime - gmpy2.invert(other, prime)
    return [(power - 1) // prime * minus_inverse % prime for power in powers]


@lru_cache(maxsize=2)
def _sides(key: SecretKey) -> tuple[_Side, _Side]:
    """The tables of a key: some tenths of a second once; nodes in one process share them."""
    return _side(key.public, key.p, key.q), _side(key.public, key.q, key.p)


def _side(public: PublicKey, prime: mpz, other: mpz) -> _Side:
    """The powers of h_s under one prime, for exponents of a quarter of the modulus' length."""
    square, size = prime * prime, 8 * -(-prime.bit_length() // 64)
    n_rows = -(-public.bits // (4 * _WINDOW))
    units, logs = bytearray(), bytearray()
    base = public.h_s % square
    for _ in range(n_rows):
        power, inverse, base_inverse = mpz(1), mpz(1), gmpy2.invert(base, prime)
        for _ in range(2**_WINDOW):
            carry, unit = gmpy2.f_divmod(power, prime)
            units += unit.to_bytes(size, "little")
            logs += (carry * inverse % prime).to_bytes(size, "little")
            power, inverse = power * base % square, inverse * base_inverse % prime
        base = power
    words = np.frombuffer(logs, "<u4").reshape(-1, size // 4)
    return _Side(prime, square, other, n_rows, np.frombuffer(units, f"V{size}"), words)

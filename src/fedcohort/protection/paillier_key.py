"""Paillier keys: made from the OS's randomness, written to bytes, and checked when read.

The modulus n = p q has p = q = 3 mod 4 and gcd(p - 1, q - 1) = 2, and h_s = h^n mod
n^2 for h = -x^2 is the base of all randomness (Damgård, Jurik, Nielsen 2010, A
generalization of Paillier's public-key system with applications to electronic voting,
doi 10.1007/s10207-010-0119-9). With g = n + 1 it is the standard cryptosystem, and
any implementation of it reads and writes the same ciphertexts.

Formats, integers big-endian: public `FCPP` bits:u16 n h_s; secret `FCPS` bits:u16 p q.
"""

import secrets
from dataclasses import dataclass
from functools import cached_property

import gmpy2
from gmpy2 import mpz

from fedcohort.errors import FedcohortError, KeyFileError, WireError

KEY_BITS = (2048, 3072)
_PUBLIC, _SECRET = b"FCPP", b"FCPS"
_PRIME_ROUNDS = 40


@dataclass(frozen=True, repr=False)
class PublicKey:
    """What the coordinator has: enough to add ciphertexts."""

    n: mpz
    h_s: mpz

    def __repr__(self) -> str:
        return f"PublicKey({self.bits} bits)"

    @property
    def bits(self) -> int:
        """Length of the modulus n."""
        return int(self.n.bit_length())

    @property
    def ciphertext_bytes(self) -> int:
        """Length of a number mod n^2."""
        return bits_to_bytes(2 * self.bits)

    @property
    def plaintext_bytes(self) -> int:
        """Whole bytes that are sure to stay below n."""
        return (self.bits - 1) // 8

    @cached_property
    def n_squared(self) -> mpz:
        """The modulus of ciphertexts."""
        return self.n * self.n


@dataclass(frozen=True, repr=False)
class SecretKey:
    """What every site has. Neither `repr` nor `str` shows it."""

    public: PublicKey
    p: mpz
    q: mpz

    def __repr__(self) -> str:
        return f"SecretKey({self.public.bits} bits)"


def bits_to_bytes(bits: int) -> int:
    """Bytes that hold so many bits."""
    return (bits + 7) // 8


def make_key(bits: int = 3072) -> SecretKey:
    """A new key; takes from half a second to some seconds.

    Raises:
        ValueError: neither 2048 nor 3072 bits.
    """
    if bits not in KEY_BITS:
        raise ValueError(f"a Paillier key of {bits} bits; choose one of {KEY_BITS}")
    p = _prime(bits // 2)
    q = _prime(bits // 2)
    while p == q or gmpy2.gcd(p - 1, q - 1) != 2:
        q = _prime(bits // 2)
    n = p * q
    x = _unit(n)
    return SecretKey(PublicKey(n, gmpy2.powmod(-x * x, n, n * n)), p, q)


def _prime(bits: int) -> mpz:
    """A random prime, 3 mod 4; its two highest bits are set, so that a product has every bit asked for."""
    while True:
        candidate = mpz(secrets.randbits(bits)) | (mpz(3) << (bits - 2)) | 3
        if gmpy2.is_prime(candidate, _PRIME_ROUNDS):
            return candidate


def _unit(n: mpz) -> mpz:
    while True:
        x = mpz(secrets.randbelow(int(n)))
        if gmpy2.gcd(x, n) == 1:
            return x


def public_to_bytes(public: PublicKey) -> bytes:
    """The key in the public format."""
    half = bits_to_bytes(public.bits)
    return b"".join((_header(_PUBLIC, public.bits), public.n.to_bytes(half), public.h_s.to_bytes(2 * half)))


def secret_to_bytes(key: SecretKey) -> bytes:
    """The key in the secret format; to be sealed or written to a key file, never shown."""
    quarter = bits_to_bytes(key.public.bits) // 2
    return b"".join((_header(_SECRET, key.public.bits), key.p.to_bytes(quarter), key.q.to_bytes(quarter)))


def public_from_bytes(data: bytes) -> PublicKey:
    """Read a public key that another site has made.

    Raises:
        WireError: it is none.
    """
    bits, body = _read(_PUBLIC, data, WireError)
    half = bits // 8
    if len(body) != 3 * half:
        raise WireError("a Paillier public key of a wrong length")
    public = PublicKey(mpz.from_bytes(body[:half]), mpz.from_bytes(body[half:]))
    if public.bits != bits or public.n % 2 == 0 or not 1 < public.h_s < public.n_squared - 1:
        raise WireError("a Paillier public key with a number out of range")
    if gmpy2.gcd(public.h_s, public.n) != 1:
        raise WireError("a Paillier public key whose numbers do not fit each other")
    return public


def secret_from_bytes(public: PublicKey, data: bytes) -> SecretKey:
    """Read a secret key, and make sure that it belongs to the public one.

    Raises:
        KeyFileError: it is none, or another's.
    """
    bits, body = _read(_SECRET, data, KeyFileError)
    quarter = bits // 16
    if bits != public.bits or len(body) != 2 * quarter:
        raise KeyFileError("a Paillier secret key of a wrong length")
    key = SecretKey(public, mpz.from_bytes(body[:quarter]), mpz.from_bytes(body[quarter:]))
    if not _fits(key):
        raise KeyFileError("a Paillier secret key that does not belong to the study's public key")
    return key


def _fits(key: SecretKey) -> bool:
    """Whether p and q are the primes of n, and h_s is an n-th residue that hides something under both."""
    p, q = key.p, key.q
    return bool(
        p * q == key.public.n
        and p.bit_length() == q.bit_length() == key.public.bits // 2
        and p % 4 == q % 4 == 3
        and gmpy2.gcd(p - 1, q - 1) == 2
        and all(gmpy2.is_prime(prime, _PRIME_ROUNDS) for prime in (p, q))
        and all(gmpy2.powmod(key.public.h_s, prime - 1, prime * prime) == 1 for prime in (p, q))
        and all(gmpy2.powmod(key.public.h_s, 2, prime) != 1 for prime in (p, q))
    )


def _header(kind: bytes, bits: int) -> bytes:
    return kind + bits.to_bytes(2)


def _read(kind: bytes, data: bytes, error: type[FedcohortError]) -> tuple[int, bytes]:
    """The length of the modulus, and what follows the header."""
    bits = int.from_bytes(data[4:6])
    if data[:4] != kind or bits not in KEY_BITS:
        raise error("not a Paillier key of 2048 or 3072 bits")
    return bits, data[6:]

"""Protections with a key that all sites of a study hold and the coordinator does not: `paillier`, `ckks`.

One site makes the key and seals it to the others; the coordinator adds ciphertexts;
one site decrypts the sum, once a round. Whoever holds the key can read a single
site's ciphertext: the coordinator must not show it one (docs/threat-model.md).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fedcohort.protection import ckks, paillier
from fedcohort.protection.fixed_point import Ring, Shape

Key = Any
"""A scheme's own key object; nothing but the scheme looks into it."""


@dataclass(frozen=True)
class Scheme:
    """What a scheme can do.

    Attributes:
        make: from the study's key_bits, a new key as (public, secret) bytes.
        load: the key of a site, checked: the secret belongs to the public part.
        load_public: the coordinator's part of it.
        add: the first body alone, or a total and one more body.
        open_sum: of a total, and how many sites it is of.
    """

    make: Callable[[int], tuple[bytes, bytes]]
    load: Callable[[bytes, bytes], Key]
    load_public: Callable[[bytes], Key]
    seal: Callable[[Key, Shape, Ring], bytes]
    add: Callable[[Key, Shape, bytes | None, bytes], bytes]
    open_sum: Callable[[Key, Shape, bytes, int], Ring]


def _make_paillier(bits: int) -> tuple[bytes, bytes]:
    key = paillier.make_key(bits)
    return paillier.public_to_bytes(key.public), paillier.secret_to_bytes(key)


def _load_paillier(public: bytes, secret: bytes) -> paillier.SecretKey:
    return paillier.secret_from_bytes(paillier.public_from_bytes(public), secret)


SCHEMES = {
    "paillier": Scheme(
        _make_paillier,
        _load_paillier,
        paillier.public_from_bytes,
        paillier.seal,
        paillier.add,
        paillier.open_sum,
    ),
    "ckks": Scheme(
        lambda bits: ckks.make_key(),
        ckks.load_secret,
        ckks.load_public,
        ckks.seal,
        ckks.add,
        ckks.open_sum,
    ),
}

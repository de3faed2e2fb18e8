"""Ed25519 identity keys: one a node, one a coordinator, one a researcher (RFC 8032)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from fedcohort.errors import KeyFileError
from fedcohort.storage.files import read_or_make_key

PrivateKey = Ed25519PrivateKey | X25519PrivateKey


@dataclass(frozen=True)
class Identity:
    """Who a process is; the private key is in no representation."""

    id: str
    private_key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return self.private_key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """64 bytes."""
        return self.private_key.sign(data)


def new_identity(name: str) -> Identity:
    """An identity with a fresh key, which only memory holds."""
    return Identity(name, Ed25519PrivateKey.generate())


def load_or_create(path: Path, name: str) -> Identity:
    """Read a process's identity key, or make one that only this user can read.

    Raises:
        KeyFileError: the file is not such a key, cannot be made, or others can read it.
    """
    key = _read_or_make(path, Ed25519PrivateKey.generate)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: not an Ed25519 key")
    return Identity(name, key)


def load_or_create_agreement(path: Path) -> X25519PrivateKey:
    """Read a site's agreement key, or make one that only this user can read.

    Raises:
        KeyFileError: the file is not such a key, cannot be made, or others can read it.
    """
    key = _read_or_make(path, X25519PrivateKey.generate)
    if not isinstance(key, X25519PrivateKey):
        raise KeyFileError(f"{path}: not an X25519 key")
    return key


def _read_or_make(path: Path, make: Callable[[], PrivateKey]) -> PrivateKeyTypes:
    data = read_or_make_key(path, lambda: _pem(make()))
    try:
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        raise KeyFileError(f"{path}: not a key file; restore it from a backup") from None


def _pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@lru_cache(maxsize=1024)
def _public(key: bytes) -> Ed25519PublicKey:
    """A key's point, decompressed once: the same few sites sign every message."""
    return Ed25519PublicKey.from_public_bytes(key)


def verify(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether this key signed these bytes."""
    try:
        _public(public_key).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def fingerprint(public_key: bytes) -> str:
    """The first 128 bits of the key's SHA-256, in groups that can be read aloud."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(public_key)
    text = digest.finalize()[:16].hex()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))

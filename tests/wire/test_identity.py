"""Key files: made once, for their owner only, and never shown."""

import os
import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from fedcohort.errors import KeyFileError
from fedcohort.wire.identity import fingerprint, load_or_create, new_identity, verify

POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


def test_a_key_is_made_once_and_found_again(tmp_path: Path) -> None:
    first = load_or_create(tmp_path / "keys" / "site.key", "hospital_a")
    again = load_or_create(tmp_path / "keys" / "site.key", "hospital_a")
    assert first.public_key == again.public_key
    assert os.listdir(tmp_path / "keys") == ["site.key"]


def test_processes_that_start_together_end_with_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: load_or_create(tmp_path / "site.key", "a").public_key, range(64)))
    assert len(set(found)) == 1
    assert os.listdir(tmp_path) == ["site.key"]


@POSIX
def test_a_new_key_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        load_or_create(tmp_path / "site.key", "hospital_a")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "site.key").stat().st_mode) == 0o600


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622, 0o660])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "site.key"
    load_or_create(path, "hospital_a")
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=r"site\.key.*chmod 600"):
        load_or_create(path, "hospital_a")


def key_bytes(encryption: KeySerializationEncryption) -> bytes:
    return new_identity("a").private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a key",
        key_bytes(NoEncryption())[:80],
        key_bytes(BestAvailableEncryption(b"password")),
        generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        b"x" * 1_000_000,
    ],
    ids=["empty", "text", "cut short", "encrypted", "another kind", "huge"],
)
def test_a_broken_key_file_is_named_and_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"site\.key"):
        load_or_create(path, "hospital_a")
    assert path.read_bytes() == data


def test_a_folder_in_the_keys_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=tmp_path.name):
        load_or_create(tmp_path, "hospital_a")


def test_the_private_key_is_not_shown_and_not_pickled() -> None:
    identity = new_identity("hospital_a")
    secret = identity.private_key.private_bytes_raw()
    shown = f"{identity!r} {identity}"
    assert "hospital_a" in shown
    assert secret.hex() not in shown
    assert "private" not in shown.lower()
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(identity)


def test_a_signature_holds_for_its_key_and_its_bytes_only() -> None:
    identity, other = new_identity("a"), new_identity("b")
    signature = identity.sign(b"text")
    assert verify(identity.public_key, signature, b"text")
    assert not verify(identity.public_key, signature, b"texT")
    assert not verify(other.public_key, signature, b"text")
    assert not verify(identity.public_key, signature[:-1], b"text")
    assert not verify(b"short", signature, b"text")


def test_the_fingerprint_of_a_known_key_is_known() -> None:
    # SHA-256 of 32 zero bytes begins 66687aad f862bd77 6c8fc18b 8e9f8e20.
    assert fingerprint(bytes(32)) == "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20"

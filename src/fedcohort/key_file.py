"""Files that hold a secret: made once, for their owner only, refused when others can read them."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from fedcohort.errors import KeyFileError

MAX_KEY_FILE_BYTES = 4096


def read_or_make(path: Path, make: Callable[[], bytes]) -> bytes:
    """The file's bytes, at most MAX_KEY_FILE_BYTES of them; made when there is no such file.

    Args:
        path: of the key file; its folder is made when missing.
        make: a fresh secret, as the file is to hold it.
    Raises:
        KeyFileError: the file cannot be read or made, or others can read it.
    """
    try:
        if not path.exists():
            _create(path, make())
    except OSError as error:
        raise _unreachable(path, error) from error
    return read_private(path)


def read_private(path: Path) -> bytes:
    """The bytes of a key file that must be there, at most MAX_KEY_FILE_BYTES of them.

    Raises:
        KeyFileError: the file cannot be read, or others can read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise _unreachable(path, error) from error
    if os.name == "posix" and mode & 0o077:
        raise KeyFileError(f"{path}: others can read this key; run chmod 600 on it, or make a new one")
    return data


def _unreachable(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path}: {error.strerror}; check the folder's permissions")


def _create(path: Path, data: bytes) -> None:
    """Write a new key beside `path` and link it there: never half a key, never over another process's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)

"""Files that hold a secret: made once, for their owner only, refused when others can read them."""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from fedcohort.errors import KeyFileError
from fedcohort.storage.whole_file import write_whole

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
    """Write a new key: never half of one, never over another process's."""
    with contextlib.suppress(FileExistsError):
        write_whole(path, data, mode=0o600, folder_mode=0o777, replace=False)

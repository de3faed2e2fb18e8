"""Files of our own: written whole or not at all; a key file that others can read is refused."""

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from fedcohort.errors import KeyFileError

MAX_KEY_FILE_BYTES = 4096
GROUP_AND_OTHERS = 0o077


def write_whole(
    path: Path,
    data: bytes,
    *,
    mode: int = 0o666,
    folder_mode: int | None = None,
    replace: bool = True,
    sync_folder: bool = False,
) -> None:
    """Write a file under a temporary name, sync it, and rename it: a reader sees all of it or none.

    Args:
        mode: of the file, before anything is in it; less what the process's umask takes.
        folder_mode: of the folder, which is made when it is missing; None: it has to be there.
        replace: overwrite an existing file.
        sync_folder: return only when the new name is on the disk, too, where the system can do that.
    Raises:
        FileExistsError: there is a file, and it is not to be replaced.
        OSError: it cannot be written; what was there is as it was.
    """
    scratch = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        if folder_mode is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=folder_mode)
        with open(scratch, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(scratch, path)
        else:
            os.link(scratch, path)
        if sync_folder:
            sync_directory(path.parent)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


def sync_directory(folder: Path) -> None:
    """Sync the folder's entries to the disk, where the system can do that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_or_make_key(path: Path, make: Callable[[], bytes]) -> bytes:
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
        raise _key_file_error(path, error) from error
    return read_key_file(path)


def read_key_file(path: Path) -> bytes:
    """The bytes of a key file that must be there, at most MAX_KEY_FILE_BYTES of them.

    Raises:
        KeyFileError: the file cannot be read, or others can read it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise _key_file_error(path, error) from error
    if os.name == "posix" and mode & GROUP_AND_OTHERS:
        raise KeyFileError(f"{path}: others can read this key; run chmod 600 on it, or make a new one")
    return data


def _key_file_error(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path}: {error.strerror}; check the folder's permissions")


def _create(path: Path, data: bytes) -> None:
    """Write a new key: never half of one, never over another process's."""
    with contextlib.suppress(FileExistsError):
        write_whole(path, data, mode=0o600, folder_mode=0o777, replace=False)

"""Folders and databases of our own that no other account of the machine reads, whatever its umask.

SQLite makes the log beside a database with the database's mode
(https://sqlite.org/walformat.html, and `robust_open` in its os_unix.c). Windows' files bear
the permissions of the folder they are in, so that nothing is done there.
"""

import os
import stat
from pathlib import Path

from fedcohort.errors import StoreError
from fedcohort.storage.database import create_private

OTHERS = 0o077
BESIDE = ("-wal", "-shm", "-journal")


def private_folder(folder: Path) -> None:
    """Make a folder for this user alone, or close one that is there to others.

    Raises:
        StoreError: it belongs to another user and is open to others, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; make the folder writable") from error
    _close_to_others(folder)


def private_database(path: Path) -> None:
    """Make an empty SQLite file for this user alone, or close one that is there, and its log, to others.

    Raises:
        StoreError: as for `private_folder`.
    """
    if not path.exists():
        create_private(path)
    for file in (path, *(path.with_name(path.name + suffix) for suffix in BESIDE)):
        _close_to_others(file)


def _close_to_others(path: Path) -> None:
    if os.name != "posix":
        return
    try:
        found = path.stat()
        mode = stat.S_IMODE(found.st_mode)
        if mode & OTHERS and found.st_uid == os.geteuid():
            path.chmod(mode & ~OTHERS)
    except FileNotFoundError:
        return  # a log that has gone meanwhile
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; close it to others: chmod go= {path}") from error
    if mode & OTHERS and found.st_uid != os.geteuid():
        raise StoreError(
            f"{path}: open to others, and another user's (number {found.st_uid}); give it to the user that "
            f"runs fedcohort (chown), or let its owner close it: chmod go= {path}"
        )

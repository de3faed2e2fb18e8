"""Backup of a running process's folder: its keys, and its database by SQLite's online backup.

https://sqlite.org/backup.html. The copy is one file without a log, whole and of one moment, and
only its owner can read it.
"""

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from fedcohort.errors import ConfigError, StoreError
from fedcohort.storage import timeouts
from fedcohort.storage.database import database_url, explained
from fedcohort.storage.redo import forget_series, read_rows, redo_path, series_of, write_rows

PAGES_AT_ONCE = 1000


def back_up(
    into: Path, files: Sequence[Path], database: Path | None, folders: Sequence[Path] = ()
) -> list[Path]:
    """Copy files, a database and the files of folders into a new or empty one.

    Returns:
        what was written.
    Raises:
        ConfigError: `into` is not empty, or cannot be written.
        StoreError: the database cannot be read.
    """
    try:
        into.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(into.iterdir()):
            raise ConfigError(f"{into}: is not empty; name a new folder for each backup")
        written = [_copy(path, into / path.name) for path in files]
        for folder in filter(Path.is_dir, folders):
            place = into / folder.name
            place.mkdir(mode=0o700)
            inside = sorted(path for path in folder.iterdir() if path.is_file())
            written += [_copy(path, place / path.name) for path in inside]
        if database is not None:
            written.append(copy_database(database, into / database.name))
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: {error.strerror}; check the path and its permissions"
        ) from error
    return written


def _copy(source: Path, target: Path) -> Path:
    content = source.read_bytes()  # before there is a file, which would stay where it cannot be read
    with os.fdopen(_new_owner_only(target), "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    return target


def _new_owner_only(path: Path) -> int:
    """A new file that only this user can read, before anything is in it."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def copy_database(source: Path, target: Path) -> Path:
    """Copy one database, of a running process too, into a new file that only this user can read.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    if not source.exists():
        raise StoreError(f"{source}: no such database; check the path, or start the process once")
    os.close(_new_owner_only(target))
    with (
        explained(database_url(source)),
        closing(
            sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=timeouts.LOCK_SECONDS)
        ) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        series = series_of(live)
        pending = {} if series is None else read_rows(redo_path(source), series)
        live.backup(copy, pages=PAGES_AT_ONCE)
        copy.execute("PRAGMA journal_mode=DELETE")
        if series_of(copy) == series:  # otherwise the database has taken them in meanwhile
            write_rows(copy, pending)
        forget_series(copy)
        copy.commit()
        if copy.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise StoreError(f"{target}: the copy is damaged; check both disks")
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return target

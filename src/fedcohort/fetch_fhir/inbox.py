"""The folder that a FHIR server is read into, and how far that has come, durable after each page and file.

It holds identified patients: nobody but its account reads it, it is bounded, and an import takes out what it
has read.
"""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fedcohort.errors import ConfigError, DataError, StoreError
from fedcohort.storage.files import GROUP_AND_OTHERS, sync_directory, write_whole

STATE = ".fetch-fhir.db"
TOTAL_BYTES = 50 * 2**30
"""Of all files of an inbox, unless --most-gib says another."""


@dataclass
class Inbox:
    """An inbox that one process fetches into.

    Attributes:
        most_bytes: of its files together.
        state: what has been done; held by this process alone.
        used_bytes: of its files, as far as is known; None before they were looked at.
    """

    folder: Path
    most_bytes: int
    state: sqlite3.Connection
    used_bytes: int | None = None

    def get(self, key: str) -> Any:  # noqa: ANN401 - JSON
        """What was put last, or None."""
        row = self.state.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, **values: object) -> None:
        """Keep values, all or none, on the disk; None deletes one."""
        with self._transaction():
            for key, value in values.items():
                self.state.execute("DELETE FROM state WHERE key = ?", (key,))
                if value is not None:
                    self.state.execute("INSERT INTO state VALUES (?, ?)", (key, json.dumps(value)))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self.state.execute("BEGIN IMMEDIATE")
            yield
            self.state.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"{self.folder}: {error}; check the folder's free space") from error

    def room(self) -> int:
        """Bytes that may still come; the folder is looked at once, and where it seems full.

        Raises:
            DataError: none.
        """
        if self.used_bytes is None or self.used_bytes >= self.most_bytes:
            with os.scandir(self.folder) as entries:
                self.used_bytes = sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
        if self.used_bytes >= self.most_bytes:
            raise DataError(
                f"{self.folder}: holds {self.used_bytes:,} bytes; run `fedcohort data import fhir --from "
                f"{self.folder} --into DATABASE --delete-imported`, and fetch again, or raise --most-gib"
            )
        return self.most_bytes - self.used_bytes

    def write(self, name: str, content: bytes) -> None:
        """A page, whole or not at all.

        Raises:
            StoreError: the disk is full, or the folder is not writable.
        """
        try:
            write_whole(self.folder / name, content, mode=0o600, sync_folder=True)
            self._grow(len(content))
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}; check the folder's free space") from error

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that has its name once it is whole; one that was cut off is begun anew."""
        scratch = self.folder / f".{name}.part"
        try:
            with open(scratch, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self.folder / name)
            sync_directory(self.folder)
            self._grow((self.folder / name).stat().st_size)
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}; check the folder's free space") from error

    def _grow(self, size: int) -> None:
        if self.used_bytes is not None:
            self.used_bytes += size


@contextmanager
def open_inbox(folder: Path, most_bytes: int = TOTAL_BYTES) -> Iterator[Inbox]:
    """An inbox for this process alone, made where there is none.

    Raises:
        ConfigError: others may read the folder.
        StoreError: another process fetches into it, or it is not writable.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix" and stat.S_IMODE(folder.stat().st_mode) & GROUP_AND_OTHERS:
            raise ConfigError(f"{folder}: others may read this folder of patients; run chmod 700 on it")
        os.close(os.open(folder / STATE, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; name another folder by --into") from error
    state = sqlite3.connect(folder / STATE, timeout=0, isolation_level=None)
    try:
        state.execute("PRAGMA locking_mode = EXCLUSIVE")
        state.execute("PRAGMA synchronous = FULL")
        state.execute("BEGIN EXCLUSIVE")
        state.execute("CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        state.execute("COMMIT")
        for scratch in folder.glob(".*.part"):  # of a run that was killed
            scratch.unlink()
        yield Inbox(folder, most_bytes, state)
    except sqlite3.OperationalError as error:
        raise StoreError(f"{folder}: another process fetches into it ({error}); wait for it") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{folder / STATE}: {error}; delete this file, and fetch from the beginning"
        ) from error
    finally:
        state.close()

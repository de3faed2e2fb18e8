"""The redo log of a store in SQLite: a round's rows are durable here first, and move into SQLite together.

To write a row of 40 kB, SQLite changes a dozen pages, and writes each with a header and a checksum of its
own; a row of 4 MB takes it 15 ms of the processor. Here either is one write into a file that has its full
length from the start. Every transaction of SQLite's, of whichever process, begins by taking in what is
pending, so that it sees all of it.

A record is one transaction: an entry of the event log and the rows that belong to it are all there or none.
It is appended while SQLite's write lock is held, by the one process that works on the database.

SQLite says which records are pending: its table `redo` is there while there is a redo log, and has the name
of the file and that of the series. The transaction that takes a series in names the next one, which
overwrites the file from its start. So nothing has to be emptied, and what is left of an earlier series is
never read: after a crash SQLite has either the rows and the new name, or neither.

The file's first page is `fedcohort redo 1` and the file's name, 16 random bytes, anew for every process that
appends: a file that is missing, or of another copy of the database, is refused. Each record begins at a
multiple of 4,096 bytes:

| bytes | content |
|---|---|
| 16 | name of the series, random |
| 4 and 8 | length of the head and of the body, little endian |
| 32 | SHA-256 of these 28 bytes, of the body's CRC-32 (0 for one of more than a MiB), and of the head |
| head | JSON: table, key, values of each changed row, and whether a missing one is inserted |
| body | the binary values, one after another; the head has their lengths |

A longer body is durable before its head is written. A checksum of 32 bits tells a torn body, as that of
PostgreSQL's write-ahead log does (https://www.postgresql.org/docs/current/wal-reliability.html).
"""

import hashlib
import json
import os
import secrets
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

from fedcohort.errors import StoreError
from fedcohort.storage.files import sync_directory

FILE_BYTES = 2**25
PAGE_BYTES = 4096
UNCHECKED_BODY_BYTES = 2**20
"""A checksum of a longer body takes longer than to wait for the disk twice."""
SUFFIX = "-redo"
MAGIC = b"fedcohort redo 1"
NAME_BYTES = 16
DIGEST_BYTES = 32
_PREFIX = struct.Struct(f"<{NAME_BYTES}sIQ")

_encode = json.JSONEncoder(separators=(",", ":")).encode
_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)
DURABLE_FLAG: int = getattr(os, "O_DSYNC", 0)
"""A write returns when it is on the disk (open(2)): a third less time than a write and fdatasync."""

Value = str | int | float | bytes | None
Newest = tuple[int, bytes] | None
"""Number and hash of the event log's last entry."""


@dataclass(frozen=True)
class Change:
    """One row as it shall be: the row with this key gets these values, or is inserted.

    Attributes:
        key: empty for a new row, which its table numbers in the column `sequence` where `values` do not.
        insert: whether a row that is missing is inserted.
    """

    table: str
    key: Mapping[str, Value]
    values: Mapping[str, Value]
    insert: bool = True


Rows = dict[tuple[str, tuple[Value, ...]], Change]
"""Changes that follow each other, as one a row."""


@dataclass(frozen=True)
class Series:
    """The records that SQLite does not have: those of this name in the file of this name."""

    file: bytes
    name: bytes


def redo_path(database: Path) -> Path:
    """The redo log of a SQLite file."""
    return database.with_name(database.name + SUFFIX)


# --- in SQLite -------------------------------------------------------------------------------


def series_of(connection: sqlite3.Connection) -> Series | None:
    """Which records continue this database; None where it has no redo log."""
    try:
        return Series(*connection.execute("SELECT file, series FROM redo").fetchone())
    except sqlite3.OperationalError:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'redo'").fetchone():
            raise
        return None


def take_in(connection: sqlite3.Connection, path: Path) -> None:
    """Write into SQLite what the file holds and it does not have, within the caller's transaction.

    Raises:
        StoreError: as for `read_rows`.
    """
    series = series_of(connection)
    rows = read_rows(path, series) if series is not None else {}
    if rows:
        _move(connection, rows)


def _move(connection: sqlite3.Connection, rows: Rows) -> None:
    write_rows(connection, rows)
    connection.execute("UPDATE redo SET series = ?", (secrets.token_bytes(NAME_BYTES),))


def forget_series(connection: sqlite3.Connection) -> None:
    """No record continues this database any more: all were taken in."""
    connection.execute("DROP TABLE IF EXISTS redo")


def write_rows(connection: sqlite3.Connection, rows: Rows) -> None:
    """Change or insert these rows, within the caller's transaction."""
    for change in rows.values():
        write_row(lambda text, values: connection.execute(text, values).rowcount, change)


@lru_cache(maxsize=64)
def _texts(table: str, key: tuple[str, ...], names: tuple[str, ...], mark: str) -> tuple[str, str]:
    """UPDATE by key, and INSERT, with named parameters: `mark` is such as ":%s"."""
    assigned = ", ".join(f'"{name}" = {mark % name}' for name in names)
    found = " AND ".join(f'"{name}" = {mark % name}' for name in key)
    columns = ", ".join(f'"{name}"' for name in (*key, *names))
    values = ", ".join(mark % name for name in (*key, *names))
    # Names of our own tables' columns, from this program's text or from a file that only this user writes.
    return (
        f'UPDATE "{table}" SET {assigned} WHERE {found}',  # noqa: S608
        f'INSERT INTO "{table}" ({columns}) VALUES ({values})',  # noqa: S608
    )


def write_row(run: Callable[[str, dict[str, Value]], int], change: Change, mark: str = ":%s") -> None:
    """Change a row, or insert it.

    Args:
        run: runs a statement with its parameters, and says how many rows it has changed.
    """
    change_it, insert_it = _texts(change.table, tuple(change.key), tuple(change.values), mark)
    values = {**change.key, **change.values}
    if not (change.key and run(change_it, values)) and change.insert:
        run(insert_it, values)


def _add(rows: Rows, changes: Iterable[Change]) -> None:
    """A later change of the same row replaces what an earlier one says of the same columns."""
    for change in changes:
        place = change.table, tuple(change.key.values()) or (change.values["sequence"],)
        before = rows.get(place)
        if before is None:
            rows[place] = change
        else:
            values = {**before.values, **change.values}
            rows[place] = Change(change.table, change.key, values, before.insert or change.insert)


# --- in the file -----------------------------------------------------------------------------


def read_rows(path: Path, series: Series) -> Rows:
    """What the records of a series change, as far as they are whole.

    Raises:
        StoreError: the file is missing or another one, or it cannot be read.
    """
    rows: Rows = {}
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC) + NAME_BYTES) != MAGIC + series.file:
                raise _foreign(path)
            file.seek(PAGE_BYTES)
            for changes in _read_records(file, series.name):
                _add(rows, changes)
    except FileNotFoundError:
        raise _foreign(path) from None
    except OSError as error:
        raise _failed(path, error) from error
    return rows


def _read_records(file: BinaryIO, series: bytes) -> Iterator[list[Change]]:
    """The records from the file's position on, until one is not whole, or of another series."""
    while len(start := file.read(_PREFIX.size + DIGEST_BYTES)) == _PREFIX.size + DIGEST_BYTES:
        prefix, digest = start[: _PREFIX.size], start[_PREFIX.size :]
        name, head_length, body_length = _PREFIX.unpack(prefix)
        if name != series or head_length + body_length > FILE_BYTES:
            return
        head, body = file.read(head_length), file.read(body_length)
        if len(body) < body_length or _digest(prefix, head, body) != digest:
            return
        yield _decoded(head, body)
        file.seek(-file.tell() % PAGE_BYTES, os.SEEK_CUR)


def _digest(prefix: bytes, head: bytes, *body: bytes) -> bytes:
    checksum = 0
    for part in body if sum(map(len, body)) <= UNCHECKED_BODY_BYTES else ():
        checksum = crc32(part, checksum)
    return hashlib.sha256(prefix + checksum.to_bytes(4, "little") + head).digest()


def _coded(changes: Iterable[Change]) -> tuple[bytes, list[bytes]]:
    """Head and body: JSON has the length of a binary value, in a list, in its place."""
    body: list[bytes] = []

    def code(values: Mapping[str, Value]) -> dict[str, object]:
        body.extend(value for value in values.values() if isinstance(value, bytes))
        return {name: [len(one)] if isinstance(one, bytes) else one for name, one in values.items()}

    rows = [[one.table, code(one.key), code(one.values), one.insert] for one in changes]
    return _encode(rows).encode(), body


def _decoded(head: bytes, body: bytes) -> list[Change]:
    parts = BytesIO(body)

    def decode(coded: Mapping[str, Any]) -> dict[str, Value]:
        return {
            name: parts.read(value[0]) if isinstance(value, list) else value for name, value in coded.items()
        }

    return [
        Change(table, decode(key), decode(values), insert) for table, key, values, insert in json.loads(head)
    ]


def _make_file(path: Path, name: bytes) -> int:
    """The file at its full length and under a new name, open to append to.

    To overwrite takes the disk half as long as to lengthen a file.
    """
    descriptor = os.open(path, _FLAGS | os.O_CREAT, 0o600)
    try:
        length = os.lseek(descriptor, 0, os.SEEK_END)
        while length < FILE_BYTES:
            length += os.write(descriptor, bytes(min(2**20, FILE_BYTES - length)))
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, MAGIC + name)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(path.absolute().parent)
    return os.open(path, _FLAGS | DURABLE_FLAG)


def _write_durably(descriptor: int, start: int, parts: Sequence[bytes]) -> None:
    """Write all parts from a place on, and return when they are on the disk."""
    os.lseek(descriptor, start, os.SEEK_SET)
    written = os.writev(descriptor, parts) if hasattr(os, "writev") else 0
    if written < sum(map(len, parts)):
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    if not DURABLE_FLAG:
        os.fsync(descriptor)


def _failed(path: Path, error: OSError) -> StoreError:
    return StoreError(
        "{path}: {error}; check the disk, its free space and the file's permissions",
        path=path,
        error=error.strerror,
    )


def _foreign(path: Path) -> StoreError:
    return StoreError(
        "{path}: is missing or belongs to another copy of {database}, which holds its newest rounds there; "
        "put the two files that belong together back, or restore a backup",
        path=path,
        database=path.name.removesuffix(SUFFIX),
    )


# --- for the process that appends ------------------------------------------------------------


def begin_log(connection: sqlite3.Connection, path: Path) -> "RedoLog | None":
    """A redo log for this process; None where another one has begun its own meanwhile.

    Raises:
        StoreError: the file cannot be made or written.
    """
    if series_of(connection) is not None:
        return None
    name = secrets.token_bytes(NAME_BYTES)
    try:
        descriptor = _make_file(path, name)  # which SQLite then knows, never the other way round
    except OSError as error:
        raise _failed(path, error) from error
    connection.execute("CREATE TABLE redo (file BLOB NOT NULL, series BLOB NOT NULL)")
    connection.execute("INSERT INTO redo VALUES (?, ?)", (name, secrets.token_bytes(NAME_BYTES)))
    return RedoLog(path, name, descriptor)


@dataclass
class RedoLog:
    """What is durable in the file and not in SQLite yet; everything is called while SQLite's lock is held.

    Attributes:
        file: its name.
        series: the name of the records that it holds; None: of those to come, SQLite knows it.
        newest: the event log's last entry, with the records.
    """

    path: Path
    file: bytes
    descriptor: int
    series: bytes | None = None
    newest: Newest = None
    _end: int = PAGE_BYTES
    _has_failed: bool = False
    _rows: Rows = field(default_factory=dict)
    _last_numbers: dict[str, int] = field(default_factory=dict)

    def follow(self, connection: sqlite3.Connection) -> bool:
        """Whether a record may be appended now; what another process has taken in is no longer pending."""
        stored = series_of(connection)
        if stored is None or stored.file != self.file or self._has_failed or self._is_gone():
            return False
        if stored.name != self.series:
            self.taken()
            self.series = stored.name
        return True

    def append(self, connection: sqlite3.Connection, changes: Sequence[Change], newest: Newest) -> bool:
        """Make changes durable as one record, after `follow`; False when the file has no room for it.

        Args:
            newest: the event log's last entry with these changes.
        Raises:
            StoreError: the disk failed; then the next changes go to SQLite, and end the series.
        """
        if self.series is None:
            return False
        numbers = dict(self._last_numbers)
        changes = [_numbered(connection, change, numbers) for change in changes]
        head, body = _coded(changes)
        prefix = _PREFIX.pack(self.series, len(head), size := sum(map(len, body)))
        parts = [prefix, _digest(prefix, head, *body), head, *body]
        length = sum(map(len, parts))
        end = self._end + length + -length % PAGE_BYTES
        if end > FILE_BYTES:
            return False
        # Should this fail, the record may be on the disk all the same: no other of its series gets its place.
        self._has_failed = True
        try:
            if size > UNCHECKED_BODY_BYTES:
                _write_durably(self.descriptor, self._end + length - size, body)
                parts = parts[:3]
            _write_durably(self.descriptor, self._end, parts)
        except OSError as error:
            raise _failed(self.path, error) from error
        _add(self._rows, changes)
        self._end, self.newest, self._last_numbers = end, newest, numbers
        self._has_failed = False
        return True

    def rows(self, table: str) -> list[Mapping[str, Value]]:
        """The pending rows of one table, in the order in which they came."""
        return [{**change.key, **change.values} for change in self._rows.values() if change.table == table]

    def take_in(self, connection: sqlite3.Connection) -> None:
        """Write what is pending into SQLite; when it is committed, call `taken`."""
        stored = series_of(connection)
        if stored is not None and stored.file != self.file:
            take_in(connection, self.path)
        elif stored is not None:
            if stored.name == self.series and (self._rows or self._has_failed):
                _move(connection, self._rows)
            if self._is_gone():
                forget_series(connection)

    def _is_gone(self) -> bool:
        """Whether somebody has removed or replaced the file, whose rows this process still has."""
        try:
            return not os.path.samestat(os.stat(self.path), os.fstat(self.descriptor))
        except OSError:
            return True

    def taken(self) -> None:
        """Everything is in SQLite, and the next record begins a new series."""
        self.series, self.newest, self._end = None, None, PAGE_BYTES
        self._has_failed = False
        self._rows.clear()
        self._last_numbers.clear()

    def forget(self, connection: sqlite3.Connection) -> None:
        """Within a transaction that has taken everything in: nothing is appended any more."""
        stored = series_of(connection)
        if stored is not None and stored.file == self.file:
            forget_series(connection)

    def remove_unused(self, connection: sqlite3.Connection) -> None:
        """Remove the file, where no database needs it any more: it still holds what rounds have said."""
        if series_of(connection) is None and not self._is_gone():
            with suppress(OSError):  # Windows removes no open file
                self.path.unlink()

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def _numbered(connection: sqlite3.Connection, change: Change, numbers: dict[str, int]) -> Change:
    """A new row under the next number of its table, where it has none."""
    if change.key or "sequence" in change.values:
        return change
    if change.table not in numbers:
        query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
        row = connection.execute(query, (change.table,)).fetchone()
        numbers[change.table] = int(row[0]) if row else 0
    numbers[change.table] += 1
    return Change(change.table, {}, {"sequence": numbers[change.table], **change.values})

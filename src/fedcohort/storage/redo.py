"""The redo log of a store in SQLite: a round's rows are durable here first, and move into SQLite together.

To write a row of 40 kB, SQLite changes a dozen pages, and writes each with a header and a checksum of its
own; a row of 4 MB takes it 15 ms of the processor. Here either is one write into a file that has its full
length from the start. SQLite takes in all that is pending at the beginning of its next
transaction, in whichever process, so that every transaction sees it.

A record is one transaction: an entry of the event log and the rows that belong to it are all there or none.
It is appended while SQLite's write lock is held. The file holds one series of records, which continues the
event log from the entry that they name as `base`; when SQLite has taken them in, the next series overwrites
them.

A record begins at a multiple of 4,096 bytes:

| bytes | content |
|---|---|
| 8 | `fcredo01` |
| 4 and 8 | length of the head and of the body, little endian |
| 32 | SHA-256 of the 20 bytes before it and of the head |
| head | JSON: `base` (number and hash of an entry), `number` in the series, `changes` (table, key, values, |
| | whether a missing row is inserted), `blobs` (length and SHA-256 of each part of the body) |
| body | the binary values of more than 256 bytes, one after another |

A body of more than a MiB is durable before its head is written, and has no SHA-256.
"""

import hashlib
import json
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from fedcohort.audit.chain import GENESIS, link_hash
from fedcohort.errors import StoreError

FILE_BYTES = 2**25
PAGE_BYTES = 4096
LONG_VALUE_BYTES = 256
UNHASHED_BODY_BYTES = 2**20
"""To hash a longer body takes longer than to wait for the disk twice."""
SUFFIX = "-redo"
MAGIC = b"fcredo01"
EVENTS = "events"
_LENGTHS = struct.Struct("<8sIQ")
DIGEST_BYTES = 32

Value = str | int | float | bytes | None
Base = tuple[int, bytes]
"""Number and hash of the event log's last entry."""

_FLAGS = os.O_RDWR | getattr(os, "O_BINARY", 0)
DURABLE_FLAG: int = getattr(os, "O_DSYNC", 0) if hasattr(os, "writev") else 0
"""A write returns when it is on the disk (open(2)): a third less time than a write and fdatasync."""


@dataclass(frozen=True)
class Change:
    """One row as it shall be: the row with this key gets these values, or is inserted.

    Attributes:
        key: empty for a new row that is numbered by the table.
        insert: whether a row that is missing is inserted.
    """

    table: str
    key: Mapping[str, Value]
    values: Mapping[str, Value]
    insert: bool = True


@dataclass(frozen=True)
class Record:
    """Changes that were made durable together."""

    base: Base
    number: int
    changes: tuple[Change, ...]


def redo_path(database: Path) -> Path:
    """The redo log of a SQLite file."""
    return database.with_name(database.name + SUFFIX)


class RedoFile:
    """The file, as the one process that appends to it has it open."""

    def __init__(self, path: Path) -> None:
        """Open it; made at its full length when it is missing.

        Raises:
            StoreError: it cannot be made or written.
        """
        self._path, self._end = path, 0
        try:
            self._plain = os.open(path, _FLAGS | os.O_CREAT, 0o600)
            _lengthen(self._plain)
            self._durable = os.open(path, _FLAGS | DURABLE_FLAG)
        except OSError as error:
            raise _failed(path, error) from error

    def append(self, base: Base, number: int, changes: Sequence[Change]) -> bool:
        """Make a record durable; False, and nothing is written, when there is no room for it.

        Raises:
            StoreError: the disk failed; the next record overwrites what was written of this one.
        """
        body: list[bytes] = []
        coded = [
            [change.table, _coded(change.key, body), _coded(change.values, body), change.insert]
            for change in changes
        ]
        size = sum(map(len, body))
        hashed = size <= UNHASHED_BODY_BYTES
        blobs = [[len(blob), hashlib.sha256(blob).hexdigest() if hashed else None] for blob in body]
        text = {"base": [base[0], base[1].hex()], "number": number, "changes": coded, "blobs": blobs}
        head = json.dumps(text, separators=(",", ":")).encode()
        lengths = _LENGTHS.pack(MAGIC, len(head), size)
        prefix = lengths + hashlib.sha256(lengths + head).digest()
        length = len(prefix) + len(head) + size
        length += -length % PAGE_BYTES
        if self._end + length > FILE_BYTES:
            return False
        padding = bytes(length - len(prefix) - len(head) - size)
        try:
            if hashed:
                self._write(self._end, prefix, head, *body, padding)
            else:
                self._write(self._end + len(prefix) + len(head), *body, padding)
                self._write(self._end, prefix, head)
        except OSError as error:
            raise _failed(self._path, error) from error
        self._end += length
        return True

    def _write(self, start: int, *parts: bytes) -> None:
        os.lseek(self._durable, start, os.SEEK_SET)
        _write_durably(self._durable, parts)

    def clear(self) -> None:
        """Begin the next series at the start: SQLite has taken this one in.

        Not synced: a reader that still finds the old series sees by its `base` that SQLite has it.

        Raises:
            StoreError: the disk failed.
        """
        try:
            os.lseek(self._plain, 0, os.SEEK_SET)
            os.write(self._plain, bytes(PAGE_BYTES))
        except OSError as error:
            raise _failed(self._path, error) from error
        self._end = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._durable)
        os.close(self._plain)


def _write_durably(descriptor: int, parts: Sequence[bytes]) -> None:
    """Write all parts at the file's position, and return when they are on the disk."""
    left = [memoryview(part) for part in parts if part]
    while DURABLE_FLAG and left:
        written = os.writev(descriptor, left)
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]
    for part in left:
        while part:
            part = part[os.write(descriptor, part) :]  # noqa: PLW2901
    if not DURABLE_FLAG:
        os.fsync(descriptor)


def read_records(path: Path) -> Iterator[Record]:
    """The records of the newest series, as far as they are whole; none where there is no file.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            first: Record | None = None
            number = 0
            while (record := _read_record(file)) is not None:
                first = first or record
                if (record.base, record.number) != (first.base, number):
                    return
                yield record
                number += 1
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(path, error) from error


def _read_record(file: BinaryIO) -> Record | None:
    """The record at the file's position, which is moved behind it; None when there is no whole one."""
    start = file.tell()
    lengths, digest = file.read(_LENGTHS.size), file.read(DIGEST_BYTES)
    if len(digest) < DIGEST_BYTES:
        return None
    magic, head_length, body_length = _LENGTHS.unpack(lengths)
    if magic != MAGIC or head_length + body_length > FILE_BYTES:
        return None
    head = file.read(head_length)
    if hashlib.sha256(lengths + head).digest() != digest:
        return None
    text = json.loads(head)
    body = [file.read(length) for length, _ in text["blobs"]]
    for blob, (length, sha256) in zip(body, text["blobs"], strict=True):
        if len(blob) != length or (sha256 is not None and hashlib.sha256(blob).hexdigest() != sha256):
            return None
    length = _LENGTHS.size + DIGEST_BYTES + head_length + body_length
    file.seek(start + length + -length % PAGE_BYTES)
    changes = tuple(
        Change(table, _decoded(key, body), _decoded(values, body), insert)
        for table, key, values, insert in text["changes"]
    )
    return Record((text["base"][0], bytes.fromhex(text["base"][1])), text["number"], changes)


def _coded(values: Mapping[str, Value], body: list[bytes]) -> dict[str, object]:
    """As JSON can hold them; long ones go to the body."""
    coded: dict[str, object] = {}
    for name, value in values.items():
        if not isinstance(value, bytes):
            coded[name] = value
        elif len(value) <= LONG_VALUE_BYTES:
            coded[name] = {"hex": value.hex()}
        else:
            coded[name] = {"blob": len(body)}
            body.append(value)
    return coded


def _decoded(coded: Mapping[str, Any], body: Sequence[bytes]) -> dict[str, Value]:
    def decode(value: object) -> Any:  # noqa: ANN401  a Value, by what _coded has written
        if not isinstance(value, dict):
            return value
        return bytes.fromhex(value["hex"]) if "hex" in value else body[value["blob"]]

    return {name: decode(value) for name, value in coded.items()}


def _lengthen(descriptor: int) -> None:
    """Write the file to its full length: to overwrite takes the disk half as long as to append."""
    length = os.fstat(descriptor).st_size
    os.lseek(descriptor, length, os.SEEK_SET)
    while length < FILE_BYTES:
        length += os.write(descriptor, bytes(min(2**20, FILE_BYTES - length)))
    os.fsync(descriptor)


def _failed(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path}: {error.strerror}; check the disk, its free space and the file's permissions")


# --- rows ------------------------------------------------------------------------------------


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
    if change.key and run(change_it, values):
        return
    if change.insert:
        run(insert_it, values)


def newest_event(connection: sqlite3.Connection) -> Base:
    """Number and hash of the event log's last entry; those of an empty log where there is no table yet."""
    try:
        query = "SELECT sequence, hash FROM events ORDER BY sequence DESC LIMIT 1"
        row = connection.execute(query).fetchone()
    except sqlite3.OperationalError:
        return 0, GENESIS
    return (int(row[0]), bytes(row[1])) if row else (0, GENESIS)


def pending_changes(records: Iterable[Record], newest: Base, path: Path) -> list[Change]:
    """The changes in a series that a database whose event log ends with `newest` does not have.

    Args:
        path: of the file that they are from, as a message names it.
    Raises:
        StoreError: the file continues another copy of the database.
    """
    changes: list[Change] = []
    pending = False
    for record in records:
        if record.number == 0:
            pending = record.base == newest
            if not pending and record.base[0] >= newest[0]:
                raise _stray(path)
        event = next((change for change in record.changes if change.table == EVENTS), None)
        if pending:
            if event is not None:
                newest = _follows(event, newest, path)
            changes += record.changes
        elif event is not None and event.key["sequence"] == newest[0]:
            if event.values["hash"] != newest[1]:
                raise _stray(path)
            pending = True  # a copy of the database that was made between two records of the series
    return changes


def _follows(event: Change, newest: Base, path: Path) -> Base:
    """The entry that an event makes the newest, when it is linked to the one before."""
    values = event.values
    texts = (str(values[name]) for name in ("kind", "study_hash", "detail"))
    linked = link_hash(newest[1], int(str(values["at_ms"])), *texts)
    if (event.key["sequence"], values["hash"]) != (newest[0] + 1, linked):
        raise _stray(path)
    return newest[0] + 1, linked


def _stray(path: Path) -> StoreError:
    database = path.name.removesuffix(SUFFIX)
    return StoreError(
        f"{path}: continues another copy of {database}, which has entries that this one lacks; restore both "
        f"files from the same backup, or, if this {database} is the newest there is, move {path.name} away"
    )


class RedoLog:
    """What is durable in the file and not in SQLite yet; for the one process that appends.

    Everything is called while SQLite's write lock is held.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, whose records SQLite has taken in.

        Raises:
            StoreError: as for `RedoFile`.
        """
        self._file = RedoFile(path)
        self._base: Base | None = None
        self._newest: Base = (0, GENESIS)
        self._number = 0
        self._rows: dict[tuple[str, tuple[Value, ...]], Change] = {}
        self._numbers: dict[str, int] = {}

    def last_event(self, connection: sqlite3.Connection) -> Base:
        """Number and hash of the event log's last entry, here or in SQLite."""
        stored = newest_event(connection)
        if stored == self._base:
            return self._newest
        # Another process has taken everything in, and may have gone on; or nothing is pending.
        self.taken()
        self._base = self._newest = stored
        return stored

    def append(self, connection: sqlite3.Connection, changes: Sequence[Change], event: Change | None) -> bool:
        """Make changes durable, after `last_event`; False when the file has no room for them.

        Raises:
            StoreError: the disk failed, and nothing is changed.
        """
        if self._base is None:
            self.last_event(connection)
        base = self._base or self._newest
        numbered = [self._numbered(connection, change) for change in changes]
        if event is not None:
            numbered.append(event)
        if not self._file.append(base, self._number, numbered):
            return False
        self._number += 1
        for change in numbered:
            self._remember(change)
        if event is not None:
            self._newest = int(str(event.key["sequence"])), bytes(event.values["hash"])  # type: ignore[arg-type]
        return True

    def _numbered(self, connection: sqlite3.Connection, change: Change) -> Change:
        """A new row of a table that numbers its rows, under the next number."""
        if change.key:
            return change
        table = change.table
        if table not in self._numbers:
            query = "SELECT seq FROM sqlite_sequence WHERE name = ?"
            row = connection.execute(query, (table,)).fetchone()
            self._numbers[table] = int(row[0]) if row else 0
        self._numbers[table] += 1
        return Change(table, {"sequence": self._numbers[table]}, change.values)

    def _remember(self, change: Change) -> None:
        """A later change of the same row replaces what an earlier one says of the same columns."""
        place = (change.table, tuple(change.key.values()))
        before = self._rows.get(place)
        if before is not None:
            values = {**before.values, **change.values}
            change = Change(change.table, change.key, values, before.insert or change.insert)
        self._rows[place] = change

    def rows(self, table: str) -> list[Mapping[str, Value]]:
        """The pending rows of one table, in the order in which they came."""
        return [{**change.key, **change.values} for change in self._rows.values() if change.table == table]

    def take_in(self, connection: sqlite3.Connection) -> None:
        """Write what is pending into SQLite; when it is committed, call `taken`."""
        if self._rows and newest_event(connection) == self._base:
            for change in self._rows.values():
                write_change(connection, change)

    def taken(self) -> None:
        """Everything is in SQLite: the next record begins a new series."""
        if self._number:
            self._file.clear()
        self._base, self._number = None, 0
        self._rows.clear()
        self._numbers.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def take_in_file(connection: sqlite3.Connection, path: Path, records: Iterable[Record] | None = None) -> None:
    """Write into SQLite what the file holds and it does not have, within the caller's transaction.

    Args:
        records: what the file held before; by default what it holds now.
    Raises:
        StoreError: as for `pending_changes`.
    """
    found = read_records(path) if records is None else records
    for change in pending_changes(found, newest_event(connection), path):
        write_change(connection, change)


def write_change(connection: sqlite3.Connection, change: Change) -> None:
    """Change a row of SQLite's, or insert it."""
    write_row(lambda text, values: connection.execute(text, values).rowcount, change)

"""A process's own database: what must survive kill -9 is here before anything leaves.

SQLite with write-ahead log and synchronous=FULL (https://sqlite.org/pragma.html#pragma_synchronous),
or PostgreSQL by its URL (`postgres`). One process at a time holds it; commands beside it
take turns with it, a transaction at a time.
"""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    CursorResult,
    Engine,
    Executable,
    Table,
    create_engine,
    event,
)
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from fedcohort.audit import Detail, newest_query, next_entry, verify_events
from fedcohort.errors import StoreError
from fedcohort.sources.database import LOCK_SECONDS, database_url, display, explained
from fedcohort.sources.migrate import Schema, make_current, revision_of, set_revision
from fedcohort.sources.postgres import open_postgres


class Durable:
    """A store of our own: one connection, one transaction at a time, safe to use from several threads.

    Attributes:
        n_failures: transactions that the database has refused since this process opened it.
    """

    def __init__(self, database: str | Path, schema: Schema, *, alone: bool = False) -> None:
        """Open it, making its tables when they are missing.

        Args:
            alone: no other process works on it, and tables of an earlier program are brought up to
                date. Where it is a file, the caller holds its folder (`hold`).
        Raises:
            StoreError: locked, read-only, full, damaged, unreachable, or of another program's
                version; names the database and the remedy.
        """
        self._url = database_url(database)
        self._lock = threading.RLock()
        self.n_failures = 0
        with explained(self._url):
            self._engine = _open_engine(self._url, alone=alone)
            self._connection = self._engine.connect()
        try:
            with self.transaction() as connection:
                make_current(connection, schema, display(self._url), upgrade=alone)
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of it durable when the block ends, or nothing.

        Raises:
            StoreError: the database is locked, read-only or full; names it and the remedy.
        """
        with self._lock:
            try:
                with explained(self._url), self._connection.begin():
                    yield self._connection
            except StoreError:
                self.n_failures += 1
                raise

    def check_writable(self) -> None:
        """Write a row, as it stands, down to the disk.

        Raises:
            StoreError: that failed; names the database and the remedy.
        """
        with self.transaction() as connection:
            set_revision(connection, revision_of(connection))

    def prepare(self, statement: Executable) -> "Prepared":
        """Compile a statement of a hot path once."""
        compiled = statement.compile(self._engine)  # type: ignore[attr-defined]
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return Prepared(
            str(compiled), tuple(compiled.positiontup) if compiled.positional else None, constants
        )

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()
        self._engine.dispose()


@dataclass(frozen=True)
class Prepared:
    """A compiled statement: running it costs little more than the database itself."""

    text: str
    order: tuple[str, ...] | None
    constants: Mapping[str, object]

    def run(self, connection: Connection, values: Mapping[str, object]) -> CursorResult[Any]:
        """Run it with these parameters, by name."""
        given = {**self.constants, **values}
        if self.order is None:
            return connection.exec_driver_sql(self.text, given)
        return connection.exec_driver_sql(self.text, tuple(given[name] for name in self.order))


class EventLog:
    """Appends to one store's events, inside the caller's transaction."""

    def __init__(self, table: Table, store: "Durable") -> None:
        self._table = table
        self._newest = store.prepare(newest_query(table))
        self._insert = store.prepare(table.insert())

    def append(
        self, connection: Connection, kind: str, study_hash: str = "", detail: Detail | None = None
    ) -> None:
        """Add an entry."""
        last = self.newest(connection)
        self._insert.run(connection, next_entry(last, kind, study_hash, detail))

    def newest(self, connection: Connection) -> tuple[int, bytes] | None:
        """Number and hash of the last entry."""
        row = self._newest.run(connection, {}).mappings().first()
        return (int(row["sequence"]), bytes(row["hash"])) if row else None

    def verify(self, connection: Connection) -> int:
        """Recompute the chain and return its length."""
        return verify_events(self._table, connection)


def _open_engine(url: URL, *, alone: bool) -> Engine:
    options: dict[str, object] = {"hide_parameters": True}
    match url.get_backend_name():
        case "postgresql":
            return open_postgres(url, options, alone=alone)
        case other if other != "sqlite":
            raise StoreError(f"{display(url)}: {other} cannot be used here; use SQLite or PostgreSQL")
    options |= {
        "poolclass": StaticPool,
        "connect_args": {"check_same_thread": False, "timeout": LOCK_SECONDS},
    }
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _durable_pragmas)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _durable_pragmas(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    # A checkpoint copies the log into the database: rarely, for a round of a large model writes megabytes.
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF", "wal_autocheckpoint=8192"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def hold(folder: Path) -> sqlite3.Connection:
    """Hold a folder for this process alone, until the process ends or the connection is closed.

    Raises:
        StoreError: another process holds it, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            folder / "lock", timeout=0.0, isolation_level=None, check_same_thread=False
        )
        connection.execute("BEGIN EXCLUSIVE")
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; make the folder writable") from error
    except sqlite3.Error:
        raise StoreError(
            f"{folder}: in use by another process, or read-only; stop the other one first"
        ) from None
    return connection

"""A process's own database: what must survive kill -9 is here before anything leaves.

SQLite with write-ahead log and synchronous=FULL (https://sqlite.org/pragma.html#pragma_synchronous),
or PostgreSQL by its URL (`postgres`). One process at a time holds it; commands beside it
take turns with it, a transaction at a time.
"""

import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Executable,
    Table,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from fedcohort.audit.chain import Detail, detail_text, newest_query, next_entry, verify_events
from fedcohort.errors import StoreError
from fedcohort.storage import timeouts
from fedcohort.storage.database import database_url, display, explained
from fedcohort.storage.migrate import Schema, make_current, revision_of, set_revision
from fedcohort.storage.permissions import private_database, private_folder
from fedcohort.storage.postgres import open_postgres

LOG_BYTES = 2**25
"""Of SQLite's write-ahead log: from the start, and between checkpoints."""

MOST_ALIKE = 10
"""Entries of an event log that say the same of the same study, where others cause them."""

Hot = Connection | sqlite3.Connection
"""A transaction of prepared statements: the driver's own connection where it is SQLite's."""


class Rows(Protocol):
    """What a prepared statement has found or changed, by whichever connection."""

    @property
    def rowcount(self) -> int:
        """Rows that it has changed."""
        ...

    def fetchone(self) -> Sequence[Any] | None:
        """The next row; None when there is none."""
        ...

    def fetchall(self) -> Sequence[Sequence[Any]]:
        """All rows."""
        ...


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
            driver = self._connection.connection.driver_connection
        self._sqlite = driver if isinstance(driver, sqlite3.Connection) else None
        try:
            with self.transaction() as connection:
                make_current(connection, schema, display(self._url), upgrade=alone)
            if alone and self._sqlite is not None and _has_room(self._url):
                with self._counted():
                    _lengthen_log(self._sqlite)
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of it durable when the block ends, or nothing.

        Raises:
            StoreError: the database is locked, read-only or full; names it and the remedy.
        """
        with self._counted(), self._connection.begin():
            yield self._connection

    @contextmanager
    def hot_transaction(self) -> Iterator[Hot]:
        """A `transaction` of prepared statements only, at a tenth of its cost where it is SQLite's.

        Raises:
            StoreError: as for `transaction`.
        """
        if self._sqlite is None:
            with self.transaction() as connection:
                yield connection
        else:
            with self._counted(), _immediate(self._sqlite):
                yield self._sqlite

    def read(self, statement: "Prepared", values: Mapping[str, object]) -> list[Sequence[Any]]:
        """The rows of one prepared SELECT.

        In SQLite it waits for no writer, and sees what was committed last
        (https://sqlite.org/isolation.html).

        Raises:
            StoreError: as for `transaction`.
        """
        if self._sqlite is not None:
            with self._counted():
                return list(statement.run(self._sqlite, values).fetchall())
        with self.transaction() as connection:
            return list(statement.run(connection, values).fetchall())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """One thread at a time, failures in plain words and counted."""
        with self._lock:
            try:
                with explained(self._url):
                    yield
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

    def run(self, connection: Hot, values: Mapping[str, object]) -> Rows:
        """Run it with these parameters, by name."""
        given = {**self.constants, **values}
        ordered = None if self.order is None else tuple(given[name] for name in self.order)
        if isinstance(connection, sqlite3.Connection):
            return connection.execute(self.text, ordered or ())
        return connection.exec_driver_sql(self.text, given if ordered is None else ordered)


class EventLog:
    """Appends to one store's events, inside the caller's transaction."""

    def __init__(self, table: Table, store: "Durable") -> None:
        self._table = table
        self._full: set[tuple[str, str, str]] = set()
        self._newest = store.prepare(newest_query(table))
        self._insert = store.prepare(table.insert())

    def append(self, connection: Hot, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add an entry."""
        last = self.newest(connection)
        self._insert.run(connection, next_entry(last, kind, study_hash, detail))

    def append_seldom(
        self,
        connection: Connection,
        kind: str,
        study_hash: str = "",
        detail: Detail | None = None,
        *,
        site: str | None = None,
    ) -> bool:
        """Add an entry that others cause, unless the log has `MOST_ALIKE` equal ones: nobody fills it so.

        Args:
            site: as `detail` names it last; entries about it are equal whatever else they say, where the site
                chooses the words.
        """
        found, text = self._table.c, detail_text(detail)
        same = found.detail == text
        if site is not None:
            text = f'"site":{json.dumps(site)}}}'
            # LIKE would take sites for one whose names differ in capitals only.
            same = func.substr(found.detail, func.length(found.detail) - len(text) + 1) == text
        if (kind, study_hash, text) in self._full:
            return False
        alike = select(found.sequence).where(found.kind == kind, found.study_hash == study_hash, same)
        if len(connection.execute(alike.limit(MOST_ALIKE)).all()) >= MOST_ALIKE:
            self._full.add((kind, study_hash, text))
            return False
        self.append(connection, kind, study_hash, detail)
        return True

    def newest(self, connection: Hot) -> tuple[int, bytes] | None:
        """Number and hash of the last entry."""
        row = self._newest.run(connection, {}).fetchone()
        return (int(row[0]), bytes(row[1])) if row else None

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
        "connect_args": {"check_same_thread": False, "timeout": timeouts.LOCK_SECONDS},
    }
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        private_database(path)
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _durable_pragmas)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _durable_pragmas(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    # A checkpoint copies the log into the database: rarely, for a round of a large model writes megabytes.
    checkpoint = f"wal_autocheckpoint={LOG_BYTES // 4096}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF", checkpoint):
        connection.execute(f"PRAGMA {pragma}")


def _has_room(url: URL) -> bool:
    """Whether the disk can spare what would only save time."""
    folder = Path(url.database or "").absolute().parent
    return shutil.disk_usage(folder).free > 16 * LOG_BYTES


def _lengthen_log(connection: sqlite3.Connection) -> None:
    """Let the log have its length from the start: a commit that makes a file longer waits twice as long.

    What does not fit into the page cache goes to the log before it is rolled back
    (https://sqlite.org/pragma.html#pragma_cache_spill), and a log is overwritten, not cut
    (https://sqlite.org/wal.html#avoiding_excessively_large_wal_files).
    """
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("CREATE TABLE lengthens_the_log (bytes BLOB)")
    connection.execute("INSERT INTO lengthens_the_log VALUES (zeroblob(?))", (LOG_BYTES,))
    connection.execute("ROLLBACK")


@contextmanager
def _immediate(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE, and COMMIT or ROLLBACK, without SQLAlchemy."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # Some errors, such as a full disk, have rolled back already (https://sqlite.org/lang_transaction.html).
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def hold(folder: Path) -> sqlite3.Connection:
    """Hold a folder for this process alone, until the process ends or the connection is closed.

    No other account of the machine can look into it from then on.

    Raises:
        StoreError: another process holds it, or the folder cannot be written or is another user's.
    """
    private_folder(folder)
    try:
        connection = sqlite3.connect(
            folder / "lock", timeout=0.0, isolation_level=None, check_same_thread=False
        )
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error:
        raise StoreError(
            f"{folder}: in use by another process, or read-only; stop the other one first"
        ) from None
    return connection

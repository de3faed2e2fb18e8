"""The database of a process itself: what must survive kill -9 is durable before anything leaves.

SQLite with write-ahead log and synchronous=FULL (https://sqlite.org/pragma.html#pragma_synchronous),
or PostgreSQL by its URL (`postgres`). One process at a time runs on it; commands
that run at the same time take turns with it, a transaction at a time.

No other account of the machine can read it, whatever the umask: SQLite makes a database's log with the
database's mode (https://sqlite.org/walformat.html, and `robust_open` in its os_unix.c). On Windows files
have the permissions of their folder, so that nothing is done there.
"""

import json
import logging
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

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
from fedcohort.storage.database import create_owner_only, database_url, display, explained
from fedcohort.storage.files import GROUP_AND_OTHERS
from fedcohort.storage.migrate import Schema, make_current, revision_of, set_revision
from fedcohort.storage.postgres import open_postgres
from fedcohort.storage.redo import (
    FILE_BYTES,
    SUFFIX,
    Change,
    RedoLog,
    begin_log,
    forget_series,
    redo_path,
    take_in,
    write_row,
)

log = logging.getLogger("fedcohort.storage")

WAL_BYTES = 2**25
"""Of SQLite's write-ahead log, between checkpoints."""

MOST_EQUAL_ENTRIES = 10
"""Equal entries of an event log about one study, where others cause them."""

DATABASE_SUFFIXES = ("", "-wal", "-shm", "-journal", SUFFIX)
"""Of a database's file, of those that SQLite makes next to it, and of the redo log."""

HotConnection = Connection | sqlite3.Connection
"""A transaction of prepared statements: the driver's own connection where it is SQLite's."""


class ResultRows(Protocol):
    """Rows that a prepared statement has selected or changed, by either kind of connection."""

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


class DurableStore:
    """A process's own database: one connection, one transaction at a time, safe to use from several threads.

    Attributes:
        n_failures: transactions that the database has refused since this process opened it.
    """

    def __init__(self, database: str | Path, schema: Schema, *, exclusive: bool = False) -> None:
        """Open it, making its tables when they are missing.

        Args:
            exclusive: no other process works on it, and tables of an earlier program are brought up to
                date. Where it is a file, the caller holds its folder (`lock_folder`).
        Raises:
            StoreError: locked, read-only, full, damaged, unreachable, or of another program's
                version; names the database and the remedy.
        """
        self._url = database_url(database)
        self._lock = threading.RLock()
        self.n_failures = 0
        with explained(self._url):
            self._engine = _open_engine(self._url, exclusive=exclusive)
            self._connection = self._engine.connect()
            driver = self._connection.connection.driver_connection
        self._sqlite = driver if isinstance(driver, sqlite3.Connection) else None
        self._redo: RedoLog | None = None
        self._redo_path = _redo_path(self._url)
        self._redo_begins = exclusive
        try:
            with self.transaction() as connection:
                make_current(connection, schema, display(self._url), upgrade=exclusive)
                if exclusive and self._sqlite is not None:
                    forget_series(self._sqlite)
        except StoreError:
            self.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of it durable when the block ends, or nothing.

        Raises:
            StoreError: the database is locked, read-only or full; names it and the remedy.
        """
        with self._counted():
            with self._connection.begin():
                self._take_in()
                yield self._connection
            self._taken()

    @contextmanager
    def hot_transaction(self) -> Iterator[HotConnection]:
        """A `transaction` of prepared statements only, at a tenth of its cost where it is SQLite's.

        Raises:
            StoreError: as for `transaction`.
        """
        if self._sqlite is None:
            with self.transaction() as connection:
                yield connection
        else:
            with self._counted():
                with _immediate(self._sqlite):
                    self._take_in()
                    yield self._sqlite
                self._taken()

    def keep(
        self,
        changes: Sequence[Change],
        events: "EventLog",
        entry: "LogEntry | None" = None,
        check: Callable[[HotConnection], None] | None = None,
        *,
        read_soon: bool = False,
    ) -> None:
        """Make rows and an entry of the event log durable, all or nothing: what a round waits for.

        Args:
            check: raises where, by what the database holds, they may not be kept.
            read_soon: a transaction reads them before the next ones are kept, so that SQLite gets them now.
        Raises:
            StoreError: as for `transaction`.
        """
        if check is None and not read_soon and self._append(changes, events, entry):
            return
        with self.hot_transaction() as connection:
            if check is not None:
                check(connection)
            for change in changes:
                _write(connection, change)
            if entry is not None:
                events.append(connection, entry.kind, entry.study_hash, entry.detail)

    def _append(self, changes: Sequence[Change], events: "EventLog", entry: "LogEntry | None") -> bool:
        """The same in the redo log; False where there is none, or no room in it."""
        with self._lock:
            if self._redo_begins:
                self._begin_redo()
            if self._redo is None or self._sqlite is None:
                return False
            # In the order that SQLite's write lock gives to what all processes write.
            with self._counted(), _immediate(self._sqlite):
                if not self._redo.follow(self._sqlite):
                    return False
                newest = self._redo.newest or events.newest(self._sqlite)
                if entry is not None:
                    row = next_entry(newest, entry.kind, entry.study_hash, entry.detail)
                    newest = cast("tuple[int, bytes]", (row["sequence"], row["hash"]))
                    changes = [*changes, Change("events", {}, row)]
                return self._redo.append(self._sqlite, changes, newest)

    def _begin_redo(self) -> None:
        """Make the redo log, once, when the first round needs it and the disk has room to spare."""
        self._redo_begins = False
        if self._sqlite is None or self._redo_path is None or not _has_room(self._redo_path):
            return
        try:
            with explained(self._url), _immediate(self._sqlite):
                redo = begin_log(self._sqlite, self._redo_path)
            self._redo = redo
        except StoreError as error:
            log.warning("no redo log, so that rounds take longer: %s", error)

    def read_with_pending(
        self, statement: "PreparedStatement", values: Mapping[str, object], table: Table
    ) -> tuple[list[Sequence[Any]], list[Mapping[str, Any]]]:
        """What `read` finds, and all rows of a table that are durable and that it does not find yet."""
        with self._lock:
            rows = self.read(statement, values)
            return rows, [] if self._redo is None else self._redo.rows(table.name)

    def _take_in(self) -> None:
        """Within a transaction: what rounds have made durable, before anything else."""
        if self._sqlite is not None and self._redo is not None:
            self._redo.take_in(self._sqlite)
        elif self._sqlite is not None and self._redo_path is not None:
            take_in(self._sqlite, self._redo_path)

    def _taken(self) -> None:
        """The transaction is committed."""
        if self._redo is not None:
            self._redo.taken()

    def read(self, statement: "PreparedStatement", values: Mapping[str, object]) -> list[Sequence[Any]]:
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

    def prepare(self, statement: Executable) -> "PreparedStatement":
        """Compile a statement of a hot path once."""
        compiled = statement.compile(self._engine)  # type: ignore[attr-defined]
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        return PreparedStatement(
            str(compiled), tuple(compiled.positiontup) if compiled.positional else None, constants
        )

    def close(self) -> None:
        """Take in what is pending, as far as that succeeds, and close the connection."""
        redo, self._redo_begins = self._redo, False
        if redo is not None and self._sqlite is not None:
            with suppress(StoreError):
                with self.hot_transaction():
                    redo.forget(self._sqlite)
                with self._counted(), _immediate(self._sqlite):  # so that nobody begins another one meanwhile
                    redo.remove_unused(self._sqlite)
            self._redo = None
            redo.close()
        self._connection.close()
        self._engine.dispose()


@dataclass(frozen=True)
class PreparedStatement:
    """A compiled statement: running it costs little more than the database itself."""

    text: str
    order: tuple[str, ...] | None
    constants: Mapping[str, object]

    def run(self, connection: HotConnection, values: Mapping[str, object]) -> ResultRows:
        """Run it with these parameters, by name."""
        given = {**self.constants, **values}
        ordered = None if self.order is None else tuple(given[name] for name in self.order)
        if isinstance(connection, sqlite3.Connection):
            return connection.execute(self.text, ordered or ())
        return connection.exec_driver_sql(self.text, given if ordered is None else ordered)


@dataclass(frozen=True)
class LogEntry:
    """An entry of the event log that has no number yet."""

    kind: str
    study_hash: str = ""
    detail: Detail | None = None


def _write(connection: HotConnection, change: Change) -> None:
    if isinstance(connection, sqlite3.Connection):
        write_row(lambda text, row: connection.execute(text, row).rowcount, change)
    else:
        write_row(lambda text, row: connection.exec_driver_sql(text, row).rowcount, change, "%%(%s)s")


class EventLog:
    """Appends to one store's events, inside the caller's transaction."""

    def __init__(self, table: Table, store: "DurableStore") -> None:
        self._table = table
        self._full: set[tuple[str, str, str]] = set()
        self._newest = store.prepare(newest_query(table))
        self._insert = store.prepare(table.insert())

    def append(
        self, connection: HotConnection, kind: str, study_hash: str = "", detail: Detail | None = None
    ) -> None:
        """Add an entry."""
        last = self.newest(connection)
        self._insert.run(connection, next_entry(last, kind, study_hash, detail))

    def append_limited(
        self,
        connection: Connection,
        kind: str,
        study_hash: str = "",
        detail: Detail | None = None,
        *,
        site: str | None = None,
    ) -> bool:
        """Add an entry that others cause, unless the log has `MOST_EQUAL_ENTRIES` of it: nobody can fill it.

        Args:
            site: as `detail` names it last; entries about it are equal whatever else they say, where the site
                chooses the words.
        """
        columns, text = self._table.c, detail_text(detail)
        same = columns.detail == text
        if site is not None:
            text = f'"site":{json.dumps(site)}}}'
            # LIKE would take sites for one whose names differ in capitals only.
            same = func.substr(columns.detail, func.length(columns.detail) - len(text) + 1) == text
        if (kind, study_hash, text) in self._full:
            return False
        equal = select(columns.sequence).where(columns.kind == kind, columns.study_hash == study_hash, same)
        if len(connection.execute(equal.limit(MOST_EQUAL_ENTRIES)).all()) >= MOST_EQUAL_ENTRIES:
            self._full.add((kind, study_hash, text))
            return False
        self.append(connection, kind, study_hash, detail)
        return True

    def newest(self, connection: HotConnection) -> tuple[int, bytes] | None:
        """Number and hash of the last entry."""
        row = self._newest.run(connection, {}).fetchone()
        return (int(row[0]), bytes(row[1])) if row else None

    def verify(self, connection: Connection) -> int:
        """Recompute the chain and return its length."""
        return verify_events(self._table, connection)


def _open_engine(url: URL, *, exclusive: bool) -> Engine:
    options: dict[str, object] = {"hide_parameters": True}
    match url.get_backend_name():
        case "postgresql":
            return open_postgres(url, options, exclusive=exclusive)
        case other if other != "sqlite":
            raise StoreError(f"{display(url)}: {other} cannot be used here; use SQLite or PostgreSQL")
    options |= {
        "poolclass": StaticPool,
        "connect_args": {"check_same_thread": False, "timeout": timeouts.LOCK_SECONDS},
    }
    if url.database and url.database != ":memory:":
        path = Path(url.database)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner_only_database(path)
    engine = create_engine(url, **options)
    event.listen(engine, "connect", _durable_pragmas)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _durable_pragmas(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    # A checkpoint copies the log into the database: rarely, for a round of a large model writes megabytes.
    checkpoint = f"wal_autocheckpoint={WAL_BYTES // 4096}"
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF", checkpoint):
        connection.execute(f"PRAGMA {pragma}")


def _redo_path(url: URL) -> Path | None:
    """Where the redo log of a database is; None where it has none."""
    in_file = url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:"
    return redo_path(Path(str(url.database))) if in_file else None


def _has_room(redo: Path) -> bool:
    """Whether the disk has room for a redo log of full length, which only saves time."""
    return redo.exists() or shutil.disk_usage(redo.absolute().parent).free > 16 * FILE_BYTES


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


def lock_folder(folder: Path) -> sqlite3.Connection:
    """Lock a folder for this process, until the process ends or the connection is closed.

    From then on no other account of the machine can read it.

    Raises:
        StoreError: another process holds it, or the folder cannot be written or is another user's.
    """
    owner_only_folder(folder)
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


def owner_only_folder(folder: Path) -> None:
    """Make a folder that only this user can read, or close an existing one to others.

    Raises:
        StoreError: it belongs to another user and is open to others, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StoreError(f"{folder}: {error.strerror}; make the folder writable") from error
    _close_to_others(folder)


def owner_only_database(path: Path) -> None:
    """Make an empty SQLite file that only this user can read, or close an existing one and its log.

    Raises:
        StoreError: as for `owner_only_folder`.
    """
    if not path.exists():
        create_owner_only(path)
    for file in (path.with_name(path.name + suffix) for suffix in DATABASE_SUFFIXES):
        _close_to_others(file)


def _close_to_others(path: Path) -> None:
    if os.name != "posix":
        return
    try:
        status = path.stat()
        mode = stat.S_IMODE(status.st_mode)
        if mode & GROUP_AND_OTHERS and status.st_uid == os.geteuid():
            path.chmod(mode & ~GROUP_AND_OTHERS)
    except FileNotFoundError:
        return  # a log that has gone meanwhile
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; close it to others: chmod go= {path}") from error
    if mode & GROUP_AND_OTHERS and status.st_uid != os.geteuid():
        raise StoreError(
            f"{path}: open to others, and another user's (number {status.st_uid}); give it to the user that "
            f"runs fedcohort (chown), or let its owner close it: chmod go= {path}"
        )

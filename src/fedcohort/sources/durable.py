"""A process's own database: what must survive kill -9 is here before anything leaves.

SQLite with write-ahead log and synchronous=FULL (https://sqlite.org/pragma.html#pragma_synchronous),
or another server by its URL. One process at a time holds it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, MetaData, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, StaticPool

from fedcohort.errors import StoreError
from fedcohort.sources.database import LOCK_SECONDS, database_url, explained


def open_durable(database: str | Path, tables: MetaData) -> Engine:
    """Open a store of our own, making its tables when they are missing; its folder must be writable.

    Raises:
        StoreError: locked, read-only, full, damaged or unreachable; names the database and the remedy.
    """
    url = database_url(database)
    options: dict[str, object] = {"hide_parameters": True}
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        options |= {
            "poolclass": StaticPool,
            "connect_args": {"check_same_thread": False, "timeout": LOCK_SECONDS},
        }
        if url.database and url.database != ":memory:":
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    with explained(url):
        engine = create_engine(url, **options)
        if is_sqlite:
            event.listen(engine, "connect", _durable_pragmas)
            event.listen(engine, "begin", _begin_immediate)
        tables.create_all(engine)
    return engine


def _durable_pragmas(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "trusted_schema=OFF", "foreign_keys=ON"):
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


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """All of it durable when the block ends, or nothing.

    Raises:
        StoreError: the database is locked, read-only or full; names it and the remedy.
    """
    with explained(engine.url), engine.begin() as connection:
        yield connection

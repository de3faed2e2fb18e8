"""A site's database: its address, opened read-only or for an import, and each failure as an error of ours.

Any SQLAlchemy URL or a plain path names a database; a path means SQLite. Reading
never creates one. SQLite is opened with `mode=ro` and `PRAGMA query_only`
(https://sqlite.org/uri.html, https://sqlite.org/pragma.html#pragma_query_only) and
an authorizer that allows only SELECT; PostgreSQL gets `SET TRANSACTION READ ONLY`
and a statement time-out. On another server only one checked SELECT is ever sent:
give the node an account that can only read. DuckDB opens its file read-only and no
other one (`duckdb_files`).
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects import registry
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from fedcohort.errors import StoreError
from fedcohort.storage import timeouts
from fedcohort.texts import Text, say

IMPORT_CACHE_KIB = 65_536
IMPORTED_INTO = ("sqlite", "postgresql")

TOO_SLOW = say(
    "took longer than {seconds:g} s to answer; narrow the cohort or add an index",
    seconds=timeouts.QUERY_SECONDS,
)

SQLITE_REMEDIES = {
    "SQLITE_BUSY": "is locked by another program; close it, or wait, and try again",
    "SQLITE_LOCKED": "is locked by another program; close it, or wait, and try again",
    "SQLITE_READONLY": "is read-only; make the file and its folder writable, or choose another file",
    "SQLITE_CANTOPEN": "cannot be opened; check the path and that this user may read it",
    "SQLITE_PERM": "cannot be opened; check that this user may read it",
    "SQLITE_FULL": "has no space left; free disk space and try again",
    "SQLITE_IOERR": "could not be read or written; check the disk",
    "SQLITE_CORRUPT": "is damaged; restore it from a backup",
    "SQLITE_NOTADB": "is not a SQLite database, or is damaged; check the path or restore a backup",
    "SQLITE_INTERRUPT": TOO_SLOW,
    "SQLITE_AUTH": "refused the query, which may only read the cohort's table",
}
# https://www.postgresql.org/docs/current/errcodes-appendix.html, by code or by class
SQLSTATE_REMEDIES = {
    "57014": TOO_SLOW,
    "55P03": SQLITE_REMEDIES["SQLITE_LOCKED"],
    "25006": "is read-only; use an account that may write",
    "53100": SQLITE_REMEDIES["SQLITE_FULL"],
    "42501": "does not let this account read the table; grant it SELECT",
    "08": "cannot be reached; check host, port and network",
    "28": "refused the account; check user, password and pg_hba.conf",
    "3D": "does not exist on the server; check the name",
    "57P03": "is starting or stopping; wait a moment, and try again",
    "42883": "compares a text with a number in `where`; write texts in quotes, and numbers without",
    "2BP01": "has a view on the table; drop the view first, and make it again afterwards",
    "22": "holds a value that cannot be read as the study's column kind; check the column's values",
}
SERVER_GONE = "cannot be reached or refused the query; check address, account, and the server's own log"
# https://duckdb.org/docs/stable/clients/python/reference/#duckdb.Error, by class
DUCKDB_REMEDIES = {
    "IOException": "cannot be opened: another program writes to it, or it is no DuckDB database; check both",
    "InvalidInputException": "is read-only here; use another program to write",
    "PermissionException": "refused the query, which may only read this file",
    "InterruptException": "took longer to answer than a query may; narrow the cohort or add an index",
    "BinderException": "compares a text with a number in `where`; write texts in quotes, and numbers without",
    "ConversionException": "holds a value that cannot be read as the study's column kind; check its values",
}

registry.register("duckdb", "fedcohort.storage.duckdb_files", "DuckDialect")

_STEPS_BETWEEN_CLOCKS = 100_000


def database_url(database: str | Path) -> URL:
    """The SQLAlchemy URL of a database; a plain path means SQLite.

    Raises:
        StoreError: the text has the shape of a URL but is not one.
    """
    text = str(database)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        raise StoreError(
            "the database address is not a URL; write a path, or such as postgresql+psycopg://user@host/name"
        ) from None


def display(url: URL) -> str:
    """The database as a message may name it: a path, or a URL without its password."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)


def read_only_statements(dialect: str, seconds: float) -> tuple[str, ...]:
    """What makes a server's transaction read-only and bounded in time, before the one SELECT."""
    if dialect == "postgresql":
        return ("SET TRANSACTION READ ONLY", f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
    return ()


@contextmanager
def reading(database: str | Path) -> Iterator[Connection]:
    """Open a database for reading only, in one transaction: all that is read is of one moment.

    Raises:
        StoreError: it is missing, locked, damaged or unreachable; names the database and the remedy.
    """
    url = database_url(database)
    with explained(url), _engine(url, writable=False) as engine, engine.connect() as connection:
        for statement in read_only_statements(engine.dialect.name, timeouts.QUERY_SECONDS):
            connection.exec_driver_sql(statement)
        with timeouts.bounded_in_time(connection, timeouts.QUERY_SECONDS):
            yield connection
        connection.rollback()


@contextmanager
def writing(database: str | Path) -> Iterator[Connection]:
    """Open a database for an import of one transaction, all of it or nothing; a missing SQLite file is made.

    Raises:
        StoreError: it is locked, read-only, full, damaged or unreachable.
    """
    url = database_url(database)
    with explained(url), _engine(url, writable=True) as engine, engine.begin() as connection:
        yield connection


@contextmanager
def importing(database: str | Path, cache_kib: int = IMPORT_CACHE_KIB) -> Iterator[Engine]:
    """Open a database for an import of many transactions; a missing SQLite file is made.

    Args:
        cache_kib: of SQLite's pages.
    Raises:
        StoreError: it is locked, read-only, full, damaged or unreachable.
    """
    url = database_url(database)
    if url.get_backend_name() not in IMPORTED_INTO:
        raise StoreError(
            "{database}: imports are written to SQLite and PostgreSQL; a node reads another database where "
            "it is: name it in site.toml",
            database=display(url),
        )
    with explained(url), _engine(url, writable=True, cache_kib=cache_kib) as engine:
        yield engine


def select_only(connection: Connection) -> None:
    """Let the rest of a SQLite connection only SELECT, and stop a query that takes too long."""
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        restrict(raw)


def restrict(connection: sqlite3.Connection) -> None:
    """Let a SQLite connection only SELECT, and for a bounded time."""
    connection.set_authorizer(_authorize)
    connection.set_progress_handler(_deadline(timeouts.QUERY_SECONDS), _STEPS_BETWEEN_CLOCKS)


def _authorize(action: int, *_names: str | None) -> int:
    allowed = {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_TRANSACTION,
    }
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _deadline(seconds: float) -> Callable[[], int]:
    end = time.monotonic() + seconds
    return lambda: int(time.monotonic() > end)


@contextmanager
def _engine(url: URL, *, writable: bool, cache_kib: int = IMPORT_CACHE_KIB) -> Iterator[Engine]:
    """An engine whose messages never carry parameters, and that keeps no file open afterwards."""
    options: dict[str, object] = {"poolclass": NullPool, "hide_parameters": True}
    if url.get_backend_name() == "sqlite":
        path = _sqlite_file(url, writable=writable)
        options["creator"] = _sqlite_opener(path, cache_kib if writable else None)
    try:
        if url.get_backend_name() == "duckdb" and not writable:
            options["connect_args"] = _duckdb_reading(url)
        engine = create_engine(url, **options)
    except ModuleNotFoundError as error:
        remedies = {
            "duckdb": "pip install -c constraints.txt '.[duckdb]' in fedcohort's folder",
            "postgresql": "write postgresql+psycopg://, and "
            "pip install -c constraints.txt '.[postgresql]' in fedcohort's folder",
        }
        package = "mysqlclient" if error.name == "MySQLdb" else error.name
        remedy = remedies.get(url.get_backend_name(), f"pip install {package}")
        raise StoreError(
            "{database}: needs the Python package {name}; {remedy}",
            database=display(url),
            name=error.name,
            remedy=remedy,
        ) from None
    if url.get_backend_name() == "sqlite":
        begin = "BEGIN IMMEDIATE" if writable else "BEGIN"
        event.listen(engine, "connect", _manual_transactions)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    try:
        yield engine
    finally:
        engine.dispose()


def _duckdb_reading(url: URL) -> dict[str, object]:
    from fedcohort.storage.duckdb_files import READ_ONLY

    if not url.database or not Path(url.database).is_file():
        raise StoreError(
            "{database}: no such file; write such as duckdb:///folder/hospital.duckdb", database=display(url)
        )
    return dict(READ_ONLY)


def _sqlite_file(url: URL, *, writable: bool) -> Path:
    if not url.database or url.database == ":memory:":
        raise StoreError("the database address names no file; write a path such as hospital.db")
    path = Path(url.database)
    if path.is_dir() or (writable and not path.parent.is_dir()):
        raise StoreError("{path}: not a file in an existing folder; check the path", path=path)
    if writable and not path.exists():
        create_owner_only(path)
    if not path.exists():
        raise StoreError(
            "{path}: no such database; check the path, or make it by an import: `fedcohort data import "
            "--help`",
            path=path,
        )
    return path


def create_owner_only(path: Path) -> None:
    """Make an empty file that only this user can read, before any patient is in it.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(
            "{path}: cannot be made ({error}); check the folder's permissions and space",
            path=path,
            error=error.strerror,
        ) from None


def sqlite_address(path: Path, *, writable: bool) -> str:
    """A SQLite file as a URI that opens what is there, and makes nothing."""
    return f"{path.absolute().as_uri()}?mode={'rw' if writable else 'ro'}"


def _sqlite_opener(path: Path, cache_kib: int | None) -> Callable[[], sqlite3.Connection]:
    """How a file is opened; without a size of its cache, for reading only."""
    writable = cache_kib is not None

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            sqlite_address(path, writable=writable), uri=True, timeout=timeouts.LOCK_SECONDS
        )
        harden(connection, writable=writable)
        if writable:
            connection.execute(f"PRAGMA cache_size=-{cache_kib}")
        return connection

    return connect


def sqlite_pragmas(*, writable: bool) -> tuple[str, ...]:
    """The statements that every connection to a SQLite file begins with."""
    names = ("trusted_schema=OFF", "case_sensitive_like=ON", f"query_only={int(not writable)}")
    return tuple(f"PRAGMA {name}" for name in names)


def harden(connection: sqlite3.Connection, *, writable: bool) -> None:
    """Trust no function that the file's schema names, and make LIKE case-sensitive as on other engines."""
    for statement in sqlite_pragmas(writable=writable):
        connection.execute(statement)


def _manual_transactions(connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
    """Let SQLAlchemy send BEGIN: Python's sqlite3 would commit a CREATE TABLE on its own."""
    connection.isolation_level = None


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Raise as StoreError whatever the database or its driver raises.

    Raises:
        StoreError: names the database and the remedy; the driver's own text is left out.
    """
    try:
        yield
    except DBAPIError as error:
        raise StoreError("{place}: {what}", place=display(url), what=remedy_of(error.orig)) from None
    except sqlite3.Error as error:
        raise StoreError("{place}: {what}", place=display(url), what=remedy_of(error)) from None
    except SQLAlchemyError as error:
        raise StoreError(
            "{database}: {error}; check the database address",
            database=display(url),
            error=type(error).__name__,
        ) from None


def remedy_of(error: BaseException | None) -> Text:
    """What is wrong and what to do; never the driver's own text, which may quote a patient's value."""
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        base = "_".join(name.split("_")[:2])
        refused = say("refused the query ({name}); check that its tables are whole", name=name)
        return say(SQLITE_REMEDIES.get(base, refused))
    if type(error).__module__ in ("duckdb", "_duckdb"):
        refused = say("refused the query; check that its tables are whole")
        return say(DUCKDB_REMEDIES.get(type(error).__name__, refused))
    state = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
    state = state or _refused_by_postgres(error)
    return say(SQLSTATE_REMEDIES.get(state) or SQLSTATE_REMEDIES.get(state[:2]) or SERVER_GONE)


def _refused_by_postgres(error: BaseException | None) -> str:
    """The SQLSTATE class of a connection that was never made, for which libpq gives no code, only a message.

    The server's message may be in its own language; whether it asked for a password libpq says apart.
    """
    if type(error).__name__ != "OperationalError" or not type(error).__module__.startswith("psycopg"):
        return ""
    message, libpq = str(error), getattr(error, "pgconn", None)
    if "authentication" in message or "pg_hba.conf" in message or 'role "' in message:
        return "28"
    if 'database "' in message:
        return "3D"
    if "the database system is" in message:
        return "57P03"
    asked = libpq is not None and (libpq.needs_password or libpq.used_password)
    return "28" if asked else "08"

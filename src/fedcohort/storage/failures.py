"""Words for what a database or its driver raises: what is wrong, and what to do."""

import sqlite3

from fedcohort.storage import timeouts

TOO_SLOW = f"took longer than {timeouts.QUERY_SECONDS:g} s to answer; narrow the cohort or add an index"

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


def remedy_of(error: BaseException | None) -> str:
    """Words for a driver's error; never its own text, which may quote a patient's value."""
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        base = "_".join(name.split("_")[:2])
        return SQLITE_REMEDIES.get(base, f"refused the query ({name}); check that its tables are whole")
    if type(error).__module__ in ("duckdb", "_duckdb"):
        return DUCKDB_REMEDIES.get(type(error).__name__, "refused the query; check that its tables are whole")
    state = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
    state = state or _refused_by_postgres(error)
    return SQLSTATE_REMEDIES.get(state) or SQLSTATE_REMEDIES.get(state[:2]) or SERVER_GONE


def _refused_by_postgres(error: BaseException | None) -> str:
    """The SQLSTATE class of a connection that was never made, of which libpq hands on words alone.

    The server's words may be in its own language; whether it asked for a password libpq knows by itself.
    """
    if type(error).__name__ != "OperationalError" or not type(error).__module__.startswith("psycopg"):
        return ""
    words, made = str(error), getattr(error, "pgconn", None)
    if "authentication" in words or "pg_hba.conf" in words or 'role "' in words:
        return "28"
    if 'database "' in words:
        return "3D"
    if "the database system is" in words:
        return "57P03"
    asked = made is not None and (made.needs_password or made.used_password)
    return "28" if asked else "08"

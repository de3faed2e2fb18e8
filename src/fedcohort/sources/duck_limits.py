"""What DuckDB leaves to whoever asks it: a time limit, and words for its errors."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

# https://duckdb.org/docs/stable/clients/python/reference/#duckdb.Error, by class
DUCKDB_REMEDIES: Mapping[str, str] = {
    "IOException": "cannot be opened: another program writes to it, or it is no DuckDB database; check both",
    "InvalidInputException": "is read-only here; use another program to write",
    "PermissionException": "refused the query, which may only read this file",
    "InterruptException": "took longer to answer than a query may; narrow the cohort or add an index",
    "BinderException": "compares a text with a number in `where`; write texts in quotes, and numbers without",
    "ConversionException": "holds a value that cannot be read as the study's column kind; check its values",
}


@contextmanager
def bounded_in_time(connection: Connection, seconds: float) -> Iterator[None]:
    """DuckDB knows no time limit of its own: it is told when the time is over; other engines have theirs."""
    if connection.dialect.name != "duckdb":
        yield
        return
    raw: Any = connection.connection.driver_connection
    timer = threading.Timer(seconds, raw.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

"""How long a database may take."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

QUERY_SECONDS = 600.0
"""For one cohort query."""

LOCK_SECONDS = 5.0
"""How long another program's lock is waited for."""


@contextmanager
def bounded_in_time(connection: Connection, seconds: float) -> Iterator[None]:
    """Interrupt a DuckDB query after `seconds`: DuckDB has no time limit of its own, other engines have."""
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

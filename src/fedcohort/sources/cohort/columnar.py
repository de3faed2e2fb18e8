"""A cohort's rows as whole columns, where Arrow's database drivers are installed (extra `[arrow]`).

ADBC (https://arrow.apache.org/adbc/) hands the values of SQLite and PostgreSQL over as Arrow arrays,
so that no Python object is made for each of them. The SELECT is the one that `cohort` sends, and
the values are the same bits: what Arrow could tell differently (a column of several types, a type
that is rounded on the way) raises Unsuited, as any error does, and the rows are read one by one.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import URL
from sqlalchemy import types as sql
from sqlalchemy.types import TypeEngine

from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.normal_form import EXACT_BELOW
from fedcohort.sources.cohort.segments import Segments, doubles_of
from fedcohort.sources.cohort.values import Coded, Values
from fedcohort.storage import database, timeouts

Arrow = Any
"""pyarrow has no types."""

BATCH_ROWS = 32_768
BATCH_BYTES = 2**21
AHEAD = 1
"""Batches that wait while one is converted: two more are held, in either thread's hands."""
LONGEST = 64
"""Characters of an identifier above which a wide array would be a waste."""
_DRIVERS = {"sqlite": "adbc_driver_sqlite.dbapi", "postgresql": "adbc_driver_postgresql.dbapi"}
_EXACT = (sql.Boolean, sql.Integer, sql.Double, sql.String)
"""PostgreSQL's types that both drivers read to one value: not `real`, nor `numeric`, which comes as text."""
THREAD = "fedcohort-columns"
_WAIT_SECONDS = 0.1


class Unsuited(Exception):
    """These columns are not read through Arrow."""


@dataclass(frozen=True)
class Query:
    """One SELECT of a site's database, and the names of its columns, the patient's first."""

    url: URL
    sql: str
    names: tuple[str, ...]
    texts: frozenset[str]
    """Columns that hold nothing but texts."""
    segments: Segments | None = None
    """The same SELECT with doubles in segments, which is sent instead."""


def query_of(
    url: URL, select: str, types: Mapping[str, TypeEngine[object]], segments: Segments | None = None
) -> Query:
    """A SELECT of columns of these types, if Arrow tells their values as the ordinary driver does.

    A column of SQLite may hold numbers and texts, unless it is declared as text. Arrow would make
    texts of all its numbers as soon as one is a text: one patient would change another's value.

    Raises:
        Unsuited: read the rows instead.
    """
    engine = url.get_backend_name()
    if engine not in _DRIVERS:
        raise Unsuited
    if engine == "postgresql" and any(
        isinstance(kind, sql.Enum) or not isinstance(kind, _EXACT) for kind in types.values()
    ):
        raise Unsuited
    texts = frozenset(name for name, kind in types.items() if isinstance(kind, sql.String))
    return Query(url, select, tuple(types), texts, segments)


def column_chunks(query: Query) -> Iterator[dict[str, Values]]:
    """Each column of a batch of rows, batch by batch, while the next batches are fetched.

    Raises:
        Unsuited: read the rows instead; what was yielded is to be forgotten.
        StoreError: the database took longer than one query may.
    """
    arrow = _module("pyarrow")
    for batch in _batches(query):
        try:
            yield _columns(arrow, batch.columns, query)
        except (arrow.ArrowException, ValueError):
            raise Unsuited from None


def _columns(arrow: Arrow, arrays: Sequence[Arrow], query: Query) -> dict[str, Values]:
    if query.segments is None:
        names, doubles = query.names, dict[str, NDArray[np.float64]]()
    else:
        names, n_segments = query.segments.rest, len(query.segments.fours)
        doubles, arrays = doubles_of(arrays[:n_segments], query.segments), arrays[n_segments:]
    others = {name: _values(arrow, array, name, query) for name, array in zip(names, arrays, strict=True)}
    return {**others, **doubles}


def _module(name: str) -> Any:  # noqa: ANN401  neither pyarrow nor ADBC says its types
    try:
        return import_module(name)
    except ImportError:
        raise Unsuited from None


def _batches(query: Query) -> Iterator[Arrow]:
    """Arrow batches from a thread that opens, reads and closes the database.

    ADBC cannot interrupt SQLite. So a query that takes too long is left to that thread, which
    ends with the scan of the one table, and the caller goes on.
    """
    driver = _module(_DRIVERS[query.url.get_backend_name()])
    queue: Queue[Arrow] = Queue(AHEAD)
    stop, end = Event(), time.monotonic() + timeouts.QUERY_SECONDS
    Thread(target=_fetch, args=(driver, query, queue, stop), name=THREAD, daemon=True).start()
    try:
        while (chunk := queue.get(timeout=max(0.0, end - time.monotonic()))) is not None:
            if isinstance(chunk, Exception):
                raise Unsuited
            yield chunk
    except Empty:
        where = database.display(query.url)
        raise StoreError("{place}: {what}", place=where, what=database.TOO_SLOW) from None
    finally:
        stop.set()


def _fetch(driver: Any, query: Query, queue: Queue[Arrow], stop: Event) -> None:  # noqa: ANN401
    """Put batches, and then None or what went wrong, until nobody wants more."""
    try:
        with _connect(driver, query.url) as connection, connection.cursor() as cursor:
            for statement in _settings(query.url.get_backend_name()):
                cursor.execute(statement)
            cursor.adbc_statement.set_options(**_options(query.url.get_backend_name()))
            cursor.execute(query.sql if query.segments is None else query.segments.sql)
            for batch in cursor.fetch_record_batch():
                batch.validate(full=True)
                if not _put(batch, queue, stop):
                    return
    except (driver.Error, OSError, ValueError) as error:  # Arrow's own errors are ValueErrors, or OSErrors
        _put(error, queue, stop)
    else:
        _put(None, queue, stop)


def _put(item: Arrow, queue: Queue[Arrow], stop: Event) -> bool:
    while not stop.is_set():
        try:
            queue.put(item, timeout=_WAIT_SECONDS)
        except Full:
            continue
        return True
    return False


def _connect(driver: Any, url: URL) -> Any:  # noqa: ANN401
    if url.get_backend_name() == "sqlite":
        return driver.connect(database.sqlite_address(Path(str(url.database)), writable=False))
    return driver.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))


def _settings(engine: str) -> tuple[str, ...]:
    """What makes a transaction read-only, as for rows."""
    if engine == "sqlite":
        return (
            *database.sqlite_pragmas(writable=False),
            f"PRAGMA busy_timeout={timeouts.LOCK_SECONDS * 1000:.0f}",
        )
    return database.read_only_statements(engine, timeouts.QUERY_SECONDS)


def _options(engine: str) -> dict[str, str]:
    """SQLite's columns take the type of the first batch, and refuse another one in a later batch."""
    if engine == "sqlite":
        return {"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)}
    return {"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}


def _values(arrow: Arrow, array: Arrow, name: str, query: Query) -> Values:
    kind, types = array.type, arrow.types
    names_patients = name == query.names[0]
    if types.is_float64(kind):
        doubles = np.asarray(array.to_numpy(zero_copy_only=False))  # null becomes NaN
        if query.url.get_backend_name() == "sqlite" and (
            names_patients or (np.abs(doubles) >= EXACT_BELOW).any()
        ):
            raise Unsuited  # a whole number beside a broken one: another text, or rounded
        return doubles
    if types.is_boolean(kind):
        array, kind = array.cast(arrow.int8()), arrow.int8()
    if types.is_integer(kind) and names_patients and array.null_count:
        return list[object](array.to_pylist())  # form 1 of identifiers prints a double as another text
    if types.is_integer(kind):  # as doubles where one is missing, unless that would round one
        exact = array.cast(arrow.float64()) if array.null_count else array
        return np.asarray(exact.to_numpy(zero_copy_only=False))
    if types.is_string(kind) and name in query.texts:
        return _identifiers(array) if names_patients else _coded(array)
    raise Unsuited


def _coded(array: Arrow) -> Coded:
    """Texts as numbers of the distinct ones, -1 where missing."""
    encoded = array.dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
    return Coded(codes, tuple(encoded.dictionary.to_pylist()))


def _identifiers(array: Arrow) -> Values:
    """Texts as an array of NumPy; as Python's objects where one is missing, long, or not of plain ASCII."""
    _, ends, data = array.buffers()
    offsets = np.frombuffer(ends, np.int32)[array.offset : array.offset + len(array) + 1]
    points = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    lengths = np.diff(offsets)
    width = int(lengths.max(initial=0))
    if array.null_count or not 0 < width <= LONGEST or points.min() <= 0x20 or points.max() >= 0x7F:
        return list[object](array.to_pylist())
    letters = np.zeros((len(array), width), np.uint32)
    letters[np.arange(width) < lengths[:, np.newaxis]] = points
    texts: NDArray[np.str_] = letters.view(f"U{width}")[:, 0]
    return texts

"""Reading events: one filtered SELECT a kind in the order of patients, on every engine; then arrays.

An engine filters and sorts, and nothing else: what a time or a number is, and what the order within a
patient is, is decided here, so that SQLite, PostgreSQL and DuckDB give the same bits. All kinds that a study
asks for are read side by side, a chunk of the same patients from each: memory does not grow with the rows.

    with opened(database, tables, ["encounters", "observations"]) as reader:
        glucose = Wanted("observations", {"glucose": (Code("http://loinc.org", "2345-7"),)})
        for chunk in reader.chunks([glucose]):
            events = chunk.events[0]       # sorted by patient, millisecond and value
"""

import importlib.util
import operator
import sqlite3
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    false,
    func,
    literal,
    null,
    or_,
    select,
    true,
)
from sqlalchemy import types as sql

from fedcohort.errors import SchemaError
from fedcohort.sources.events.read_values import Column, column_of
from fedcohort.sources.events.times import EARLIEST_DAYS, milliseconds
from fedcohort.sources.events.views import PER_DAY, EventTable, KindView, views_of
from fedcohort.storage import timeouts
from fedcohort.storage.database import reading, select_only
from fedcohort.storage.drivers import read_every_value

MOST_SETS = 62
"""Code lists of one kind in one study: a bit each of one whole number."""
BLOCK_ROWS = 50_000
Key = int | str
"""A patient as the database orders it."""


@dataclass(frozen=True)
class Code:
    """Codes of a set.

    Attributes:
        system: of the code; None where any will do.
        code: the whole of it, or how it begins.
        begins: all codes that begin so.
        column: what is compared, such as `class` of encounters.
    """

    system: str | None
    code: str
    begins: bool = False
    column: str = "code"


Test = Callable[[KindView], ColumnElement[bool]]
"""A condition on a kind's columns, where codes are no texts of a list."""


@dataclass(frozen=True)
class Wanted:
    """What a study wants of one kind.

    Attributes:
        kind: of event.
        sets: name to codes, any of which an event has, or to a condition; None is every event. No more than
            MOST_SETS.
        columns: of the kind, beside its time and value.
    """

    kind: str
    sets: Mapping[str, Sequence[Code] | Test | None]
    columns: Sequence[str] = ()


@dataclass(frozen=True)
class Events:
    """Events of one kind, of a chunk of patients: sorted by patient, then millisecond, then value.

    Attributes:
        patient: which of the chunk's patients.
        milliseconds: since 1970-01-01; 0 for `patients`, of whom each has one row: the newest.
        value: NaN where missing, and for a kind that has no number; it is last within its millisecond.
        sets: the i-th bit says that the event is in the i-th set.
        columns: what else was asked for: doubles, or texts and None as objects.
    """

    patient: NDArray[np.int64]
    milliseconds: NDArray[np.int64]
    value: NDArray[np.float64]
    sets: NDArray[np.int64]
    columns: Mapping[str, Column]


@dataclass(frozen=True)
class Chunk:
    """The events of some patients, all kinds side by side."""

    patients: tuple[str, ...]
    events: tuple[Events, ...]


@dataclass(frozen=True)
class EventReader:
    """Kinds of events of one database, within one read-only transaction.

    Attributes:
        connection: to it.
        views: kind to where it stands.
        unread: by kind and column, values that are no time or number: their events have none; and identifiers
            that are not of their column's kind: their events are nobody's.
    """

    connection: Connection
    views: Mapping[str, KindView]
    unread: Counter[str] = field(default_factory=Counter)

    def chunks(self, wanted: Sequence[Wanted], block_rows: int = BLOCK_ROWS) -> Iterator[Chunk]:
        """All patients who have any of these events, in the order of their identifiers.

        Args:
            block_rows: how many rows of a kind are read at once.
        Raises:
            SchemaError: a kind has no such column, or identifiers cannot be ordered.
            StoreError: the database failed.
        """
        kept = all(_is_number(self.views[one.kind].patient) for one in wanted)
        streams = [
            _Stream(
                self._blocks(one, block_rows, as_text=not kept),
                block_rows,
                self.views[one.kind].kind.time is not None,
            )
            for one in wanted
        ]
        try:
            while _filled(streams):
                yield _chunk(streams)
        finally:
            for stream in streams:
                stream.blocks.close()

    def _blocks(self, wanted: Wanted, block_rows: int, *, as_text: bool) -> "Generator[_Block]":
        view = self.views[wanted.kind]
        query = query_of(view, wanted, as_text=as_text, engine=self.connection.dialect.name)
        for columns in _fetch(self.connection, query, block_rows):
            block = _block(columns, view, wanted, str if as_text else int, self.unread)
            if block.keys:
                yield block


@contextmanager
def opened(
    database: str | Path, tables: Mapping[str, EventTable], kinds: Collection[str]
) -> Iterator[EventReader]:
    """Open a site's database for these kinds of events, read-only and in one transaction.

    Args:
        tables: `[events]` of site.toml.
    Raises:
        SchemaError: a kind stands nowhere, or its table does not fit.
        StoreError: the database cannot be opened.
    """
    with reading(database) as connection:
        views = views_of(connection, tables, kinds)
        select_only(connection)
        read_every_value(connection)
        yield EventReader(connection, views)


def query_of(view: KindView, wanted: Wanted, *, as_text: bool, engine: str) -> Select[Any]:
    """The one SELECT of a kind: patient, time, value, the sets as bits, and what else is wanted."""
    if len(wanted.sets) > MOST_SETS:
        raise SchemaError("{kind}: more than {most} code lists", kind=wanted.kind, most=MOST_SETS)
    unknown = sorted(set(wanted.columns) - set(view.kind.columns))
    if unknown:
        raise SchemaError("{kind}: has no column {names}", kind=wanted.kind, names=", ".join(unknown))
    patient = _patient(view.patient, as_text=as_text, engine=engine)
    time = _time(view)
    value = view.columns.get(view.kind.value or "", null())
    tests = [test_of(view, codes) for codes in wanted.sets.values()]
    bits = [case((test, 1 << index), else_=0) for index, test in enumerate(tests)]
    which: ColumnElement[Any] = literal(0)
    for bit in bits:
        which = which + bit
    others = [view.columns.get(name, null()) for name in wanted.columns]
    query = select(patient, time, value, which, *others).select_from(view.selectable)
    query = query.where(view.patient.is_not(None), or_(false(), *tests) if tests else true())
    if view.kind.time is not None:
        query = query.where(time.is_not(None))
    # What an engine makes of times and values is looked at, and sorted here where it is another order.
    order = [time] if view.kind.time is not None or view.as_of is not None else []
    if view.kind.value in view.columns:
        order.append(value.nulls_last())
    return query.order_by(patient, *order)


def _time(view: KindView) -> ColumnElement[Any]:
    """When an event was; of a kind without a time, when its row was written."""
    if view.kind.time is not None:
        return view.columns[view.kind.time]
    return null() if view.as_of is None else view.as_of


def _patient(column: ColumnElement[Any], *, as_text: bool, engine: str) -> ColumnElement[Any]:
    if not as_text:
        return column
    text = column if isinstance(column.type, sql.String) else func.cast(column, sql.String)
    if engine == "postgresql" and getattr(column.type, "collation", None) != "C":
        return text.collate("C")
    return text


def _is_number(column: ColumnElement[Any]) -> bool:
    return isinstance(column.type, sql.Integer)


def test_of(view: KindView, codes: Sequence[Code] | Test | None) -> ColumnElement[bool]:
    """The condition that an event is of a set."""
    if codes is None:
        return true()
    if callable(codes):
        return codes(view)
    by_place: dict[tuple[str, str | None], list[Code]] = {}
    for code in codes:
        by_place.setdefault((code.column, code.system), []).append(code)
    tests = []
    for (name, system), listed in by_place.items():
        of_system = _equal(view.columns.get("system"), [system]) if system is not None else true()
        column = view.columns.get(name)
        whole = _equal(column, [code.code for code in listed if not code.begins])
        tests.append(
            and_(of_system, or_(whole, *(_begins(column, code.code) for code in listed if code.begins)))
        )
    return or_(false(), *tests)


def _equal(column: ColumnElement[Any] | None, texts: Sequence[str]) -> ColumnElement[bool]:
    """Whether a column is one of these; one of whole numbers is compared as such, by its index."""
    if column is None or not texts:
        return false()
    if isinstance(column.type, sql.Integer):
        numbers = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19]
        return column.in_(numbers) if numbers else false()
    return column.in_(list(texts))


def _begins(column: ColumnElement[Any] | None, text: str) -> ColumnElement[bool]:
    if column is None:
        return false()
    written = column if isinstance(column.type, sql.String) else func.cast(column, sql.String)
    return written.startswith(text, autoescape=True)


Fetched = Sequence[Sequence[object] | NDArray[Any]]
"""A block's columns, as they come from a driver."""


def _fetch(connection: Connection, query: Select[Any], block_rows: int) -> Generator[Fetched]:
    """Columns as they come, a block of rows at a time; several queries of one connection at once."""
    raw: Any = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        statement = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
        cursor = raw.execute(str(statement), _in_place(statement))
        while rows := cursor.fetchmany(block_rows):
            yield list(zip(*rows, strict=True))
    elif connection.dialect.name == "duckdb":
        yield from _duckdb_columns(connection, raw, query, block_rows)
    else:
        options = {"stream_results": True, "yield_per": block_rows}
        with connection.execution_options(**options).execute(query) as result:
            for partition in result.partitions(block_rows):
                yield list(zip(*partition, strict=True))


def _in_place(statement: Any) -> list[object]:  # noqa: ANN401  SQLCompiler has no types for it
    return [statement.params[name] for name in statement.positiontup or ()]


def _duckdb_columns(
    connection: Connection,
    raw: Any,  # noqa: ANN401  duckdb-engine has no types
    query: Select[Any],
    block_rows: int,
) -> Generator[Fetched]:
    """A connection of its own for each query: one of DuckDB holds one result.

    Where Arrow is installed no Python object is made for a number or a time, and the result is streamed.
    """
    statement = query.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    text, values, own = str(statement), _in_place(statement), raw.duplicate()
    timer = threading.Timer(timeouts.QUERY_SECONDS, own.interrupt)
    timer.daemon = True
    timer.start()
    try:
        if importlib.util.find_spec("pyarrow") is not None:
            for batch in own.sql(text, params=values).to_arrow_reader(block_rows):
                for begin in range(0, batch.num_rows, block_rows):
                    yield [_of_arrow(one) for one in batch.slice(begin, block_rows).columns]
        else:
            own.execute(text, values)
            while rows := own.fetchmany(block_rows):
                yield list(zip(*rows, strict=True))
    finally:
        timer.cancel()
        own.close()


def _of_arrow(array: Any) -> Sequence[object] | NDArray[Any]:  # noqa: ANN401  pyarrow has no types
    """Numbers, times and texts as an array of NumPy; what is neither, such as decimals, as objects."""
    name = str(array.type)
    if name.startswith(("int", "uint", "double", "float", "timestamp", "date32", "string")):
        made: NDArray[Any] = array.to_numpy(zero_copy_only=False)
        return made
    return cast(list[object], array.to_pylist())


@dataclass(frozen=True)
class _Block:
    """Rows of some patients, of whom the last may go on in the next block."""

    keys: list[Key]
    starts: NDArray[np.int64]
    milliseconds: NDArray[np.int64]
    value: NDArray[np.float64]
    sets: NDArray[np.int64]
    columns: Mapping[str, Column]

    def cut(self, begin: int, end: int) -> "_Block":
        """The patients of these places."""
        starts = self.starts[begin : end + 1]
        rows = slice(int(starts[0]), int(starts[-1]))
        columns = {name: column[rows] for name, column in self.columns.items()}
        return _Block(
            self.keys[begin:end],
            starts - starts[0],
            self.milliseconds[rows],
            self.value[rows],
            self.sets[rows],
            columns,
        )

    def then(self, more: "_Block") -> "_Block":
        """Both, one behind the other."""
        joined = self.keys[-1] == more.keys[0]
        if not joined and not _before(self.keys[-1], more.keys[0]):
            raise SchemaError(_UNORDERED)
        return _Block(
            self.keys + more.keys[1 if joined else 0 :],
            np.concatenate([self.starts[:-1] if joined else self.starts, more.starts[1:] + self.starts[-1]]),
            np.concatenate([self.milliseconds, more.milliseconds]),
            np.concatenate([self.value, more.value]),
            np.concatenate([self.sets, more.sets]),
            {
                name: cast(Column, np.concatenate([column, more.columns[name]]))
                for name, column in self.columns.items()
            },
        )


_UNORDERED = (
    "the database orders the patients' identifiers otherwise than by their letters; make a view in which "
    "they are texts"
)


def _before(one: Key, other: Key) -> bool:
    with suppress(TypeError):
        return one < other  # type: ignore[operator]
    raise SchemaError(_UNORDERED)


def _block(columns: Fetched, view: KindView, wanted: Wanted, key: type[Key], unread: Counter[str]) -> _Block:
    per_day, kind = PER_DAY[view.times], view.kind

    def column(place: int, name: str) -> Column:
        return column_of(columns[place], kind.columns[name], per_day, unread, f"{kind.name}.{name}")

    n = len(columns[0])
    values = np.full(n, np.nan) if kind.value is None else column(2, kind.value)
    times = column_of(columns[1], "time", per_day, unread, f"{kind.name}.{kind.time or 'as_of'}")
    if kind.time is None:
        times = np.nan_to_num(times.astype(np.float64), nan=EARLIEST_DAYS)
    others = {name: column(4 + place, name) for place, name in enumerate(wanted.columns)}
    dated = ~np.isnan(times.astype(np.float64))
    patients = _patients(columns[0])
    sets = np.array(columns[3], np.int64)
    named = _named(patients, key)
    if not named.all():
        unread[f"{kind.name}.patient_id"] += n - int(np.count_nonzero(named))
        dated &= named
    if not dated.all():
        patients, sets, times, values = patients[dated], sets[dated], times[dated], values[dated]
        others = {name: other[dated] for name, other in others.items()}
    return _apart(patients, milliseconds(times.astype(np.float64)), values.astype(np.float64), sets, others)


def _patients(values: Sequence[object] | NDArray[Any]) -> NDArray[Any]:
    """Identifiers as they are ordered: whole numbers, or texts as objects."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return values
    made = np.empty(len(values), np.object_)
    made[:] = values
    return made


def _named(patients: NDArray[Any], key: type[Key]) -> NDArray[np.bool_]:
    """Rows whose identifier is of the column's kind; others are nobody's, on their own account alone.

    SQLite holds any value in any column. A study that failed of one would tell that its patient is among the
    events of the code lists.
    """
    new = np.ones(len(patients), np.bool_)
    if patients.dtype.kind in "iu" or not len(patients):
        return new
    new[1:] = patients[1:] != patients[:-1]
    begins = np.flatnonzero(new)
    good = [type(one) is key and _is_whole(one) for one in patients[begins].tolist()]
    if all(good):
        return np.ones(len(patients), np.bool_)
    return np.repeat(np.array(good), np.diff(np.append(begins, len(patients))))


def _is_whole(key: Key) -> bool:
    """Not a text that is no UTF-8, whose order SQLite and Python do not agree about."""
    if isinstance(key, int) or key.isascii():
        return True
    with suppress(UnicodeEncodeError):
        return bool(key.encode())
    return False


def _apart(
    patients: NDArray[Any],
    at: NDArray[np.int64],
    values: NDArray[np.float64],
    sets: NDArray[np.int64],
    others: Mapping[str, Column],
) -> _Block:
    """A block, its patients told apart.

    Raises:
        SchemaError: they do not come in order.
    """
    n = len(patients)
    new = np.ones(n, np.bool_)
    if n:
        new[1:] = patients[1:] != patients[:-1]
    begins = np.flatnonzero(new)
    keys: list[Key] = patients[begins].tolist()
    if set(map(type, keys)) not in (set(), {str}, {int}) or not all(map(operator.lt, keys, keys[1:])):
        raise SchemaError(_UNORDERED)
    return _Block(keys, np.append(begins, n).astype(np.int64), at, values, sets, others)


@dataclass
class _Stream:
    """One kind's blocks, of which whole patients are taken.

    Attributes:
        blocks: where they come from.
        enough: rows to hold before any are taken.
        is_timed: whether its events have a time.
        held: patients that were read and not yet taken; the last may go on.
        ended: nothing more comes.
    """

    blocks: "Generator[_Block]"
    enough: int
    is_timed: bool
    held: _Block | None = None
    ended: bool = False

    def fill(self) -> bool:
        """Read until a whole patient and enough rows are held; whether any are."""
        while not self.ended and (self.whole < 1 or self.held is None or len(self.held.sets) < self.enough):
            block = next(self.blocks, None)
            if block is None:
                self.ended = True
            else:
                self.held = block if self.held is None else self.held.then(block)
        return self.held is not None

    @property
    def whole(self) -> int:
        """How many of the patients held are whole."""
        return 0 if self.held is None else len(self.held.keys) - (0 if self.ended else 1)

    def take(self, last: Key | None) -> _Block | None:
        """The whole patients up to this one, or all."""
        held = self.held
        if held is None:
            return None
        end = self.whole
        if last is not None:
            end = min(end, bisect_right(held.keys, last))
        taken = held.cut(0, end)
        self.held = held.cut(end, len(held.keys)) if end < len(held.keys) else None
        return taken if taken.keys else None


def _filled(streams: Sequence[_Stream]) -> bool:
    """Read on in every stream; whether any patient is left."""
    filled = [stream.fill() for stream in streams]
    return any(filled)


def _chunk(streams: Sequence[_Stream]) -> Chunk:
    """The patients whom every stream has wholly, and the events of each."""
    open_ones = [stream for stream in streams if not stream.ended and stream.held is not None]
    try:
        last = min((stream.held.keys[stream.whole - 1] for stream in open_ones if stream.held), default=None)
        taken = [stream.take(last) for stream in streams]
        keys = sorted({key for block in taken if block for key in block.keys})
    except TypeError:
        raise SchemaError(_UNORDERED) from None
    places = {key: place for place, key in enumerate(keys)}
    events = [_events(block, places) for block in taken]
    pairs = zip(events, streams, strict=True)
    return Chunk(
        tuple(map(str, keys)), tuple(one if stream.is_timed else _newest(one) for one, stream in pairs)
    )


def _newest(events: Events) -> Events:
    """One row a patient: of several systems, and from before a merge, the one that was written last.

    Of two written at once it is the one whose values are last in their order, on every engine.
    """
    texts = [
        np.unique([str(one) for one in column], return_inverse=True)[1] for column in events.columns.values()
    ]
    order = np.lexsort((*texts, events.milliseconds, events.patient))
    last = order[np.append(events.patient[1:] != events.patient[:-1], np.ones(min(1, len(order)), np.bool_))]
    columns = {name: column[last] for name, column in events.columns.items()}
    at = np.zeros(len(last), np.int64)
    return Events(events.patient[last], at, events.value[last], events.sets[last], columns)


def _events(block: _Block | None, places: Mapping[Key, int]) -> Events:
    if block is None:
        whole = np.empty(0, np.int64)
        return Events(whole, whole, np.empty(0), whole, {})
    of_patient = np.array([places[key] for key in block.keys], np.int64)
    patient = np.repeat(of_patient, np.diff(block.starts))
    at, value = block.milliseconds, block.value
    same, later = patient[1:] == patient[:-1], at[1:] - at[:-1]
    tied = same & (later == 0)
    if (later[same] < 0).any() or not (value[:-1][tied] <= value[1:][tied]).all():
        order = np.lexsort((value, at, patient))
        columns = {name: column[order] for name, column in block.columns.items()}
        return Events(patient, at[order], value[order], block.sets[order], columns)
    return Events(patient, at, value, block.sets, block.columns)

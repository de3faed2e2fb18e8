"""From a study's cohort to a Table: one checked, read-only SELECT at the site.

The cohort must be explicit (every column with its kind), so that all sites read in the
same way; `resolve_cohort` makes a researcher's short form explicit.
"""

import json
import sqlite3
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, inspect
from sqlalchemy.types import TypeEngine

from fedcohort.errors import PolicyError, RowsError, SchemaError, StoreError
from fedcohort.pixels import PixelStore
from fedcohort.sources.catalogue.schema import FEATURES, PATIENT_ID, Declared, read_declarations
from fedcohort.sources.catalogue.sql_types import column_types, is_readable, name_of_type
from fedcohort.sources.catalogue.stored_images import check_decoder, image_stores
from fedcohort.sources.cohort.columnar import Unsuited, column_chunks, query_of
from fedcohort.sources.cohort.convert import convert, needed_columns, nobody
from fedcohort.sources.cohort.dialects import select_sql
from fedcohort.sources.cohort.events.cohort import SiteEvents, table_of_events
from fedcohort.sources.cohort.explicit import check_explicit
from fedcohort.sources.cohort.held import Held, Holding, Use, uses_of
from fedcohort.sources.cohort.order import in_order
from fedcohort.sources.cohort.segments import Segments, segments_of
from fedcohort.sources.cohort.selecting import Selection, count, only, selected
from fedcohort.sources.cohort.values import Raw, Values
from fedcohort.sources.cohort.where.kinds import check_kinds, kinds_of_declared, kinds_of_study
from fedcohort.sources.cohort.where.narrowing import is_stored, kinds_of_types, narrowing, readings_of_types
from fedcohort.sources.cohort.where.parse import check_plain, parse_where
from fedcohort.sources.importer.identity import form_in
from fedcohort.storage.database import reading, select_only
from fedcohort.storage.drivers import read_every_value
from fedcohort.study import Cohort
from fedcohort.table import Table

Made = TypeVar("Made")

CHUNK_ROWS = 1_000
"""So few that a chunk's objects stay in the processor's cache: twice as fast as ten thousand."""
CHUNK_PIXEL_BYTES = 16 * 2**20
"""Of images in one chunk of rows, as they come from the database."""


def load_cohort(
    url: str | Path,
    cohort: Cohort,
    seed: int,
    offered: Mapping[str, Collection[str]],
    folder: Path | None = None,
    private: bool = False,
    events: SiteEvents | None = None,
) -> Table:
    """Select a cohort from a site's database, read-only.

    Args:
        url: SQLAlchemy URL, or a path of a SQLite file.
        cohort: explicit, as `resolve_cohort` makes it.
        seed: the study's seed, which keys the hold-out.
        offered: table to columns, as the site's policy names them.
        folder: where a file of many images lies; None is the system's folder for temporary files.
        private: the study has [privacy], so that whether it can be read must not tell about patients: what
            does not fit counts as missing, nobody is a table without rows, and `where` only compares.
        events: where the site keeps events, of which a cohort with an index is made.
    Returns:
        Rows sorted by patient and then by value; rows without a label are left out.
    Raises:
        StudyError: the cohort is not explicit.
        PolicyError: the site does not offer the table or a column.
        SchemaError, ValueRangeError: the data do not fit; names table, column and remedy.
        CohortError: `where` is not allowed, or the cohort selects nothing.
        ConfigError: it has images, and Pillow is not installed.
        StoreError: the database is missing, locked or damaged.
        RowsError: it failed or was too slow after the first row was asked for.
    """
    if cohort.index is not None:
        return table_of_events(url, cohort, seed, events, private)
    needed = needed_columns(cohort)
    check_explicit(cohort)

    def make(connection: Connection, query: _Query, form: int) -> Callable[[], Table]:
        stores = image_stores(cohort, folder)
        if stores:
            check_decoder()
        return partial(_table, connection, cohort, seed, query, stores, form)

    return _read(url, cohort, needed, offered, private, make)


def hold_cohort(
    url: str | Path,
    cohort: Cohort,
    offered: Mapping[str, Collection[str]],
    uses: Sequence[Use] = (),
    *,
    checked: bool = True,
) -> Held:
    """The values of a cohort without [privacy], and of further columns, as a node can hold them.

    Args:
        url, cohort, offered: as for `load_cohort`; no images.
        uses: of further columns; something in them that does not fit is missing.
        checked: False: so it is in every column.
    Raises:
        StudyError, PolicyError, SchemaError, ValueRangeError, StoreError, RowsError: as `load_cohort`.
        CohortError: `where` is not allowed.
    """
    check_explicit(cohort)
    asked = uses_of(cohort) or ()
    every = tuple(dict.fromkeys([*asked, *uses]))
    needed = [*dict.fromkeys([*needed_columns(cohort), *(name for _, name in uses)])]

    def make(connection: Connection, query: _Query, form: int) -> Callable[[], Held]:
        holding = partial(Holding, cohort, every, asked if checked else ())
        return partial(_held, connection, cohort, query, holding, form)

    return _read(url, cohort, needed, offered, False, make)


def _held(
    connection: Connection, cohort: Cohort, query: "_Query", empty: Callable[[], Holding], form: int
) -> Held:
    """Send the query, and hold what its rows have."""
    for by_column in (True, False):
        holding = empty()
        try:
            with closing(_chunks(connection, cohort, query, {}, by_column=by_column)) as raws:
                for raw in raws:
                    holding.add(raw, form)
        except Unsuited:
            continue
        break
    return holding.held(form)


def _read(
    url: str | Path,
    cohort: Cohort,
    needed: Sequence[str],
    offered: Mapping[str, Collection[str]],
    private: bool,
    make: "Callable[[Connection, _Query, int], Callable[[], Made]]",
) -> Made:
    """Check what is asked for, open the database, and make something of the query."""
    allowed = _check_offered(cohort, needed, offered)
    where = None if cohort.where is None else parse_where(cohort.where, cohort.table, allowed)
    if private and cohort.where is not None:
        check_plain(cohort.where)
    begun = False
    try:
        with reading(url) as connection:
            form = form_in(connection, cohort.table)
            query = _query(connection, cohort, needed, Selection(where), private)
            read_rows = make(connection, query, form)
            begun = True
            return read_rows()
    except StoreError as error:
        raise RowsError(*error.args) if begun else error from None


def _table(
    connection: Connection,
    cohort: Cohort,
    seed: int,
    query: "_Query",
    stores: Mapping[str, PixelStore],
    form: int,
) -> Table:
    """Send the query, and make a table of its rows."""
    read, private = partial(convert, private=query.private, form=form), query.private
    empty = partial(nobody, cohort, seed)
    try:
        with closing(_chunks(connection, cohort, query, stores, by_column=True)) as raws:
            tables = (read(raw, cohort, seed) for raw in raws)
            return in_order(tables, cohort.table, empty() if private else None)
    except Unsuited:
        with closing(_chunks(connection, cohort, query, stores, by_column=False)) as raws:
            tables = (read(raw, cohort, seed, stores) for raw in raws)
            return in_order(tables, cohort.table, empty(stores) if private else None)


def _chunks(
    connection: Connection,
    cohort: Cohort,
    query: "_Query",
    stores: Mapping[str, PixelStore],
    *,
    by_column: bool,
) -> Generator[Raw]:
    """The selected rows, chunk by chunk.

    Raises:
        Unsuited: they are not read by columns; read them one by one.
    """
    if by_column:
        if query.positions or stores:
            raise Unsuited
        types = {name: query.types[name] for name in query.names}
        chunks = column_chunks(query_of(connection.engine.url, query.sql, types, query.segments))
        yield from _selected((Raw(cohort.table, columns) for columns in chunks), query)
        return
    select_only(connection)
    read_every_value(connection)
    with closing(_stream(connection, query.sql, _chunk_rows(stores))) as streamed:
        yield from _selected((_raw(rows, query) for rows in streamed), query)


@dataclass(frozen=True)
class _Query:
    """One SELECT of a cohort, and what is made of its rows.

    Attributes:
        names: the columns that it selects, the patient's first, but for the JSON vector, which is last.
        needed: of these, and of the vector's elements, those that the cohort is made of.
        positions: of elements of the JSON vector, by name.
        types: the SQL type of every column of the table.
        segments: the same query as PostgreSQL sends it faster, to be read by columns.
    """

    sql: str
    table: str
    names: Sequence[str]
    needed: Sequence[str]
    positions: Mapping[str, int]
    types: Mapping[str, TypeEngine[object]]
    selection: Selection
    private: bool
    segments: Segments | None


def _query(
    connection: Connection, cohort: Cohort, needed: Sequence[str], asking: Selection, private: bool
) -> _Query:
    engine, asked = connection.dialect.name, [*dict.fromkeys([*needed, *asking.columns])]
    declared = _vector_columns(connection, cohort.table)
    positions = {name: declared[name].position or 0 for name in asked if name in declared}
    names = [*dict.fromkeys([cohort.patient_id, *(name for name in asked if name not in positions)])]
    present = _check_present(connection, cohort, {*names, *([FEATURES] if positions else [])})
    types = {name: present[name] for name in asking.columns if name not in positions}
    narrower = None
    if asking.tree is not None:
        elements = kinds_of_declared({name: declared[name].kind for name in positions})
        check_kinds(asking.tree, {**kinds_of_study(cohort), **elements, **kinds_of_types(types, engine)})
        if is_stored(connection, cohort.table):
            narrower = narrowing(asking.tree, types, engine)
    sql = select_sql(engine, cohort.table, [*names, *([FEATURES] if positions else [])], narrower)
    selection = Selection(asking.tree, readings_of_types(types, engine))
    read = [cohort.patient_id, *needed]
    packed = None
    if engine == "postgresql" and not positions:
        packed = segments_of(cohort.table, {name: present[name] for name in names}, narrower)
    return _Query(sql, cohort.table, names, read, positions, present, selection, private, packed)


def _selected(chunks: Iterator[Raw], query: _Query) -> Iterator[Raw]:
    """The rows that `where` selects, of the columns that the cohort is made of; no empty chunks."""
    for raw in chunks:
        n = count(raw.values[query.names[0]])
        rows = selected(raw.values, query.selection, n)
        if rows is not None and not rows.any():
            continue
        chosen = Raw(raw.table, {name: raw.values[name] for name in query.needed})
        yield chosen if rows is None or rows.all() else only(chosen, rows)


def _chunk_rows(stores: Mapping[str, PixelStore]) -> int:
    """Rows that are read at once: few enough for their images to be held."""
    bytes_a_row = sum(prod(store.shape) for store in stores.values())
    return min(CHUNK_ROWS, max(1, CHUNK_PIXEL_BYTES // max(1, bytes_a_row)))


def _check_offered(cohort: Cohort, needed: Sequence[str], offered: Mapping[str, Collection[str]]) -> set[str]:
    """The columns that may be asked about; before the database is opened, so that nothing else shows."""
    if cohort.table not in offered:
        raise PolicyError(
            "table {table}: this site does not offer it; see the site's catalogue", table=cohort.table
        )
    columns = set(offered[cohort.table]) - {PATIENT_ID, cohort.patient_id, FEATURES}
    for name in needed:
        if name not in columns:
            raise PolicyError(
                "column {table}.{name}: this site does not offer it; see the site's catalogue",
                table=cohort.table,
                name=name,
            )
    if cohort.patient_id != PATIENT_ID and cohort.patient_id not in offered[cohort.table]:
        raise PolicyError(
            "column {table}.{patient_id}: this site does not offer it as patient_id",
            table=cohort.table,
            patient_id=cohort.patient_id,
        )
    return columns


def _vector_columns(connection: Connection, table: str) -> dict[str, Declared]:
    declarations = read_declarations(connection, table)
    return {name: declared for name, declared in declarations.items() if declared.position is not None}


def _check_present(
    connection: Connection, cohort: Cohort, needed: set[str]
) -> Mapping[str, TypeEngine[object]]:
    """Every column must stand in the table: SQLite takes a quoted name that is none for a text.

    A table that knows its patients (patient_id) cannot be read as if another column were the
    patient: a cohort of one patient with many stays would look large enough.

    Returns:
        the SQL type of every column of the table.
    """
    inspector = inspect(connection)
    if not inspector.has_table(cohort.table):
        raise SchemaError(
            "table {table}: not in this database; check the address and the site's policy", table=cohort.table
        )
    present = column_types(inspector, cohort.table)
    missing = sorted(needed - present.keys())
    if missing:
        raise SchemaError(
            "table {table}: has no column {names}; check names or import again into a new database",
            table=cohort.table,
            names=", ".join(missing),
        )
    for name in sorted(needed - {FEATURES}):
        if not is_readable(present[name], connection.dialect.name):
            raise SchemaError(
                "column {table}.{name}: is {kind}, which is not read; cast it to a number or a text in a "
                "view, and offer that",
                table=cohort.table,
                name=name,
                kind=name_of_type(present[name]),
            )
    if cohort.patient_id != PATIENT_ID and PATIENT_ID in present:
        raise SchemaError(
            "table {table}: its patients are in {patient}; leave cohort.patient_id out",
            table=cohort.table,
            patient=PATIENT_ID,
        )
    return present


def _stream(connection: Connection, sql: str, chunk_rows: int) -> Generator[Sequence[Sequence[object]]]:
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):  # its own tuples: a Row around each costs as much as reading it
        cursor = raw.execute(sql)
        while rows := cursor.fetchmany(chunk_rows):
            yield rows
        return
    options = {"stream_results": True, "no_parameters": True, "yield_per": chunk_rows}
    with connection.execution_options(**options).exec_driver_sql(sql) as result:
        yield from result.partitions(chunk_rows)


def _raw(rows: Sequence[Sequence[object]], query: _Query) -> Raw:
    by_column: list[Sequence[object]] = list(zip(*rows, strict=True))
    values: dict[str, Values] = dict(zip(query.names, by_column, strict=False))
    if query.positions:
        last = max(query.positions.values())
        vectors = [_vector(value, query.table, last, query.private) for value in by_column[-1]]
        values |= {name: [vector[index] for vector in vectors] for name, index in query.positions.items()}
    return Raw(query.table, values)


def _vector(value: object, table: str, last: int, private: bool) -> list[object]:
    """A JSON vector, as text from every engine; of a private study's, what is none has nothing in it.

    Raises:
        SchemaError: it is not one, whether `where` selects the row or not, and the study is not private.
    """
    try:
        vector = json.loads(value) if isinstance(value, str | bytes) else value
    except (ValueError, RecursionError):
        vector = None
    if isinstance(vector, list) and len(vector) > last:
        return vector
    if private:
        return [None] * (last + 1)
    raise SchemaError(
        "{table}.{FEATURES}: a row is not a JSON list of {count} or more values; import again into a new "
        "database",
        table=table,
        FEATURES=FEATURES,
        count=last + 1,
    )

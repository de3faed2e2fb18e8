"""From a study's cohort to a Table: one checked, read-only SELECT at the site.

The cohort must be explicit (every column with its kind), so that all sites read
alike; `resolve_cohort` makes a researcher's short form explicit.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlalchemy.types import TypeEngine
from sqlglot import exp

from fedcohort.errors import PolicyError, SchemaError
from fedcohort.pixels import PixelStore
from fedcohort.sources.columnar import Unsuited, column_chunks, query_of
from fedcohort.sources.convert import Raw, Values, convert, needed_columns
from fedcohort.sources.database import SQLITE_MOD, reading, select_only
from fedcohort.sources.dialects import select_sql, type_name
from fedcohort.sources.explicit import check_explicit
from fedcohort.sources.fitting import convert_private
from fedcohort.sources.images import image_stores
from fedcohort.sources.order import in_order
from fedcohort.sources.schema import FEATURES, PATIENT_ID, Declared, read_declarations
from fedcohort.sources.where import check_plain, parse_where
from fedcohort.study import Cohort
from fedcohort.table import Table

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
) -> Table:
    """Select a cohort from a site's database, read-only.

    Args:
        url: SQLAlchemy URL, or a path of a SQLite file.
        cohort: explicit, as `resolve_cohort` makes it.
        seed: the study's seed, which keys the hold-out.
        offered: table to columns, as the site's policy names them.
        folder: where a file of many images lies; None is the system's folder for temporary files.
        private: the study has [privacy], so that whether it can be read must not tell about patients: what
            does not fit counts as missing, and `where` only compares.
    Returns:
        Rows sorted by patient and then by value; rows without a label are left out.
    Raises:
        StudyError: the cohort is not explicit.
        PolicyError: the site does not offer the table or a column.
        SchemaError, ValueRangeError: the data do not fit; names table, column and remedy.
        CohortError: `where` is not allowed, or the cohort selects nothing.
        StoreError: the database is missing, locked, damaged, or too slow.
    """
    needed = needed_columns(cohort)
    check_explicit(cohort)
    allowed = _check_offered(cohort, needed, offered)
    where = None if cohort.where is None else parse_where(cohort.where, cohort.table, allowed)
    if private and cohort.where is not None:
        check_plain(cohort.where)
    read = convert_private if private else convert
    with reading(url) as connection:
        declared = _vector_columns(connection, cohort.table)
        asked = {*needed, *_columns_of(where)}
        ordinary = {cohort.patient_id, *(asked - set(declared))}
        present = _check_present(
            connection, cohort, ordinary | ({FEATURES} if asked & set(declared) else set())
        )
        positions = {name: declared[name].position or 0 for name in needed if name in declared}
        names = [*dict.fromkeys([cohort.patient_id, *(name for name in needed if name in ordinary)])]
        selected = [*names, FEATURES] if positions else names
        types = {name: kind for name, sql in present.items() if (kind := type_name(sql)) is not None}
        sql = select_sql(connection.dialect.name, cohort.table, selected, where, declared, types)
        stores = image_stores(cohort, folder)
        try:
            if positions or stores or SQLITE_MOD in sql:
                raise Unsuited
            chunks = column_chunks(
                query_of(connection.engine.url, sql, {name: present[name] for name in names})
            )
            raws = (Raw(cohort.table, columns) for columns in chunks)
            return in_order((read(raw, cohort, seed) for raw in raws), cohort.table)
        except Unsuited:
            select_only(connection)
            streamed = _stream(connection, sql, _chunk_rows(stores))
            raws = (_raw(cohort.table, names, positions, rows, private) for rows in streamed)
            return in_order((read(raw, cohort, seed, stores) for raw in raws), cohort.table)


def _chunk_rows(stores: Mapping[str, PixelStore]) -> int:
    """Rows that are read at once: few enough for their images to be held."""
    bytes_a_row = sum(prod(store.shape) for store in stores.values())
    return min(CHUNK_ROWS, max(1, CHUNK_PIXEL_BYTES // max(1, bytes_a_row)))


def _check_offered(cohort: Cohort, needed: Sequence[str], offered: Mapping[str, Collection[str]]) -> set[str]:
    """The columns that may be asked about; before the database is opened, so that nothing else shows."""
    if cohort.table not in offered:
        raise PolicyError(f"table {cohort.table}: this site does not offer it; see the site's catalogue")
    columns = set(offered[cohort.table]) - {PATIENT_ID, cohort.patient_id, FEATURES}
    for name in needed:
        if name not in columns:
            raise PolicyError(
                f"column {cohort.table}.{name}: this site does not offer it; see the site's catalogue"
            )
    if cohort.patient_id != PATIENT_ID and cohort.patient_id not in offered[cohort.table]:
        raise PolicyError(
            f"column {cohort.table}.{cohort.patient_id}: this site does not offer it as patient_id"
        )
    return columns


def _columns_of(where: exp.Expr | None) -> set[str]:
    return set() if where is None else {column.name for column in where.find_all(exp.Column)}


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
            f"table {cohort.table}: not in this database; check the address and the site's policy"
        )
    present = {column["name"]: column["type"] for column in inspector.get_columns(cohort.table)}
    missing = sorted(needed - present.keys())
    if missing:
        raise SchemaError(
            f"table {cohort.table}: has no column {', '.join(missing)}; check names or import again"
        )
    if cohort.patient_id != PATIENT_ID and PATIENT_ID in present:
        raise SchemaError(
            f"table {cohort.table}: its patients are in {PATIENT_ID}; leave cohort.patient_id out"
        )
    return present


def _stream(connection: Connection, sql: str, chunk_rows: int) -> Iterator[Sequence[Sequence[object]]]:
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):  # its own tuples: a Row around each costs as much as reading it
        cursor = raw.execute(sql)
        while rows := cursor.fetchmany(chunk_rows):
            yield rows
        return
    options = {"stream_results": True, "no_parameters": True, "yield_per": chunk_rows}
    result = connection.execution_options(**options).exec_driver_sql(sql)
    yield from result.partitions(chunk_rows)


def _raw(
    table: str,
    names: Sequence[str],
    positions: Mapping[str, int],
    rows: Sequence[Sequence[object]],
    private: bool,
) -> Raw:
    by_column: list[Sequence[object]] = list(zip(*rows, strict=True))
    values: dict[str, Values] = dict(zip(names, by_column, strict=False))
    if positions:
        vectors = [_vector(value, table, max(positions.values()), private) for value in by_column[-1]]
        values |= {name: [vector[index] for vector in vectors] for name, index in positions.items()}
    return Raw(table, values)


def _vector(value: object, table: str, last: int, private: bool) -> list[object]:
    """A JSON vector, which SQLite yields as text and PostgreSQL as a list."""
    try:
        vector = json.loads(value) if isinstance(value, str | bytes) else value
    except ValueError:
        vector = None
    if private and not (isinstance(vector, list) and len(vector) > last):
        return [None] * (last + 1)
    if not isinstance(vector, list) or len(vector) <= last:
        raise SchemaError(
            f"{table}.{FEATURES}: a row is not a JSON list of {last + 1} or more values; import again"
        )
    return vector

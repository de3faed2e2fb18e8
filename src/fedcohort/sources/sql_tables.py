"""A hospital's own SQL database as a source: a table or view, read-only, streamed in the order of its key."""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, MetaData, Table, inspect, select, type_coerce
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import NullType

from fedcohort.columns import Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.batch import Batch, Part, Source
from fedcohort.sources.database import database_url, display, reading
from fedcohort.sources.mapping import MappedTable
from fedcohort.sources.schema import PATIENT_ID, Declared
from fedcohort.sources.shape import Field, refusals_of, shaped
from fedcohort.sources.sql_types import facts_of_type

BATCH_ROWS = 20_000


def sql_source(database: str | Path, origin: str, table: str, mapping: MappedTable | None) -> Source:
    """A table or view of any SQLAlchemy database; the account need only read.

    Args:
        origin: its name there, with its schema where that is not the default: `clinic.labs`.
    Raises:
        StoreError: the database cannot be reached.
        SchemaError: it has no such table, or the table no such column.
    """
    name = f"{display(database_url(database))} {origin}"
    with reading(database) as connection:
        found = _reflected(connection, origin)
        fields = mapping.fields if mapping is not None else _fields_of(found, name, connection.dialect.name)
        lacking = [one.source for one in fields if one.source not in found.c]
    if lacking:
        raise SchemaError(f"{name}: has no column {', '.join(lacking)}; correct the mapping")
    declared = {one.name: one.declared for one in fields if one.declared is not None}
    digest = partial(_digest, database, origin, fields)
    part = Part(name, table, digest, partial(_batches, database, origin, name, table, fields))
    return Source({table: declared}, [part])


def key_of(database: str | Path, origin: str, mapping: MappedTable | None) -> tuple[str, ...]:
    """The key columns of the site's table: as the mapping says, else the origin's primary key."""
    if mapping is not None:
        return mapping.key
    with reading(database) as connection:
        return tuple(column.name for column in _reflected(connection, origin).primary_key)


def _reflected(connection: Connection, origin: str) -> Table:
    schema, _, name = origin.rpartition(".")
    try:
        return Table(name, MetaData(), schema=schema or None, autoload_with=connection)
    except NoSuchTableError:
        present = inspect(connection).get_table_names(schema or None)
        listed = ", ".join(sorted(present)[:20]) or "none"
        raise SchemaError(f"table {origin}: not in this database; it has {listed}") from None


def _fields_of(table: Table, name: str, engine: str) -> list[Field]:
    if PATIENT_ID not in table.c:
        raise SchemaError(f"{name}: has no column {PATIENT_ID}; say in a mapping which one names the patient")
    fields = []
    for column in table.c:
        facts = facts_of_type(column.type, engine)
        if facts is not None:
            number = facts["kind"] == "numeric" and column.name != PATIENT_ID
            fields.append(Field(column.name, column.name, Declared(Numeric()) if number else None))
    return fields


def _digest(database: str | Path, origin: str, fields: Sequence[Field]) -> str:
    """Of every row that is read, so that a record changed in place comes again, by its key."""
    digest = hashlib.sha256()
    with reading(database) as connection:
        for rows in _stream(connection, origin, fields, 0):
            digest.update(repr([tuple(row) for row in rows]).encode(errors="surrogatepass"))
    return digest.hexdigest()


def _stream(
    connection: Connection, origin: str, fields: Sequence[Field], done: int
) -> Iterator[Sequence[Sequence[object]]]:
    found = _reflected(connection, origin)
    order = list(found.primary_key) or [found.c[one.source] for one in fields]
    # As the driver gives them: SQLAlchemy's own conversion of a text that is no date ends all reading.
    columns = (type_coerce(found.c[one.source], NullType()).label(one.name) for one in fields)
    query = select(*columns).order_by(*order).offset(done)
    if isinstance(raw := connection.connection.driver_connection, sqlite3.Connection):
        # A text outside UTF-8 is one record's fault, which `shape` finds.
        raw.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    options = {"stream_results": True, "yield_per": BATCH_ROWS}
    yield from connection.execution_options(**options).execute(query).partitions(BATCH_ROWS)


def _batches(
    database: str | Path, origin: str, name: str, table: str, fields: Sequence[Field], done: int
) -> Iterator[Batch]:
    read = done
    with reading(database) as connection:
        for rows in _stream(connection, origin, fields, done):
            columns = list(zip(*rows, strict=True))
            raw = {one.source: columns[index] for index, one in enumerate(fields)}
            values, faults = shaped(fields, raw)
            refusals = refusals_of(name, range(read + 1, read + 1 + len(rows)), faults)
            read += len(rows)
            yield Batch(table, values, read, refusals, made_missing=faults.made_missing)

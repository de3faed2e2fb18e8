"""A hospital's own SQL database as a source: a table or view, read-only, streamed in the order of its key."""

import hashlib
import sqlite3
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Table, inspect, select, type_coerce
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.exc import NoSuchTableError
from sqlalchemy.types import NullType

from fedcohort.columns import Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.declared import tables_of
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.catalogue.sql_types import facts_of_type, is_readable, name_of_type, reflected
from fedcohort.sources.importer.batch import Batch, Part, Source
from fedcohort.sources.importer.doubts import SAMPLE_ROWS, ask, is_open
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.values import Field, refusals_of, shaped
from fedcohort.storage.database import database_url, display, reading
from fedcohort.storage.drivers import read_every_value

BATCH_ROWS = 20_000
_NUMBERED = "CREATE VIEW numbered AS SELECT row_number() OVER () AS {}, t.* FROM {} AS t"
CAST = "cast it to a number or a text in a view, and name that view"


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
        reflected_table, engine = _reflected(connection, origin), connection.dialect.name
        fields = [] if mapping is None else mapping.fields
        _check_mapped(reflected_table, fields, name, engine)
        _ask(connection, origin, reflected_table, fields)
    notes: list[str] = []
    if mapping is None or mapping.others:
        mapped = {field.source for field in fields}
        fields = _fields_of(reflected_table, name, engine, fields)
        notes = _left_out(reflected_table, fields, engine, mapped)
    declared = {field.name: field.declared for field in fields if field.declared is not None}
    digest = partial(_digest, database, origin, fields)
    part = Part(name, table, digest, partial(_batches, database, origin, name, table, fields))
    return Source({table: declared}, [part], notes)


def _ask(connection: Connection, origin: str, table: Table, fields: Sequence[Field]) -> None:
    """Look at the first texts that are declared to be numbers, in the order in which they would come.

    Raises:
        SchemaError: they can be read in two ways.
    """
    untyped = connection.dialect.name == "sqlite"  # which keeps texts in columns of any type
    asked = [
        field
        for field in fields
        if is_open(field) and (untyped or isinstance(table.c[field.source].type, sql.String | DOMAIN))
    ]
    if not asked:
        return
    with closing(_stream(connection, origin, fields, 0)) as streamed:
        rows = next(streamed, [])[:SAMPLE_ROWS]
    columns = dict(zip((field.source for field in fields), zip(*rows, strict=True), strict=False))
    try:
        ask([field for field in asked if field.source in columns], columns)
    except SchemaError as error:
        raise SchemaError(f"{origin}: {error}") from None


def key_of(database: str | Path, origin: str, mapping: MappedTable | None) -> tuple[str, ...]:
    """The key columns of the site's table: as the mapping says, else the origin's primary key."""
    if mapping is not None:
        return mapping.key
    with reading(database) as connection:
        return tuple(column.name for column in _reflected(connection, origin).primary_key)


def _reflected(connection: Connection, origin: str) -> Table:
    schema, _, name = origin.rpartition(".")
    try:
        return reflected(connection, name, schema or None)
    except NoSuchTableError:
        present = tables_of(inspect(connection), schema or None)
        listed = ", ".join(sorted(present)[:20]) or "none"
        raise SchemaError(f"table {origin}: not in this database; it has {listed}") from None


def _fields_of(table: Table, name: str, engine: str, mapped: Sequence[Field]) -> list[Field]:
    """Every column that can be read: as mapped, and the others as numbers without bounds, and texts."""
    if not mapped and PATIENT_ID not in table.c:
        raise SchemaError(
            f"{name}: has no column {PATIENT_ID}; say in a mapping which one names the patient (patient_id = "
            '"…" and others = true), or, where each row is a patient of its own, number them in a view: '
            + _NUMBERED.format(PATIENT_ID, table.fullname)
        )
    fields = list(mapped) or [Field(PATIENT_ID, PATIENT_ID)]
    _check_mapped(table, fields, name, engine)
    taken = {field.name for field in fields} | {field.source for field in fields}
    for column in table.c:
        facts = facts_of_type(column.type, engine)
        if facts is not None and column.name not in taken:
            # A column without a type may hold texts, which a number's column would refuse.
            number = facts["kind"] == "numeric" and not isinstance(column.type, NullType)
            kind = Declared(Numeric()) if number else None
            fields.append(Field(column.name, column.name, kind, is_exact=True))
    return fields


def _left_out(table: Table, fields: Sequence[Field], engine: str, mapped: Collection[str]) -> list[str]:
    """A line for every column that is not imported, and what to do."""
    read = {field.source for field in fields}
    guessed = read - {PATIENT_ID, *mapped} if engine == "sqlite" else set()
    lines = [
        f"{column.name} is left out: it is {name_of_type(column.type)}; {CAST}"
        for column in table.c
        if column.name not in read
    ]
    untyped = [
        f"{column.name} is read as text, for the source gives it no type; name it in a mapping if it holds "
        "numbers"
        for column in table.c
        if isinstance(column.type, NullType) and column.name in guessed
    ]
    return lines + untyped


def _check_mapped(table: Table, fields: Sequence[Field], name: str, engine: str) -> None:
    """Refuse what is not there, and types of which some values would end the reading of all."""
    lacking = [field.source for field in fields if field.source not in table.c]
    if lacking:
        raise SchemaError(f"{name}: has no column {', '.join(lacking)}; correct the mapping")
    for field in fields:
        kind = table.c[field.source].type
        if not is_readable(kind, engine):
            raise SchemaError(
                f"{name}: column {field.source} is {name_of_type(kind)}, which is not read; {CAST}"
            )


def _digest(database: str | Path, origin: str, fields: Sequence[Field]) -> str:
    """Of every row that is read, so that a record changed in place comes again, by its key."""
    digest = hashlib.sha256()
    with reading(database) as connection:
        for rows in _stream(connection, origin, fields, 0):
            digest.update(repr([tuple(row) for row in rows]).encode(errors="surrogatepass"))
    return digest.hexdigest()


def _stream(
    connection: Connection, origin: str, fields: Sequence[Field], done: int
) -> Generator[Sequence[Sequence[object]]]:
    reflected_table = _reflected(connection, origin)
    order = list(reflected_table.primary_key) or [reflected_table.c[field.source] for field in fields]
    # As the driver gives them: SQLAlchemy's own conversion of a text that is no date ends all reading.
    columns = (type_coerce(reflected_table.c[field.source], NullType()).label(field.name) for field in fields)
    query = select(*columns).order_by(*order).offset(done)
    if isinstance(raw := connection.connection.driver_connection, sqlite3.Connection):
        # A text outside UTF-8 is one record's fault, which `shape` finds.
        raw.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    else:
        read_every_value(connection)
    options = {"stream_results": True, "yield_per": BATCH_ROWS}
    with connection.execution_options(**options).execute(query) as result:
        yield from result.partitions(BATCH_ROWS)


def _batches(
    database: str | Path, origin: str, name: str, table: str, fields: Sequence[Field], done: int
) -> Iterator[Batch]:
    read = done
    with reading(database) as connection:
        for rows in _stream(connection, origin, fields, done):
            columns = list(zip(*rows, strict=True))
            raw = {field.source: columns[index] for index, field in enumerate(fields)}
            values, faults = shaped(fields, raw)
            refusals = refusals_of(name, range(read + 1, read + 1 + len(rows)), faults)
            read += len(rows)
            yield Batch(table, values, read, refusals, made_missing=faults.made_missing)

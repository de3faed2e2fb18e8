"""The one writer of rows: whatever fills a table of a site's database makes the table and inserts by it.

An import writes its batches through `RowWriter`; what is whole or not at all (public and made-up data sets,
a derived table) goes through `write_table`. Both insert by `insert_columns`.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sqlalchemy import JSON, Column, Connection, Index, Integer, MetaData, String, Table, Text, inspect

from fedcohort.errors import ConfigError, SchemaError, StoreError
from fedcohort.sources.catalogue.derived_tables import derived_tables
from fedcohort.sources.catalogue.schema import (
    LONGEST_ID,
    OURS,
    PATIENT_ID,
    Declared,
    read_declarations,
    sql_type,
    write_declarations,
)
from fedcohort.sources.importer.batch import Batch
from fedcohort.sources.importer.checkpoint import Mark
from fedcohort.sources.importer.deidentification import IdentifiersKept, NoIdentifiers
from fedcohort.sources.importer.identity import note_permission
from fedcohort.sources.importer.transactions import compiled, insertion
from fedcohort.sources.importer.written_rows import ROW, WrittenRows, lock

MAX_COLUMNS = {"sqlite": 2000, "postgresql": 1600}


def check_table_name(table: str) -> None:
    """Refuse a name that databases keep for themselves.

    Raises:
        ConfigError: says so.
    """
    if table.lower().startswith((OURS, "sqlite_", "pg_")):
        raise ConfigError(f"table {table}: such names are the database's own; choose another")


def insert_columns(
    connection: Connection,
    table: Table,
    columns: Mapping[str, Sequence[object]],
    keys: tuple[str, ...] = (),
) -> int:
    """Insert rows, given by column; returns how many.

    Args:
        keys: columns by which a record replaces the earlier one.
    """
    names = tuple(columns)
    count = len(columns[names[0]]) if names else 0
    if not count:
        return 0
    statement = insertion(connection, table, names, keys)
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection) and not _has_json(table):
        # Straight to the driver, which takes any iterator: twice as fast as by way of lists of rows.
        text, order = compiled(statement, connection.dialect)
        raw.executemany(text, zip(*(columns[name] for name in order), strict=True))
    else:
        records = zip(*columns.values(), strict=True)
        connection.execute(statement, [dict(zip(names, record, strict=True)) for record in records])
    return count


@lru_cache(64)
def _has_json(table: Table) -> bool:
    """Whether a column's values are no values of the driver's."""
    return any(isinstance(column.type, JSON) for column in table.c)


def write_table(
    connection: Connection,
    table: Table,
    declared: Mapping[str, Declared],
    columns: Mapping[str, Sequence[object]],
    deidentification: IdentifiersKept | NoIdentifiers,
) -> int:
    """Make a table, fill it and declare its columns, in the caller's transaction; returns how many rows.

    Args:
        deidentification: why the rows may be stored as they are.
    """
    if isinstance(deidentification, IdentifiersKept):
        note_permission(connection, deidentification)
    table.create(connection)
    count = insert_columns(connection, table, columns)
    write_declarations(connection, table.name, declared)
    return count


@dataclass(frozen=True)
class RowWriter:
    """Writes the batches of one import, and accounts for the rows of each.

    Attributes:
        declared: what the source declares, by table and column.
        keys: table to columns by which a record replaces the earlier one.
        account: which rows this import wrote.
        tables: those that it has made, or found to fit.
    """

    declared: Mapping[str, Mapping[str, Declared]]
    keys: Mapping[str, Sequence[str]]
    account: WrittenRows = field(default_factory=WrittenRows)
    tables: dict[str, Table] = field(default_factory=dict)

    @property
    def all_keyed(self) -> bool:
        """Whether in all tables a record replaces the earlier one of its key."""
        return all(self.keys.get(table) for table in self.declared)

    def write(self, connection: Connection, mark: Mark, batch: Batch, transaction: int) -> tuple[int, int]:
        """Write a batch.

        Args:
            transaction: the number of the one that is open.
        Returns:
            how many records were written, and how many of them replaced another.
        Raises:
            SchemaError, StoreError: as of `table`.
        """
        if not batch.columns or not batch.columns[PATIENT_ID]:
            return 0, 0
        table = self.table(connection, batch)
        unknown = [name for name in batch.columns if name not in table.c]
        if unknown:
            raise StoreError(
                f"table {table.name}: has no column {', '.join(unknown)}; import into a new table"
            )
        keys = tuple(self.keys.get(table.name, ()))
        lock(connection)
        before = self.account.highest(connection, table, transaction)
        count = insert_columns(connection, table, batch.columns, keys)
        replaced = self.account.note(
            connection, mark, table, before, count, keyed=bool(keys), transaction=transaction
        )
        return count, replaced

    def table(self, connection: Connection, batch: Batch) -> Table:
        """The batch's table, made when it is missing: declared columns by their kind, others as text.

        Raises:
            SchemaError: its columns cannot stand in one table. StoreError: it stands there with others.
        """
        if batch.table in self.tables:
            return self.tables[batch.table]
        declared = self.declared.get(batch.table, {})
        keys = self.keys.get(batch.table, ())
        columns = [*dict.fromkeys([*batch.columns, *declared])]
        _check_names(batch.table, columns, connection.dialect.name)
        table = _table_of(batch.table, columns, declared, keys)
        if inspect(connection).has_table(batch.table):
            _check_fits(connection, batch.table, columns, declared, keys)
        else:
            table.create(connection)
            write_declarations(connection, batch.table, declared)
        self.tables[batch.table] = table
        return table


def _table_of(
    name: str, columns: Sequence[str], declared: Mapping[str, Declared], keys: Sequence[str]
) -> Table:
    table = Table(
        name,
        MetaData(),
        Column(ROW if "id" in map(str.lower, columns) else "id", Integer, primary_key=True),
        Column(PATIENT_ID, String(LONGEST_ID), nullable=False),
        *(
            Column(column, sql_type(declared[column].kind) if column in declared else Text())
            for column in columns
            if column != PATIENT_ID
        ),
    )
    if keys:
        Index(f"{name}_key", *(table.c[column] for column in keys), unique=True)
    return table


def _check_names(table: str, columns: Sequence[str], dialect: str) -> None:
    """Refuse, in words, what a database would refuse in its own."""
    lowered = Counter(name.lower() for name in columns)
    twice = sorted(name for name in columns if lowered[name.lower()] > 1)
    if twice:
        raise SchemaError(
            f"table {table}: {', '.join(twice)} differ in capitals only, which a database does not tell "
            "apart; give one another name in the mapping"
        )
    most = MAX_COLUMNS.get(dialect, min(MAX_COLUMNS.values())) - 2
    if len(columns) > most:
        raise SchemaError(f"table {table}: {len(columns)} columns; choose at most {most} in a mapping file")


def _check_fits(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    declared: Mapping[str, Declared],
    keys: Sequence[str],
) -> None:
    """Refuse to add to a table of other columns, declarations or keys."""
    if table in derived_tables(connection):
        raise StoreError(f"table {table}: is derived from others; import into another table")
    present = {column["name"] for column in inspect(connection).get_columns(table)}
    missing = sorted(set(columns) - present)
    if missing or read_declarations(connection, table) != dict(declared):
        raise StoreError(
            f"table {table}: stands there with other columns or declarations"
            f"{' (no ' + ', '.join(missing) + ')' if missing else ''}; import into another table"
        )
    if keys and not _has_key(connection, table, keys):
        raise StoreError(
            f"table {table}: stands there without the key {', '.join(keys)}; import into another table"
        )


def _has_key(connection: Connection, table: str, keys: Sequence[str]) -> bool:
    """Whether the database holds the key's values apart, which a record needs to replace an earlier one."""
    unique = [index["column_names"] for index in inspect(connection).get_indexes(table) if index["unique"]]
    return any(sorted(map(str, names)) == sorted(keys) for names in unique)

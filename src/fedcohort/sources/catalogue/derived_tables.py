"""Which tables of a site's database were derived from others: by which SELECT, of what, with which rows."""

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, Connection, MetaData, String, Table, Text, delete, inspect

from fedcohort.sources.catalogue.schema import OURS

DERIVED = f"{OURS}derived"
DERIVED_TABLE = Table(
    DERIVED,
    MetaData(),
    Column("table_name", String(128), primary_key=True),
    Column("query", Text, nullable=False),
    Column("sources", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("at", BigInteger, nullable=False),
)


@dataclass(frozen=True)
class DerivedTable:
    """The provenance of one table.

    Attributes:
        query: the SELECT, as it was sent.
        sources: the tables that it read, each with the number of its last import then; 0 where none is noted.
        rows: how many it holds.
        digest: SHA-256 of what is declared and of the rows.
        at: seconds since 1970.
    """

    table: str
    query: str
    sources: Mapping[str, int]
    rows: int
    digest: str
    at: int

    def __str__(self) -> str:
        """A line for people."""
        at = datetime.datetime.fromtimestamp(self.at).astimezone()
        read = ", ".join(
            f"{table} as of import {number}" if number else table for table, number in self.sources.items()
        )
        return f"{self.table}  {at:%Y-%m-%d %H:%M}  {self.rows} rows from {read}; SHA-256 {self.digest}"


def derived_tables(connection: Connection) -> dict[str, DerivedTable]:
    """By name, the derived tables of a database."""
    if not inspect(connection).has_table(DERIVED):
        return {}
    rows = connection.execute(DERIVED_TABLE.select().order_by(DERIVED_TABLE.c.table_name)).all()
    return {
        str(name): DerivedTable(str(name), query, json.loads(sources), int(count), digest, int(at))
        for name, query, sources, count, digest, at in rows
    }


def note_derived(connection: Connection, derived: DerivedTable) -> None:
    """Write down how a table was derived, in the transaction that writes its rows."""
    DERIVED_TABLE.create(connection, checkfirst=True)
    forget_derived(connection, derived.table)
    values = {"table_name": derived.table, "sources": json.dumps(dict(derived.sources))}
    values |= {"query": derived.query, "digest": derived.digest}
    connection.execute(DERIVED_TABLE.insert(), {**values, "rows": derived.rows, "at": derived.at})


def forget_derived(connection: Connection, table: str) -> None:
    """The table is dropped, or derived anew."""
    connection.execute(delete(DERIVED_TABLE).where(DERIVED_TABLE.c.table_name == table))

"""What is known of a table's columns without its rows: SQL types, and what imports declared."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect

from fedcohort.errors import SchemaError, StoreError
from fedcohort.sources.catalogue.declared import tables_of
from fedcohort.sources.catalogue.schema import FEATURES, Declared, read_declarations
from fedcohort.sources.catalogue.sql_types import Facts, column_types, facts_of_type, name_of_type
from fedcohort.storage.database import reading


@dataclass(frozen=True)
class Described:
    """One column.

    Attributes:
        sql_type: in the database's words; of a JSON vector's element, what the vector is.
        facts: what the SQL type alone tells, as a catalogue writes it; None where it cannot be analysed.
        declared: kind, range or levels, and unit; None when nobody declared them.
    """

    sql_type: str
    facts: Facts | None
    declared: Declared | None


def describe_table(database: str | Path, table: str) -> dict[str, Described] | None:
    """Look at a table's columns, elements of its JSON vector among them, and at no row.

    Returns:
        by column; None where the database has no such table.
    Raises:
        StoreError: the database is missing, locked or damaged.
        SchemaError: what is declared there is damaged.
    """
    with reading(database) as connection:
        inspector = inspect(connection)
        if table not in tables_of(inspector):
            return None
        declared = read_declarations(connection, table)
        engine = connection.dialect.name
        described = {
            name: Described(name_of_type(kind), facts_of_type(kind, engine), declared.get(name))
            for name, kind in column_types(inspector, table).items()
        }
    if FEATURES in described:
        for name, declaration in declared.items():
            if declaration.position is not None:
                numeric: Facts = {"kind": "numeric", "low": None, "high": None}
                described[name] = Described("JSON", numeric, declaration)
    return described


def units_of(database: str | Path, table: str) -> dict[str, str]:
    """By column, the units that imports declared; none where the database cannot be read now."""
    try:
        described = describe_table(database, table) or {}
    except (StoreError, SchemaError):
        return {}
    return {
        name: column.declared.unit
        for name, column in described.items()
        if column.declared is not None and column.declared.unit
    }

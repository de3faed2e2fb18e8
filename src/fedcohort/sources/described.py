"""What is known of a table's columns without its rows: SQL types, and what imports declared."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import inspect

from fedcohort.errors import SchemaError, StoreError
from fedcohort.sources.catalogue import Facts, facts_of_type
from fedcohort.sources.database import reading
from fedcohort.sources.schema import FEATURES, Declared, read_declarations


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
        if table not in (*inspector.get_table_names(), *inspector.get_view_names()):
            return None
        declared = read_declarations(connection, table)
        found = {
            column["name"]: Described(
                str(column["type"]), facts_of_type(column["type"]), declared.get(column["name"])
            )
            for column in inspector.get_columns(table)
        }
    if FEATURES in found:
        for name, one in declared.items():
            if one.position is not None:
                numeric: Facts = {"kind": "numeric", "low": None, "high": None}
                found[name] = Described("JSON", numeric, one)
    return found


def units_of(database: str | Path, table: str) -> dict[str, str]:
    """By column, the units that imports declared; none where the database cannot be read now."""
    try:
        found = describe_table(database, table) or {}
    except (StoreError, SchemaError):
        return {}
    return {
        name: one.declared.unit
        for name, one in found.items()
        if one.declared is not None and one.declared.unit
    }

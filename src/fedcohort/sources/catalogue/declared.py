"""What a site may tell about its data before any study: declared facts, never anything computed from rows."""

from collections.abc import Collection, Mapping
from pathlib import Path

from sqlalchemy import Connection, Inspector, inspect

from fedcohort.columns import Image, Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.schema import FEATURES, OURS, PATIENT_ID, Declared, Kind, read_declarations
from fedcohort.sources.catalogue.sql_types import Facts, column_types, facts_of_type
from fedcohort.storage.database import reading

Catalogue = dict[str, dict[str, dict[str, dict[str, Facts]]]]


def catalogue(
    url: str | Path, offered: Mapping[str, Collection[str]] | None, *, may_lack: Collection[str] = ()
) -> Catalogue:
    """List tables and columns with their declared kinds, bounds and levels.

    Args:
        url: SQLAlchemy URL, or a path of a SQLite file.
        offered: table to columns, as the site's policy names them; None lists all that could be offered.
        may_lack: names among them that need not be tables.
    Returns:
        {"tables": {table: {"columns": {column: facts}}}}. patient_id, row keys and raw JSON are never
        listed. A column without a declaration has the kind of its SQL type, and no bounds or levels.
    Raises:
        SchemaError: the policy offers something that the database lacks.
        StoreError: the database is missing, locked or damaged.
    """
    with reading(url) as connection:
        inspector = inspect(connection)
        present = {name for name in tables_of(inspector) if not name.startswith(OURS)}
        offered = (
            None
            if offered is None
            else {
                name: columns for name, columns in offered.items() if name in present or name not in may_lack
            }
        )
        missing = sorted(set(offered or ()) - present)
        if missing:
            raise SchemaError(
                "site.toml offers table {table}, which the database lacks; correct either",
                table=", ".join(missing),
            )
        names = sorted(present if offered is None else offered)
        tables = {name: {"columns": _columns(connection, inspector, name)} for name in names}
    if offered is None:
        return {"tables": {name: table for name, table in tables.items() if table["columns"]}}
    return {
        "tables": {name: {"columns": _only(name, tables[name]["columns"], offered[name])} for name in names}
    }


def tables_of(inspector: Inspector, schema: str | None = None) -> list[str]:
    """Tables and views of a schema, materialised ones too: all that a SELECT can name."""
    names = [*inspector.get_table_names(schema), *inspector.get_view_names(schema)]
    if inspector.dialect.name in _MATERIALISE:
        names += inspector.get_materialized_view_names(schema)
    return names


_MATERIALISE = ("postgresql", "oracle")
"""Engines of which SQLAlchemy knows materialised views."""


def _columns(connection: Connection, inspector: Inspector, table: str) -> dict[str, Facts]:
    declared = read_declarations(connection, table)
    hidden = set(inspector.get_pk_constraint(table)["constrained_columns"]) | {PATIENT_ID, FEATURES}
    types = column_types(inspector, table)
    facts: dict[str, Facts] = {}
    for name in (name for name in types if name not in hidden):
        undeclared = facts_of_type(types[name], connection.dialect.name)
        if name in declared:
            facts[name] = facts_declared(declared[name])
        elif undeclared is not None:
            facts[name] = undeclared
    elements = {
        name: entry for name, entry in declared.items() if entry.position is not None and FEATURES in types
    }
    for name in sorted(elements, key=lambda name: elements[name].position or 0):
        facts[name] = facts_declared(elements[name])
    return facts


def _only(table: str, columns: Mapping[str, Facts], offered: Collection[str]) -> dict[str, Facts]:
    missing = sorted(set(offered) - set(columns) - {PATIENT_ID})
    if missing:
        raise SchemaError(
            "site.toml offers column {table}.{missing}, which the database lacks or cannot analyse; correct "
            "either",
            table=table,
            missing=", ".join(missing),
        )
    return {name: facts for name, facts in columns.items() if name in set(offered)}


def facts_declared(declared: Declared) -> Facts:
    """What an import declared, as the catalogue writes it: the kind, and a number's unit where it has one."""
    facts = facts_of_kind(declared.kind)
    return {**facts, "unit": declared.unit} if declared.unit and facts["kind"] == "numeric" else facts


def facts_of_kind(kind: Kind) -> Facts:
    """A declared kind as the catalogue writes it."""
    if isinstance(kind, Numeric):
        return {"kind": "numeric", "low": kind.low, "high": kind.high}
    if isinstance(kind, Image):
        return {"kind": "image", "height": kind.height, "width": kind.width, "channels": kind.channels}
    return {"kind": "categorical", "levels": list(kind.levels)}

"""Where a site's events stand: in our own event tables, or in others that `[events.KIND]` of site.toml names.

    [events.observations]              # MIMIC-IV's laboratory, as it was imported
    table = "labevents"
    patient_id = "subject_id"          # patient_id, unless this says another
    system = "mimic"                   # a constant, where no column has the code system
    [events.observations.columns]
    code = "itemid"
    time = "charttime"
    value = "valuenum"
    unit = "valueuom"

A kind that is named so is read there and nowhere else; the others are read in our own tables.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, FromClause, column, inspect, literal, quoted_name
from sqlalchemy import table as sql_table
from sqlalchemy import types as sql
from sqlalchemy.exc import NoSuchTableError

from fedcohort.columns import Frozen, Identifier
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.catalogue.sql_types import is_readable, name_of_type, reflected
from fedcohort.sources.events.tables import KINDS, EventKind
from fedcohort.texts import Text, say

TimeUnit = Literal["days", "seconds", "milliseconds"]
PER_DAY: Mapping[TimeUnit, float] = {"days": 1.0, "seconds": 86_400.0, "milliseconds": 86_400_000.0}


class EventTable(Frozen):
    """`[events.KIND]`: another table that holds this kind of event."""

    table: Identifier
    patient_id: Identifier = PATIENT_ID
    system: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Of all its codes."""
    times: TimeUnit = "days"
    """Of what its times are numbers since 1970-01-01 UTC, where they are none of dates and texts."""
    columns: dict[Identifier, Identifier] = Field(min_length=1)
    """Column of the kind to column of the table."""


def fault_of_event_tables(tables: Mapping[str, EventTable]) -> Text | None:
    """What is wrong with `[events]` of site.toml, before any database is looked at; None for nothing."""
    for name, mapped in tables.items():
        kind = KINDS.get(name)
        if kind is None:
            return say(
                "events.{name}: no such kind; choose one of {kinds}", name=name, kinds=", ".join(KINDS)
            )
        unknown = sorted(set(mapped.columns) - set(kind.columns))
        if unknown:
            return say(
                "events.{name}.columns: the kind has no {unknown}; it has {columns}",
                name=name,
                unknown=", ".join(unknown),
                columns=", ".join(kind.columns),
            )
        if kind.time is not None and kind.time not in mapped.columns:
            return say("events.{name}.columns: name the column of its {time}", name=name, time=kind.time)
        if mapped.system is not None and ("system" in mapped.columns or "system" not in kind.columns):
            return say(
                "events.{name}.system: the code system is a constant or a column, of kinds that have codes; "
                "keep one",
                name=name,
            )
    return None


@dataclass(frozen=True)
class KindView:
    """One kind of event as a SELECT finds it.

    Attributes:
        kind: what its columns mean.
        selectable: the table.
        patient: the column that tells patients apart.
        columns: column of the kind to what is selected for it; those that are not there are missing.
        times: of what its times are numbers, where they are numbers.
        as_of: of a kind without a time, the column that tells the newest row of a patient.
    """

    kind: EventKind
    selectable: FromClause
    patient: ColumnElement[object]
    columns: Mapping[str, ColumnElement[object]] = field(default_factory=dict)
    times: TimeUnit = "days"
    as_of: ColumnElement[Any] | None = None


def views_of(
    connection: Connection, tables: Mapping[str, EventTable], kinds: Collection[str]
) -> dict[str, KindView]:
    """Find where these kinds stand.

    Raises:
        SchemaError: a table or column is not there, or is of a type that is not read.
    """
    return {
        name: _mapped(connection, KINDS[name], tables[name])
        if name in tables
        else _own(connection, KINDS[name])
        for name in kinds
    }


def _own(connection: Connection, kind: EventKind) -> KindView:
    if not inspect(connection).has_table(kind.name):
        raise SchemaError(
            "{kind}: this database has no such event table; import HL7 v2 or FHIR, or name another table "
            "under [events.{kind}] in site.toml",
            kind=kind.name,
        )
    table = kind.table
    missing = {column["name"] for column in inspect(connection).get_columns(kind.name)} ^ set(table.c.keys())
    if missing:
        raise SchemaError(
            "table {table}: is no event table of fedcohort ({names}); name the table of these events under "
            "[events.{table}] in site.toml",
            table=kind.name,
            names=", ".join(sorted(missing)),
        )
    return KindView(
        kind, table, table.c[PATIENT_ID], {name: table.c[name] for name in kind.columns}, as_of=table.c.as_of
    )


def _mapped(connection: Connection, kind: EventKind, mapped: EventTable) -> KindView:
    try:
        table = reflected(connection, mapped.table, None)
    except NoSuchTableError:
        raise SchemaError(
            "events.{kind}: table {table} is not in this database; correct site.toml",
            kind=kind.name,
            table=mapped.table,
        ) from None
    wanted = [mapped.patient_id, *mapped.columns.values()]
    missing = sorted({name for name in wanted if name not in table.c})
    if missing:
        raise SchemaError(
            "events.{kind}: table {table} has no column {names}; correct site.toml",
            kind=kind.name,
            table=mapped.table,
            names=", ".join(missing),
        )
    for name in wanted:
        if not is_readable(table.c[name].type, connection.dialect.name):
            raise SchemaError(
                "events.{kind}: column {table}.{name} is {type}, which is not read; cast it to a number or a "
                "text in a view, and name that",
                kind=kind.name,
                table=mapped.table,
                name=name,
                type=name_of_type(table.c[name].type),
            )
    if mapped.patient_id != PATIENT_ID and PATIENT_ID in table.c:
        raise SchemaError(
            "events.{kind}: the patients of table {table} are in patient_id; leave events.{kind}.patient_id "
            "out",
            kind=kind.name,
            table=mapped.table,
        )
    # Every name in quotes: what is a word of SQL differs by engine, such as DuckDB's AT.
    quoted = {name: column(quoted_name(name, quote=True), table.c[name].type) for name in wanted}
    found = sql_table(quoted_name(mapped.table, quote=True), *quoted.values())
    columns: dict[str, ColumnElement[Any]] = {name: found.c[one] for name, one in mapped.columns.items()}
    if mapped.system is not None:
        columns["system"] = literal(mapped.system, sql.String())
    return KindView(kind, found, found.c[mapped.patient_id], columns, mapped.times)

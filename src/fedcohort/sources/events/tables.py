"""The event tables of a site's database: a row an event, whatever format told of it.

Times are doubles, days since 1970-01-01 UTC. Order and ties are the database's work, and the same on
every engine: on PostgreSQL, texts have the collation "C", as SQLite and DuckDB compare bytes.

    patient_id  the pseudonym
    source      which system told of it
    as_of       when that system wrote it, moved with the patient's dates
    group_id    what is replaced together: a resource, a visit, an order's results (`fedcohort_event_groups`)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import BigInteger, Column, Float, Index, MetaData, String, Table

from fedcohort.sources.catalogue.schema import LONGEST_ID, PATIENT_ID

Role = Literal["time", "day", "number", "id", "system", "code", "word", "unit"]
"""What a column holds.

time: days since 1970-01-01, moved with the patient's dates. day: a calendar day likewise. id: another
identifier, such as a visit's, which becomes a keyed stand-in. system, code: of a code list. word: of a
format's own short lists, such as `final`. unit: as it is written. Nothing holds free text.
"""
LENGTHS: Mapping[Role, int] = {"id": 512, "system": 200, "code": 128, "word": 32, "unit": 64}
"""Characters of a text, as it is stored."""
EVENT_METADATA = MetaData()
OWN = (PATIENT_ID, "source", "as_of", "group_id")
"""Columns of every event table that no row of a reader has."""


@dataclass(frozen=True)
class EventKind:
    """One event table.

    Attributes:
        name: of the kind and of the table.
        columns: what a reader may give, by what it holds.
        time: the column by which events are ordered; None for `patients`.
        end: when an event ended; None where it has no length.
        value: the column of its number; None where it has none.
    """

    name: str
    columns: Mapping[str, Role]
    time: str | None = "time"
    end: str | None = None
    value: str | None = None

    @property
    def table(self) -> Table:
        """The table as it stands in a database."""
        return EVENT_METADATA.tables[self.name]


_CODED: Mapping[str, Role] = {"encounter_id": "id", "system": "system", "code": "code", "time": "time"}
_ENDING: Mapping[str, Role] = {"status": "word", "precision": "word"}
_DOSED: Mapping[str, Role] = {"dose": "number", "dose_unit": "unit", "route": "code"}
_KINDS = (
    EventKind(
        "patients", {"birth_date": "day", "sex": "word", "died": "number", "death_time": "time"}, time=None
    ),
    EventKind(
        "encounters",
        {
            "encounter_id": "id",
            "class": "word",
            "system": "system",
            "code": "code",
            "start": "time",
            "end": "time",
            "discharge": "word",
            **_ENDING,
        },
        time="start",
        end="end",
    ),
    EventKind(
        "conditions",
        {"condition_id": "id", **_CODED, "end": "time", "recorded": "time", "role": "word", **_ENDING},
        end="end",
    ),
    EventKind(
        "observations",
        {
            "observation_id": "id",
            "order_id": "id",
            **_CODED,
            "value": "number",
            "unit": "unit",
            "comparator": "word",
            "value_system": "system",
            "value_code": "code",
            "interpretation": "word",
            **_ENDING,
        },
        value="value",
    ),
    EventKind(
        "medications",
        {"medication_id": "id", **_CODED, "end": "time", "kind": "word", **_DOSED, **_ENDING},
        end="end",
        value="dose",
    ),
    EventKind("procedures", {"procedure_id": "id", **_CODED, "end": "time", **_ENDING}, end="end"),
    EventKind("immunizations", {"immunization_id": "id", **_CODED, **_DOSED, **_ENDING}, value="dose"),
    EventKind("orders", {"order_id": "id", **_CODED, **_ENDING}),
    EventKind("reports", {"report_id": "id", "order_id": "id", **_CODED, **_ENDING}),
)
KINDS: Mapping[str, EventKind] = {kind.name: kind for kind in _KINDS}


def _text(length: int) -> String:
    """Compared by its bytes on every engine."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def _column(name: str, role: Role) -> Column[float] | Column[str]:
    if role in ("time", "day", "number"):
        return Column(name, Float(53))
    return Column(name, _text(LENGTHS[role]))


def _made(kind: EventKind) -> Table:
    table = Table(
        kind.name,
        EVENT_METADATA,
        Column(PATIENT_ID, _text(LONGEST_ID), nullable=False),
        Column("source", _text(LENGTHS["system"]), nullable=False),
        Column("as_of", Float(53)),
        Column("group_id", BigInteger, nullable=False, index=True),
        *(_column(name, role) for name, role in kind.columns.items()),
    )
    if kind.time is None:
        Index(f"{kind.name}_patient", table.c[PATIENT_ID])
        return table
    times = [table.c[PATIENT_ID], table.c[kind.time]]
    Index(f"{kind.name}_patient", *times)
    values = [table.c[kind.value]] if kind.value else []
    Index(f"{kind.name}_code", table.c.system, table.c.code, *times, *values)
    if "class" in kind.columns:
        Index(f"{kind.name}_class", table.c["class"], *times)
    return table


for _kind in _KINDS:
    _made(_kind)

"""Which identifiers are one patient: merges as they were said, and the name that they give together.

A merge says that a patient is known as another from now on. Merges arrive late, twice and in any order, and
contradict each other; what they say together has no order: identifiers that any chain of merges joins are one
patient, whose name is one that was merged into and never merged away, or of several the one said last.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Executable,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)

from fedcohort.sources.catalogue.schema import LONGEST_ID, OURS, PATIENT_ID
from fedcohort.sources.events.clocks import NEVER, At
from fedcohort.sources.events.groups import AT_ONCE, GROUPS_TABLE
from fedcohort.sources.events.naming import Named
from fedcohort.sources.events.tables import KINDS, EventKind
from fedcohort.sources.events.times import MILLISECONDS_PER_DAY
from fedcohort.sources.importer.transactions import run

MERGES_TABLE = Table(
    f"{OURS}event_merges",
    MetaData(),
    Column("patient", String(LONGEST_ID), primary_key=True),
    Column("into_patient", String(LONGEST_ID), primary_key=True, index=True),
    Column("days", Integer, nullable=False),
    Column("clock", LargeBinary, nullable=False),
)
"""days: by how many more the dates of `into_patient` move than those of `patient`."""
NAMES_TABLE = Table(
    f"{OURS}event_names",
    MetaData(),
    Column("patient", String(LONGEST_ID), primary_key=True),
    Column("known_as", String(LONGEST_ID), nullable=False),
    Column("days", Integer, nullable=False),
)
"""Of a name that was merged away: under which its patient is known, and by how many days more that moves."""
_EDGES: Executable = MERGES_TABLE.select().where(
    or_(MERGES_TABLE.c.patient == bindparam("name"), MERGES_TABLE.c.into_patient == bindparam("name"))
)
_NAMED: Executable = select(NAMES_TABLE.c.known_as, NAMES_TABLE.c.days).where(
    NAMES_TABLE.c.patient == bindparam("name")
)


@dataclass(frozen=True)
class Edge:
    """One merge, as it was said."""

    patient: str
    into: str
    days: int
    at: At


def known_as(connection: Connection, own: Named) -> Named:
    """A patient's name after all merges."""
    row = run(connection, _NAMED, {"name": own.name}).fetchone()
    values = tuple[Any, ...](row or ())
    return Named(str(values[0]), own.days + int(values[1])) if values else own


def all_known_as(connection: Connection, own: Sequence[Named]) -> dict[str, Named]:
    """As `known_as`, of many at once, by their own names."""
    table, known = NAMES_TABLE.c, {one.name: one for one in own}
    query = NAMES_TABLE.select().where(table.patient.in_(bindparam("names", expanding=True)))
    names = list(known)
    for start in range(0, len(names), AT_ONCE):
        for row in connection.execute(query, {"names": names[start : start + AT_ONCE]}):
            known[row.patient] = Named(row.known_as, known[row.patient].days + row.days)
    return known


def root_of(edges: Sequence[Edge]) -> str:
    """The name of a patient of whom these merges speak; the same in whatever order they were said."""
    away = {edge.patient for edge in edges}
    stay = {edge.into for edge in edges} - away
    said = [edge for edge in edges if edge.into in stay] or list(edges)
    last = max(said, key=lambda edge: (NEVER if edge.at is None else edge.at, edge.into, edge.patient))
    return last.into


def days_from(root: str, edges: Sequence[Edge]) -> dict[str, int]:
    """Of each name: by how many days more the root's dates move than its own."""
    beside: dict[str, list[tuple[str, int]]] = {}
    for edge in edges:
        beside.setdefault(edge.into, []).append((edge.patient, edge.days))
        beside.setdefault(edge.patient, []).append((edge.into, -edge.days))
    days = {root: 0}
    waiting = [root]
    while waiting:
        name = waiting.pop()
        for other, more in beside.get(name, ()):
            if other not in days:
                days[other] = days[name] + more
                waiting.append(other)
    return days


def edges_of(connection: Connection, names: Iterable[str]) -> Iterator[Sequence[Any]]:
    """The rows of all merges that any chain joins to these names."""
    known, waiting = set[str](), set(names)
    seen: set[tuple[object, object]] = set()
    while waiting:
        name = waiting.pop()
        known.add(name)
        for row in [tuple(row) for row in run(connection, _EDGES, {"name": name}).fetchall()]:
            if row[:2] not in seen:
                seen.add(row[:2])
                yield row
            waiting |= {*row[:2]} - known


def rename(connection: Connection, days: Mapping[str, int], root: str, oldest_ms: int | None) -> None:
    """Give all rows of these names the root's, and move their dates by the difference of the two shifts.

    Args:
        days: of each name, by how many days more the root's dates move.
        oldest_ms: what was cut to this time or one before it does not move.
    """
    stood = {
        row.patient: (row.known_as, row.days)
        for row in connection.execute(NAMES_TABLE.select().where(NAMES_TABLE.c.patient.in_(list(days))))
    }
    for name, more in days.items():
        was = stood.get(name, (name, 0))
        if was[0] == name and name != root:  # its rows stand under its own name
            _move(connection, name, root, more, oldest_ms)
    names = list(days)
    connection.execute(NAMES_TABLE.delete().where(NAMES_TABLE.c.patient.in_(names)))
    merged = [
        {"patient": name, "known_as": root, "days": more} for name, more in days.items() if name != root
    ]
    if merged:
        connection.execute(NAMES_TABLE.insert(), merged)


def _move(connection: Connection, name: str, root: str, days: int, oldest_ms: int | None) -> None:
    values: dict[str, object] = {"of": name, "root": root, "more": float(days * MILLISECONDS_PER_DAY)}
    if oldest_ms is not None:
        values["oldest"] = oldest_ms / MILLISECONDS_PER_DAY
    for kind in KINDS:
        run(connection, _moving(kind, oldest_ms is not None), values)
    run(connection, _RENAMED, {"of": name, "root": root})


@cache
def _moving(kind: str, is_cut: bool) -> Executable:
    """The update of one event table, built once."""
    table = KINDS[kind].table
    values: dict[str, ColumnElement[Any]] = {PATIENT_ID: bindparam("root")}
    for column in dated(KINDS[kind]):
        values[column] = _moved(table.c[column], is_cut)
    return update(table).where(table.c[PATIENT_ID] == bindparam("of")).values(values)


_RENAMED: Executable = (
    update(GROUPS_TABLE)
    .where(GROUPS_TABLE.c[PATIENT_ID] == bindparam("of"))
    .values({PATIENT_ID: bindparam("root")})
)


def dated(kind: EventKind) -> list[str]:
    """The columns that move with a patient's dates."""
    return ["as_of", *(name for name, role in kind.columns.items() if role in ("time", "day"))]


def _moved(column: ColumnElement[Any], is_cut: bool) -> ColumnElement[Any]:
    """As `moved` of a new row: whole milliseconds are added, so that the order of arrival leaves no trace."""
    a_day = literal_column(f"{float(MILLISECONDS_PER_DAY)}", Float(53))
    later = (func.round(column * a_day) + bindparam("more", type_=Float(53))) / a_day
    if not is_cut:
        return later
    return case((column <= bindparam("oldest", type_=Float(53)), column), else_=later)

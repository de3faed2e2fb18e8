"""Groups of events: what owns rows, so that an update, a correction or a deletion finds them again.

A group keeps its place when its rows are deleted, so that an older message that arrives later does not bring
them back. When it was last written is sealed: beside dates that were moved, it would tell by how much.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Executable,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    select,
    update,
)

from fedcohort.sources.catalogue.schema import LONGEST_ID, OURS, PATIENT_ID
from fedcohort.sources.events.clocks import NEVER, At, Clock, clock_of, is_later
from fedcohort.sources.events.tables import KINDS, LENGTHS, EventKind
from fedcohort.sources.importer.transactions import run

GROUPS = f"{OURS}event_groups"
GROUPS_TABLE = Table(
    GROUPS,
    MetaData(),
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("name", String(LENGTHS["id"]), nullable=False),
    Column(PATIENT_ID, String(LONGEST_ID), index=True),
    Column("rows", Integer, nullable=False),
    Column("clock", LargeBinary, nullable=False),
)
"""name: the key's stand-in. rows: how many it has in its table; none where they were deleted."""
Index(f"{GROUPS}_name", GROUPS_TABLE.c.kind, GROUPS_TABLE.c.name, unique=True)

_STORED: Executable = select(
    GROUPS_TABLE.c.id, GROUPS_TABLE.c[PATIENT_ID], GROUPS_TABLE.c.rows, GROUPS_TABLE.c.clock
).where(GROUPS_TABLE.c.kind == bindparam("kind"), GROUPS_TABLE.c.name == bindparam("name"))
_HIGHEST = select(func.max(GROUPS_TABLE.c.id))
AT_ONCE = 500
StoredGroup = tuple[int, str | None, int, bytes]
"""A group's id, patient, number of rows and sealed clock."""
Stored = dict[str, object]
"""A row of an event table: column to value, of its kind's columns."""


@dataclass
class GroupState:
    """One group, as it stands and as it shall.

    Attributes:
        kind, name: what it is.
        number: its id in the database; None until it is written.
        patient: whose rows they are, by the database's name; None where nobody has said.
        stored: how many rows stand in the database.
        clock: when it was written.
        rows: its rows now; None while they are those of the database.
        changed: whether anything is to be written.
        days: by how many days its patient's dates move.
        held: its rows as they stand, where they were read ahead.
    """

    kind: EventKind
    name: str
    number: int | None
    patient: str | None
    stored: int
    clock: Clock
    rows: list[Stored] | None = None
    changed: bool = False
    days: int = 0
    held: list[Stored] | None = None


@dataclass(frozen=True)
class Incoming:
    """A change of a group, named and moved as it may be stored.

    Attributes:
        at: when it was written.
        patient: by the database's name; None for a deletion that does not say whose.
        days: by how many days the patient's dates move.
        rows: column to value; a column of `keeps` says nothing.
        keeps: columns of a single row of which nothing is said.
    """

    at: At
    patient: str | None
    days: int
    rows: Sequence[Stored]
    keeps: frozenset[str] = frozenset()


def load_group(connection: Connection, kind: EventKind, name: str) -> StoredGroup | None:
    """A group as it stands; None where it is not there."""
    row = run(connection, _STORED, {"kind": kind.name, "name": name}).fetchone()
    return None if row is None else _stored(tuple[Any, ...](row))


def _stored(row: Sequence[Any]) -> StoredGroup:
    number, patient, rows, clock = row
    return int(number), patient, int(rows), bytes(clock)


def load_groups(connection: Connection, kind: EventKind, names: Sequence[str]) -> dict[str, StoredGroup]:
    """As `load_group`, of many at once: what a server is asked for one by one takes a journey each."""
    columns = GROUPS_TABLE.c
    query = select(columns.name, columns.id, columns[PATIENT_ID], columns.rows, columns.clock).where(
        columns.kind == kind.name, columns.name.in_(bindparam("names", expanding=True))
    )
    found = (
        tuple[Any, ...](row)
        for start in range(0, len(names), AT_ONCE)
        for row in connection.execute(query, {"names": names[start : start + AT_ONCE]})
    )
    return {str(name): _stored(row) for name, *row in found}


def load_rows_of(connection: Connection, kind: EventKind, numbers: Sequence[int]) -> dict[int, list[Stored]]:
    """The rows of many groups as they stand, by the group's id."""
    table, rows = kind.table, dict[int, list[Stored]]()
    columns = [table.c[name] for name in kind.columns]
    query = select(table.c.group_id, *columns).where(
        table.c.group_id.in_(bindparam("numbers", expanding=True))
    )
    for start in range(0, len(numbers), AT_ONCE):
        for row in connection.execute(query, {"numbers": numbers[start : start + AT_ONCE]}):
            number, *values = tuple[Any, ...](row)
            rows.setdefault(number, []).append(dict(zip(kind.columns, values, strict=True)))
    return rows


def highest(connection: Connection) -> int:
    """The highest id of a group."""
    row = run(connection, _HIGHEST, {}).fetchone()
    return int(row[0] or 0) if row else 0


def load_rows(connection: Connection, state: GroupState) -> list[Stored]:
    """A group's rows as they stand."""
    if state.held is not None:
        return state.held
    rows = run(connection, _rows_of(state.kind.name), {"number": state.number}).fetchall()
    return [dict(zip(state.kind.columns, tuple[Any, ...](row), strict=True)) for row in rows]


@lru_cache
def _rows_of(kind: str) -> Executable:
    """Built once: building it costs many times what it takes to run it."""
    table, columns = KINDS[kind].table, KINDS[kind].columns
    return select(*(table.c[name] for name in columns)).where(table.c.group_id == bindparam("number"))


def put(state: GroupState, incoming: Incoming, load: Callable[[GroupState], list[Stored]]) -> bool:
    """Change a group by what comes; whether anything of it holds.

    A single row and another of the same patient are compared column by column, else the later one replaces
    the earlier one. A row that says nothing of a column keeps what is stored.

    Args:
        load: reads the rows of a group as they stand.
    """
    is_same = state.patient is None or incoming.patient is None or incoming.patient == state.patient
    is_row = len(incoming.rows) <= 1 and state.stored <= 1 and len(state.rows or ()) <= 1
    if is_same and is_row and (incoming.keeps or state.clock.columns):
        return _put_columns(state, incoming, load)
    if is_later(state.clock.at, incoming.at):
        return False
    columns = dict.fromkeys(incoming.keeps, NEVER)
    rows = [{name: row.get(name) for name in state.kind.columns} for row in incoming.rows]
    _replace(state, incoming, rows, clock_of(incoming.at, columns))
    return True


def _put_columns(state: GroupState, incoming: Incoming, load: Callable[[GroupState], list[Stored]]) -> bool:
    if incoming.patient is None and is_later(state.clock.at, incoming.at):
        return False
    rows = state.rows if state.rows is not None else load(state) if state.stored else []
    row: Stored = dict(rows[0]) if rows else {}
    told: Mapping[str, object] = incoming.rows[0] if incoming.rows else {}
    clocks = {name: state.clock.of(name) for name in state.kind.columns}
    holds = False
    for name in state.kind.columns:
        if name not in incoming.keeps and not is_later(clocks[name], incoming.at):
            row[name], clocks[name], holds = told.get(name), incoming.at, True
    at, is_there = state.clock.at, bool(rows)
    if not is_later(at, incoming.at):
        at, is_there, holds = incoming.at, bool(incoming.rows), True
    if holds:
        made = [{name: row.get(name) for name in state.kind.columns}] if is_there else []
        _replace(state, incoming, made, clock_of(at, clocks))
    return holds


def _replace(state: GroupState, incoming: Incoming, rows: list[Stored], clock: Clock) -> None:
    state.rows, state.clock, state.changed = rows, clock, True
    if incoming.patient is not None:
        state.patient, state.days = incoming.patient, incoming.days


UPDATE = (
    update(GROUPS_TABLE)
    .where(GROUPS_TABLE.c.id == bindparam("number"))
    .values({PATIENT_ID: bindparam("of"), "rows": bindparam("now"), "clock": bindparam("at")})
)

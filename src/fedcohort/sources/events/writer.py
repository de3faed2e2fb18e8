"""The one writer of event tables: records in, rows of several tables out, in the caller's transaction.

What a batch changes is worked out in memory, group by group and in the order of its records; then each table
is written once. A refused change is left out with its place, and the rest of its record is stored.
"""

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, delete, inspect

from fedcohort.errors import StoreError, ValueRangeError
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.events.change import KEEP, Group, Merge, Record, Refusal, Value
from fedcohort.sources.events.clocks import At, Clock, decoded
from fedcohort.sources.events.groups import (
    GROUPS_TABLE,
    UPDATE,
    GroupState,
    Incoming,
    Stored,
    StoredGroup,
    highest,
    load_group,
    load_groups,
    load_rows,
    load_rows_of,
    put,
)
from fedcohort.sources.events.merges import (
    MERGES_TABLE,
    NAMES_TABLE,
    Edge,
    all_known_as,
    days_from,
    edges_of,
    known_as,
    rename,
    root_of,
)
from fedcohort.sources.events.naming import EventNames, Named
from fedcohort.sources.events.tables import EVENT_METADATA, KINDS, EventKind
from fedcohort.sources.events.times import MILLISECONDS_PER_DAY, moved
from fedcohort.sources.importer.transactions import compiled
from fedcohort.sources.importer.writer import insert_columns


@dataclass
class Written:
    """What a batch did.

    Attributes:
        rows: by table, rows that were written.
        replaced: by table, rows that others took the place of, or that were deleted.
        older: changes that came after later ones, and so changed nothing.
        merged: pairs of patients that became one.
        refusals: with the place of their record.
    """

    rows: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    older: int = 0
    merged: int = 0
    refusals: list[tuple[str, Refusal]] = field(default_factory=list)


def create_tables(connection: Connection, name: str) -> None:
    """Make the event tables and what is kept beside them.

    Args:
        name: the database's, for messages.
    Raises:
        StoreError: a table of that name stands there, and is another.
    """
    present = set(inspect(connection).get_table_names())
    for table in (*EVENT_METADATA.sorted_tables, GROUPS_TABLE, MERGES_TABLE, NAMES_TABLE):
        if table.name not in present:
            table.create(connection)
        elif {one["name"] for one in inspect(connection).get_columns(table.name)} != set(table.c.keys()):
            raise StoreError(
                f"{name}: its table {table.name} is no event table of fedcohort: import events into a new "
                "database"
            )


@dataclass
class EventWriter:
    """Writes the batches of one import.

    Attributes:
        names: what becomes of identifiers and dates.
        source: which system the events are from.
    """

    names: EventNames
    source: str
    _states: dict[tuple[str, str], GroupState] = field(default_factory=dict)
    _known: dict[str, Named] = field(default_factory=dict)

    def write(self, connection: Connection, records: Sequence[Record]) -> Written:
        """Write records, in the caller's transaction, which nobody else's interrupts."""
        written = Written()
        self._known.clear()
        if connection.dialect.name != "sqlite":
            self._read_ahead(connection, records)
        for record in records:
            for change in record.changes:
                self._change(connection, record.place, change, written)
        self._flush(connection, written)
        return written

    def _read_ahead(self, connection: Connection, records: Sequence[Record]) -> None:
        """Read all that a batch is about at once: from a server, each question is a journey."""
        groups = [change for record in records for change in record.changes if isinstance(change, Group)]
        named: dict[str, Named] = {}
        by_kind: dict[str, dict[str, bool]] = {}
        for group in groups:
            with suppress(ValueRangeError):  # which is refused in its turn
                if group.patient is not None:
                    named[group.patient] = self.names.patient(group.patient)
                name = self._stand_in(f"{group.kind} group", group.key)
                keeps = any(value is KEEP for row in group.rows for value in row.values())
                names = by_kind.setdefault(group.kind, {})
                names[name] = names.get(name, False) or keeps
        known = all_known_as(connection, list(named.values()))
        self._known.update({identifier: known[own.name] for identifier, own in named.items()})
        for kind_name, names in by_kind.items():
            kind = KINDS[kind_name]
            stored = load_groups(connection, kind, list(names))
            for name in names:
                self._states[kind_name, name] = self._opened(kind, name, stored.get(name))
            keeping = [number for name, (number, *_) in stored.items() if names[name]]
            rows = load_rows_of(connection, kind, keeping)
            for name, keeps in names.items():
                state = self._states[kind_name, name]
                if keeps and state.number is not None:
                    state.held = rows.get(state.number, [])

    def _change(
        self, connection: Connection, place: str, change: Group | Merge | Refusal, written: Written
    ) -> None:
        try:
            match change:
                case Refusal():
                    written.refusals.append((place, change))
                case Merge():
                    self._flush(connection, written)
                    written.merged += self._merge(connection, change)
                case Group():
                    incoming = self._incoming(connection, change)
                    state = self._state(connection, KINDS[change.kind], change.key)
                    written.older += not put(state, incoming, partial(load_rows, connection))
        except ValueRangeError as error:
            sentence = f"{error}; it is left out: correct it in the source"
            written.refusals.append((place, Refusal(getattr(change, "kind", ""), "identifier", sentence)))

    def _incoming(self, connection: Connection, group: Group) -> Incoming:
        named = None if group.patient is None else self._patient(connection, group.patient)
        days = 0 if named is None else named.days
        keeps = frozenset(name for row in group.rows for name, value in row.items() if value is KEEP)
        rows = [self._row(KINDS[group.kind], row, days) for row in group.rows]
        at = None if group.as_of is None else round(group.as_of * MILLISECONDS_PER_DAY)
        return Incoming(at, None if named is None else named.name, days, rows, keeps)

    def _patient(self, connection: Connection, identifier: str) -> Named:
        """The patient's name after all merges.

        Raises:
            ValueRangeError: the identifier has no text.
        """
        if identifier not in self._known:
            self._known[identifier] = known_as(connection, self.names.patient(identifier))
        return self._known[identifier]

    def _row(self, kind: EventKind, row: Mapping[str, Value], days: int) -> Stored:
        """A row as it may be stored.

        Raises:
            ValueRangeError: a code's text has the shape of an identifier.
        """
        system = row.get("system")
        is_local = not (isinstance(system, str) and (":" in system or "/" in system))
        made: Stored = {}
        for name, value in row.items():
            role = kind.columns[name]
            if value is None or value is KEEP:
                made[name] = None
            elif role in ("time", "day") and isinstance(value, float):
                made[name] = _moved(value, days, self.names.oldest_ms)
            elif role == "id":
                made[name] = self._stand_in(name, str(value))
            else:
                if role in ("code", "unit") and self.names.has_shape(str(value), is_local):
                    raise ValueRangeError(f"{kind.name}.{name} has the shape of an identifier")
                made[name] = value
        return made

    def _stand_in(self, what: str, identifier: str) -> str:
        return self.names.stand_in(f"{self.source}\x00{what}", identifier)

    def _state(self, connection: Connection, kind: EventKind, key: str) -> GroupState:
        name = self._stand_in(f"{kind.name} group", key)
        state = self._states.get((kind.name, name))
        if state is None:
            state = self._opened(kind, name, load_group(connection, kind, name))
            self._states[kind.name, name] = state
        return state

    def _opened(self, kind: EventKind, name: str, stored: StoredGroup | None) -> GroupState:
        """A group as it stands, before a batch."""
        if stored is None:
            return GroupState(kind, name, None, None, 0, Clock(None))
        number, patient, rows, clock = stored
        opened = decoded(self.names.unseal(f"{kind.name}\x00{name}", clock))
        return GroupState(kind, name, number, patient, rows, opened)

    def _merge(self, connection: Connection, merge: Merge) -> bool:
        """Note a merge, and give all of the patient's rows one name; whether two became one."""
        patient, into = self.names.patient(merge.patient), self.names.patient(merge.into)
        if patient.name == into.name:
            return False
        at = None if merge.as_of is None else round(merge.as_of * MILLISECONDS_PER_DAY)
        said = Edge(patient.name, into.name, into.days - patient.days, at)
        before = known_as(connection, patient).name, known_as(connection, into).name
        self._note(connection, said)
        edges = [self._edge(row) for row in edges_of(connection, [patient.name])]
        root = root_of(edges)
        rename(connection, days_from(root, edges), root, self.names.oldest_ms)
        self._known.clear()
        return before[0] != before[1]

    def _note(self, connection: Connection, edge: Edge) -> None:
        """Keep what was said; of the same merge said twice, the later time."""
        table = MERGES_TABLE.c
        same = (table.patient == edge.patient, table.into_patient == edge.into)
        row = connection.execute(MERGES_TABLE.select().where(*same)).first()
        if row is not None:
            at = max((one for one in (self._edge(tuple(row)).at, edge.at) if one is not None), default=None)
            connection.execute(delete(MERGES_TABLE).where(*same))
            edge = Edge(edge.patient, edge.into, edge.days, at)
        clock = self.names.seal(f"{edge.patient}\x00{edge.into}", str(edge.at).encode())
        values = {"patient": edge.patient, "into_patient": edge.into, "days": edge.days, "clock": clock}
        connection.execute(MERGES_TABLE.insert(), values)

    def _edge(self, row: Sequence[Any]) -> Edge:
        patient, into, days, clock = row
        opened = self.names.unseal(f"{patient}\x00{into}", bytes(clock)).decode()
        return Edge(patient, into, days, None if opened == "None" else int(opened))

    def _flush(self, connection: Connection, written: Written) -> None:
        """Write what was changed: every table once."""
        changed = [state for state in self._states.values() if state.changed and state.rows is not None]
        self._states.clear()
        if not changed:
            return
        new = [state for state in changed if state.number is None]
        old = [state for state in changed if state.number is not None]
        for number, state in enumerate(new, highest(connection) + 1 if new else 0):
            state.number = number
        for kind in dict.fromkeys(state.kind.name for state in changed):
            of_kind = [state for state in changed if state.kind.name == kind]
            stale = [{"number": state.number} for state in of_kind if state.stored]
            if stale:
                _delete(connection, kind, stale)
                written.replaced[kind] += sum(state.stored for state in of_kind)
            written.rows[kind] += insert_columns(connection, KINDS[kind].table, self._columns(of_kind))
        self._write_groups(connection, new, old)

    def _columns(self, states: Sequence[GroupState]) -> dict[str, list[object]]:
        """The rows of groups of one kind, by column."""
        kind = states[0].kind
        columns: dict[str, list[object]] = {name: [] for name in kind.table.c.keys()}  # noqa: SIM118
        for state in states:
            at = state.clock.at
            as_of = None if at is None else moved(at / MILLISECONDS_PER_DAY, state.days)
            for row in state.rows or ():
                columns[PATIENT_ID].append(state.patient)
                columns["source"].append(self.source)
                columns["as_of"].append(as_of)
                columns["group_id"].append(state.number)
                for name in kind.columns:
                    columns[name].append(row.get(name))
        return columns

    def _write_groups(
        self, connection: Connection, new: Sequence[GroupState], old: Sequence[GroupState]
    ) -> None:
        sealed = {
            id(state): self.names.seal(f"{state.kind.name}\x00{state.name}", state.clock.encoded())
            for state in (*new, *old)
        }
        if new:
            columns: dict[str, Sequence[object]] = {
                "id": [state.number for state in new],
                "kind": [state.kind.name for state in new],
                "name": [state.name for state in new],
                PATIENT_ID: [state.patient for state in new],
                "rows": [len(state.rows or ()) for state in new],
                "clock": [sealed[id(state)] for state in new],
            }
            insert_columns(connection, GROUPS_TABLE, columns)
        if old:
            changes = [
                {
                    "number": state.number,
                    "of": state.patient,
                    "now": len(state.rows or ()),
                    "at": sealed[id(state)],
                }
                for state in old
            ]
            connection.execute(UPDATE, changes)


def _delete(connection: Connection, kind: str, numbers: Sequence[dict[str, int | None]]) -> None:
    """Delete the rows of groups of one kind."""
    table = KINDS[kind].table
    statement = delete(table).where(table.c.group_id == bindparam("number"))
    raw = connection.connection.driver_connection
    if isinstance(raw, sqlite3.Connection):
        text, _ = compiled(statement, connection.dialect)
        raw.executemany(text, [(one["number"],) for one in numbers])
    else:
        connection.execute(statement, list(numbers))


def _moved(days: float, by_days: int, oldest_ms: At) -> float:
    """A time that moves with its patient's; what tells an age over 89 becomes the first day of that year."""
    if oldest_ms is not None and days <= oldest_ms / MILLISECONDS_PER_DAY:
        return oldest_ms / MILLISECONDS_PER_DAY
    return moved(days, by_days)

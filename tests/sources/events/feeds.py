"""Small feeds of events, and what of them stands in a database."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sqlalchemy import select

from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.events.change import Change, Group, Record, Value
from fedcohort.sources.events.feed import EventFeed, EventPart
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.importer.batch import Refusal
from fedcohort.sources.importer.report import Imported
from fedcohort.storage.database import reading

KEY = b"k" * 32
RULES = RuleSet(Rules(), KEY)
LOINC = "http://loinc.org"


def records(changes: Sequence[Change]) -> list[Record]:
    """A record a change."""
    return [Record(f"message {number}", (change,)) for number, change in enumerate(changes, 1)]


def part(name: str, changes: Sequence[Change]) -> EventPart:
    """A part of these changes."""

    def after(done: int) -> Iterator[Record]:
        yield from records(changes)[done:]

    return EventPart(name, lambda: hashlib.sha256(repr((name, changes)).encode()).hexdigest(), after)


def bring(
    database: str | Path,
    *changes: Change,
    name: str = "a.hl7",
    source: str = "adt",
    on_refusal: Callable[[Refusal], None] = lambda _refusal: None,
) -> Imported:
    """Import these changes as one file."""
    return import_events(EventFeed(source, [part(name, changes)]), database, RULES, on_refusal=on_refusal)


def result(key: str, as_of: float | None, patient: str, *values: float) -> Group:
    """An order's results, a row a value, an hour apart."""
    rows: list[dict[str, Value]] = [
        {"system": LOINC, "code": "2345-7", "time": 18_000 + hour / 24, "value": value, "order_id": key}
        for hour, value in enumerate(values)
    ]
    return Group("observations", key, as_of, patient, tuple(rows))


def stored(database: str | Path, kind: str) -> list[Mapping[str, object]]:
    """All rows of an event table, in the order of their values, without the number of their group."""
    table = KINDS[kind].table
    with reading(database) as connection:
        found = connection.execute(select(table)).mappings().all()
    rows = [{name: value for name, value in row.items() if name != "group_id"} for row in found]
    return sorted(rows, key=repr)


def everything(database: str | Path) -> dict[str, list[Mapping[str, object]]]:
    """All event tables."""
    return {kind: stored(database, kind) for kind in KINDS}

"""What a node's store finds of its own event log."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedcohort.node.store import SqlNodeStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlNodeStore]:
    with contextlib.closing(SqlNodeStore(tmp_path / "node.db")) as opened:
        for number in range(1, 4):
            opened.note("release", "first", {"releases": json.dumps([number])})
            opened.note("help", "first", {"round": number})
            opened.note("release", "second", {"because": '"releases":'})
        yield opened


def numbers(events: list[dict[str, object]]) -> list[object]:
    return [event["sequence"] for event in events]


def test_events_are_those_of_a_kind_of_a_study_and_the_newest_in_their_order(store: SqlNodeStore) -> None:
    assert numbers(store.events()) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert numbers(store.events(("help",))) == [2, 5, 8]
    assert numbers(store.events(("help", "release"), "first")) == [1, 2, 4, 5, 7, 8]
    assert numbers(store.events(("help", "release"), "first", 3)) == [5, 7, 8]
    assert numbers(store.events(newest=2)) == [8, 9]
    assert store.events(("asked",)) == store.events(newest=0) == []


def test_what_was_released_before_an_entry_is_what_the_last_one_before_it_says(store: SqlNodeStore) -> None:
    studies = ("first", "second")
    assert store.releases_before(1, ("release",), studies) == {}
    assert store.releases_before(7, ("release",), studies) == {"first": "[2]"}
    assert store.releases_before(9, ("release",), studies) == {"first": "[3]"}
    assert store.releases_before(9, ("help",), studies) == {}
    assert store.releases_before(9, ("release",), ("second",)) == {}, "a text that says so is no release"

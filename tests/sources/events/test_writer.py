"""The writer of event tables: whatever order messages come in, the latest word of each holds, once."""

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect

from fedcohort.errors import StoreError
from fedcohort.sources.deidentify.pseudonym import alias
from fedcohort.sources.events.change import KEEP, Change, Group, Merge, Refusal, Value
from fedcohort.sources.events.clocks import Clock, decoded
from fedcohort.sources.events.groups import GroupState, Incoming, put
from fedcohort.sources.events.merges import Edge, days_from, root_of
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.events.times import milliseconds
from fedcohort.storage.database import reading, writing
from tests.postgres import Postgres
from tests.sources.events.feeds import KEY, LOINC, bring, everything, result, stored

_number = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        yield server.create(f"writer_{next(_number)}")
    else:
        yield str(tmp_path / "events.db")


def values(database: str) -> list[float]:
    return sorted(float(str(row["value"])) for row in stored(database, "observations"))


def stay(key: str, as_of: float | None, patient: str, **columns: Value) -> Group:
    return Group("encounters", key, as_of, patient, (columns,))


def test_rows_are_named_moved_and_told_apart_by_source(database: str) -> None:
    bring(database, result("ORD-7", 18_001.5, "P1", 5.5))
    name, days = alias(KEY, "P1")
    [row] = stored(database, "observations")
    assert (row["patient_id"], row["source"], row["as_of"]) == (name, "adt", 18_001.5 + days)
    assert (row["time"], row["value"], row["system"], row["code"]) == (18_000 + days, 5.5, LOINC, "2345-7")
    assert str(row["order_id"]).startswith("c")
    bring(database, result("ORD-7", 18_001.5, "P1", 5.5), source="other lab", name="b")
    assert {row["source"] for row in stored(database, "observations")} == {"adt", "other lab"}


def test_a_group_is_replaced_shrinks_and_goes(database: str) -> None:
    bring(database, result("O", 1.0, "P1", 1.0, 2.0, 3.0))
    report = bring(database, result("O", 2.0, "P1", 4.0), name="b")
    assert values(database) == [4.0]
    assert (report.written["observations"], report.replaced["observations"]) == (1, 3)
    bring(database, Group("observations", "O", 3.0, None), name="c")
    assert values(database) == []
    assert bring(database, result("O", 2.5, "P1", 5.0), name="late").older == 1
    assert values(database) == []
    bring(database, result("O", 4.0, "P1", 6.0), name="d")
    assert values(database) == [6.0]


def test_of_two_with_one_time_or_none_the_one_that_arrives_last_holds(database: str) -> None:
    for number, as_of in enumerate((1.0, 1.0, None, 0.5)):
        bring(database, result("O", as_of, "P1", float(number)), name=str(number))
        assert values(database) == [float(number)]


def test_a_row_keeps_what_a_later_message_says_nothing_of(database: str) -> None:
    """HL7 v2: an empty field keeps, and two quotes delete."""
    bring(
        database,
        stay("V1", 1.0, "P1", **{"class": "IMP"}, start=18_000.0, code="WARD", status="in-progress"),
    )
    bring(
        database,
        stay("V1", 2.0, "P1", **{"class": KEEP}, start=KEEP, code=None, end=18_003.0, status="finished"),
        name="b",
    )
    [row] = stored(database, "encounters")
    days = alias(KEY, "P1").days
    assert (row["class"], row["start"], row["end"]) == ("IMP", 18_000.0 + days, 18_003.0 + days)
    assert (row["code"], row["status"], row["as_of"]) == (None, "finished", 2.0 + days)


def test_what_changes_its_patient_is_the_later_ones(database: str) -> None:
    bring(database, stay("V1", 2.0, "P1", start=18_000.0, code="A"))
    bring(database, stay("V1", 1.0, "P2", start=18_000.0), name="late")
    assert [row["patient_id"] for row in stored(database, "encounters")] == [alias(KEY, "P1").name]
    bring(database, stay("V1", 3.0, "P2", start=18_000.0, code=KEEP), name="moved")
    [row] = stored(database, "encounters")
    name, days = alias(KEY, "P2")
    assert (row["patient_id"], row["start"], row["code"]) == (name, 18_000.0 + days, None)


def test_a_merge_renames_and_moves_dates_by_the_difference_of_the_shifts(database: str) -> None:
    noon = 18_000.5
    bring(
        database, result("O1", 1.0, "A", 1.0), stay("V1", 1.0, "A", start=noon), result("O2", 1.0, "B", 2.0)
    )
    report = bring(database, Merge("A", "B", 3.0), name="m")
    assert report.merged == 1
    name, days = alias(KEY, "B")
    assert {row["patient_id"] for row in stored(database, "observations")} == {name}
    assert {row["time"] for row in stored(database, "observations")} == {18_000.0 + days}
    assert [row["start"] for row in stored(database, "encounters")] == [noon + days]
    bring(database, result("O3", 2.0, "A", 3.0), name="late")  # who still writes under the old identifier
    [late] = [row for row in stored(database, "observations") if row["value"] == 3.0]
    assert (late["patient_id"], late["time"], late["as_of"]) == (name, 18_000.0 + days, 2.0 + days)
    assert bring(database, Merge("A", "B", 3.0), name="again").merged == 0


def test_the_order_of_arrival_leaves_no_trace(tmp_path: Path) -> None:
    """Every order of six messages, two merges among them, gives the same bits."""
    changes: list[Change] = [
        result("O1", 18_000.1, "A", 1.0, 2.0),
        result("O1", 18_000.2, "A", 3.0),
        stay("V1", 18_000.3, "A", start=16_383.9, code="X", status="planned"),
        stay("V1", 18_000.4, "A", start=KEEP, code=KEEP, end=18_002.7),
        Merge("A", "B", 18_000.5),
        Merge("B", "C", 18_000.6),
    ]
    found = []
    for number, order in enumerate(itertools.permutations(changes)):
        if number % 90 == 0:
            database = tmp_path / f"{number}.db"
            bring(database, *order)
            found.append(everything(database))
    assert all(one == found[0] for one in found)
    assert found[0]["encounters"][0]["patient_id"] == alias(KEY, "C").name
    assert found[0]["encounters"][0]["code"] == "X"


WORDS = ("a", "b", None, KEEP)
MESSAGES = st.lists(
    st.tuples(st.booleans(), st.sampled_from(WORDS), st.sampled_from(WORDS)), min_size=2, max_size=5
)


def put_all(messages: Sequence[tuple[int, tuple[bool, Value, Value]]]) -> GroupState:
    kind = KINDS["encounters"]
    state = GroupState(kind, "V", None, None, 0, Clock(None))
    for at, (there, code, status) in messages:
        said = {"code": code, "status": status}
        keeps = frozenset(name for name, value in said.items() if there and value is KEEP)
        row: dict[str, object] = {name: None if value is KEEP else value for name, value in said.items()}
        put(state, Incoming(at, "P", 0, [row] if there else [], keeps), lambda held: held.rows or [])
        state.stored = len(state.rows or ())
    return state


@given(messages=MESSAGES, order=st.randoms(use_true_random=False))
def test_columns_are_those_of_the_latest_word_in_any_order(
    messages: Sequence[tuple[bool, Value, Value]], order: random.Random
) -> None:
    expected: dict[str, Value] | None = None
    told: dict[str, Value] = {}
    for there, code, status in messages:
        said = {"code": code, "status": status} if there else {"code": None, "status": None}
        told |= {name: value for name, value in said.items() if value is not KEEP}
        expected = dict(told) if there else None
    timed = list(enumerate(messages))
    state = put_all(timed)
    shuffled = list(timed)
    order.shuffle(shuffled)
    other = put_all(shuffled)
    assert (state.rows, state.clock.at) == (other.rows, other.clock.at)
    if expected is None:
        assert state.rows == []
    else:
        assert state.rows is not None
        [row] = state.rows
        assert (row["code"], row["status"]) == (expected.get("code"), expected.get("status"))
    assert decoded(state.clock.encoded()) == state.clock


EDGES = st.lists(
    st.builds(
        Edge, st.sampled_from("ABCD"), st.sampled_from("ABCD"), st.just(0), st.none() | st.integers(0, 3)
    ).filter(lambda edge: edge.patient != edge.into),
    min_size=1,
    max_size=6,
    unique_by=lambda edge: (edge.patient, edge.into),
)


@given(edges=EDGES, order=st.randoms(use_true_random=False))
def test_the_name_of_a_merged_patient_has_no_order(edges: list[Edge], order: random.Random) -> None:
    shift = {"A": 5, "B": -3, "C": 11, "D": 0}
    edges = [Edge(one.patient, one.into, shift[one.into] - shift[one.patient], one.at) for one in edges]
    root = root_of(edges)
    away = {edge.patient for edge in edges}
    if {edge.into for edge in edges} - away:
        assert root not in away
    order.shuffle(edges)
    assert root_of(edges) == root
    for name, days in days_from(root, edges).items():
        assert days == shift[root] - shift[name]


def test_contradicting_merges_follow_the_later_one(tmp_path: Path) -> None:
    said: list[Change] = [
        Merge("A", "B", 1.0),
        Merge("A", "C", 2.0),
        result("O", 1.0, "A", 1.0),
        result("P", 1.0, "B", 2.0),
    ]
    for number, order in enumerate(itertools.permutations(said)):
        if number % 4:
            continue
        database = tmp_path / f"{number}.db"
        bring(database, *order)
        name, days = alias(KEY, "C")
        rows = stored(database, "observations")
        assert {(row["patient_id"], row["time"]) for row in rows} == {(name, 18_000.0 + days)}


def test_a_refused_change_is_told_with_its_place_and_the_others_stand(database: str) -> None:
    named = Group("conditions", "C1", 1.0, "P1", ({"code": "MRN 1234567", "time": 18_000.0},))
    report = bring(
        database,
        result("O", 1.0, "P1", 1.0),
        Refusal("OBX-5", "no-number", "is no number; send NM values in digits"),
        named,
        result("Q", 1.0, "\u200b", 1.0),
        result("R", 1.0, "P2", 2.0),
    )
    assert values(database) == [1.0, 2.0]
    told = [(refusal.file[:5], refusal.position, refusal.field) for refusal in report.refusals]
    assert told == [
        ("file-", "message 2", "OBX-5"),
        ("file-", "message 3", "conditions"),
        ("file-", "message 4", "observations"),
    ]
    assert "1234567" not in str(report)
    assert "shape of an identifier" in report.refusals[1].reason
    assert report.read == 5


def test_a_planted_patient_is_nowhere_in_clear(database: str, tmp_path: Path) -> None:
    """Identifier, keys, visits, orders, the file's name, true days of events and of writing."""
    written, happened, born = 18_262.125, 18_261.375, 4_321.0
    row: dict[str, Value] = {"encounter_id": "MARKER-V", "order_id": "MARKER-O", "observation_id": "MARKER-R"}
    row |= {"system": LOINC, "code": "2345-7", "time": happened, "value": 5.5}
    bring(
        database,
        Group("observations", "MARKER-KEY", written, "MARKER-P", (row,)),
        Group("patients", "MARKER-P", written, "MARKER-P", ({"birth_date": born},)),
        Merge("MARKER-P", "MARKER-Q", written + 1),
        Group("orders", "MARKER-GONE", written, None),
        Group("conditions", "K", written, "MARKER-P", ({"code": "MARKER MRN 1234567", "time": happened},)),
        name="MARKER.hl7",
    )
    with reading(database) as connection:
        tables = inspect(connection).get_table_names()
        found = {
            name: [tuple(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"').fetchall()]
            for name in tables
        }
    assert {"observations", "fedcohort_event_groups", "fedcohort_event_merges", "fedcohort_imports"} <= {
        *found
    }
    stored_values = [value for rows in found.values() for one in rows for value in one]
    assert not [value for value in stored_values if "MARKER" in repr(value)]
    days = {value for value in stored_values if isinstance(value, float)}
    assert days.isdisjoint({written, written + 1, happened, born})
    clear = [f"{round(day * 86_400_000)}".encode() for day in (written, written + 1)]
    blobs = [bytes(value) for value in stored_values if isinstance(value, bytes | memoryview)]
    assert blobs
    assert not [blob for blob in blobs if any(text in blob for text in clear)]


def test_a_table_of_the_hospitals_own_is_not_taken_for_an_event_table(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(database, result("O", 1.0, "P1", 1.0))
    with writing(database) as connection:
        connection.exec_driver_sql("DROP TABLE patients")
        connection.exec_driver_sql("CREATE TABLE patients (patient_id TEXT, age FLOAT)")
    with pytest.raises(StoreError, match="its table patients is no event table"):
        bring(database, result("O", 2.0, "P1", 1.0), name="b")


def test_times_of_day_stay_to_the_millisecond(tmp_path: Path) -> None:
    import numpy as np

    hours = [18_000 + hour / 24 for hour in range(24)]
    rows: tuple[dict[str, Value], ...] = tuple({"time": time, "code": "x"} for time in hours)
    bring(tmp_path / "s.db", Group("procedures", "K", 1.0, "P1", rows))
    found = np.sort([float(str(row["time"])) for row in stored(tmp_path / "s.db", "procedures")])
    days = alias(KEY, "P1").days
    np.testing.assert_array_equal(milliseconds(found) - days * 86_400_000, milliseconds(np.array(hours)))


def test_dates_that_tell_an_age_over_89_become_one_day(tmp_path: Path) -> None:
    born: dict[str, Value] = {"birth_date": -20_000.0 * 2, "sex": "female"}
    bring(tmp_path / "s.db", Group("patients", "A", 1.0, "A", (born,)), Merge("A", "B", 2.0))
    bring(tmp_path / "t.db", Merge("A", "B", 2.0), Group("patients", "A", 1.0, "A", (born,)))
    [one], [other] = stored(tmp_path / "s.db", "patients"), stored(tmp_path / "t.db", "patients")
    assert one == other
    assert float(str(one["birth_date"])) > -14_000

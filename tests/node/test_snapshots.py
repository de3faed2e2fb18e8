"""The same question on data that have changed by few patients: answered as before."""

import asyncio
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fedcohort.errors import PolicyError, StoreError
from fedcohort.node import process, snapshots
from fedcohort.node.consent import LocalSite
from fedcohort.node.differencing import differencing_lines, is_held
from fedcohort.node.policy import SitePolicy
from fedcohort.node.snapshots import FOLDER, Snapshot, answered_from, forget, load_answered
from fedcohort.node.store import SqlNodeStore
from fedcohort.sources.cohort.held import Held, Use, changes, earlier, uses_of
from fedcohort.sources.cohort.select import hold_cohort, load_cohort
from fedcohort.sources.cohort.values import Coded
from fedcohort.study import Binary, Categorical, Cohort, Describe, Holdout, Numeric, Study
from fedcohort.table import Table
from fedcohort.wire.identity import new_identity
from tests.build import TABLE, ward_rows, write_ward
from tests.node.test_differencing import asked
from tests.patience import PATIENCE_SECONDS

ROWS = ward_rows(0)
OFFERED = {TABLE: ["age", "bp", "sex", "ill"]}
AGE, SEX = Numeric(0, 120), Categorical(("f", "m"))
Row = dict[str, object]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    policy = SitePolicy(
        id="a", data=str(write_ward(tmp_path / "ward.db", ROWS)), tables={TABLE: "*"},
        coordinator="ws://127.0.0.1:1", state=tmp_path / "state", approval="auto", analyses=("describe",),
    )  # fmt: skip
    (tmp_path / "state").mkdir()
    store = SqlNodeStore(tmp_path / "state" / "node.db")
    yield LocalSite(policy, new_identity("a"), store)
    store.close()


def later(site: LocalSite, rows: Sequence[Row]) -> LocalSite:
    """The same hospital when its database holds these rows."""
    path = site.policy.state.parent / f"{len(os.listdir(site.policy.state.parent))}.db"
    data = str(write_ward(path, rows))
    return replace(site, policy=site.policy.model_copy(update={"data": data}))


def patient(name: str, **values: object) -> Row:
    return {"patient_id": name, "age": 119.0, "bp": 90.0, "sex": "f", "ill": 1, **values}


def changed(*places: int, **values: object) -> list[Row]:
    return [{**row, **values} if place in places else dict(row) for place, row in enumerate(ROWS)]


def cohort(columns: Mapping[str, object] | None = None, **more: object) -> Cohort:
    return Cohort.model_validate({"table": TABLE, "columns": columns or {"age": AGE}, **more})


def study(name: str, columns: Mapping[str, object] | None = None, **more: object) -> Study:
    return Study(name=name, cohort=cohort(columns, **more), analysis=Describe())


def answered(site: LocalSite, one: Study) -> Table:
    return load_answered(site.policy, one.cohort, one.seed, OFFERED)


def same(one: Table, other: Table) -> bool:
    columns = all(
        np.array_equal(one.columns[name], other.columns[name], equal_nan=True) for name in one.columns
    )
    label = one.label is None or np.array_equal(one.label, np.asarray(other.label))
    return columns and label and np.array_equal(one.patient_ids, other.patient_ids)


def test_an_attack_by_one_patient_of_the_next_day_succeeds_without_snapshots_and_fails_with_them(
    site: LocalSite,
) -> None:
    """Two studies a day apart: the difference of their sums is the age of the patient between them."""
    grown = [*ROWS, patient("new")]

    def ages(site: LocalSite, name: str) -> float:
        table = answered(site, study(name))
        return float(np.nansum(table.columns["age"]))

    without = replace(site, policy=site.policy.model_copy(update={"snapshot_days": 0}))
    assert ages(later(without, grown), "b") - ages(without, "a") == 119.0
    assert not asked(site, study("one day"))
    first = answered(site, study("one day"))
    tomorrow = later(site, grown)
    (line,) = differencing_lines(tomorrow.policy, study("the next day"))
    assert line.verdict == "ready"
    assert "it is answered from the rows of then" in line.found
    assert not asked(tomorrow, study("the next day"))
    assert same(answered(tomorrow, study("the next day")), first)


def test_a_value_that_was_changed_is_answered_as_it_was(site: LocalSite) -> None:
    first = answered(site, study("first"))
    assert same(answered(later(site, changed(3, age=119.0)), study("again")), first)
    nothing = answered(later(site, changed(3, age=None)), study("and again"))
    assert same(nothing, first)


def test_when_enough_patients_have_changed_they_are_answered_and_kept(site: LocalSite) -> None:
    one = study("ages")
    answered(site, one)
    grown = later(site, [*ROWS, *(patient(f"new{place}") for place in range(10))])
    assert not asked(grown, study("ages again"))
    assert answered(grown, one).n_patients == 70
    assert answered(later(grown, [*ROWS, patient("new0")]), one).n_patients == 61  # nine have left: as it is


def test_a_column_in_which_few_have_changed_keeps_back_all_others(site: LocalSite) -> None:
    """A later study of that column alone would differ by these few."""
    columns = {"age": AGE, "bp": Numeric(0, 300)}
    first = answered(site, study("both", columns))
    rows = changed(*range(12), age=50.0)
    rows[0]["bp"] = 299.0
    assert same(answered(later(site, rows), study("again", columns)), first)
    rows = changed(*range(12), age=50.0, bp=299.0)
    assert not same(answered(later(site, rows), study("at last", columns)), first)


def test_a_new_column_is_read_of_the_patients_of_before(site: LocalSite) -> None:
    first = answered(site, study("ages"))
    grown = later(site, [*changed(3, age=119.0), patient("new")])
    more = answered(grown, study("more", {"age": AGE, "sex": SEX}))
    assert np.array_equal(more.patient_ids, first.patient_ids)
    assert np.array_equal(more.columns["age"], first.columns["age"], equal_nan=True)
    expected = load_cohort(site.policy.data, cohort({"sex": SEX}), 0, OFFERED)
    assert np.array_equal(more.columns["sex"], expected.columns["sex"])
    # It is kept with the others from now on.
    again = later(site, [*changed(4, sex="m" if ROWS[4]["sex"] == "f" else "f")])
    assert np.array_equal(answered(again, study("sex", {"sex": SEX})).columns["sex"], more.columns["sex"])


def test_who_has_left_is_not_answered_of_and_the_study_waits_for_a_person(site: LocalSite) -> None:
    assert not asked(site, study("first"))
    withdrawn = later(site, [dict(row) for row in ROWS[1:]])
    assert asked(withdrawn, study("again"))
    assert ROWS[0]["patient_id"] not in answered(withdrawn, study("again")).patient_ids
    (path,) = (site.policy.state / FOLDER).iterdir()
    assert ROWS[0]["patient_id"] not in Snapshot.from_bytes(path.read_bytes()).held.patients


def test_a_column_in_another_way_waits_for_a_person_while_few_have_changed(site: LocalSite) -> None:
    answered(site, study("as a number", {"ill": Numeric(0, 1)}))
    as_levels = study("as levels", {"ill": Categorical((0, 1))})
    assert not is_held(site.policy, as_levels)
    assert not asked(site, study("as a number", {"ill": Numeric(0, 1)}))
    assert is_held(later(site, [*ROWS, patient("new")]).policy, as_levels)


def test_other_bounds_levels_and_hold_outs_are_answered_from_the_same_rows(site: LocalSite) -> None:
    columns = {"age": AGE, "sex": SEX, "bp": Numeric(0, 300)}
    answered(site, study("first", columns, label=Binary("ill")))
    grown = later(site, [*ROWS, patient("new")])
    other = cohort(
        {"age": Numeric(1, 119), "sex": Categorical(("m", "f"))}, label=Binary("ill"), split=Holdout(0.5)
    )
    expected = load_cohort(site.policy.data, other, 7, OFFERED)
    table = load_answered(grown.policy, other, 7, OFFERED)
    assert same(table, expected)
    assert np.array_equal(table.split, expected.split)


@pytest.mark.parametrize("where", [None, "age > 50"])
def test_what_is_held_is_what_is_read(site: LocalSite, where: str | None) -> None:
    asked_for = cohort(
        {"age": AGE, "sex": SEX, "bp": Numeric(0, 300)}, label=Binary("ill"), where=where, split=None
    )
    held = hold_cohort(site.policy.data, asked_for, OFFERED)
    expected = load_cohort(site.policy.data, asked_for, 0, OFFERED)
    assert same(held.table(asked_for, 0), expected)
    snapshot = Snapshot("c", TABLE, "patient_id", 1.0, held)
    again = Snapshot.from_bytes(snapshot.to_bytes())
    assert same(again.held.table(asked_for, 0), expected)
    assert not changes(held, again.held).n


def test_a_snapshot_is_the_nodes_own_file_and_one_that_is_damaged_is_deleted_as_it_is_told(
    site: LocalSite,
) -> None:
    one = study("first")
    assert not asked(site, one)
    (path,) = (site.policy.state / FOLDER).iterdir()
    assert path.stat().st_mode & 0o077 == 0
    assert path.parent.stat().st_mode & 0o077 == 0
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match="a damaged snapshot; delete it"):
        answered(site, one)
    path.unlink()
    assert answered(site, one).n_patients == 60


def test_a_patient_whom_the_database_no_longer_has_is_forgotten(site: LocalSite) -> None:
    answered(site, study("old", where="age > 60"))
    answered(site, study("all"))
    forget(site.policy)
    assert len(list((site.policy.state / FOLDER).iterdir())) == 2
    young = next(
        place for place, row in enumerate(ROWS) if row["age"] is not None and float(str(row["age"])) < 60
    )
    forget(later(site, [row for place, row in enumerate(ROWS) if place != young]).policy)
    (path,) = (site.policy.state / FOLDER).iterdir()
    assert Snapshot.from_bytes(path.read_bytes()).conditions.count("age > 60") == 1


def test_a_node_that_runs_forgets_by_itself(site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a day; here every hundredth of a second."""
    answered(site, study("all"))
    monkeypatch.setattr(process, "SECONDS_PER_DAY", 0.01)

    async def run() -> None:
        forgetting = asyncio.create_task(process._forget_daily(later(site, ROWS[1:]).policy))
        while list((site.policy.state / FOLDER).iterdir()):
            assert not forgetting.done()
            await asyncio.sleep(0.01)
        forgetting.cancel()

    asyncio.run(asyncio.wait_for(run(), PATIENCE_SECONDS))


def test_while_a_table_is_loaded_anew_nobody_is_forgotten(site: LocalSite) -> None:
    answered(site, study("all"))
    forget(later(site, []).policy)
    forget(site.policy.model_copy(update={"data": "missing.db"}))
    assert len(list((site.policy.state / FOLDER).iterdir())) == 1


def test_a_snapshot_is_forgotten_after_its_days(site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not asked(site, study("all"))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * 86_400)
    assert asked(later(site, [*ROWS, patient("new")]), study("a month later"))
    forget(site.policy)
    assert not list((site.policy.state / FOLDER).iterdir())


def test_the_oldest_snapshots_make_room(site: LocalSite, monkeypatch: pytest.MonkeyPatch) -> None:
    answered(site, study("first"))
    (path,) = (site.policy.state / FOLDER).iterdir()
    os.utime(path, (1, 1))
    monkeypatch.setattr(snapshots, "MOST_BYTES", path.stat().st_size + 10)
    answered(site, study("second", where="age > 1"))
    assert [one.name for one in (site.policy.state / FOLDER).iterdir()] != [path.name]
    assert len(list((site.policy.state / FOLDER).iterdir())) == 1
    monkeypatch.setattr(snapshots, "MOST_BYTES", 10)
    answered(site, study("third", where="age > 2"))
    assert len(list((site.policy.state / FOLDER).iterdir())) == 1


def test_a_column_that_is_no_longer_on_offer_is_not_read(site: LocalSite) -> None:
    answered(site, study("both", {"age": AGE, "sex": SEX}))
    offered = {TABLE: ["age"]}
    only = answered_from(site.policy, cohort(), offered)
    assert (only.verdict, list(only.held.columns)) == ("same", [("number", "age")])
    with pytest.raises(PolicyError):
        load_answered(site.policy, cohort({"sex": SEX}), 0, offered)


def test_images_and_columns_in_two_ways_are_not_kept() -> None:
    assert uses_of(cohort({"fold": AGE}, split="fold")) is None
    assert uses_of(cohort({"age": AGE}, label=Binary("ill"), split="fold")) == (
        ("number", "age"), ("level", "ill"), ("level", "fold"),
    )  # fmt: skip


def held(patients: list[str], x: list[float], words: list[str | None]) -> Held:
    keys = tuple(sorted({word for word in words if word is not None}))
    codes = np.array([-1 if word is None else keys.index(word) for word in words], np.int64)
    return Held(np.array(patients), {("number", "x"): np.array(x), ("level", "w"): Coded(codes, keys)})


NAN = float("nan")


@pytest.mark.parametrize(
    ("now", "n", "gone", "least"),
    [
        ((["a", "b", "c"], [1, NAN, 3], ["u", "v", None]), 0, 0, 0),
        ((["a", "b", "c"], [1, NAN, 4], ["u", "v", None]), 1, 0, 1),
        ((["a", "b", "c"], [1, 2, 4], ["u", "w", None]), 2, 0, 1),
        ((["a", "b"], [1, NAN], ["u", "v"]), 1, 1, 1),
        ((["a", "b", "c", "d"], [1, NAN, 3, NAN], ["u", "v", None, None]), 1, 0, 0),
        ((["a", "a", "b", "c"], [1, 1, NAN, 3], ["u", None, "v", None]), 1, 0, 1),
    ],
)
def test_changes_are_counted_of_patients_and_of_columns(
    now: tuple[list[str], list[float], list[str | None]], n: int, gone: int, least: int
) -> None:
    found = changes(held(["a", "b", "c"], [1, NAN, 3], ["u", "v", None]), held(*now))
    assert (found.n, int(found.gone.sum()), found.least) == (n, gone, least)


def test_rows_of_one_patient_that_exchange_a_value_are_a_change() -> None:
    before = held(["a", "a", "b"], [1, 2, 3], ["u", "v", "u"])
    now = held(["a", "a", "b"], [1, 2, 3], ["v", "u", "u"])
    assert (changes(before, now).n, changes(before, now).least) == (1, 0)


def test_a_new_column_of_several_rows_a_patient_is_theirs_who_have_not_changed() -> None:
    new: Use = ("number", "y")
    before = held(["a", "a", "b"], [1, 2, 3], ["u", "v", "u"])
    rows = held(["a", "a", "b", "c"], [1, 2, 3, 4], ["u", "v", "u", "u"])
    now = replace(rows, columns={**rows.columns, new: np.array([5.0, 6.0, 7.0, 8.0])})
    found = changes(before, now.only(before.columns))
    again = earlier(before, now, found, [new])
    assert again is not None
    assert again.patients.tolist() == ["a", "a", "b"]
    assert again.values("y").tolist() == [5, 6, 7]
    other = held(["a", "a", "b"], [1, 2, 9], ["u", "v", "u"])
    now = replace(other, columns={**other.columns, new: np.array([5.0, 6.0, 7.0])})
    assert earlier(before, now, changes(before, now.only(before.columns)), [new]) is None

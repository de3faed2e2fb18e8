"""Kill anything, anywhere: the study goes on from its round, to the result it would have had."""

import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fedcohort.researcher.result import Result
from fedcohort.study import Study
from tests.build import describe_study, train_study
from tests.processes.support import Group, comparable, random_name, simulate_wards, wards

pytestmark = pytest.mark.processes

ROUNDS = 80


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    policy = 'protections = ["none", "masks"]\n'
    with wards(tmp_path_factory.mktemp("recovery"), preload=True, policy=policy) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed() -> Result:
    return simulate_wards(train_study("undisturbed", ROUNDS))


def patient_study(rounds: int = ROUNDS) -> Study:
    """All three sites must be in every round, for as long as it takes."""
    return train_study(random_name(), rounds, min_sites=3, round_timeout_seconds=60.0)


def test_a_killed_node_comes_back_and_changes_nothing(group: Group, undisturbed: Result) -> None:
    handle = group.connect().submit(patient_study())
    group.wait_round(handle, 10)
    group.nodes["b"].signal(signal.SIGSTOP)
    time.sleep(0.2)  # the others answer; the round now waits for b alone
    group.nodes["b"].kill()
    group.nodes["b"].start()
    group.wait_linked("b")
    result = handle.wait(progress=False)
    assert comparable(result) == comparable(undisturbed)
    assert result.report["refused"] == {}


def test_a_coordinator_killed_alone_and_with_a_node_goes_on_from_its_round(
    group: Group, undisturbed: Result
) -> None:
    handle = group.connect().submit(patient_study())
    for number, processes in ((10, [group.coordinator]), (40, [group.coordinator, group.nodes["b"]])):
        group.wait_round(handle, number)
        for process in processes:
            process.kill()
        for process in processes:
            process.start()
        group.wait_linked()
    result = handle.wait(progress=False)
    assert comparable(result) == comparable(undisturbed)
    assert not result.metrics.duplicated(["round", "split"]).any()


def test_a_watcher_that_goes_away_loses_nothing_and_reattaches(group: Group) -> None:
    handle = group.connect().submit(describe_study(random_name()))
    again = group.connect().study(handle.id[:8])
    assert again.id == handle.id
    assert again.wait(progress=False).report["patients"] == 180


# Three sites of which one may collude open no sum without all three; of which none does, two are enough.
@pytest.mark.parametrize("hidden", [{"protection": "none"}, {"protection": "masks", "colluders": 0}])
def test_a_lost_site_is_left_out_when_enough_others_answer(group: Group, hidden: dict[str, Any]) -> None:
    handle = group.connect().submit(
        train_study(random_name(), ROUNDS, round_timeout_seconds=2.0, min_sites=2, **hidden)
    )
    group.wait_round(handle, 10)
    group.nodes["c"].kill()
    try:
        result = handle.wait(progress=False)
    finally:
        group.nodes["c"].start()
        group.wait_linked("c")
    assert result.metrics["round"].max() == ROUNDS
    rows = group.survivors(handle.id)
    assert len(rows) > ROUNDS
    # On a busy machine a site can be late for single rounds.
    assert ["a", "b", "c"] in rows[:10]
    assert rows[-1] == ["a", "b"]


def test_below_min_sites_a_study_waits_and_ends_well_when_the_site_returns(
    group: Group, undisturbed: Result
) -> None:
    study = patient_study().model_copy(update={"round_timeout_seconds": 0.5})
    handle = group.connect().submit(study)
    group.wait_round(handle, 10)
    group.nodes["a"].kill()
    status = group.wait_state(handle, "waiting")
    assert status["error"]["code"] == "too-few-sites"
    group.nodes["a"].start()
    result = handle.wait(progress=False)
    assert comparable(result) == comparable(undisturbed)
    assert handle.state == "finished"

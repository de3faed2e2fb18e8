"""The WebSocket engine: processes give the bits that a simulation gives."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.support import (
    Group,
    comparable,
    describe_study,
    simulate_wards,
    train_study,
    wards,
)

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with wards(tmp_path_factory.mktemp("engine"), preload=True) as running:
        yield running


def test_processes_describe_to_the_bit_as_a_simulation_does(group: Group) -> None:
    study = describe_study("engines describe")
    assert comparable(group.run(study)) == comparable(simulate_wards(study))


def test_processes_train_to_the_bit_as_a_simulation_does(group: Group) -> None:
    study = train_study("engines train", rounds=6)
    live, simulated = comparable(group.run(study)), comparable(simulate_wards(study))
    assert live["arrays"] == simulated["arrays"]
    assert live == simulated


def test_the_same_study_again_is_the_same_study(group: Group, tmp_path: Path) -> None:
    study = describe_study("engines describe")
    first, second = group.connect().submit(study), group.connect().submit(study)
    assert first.id == second.id
    assert first.wait(progress=False).report == second.wait(progress=False).report

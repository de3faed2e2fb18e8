"""What a hospital has filled in is in its memory alone: a killed one fills in the same again."""

import signal
import time
from pathlib import Path

import pytest

import fedcohort as fc
from tests.build import cohort
from tests.processes.support import comparable, random_name, simulate_wards, wards

pytestmark = pytest.mark.processes


def test_a_node_and_a_coordinator_killed_in_the_chains_change_nothing(tmp_path: Path) -> None:
    asked = fc.Impute("ill ~ age + bp", columns=["bp"], m=3, cycles=50)
    study = fc.Study(
        name=random_name(), cohort=cohort(), analysis=asked, min_sites=3, round_timeout_seconds=60.0
    )
    undisturbed = simulate_wards(study)
    with wards(tmp_path, policy='protections = ["masks"]\n') as group:
        handle = group.connect().submit(study)
        group.wait_round(handle, 6)
        group.nodes["b"].signal(signal.SIGSTOP)
        time.sleep(0.2)  # the others answer; the round now waits for b alone
        group.nodes["b"].kill()
        group.nodes["b"].start()
        group.wait_linked("b")
        group.wait_round(handle, 20)
        for process in (group.coordinator, group.nodes["c"]):
            process.kill()
            process.start()
        group.wait_linked()
        result = handle.wait(progress=False)
    assert comparable(result) == comparable(undisturbed)
    assert result.report["impute"]["columns"]["bp"] == {"missing": 27, "n": 153}

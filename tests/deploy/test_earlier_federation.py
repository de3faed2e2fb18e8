"""A federation that ed08848 has run is upgraded, in whole and in part: nothing is lost, or silent."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedcohort.node.ledger import epsilons
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.client import Handle
from tests.build import describe_study
from tests.deploy.earlier import as_earlier, earlier_code, earlier_federation
from tests.patience import until
from tests.processes.support import SHOWS_ALL, Group, cli, comparable, healthy, random_name, simulate_wards

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    """All three processes of this version, on the stores of that one."""
    with earlier_federation(tmp_path_factory.mktemp("upgraded")) as group:
        for process in (group.coordinator, *group.nodes.values()):
            process.start()
        until(lambda: healthy(group.url), "the coordinator listens")
        group.wait_linked("a", "b")
        yield group


def named(group: Group, name: str) -> Handle:
    studies = group.connect().studies()
    return group.connect().study(str(studies.loc[studies["name"] == name, "id"].item()))


def test_finished_studies_are_read_as_before(upgraded: Group) -> None:
    exact = named(upgraded, "Finished and exact").wait(progress=False)
    assert exact.report["patients"] == 120
    private = named(upgraded, "Finished and private").wait(progress=False)
    assert private.report["privacy"]["epsilon"] <= 1.0


def test_a_study_that_had_begun_ends_in_words(upgraded: Group) -> None:
    status = upgraded.wait_state(named(upgraded, "Half done"), "failed")
    assert status["error"]["code"] == "rules-differ"
    assert "submit the study under a new name" in status["error"]["message"]


def test_a_study_that_had_not_begun_is_asked_about_again_and_runs(upgraded: Group) -> None:
    result = named(upgraded, "Not begun").wait(progress=False)
    assert result.report["patients"] == 120
    assert comparable(result) == comparable(simulate_wards(describe_study("Not begun", min_sites=2), 2))


def test_a_ledger_still_counts_what_was_spent(upgraded: Group) -> None:
    for site in ("a", "b"):
        audit = cli("node", "audit", "--site", upgraded.folder / f"{site}.toml", cwd=upgraded.folder)
        assert audit.returncode == 0, audit.stderr
        with contextlib.closing(SqlNodeStore(upgraded.folder / site / "node.db")) as store:
            (cost,) = store.costs()
            assert 0.9 < epsilons(cost)[0] <= 1.0


def test_a_node_of_the_earlier_version_is_left_out_in_words(tmp_path: Path) -> None:
    source = earlier_code(tmp_path / "code")
    with earlier_federation(tmp_path / "federation") as group:
        site_file = group.folder / "b.toml"  # that version knows no rules of disclosure
        site_file.write_text(site_file.read_text("utf-8").replace(SHOWS_ALL, ""), encoding="utf-8")
        group.coordinator.start()
        group.nodes["a"].start()
        group.nodes["b"] = as_earlier(group.nodes["b"], source).start()
        until(lambda: healthy(group.url), "the coordinator listens")
        group.wait_linked("a", "b")
        handle = group.connect().submit(describe_study(random_name(), min_sites=2))
        status = group.wait_state(handle, "failed")
        assert "b: rules-differ" in status["error"]["message"]


def test_a_node_under_a_coordinator_of_the_earlier_version_refuses_in_words(tmp_path: Path) -> None:
    source = earlier_code(tmp_path / "code")
    with earlier_federation(tmp_path / "federation") as group:
        group.coordinator = as_earlier(group.coordinator, source).start()
        until(lambda: healthy(group.url), "the coordinator listens")
        for node in group.nodes.values():
            node.start()
        group.wait_linked("a", "b")
        handle = group.connect().submit(describe_study(random_name(), min_sites=2))
        status = group.wait_state(handle, "failed")
        assert "rules-differ" in status["error"]["message"]
        assert "upgrade coordinator and nodes" in group.nodes["a"].text

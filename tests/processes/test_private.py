"""A private study over real processes: whoever is killed, the ledger is never behind nor counts twice."""

import math
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

import fedcohort as fc
from fedcohort.errors import StudyFailedError
from fedcohort.node.ledger import epsilons, released
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Study
from tests.build import cohort, describe_study
from tests.patience import until
from tests.processes.support import Group, cli, random_name, wards

pytestmark = pytest.mark.processes
ROUNDS, EVERY = 40, 10
BUDGET = "\n[budget.ward]\nepsilon = 3.5\ndelta = 1e-3\n"


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with wards(
        tmp_path_factory.mktemp("private"), preload=True, policy=f'approval = "auto"{BUDGET}'
    ) as running:
        yield running


def private_study(epsilon: float) -> Study:
    return fc.Study(
        name=random_name(),
        cohort=cohort(),
        analysis=fc.Train.private(rounds=ROUNDS),
        privacy=fc.Privacy(epsilon=epsilon, delta=1e-4, evaluate_every=EVERY),
        min_sites=3,
        round_timeout_seconds=60.0,
    )


def spent(group: Group, site: str, study_id: str) -> dict[str, int]:
    """How often each block was released, as the site's ledger has it."""
    with closing(SqlNodeStore(group.folder / site / "node.db")) as store:
        cost = store.cost(study_id)
    assert cost is not None
    assert epsilons(cost)[0] <= 2.0
    return {one.what: one.count for one in released(cost)}


def test_a_killed_node_and_coordinator_change_neither_noise_nor_ledger(group: Group) -> None:
    handle = group.connect().submit(private_study(2.0))
    group.wait_round(handle, 10)
    group.nodes["b"].signal(signal.SIGSTOP)
    time.sleep(0.2)
    group.nodes["b"].kill()
    group.coordinator.kill()
    group.coordinator.start()
    group.nodes["b"].start()
    group.wait_linked()
    result = handle.wait(progress=False)
    planned = {"patients": 1, "gradient": ROUNDS, "scores/test": ROUNDS // EVERY, "importance/test": 1}
    for site in "abc":
        assert spent(group, site, handle.id) == planned
    assert result.report["privacy"]["epsilon"] == 2.0
    assert result.report["privacy"]["epsilon_if_all_others_collude"] > 2.0
    last = result.metrics.iloc[-1]
    assert last["split"] == "test"
    for name in ("loss", "accuracy", "auc"):  # none where noise leaves fewer than one patient of a side
        if not np.isnan(last[name]):
            assert last[f"{name}_low"] <= last[name] <= last[f"{name}_high"]
    assert math.isfinite(float(result.model.predict(_features(result), verbose=0)[0, 0]))


def _features(result: fc.Result) -> object:
    return np.zeros((1, result.model.input_shape[1]), np.float32)


def test_a_study_that_asks_for_more_than_is_left_or_for_no_privacy_is_refused(group: Group) -> None:
    exact = describe_study(random_name())
    told = {
        "budget-exhausted: .* smaller epsilon": private_study(2.0),
        "privacy-required: .* give the": exact,
    }
    for words, study in told.items():
        handle = group.connect().submit(study)
        with pytest.raises(StudyFailedError, match=words):
            handle.wait(progress=False)
    assert "1.5 (delta 0.0009) of 3.5 is left" in group.nodes["a"].text


def test_the_operator_sees_what_was_given_reserved_and_spent(group: Group) -> None:
    done = cli("ledger", "--site", group.folder / "a.toml", cwd=group.folder)
    assert done.returncode == 0, done.stderr
    given, study, rest = done.stdout.splitlines()
    assert given == "ward: epsilon 3.5, delta 0.001"
    assert "reserved 2 (delta 0.0001), spent " in study
    assert 1.95 < float(study.split("spent ")[1].split(";")[0]) <= 2.0
    assert "if all other sites colluded" in study
    assert rest == "  left: epsilon 1.5, delta 0.0009 (90 studies of the default delta, 1e-05)"


def save(group: Group, site: str, folder: Path) -> None:
    """Copy a stopped node's database."""
    folder.mkdir()
    for path in (group.folder / site).glob("node.db*"):
        shutil.copy(path, folder)


def restore(group: Group, site: str, folder: Path) -> None:
    for path in (group.folder / site).glob("node.db*"):
        path.unlink()
    for path in folder.iterdir():
        shutil.copy(path, group.folder / site)


def ended_behind(group: Group, site: str) -> bool:
    """Whether a node that was started ends by itself, saying that its ledger is behind."""
    group.nodes[site].start()
    return group.nodes[site].wait() == 1 and "error (ledger-behind)" in group.nodes[site].text


def newest_entry(database: Path, table: str) -> int:
    """How far c's event log goes: its own ("events"), or as the coordinator holds it ("heads")."""
    query = {
        "events": "SELECT max(sequence) FROM events",
        "heads": "SELECT sequence FROM heads WHERE site = 'c'",
    }
    with closing(sqlite3.connect(database)) as connection:
        ((newest,),) = connection.execute(query[table]).fetchall()
    return int(newest)


def test_a_node_does_not_start_behind_the_ledger_that_others_hold(group: Group, tmp_path: Path) -> None:
    group.nodes["c"].kill()
    save(group, "c", tmp_path / "backup")
    group.nodes["c"].start()
    group.wait_linked()
    group.connect().submit(private_study(1.0)).wait(progress=False)
    # The coordinator holds c's newest head.
    group.nodes["c"].kill()
    save(group, "c", tmp_path / "newest")
    restore(group, "c", tmp_path / "backup")
    assert ended_behind(group, "c")
    # What c was shown it remembers without any coordinator; then even that copy is older.
    group.coordinator.kill()
    assert ended_behind(group, "c")
    # A coordinator that has lost its own database learns from c's peers what c had signed.
    restore(group, "c", tmp_path / "backup")
    with closing(sqlite3.connect(group.state / "coordinator.db")) as connection, connection:
        connection.execute("DELETE FROM heads WHERE site = 'c'")
    group.coordinator.start()
    group.wait_linked("a", "b")
    assert ended_behind(group, "c")
    # The newest copy starts.
    restore(group, "c", tmp_path / "newest")
    group.nodes["c"].start()
    group.wait_linked()


def test_an_operator_whose_newest_copy_is_gone_writes_the_budget_off(group: Group, tmp_path: Path) -> None:
    arguments = ("ledger", "--site", group.folder / "c.toml", "--write-off")
    refused = cli(*arguments, cwd=group.folder)
    assert (refused.returncode, "in use by another process" in refused.stderr) == (1, True)
    group.nodes["c"].kill()
    save(group, "c", tmp_path / "backup")
    group.nodes["c"].start()
    group.wait_linked()
    with pytest.raises(StudyFailedError):
        group.connect().submit(private_study(2.0)).wait(progress=False)
    # The study may have failed by another site's refusal, before c's own was heard.
    copied = newest_entry(tmp_path / "backup" / "node.db", "events")
    until(lambda: newest_entry(group.state / "coordinator.db", "heads") > copied, "c's newer head is held")
    group.nodes["c"].kill()
    restore(group, "c", tmp_path / "backup")
    assert ended_behind(group, "c")
    done = cli(*arguments, cwd=group.folder)
    assert done.returncode == 0, done.stderr
    assert "no budget is left" in done.stdout
    assert "on data sets without a budget stays unknown" in done.stdout
    assert (
        done.stdout.splitlines()[-1] == "  left: epsilon 0, delta 0 (0 studies of the default delta, 1e-05)"
    )
    group.nodes["c"].start()
    group.wait_linked()

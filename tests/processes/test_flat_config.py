"""The flat configuration of examples/flat_config, by its commands, with real processes."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from fedcohort.node.ledger import epsilons
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.rest import Rest, open_rest
from tests.build import free_port
from tests.patience import until
from tests.processes.support import Process, cli, healthy

pytestmark = pytest.mark.processes

EXAMPLE = Path(__file__).parents[2] / "examples" / "flat_config"
TRAINING_SECONDS = 240.0


@dataclass
class Flat:
    """A copy of the example on ports that are free, and its processes."""

    folder: Path
    port: int
    ports: dict[str, int]
    synthesized: str
    processes: dict[str, Process]

    def run(self, *arguments: str) -> dict[str, Any]:
        done = cli(
            "run", *arguments, "--json", cwd=self.folder, seconds=TRAINING_SECONDS,
            FEDCOHORT_COORDINATOR=f"http://127.0.0.1:{self.port}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


def told_of(url: str, home: Path) -> set[str]:
    """The hospitals whose catalogues the coordinator has; this machine's token lies in the home folder."""
    with patch.dict("os.environ", {"HOME": str(home)}), open_rest(url, None, None).client as client:
        return set(Rest(client).get("/api/catalogue")["sites"])


@contextmanager
def started(folder: Path, ports: dict[str, int], synthesized: str) -> Iterator[Flat]:
    """A coordinator and a node on each port, as the file in this folder says."""
    port = free_port()
    commands = {"coordinator": ["coordinator", "--config", "config.json", "--port", str(port), "--preload"]}
    for site, place in ports.items():
        commands[site] = ["node", "--id", site, "--port", str(place), "--preload"]
    processes = {
        name: Process(words, folder, folder / f"{name}.log").start() for name, words in commands.items()
    }
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: healthy(url), "the coordinator listens")
        until(lambda: told_of(url, folder) == set(ports), "every hospital has told its catalogue")
        yield Flat(folder, port, ports, synthesized, processes)
    finally:
        for process in processes.values():
            process.kill()


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flat]:
    folder = tmp_path_factory.mktemp("flat")
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    config = json.loads((EXAMPLE / "config.json").read_text())
    for worker in config["workers"]:
        worker["port"] = free_port()
    (folder / "config.json").write_text(json.dumps(config))
    ports = {worker["id"]: worker["port"] for worker in config["workers"]}
    synthesized = cli("data", "synthesize", "--config", "config.json", cwd=folder).stdout
    with started(folder, ports, synthesized) as running:
        yield running


def test_the_example_is_the_issues_configuration() -> None:
    config = json.loads((EXAMPLE / "config.json").read_text())
    assert [worker["id"] for worker in config["workers"]] == ["hospital_a", "hospital_b"]
    assert [worker["port"] for worker in config["workers"]] == [8777, 8778]
    assert (config["model"], config["epochs"], config["batch_size"]) == ("cnn_medical", 10, 32)
    assert (config["dp_epsilon"], config["encryption"]) == (None, None)


def test_each_hospital_has_more_than_a_thousand_patients(flat: Flat) -> None:
    assert flat.synthesized.count("1500 written") == 2
    for name in ("mimic_a.db", "mimic_b.db"):
        with closing(sqlite3.connect(flat.folder / name)) as connection:
            assert connection.execute("SELECT count(DISTINCT patient_id) FROM records").fetchone()[0] > 1000


def test_it_trains_to_a_loss_below_seven_tenths_as_the_issue_asks(flat: Flat) -> None:
    answer = flat.run("config.json")
    report, rows = answer["report"], answer["metrics"]
    assert report["sites"] == ["hospital_a", "hospital_b"]
    assert {row["round"] for row in rows} >= set(range(1, 11))
    for split in ("train", "test"):
        assert report[split]["loss"] < 0.7, report[split]
        assert report[split]["auc"] > 0.7, report[split]
    losses = [row["loss"] for row in rows if row["split"] == "train"]
    assert losses[-1] < losses[0]


def test_the_same_again_is_the_same_study(flat: Flat) -> None:
    assert flat.run()["id"] == flat.run("config.json")["id"]


def test_nodes_that_are_dialled_come_back_after_a_kill(flat: Flat) -> None:
    for name in ("hospital_a", "coordinator"):
        flat.processes[name].kill()
        flat.processes[name].start()
    until(lambda: healthy(f"http://127.0.0.1:{flat.port}"), "the coordinator listens again")
    config = json.loads((flat.folder / "config.json").read_text())
    (flat.folder / "other.json").write_text(json.dumps({**config, "model": "logistic", "epochs": 2}))
    report = flat.run("other.json")["report"]
    assert report["sites"] == ["hospital_a", "hospital_b"]
    assert report["refused"] == {}


def test_a_port_that_the_file_does_not_give_is_refused(flat: Flat) -> None:
    done = cli("node", "--id", "hospital_a", "--port", "1", cwd=flat.folder)
    assert (done.returncode, "change one of them" in done.stderr) == (1, True)
    unknown = cli("node", "--id", "hospital_z", cwd=flat.folder)
    assert "no 'hospital_z'; there are hospital_a, hospital_b" in unknown.stderr


def test_a_key_that_has_no_effect_is_refused(tmp_path: Path) -> None:
    config = {**json.loads((EXAMPLE / "config.json").read_text()), "rounds": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = cli("run", "config.json", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error (config-invalid): config.json")
    assert "rounds" in done.stderr


ISSUE = b"""\
{"workers": [{"id": "hospital_a", "host": "localhost", "port": 8777, "data": "mimic_a.db"}, \
{"id": "hospital_b", "host": "localhost", "port": 8778, "data": "mimic_b.db"}], "model": "cnn_medical", \
"epochs": 10, "batch_size": 32, "dp_epsilon": 1.5, "encryption": "paillier"}
"""
"""The flat configuration as it was asked for, byte by byte."""


def taken(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def issue(tmp_path: Path) -> Iterator[Flat]:
    ports = {worker["id"]: worker["port"] for worker in json.loads(ISSUE)["workers"]}
    if any(map(taken, ports.values())):
        pytest.skip("ports 8777 and 8778, which the file names, are in use on this machine")
    (tmp_path / "config.json").write_bytes(ISSUE)
    synthesized = cli("data", "synthesize", "--config", "config.json", cwd=tmp_path).stdout
    with started(tmp_path, ports, synthesized) as running:
        yield running


def test_the_issue_s_own_file_trains_privately_under_paillier_as_it_stands(issue: Flat) -> None:
    answer = issue.run("config.json")
    assert (issue.folder / "config.json").read_bytes() == ISSUE
    report = answer["report"]
    assert report["sites"] == ["hospital_a", "hospital_b"]
    assert report["refused"] == {}
    assert (report["privacy"]["epsilon"], report["privacy"]["noise"]) == (1.5, "site")
    assert report["protection"]["kind"] == "paillier"
    assert [row["round"] for row in answer["metrics"]] == list(range(1, 11))
    assert 0.0 <= report["test"]["auc_low"] <= report["test"]["auc"] <= report["test"]["auc_high"] <= 1.0
    assert len(report["importance"]) > 5
    for site in ("hospital_a", "hospital_b"):
        (database,) = issue.folder.glob(f".fedcohort/**/{site}/**/node.db")
        with closing(SqlNodeStore(database)) as store:
            (cost,) = store.costs()
        assert 1.3 < epsilons(cost)[0] <= 1.5, "the hospital's own ledger has the whole study"

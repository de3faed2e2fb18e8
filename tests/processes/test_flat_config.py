"""The flat configuration of examples/flat_config, by its commands, with real processes."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes.support import Process, cli, free_port, healthy, until

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
    port = free_port()
    commands = {"coordinator": ["coordinator", "--config", "config.json", "--port", str(port), "--preload"]}
    for site, place in ports.items():
        commands[site] = ["node", "--id", site, "--port", str(place), "--preload"]
    processes = {
        name: Process(words, folder, folder / f"{name}.log").start() for name, words in commands.items()
    }
    until(lambda: healthy(f"http://127.0.0.1:{port}"), "the coordinator listens")
    yield Flat(folder, port, ports, synthesized, processes)
    for process in processes.values():
        process.kill()


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


def test_it_trains_privately_under_paillier(flat: Flat) -> None:
    """The issue's own file, cnn_medical with epsilon 1.5 and Paillier, on the ports of this run."""
    config = json.loads((flat.folder / "config.json").read_text())
    private = {**config, "dp_epsilon": 1.5, "encryption": "paillier"}
    (flat.folder / "private.json").write_text(json.dumps(private))
    answer = flat.run("private.json")
    report = answer["report"]
    assert report["refused"] == {}
    assert (report["privacy"]["epsilon"], report["privacy"]["noise"]) == (1.5, "site")
    assert report["protection"]["kind"] == "paillier"
    assert [row["round"] for row in answer["metrics"]] == list(range(1, 11))
    assert 0.0 <= report["test"]["auc_low"] <= report["test"]["auc"] <= report["test"]["auc_high"] <= 1.0
    assert len(report["importance"]) > 5

"""Ctrl-C and SIGTERM end every process, at any moment, and leave nothing behind."""

import json
import tempfile
import time
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals

import psutil
import pytest

from fedcohort.errors import ConfigError
from fedcohort.quickstart.demo_processes import Processes, processes
from tests.build import describe_study, free_port, ward_rows, write_ward
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Group, Process, random_name

pytestmark = pytest.mark.processes


def children(process: Process) -> list[psutil.Process]:
    assert process.popen is not None
    found: list[psutil.Process] = psutil.Process(process.popen.pid).children(recursive=True)
    return found


def test_a_coordinator_and_nodes_end_when_told_and_go_on_when_started_again(tmp_path: Path) -> None:
    with Group(tmp_path) as group:
        for index, site in enumerate("ab"):
            group.add(site, write_ward(tmp_path / f"{site}.db", ward_rows(index)))
        group.coordinator.start()
        group.wait_linked()
        for process, number in zip(
            (group.nodes["a"], group.coordinator, group.nodes["b"]), (SIGTERM, SIGINT, SIGINT), strict=True
        ):
            process.signal(number)
            assert process.wait() in {0, 130, -number}, process.text
            assert "Traceback" not in process.text
        for process in (group.coordinator, *group.nodes.values()):
            process.start()
        group.wait_linked()
        group.coordinator.signal(SIGTERM)
        assert group.coordinator.wait() in {0, -SIGTERM}
        group.coordinator.start()
        group.wait_linked()
        assert group.run(describe_study(random_name())).report["patients"] == 120


def start_demo(folder: Path) -> Process:
    """Two hospitals that train for longer than anybody waits."""
    workers = [
        {"id": site, "host": "localhost", "port": free_port(), "data": f"{site}.db"} for site in ("a", "b")
    ]
    config = {"workers": workers, "model": "logistic", "epochs": 100_000, "batch_size": 32}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tmp").mkdir()
    words = ["demo", "--config", "config.json", "--exit-when-done"]
    return Process(words, folder, folder / "demo.log", {"TMPDIR": str(folder / "tmp")}).start()


@pytest.mark.parametrize(
    ("moment", "number"),
    [("starting", SIGINT), ("training", SIGTERM), ("training", SIGHUP), ("training", SIGKILL)],
)
def test_the_demo_leaves_no_process_and_no_folder_behind(
    tmp_path: Path, moment: str, number: Signals
) -> None:
    demo = start_demo(tmp_path)
    family: list[psutil.Process] = []
    try:
        if moment == "training":
            until(lambda: "Watch them train" in demo.text, "the demo trains")
            time.sleep(1.0)
        else:
            until(lambda: len(children(demo)) >= 2, "the demo has started two processes")
        family = children(demo)
        demo.signal(number)
        assert demo.wait() in {0, 130, -SIGKILL}, demo.text
        # Killed, it can end nobody: they notice by themselves, and the last one cleans up.
        assert psutil.wait_procs(family, PATIENCE_SECONDS)[1] == []
        assert list((tmp_path / "tmp").glob("fedcohort-demo-*")) == []
        assert list(tmp_path.glob(".fedcohort/tokens/*")) == []
        assert "Traceback" not in demo.text
    finally:
        for process in (*family, psutil.Process(demo.popen.pid) if demo.popen and demo.lives else None):
            if process is not None and process.is_running():
                process.kill()
        demo.wait()


def test_a_signal_that_comes_while_a_process_starts_still_ends_that_process(tmp_path: Path) -> None:
    group = Processes(tmp_path)
    group.busy = True
    group.interrupt(SIGINT, None)
    with pytest.raises(KeyboardInterrupt):
        group.start("coordinator", "--port", str(free_port()), log="coordinator.log")
    (process,) = group.running.values()
    group.stop()
    assert process.poll() is not None


def test_the_logs_of_a_process_that_ended_are_kept_and_its_last_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def failing() -> None:
        with processes() as group:
            group.start("node", "--site", str(tmp_path / "missing.toml"), log="a.log")
            until(lambda: group.running["a.log"].poll() is not None, "the node ends")
            group.check()

    with pytest.raises(ConfigError, match=r"(?s)process a ended with 1:.*missing\.toml"):
        failing()
    (kept,) = tmp_path.glob("fedcohort-demo-logs-*")
    assert f"The logs of its processes are kept in {kept}." in capsys.readouterr().out.replace("\n", "")
    assert "missing.toml" in (kept / "a.log").read_text()
    assert list(tmp_path.glob("fedcohort-demo-*")) == [kept]
    with pytest.raises(ConfigError, match="no plan"), processes():
        raise ConfigError("no plan")
    assert list(tmp_path.glob("fedcohort-demo-*")) == [kept], "without a process there is nothing to keep"

"""A process that is forked for a test is what `python -m fedcohort` is."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.build import free_port
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.forks import Forked
from tests.processes.support import Process, cli, environment

pytestmark = pytest.mark.processes


@pytest.mark.parametrize("words", [["--version"], ["node", "--help"], ["run", "absent.toml"], ["no-such"]])
def test_it_says_and_returns_what_a_python_of_its_own_does(tmp_path: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "fedcohort", *words]
    own = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    forked = cli(*words, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (own.returncode, own.stdout, own.stderr)


def has_said(process: Process, words: str, times: int) -> bool:
    return process.text.count(words) == times


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process is a Python of its own")
def test_it_is_signalled_waited_for_and_started_again(tmp_path: Path) -> None:
    process = Process(["coordinator", "--port", str(free_port())], tmp_path, tmp_path / "log")
    for times in (1, 2):
        process.start()
        assert isinstance(process.popen, Forked)
        until(partial(has_said, process, "Ctrl-C ends it", times), "the coordinator runs")
        assert process.lives
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)  # patience: it does not end
        process.signal(signal.SIGKILL)
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        assert not process.lives


def test_another_environment_of_imports_gets_a_python_of_its_own(tmp_path: Path) -> None:
    process = Process(["--version"], tmp_path, tmp_path / "log", {"PYTHONHASHSEED": "1"}).start()
    assert isinstance(process.popen, subprocess.Popen)
    assert process.wait() == 0

"""A process of pytest-xdist that dies costs the test it died in, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.processes

ROOT = Path(__file__).parents[1]
PLUGIN = """\
from tests.spread import Spread
def pytest_xdist_make_scheduler(config, log):
    return Spread(config, log)
"""
DIES = """\
import os
from pathlib import Path
HERE = Path(__file__).parent
def note(name):
    with open(HERE / "ran", "a") as file:
        file.write(name + "\\n")
def test_before():
    note("before")
def test_dies():
    note("dies")
    (HERE / "cases").write_text("1 2 3 4 5")  # so that the next process collects more than this one
    os._exit(3)
def test_after():
    note("after")
"""
OTHER = """\
import time
from pathlib import Path
import pytest
HERE = Path(__file__).parent
CASES = (HERE / "cases").read_text().split()
@pytest.mark.parametrize("case", CASES)
def test_case(case):
    until = time.monotonic() + 60
    while not (HERE / "ran").exists() and time.monotonic() < until:
        time.sleep(0.01)
    with open(HERE / "ran", "a") as file:
        file.write("case " + case + "\\n")
"""


def test_a_dead_process_costs_one_test_and_the_run_ends_with_its_summary(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_dies.py").write_text(DIES)
    (tmp_path / "test_other.py").write_text(OTHER)
    (tmp_path / "cases").write_text("1 2 3 4")
    options = ["-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    ran = sorted((tmp_path / "ran").read_text().split("\n")[:-1])
    assert ran == ["after", "before", "case 1", "case 2", "case 3", "case 4", "dies"], done.stdout
    assert "1 failed, 6 passed" in done.stdout
    assert "crashed while running 'test_dies.py::test_dies'" in done.stdout
    assert "INTERNALERROR" not in done.stdout
    assert done.returncode == 1

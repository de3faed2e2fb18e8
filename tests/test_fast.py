"""`scripts/test fast` leaves out what is marked, finds what ought to be, and runs before a commit."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.processes
ROOT = Path(__file__).parents[1]
INI = """\
[pytest]
addopts = --strict-markers
markers =
  processes
  browser
  training
"""
WHOLE = """\
import pytest
import tensorflow
pytestmark = [pytest.mark.training, pytest.mark.filterwarnings("ignore")]
def test_in_a_marked_file():
    pass
"""
IMPORTED = """\
import tensorflow
def test_never_collected():
    pass
"""
SINGLE = """\
import multiprocessing, os, subprocess, sys, threading
import pytest
from hypothesis import given, settings, strategies as st
def true():
    subprocess.run(["true"], check=True)
@pytest.fixture
def started():
    true()
def test_adds():
    assert 1 + 1 == 2
@pytest.mark.processes
def test_marked():
    true()
@pytest.mark.parametrize("name", ["here", pytest.param("there", marks=pytest.mark.browser)])
def test_case(name):
    assert name == "here"
TRIED = []
@settings(max_examples=200)
@given(st.integers())
def test_property(number):
    TRIED.append(number)
@given(st.integers())
def test_other_property(number):
    TRIED.append(number)
def test_few_examples_were_tried():
    assert 40 <= len(TRIED) <= 50
def test_starts():
    true()
def test_forks():
    if os.fork() == 0:
        os._exit(0)
def test_spawns():
    multiprocessing.get_context("spawn").Process(target=print).start()
def test_spawns_again():
    multiprocessing.get_context("spawn").Process(target=print).start()
def test_asks_a_shell():
    os.system("true")
def test_learns():
    import keras
def test_learns_by_name():
    __import__("importlib").import_module("tensorflow.nn")
def test_begins_with_a_process(started):
    pass
def test_overlooks_it():
    try:
        true()
    except BaseException:
        pass
@pytest.mark.filterwarnings("ignore")
def test_starts_from_a_thread():
    thread = threading.Thread(target=true)
    thread.start()
    thread.join()
"""
PROPERTIES = {"test_property", "test_other_property", "test_few_examples_were_tried"}
FOUND = {
    "test_starts": "starts a process ('true')",
    "test_forks": "starts a process",
    "test_spawns": "starts a process",
    "test_spawns_again": "starts a process",
    "test_asks_a_shell": "starts a process",
    "test_learns": "imports keras",
    "test_learns_by_name": "imports tensorflow",
    "test_begins_with_a_process": "starts a process ('true')",
    "test_overlooks_it": "starts a process ('true')",
    "test_starts_from_a_thread": "starts a process ('true')",
}


def test_a_mark_that_is_missing_is_found(tmp_path: Path) -> None:
    files = {
        "pytest.ini": INI,
        "test_whole.py": WHOLE,
        "test_imported.py": IMPORTED,
        "test_single.py": SINGLE,
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    options = ["-n", "2", "--dist", "loadfile", "-p", "tests.fast", "-p", "no:cacheprovider", "-v", "-rfE"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--continue-on-collection-errors", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    for test, what in FOUND.items():
        (line,) = (line for line in said if f"::{test} " in line)
        assert what in line, line
        assert "has no mark" in line, line
    of_file = [line for line in said if "test_imported.py" in line]
    assert of_file, "each worker says so"
    assert all("imports tensorflow" in line for line in of_file)
    assert len(said) == len(FOUND) + len(of_file), done.stdout
    assert {"test_adds", "test_case[here]", *PROPERTIES} == {
        line.split("::")[1].strip() for line in done.stdout.splitlines() if " PASSED " in line
    }
    assert done.returncode == 1


@pytest.mark.skipif(shutil.which("git") is None or sys.platform == "win32", reason="needs git and bash")
@pytest.mark.parametrize("verdict", [0, 1])
def test_git_commits_what_the_fast_tests_pass(tmp_path: Path, verdict: int) -> None:
    shutil.copytree(ROOT / "scripts" / "hooks", tmp_path / "scripts" / "hooks")
    stand_in = tmp_path / "scripts" / "test"
    stand_in.write_text(f'#!/bin/sh\necho "$@" "$GIT_INDEX_FILE" > {tmp_path}/ran\nexit {verdict}\n')
    stand_in.chmod(0o755)

    def git(*words: str) -> int:
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@a.example", *words],
            cwd=tmp_path,
            capture_output=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        ).returncode

    assert git("init") == git("config", "core.hooksPath", "scripts/hooks") == git("add", ".") == 0
    assert git("commit", "-m", "All") == verdict
    assert (tmp_path / "ran").read_text().strip() == "fast"

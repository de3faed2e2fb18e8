"""The set-up behind scripts/demo and scripts/test, run for real on a project of one file, without network."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS, until

ROOT = Path(__file__).resolve().parent.parent
BASH = shutil.which("bash") or "bash"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform == "win32", reason="the scripts need bash; Windows calls set_up.py"),
]

PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "toy"
version = "1"
[project.optional-dependencies]
demo = []
test = ["toy[demo]"]
"""
# The smallest build backend: it notes each build, and waits for as long as a file `wait` is there.
BACKEND = """\
import os, pathlib, time, zipfile
def build_editable(folder, config_settings=None, metadata_directory=None):
    here = pathlib.Path(os.getcwd())
    with open(here / "built", "a") as log:
        log.write(os.environ["PIP_CONSTRAINT"] + "\\n")
    while (here / "wait").exists():
        time.sleep(0.05)
    info = "toy-1.dist-info/"
    with zipfile.ZipFile(os.path.join(folder, "toy-1-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("toy.py", "")
        extras = "Provides-Extra: demo\\nProvides-Extra: test\\n"
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: toy\\nVersion: 1\\n" + extras)
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "")
    return "toy-1-py3-none-any.whl"
"""


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, offline, and without what a test runner adds to it."""
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHON", "PIP_CONSTRAINT"}}
    return {**kept, "PIP_NO_INDEX": "1", "PYTHON": sys.executable, **changes}


def start(project: Path, *words: str, **changes: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [BASH, project / "scripts" / "setup", *words],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said


def builds(project: Path) -> int:
    built = project / "built"
    return len(built.read_text().splitlines()) if built.exists() else 0


def lay_out(folder: Path) -> Path:
    """A project of one file with this project's scripts."""
    project = folder / "a project"  # pip reads constraints from a list that it splits at spaces
    (project / "scripts").mkdir(parents=True)
    for name in ("setup", "set_up.py"):
        shutil.copy(ROOT / "scripts" / name, project / "scripts" / name)
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "backend.py").write_text(BACKEND)
    (project / "constraints.txt").write_text("toy==1\n")
    return project


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return lay_out(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that is set up once, by two set-ups at once, for the tests that go on from there."""
    project = lay_out(tmp_path_factory.mktemp("shared"))
    (project / "wait").touch()
    first = start(project)
    until(lambda: builds(project) == 1)
    second = start(project)
    (project / "wait").unlink()
    assert end(first)[0] == 0
    code, said = end(second)
    assert (code, "waiting for it" in said, builds(project)) == (0, True, 1)
    return project


@pytest.mark.parametrize("name", ["scripts/setup", "scripts/demo", "scripts/test", "scripts/pin", ".ci/run"])
def test_a_script_parses_runs_by_itself_and_stops_at_unset_names(name: str) -> None:
    script = ROOT / name
    assert subprocess.run([BASH, "-n", script], check=False).returncode == 0
    assert script.read_text(encoding="utf-8").startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in script.read_text() or "\nset -uo pipefail\n" in script.read_text()
    assert os.access(script, os.X_OK)


def bin_with(folder: Path, **programs: str) -> str:
    """A PATH with nothing but the programs named, each a shell script, and what the set-up itself calls."""
    folder.mkdir()
    (folder / "dirname").symlink_to(shutil.which("dirname") or "/usr/bin/dirname")
    for name, body in programs.items():
        (folder / name).write_text(f"#!{BASH}\n{body}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def set_up_with_path(project: Path, path: str) -> tuple[int, list[str]]:
    clean = {"PATH": path, "HOME": str(project)}
    done = subprocess.run(
        [BASH, project / "scripts" / "setup"],
        env=clean,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_without_python_one_line_names_the_remedy(project: Path, tmp_path: Path) -> None:
    code, lines = set_up_with_path(project, bin_with(tmp_path / "bin"))
    assert (code, len(lines)) == (1, 1)
    assert "no Python 3.11, 3.12 or 3.13 found" in lines[0]
    assert "apt-get install python3" in lines[0]


def test_a_shim_that_does_not_run_and_a_python_out_of_range_do_not_count(
    project: Path, tmp_path: Path
) -> None:
    shim = "echo 'pyenv: python3.11: command not found' >&2; exit 127"
    path = bin_with(tmp_path / "bin", **{"python3.11": shim, "python3.13": shim, "python3": "exit 1"})
    code, lines = set_up_with_path(project, path)
    assert (code, len(lines)) == (1, 1)
    assert "no Python 3.11, 3.12 or 3.13 found" in lines[0]


def test_a_python_without_venv_gets_one_line_with_the_remedy(project: Path, tmp_path: Path) -> None:
    # As on Debian without python3-venv: it runs, but ensurepip is not there.
    hidden = f"""case "$2" in *ensurepip*) exit 1;; *) exec {sys.executable} "$@";; esac"""
    code, lines = set_up_with_path(project, bin_with(tmp_path / "bin", python3=hidden))
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert (code, len(lines)) == (1, 1)
    assert f"apt-get install python{version}-venv" in lines[0]


def test_a_chosen_python_that_does_not_run_is_named(project: Path) -> None:
    code, said = end(start(project, PYTHON="/nowhere/python"))
    assert code == 1
    assert said.splitlines() == [
        "scripts/setup: PYTHON=/nowhere/python is not a Python 3.11, 3.12 or 3.13 that runs: "
        "unset PYTHON, or name another one."
    ]


def test_the_second_run_repeats_nothing_and_says_nothing(shared: Path) -> None:
    before = builds(shared)
    assert end(start(shared)) == (0, "")
    assert end(start(shared, PYTHON="")) == (0, "")
    assert builds(shared) == before


def test_the_isolated_build_sees_the_constraints(shared: Path) -> None:
    assert (shared / "built").read_text().splitlines()[0] == "constraints.txt"


def test_an_extra_is_added_once_and_keeps_what_was_there(shared: Path) -> None:
    marker = shared / ".venv" / "kept"
    marker.touch()
    code, said = end(start(shared, "test"))
    assert (code, "[test]" in said, marker.exists()) == (0, True, True)
    assert end(start(shared, "test")) == (0, "")
    assert end(start(shared, "demo")) == (0, "")


def test_changed_pins_are_installed(shared: Path) -> None:
    before = builds(shared)
    (shared / "constraints.txt").write_text("toy==1\n# changed\n")
    assert end(start(shared))[0] == 0
    assert builds(shared) == before + 1


def test_a_failed_install_names_the_log_and_leaves_what_works(shared: Path) -> None:
    good = (shared / "pyproject.toml").read_text()
    (shared / "pyproject.toml").write_text(good.replace("requires = []", 'requires = ["not-there-at-all"]'))
    code, said = end(start(shared))
    assert code == 1
    assert "not-there-at-all" in said
    assert "set-up.log" in said
    (shared / "pyproject.toml").write_text(good)
    assert end(start(shared)) == (0, "")


def test_a_failed_build_is_told_in_its_own_words(shared: Path) -> None:
    good = (shared / "backend.py").read_text()
    (shared / "backend.py").write_text(good + "raise OSError('the ward is closed')\n")
    (shared / "constraints.txt").write_text("toy==1\n# changed once more\n")
    code, said = end(start(shared))
    (shared / "backend.py").write_text(good)
    assert code == 1
    assert "OSError: the ward is closed" in said
    assert end(start(shared))[0] == 0


def test_an_unknown_extra_is_refused(shared: Path) -> None:
    code, said = end(start(shared, "everything"))
    assert (code, said) == (
        1,
        "set-up: pyproject.toml has no extra named 'everything': choose one of demo, test.\n",
    )


def test_a_killed_set_up_is_done_anew(project: Path) -> None:
    (project / "wait").touch()
    process = start(project)
    until(lambda: builds(project) == 1)
    os.killpg(process.pid, signal.SIGKILL)
    assert end(process)[0] == -signal.SIGKILL
    (project / "wait").unlink()
    (project / ".venv" / "half-written").touch()
    assert end(start(project))[0] == 0
    assert not (project / ".venv" / "half-written").exists()
    assert end(start(project)) == (0, "")


def test_a_long_set_up_says_what_pip_is_doing_and_how_far_it_is() -> None:
    specification = importlib.util.spec_from_file_location("set_up", ROOT / "scripts" / "set_up.py")
    assert specification is not None
    assert specification.loader is not None
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    said = "Obtaining file:///home/ada/fedcohort\n  Installing build dependencies: started\n"
    assert script.progress("", 0) == "making .venv"
    assert script.progress(said, 1) == "starting pip"
    said += "Collecting numpy==2.4.1 (from -c constraints.txt)\nCollecting flask\n"
    assert script.progress(said, 1) == "looking up packages, 2 so far"
    said += "  Downloading tensorflow_cpu-2.21.0-cp311-cp311-manylinux_2_27_x86_64.whl (260.5 MB)\n"
    assert script.progress(said, 1) == "package 2: downloading tensorflow_cpu, 260.5 MB"
    said += "Installing collected packages: numpy, flask, tensorflow-cpu\n"
    assert script.progress(said, 2) == "installing 3 packages; 2 are in .venv"

"""Make .venv and install the project into it, once: what scripts/setup runs when it has found a Python.

Usage: python scripts/set_up.py [--check] [EXTRA]    EXTRA is demo (default) or test

Only the standard library, on every platform; on Windows call it directly: `py -3.11 scripts\\set_up.py`.
A stamp in .venv says what is installed, from which pyproject.toml and constraints.txt. Pip's own index,
proxy, cache and offline settings hold: nothing is passed that would override them.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Never, TypedDict

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / ".fedcohort-installed.json"
UNFINISHED = VENV / ".fedcohort-unfinished"
LOG = VENV / "set-up.log"
LOCK = ROOT / ".venv-lock" / "lock"
SAY_SOMETHING_SECONDS = 10
# Settings that would install elsewhere than into .venv, or let other packages pass for installed ones.
ELSEWHERE = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")


class Stamp(TypedDict):
    """What .venv holds: from which inputs, in which folder, with which extras."""

    inputs: str
    root: str
    extras: list[str]


def say(line: str) -> None:
    """Print one line to standard error, so that a command's own output stays clean."""
    print(f"set-up: {line}", file=sys.stderr, flush=True)


def give_up(line: str) -> Never:
    """End with one line that names the remedy."""
    say(line)
    raise SystemExit(1)


def inputs_hash() -> str:
    """A digest of the files that decide what gets installed."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "hatch_build.py"):
        path = ROOT / name
        digest.update(path.read_bytes() if path.exists() else b"-")
    return digest.hexdigest()


def extras_within(extra: str) -> set[str]:
    """The extra and those it includes, as `test` includes `demo` in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    if extra not in extras:
        give_up(f"pyproject.toml has no extra named {extra!r}: choose one of {', '.join(sorted(extras))}.")
    found, todo = set[str](), [extra]
    while todo:
        name = todo.pop()
        found.add(name)
        for requirement in extras.get(name, []):
            own = re.fullmatch(rf"{re.escape(project['name'])}\[([^]]+)\]", requirement)
            todo += [part.strip() for part in own[1].split(",")] if own else []
    return found


def read_stamp() -> Stamp | None:
    """What the last finished set-up wrote, unless the folder has moved since."""
    try:
        stamp: Stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return stamp if stamp["root"] == str(ROOT) and not UNFINISHED.exists() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def is_current(stamp: Stamp | None, wanted: set[str]) -> bool:
    """Whether .venv holds these extras, from today's inputs."""
    return stamp is not None and stamp["inputs"] == inputs_hash() and wanted <= set(stamp["extras"])


def usable_version() -> tuple[int, ...] | None:
    """The (major, minor) of .venv's Python, if it runs, has pip and the project supports it."""
    probe = "import sys, pip; print(*sys.version_info[:2])"
    try:
        answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    version = tuple(int(part) for part in answer.stdout.split())
    return version if (3, 11) <= version <= (3, 13) else None


@contextmanager
def alone() -> Iterator[IO[str]]:
    """Hold the lock file, which the system releases when its last holder ends, however it ends."""
    LOCK.parent.mkdir(exist_ok=True)
    with LOCK.open("a") as lock:
        if not try_lock(lock):
            say("another set-up of this folder is running; waiting for it")
            while not try_lock(lock):
                time.sleep(0.2)
        yield lock


def try_lock(lock: IO[str]) -> bool:
    """Take the lock if nobody holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def run(command: list[str | Path], lock: IO[str]) -> int:
    """Run a step with its output in the log, and say where it is when it takes long.

    The child inherits the lock, so that a set-up killed hard leaves nobody to interfere with.
    """
    inherited = () if os.name == "nt" else (lock.fileno(),)
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # The isolated build sees constraints only through the environment; relative, as pip splits at spaces.
    # Pip 25.3 and later reads a name of its own for builds.
    for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"):
        environment[name] = f"{environment.get(name, '')} constraints.txt".strip()
    begin = time.monotonic()
    with LOG.open("a", encoding="utf-8") as log:
        child = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=inherited,
        )
        try:
            while True:
                try:
                    return child.wait(timeout=SAY_SOMETHING_SECONDS)
                except subprocess.TimeoutExpired:
                    doing = progress(LOG.read_text(encoding="utf-8", errors="replace"), n_installed())
                    say(f"{time.monotonic() - begin:.0f} s: {doing}")
        finally:
            if child.poll() is None:
                child.terminate()
                child.wait()


def n_installed() -> int:
    """How many packages .venv holds."""
    folders = ("lib/python*/site-packages", "Lib/site-packages")
    return sum(1 for folder in folders for _ in VENV.glob(f"{folder}/*.dist-info"))


def progress(log: str, installed: int) -> str:
    """What pip is doing, in one line: it says nothing for minutes while it downloads, and while it installs.

    Args:
        log: what it has said so far.
        installed: packages in .venv, those of before among them.
    """
    looked_up = len(set(re.findall(r"^Collecting ([\w.-]+)", log, re.M)))
    packages = re.findall(r"^Installing collected packages: (.*)$", log, re.M)
    if packages:
        return f"installing {len(packages[-1].split(', '))} packages; {installed} are in .venv"
    downloads = re.findall(r"^\s*Downloading (\S+?)-[^-\s]+(?:-\S*)? \(([^)]*)\)", log, re.M)
    if downloads:
        name, size = downloads[-1]
        return f"package {looked_up}: downloading {name}, {size}"
    if looked_up:
        return f"looking up packages, {looked_up} so far"
    return "starting pip" if log.strip() else "making .venv"


def last_line(*patterns: str) -> str:
    """What pip said last, cut short; of the lines that match the first of the patterns that any line does."""
    lines = [line.strip() for line in LOG.read_text(encoding="utf-8", errors="replace").splitlines()]
    said = [line for line in lines if line and not line.startswith(("WARNING", "━"))] or ["it said nothing"]
    matching = [[line for line in said if re.match(pattern, line)] for pattern in patterns]
    return next((found for found in matching if found), said)[-1][:300]


def make_venv(lock: IO[str]) -> None:
    """Make .venv anew with the Python that runs this."""
    if VENV.exists():
        shutil.rmtree(VENV)
    VENV.mkdir()
    UNFINISHED.touch()
    if run([sys.executable, "-m", "venv", VENV], lock) != 0:
        give_up(f"{sys.executable} could not make .venv: {last_line()} (all of it: {LOG})")


def install(extras: set[str], lock: IO[str]) -> None:
    """Install the project and the extras, at the versions of constraints.txt."""
    LOG.write_text("", encoding="utf-8")
    UNFINISHED.touch()
    target = f".[{','.join(sorted(extras))}]"
    code = run([PYTHON, "-m", "pip", "install", "-c", "constraints.txt", "-e", target], lock)
    if code > 0:  # pip ended by itself, and undid its work: what was there before is still good
        UNFINISHED.unlink()
    if code != 0:
        # The build hook's own words say most, then what the build raised, then pip's own summary.
        error = last_line("fedcohort: ", r"\w+Error: ", "ERROR: ")
        give_up(f"pip failed ({LOG}); check network, proxy and index, then run this again. {error}")


def set_up(extra: str) -> None:
    """Bring .venv to what the extra needs; do nothing when it is there."""
    wanted, inputs = extras_within(extra), inputs_hash()
    with alone() as lock:
        version, stamp = usable_version(), read_stamp()
        chosen = sys.version_info[:2] if os.environ.get("PYTHON") else version
        keep = version is not None and version == chosen and not UNFINISHED.exists()
        if keep and is_current(stamp, wanted):
            return
        begin = time.monotonic()
        shown = ".".join(map(str, version if keep and version else sys.version_info[:2]))
        say(f"installing fedcohort[{extra}] into .venv, Python {shown}: TensorFlow and what else it needs")
        say("it looks packages up, downloads and installs them; minutes at first, nothing the next time")
        if keep:
            wanted |= set(stamp["extras"]) if stamp else set()
        else:
            make_venv(lock)
        install(wanted, lock)
        STAMP.write_text(json.dumps(Stamp(inputs=inputs, root=str(ROOT), extras=sorted(wanted))))
        UNFINISHED.unlink()
        say(f"done in {time.monotonic() - begin:.0f} s")


def main(arguments: list[str]) -> int:
    """Parse the two words that scripts/setup passes, and do it."""
    check = "--check" in arguments
    extra = next((word for word in arguments if word != "--check"), "demo")
    if check:
        return 0 if is_current(read_stamp(), extras_within(extra)) else 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        set_up(extra)
    except KeyboardInterrupt:
        say("interrupted; run it again to start over")
        return 130
    except OSError as error:
        give_up(f"{error}; make room or writable, then run this again")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A federation as revision ed08848 left it behind, and that revision's own code.

The stores were written by its processes: two sites `a` and `b`, and four studies of `ward`, of which two
are finished, one was half done and one had not begun when everything was killed. The keys are theirs; they
are made for this test and open nothing else.
"""

import contextlib
import io
import json
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import PATIENCE_SECONDS
from tests.processes.support import Group, Process

REVISION = "ed08848"
STORED = Path(__file__).parent / "stored" / REVISION
ROOT = Path(__file__).parent.parent.parent
DATABASES = {
    "coordinator": "coordinator/coordinator.db",
    "a": "a/node.db",
    "b": "b/node.db",
    "ward-a": "data/a.db",
    "ward-b": "data/b.db",
}


def restore(folder: Path) -> None:
    """Put databases and keys where the federation had them."""
    for name, place in DATABASES.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.executescript((STORED / f"{name}.sql").read_text(encoding="utf-8"))
        path.chmod(0o600)
    for place, content in json.loads((STORED / "keys.json").read_text(encoding="utf-8")).items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes.fromhex(content))
        path.chmod(0o600)


@contextlib.contextmanager
def earlier_federation(folder: Path) -> Iterator[Group]:
    """Coordinator and nodes over the restored stores, none of them started."""
    restore(folder)
    with Group(folder) as group:
        for site in ("a", "b"):
            database = folder / "data" / f"{site}.db"
            file = group.site_file(site, database, 'protections = ["none", "masks"]\nmodels = ["logistic"]\n')
            group.nodes[site] = group.node(file)
        yield group


def earlier_code(folder: Path) -> Path:
    """The source of the revision, to be put on a process's path; skips where the clone does not hold it."""
    command = ["git", "-c", "safe.directory=*", "archive", REVISION, "src"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=PATIENCE_SECONDS)
    if made.returncode:
        pytest.skip(f"this clone does not hold revision {REVISION}: fetch the whole history")
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder / "src"


def as_earlier(process: Process, source: Path) -> Process:
    """The same command, run by that source."""
    return Process(
        process.arguments, process.folder, process.log, {**process.more, "PYTHONPATH": str(source)}
    )

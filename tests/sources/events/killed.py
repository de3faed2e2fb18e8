"""A program that imports events and is killed at each statement in turn: the outcome is always the same.

    python -m tests.sources.events.killed FOLDER

For each statement by which an import changes rows, a process imports into a new database and ends itself
by SIGKILL as SQLite is about to run it; then the same files are imported again. A line is printed for each
that differs from an import that nothing ended, and at last how many statements there were.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, event

from fedcohort.sources.events import pipeline
from fedcohort.sources.events.change import KEEP, Change, Group, Merge, Refusal
from fedcohort.sources.events.feed import EventFeed
from fedcohort.sources.importer import transactions
from tests.sources.events.feeds import RULES, everything, part, result

FILES: dict[str, list[Change]] = {
    "a": [
        result("O1", 1.0, "A", 1.0, 2.0),
        Group("encounters", "V1", 1.0, "A", ({"class": "IMP", "start": 18_000.0, "code": "X"},)),
        result("O2", 1.0, "B", 3.0),
        Refusal("OBX-5", "no-number", "is no number"),
        result("O1", 2.0, "A", 4.0),
    ],
    "b": [
        Merge("A", "B", 3.0),
        Group("encounters", "V1", 4.0, "A", ({"class": KEEP, "start": KEEP, "end": 18_001.5},)),
        Group("observations", "O2", 5.0, None),
        Group("patients", "A", 1.0, "A", ({"sex": "female", "birth_date": 0.0},)),
        result("O2", 4.5, "B", 9.0),
    ],
}


def bring(database: Path) -> object:
    """Import both files, each batch in a transaction of its own; returns all that stands there then."""
    pipeline.BATCH_RECORDS, transactions.SECONDS = 2, 0.0
    pipeline.import_events(
        EventFeed("adt", [part(name, changes) for name, changes in FILES.items()]), database, RULES
    )
    with closing(sqlite3.connect(database)) as connection:
        refused = connection.execute("SELECT position, field, reason FROM fedcohort_refusals").fetchall()
        groups = connection.execute("SELECT kind, name, patient_id, rows FROM fedcohort_event_groups")
        read = connection.execute("SELECT name, read, refused, done FROM fedcohort_imports ORDER BY name")
        return everything(database), refused, sorted(groups), read.fetchall()


def killed_at(number: int, database: Path) -> None:
    """Import, and be killed at this statement."""
    seen = 0

    def count(statement: str) -> None:
        nonlocal seen
        seen += not statement.startswith(("SELECT", "PRAGMA", "BEGIN", "CREATE"))
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "connect")
    def _trace(connection: sqlite3.Connection, _record: object) -> None:
        connection.set_trace_callback(count)

    bring(database)


def in_a_process(work: Callable[[], object]) -> int:
    """The signal that ended a process, or 0."""
    number = os.fork()
    if number == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(number, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else -os.WEXITSTATUS(status)


def main(folder: Path) -> None:
    """Kill an import at each of its statements."""
    whole = folder / "whole.db"
    expected = bring(whole)
    for number in range(1, 10_000):
        database = folder / f"{number}.db"
        ended = in_a_process(lambda at=number, into=database: killed_at(at, into))  # type: ignore[misc]
        if ended == 0:
            print(f"{number - 1} statements", flush=True)
            return
        if ended != signal.SIGKILL or bring(database) != expected:
            print(f"differs after statement {number}: {ended}", flush=True)
        for path in folder.glob(f"{number}.db*"):
            path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

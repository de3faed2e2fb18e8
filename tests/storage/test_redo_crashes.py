"""A crash at any moment leaves what was said to be durable, or that and what was being done.

It is tried at every write of the redo log (torn, with any of its sectors lost, before it and after it), while
SQLite takes the records in, and while the file is made. What was not synced is lost in some of them.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.audit.chain import GENESIS, link_hash
from fedcohort.errors import StoreError
from fedcohort.node.records import HelpGiven, Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage import redo

SECTOR = 512
STUDIES = ("a" * 64, "b" * 64)


@dataclass(frozen=True)
class Content:
    """What a node's database holds: its event log, and of each study the newest contribution and help."""

    events: tuple[tuple[str, str, int], ...] = ()
    contributions: tuple[tuple[str, int, bytes], ...] = ()
    helps: tuple[tuple[str, int], ...] = ()


def content(path: Path) -> Content:
    """As the next process finds it, whoever that is."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(2):  # the second time nothing is left
            redo.take_in(connection, redo.redo_path(path))
        rows = connection.execute("SELECT * FROM events ORDER BY sequence").fetchall()
        head = GENESIS
        for number, (sequence, at_ms, kind, study, detail, linked) in enumerate(rows, 1):
            head = link_hash(head, at_ms, kind, study, detail)
            assert (sequence, linked) == (number, head)
        newest = "SELECT study_hash, round, integers FROM contributions ORDER BY 1"
        helps = "SELECT study_hash, round FROM helps ORDER BY 1"
        connection.execute("COMMIT")
        return Content(
            tuple((row[2], row[3], json.loads(row[4]).get("round", 0)) for row in rows),
            tuple(connection.execute(newest).fetchall()),
            tuple(connection.execute(helps).fetchall()),
        )


def kept(before: Content, study: str, number: int, integers: bytes) -> Content:
    others = [one for one in before.contributions if one[0] != study]
    events = (*before.events, ("release", study, number))
    return replace(before, events=events, contributions=tuple(sorted([*others, (study, number, integers)])))


def helped(before: Content, study: str, number: int) -> Content:
    others = [one for one in before.helps if one[0] != study]
    events = (*before.events, ("help", study, number))
    return replace(before, events=events, helps=tuple(sorted([*others, (study, number)])))


def noted(before: Content) -> Content:
    return replace(before, events=(*before.events, ("noted", "", 0)))


def unchanged(before: Content) -> Content:
    return before


@dataclass
class Machine:
    """A node on a machine that may crash at every moment.

    Attributes:
        durable: what the database may hold now, whatever crashes.
        next: the same with what is being done.
        lost: of each write's sectors, which a crash loses.
    """

    folder: Path
    lost: int
    durable: set[Content] = field(default_factory=lambda: {Content()})
    next: set[Content] = field(default_factory=set)
    n_crashes: int = 0
    fails_after: int | None = None

    def __post_init__(self) -> None:
        self.path = self.folder / "node.db"
        self.store = SqlNodeStore(self.path, exclusive=True)

    def crash(self, file: bytes | None = None) -> None:
        """Look at what another machine finds on this one's disk.

        Args:
            file: the redo log; by default as it is.
        """
        if not self.next:
            return
        being_done, self.next = self.next, set()  # to look at it is no moment of its own
        with TemporaryDirectory(dir=self.folder) as other:
            for name in ("node.db", "node.db-wal", "node.db-redo"):
                with suppress(FileNotFoundError):
                    shutil.copy(self.folder / name, other)
            copy = Path(other) / "node.db"
            if file is not None:
                redo.redo_path(copy).write_bytes(file)
            found = content(copy)
            assert found in self.durable | being_done
        self.next = being_done
        self.n_crashes += 1

    def write(self, descriptor: int, start: int, parts: Sequence[bytes]) -> None:
        """One write of the redo log, as far as a crash lets it come."""
        before, written = redo.redo_path(self.path).read_bytes(), b"".join(parts)
        for cut in {0, 1, 27, 29, 60, len(written) // 2, len(written) - 1}:
            self.crash(before[:start] + written[:cut] + before[start + cut :])
        torn = bytearray(before)
        for index, place in enumerate(range(0, len(written), SECTOR)):
            if not self.lost >> index & 1:
                part = written[place : place + SECTOR]
                torn[start + place : start + place + len(part)] = part
        self.crash(bytes(torn))
        if self.fails_after is not None:
            os.pwrite(descriptor, written[: self.fails_after], start)
            raise OSError(5, "Input/output error")
        WRITE(descriptor, start, parts)
        self.crash()

    def make(self, path: Path, name: bytes) -> int:
        for file in (
            b"",
            redo.MAGIC,
            bytes(redo.FILE_BYTES),
            redo.MAGIC + name + bytes(redo.FILE_BYTES - 32),
        ):
            self.crash(file)
        descriptor = MAKE(path, name)
        self.crash()
        return descriptor

    def move(self, connection: sqlite3.Connection, rows: redo.Rows) -> None:
        self.crash()
        MOVE(connection, rows)
        self.crash()

    def do(self, action: Callable[[], Any], change: Callable[[Content], Content]) -> None:
        """One thing that the node does, whose end is durable when it returns."""
        self.next = {change(one) for one in self.durable}
        failed = False
        try:
            action()
        except StoreError:
            failed = True
        self.durable = self.durable | self.next if failed else self.next
        self.crash()
        self.next = set()
        if not failed and len(self.durable) > 1:
            # A record that failed was there all the same, or not: another process decides it.
            self.durable &= {content(self.path)}
            assert self.durable

    def kill(self) -> None:
        """The process ends, and the next one begins."""
        self.store._database._connection.close()
        self.store._database._engine.dispose()
        self.store = SqlNodeStore(self.path, exclusive=True)

    def reopen(self) -> None:
        self.store.close()
        self.store = SqlNodeStore(self.path, exclusive=True)

    def note_beside(self) -> None:
        with closing(SqlNodeStore(self.path)) as beside:
            beside.note("noted")


WRITE, MAKE, MOVE = redo._write_durably, redo._make_file, redo._move


@contextmanager
def machine(lost: int) -> Iterator[Machine]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(redo, "FILE_BYTES", 8 * redo.PAGE_BYTES)
        patch.setattr(redo, "UNCHECKED_BODY_BYTES", 600)
        made = Machine(Path(folder), lost)
        patch.setattr(redo, "_write_durably", made.write)
        patch.setattr(redo, "_make_file", made.make)
        patch.setattr(redo, "_move", made.move)
        yield made
        made.store.close()


ROUNDS = st.tuples(
    st.sampled_from(["keep", "keep", "fail"]), st.integers(0, 1), st.sampled_from([1, 700, 9000])
)
OTHERS = st.sampled_from([(name, 0, 0) for name in ("help", "note", "note beside", "kill", "reopen")])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(ROUNDS | OTHERS, min_size=1, max_size=9), st.integers(0, 2**20 - 1))
def test_a_crash_leaves_what_was_durable_and_at_most_what_was_being_done(
    actions: list[tuple[str, int, int]], lost: int
) -> None:
    with machine(lost) as node:
        for number, (action, which, size) in enumerate(actions):
            study, integers = STUDIES[which], bytes([number]) * size
            match action:
                case "keep" | "fail":
                    stored = Stored(study, number, bytes(32), integers, "shape", "a", b"")
                    node.fails_after = None if action == "keep" else size // 2 if lost & 1 else size + 5000
                    change = partial(kept, study=study, number=number, integers=integers)
                    node.do(partial(node.store.keep, stored), change)
                    node.fails_after = None
                case "help":
                    help_given = HelpGiven(study, number, bytes(32), b"help")
                    change = partial(helped, study=study, number=number)
                    node.do(partial(node.store.keep_help, help_given, 2), change)
                case "note":
                    node.do(partial(node.store.note, "noted"), noted)
                case "note beside":
                    node.do(node.note_beside, noted)
                case "kill":
                    node.do(node.kill, unchanged)
                case _:
                    node.do(node.reopen, unchanged)
        node.store.verify()
        assert content(node.path) in node.durable

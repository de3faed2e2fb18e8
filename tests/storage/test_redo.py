"""The redo log: whole records or none, in the order of the event log, for whoever opens the database next."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.audit.chain import GENESIS
from fedcohort.errors import StoreError
from fedcohort.node.records import HelpGiven, Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.backup import copy_database
from fedcohort.storage.redo import (
    DURABLE_FLAG,
    FILE_BYTES,
    UNHASHED_BODY_BYTES,
    Change,
    RedoFile,
    read_records,
    redo_path,
)

STUDY = "ab" * 32
LONG = UNHASHED_BODY_BYTES + 1


def contribution(number: int, integers: bytes) -> Stored:
    return Stored(STUDY, number, bytes(32), integers, "shape", "a\nb", b"")


def row(key: str, value: bytes) -> list[Change]:
    return [Change("kept", {"key": key}, {"data": value, "n": 1, "nothing": None, "word": "é"})]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.db"


@pytest.fixture
def node(path: Path) -> Iterator[SqlNodeStore]:
    """A node's store that is up, with one entry in its event log."""
    with closing(SqlNodeStore(path, exclusive=True)) as store:
        store.note("begun")
        yield store


@pytest.fixture
def file(tmp_path: Path) -> Iterator[RedoFile]:
    with closing(RedoFile(tmp_path / "redo")) as opened:
        yield opened


@pytest.mark.parametrize("flag", sorted({0, DURABLE_FLAG}))
@pytest.mark.parametrize("size", [0, 1, 256, 257, 5000, LONG])
def test_what_is_appended_is_read_back(
    tmp_path: Path, size: int, flag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcohort.storage.redo.DURABLE_FLAG", flag)
    file = RedoFile(tmp_path / "redo")
    value = os.urandom(size)
    assert file.append((7, GENESIS), 0, row("a", value))
    assert file.append((7, GENESIS), 1, [*row("b", b"2"), Change("t", {}, {"x": 1.5}, insert=False)])
    first, second = read_records(tmp_path / "redo")
    assert (first.base, first.number, list(first.changes)) == ((7, GENESIS), 0, row("a", value))
    assert second.changes == (*row("b", b"2"), Change("t", {}, {"x": 1.5}, insert=False))
    file.close()


def test_a_series_ends_where_a_later_one_has_not_overwritten_an_earlier_one(
    file: RedoFile, tmp_path: Path
) -> None:
    for number in range(3):
        file.append((1, GENESIS), number, row(str(number), b"old"))
    file.clear()
    assert list(read_records(tmp_path / "redo")) == []
    file.append((4, GENESIS), 0, row("new", b"new"))
    assert [record.base for record in read_records(tmp_path / "redo")] == [(4, GENESIS)]


def test_a_damaged_byte_ends_the_series_before_its_record(file: RedoFile, tmp_path: Path) -> None:
    value = bytes(range(256)) * 20
    file.append((1, GENESIS), 0, row("a", value))
    file.append((1, GENESIS), 1, row("b", value))
    whole = (tmp_path / "redo").read_bytes()
    second = whole.rindex(b"fcredo01")
    last = whole.rindex(value) + len(value) - 1
    for place, left in ((0, []), (second, [0])):
        for offset in (*range(60), 100, 200, last - second):
            damaged = bytearray(whole[: last + 1])
            damaged[place + offset] ^= 0xFF
            (tmp_path / "damaged").write_bytes(damaged)
            found = [record.number for record in read_records(tmp_path / "damaged")]
            assert found == left, f"byte {offset} of the record at {place}"
    for length in (0, 10, 60, second - 1, second + 30, last):
        (tmp_path / "cut").write_bytes(whole[:length])
        assert [record.number for record in read_records(tmp_path / "cut")] == (
            [0] if length > last - second else []
        )


def test_a_record_without_room_is_not_written(file: RedoFile, tmp_path: Path) -> None:
    assert not file.append((1, GENESIS), 0, row("a", bytes(FILE_BYTES)))
    assert file.append((1, GENESIS), 0, row("a", bytes(FILE_BYTES // 2)))
    assert not file.append((1, GENESIS), 1, row("b", bytes(FILE_BYTES // 2)))
    assert len(list(read_records(tmp_path / "redo"))) == 1
    assert (tmp_path / "redo").stat().st_size == FILE_BYTES


def test_a_round_is_in_the_redo_log_until_a_transaction_takes_it_in(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    node.keep(contribution(1, b"second"))
    assert [record.number for record in read_records(redo_path(path))] == [0, 1]
    assert [event["kind"] for event in node.events()] == ["begun", "release", "release"]
    assert list(read_records(redo_path(path))) == []
    assert node.verify() == 3


def test_another_process_finds_every_round_while_the_node_goes_on(node: SqlNodeStore, path: Path) -> None:
    for number in range(3):
        node.keep(contribution(number, b"integers %d" % number))
        with closing(SqlNodeStore(path)) as beside:
            last = beside.last(STUDY)
            assert last is not None
            assert last.integers == b"integers %d" % number
            beside.note("looked")
            assert beside.verify() == 3 + 2 * number
    node.keep_help(HelpGiven(STUDY, 2, bytes(32), b"help"), 2)
    assert node.verify() == 8
    assert [event["kind"] for event in node.events(newest=2)] == ["looked", "help"]


@pytest.mark.processes
@pytest.mark.parametrize("size", [100, 40_000, LONG])
def test_a_killed_process_has_lost_no_round(tmp_path: Path, size: int) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.storage.test_redo import *\n"
        "node = SqlNodeStore(Path(sys.argv[1]), exclusive=True)\n"
        "for number in range(4): node.keep(contribution(number, bytes([number]) * int(sys.argv[2])))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "node.db"
    done = subprocess.run([sys.executable, "-c", program, str(path), str(size)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(read_records(redo_path(path)))) == 4
    for exclusive in (False, True):
        with closing(SqlNodeStore(path, exclusive=exclusive)) as again:
            last = again.last(STUDY)
            assert last is not None
            assert (last.round, last.integers) == (3, bytes([3]) * size)
            assert again.verify() == 4


def test_a_round_that_finds_no_room_goes_to_sqlite_with_all_before_it(node: SqlNodeStore, path: Path) -> None:
    half = FILE_BYTES // 2
    for number in range(3):
        node.keep(contribution(number, bytes([number]) * half))
        last = node.last(STUDY)
        assert last is not None
        assert last.round == number
    assert node.verify() == 4
    with closing(SqlNodeStore(path)) as beside:
        last = beside.last(STUDY)
        assert last is not None
        assert last.integers == bytes([2]) * half


def test_a_copy_of_a_live_database_has_what_only_the_redo_log_had(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    copy = copy_database(path, path.with_name("copy.db"))
    assert not redo_path(copy).exists()
    with closing(SqlNodeStore(copy)) as found:
        last = found.last(STUDY)
        assert last is not None
        assert last.integers == b"first"
        assert found.verify() == 2


def test_a_copy_from_amid_a_series_gets_the_rest_of_it(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    copy = copy_database(path, path.with_name("copy.db"))
    node.keep(contribution(1, b"second"))
    shutil.copy(redo_path(path), redo_path(copy))
    with closing(SqlNodeStore(copy)) as found:
        last = found.last(STUDY)
        assert last is not None
        assert last.integers == b"second"
        assert found.verify() == 3


def test_a_redo_log_of_another_copy_is_refused(node: SqlNodeStore, path: Path) -> None:
    older = copy_database(path, path.with_name("older.db"))
    node.note("went on")
    node.keep(contribution(0, b"first"))
    shutil.copy(redo_path(path), redo_path(older))
    with pytest.raises(StoreError, match=r"older\.db-redo: continues another copy of older\.db"):
        SqlNodeStore(older)
    redo_path(older).unlink()
    with closing(SqlNodeStore(older)) as other:
        other.note("went elsewhere")
    shutil.copy(redo_path(path), redo_path(older))
    with pytest.raises(StoreError, match="continues another copy"):
        SqlNodeStore(older, exclusive=True)


def test_a_disk_that_fails_leaves_the_round_undone(
    node: SqlNodeStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(contribution(0, b"first"))

    def full(_descriptor: int, _parts: Sequence[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("fedcohort.storage.redo._write_durably", full)
        with pytest.raises(StoreError, match=r"node\.db-redo: No space left on device; check the disk"):
            node.keep(contribution(1, b"lost"))
    last = node.last(STUDY)
    assert last is not None
    assert last.round == 0
    node.keep(contribution(1, b"second"))
    assert [record.number for record in read_records(redo_path(path))] == [0, 1]
    assert node.verify() == 3


def test_a_disk_without_room_to_spare_has_no_redo_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=16 * FILE_BYTES))
    with closing(SqlNodeStore(path, exclusive=True)) as store:
        store.keep(contribution(0, b"first"))
        assert store.verify() == 1
    assert not redo_path(path).exists()


def test_a_store_that_is_closed_leaves_nothing_to_take_in(path: Path) -> None:
    with closing(SqlNodeStore(path, exclusive=True)) as store:
        store.keep(contribution(0, b"first"))
    assert list(read_records(redo_path(path))) == []
    redo_path(path).unlink()
    with closing(SqlNodeStore(path)) as again:
        assert again.verify() == 1

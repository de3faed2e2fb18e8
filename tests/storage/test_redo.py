"""The redo log: whole records or none, of one series alone, for whoever opens the database next."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import StoreError
from fedcohort.node.records import Cost, HelpGiven, Stored
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage import redo
from fedcohort.storage.backup import copy_database
from fedcohort.storage.redo import (
    DURABLE_FLAG,
    PAGE_BYTES,
    Change,
    RedoLog,
    begin_log,
    read_rows,
    redo_path,
    series_of,
    take_in,
)

STUDY = "ab" * 32
FILE_BYTES, LONG = 2**16, 4001


@pytest.fixture(autouse=True)
def _a_small_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redo, "FILE_BYTES", FILE_BYTES)
    monkeypatch.setattr(redo, "UNCHECKED_BODY_BYTES", LONG - 1)


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
def database(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE kept (what TEXT PRIMARY KEY, data BLOB, n INT, word TEXT)")
        connection.execute("CREATE TABLE news (sequence INTEGER PRIMARY KEY AUTOINCREMENT, data TEXT)")
        yield connection


@pytest.fixture
def log(database: sqlite3.Connection, path: Path) -> Iterator[RedoLog]:
    begun = begin_log(database, redo_path(path))
    assert begun is not None
    with closing(begun):
        yield begun


def contribution(number: int, integers: bytes) -> Stored:
    return Stored(STUDY, number, bytes(32), integers, "shape", "a\nb", b"")


def row(what: str, value: bytes) -> Change:
    return Change("kept", {"what": what}, {"data": value, "n": 1, "word": "é"})


def append(log: RedoLog, database: sqlite3.Connection, *changes: Change) -> None:
    assert log.follow(database)
    assert log.append(database, changes, None)


def move(log: RedoLog, database: sqlite3.Connection) -> None:
    """SQLite takes in what is pending."""
    log.take_in(database)
    log.taken()


def pending(database: sqlite3.Connection, path: Path) -> list[Change]:
    series = series_of(database)
    assert series is not None
    return list(read_rows(redo_path(path), series).values())


def last_round(path: Path) -> tuple[int, bytes] | None:
    with closing(SqlNodeStore(path)) as store:
        last = store.last(STUDY)
        return None if last is None else (last.round, last.integers)


# --- records -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", sorted({0, DURABLE_FLAG}))
@pytest.mark.parametrize("size", [0, 1, 256, 5000, LONG - 1, LONG])
def test_what_is_appended_is_read_back(
    database: sqlite3.Connection, path: Path, size: int, flag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redo, "DURABLE_FLAG", flag)
    begun = begin_log(database, redo_path(path))
    assert begun is not None
    changed = Change("t", {"key": "b", "n": 2}, {"x": 1.5, "nothing": None}, insert=False)
    value = os.urandom(size)
    with closing(begun) as log:
        append(log, database, row("a", b"earlier"), changed)
        append(log, database, row("a", value))
        append(log, database, Change("news", {}, {"data": "first"}), Change("news", {}, {"data": "second"}))
        numbered = [
            Change("news", {}, {"sequence": n, "data": data}) for n, data in ((1, "first"), (2, "second"))
        ]
        assert pending(database, path) == [row("a", value), changed, *numbered]


def test_every_write_is_waited_for(log: RedoLog) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows waits by fsync")
    assert DURABLE_FLAG
    assert fcntl.fcntl(log.descriptor, fcntl.F_GETFL) & DURABLE_FLAG == DURABLE_FLAG


def test_file_and_folder_are_on_the_disk_before_sqlite_names_the_file(
    database: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), series_of(database) is not None))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    begun = begin_log(database, redo_path(path))
    assert begun is not None
    begun.close()
    assert synced == [(str(redo_path(path)), False), (str(path.parent), False)]


def test_nothing_of_an_earlier_series_is_read_in_a_later_one(
    log: RedoLog, database: sqlite3.Connection, path: Path
) -> None:
    """No record has an entry of the event log, so that no entry could say that a series is over."""
    for number in range(3):
        append(log, database, row(f"earlier {number}", b"old"))
    before = redo_path(path).read_bytes()
    move(log, database)
    assert pending(database, path) == []
    append(log, database, row("later", b"new"))
    assert redo_path(path).read_bytes()[2 * PAGE_BYTES :] == before[2 * PAGE_BYTES :], "they are still there"
    assert pending(database, path) == [row("later", b"new")]


def test_what_sqlite_has_is_not_read_again_though_nothing_of_it_was_erased(
    log: RedoLog, database: sqlite3.Connection, path: Path
) -> None:
    append(log, database, row("a", b"1"))
    before = redo_path(path).read_bytes()
    move(log, database)
    assert redo_path(path).read_bytes() == before
    database.execute("UPDATE kept SET data = 'newer'")
    take_in(database, redo_path(path))
    assert database.execute("SELECT data FROM kept").fetchall() == [("newer",)]


def test_a_crash_while_sqlite_takes_a_series_in_leaves_it_pending(
    log: RedoLog, database: sqlite3.Connection, path: Path
) -> None:
    append(log, database, row("a", b"1"))
    database.execute("BEGIN IMMEDIATE")
    log.take_in(database)
    database.execute("ROLLBACK")
    assert pending(database, path) == [row("a", b"1")]
    take_in(database, redo_path(path))
    assert pending(database, path) == []
    assert database.execute("SELECT data FROM kept").fetchall() == [(b"1",)]


def test_a_record_without_room_is_not_written(log: RedoLog, database: sqlite3.Connection, path: Path) -> None:
    append(log, database, row("a", bytes(FILE_BYTES // 2)))
    before = redo_path(path).read_bytes()
    for size in (FILE_BYTES // 2, FILE_BYTES):
        assert not log.append(database, [row("b", bytes(size))], None)
    assert redo_path(path).read_bytes() == before
    assert len(before) == FILE_BYTES


# --- crashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [30, LONG])
def test_a_write_torn_at_any_byte_leaves_the_records_before_it(
    log: RedoLog, database: sqlite3.Connection, path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it overwrites is a record of an earlier series, of the same number and length."""
    for number in range(2):
        append(log, database, row(str(number), os.urandom(size)))
    move(log, database)
    rows = [row(str(number), os.urandom(size)) for number in range(2)]
    append(log, database, rows[0])
    content, write = bytearray(redo_path(path).read_bytes()), redo._write_durably
    writes: list[tuple[int, bytes]] = []

    def record(descriptor: int, start: int, parts: Sequence[bytes]) -> None:
        writes.append((start, b"".join(parts)))
        write(descriptor, start, parts)

    monkeypatch.setattr(redo, "_write_durably", record)
    append(log, database, rows[1])
    after, series, torn = redo_path(path).read_bytes(), series_of(database), path.with_name("torn")
    assert series is not None
    assert len(writes) == (2 if size == LONG else 1)
    torn.write_bytes(content)
    with torn.open("r+b", buffering=0) as file:
        for start, written in writes:
            for place, byte in enumerate(written, start):
                whole = content == after  # where the rest is what the earlier series left there
                found = list(read_rows(torn, series).values())
                assert found == rows[: 1 + whole], f"torn before byte {place - start}"
                content[place] = byte
                os.pwrite(file.fileno(), bytes([byte]), place)
    assert torn.read_bytes() == content == after
    assert pending(database, path) == rows


def test_a_write_of_which_some_sectors_are_lost_leaves_the_records_before_it(
    log: RedoLog, database: sqlite3.Connection, path: Path
) -> None:
    append(log, database, row("a", b"kept"))
    before, start = redo_path(path).read_bytes(), log._end
    append(log, database, row("b", os.urandom(2500)))
    after, series = redo_path(path).read_bytes(), series_of(database)
    assert series is not None
    sectors = [range(place, place + 512) for place in range(start, log._end, 512)]
    written = [sector for sector in sectors if any(after[sector.start : sector.stop])]
    assert len(written) == 6
    torn = path.with_name("torn")
    for chosen in range(2 ** len(written)):
        content = bytearray(before)
        for bit, sector in enumerate(written):
            if chosen >> bit & 1:
                content[sector.start : sector.stop] = after[sector.start : sector.stop]
        torn.write_bytes(content)
        whole = chosen == 2 ** len(written) - 1
        assert len(read_rows(torn, series)) == 1 + whole, f"sectors {chosen:b}"


def test_a_damaged_byte_ends_the_series_before_its_record(
    log: RedoLog, database: sqlite3.Connection, path: Path
) -> None:
    places = []
    for name in "ab":
        places.append(log._end)
        append(log, database, row(name, bytes(range(256)) * 3))
    whole, series = redo_path(path).read_bytes(), series_of(database)
    assert series is not None
    damaged = path.with_name("damaged")
    damaged.write_bytes(whole)
    with damaged.open("r+b", buffering=0) as file:
        for n_left, place in enumerate(places):
            end = next(last for last in range(place + PAGE_BYTES, place, -1) if whole[last - 1])
            for offset in range(place, end):
                os.pwrite(file.fileno(), bytes([whole[offset] ^ 0xFF]), offset)
                assert len(read_rows(damaged, series)) == n_left, f"byte {offset - place} of record {n_left}"
                os.pwrite(file.fileno(), whole[offset : offset + 1], offset)
    for n_left, place in enumerate(places):
        for length in (place, place + 10, place + 70):
            damaged.write_bytes(whole[:length])
            assert len(read_rows(damaged, series)) == n_left


@pytest.mark.parametrize("size", [100, LONG])
def test_the_place_of_a_record_that_failed_is_never_another_s_of_its_series(
    log: RedoLog, database: sqlite3.Connection, path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may have it all the same, whole: another body under its head would be a mixture."""
    append(log, database, row("a", b"1"))
    write = redo._write_durably

    def fail(descriptor: int, start: int, parts: Sequence[bytes]) -> None:
        write(descriptor, start, parts)
        if parts[0].startswith(log.series or b"-"):
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(redo, "_write_durably", fail)
        with pytest.raises(StoreError, match=r"node\.db-redo: Input/output error; check the disk"):
            append(log, database, row("a", bytes(size)))
    assert not log.follow(database)
    move(log, database)
    assert pending(database, path) == []
    assert database.execute("SELECT data FROM kept").fetchall() == [(b"1",)]
    append(log, database, row("a", b"3"))
    assert pending(database, path) == [row("a", b"3")]


@pytest.mark.processes
@pytest.mark.parametrize("size", [100, 40_000, 2**20 + 1])
def test_a_killed_process_has_lost_no_round(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
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
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
    for exclusive in (False, True):
        with closing(SqlNodeStore(path, exclusive=exclusive)) as again:
            last = again.last(STUDY)
            assert last is not None
            assert (last.round, last.integers) == (3, bytes([3]) * size)
            assert again.verify() == 4


# --- stores ------------------------------------------------------------------------------------


def test_a_round_is_in_the_redo_log_until_a_transaction_takes_it_in(node: SqlNodeStore, path: Path) -> None:
    with closing(sqlite3.connect(path)) as beside:
        node.keep(contribution(0, b"first"))
        node.keep(contribution(1, b"second"))
        assert [change.table for change in pending(beside, path)] == ["contributions", "events", "events"]
        assert [event["kind"] for event in node.events()] == ["begun", "release", "release"]
        assert pending(beside, path) == []
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


def test_values_without_an_entry_of_the_event_log_are_the_newest_after_a_crash(tmp_path: Path) -> None:
    path, copy = tmp_path / "coordinator.db", tmp_path / "copy" / "coordinator.db"
    copy.parent.mkdir()
    with closing(CoordinatorStore(path, exclusive=True)) as store:
        for number in range(6):
            store.keep(STUDY, "opening", b"%d" % number)
            if number == 3:
                assert store.load_kept(STUDY, "opening") == b"3"  # and SQLite has all of them
            for file in tmp_path.glob("coordinator.db*"):
                shutil.copy(file, copy.parent)
            with closing(CoordinatorStore(copy, exclusive=True)) as restarted:
                assert restarted.load_kept(STUDY, "opening") == b"%d" % number


def test_a_round_that_finds_no_room_goes_to_sqlite_with_all_before_it(node: SqlNodeStore, path: Path) -> None:
    for number in range(3):
        node.keep(contribution(number, bytes([number]) * (FILE_BYTES // 2)))
        last = node.last(STUDY)
        assert last is not None
        assert last.round == number
    assert node.verify() == 4
    assert last_round(path) == (2, bytes([2]) * (FILE_BYTES // 2))


def test_a_store_that_is_closed_leaves_a_database_that_is_whole_alone(path: Path) -> None:
    with closing(SqlNodeStore(path, exclusive=True)) as store:
        store.keep(contribution(0, b"first"))
        assert redo_path(path).exists()
    assert not redo_path(path).exists()
    with closing(SqlNodeStore(path)) as again:
        assert again.verify() == 1
    with closing(sqlite3.connect(path)) as connection:
        assert series_of(connection) is None


@pytest.mark.parametrize("fails", ["BEGIN IMMEDIATE", "COMMIT"])
def test_a_store_that_cannot_take_in_what_is_pending_when_it_is_closed_leaves_it_to_the_next(
    path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    store = SqlNodeStore(path, exclusive=True)
    store.keep(contribution(0, b"first"))

    @contextmanager
    def failing(connection: sqlite3.Connection) -> Iterator[None]:
        if fails != "BEGIN IMMEDIATE":
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("fedcohort.storage.durable._immediate", failing)
        store.close()
    assert last_round(path) == (0, b"first")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
def test_only_its_owner_reads_it(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    assert stat.S_IMODE(redo_path(path).stat().st_mode) == 0o600
    redo_path(path).chmod(0o644)
    SqlNodeStore(path).close()
    assert stat.S_IMODE(redo_path(path).stat().st_mode) == 0o600


def test_a_second_process_that_appends_ends_the_first_one_s_log(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    with closing(SqlNodeStore(path, exclusive=True)) as second:
        for number in range(1, 7, 2):
            second.keep(contribution(number, b"second"))
            node.keep(contribution(number + 1, b"first"))
            assert last_round(path) == (number + 1, b"first")
        assert second.verify() == 8
    assert node.verify() == 8
    node.keep(contribution(7, b"first"))
    assert last_round(path) == (7, b"first")


# --- disks -------------------------------------------------------------------------------------


def test_a_disk_that_fails_leaves_the_round_undone(
    node: SqlNodeStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.keep(contribution(0, b"first"))

    def full(_descriptor: int, _start: int, _parts: Sequence[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(redo, "_write_durably", full)
        with pytest.raises(StoreError, match=r"node\.db-redo: No space left on device; check the disk"):
            node.keep(contribution(1, b"lost"))
        last = node.last(STUDY)
        assert last is not None
        assert last.round == 0
        node.keep(contribution(1, b"second"))
    assert last_round(path) == (1, b"second")
    assert node.verify() == 3


def test_a_write_cut_short_goes_on(
    log: RedoLog, database: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = os.urandom(5000)
    monkeypatch.setattr(os, "writev", lambda descriptor, parts: os.write(descriptor, b"".join(parts)[:100]))
    append(log, database, row("a", value))
    assert pending(database, path) == [row("a", value)]


def test_a_disk_without_room_to_spare_has_no_redo_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**24))
    with closing(SqlNodeStore(path, exclusive=True)) as store:
        store.keep(contribution(0, b"first"))
        assert store.verify() == 1
    assert not redo_path(path).exists()


def test_a_file_that_cannot_be_made_is_done_without(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    redo_path(path).mkdir()
    with closing(SqlNodeStore(path, exclusive=True)) as store:
        store.keep(contribution(0, b"first"))
        assert "no redo log, so that rounds take longer: " in caplog.text
        assert last_round(path) == (0, b"first")
    assert "Is a directory; check the disk" in caplog.text


# --- copies ------------------------------------------------------------------------------------


def test_a_backup_has_what_only_the_redo_log_had(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    copy = copy_database(path, path.with_name("copy.db"))
    assert not redo_path(copy).exists()
    shutil.copy(redo_path(path), redo_path(copy))
    node.keep(contribution(1, b"second"))
    assert last_round(copy) == (0, b"first")
    with closing(SqlNodeStore(copy)) as found:
        assert found.verify() == 2


def test_a_backup_while_rounds_move_into_sqlite_is_of_one_moment(
    node: SqlNodeStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rounds that the backup has read are in SQLite, and overwritten by others, when it copies that."""
    node.keep(contribution(0, b"first"))

    def read_and_go_on(file: Path, series: redo.Series) -> redo.Rows:
        rows = read_rows(file, series)
        node.note("went on")
        node.keep(contribution(1, b"second"))
        return rows

    monkeypatch.setattr("fedcohort.storage.backup.read_rows", read_and_go_on)
    copy = copy_database(path, path.with_name("copy.db"))
    with closing(SqlNodeStore(copy)) as found:
        assert [event["kind"] for event in found.events()] == ["begun", "release", "went on"]
        assert found.verify() == 3
    assert last_round(copy) == (0, b"first")


def test_a_backup_put_back_beside_the_file_of_a_newer_database_reads_nothing_of_it(
    node: SqlNodeStore, path: Path
) -> None:
    copy = copy_database(path, path.with_name("copy.db"))
    node.keep(contribution(0, b"first"))
    shutil.copy(redo_path(path), redo_path(copy))
    for exclusive in (False, True):
        with closing(SqlNodeStore(copy, exclusive=exclusive)) as restored:
            assert restored.last(STUDY) is None
            assert restored.verify() == 1


def copy_by_hand(path: Path, folder: str) -> Path:
    """As `cp` copies the folder of a node that was killed."""
    copy = path.parent / folder / path.name
    copy.parent.mkdir()
    for file in path.parent.glob(path.name + "*"):
        shutil.copy(file, copy.parent)
    return copy


def test_a_folder_copied_whole_has_every_round(node: SqlNodeStore, path: Path) -> None:
    node.keep(contribution(0, b"first"))
    copy = copy_by_hand(path, "copy")
    assert last_round(copy) == (0, b"first")


def test_a_database_without_its_redo_log_or_with_another_s_is_refused_until_it_is_back(
    node: SqlNodeStore, path: Path
) -> None:
    node.keep(contribution(0, b"first"))
    copy = copy_by_hand(path, "copy")
    node.close()
    other = SqlNodeStore(path, exclusive=True)  # which names the file anew
    other.keep(contribution(1, b"second"))
    right = redo_path(copy).read_bytes()
    for wrong in (None, redo_path(path).read_bytes(), b"", right[:20]):
        redo_path(copy).unlink()
        if wrong is not None:
            redo_path(copy).write_bytes(wrong)
        for exclusive in (False, True):
            with pytest.raises(StoreError, match=r"-redo: is missing or belongs to another copy of node\.db"):
                SqlNodeStore(copy, exclusive=exclusive)
        with pytest.raises(StoreError, match="put the two files that belong together back, or restore"):
            copy_database(copy, copy.with_name("backup.db"))
        copy.with_name("backup.db").unlink()
        redo_path(copy).write_bytes(right)
    assert last_round(copy) == (0, b"first")
    other.close()


@pytest.mark.parametrize("pending_rounds", [0, 2])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_removed_by_hand_while_the_node_runs_loses_nothing(
    node: SqlNodeStore, path: Path, pending_rounds: int, replaced: bool
) -> None:
    node.keep(contribution(0, b"first"))
    node.note("and SQLite has it")
    for number in range(1, pending_rounds + 1):
        node.keep(contribution(number, b"pending"))
    redo_path(path).rename(path.with_name("moved"))
    if replaced:
        shutil.copy(path.with_name("moved"), redo_path(path))
    node.keep(contribution(3, b"newest"))
    assert last_round(path) == (3, b"newest")
    node.keep(contribution(4, b"and on"))
    assert last_round(path) == (4, b"and on")
    assert node.verify() == 5 + pending_rounds


def test_what_spends_a_budget_is_in_sqlite_when_it_is_kept(node: SqlNodeStore, path: Path) -> None:
    """It is read before the next round: a record of it would cost a second wait for the disk."""
    node.keep(contribution(0, b"exact"))
    other = replace(contribution(0, b"private"), study_hash="cd" * 32)
    node.keep(other, Cost("cd" * 32, "ward", 1e-5, "[]"))
    node.keep_help(HelpGiven("cd" * 32, 0, bytes(32), b"help"), 2)
    with closing(sqlite3.connect(path)) as beside:
        assert beside.execute("SELECT count(*) FROM events").fetchone() == (4,)
        node.keep_help(HelpGiven(STUDY, 0, bytes(32), b"help"), 2)
        assert beside.execute("SELECT count(*) FROM events").fetchone() == (4,)
    assert node.verify() == 5

"""A backup is whole, of one moment, private, and never mixed with another."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import ConfigError, StoreError
from fedcohort.storage.backup import back_up


def test_a_copy_made_while_others_write_is_whole(tmp_path: Path) -> None:
    path, stop = tmp_path / "coordinator.db", threading.Event()

    def write() -> None:
        with closing(CoordinatorStore(path)) as store:
            while not stop.is_set():
                store.note("test", "", {"text": "x" * 1000})

    CoordinatorStore(path).close()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [back_up(tmp_path / f"copy{number}", [], path)[0] for number in range(5)]
    finally:
        stop.set()
        writer.join()
    lengths = []
    for copy in copies:
        with closing(CoordinatorStore(copy)) as store:
            lengths.append(store.verify())
    assert lengths == sorted(lengths)


def test_a_copy_is_one_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path, key = tmp_path / "coordinator.db", tmp_path / "coordinator.key"
    key.write_bytes(b"secret")
    with closing(CoordinatorStore(path)) as store:
        store.note("kept")
        written = back_up(tmp_path / "copy", [key], path)
    assert sorted(file.name for file in (tmp_path / "copy").iterdir()) == [
        "coordinator.db",
        "coordinator.key",
    ]
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700
    with closing(sqlite3.connect(tmp_path / "copy" / "coordinator.db")) as copy:
        assert copy.execute("SELECT kind FROM events").fetchall() == [("kept",)]


def test_what_is_missing_or_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "earlier").write_text("")
    with pytest.raises(ConfigError, match="is not empty; name a new folder for each backup"):
        back_up(tmp_path / "full", [], None)
    with pytest.raises(StoreError, match=r"none\.db: no such database"):
        back_up(tmp_path / "copy", [], tmp_path / "none.db")
    with pytest.raises(ConfigError, match=r"none\.key: No such file"):
        back_up(tmp_path / "other", [tmp_path / "none.key"], None)


def test_a_damaged_database_is_not_taken_for_a_backup(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.db"
    path.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40)
    with pytest.raises(StoreError, match="damaged"):
        back_up(tmp_path / "copy", [], path)

"""An inbox holds patients: closed to others, bounded, and emptied; what is refused does not stay for ever."""

import os
import stat
import time
from pathlib import Path

import pytest

from fedcohort.errors import StoreError
from fedcohort.storage.inbox_folder import DAY_SECONDS, InboxFolder, InboxLimits


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_both_folders_are_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir(mode=0o755)
    made = InboxFolder(tmp_path / "in", InboxLimits())
    for folder in (made.folder, made.refused):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert names(tmp_path) == ["in", "in-refused"]


def test_beyond_its_limit_nothing_is_taken_until_it_is_imported(tmp_path: Path) -> None:
    made = InboxFolder(tmp_path / "in", InboxLimits(total_bytes=10, free_bytes=0))
    for name in "ab":
        made.take(5)
        (made.folder / name).write_bytes(b"12345")
    for _ in range(2):
        with pytest.raises(StoreError, match="the inbox is full; let it be imported, or empty in-refused"):
            made.take(1)
    (made.folder / "a").unlink()
    made.refuse(made.folder / "b")
    made.settle()
    with pytest.raises(StoreError):
        made.take(6)
    made.take(5)
    (made.refused / "b").unlink()
    made.settle()
    made.take(10)
    made.settle()
    (made.folder / "c").write_bytes(b"12345")
    again = InboxFolder(tmp_path / "in", InboxLimits(total_bytes=10, free_bytes=0))
    again.take(5)
    with pytest.raises(StoreError):
        again.take(1)


def test_room_stays_free_on_the_disk(tmp_path: Path) -> None:
    made = InboxFolder(tmp_path / "in", InboxLimits(free_bytes=2**60))
    with pytest.raises(StoreError, match="the disk is nearly full; make room"):
        made.take(1)


def test_refused_files_are_deleted_after_their_days(tmp_path: Path) -> None:
    made = InboxFolder(tmp_path / "in", InboxLimits(refused_days=2))
    for name, days in (("old", 3), ("new", 1)):
        (made.folder / name).write_bytes(b"x")
        made.refuse(made.folder / name)
        at = time.time() - days * DAY_SECONDS
        os.utime(made.refused / name, (at, at))
    (made.folder / "waiting").write_bytes(b"x")
    os.utime(made.folder / "waiting", (0, 0))
    made.refuse(made.folder / "waiting")  # its time begins when it is refused
    made.settle()
    assert names(made.refused) == ["new", "waiting"]
    assert names(made.folder) == []

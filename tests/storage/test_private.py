"""A process's own folder and database are for its user alone, whatever the umask and whoever made them."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import StoreError
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.durable import lock_folder

ANOTHER = 65533

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")


@pytest.fixture(autouse=True)
def open_to_all() -> Iterator[None]:
    """The umask of most machines."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_node_s_folder_database_and_log_are_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with closing(lock_folder(folder)), closing(SqlNodeStore(folder / "node.db", exclusive=True)) as store:
        store.note("started")
        assert mode(folder) == 0o700
        assert [mode(folder / f"node.db{suffix}") for suffix in ("", "-wal", "-shm")] == [0o600] * 3


def test_an_invitation_makes_the_coordinator_s_folder_and_database_as_private(tmp_path: Path) -> None:
    with closing(CoordinatorStore(tmp_path / "coordinator" / "coordinator.db")):
        assert mode(tmp_path / "coordinator") == 0o700
        assert mode(tmp_path / "coordinator" / "coordinator.db") == 0o600


def test_what_an_earlier_program_made_is_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with closing(lock_folder(folder)), closing(SqlNodeStore(folder / "node.db", exclusive=True)) as earlier:
        earlier.note("started")
        folder.chmod(0o755)
        files = [folder / f"node.db{suffix}" for suffix in ("", "-wal", "-shm")]
        for file in files:
            file.chmod(0o644)
        with closing(SqlNodeStore(folder / "node.db")):
            assert [mode(file) for file in files] == [0o600] * 3
    with closing(lock_folder(folder)):
        assert mode(folder) == 0o700


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_what_is_another_user_s_and_open_to_others_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    path = folder / "node.db"
    with closing(sqlite3.connect(path)):
        pass
    for made in (folder, path):
        os.chown(made, ANOTHER, -1)
    with pytest.raises(StoreError, match=rf"state: open to others, and another user's \(number {ANOTHER}\)"):
        lock_folder(folder)
    with pytest.raises(StoreError, match=r"node\.db: open to others.*chown.*chmod go="):
        SqlNodeStore(path)
    assert (mode(folder), mode(path)) == (0o755, 0o644)

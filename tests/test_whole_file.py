"""A file is there whole or not at all, and nothing is left beside it."""

import os
import stat
from pathlib import Path

import pytest

from fedcohort.storage.files import write_whole

POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


@pytest.mark.parametrize("sync_folder", [False, True])
def test_a_file_is_put_in_the_place_of_another(tmp_path: Path, sync_folder: bool) -> None:
    write_whole(tmp_path / "a", b"first", sync_folder=sync_folder)
    write_whole(tmp_path / "a", b"second", sync_folder=sync_folder)
    assert (tmp_path / "a").read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_is_not_to_be_replaced_stays(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "a", b"second", replace=False)
    assert (tmp_path / "a").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_that_cannot_be_moved_into_its_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"directory|denied"):
        write_whole(tmp_path / "a", b"first")
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == []


def test_a_folder_is_made_only_where_the_caller_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "folder" / "a", b"first")
    assert os.listdir(tmp_path) == []
    write_whole(tmp_path / "folder" / "a", b"first", folder_mode=0o700)
    assert (tmp_path / "folder" / "a").read_bytes() == b"first"


@POSIX
def test_file_and_folder_have_the_modes_that_they_are_given(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        write_whole(tmp_path / "folder" / "a", b"secret", mode=0o600, folder_mode=0o700)
        write_whole(tmp_path / "b", b"public")
    finally:
        os.umask(old)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "folder", tmp_path / "folder" / "a")]
    assert modes == [0o700, 0o600]
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o666

"""The roster: a folder of confirmed keys, and the fingerprint that an operator compares."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedcohort.errors import ConfigError, KeyFileError
from fedcohort.node import keys
from fedcohort.node.keys import RosterFolder, confirm, confirmed_key, enrol
from fedcohort.wire.identity import fingerprint
from fedcohort.wire.messages import Card, SiteId


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read may be kept at once: the tests do not outwait a clock that ticks every two seconds."""
    monkeypatch.setattr(keys, "SETTLED_NS", -(10**18))


def age(folder: Path, seconds: int = 10) -> None:
    """Make the folder's last change some time ago, which no answer may depend on."""
    settled = folder.stat().st_mtime - seconds
    os.utime(folder, (settled, settled))


def test_a_roster_without_a_folder_is_empty(tmp_path: Path) -> None:
    assert RosterFolder(tmp_path / "roster")() == {}


def test_a_key_is_seen_as_soon_as_it_is_confirmed_and_forgotten_when_its_file_goes(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    seen: list[Mapping[SiteId, bytes]] = [dict(roster())]
    confirm(roster.folder, "a", b"a" * 32)
    seen.append(dict(roster()))
    confirm(roster.folder, "b", b"b" * 32)
    seen.append(dict(roster()))
    (roster.folder / "a.pub").unlink()
    seen.append(dict(roster()))
    assert seen == [{}, {"a": b"a" * 32}, {"a": b"a" * 32, "b": b"b" * 32}, {"b": b"b" * 32}]


def test_a_roster_that_was_read_long_ago_sees_changes_too(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    confirm(roster.folder, "a", b"a" * 32)
    age(roster.folder)
    assert roster() == {"a": b"a" * 32}
    confirm(roster.folder, "a", b"c" * 32)
    assert roster() == {"a": b"c" * 32}
    age(roster.folder)
    assert roster() == {"a": b"c" * 32}
    (roster.folder / "a.pub").unlink()
    assert roster() == {}


@pytest.mark.usefixtures("settled")
def test_a_key_that_is_overwritten_in_place_is_noticed(tmp_path: Path) -> None:
    """Its folder's time does not change, and neither does the file's where somebody sets it back."""
    roster = RosterFolder(tmp_path / "roster")
    confirm(roster.folder, "a", b"a" * 32)
    path = roster.folder / "a.pub"
    for spoken in (b"c", b"d"):
        age(roster.folder)
        assert roster()
        before = path.stat()
        while path.stat().st_ctime_ns == before.st_ctime_ns:  # a file system's clock ticks
            path.write_text((spoken * 32).hex() + "\n", encoding="ascii")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert roster() == {"a": spoken * 32}


def test_a_key_that_is_overwritten_within_a_tick_of_the_clock_is_noticed(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    confirm(roster.folder, "a", b"a" * 32)
    age(roster.folder)
    for spoken in (b"a", b"c", b"d"):
        (roster.folder / "a.pub").write_text((spoken * 32).hex() + "\n", encoding="ascii")
        assert roster() == {"a": spoken * 32}


@pytest.mark.usefixtures("settled")
def test_an_unchanged_roster_is_not_read_again(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path / "roster")
    confirm(roster.folder, "a", b"a" * 32)
    age(roster.folder)
    assert roster() is roster()


@pytest.mark.parametrize(
    "content",
    [b"", b"not hex", b"ab" * 31, b"ab" * 33, b"\xff" * 64, b"-----BEGIN PUBLIC KEY-----"],
    ids=["empty", "words", "31 bytes", "33 bytes", "binary", "PEM"],
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hospital_b.pub").write_bytes(content)
    with pytest.raises(ConfigError, match=r"hospital_b\.pub: not the 64 hex digits"):
        RosterFolder(tmp_path)()


def test_a_broken_roster_is_told_until_it_is_mended(tmp_path: Path) -> None:
    roster = RosterFolder(tmp_path)
    (tmp_path / "b.pub").write_text("half a key")
    age(tmp_path)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"b\.pub"):
            roster()
    confirm(tmp_path, "b", b"b" * 32)
    assert roster() == {"b": b"b" * 32}


def test_a_folder_in_a_keys_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.pub").mkdir()
    with pytest.raises(ConfigError, match=r"b\.pub"):
        RosterFolder(tmp_path)()


def test_other_files_of_the_folder_are_no_keys(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("compare fingerprints by telephone")
    (tmp_path / ".a.pub.0123").write_text("what a killed process left")
    confirm(tmp_path, "st.mary", b"m" * 32)
    assert RosterFolder(tmp_path)() == {"st.mary": b"m" * 32}


def test_a_roster_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "roster").write_text("a file, where the folder should be")
    with pytest.raises(ConfigError, match=r"roster.*make the roster's folder writable"):
        confirm(tmp_path / "roster", "b", bytes(32))


@pytest.mark.parametrize(
    "spoken",
    [
        "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20",
        "66687aadf862bd776c8fc18b8e9f8e20",
        "  6668 7AAD F862 BD77\n6C8F C18B 8E9F 8E20 ",
        "6 6 6 8 7aad\tf862 bd77 6c8f c18b 8e9f 8e20",
    ],
    ids=["as shown", "without spaces", "upper case, two lines", "tabs"],
)
def test_a_fingerprint_is_known_however_it_is_spaced_and_written(spoken: str) -> None:
    card = Card("b", bytes(32), bytes(32), bytes(64))
    assert confirmed_key(card, spoken) == bytes(32)


@pytest.mark.parametrize(
    "spoken",
    ["", "6668", "6668 7aad f862 bd77 6c8f c18b 8e9f 8e20 00", "66:68", "*", "g" * 32],
)
def test_what_is_no_whole_fingerprint_confirms_nothing_and_raises_no_alarm(spoken: str) -> None:
    card = Card("hospital_b", bytes(32), bytes(32), bytes(64))
    with pytest.raises(ConfigError, match="a fingerprint has 32 hexadecimal digits, and this is not one"):
        confirmed_key(card, spoken)


def test_another_fingerprint_confirms_nothing() -> None:
    card = Card("hospital_b", bytes(32), bytes(32), bytes(64))
    with pytest.raises(ConfigError, match=r"hospital_b: .*another fingerprint; do not go on"):
        confirmed_key(card, "6668 7aad f862 bd77 6c8f c18b 8e9f 8e21")


def test_a_site_of_this_machine_is_enrolled_by_its_key_file(tmp_path: Path) -> None:
    for _ in range(2):
        enrol(tmp_path / "roster", "b", tmp_path / "b" / "site.key")
    ((site, key),) = RosterFolder(tmp_path / "roster")().items()
    assert site == "b"
    assert len(fingerprint(key)) == 39
    assert os.listdir(tmp_path / "roster") == ["b.pub"]
    assert (tmp_path / "roster" / "b.pub").read_text() == key.hex() + "\n"


def test_a_site_whose_key_file_is_broken_is_not_enrolled(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("not a key")
    (tmp_path / "site.key").chmod(0o600)
    with pytest.raises(KeyFileError, match=r"site\.key"):
        enrol(tmp_path / "roster", "b", tmp_path / "site.key")
    assert not (tmp_path / "roster").exists()

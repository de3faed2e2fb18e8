"""Pseudonyms and date offsets: known answers, one patient one offset, and nothing without the key."""

import datetime
import os
import re
import stat
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.errors import KeyFileError, ValueRangeError
from fedcohort.sources.deidentify.pseudonym import (
    code_pseudonym,
    key_id,
    load_or_create_key,
    masked_file_name,
    pseudonym,
    shift_date,
    shift_days,
)

KEY = bytes(range(32))
OTHER = bytes(32)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cf")), min_size=1).filter(str.strip)
POSIX = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")


def test_a_pseudonym_and_an_offset_are_the_halves_of_one_hmac() -> None:
    # printf 'fedcohort patient\0MRN-0042' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f
    assert pseudonym(KEY, "MRN-0042") == "p1ac197c258dafe2a22fab3d6cbad13ae"
    number = 0x637765F2C8E9B9C2D4E603A344A72939 % 730
    assert number == 579
    assert shift_days(KEY, "MRN-0042") == 579 - 365 + 1


def test_offsets_a_key_and_a_file_have_known_answers() -> None:
    assert [shift_days(KEY, "7"), shift_days(KEY, "7", 30)] == [-181, -26]
    assert key_id(KEY) == "5f76388ee1138bc7"
    assert masked_file_name(KEY, "DOE_JANE.dcm") == "file-b97debe53066f790.dcm"


def test_a_files_ending_stays_only_when_it_is_a_known_one() -> None:
    assert masked_file_name(KEY, "1.doe").startswith("file-")
    assert "." not in masked_file_name(KEY, "1.doe")
    assert masked_file_name(KEY, "a/DOE.CSV").endswith(".csv")


def test_a_pseudonym_is_printable_text_of_128_bits_and_no_number() -> None:
    assert re.fullmatch("p[0-9a-f]{32}", pseudonym(KEY, "7"))


def test_one_patient_has_one_pseudonym_however_a_file_writes_the_number() -> None:
    spellings = ["7", " 7 ", "7.0", "7\n"]
    assert len({pseudonym(KEY, text) for text in spellings}) == 1
    assert pseudonym(KEY, "M\u00fcller") == pseudonym(KEY, "Mu\u0308ller")
    assert len({pseudonym(KEY, text) for text in ("7", "07", "7a", "7A", "70")}) == 5


def test_another_key_gives_other_pseudonyms_and_offsets() -> None:
    patients = [str(number) for number in range(200)]
    assert not {pseudonym(KEY, one) for one in patients} & {pseudonym(OTHER, one) for one in patients}
    moved = sum(shift_days(KEY, one) != shift_days(OTHER, one) for one in patients)
    assert moved > 190
    assert key_id(KEY) != key_id(OTHER)


def test_another_column_or_purpose_gives_another_stand_in() -> None:
    made = {code_pseudonym(KEY, "visit", "7"), code_pseudonym(KEY, "order", "7"), pseudonym(KEY, "7")}
    assert len({text[1:] for text in made}) == 3


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
def test_nobody_has_no_pseudonym(empty: str) -> None:
    with pytest.raises(ValueRangeError, match="patient_id is empty"):
        pseudonym(KEY, empty)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(KeyFileError, match="32 bytes"):
        pseudonym(b"short", "7")


def test_offsets_are_uniform_and_never_zero() -> None:
    # 60,000 patients over 60 offsets: chi-squared with 59 degrees of freedom is below 98.3 with p = 0.999.
    # The key is fixed, so the test always says the same.
    counts = Counter(shift_days(KEY, str(number), 30) for number in range(60_000))
    assert sorted(counts) == [days for days in range(-30, 31) if days]
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 98.3


@given(NAMES, st.integers(1, 5000))
def test_every_offset_is_within_what_was_declared(patient: str, most: int) -> None:
    days = shift_days(KEY, patient, most)
    assert days
    assert abs(days) <= most


DATES = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1))


@given(NAMES, DATES, DATES)
def test_intervals_stay(patient: str, first: datetime.datetime, last: datetime.datetime) -> None:
    days = shift_days(KEY, patient)
    moved = [shift_date(one, days) for one in (first, last)]
    assert isinstance(moved[0], datetime.datetime)
    assert isinstance(moved[1], datetime.datetime)
    assert moved[1] - moved[0] == last - first
    assert moved[0] - first == datetime.timedelta(days)


def test_a_date_for_never_has_nowhere_to_go() -> None:
    assert shift_date(datetime.date(9999, 12, 31), 3) is None
    assert shift_date(datetime.date(9999, 12, 31), -1) == datetime.date(9999, 12, 30)


def test_no_offset_is_drawn_from_an_empty_range() -> None:
    with pytest.raises(ValueRangeError, match="max_days"):
        shift_days(KEY, "7", 0)


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "deid.key"
    with pytest.raises(KeyFileError, match="there is no folder"):
        load_or_create_key(path)
    assert not path.parent.exists()
    path.parent.mkdir()
    key = load_or_create_key(path)
    assert len(key) == 32
    assert load_or_create_key(path) == key
    assert load_or_create_key(tmp_path / "other.key") != key
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@POSIX
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "deid.key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match=r"deid\.key.*chmod 600"):
        load_or_create_key(path)


@pytest.mark.parametrize("data", [b"", b"x" * 32, b"fedcohort de-identification key, version 1\nAAAA\n"])
def test_what_is_no_such_key_is_refused_and_left_as_it_is(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "deid.key"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=r"deid\.key: not a de-identification key"):
        load_or_create_key(path)
    assert path.read_bytes() == data

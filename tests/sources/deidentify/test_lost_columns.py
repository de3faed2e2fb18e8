"""A column of which nothing can be read: found before anything is written, or told when it was."""

from collections.abc import Iterator

import pytest

from fedcohort.errors import SchemaError
from fedcohort.sources.deidentify import lost_columns
from fedcohort.sources.deidentify.lost_columns import none_lost
from fedcohort.sources.deidentify.report import ColumnTally
from fedcohort.sources.importer.batch import Batch


def lines(tally: ColumnTally, *readable: bool | None) -> Iterator[Batch]:
    """A batch a record, whose date can be read or not, or is missing."""
    for read, one in enumerate(readable, 1):
        tally.blanked += one is False
        tally.any_left |= one is True
        yield Batch("t", {"patient_id": ["p"], "seen": ["2020-01-01" if one else None]}, read)


def taken(tally: ColumnTally, *readable: bool | None, is_file: bool = True) -> int:
    return len(list(none_lost(lines(tally, *readable), lambda: [tally], is_file=is_file)))


@pytest.fixture
def tally() -> ColumnTally:
    return ColumnTally("t", "seen", "date", "named like a date")


def test_one_value_that_can_be_read_or_none_at_all_loses_no_column(tally: ColumnTally) -> None:
    assert taken(tally, False, False, True) == 3
    assert taken(ColumnTally("t", "seen", "date", "x"), None, None) == 2


def test_nothing_is_handed_on_where_nothing_of_a_file_could_be_read(tally: ColumnTally) -> None:
    batches = none_lost(lines(tally, False, None), lambda: [tally], is_file=True)
    with pytest.raises(SchemaError, match=r"t\.seen \(named like a date\): none of 1 .* Nothing of this"):
        next(batches)


def test_an_image_s_own_date_stops_nothing_and_those_of_twenty_do(tally: ColumnTally) -> None:
    for _ in range(19):
        assert taken(tally, False, is_file=False) == 1
    with pytest.raises(SchemaError, match="none of 20"):
        taken(tally, False, is_file=False)


def test_what_came_late_is_told_at_the_end_with_what_takes_it_back(
    tally: ColumnTally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_columns, "AHEAD_ROWS", 2)
    batches = none_lost(lines(tally, None, None, False), lambda: [tally], is_file=True)
    assert [next(batches).read for _ in range(3)] == [1, 2, 3]
    with pytest.raises(SchemaError, match="stays until `fedcohort data undo --into DATABASE` takes it back"):
        next(batches)

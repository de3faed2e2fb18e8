"""CSV one by one: a quote that does not close takes its own record with it, and no other."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.sources.importer.csv import records as csv_records
from fedcohort.sources.importer.csv.records import Broken, records


def read(text: str, width: int = 4) -> list[list[str] | str]:
    found = records(io.StringIO(text, newline=""), ",", width)
    return [one[0] if isinstance(one, Broken) else one for one in found]


def test_a_quote_that_does_not_close_takes_its_own_record_only() -> None:
    rows = [f"p{n},{n},f,x\n" for n in range(5)]
    found = read("".join([*rows[:2], 'p9,64,f,"never closed\n', *rows[2:]]))
    assert found == [
        ["p0", "0", "f", "x"],
        ["p1", "1", "f", "x"],
        "a quote does not close",
        *([f"p{n}", str(n), "f", "x"] for n in (2, 3, 4)),
    ]


def test_one_that_meets_a_later_quote_takes_neither_that_record_nor_those_between() -> None:
    found = read('p1,1,f,"open\np2,2,m,\np3,3,f,"a, b"\np4,4,f,\n')
    assert found[0] == "text beside a quoted field, or a quote that does not close"
    assert found[1:] == [["p2", "2", "m", ""], ["p3", "3", "f", "a, b"], ["p4", "4", "f", ""]]


def test_a_field_over_several_lines_is_one_field() -> None:
    assert read('p1,1,f,"first,\nsecond ""quoted""\nthird"\np2,2,m,\n') == [
        ["p1", "1", "f", 'first,\nsecond "quoted"\nthird'],
        ["p2", "2", "m", ""],
    ]


def test_records_of_others_are_never_taken_for_one_patients_note() -> None:
    """Where the quote that closes ends a record, all of it would read well."""
    found = read('p1,1,f,"open\np2,2,m,x\np3,3,m,"\np4,4,f,\n')
    assert found == ["3 lines that look like records are one; a quote may not close", ["p4", "4", "f", ""]]


def test_a_line_without_end_is_refused_at_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_records, "MAX_LINE", 20)
    assert read(f"p1,1,f,{'x' * 100}\np2,2,m,\n") == [
        "a line of more than 20 characters",
        ["p2", "2", "m", ""],
    ]


def test_a_record_of_too_many_lines_is_refused_and_what_follows_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(csv_records, "MAX_RECORD", 60)
    found = read('p1,1,f,"open\n' + "".join(f"p{n},{n},m,{'x' * 10}\n" for n in range(2, 8)))
    assert found[0] == "more than 60 characters; a quote may not close"
    assert found[1:] == [[f"p{n}", str(n), "m", "x" * 10] for n in range(2, 8)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text('ab,"\n\r ', max_size=12), max_size=12))
def test_every_line_of_any_text_is_in_a_record_or_refused(lines: list[str]) -> None:
    """Sound single lines behind any text are never lost."""
    text = "\n".join(lines) + "\n" + "z1,1,f,x\nz2,2,f,x\nz3,3,f,x\n"
    found = read(text)
    assert ["z3", "3", "f", "x"] in found or any(isinstance(one, str) for one in found)
    assert len(found) <= text.count("\n") + text.count("\r")

"""A condition is a total function of a row's own values: nothing raises, no row changes another's answer."""

import datetime
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedcohort.sources.cohort.values import Coded
from fedcohort.sources.cohort.where.operands import operand_of
from fedcohort.sources.cohort.where.parse import parse_where
from fedcohort.sources.cohort.where.rows import rows_where

DAY = datetime.date(2024, 2, 1)
NUMBERS = [0, 1, 7, 2**53, 2**53 + 1, -(2**53) - 1, 10**400, -0.0, 5e-324, Decimal("sNaN"), Decimal("1e999")]
TEXTS = ["", "7", "2024-02-01", "2024-02-01 00:00:00", "2024-02-30", "0001-01-01T00:00:00+14:00", "aab", "ß"]
CONDITIONS = [
    parse_where(text, "t", ["a", "b"])
    for text in (
        "a = b",
        "a < b OR NOT a >= b",
        "a <> 7 AND b <> '7'",
        "a IN (1, '2024-02-01', 'x', 9007199254740993)",
        "a BETWEEN b AND '2024-02-02 08:30:00+01:00'",
        "a IS NULL OR b IS TRUE OR (a > 1) IS NULL",
        "a IS DISTINCT FROM b",
        "a LIKE '%a_%b%' OR b NOT ILIKE 'É!%%' ESCAPE '!'",
        "length(upper(a)) > 2 OR lower(b) = 'ss'",
        "a + b > 1 OR a * b < 0 OR a / b = 1 OR a % b = 0",
        "abs(a) = abs(b) OR round(a, 2) = b OR -a = b",
        "coalesce(a, b, 7) = 7 OR nullif(a, b) IS NULL",
        "CASE a WHEN b THEN 'same' WHEN 1 THEN 1 ELSE b END = 'same'",
        "CASE WHEN a > b THEN a WHEN a LIKE 'a%' THEN '2024-02-01' END <= b",
    )
]
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.decimals(),
    st.sampled_from(NUMBERS),
    st.text(max_size=6),
    st.sampled_from(TEXTS),
    st.dates(),
    st.datetimes(timezones=st.sampled_from([None, datetime.UTC])),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.binary(max_size=4),
    st.sampled_from([["a"], {"a": 1}, (1,), 1j, object(), np.float64(1.5), np.int64(7), np.str_("aab")]),
)
rows = st.lists(st.tuples(anything, anything), min_size=1, max_size=6)


def answers(values: Sequence[tuple[Any, Any]], reading: Any = None) -> list[list[bool]]:
    columns = list(zip(*values, strict=True))
    operands = {name: operand_of(column, reading) for name, column in zip("ab", columns, strict=True)}
    return [rows_where(tree, operands, len(values)).tolist() for tree in CONDITIONS]


@example(values=[(1, 1.0), (2**53 + 1, float(2**53)), ("7", 7), (None, None)], reading=None)
@example(values=[(Decimal("1.50"), 1.5), (1.5, Decimal("1.5")), (True, 1)], reading=None)
@example(
    values=[("2024-02-01", datetime.date(2024, 2, 1)), ("x", datetime.date(2024, 2, 1))], reading="moment"
)
@given(values=rows, reading=st.sampled_from([None, "moment", "single", "padded"]))
def test_a_row_s_answer_is_the_same_alone_and_among_others(
    values: list[tuple[Any, Any]], reading: Any
) -> None:
    together = answers(values, reading)
    alone = [answers([value], reading) for value in values]
    assert together == [[one[tree][0] for one in alone] for tree in range(len(CONDITIONS))]


numbers = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)), min_size=1)


@given(values=numbers)
def test_whole_numbers_mean_the_same_as_an_array_and_one_by_one(values: list[tuple[int, int]]) -> None:
    arrays = {
        name: operand_of(np.array(column, np.int64))
        for name, column in zip("ab", zip(*values, strict=True), strict=True)
    }
    wanted = answers(values)
    assert [rows_where(tree, arrays, len(values)).tolist() for tree in CONDITIONS] == wanted
    less = rows_where(parse_where("a < b", "t", ["a", "b"]), arrays, len(values))
    assert less.tolist() == [left < right for left, right in values]


@given(values=st.lists(st.one_of(st.none(), st.text(max_size=4)), min_size=1))
def test_texts_mean_the_same_coded_and_one_by_one(values: list[str | None]) -> None:
    words = tuple(dict.fromkeys(text for text in values if text is not None))
    codes = np.array([-1 if text is None else words.index(text) for text in values], np.int64)
    coded = operand_of(Coded(codes, words))
    same = {"a": coded, "b": coded}
    wanted = answers([(text, text) for text in values])
    assert [rows_where(tree, same, len(values)).tolist() for tree in CONDITIONS] == wanted


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        (2**53 + 1, 2**53, False),
        (Decimal(2**53 + 1), 2**53 + 1, True),
        (Decimal("0.1"), 0.1, True),
        (True, 1, True),
        ("1", 1, False),
        (math.nan, math.nan, False),
        (math.inf, Decimal("Infinity"), True),
        (10**400, math.inf, True),
        (datetime.date(2024, 2, 1), datetime.datetime(2024, 2, 1), True),
        (datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC), "2024-02-01T02:00:00+02:00", True),
        (datetime.date.max, datetime.date.max, False),
        (b"a", "a", False),
        (["a"], ["a"], False),
        (None, None, False),
    ],
)
def test_what_is_equal_is_written_down(left: object, right: object, wanted: bool) -> None:
    operands = {"a": operand_of([left]), "b": operand_of([right])}
    assert rows_where(parse_where("a = b", "t", ["a", "b"]), operands, 1).tolist() == [wanted]

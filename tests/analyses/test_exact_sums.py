"""A sum of floats is the exact sum, whatever the values, and whichever site has which."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.analyses.exact_sums import (
    SQUARES,
    VALUES,
    floats_of,
    limbs_of,
    sum_squares,
    sum_values,
    totals,
)
from fedcohort.errors import ValueRangeError

NUMBERS = st.floats(-(2.0**127), 2.0**127, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 2.0**-138)


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, max_size=30), st.integers(0, 30))
def test_a_sum_is_exact_and_does_not_depend_on_how_rows_are_divided(values: list[float], cut: int) -> None:
    column = np.array(values, np.float64).reshape(-1, 1)
    for summed, grid, power in ((sum_values, VALUES, 1), (sum_squares, SQUARES, 2)):
        parts = summed(column[:cut]) + summed(column[cut:])
        assert totals(parts, grid) == [sum((Fraction(x) ** power for x in values), Fraction(0))]
        assert totals(parts, grid) == totals(summed(column), grid)


def test_more_rows_than_are_worked_on_at_once_are_added_exactly() -> None:
    column = np.full((2**17 + 3, 1), 0.1)
    assert totals(sum_values(column), VALUES) == [Fraction(0.1) * (2**17 + 3)]
    assert totals(sum_squares(column), SQUARES) == [Fraction(0.1) ** 2 * (2**17 + 3)]


def test_limbs_of_many_sites_stay_exact_as_floats() -> None:
    """The coordinator has sums of integers as float64: 10,000 sites' limbs are below 2^53."""
    limbs = sum_values(np.array([[-1.7e38], [1.0 / 3]]))
    added = sum(limbs.astype(np.float64) for _ in range(10_000))
    assert totals(np.asarray(added), VALUES) == [10_000 * (Fraction(-1.7e38) + Fraction(1.0 / 3))]


def test_the_missing_are_left_out_and_smaller_values_than_any_unit_lose_their_last_bits() -> None:
    assert totals(sum_values(np.array([[np.nan, 1.0], [2.0, np.nan]])), VALUES) == [2, 1]
    assert totals(sum_values(np.array([[5e-324], [2.0**-192]])), VALUES) == [Fraction(2) ** -192]
    assert totals(sum_values(np.array([[5e-324]])), VALUES) == totals(
        sum_squares(np.array([[5e-324]])), SQUARES
    )


def test_limbs_of_numbers_are_those_of_their_sum() -> None:
    values = np.array([0.0, -0.0, 1.0, -1 / 3, 2.0**127, -(2.0**-139) / 3, 5e-324, 2.0**-160 * 1.7])
    found = limbs_of(values)
    assert found.tolist() == [sum_values(np.array([[value]]))[0].tolist() for value in values]
    expected = np.where(np.abs(values) < 2.0**-192, 0.0, values)
    np.testing.assert_array_equal(floats_of(found), np.rint(expected * 2.0**192) * 2.0**-192)


@pytest.mark.parametrize("value", [1e39, -1e300, np.inf])
def test_a_value_that_no_measurement_has_is_refused(value: float) -> None:
    with pytest.raises(ValueRangeError, match="beyond 2"):
        sum_values(np.array([[1.0], [value]]))

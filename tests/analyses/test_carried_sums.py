"""Floats go through limbs and come back, added over sites."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.analyses.carried_sums import (
    LARGEST,
    N_LIMBS,
    carried,
    from_limbs,
    symmetric,
    to_limbs,
    triangle,
)
from fedcohort.errors import ValueRangeError

NUMBERS = st.floats(-1e40, 1e40, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-20)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_a_float_comes_back_to_the_bit_and_a_sum_to_the_last_bits(numbers: list[float]) -> None:
    limbs = to_limbs(np.array(numbers))
    assert limbs.shape == (len(numbers), N_LIMBS)
    assert from_limbs(limbs).tolist() == numbers
    assert np.abs(limbs).max() <= carried("a", 1).fixed_point(private=False).bound
    exact = float(sum(map(Fraction, numbers)))
    assert from_limbs(limbs.sum(0)) == pytest.approx(exact, rel=4e-16, abs=1e-35)


def test_the_smallest_and_the_largest() -> None:
    assert from_limbs(to_limbs(np.array([0.0, -LARGEST, 2.0**-128, 1e-300]))).tolist() == [
        0.0,
        -LARGEST,
        2.0**-128,
        0.0,
    ]
    for value in (math.inf, math.nan, LARGEST * 2):
        with pytest.raises(ValueRangeError, match="clean the columns"):
            to_limbs(value)


def test_a_symmetric_matrix_is_its_triangle() -> None:
    matrix = np.array([[1.0, 2, 3], [2, 4, 5], [3, 5, 6]])
    assert triangle(matrix).tolist() == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(symmetric(triangle(matrix), 3), matrix)

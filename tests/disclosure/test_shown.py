"""Numbers as reports have them, many at once as one by one."""

import numpy as np
import pytest

from fedcohort.disclosure.shown import count_of, counts_of, number_of, numbers_of

VALUES = np.array([0.0, -0.0, 0.4, 0.5, 1.5, 2.5, -3.0, np.nan, 7.0, 2.0**40 + 0.25])


@pytest.mark.parametrize("values", [VALUES, VALUES[:0], VALUES[7:8]])
def test_many_numbers_are_shown_as_each_of_them(values: np.ndarray) -> None:
    assert repr(counts_of(values)) == repr([count_of(value) for value in values])
    assert repr(numbers_of(values)) == repr([number_of(value) for value in values])

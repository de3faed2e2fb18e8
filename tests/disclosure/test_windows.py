"""Ordered cells put together: no window shows a small count, and none says where the first patient is."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.disclosure.windows import windows


def ends(counts: list[list[int]], min_cell: int = 10, rest: float = 0.0) -> list[int]:
    return [int(place) for place in windows(np.array(counts, float), min_cell, rest)]


def test_times_are_put_together_until_events_and_losses_are_enough() -> None:
    assert ends([[5, 5], [5, 5], [12, 11], [40, 40]]) == [1, 2, 3]


def test_empty_cells_belong_to_the_window_after_them() -> None:
    assert ends([[0, 0], [0, 0], [10, 0], [0, 0], [0, 10]]) == [2, 4]


def test_what_is_left_joins_the_last_window() -> None:
    assert ends([[10, 10], [3, 2]]) == [1]


def test_a_window_before_few_who_are_left_is_not_shown() -> None:
    assert ends([[10, 10], [10, 10], [4, 0]], rest=2.0) == [0]


def test_of_a_threshold_of_one_each_cell_is_a_window() -> None:
    assert ends([[0, 1], [0, 0], [1, 1]], min_cell=1) == [0, 1, 2]


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=30), st.integers(0, 30)
)
def test_no_window_and_nothing_behind_the_last_one_is_small(cells: list[tuple[int, int]], rest: int) -> None:
    counts = np.array(cells, float)
    found = windows(counts, 10, rest)
    begins = np.concatenate([[0], found + 1]).astype(int)
    inside = [counts[begin : end + 1].sum(0) for begin, end in zip(begins, found, strict=False)]
    behind = counts[begins[-1] :].sum() + rest
    assert all(not ((part > 0) & (part < 10)).any() for part in inside)
    assert not len(found) or behind == 0 or behind >= 10

"""Primary and complementary suppression on tables that a person can check, and against trying all tables."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedcohort.disclosure.cells import exact, hidden, hidden_table, margins, possible, rounded

ROW = [np.arange(4)]


def mask(counts: list[int], min_cell: int = 10) -> list[bool]:
    line = [np.arange(len(counts))]
    return [bool(cell) for cell in hidden(np.array(counts, float), line, min_cell)]


def test_a_small_cell_and_the_next_smallest_are_hidden() -> None:
    assert mask([50, 40, 3, 30]) == [False, False, True, True]


def test_small_cells_that_are_few_together_take_another() -> None:
    assert mask([50, 40, 3, 4]) == [False, True, True, True]
    assert mask([50, 40, 7, 4]) == [False, False, True, True]


def test_empty_cells_are_shown_and_hide_nobody() -> None:
    assert mask([50, 0, 3]) == [True, False, True]
    assert mask([197, 3, 0]) == [True, True, False]
    assert mask([10, 20, 0]) == [False, False, False]


def test_of_a_threshold_of_one_nothing_is_hidden() -> None:
    assert mask([1, 2, 3], min_cell=1) == [False, False, False]


def test_of_two_by_two_all_four_are_hidden() -> None:
    table = np.array([[50.0, 3.0], [60.0, 70.0]])
    assert hidden_table(table, 10).all()


def test_a_rectangle_of_cells_hides_one_in_a_larger_table() -> None:
    table = np.array([[3.0, 20.0, 30.0], [40.0, 50.0, 60.0], [70.0, 80.0, 90.0]])
    found = hidden_table(table, 10)
    assert found.sum() == 4
    assert found[:2, :2].all()


def test_where_lines_cross_a_programme_finds_what_a_hidden_cell_may_hold() -> None:
    table = np.array([[3.0, 20.0], [40.0, 50.0]])
    low, high = possible(table.reshape(-1), margins(table.shape), np.ones(4, bool), 0)
    assert (low, high) == (0.0, 23.0)


def test_rounding_keeps_what_is_hidden() -> None:
    assert np.array_equal(rounded(np.array([12.0, 13.0, np.nan]), 5), [10.0, 15.0, np.nan], equal_nan=True)


@given(
    st.lists(st.integers(0, 9), min_size=4, max_size=6).map(lambda cells: np.array(cells[:6])),
    st.integers(2, 4),
)
def test_no_line_of_a_small_table_gives_a_hidden_count_away(cells: NDArray[np.int64], min_cell: int) -> None:
    """Every table with the same shown cells and the same margins is tried."""
    n_columns = len(cells) // 2
    table = cells[: 2 * n_columns].reshape(2, n_columns).astype(float)
    found = hidden_table(table, min_cell)
    shown = table[~found]
    assert not ((shown > 0) & (shown < min_cell)).any()
    if found.all() or found.sum() > 4:
        return
    # No cell holds more than its column.
    for place, held in exact(table, found, int(table.sum(0).max())).items():
        if 0 < table[place] < min_cell:
            assert len(held) > 1
            assert max(held) - min(held) >= min_cell

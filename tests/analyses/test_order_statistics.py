"""Order statistics are found by counts alone, and no closer than so many values lie together."""

import numpy as np
import pytest
from scipy.stats import binom

from fedcohort.analyses.order_statistics import (
    Cells,
    Grid,
    cells_of,
    edges_of,
    part_of,
    placed,
    ranks_of,
    refined,
)
from fedcohort.analyses.tails import binomial_quantile

AGES = np.array([18, 40, 41, 41, 44, 60, 61, 62, 63, 64, 65, 90], np.float64)
GRID = Grid(18, 90, 1.0)


def looked_for(values: np.ndarray, grid: Grid, ranks: list[int], part_bits: int = 3, **words: int) -> Cells:
    places = np.sort(grid.places(values))
    n = len(ranks)
    cells = cells_of(np.array(ranks), np.full(n, grid.bits), np.full(n, len(values)))
    for _ in range(grid.bits):
        counts = np.zeros((n, 2**part_bits))
        for line, begin in enumerate(cells.asked):
            if begin >= 0:
                edges = edges_of(int(begin), int(cells.bits[line]), part_bits)
                counts[line] = np.diff(np.searchsorted(places, edges))
        cells = refined(cells, counts, **words)
    return cells


@pytest.mark.parametrize("part_bits", [1, 3, 6, 10])
def test_every_order_statistic_is_found_on_its_grid(part_bits: int) -> None:
    values, within = placed(looked_for(AGES, GRID, list(range(12)), part_bits), GRID)
    assert values.tolist() == AGES.tolist()
    assert within.tolist() == [0.0] * 12


def test_without_a_grid_they_are_found_to_a_part_of_the_range() -> None:
    values = np.sort(np.random.default_rng(0).normal(140, 20, 50).clip(80, 200))
    grid = Grid(80, 200)
    found, within = placed(looked_for(values, grid, list(range(50)), 6), grid)
    assert np.all(np.abs(found - values) <= within)
    assert within.max() < 1e-11


def test_a_cell_is_halved_only_while_it_holds_twice_so_many_and_the_half_so_many() -> None:
    """Of 12 ages 11 lie in the lower 64 places, and of these 5 in the lower 32, which are too few."""
    cells = looked_for(AGES, GRID, [2], min_cell=6)
    assert (cells.bits.tolist(), cells.held.tolist()) == ([6], [11])
    assert looked_for(AGES, GRID, [2], min_cell=5).held.tolist() == [5]
    cells = looked_for(AGES, GRID, [2, 8], min_cell=3)
    assert np.all(cells.held >= 3)
    values, within = placed(cells, GRID)
    assert np.all(np.abs(values - AGES[[2, 8]]) <= within)
    assert np.all(within > 1)


def test_the_last_cell_ends_where_the_bounds_do() -> None:
    """72 places are taken as 128: a cell of all of them reaches to 90 and no farther."""
    (value,), (within,) = placed(looked_for(AGES, GRID, [11], min_cell=12), GRID)
    assert value < 90
    assert value + within == pytest.approx(90) or value - within == pytest.approx(18)


def test_a_missing_order_statistic_has_no_value() -> None:
    values, within = placed(looked_for(AGES, GRID, [-1, 0]), GRID)
    assert np.isnan(values[0])
    assert np.isnan(within[0])
    assert values[1] == 18


@pytest.mark.parametrize(("bits", "part_bits"), [(7, 10), (7, 7), (7, 3), (46, 6)])
def test_parts_are_what_their_edges_say(bits: int, part_bits: int) -> None:
    places = np.random.default_rng(1).integers(0, 2**bits, 200)
    edges = edges_of(0, bits, part_bits)
    assert np.array_equal(np.searchsorted(edges, places, "right") - 1, part_of(places, bits, part_bits)) or (
        bits < part_bits
    )
    counted = np.diff(np.searchsorted(np.sort(places), edges))
    assert np.array_equal(counted, np.bincount(part_of(places, bits, part_bits), minlength=2**part_bits))


def test_values_are_at_the_nearest_place_and_beyond_the_bounds_at_their_end() -> None:
    assert GRID.places(np.array([17.0, 18.4, 18.6, np.inf, -np.inf, np.nan])).tolist() == [0, 0, 1, 72, 0, -1]
    assert GRID.is_between(np.array([18.0, 18.4, np.nan])).tolist() == [False, True, False]
    assert Grid(0, 1).places(np.array([0.0, 0.5, 1.0])).tolist() == [0, 2**45, 2**46 - 1]
    assert Grid(0, 0.3, 0.1).n == 4


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_binomial_quantiles_are_scipys(share: float) -> None:
    for n in (1, 2, 10, 100, 7874):
        for probability in (0.025, 0.3, 0.975):
            assert binomial_quantile(probability, n, share) == binom.ppf(probability, n, share)


def test_an_interval_never_ends_at_the_least_or_largest_value() -> None:
    for n in range(1, 60):
        ends = ranks_of(np.array([0.05, 0.5, 0.95]), n)[:, 2:]
        assert not np.any((ends == 0) | (ends == n - 1))

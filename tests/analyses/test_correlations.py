"""Correlations follow from one sum of products."""

import numpy as np
import pytest
from scipy import stats

from fedcohort.analyses.correlations import (
    components,
    correlation,
    fisher,
    mid_ranks,
    other_patients,
    p_values,
    ties_within,
)

X = np.array([[1.0, 2.0, 5.0], [2.0, 1.0, 5.0], [3.0, 4.0, 5.0], [4.0, 3.0, 5.0], [5.0, 5.0, 5.0]])


def gram_of(x: np.ndarray, unit: float = 1.0) -> np.ndarray:
    whole = np.concatenate([np.full((len(x), 1), unit), x], axis=1)
    gram: np.ndarray = whole.T @ whole
    return gram


@pytest.mark.parametrize("unit", [1.0, 0.5])
def test_five_patients_by_hand(unit: float) -> None:
    """Ranks 1 to 5 against 2 1 4 3 5: r = 0.8; a column that does not vary has none."""
    found = correlation(gram_of(X, unit))
    assert found[0, 1] == pytest.approx(0.8)
    assert np.isnan(found[2]).all()
    assert found[0, 0] == 1


def test_tests_and_intervals_are_scipys() -> None:
    matrix = correlation(gram_of(X[:, :2]))
    theirs = stats.pearsonr(X[:, 0], X[:, 1])
    assert p_values(matrix, 5)[0, 1] == pytest.approx(theirs.pvalue, abs=1e-12)
    low, high = fisher(matrix, 5, of_ranks=False)
    assert (low[0, 1], high[0, 1]) == pytest.approx(tuple(theirs.confidence_interval()), abs=1e-12)
    assert np.isnan(fisher(matrix, 3, of_ranks=False)[0]).all()
    assert np.isnan(p_values(matrix, 2)).all()
    assert p_values(np.array([[1.0, -1.0], [-1.0, 1.0]]), 9).tolist() == [[0, 0], [0, 0]]


def test_components_are_largest_first_and_point_one_way() -> None:
    values, loadings = components(np.array([[1.0, -0.6], [-0.6, 1.0]]))
    assert values == pytest.approx([1.6, 0.4])
    assert np.abs(loadings) == pytest.approx(np.full((2, 2), 0.5**0.5))
    assert np.all(loadings[np.argmax(np.abs(loadings), axis=0), [0, 1]] > 0)


def test_ties_have_their_mean_rank() -> None:
    counts = np.array([2.0, 0.0, 1.0, 3.0])
    ranks = mid_ranks(counts)
    assert ranks[[0, 2, 3]].tolist() == [1.5, 3.0, 5.0]


def test_what_ties_hide_is_within_what_is_told() -> None:
    draw = np.random.default_rng(4)
    for _ in range(50):
        x = draw.normal(size=(60, 2)) @ np.array([[1.0, draw.uniform(-1, 1)], [0.0, 1.0]])
        coarse = np.floor((x + 5) * draw.uniform(0.3, 2)).clip(0, 29).astype(int)
        counts = np.stack([np.bincount(column, minlength=30) for column in coarse.T]).astype(float)
        ours = stats.spearmanr(coarse).statistic
        within = ties_within(counts, np.array([[1.0, ours], [ours, 1.0]]))
        assert abs(ours - stats.spearmanr(x).statistic) <= within[0, 1] + 1e-12


def test_other_patients_have_the_same_population() -> None:
    draw = np.random.default_rng(0)
    gram = gram_of(draw.normal(size=(200, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]), 0.5)
    drawn = [correlation(other_patients(gram, 200, draw))[0, 1] for _ in range(500)]
    r = correlation(gram)[0, 1]
    assert np.mean(drawn) == pytest.approx(r, abs=0.01)
    assert np.std(drawn) == pytest.approx((1 - r**2) / np.sqrt(200), rel=0.2)

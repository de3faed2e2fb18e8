"""A tree of noisy counts gives one curve that never falls, by least squares."""

import numpy as np

from fedcohort.analyses.count_tree import PARTS, consistent, cumulated, expected, levels_of, quantiles


def test_counts_of_one_source_stay_as_they_are() -> None:
    finest = np.random.default_rng(0).poisson(3, (2, 512)).astype(np.float64)
    assert np.allclose(consistent(levels_of(finest)), finest)


def test_noisy_counts_are_made_consistent_by_least_squares() -> None:
    """Of two levels of a tree, against the solution of the normal equations."""
    draw = np.random.default_rng(1)
    levels = [draw.normal(0, 1, parts) for parts in PARTS]
    design = np.concatenate([np.kron(np.eye(parts), np.ones(512 // parts)) for parts in PARTS])
    solved = np.linalg.lstsq(design, np.concatenate(levels), rcond=None)[0]
    assert np.allclose(consistent(levels), solved)


def test_a_noisy_curve_never_falls_and_ends_at_the_sum() -> None:
    finest = np.random.default_rng(2).normal(1, 5, (3, 512))
    reached = cumulated(finest)
    assert np.all(np.diff(reached, axis=-1) >= 0)
    assert np.allclose(reached[..., -1], finest.sum(-1))
    assert np.all(expected(finest) >= 0)


def test_quantiles_are_shares_of_the_range() -> None:
    """One patient in each of 512 parts: the median is in the middle; of nobody there is none."""
    even, nobody = np.ones(512), np.zeros(512)
    found = quantiles(np.stack([even, nobody]), np.array([0.25, 0.5]))
    assert np.allclose(found[0], [0.25, 0.5])
    assert np.all(np.isnan(found[1]))

"""Shares of noise add up to what was promised, and rounding is part of the sensitivity."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.errors import StudyError
from fedcohort.privacy.events import GaussianRelease, LaplaceRelease
from fedcohort.privacy.shares import honest_shares, integer_sensitivity, seen_by_colluders, share_sigma


@given(st.floats(0.1, 1e9), st.integers(1, 200))
def test_shares_add_up_to_at_least_the_variance_and_hardly_more(sigma: float, n_shares: int) -> None:
    total = n_shares * Fraction(share_sigma(sigma, n_shares)) ** 2
    assert Fraction(sigma) ** 2 <= total <= Fraction(sigma) ** 2 * (1 + Fraction(1, 2**50))


def test_two_sites_of_which_one_may_collude_add_all_the_noise_each() -> None:
    assert honest_shares(2, dropouts=0) == 1
    assert share_sigma(37.5, 1) == 37.5


def test_four_sites_count_on_the_shares_of_two() -> None:
    assert honest_shares(4, dropouts=1, colluders=1) == 2


@pytest.mark.parametrize(
    ("n", "dropouts", "colluders"), [(1, 0, 1), (3, 2, 1), (3, -1, 0), (3, 0, -1), (0, 0, 0)]
)
def test_noise_that_nobody_is_sure_to_add_is_refused(n: int, dropouts: int, colluders: int) -> None:
    with pytest.raises(StudyError, match="no share of the noise is sure"):
        honest_shares(n, dropouts, colluders)


def test_alone_a_site_has_only_its_own_share() -> None:
    shared = GaussianRelease("g", 1.0, 30.0, shares=9)
    laplace = LaplaceRelease("l", 1.0, 2.0)
    assert seen_by_colluders([shared, laplace]) == (GaussianRelease("g", 1.0, 10.0), laplace)


@given(
    st.integers(1, 30).flatmap(
        lambda d: st.lists(
            st.lists(st.floats(-50, 50, allow_subnormal=False), min_size=d, max_size=d),
            min_size=1,
            max_size=6,
        )
    ),
    st.integers(-6, 6),
    st.floats(0.01, 20),
)
def test_removing_a_patient_moves_the_rounded_sum_by_at_most_its_sensitivity(
    rows: list[list[float]], exponent: int, clip: float
) -> None:
    matrix, resolution = np.array(rows), 2.0**exponent
    norms = np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), clip)
    clipped = matrix * (clip / norms)
    bound = integer_sensitivity(clip, resolution, matrix.shape[1], error=1e-12)
    whole = np.rint(clipped.sum(0) / resolution)
    for index in range(len(matrix)):
        without = np.rint(np.delete(clipped, index, 0).sum(0) / resolution)
        assert np.linalg.norm(whole - without) <= bound


def test_rounding_can_move_a_sum_by_a_whole_step_in_every_coordinate() -> None:
    rest, patient = np.full(100, 0.5 - 1e-9), np.full(100, 2e-9)
    moved = np.linalg.norm(np.rint(rest + patient) - np.rint(rest))
    assert moved == 10.0
    assert moved <= integer_sensitivity(2e-8, 1.0, 100) <= 10.0 + 3e-8


def test_its_sensitivity_on_numbers_that_a_person_can_check() -> None:
    assert integer_sensitivity(1.0, 2.0**-10, 64) == pytest.approx(1024 + 8)
    assert integer_sensitivity(1.0, 2.0**-10, 64, error=2.0**-11) == pytest.approx(1025 + 8)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_sensitivity_of_nonsense_is_refused(bad: float) -> None:
    for arguments in ((bad, 1.0, 3), (1.0, bad, 3), (1.0, 1.0, bad)):
        with pytest.raises(StudyError, match="must be a positive number"):
            integer_sensitivity(*arguments)
    if bad != 0:
        with pytest.raises(StudyError, match="error is"):
            integer_sensitivity(1.0, 1.0, 1, error=bad)

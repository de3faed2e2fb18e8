"""The cost that is claimed for discrete Gaussians, against hockey-stick divergences summed over integers."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.privacy.accounting import SLACK, SMOOTHING, epsilon
from fedcohort.privacy.events import GaussianRelease

Floats = NDArray[np.float64]


def pmf(sigma: float, reach: int) -> Floats:
    logs = -((np.arange(-reach, reach + 1) / sigma) ** 2) / 2
    weights: Floats = np.exp(logs) / np.exp(logs).sum()
    return weights


def shifted(noise: Floats, by: int) -> Floats:
    moved: Floats = np.zeros_like(noise)
    moved[by:] = noise[: len(noise) - by]
    return moved


def spent(one: Floats, other: Floats, at: float) -> float:
    """The delta that epsilon `at` really needs, whichever of the two is the patient's."""
    return max(
        float(np.maximum(one - math.exp(at) * other, 0).sum()),
        float(np.maximum(other - math.exp(at) * one, 0).sum()),
    )


@pytest.mark.parametrize("delta", [1e-2, 1e-3, 1e-5, 1e-8])
@pytest.mark.parametrize(("sigma", "move"), [(2.9, 1), (4.0, 1), (4.0, 5), (12.5, 7), (60.0, 200)])
def test_one_integer_costs_no_more_than_is_claimed(sigma: float, move: int, delta: float) -> None:
    claimed = epsilon([GaussianRelease("g", move, sigma)], delta)
    noise = pmf(sigma, 20 * math.ceil(sigma) + move)
    assert spent(noise, shifted(noise, move), claimed) <= delta


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
@pytest.mark.parametrize("moves", [(1, 1), (1, 3), (2, 5)])
def test_two_integers_cost_no_more_than_their_distance_claims(moves: tuple[int, int], delta: float) -> None:
    sigma = 3.5
    claimed = epsilon([GaussianRelease("g", math.hypot(*moves), sigma, dimension=2)], delta)
    noise = pmf(sigma, 60)
    other = np.outer(shifted(noise, moves[0]), shifted(noise, moves[1]))
    assert spent(np.outer(noise, noise), other, claimed) <= delta


@pytest.mark.parametrize("probability", [0.01, 0.3])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_a_sampled_integer_costs_no_more_than_is_claimed(probability: float, delta: float) -> None:
    claimed = epsilon([GaussianRelease("g", 6, 4.0, sampling_probability=probability)], delta)
    noise = pmf(4.0, 100)
    mixed = probability * shifted(noise, 6) + (1 - probability) * noise
    assert spent(noise, mixed, claimed) <= delta


@pytest.mark.parametrize("shares", [2, 3, 5])
def test_shares_cost_no_more_than_their_sum_claims(shares: int) -> None:
    own = pmf(3.0, 60)
    noise = own
    for _ in range(shares - 1):
        noise = np.convolve(noise, own)
    claimed = epsilon([GaussianRelease("g", 4, 3.0 * math.sqrt(shares), shares=shares)], 1e-5)
    wide = np.pad(noise, 4)
    assert spent(wide, shifted(wide, 4), claimed) <= 1e-5


@pytest.mark.parametrize("shares", [2, 4])
def test_a_sum_of_shares_is_a_discrete_gaussian_within_its_slack(shares: int) -> None:
    """At variances too small to be accounted, where the slack is large enough to be seen."""
    own = pmf(0.7, 30)
    noise = own
    for _ in range(shares - 1):
        noise = np.convolve(noise, own)
    truth = pmf(0.7 * math.sqrt(shares), 30 * shares)
    middle = slice(30 * shares - 5, 30 * shares + 6)
    ratio = np.abs(np.log(noise[middle] / truth[middle])).max()
    narrow = 2 * sum(math.exp(-2 * math.pi**2 * 0.49 / 2 * k * k) for k in range(1, 9))
    assert 1e-5 < ratio <= (shares - 1) * math.log((1 + narrow) / (1 - narrow))


def test_a_rounded_continuous_gaussian_is_a_discrete_one_within_its_slack() -> None:
    """Step (1) of accounting's argument, integrated numerically, again where the slack can be seen."""
    inner, sigma, center = 0.5, 1.3, 0
    ys = np.arange(-12, 12, 1e-3)
    zs = np.arange(-30, 31)
    kernel = np.exp(-((zs[:, None] - ys) ** 2) / (2 * inner**2))
    kernel /= kernel.sum(0)
    density = np.exp(-((ys - center) ** 2) / (2 * (sigma**2 - inner**2)))
    found = kernel @ (density / density.sum())
    truth = pmf(sigma, 30)
    middle = slice(25, 36)
    ratio = np.abs(np.log(found[middle] / truth[middle])).max()
    wobble = 2 * math.exp(-2 * math.pi**2 * inner**2)
    assert 1e-4 < ratio <= 1.01 * math.log((1 + wobble) / (1 - wobble))


def test_the_slack_is_at_least_what_the_argument_says() -> None:
    wobble = 2 * sum(math.exp(-2 * math.pi**2 * SMOOTHING * k * k) for k in range(1, 9))
    assert 2 * math.atanh(wobble) <= SLACK < 1e-33


def test_discrete_costs_what_continuous_costs_where_steps_are_fine() -> None:
    fine = epsilon([GaussianRelease("g", 2.0**16, 2.0**20, dimension=10_000, count=200, shares=3)], 1e-5)
    smooth = epsilon([GaussianRelease("g", 2.0**16, 2.0**20, count=200, discrete=False)], 1e-5)
    assert smooth < fine < smooth * (1 + 1e-6)


def test_noise_of_too_few_steps_is_refused_with_what_to_do() -> None:
    with pytest.raises(StudyError, match=r"metrics: .* sigma of 1 steps.*resolution at least 3 times finer"):
        epsilon([GaussianRelease("metrics", 1, 2.0, shares=4)], 1e-5)

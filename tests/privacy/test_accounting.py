"""Epsilon against closed forms and upper bounds, and the noise multiplier of whole studies."""

import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from fedcohort.errors import StudyError
from fedcohort.privacy import accounting
from fedcohort.privacy.accounting import Pure, Sampled, check_budget, composed, epsilon, noise_multiplier
from fedcohort.privacy.events import (
    GaussianRelease,
    LaplaceRelease,
    NoiselessRelease,
    Release,
    Schedule,
)
from fedcohort.privacy.shares import seen_by_colluders
from tests.patience import PATIENCE_SECONDS


def gaussian(
    sigma: float, count: int = 1, probability: float = 1.0, part: str | None = None
) -> GaussianRelease:
    return GaussianRelease("g", 1.0, sigma, 1, count, probability, part, discrete=False)


def balle_wang(mu: float, at: float) -> float:
    """Delta of a Gaussian mechanism at an epsilon; arXiv 1805.06530, equation 6."""
    return float(norm.cdf(mu / 2 - at / mu) - math.exp(at) * norm.cdf(-mu / 2 - at / mu))


def sampled_once(mu: float, probability: float, at: float) -> float:
    """Delta of one Poisson-sampled Gaussian, both ways round, integrated from where the ratio crosses."""
    growth = math.exp(at)
    crossing = (math.log((growth - 1 + probability) / probability) + mu**2 / 2) / mu
    mixed = probability * norm.sf(crossing - mu) + (1 - probability) * norm.sf(crossing)
    removed = mixed - growth * norm.sf(crossing)
    inverse = (1 / growth - 1 + probability) / probability
    if inverse <= 0:
        return float(removed)
    crossing = (math.log(inverse) + mu**2 / 2) / mu
    mixed = probability * norm.cdf(crossing - mu) + (1 - probability) * norm.cdf(crossing)
    return float(max(removed, norm.cdf(crossing) - growth * mixed))


def rdp(releases: Sequence[GaussianRelease], delta: float) -> float:
    accountant = RdpAccountant()
    for release in releases:
        event = dp_event.GaussianDpEvent(release.sigma)
        accountant.compose(dp_event.PoissonSampledDpEvent(release.sampling_probability, event), release.count)
    return float(accountant.get_epsilon(delta))


@pytest.mark.parametrize("delta", [1e-2, 1e-5, 1e-9])
@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0, 50.0])
def test_one_gaussian_costs_what_the_closed_form_says(sigma: float, delta: float) -> None:
    found = epsilon([gaussian(sigma)], delta)
    assert found == 0.0 or balle_wang(1 / sigma, found) == pytest.approx(delta, rel=2e-3)
    assert balle_wang(1 / sigma, found) <= delta


def test_a_hundred_gaussians_cost_one_of_a_tenth_of_the_noise() -> None:
    assert epsilon([gaussian(30.0, 100)], 1e-5) == pytest.approx(epsilon([gaussian(3.0)], 1e-5), rel=1e-9)
    assert epsilon([gaussian(5.0)] * 4 + [gaussian(10.0)] * 4, 1e-5) == pytest.approx(
        epsilon([gaussian(math.sqrt(5))], 1e-5), rel=1e-9
    )


@pytest.mark.parametrize("delta", [1e-3, 1e-6])
@pytest.mark.parametrize(("sigma", "probability"), [(0.5, 0.01), (1.0, 0.1), (3.0, 0.5), (0.8, 0.9)])
def test_one_sampled_gaussian_costs_what_the_closed_form_says(
    sigma: float, probability: float, delta: float
) -> None:
    found = epsilon([gaussian(sigma, probability=probability)], delta)
    assert sampled_once(1 / sigma, probability, found) <= delta
    assert sampled_once(1 / sigma, probability, found * 0.995) > delta


@pytest.mark.parametrize(
    ("sigma", "count", "probability"),
    [(1.0, 200, 0.1), (4.0, 1000, 0.3), (1.2, 10_000, 0.01), (60.0, 300, 1.0)],
)
def test_renyi_accounting_is_an_upper_bound(sigma: float, count: int, probability: float) -> None:
    releases = [gaussian(sigma, count, probability)]
    found, bound = epsilon(releases, 1e-5), rdp(releases, 1e-5)
    assert 0.7 * bound < found < bound


def test_a_coarse_grid_costs_more_and_never_less(monkeypatch: pytest.MonkeyPatch) -> None:
    sampled = [Sampled(1.0, 0.1, 200)]
    fine = composed(0.01, sampled, [Pure(0.1, 3)], 1e-5)
    monkeypatch.setattr(accounting, "MAX_POINTS", 2.0**10)
    coarse = composed(0.01, sampled, [Pure(0.1, 3)], 1e-5)
    assert fine <= coarse < 1.1 * fine


def test_different_noises_and_samples_compose() -> None:
    releases = [gaussian(2.0, 50, 0.1), gaussian(20.0, 3), gaussian(1.5, 20, 0.05)]
    found = epsilon(releases, 1e-5)
    assert max(epsilon([release], 1e-5) for release in releases) < found < rdp(releases, 1e-5)
    assert found == pytest.approx(epsilon(releases[::-1], 1e-5), rel=1e-9)


@settings(max_examples=12, deadline=None)
@given(st.floats(0.7, 20), st.floats(0.005, 0.9), st.integers(1, 500), st.sampled_from([1e-3, 1e-6]))
def test_more_noise_fewer_rounds_and_smaller_samples_never_cost_more(
    sigma: float, probability: float, count: int, delta: float
) -> None:
    here = epsilon([gaussian(sigma, count, probability)], delta)
    slightly = 1.002 * here + 1e-6
    assert epsilon([gaussian(1.5 * sigma, count, probability)], delta) <= slightly
    assert epsilon([gaussian(sigma, count, probability / 2)], delta) <= slightly
    assert epsilon([gaussian(sigma, max(1, count // 2), probability)], delta) <= slightly
    assert epsilon([gaussian(sigma, count, probability)], delta * 3) <= slightly


def test_laplace_noise_adds_up_at_delta_zero_and_composes_better_above() -> None:
    releases = [LaplaceRelease("l", 1.0, 10.0, count=100)]
    assert epsilon(releases, 0.0) == pytest.approx(10.0)
    # A hundred releases of 0.1 behave like a Gaussian of mu 1: epsilon about 4.4 at 1e-5.
    assert 4.0 < epsilon(releases, 1e-5) < 5.0
    assert epsilon([LaplaceRelease("l", 2.0, 4.0)], 1e-5) == pytest.approx(0.5, rel=1e-3)


def test_sampled_laplace_noise_is_amplified() -> None:
    found = epsilon([LaplaceRelease("l", 1.0, 1.0, sampling_probability=0.1)], 0.0)
    assert found == pytest.approx(math.log(1 + 0.1 * (math.e - 1)))


def test_laplace_noise_that_is_almost_none_is_added_plainly() -> None:
    weak = LaplaceRelease("l", 1.0, 0.001, count=3)
    assert epsilon([weak], 1e-5) == pytest.approx(3000)
    assert epsilon([weak, gaussian(3.0)], 1e-5) == pytest.approx(3000 + epsilon([gaussian(3.0)], 1e-5))


def test_laplace_and_gaussian_noise_compose() -> None:
    both = epsilon([gaussian(5.0, 4), LaplaceRelease("l", 1.0, 5.0)], 1e-5)
    assert epsilon([gaussian(5.0, 4)], 1e-5) < both <= epsilon([gaussian(5.0, 4)], 1e-5) + 0.2001


def test_what_has_no_noise_costs_infinity() -> None:
    assert epsilon([gaussian(5.0), NoiselessRelease("weights")], 1e-5) == math.inf
    assert epsilon([gaussian(5.0)], 0.0) == math.inf
    assert epsilon([], 1e-5) == 0.0


def test_parts_share_no_patient_so_the_costliest_counts() -> None:
    train, held = gaussian(4.0, 100, 0.3, "train"), gaussian(8.0, part="held out")
    everybody = gaussian(20.0)
    assert epsilon([train, held], 1e-5) == epsilon([train], 1e-5)
    assert epsilon([train, held, everybody], 1e-5) == epsilon([train, everybody], 1e-5)
    noiseless = NoiselessRelease("counts", part="held out")
    assert epsilon([train, noiseless], 1e-5) == math.inf


def test_what_is_not_a_release_is_refused() -> None:
    class Exponential:
        what, part = "a choice", None

    with pytest.raises(StudyError, match="unknown kind cannot be accounted"):
        epsilon([Exponential()], 1e-5)  # type: ignore[list-item]


def test_if_all_other_sites_collude_the_own_share_alone_protects() -> None:
    shared = [GaussianRelease("g", 1000.0, 64_000.0, 10, 200, shares=4)]
    assert epsilon(seen_by_colluders(shared), 1e-5) == pytest.approx(
        epsilon([GaussianRelease("g", 1000.0, 32_000.0, 10, 200)], 1e-5)
    )
    assert epsilon(seen_by_colluders(shared), 1e-5) > 2 * epsilon(shared, 1e-5)


def training(schedule: Schedule) -> Callable[[float], Sequence[Release]]:
    return lambda multiplier: schedule.releases(multiplier, "gradients", 2.0**18, 8705, shares=3)


@pytest.mark.parametrize("kind", ["constant", "decaying"])
@pytest.mark.parametrize(
    ("rounds", "probability", "target", "delta"),
    [
        (200, 1.0, 1.5, 1e-3),
        (200, 0.1, 1.5, 1e-5),
        (3000, 0.01, 0.1, 1e-6),
        pytest.param(100, 0.01, 8.0, 1e-5, marks=pytest.mark.slow),
    ],
)
def test_the_noise_of_a_whole_study_comes_close_to_its_epsilon_and_never_above(
    kind: Literal["constant", "decaying"], rounds: int, probability: float, target: float, delta: float
) -> None:
    releases = training(Schedule(rounds, probability, kind))
    multiplier = noise_multiplier(releases, target, delta)
    assert 0.99 * target <= epsilon(releases(multiplier), delta) <= target
    assert epsilon(releases(multiplier * (1 - 2**-11)), delta) > target


def test_the_multiplier_of_plain_gaussians_is_the_closed_forms() -> None:
    multiplier = noise_multiplier(training(Schedule(200)), 1.5, 1e-3)
    mu = math.sqrt(200) / multiplier
    assert balle_wang(mu, 1.5) <= 1e-3 < balle_wang(mu * (1 + 2**-10), 1.5)


@pytest.mark.parametrize("sampled", [1.0, pytest.param(0.2, marks=pytest.mark.slow)])
def test_metrics_of_the_same_patients_need_more_noise_and_of_others_none(sampled: float) -> None:
    def study(part: str | None, multiplier: float) -> list[Release]:
        schedule = Schedule(100, sampled)
        metrics = GaussianRelease("metrics", 100.0, 1500.0, 12, 5, part=part)
        return [*schedule.releases(multiplier, "gradients", 1e5, 100, part="train"), metrics]

    without = noise_multiplier(training(Schedule(100, sampled)), 1.5, 1e-5)
    assert noise_multiplier(lambda z: study("held out", z), 1.5, 1e-5) == without
    assert noise_multiplier(lambda z: study("train", z), 1.5, 1e-5) > without * 1.01
    assert noise_multiplier(lambda z: study(None, z), 1.5, 1e-5) > without * 1.01


def test_a_study_that_no_noise_can_save_is_refused() -> None:
    def study(multiplier: float) -> list[Release]:
        return [gaussian(multiplier), LaplaceRelease("metrics", 1.0, 0.5)]

    with pytest.raises(StudyError, match=r"no amount of noise.*ask for fewer metrics"):
        noise_multiplier(study, 1.5, 1e-5)


@pytest.mark.processes
def test_another_process_finds_the_very_same_multiplier() -> None:
    program = """
from fedcohort.privacy.accounting import noise_multiplier
from fedcohort.privacy.events import Schedule
schedule = Schedule(300, 0.05, "decaying")
print(repr(noise_multiplier(lambda z: schedule.releases(z, "g", 2.0**18, 8705, shares=3), 1.5, 1e-5)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert float(done.stdout) == noise_multiplier(training(Schedule(300, 0.05, "decaying")), 1.5, 1e-5)


BAD_EPSILONS: list[Any] = [0, 0.0, -1.5, math.nan, math.inf, -math.inf, True, "1.5", None]


@pytest.mark.parametrize("bad", BAD_EPSILONS)
def test_an_epsilon_that_promises_nothing_is_refused(bad: Any) -> None:
    for refuse in (
        lambda: check_budget(bad, 1e-5),
        lambda: noise_multiplier(training(Schedule(5)), bad, 1e-5),
    ):
        with pytest.raises(
            StudyError, match=r"epsilon is .*; it must be a positive, finite number, such as 1\.5"
        ):
            refuse()


@pytest.mark.parametrize("bad", [0, 0.0, -1e-5, 1.0, 2, math.nan, math.inf, 1e-12, True, "1e-5", None])
def test_a_delta_that_promises_nothing_is_refused(bad: Any) -> None:
    with pytest.raises(StudyError, match=r"delta is .*; it must be at least 1e-10 and below 1"):
        check_budget(1.5, bad)
    if bad != 0:
        with pytest.raises(StudyError, match="delta is"):
            epsilon([gaussian(3.0)], bad)


@pytest.mark.processes
def test_importing_it_loads_neither_dp_accounting_nor_scipy() -> None:
    program = "import sys, fedcohort.privacy.accounting\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert not {"dp_accounting", "scipy", "opendp"} & set(done.stdout.split())

"""The noise is the discrete Gaussian's and the discrete Laplace's own, and no two calls share randomness.

Chi-squared tests fail by chance once in 10^9 runs, and would notice a bias of about one part in a hundred
of a bin that holds a percent.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from fedcohort.errors import StudyError
from fedcohort.privacy import samplers
from fedcohort.privacy.samplers import Backend, discrete_gaussian, discrete_laplace, poisson_sample
from tests.patience import PATIENCE_SECONDS

CHANCE = 1e-9
COUNT = 400_000
Sampler = Callable[[float, int], NDArray[np.int64]]


def weights(sampler: Sampler, scale: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The true probability of every integer that matters."""
    reach = math.ceil((12 if sampler is discrete_gaussian else 40) * scale) + 3
    xs = np.arange(-reach, reach + 1)
    logs = -((xs / scale) ** 2) / 2 if sampler is discrete_gaussian else -np.abs(xs) / scale
    return xs, np.exp(logs) / np.exp(logs).sum()


def chi_squared(sampler: Sampler, scale: float, drawn: NDArray[np.int64]) -> float:
    """The p-value against the true distribution, in at most some 200 bins that expect at least ten."""
    xs, truth = weights(sampler, scale)
    assert abs(drawn).max() <= xs[-1]
    edges = np.searchsorted(np.cumsum(truth), np.linspace(0, 1, 202)[1:-1])
    starts = np.unique(np.concatenate([[0], edges]))
    expected = np.add.reduceat(truth, starts) * len(drawn)
    seen = np.add.reduceat(np.bincount(drawn - xs[0], minlength=len(xs)), starts)
    enough = expected >= 10
    small = (seen[~enough].sum(), expected[~enough].sum())
    seen, expected = np.append(seen[enough], small[0]), np.append(expected[enough], small[1])
    keep = expected > 0
    return float(stats.chisquare(seen[keep], expected[keep] * (seen.sum() / expected.sum())).pvalue)


@pytest.mark.parametrize("scale", [0.3, 0.7, 1.0, 3.7, 10.0, 1e4])
@pytest.mark.parametrize("sampler", [discrete_gaussian, discrete_laplace])
def test_it_follows_the_true_distribution(sampler: Sampler, scale: float) -> None:
    assert chi_squared(sampler, scale, sampler(scale, COUNT)) > CHANCE


@pytest.mark.parametrize("sampler", [discrete_gaussian, discrete_laplace])
def test_the_chi_squared_test_notices_a_sigma_that_is_two_percent_off(sampler: Sampler) -> None:
    assert chi_squared(sampler, 10.0, sampler(10.2, COUNT)) < CHANCE


@pytest.mark.parametrize("scale", [1.5, 50.0, 2.0**40])
def test_its_variance_and_mean_are_the_true_ones(scale: float) -> None:
    drawn = discrete_gaussian(scale, COUNT).astype(np.float64)
    if scale < 1e6:
        xs, truth = weights(discrete_gaussian, scale)
        variance = float((truth * xs.astype(float) ** 2).sum())
    else:
        variance = scale**2
    assert abs(drawn.var() / variance - 1) < 6.2 * math.sqrt(2 / COUNT)
    assert abs(drawn.mean()) < 6.2 * math.sqrt(variance / COUNT)


def test_the_signs_are_even_and_zero_is_not_drawn_twice_as_often() -> None:
    drawn = discrete_gaussian(0.5, COUNT)
    _, truth = weights(discrete_gaussian, 0.5)
    positive, zero = int((drawn > 0).sum()), int((drawn == 0).sum())
    assert stats.binomtest(positive, COUNT - zero, 0.5).pvalue > CHANCE
    assert stats.binomtest(zero, COUNT, float(truth[len(truth) // 2])).pvalue > CHANCE


def test_its_tail_is_neither_cut_nor_heavy() -> None:
    drawn = discrete_gaussian(1000.0, 2_000_000)
    for sigmas in (3.0, 4.0):
        beyond = int((np.abs(drawn) >= sigmas * 1000).sum())
        assert stats.binomtest(beyond, len(drawn), 2 * stats.norm.sf(sigmas - 0.0005)).pvalue > CHANCE
    assert np.abs(drawn).max() > 4500


@pytest.mark.parametrize("scale", [0.3, 3.7, 1e3])
@pytest.mark.parametrize("sampler", [discrete_gaussian, discrete_laplace])
def test_opendp_draws_from_the_same_distribution(
    sampler: Callable[..., NDArray[np.int64]], scale: float
) -> None:
    ours, theirs = sampler(scale, 20_000), sampler(scale, 20_000, backend="opendp")
    assert chi_squared(sampler, scale, theirs) > CHANCE
    values, where = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    bins = np.minimum(where * 20 // len(values), 19)
    table = np.array([np.bincount(bins[:20_000], minlength=20), np.bincount(bins[20_000:], minlength=20)])
    assert stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue > CHANCE


def test_numpy_s_exp_is_close_enough_here() -> None:
    assert samplers.exp_is_close()


@pytest.mark.parametrize("place", [0, 40, 66])
def test_where_numpy_s_exp_is_not_exact_enough_opendp_draws(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: int
) -> None:
    """One value in 67 that errs by 2^-40 of itself is found, and no noise is then made with it."""
    exact, asked = np.exp, []

    def inexact(values: NDArray[np.float64]) -> NDArray[np.float64]:
        powers: NDArray[np.float64] = exact(values)
        powers[place] *= 1 + 2.0**-40
        return powers

    def opendp(*arguments: object) -> NDArray[np.int64]:
        asked.append(arguments)
        return draw(*arguments)  # type: ignore[arg-type]

    draw = samplers._opendp
    samplers.exp_is_close.cache_clear()
    with monkeypatch.context() as other_machine:
        other_machine.setattr(np, "exp", inexact)
        assert not samplers.exp_is_close()
    monkeypatch.setattr(samplers, "_opendp", opendp)
    drawn = discrete_gaussian(30.0, (20, 50))
    assert chi_squared(discrete_gaussian, 30.0, drawn.ravel()) > CHANCE
    assert discrete_laplace(3.0, 5).shape == (5,)
    assert asked == [("gaussian", 30.0, (20, 50)), ("laplace", 3.0, (5,))]
    assert "OpenDP's sampler draws it" in caplog.text
    samplers.exp_is_close.cache_clear()


@pytest.mark.parametrize(
    "scale", [1.0, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (0.3, 3.7, 1234.5, 1e6))]
)
@pytest.mark.parametrize("sampler", [discrete_gaussian, discrete_laplace])
def test_floating_point_decides_as_exact_arithmetic_does(
    sampler: Sampler, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for margin in (2.0**-40, 0.5):
        stream = np.random.default_rng(3)
        monkeypatch.setattr(samplers, "MARGIN", margin)
        monkeypatch.setattr(samplers, "_words", lambda n, s=stream: s.integers(0, 2**64, n, np.uint64))
        results.append(sampler(scale, 3000))
    assert np.array_equal(results[0], results[1])


def test_a_word_that_equals_a_power_of_e_is_decided_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.array([*samplers._POWERS, 2**64 - 1], np.uint64)
    monkeypatch.setattr(samplers, "_words", lambda n: words[:n])
    values = samplers._geometric(len(words))
    assert values[-1] == 0
    assert values[0] >= 44, "a word of zero leaves 2^-64 to the tail"
    # v = 44, ..., 1 and a number within 2^-64 of e^-v: on one side or the other of it.
    assert set(values[1:-1] - np.arange(44, 0, -1)) <= {0, -1}


def test_a_share_of_the_noise_has_its_sigma_exactly() -> None:
    sigma = 100 / math.sqrt(3)
    total = sum(discrete_gaussian(sigma, COUNT) for _ in range(3))
    assert abs(np.var(total) / 1e4 - 1) < 6.2 * math.sqrt(2 / COUNT)


@pytest.mark.parametrize("shape", [0, 7, (3, 4), (0, 5), (), (2, 1, 3)])
@pytest.mark.parametrize("backend", ["own", "opendp"])
def test_the_result_has_the_shape_that_was_asked_for(shape: int | tuple[int, ...], backend: Backend) -> None:
    for drawn in (discrete_gaussian(5.0, shape, backend), discrete_laplace(5.0, shape, backend)):
        assert drawn.shape == ((shape,) if isinstance(shape, int) else shape)
        assert drawn.dtype == np.int64


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e-9, 1e13, 1e300])
@pytest.mark.parametrize("sampler", [discrete_gaussian, discrete_laplace])
def test_a_scale_that_is_no_scale_is_refused(sampler: Sampler, bad: float) -> None:
    with pytest.raises(StudyError, match="steps; it must be a number from"):
        sampler(bad, 3)


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        discrete_gaussian(1.0, (3, -1))


@pytest.mark.parametrize("probability", [0.001, 0.3, 1 - 2.0**-30])
def test_each_patient_is_sampled_with_the_probability_that_is_accounted(probability: float) -> None:
    chosen = poisson_sample(COUNT, probability)
    assert stats.binomtest(int(chosen.sum()), COUNT, probability).pvalue > CHANCE


def test_a_sample_of_everybody_is_everybody_and_two_samples_differ() -> None:
    assert poisson_sample(1000, 1.0).all()
    assert len(poisson_sample(0, 0.5)) == 0
    assert (poisson_sample(1000, 0.5) != poisson_sample(1000, 0.5)).any()


@pytest.mark.parametrize("bad", [0.0, -0.1, 1.0001, math.nan, math.inf])
def test_a_sample_by_no_probability_is_refused(bad: float) -> None:
    with pytest.raises(StudyError, match="sampled with probability"):
        poisson_sample(10, bad)


def test_two_calls_and_threads_draw_different_numbers() -> None:
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: discrete_gaussian(1e6, 50), range(8)))
    assert len(np.unique(np.concatenate(parts))) > 390


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_draws_other_numbers_than_its_parent() -> None:
    program = """
import os
from fedcohort.privacy.samplers import discrete_gaussian
discrete_gaussian(1e9, 3)
child = os.fork()
line = " ".join(str(value) for value in discrete_gaussian(1e9, 20)) + os.linesep
os.write(1, line.encode())  # at once, lest the two lines mingle
if child:
    os.waitpid(child, 0)
else:
    os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    parent, child = (set(line.split()) for line in done.stdout.splitlines())
    assert len(parent) == len(child) == 20
    assert not parent & child

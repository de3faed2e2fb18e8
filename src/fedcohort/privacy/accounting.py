"""Privacy accounting: epsilon of releases at a delta, and the noise that a whole study needs.

Neighbours are two data sets that differ by one patient, added or removed. Costs are composed as privacy
loss distributions by dp_accounting (Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022, arXiv 2207.04380):
the losses of each release are rounded to a grid so that epsilon can only grow, and composed by Fourier
transforms; plain Gaussian releases alone by the closed form of Balle and Wang 2018 (arXiv 1805.06530).
dp_accounting takes a second to import, so it is imported when something is accounted.

Discrete Gaussians. The mechanisms add N_Z(0, sigma^2) to integers, or a sum of m shares of variance
sigma^2 / m; dp_accounting knows N(0, sigma^2). Let e(r) = 2 sum_{k>=1} exp(-2 pi^2 r^2 k^2): by Poisson's
summation, sum_z exp(-(z - c)^2 / 2 r^2) = r sqrt(2 pi) (1 + t), |t| <= e(r), whatever c is.
(1) Round y ~ N(x, sigma^2 - r^2), x an integer, to z with probability proportional to
    exp(-(z - y)^2 / 2 r^2).
    The integral over y of both factors is proportional to exp(-(z - x)^2 / 2 sigma^2), and only the
    normaliser depends on y: z has N_Z(x, sigma^2)'s probabilities within exp(+-slack), with
    slack = log((1 + e(r)) / (1 - e(r))). So the discrete Gaussian is a post-processing of a continuous one of
    variance sigma^2 - r^2, but for slack in every coordinate.
(2) A sum of two discrete Gaussians of variances a and b is one of variance a + b within the same slack at
    r^2 = 1 / (1/a + 1/b) (Kairouz, Liu, Steinke 2021, arXiv 2102.06387, theorem 9, where it is bounded by
    tau); adding m shares one by one costs at most (m - 1) times the slack at r^2 = sigma^2 / 2 m.
Ratios of probabilities survive mixtures (sampling) and multiply over coordinates and rounds, so a study is
(epsilon + 2 L, delta exp(L)) private, L the sum of all slacks. We take r^2 = 4 and refuse shares of variance
below 8: a slack is then 2e-34, and L is far below any other rounding, but it is counted all the same.
More survivors than were counted on add noise of their own, which is a post-processing.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fedcohort.errors import StudyError
from fedcohort.privacy.events import GaussianRelease, LaplaceRelease, NoiselessRelease, Release, is_number

SMOOTHING = 4.0
"""r^2 above: the variance that a discrete Gaussian is accounted less than it has."""

MIN_SHARE_VARIANCE = 2 * SMOOTHING
SLACK = 2 * 2.1 * math.exp(-2 * math.pi**2 * SMOOTHING)
"""At least log((1 + e(r)) / (1 - e(r)))."""

MIN_DELTA, DELTA_ERROR = 1e-10, 1e-13
"""The smallest delta that is accounted; its part that covers rounding errors of Fourier transforms."""

MAX_POINTS = 2.0**19
"""Of a privacy loss distribution; a coarser grid, which costs more epsilon, holds it below."""

MOST_PURE = 20.0
"""Epsilon of a release above which composing gains nothing over adding."""

_OCTAVE = 2**11
"""Multipliers between a power of two and the next."""

_LOWEST, _HIGHEST = 2.0**-6, 2.0**30


def check_budget(epsilon: float, delta: float) -> None:
    """Refuse an epsilon or delta that promises nothing or cannot be computed.

    Raises:
        StudyError: says which, and what would do.
    """
    if not is_number(epsilon) or not 0 < epsilon < math.inf:
        raise StudyError(
            "epsilon is {epsilon!r}; it must be a positive, finite number, such as 1.5: the smaller, the "
            "less the results can say about any one patient",
            epsilon=epsilon,
        )
    if not is_number(delta) or not MIN_DELTA <= delta < 1:
        raise StudyError(
            "delta is {delta!r}; it must be at least {least:g} and below 1, such as 0.00001: it is the "
            "probability that the promise fails, and should be well below 1 / the number of patients",
            delta=delta,
            least=MIN_DELTA,
        )


def epsilon(releases: Iterable[Release], delta: float) -> float:
    """The epsilon that all releases together cost any one patient.

    Releases of differently named parts show different patients, so the costliest part counts.

    Args:
        delta: zero is allowed, and costs infinity where any noise is Gaussian.
    Returns:
        epsilon, never below the true one; infinity where a release has no noise.
    Raises:
        StudyError: delta is out of range, or a release cannot be accounted.
    """
    if delta != 0:
        check_budget(1.0, delta)
    all_releases = tuple(releases)
    parts = {release.part for release in all_releases} - {None} or {None}
    return max(
        (
            _epsilon(tuple(release for release in all_releases if release.part in (None, part)), delta)
            for part in parts
        ),
        default=0.0,
    )


def noise_multiplier(
    releases: Callable[[float], Sequence[Release]], target_epsilon: float, delta: float
) -> float:
    """The least noise multiplier with which the whole study stays within (epsilon, delta).

    Multipliers lie on a grid of 12 significant bits, so that every node finds the same one, though its
    processor may round otherwise; epsilon comes within a thousandth or so of the target, and never above.

    Args:
        releases: all that the study will release, by noise multiplier; epsilon must fall with it.
    Raises:
        StudyError: the budget is out of range, or what does not depend on the multiplier exceeds it.
    """
    check_budget(target_epsilon, delta)

    def excess(index: int) -> float:
        cost = epsilon(releases(_multiplier(index)), delta)
        return math.log(max(cost, 1e-300) / target_epsilon)

    if excess(_index(_HIGHEST)) > 0:
        raise StudyError(
            "no amount of noise keeps this study within epsilon {target:g}: what it releases besides costs "
            "more already; ask for fewer metrics, or for a larger epsilon",
            target=target_epsilon,
        )
    return _multiplier(_search(excess, _guess(releases, target_epsilon, delta)))


def _search(excess: Callable[[int], float], guess: int) -> int:
    """The least index whose excess is not positive, by secants that end in neighbours."""
    low, high = (_index(_LOWEST), math.nan), (_index(_HIGHEST), math.nan)
    index = min(max(guess, low[0] + 1), high[0] - 1)
    while high[0] - low[0] > 1:
        excess_here = excess(index)
        low, high = ((index, excess_here), high) if excess_here > 0 else (low, (index, excess_here))
        index = min(max(_next(low, high), low[0] + 1), high[0] - 1)
    return high[0]


def _next(low: tuple[int, float], high: tuple[int, float]) -> int:
    """The next index to try between a multiplier that is too small and one that is not."""
    if math.isfinite(low[1]) and math.isfinite(high[1]):
        return math.ceil(low[0] + (high[0] - low[0]) * low[1] / (low[1] - high[1]))
    # One side is known: go to it and somewhat beyond, as if epsilon fell like 1 / multiplier.
    step = _OCTAVE / math.log(2)
    if math.isfinite(low[1]):
        return low[0] + math.ceil(1.1 * step * low[1]) + 2
    if math.isfinite(high[1]):
        return high[0] + math.floor(1.1 * step * high[1]) - 2
    return (low[0] + high[0]) // 2


def _guess(releases: Callable[[float], Sequence[Release]], target_epsilon: float, delta: float) -> int:
    """The index at which the central limit theorem puts the target (Dong, Roth, Su 2019, 1905.02383)."""
    from dp_accounting.gaussian_mechanism import get_sigma_gaussian

    wanted = 1 / get_sigma_gaussian(target_epsilon, delta)
    low, high = _index(_LOWEST), _index(_HIGHEST)
    while high - low > 1:
        middle = (low + high) // 2
        planned = releases(_multiplier(middle))
        low, high = (middle, high) if math.sqrt(sum(map(_square, planned))) > wanted else (low, middle)
    return high


def _square(release: Release) -> float:
    """The release's part of mu^2, approximately."""
    if isinstance(release, GaussianRelease):
        mu = release.sensitivity / release.sigma
        sampled = release.sampling_probability
        return release.count * (mu**2 if sampled == 1 else sampled**2 * math.expm1(min(mu**2, 700.0)))
    return release.count * _pure(release) ** 2 if isinstance(release, LaplaceRelease) else math.inf


def _index(multiplier: float) -> int:
    mantissa, exponent = math.frexp(multiplier)
    return math.ceil((exponent + 2 * mantissa - 1) * _OCTAVE)


def _multiplier(index: int) -> float:
    exponent, mantissa = divmod(index, _OCTAVE)
    return math.ldexp((1 + mantissa / _OCTAVE) / 2, exponent)


@lru_cache(maxsize=512)
def _epsilon(releases: tuple[Release, ...], delta: float) -> float:
    if any(isinstance(release, NoiselessRelease) for release in releases):
        return math.inf
    pure = [
        Pure(_pure(release), release.count) for release in releases if isinstance(release, LaplaceRelease)
    ]
    gaussian = [release for release in releases if isinstance(release, GaussianRelease)]
    if len(pure) + len(gaussian) < len(releases):
        raise StudyError("a release of unknown kind cannot be accounted, so it may not be released")
    added = sum(release.epsilon * release.count for release in pure)
    if not gaussian and (delta == 0 or not pure):
        return added
    discrete = [release for release in gaussian if release.discrete]
    slack = sum(SLACK * release.shares * release.dimension * release.count for release in discrete)
    left = delta * math.exp(-slack) - DELTA_ERROR
    if left <= 0:
        return math.inf
    full = sum(release.count * _mu(release) ** 2 for release in gaussian if release.sampling_probability == 1)
    sampled = [
        Sampled(_mu(release), release.sampling_probability, release.count)
        for release in gaussian
        if release.sampling_probability < 1
    ]
    cost = composed(full, sampled, pure, left) + 2 * slack
    return cost if gaussian else min(added, cost)


def _mu(release: GaussianRelease) -> float:
    """Sensitivity over sigma, where sigma is that of a continuous Gaussian that does no better."""
    if not release.discrete:
        return release.sensitivity / release.sigma
    if release.sigma**2 < MIN_SHARE_VARIANCE * release.shares:
        share = release.sigma / math.sqrt(release.shares)
        finer = math.ceil(math.sqrt(MIN_SHARE_VARIANCE) / share)
        raise StudyError(
            "{what}: a share of the noise has a sigma of {share:.3g} steps, too few to be accounted; take a "
            "resolution at least {finer} times finer",
            what=release.what,
            share=share,
            finer=finer,
        )
    return release.sensitivity / math.sqrt(release.sigma**2 - SMOOTHING)


def _pure(release: LaplaceRelease) -> float:
    """Pure epsilon of one release, amplified by sampling (Li, Qardaji, Su 2012, arXiv 1101.2604)."""
    cost = release.sensitivity / release.scale
    if release.sampling_probability == 1 or cost > 500:
        return cost
    return math.log1p(release.sampling_probability * math.expm1(cost))


@dataclass(frozen=True)
class Sampled:
    """Gaussian releases to a Poisson sample of patients; mu is sensitivity over sigma."""

    mu: float
    probability: float
    count: int


@dataclass(frozen=True)
class Pure:
    """Releases that are private at delta 0."""

    epsilon: float
    count: int


def composed(full: float, sampled: Sequence[Sampled], pure: Sequence[Pure], delta: float) -> float:
    """Epsilon of all releases together, never below the true one.

    Args:
        full: sum of mu^2 over the plain Gaussians.
        delta: positive.
    """
    costly = sum(release.epsilon * release.count for release in pure if release.epsilon > MOST_PURE)
    pure = [release for release in pure if release.epsilon <= MOST_PURE]
    if costly:
        return costly + (composed(full, sampled, pure, delta) if full or sampled or pure else 0.0)
    if not sampled and not pure:
        from dp_accounting.gaussian_mechanism import get_epsilon_gaussian

        # Where two of its logarithms are equal it takes that of 0, which is -inf, as it should be.
        with np.errstate(divide="ignore"):
            return float(get_epsilon_gaussian(1 / math.sqrt(full), delta)) * (1 + 1e-9)
    from dp_accounting.pld import common, privacy_loss_distribution

    step = _grid(full, sampled, pure)
    losses: list[Any] = []
    if full:
        sigma = 1 / math.sqrt(full)
        losses.append(
            privacy_loss_distribution.from_gaussian_mechanism(sigma, value_discretization_interval=step)
        )
    for gaussian in sampled:
        loss = privacy_loss_distribution.from_gaussian_mechanism(
            1 / gaussian.mu, value_discretization_interval=step, sampling_prob=gaussian.probability
        )
        losses.append(loss.self_compose(gaussian.count))
    for release in pure:
        # What is private at delta 0 is never worse than randomised response (Kairouz et al. 2015).
        limits = common.DifferentialPrivacyParameters(release.epsilon, 0)
        loss = privacy_loss_distribution.from_privacy_parameters(limits, value_discretization_interval=step)
        losses.append(loss.self_compose(release.count))
    total = losses[0]
    for loss in losses[1:]:
        total = total.compose(loss)
    return float(total.get_epsilon_for_delta(delta))


def _grid(full: float, sampled: Sequence[Sampled], pure: Sequence[Pure]) -> float:
    """The step between privacy losses: a tenth of one release's spread, where MAX_POINTS allow."""
    spreads = [math.sqrt(full)] if full else []
    spreads += [part.probability * math.sqrt(math.expm1(min(part.mu**2, 4.0))) for part in sampled]
    spreads += [release.epsilon for release in pure]
    # Mean privacy loss of all, from which the whole distribution's width follows.
    mean = full / 2 + sum(release.count * release.epsilon * min(release.epsilon, 1.0) for release in pure)
    mean += sum(part.count * part.probability * part.mu**2 / 2 for part in sampled)
    widest = max([mean + 10 * math.sqrt(2 * mean), *(part.mu**2 / 2 + 10 * part.mu for part in sampled)])
    return max(min(0.1 * min(spreads), 2e-3), widest / MAX_POINTS)


def forget() -> None:
    """Clear the cache of costs, so that a benchmark measures them."""
    _epsilon.cache_clear()

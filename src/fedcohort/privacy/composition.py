"""Composition of privacy loss distributions by dp_accounting, on a grid as fine as the releases need.

Doroshenko, Ghazi, Kamath, Kumar, Manurangsi 2022 (arXiv 2207.04380): the privacy losses of each release
are rounded to a grid so that epsilon can only grow, and composed by Fourier transforms. dp_accounting
takes a second to import, so it is imported when something is accounted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_POINTS = 2.0**19
"""Of a privacy loss distribution; a coarser grid, which costs more epsilon, holds it below."""

MOST_PURE = 20.0
"""Epsilon of a release above which composing gains nothing over adding."""


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

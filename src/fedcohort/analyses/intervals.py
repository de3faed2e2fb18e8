"""Intervals of all that is computed from sums: the same arithmetic on sums as they might have been.

What noise leaves uncertain shows where the sums are drawn again with noise of the same deviation; what other
patients of the same population would show, where the analysis can draw other patients first (`redraw`). It is
the parametric bootstrap for private releases (Ferrando, Wang, Sheldon 2022, arXiv 2006.07749).
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Sums

DRAWS, COVERAGE = 200, 0.95
P_DRAWS = 1000
"""For a p-value, of sums as they would be if nothing differed."""
NORMAL_EXACT = 1.959963984540054
NORMAL = 1.96
"""Of the noise's standard deviation, how far 95 % of draws stay within; as reports have it."""

Floats = NDArray[np.float64]
Estimates = Mapping[str, Floats]
"""Figures by name, each a number or an array; NaN where there is none."""
Estimate = Callable[[Sums], Estimates]
Redraw = Callable[[Sums, np.random.Generator], Sums]


def drawn(
    estimate: Estimate, sums: Sums, redraw: Redraw | None = None, draws: int = DRAWS
) -> dict[str, Floats]:
    """By name, (draws, …): each estimate from sums that are drawn again; the draws are not secret."""
    generator = np.random.default_rng(0)
    by_name: dict[str, list[Floats]] = {}
    for _ in range(draws):
        others = sums if redraw is None else redraw(sums, generator)
        for name, value in estimate(_noised(others, generator)).items():
            by_name.setdefault(name, []).append(np.asarray(value, np.float64))
    return {name: np.stack(values) for name, values in by_name.items()}


def _noised(sums: Sums, generator: np.random.Generator) -> Sums:
    values = {
        name: value + sums.noise(name) * generator.standard_normal(np.shape(value))
        if sums.noise(name)
        else value
        for name, value in sums.values.items()
    }
    return Sums(values, sums.sigma, sums.n_sites)


def ends(others: Floats) -> tuple[Floats, Floats]:
    """Between which values COVERAGE of draws lie, along the first axis; NaN where there is none."""
    missing = np.isnan(others).all(0)
    filled = np.where(missing, 0.0, others)
    low, high = np.nanquantile(filled, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2], axis=0)
    return np.where(missing, np.nan, low), np.where(missing, np.nan, high)


def centred(found: Floats, others: Floats) -> tuple[Floats, Floats]:
    """The interval of an estimate that is as far off as other draws are off their mean (basic bootstrap)."""
    low, high = ends(others - others.mean(0))
    return found - high, found - low


def hull(*intervals: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """From the lowest to the highest end of several intervals of the same figures.

    Where noise is as large as what it hides, and figures have an end, as shares do, the basic and the
    percentile interval each fall short at another end; where there is little noise, both are the same.
    """
    lows, highs = zip(*intervals, strict=True)
    return np.fmin.reduce(lows), np.fmax.reduce(highs)


def numbers(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as a report has them; what cannot be computed is null."""
    return {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}


def p_of_draws(found: Floats, others: Floats) -> tuple[float, float]:
    """How far a vector lies off 0, where it would lie if nothing differed, and how often draws lie as far.

    Off 0, and not off the draws' mean: of few patients the counts that are drawn from are off themselves, and
    a test that is centred at the mean finds too much.

    Args:
        others: (draws, d), drawn as if nothing differed; none of d components follows from the rest.
    Returns:
        its squared length in the draws' spread (about chi-squared), and the p-value.
    """
    spread = np.linalg.pinv(others.T @ others / len(others))
    distance = float(found @ spread @ found)
    as_far = int((np.einsum("...g,gh,...h->...", others, spread, others) >= distance).sum())
    return distance, (1 + as_far) / (len(others) + 1)

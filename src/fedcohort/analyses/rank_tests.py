"""Rank tests from counts of values by group: who has the same value, or lies in the same part, is tied.

Mann and Whitney 1947 and Kruskal and Wallis 1952, with the correction for ties, as scipy has them. Where
values are counted in parts of a range, who lies in one part of it counts as tied, and U may be off by at most
half of the pairs that are (`u_error`), as the AUC of scores that are counted in bins.
"""

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.tails import chi_squared_p, normal_p

Floats = NDArray[np.float64]


def mean_ranks(counts: Floats) -> Floats:
    """(groups,) of (groups, values); NaN where a group has nobody."""
    n = counts.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        means: Floats = np.where(n > 0, (counts * ranks(counts)).sum(1) / n, np.nan)
    return means


def ranks(counts: Floats) -> Floats:
    """(values,): the mean rank of those that have each value, from 1."""
    tied = counts.sum(0)
    among_all: Floats = tied.cumsum() - tied + (tied + 1) / 2
    return among_all


def mann_whitney_u(two: Floats) -> float:
    """Pairs in which the second group's value is the larger, those with equal ones by half."""
    below = two[0].cumsum() - two[0]
    return float((two[1] * (below + two[0] / 2)).sum())


def u_error(two: Floats) -> float:
    """By how much U may be off where values of one part are not equal."""
    return float((two[0] * two[1]).sum() / 2)


def mann_whitney(two: Floats) -> dict[str, float]:
    """U, the share of pairs that it is of, and the normal p-value with continuity correction."""
    n, u = two.sum(1), mann_whitney_u(two)
    pairs, whole = float(n.prod()), float(n.sum())
    told = {"statistic": u, "superiority": u / pairs if pairs else np.nan, "p": np.nan}
    variance = pairs / 12 * (whole + 1 - _ties(two) / (whole * (whole - 1))) if whole > 1 else 0.0
    if variance > 0:
        off = max(abs(u - pairs / 2) - 0.5, 0.0)
        told["p"] = normal_p(off / np.sqrt(variance))
    return told


def _ties(counts: Floats) -> float:
    tied = counts.sum(0)
    return float((tied**3 - tied).sum())


def kruskal_h(counts: Floats) -> float:
    """H with ties, of the groups that have values; NaN where all are equal."""
    n, whole = counts.sum(1), float(counts.sum())
    there = n > 0
    if there.sum() < 2 or whole**3 - whole <= _ties(counts):
        return float("nan")
    means = mean_ranks(counts)[there]
    h = 12 / (whole * (whole + 1)) * (n[there] * (means - (whole + 1) / 2) ** 2).sum()
    return float(h / (1 - _ties(counts) / (whole**3 - whole)))


def kruskal(counts: Floats) -> dict[str, float]:
    """H, its degrees of freedom, and the p-value of chi-squared."""
    h, degrees = kruskal_h(counts), float((counts.sum(1) > 0).sum()) - 1
    return {"statistic": h, "degrees": degrees, "p": chi_squared_p(h, degrees) if degrees > 0 else np.nan}


def rank_errors(counts: Floats) -> Floats:
    """(groups,): by how much each mean rank may be off where values of one place are not equal."""
    others = counts.sum(0) - counts
    errors: Floats = (counts * others).sum(1) / 2 / np.maximum(counts.sum(1), 1.0)
    return errors

"""Means compared between groups: arithmetic on numbers of patients, means and variances.

Student 1908 and Welch 1947 (Biometrika 34:28) for two groups, analysis of variance (Fisher 1925) for any
number, and standardised mean differences (Cohen 1988; of levels Yang and Dalton 2012). Arrays are
(groups, columns), of which every column is by itself; what cannot be computed is NaN.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.tails import f_p, t_p, t_quantile

Floats = NDArray[np.float64]

COVERAGE = 0.95


@dataclass(frozen=True)
class GroupMoments:
    """By group and column: known values, their mean, and their variance, which divides by n - 1."""

    n: Floats
    mean: Floats
    variance: Floats

    def of(self, *groups: int) -> "GroupMoments":
        """Of some groups."""
        places = list(groups)
        return GroupMoments(self.n[places], self.mean[places], self.variance[places])

    @property
    def error(self) -> Floats:
        """Standard errors of the means."""
        return np.sqrt(self.variance / np.maximum(self.n, 1))


@dataclass(frozen=True)
class Difference:
    """Of each column the second mean above the first, its standard error, and its degrees of freedom."""

    value: Floats
    error: Floats
    degrees: Floats

    @property
    def t(self) -> Floats:
        """In standard errors; NaN where nothing varies."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio: Floats = np.where(self.error > 0, self.value / self.error, np.nan)
        return ratio

    def test(self, column: int) -> dict[str, float]:
        """One column's t-test, and the interval of its difference."""
        value, error, degrees = (float(each[column]) for each in (self.value, self.error, self.degrees))
        if not (error > 0 and degrees > 0):
            return dict.fromkeys(("statistic", "degrees", "p", "low", "high"), float("nan"))
        half = t_quantile((1 + COVERAGE) / 2, degrees) * error
        return {
            "statistic": value / error,
            "degrees": degrees,
            "p": t_p(value / error, degrees),
            "low": value - half,
            "high": value + half,
        }


def welch(two: GroupMoments) -> Difference:
    """Each group has a variance of its own."""
    parts = two.variance / np.maximum(two.n, 1)
    whole = parts.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = whole**2 / (parts**2 / (two.n - 1)).sum(0)
    return Difference(two.mean[1] - two.mean[0], np.sqrt(whole), degrees)


def student(two: GroupMoments) -> Difference:
    """Both groups have one variance."""
    degrees = two.n.sum(0) - 2
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.where(two.n > 1, (two.n - 1) * two.variance, 0.0).sum(0) / degrees
        error = np.sqrt(variance * (1 / two.n).sum(0))
    return Difference(two.mean[1] - two.mean[0], error, degrees)


def f_statistic(groups: GroupMoments) -> tuple[Floats, Floats, Floats]:
    """F of each column, and its degrees of freedom between and within the groups that have values."""
    n, there = groups.n.sum(0), groups.n > 0
    filled = np.where(there, groups.mean, 0.0)
    inside = np.where(groups.n > 1, (groups.n - 1) * groups.variance, 0.0)
    between, within = there.sum(0) - 1.0, n - there.sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        grand = (groups.n * filled).sum(0) / n
        above = np.where(there, groups.n * (filled - grand) ** 2, 0.0).sum(0)
        return (above / between) / (inside.sum(0) / within), between, within


def smd(two: GroupMoments) -> Floats:
    """Of each column the second mean above the first in units of their root mean square deviation."""
    with np.errstate(divide="ignore", invalid="ignore"):
        standardised: Floats = (two.mean[1] - two.mean[0]) / np.sqrt(two.variance.mean(0))
    return standardised


def pairs_of(n_groups: int) -> list[tuple[int, int]]:
    """Of every two groups, the earlier one first."""
    return list(combinations(range(n_groups), 2))


def smd_error(smd: float, n: Floats) -> float:
    """Standard error of a standardised difference of two groups of n (Hedges and Olkin 1985, as tableone)."""
    whole = float(n.sum())
    return math.sqrt(whole / float(n.prod()) + smd**2 / (2 * whole)) if np.all(n > 0) else math.nan


def smd_of_levels(counts: Floats) -> float:
    """Mahalanobis distance between two groups' shares of levels: (2, levels) counts; NaN where there is none.

    The first level that somebody has follows from the others.
    """
    n = counts.sum(1, keepdims=True)
    if not np.all(n > 0):
        return float("nan")
    shares = (counts / n)[:, counts.sum(0) > 0][:, 1:]
    if not shares.size:
        return float("nan")
    covariance = np.mean([np.diag(each) - np.outer(each, each) for each in shares], axis=0)
    off = shares[1] - shares[0]
    if np.linalg.matrix_rank(covariance) < len(off):
        return float("nan")
    return float(np.sqrt(off @ np.linalg.solve(covariance, off)))


def anova(groups: GroupMoments, column: int) -> dict[str, float]:
    """Analysis of variance of one column."""
    f, between, within = (values[column] for values in f_statistic(groups))
    if not (np.isfinite(f) and between > 0 and within > 0):
        return dict.fromkeys(("statistic", "degrees", "degrees_within", "p"), float("nan"))
    return {
        "statistic": float(f),
        "degrees": float(between),
        "degrees_within": float(within),
        "p": f_p(float(f), float(between), float(within)),
    }


def mean_intervals(groups: GroupMoments) -> tuple[Floats, Floats]:
    """Of each mean the interval of Student's t; NaN of fewer than two values."""
    factors = np.array(
        [
            [t_quantile((1 + COVERAGE) / 2, n - 1) if n > 1 else np.nan for n in row]
            for row in groups.n.tolist()
        ]
    ).reshape(groups.n.shape)
    half = factors * groups.error
    return groups.mean - half, groups.mean + half

"""Tables of counts: tests of independence and measures of association, as arithmetic on the counts alone.

Counts may be noisy or drawn again: a level that nobody has is left out of a test, and what cannot be computed
is NaN. Chi-squared (Pearson 1900) with the correction of Yates 1934 for two by two levels, as scipy's
`chi2_contingency`; Fisher's exact test; odds and risk ratios with Wald's interval of the logarithm, with half
a patient more in each cell where one is empty (Haldane 1956); risk differences with the interval of Newcombe
1998 (Statistics in Medicine 17:873, method 10); Mantel and Haenszel 1959 with the variance of Robins, Breslow
and Greenland 1986; the homogeneity of odds ratios by Breslow and Day 1980.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.tails import chi_squared_p

Floats = NDArray[np.float64]
Figures = dict[str, float]

FEW = 5.0
"""An expected count below it leaves chi-squared's p-value uncertain (Cochran 1954)."""
TIED = 1 + 1e-7
"""Tables within this factor are as likely as the one that was found, as R's `fisher.test` has it."""


@dataclass(frozen=True)
class ChiSquared:
    """A test of independence.

    Attributes:
        few: in how many cells fewer than FEW patients are expected.
        corrected, corrected_p: with Yates' correction; of two by two levels, else NaN.
    """

    statistic: float
    degrees: int
    p: float
    few: int
    corrected: float
    corrected_p: float


def expected(counts: Floats) -> Floats:
    """(rows, columns): counts if rows and columns were independent; NaN of an empty table."""
    total = counts.sum()
    if not total > 0:
        return np.full_like(counts, np.nan)
    table: Floats = np.outer(counts.sum(1), counts.sum(0)) / total
    return table


def chi_squared(counts: Floats) -> ChiSquared | None:
    """Pearson's test over the levels that somebody has; None where fewer than two of either are left."""
    table = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
    degrees = (table.shape[0] - 1) * (table.shape[1] - 1)
    if degrees < 1:
        return None
    under_independence = expected(table)
    off = np.abs(table - under_independence)
    statistic = float((off**2 / under_independence).sum())
    few = int((under_independence < FEW).sum())
    corrected = float("nan")
    if degrees == 1:
        corrected = float(((off - np.minimum(0.5, off)) ** 2 / under_independence).sum())
    corrected_p = chi_squared_p(corrected, 1) if degrees == 1 else float("nan")
    return ChiSquared(statistic, degrees, chi_squared_p(statistic, degrees), few, corrected, corrected_p)


def fisher_p(counts: Floats) -> float:
    """Two-sided p-value of Fisher's exact test of (2, 2) whole counts.

    The probability of all tables of the same margins that are no more likely than this one.
    """
    (a, b), (c, d) = np.rint(counts)
    row, column, total = a + b, a + c, a + b + c + d
    first, last = max(0.0, row + column - total), min(row, column)
    k = np.arange(first, last)
    steps = np.log((row - k) * (column - k)) - np.log((k + 1) * (total - row - column + k + 1))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    # From the likeliest table outwards each is the one before times a ratio, which loses no digits.
    likeliest = int(np.argmax(logs))
    ratios = (row - k) * (column - k) / ((k + 1) * (total - row - column + k + 1))
    above = np.cumprod(ratios[likeliest:])
    below = np.cumprod(1 / ratios[:likeliest][::-1])[::-1]
    weights = np.concatenate([below, [1.0], above])
    here = weights[int(a - first)]
    return float(min(1.0, weights[weights <= here * TIED].sum() / weights.sum()))


def two_groups(counts: Floats) -> Figures:
    """Risks of the second outcome in the second group and in the first, their ratios and difference.

    Args:
        counts: (2, 2), of the group to which another is compared, and of that other; of either the patients
            without the outcome, and with it.
    Returns:
        `risk`, `risk_reference`, and `odds_ratio`, `risk_ratio`, `risk_difference` with the ends of their
        intervals as `_low` and `_high`; `corrected` is 1 where ratios are of counts with half a patient more.
    """
    n = counts.sum(1)
    if not np.all(n > 0):
        return {}
    risks = counts[:, 1] / n
    whole = bool(np.all(counts > 0))
    table = counts if whole else counts + 0.5
    of = table[:, 1] / table.sum(1)
    log_odds = float(np.log(table[1, 1] / table[1, 0]) - np.log(table[0, 1] / table[0, 0]))
    log_risks = float(np.log(of[1] / of[0]))
    odds_error = float(np.sqrt((1 / table).sum()))
    risk_error = float(np.sqrt(((1 - of) / table[:, 1]).sum()))
    return {
        "risk": float(risks[1]),
        "risk_reference": float(risks[0]),
        **ratio("odds_ratio", log_odds, odds_error),
        **ratio("risk_ratio", log_risks, risk_error),
        **_difference(risks, n),
        "corrected": float(not whole),
    }


def ratio(name: str, log: float, error: float) -> Figures:
    """A ratio with its interval, from its logarithm and the standard error of that."""
    return {
        name: float(np.exp(log)),
        f"{name}_low": float(np.exp(log - NORMAL_EXACT * error)),
        f"{name}_high": float(np.exp(log + NORMAL_EXACT * error)),
    }


def _difference(risks: Floats, n: Floats) -> Figures:
    """Newcombe's interval: of each risk the score interval of Wilson 1927, squared and added."""
    z = NORMAL_EXACT**2
    middle = (risks + z / (2 * n)) / (1 + z / n)
    half = NORMAL_EXACT / (1 + z / n) * np.sqrt(risks * (1 - risks) / n + z / (4 * n**2))
    low, high = middle - half, middle + half
    difference = float(risks[1] - risks[0])
    return {
        "risk_difference": difference,
        "risk_difference_low": difference - float(np.hypot(risks[1] - low[1], high[0] - risks[0])),
        "risk_difference_high": difference + float(np.hypot(high[1] - risks[1], risks[0] - low[0])),
    }


@dataclass(frozen=True)
class Strata:
    """(strata, 2, 2) counts, each as `two_groups` takes them."""

    counts: Floats

    @property
    def _told(self) -> Floats:
        """Strata that say something: with patients of both groups, both with the outcome and without."""
        margins = np.concatenate([self.counts.sum(1), self.counts.sum(2)], axis=1)
        told: Floats = self.counts[np.all(margins > 0, axis=1)]
        return told

    @property
    def log_odds_ratio(self) -> float:
        """Of Mantel and Haenszel; NaN where no stratum has cells on both diagonals."""
        agree, differ = self._diagonals
        return float(np.log(agree.sum() / differ.sum())) if agree.sum() * differ.sum() > 0 else float("nan")

    @property
    def _diagonals(self) -> tuple[Floats, Floats]:
        """Of each stratum the products of the diagonals over its number of patients."""
        told = self._told
        n = told.sum((1, 2))
        return told[:, 1, 1] * told[:, 0, 0] / n, told[:, 1, 0] * told[:, 0, 1] / n

    def pooled(self) -> Figures:
        """Odds ratio with its interval (Robins, Breslow, Greenland), and risk ratio, over all strata."""
        told, (agree, differ) = self._told, self._diagonals
        log = self.log_odds_ratio
        if np.isnan(log):
            return {}
        n = told.sum((1, 2))
        share = (told[:, 1, 1] + told[:, 0, 0]) / n
        variance = (share * agree).sum() / agree.sum() ** 2
        variance += (share * differ + (1 - share) * agree).sum() / (agree.sum() * differ.sum())
        variance += ((1 - share) * differ).sum() / differ.sum() ** 2
        return {**ratio("odds_ratio", log, float(np.sqrt(variance / 2))), "risk_ratio": self._risk_ratio}

    @property
    def _risk_ratio(self) -> float:
        """Strata in which all patients have the outcome count, too."""
        both = self.counts[np.all(self.counts.sum(2) > 0, axis=1)]
        n, groups = both.sum((1, 2)), both.sum(2)
        return float((both[:, 1, 1] * groups[:, 0] / n).sum() / (both[:, 0, 1] * groups[:, 1] / n).sum())

    @property
    def excess(self) -> float:
        """Patients of the second group with the outcome, above those expected if no stratum had an effect."""
        told = self._told
        return float((told[:, 1, 1] - told[:, 1].sum(1) * told[:, :, 1].sum(1) / told.sum((1, 2))).sum())

    @property
    def variance(self) -> float:
        """Of the excess, given the margins."""
        told = self._told
        n, groups, outcomes = told.sum((1, 2)), told.sum(2), told.sum(1)
        many = n > 1
        product = groups.prod(1) * outcomes.prod(1)
        return float((product[many] / (n**2 * (n - 1))[many]).sum())

    def test(self) -> tuple[float, float]:
        """Chi-squared of no effect in any stratum, without and with continuity correction; else NaN."""
        if not self.variance > 0:
            return float("nan"), float("nan")
        off = abs(self.excess)
        return off**2 / self.variance, max(off - 0.5, 0.0) ** 2 / self.variance

    def breslow_day(self) -> tuple[float, int]:
        """Chi-squared of one odds ratio in all strata, and its degrees of freedom."""
        told, odds_ratio = self._told, np.exp(self.log_odds_ratio)
        if np.isnan(odds_ratio) or len(told) < 2:
            return float("nan"), 0
        exposed, with_outcome = told[:, 1].sum(1), told[:, :, 1].sum(1)
        rest = told.sum((1, 2)) - exposed - with_outcome
        linear = odds_ratio * (exposed + with_outcome) + rest
        product = odds_ratio * exposed * with_outcome
        here = 2 * product / (linear + np.sqrt(linear**2 + 4 * (1 - odds_ratio) * product))
        variance = 1 / (1 / here + 1 / (with_outcome - here) + 1 / (exposed - here) + 1 / (rest + here))
        return float(((told[:, 1, 1] - here) ** 2 / variance).sum()), len(told) - 1

"""What follows from counts of patients by score and outcome: arithmetic alone, also over redrawn counts.

Scores are on the log-odds scale; a cell's patients are taken to have its middle. The area under the ROC curve
and its variance are those of structural components (DeLong, DeLong, Clarke-Pearson 1988), here of cells and
not of pairs; calibration is the logistic regression of the outcome on the score (Cox 1958), by Newton; net
benefit is that of decision curves (Vickers and Elkin 2006).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.intervals import NORMAL_EXACT

N_BINS = 10
"""Of a calibration curve, each with about as many patients."""
FARTHEST_SLOPE = 1e3
"""Beyond it outcomes are separated by the score, and no slope is the last."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Cells of scores, in order.

    Attributes:
        middles: (cells,) log-odds.
        edges: (cells - 1,) between them; a cell begins with its lower edge.
        apart: whether scores are the middles themselves, and lie nowhere else in their cells.
    """

    middles: Floats
    edges: Floats
    apart: bool

    @property
    def probability(self) -> Floats:
        """(cells,)."""
        return probability_of(self.middles)

    def above(self, thresholds: Floats) -> Floats:
        """(thresholds, cells): which share of a cell is at a probability or above."""
        at = np.log(thresholds) - np.log1p(-thresholds)
        if self.apart:
            return (self.middles >= at[:, None] - 1e-9).astype(np.float64)
        ends = np.concatenate([[2 * self.middles[0] - self.edges[0]], self.edges])
        ends = np.append(ends, 2 * self.middles[-1] - self.edges[-1])
        share: Floats = np.clip((ends[1:] - at[:, None]) / np.diff(ends), 0.0, 1.0)
        return share


def probability_of(log_odds: Floats) -> Floats:
    """1 / (1 + exp(-log_odds)), of large ones, too."""
    small = np.exp(-np.abs(log_odds))
    probability: Floats = np.where(log_odds < 0, small, 1.0) / (1.0 + small)
    return probability


def even_scale(step: float, farthest: float, apart: bool) -> Scale:
    """Middles at the multiples of a step, up to `farthest` on both sides."""
    n = round(farthest / step)
    middles: Floats = np.arange(-n, n + 1).astype(np.float64) * step
    return Scale(middles, (middles[1:] + middles[:-1]) / 2, apart)


def auc(counts: Floats) -> tuple[float, float]:
    """Area under the ROC curve of (2, cells) counts, negatives first, and its standard error.

    Two scores of one cell are a tie, which counts half. NaN where an outcome is missing.
    """
    negatives, positives = counts
    n_negative, n_positive = negatives.sum(), positives.sum()
    if n_negative < 1 or n_positive < 1:
        return math.nan, math.nan
    below = (np.cumsum(negatives) - negatives / 2) / n_negative
    above = 1 - (np.cumsum(positives) - positives / 2) / n_positive
    area = float(positives @ below / n_positive)
    if n_negative < 2 or n_positive < 2:
        return area, math.nan
    of_positives = positives @ np.square(below - area) / (n_positive - 1)
    of_negatives = negatives @ np.square(above - area) / (n_negative - 1)
    return area, math.sqrt(max(of_positives / n_positive + of_negatives / n_negative, 0.0))


def auc_error(counts: Floats) -> float:
    """How far the area may be from that of the scores, where those of one cell are not ties."""
    negatives, positives = counts
    pairs = negatives.sum() * positives.sum()
    return float(negatives @ positives / (2 * pairs)) if pairs > 0 else math.nan


def brier(counts: Floats, scale: Scale) -> tuple[float, float]:
    """Mean squared distance of probability and outcome, and its standard error."""
    n = counts.sum()
    if n < 1:
        return math.nan, math.nan
    squares = np.stack([np.square(scale.probability), np.square(1 - scale.probability)])
    mean = float((counts * squares).sum() / n)
    variance = float((counts * np.square(squares - mean)).sum() / max(n - 1, 1))
    return mean, math.sqrt(max(variance, 0.0) / n)


def brier_error(counts: Floats, scale: Scale) -> float:
    """How far it may be from that of the scores, each at most half a cell from its middle."""
    ends = np.concatenate([[2 * scale.middles[0] - scale.edges[0]], scale.edges])
    ends = probability_of(np.append(ends, 2 * scale.middles[-1] - scale.edges[-1]))
    p = scale.probability
    off = np.maximum(p - ends[:-1], ends[1:] - p)
    distance = np.stack([p, 1 - p])
    n = counts.sum()
    return float((counts * off * (2 * distance + off)).sum() / n) if n >= 1 else math.nan


@dataclass(frozen=True)
class Line:
    """The outcome's log-odds as a line of the score, and its covariance; NaN where there is none."""

    intercept: float
    slope: float
    covariance: Floats

    @property
    def errors(self) -> tuple[float, float]:
        """Standard errors."""
        low, high = np.sqrt(np.diag(self.covariance))
        return float(low), float(high)


NO_LINE = Line(math.nan, math.nan, np.full((2, 2), np.nan))


def calibration(counts: Floats, scale: Scale, slope: bool = True) -> Line:
    """The logistic regression of outcomes on scores, or its intercept alone where the slope is 1.

    The iterations of Newton, halved while the likelihood falls.
    """
    n, positives = counts.sum(0), counts[1]
    if not (0 < positives.sum() < n.sum()):
        return NO_LINE
    design = np.stack([np.ones_like(scale.middles), scale.middles])
    free = 2 if slope else 1
    beta, likelihood = np.array([0.0, 1.0]), -math.inf
    step = np.zeros(2)
    for _ in range(100):
        odds = beta @ design
        now = float(positives @ odds - n @ np.logaddexp(0.0, odds))
        if now < likelihood - 1e-9 * abs(likelihood):
            step = step / 2
            beta = beta - step
            continue
        likelihood, p = now, probability_of(odds)
        hessian = (design * (n * p * (1 - p))) @ design.T
        own = hessian[:free, :free]
        if abs(beta[1]) > FARTHEST_SLOPE or np.linalg.det(own) <= 1e-12 or np.any(np.diag(own) <= 0):
            return NO_LINE
        step = np.zeros(2)
        step[:free] = np.linalg.solve(own, (design @ (positives - n * p))[:free])
        if np.max(np.abs(step)) < 1e-12:
            covariance = np.zeros((2, 2))
            covariance[:free, :free] = np.linalg.inv(own)
            return Line(float(beta[0]), float(beta[1]), covariance)
        beta = beta + step
    return NO_LINE


def calibration_errors(counts: Floats, scale: Scale, line: Line, slope: bool = True) -> tuple[float, float]:
    """To first order, how far intercept and slope may be off for scores half a cell from its middle."""
    free = 2 if slope else 1
    half = np.diff(scale.edges).max() / 2
    design = np.stack([np.ones_like(scale.middles), scale.middles])
    p = probability_of(line.intercept + line.slope * scale.middles)
    weight = p * (1 - p) * line.slope
    total = np.zeros(2)
    for outcome, numbers in enumerate(counts):
        moved = -weight * design + np.stack([np.zeros_like(p), outcome - p])
        total[:free] += np.abs(line.covariance[:free, :free] @ moved[:free]) @ numbers * half
    return float(total[0]), float(total[1])


def bins(counts: Floats, scale: Scale, n_bins: int = N_BINS) -> Ints:
    """(cells,): the bin of each cell, with about as many patients each, as scikit-learn's quantiles."""
    n = np.maximum(counts.sum(0), 0.0)
    reached = np.cumsum(n)
    total = reached[-1]
    if total < 1:
        return np.zeros(len(n), np.int64)
    place = np.linspace(0.0, 1.0, n_bins + 1)[1:-1] * (total - 1)
    ends = [
        scale.probability[np.searchsorted(reached, rank + 0.5)] for rank in (np.floor(place), np.ceil(place))
    ]
    edges = ends[0] + (ends[1] - ends[0]) * (place - np.floor(place))
    found: Ints = np.searchsorted(edges, scale.probability - 1e-12).astype(np.int64)
    return found


@dataclass(frozen=True)
class Decisions:
    """What follows at thresholds of the probability: (thresholds,) each, NaN where nothing is divided."""

    true_positive: Floats
    false_positive: Floats
    n_positive: float
    n: float
    thresholds: Floats

    @property
    def odds(self) -> Floats:
        """What a false positive weighs against a true one."""
        return self.thresholds / (1 - self.thresholds)

    def figures(self) -> dict[str, Floats]:
        """By name; net benefit is in true positives a patient, `treat_all` that of calling all positive."""
        rest = self.n - self.n_positive
        called = self.true_positive + self.false_positive
        share = _shares(np.array([self.n_positive]), self.n)
        return {
            "net_benefit": _shares(self.true_positive - self.odds * self.false_positive, self.n),
            "treat_all": share - self.odds * (1 - share),
            "sensitivity": _shares(self.true_positive, self.n_positive),
            "specificity": 1 - _shares(self.false_positive, rest),
            "ppv": _shares(self.true_positive, called),
            "npv": _shares(rest - self.false_positive, self.n - called),
        }

    def benefit_error(self) -> Floats:
        """The standard error of net benefit: a mean over patients of 1, -odds or 0."""
        benefit = self.figures()["net_benefit"]
        squares = _shares(self.true_positive + np.square(self.odds) * self.false_positive, self.n)
        error: Floats = np.sqrt(np.maximum(squares - np.square(benefit), 0.0) / max(self.n - 1, 1))
        return error


def _shares(parts: Floats, whole: Floats | float) -> Floats:
    """NaN of nobody, and where noise leaves fewer than nobody."""
    there: Floats = np.where(np.asarray(whole) > 0, whole, np.nan)
    return parts / there


def decisions(counts: Floats, scale: Scale, thresholds: Floats) -> Decisions:
    """Of (2, cells) counts."""
    above = scale.above(thresholds)
    return Decisions(
        above @ counts[1], above @ counts[0], float(counts[1].sum()), float(counts.sum()), thresholds
    )


def wilson(positives: Floats, n: Floats) -> tuple[Floats, Floats]:
    """The 95 % interval of a share (Wilson 1927); NaN of nobody."""
    z2 = NORMAL_EXACT**2
    with np.errstate(divide="ignore", invalid="ignore"):
        share = positives / n
        middle = (share + z2 / (2 * n)) / (1 + z2 / n)
        spread = NORMAL_EXACT * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2)) / (1 + z2 / n)
    return middle - spread, middle + spread


def heterogeneity(values: Floats, errors: Floats) -> tuple[float, int]:
    """Cochran's Q of figures of independent groups, and its degrees of freedom; NaN of fewer than two."""
    known = np.isfinite(values) & np.isfinite(errors) & (errors > 0)
    if known.sum() < 2:
        return math.nan, 0
    weights = 1 / np.square(errors[known])
    mean = (weights @ values[known]) / weights.sum()
    return float(weights @ np.square(values[known] - mean)), int(known.sum()) - 1

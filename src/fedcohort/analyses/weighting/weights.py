"""Weights by the propensity score, and what one site's rows add to weighted means and their sandwich.

Weights of the average effect and of that on the treated (Lunceford and Davidian 2004, Stat Med 23:2937) and
of overlap (Li, Morgan, Zaslavsky 2018, JASA 113:390). All estimating equations are stacked, those of the
score's coefficients among them (Stefanski and Boos 2002, Am Stat 56:29): an error that takes the weights as
known is too large or too small.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.carried_sums import symmetric, triangle

Floats = NDArray[np.float64]
CHUNK = 2**13
"""Rows that are worked on together."""
NEAREST = 1e-12
"""No score counts as nearer to 0 or 1, whatever coefficients are asked about."""
N_BINS = 10
"""Of scores from 0 to 1."""


@dataclass(frozen=True, eq=False)
class Treated:
    """A site's complete rows.

    Attributes:
        x: (n, p) standardised columns of the treatment's formula.
        a: 1 of the treated, else 0.
        y: the outcome; of survival 1 of those with the event, else 0.
        time: of survival; None of another outcome.
    """

    x: Floats
    a: Floats
    y: Floats
    time: Floats | None = None


def scores_of(x: Floats, beta: Floats) -> Floats:
    """(n,): propensity scores."""
    with np.errstate(over="ignore"):
        return np.clip(1.0 / (1.0 + np.exp(-(x @ beta))), NEAREST, 1 - NEAREST)


def weights_of(estimand: str, a: Floats, score: Floats) -> tuple[Floats, Floats]:
    """(n,) twice: each row's weight, and its derivative by the linear predictor."""
    other = 1 - score
    if estimand == "ate":
        return np.where(a == 1, 1 / score, 1 / other), np.where(a == 1, -other / score, score / other)
    if estimand == "att":
        odds = score / other
        return np.where(a == 1, 1.0, odds), np.where(a == 1, 0.0, odds)
    return np.where(a == 1, other, score), np.where(a == 1, -score * other, score * other)


@dataclass(frozen=True, eq=False)
class ArmSums:
    """Sums over rows, by arm: the untreated first.

    Attributes:
        n, weight, weight_squared, y, y_squared, weighted_y: (2,).
        x, x_squared, weighted_x: (2, p).
    """

    n: Floats
    weight: Floats
    weight_squared: Floats
    y: Floats
    y_squared: Floats
    weighted_y: Floats
    x: Floats
    x_squared: Floats
    weighted_x: Floats

    @classmethod
    def of(cls, values: Floats) -> "ArmSums":
        """The inverse of `values`."""
        arms = values.reshape(2, -1)
        p = (arms.shape[1] - 6) // 3
        return cls(*arms[:, :6].T, *(arms[:, 6 + part * p : 6 + (part + 1) * p] for part in range(3)))

    @property
    def means(self) -> Floats:
        """(2,): weighted means of the outcome."""
        means: Floats = self.weighted_y / self.weight
        return means


def n_arm_values(p: int) -> int:
    """How many numbers `arm_values` are."""
    return 2 * (6 + 3 * p)


def arm_values(estimand: str, rows: Treated, beta: Floats) -> Floats:
    """What rows add to each arm, as one vector."""
    p = rows.x.shape[1]
    values = np.zeros((2, 6 + 3 * p))
    for begin in range(0, len(rows.y), CHUNK):
        part = slice(begin, begin + CHUNK)
        x, y, a = rows.x[part], rows.y[part], rows.a[part]
        weight, _ = weights_of(estimand, a, scores_of(x, beta))
        each = np.column_stack([np.ones(len(y)), weight, weight**2, y, y**2, weight * y])
        for arm in (0, 1):
            mine = np.where(a == arm, 1.0, 0.0)
            values[arm, :6] += mine @ each
            values[arm, 6:] += np.concatenate([mine @ x, mine @ x**2, (mine * weight) @ x])
    return values.reshape(-1)


def score_counts(rows: Treated, beta: Floats) -> NDArray[np.int64]:
    """(2, N_BINS): rows of each arm by score."""
    place = np.minimum((scores_of(rows.x, beta) * N_BINS).astype(np.int64), N_BINS - 1)
    cells = rows.a.astype(np.int64) * N_BINS + place
    return np.bincount(cells, minlength=2 * N_BINS).reshape(2, N_BINS)


@dataclass(frozen=True, eq=False)
class Stacked:
    """Sums of all estimating equations at their solution.

    Attributes:
        information: (p, p) of the score's coefficients.
        slopes: (2, p), by arm how the outcome's equation changes with them.
        meat: (p + 2, p + 2).
    """

    information: Floats
    slopes: Floats
    meat: Floats

    @classmethod
    def of(cls, values: Floats, p: int) -> "Stacked":
        """The inverse of `stacked_values`."""
        n = p * (p + 1) // 2
        slopes = values[n : n + 2 * p].reshape(2, p)
        return cls(symmetric(values[:n], p), slopes, symmetric(values[n + 2 * p :], p + 2))

    def covariance(self, weight: Floats) -> Floats:
        """(p + 2, p + 2): of the coefficients and the two means.

        Args:
            weight: (2,) sums of weights by arm.
        """
        p = len(self.information)
        bread = np.zeros((p + 2, p + 2))
        bread[:p, :p] = self.information
        bread[p:, :p] = -self.slopes
        bread[p:, p:] = np.diag(weight)
        scale = np.sqrt(np.abs(np.diag(bread)))
        inverse = np.linalg.inv(bread / np.outer(scale, scale)) / np.outer(scale, scale)
        covariance: Floats = inverse @ self.meat @ inverse.T
        return covariance


def n_stacked(p: int) -> int:
    """How many numbers `stacked_values` are."""
    return p * (p + 1) // 2 + 2 * p + (p + 2) * (p + 3) // 2


def stacked_values(estimand: str, rows: Treated, beta: Floats, means: Floats) -> Floats:
    """What rows add to the sandwich, as one vector."""
    p = rows.x.shape[1]
    information, slopes, meat = np.zeros((p, p)), np.zeros((2, p)), np.zeros((p + 2, p + 2))
    for begin in range(0, len(rows.y), CHUNK):
        part = slice(begin, begin + CHUNK)
        x, y, a = rows.x[part], rows.y[part], rows.a[part]
        score = scores_of(x, beta)
        weight, change = weights_of(estimand, a, score)
        off = y - np.where(a == 1, means[1], means[0])
        information += x.T @ (x * (score * (1 - score))[:, None])
        each = np.empty((len(y), p + 2))
        each[:, :p] = x * (a - score)[:, None]
        for arm in (0, 1):
            mine = a == arm
            slopes[arm] += np.where(mine, change * off, 0.0) @ x
            each[:, p + arm] = np.where(mine, weight * off, 0.0)
        meat += each.T @ each
    return np.concatenate([triangle(information), slopes.reshape(-1), triangle(meat)])

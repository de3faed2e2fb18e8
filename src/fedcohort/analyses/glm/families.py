"""Families of generalised linear models with their links: what one row adds to score and information.

McCullagh and Nelder 1989, Generalized Linear Models, sections 2.2 and 2.5; the negative binomial NB2 with a
logarithm as link, whose dispersion alpha is estimated beside the coefficients (Lawless 1987, Canadian Journal
of Statistics 15:209). Functions of arrays alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_ETA = 50.0
"""A linear predictor of a logarithm counts as no more: e^50 is beyond any count, and sums stay finite."""
Rows = tuple[Floats, Floats, Floats]
"""Of each row (y - mean) as the score has it, the weight of the information, and the log-likelihood."""


@dataclass(frozen=True)
class Family:
    """A family with its canonical link, by its rows.

    Attributes:
        rows: of (eta, y); the log-likelihood without what does not depend on eta.
        mean: of eta.
        link: of a mean.
        constant: of y, what `rows` leaves out of the log-likelihood.
        saturated: of y, the log-likelihood of a model that fits each row.
        ratio: what exp(coef) is called on pages; empty where it means nothing.
    """

    name: str
    rows: Callable[[Floats, Floats], Rows]
    mean: Callable[[Floats], Floats]
    link: Callable[[float], float]
    constant: Callable[[Floats], Floats]
    saturated: Callable[[Floats], Floats]
    ratio: str = ""


def _gaussian(eta: Floats, y: Floats) -> Rows:
    """Residuals; half of their negative squares stand for the log-likelihood."""
    residual = y - eta
    return residual, np.ones_like(eta), residual * residual * -0.5


def _binomial(eta: Floats, y: Floats) -> Rows:
    small = np.exp(-np.abs(eta))
    one = 1.0 / (1.0 + small)
    mean = np.where(eta >= 0, one, small * one)
    return y - mean, small * one * one, y * eta - np.maximum(eta, 0.0) - np.log1p(small)


def _poisson(eta: Floats, y: Floats) -> Rows:
    held = np.minimum(eta, MOST_ETA)
    mean = np.exp(held)
    return y - mean, mean, y * held - mean


def _nothing(y: Floats) -> Floats:
    return np.zeros_like(y)


def _minus_log_factorial(y: Floats) -> Floats:
    from scipy.special import gammaln

    values: Floats = -gammaln(y + 1.0)
    return values


def _poisson_saturated(y: Floats) -> Floats:
    return y * np.log(np.where(y > 0, y, 1.0)) - y + _minus_log_factorial(y)


def _expit(eta: Floats) -> Floats:
    return _binomial(eta, np.zeros_like(eta))[0] * -1.0


def _exp(eta: Floats) -> Floats:
    held: Floats = np.exp(np.minimum(eta, MOST_ETA))
    return held


def _logit(mean: float) -> float:
    return float(np.log(mean) - np.log1p(-mean))


def _log(mean: float) -> float:
    return float(np.log(mean))


def _itself(mean: float) -> float:
    return mean


GAUSSIAN = Family("gaussian", _gaussian, lambda eta: eta, _itself, _nothing, _nothing)
BINOMIAL = Family("binomial", _binomial, _expit, _logit, _nothing, _nothing, "odds_ratio")
POISSON = Family("poisson", _poisson, _exp, _log, _minus_log_factorial, _poisson_saturated, "rate_ratio")
NEGATIVE_BINOMIAL = Family(
    "negative_binomial", _poisson, _exp, _log, _minus_log_factorial, _nothing, "rate_ratio"
)
"""Its rows are those of alpha = 0; `sums.negative_binomial_sums` has those of any alpha."""
FAMILIES = {family.name: family for family in (GAUSSIAN, BINOMIAL, POISSON, NEGATIVE_BINOMIAL)}
COUNTS = ("poisson", "negative_binomial")

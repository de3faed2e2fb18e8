"""What one site's rows add to a Newton step: score, information, log-likelihood, and the sandwich's middle.

Under fixed site effects a site's own intercept is fitted at the site and profiled out, so that only what is
left of it enters the sums: nobody sees one hospital's intercept, and the result is that of the pooled model
with an indicator of each site (profile likelihood; McCullagh and Nelder 1989, section 7.2).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.design_rows import Matrix, gram, times, totals
from fedcohort.analyses.glm.families import MOST_ETA, Family

Floats = NDArray[np.float64]
MOST_SQUARE = 1e30
"""Of a row's squared residual over its variance, which at coefficients that are far off may be of no size."""
CHUNK = 2**12
"""Rows that are worked on together: they stay in the processor's cache."""
MOST_STEPS, NEAR = 200, 1e-13


@dataclass(frozen=True, eq=False)
class Rows:
    """A site's complete rows.

    Attributes:
        x: (n, p) standardised; its first column is 1 where there is an intercept.
        weights: prior weights; None: all are 1.
        cells: (n, sets) as `told_by_design` counts levels.
    """

    x: Matrix
    y: Floats
    offset: Floats | None = None
    weights: Floats | None = None
    cells: NDArray[np.int64] | None = None


@dataclass(frozen=True, eq=False)
class NewtonSums:
    """Sums over rows at one point.

    Attributes:
        meat: sum of the outer products of each row's score; empty where nobody asks.
        pearson: sum of squared residuals, each over its variance (Pearson's chi-squared).
    """

    score: Floats
    information: Floats
    loglik: float
    meat: Floats
    pearson: float = 0.0


def predictor(rows: Rows, beta: Floats) -> Floats:
    """(n,): the linear predictor."""
    eta = times(rows.x, beta)
    return eta if rows.offset is None else eta + rows.offset


def newton_sums(
    family: Family, rows: Rows, beta: Floats, meat: bool, firth: Floats | None = None
) -> NewtonSums:
    """Of all rows at one point.

    Args:
        meat: whether the sandwich's middle is asked for.
        firth: inverse information, by which each row's hat value is found, for Firth's score.
    """
    if family.name == "negative_binomial":
        return negative_binomial_sums(rows, beta, meat)
    p = rows.x.shape[1]
    score, information, loglik, pearson = np.zeros(p), np.zeros((p, p)), 0.0, 0.0
    middle = np.zeros((p, p) if meat else (0, 0))
    for begin in range(0, len(rows.y), CHUNK):
        part = slice(begin, begin + CHUNK)
        x, y = rows.x[part], rows.y[part]
        eta = x @ beta
        if rows.offset is not None:
            eta += rows.offset[part]
        residual, weight, row_loglik = family.rows(eta, y)
        square = _squares(residual, weight)
        if rows.weights is not None:
            prior = rows.weights[part]
            square *= prior
            residual, weight, row_loglik = residual * prior, weight * prior, row_loglik * prior
        weighted = x * weight[:, None]
        information += x.T @ weighted
        loglik += float(row_loglik.sum())
        pearson += float(square.sum())
        if meat:
            scored = x * residual[:, None]
            middle += scored.T @ scored
        if firth is not None:
            hat = np.einsum("ij,ij->i", weighted @ firth, x)
            residual = residual + hat * (0.5 - family.mean(eta))
        score += residual @ x
    return NewtonSums(score, information, loglik, middle, pearson)


def _squares(residual: Floats, variance: Floats) -> Floats:
    """(n,): squared residuals over their variance."""
    with np.errstate(over="ignore"):
        squares: Floats = np.minimum(residual * residual / np.maximum(variance, 1e-300), MOST_SQUARE)
    return squares


def negative_binomial_sums(rows: Rows, theta: Floats, meat: bool) -> NewtonSums:
    """The same of NB2, whose dispersion's logarithm is the last of theta; the information is observed.

    Source: Lawless 1987, section 2.
    """
    from scipy.special import digamma, gammaln, polygamma

    p, alpha = rows.x.shape[1], float(np.exp(np.clip(theta[-1], -30.0, 30.0)))
    r, n = 1.0 / alpha, len(rows.y)
    eta = np.minimum(predictor(rows, theta[:-1]), MOST_ETA)
    y, mean = rows.y, np.exp(eta)
    prior = np.ones(n) if rows.weights is None else rows.weights
    share = 1.0 + alpha * mean
    residual = prior * (y - mean) / share
    d_r = digamma(y + r) - digamma(r) - np.log(share) + (mean - y) / (r + mean)
    d_rr = polygamma(1, y + r) - polygamma(1, r) + 1 / r - 1 / (r + mean) - (mean - y) / (r + mean) ** 2
    loglik = gammaln(y + r) - gammaln(r) - r * np.log(share) + y * (eta + np.log(alpha) - np.log(share))
    last = -r * d_r * prior
    mixed = prior * alpha * mean * (y - mean) / share**2
    by_x = totals(rows.x, np.stack([residual, mixed, residual * last]))
    score = np.append(by_x[0], last.sum())
    information = np.zeros((p + 1, p + 1))
    information[:p, :p] = gram(rows.x, prior * mean * (1 + alpha * y) / share**2)
    information[p, :p] = information[:p, p] = by_x[1]
    information[p, p] = -float((prior * (r**2 * d_rr + r * d_r)).sum())
    middle = np.zeros((0, 0))
    if meat:
        middle = np.zeros((p + 1, p + 1))
        middle[:p, :p] = gram(rows.x, residual**2)
        middle[p, :p] = middle[:p, p] = by_x[2]
        middle[p, p] = float(last @ last)
    pearson = float(prior @ _squares(y - mean, mean * share))
    return NewtonSums(score, information, float((prior * loglik).sum()), middle, pearson)


def profiled(family: Family, rows: Rows, beta: Floats, meat: bool) -> NewtonSums:
    """Sums of the slopes, this site's own intercept being fitted and profiled out; x begins with a 1.

    A site where the outcome is all of one kind says nothing of the slopes, and adds nothing.
    """
    p = rows.x.shape[1] - 1
    own = own_intercept(family, rows, times(rows.x, np.append(0.0, beta)))
    if own is None:
        return NewtonSums(np.zeros(p), np.zeros((p, p)), 0.0, np.zeros((p, p) if meat else (0, 0)))
    whole = newton_sums(family, rows, np.concatenate([[own], beta]), meat)
    total = whole.information[0, 0]
    mean = whole.information[0, 1:] / total if total > 0 else np.zeros(p)
    centre = np.column_stack([-mean, np.eye(p)])
    information = whole.information[1:, 1:] - np.outer(mean, mean) * total
    score = centre @ whole.score
    return NewtonSums(
        score,
        information,
        whole.loglik,
        centre @ whole.meat @ centre.T if meat else whole.meat,
        whole.pearson,
    )


def own_intercept(family: Family, rows: Rows, eta: Floats) -> float | None:
    """The intercept that fits these rows best beside the rest of the predictor; None where it has no end."""
    weights = np.ones_like(rows.y) if rows.weights is None else rows.weights
    there = weights > 0
    if not np.any(there) or not _is_finite(family, rows.y[there]):
        return None
    eta = eta if rows.offset is None else eta + rows.offset
    mean = float(weights @ rows.y / weights.sum())
    own = family.link(mean) - float(weights @ np.clip(eta, -100, 100) / weights.sum())
    longest = np.inf if family.name == "gaussian" else 1.0
    for _ in range(MOST_STEPS):
        residual, weight, _ = family.rows(eta + own, rows.y)
        curvature = max(float(weights @ weight), 1e-300)
        step = float(np.clip(weights @ residual / curvature, -longest, longest))
        own += step
        if abs(step) <= NEAR * max(1.0, abs(own)):
            break
    return own


def _is_finite(family: Family, y: Floats) -> bool:
    if family.name == "binomial":
        return bool(0 < y.sum() < len(y))
    return family.name == "gaussian" or bool(np.any(y > 0))

"""The imputation model of a column of three levels or more: multinomial logistic regression.

Of levels without an order (van Buuren 2018, Flexible Imputation of Missing Data, section 3.6; Agresti 2013,
Categorical Data Analysis, section 8.1). Each level but the first has coefficients of its own, that of two
levels being the logistic model.
"""

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.glm.sums import CHUNK, NewtonSums

Floats = NDArray[np.float64]


def shares_of(eta: Floats) -> Floats:
    """(n, levels - 1): of each level but the first, by the logarithm of its odds against the first."""
    held = np.clip(eta, -700.0, 700.0)
    highest = np.maximum(held.max(1, initial=0.0), 0.0)[:, None]
    odds = np.exp(held - highest)
    shares: Floats = odds / (np.exp(-highest) + odds.sum(1, keepdims=True))
    return shares


def multinomial_sums(x: Floats, y: Floats, theta: Floats) -> NewtonSums:
    """Log-likelihood, score and information over rows at one point.

    Args:
        x: (n, p) with a first column of 1.
        y: (n, levels - 1) indicators of each level but the first.
        theta: ((levels - 1) p,), level by level.
    """
    p, n_levels = x.shape[1], y.shape[1]
    score, information, loglik = np.zeros((n_levels, p)), np.zeros((n_levels, p, n_levels, p)), 0.0
    for begin in range(0, len(x), CHUNK):
        rows, seen = x[begin : begin + CHUNK], y[begin : begin + CHUNK]
        eta = np.clip(rows @ theta.reshape(n_levels, p).T, -700.0, 700.0)
        shares = shares_of(eta)
        highest = np.maximum(eta.max(1), 0.0)
        total = highest + np.log(np.exp(-highest) + np.exp(eta - highest[:, None]).sum(1))
        loglik += float((seen * eta).sum() - total.sum())
        score += (seen - shares).T @ rows
        for one in range(n_levels):
            for other in range(one, n_levels):
                weight = shares[:, one] * ((one == other) - shares[:, other])
                part = rows.T @ (rows * weight[:, None])
                information[one, :, other] += part
                if other > one:
                    information[other, :, one] += part
    q = n_levels * p
    return NewtonSums(score.reshape(q), information.reshape(q, q), loglik, np.zeros((0, 0)))

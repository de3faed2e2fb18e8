"""Parameters of an imputation model, drawn from their posterior by sums over all hospitals.

A linear model of a number (Rubin 1987, p. 167; as mice's `norm`), and a logistic one of levels (Rubin 1987,
p. 169; of two as `logreg`). Small penalties stand for what little is known beforehand, so that neither
columns that follow from one another nor a level that tells another one end a study (White, Daniel and Royston
2010, Computational Statistics & Data Analysis 54:2267).
"""

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.glm.newton import inverse

Floats = NDArray[np.float64]
RIDGE = 1e-5
"""Of the diagonal of a linear model's products, as mice has it."""
PRIOR = 0.01
"""Precision of a standardised coefficient of a logistic model: a normal prior of deviation 10."""


def linear(products: Floats, draw: np.random.Generator) -> Floats:
    """(k + 1,): coefficients and the residual deviation.

    Args:
        products: (k + 1, k + 1), of the k columns and then the one that is explained; the first is 1.
    """
    k = len(products) - 1
    # A column of zeros, where no row has a level, has a coefficient of zero.
    diagonal = np.maximum(np.diag(products)[:k], 1e-300)
    covariance = inverse(products[:k, :k] + np.diag(diagonal * RIDGE + (diagonal <= 1e-300)))
    mean = covariance @ products[:k, k]
    left = products[k, k] - 2 * mean @ products[:k, k] + mean @ products[:k, :k] @ mean
    degrees = max(float(products[0, 0]) - k, 1.0)
    deviation = np.sqrt(max(float(left), 0.0) / draw.chisquare(degrees))
    return np.append(mean + deviation * (_root(covariance) @ draw.standard_normal(k)), deviation)


def logistic(mode: Floats, information: Floats, draw: np.random.Generator) -> Floats:
    """(k + 1,): coefficients by the normal approximation about the mode, and 0 where a deviation would be."""
    return np.append(mode + _root(inverse(information)) @ draw.standard_normal(len(mode)), 0.0)


def _root(covariance: Floats) -> Floats:
    """A matrix whose product with its transpose is the covariance, which rounding may have bent."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return root

"""Correlations from one sum of outer products: of rows (1, x), whose other figures all follow from it.

Intervals are Fisher's (1921), of ranks with the variance of Bonett and Wright (2000); p-values those of
Student's t with n - 2 degrees, which for Pearson's coefficient is exact of normal numbers. Principal
components are the eigenvectors of the matrix of correlations. All of it can be computed of redrawn sums.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.tails import t_p

Floats = NDArray[np.float64]


def covariance(gram: Floats) -> tuple[float, Floats, Floats]:
    """What (d + 1, d + 1) sums of products say: n in units of the rows' first number, means, covariances.

    Where noise has made the two triangles differ, their mean counts.
    """
    whole = (gram + gram.T) / 2
    n = float(whole[0, 0])
    if n <= 0:
        return 0.0, np.full(len(gram) - 1, np.nan), np.full((len(gram) - 1, len(gram) - 1), np.nan)
    mean: Floats = whole[0, 1:] / n
    return n, mean, whole[1:, 1:] / n - np.outer(mean, mean)


def correlation(gram: Floats) -> Floats:
    """(d, d): NaN where a column does not vary, or noise hides that it does."""
    _, _, products = covariance(gram)
    variance = np.diag(products)
    deviation = np.sqrt(np.where(variance > 0, variance, np.nan))
    matrix: Floats = np.clip(products / np.outer(deviation, deviation), -1.0, 1.0)
    np.fill_diagonal(matrix, np.where(np.isnan(deviation), np.nan, 1.0))
    return matrix


def p_values(matrix: Floats, n: float) -> Floats:
    """(d, d): of no correlation, two-sided; NaN with fewer than three patients."""
    found = np.full(matrix.shape, np.nan)
    for place in np.argwhere(~np.isnan(matrix)) if n > 2 else ():
        r = float(matrix[tuple(place)])
        rest = (1 - r) * (1 + r)
        found[tuple(place)] = t_p(r * math.sqrt((n - 2) / rest), n - 2) if rest > 0 else 0.0
    return found


def fisher(matrix: Floats, n: float, of_ranks: bool) -> tuple[Floats, Floats]:
    """95 % intervals; NaN with fewer than four patients."""
    if not n > 3:
        return np.full(matrix.shape, np.nan), np.full(matrix.shape, np.nan)
    variance = (1 + np.square(matrix) / 2 if of_ranks else np.ones(matrix.shape)) / (n - 3)
    with np.errstate(divide="ignore"):
        middle = np.arctanh(matrix)
    spread = NORMAL_EXACT * np.sqrt(variance)
    return np.tanh(middle - spread), np.tanh(middle + spread)


def components(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues, the largest first, and (d, d) loadings, a component a column.

    A component's sign is that with which its largest loading is positive.
    """
    values, vectors = np.linalg.eigh(matrix)
    values, vectors = values[::-1], vectors[:, ::-1]
    largest = np.argmax(np.abs(vectors), axis=0)
    signs = np.sign(vectors[largest, np.arange(len(values))])
    return values, vectors * signs


def other_patients(gram: Floats, patients: float, generator: np.random.Generator) -> Floats:
    """Sums of products as other patients of the same population may give them, their numbers being normal.

    Args:
        patients: of how many the sums are.

    Source: Bartlett's decomposition of a Wishart matrix (Anderson 2003, section 7.2).
    """
    n, mean, products = covariance(gram)
    patients = max(patients, len(gram) + 1.0)
    values, vectors = np.linalg.eigh(np.nan_to_num(products))
    root = vectors * np.sqrt(np.maximum(values, 1e-12))
    d = len(values)
    lower = np.tril(generator.standard_normal((d, d)), -1)
    lower[np.diag_indices(d)] = np.sqrt(generator.chisquare(patients - 1 - np.arange(d)))
    part = root @ lower
    centre = np.nan_to_num(mean) + root @ generator.standard_normal(d) / math.sqrt(patients)
    drawn = np.empty_like(gram)
    drawn[0, 0], drawn[0, 1:], drawn[1:, 0] = n, n * centre, n * centre
    drawn[1:, 1:] = (part @ part.T / patients + np.outer(centre, centre)) * n
    return drawn


def mid_ranks(counts: Floats) -> Floats:
    """(..., places): the mean rank, from 1, of the patients at each place, of which some have many (ties)."""
    reached = np.cumsum(counts, axis=-1)
    ranks: Floats = reached - (counts - 1) / 2
    return ranks


def ties_within(counts: Floats, matrix: Floats) -> Floats:
    """(d, d): how far coefficients of ranks may be off where values at one place do not really tie.

    Ranks a of distinct values are those by place, a', and what e is missing of them within places; e is
    orthogonal to a', and its square at most the sum of (c^3 - c) / 12 over the counts c.

    Args:
        counts: (d, places) of each column; of one without such values a line of zeros.
    """
    n = counts.sum(-1, keepdims=True)
    between = (counts * np.square(mid_ranks(counts) - (n + 1) / 2)).sum(-1)
    missing = ((counts**3 - counts) / 12).sum(-1)
    sine = np.sqrt(missing / np.maximum(between + missing, 1e-300))
    cosine = np.sqrt(1 - np.square(sine))
    both = np.outer(cosine, cosine)
    within: Floats = np.abs(matrix) * (1 - both) + np.outer(sine, cosine) + np.outer(cosine, sine)
    return within + np.outer(sine, sine)

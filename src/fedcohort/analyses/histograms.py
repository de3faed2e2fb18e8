"""Histograms of numbers: how many values lie in each of equal parts of a column's range."""

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Numeric

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def count_bins(scaled: Floats, n_bins: int) -> Ints:
    """Count scaled values by part of [-1, 1], each of which begins with its lower edge; 1 is in the last.

    Args:
        scaled: (n_rows, n_columns), NaN where missing.
    Returns:
        (n_columns, n_bins).
    """
    found = np.zeros((scaled.shape[1], n_bins), np.int64)
    for index, column in enumerate(scaled.T):
        known = column[~np.isnan(column)]
        bins = np.clip(np.floor((known + 1) / 2 * n_bins), 0, n_bins - 1).astype(np.int64)
        found[index] = np.bincount(bins, minlength=n_bins)
    return found


def histogram(counts: list[int], centre: float, scale: float, kind: Numeric) -> dict[str, object]:
    """A column's counts as a report has them, from `low` to `high` in equal parts.

    Where no bounds are declared the range is a power of two to both sides of zero, of which the
    parts before the first value and after the last are left out.
    """
    width = 2 * scale / len(counts)
    first, last = 0, len(counts)
    if kind.bounds is None:
        there = [index for index, count in enumerate(counts) if count]
        first, last = (there[0], there[-1] + 1) if there else (0, 0)
    low = centre - scale
    return {"low": low + first * width, "high": low + last * width, "counts": counts[first:last]}

"""Histograms of numbers: how many values lie in each of equal parts of a column's range."""

import math

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.moments import Moments

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PART_OF_DEVIATION = 0.3
"""Of a standard deviation, at least so wide is a part; 20 of them reach 3 to 6 deviations to both sides."""


def bin_of(scaled: Floats, n_bins: int) -> Ints:
    """Of scaled values the part of [-1, 1], each of which begins with its lower edge; 1 is in the last.

    Args:
        scaled: (n_rows, n_columns), NaN where missing.
    Returns:
        (n_rows, n_columns): 0 below -1, the parts from 1, n_bins + 1 above 1; -1 where missing.
    """
    places = np.clip(np.floor((scaled + 1) / 2 * n_bins), -1, n_bins) + 1
    places[scaled == 1] = n_bins
    return np.where(np.isnan(places), -1, places).astype(np.int64)


def open_range(moments: Moments, index: int, n_bins: int) -> tuple[float, float]:
    """Centre and half width for a column without bounds, from its pooled mean and deviation alone.

    A part is a power of two wide and begins at a multiple of it; of a constant it is a thousandth.
    """
    mean, deviation = float(moments.mean[index]), float(moments.deviation[index])
    if not moments.n[index]:
        return 0.0, 1.0
    width = 1.0
    if deviation:
        width = 2.0 ** math.ceil(math.log2(PART_OF_DEVIATION * deviation))
    elif mean:
        width = 2.0 ** (math.frexp(mean)[1] - 10)
    return math.floor(mean / width) * width, width * n_bins / 2


def histogram(counts: list[int | None], centre: float, scale: float) -> dict[str, object]:
    """Counts by part as a report has them, from `low` to `high` in equal parts; None where one is hidden."""
    return {"low": centre - scale, "high": centre + scale, "counts": counts}


def open_histogram(counts: list[int | None], centre: float, scale: float) -> dict[str, object]:
    """The same of a column without bounds: no empty parts at the ends; how many lie `below` and `above`."""
    below, *parts, above = counts
    width = 2 * scale / len(parts)
    there = [index for index, count in enumerate(parts) if count]
    first, last = (there[0], there[-1] + 1) if there else (0, 0)
    low = centre - scale
    ends = {"low": low + first * width, "high": low + last * width}
    return {**ends, "counts": parts[first:last], "below": below, "above": above}

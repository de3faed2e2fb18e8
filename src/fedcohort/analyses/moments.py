"""Means and deviations from exact sums: the first round of most studies.

Values are added as they stand, so that neither unit, offset nor declared bounds cost a digit
(`exact_sums`): (n * sum of squares - sum^2) / n^2 is computed in whole numbers, and only the result
is rounded. Declared bounds are held to all the same: what lies beyond them is an error in the data.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exact_sums import SQUARES, VALUES, limbs, sum_squares, sum_values, totals
from fedcohort.columns import Numeric
from fedcohort.errors import ValueRangeError
from fedcohort.vector import Layout, Vector, counts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scaling:
    """(x - centre) / scale lies in [-1, 1]; one number a numeric column."""

    centre: Floats
    scale: Floats


@dataclass(frozen=True)
class Moments:
    """By numeric column, in the columns' own units; `deviation` divides by n."""

    n: Floats
    mean: Floats
    deviation: Floats


def centre_and_scale(low: float, high: float) -> tuple[float, float]:
    """Middle and half width of a declared range: (x - centre) / scale lies in [-1, 1]."""
    return (low + high) / 2, (high - low) / 2


def declared_scaling(columns: Mapping[str, Numeric]) -> Scaling | None:
    """The scaling that bounds declare, or None when a column has no bounds."""
    bounds = [column.bounds for column in columns.values()]
    if any(limits is None for limits in bounds):
        return None
    ranges = [centre_and_scale(*limits) for limits in bounds if limits]
    return Scaling(*np.array(ranges, np.float64).reshape(-1, 2).T)


def refuse_outside(values: Floats, columns: Mapping[str, Numeric]) -> None:
    """Hold values, (n_rows, n_columns), to what their columns declare.

    Raises:
        ValueRangeError: a value lies outside its column's bounds; names the column, not the value.
    """
    for column, (name, kind) in zip(values.T, columns.items(), strict=True):
        if kind.bounds is None:
            continue
        centre, scale = centre_and_scale(*kind.bounds)
        if np.any(np.abs(column - centre) > scale * (1 + 1e-12)):
            raise ValueRangeError(
                f"column {name}: a value lies outside the declared bounds; "
                "widen the bounds, exclude such rows by 'where', or clean the data"
            )


def moments_layout(n_columns: int) -> Layout:
    """Counts, and exact sums of values and of squares."""
    return (
        counts("n", n_columns),
        limbs("sum", n_columns, VALUES),
        limbs("squares", n_columns, SQUARES),
    )


def sum_moments(values: Floats) -> Vector:
    """Sum values, (n_rows, n_columns), leaving out NaN.

    Raises:
        ValueRangeError: a value is beyond 2^127.
    """
    return {"n": (~np.isnan(values)).sum(0), "sum": sum_values(values), "squares": sum_squares(values)}


def moments_from_sums(total: Vector) -> Moments:
    """Mean and deviation in the columns' own units; NaN for a column without any value."""
    n = np.asarray(total["n"], np.float64)
    sums, squares = totals(total["sum"], VALUES), totals(total["squares"], SQUARES)
    found = [_moments(int(rows), *both) for rows, *both in zip(n, sums, squares, strict=True)]
    mean, deviation = np.array(found, np.float64).reshape(-1, 2).T
    return Moments(n, mean, deviation)


def _moments(n: int, total: Fraction, squares: Fraction) -> tuple[float, float]:
    if not n:
        return math.nan, math.nan
    return float(total / n), math.sqrt(float(squares / n - (total / n) ** 2))

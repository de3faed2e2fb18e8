"""Means and deviations from sums: the first rounds of most studies.

A numeric column is brought to [-1, 1] by its declared bounds. A column without
bounds is first counted by binary exponent: the largest exponent that any site
has becomes its scale. Second moments are those of the scaled values, in which
cancellation costs at most the resolution of the ring.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Numeric
from fedcohort.errors import ValueRangeError
from fedcohort.vector import MAX_ROWS, Block, Layout, Vector, counts

LOWEST_EXPONENT, N_EXPONENTS = -128, 256
MOMENT_RESOLUTION = 2.0**-28

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


def declared_scaling(columns: Mapping[str, Numeric]) -> Scaling | None:
    """The scaling that bounds declare, or None when a column has no bounds."""
    bounds = [column.bounds for column in columns.values()]
    if any(limits is None for limits in bounds):
        return None
    low, high = np.array([limits for limits in bounds if limits], np.float64).reshape(-1, 2).T
    return Scaling((low + high) / 2, (high - low) / 2)


def exponents_layout(n_columns: int) -> Layout:
    """One count for every binary exponent of every column."""
    return (counts("exponents", n_columns, N_EXPONENTS),)


def count_exponents(values: Floats) -> Vector:
    """Count each column's values by binary exponent.

    Args:
        values: (n_rows, n_columns), NaN where missing.
    Raises:
        ValueRangeError: a value is beyond 2^127.
    """
    table = np.zeros((values.shape[1], N_EXPONENTS), np.int64)
    for column, row in zip(values.T, table, strict=True):
        exponents = np.frexp(column[~np.isnan(column)])[1] - LOWEST_EXPONENT
        if exponents.size and exponents.max() >= N_EXPONENTS:
            raise ValueRangeError("a value is beyond 2^127; declare bounds and clean the column")
        np.add.at(row, np.maximum(exponents, 0), 1)
    return {"exponents": table}


def scaling_from_exponents(columns: Mapping[str, Numeric], total: Vector) -> Scaling:
    """Take declared bounds where there are any, else the largest exponent counted anywhere."""
    centre, scale = np.zeros(len(columns)), np.ones(len(columns))
    for index, (column, row) in enumerate(zip(columns.values(), total["exponents"], strict=True)):
        if column.bounds is not None:
            low, high = column.bounds
            centre[index], scale[index] = (low + high) / 2, (high - low) / 2
        elif np.any(row):
            scale[index] = 2.0 ** (int(np.flatnonzero(row)[-1]) + LOWEST_EXPONENT)
    return Scaling(centre, scale)


def moments_layout(n_columns: int) -> Layout:
    """Counts, sums and sums of squares of scaled values."""
    return (
        counts("n", n_columns),
        Block("sum", (n_columns,), MAX_ROWS, MOMENT_RESOLUTION),
        Block("squares", (n_columns,), MAX_ROWS, MOMENT_RESOLUTION),
    )


def scaled(values: Floats, scaling: Scaling, names: tuple[str, ...]) -> Floats:
    """Bring values to [-1, 1]; NaN stays NaN.

    Raises:
        ValueRangeError: a value lies outside its column's bounds; names the column, not the value.
    """
    result = (values - scaling.centre) / scaling.scale
    outside = np.any(np.abs(result) > 1 + 1e-12, axis=0)
    if np.any(outside):
        column = names[int(np.flatnonzero(outside)[0])]
        raise ValueRangeError(
            f"column {column}: a value lies outside the declared bounds; "
            "widen the bounds, exclude such rows by 'where', or clean the data"
        )
    return result


def sum_moments(values: Floats) -> Vector:
    """Sum scaled values, (n_rows, n_columns), leaving out NaN."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    return {"n": known.sum(0), "sum": filled.sum(0), "squares": np.square(filled).sum(0)}


def moments_from_sums(total: Vector, scaling: Scaling) -> Moments:
    """Mean and deviation in the columns' own units; NaN for a column without any value."""
    n = np.asarray(total["n"], np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total["sum"] / n
        variance = np.maximum(total["squares"] / n - np.square(mean), 0.0)
    return Moments(n, mean * scaling.scale + scaling.centre, np.sqrt(variance) * scaling.scale)

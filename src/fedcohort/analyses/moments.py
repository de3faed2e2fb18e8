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

from fedcohort.analyses.contract import Contribution, Proved, Sums, Tally
from fedcohort.analyses.exact_sums import SQUARES, VALUES, limbs, sum_both, totals
from fedcohort.analyses.intervals import Estimates, drawn, ends
from fedcohort.columns import Numeric
from fedcohort.errors import ValueRangeError
from fedcohort.vector import MAX_ROWS, Block, Vector, counts

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
                "column {column}: a value lies outside the declared bounds; widen the bounds, exclude such "
                "rows by 'where', or clean the data",
                column=name,
            )


@dataclass(frozen=True)
class ExactMoments:
    """Sums of values and squares as they stand, to the last bit; privacy has no bound on them."""

    columns: Mapping[str, Numeric]

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Counts, and exact sums of values and of squares."""
        n = len(self.columns)
        return counts("n", n), limbs("sum", n, VALUES), limbs("squares", n, SQUARES)

    def contribute(self, values: Floats, rows: NDArray[np.int64]) -> dict[str, Contribution]:
        """What values, (n_rows, n_columns), add; NaN is left out.

        Raises:
            ValueRangeError: a value is beyond 2^127.
        """
        total, squares = sum_both(values)
        return {
            "n": Proved((~np.isnan(values)).sum(0)),
            "sum": Proved(total),
            "squares": Proved(squares),
        }

    def check(self, values: Floats) -> None:
        """Hold values, (n_rows, n_columns), to what their columns declare.

        Raises:
            ValueRangeError: a value lies outside its column's bounds.
        """
        refuse_outside(values, self.columns)

    def figures(self, sums: Sums) -> list[dict[str, float | None]]:
        """Mean and deviation by column; `std` divides by n - 1, as pandas does."""
        moments = moments_from_sums(sums.values)
        return [
            {
                "mean": float(mean) if n else None,
                "std": float(deviation * np.sqrt(n / (n - 1))) if n > 1 else None,
            }
            for n, mean, deviation in zip(moments.n, moments.mean, moments.deviation, strict=True)
        ]


@dataclass(frozen=True)
class BoundedMoments:
    """Sums of values scaled to [-1, 1] by their declared bounds; one beyond counts as the bound."""

    columns: Mapping[str, Numeric]

    @property
    def scaling(self) -> Scaling:
        """Of the declared bounds, which all columns have."""
        scaling = declared_scaling(self.columns)
        if scaling is None:
            raise ValueError("a column without bounds")
        return scaling

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A row adds at most 1 to each column of each."""
        n = len(self.columns)
        names = ("n", "sum", "squares") if n else ()
        return tuple(Block(name, (n,), math.sqrt(n), bound=MAX_ROWS) for name in names)

    def check(self, values: Floats) -> None:
        """Nothing to refuse."""

    def contribute(self, values: Floats, rows: NDArray[np.int64]) -> dict[str, Contribution]:
        """What rows, (n_rows, n_columns), add; NaN adds nothing."""
        with np.errstate(over="ignore"):  # what no double holds lies beyond the bound, too
            scaled = np.clip((values - self.scaling.centre) / self.scaling.scale, -1.0, 1.0)
        filled = np.nan_to_num(scaled, nan=0.0)
        parts = {"n": ~np.isnan(scaled), "sum": filled, "squares": np.square(filled)}
        return {name: Tally(part, rows=rows) for name, part in parts.items()}

    def figures(self, sums: Sums) -> list[dict[str, float | None]]:
        """Mean and deviation by column with their intervals."""
        estimates = self._estimates(sums)
        ranges = {name: np.stack(ends(others)) for name, others in drawn(self._estimates, sums).items()}
        return [
            {
                **_interval("mean", estimates["mean"][index], ranges["mean"][:, index]),
                **_deviation(estimates["variance"][index], ranges["variance"][:, index], scale),
            }
            if round(float(sums["n"][index])) >= 1
            else {"mean": None, "std": None}
            for index, scale in enumerate(self.scaling.scale)
        ]

    def _estimates(self, sums: Sums) -> Estimates:
        """Mean, held within the declared bounds, and variance in units of the squared half range.

        A variance is as the noise leaves it, which may be negative.
        """
        n = np.maximum(np.asarray(sums["n"], np.float64), 1.0)
        mean = sums["sum"] / n
        variance = sums["squares"] / n - np.square(mean)
        return {
            "mean": np.clip(mean, -1, 1) * self.scaling.scale + self.scaling.centre,
            "variance": variance,
        }


def _interval(name: str, value: float, limits: Floats) -> dict[str, float | None]:
    return {name: float(value), f"{name}_low": float(limits[0]), f"{name}_high": float(limits[1])}


def _deviation(variance: float, limits: Floats, scale: float) -> dict[str, float | None]:
    """The deviation with its interval; none where noise hides it, which leaves the interval alone.

    A deviation lies between 0 and half of the range. Where noise has made the variance negative the
    true one is less than what noise adds to it, so that the interval still holds it.
    """
    high = max(variance, 0.0) + max(float(limits[1]) - variance, 0.0)
    low, high = (math.sqrt(min(max(float(end), 0.0), 1.0)) * scale for end in (limits[0], high))
    shown = math.sqrt(min(variance, 1.0)) * scale if variance > 0 else None
    return {"std": shown, "std_low": low, "std_high": high}


def moments_from_sums(total: Vector) -> Moments:
    """Mean and deviation in the columns' own units; NaN for a column without any value."""
    n = np.asarray(total["n"], np.float64)
    sums, squares = totals(total["sum"], VALUES), totals(total["squares"], SQUARES)
    by_column = [_moments(int(rows), *both) for rows, *both in zip(n, sums, squares, strict=True)]
    mean, deviation = np.array(by_column, np.float64).reshape(-1, 2).T
    return Moments(n, mean, deviation)


def _moments(n: int, total: Fraction, squares: Fraction) -> tuple[float, float]:
    if not n:
        return math.nan, math.nan
    return float(total / n), math.sqrt(float(squares / n - (total / n) ** 2))

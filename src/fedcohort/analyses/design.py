"""The design of a regression: columns of numbers, made of a table by a formula's explicit terms.

A column is a product of factors: numbers, indicators of levels, logarithms, powers, B-splines (de Boor
1978, A Practical Guide to Splines, chapter IX) or natural splines (Hastie 1992, Statistical Models in S,
chapter 7). Names and values are those of formulaic and patsy; natural splines are those of R's `splines::ns`.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.formula.words import (
    BSpline,
    Coded,
    Columns,
    Factor,
    Formula,
    Interval,
    Levels,
    Log,
    NaturalSpline,
    Plain,
    Power,
    coded,
)
from fedcohort.columns import Categorical, Level
from fedcohort.study import Cohort
from fedcohort.table import Table

Floats = NDArray[np.float64]
INTERCEPT = "Intercept"
CHUNK = 2**12
"""Rows that are filled in together: they stay in the processor's cache, where columns are far apart."""
ENDLESS: Interval = (-np.inf, np.inf)


@dataclass(frozen=True)
class DesignColumn:
    """One column: a product of parts, each one of a factor's columns; the intercept has none.

    Attributes:
        parts: by factor, which of all columns that it makes, levels in the column's order.
    """

    name: str
    parts: tuple[tuple[Factor, int], ...]
    interval: Interval


@dataclass(frozen=True, eq=False)
class Design:
    """A formula's columns over a cohort's.

    Attributes:
        kinds: by name, the columns that the terms read.
    """

    formula: Formula
    kinds: Columns

    @cached_property
    def columns(self) -> tuple[DesignColumn, ...]:
        """In the order of the matrix."""
        return tuple(
            column for scoped in coded(self.formula, self.kinds) for column in _columns_of(scoped, self.kinds)
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns: `age`, `C(sex)[T.m]`, `age:C(sex)[T.m]`, `bs(x, knots=[1])[1]`."""
        return tuple(column.name for column in self.columns)

    @property
    def reads(self) -> tuple[str, ...]:
        """The cohort's columns that it needs."""
        return self.formula.columns

    def is_indicator(self, column: DesignColumn) -> bool:
        """Whether a column is 0 or 1: a product of levels alone."""
        return all(isinstance(self.kinds[factor.column], Categorical) for factor, _ in column.parts)

    @property
    def has_intercept(self) -> bool:
        """Whether its first column is 1."""
        return self.formula.intercept

    @property
    def intervals(self) -> tuple[Floats, Floats]:
        """(p,) each: between which values a column lies under the declared bounds, endless without them."""
        ends = np.array([column.interval for column in self.columns], np.float64).reshape(-1, 2)
        return ends[:, 0], ends[:, 1]

    def bound(self) -> Floats:
        """(p,): the largest absolute value of each column under the declared bounds; infinite without."""
        low, high = self.intervals
        return np.maximum(np.abs(low), np.abs(high))

    def scaling(self) -> tuple[Floats, Floats]:
        """(p,) each: middle and half width of each column's interval; 0 and 1 where it has none."""
        low, high = self.intervals
        known = np.isfinite(low) & np.isfinite(high) & (high > low)
        low, high = np.where(known, low, -1.0), np.where(known, high, 1.0)
        return (low + high) / 2, (high - low) / 2

    def matrix(self, table: Table, cohort: Cohort, held: bool = False) -> Floats:
        """(n, p) float64, NaN where a column that is needed has no value.

        Args:
            held: a number beyond its declared bounds counts as the bound, as under privacy.
        """
        matrix = np.empty((table.n_rows, len(self.columns)))
        for begin in range(0, table.n_rows, CHUNK):
            rows = slice(begin, begin + CHUNK)
            self._fill(matrix[rows], table, cohort, rows, held)
        return matrix

    def part(
        self, table: Table, cohort: Cohort, rows: "slice | NDArray[np.int64]", k: int, held: bool = False
    ) -> Floats:
        """(rows, k): the first k columns of some rows, as `matrix` has them."""
        n = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        part = np.empty((n, k))
        self._fill(part, table, cohort, rows, held)
        return part

    def _fill(
        self, part: Floats, table: Table, cohort: Cohort, rows: "slice | NDArray[np.int64]", held: bool
    ) -> None:
        """Of some rows as many columns as there is room for."""
        made: dict[Factor, Floats] = {}
        for place, column in enumerate(self.columns[: part.shape[1]]):
            if not column.parts:
                part[:, place] = 1.0
            for index, (factor, which) in enumerate(column.parts):
                if factor not in made:
                    values = _numbers(table, cohort, factor.column, rows)
                    made[factor] = factor_columns(factor, self.kinds, values, held)
                if index:
                    part[:, place] *= made[factor][:, which]
                else:
                    part[:, place] = made[factor][:, which]


def _numbers(table: Table, cohort: Cohort, name: str, rows: "slice | NDArray[np.int64]") -> Floats:
    """Values of a column, which are read and not written: those of a number are not copied."""
    values = table.columns.get(name)
    if values is None or values.dtype != np.float64:
        return values_of(table, cohort, name, rows)
    return np.asarray(values[rows], np.float64)


def design_of(cohort: Cohort, formula: Formula) -> Design:
    """The design of a formula over a cohort whose columns have their kinds.

    Raises:
        ValueError: the formula cannot be computed from them.
    """
    kinds = cohort.every_column
    formula.check(kinds, explicit=True)
    return Design(formula, {name: kinds[name] for name in formula.columns})


def _columns_of(scoped: Coded, kinds: Columns) -> list[DesignColumn]:
    """Of one product; the first factor's columns change first."""
    if not scoped:
        return [DesignColumn(INTERCEPT, (), (1.0, 1.0))]
    choices = [_choices(factor, reduced, kinds) for factor, reduced in scoped]
    columns = []
    for backwards in product(*reversed(choices)):
        choice = backwards[::-1]
        parts = tuple((factor, which) for (factor, _), (which, _, _) in zip(scoped, choice, strict=True))
        interval = (1.0, 1.0)
        for _, _, other in choice:
            interval = _times(interval, other)
        columns.append(DesignColumn(":".join(name for _, name, _ in choice), parts, interval))
    return columns


def _choices(factor: Factor, reduced: bool, kinds: Columns) -> list[tuple[int, str, Interval]]:
    """A factor's columns: which, its name, and between which values it lies."""
    kind, name = kinds[factor.column], _name(factor)
    if isinstance(kind, Categorical):
        reference = kind.levels.index(_reference(factor, kind))
        levels = [
            (place, level) for place, level in enumerate(kind.levels) if not reduced or place != reference
        ]
        return [(place, f"{name}[{'T.' if reduced else ''}{level}]", (0.0, 1.0)) for place, level in levels]
    bounds = kind.bounds if hasattr(kind, "bounds") and kind.bounds else ENDLESS
    if isinstance(factor, BSpline | NaturalSpline):
        curve = _spline(factor, kinds)
        intervals = curve.intervals(bounds)
        return [(place, f"{name}[{place + 1}]", ends) for place, ends in enumerate(intervals)]
    return [(0, name, _interval(factor, bounds))]


def _name(factor: Factor) -> str:
    """A column as it is called, and everything else as it is written."""
    return factor.column if isinstance(factor, Plain) else str(factor)


def _reference(factor: Factor, kind: Categorical) -> Level:
    if isinstance(factor, Levels) and factor.reference is not None:
        return factor.reference
    return kind.levels[0]


def _interval(factor: Factor, bounds: Interval) -> Interval:
    low, high = bounds
    if isinstance(factor, Log):
        return (float(np.log(low)), float(np.log(high))) if low > 0 else ENDLESS
    if isinstance(factor, Power):
        ends = (low**factor.power, high**factor.power)
        least = 0.0 if factor.power % 2 == 0 and low < 0 < high else min(ends)
        return least, max(ends)
    return low, high


def _times(one: Interval, other: Interval) -> Interval:
    with np.errstate(invalid="ignore"):
        products = np.nan_to_num(np.outer(one, other), nan=0.0, posinf=np.inf, neginf=-np.inf)
    return float(products.min()), float(products.max())


def factor_columns(factor: Factor, kinds: Columns, values: Floats, held: bool) -> Floats:
    """(n, k): all columns that a factor makes of a column's values.

    Args:
        held: a number beyond its declared bounds counts as the bound.
    """
    kind = kinds[factor.column]
    if isinstance(kind, Categorical):
        levels = np.arange(len(kind.levels))
        indicators: Floats = (values[:, None] == levels).astype(np.float64)
        indicators[np.isnan(values)] = np.nan
        return indicators
    bounds = getattr(kind, "bounds", None)
    if held and bounds is not None:
        values = np.clip(values, *bounds)
    if isinstance(factor, BSpline | NaturalSpline):
        return _spline(factor, kinds)(values)
    if isinstance(factor, Log):
        positive = values > 0
        values = np.log(values, out=np.full(len(values), np.nan), where=positive)
    elif isinstance(factor, Power):
        with np.errstate(over="ignore"):
            values = values**factor.power
    return values[:, None]


def by_rows(rows: Floats, matrix: Floats) -> Floats:
    """(n, k): rows times a matrix, the bits of each row whatever stands beside it, unlike a BLAS product."""
    multiplied = np.zeros((len(rows), matrix.shape[1]))
    for begin in range(0, len(rows), CHUNK):
        part = rows[begin : begin + CHUNK]
        for column, line in zip(part.T, matrix, strict=True):
            multiplied[begin : begin + CHUNK] += column[:, None] * line
    return multiplied


# --- splines ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spline:
    """A basis of polynomials between knots.

    Attributes:
        low, high: its ends.
        knots: between them.
        combine: (n_splines, k): from all B-splines to the basis.
        straight: beyond its ends a straight line; else x is held there.
    """

    low: float
    high: float
    knots: tuple[float, ...]
    degree: int
    combine: Floats
    straight: bool

    def __call__(self, x: Floats) -> Floats:
        """(n, k), NaN where x is."""
        inside = np.clip(x, self.low, self.high)
        basis = by_rows(b_splines(inside, self.low, self.high, self.knots, self.degree), self.combine)
        if self.straight:
            beyond = x - inside
            for end in (self.low, self.high):
                there = (inside == end) & (beyond != 0)
                if np.any(there):
                    basis[there] += beyond[there, None] * self._slopes(end)
        return basis

    def _slopes(self, end: float) -> Floats:
        ends = (self.low, self.high, self.knots, self.degree)
        slopes: Floats = derivatives(end, *ends, order=1) @ self.combine
        return slopes

    def intervals(self, bounds: Interval) -> list[Interval]:
        """Between which values each column lies while x lies within bounds.

        B-splines are never negative and add up to 1, so that a combination lies between its coefficients.
        """
        ends = list(zip(self.combine.min(0), self.combine.max(0), strict=True))
        if self.straight and not (self.low <= bounds[0] and bounds[1] <= self.high):
            at = np.array([bounds[0], bounds[1]])
            if not np.isfinite(at).all():
                return [ENDLESS] * len(ends)
            far = self(at)
            ends = [
                (min(low, *column), max(high, *column))
                for (low, high), column in zip(ends, far.T, strict=True)
            ]
        return [(float(low), float(high)) for low, high in ends]


def _spline(factor: BSpline | NaturalSpline, kinds: Columns) -> Spline:
    ends = factor.boundaries(kinds[factor.column])
    if ends is None:
        raise ValueError(f"{factor}: a spline without ends")
    knots = tuple(factor.knots)
    if isinstance(factor, BSpline):
        first_left_out = np.eye(len(knots) + factor.degree + 1)[:, 1:]
        return Spline(*ends, knots, factor.degree, first_left_out, straight=False)
    bent = np.stack([derivatives(end, *ends, knots, 3, order=2)[1:] for end in ends])
    rotated = np.linalg.qr(bent.T, mode="complete")[0][:, 2:]
    combine = np.vstack([np.zeros(rotated.shape[1]), rotated])
    return Spline(*ends, knots, 3, combine, straight=True)


def _all_knots(low: float, high: float, knots: tuple[float, ...], degree: int) -> Floats:
    return np.array([low] * (degree + 1) + list(knots) + [high] * (degree + 1), np.float64)


def b_splines(x: Floats, low: float, high: float, knots: tuple[float, ...], degree: int) -> Floats:
    """(n, knots + degree + 1): every B-spline of a degree at each x, which lies between the ends.

    Source: de Boor 1978, chapter X, algorithm BSPLVB, for all x at once.
    """
    every = _all_knots(low, high, knots, degree)
    span = np.searchsorted(np.array(knots), x, side="right") + degree
    # B-splines that are not 0 at x are degree + 1 in a row, ending at its span.
    local = np.zeros((len(x), degree + 1))
    local[:, 0] = 1.0
    for order in range(1, degree + 1):
        carried = np.zeros(len(x))
        for place in range(order):
            right, left = every[span + place + 1], every[span + place + 1 - order]
            part = local[:, place] / (right - left)
            local[:, place] = carried + (right - x) * part
            carried = (x - left) * part
        local[:, order] = carried
    basis = np.zeros((len(x), len(knots) + degree + 1))
    np.put_along_axis(basis, (span - degree)[:, None] + np.arange(degree + 1), local, axis=1)
    basis[np.isnan(x)] = np.nan
    return basis


def derivatives(
    x: float, low: float, high: float, knots: tuple[float, ...], degree: int, order: int
) -> Floats:
    """(knots + degree + 1,): derivatives of every B-spline at one place (de Boor 1978, chapter X)."""
    coefficients = np.eye(len(knots) + degree + 1)
    for lower in range(degree, degree - order, -1):
        every = _all_knots(low, high, knots, lower)
        widths = (every[lower + 1 : -1] - every[1 : -lower - 1])[:, None]
        coefficients = lower * np.diff(coefficients, axis=0) / widths
    at: Floats = b_splines(np.array([x]), low, high, knots, degree - order)[0] @ coefficients
    return at

"""How many patients of each group have which value of a number, or lie in which part of its range."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, Draw, Floats, State, Sums, Tally
from fedcohort.analyses.grouped import group_of
from fedcohort.analyses.rows import Rows
from fedcohort.study import Cohort
from fedcohort.vector import Block, counts

PARTS, PRIVATE_PARTS = 1024, 32
"""Of a range without a grid. Private ones hold more patients than noise."""
ON_GRID = 1e-9
"""Of a step: values no farther from the grid are on it, since no float is a tenth."""


@dataclass(frozen=True)
class Places:
    """What values of a declared range are told apart.

    Attributes:
        step: between two values as they are recorded; None: equal parts of the range.
    """

    low: float
    high: float
    n: int
    step: float | None = None

    def of(self, values: Floats) -> NDArray[np.int64]:
        """The place of each value, one beyond the range at its end; -1 where it is missing."""
        width = (self.high - self.low) / self.n if self.step is None else self.step
        with np.errstate(over="ignore"):  # what no double holds lies beyond the range, too
            scaled = (values - self.low) / width
        whole = np.floor(scaled) if self.step is None else np.rint(scaled)
        missing = np.isnan(whole)
        places = np.clip(np.where(missing, 0.0, whole), 0, self.n - 1)
        return np.where(missing, -1, places).astype(np.int64)

    def is_between(self, values: Floats) -> NDArray[np.bool_]:
        """Which values are not on the grid; without a grid all of them."""
        if self.step is None:
            return ~np.isnan(values)
        off = np.abs(values - (self.low + self.of(values) * self.step))
        between: NDArray[np.bool_] = np.nan_to_num(off, nan=0.0) > ON_GRID * self.step
        return between


def n_places(low: float, high: float, step: float) -> int:
    """How many values a grid has within bounds."""
    return math.floor((high - low) / step + 0.5) + 1


def places_of(bounds: tuple[float, float], step: float | None, private: bool) -> Places:
    """The grid where there is one; under privacy only where it has few values."""
    most = PRIVATE_PARTS if private else PARTS
    if step is None or (private and n_places(*bounds, step) > most):
        return Places(*bounds, most)
    return Places(*bounds, n_places(*bounds, step), step)


@dataclass(frozen=True)
class ValuesStage:
    """Counts of one column's values by group, from which ranks follow.

    Attributes:
        private: then it is not told how many values are not on the grid.
    """

    cohort: Cohort
    column: str
    places: Places
    by: str | None
    n_groups: int
    private: bool = False
    times: int = 1

    @property
    def name(self) -> str:
        """By column."""
        return f"values/{self.column}"

    @property
    def between(self) -> str:
        """The block of the number of values between two places of the grid."""
        return f"between/{self.column}"

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A patient is in one cell."""
        cells = counts(self.name, self.n_groups * self.places.n, once=True)
        return (cells,) if self.private else (cells, counts(self.between, 1, once=True))

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's group and place."""
        ours = rows.patients("all")
        group = group_of(rows, self.cohort, self.by)
        values = values_of(rows.table, self.cohort, self.column)[ours]
        place = self.places.of(values)
        there = (place >= 0) & ~np.isnan(group)
        cell = np.where(there, np.nan_to_num(group).astype(np.int64) * self.places.n + place, -1)
        parts: dict[str, Contribution] = {self.name: Tally(cell=cell, rows=ours)}
        if not self.private:
            between = self.places.is_between(values) & there
            parts[self.between] = Tally(between[:, None], rows=ours)
        return parts

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the counts."""
        return state

    def counts(self, sums: Sums) -> Floats:
        """(groups, places), as noise leaves them."""
        return np.asarray(sums[self.name], np.float64).reshape(self.n_groups, self.places.n)

    def is_exact(self, sums: Sums) -> bool:
        """Whether all values are on the grid, so that no two of one place differ."""
        return not self.private and float(sums[self.between][0]) == 0

"""How many patients of each group have which value of a number, or lie in which part of its range."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, Draw, Floats, State, Sums, Tally
from fedcohort.analyses.grouped import group_of
from fedcohort.analyses.order_statistics import Grid, part_of
from fedcohort.analyses.rows import Rows
from fedcohort.study import Cohort
from fedcohort.vector import Block, counts

PART_BITS, PRIVATE_PART_BITS = 10, 5
"""Halvings of a range without a grid. Private parts are fewer, so that they hold more patients than noise."""


@dataclass(frozen=True)
class Places:
    """Which values are told apart.

    Attributes:
        part_bits: halvings of the range into equal parts, whose values count as equal; None: each place of
            the grid is told.
    """

    grid: Grid
    part_bits: int | None = None

    @property
    def n(self) -> int:
        """How many are told apart."""
        return self.grid.n if self.part_bits is None else 1 << self.part_bits

    def of(self, values: Floats) -> NDArray[np.int64]:
        """The place of each value, one beyond the range at its end; -1 where it is missing."""
        places = self.grid.places(values)
        if self.part_bits is None:
            return places
        return np.where(places < 0, -1, part_of(places, self.grid.bits, self.part_bits))

    def is_between(self, values: Floats) -> NDArray[np.bool_]:
        """Which values are not told by their place: not on the grid, or in a part of the range."""
        if self.part_bits is not None:
            return ~np.isnan(values)
        return self.grid.is_between(values)


def places_of(bounds: tuple[float, float], step: float | None, private: bool) -> Places:
    """The grid where there is one; under privacy only where it has few places."""
    grid = Grid(*bounds, step)
    bits = PRIVATE_PART_BITS if private else PART_BITS
    whole = step is not None and (not private or grid.n <= 1 << bits)
    return Places(grid, None if whole else bits)


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

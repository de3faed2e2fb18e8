"""How many patients have which levels of one column, or of several together: each falls into one cell."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, Draw, Floats, State, Sums, Tally
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.rows import Rows
from fedcohort.disclosure.cells import hidden_table
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import masked
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.study import Cohort
from fedcohort.vector import Array, Block, counts


@dataclass(frozen=True)
class CellsStage:
    """Counts of patients by the levels that they have of `columns`, and of those who lack one of them.

    Attributes:
        sizes: how many levels each column has.
        block: the name of the block, and of the stage.
        tells_missing: whether the last column's missing values are a level of their own.
    """

    cohort: Cohort
    columns: tuple[str, ...]
    sizes: tuple[int, ...]
    block: str = "cells"
    tells_missing: bool = False
    times: int = 1

    @property
    def name(self) -> str:
        """The block's."""
        return self.block

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the table of counts."""
        return (*self.sizes[:-1], self.sizes[-1] + self.tells_missing)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The table, and one cell for the missing."""
        return (counts(self.block, math.prod(self.shape) + 1, once=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's cell."""
        ours = rows.patients("all")
        levels = [values_of(rows.table, self.cohort, name)[ours] for name in self.columns]
        if self.tells_missing:
            levels[-1] = np.where(np.isnan(levels[-1]), self.sizes[-1], levels[-1])
        return {self.block: Tally(cell=cell_of(levels, self.shape), rows=ours)}

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the counts.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        table = self.table(sums)
        check_enough(float(table.sum()), sums.noise(self.block) * math.sqrt(table.size))
        return state

    def table(self, sums: Sums) -> Floats:
        """The counts, of `shape`; what noise made of them, under privacy."""
        return np.asarray(sums[self.block], np.float64)[:-1].reshape(self.shape)

    def shown(self, sums: Sums, rules: Disclosure) -> tuple[Array, list[Suppressed]]:
        """The block without what must not leave; all totals along the table's axes may be known."""
        table, missing = self.table(sums), self.missing(sums)
        few = table.sum() < rules.min_cell
        mask = np.ones(table.shape, bool) if few else hidden_table(table, rules.min_cell)
        gone = np.array([0 < missing < rules.min_cell])
        block = np.append(masked(table, mask, rules), masked(np.array([missing]), gone, rules))
        found = [
            Suppressed(self.block, "min_cell", int(mask.sum())),
            Suppressed("missing", "min_cell", int(gone[0])),
        ]
        return block, found

    def missing(self, sums: Sums) -> float:
        """How many patients are in no cell of the table."""
        return float(sums[self.block][-1])


def cell_of(levels: Sequence[Floats], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The cell of each row in a table of counts; the one after the last where a level is missing."""
    complete = ~np.isnan(levels[0])
    for values in levels[1:]:
        complete &= ~np.isnan(values)
    cell = np.zeros(len(complete), np.int64)
    for values, size in zip(levels, shape, strict=True):
        cell = cell * size + np.where(complete, values, 0.0).astype(np.int64)
    return np.where(complete, cell, math.prod(shape))

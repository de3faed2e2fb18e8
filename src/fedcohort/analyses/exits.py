"""Who left when, and why: patients by levels, time of a grid and event, from which curves over time follow.

A patient falls into one cell, so that one patient moves the sum by 1, however fine the grid and however many
the groups. At the grid's last place stand those whose observation went on beyond it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, Draw, Floats, State, Sums, Tally
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.rows import Rows
from fedcohort.columns import Categorical
from fedcohort.errors import StudyError
from fedcohort.study import Cohort
from fedcohort.vector import Block, counts

ALL = "all"
"""The name of the one group where nobody names groups."""
MOST_LOOKED_UP = 2.0**16
"""Whole times of a grid whose places are looked up rather than searched for, a tenth of the time."""
CHUNK = 2**15
"""Patients whose cells are found together: they stay in the processor's cache."""
Cells = NDArray[np.int32]
"""There are at most `grids.MOST_CELLS`, of each cause."""


@dataclass(frozen=True)
class ExitsStage:
    """Counts of patients by `columns` of levels, time and event; and of those who lack one of them.

    Attributes:
        sizes: how many levels each column has.
        n_causes: of the event; 1 where all causes are one.
    """

    cohort: Cohort
    grid: tuple[float, ...]
    columns: tuple[str, ...]
    sizes: tuple[int, ...]
    n_causes: int = 1
    name: str = "exits"
    times: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the table of counts."""
        return (*self.sizes, len(self.grid) + 1, 1 + self.n_causes)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A patient is in one cell; the last is that of the missing."""
        return (counts("exits", math.prod(self.shape) + 1, once=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's cell."""
        table = rows.table
        if table.label is None or table.event is None:
            raise StudyError("cohort.label: survival needs fc.Survival(time, event)")
        levels = (values_of(table, self.cohort, name) for name in self.columns)
        columns = [rows.firsts(values) for values in (table.label, table.event, *levels)]
        places, cell = GridPlaces.of(self.grid), np.empty(len(columns[0]), np.int32)
        for begin in range(0, len(cell), CHUNK):
            here = slice(begin, begin + CHUNK)
            cell[here] = self._cells(places, *(values[here] for values in columns))
        return {"exits": Tally(cell=cell, rows=rows.one_each)}

    def _cells(self, places: "GridPlaces", time: Floats, event: Floats, *levels: Floats) -> Cells:
        """The cell of each of some patients; the last is of those who lack something."""
        n_causes, n_times = 1 + self.n_causes, len(self.grid)
        cell = places(time)
        cell *= n_causes
        cell += (event if event.max() <= self.n_causes else np.fmin(event, self.n_causes)).astype(np.int32)
        # Beyond the grid nobody has had the event within it.
        np.minimum(cell, n_times * n_causes, out=cell)
        group = np.zeros(1, np.int32)
        for values, size in zip(levels, self.sizes, strict=True):
            group = group * size + np.fmax(values, 0.0).astype(np.int32)
        cell += group * ((n_times + 1) * n_causes)
        for values in (time, event, *levels):
            if not values.min() >= 0:
                cell[~(values >= 0)] = math.prod(self.shape)
        return cell

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the counts.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        exits = np.asarray(sums["exits"], np.float64)[:-1]
        check_enough(float(exits.sum()), sums.noise("exits") * float(np.sqrt(exits.size)))
        return state

    def counts(self, sums: Sums) -> Floats:
        """The table, of `shape`; what noise made of it, under privacy."""
        return np.asarray(sums["exits"], np.float64)[:-1].reshape(self.shape)


@dataclass(frozen=True, eq=False)
class GridPlaces:
    """Where times stand in a grid: the first that is not before; its length beyond the last, and of NaN.

    Attributes:
        of_day: of a grid of whole days, by which each day is looked up; else they are searched for.
    """

    edges: Floats
    of_day: Cells | None

    @classmethod
    def of(cls, grid: tuple[float, ...]) -> "GridPlaces":
        """In one grid, of many times."""
        edges = np.asarray(grid, np.float64)
        if edges[-1] > MOST_LOOKED_UP or np.any(edges != np.rint(edges)):
            return cls(edges, None)
        of_day = np.searchsorted(edges, np.arange(edges[-1] + 2), side="left")
        return cls(edges, of_day.astype(np.int32))

    def __call__(self, time: Floats) -> Cells:
        """(n,) of times."""
        if self.of_day is None:
            return np.searchsorted(self.edges, time, side="left").astype(np.int32)
        day, after = np.ceil(time), len(self.of_day) - 1.0
        if not (day.min(initial=0.0) >= 0 and day.max(initial=0.0) <= after):
            np.fmin(day, after, out=day)
            np.fmax(day, 0.0, out=day)
        return self.of_day.take(day.astype(np.intp), mode="clip")


def levels_by(cohort: Cohort, name: str | None) -> tuple[str | int, ...]:
    """Of a column; where none is named, there is one."""
    kind = cohort.every_column.get(name) if name else None
    return tuple(kind.levels) if isinstance(kind, Categorical) else (ALL,)


def at_risk(counts: Floats, halved: bool | NDArray[np.bool_]) -> Floats:
    """(..., times): patients of (..., times + 1, events) who were still observed just before each time.

    Args:
        halved: whether those who are lost count for half of the time in which they are (the life table of
            Cutler and Ederer 1958), as a coarse grid wants it; of all times, or by time.
    """
    # One event after the other: a sum along so short an axis takes ten times as long.
    left = counts[..., 0]
    for event in range(1, counts.shape[-1]):
        left = left + counts[..., event]
    here: Floats = np.flip(np.flip(left, -1).cumsum(-1), -1)[..., :-1]
    if np.any(halved):
        here -= np.where(halved, counts[..., :-1, 0] / 2, 0.0)
    return here


def without_noise(counts: Floats) -> Floats:
    """Counts as they may have been, none negative: the positive ones, scaled to each group's total."""
    positive: Floats = np.maximum(counts, 0.0)
    share = np.clip(counts.sum((-2, -1)) / np.maximum(positive.sum((-2, -1)), 1e-12), 0.0, None)
    positive *= share[..., None, None]
    return positive


def redraw(expected: Floats, sums: Sums, generator: np.random.Generator) -> Sums:
    """Other patients of the same population."""
    return Sums({"exits": generator.poisson(expected).astype(np.float64)}, sums.sigma, sums.n_sites)


def not_rising(curves: Floats) -> Floats:
    """By least squares the nearest curves that do not rise along the last axis (pool adjacent violators)."""
    if not np.any(np.diff(curves, axis=-1) > 0):
        return curves
    lines = curves.reshape(-1, curves.shape[-1])
    smooth = np.empty_like(lines)
    for line, values in enumerate(lines):
        pools: list[tuple[float, int]] = []
        for value in values.tolist():
            mean, n = value, 1
            while pools and pools[-1][0] < mean:
                before, many = pools.pop()
                mean, n = (mean * n + before * many) / (n + many), n + many
            pools.append((mean, n))
        smooth[line] = np.repeat(*map(np.array, zip(*pools, strict=True)))
    return smooth.reshape(curves.shape)


def at_ends(counts: Floats, places: NDArray[np.int64]) -> Floats:
    """Counts of windows of times, each at its last time, and at the last place all that no window holds.

    Args:
        counts: (times + 1, events).
        places: of windows' last times.
    """
    shown = np.zeros_like(counts)
    sums = np.add.reduceat(counts, np.concatenate([[0], places + 1]), axis=0)
    shown[places] = sums[:-1]
    shown[-1, 0] = sums[-1].sum()
    return shown

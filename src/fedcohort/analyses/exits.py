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
        ours, table = rows.patients("all"), rows.table
        if table.label is None or table.event is None:
            raise StudyError("cohort.label: survival needs fc.Survival(time, event)")
        time, event = rows.firsts(table.label), rows.firsts(table.event)
        levels = [rows.firsts(values_of(table, self.cohort, name)) for name in self.columns]
        known = time >= 0
        cell = np.zeros(len(ours), np.int64)
        for values, size in zip(levels, self.sizes, strict=True):
            known &= values >= 0
            cell = cell * size + np.fmax(values, 0.0).astype(np.int64)
        place = places_of(time, self.grid)
        known &= event >= 0
        cause = np.fmin(event, self.n_causes).astype(np.int64) * (place < len(self.grid))
        cell *= len(self.grid) + 1
        cell += place
        cell *= 1 + self.n_causes
        cell += cause
        if not known.all():
            cell = np.where(known, cell, math.prod(self.shape))
        return {"exits": Tally(cell=cell, rows=ours)}

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


def places_of(time: Floats, grid: tuple[float, ...]) -> NDArray[np.int64]:
    """(n,): the first of the grid that is not before a time; its length beyond the last, and where NaN."""
    edges = np.asarray(grid)
    if edges[-1] > MOST_LOOKED_UP or np.any(edges != np.rint(edges)):
        return np.searchsorted(edges, time, side="left").astype(np.int64)
    # A grid of whole days: the place of each day is looked up.
    after = edges[-1] + 1
    place_of_day = np.searchsorted(edges, np.arange(after + 1), side="left")
    day = np.fmin(time, after)
    np.fmax(day, 0.0, out=day)
    np.ceil(day, out=day)
    place: NDArray[np.int64] = place_of_day[day.astype(np.int64)]
    return place


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
    left = counts.sum(-1)
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

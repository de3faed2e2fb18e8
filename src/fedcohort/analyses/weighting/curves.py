"""A weighted survival curve, and how it changes with the weight of each patient.

The curve is Kaplan and Meier's of weights in place of counts (Xie and Liu 2005, Stat Med 24:3089). Its
logarithm changes with a patient's weight by a number that follows from when, and with or without the event,
the patient leaves (the infinitesimal jackknife: Jaeckel 1972; Efron 1982, chapter 6): so that sums by time of
leaving give its variance, and no patient's own number is needed. Who is lost within a window of several times
counts for half of it, as in a life table.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_risk
from fedcohort.analyses.product_limit import areas, product_limit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Windows:
    """One group's times, put together.

    Attributes:
        grid: of the question.
        places: in the grid, where windows end.
    """

    grid: Floats
    places: Ints

    @property
    def n(self) -> int:
        """How many windows there are."""
        return len(self.places)

    @property
    def times(self) -> Floats:
        """(n,): where windows end."""
        return self.grid[self.places]

    @property
    def halved(self) -> NDArray[np.bool_]:
        """(n,): windows of several times, of which those who are lost count for half."""
        several: NDArray[np.bool_] = np.diff(self.places, prepend=-1) != 1
        return several

    @property
    def reach_the_end(self) -> bool:
        """Whether a curve is known up to the grid's end."""
        return bool(self.n) and int(self.places[-1]) == len(self.grid) - 1

    def of(self, place: Ints) -> Ints:
        """The window of each place of the grid; `n` of those beyond the last one."""
        return np.searchsorted(self.places, place, side="left")

    def spread(self, values: Floats) -> Floats:
        """(times of the grid,): a window's value at its end, NaN elsewhere."""
        everywhere = np.full(len(self.grid), np.nan)
        everywhere[self.places] = values
        return everywhere


@dataclass(frozen=True, eq=False)
class Curve:
    """One group's curve.

    Attributes:
        exits: (windows + 1, 2): weights of those who leave without and with the event; the last leave later.
    """

    windows: Windows
    exits: Floats

    @cached_property
    def at_risk(self) -> Floats:
        """(windows,): weights of those who are still observed."""
        return at_risk(self.exits, self.windows.halved)

    @cached_property
    def survival(self) -> Floats:
        """(windows,): just after each."""
        return product_limit(self.exits[:-1, 1], np.where(self.at_risk > 0, self.at_risk, 1.0))

    @property
    def mean_time(self) -> float:
        """Restricted to the last window's end."""
        return float(areas(self.windows.times, self.survival, self.windows.halved).sum())

    @cached_property
    def _left(self) -> Floats:
        """(windows,): weights at risk that have not the event; 0 where all have it."""
        left: Floats = np.maximum(self.at_risk - self.exits[:-1, 1], 0.0)
        return left

    @cached_property
    def _terms(self) -> Floats:
        """(windows,): what a unit of weight at risk adds to the logarithm of the curve at each window."""
        both = self.at_risk * self._left
        terms: Floats = np.where(both > 0, self.exits[:-1, 1] / np.where(both > 0, both, 1.0), 0.0)
        return terms

    @cached_property
    def _before(self) -> Floats:
        """(windows,): the same of all windows up to each, which is that of those who leave later."""
        before: Floats = self._terms.cumsum()
        return before

    @cached_property
    def _after(self) -> Floats:
        """(windows, 2): the same of those who leave in each, without and with the event, from then on."""
        lost = self._before - np.where(self.windows.halved, self._terms / 2, 0.0)
        gone = np.where(self._left > 0, 1 / np.where(self._left > 0, self._left, 1.0), 0.0)
        return np.stack([lost, self._before - gone], axis=1)

    def log_changes(self, sums: Floats, power: int = 1) -> Floats:
        """(windows, …): by window, the sum over patients of what their weights change in the logarithm.

        Args:
            sums: (windows + 1, 2, …): what is summed with it, by when and how patients leave.
            power: 2: of the squares.
        """
        shape = (-1, *(1 for _ in sums.shape[2:]))
        later = np.flip(np.flip(sums.sum(1), 0).cumsum(0), 0)[1:]
        still = (self._before**power).reshape(shape) * later
        gone = (self._after**power).reshape(*self._after.shape, *shape[1:]) * sums[:-1]
        changes: Floats = still + gone.sum(1).cumsum(0)
        return changes

    @cached_property
    def mean_changes(self) -> Floats:
        """(windows + 1, 2): what a unit of weight of those who leave there changes in the mean time."""
        halved, width = self.windows.halved, np.diff(self.windows.times, prepend=0.0)
        following = np.append(width[1:] * np.where(halved[1:], 0.5, 1.0), 0.0)
        area = (following + np.where(halved, width / 2, 0.0)) * self.survival
        behind = np.flip(np.flip(area).cumsum())
        until = np.concatenate([[0.0], (area * self._before).cumsum()])
        changes = np.repeat(until[:, None], 2, axis=1)
        changes[:-1] += self._after * behind[:, None]
        return changes

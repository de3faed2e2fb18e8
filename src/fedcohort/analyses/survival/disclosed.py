"""Curves of which no step shows few patients: times are put together until events and losses are enough.

Between two times at which a curve is shown, those who are lost count for half of it, as in the life table of
Cutler and Ederer (1958); the curve is computed from the counts that are shown, since one from exact times
would let them be searched for.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_ends
from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.survival.life_table import Floats, LifeTable, median
from fedcohort.disclosure.cells import rounded
from fedcohort.disclosure.magnitudes import to_digits
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import ROUNDING, count_of, masked, number_of
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.disclosure.windows import windows
from fedcohort.vector import Array

DIGITS = 4
"""Of the test's statistic, which is of all patients' exact times, where times are put together."""


def shown_sums(
    strata: Floats, missing: float, groups: tuple[str, ...], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """What a report may be made of.

    Args:
        strata: (strata, groups, times + 1, 2), who left when.
    Returns:
        `shown/exits`, (groups, times + 1, 2): of windows of times at their ends, what is behind the last one
        behind the grid; `shown/ends`, (groups, times), 1 where a window ends; `shown/events`, (groups,);
        `shown/missing`; `shown/logrank`, its statistic and p-value.
    """
    exits = strata.sum(0)
    shown, events = np.zeros_like(exits), np.zeros(len(groups))
    ends, found = np.zeros(exits.shape[:2], np.int64)[:, :-1], []
    for group, counts in enumerate(exits):
        n = float(counts.sum())
        places = windows(counts[:-1], rules.min_cell, float(counts[-1].sum()))
        ends[group, places] = 1
        shown[group] = at_ends(counts, places) if n >= rules.min_cell else np.nan
        events[group] = _events(counts, shown[group], rules)
        hidden = int(np.isnan(events[group])) + int(n < rules.min_cell) + len(counts) - 1 - len(places)
        found.append(Suppressed(groups[group], "min_cell", hidden if n else 0))
    few = np.array([0 < missing < rules.min_cell])
    found.append(Suppressed("missing", "min_cell", int(few[0])))
    values = {
        "shown/exits": shown,
        "shown/ends": ends,
        "shown/events": events,
        "shown/missing": masked(np.array([missing]), few, rules),
        "shown/logrank": _logrank(strata, bool(ends.all()), rules),
        ROUNDING: np.array([rules.rounding]),
    }
    return values, found


def _logrank(strata: Floats, exactly: bool, rules: Disclosure) -> Floats:
    """Of all patients' times, where each group and all events are enough."""
    exits = strata.sum(0)
    few = min(float(exits.sum((1, 2)).min()), float(exits[:, :-1, 1].sum())) < rules.min_cell
    if len(exits) < 2 or few:
        return np.full(2, np.nan)
    test = LifeTable(strata).logrank()
    return np.array(test if exactly else [to_digits(part, DIGITS) for part in test])


def _events(counts: Floats, shown: Floats, rules: Disclosure) -> float:
    """All events of a group; NaN where they or what no window holds of them are few."""
    total, inside = float(counts[:-1, 1].sum()), float(shown[:-1, 1].sum())
    n, behind = float(counts.sum()), float(shown[-1].sum())
    parts = (total, n - total, total - inside, behind - (total - inside))
    few = any(0 < part < rules.min_cell for part in parts)
    return float(masked(np.array(total), np.array(few), rules))


@dataclass(frozen=True)
class ShownGroup:
    """One group, with its windows.

    Attributes:
        counts: (times + 1, 2), each window's at its end.
        ends: of windows, as places in the grid.
    """

    grid: Floats
    counts: Floats
    ends: NDArray[np.int64]
    events: float
    rounding: int = 1

    @property
    def table(self) -> LifeTable:
        """Over the windows; one of a single time is exact."""
        alone = np.diff(self.ends, prepend=-1) == 1
        return LifeTable(self.counts[[*self.ends, -1]][None], halved=~alone)

    def report(self) -> dict[str, object]:
        """As a report has it; None where nothing is shown."""
        n = rounded(self.counts.sum(), self.rounding)
        told = {"n": count_of(n), "events": count_of(self.events)}
        if not len(self.ends):
            nothing: list[None] = [None] * len(self.grid)
            curves = dict.fromkeys(("survival", "low", "high", "at_risk"), nothing)
            names = ("median", "median_low", "median_high", "rmst", "rmst_low", "rmst_high")
            return {**told, **dict.fromkeys(names), **curves}
        table, times = self.table, self.grid[self.ends]
        curve, (low, high) = table.survival[0], table.greenwood()
        at_risk = rounded(np.flip(np.flip(table.counts[0].sum(-1)).cumsum())[:-1], self.rounding)
        return {
            **told,
            **self._median(times, curve, low[0], high[0]),
            **self._means(table, times),
            "survival": self._at(self.ends, curve),
            "low": self._at(self.ends, low[0]),
            "high": self._at(self.ends, high[0]),
            "at_risk": [count_of(n) for n in self._spread(np.append(0, self.ends[:-1] + 1), at_risk)],
        }

    def _median(self, times: Floats, curve: Floats, low: Floats, high: Floats) -> dict[str, float | None]:
        """The median, where it falls on a time that is shown by itself, and between which times it lies."""
        first, found, last = (median(times, np.nan_to_num(line, nan=1.0)) for line in (low, curve, high))
        begin = None if first is None else self._begin(times, first)
        if found is not None and self._begin(times, found) is not None:
            found = None
        return {"median": found, "median_low": first if begin is None else begin, "median_high": last}

    def _begin(self, times: Floats, end: float) -> float | None:
        """The last time before the window that ends there; None of a window of one time."""
        place = int(np.flatnonzero(times == end)[0])
        if self.ends[place] - (self.ends[place - 1] if place else -1) == 1:
            return None
        return float(times[place - 1]) if place else 0.0

    def _means(self, table: LifeTable, times: Floats) -> dict[str, float | None]:
        """Of a curve that is shown up to the grid's end."""
        if self.ends[-1] < len(self.grid) - 1:
            return dict.fromkeys(("rmst", "rmst_low", "rmst_high"))
        mean, error = float(table.mean_time(times)[0]), float(table.mean_time_error(times)[0])
        low, high = max(mean - NORMAL_EXACT * error, 0.0), min(mean + NORMAL_EXACT * error, float(times[-1]))
        return {"rmst": mean, "rmst_low": low, "rmst_high": high}

    def _at(self, places: NDArray[np.int64], values: Floats) -> list[float | None]:
        return [number_of(value) for value in self._spread(places, values)]

    def _spread(self, places: NDArray[np.int64], values: Floats) -> Floats:
        spread = np.full(len(self.grid), np.nan)
        spread[places] = values
        return spread

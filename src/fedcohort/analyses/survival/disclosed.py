"""Survival curves of which no step shows few patients."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.disclosed_exits import (
    at_risk_at,
    is_tested,
    of_windows,
    shown_exits,
    shown_test,
    spread,
)
from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.product_limit import median_of_windows
from fedcohort.analyses.survival.life_table import Floats, LifeTable
from fedcohort.disclosure.cells import rounded
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, numbers_of
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.vector import Array


def shown_sums(
    strata: Floats, missing: float, groups: tuple[str, ...], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """What a report may be made of.

    Args:
        strata: (strata, groups, times + 1, 2), who left when.
    Returns:
        as of `shown_exits`, of all strata together; `shown/logrank`, its statistic and p-value.
    """
    exits = strata.sum(0)
    values, found = shown_exits(exits, missing, groups, rules)
    test = np.full(2, np.nan)
    if is_tested(exits, 0, rules):
        test = np.array(shown_test(LifeTable(strata).logrank(), values["shown/ends"]))
    return {**values, "shown/logrank": test}, found


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

    def report(self) -> dict[str, object]:
        """As a report has it; None where nothing is shown."""
        n = rounded(self.counts.sum(), self.rounding)
        told = {"n": count_of(n), "events": count_of(self.events)}
        if not len(self.ends):
            nothing: list[None] = [None] * len(self.grid)
            curves = dict.fromkeys(("survival", "low", "high", "at_risk"), nothing)
            names = ("median", "median_low", "median_high", "rmst", "rmst_low", "rmst_high")
            return {**told, **dict.fromkeys(names), **curves}
        counts, halved = of_windows(self.counts, self.ends)
        table, times = LifeTable(counts[None], halved), self.grid[self.ends]
        curve, (low, high) = table.survival[0], table.greenwood()
        return {
            **told,
            **median_of_windows(times, self.ends, curve, low[0], high[0]),
            **self._means(table, times),
            "survival": self._at(curve),
            "low": self._at(low[0]),
            "high": self._at(high[0]),
            "at_risk": at_risk_at(len(self.grid), self.ends, counts, self.rounding),
        }

    def _means(self, table: LifeTable, times: Floats) -> dict[str, float | None]:
        """Of a curve that is shown up to the grid's end."""
        if self.ends[-1] < len(self.grid) - 1:
            return dict.fromkeys(("rmst", "rmst_low", "rmst_high"))
        mean, error = float(table.mean_time(times)[0]), float(table.mean_time_error(times)[0])
        low, high = max(mean - NORMAL_EXACT * error, 0.0), min(mean + NORMAL_EXACT * error, float(times[-1]))
        return {"rmst": mean, "rmst_low": low, "rmst_high": high}

    def _at(self, values: Floats) -> list[float | None]:
        return numbers_of(spread(len(self.grid), self.ends, values))

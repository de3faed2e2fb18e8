"""Curves of which no step shows few patients: times are put together until all that leaves there is enough.

As of survival curves, those who are lost between two times that are shown count for half of it, and curves
are computed from the counts that are shown.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_ends
from fedcohort.analyses.incidence.aalen_johansen import Floats, IncidenceTable
from fedcohort.analyses.incidence.gray import GrayTest
from fedcohort.disclosure.cells import rounded
from fedcohort.disclosure.magnitudes import to_digits
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import ROUNDING, count_of, masked, number_of
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.disclosure.windows import windows
from fedcohort.vector import Array

DIGITS = 4
"""Of a test's statistic, which is of all patients' exact times, where times are put together."""


def shown_sums(
    exits: Floats, missing: float, groups: tuple[str, ...], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """What a report may be made of.

    Args:
        exits: (groups, times + 1, 1 + causes), who left when and why.
    Returns:
        `shown/exits`, of its shape: of windows of times at their ends, what is behind the last one behind the
        grid; `shown/ends`, (groups, times), 1 where a window ends; `shown/events`, (groups, causes);
        `shown/missing`; `shown/gray`, (causes, 2), each statistic and p-value.
    """
    shown, events = np.zeros_like(exits), np.zeros((len(groups), exits.shape[2] - 1))
    ends, found = np.zeros(exits.shape[:2], np.int64)[:, :-1], []
    for group, counts in enumerate(exits):
        n = float(counts.sum())
        places = windows(counts[:-1], rules.min_cell, float(counts[-1].sum()))
        ends[group, places] = 1
        shown[group] = at_ends(counts, places) if n >= rules.min_cell else np.nan
        events[group] = _events(counts, shown[group], rules)
        hidden = int(np.isnan(events[group]).sum()) + int(n < rules.min_cell) + len(counts) - 1 - len(places)
        found.append(Suppressed(groups[group], "min_cell", hidden if n else 0))
    few = np.array([0 < missing < rules.min_cell])
    found.append(Suppressed("missing", "min_cell", int(few[0])))
    values = {
        "shown/exits": shown,
        "shown/ends": ends,
        "shown/events": events,
        "shown/missing": masked(np.array([missing]), few, rules),
        "shown/gray": np.array(
            [_gray(exits, cause, bool(ends.all()), rules) for cause in range(events.shape[1])]
        ),
        ROUNDING: np.array([rules.rounding]),
    }
    return values, found


def _gray(exits: Floats, cause: int, exactly: bool, rules: Disclosure) -> tuple[float, float]:
    """Of all patients' times, where each group and all events of the cause are enough."""
    few = min(float(exits.sum((1, 2)).min()), float(exits[:, :-1, 1 + cause].sum())) < rules.min_cell
    if len(exits) < 2 or few:
        return np.nan, np.nan
    statistic, p = GrayTest(exits, cause).statistic()
    return (statistic, p) if exactly else (to_digits(statistic, DIGITS), to_digits(p, DIGITS))


def _events(counts: Floats, shown: Floats, rules: Disclosure) -> Floats:
    """All events of a group by cause; NaN where they, or what no window holds of anything, are few."""
    total, inside = counts[:-1, 1:].sum(0), shown[:-1, 1:].sum(0)
    n, behind = float(counts.sum()), float(shown[-1].sum())
    rest = total - inside
    parts = np.concatenate([total, n - total, rest, [behind - rest.sum()]])
    few = bool(np.any((parts > 0) & (parts < rules.min_cell)))
    return masked(total, np.full(len(total), few), rules)


@dataclass(frozen=True)
class ShownGroup:
    """One group, with its windows.

    Attributes:
        counts: (times + 1, 1 + causes), each window's at its end.
        ends: of windows, as places in the grid.
        events: by cause.
    """

    n_times: int
    causes: tuple[int, ...]
    counts: Floats
    ends: NDArray[np.int64]
    events: Floats
    rounding: int = 1

    def report(self) -> dict[str, object]:
        """As a report has it; None where nothing is shown."""
        nothing: Floats = np.full((len(self.causes), len(self.ends)), np.nan)
        curve, low, high, at_risk = nothing, nothing, nothing, nothing[0]
        if len(self.ends):
            # A window of a single time is exact.
            alone = np.diff(self.ends, prepend=-1) == 1
            table = IncidenceTable(self.counts[[*self.ends, -1]][None], halved=~alone)
            curve, low, high = table.incidence[0], *(one[0] for one in table.ends())
            at_risk = rounded(np.flip(np.flip(table.counts[0].sum(-1)).cumsum())[:-1], self.rounding)
        begins = np.append(0, self.ends[:-1] + 1)[: len(self.ends)]
        return {
            "n": count_of(rounded(self.counts.sum(), self.rounding)),
            "at_risk": [count_of(n) for n in self._spread(begins, at_risk)],
            "causes": {
                str(name): {
                    "events": count_of(self.events[cause]),
                    "incidence": self._at_ends(curve[cause]),
                    "low": self._at_ends(low[cause]),
                    "high": self._at_ends(high[cause]),
                }
                for cause, name in enumerate(self.causes)
            },
        }

    def _at_ends(self, values: Floats) -> list[float | None]:
        return [number_of(value) for value in self._spread(self.ends, values)]

    def _spread(self, places: NDArray[np.int64], values: Floats) -> Floats:
        spread = np.full(self.n_times, np.nan)
        spread[places] = values
        return spread

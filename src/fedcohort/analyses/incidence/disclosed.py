"""Curves of cumulative incidence of which no step shows few patients."""

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
from fedcohort.analyses.incidence.aalen_johansen import Floats, IncidenceTable
from fedcohort.analyses.incidence.gray import GrayTest
from fedcohort.disclosure.cells import rounded
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, numbers_of
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.vector import Array


def shown_sums(
    exits: Floats, missing: float, groups: tuple[str, ...], rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """What a report may be made of.

    Args:
        exits: (groups, times + 1, 1 + causes), who left when and why.
    Returns:
        as of `shown_exits`; `shown/gray`, (causes, 2), each statistic and p-value.
    """
    values, found = shown_exits(exits, missing, groups, rules)
    tests = np.full((exits.shape[2] - 1, 2), np.nan)
    for cause in range(len(tests)):
        if is_tested(exits, cause, rules):
            tests[cause] = shown_test(GrayTest(exits, cause).statistic(), values["shown/ends"])
    return {**values, "shown/gray": tests}, found


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
        counts, halved = of_windows(self.counts, self.ends)
        nothing: Floats = np.full((len(self.causes), len(self.ends)), np.nan)
        curve, low, high = nothing, nothing, nothing
        if len(self.ends):
            table = IncidenceTable(counts[None], halved)
            curve, low, high = table.incidence[0], *(one[0] for one in table.ends())
        return {
            "n": count_of(rounded(self.counts.sum(), self.rounding)),
            "at_risk": at_risk_at(self.n_times, self.ends, counts, self.rounding),
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
        return numbers_of(spread(self.n_times, self.ends, values))

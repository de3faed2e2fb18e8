"""The hazard ratio of two weighted groups within a hospital: Cox's partial likelihood of a column of 0 and 1.

Weights count in sums and risk sets (Binder 1992, Biometrika 79:139); ties after Breslow 1974. Two groups need
no more than how much weight of each is at risk, and has the event, at each time.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.weighting.weights import Treated

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_LOG = 80.0
"""Of a hazard ratio's logarithm: beyond it sums would be no numbers."""


@dataclass(frozen=True, eq=False)
class TwoGroups:
    """A hospital's weighted groups at its times of events.

    Attributes:
        at_risk, events: (2, times) of weights, the untreated first.
        n_lived: (n,): how many of the times each patient lives through, the own event's among them.
    """

    at_risk: Floats
    events: Floats
    n_lived: Ints

    @classmethod
    def of(cls, rows: Treated, weight: Floats) -> "TwoGroups":
        """Of patients whose outcome is a time and an event."""
        time = np.zeros(0) if rows.time is None else rows.time
        died = rows.y == 1
        times = np.unique(time[died])
        n_lived = np.searchsorted(times, time, side="right")
        at_risk, events = np.zeros((2, 2, len(times)))
        for arm in (0, 1):
            mine = rows.a == arm
            leaving = np.bincount(n_lived[mine], weight[mine], len(times) + 1)
            at_risk[arm] = np.flip(np.flip(leaving).cumsum())[1:]
            events[arm] = np.bincount(n_lived[mine & died] - 1, weight[mine & died], len(times))
        return cls(at_risk, events, n_lived)

    def _treated(self, log_ratio: float) -> tuple[Floats, Floats]:
        """(times,) twice: the risk at each time, and the treated's share of it."""
        treated = self.at_risk[1] * np.exp(np.clip(log_ratio, -MOST_LOG, MOST_LOG))
        risk = self.at_risk[0] + treated
        return risk, treated / risk

    def likelihood(self, log_ratio: float) -> Floats:
        """(3,): logarithm of the partial likelihood, its first derivative, and less its second."""
        risk, share = self._treated(log_ratio)
        events = self.events.sum(0)
        value = self.events[1].sum() * log_ratio - events @ np.log(risk)
        return np.array([value, self.events[1].sum() - events @ share, events @ (share * (1 - share))])

    def changes(self, rows: Treated, log_ratio: float) -> Floats:
        """(n,): how the first derivative changes with each patient's weight, which is 0 of all together."""
        risk, share = self._treated(log_ratio)
        hazard = self.events.sum(0) / risk
        lived, shared = (np.append(0.0, part.cumsum())[self.n_lived] for part in (hazard, hazard * share))
        at_event = np.append(0.0, share)[self.n_lived]
        ratio = np.exp(np.clip(log_ratio, -MOST_LOG, MOST_LOG))
        expected = np.where(rows.a == 1, ratio * (lived - shared), -shared)
        changes: Floats = np.where(rows.y == 1, rows.a - at_event, 0.0) - expected
        return changes

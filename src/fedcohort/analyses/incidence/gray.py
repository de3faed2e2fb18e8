"""Gray's test of one cumulative incidence in several groups, from counts of who left when and why.

Gray 1988, "A class of K-sample tests for comparing the cumulative incidence of a competing risk" (Ann Stat
16:1141), with rho = 0. A patient of group k counts for (1 - F_k) / S_k in the risk set, as those whom another
event has befallen stay in it. Ties are corrected for as of a hypergeometric draw.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_risk
from fedcohort.analyses.tails import chi_squared_p

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GrayTest:
    """Of one cause.

    Attributes:
        counts: (groups, times + 1, 1 + causes), as of `aalen_johansen`.
        cause: whose incidence is compared, from 0.
        halved: as there.
    """

    counts: Floats
    cause: int
    halved: bool = False

    @cached_property
    def events(self) -> Floats:
        """(groups, times): of the cause."""
        return self.counts[:, :-1, 1 + self.cause]

    @cached_property
    def others(self) -> Floats:
        """(groups, times): of every other cause."""
        others: Floats = self.counts[:, :-1, 1:].sum(-1) - self.events
        return others

    @cached_property
    def risk(self) -> Floats:
        """(groups, times)."""
        risk: Floats = np.maximum(at_risk(self.counts, self.halved), 1.0 if self.halved else 0.0)
        return risk

    @cached_property
    def free(self) -> tuple[Floats, Floats]:
        """(groups, times), twice: share that no event has befallen, just before each time and after it."""
        total = self.events + self.others
        left = 1 - np.clip(total / np.maximum(self.risk, 1.0), 0.0, 1.0)
        after = np.cumprod(left, axis=-1).astype(np.float64)
        return _before(after, 1.0), after

    @cached_property
    def weighed(self) -> Floats:
        """(groups, times): patients at risk over the share that no event has befallen, Gray's h."""
        before = self.free[0]
        weighed: Floats = np.where(before > 0, self.risk / np.where(before > 0, before, 1.0), 0.0)
        return weighed

    @cached_property
    def excess(self) -> Floats:
        """(groups,): events above those expected if all groups had one incidence."""
        steps = self.free[0] * self.events / np.maximum(self.risk, 1.0)
        subject = self.weighed * np.clip(1 - _before(steps.cumsum(-1), 0.0), 0.0, 1.0)
        total = subject.sum(0)
        share = subject / np.where(total > 0, total, 1.0)
        above: Floats = (self.events - self.events.sum(0) * share).sum(-1)
        return above

    def variance(self) -> Floats:
        """(groups, groups): of the excess of exact counts."""
        (before, after), risk, h, d = self.free, self.risk, self.weighed, self.events.sum(0)
        total = np.where(h.sum(0) > 0, h.sum(0), 1.0)
        pooled = (d / total).cumsum()
        remaining = 1 - pooled
        weight = d / (total * np.maximum(1 - _before(pooled, 0.0), 1e-12))
        there, ends = risk > 0, after > 0
        tied = there & (d > 1)
        ratio = np.where(ends, remaining / np.where(ends, after, 1.0), 0.0)
        # By group: variance of a jump of the cause, as of all groups, and of any other cause, as of its own.
        ties = np.where(tied, 1 - (d - 1) / np.where(tied, total * before - 1, 1.0), 1.0)
        own = np.where(there, ties * before * d / (total * np.maximum(risk, 1.0)), 0.0)
        ties = np.where(self.others > 1, 1 - (self.others - 1) / np.maximum(risk - 1, 1.0), 1.0)
        other = np.where(there, ties * self.others * (before / np.maximum(risk, 1.0)) ** 2, 0.0)
        variance = np.zeros((len(h), len(h)))
        for group in range(len(h)):
            now = -h * h[group] / total
            now[group] += h[group]
            gone = (now * weight).cumsum(-1)
            later = gone[:, -1:] - gone
            jump = now + np.where(ends[group], 1 - ratio[group], 1.0) * later
            variance += (jump * own[group]) @ jump.T
            variance += (later * (ratio[group] ** 2 * other[group])) @ later.T
        return variance

    def statistic(self) -> tuple[float, float]:
        """Chi-squared over exact counts, and its p-value."""
        excess = self.excess[:-1]
        squared = float(excess @ np.linalg.pinv(self.variance()[:-1, :-1]) @ excess)
        return squared, chi_squared_p(squared, len(excess))


def _before(values: Floats, start: float) -> Floats:
    return np.concatenate([np.full_like(values[..., :1], start), values[..., :-1]], axis=-1)

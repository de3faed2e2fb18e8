"""Cumulative incidence from counts of who left when and why: arithmetic alone, also of redrawn counts.

Counts are (…, groups, times + 1, 1 + causes): patients that left at each time of a grid, without an event and
by each cause; at the last place stand those whose observation went on beyond the grid. Aalen and Johansen
1978 (Scand J Stat 5:141); the variance is that of Aalen 1978 (Ann Stat 6:534) in the form of Pintilie 2006,
*Competing Risks: A Practical Perspective*, equation 4.5, with the interval of log(-log F).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_risk, not_rising, without_noise
from fedcohort.analyses.intervals import NORMAL_EXACT as NORMAL

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class IncidenceTable:
    """What follows from the counts.

    Attributes:
        halved: whether those who are lost count for half of the time in which they are; of all times, or by
            time.
    """

    counts: Floats
    halved: bool | NDArray[np.bool_] = False

    @property
    def events(self) -> Floats:
        """(…, groups, causes, times)."""
        return np.swapaxes(self.counts[..., :-1, 1:], -1, -2)

    @property
    def at_risk(self) -> Floats:
        """(…, groups, times): patients who were still observed just before each time."""
        return at_risk(self.counts, self.halved)

    @property
    def free(self) -> Floats:
        """(…, groups, times): share that no event has befallen, just after each time (Kaplan-Meier)."""
        risk = np.maximum(self.at_risk, 1.0)
        total = self.events.sum(-2)
        return np.cumprod(1 - np.clip(total / risk, -0.5, 1.0), axis=-1).astype(np.float64)

    @property
    def sum(self) -> Floats:
        """(…, groups, causes, times): incidence just after each time; with noise it may fall, and below 0."""
        risk = np.maximum(self.at_risk, 1.0)
        steps = (_just_before(self.free, 1.0) / risk)[..., None, :] * self.events
        return steps.cumsum(-1)

    @property
    def incidence(self) -> Floats:
        """The same, where noise makes it fall the nearest that does not."""
        rising: Floats = np.clip(-not_rising(-self.sum), 0.0, 1.0)
        return rising

    @property
    def variance(self) -> Floats:
        """(…, groups, causes, times): of exact counts."""
        risk, events, incidence = self.at_risk[..., None, :], self.events, self.incidence
        before = _just_before(self.free, 1.0)[..., None, :]
        total = events.sum(-2, keepdims=True)
        left = risk - total
        of_total = _over(total, (risk - 1) * left)
        # The sum over earlier times u of (F(t) - F(u))^2 and of F(t) - F(u), each weighted, by moments.
        first = incidence**2 * of_total.cumsum(-1) - 2 * incidence * (incidence * of_total).cumsum(-1)
        first += (incidence**2 * of_total).cumsum(-1)
        spread = events * (risk - events)
        second = _over(spread * before**2, (risk - 1) * risk**2).cumsum(-1)
        both = _over(spread * before, risk * left * (risk - 1))
        third = incidence * both.cumsum(-1) - (incidence * both).cumsum(-1)
        variance: Floats = np.maximum(first + second - 2 * third, 0.0)
        return variance

    def ends(self) -> tuple[Floats, Floats]:
        """95 % interval of exact curves: NaN where nothing has happened yet, or all has."""
        incidence = self.incidence
        inside = (incidence > 0) & (incidence < 1)
        log = np.log(np.where(inside, incidence, 0.5))
        spread = NORMAL * np.sqrt(self.variance) / np.where(inside, incidence, 1.0) / np.abs(log)
        low, high = (np.where(inside, np.exp(log * np.exp(sign * spread)), np.nan) for sign in (1, -1))
        return low, high

    def expected(self, same: int | None = None) -> Floats:
        """Counts as they may have been without noise, none of them negative.

        Args:
            same: a cause of which all groups have one incidence; each keeps its own hazard of the others.
        """
        counts = without_noise(self.counts)
        if same is None:
            return counts
        table = IncidenceTable(counts, self.halved)
        # All groups together, as Gray's test under its hypothesis: patients weighted by 1 / (share free).
        risk, free = table.at_risk, _just_before(table.free, 1.0)
        weighed = (risk / np.maximum(free, 1e-12)).sum(-2)
        steps = table.events[:, same].sum(-2) / np.maximum(weighed, 1.0)
        hazards = counts[:, :-1] / np.maximum(risk, 1.0)[..., None]
        expected = np.zeros_like(counts)
        left, share = counts.sum((-2, -1)), np.ones(len(counts))
        for time, step in enumerate(steps):
            chances = np.clip(hazards[:, time], 0.0, 1.0)
            chances[:, 1 + same] = step / np.maximum(share, 1e-12)
            chances /= np.maximum(chances.sum(-1, keepdims=True), 1.0)
            expected[:, time] = left[:, None] * chances
            share = np.maximum(share * (1 - chances[:, 1:].sum(-1)), 0.0)
            left = np.maximum(left - expected[:, time].sum(-1), 0.0)
        expected[:, -1, 0] = left
        return expected


def _just_before(curve: Floats, start: float) -> Floats:
    return np.concatenate([np.full_like(curve[..., :1], start), curve[..., :-1]], axis=-1)


def _over(numbers: Floats, by: Floats) -> Floats:
    """A quotient, 0 where nothing can be divided by."""
    quotient: Floats = np.where(by > 0, numbers / np.where(by > 0, by, 1.0), 0.0)
    return quotient

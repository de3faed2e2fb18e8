"""Survival from counts of who left when: arithmetic alone, over any number of groups and of redrawn counts.

Counts are (…, groups, times + 1, 2): patients that left at each time of a grid, without and with the event;
at the last place stand those whose observation went on beyond the grid. Curves are those of `product_limit`,
with Greenwood's variance; the log-rank test (Mantel 1966) is within strata (Peto et al. 1977, Br J Cancer
35:1), of counts (strata, groups, times + 1, 2). Under privacy who is lost between two times counts for half
of it (the life table of Cutler and Ederer 1958), since a private grid is coarse.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exits import at_risk, not_rising, without_noise
from fedcohort.analyses.product_limit import areas, log_log_interval, product_limit
from fedcohort.analyses.tails import chi_squared_p

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LifeTable:
    """What follows from the counts.

    Attributes:
        halved: whether those who are lost count for half of the time in which they are; of all times, or by
            time.
    """

    counts: Floats
    halved: bool | NDArray[np.bool_] = False

    @property
    def events(self) -> Floats:
        """(…, groups, times)."""
        return self.counts[..., :-1, 1]

    @cached_property
    def at_risk(self) -> Floats:
        """(…, groups, times): patients who were still observed just before each time."""
        return at_risk(self.counts, self.halved)

    @cached_property
    def product(self) -> Floats:
        """(…, groups, times): just after each time; with noise it may rise, and above 1."""
        return product_limit(self.events, np.maximum(self.at_risk, 1.0))

    @cached_property
    def survival(self) -> Floats:
        """(…, groups, times): just after each time; where noise makes it rise, the nearest that does not."""
        falling: Floats = np.clip(not_rising(self.product), 0.0, 1.0)
        return falling

    def greenwood(self) -> tuple[Floats, Floats]:
        """95 % interval of an exact curve: NaN where it has not begun to fall, or is at its end."""
        variance = np.cumsum(self._greenwood_terms, axis=-1)
        return log_log_interval(self.survival, np.sqrt(variance))

    @cached_property
    def _greenwood_terms(self) -> Floats:
        """(…, groups, times): what each time adds to the variance of the logarithm of an exact curve."""
        left = self.at_risk * (self.at_risk - self.events)
        terms: Floats = np.where(left > 0, self.events / np.where(left > 0, left, 1.0), 0.0)
        return terms

    def mean_time(self, grid: Floats) -> Floats:
        """(…, groups): restricted mean survival time, the area under a curve up to the grid's end."""
        mean: Floats = self._areas(grid).sum(-1)
        return mean

    def mean_time_error(self, grid: Floats) -> Floats:
        """(groups,): of exact counts, its standard error (Klein and Moeschberger 2003, section 4.5)."""
        areas = self._areas(grid)
        left = areas.sum(-1, keepdims=True) - areas.cumsum(-1)
        error: Floats = np.sqrt((left**2 * self._greenwood_terms).sum(-1))
        return error

    def _areas(self, grid: Floats) -> Floats:
        """Before each time."""
        return areas(grid, self.survival, self.halved)

    def logrank(self) -> tuple[float, float]:
        """Chi-squared of the log-rank test over exact counts of strata, and its p-value."""
        events, risk = self.events, self.at_risk
        total, everyone = events.sum(-2), risk.sum(-2)
        share = risk / np.maximum(everyone, 1)[:, None]
        factor = total * np.where(everyone > 1, (everyone - total) / np.maximum(everyone - 1, 1), 0.0)
        variance: Floats = np.diag(np.einsum("st,sgt->g", factor, share))
        variance -= np.einsum("st,sgt,sht->gh", factor, share, share)
        excess = self.excess[:-1]
        statistic = float(excess @ np.linalg.pinv(variance[:-1, :-1]) @ excess)
        return statistic, chi_squared_p(statistic, len(excess))

    @property
    def excess(self) -> Floats:
        """(groups,): events above those expected if, in each stratum, all groups had one hazard."""
        events, risk = self.events, np.maximum(self.at_risk, 1.0 if np.any(self.halved) else 0.0)
        share = risk / np.maximum(risk.sum(-2, keepdims=True), 1.0)
        above: Floats = (events - events.sum(-2, keepdims=True) * share).sum((0, -1))
        return above

    def expected(self, one_hazard: bool = False) -> Floats:
        """Counts as they may have been without noise, none of them negative.

        Args:
            one_hazard: as if all groups had one hazard of the event.
        """
        counts = without_noise(self.counts)
        if not one_hazard:
            return counts
        table = LifeTable(counts, self.halved)
        risk = np.maximum(table.at_risk, 1.0)
        hazard = np.clip(table.events.sum(-2) / risk.sum(-2), 0.0, 1.0)
        lost = np.clip(counts[..., :-1, 0] / risk, 0.0, 1.0)
        expected: Floats = np.zeros_like(counts)
        left = counts.sum((-2, -1))
        for time in range(hazard.shape[-1]):
            expected[..., time, 0] = left * lost[..., time]
            here = left - expected[..., time, 0] / 2 if np.any(self.halved) else left
            events = here * hazard[..., None, time]
            expected[..., time, 1] = np.minimum(events, left - expected[..., time, 0])
            left = np.maximum(left - expected[..., time, :].sum(-1), 0.0)
        expected[..., -1, 0] = left
        return expected

"""Cox's partial likelihood over a site's own risk sets: log-likelihood, score and information, in one pass.

Rows are sorted once, by stratum and from the latest time, so that a risk set is the rows before a place. The
second moments of risk sets are never made: their sum over events is x' diag(w) x, where each row is weighted
by its risk times the hazard that it has lived through, the order of summation exchanged. Cox 1972; ties after
Efron 1977 or Breslow 1974 (Kalbfleisch and Prentice 2002, section 4.3); the test of proportional hazards is
the score test of a coefficient that changes with a transformed time (Grambsch and Therneau 1994; Therneau's
survival, `cox.zph`, since version 3.0).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.cox.cases import Scaling
from fedcohort.analyses.cox.concordance import pairs_in_order
from fedcohort.analyses.cox.newton import Likelihood, symmetric
from fedcohort.analyses.design_rows import Matrix, gram, pieces, taken, times, totals

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FARTHEST = 300.0
"""Of a row's logarithm of risk below the largest of its stratum: the square of e^-300 is still a number."""


@dataclass(frozen=True)
class Proportions:
    """What the test of proportional hazards needs, at the coefficients that were found.

    Attributes:
        score: (p,) of coefficients of x times the transformed time.
        mixed: (p, p) information between them and the coefficients of x.
        information: (p, p) theirs.
    """

    score: Floats
    mixed: Floats
    information: Floats

    @property
    def packed(self) -> Floats:
        """(p + p (p + 1),): as a site sends it."""
        half = np.triu_indices(len(self.score))
        return np.concatenate([self.score, self.mixed[half], self.information[half]])

    @classmethod
    def unpacked(cls, packed: Floats, p: int) -> "Proportions":
        """What `packed` made, or a sum of such."""
        mixed, information = np.split(packed[p:], 2)
        return cls(packed[:p], symmetric(mixed, p), symmetric(information, p))


@dataclass(frozen=True, eq=False)
class RiskSets:
    """A site's rows, sorted by stratum and from the latest time; of one time those with the event come last.

    Attributes:
        x: (n, p) covariates.
        died: (n,) 0 or 1.
        times: (n,) of each row.
        place: (n,) the distinct time of each row, counted through all strata.
        strata: of each stratum the first of its distinct times, and behind the last their number.
        deaths: by distinct time.
        efron: how tied events count; else after Breslow.
    """

    x: Matrix
    died: Floats
    times: Floats
    place: Ints
    strata: Ints
    deaths: Ints
    efron: bool

    @classmethod
    def of(
        cls,
        x: Matrix,
        time: Floats,
        event: Floats,
        stratum: Ints,
        efron: bool,
        scaling: Scaling | None = None,
    ) -> "RiskSets":
        """Sort rows.

        Args:
            x: (n, p); time, event, stratum: (n,), without missing values.
            scaling: of the columns.
        """
        order = _order(time, event, stratum)
        time, died, stratum = time[order], event[order].astype(np.float64), stratum[order]
        first = np.ones(len(time), np.bool_)
        begins = np.ones(len(time), np.bool_)
        begins[1:] = stratum[1:] != stratum[:-1]
        first[1:] = begins[1:] | (time[1:] != time[:-1])
        place = np.cumsum(first) - 1
        n_times = int(first.sum())
        strata = np.append(place[begins], n_times)
        deaths = np.bincount(place, died, n_times).astype(np.int64)
        ordered = taken(x, order)
        return cls(
            ordered if scaling is None else scaling.of_own(ordered), died, time, place, strata, deaths, efron
        )

    @property
    def n_times(self) -> int:
        """How many distinct times there are, over all strata."""
        return len(self.deaths)

    @cached_property
    def _died_x(self) -> Floats:
        """(p,): the covariates of all that had the event, added up."""
        total: Floats = totals(self.x, self.died[None])[0]
        return total

    @cached_property
    def _terms(self) -> tuple[Ints, Floats]:
        """Each event's distinct time, and the share of those tied with it that is taken off its risk set."""
        at = np.repeat(np.arange(self.n_times), self.deaths)
        if not self.efron:
            return at, np.zeros(len(at))
        first = np.repeat(np.cumsum(self.deaths) - self.deaths, self.deaths)
        return at, (np.arange(len(at)) - first) / self.deaths[at]

    @cached_property
    def _parts(self) -> list[tuple[slice, "csr_matrix", Ints]]:
        """By piece of rows, a matrix that adds up those of each time, with the event and without.

        Beside it which time and event each sum is of.
        """
        from scipy.sparse import csr_matrix

        found = []
        for rows in pieces(self.x):
            kind = 2 * self.place[rows] + (self.died[rows] == 0)
            begins = np.flatnonzero(np.diff(kind, prepend=-1))
            ends, shape = np.append(begins, len(kind)), (len(begins), len(kind))
            adds = csr_matrix((np.ones(len(kind)), np.arange(len(kind)), ends), shape=shape)
            found.append((rows, adds, kind[begins]))
        return found

    def at(self, coefficients: Floats) -> Likelihood:
        """Log-likelihood, score and information at some coefficients, (p,)."""
        p = self.x.shape[1]
        if not self.deaths.any():
            return Likelihood(0.0, np.zeros(p), np.zeros((p, p)))
        return _At(self, coefficients).likelihood()

    def fit(self, coefficients: Floats) -> tuple[Likelihood, Proportions]:
        """The same, and what the test of proportional hazards needs, over the site's Kaplan-Meier curve."""
        p = self.x.shape[1]
        if not self.deaths.any():
            nothing = Proportions(np.zeros(p), np.zeros((p, p)), np.zeros((p, p)))
            return Likelihood(0.0, np.zeros(p), np.zeros((p, p))), nothing
        there, clock = _At(self, coefficients), self._clock
        died = totals(self.x, (self.died * clock[self.place])[None])[0]
        proportions = Proportions(
            died - there.expected(clock), there.information(clock), there.information(np.square(clock))
        )
        return there.likelihood(), proportions

    def pairs(self, coefficients: Floats) -> Ints:
        """(3,): pairs within strata in the expected order, of one risk, and all that are compared."""
        died, risk = self.died > 0, times(self.x, coefficients)
        total = np.zeros(3, np.int64)
        ends = np.searchsorted(self.place, self.strata)
        for first, (begin, end) in zip(self.strata.tolist(), pairwise(ends.tolist()), strict=False):
            here = slice(begin, end)
            total += pairs_in_order(self.place[here] - first, died[here], risk[here])
        return total

    @cached_property
    def _clock(self) -> Floats:
        """By distinct time, the share with the event before it, 1 - S(t-), over all strata."""
        times, at = np.unique(self.times, return_inverse=True)
        left = np.bincount(at, minlength=len(times))
        risk = left[::-1].cumsum()[::-1]
        curve = np.cumprod(1 - np.bincount(at, self.died, len(times)) / risk)
        gone = 1 - np.concatenate([[1.0], curve[:-1]])
        clock: Floats = np.zeros(self.n_times)
        clock[self.place] = gone[at]
        return clock

    def summed(self, values: Floats, backwards: bool = False) -> Floats:
        """Running sums within each stratum along the first axis, from the latest time or to it."""
        sums = np.empty_like(values)
        for begin, end in pairwise(self.strata.tolist()):
            if backwards:
                sums[begin:end] = values[begin:end][::-1].cumsum(0)[::-1]
            else:
                np.cumsum(values[begin:end], axis=0, out=sums[begin:end])
        return sums


class _At:
    """Risk sets at some coefficients: by time, sums over those at risk, and over those with the event."""

    def __init__(self, sets: RiskSets, coefficients: Floats) -> None:
        self.sets = sets
        eta = times(sets.x, coefficients)
        begins = np.searchsorted(sets.place, sets.strata[:-1])
        highest = np.maximum.reduceat(eta, begins)
        sizes = np.diff(np.append(begins, len(eta)))
        self.eta = np.maximum(eta - np.repeat(highest, sizes), -FARTHEST)
        self.risk = np.exp(self.eta)
        n = sets.n_times
        self.all0 = sets.summed(_binned(sets.place, self.risk, n))
        self.tied0 = _binned(sets.place, self.risk * sets.died, n)
        time, share = sets._terms
        self.below = 1 / (self.all0[time] - share * self.tied0[time])
        self._sum_by_time()

    def _sum_by_time(self) -> None:
        """(events, p): the covariates of those at risk, and of those with the event, weighted by risk."""
        by_time = np.zeros((2 * self.sets.n_times, self.sets.x.shape[1]))
        for rows, adds, kind in self.sets._parts:
            adds.data = self.risk[rows]
            by_time[kind] += adds @ self.sets.x[rows]
        died, others = by_time[0::2], by_time[1::2]
        events = np.flatnonzero(self.sets.deaths)
        self.events, self.tied1 = events, died[events]
        self.all1 = self.sets.summed(died + others)[events]

    def _by_time(self, power: int, of_share: int, clock: Floats | None) -> Floats:
        """(times,): of each time's events the sum of 1 / risk^power times the share's power."""
        time, share = self.sets._terms
        sums = _binned(time, self.below**power * share**of_share, self.sets.n_times)
        return sums if clock is None else sums * clock

    def likelihood(self) -> Likelihood:
        loglik = float(self.sets.died @ self.eta + np.log(self.below).sum())
        return Likelihood(loglik, self.sets._died_x - self.expected(), self.information())

    def expected(self, clock: Floats | None = None) -> Floats:
        """(p,): the covariates that the model expects of those with the event, added up."""
        hazard, tied = (self._by_time(1, power, clock)[self.events] for power in (0, 1))
        found: Floats = hazard @ self.all1 - tied @ self.tied1
        return found

    def information(self, clock: Floats | None = None) -> Floats:
        """(p, p): the variance of the covariates within risk sets, added up over events."""
        hazard, tied = self._by_time(1, 0, clock), self._by_time(1, 1, clock)
        lived = self.sets.summed(hazard, backwards=True)[self.sets.place]
        weight = self.risk * (lived - self.sets.died * tied[self.sets.place])
        square, cross, tied_square = (self._by_time(2, power, clock)[self.events] for power in (0, 1, 2))
        means = (self.all1 * square[:, None]).T @ self.all1 + (
            self.tied1 * tied_square[:, None]
        ).T @ self.tied1
        mixed = (self.all1 * cross[:, None]).T @ self.tied1
        found: Floats = gram(self.sets.x, weight) - means + mixed + mixed.T
        return found


def _order(time: Floats, event: Floats, stratum: Ints) -> NDArray[np.int64]:
    """By stratum, from the latest time, who has the event last; whole days are sorted by counting."""
    latest = float(time.max(initial=0.0))
    if stratum.any() or latest >= 2**15 or np.any(time != np.rint(time)):
        return np.lexsort((event, -time, stratum))
    return np.argsort((2 * (latest - time) + (event > 0)).astype(np.uint16), kind="stable")


def _binned(place: Ints, values: Floats, n: int) -> Floats:
    return np.bincount(place, values, n).astype(np.float64, copy=False)

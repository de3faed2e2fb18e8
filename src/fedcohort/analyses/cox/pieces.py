"""A hazard that is constant in pieces of time: then the likelihood is Poisson's, and a sum over patients.

Holford 1980; Laird and Olivier 1981. In each piece a patient has the events that were seen, none or one, and
those that are expected: hazard x exp(coefficients x) x the time spent in it. Under privacy a patient is
followed until the model expects so many events of them and no further. When to stop is known before it
happens, so that events less expected events have mean 0 all the same (optional stopping), while no patient
moves them by more than that.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.cox.newton import Likelihood

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

LARGEST_LOG = 80.0
"""Of a logarithm of a risk or hazard ratio: beyond it would be no number."""


@dataclass(frozen=True, eq=False)
class Followed:
    """Patients over pieces of time.

    Attributes:
        time, event: (n,); whoever is observed beyond the last edge is observed until then, without the event.
        edges: of the pieces, from 0.
    """

    time: Floats
    event: Floats
    edges: tuple[float, ...]

    @property
    def n_pieces(self) -> int:
        """How many pieces there are."""
        return len(self.edges) - 1

    @cached_property
    def died(self) -> Mask:
        """(n,): who has the event within the pieces."""
        died: Mask = (self.event == 1) & (self.time <= self.edges[-1])
        return died

    @cached_property
    def place(self) -> Ints:
        """(n,): the piece in which each patient leaves; a piece ends with its end."""
        place = np.searchsorted(np.array(self.edges), self.time, side="left") - 1
        return np.clip(place, 0, self.n_pieces - 1)

    @cached_property
    def spent(self) -> Floats:
        """(n, pieces): time in each."""
        begins, widths = np.array(self.edges[:-1]), np.diff(self.edges)
        spent: Floats = np.clip(self.time[:, None] - begins, 0.0, widths)
        return spent

    @cached_property
    def share(self) -> Floats:
        """(n,): of the piece in which each patient leaves, the share spent in it."""
        widths = np.diff(self.edges)
        there = self.spent[np.arange(len(self.time)), self.place]
        share: Floats = there / widths[self.place]
        return share

    def events(self, who: Mask) -> Floats:
        """(n, pieces): 1 where one of these patients has the event."""
        events = np.zeros(self.spent.shape)
        chosen = np.flatnonzero(who)
        events[chosen, self.place[chosen]] = 1.0
        return events

    def expected(self, log_hazard: Floats, eta: Floats) -> Floats:
        """(n, pieces): events that are expected of each patient."""
        logs = np.clip(log_hazard + eta[:, None], -LARGEST_LOG, LARGEST_LOG)
        expected: Floats = self.spent * np.exp(logs)
        return expected

    def likelihood(self, x: Floats, parameters: Floats) -> Likelihood:
        """Poisson's, over the logarithms of the hazards and then the coefficients of x, (n, p)."""
        k = self.n_pieces
        log_hazard, eta = parameters[:k], x @ parameters[k:]
        expected = self.expected(log_hazard, eta)
        total, events = expected.sum(1), np.bincount(self.place[self.died], minlength=k)
        loglik = float(events @ log_hazard + self.died @ eta - total.sum())
        score = np.concatenate([events - expected.sum(0), (self.died - total) @ x])
        information = np.zeros((k + x.shape[1],) * 2)
        information[range(k), range(k)] = expected.sum(0)
        information[:k, k:] = expected.T @ x
        information[k:, :k] = information[:k, k:].T
        information[k:, k:] = (x * total[:, None]).T @ x
        return Likelihood(loglik, score, information)

    def stopped(self, log_hazard: Floats, eta: Floats, most: float) -> tuple[Floats, Floats]:
        """(n, pieces) each: events and expected events, until `most` are expected of a patient."""
        expected = self.expected(log_hazard, eta)
        until = np.minimum(expected.cumsum(1), most)
        cut: Floats = np.diff(until, axis=1, prepend=0.0)
        followed = self.died & (expected.sum(1) <= most)
        return self.events(followed), cut

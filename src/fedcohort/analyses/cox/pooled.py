"""Cox regression over the risk sets of all hospitals together, on a grid of times.

A risk set is everybody who leaves at a time or later, so that sums by time of leaving give all of them: of
the risks, of the columns times them, and of their products. These sums show much of who leaves alone; where
the grid is coarse enough, nobody does. Cox 1972; ties, which are all events of one time of the grid, after
Efron 1977 or Breslow 1974.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.contract import (
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Parallel,
    Proved,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.cox.cases import Asked, Scaling, array_of
from fedcohort.analyses.cox.newton import MOST_ROUNDS, Likelihood, symmetric
from fedcohort.analyses.cox.pieces import LARGEST_LOG
from fedcohort.analyses.cox.report import still
from fedcohort.analyses.cox.risk_sets import Proportions
from fedcohort.analyses.cox.stages import (
    COUNTED,
    CoxAnalysis,
    MomentsStage,
    cell_of,
    climbed,
    pairs_block,
    pairs_of,
)
from fedcohort.analyses.exact_sums import VALUES, floats_of, limbs, limbs_of
from fedcohort.analyses.rows import Rows
from fedcohort.disclosure.rules import Disclosure
from fedcohort.texts import Text, say
from fedcohort.vector import Block, counts


@dataclass(frozen=True, eq=False)
class Pooled:
    """What the stages have in common.

    Attributes:
        grid: of times; whoever leaves later is observed to its end.
        efron: how tied events count; else after Breslow.
    """

    asked: Asked
    grid: tuple[float, ...]
    efron: bool

    @property
    def p(self) -> int:
        """Number of columns."""
        return len(self.asked.names)

    @property
    def n_cells(self) -> int:
        """Times, and what is beyond, by stratum."""
        return self.asked.n_strata * (len(self.grid) + 1)

    @property
    def width(self) -> int:
        """Sums in each cell: of the risks, of columns times them, of products of columns times them."""
        return 1 + self.p + self.p * (self.p + 1) // 2

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """By cell, of everybody who leaves there, and of those with the event where they are tied."""
        tied = (limbs("tied", self.n_cells * self.width, VALUES),) if self.efron else ()
        return (limbs("everybody", self.n_cells * self.width, VALUES), *tied, limbs("died", self.p, VALUES))

    def eta(self, state: State, rows: Rows) -> tuple[Floats, Floats]:
        """A site's scaled columns, and what they come to at the state's coefficients."""
        scaling, at = Scaling.of(state, self.p), array_of(state, "coefficients", (self.p,))
        x = rows.latest("scaled", scaling.key, lambda: scaling(self.asked.cases(rows).x))
        return x, np.clip(x @ at, -LARGEST_LOG, LARGEST_LOG)

    def contribute(self, state: State, rows: Rows) -> dict[str, Contribution]:
        """A site's sums by cell."""
        x, eta = self.eta(state, rows)
        cases = self.asked.cases(rows)
        cell, died = cell_of(cases, self.grid)
        parts = {"everybody": self._by_cell(x, eta, cell), "died": limbs_of(died @ x)}
        if self.efron:
            parts["tied"] = self._by_cell(x[died], eta[died], cell[died])
        return {name: Proved(part) for name, part in parts.items()}

    def _by_cell(self, x: Floats, eta: Floats, cell: np.ndarray) -> np.ndarray:
        order = np.argsort(cell, kind="stable")
        ends = np.cumsum(np.bincount(cell, minlength=self.n_cells))
        sums, half = np.zeros((self.n_cells, self.width)), np.triu_indices(self.p)
        for place, rows in enumerate(np.split(order, ends[:-1])):
            if len(rows):
                risk = np.exp(eta[rows])
                weighted = x[rows] * risk[:, None]
                sums[place] = np.concatenate([[risk.sum()], weighted.sum(0), (weighted.T @ x[rows])[half]])
        return limbs_of(sums.ravel())

    def tallied(self, sums: Sums, deaths: Floats, at: Floats) -> "Tallied":
        """What a sum over all hospitals says.

        Args:
            deaths: (cells,).
        """
        shape = (self.asked.n_strata, len(self.grid) + 1, self.width)
        everybody = floats_of(sums["everybody"]).reshape(shape)
        tied = floats_of(sums["tied"]).reshape(shape) if self.efron else np.zeros(shape)
        return Tallied(everybody, tied, deaths.reshape(shape[:2]), floats_of(sums["died"]), at)


@dataclass(frozen=True, eq=False)
class Tallied:
    """Sums by stratum and time of leaving.

    Attributes:
        everybody, tied: (strata, times + 1, width) of all who leave, and of those with the event.
        deaths: (strata, times + 1).
        died_x: (p,): columns of all with the event, added up.
        at: (p,) the coefficients.
    """

    everybody: Floats
    tied: Floats
    deaths: Floats
    died_x: Floats
    at: Floats

    @cached_property
    def _events(self) -> tuple[Floats, Floats, np.ndarray]:
        """Of each time with events the sums over those at risk, over the tied, and how many events."""
        chosen = self.deaths > 0
        risk = np.flip(np.flip(self.everybody, 1).cumsum(1), 1)
        return risk[chosen], self.tied[chosen], np.rint(self.deaths[chosen]).astype(np.int64)

    def _below(self, power: int, of_share: int, clock: Floats | None) -> Floats:
        """By time with events: over its events, the sum of 1 / risk^power times the share's power."""
        risk, tied, deaths = self._events
        at = np.repeat(np.arange(len(deaths)), deaths)
        share = (np.arange(len(at)) - np.repeat(np.cumsum(deaths) - deaths, deaths)) / deaths[at]
        below = 1 / (risk[at, 0] - share * tied[at, 0])
        sums = np.bincount(at, below**power * share**of_share, len(deaths)).astype(np.float64)
        return sums if clock is None else sums * clock[self.deaths > 0]

    def expected(self, clock: Floats | None = None) -> Floats:
        """(p,): columns that the model expects of those with the event, added up."""
        p, (risk, tied, _) = len(self.at), self._events
        hazard, of_tied = (self._below(1, power, clock) for power in (0, 1))
        found: Floats = hazard @ risk[:, 1 : p + 1] - of_tied @ tied[:, 1 : p + 1]
        return found

    def information(self, clock: Floats | None = None) -> Floats:
        """(p, p): variance of the columns within risk sets, added up over events."""
        p, (risk, tied, _) = len(self.at), self._events
        hazard, of_tied = (self._below(1, power, clock) for power in (0, 1))
        square, cross, tied_square = (self._below(2, power, clock)[:, None] for power in (0, 1, 2))
        all1, tied1 = risk[:, 1 : p + 1], tied[:, 1 : p + 1]
        mixed = (all1 * cross).T @ tied1
        means = (all1 * square).T @ all1 - mixed - mixed.T + (tied1 * tied_square).T @ tied1
        products = symmetric(hazard @ risk[:, p + 1 :] - of_tied @ tied[:, p + 1 :], p)
        return products - means

    def likelihood(self) -> Likelihood:
        """Log-likelihood, score and information."""
        risk, tied, deaths = self._events
        at = np.repeat(np.arange(len(deaths)), deaths)
        share = (np.arange(len(at)) - np.repeat(np.cumsum(deaths) - deaths, deaths)) / deaths[at]
        logs = np.log(risk[at, 0] - share * tied[at, 0]).sum()
        loglik = float(self.died_x @ self.at - logs)
        return Likelihood(loglik, self.died_x - self.expected(), self.information())

    def proportions(self, exits: Floats, died_x: Floats) -> Proportions:
        """For the test of proportional hazards, over the Kaplan-Meier curve of all patients as time.

        Args:
            exits: (strata, times + 1), all who leave; died_x: (strata, times + 1, p).
        """
        left, died = exits.sum(0), self.deaths.sum(0)
        curve = np.cumprod(1 - died / np.maximum(still(left), 1.0))
        gone = 1 - np.concatenate([[1.0], curve[:-1]])
        clock = np.broadcast_to(gone, self.deaths.shape)
        score = np.einsum("t,stp->p", gone, died_x) - self.expected(clock)
        return Proportions(score, self.information(clock), self.information(np.square(clock)))


@dataclass(frozen=True, eq=False)
class ExitsStage:
    """How many leave at each time, with the event and without."""

    model: Pooled
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A patient leaves once."""
        return (counts("exits", 2 * self.model.n_cells, once=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each complete case."""
        cases = self.model.asked.cases(rows)
        cell, died = cell_of(cases, self.model.grid)
        return {"exits": Tally(cell=2 * cell + died, rows=cases.rows)}

    def update(self, state: State, sums: Sums) -> State:
        """What rounds and report go by."""
        return replace(state, kept={**state.kept, "exits": sums["exits"]})


@dataclass(frozen=True, eq=False)
class NewtonStage:
    """A round: sums by time of leaving, and where to go from there."""

    model: Pooled
    name: str = "newton"
    times: int = MOST_ROUNDS

    @property
    def blocks(self) -> tuple[Block, ...]:
        """By cell."""
        return self.model.blocks

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part."""
        return self.model.contribute(state, rows)

    def update(self, state: State, sums: Sums) -> State:
        """The next coefficients.

        Raises:
            StudyError: there is no maximum, or columns cannot be told apart.
        """
        at = np.asarray(state.arrays["coefficients"])
        here = self.model.tallied(sums, deaths_of(state), at).likelihood()
        return climbed(state, here, "coefficients", self.model.asked.names, (*COUNTED, "exits"))


def deaths_of(state: State) -> Floats:
    """(cells,): events by cell."""
    return np.asarray(state.kept["exits"], np.float64).reshape(-1, 2)[:, 1]


@dataclass(frozen=True, eq=False)
class FitStage:
    """At the maximum: the same sums, columns of those with the event by time, and pairs within hospitals."""

    model: Pooled
    name: str = "fit"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What is said of the fit."""
        return (
            *self.model.blocks,
            limbs("died by time", self.model.n_cells * self.model.p, VALUES),
            pairs_block(),
        )

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part."""
        cases = self.model.asked.cases(rows)
        x, eta = self.model.eta(state, rows)
        cell, died = cell_of(cases, self.model.grid)
        columns = [np.bincount(cell[died], column[died], self.model.n_cells) for column in x.T]
        by_time = np.stack(columns, axis=1).astype(np.float64)
        return {
            **self.model.contribute(state, rows),
            "died by time": Proved(limbs_of(by_time.ravel())),
            "pairs": Proved(pairs_of(cases, eta)),
        }

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sums."""
        return state


@dataclass(frozen=True, eq=False)
class PooledCox(CoxAnalysis):
    """Hazard ratios over the risk sets of all hospitals."""

    @cached_property
    def model(self) -> Pooled:
        """What its stages compute with."""
        return Pooled(self.asked, tuple(self.question.grid), self.question.ties == "efron")

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Moments and who leaves when, Newton's rounds until they settle, and the fit."""
        moments = Parallel("moments", 1, (MomentsStage(self.asked), ExitsStage(self.model)))
        return (moments, NewtonStage(self.model), FitStage(self.model))

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """As within hospitals; and a time at which few leave, whose sums would be theirs."""
        if state.round:
            return None
        left = np.asarray(sums["exits"], np.float64).reshape(-1, 2).sum(1)
        if ((left > 0) & (left < rules.min_cell)).any():
            return say(
                "grid: at one of its times fewer than min_cell = {least} patients leave, and sums over those "
                "would tell of them; write a coarser grid, or compare within hospitals",
                least=rules.min_cell,
            )
        return self.told_at_first(sums, rules)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """As within hospitals."""
        return super().disclosed(self._as_by_site(state), rules)

    def report(self, state: State) -> Report:
        """As within hospitals."""
        return super().report(self._as_by_site(state))

    def _as_by_site(self, state: State) -> State:
        """With the sums that hospitals would have sent, had the risk sets been theirs."""
        sums = state.sums or Sums({})
        if "likelihood" in sums:
            return state
        model, at = self.model, np.asarray(state.arrays["coefficients"])
        tallied = model.tallied(sums, deaths_of(state), at)
        shape = (*tallied.deaths.shape, model.p)
        exits = np.asarray(state.kept["exits"], np.float64)
        proportions = tallied.proportions(
            exits.reshape(-1, 2).sum(1).reshape(shape[:2]), floats_of(sums["died by time"]).reshape(shape)
        )
        values = {
            "likelihood": limbs_of(tallied.likelihood().packed),
            "proportions": limbs_of(proportions.packed),
            "pairs": sums["pairs"],
            "exits": state.kept["exits"],
            "risk": limbs_of(tallied.everybody[..., 0].ravel()),
        }
        return replace(state, sums=replace(sums, values=values))

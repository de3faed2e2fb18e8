"""Cox regression with a hazard in pieces, exactly: Poisson's likelihood, by Newton's method."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.contract import (
    Analysis,
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
from fedcohort.analyses.cox.cases import Asked, Cases, Scaling, array_of
from fedcohort.analyses.cox.newton import MOST_ROUNDS, Likelihood, inverse
from fedcohort.analyses.cox.pieces import LARGEST_LOG, Followed
from fedcohort.analyses.cox.private import PrivateCox
from fedcohort.analyses.cox.report import Fit, concordance, fit_report
from fedcohort.analyses.cox.stages import (
    COUNTED,
    MomentsStage,
    climbed,
    likelihood_block,
    pairs_block,
    pairs_of,
    patients_behind,
    told_at_first,
    without_few_missing,
)
from fedcohort.analyses.exact_sums import VALUES, floats_of, limbs, limbs_of
from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_alone import told_by_leverage
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of
from fedcohort.errors import StudyError
from fedcohort.study import Privacy
from fedcohort.texts import Text
from fedcohort.vector import Block, counts


@dataclass(frozen=True, eq=False)
class Pieces:
    """What the stages have in common.

    Attributes:
        edges: of the pieces, from 0.
    """

    asked: Asked
    edges: tuple[float, ...]

    @property
    def k(self) -> int:
        """Number of pieces."""
        return len(self.edges) - 1

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters: a hazard a piece, and the columns."""
        ends = zip(self.edges[:-1], self.edges[1:], strict=True)
        return (*(f"{low:g}-{high:g}" for low, high in ends), *self.asked.names)

    def patients(self, state: State, rows: Rows) -> tuple[Cases, Followed, Floats]:
        """A site's patients over the pieces, with scaled columns; made once for one centre and scale."""
        scaling = Scaling.of(state, len(self.asked.names))

        def make() -> tuple[Cases, Followed, Floats]:
            cases = self.asked.cases(rows)
            return cases, Followed(cases.time, cases.event, self.edges), scaling(cases.x)

        return rows.latest("followed", scaling.key, make)

    def parameters(self, state: State) -> Floats:
        """At which the sum is asked."""
        return array_of(state, "parameters", (len(self.names),))


@dataclass(frozen=True, eq=False)
class LifeStage:
    """Events and time by piece."""

    model: Pieces
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A patient has one event at most."""
        k = self.model.k
        return counts("died", k, once=True), limbs("spent", k, VALUES)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each complete case."""
        cases = self.model.asked.cases(rows)
        followed = Followed(cases.time, cases.event, self.model.edges)
        place = np.where(followed.died, followed.place, -1)
        return {"died": Tally(cell=place, rows=cases.rows), "spent": Proved(limbs_of(followed.spent.sum(0)))}

    def update(self, state: State, sums: Sums) -> State:
        """Where Newton's method begins: hazards as if nothing depended on the columns.

        Raises:
            StudyError: a piece has no event.
        """
        died, spent = np.asarray(sums["died"], np.float64), floats_of(sums["spent"])
        empty = np.flatnonzero((died == 0) | (spent <= 0))
        if empty.size:
            edges = self.model.edges
            raise StudyError(
                "pieces: nobody has the event between {low:g} and {high:g}; write fewer, or other ends",
                low=edges[empty[0]],
                high=edges[empty[0] + 1],
            )
        parameters = np.concatenate([np.log(died / spent), np.zeros(len(self.model.asked.names))])
        kept = {**state.kept, "events": np.array([died.sum()]), "died": died}
        arrays = {name: state.arrays[name] for name in ("centre", "scale")}
        return replace(state, arrays={**arrays, "parameters": parameters}, kept=kept)


@dataclass(frozen=True, eq=False)
class NewtonStage:
    """A round: the likelihood, and where to go from there."""

    model: Pieces
    name: str = "newton"
    times: int = MOST_ROUNDS

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Log-likelihood, score and information."""
        return (likelihood_block(len(self.model.names)),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part."""
        at = self.model.parameters(state)
        _, followed, x = self.model.patients(state, rows)
        return {"likelihood": Proved(limbs_of(followed.likelihood(x, at).packed))}

    def update(self, state: State, sums: Sums) -> State:
        """The next parameters.

        Raises:
            StudyError: there is no maximum, or columns cannot be told apart.
        """
        names = self.model.names
        here = Likelihood.unpacked(floats_of(sums["likelihood"]), len(names))
        return climbed(state, here, "parameters", names, (*COUNTED, "died"))


@dataclass(frozen=True, eq=False)
class FitStage:
    """At the maximum: the likelihood once more, and pairs in the order of their risk."""

    model: Pieces
    name: str = "fit"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What is said of the fit."""
        return likelihood_block(len(self.model.names)), pairs_block()

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part."""
        at = self.model.parameters(state)
        cases, followed, x = self.model.patients(state, rows)
        return {
            "likelihood": Proved(limbs_of(followed.likelihood(x, at).packed)),
            "pairs": Proved(pairs_of(cases, x @ at[self.model.k :])),
        }

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sums."""
        return state


@dataclass(frozen=True, eq=False)
class PiecewiseCox(Analysis):
    """Hazard ratios over all hospitals, and one baseline in pieces."""

    asked: Asked
    edges: tuple[float, ...]
    privacy: Privacy | None = None

    @cached_property
    def model(self) -> Pieces:
        """What its stages compute with."""
        return Pieces(self.asked, self.edges)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Moments with events and time by piece, Newton's rounds until they settle, and the fit."""
        moments = Parallel("moments", 1, (MomentsStage(self.asked), LifeStage(self.model)))
        return (moments, NewtonStage(self.model), FitStage(self.model))

    def for_privacy(self, privacy: Privacy) -> PrivateCox:
        """The same by noisy scores of patients who are followed for a while."""
        return PrivateCox(replace(self.asked, held=True), self.edges, privacy)

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """A model of too many parameters, or of levels, or events of a piece, that few have."""
        if state.round:
            return None
        names = (f"{name}, the event" for name in self.model.names[: self.model.k])
        died = dict(zip(names, np.asarray(sums["died"], np.float64).tolist(), strict=True))
        return told_at_first(self.asked, sums, rules, self.model.k, died)

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """What the first sum tells, and a combination of columns that is one patient's."""
        if told := super().objection_at_site(state, sums, rows, rules):
            return told
        return told_by_leverage(self.asked.cases(rows).x, rules) if state.round == 0 else None

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Who is left out."""
        return without_few_missing(state, rules)

    def report(self, state: State) -> Report:
        """Coefficients, tests, concordance, and the baseline with intervals."""
        sums, kept, k = state.sums or Sums({}), state.kept, self.model.k
        here = Likelihood.unpacked(floats_of(sums["likelihood"]), len(self.model.names))
        covariance = inverse(here.information)
        step = covariance @ here.score
        found = np.asarray(state.arrays["parameters"]) + step
        null = Likelihood(
            float(kept["null_loglik"][0]),
            np.asarray(kept["null_score"])[k:],
            profiled(np.asarray(kept["null_information"]), k),
        )
        loglik = here.loglik + float(here.score @ step) / 2
        fit = Fit(
            names=self.asked.names,
            n=patients_behind(self.asked, state),
            centre=np.asarray(state.arrays["centre"]),
            scale=np.asarray(state.arrays["scale"]),
            at=found[k:],
            here=Likelihood(loglik, np.zeros(len(found) - k), profiled(here.information, k)),
            null=null,
        )
        said = fit_report(fit, kept)
        said["aic"] = 2 * len(found) - 2 * loglik
        said["concordance"] = concordance(*(int(count) for count in sums["pairs"]))
        said["baseline"] = self._baseline(found[:k], covariance[:k, :k], kept["died"])
        return {
            "patients": count_of(kept["patients"][0]),
            "missing": count_of(kept["missing"][0]),
            "cox": {"strata": [], **said},
        }

    def _baseline(self, log_hazard: Floats, covariance: Floats, died: Floats) -> dict[str, object]:
        """With intervals of the logarithm of the cumulative hazard."""
        rates = np.exp(np.clip(log_hazard, -LARGEST_LOG, LARGEST_LOG)) * np.diff(self.edges)
        hazard = rates.cumsum()
        slopes = np.tril(np.ones((len(rates),) * 2)) * rates / hazard[:, None]
        half = NORMAL_EXACT * np.sqrt(np.einsum("ij,jk,ik->i", slopes, covariance, slopes))
        stratum = {
            "hazard": hazard.tolist(),
            "survival": np.exp(-hazard).tolist(),
            "low": np.exp(-hazard * np.exp(half)).tolist(),
            "high": np.exp(-hazard * np.exp(-half)).tolist(),
            "events": [int(count) for count in died],
        }
        return {"pieces": list(self.edges), "grid": list(self.edges[1:]), "strata": {"all": stratum}}


def profiled(information: Floats, k: int) -> Floats:
    """What is left of the coefficients' information once the hazards are estimated, too."""
    mixed = information[:k, k:]
    left: Floats = information[k:, k:] - mixed.T @ np.linalg.solve(information[:k, :k], mixed)
    return left

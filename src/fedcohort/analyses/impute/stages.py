"""Multiple imputation as sums: one of what is observed, one a step of the chains, then the regression's.

Each step is an imputation model of one column in all m data sets side by side: products of columns for a
number, Newton steps for two levels (van Buuren 2018, Flexible Imputation of Missing Data, section 4.5). The
coordinator draws the model's parameters from their posterior; sites fill in by them (`chains`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from fedcohort.analyses.carried_sums import carried, from_limbs, symmetric, to_limbs, triangle
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Proved,
    Report,
    Stage,
    State,
    Sums,
)
from fedcohort.analyses.glm.families import BINOMIAL
from fedcohort.analyses.glm.newton import Ascent, advance
from fedcohort.analyses.glm.regression import n_patients_of, regression_of
from fedcohort.analyses.glm.stages import from_values, n_values, to_values
from fedcohort.analyses.glm.sums import Rows as Complete
from fedcohort.analyses.glm.sums import newton_sums
from fedcohort.analyses.impute.chains import Imputation, Target, chains, design, usable
from fedcohort.analyses.impute.fitted import RegressionImputation, Regressions
from fedcohort.analyses.impute.hazards import HazardRegressions, hazard_imputation
from fedcohort.analyses.impute.multinomial import multinomial_sums
from fedcohort.analyses.impute.posterior import PRIOR, linear, logistic
from fedcohort.analyses.impute.question import Impute
from fedcohort.analyses.impute.rubin import Found, pooled, rubin_rows
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_by_regression import told_by_levels, told_by_size
from fedcohort.disclosure.cells import small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Study
from fedcohort.texts import Text
from fedcohort.vector import Block, counts

MOMENTS = "moments"
"""The stage after which regressions begin."""
COUNTS = ("rows", "missing", "patients", "hospitals")
MOST_NEWTON = 25
"""Steps of a logistic imputation model; each but the first begins where the last cycle's ended."""
NEAR = 1e-6
"""Of a standardised coefficient: far less than a draw from the posterior is off."""


@dataclass(frozen=True)
class ObservedStage:
    """How many values are missing, and mean and deviation of those that are not."""

    imputation: Imputation
    name: str = "observed"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Counts, and two sums a column."""
        n = len(self.imputation.targets)
        return (
            counts("counts", len(COUNTS)),
            counts("unknown", n),
            carried("observed", 2, self.imputation.k),
        )

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What rows add that lack nothing but what is filled in."""
        ours = usable(self.imputation, rows)
        known = np.where(ours.missing, 0.0, ours.values)
        n = len(known)
        counted = np.array([n, ours.n_left_out, n_patients_of(ours.table.patient_ids), n > 0])
        return {
            "counts": Proved(counted),
            "unknown": Proved(ours.missing[:, [one.places[0] for one in self.imputation.targets]].sum(0)),
            "observed": Proved(to_limbs(np.stack([known.sum(0), np.einsum("ij,ij->j", known, known)]))),
        }

    def update(self, state: State, sums: Sums) -> State:
        """The scaling of columns.

        Raises:
            StudyError: a column has too few values to be filled in by.
        """
        imputation = self.imputation
        n = n_observed(imputation, sums.values)
        total, squares = from_limbs(sums["observed"])
        for target in imputation.targets:
            _check_known(imputation, target, float(n[target.places[0]]), total[list(target.places)])
        mean = total / np.maximum(n, 1.0)
        spread = np.sqrt(np.maximum(squares / np.maximum(n, 1.0) - mean**2, 1e-14 * mean**2))
        arrays = {"mean": mean, "scale": np.where(imputation.is_number & (spread > 0), spread, 1.0)}
        for target in imputation.targets:
            if not target.is_number:
                begin = np.zeros(target.n_coefficients(imputation.k)).reshape(len(target.places), -1)
                shares = mean[list(target.places)]
                begin[:, 0] = np.log(shares) - np.log(1 - shares.sum())
                arrays[mode_of(target)] = np.tile(begin.reshape(-1), (imputation.question.m, 1))
        return replace(state, arrays=arrays, kept=dict(sums.values))


def _check_known(imputation: Imputation, target: Target, n: float, having: Floats) -> None:
    """Enough values are known to fill in others by.

    Args:
        having: of n patients, how many have each level but the first.
    Raises:
        StudyError: they are not.
    """
    least = max(imputation.k, target.n_coefficients(imputation.k)) + 2
    if n < least:
        raise StudyError(
            "analysis.columns: over all hospitals {n} values of {name} are known, and {least} are the least "
            "to fill in others by; leave the column out, or ask more hospitals",
            name=target.name,
            n=int(n),
            least=least,
        )
    counted = np.append(n - having.sum(), having)
    if target.is_number or counted.all():
        return
    if np.count_nonzero(counted) == 1:
        raise StudyError(
            "analysis.columns: over all hospitals {name} has one level alone; leave it out", name=target.name
        )
    raise StudyError(
        "analysis.columns: over all hospitals nobody has one of the levels of {name}; declare it without the "
        "level, or leave it out",
        name=target.name,
    )


def mode_of(target: Target) -> str:
    """The array of a state in which the mode of a target's model is looked for."""
    return f"mode/{target.places[0]}"


def n_observed(imputation: Imputation, sums: Mapping[str, Floats]) -> Floats:
    """(k,): how many values of each column are known."""
    n = np.full(imputation.k, float(sums["counts"][0]))
    for target, unknown in zip(imputation.targets, np.asarray(sums["unknown"], np.float64), strict=True):
        n[list(target.places)] -= unknown
    return n


@dataclass(frozen=True)
class LinearStage:
    """One number explained by all other columns, in each data set."""

    imputation: Imputation
    step: int
    seed: int
    name: str = "impute"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Products of each two columns."""
        k = self.imputation.k + 1
        return (carried("products", self.imputation.question.m, k * (k + 1) // 2),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Of rows that have the number."""
        (place,) = self.imputation.target_at(self.step).places
        data_sets = chains(self.imputation, rows, state, self.step).z
        known = ~usable(self.imputation, rows).missing[:, place]
        products = []
        for z in data_sets:
            both = np.column_stack([design(z[known], (place,)), z[known, place]])
            products.append(triangle(both.T @ both))
        return {"products": Proved(to_limbs(np.stack(products)))}

    def update(self, state: State, sums: Sums) -> State:
        """Draw the model's parameters."""
        k = self.imputation.k + 1
        products = [symmetric(values, k) for values in from_limbs(sums["products"])]
        draw = drawing(self.seed, self.step)
        drawn = np.stack([linear(one, draw) for one in products])
        return with_parameters(state, drawn, self.imputation.width)


@dataclass(frozen=True)
class LevelsStage:
    """A column of levels explained by all others, in each data set: Newton steps up to its mode."""

    imputation: Imputation
    step: int
    seed: int
    name: str = "impute"
    times: int = MOST_NEWTON

    @cached_property
    def target(self) -> Target:
        """The column."""
        return self.imputation.target_at(self.step)

    @property
    def n_coefficients(self) -> int:
        """Of its model."""
        return self.target.n_coefficients(self.imputation.k)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Log-likelihood, score and information."""
        return (carried("levels", self.imputation.question.m, n_values(self.n_coefficients, meat=False)),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Of rows that have a level."""
        asked, places = self._asked(state), self.target.places
        data_sets = chains(self.imputation, rows, state, self.step).z
        known = ~usable(self.imputation, rows).missing[:, places[0]]
        values = []
        for z, theta in zip(data_sets, asked, strict=True):
            x, y = design(z[known], places), z[known][:, self.target.index]
            if len(places) == 1:
                sums = newton_sums(BINOMIAL, Complete(x, y[:, 0]), theta, meat=False)
            else:
                sums = multinomial_sums(x, y, theta)
            values.append(to_values(sums))
        return {"levels": Proved(to_limbs(np.stack(values)))}

    def _asked(self, state: State) -> Floats:
        asked = np.asarray(state.arrays.get(mode_of(self.target), ()), np.float64)
        if asked.shape != (self.imputation.question.m, self.n_coefficients) or not np.isfinite(asked).all():
            raise WireError("a state without the coefficients of each data set")
        return asked

    def update(self, state: State, sums: Sums) -> State:
        """The next point of each data set; where all are there, draw the model's parameters."""
        asked, q, name = self._asked(state), self.n_coefficients, mode_of(self.target)
        n_asked = int(state.kept["asked"][0]) if "asked" in state.kept else 0
        penalty = np.full(q, PRIOR)
        penalty[:: q // len(self.target.places)] = 0.0
        ascents, informations = [], []
        for data_set, values in enumerate(from_limbs(sums["levels"])):
            found, theta = from_values(values, q, meat=False), asked[data_set]
            information = found.information + np.diag(penalty)
            objective = found.loglik - 0.5 * float(penalty @ theta**2)
            before = None if n_asked == 0 else _ascent(state.kept, data_set)
            ascents.append(advance(before, theta, objective, found.score - penalty * theta, information))
            informations.append(information)
        points = np.stack([ascent.next for ascent in ascents])
        arrays = {**state.arrays, name: points}
        near = max(float(np.abs(ascent.step).max()) for ascent in ascents) <= NEAR
        if not near and n_asked + 1 < self.times:
            kept = {**state.kept, "asked": np.array([n_asked + 1.0])}
            for data_set, ascent in enumerate(ascents):
                kept |= {f"{data_set}/{part}": value for part, value in ascent.to_arrays().items()}
            return replace(state, arrays=arrays, kept=kept)
        draw = drawing(self.seed, self.step)
        drawn = [logistic(mode, one, draw) for mode, one in zip(points, informations, strict=True)]
        kept = {**state.kept, "asked": np.zeros(1)}
        after = with_parameters(
            replace(state, arrays=arrays, kept=kept), np.stack(drawn), self.imputation.width
        )
        return replace(after, settled=True)


def _ascent(kept: Mapping[str, Floats], data_set: int) -> Ascent | None:
    names = ("theta", "step", "objective")
    return Ascent.from_arrays({name: kept[f"{data_set}/{name}"] for name in names})


def drawing(seed: int, step: int) -> np.random.Generator:
    """The coordinator's draws of a step, the same whenever its sum is taken again."""
    return Draw(seed, "coordinator", step).generator("imputation")


def with_parameters(state: State, drawn: Floats, width: int) -> State:
    """A state that carries the parameters of one step more, filled up with zeros to the widest model's."""
    drawn = np.pad(drawn, ((0, 0), (0, width - drawn.shape[1])))
    before = state.arrays.get("parameters")
    parameters = drawn[None] if before is None else np.concatenate([before, drawn[None]])
    return replace(state, arrays={**state.arrays, "parameters": parameters})


class Fitting(Protocol):
    """What is fitted to each data set."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of moments, and then the steps."""
        ...

    def told(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """What the sum of moments tells of single patients."""
        ...

    def found(self, state: State) -> Found:
        """Each data set's result, from the finished state."""
        ...


@dataclass(frozen=True)
class ImputeAnalysis(Analysis):
    """A regression over imputed data sets."""

    imputation: Imputation
    fitting: Fitting

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """What is observed, the chains, and the regression."""
        imputation = self.imputation
        seed = imputation.seed
        steps = [
            (LinearStage if imputation.target_at(step).is_number else LevelsStage)(imputation, step, seed)
            for step in range(imputation.n_steps)
        ]
        return ObservedStage(imputation), *steps, *self.fitting.stages

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """Models of too many parameters, or levels and outcomes that few have."""
        stage, imputation = self.stage_at(state.round), self.imputation
        if stage is not None and stage.name == MOMENTS:
            return self.fitting.told(state, sums, rules)
        if not isinstance(stage, ObservedStage):
            return None
        n, total = n_observed(imputation, sums.values), from_limbs(sums["observed"])[0]
        for target in imputation.targets:
            if said := told_by_size(n[target.places[0]], target.n_coefficients(imputation.k), rules):
                return said
        for name in dict.fromkeys(one.name for one in imputation.base if one.level is not None):
            places = [place for place, one in enumerate(imputation.base) if one.name == name]
            known = float(n[places[0]])
            for count in (*total[places].tolist(), known - float(total[places].sum())):
                if said := told_by_levels({name: count}, known, rules):
                    return said
        return None

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Counts of missing values; coefficients are of as many patients as the first sums had to have."""
        counted = np.asarray(state.kept["counts"], np.float64)
        unknown = np.asarray(state.kept["unknown"], np.float64)
        few = np.array([name == "missing" for name in COUNTS]) & small(counted, rules.min_cell)
        hidden = small(unknown, rules.min_cell) | small(counted[0] - unknown, rules.min_cell)
        shown = masked(counted, few, rules)
        shown[COUNTS.index("hospitals")] = counted[COUNTS.index("hospitals")]
        kept = {**state.kept, "counts": shown, "unknown": masked(unknown, hidden, rules)}
        found = [
            Suppressed("missing", "min_cell", int(few.sum())),
            Suppressed("missing by column", "min_cell", int(hidden.sum())),
        ]
        return Disclosed(replace(state, kept=kept), gathered(found))

    def report(self, state: State) -> Report:
        """Coefficients by Rubin's rules, and how many values are missing."""
        question, found = self.imputation.question, self.fitting.found(state)
        counted = dict(zip(COUNTS, state.kept["counts"], strict=True))
        unknown = dict(zip(question.columns, state.kept["unknown"].tolist(), strict=True))
        both = pooled(found.estimates, found.variances, found.degrees)
        n = float(counted["rows"])
        read = [{factor.column for factor, _ in column.parts} for column in found.columns]
        known = [n - sum(unknown.get(name, 0.0) for name in one) if len(one) < 2 else None for one in read]
        return {
            "patients": count_of(counted["patients"]),
            "missing": count_of(counted["missing"]),
            "impute": {
                "formula": str(question.formula),
                "family": found.family,
                "n": int(n),
                **found.more,
                "imputations": question.m,
                "cycles": question.cycles,
                "columns": {
                    name: {"missing": count_of(gone), "n": count_of(n - gone)}
                    for name, gone in unknown.items()
                },
                "coefficients": rubin_rows(found.names, both, known),
            },
        }


def build(study: Study) -> ImputeAnalysis:
    """The analysis of `fc.Impute(...)`.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    if not isinstance(study.analysis, Impute):
        raise StudyError("analysis: not an imputation")
    question = study.analysis
    if question.is_cox:
        hazards = hazard_imputation(study.cohort, question, study.seed)
        return ImputeAnalysis(hazards, HazardRegressions(hazards))
    regression = regression_of(study.cohort, question.model)
    counts = regression.family.name == "poisson"
    imputation = RegressionImputation(
        study.cohort, question, study.seed, counts=counts, regression=regression
    )
    return ImputeAnalysis(imputation, Regressions(imputation))

"""Propensity score weighting as sums: the regression of the treatment, then one sum of each arm, then errors.

The scores never leave a hospital: it computes them of the coefficients that all hospitals found together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.carried_sums import carried, from_limbs, to_limbs
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
from fedcohort.analyses.glm.estimates import coefficient_rows
from fedcohort.analyses.glm.newton import Scaling
from fedcohort.analyses.glm.stages import Moments, MomentsStage, NewtonStage, asked_of
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_alone import told_by_leverage
from fedcohort.analyses.told_by_regression import told_by_levels, told_by_size
from fedcohort.analyses.weighting.estimates import balance, effects
from fedcohort.analyses.weighting.propensity import Propensity, propensity_of
from fedcohort.analyses.weighting.question import Weighting
from fedcohort.analyses.weighting.weights import (
    N_BINS,
    ArmSums,
    Stacked,
    arm_values,
    n_arm_values,
    n_stacked,
    score_counts,
    stacked_values,
)
from fedcohort.columns import Categorical, Numeric
from fedcohort.disclosure.cells import hidden_table, small
from fedcohort.disclosure.magnitudes import dominated
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Privacy, Study
from fedcohort.texts import Text
from fedcohort.vector import Block, counts


@dataclass(frozen=True)
class ArmsStage:
    """Weighted and plain sums of each arm, and how many rows have which score."""

    regression: Propensity
    name: str = "arms"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Counts of scores, and sums by arm."""
        return counts("scores", 2, N_BINS), carried("arms", n_arm_values(self.regression.p))

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What complete rows add, weighted by the coefficients that were found."""
        beta, scaling = found_of(state, self.regression)
        ours = self.regression.treated(rows, scaling)
        return {
            "scores": Proved(score_counts(ours, beta)),
            "arms": Proved(to_limbs(arm_values(self.regression.asked.estimand, ours, beta))),
        }

    def update(self, state: State, sums: Sums) -> State:
        """The means, of which the last sum asks how far each row is off.

        Raises:
            StudyError: nobody is left in one of the arms.
        """
        arms = ArmSums.of(from_limbs(sums["arms"]))
        if not np.all(arms.weight > 0):
            raise StudyError("analysis.formula: one arm has nobody; check its levels")
        kept = {"scores": sums["scores"], "arms": from_limbs(sums["arms"])}
        return replace(state, arrays={**state.arrays, "means": arms.means}, kept={**state.kept, **kept})


@dataclass(frozen=True)
class SandwichStage:
    """The sandwich of all estimating equations at the coefficients and means that were found."""

    regression: Propensity
    name: str = "sandwich"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Its middle, and slopes."""
        return (carried("sandwich", n_stacked(self.regression.p)),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What complete rows add.

        Raises:
            WireError: the coordinator has sent no two means.
        """
        beta, scaling = found_of(state, self.regression)
        means = np.asarray(state.arrays.get("means", ()), np.float64)
        if means.shape != (2,) or not np.isfinite(means).all():
            raise WireError("a state without two means")
        ours = self.regression.treated(rows, scaling)
        values = stacked_values(self.regression.asked.estimand, ours, beta, means)
        return {"sandwich": Proved(to_limbs(values))}

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sums."""
        return replace(state, kept={**state.kept, "sandwich": from_limbs(sums["sandwich"])})


def found_of(state: State, regression: Propensity) -> tuple[Floats, Scaling]:
    """The coefficients that were found, looked at before any patient is, and the scaling.

    Raises:
        WireError: the coordinator has sent others than the formula's, or what is no number. Told only where
            there are rows to compute with, this would say whether there are any.
    """
    beta, _, scaling = asked_of(state, regression)
    if not np.isfinite(beta).all():
        raise WireError("a state whose coefficients are no numbers")
    return beta, scaling


@dataclass(frozen=True, eq=False)
class Estimated:
    """What a report says of the outcome.

    Attributes:
        coefficients: (p, p) covariance of the treatment's regression, in standardised columns.
    """

    groups: Report
    effect: list[Report]
    coefficients: Floats
    more: Report = field(default_factory=dict)


@dataclass(frozen=True)
class WeightingAnalysis(Analysis):
    """A weighted comparison of two arms."""

    regression: Propensity
    privacy: Privacy | None = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The regression of the treatment, and what its weights show."""
        regression = self.regression
        return (
            MomentsStage(regression),
            NewtonStage(regression),
            ArmsStage(regression),
            SandwichStage(regression),
        )

    @cached_property
    def levels(self) -> tuple[str, str]:
        """Of the treatment: without and with it."""
        kind = self.regression.cohort.every_column[self.regression.asked.treated]
        if not isinstance(kind, Categorical):
            raise StudyError("analysis.formula: the treatment is not of two levels")
        return str(kind.levels[0]), str(kind.levels[1])

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """Too few treated or untreated for the score's columns, or a yes or no that few have."""
        stage, asked = self.stage_at(state.round), self.regression.asked
        if isinstance(stage, MomentsStage):
            moments = Moments.of(sums.values)
            levels = {asked.treated: moments.totals["y"]}
            levels |= self.regression.told.levels(sums.values)
            n = min(moments.n, moments.counts["patients"])
            return (
                told_by_size(n, self.regression.p, rules)
                or told_by_levels(levels, moments.n, rules)
                or self.regression.told.by_few(sums.values, rules)
            )
        if "arms" in sums and self.regression.is_share:
            arms = ArmSums.of(from_limbs(sums["arms"]))
            parts = zip(arms.y.tolist(), arms.n.tolist(), strict=True)
            told_by_arm = (told_by_levels({asked.read: yes}, n, rules) for yes, n in parts)
            return next((why for why in told_by_arm if why is not None), None)
        return None

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """What the first sum tells, and a combination of columns that is one patient's."""
        if told := super().objection_at_site(state, sums, rows, rules):
            return told
        return told_by_leverage(self.regression.complete(rows)[0].x, rules) if state.round == 0 else None

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Without columns that few of an arm have, and scores that few have."""
        names = self.regression.design.names
        few = self.regression.indicators & small(self._ones(state), rules.min_cell).any((0, 1))
        scores = np.asarray(state.kept["scores"], np.float64)
        mask = hidden_table(scores, rules.min_cell)
        missing = np.array([0 < float(state.kept["counts"][1]) < rules.min_cell])
        outcome = self._is_dominated(ArmSums.of(state.kept["arms"]), rules)
        shown = {
            "shown/few": few,
            "shown/scores": masked(scores, mask, rules),
            "shown/missing": masked(state.kept["counts"][1:2], missing, rules),
            "shown/outcome": np.array([float(not outcome)]),
        }
        found = [
            *(Suppressed(name, "min_cell", 2) for name, hidden in zip(names, few, strict=True) if hidden),
            Suppressed("scores", "min_cell", int(mask.sum())),
            Suppressed("missing", "min_cell", int(missing[0])),
            Suppressed(self.regression.asked.read, "max_share", 2 * outcome),
        ]
        return Disclosed(replace(state, kept={**state.kept, **shown}), gathered(found))

    def _is_dominated(self, arms: ArmSums, rules: Disclosure) -> bool:
        """Whether few patients may make up most of an arm's outcome, which is of no negative numbers."""
        kind = self.regression.cohort.every_column[self.regression.asked.read]
        if not isinstance(kind, Numeric) or (kind.low is not None and kind.low < 0):
            return False
        parts = zip(arms.y.tolist(), arms.y_squared.tolist(), strict=True)
        return any(dominated(total, squares, rules) for total, squares in parts)

    def _ones(self, state: State) -> Floats:
        """(2, arms, p): how many ones there are of columns of zeros and ones, and how many zeros."""
        _, _, scaling = asked_of(state, self.regression)
        arms = ArmSums.of(state.kept["arms"])
        ones = np.rint(arms.x * scaling.scale + arms.n[:, None] * scaling.centre)
        return np.stack([ones, arms.n[:, None] - ones])

    def report(self, state: State) -> Report:
        """Balance before and after, the effect with its error, and the regression of the treatment."""
        regression, kept = self.regression, state.kept
        asked, moments = regression.asked, Moments.of(kept)
        beta, _, scaling = asked_of(state, regression)
        found, back = self.estimated(state), scaling.back()
        errors = np.sqrt(np.diag(back @ found.coefficients @ back.T))
        over_time = {} if asked.survival is None else {"time": asked.survival.time}
        return {
            "patients": count_of(moments.counts["patients"]),
            "missing": count_of(kept.get("shown/missing", kept["counts"][1:2])[0]),
            "weighting": {
                "formula": str(asked.formula),
                "treatment": asked.treated,
                "outcome": asked.read,
                **over_time,
                "estimand": asked.estimand,
                "n": int(moments.n),
                "groups": found.groups,
                "effect": found.effect,
                "balance": self._balance(ArmSums.of(kept["arms"]), kept),
                "scores": self._scores(kept),
                "propensity": coefficient_rows(regression.names, back @ beta, errors),
                **found.more,
            },
        }

    def estimated(self, state: State) -> Estimated:
        """Means by group, and what the treatment changes in them."""
        kept = state.kept
        arms, stacked = ArmSums.of(kept["arms"]), Stacked.of(kept["sandwich"], self.regression.p)
        covariance = stacked.covariance(arms.weight)
        told = bool(kept.get("shown/outcome", np.ones(1))[0])
        return Estimated(
            groups=self._groups(arms, covariance[-2:, -2:], told),
            effect=effects(arms.means, covariance[-2:, -2:], self.regression.is_share) if told else [],
            coefficients=covariance[:-2, :-2],
        )

    def _groups(self, arms: ArmSums, covariance: Floats, told: bool) -> Report:
        """By level of the treatment: how many there are, for how many they stand, and their outcome."""
        rows = coefficient_rows(self.levels, arms.means, np.sqrt(np.diag(covariance)))
        return {
            level: {
                **self._size(arms, arm),
                "crude": float(arms.y[arm] / arms.n[arm]) if told else None,
                "mean": row["coef"] if told else None,
                "low": row["low"] if told else None,
                "high": row["high"] if told else None,
            }
            for arm, (level, row) in enumerate(zip(self.levels, rows, strict=True))
        }

    def _size(self, arms: ArmSums, arm: int) -> Report:
        effective = float(arms.weight[arm] ** 2 / arms.weight_squared[arm])
        return {"n": int(arms.n[arm]), "effective_n": effective}

    def _balance(self, arms: ArmSums, kept: Mapping[str, Floats]) -> list[Report]:
        few = kept.get("shown/few", np.zeros(self.regression.p, np.bool_))
        rows = balance(arms, self.regression.design.names, self.regression.indicators)
        hidden: Report = {"smd": None, "weighted_smd": None}
        return [
            {**row, **hidden} if is_few else row
            for row, is_few, column in zip(rows, few, self.regression.design.columns, strict=True)
            if column.parts
        ]

    def _scores(self, kept: Mapping[str, Floats]) -> Report:
        counted = np.asarray(kept.get("shown/scores", kept["scores"]), np.float64)
        edges = [round(float(edge), 10) for edge in np.linspace(0, 1, N_BINS + 1)]
        by_level = dict(zip(self.levels, counted, strict=True))
        return {
            "edges": edges,
            "counts": {level: [count_of(n) for n in row] for level, row in by_level.items()},
        }


def build(study: Study) -> WeightingAnalysis:
    """The analysis of `fc.Weighting(...)`.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    if not isinstance(study.analysis, Weighting):
        raise StudyError("analysis: no weighted comparison")
    regression = propensity_of(study.cohort, study.analysis)
    if study.analysis.survival is None:
        return WeightingAnalysis(regression)
    from fedcohort.analyses.weighting.over_time import WeightedSurvival

    return WeightedSurvival(regression)

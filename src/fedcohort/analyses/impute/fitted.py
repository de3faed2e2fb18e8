"""The regression of each imputed data set: one sum of moments, then Newton steps of all m side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.carried_sums import carried, from_limbs, to_limbs
from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, Draw, Floats, Proved, Stage, State, Sums
from fedcohort.analyses.glm.estimates import Fit
from fedcohort.analyses.glm.newton import (
    Ascent,
    Scaling,
    advance,
    check_collinear,
    is_near,
    scaling_of,
    separated,
)
from fedcohort.analyses.glm.regression import Regression
from fedcohort.analyses.glm.stages import (
    TOTALS,
    Moments,
    check_outcome,
    from_values,
    moment_sums,
    n_values,
    outcome_unit,
    start_of,
    to_values,
    told_by_moments,
    told_by_rows,
)
from fedcohort.analyses.glm.sums import Rows as Complete
from fedcohort.analyses.glm.sums import newton_sums
from fedcohort.analyses.impute.chains import Imputation, chains, filled_table, usable
from fedcohort.analyses.impute.rubin import Found
from fedcohort.analyses.rows import Rows
from fedcohort.disclosure.rules import Disclosure
from fedcohort.errors import StudyError, WireError
from fedcohort.texts import Text
from fedcohort.vector import Block


@dataclass(frozen=True, eq=False)
class RegressionImputation(Imputation):
    """An imputation for a regression."""

    regression: Regression = field(kw_only=True)


def complete_data_sets(imputation: RegressionImputation, rows: Rows, state: State) -> list[Complete]:
    """A site's rows as the regression needs them, filled in, in each data set."""
    ours, regression = usable(imputation, rows), imputation.regression
    mean, scale = (np.asarray(state.arrays[name], np.float64) for name in ("mean", "scale"))
    y = values_of(ours.table, imputation.cohort, imputation.question.outcome).astype(np.float64)
    made = []
    for z in chains(imputation, rows, state, imputation.n_steps).z:
        table = filled_table(imputation, ours, z, mean, scale)
        cells = regression.told.cells_of(table)
        made.append(Complete(regression.design.matrix(table, imputation.cohort), y, cells=cells))
    return made


def moments_of(kept: Mapping[str, Floats], values: Floats) -> list[Moments]:
    """Of each data set."""
    return [Moments.from_values(one, kept["counts"]) for one in values]


@dataclass(frozen=True)
class FirstStage:
    """Sums of the regression's columns and of the outcome, in each data set."""

    imputation: RegressionImputation
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Three sums a column; of the first data set what columns tell of single patients."""
        regression = self.imputation.regression
        sums = carried("moments", self.imputation.question.m, 3 * regression.p + len(TOTALS))
        return sums, *regression.told.blocks

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What filled-in rows add up to."""
        family = self.imputation.regression.family
        data_sets = complete_data_sets(self.imputation, rows, state)
        sums = [moment_sums(ours, family) for ours in data_sets]
        told = self.imputation.regression.told_sums(data_sets[0])
        return {"moments": Proved(to_limbs(np.stack(sums))), **told}

    def update(self, state: State, sums: Sums) -> State:
        """Where Newton begins, in columns of one scaling for all data sets.

        Raises:
            StudyError: there is nothing to be fitted.
        """
        regression, values = self.imputation.regression, from_limbs(sums["moments"])
        every = moments_of(state.kept, values)
        for moments in every:
            check_outcome(moments, regression)
        mean = Moments.from_values(values.mean(0), state.kept["counts"])
        scaling = scaling_of(mean.n, mean.x, mean.squares, regression.design.has_intercept)
        arrays = {
            **state.arrays,
            "beta": np.stack([start_of(moments, regression) for moments in every]),
            "model centre": scaling.centre,
            "model scale": scaling.scale,
        }
        kept = {**state.kept, "moments": values, "events": np.array([mean.totals["y"]])}
        return replace(state, arrays=arrays, kept=kept)


def told_by_data_sets(
    imputation: RegressionImputation, state: State, sums: Sums, rules: Disclosure
) -> Text | None:
    """What any data set says of single patients."""
    every = moments_of(state.kept, from_limbs(sums["moments"]))
    for moments in every:
        if said := told_by_moments(moments, imputation.regression, rules):
            return said
    return told_by_rows(every[0], imputation.regression, sums.values, rules)


@dataclass(frozen=True)
class FitStage:
    """Score, information and log-likelihood of each data set, at its coefficients."""

    imputation: RegressionImputation
    name: str = "newton"

    @property
    def times(self) -> int:
        """As often as the question allows."""
        return self.imputation.question.rounds

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of all data sets side by side."""
        q = self.imputation.regression.q
        return (carried("newton", self.imputation.question.m, n_values(q, meat=False)),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What filled-in rows add at these points."""
        family = self.imputation.regression.family
        beta, scaling = asked_of(self.imputation, state)
        asked = state.arrays["parameters"].tobytes() + scaling.centre.tobytes()

        def make() -> list[Complete]:
            return [
                replace(ours, x=(ours.x[:] - scaling.centre) / scaling.scale)
                for ours in complete_data_sets(self.imputation, rows, state)
            ]

        data_sets = rows.latest("standardised data sets", asked, make)
        values = [
            to_values(newton_sums(family, ours, point, meat=False))
            for ours, point in zip(data_sets, beta, strict=True)
        ]
        return {"newton": Proved(to_limbs(np.stack(values)))}

    def update(self, state: State, sums: Sums) -> State:
        """The next points; settled where all data sets have converged.

        Raises:
            StudyError: a coefficient has no end, columns are collinear, or it does not converge.
        """
        regression, beta = self.imputation.regression, asked_of(self.imputation, state)[0]
        points, kept, near = beta.copy(), dict(state.kept), True
        for place, values in enumerate(from_limbs(sums["newton"])):
            found = from_values(values, regression.q, meat=False)
            before = Ascent.from_arrays(_under(state.kept, f"fit/{place}/"))
            if before is None:
                check_collinear(found.information, regression.names, penalised=False)
            ascent = advance(before, beta[place], found.loglik, found.score, found.information)
            moments = Moments.from_values(state.kept["moments"][place], state.kept["counts"])
            # A point that led down is not the last, however short the step that is left.
            is_last = np.array_equal(ascent.theta, beta[place]) and is_near(
                ascent.step, outcome_unit(moments, regression)
            )
            near = near and is_last
            if not is_last and (names := separated(regression.family.name, ascent, regression.names)):
                raise StudyError(
                    "analysis.formula: once missing values are filled in, {names} tells the outcome of all "
                    "or nearly all of its patients, so that the coefficient has no end; merge levels, or "
                    "leave the column out",
                    names=", ".join(names),
                )
            points[place] = ascent.next
            kept |= {f"fit/{place}/{name}": value for name, value in ascent.to_arrays().items()}
        rounds = int(state.kept["rounds"][0]) + 1 if "rounds" in state.kept else 1
        if near:
            return replace(state, kept=kept, settled=True)
        if rounds >= self.times:
            raise StudyError(
                "analysis.rounds: after {rounds} rounds the coefficients still change; write more rounds, or "
                "name fewer terms",
                rounds=rounds,
            )
        kept["rounds"] = np.array([float(rounds)])
        return replace(state, arrays={**state.arrays, "beta": points}, kept=kept)


def asked_of(imputation: RegressionImputation, state: State) -> tuple[Floats, Scaling]:
    """The coefficients of each data set, and the scaling.

    Raises:
        WireError: the coordinator has sent others than the formula's.
    """
    regression = imputation.regression
    arrays = {name: np.asarray(value, np.float64) for name, value in state.arrays.items()}
    shapes = {
        "beta": (imputation.question.m, regression.q),
        "model centre": (regression.p,),
        "model scale": (regression.p,),
    }
    if (
        any(
            name not in arrays or arrays[name].shape != shape or not np.isfinite(arrays[name]).all()
            for name, shape in shapes.items()
        )
        or not (arrays["model scale"] > 0).all()
    ):
        raise WireError("a state without the coefficients of each data set")
    scaling = Scaling(arrays["model centre"], arrays["model scale"], regression.design.has_intercept)
    return arrays["beta"], scaling


def _fits_of(imputation: RegressionImputation, state: State) -> list[Fit]:
    """Each data set's regression at its end."""
    regression, (beta, scaling) = imputation.regression, asked_of(imputation, state)
    newton = from_limbs((state.sums or Sums({}))["newton"])
    return [
        Fit(
            family=regression.family.name,
            theta=point,
            sums=from_values(values, regression.q, meat=False),
            scaling=scaling,
            penalty=np.zeros(regression.q),
            n=float(state.kept["counts"][0]),
            n_intercepts=0.0,
            constant=0.0,
            saturated=0.0,
            null=None,
        )
        for point, values in zip(beta, newton, strict=True)
    ]


@dataclass(frozen=True)
class Regressions:
    """The regressions of `fc.GLM`, of all data sets."""

    imputation: RegressionImputation

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One of moments, and Newton's steps."""
        return FirstStage(self.imputation), FitStage(self.imputation)

    def told(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """What the first sum tells of single patients."""
        return told_by_data_sets(self.imputation, state, sums, rules)

    def found(self, state: State) -> Found:
        """Each data set's."""
        fits, regression = _fits_of(self.imputation, state), self.imputation.regression
        variances = np.stack([np.diag(fit.covariance("model")) for fit in fits])
        estimates = np.stack([fit.own_units() for fit in fits])
        binary = regression.family.name == "binomial"
        return Found(
            regression.family.name,
            regression.names,
            regression.design.columns,
            estimates,
            variances,
            fits[0].degrees,
            {"events": int(state.kept["events"][0])} if binary else {},
        )


def _under(kept: Mapping[str, Floats], begins: str) -> dict[str, Floats]:
    return {name[len(begins) :]: value for name, value in kept.items() if name.startswith(begins)}

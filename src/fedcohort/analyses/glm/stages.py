"""Generalised linear models as sums: one of moments, then a Newton step a round until it has converged.

The first sum standardises columns, so that no unit costs a digit. Each later one adds score, information and
log-likelihood at the coefficients that the coordinator asks about, beside those of the model without columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
from fedcohort.analyses.design_rows import leading, parts
from fedcohort.analyses.glm.estimates import Fit, coefficient_rows
from fedcohort.analyses.glm.families import COUNTS as FAMILIES_OF_COUNTS
from fedcohort.analyses.glm.families import Family
from fedcohort.analyses.glm.linear_mixed import START, MixedStage, mixed_report
from fedcohort.analyses.glm.meta import CombinedStage, OwnStage, meta_rows
from fedcohort.analyses.glm.newton import (
    Ascent,
    Scaling,
    advance,
    check_collinear,
    check_separated,
    inverse,
    is_ascent,
    is_near,
    scaling_of,
)
from fedcohort.analyses.glm.private import private_of
from fedcohort.analyses.glm.question import GLM
from fedcohort.analyses.glm.random_intercept import random_sums
from fedcohort.analyses.glm.regression import Regression, regression_of
from fedcohort.analyses.glm.scaled import scaling_in
from fedcohort.analyses.glm.sums import NewtonSums, newton_sums, profiled
from fedcohort.analyses.glm.sums import Rows as Complete
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_alone import told_by_leverage
from fedcohort.analyses.told_by_design import SIZE
from fedcohort.analyses.told_by_regression import told_by_levels, told_by_size
from fedcohort.disclosure.cells import small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Privacy, Study
from fedcohort.texts import Text
from fedcohort.vector import Array, Block, counts

LEAST_LOG_ALPHA = -12.0
START_DEVIATION = 0.5
COUNTS = ("rows", "missing", "patients", "hospitals")
TOTALS = ("y", "y_squared", "weight", "weighted_y", "constant", "saturated")


@dataclass(frozen=True)
class Moments:
    """What the first sum shows.

    Attributes:
        x, squares, events: by column, sums of values, of their squares, and of products with the outcome.
    """

    counts: Mapping[str, float]
    x: Floats
    squares: Floats
    events: Floats
    totals: Mapping[str, float]

    @classmethod
    def of(cls, sums: Mapping[str, Floats]) -> "Moments":
        """From the sums as they came."""
        return cls.from_values(from_limbs(sums["moments"]), sums["counts"])

    @classmethod
    def from_values(cls, values: Floats, counts: Floats) -> "Moments":
        """From what `moment_sums` made, added over sites, and counts in the order of `COUNTS`."""
        x, squares, events = values[: -len(TOTALS)].reshape(3, -1)
        counted = dict(zip(COUNTS, np.asarray(counts, np.float64).tolist(), strict=True))
        return cls(
            counted, x, squares, events, dict(zip(TOTALS, values[-len(TOTALS) :].tolist(), strict=True))
        )

    @property
    def n(self) -> float:
        """Complete rows."""
        return self.counts["rows"]


@dataclass(frozen=True)
class MomentsStage:
    """How many rows are complete, and sums of their columns and of the outcome."""

    regression: Regression
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Counts, three sums a column, and what columns tell of single patients."""
        sums = carried("moments", 3 * self.regression.p + len(TOTALS))
        return counts("counts", len(COUNTS)), sums, *self.regression.told.blocks

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What complete rows add up to."""
        ours, missing, patients = self.regression.complete(rows)
        counted = np.array([len(ours.y), missing, patients, len(ours.y) > 0])
        return {
            "counts": Proved(counted),
            "moments": Proved(to_limbs(moment_sums(ours, self.regression.family))),
            **self.regression.told_sums(ours),
        }

    def update(self, state: State, sums: Sums) -> State:
        """Where Newton begins.

        Raises:
            StudyError: there is nothing to be fitted.
        """
        moments = Moments.of(sums.values)
        check_outcome(moments, self.regression)
        scaling = scaling_of(moments.n, moments.x, moments.squares, self.regression.design.has_intercept)
        start = start_of(moments, self.regression)
        arrays = {"beta": start, "centre": scaling.centre, "scale": scaling.scale}
        if self.regression.is_mixed:
            unit = outcome_unit(moments, self.regression)
            arrays["ratio"] = np.array([START, moments.totals["y"] / max(moments.n, 1.0), unit])
        elif self.regression.question.firth:
            arrays["inverse"] = np.zeros((self.regression.q, self.regression.q))
        else:
            arrays["null"] = np.append(start[: self.regression.n_null], start[self.regression.q :])
        return replace(state, arrays=arrays, kept=dict(sums.values))


def moment_sums(ours: Complete, family: Family) -> Floats:
    """Three sums a column of complete rows, and `TOTALS`."""
    x, y = ours.x, ours.y
    w = np.ones_like(y) if ours.weights is None else ours.weights
    both, squares = np.zeros((2, x.shape[1])), np.zeros(x.shape[1])
    for rows, part in parts(x):
        ones = np.ones(len(part))
        both += np.stack([ones, y[rows]]) @ part
        squares += ones @ (part * part)
    sums = [both[0], squares, both[1]]
    totals = [y.sum(), y @ y, w.sum(), w @ y, w @ family.constant(y), w @ family.saturated(y)]
    if family.name == "gaussian":
        totals[4] = np.log(w[w > 0]).sum() / 2
    return np.concatenate([*sums, np.array(totals, np.float64)])


def told_by_moments(moments: Moments, regression: Regression, rules: Disclosure) -> Text | None:
    """What the first sum says of single patients: too many parameters, a level or an outcome of few."""
    hospitals, site = int(moments.counts["hospitals"]), regression.question.site
    indicators = regression.indicator_names
    of_hospitals = {"fixed": hospitals, "meta": regression.q * (hospitals - 1)}.get(site, 0)
    levels = {name: moments.x[place] for place, name in indicators.items()}
    if regression.family.name == "binomial":
        levels[regression.question.outcome] = moments.totals["y"]
        if len(indicators) == regression.q - regression.n_null:
            # Nothing but levels: fitted shares are those of the patients.
            levels |= _outcomes(moments, indicators)
    # Rows of one patient are one patient.
    n = min(moments.n, moments.counts["patients"])
    return told_by_size(n, regression.q + of_hospitals, rules) or told_by_levels(levels, moments.n, rules)


def told_by_rows(
    moments: Moments, regression: Regression, values: Mapping[str, Array], rules: Disclosure
) -> Text | None:
    """What combinations of levels, and numbers that few patients decide, say of single patients.

    Args:
        values: the blocks of `regression.told`.
    """
    told, levels = regression.told, {"a weight above 0": float(values[SIZE][0])}
    levels |= told.levels(values)
    is_level = moments.totals["y"] == moments.totals["y_squared"]
    if is_level:
        levels[regression.question.outcome] = moments.totals["y"]
    if is_level or regression.family.name != "gaussian":
        n_others = sum(1 for column in regression.design.columns if column.parts)
        if len(regression.indicator_names) == n_others:
            # Nothing but levels: what is fitted is the patients' own shares.
            levels |= told.outcomes(values)
    return told_by_levels(levels, moments.n, rules) or told.by_few(values, rules)


def _outcomes(moments: Moments, indicators: Mapping[int, str]) -> dict[str, float]:
    """Of each level, and of those with none of them, how many have the outcome and how many have not."""
    places = list(indicators)
    others = moments.n - float(moments.x[places].sum())
    with_it = moments.totals["y"] - float(moments.events[places].sum())
    counted = {"the reference, yes": with_it, "the reference, no": others - with_it}
    for place, name in indicators.items():
        counted |= {f"{name}, yes": float(moments.events[place])}
        counted |= {f"{name}, no": float(moments.x[place] - moments.events[place])}
    return counted


def check_outcome(moments: Moments, regression: Regression) -> None:
    """Refuse a fit that has no end whatever the columns, or no row to be of.

    Raises:
        StudyError: says why.
    """
    least = regression.p + 1
    if moments.n < least:
        raise StudyError(
            "analysis.formula: over all hospitals {n} rows have a value of each column, and {least} are the "
            "least for its {p} coefficients; name fewer terms, widen `where`, or ask more hospitals",
            n=int(moments.n),
            least=least,
            p=regression.p,
        )
    mean = moments.totals["weighted_y"] / max(moments.totals["weight"], 1e-300)
    if regression.family.name == "binomial" and not 0 < mean < 1:
        raise StudyError(
            "analysis.formula: over all hospitals {outcome} is the same for every patient, so that nothing "
            "can explain it; check its levels, or widen `where`",
            outcome=regression.question.outcome,
        )
    if regression.family.name in FAMILIES_OF_COUNTS and not mean > 0:
        raise StudyError(
            "analysis.formula: over all hospitals {outcome} is 0 for every patient, so that nothing can "
            "explain it; check the column, or widen `where`",
            outcome=regression.question.outcome,
        )


def start_of(moments: Moments, regression: Regression) -> Floats:
    """The mean where there is an intercept, and 0."""
    start = np.zeros(regression.q + regression.n_dispersions)
    mean = moments.totals["weighted_y"] / max(moments.totals["weight"], 1e-300)
    if regression.has_free_intercept:
        start[0] = regression.family.link(mean)
    if regression.question.site == "random":
        start[-1] = START_DEVIATION
    elif regression.n_dispersions:
        beyond = moments.totals["y_squared"] / moments.n - mean**2 - mean
        start[-1] = np.log(np.clip(beyond / mean**2, 0.05, 20.0))
    return start


@dataclass(frozen=True)
class NewtonStage:
    """Score, information and log-likelihood at the coefficients that are asked about."""

    regression: Regression
    name: str = "newton"

    @property
    def times(self) -> int:
        """As often as the question allows."""
        return self.regression.question.rounds * (1 + self.regression.question.firth)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of the model, and of the one without columns."""
        regression = self.regression
        n_null, n_dispersions = regression.n_null, regression.n_dispersions
        whole = n_values(regression.q + n_dispersions, regression.meat)
        sums = carried("newton", whole), carried("null", n_values(n_null + n_dispersions, meat=False))
        return (*sums, carried("pearson", 1)) if regression.pearson else sums

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What complete rows add at this point."""
        beta, null, scaling = asked_of(state, self.regression)
        ours = self.regression.standardised(rows, scaling)
        family, fixed = self.regression.family, self.regression.question.site == "fixed"
        is_random = self.regression.question.site == "random"
        if fixed:
            sums = profiled(family, ours, beta, self.regression.meat)
        elif is_random:
            sums = random_sums(family, ours, beta)
        else:
            sums = newton_sums(family, ours, beta, self.regression.meat, inverse_of(state, self.regression))
        values = np.zeros(n_values(self.regression.n_null + self.regression.n_dispersions, meat=False))
        if null is not None:
            first = replace(ours, x=leading(ours.x, 1 if fixed else self.regression.n_null))
            if is_random:
                values = to_values(random_sums(family, first, null))
            else:
                alone = profiled if fixed else newton_sums
                values = to_values(alone(family, first, null, meat=False))
        parts = {"newton": to_values(sums), "null": values, "pearson": np.array([sums.pearson])}
        asked = [block.name for block in self.blocks]
        return {name: Proved(to_limbs(parts[name])) for name in asked}

    def update(self, state: State, sums: Sums) -> State:
        """The next point; settled where both models have converged.

        Raises:
            StudyError: a coefficient has no end, columns are collinear, or it does not converge.
        """
        regression, moments = self.regression, Moments.of(state.kept)
        beta, null, scaling = asked_of(state, regression)
        n_parameters = regression.q + regression.n_dispersions
        found = from_values(from_limbs(sums["newton"]), n_parameters, regression.meat)
        kept, arrays = dict(state.kept), dict(state.arrays)
        unit = outcome_unit(moments, regression)
        before = Ascent.from_arrays(_under(kept, "main"))
        penalty = regression.penalty(scaling)
        if before is None:
            held = found.information + np.diag(penalty)
            held = held[: regression.q, : regression.q]
            check_collinear(held, regression.names, regression.penalised)
        check_dispersed(beta, regression)
        objective = found.loglik - 0.5 * float(penalty @ beta**2) + half_log_determinant(found, regression)
        if regression.question.firth and not np.any(arrays["inverse"]) and is_ascent(before, objective):
            # Hat values are by the information at this point, of which the first answer has told.
            return replace(state, arrays={**arrays, "inverse": inverse(found.information)})
        ascent = advance(
            before, beta, objective, found.score - penalty * beta, found.information + np.diag(penalty)
        )
        is_last = ascent.theta is beta and is_near(ascent.step, unit)
        if not is_last and not regression.question.firth:
            check_separated(regression.family.name, ascent, regression.names, regression.penalised)
        kept |= {f"main/{name}": value for name, value in ascent.to_arrays().items()}
        arrays["beta"] = beta if is_last else ascent.next
        if regression.question.firth:
            arrays["inverse"] = np.zeros((regression.q, regression.q))
        if null is not None:
            arrays, kept = self._null(sums, null, unit, arrays, kept)
        settled = is_last and "null" not in arrays
        if not settled and state.round >= self.times:
            raise StudyError(
                "analysis.rounds: after {rounds} rounds the coefficients still change; write more rounds, or "
                "name fewer terms",
                rounds=regression.question.rounds,
            )
        return replace(state, arrays=arrays, kept=kept, settled=settled)

    def _null(
        self, sums: Sums, null: Floats, unit: float, arrays: dict[str, Floats], kept: dict[str, Floats]
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """The same of the model without columns, which is no longer asked about once it has converged."""
        n_parameters = self.regression.n_null + self.regression.n_dispersions
        found = from_values(from_limbs(sums["null"]), n_parameters, meat=False)
        before = Ascent.from_arrays(_under(kept, "null"))
        ascent = advance(before, null, found.loglik, found.score, found.information)
        kept = {**kept, **{f"null/{name}": value for name, value in ascent.to_arrays().items()}}
        if ascent.theta is null and is_near(ascent.step, unit):
            return {name: value for name, value in arrays.items() if name != "null"}, kept
        return {**arrays, "null": ascent.next}, kept


def check_dispersed(theta: Floats, regression: Regression) -> None:
    """Refuse a negative binomial whose alpha goes to 0.

    Raises:
        StudyError: names the remedy.
    """
    if regression.family.name == "negative_binomial" and theta[-1] < LEAST_LOG_ALPHA:
        raise StudyError(
            "analysis.family: {outcome} varies no more than a Poisson count, so that alpha has no estimate; "
            'take family = "poisson"',
            outcome=regression.question.outcome,
        )


def outcome_unit(moments: Moments, regression: Regression) -> float:
    """What a standardised coefficient of 1 is in: the outcome's deviation in a linear model."""
    if regression.family.name != "gaussian":
        return 1.0
    n = max(moments.n, 1.0)
    mean, square = moments.totals["y"] / n, moments.totals["y_squared"] / n
    return float(np.sqrt(max(square - mean**2, 1e-14 * square))) or 1.0


def asked_of(state: State, regression: Regression) -> tuple[Floats, Floats | None, Scaling]:
    """The coefficients, those of the model without columns, and the scaling.

    Raises:
        WireError: the coordinator has sent others than the formula's.
    """
    arrays = {name: np.asarray(value, np.float64) for name, value in state.arrays.items()}
    more = regression.n_dispersions
    scaling = scaling_in(state, regression)
    if "beta" not in arrays or arrays["beta"].shape != (regression.q + more,):
        raise WireError("a state without a coefficient, a centre and a scale of each column")
    null = arrays.get("null")
    if null is not None and null.shape != (regression.n_null + more,):
        raise WireError("a state with another number of coefficients of no column")
    # Told only where the state is wrong: an error of sums would tell whether there are rows.
    if not (np.isfinite(arrays["beta"]).all() and (null is None or np.isfinite(null).all())):
        raise WireError("a state whose coefficients are no numbers")
    return arrays["beta"], null, scaling


def inverse_of(state: State, regression: Regression) -> Floats | None:
    """For Firth's score, the inverse information of the point before; None where it is not asked for.

    Raises:
        WireError: the coordinator has sent none.
    """
    if not regression.question.firth:
        return None
    found = np.asarray(state.arrays.get("inverse", ()), np.float64)
    if found.shape != (regression.q, regression.q):
        raise WireError("a state without an inverse information")
    return found


def half_log_determinant(sums: NewtonSums, regression: Regression) -> float:
    """What Firth's penalised likelihood adds, of standardised columns; 0 where it is not asked for."""
    return float(np.linalg.slogdet(sums.information)[1]) / 2 if regression.question.firth else 0.0


def n_values(p: int, meat: bool) -> int:
    """How many numbers one point's sums are."""
    return p + p * (p + 1) // 2 * (1 + meat) + 1


def to_values(sums: NewtonSums) -> Floats:
    """As one vector."""
    meat = triangle(sums.meat)
    values: Floats = np.concatenate([[sums.loglik], sums.score, triangle(sums.information), meat])
    return values


def from_values(values: Floats, p: int, meat: bool) -> NewtonSums:
    """The inverse of `to_values`."""
    n = p * (p + 1) // 2
    information, middle = values[p + 1 : p + 1 + n], values[p + 1 + n :]
    empty = np.zeros((0, 0))
    return NewtonSums(
        values[1 : p + 1],
        symmetric(information, p),
        float(values[0]),
        symmetric(middle, p) if meat else empty,
    )


def _under(kept: Mapping[str, Floats], prefix: str) -> dict[str, Floats]:
    begins = f"{prefix}/"
    return {name[len(begins) :]: value for name, value in kept.items() if name.startswith(begins)}


@dataclass(frozen=True)
class GLMAnalysis(Analysis):
    """A regression."""

    regression: Regression
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> Analysis:
        """Noisy scores in place of exact ones, within declared bounds."""
        return private_of(self.regression, privacy)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Moments, and Newton's steps."""
        first = MomentsStage(self.regression)
        if self.regression.is_mixed:
            return first, MixedStage(self.regression)
        if self.regression.question.site == "meta":
            return first, OwnStage(self.regression), CombinedStage(self.regression)
        return first, NewtonStage(self.regression)

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """A model of too many parameters, or of levels and outcomes that few have."""
        if not isinstance(self.stage_at(state.round), MomentsStage):
            return None
        moments = Moments.of(sums.values)
        by_moments = told_by_moments(moments, self.regression, rules)
        return by_moments or told_by_rows(moments, self.regression, sums.values, rules)

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """What the first sum tells, and a combination of columns that is one patient's."""
        if told := super().objection_at_site(state, sums, rows, rules):
            return told
        if state.round:
            return None
        ours = self.regression.complete(rows)[0]
        return told_by_leverage(ours.x, rules, ours.weights)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Counts behind the figures; the figures are of as many patients as the first sum had to have."""
        moments = Moments.of(state.kept)
        counted = np.asarray(state.kept["counts"], np.float64)
        few = np.array([0 < moments.counts["missing"] < rules.min_cell])
        shown = np.where(np.array([name == "missing" for name in COUNTS]) & few, np.nan, counted)
        hidden = self._of_few_outcomes(state, rules)
        events = masked(moments.events, hidden, rules)
        kept = {**state.kept, "counts": shown, "shown/events": events}
        told = int(sum(hidden[place] for place in self.regression.indicator_names))
        found = [Suppressed("missing", "min_cell", int(few[0])), Suppressed("events", "min_cell", told)]
        return Disclosed(replace(state, kept=kept), gathered(found))

    def _of_few_outcomes(self, state: State, rules: Disclosure) -> NDArray[np.bool_]:
        """(p,): columns of levels of which one, the reference or another, has the outcome few times."""
        tables = self.regression.told.cells(state.kept).items()
        few = {name for names, table in tables if small(table, rules.min_cell).any() for name in names}
        columns = self.regression.design.columns
        return np.array([any(factor.column in few for factor, _ in one.parts) for one in columns])

    def report(self, state: State) -> Report:
        """Coefficients with errors and intervals, and how well the model fits."""
        regression, moments = self.regression, Moments.of(state.kept)
        rows, more = self._combined(state) if regression.question.site == "meta" else self._fitted(state)
        question = regression.question
        return {
            "patients": count_of(moments.counts["patients"]),
            "missing": count_of(moments.counts["missing"]),
            "glm": {
                "formula": str(question.formula),
                "family": regression.family.name,
                "se": question.se,
                "site": question.site,
                **counted(moments, regression),
                "coefficients": [
                    {**row, **behind}
                    for row, behind in zip(rows, self._behind(moments, state.kept), strict=True)
                ],
                **more,
            },
        }

    def _combined(self, state: State) -> tuple[list[dict[str, object]], dict[str, object]]:
        """What hospitals found, combined."""
        sums = state.sums or Sums({})
        own, combined = from_limbs(state.kept["own"]), from_limbs(sums["combined"])
        rows = meta_rows(self.regression.names, own, combined)
        return rows, {"hospitals": int(own[0, 0])}

    def _fitted(self, state: State) -> tuple[list[dict[str, object]], dict[str, object]]:
        """The coefficients of one model of all hospitals, and how well it fits."""
        sums, regression, moments = state.sums or Sums({}), self.regression, Moments.of(state.kept)
        if regression.is_mixed:
            found, own_errors, more = mixed_report(state, regression)
            return coefficient_rows(regression.names, found, own_errors), more
        beta, _, scaling = asked_of(state, regression)
        null = Ascent.from_arrays(_under(state.kept, "null"))
        fit = Fit(
            family=regression.family.name,
            theta=beta,
            sums=from_values(
                from_limbs(sums["newton"]), regression.q + regression.n_dispersions, regression.meat
            ),
            scaling=regression.reported(scaling),
            penalty=regression.penalty(scaling),
            n=moments.n,
            n_intercepts=moments.counts["hospitals"] if regression.question.site == "fixed" else 0.0,
            constant=moments.totals["constant"],
            saturated=moments.totals["saturated"],
            null=None if null is None else null.objective,
            pearson=float(from_limbs(sums["pearson"])[0]) if "pearson" in sums else None,
        )
        errors = np.sqrt(np.maximum(np.diag(fit.covariance(regression.question.se)), 0.0))
        degrees = fit.degrees if regression.family.name == "gaussian" else None
        q = regression.q
        rows = coefficient_rows(regression.names, fit.own_units()[:q], errors[:q], degrees)
        if regression.question.firth:
            return rows, {"firth": True, **fit.penalised()}
        if regression.question.site == "random":
            deviation = {"hospital_sd": abs(float(fit.coefficients[-1])), "hospital_sd_se": float(errors[-1])}
            return rows, {**deviation, **fit.fit()}
        if regression.n_dispersions:
            alpha = float(np.exp(fit.coefficients[-1]))
            return rows, {"alpha": alpha, "alpha_se": float(alpha * errors[-1]), **fit.fit()}
        return rows, fit.fit()

    def _behind(self, moments: Moments, kept: Mapping[str, Floats]) -> list[dict[str, object]]:
        """Of each column of zeros and ones, how many rows have a one, and of these the outcome."""
        behind: list[dict[str, object]] = []
        columns = self.regression.design.columns[self.regression.p - self.regression.q :]
        place = self.regression.p - self.regression.q
        for index, column in enumerate(columns, start=place):
            found: dict[str, object] = {}
            if column.parts and self.regression.design.is_indicator(column):
                found["n"] = int(moments.x[index])
                if self.regression.family.name == "binomial":
                    found["events"] = count_of(kept.get("shown/events", moments.events)[index])
            behind.append(found)
        return behind


def counted(moments: Moments, regression: Regression) -> dict[str, object]:
    """Rows, and of a yes or no those with a yes."""
    found: dict[str, object] = {"n": int(moments.n)}
    if regression.family.name == "binomial":
        found["events"] = int(moments.totals["y"])
    return found


def build(study: Study) -> GLMAnalysis:
    """The analysis of `fc.GLM(...)`.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    if not isinstance(study.analysis, GLM):
        raise StudyError("analysis: not a regression")
    return GLMAnalysis(regression_of(study.cohort, study.analysis))

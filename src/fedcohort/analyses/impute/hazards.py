"""The Cox regression of each imputed data set: one sum of moments, then Newton's steps of all m side by side.

Patients are compared within hospitals, as `fc.Cox` does. Imputation models hold the event and the cumulative
hazard at each patient's time, within the hospital (White and Royston 2009, Stat Med 28:1982).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.carried_sums import carried, from_limbs, to_limbs
from fedcohort.analyses.contract import Contribution, Draw, Floats, Proved, Stage, State, Sums
from fedcohort.analyses.cox.cases import Asked, Scaling
from fedcohort.analyses.cox.newton import Likelihood, climb, inverse
from fedcohort.analyses.cox.risk_sets import RiskSets
from fedcohort.analyses.design import design_of
from fedcohort.analyses.impute.chains import Imputation, Usable, chains, filled_table, usable
from fedcohort.analyses.impute.question import Impute
from fedcohort.analyses.impute.rubin import Found
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_by_regression import told_by_levels, told_by_size
from fedcohort.disclosure.rules import Disclosure
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.texts import Text
from fedcohort.vector import Block, counts

SAME = 1e-12
"""Of a column's mean: a deviation so small is rounding."""


@dataclass(frozen=True, eq=False)
class HazardImputation(Imputation):
    """An imputation for a Cox regression."""

    asked: Asked = field(kw_only=True)

    @property
    def p(self) -> int:
        """Coefficients."""
        return len(self.asked.names)

    def tables(self, rows: Rows, state: State) -> list[Table]:
        """A site's rows, filled in, in each data set."""
        ours = usable(self, rows)
        mean, scale = (np.asarray(state.arrays[name], np.float64) for name in ("mean", "scale"))
        made = chains(self, rows, state, self.n_steps).z
        return [filled_table(self, ours, z, mean, scale) for z in made]

    def x(self, table: Table) -> Floats:
        """(n, p): the formula's columns."""
        return self.asked.design.matrix(table, self.cohort)[:, 1:]


def hazard_imputation(cohort: Cohort, question: Impute, seed: int) -> HazardImputation:
    """Resolve a question.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    try:
        design = design_of(cohort, question.formula)
    except ValueError as error:
        raise StudyError("analysis.formula: {why}", why=error.args[0]) from None
    return HazardImputation(cohort, question, seed, asked=Asked(cohort, design))


def _survival(ours: Usable) -> tuple[Floats, Floats]:
    """Of a site's rows, time and event.

    Raises:
        StudyError: the cohort has no survival label.
    """
    if ours.table.label is None or ours.table.event is None:
        raise StudyError("cohort.label: cox needs fc.Survival(time, event)")
    return ours.table.label, ours.table.event


@dataclass(frozen=True)
class FirstStage:
    """Sums of the formula's columns in each data set, and events."""

    imputation: HazardImputation
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Two sums a column; of the first data set what columns tell of single patients."""
        sums = carried("moments", self.imputation.question.m, 2, self.imputation.p)
        return sums, counts("events", 1), *self.imputation.asked.told.blocks

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What filled-in rows add up to."""
        _, event = _survival(usable(self.imputation, rows))
        tables, asked = self.imputation.tables(rows, state), self.imputation.asked
        columns = [self.imputation.x(table) for table in tables]
        sums = [np.stack([x.sum(0), np.einsum("ij,ij->j", x, x)]) for x in columns]
        first = np.column_stack([np.ones(len(event)), columns[0]])
        told = asked.told.contribute(first, asked.told.cells_of(tables[0]), event == 1)
        return {
            "moments": Proved(to_limbs(np.stack(sums))),
            "events": Proved(np.array([int(event.sum())])),
            **told,
        }

    def update(self, state: State, sums: Sums) -> State:
        """Where Newton begins, in columns of one scaling for all data sets.

        Raises:
            StudyError: there is nothing to be fitted.
        """
        n, names = float(state.kept["counts"][0]), self.imputation.asked.names
        if not sums["events"][0]:
            raise StudyError(
                "cohort: no patient of whom all columns are known has the event; widen `where`, or leave out "
                "columns that are often missing"
            )
        total, squares = from_limbs(sums["moments"]).mean(0) / n
        deviation = np.sqrt(np.maximum(squares - total**2, 0.0))
        flat = deviation <= SAME * np.abs(total)
        if flat.any():
            raise StudyError(
                "formula: {columns} have the same value for every patient; leave them out",
                columns=", ".join(name for name, one in zip(names, flat, strict=True) if one),
            )
        arrays = {
            **state.arrays,
            "beta": np.zeros((self.imputation.question.m, self.imputation.p)),
            "model centre": total,
            "model scale": deviation,
        }
        return replace(state, arrays=arrays, kept={**state.kept, "events": sums["events"]})


@dataclass(frozen=True)
class FitStage:
    """The partial likelihood within hospitals of each data set, at its coefficients."""

    imputation: HazardImputation
    name: str = "newton"

    @property
    def times(self) -> int:
        """As often as the question allows."""
        return self.imputation.question.rounds

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of all data sets side by side."""
        p = self.imputation.p
        return (carried("newton", self.imputation.question.m, 1 + p + p * (p + 1) // 2),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part; zeros of one without events."""
        beta, scaling = _asked_of(self.imputation, state)

        def make() -> list[RiskSets]:
            ours = usable(self.imputation, rows)
            time, event = _survival(ours)
            stratum = self.imputation.stratum(ours.table)
            return [
                RiskSets.of(scaling(self.imputation.x(table)), time, event, stratum, efron=True)
                for table in self.imputation.tables(rows, state)
            ]

        asked = state.arrays["parameters"].tobytes() + scaling.key
        data_sets = rows.latest("risk sets of data sets", asked, make)
        values = [sets.at(point).packed for sets, point in zip(data_sets, beta, strict=True)]
        return {"newton": Proved(to_limbs(np.stack(values)))}

    def update(self, state: State, sums: Sums) -> State:
        """The next points; once all have been found, their sums are asked a last time.

        Raises:
            StudyError: a coefficient has no end, columns are collinear, or it does not converge.
        """
        if "found" in state.kept:
            return replace(state, settled=True)
        beta, kept = _asked_of(self.imputation, state)[0], dict(state.kept)
        points, found = beta.copy(), True
        for place, values in enumerate(from_limbs(sums["newton"])):
            begins = f"fit/{place}/"
            before = {name.removeprefix(begins): v for name, v in kept.items() if name.startswith(begins)}
            here = Likelihood.unpacked(values, self.imputation.p)
            climbed = climb(here, beta[place], before, self.imputation.asked.names)
            points[place], found = climbed.coefficients, found and climbed.settled
            kept |= {f"{begins}{name}": array for name, array in climbed.kept.items()}
        rounds = int(state.kept["rounds"][0]) + 1 if "rounds" in state.kept else 1
        if rounds >= self.times:
            raise StudyError(
                "analysis.rounds: after {rounds} rounds the coefficients still change; write more rounds, or "
                "name fewer terms",
                rounds=rounds,
            )
        kept["rounds"] = np.array([float(rounds)])
        if found:
            kept["found"] = np.ones(1)
        return replace(state, arrays={**state.arrays, "beta": points}, kept=kept)


def _asked_of(imputation: HazardImputation, state: State) -> tuple[Floats, Scaling]:
    """The coefficients of each data set, and the scaling.

    Raises:
        WireError: the coordinator has sent others than the formula's.
    """
    arrays = {name: np.asarray(value, np.float64) for name, value in state.arrays.items()}
    p = imputation.p
    shapes = {"beta": (imputation.question.m, p), "model centre": (p,), "model scale": (p,)}
    for name, shape in shapes.items():
        if name not in arrays or arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise WireError("a state without the coefficients of each data set")
    return arrays["beta"], Scaling(arrays["model centre"], arrays["model scale"])


@dataclass(frozen=True)
class HazardRegressions:
    """The Cox regressions of all data sets."""

    imputation: HazardImputation

    @property
    def stages(self) -> tuple[Stage, ...]:
        """One of moments, and Newton's steps."""
        return FirstStage(self.imputation), FitStage(self.imputation)

    def told(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """What any data set says of single patients."""
        asked = self.imputation.asked
        n, patients = (float(state.kept["counts"][place]) for place in (0, 2))
        levels = {"the event": float(sums["events"][0]), **asked.told.levels(sums.values)}
        said = told_by_size(min(n, patients), self.imputation.p, rules) or told_by_levels(levels, n, rules)
        for values in from_limbs(sums["moments"])[:, 0]:
            named = zip(asked.names, values.tolist(), asked.are_levels, strict=True)
            said = said or told_by_levels({name: total for name, total, one in named if one}, n, rules)
        return said or asked.told.by_few(sums.values, rules)

    def found(self, state: State) -> Found:
        """Each data set's; complete data have as many degrees as events beyond the coefficients."""
        imputation, (beta, scaling) = self.imputation, _asked_of(self.imputation, state)
        events = int(state.kept["events"][0])
        estimates, variances = [], []
        for point, values in zip(beta, from_limbs((state.sums or Sums({}))["newton"]), strict=True):
            here = Likelihood.unpacked(values, imputation.p)
            covariance = inverse(here.information)
            estimates.append((point + covariance @ here.score) / scaling.scale)
            variances.append(np.diag(covariance) / scaling.scale**2)
        return Found(
            "cox",
            imputation.asked.names,
            imputation.asked.design.columns[1:],
            np.stack(estimates),
            np.stack(variances),
            float(events - imputation.p),
            {"events": events},
        )

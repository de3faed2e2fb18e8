"""Cox regression as sums: moments of the columns, Newton's rounds, and what is said of the fit.

Within strata of sites a site computes its own part of the partial likelihood, and nothing of a risk set
leaves it. Sums travel as exact numbers (`exact_sums`), so that neither unit nor scale of a column costs a
digit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np

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
    Tally,
)
from fedcohort.analyses.cox.cases import Asked, Cases, Scaling, array_of
from fedcohort.analyses.cox.concordance import pairs
from fedcohort.analyses.cox.newton import MOST_ROUNDS, Likelihood, climb
from fedcohort.analyses.cox.question import Cox
from fedcohort.analyses.cox.report import Fit, fit_report, shown_of_fit
from fedcohort.analyses.cox.risk_sets import RiskSets
from fedcohort.analyses.design import design_of
from fedcohort.analyses.design_rows import times
from fedcohort.analyses.exact_sums import (
    SQUARES,
    VALUES,
    floats_of,
    limbs,
    limbs_of,
    sum_both,
    totals,
)
from fedcohort.analyses.exits import GridPlaces
from fedcohort.analyses.moments import moments_from_sums
from fedcohort.analyses.moments_told import two_level_counts
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_alone import told_by_leverage
from fedcohort.analyses.told_by_regression import told_by_levels, told_by_size
from fedcohort.columns import Categorical, Survival
from fedcohort.disclosure.cells import hidden
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.disclosure.windows import windows
from fedcohort.errors import StudyError
from fedcohort.study import Privacy, Study
from fedcohort.texts import Text
from fedcohort.vector import Array, Block, counts

MOST_PAIRS = 2.0**47
"""Of one site's patients."""
COUNTED = ("patients", "missing", "events")
ALL = "all"
"""The stratum's name where there is one."""


@dataclass(frozen=True, eq=False)
class MomentsStage:
    """How many patients and events there are, and mean and deviation of each column."""

    asked: Asked
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Counts, and exact sums of values and squares."""
        p = len(self.asked.names)
        sizes = (counts(name, 1, once=True) for name in COUNTED)
        sums = limbs("sum", p, VALUES), limbs("squares", p, SQUARES)
        return (*sizes, *sums, *self.asked.told.blocks)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each complete case once."""
        cases = self.asked.cases(rows)
        values, squares = sum_both(cases.x)
        return {
            "patients": Tally(rows=cases.rows),
            "missing": Tally(rows=cases.missing),
            "events": Tally(rows=cases.rows[cases.event == 1]),
            "sum": Proved(values),
            "squares": Proved(squares),
            **self.asked.told_sums(rows),
        }

    def update(self, state: State, sums: Sums) -> State:
        """Columns are centred at the mean and scaled by the deviation from now on.

        Raises:
            StudyError: there is nothing to compute from.
        """
        names = self.asked.names
        n, events = int(sums["patients"][0]), int(sums["events"][0])
        if not events:
            raise StudyError(
                "cohort: no patient of whom all columns are known has the event; widen `where`, or leave out "
                "columns that are often missing"
            )
        moments = moments_from_sums({**sums.values, "n": np.full(len(names), n)})
        flat = moments.deviation <= 1e-12 * np.abs(moments.mean)
        if flat.any():
            constant = ", ".join(name for name, one in zip(names, flat, strict=True) if one)
            raise StudyError(
                "formula: {columns} have the same value for every patient; leave them out", columns=constant
            )
        arrays = {
            "centre": moments.mean,
            "scale": moments.deviation,
            "coefficients": np.zeros(len(names)),
        }
        kept = {name: sums[name] for name in COUNTED}
        return replace(state, arrays=arrays, kept=kept)


@dataclass(frozen=True, eq=False)
class BySite:
    """What stages of a likelihood within sites have in common."""

    asked: Asked
    efron: bool

    def sets(self, state: State, rows: Rows) -> RiskSets:
        """The site's rows, sorted, with scaled columns; made once for one centre and scale."""
        scaling = Scaling.of(state, len(self.asked.names))

        def make() -> RiskSets:
            cases = self.asked.cases(rows)
            return RiskSets.of(cases.x, cases.time, cases.event, cases.stratum, self.efron, scaling)

        return rows.latest("risk sets", scaling.key, make)

    def coefficients(self, state: State) -> Floats:
        """At which the sum is asked."""
        return array_of(state, "coefficients", (len(self.asked.names),))


def likelihood_block(p: int) -> Block:
    """Log-likelihood, score and information, exactly."""
    return limbs("likelihood", 1 + p + p * (p + 1) // 2, VALUES)


def climbed(state: State, here: Likelihood, at: str, names: Sequence[str], counted: Sequence[str]) -> State:
    """After a round of Newton's method.

    Args:
        at: the array of the state at which the likelihood is.
        counted: what stays of what is kept; all else is of the rounds.
    Raises:
        StudyError: there is no maximum, or columns cannot be told apart.
    """
    kept = {name: state.kept[name] for name in counted}
    before = {name: array for name, array in state.kept.items() if name not in kept}
    following = climb(here, np.asarray(state.arrays[at]), before, names)
    arrays = {**state.arrays, at: following.coefficients}
    return replace(state, arrays=arrays, kept={**kept, **following.kept}, settled=following.settled)


@dataclass(frozen=True, eq=False)
class NewtonStage:
    """A round: the partial likelihood within sites, and where to go from there."""

    model: BySite
    name: str = "newton"
    times: int = MOST_ROUNDS

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A site's log-likelihood and its derivatives."""
        return (likelihood_block(len(self.model.asked.names)),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part; zeros of one without events."""
        at = self.model.coefficients(state)
        here = self.model.sets(state, rows).at(at)
        return {"likelihood": Proved(limbs_of(here.packed))}

    def update(self, state: State, sums: Sums) -> State:
        """The next coefficients.

        Raises:
            StudyError: there is no maximum, or columns cannot be told apart.
        """
        names = self.model.asked.names
        here = Likelihood.unpacked(floats_of(sums["likelihood"]), len(names))
        return climbed(state, here, "coefficients", names, COUNTED)


@dataclass(frozen=True, eq=False)
class FitStage:
    """At the maximum: the likelihood once more, concordance, proportional hazards, and the baseline."""

    model: BySite
    grid: tuple[float, ...]
    name: str = "fit"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """What is said of the fit."""
        p, cells = len(self.model.asked.names), self.model.asked.n_strata * (len(self.grid) + 1)
        half = p * (p + 1) // 2
        baseline = (counts("exits", 2 * cells, once=True), limbs("risk", cells, VALUES)) if self.grid else ()
        return (likelihood_block(p), limbs("proportions", p + 2 * half, VALUES), pairs_block(), *baseline)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part."""
        at = self.model.coefficients(state)
        sets = self.model.sets(state, rows)
        likelihood, proportions = sets.fit(at)
        parts: dict[str, Contribution] = {
            "likelihood": Proved(limbs_of(likelihood.packed)),
            "proportions": Proved(limbs_of(proportions.packed)),
            "pairs": Proved(sets.pairs(at)),
        }
        if self.grid:
            cases = self.model.asked.cases(rows)
            cell, died = cell_of(cases, self.grid)
            risk = np.exp(np.clip(self._eta(state, cases, at), -80.0, 80.0))
            cells = self.model.asked.n_strata * (len(self.grid) + 1)
            parts["exits"] = Tally(cell=2 * cell + died, rows=cases.rows)
            parts["risk"] = Proved(limbs_of(np.bincount(cell, risk, cells).astype(np.float64)))
        return parts

    def _eta(self, state: State, cases: Cases, at: Floats) -> Floats:
        shape = at.shape
        centre, scale = (array_of(state, name, shape) for name in ("centre", "scale"))
        by_column = at / np.where(scale > 0, scale, 1.0)
        return times(cases.x, by_column) - float(centre @ by_column)

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sums."""
        return state


def cell_of(cases: Cases, grid: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The cell in which each patient leaves, by stratum, and whether with the event; the last is beyond."""
    place = GridPlaces.of(grid)(cases.time)
    died = (cases.event == 1) & (place < len(grid))
    return cases.stratum * (len(grid) + 1) + place, died


def pairs_block() -> Block:
    """In the expected order, of one risk, and all that are compared."""
    return Block("pairs", (3,), resolution=1.0, bound=MOST_PAIRS)


def pairs_of(cases: Cases, eta: Floats) -> Array:
    """A site's pairs, of each stratum, added up."""
    total = np.zeros(3, np.int64)
    for stratum in np.unique(cases.stratum).tolist():
        mine = cases.stratum == stratum
        total += pairs(cases.time[mine], cases.event[mine], eta[mine])
    return total


@dataclass(frozen=True, eq=False)
class CoxAnalysis(Analysis):
    """Hazard ratios within hospitals."""

    question: Cox
    asked: Asked
    levels: tuple[str, ...]
    privacy: Privacy | None = None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Moments, Newton's rounds until they settle, and the fit."""
        model = BySite(self.asked, self.question.ties == "efron")
        return (MomentsStage(self.asked), NewtonStage(model), FitStage(model, tuple(self.question.grid)))

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """A model of too many parameters, or of levels or events that few have."""
        return self.told_at_first(sums, rules) if state.round == 0 else None

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """What the first sum tells, and a combination of columns that is one patient's."""
        if told := super().objection_at_site(state, sums, rows, rules):
            return told
        return told_by_leverage(self.asked.cases(rows).x, rules) if state.round == 0 else None

    def told_at_first(self, sums: Sums, rules: Disclosure) -> Text | None:
        """What the first sum tells of single patients."""
        return told_at_first(self.asked, sums, rules)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Who is left out, and times of the baseline put together until each step rests on enough."""
        told = without_few_missing(state, rules)
        found, sums = list(told.suppressed), state.sums or Sums({})
        values = dict(sums.values)
        if self.question.grid:
            shape = (len(self.levels), len(self.question.grid) + 1, 2)
            exits = np.asarray(sums["exits"], np.float64).reshape(shape)
            ends = np.zeros(shape[:2], np.int64)[:, :-1]
            # Strata are all patients: one that is not shown is what the others leave.
            lost = hidden(exits.sum((1, 2)), [np.arange(len(exits))], rules.min_cell)
            for level, counts_ in enumerate(exits):
                if lost[level]:
                    found.append(Suppressed(self.levels[level], "min_cell", ends.shape[1]))
                    continue
                ends[level, windows(counts_[:-1], rules.min_cell, float(counts_[-1].sum()))] = 1
                n_hidden = ends.shape[1] - int(ends[level].sum())
                found.append(Suppressed(self.levels[level], "min_cell", n_hidden if counts_.any() else 0))
            values["shown/ends"] = ends
        return Disclosed(replace(told.state, sums=replace(sums, values=values)), gathered(found))

    def report(self, state: State) -> Report:
        """Coefficients, tests, concordance, and the baseline where a grid was given."""
        sums, kept = state.sums or Sums({}), state.kept
        fit = Fit(
            names=self.asked.names,
            n=patients_behind(self.asked, state),
            centre=np.asarray(state.arrays["centre"]),
            scale=np.asarray(state.arrays["scale"]),
            at=np.asarray(state.arrays["coefficients"]),
            here=Likelihood.unpacked(floats_of(sums["likelihood"]), len(self.asked.names)),
            null=Likelihood(float(kept["null_loglik"][0]), kept["null_score"], kept["null_information"]),
        )
        said = {"strata": list(self.question.strata), "ties": self.question.ties}
        shown = shown_of_fit(fit, sums, self.question.grid, self.levels)
        return {
            "patients": count_of(kept["patients"][0]),
            "missing": count_of(kept["missing"][0]),
            "cox": {**said, **fit_report(fit, kept), **shown},
        }


def patients_behind(asked: Asked, state: State) -> list[int]:
    """By column: of a level those who have it, of a number all."""
    n, means = int(state.kept["patients"][0]), np.asarray(state.arrays["centre"])
    each = zip(means.tolist(), asked.are_levels, strict=True)
    return [round(mean * n) if is_level else n for mean, is_level in each]


def told_at_first(
    asked: Asked, sums: Sums, rules: Disclosure, more: int = 0, cells: Mapping[str, float] | None = None
) -> Text | None:
    """What the first sum tells of single patients.

    Args:
        more: parameters beside the columns'.
        cells: other counts that the report shows.
    """
    n, names = float(sums["patients"][0]), asked.names
    values, squares = totals(sums["sum"], VALUES), totals(sums["squares"], SQUARES)
    sums_of = zip(names, values, squares, strict=True)
    counted = {name: two_level_counts(int(n), value, square, None) for name, value, square in sums_of}
    levels = {name: float(two[0]) for name, two in counted.items() if two is not None}
    levels |= asked.told.levels(sums.values)
    levels |= {"the event": float(sums["events"][0]), **(cells or {})}
    return (
        told_by_size(n, len(names) + more, rules)
        or told_by_levels(levels, n, rules)
        or asked.told.by_few(sums.values, rules)
    )


def without_few_missing(state: State, rules: Disclosure) -> Disclosed:
    """The number left out, where it is none or large enough to be shown."""
    missing = np.asarray(state.kept["missing"], np.float64)
    few = (missing > 0) & (missing < rules.min_cell)
    kept = {**state.kept, "missing": masked(missing, few, rules)}
    return Disclosed(replace(state, kept=kept), gathered([Suppressed("missing", "min_cell", int(few[0]))]))


def build(study: Study) -> Analysis:
    """The analysis of `fc.Cox(...)`.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    question = study.analysis
    if not isinstance(question, Cox):
        raise StudyError("analysis: not a Cox regression")
    kinds = study.cohort.schema_
    levels = {name: kind.levels for name in question.by if isinstance(kind := kinds[name], Categorical)}
    try:
        design = design_of(study.cohort, question.formula)
    except ValueError as error:
        raise StudyError("analysis.formula: {why}", why=error.args[0]) from None
    strata = tuple((name, len(kind)) for name, kind in levels.items())
    named = tuple(", ".join(map(str, chosen)) for chosen in product(*levels.values())) if levels else (ALL,)
    asked = Asked(study.cohort, design, strata)
    if question.by_site:
        return CoxAnalysis(question, asked, named)
    if question.pieces is None:
        from fedcohort.analyses.cox.pooled import PooledCox

        return PooledCox(question, asked, named)
    from fedcohort.analyses.cox.piecewise import PiecewiseCox

    label = study.cohort.label
    return PiecewiseCox(asked, question.edges(label.horizon if isinstance(label, Survival) else None))

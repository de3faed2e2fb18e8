"""Validation from one sum: how many patients there are by group, outcome and score.

All figures are arithmetic on these counts (`score_tables`). Without privacy scores are counted in fine steps
of log-odds, and where they lie between steps, how far each figure may be off is told; under privacy in the
fixed parts of `measure`, and intervals come from counts drawn again, patients (Poisson) and noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix, values_of
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
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.intervals import NORMAL_EXACT, Estimates, centred, drawn, ends
from fedcohort.analyses.measure import LOG_ODDS
from fedcohort.analyses.moments import refuse_outside
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.score_tables import (
    Scale,
    auc,
    auc_error,
    bins,
    brier,
    brier_error,
    calibration,
    calibration_errors,
    decisions,
    even_scale,
    heterogeneity,
    wilson,
)
from fedcohort.analyses.subjects import TrainedSubject
from fedcohort.analyses.tails import chi_squared_p
from fedcohort.analyses.trained.at_work import AtWork, at_work
from fedcohort.analyses.validate.question import ALL, FARTHEST, OTHERS, Validate
from fedcohort.disclosure.cells import hidden_table, rounded
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import ROUNDING, count_of, finite, rounding_of
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.disclosure.windows import windows
from fedcohort.errors import StudyError
from fedcohort.study import Coefficients, Privacy, Study, missing_bounds
from fedcohort.vector import Array, Block, counts

ON_GRID = 1e-6
"""Of log-odds: a score that lies no farther from a step is at it."""
COARSE = np.array([*(-edge for edge in reversed(LOG_ODDS)), 0.0, *LOG_ODDS])
"""Edges of private parts of scores, but for those that are nearer than NEAR to a threshold."""
NEAR, OUTERMOST = 0.2, 7.5
FIGURES = ("auc", "brier", "intercept", "slope", "oe")
"""Of each group: a number with an interval; `intercept` is that of a slope of 1."""


@dataclass(frozen=True)
class ScoresStage:
    """Each patient's group, outcome and score.

    Attributes:
        part: of which patients: `all`, or a split.
        sites: hospitals, where groups are by hospital; the last group is of all others.
    """

    study: Study
    subject: TrainedSubject
    scale: Scale
    levels: tuple[str | int, ...]
    by: str | None
    part: str
    sites: tuple[str, ...] = ()
    name: str = "scores"
    times: int = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Groups, outcomes, cells."""
        return max(1, len(self.levels)), 2, len(self.scale.middles)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A patient is in one cell; the last is of those whose group or label is missing."""
        scores = counts("scores", math.prod(self.shape) + 1, part=self.part, once=True)
        if self.subject.private:
            return (scores,)
        between = counts("between", 1, part=self.part, once=True)
        others = Block("others", (1,), resolution=1.0, bound=1.0)
        return (scores, between, others) if self.sites else (scores, between)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's cell."""
        ours, predict = rows.patients(self.part), self.subject.predict(state)
        x, y = self.subject.data(rows, state)
        p = np.nan_to_num(predict(x[ours])[:, 0].astype(np.float64), nan=0.0)
        with np.errstate(divide="ignore"):
            score = np.clip(np.log(p) - np.log1p(-p), -FARTHEST, FARTHEST)
        group, outcome = np.zeros(len(ours)), y[ours].astype(np.float64)
        if self.sites:
            told = rows.told_as in self.sites
            group += self.sites.index(rows.told_as) if told else len(self.sites)
        elif self.by is not None:
            group = values_of(rows.table, self.study.cohort, self.by)[ours]
        known = ~(np.isnan(group) | np.isnan(outcome))
        place = np.searchsorted(self.scale.edges, score, side="right")
        _, outcomes, cells = self.shape
        cell = (np.nan_to_num(group) * outcomes + np.nan_to_num(outcome)).astype(np.int64) * cells + place
        parts: dict[str, Contribution] = {
            "scores": Tally(cell=np.where(known, cell, math.prod(self.shape)), rows=ours)
        }
        if not self.subject.private:
            off = np.abs(score - self.scale.middles[place]) > ON_GRID
            parts["between"] = Tally((off & known)[:, None], rows=ours)
        if self.sites:
            parts["others"] = Proved(np.array([not told and known.any()], np.int64))
        return parts

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the counts.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        scores = np.asarray(sums["scores"], np.float64)[:-1]
        check_enough(float(scores.sum()), sums.noise("scores") * math.sqrt(scores.size))
        return state


@dataclass(frozen=True)
class ValidateAnalysis(Analysis):
    """One model, of each group and of all together."""

    study: Study
    question: Validate
    model: AtWork
    levels: tuple[str | int, ...]
    sites: tuple[str, ...] = ()
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "ValidateAnalysis":
        """With fixed parts of scores, and noise.

        Raises:
            StudyError: a number has no declared bounds.
        """
        if missing := missing_bounds(self.study.cohort):
            raise StudyError(missing)
        return replace(self, privacy=privacy)

    @cached_property
    def scale(self) -> Scale:
        """Cells of scores."""
        if self.privacy is not None:
            return private_scale(np.array(self.question.thresholds))
        return even_scale(self.question.grid, FARTHEST, apart=True)

    @cached_property
    def scores(self) -> ScoresStage:
        """The one sum."""
        subject = TrainedSubject(self.study.cohort, self.model, self.privacy is not None)
        part = self.question.part(self.study)
        return ScoresStage(self.study, subject, self.scale, self.levels, self.question.by, part, self.sites)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum."""
        return (self.scores,)

    def prepare(self, rows: Rows) -> None:
        """Encode as the model was trained.

        Raises:
            ValueRangeError: without privacy a value lies outside its column's declared bounds.
        """
        if self.privacy is None:
            columns = numeric_columns(self.study.cohort.schema_)
            refuse_outside(numeric_matrix(rows.table, self.study.cohort, list(columns)), columns)
        self.scores.subject.predict(self.start())
        self.scores.subject.data(rows, self.start())

    def groups(self, sums: Sums) -> Floats:
        """(groups, 2, cells): by level, and of all together where there are levels."""
        table = np.asarray(sums["scores"], np.float64)[:-1].reshape(self.scores.shape)
        if not self.levels:
            return table
        return np.concatenate([table, table.sum(0, keepdims=True)])

    @property
    def names(self) -> tuple[str, ...]:
        """Of groups, all patients last."""
        return (*map(str, self.levels), ALL)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """No figure of a group with few patients of one outcome; no bin or threshold that few lie between."""
        sums = state.sums or Sums({})
        groups = self.groups(sums)
        sizes = groups.sum(-1)
        own = sizes[: len(self.levels) or 1]
        lost = hidden_table(own, rules.min_cell).any(1) | (
            (own.sum(1) > 0) & (own.sum(1) < rules.min_dof + 2)
        )
        if self.sites:
            lost, alone = _lost_hospitals(own.sum(1), lost, int(sums["others"][0]))
            lost = np.append(lost, alone or ((sizes[-1] > 0) & (sizes[-1] < rules.min_cell)).any())
        elif self.levels:
            few = ((sizes[-1] > 0) & (sizes[-1] < rules.min_cell)).any()
            # All together, less the groups that are shown, would be the one that is not.
            lost = np.append(lost, few or lost.sum() == 1)
        missing = float(sums["scores"][-1])
        told = np.array(
            [np.nan if 0 < missing < rules.min_cell else rounded(np.array(missing), rules.rounding)]
        )
        cuts = np.stack([self._cuts(counted, rules.min_cell) for counted in groups])
        hidden = int((self._asked(groups) & ~cuts).sum())
        values: dict[str, Array] = {
            **sums.values,
            "shown/lost": lost,
            "shown/missing": told,
            "shown/cuts": cuts,
            ROUNDING: np.array([rules.rounding]),
        }
        found = [
            Suppressed(self.names[place], "min_cell", len(FIGURES))
            for place in np.flatnonzero(lost & (sizes.sum(1) > 0))
            if self.names[place] != OTHERS
        ]
        found += [Suppressed("missing", "min_cell", int(np.isnan(told[0])))]
        found += [Suppressed("curves", "min_cell", hidden)]
        return Disclosed(replace(state, sums=replace(sums, values=values)), gathered(found))

    def _asked(self, groups: Floats) -> NDArray[np.bool_]:
        """(groups, cells + 1): before which cells a bin of calibration begins, or a threshold lies."""
        thresholds = self.scale.above(np.array(self.question.thresholds))
        at = thresholds.shape[1] - np.ceil(thresholds).sum(1).astype(np.int64)
        asked = np.zeros((len(groups), len(self.scale.middles) + 1), np.bool_)
        asked[:, at] = True
        for line, counted in zip(asked, groups, strict=True):
            line[np.flatnonzero(np.diff(bins(counted, self.scale))) + 1] = True
        return asked

    def _cuts(self, counted: Floats, min_cell: int) -> NDArray[np.bool_]:
        """(cells + 1,): at which places it may be told how many patients are below, and above."""
        asked = np.flatnonzero(self._asked(counted[None])[0])
        inside = asked[(asked > 0) & (asked < counted.shape[1])]
        edges = np.array([0, *inside, counted.shape[1]])
        parts = np.add.reduceat(counted, edges[:-1], axis=1)
        told = np.ones(counted.shape[1] + 1, np.bool_)
        told[inside] = False
        told[edges[windows(parts.T, min_cell, closed=True) + 1]] = True
        return told

    def report(self, state: State) -> Report:
        """By group: how well outcomes are told apart, how probabilities fit, and what decisions gain."""
        sums = state.sums or Sums({})
        groups = self.groups(sums)
        figures = self._exact(groups, sums) if self.privacy is None else self._private(sums)
        told = {
            name: self._group(place, groups, figures, sums)
            for place, name in enumerate(self.names)
            if name != OTHERS
        }
        found: dict[str, object] = {
            "model": "coefficients" if isinstance(self.question.model, Coefficients) else "trained",
            "part": self.scores.part,
            "thresholds": list(self.question.thresholds),
            "groups": told,
        }
        if self.levels:
            found |= {"by": self.question.by, "differences": self._differences(figures, sums)}
        if self.sites:
            found |= {"hospitals": list(self.sites)}
        found |= self._recalibrated(told[ALL])
        missing = count_of(sums["shown/missing"][0] if "shown/missing" in sums else sums["scores"][-1])
        return {"patients": told[ALL]["n"], "missing": missing, "validate": finite(found)}

    def _estimates(self, sums: Sums, assigned: Array | None = None) -> Estimates:
        """(groups,) of each figure, and (groups, ...) of the curves."""
        groups = self.groups(sums)
        found: dict[str, list[Floats | float]] = {}
        for place, counted in enumerate(groups):
            line, large = calibration(counted, self.scale), calibration(counted, self.scale, slope=False)
            observed, foreseen = counted[1].sum(), float(counted.sum(0) @ self.scale.probability)
            one: dict[str, Floats | float] = {
                "auc": auc(counted)[0],
                "brier": brier(counted, self.scale)[0],
                "intercept": large.intercept,
                "slope": line.slope,
                "oe": observed / foreseen if foreseen > 0 else math.nan,
                "recalibrated": line.intercept,
                **decisions(counted, self.scale, np.array(self.question.thresholds)).figures(),
            }
            bin_of = bins(counted, self.scale) if assigned is None else assigned[place]
            n, events = (np.bincount(bin_of, part, minlength=10) for part in (counted.sum(0), counted[1]))
            one["observed"] = events / np.where(n > 0, n, np.nan)
            for name, value in one.items():
                found.setdefault(name, []).append(value)
        return {name: np.array(values, np.float64) for name, values in found.items()}

    def _exact(self, groups: Floats, sums: Sums) -> Estimates:
        """With intervals of patients, and where scores lie between steps, how far figures may be off."""
        found = dict(self._estimates(sums))
        errors: dict[str, list[float]] = {name: [] for name in (*FIGURES, "recalibrated")}
        off: dict[str, list[float]] = {name: [] for name in ("auc", "brier", "intercept", "slope")}
        benefit = []
        between = float(sums["between"][0]) > 0
        for counted in groups:
            line, large = calibration(counted, self.scale), calibration(counted, self.scale, slope=False)
            observed = float(counted[1].sum())
            errors["auc"].append(auc(counted)[1])
            errors["brier"].append(brier(counted, self.scale)[1])
            errors["intercept"].append(large.errors[0])
            errors["recalibrated"].append(line.errors[0])
            errors["slope"].append(line.errors[1])
            # Of the logarithm, so that the interval is of a ratio (Debray et al. 2017).
            share = observed / max(counted.sum(), 1.0)
            errors["oe"].append(math.sqrt((1 - share) / observed) if observed else math.nan)
            benefit.append(decisions(counted, self.scale, np.array(self.question.thresholds)).benefit_error())
            off["auc"].append(auc_error(counted))
            off["brier"].append(brier_error(counted, self.scale))
            off["intercept"].append(calibration_errors(counted, self.scale, large, slope=False)[0])
            off["slope"].append(calibration_errors(counted, self.scale, line)[1])
        ends: dict[str, Floats] = {f"{name}_se": np.array(values) for name, values in errors.items()}
        for name, values in errors.items():
            spread = NORMAL_EXACT * np.array(values)
            ratio = name == "oe"
            for end, sign in (("low", -1), ("high", 1)):
                moved = found[name] * np.exp(sign * spread) if ratio else found[name] + sign * spread
                ends[f"{name}_{end}"] = np.clip(moved, *LIMITS.get(name, (-np.inf, np.inf)))
        spread = NORMAL_EXACT * np.array(benefit)
        ends |= {
            "net_benefit_low": found["net_benefit"] - spread,
            "net_benefit_high": found["net_benefit"] + spread,
        }
        return {
            **found,
            **ends,
            **({f"{name}_error": np.array(v) for name, v in off.items()} if between else {}),
        }

    def _private(self, sums: Sums) -> Estimates:
        """With intervals of patients and noise."""
        assigned = np.stack([bins(counted, self.scale) for counted in self.groups(sums)])
        estimate = partial(self._estimates, assigned=assigned)
        found, others = estimate(sums), drawn(estimate, sums, self._redraw)
        limits_of: dict[str, Floats] = {}
        for name, values in found.items():
            filled = np.where(np.isnan(others[name]), values, others[name])
            low, high = centred(values, filled)
            if name in (
                "slope",
                "recalibrated",
            ):  # of ratios the draws are skew, now to one side, now the other
                percentiles = ends(filled)
                low, high = np.fmin(low, percentiles[0]), np.fmax(high, percentiles[1])
            limits = LIMITS.get(name, (-np.inf, np.inf))
            limits_of |= {f"{name}_low": np.clip(low, *limits), f"{name}_high": np.clip(high, *limits)}
            limits_of[f"{name}_se"] = filled.std(0)
        shown = {
            name: np.clip(values, *LIMITS.get(name, (-np.inf, np.inf))) for name, values in found.items()
        }
        return {**shown, **limits_of}

    def _redraw(self, sums: Sums, generator: np.random.Generator) -> Sums:
        """Other patients of the same population."""
        table = np.asarray(sums["scores"], np.float64)
        by_outcome = table[:-1].reshape(-1, self.scores.shape[-1])
        lifted = np.maximum(by_outcome, 0.0)
        total = np.maximum(by_outcome.sum(1, keepdims=True), 0.0)
        lifted *= total / np.maximum(lifted.sum(1, keepdims=True), 1e-12)
        expected = np.append(lifted.reshape(-1), max(float(table[-1]), 0.0))
        return replace(sums, values={"scores": generator.poisson(expected).astype(np.float64)})

    def width(self, n_patients: int, sigma: float) -> float:
        """Half the width of the interval of the area, of a model with one of about .8."""
        middles = self.scale.middles
        cells = np.stack([np.exp(-np.square(middles - centre) / 2) for centre in (-0.6, 0.6)])
        edges = self.scale.edges
        widths = np.diff(np.concatenate([[2 * middles[0] - edges[0]], edges, [2 * middles[-1] - edges[-1]]]))
        cells = cells * widths / (cells * widths).sum(1, keepdims=True) * n_patients / 2
        groups = self.scores.shape[0]
        scores = np.append(np.repeat(cells[None] / groups, groups, axis=0).reshape(-1), 0.0)
        found = self._private(Sums({"scores": scores}, {"scores": sigma}))
        return float(found["auc_high"][-1] - found["auc_low"][-1]) / 2

    def _group(self, place: int, groups: Floats, figures: Estimates, sums: Sums) -> dict[str, object]:
        counted, step = groups[place], rounding_of(sums.values)
        n, events = (rounded(np.array(part), step) for part in (counted.sum(), counted[1].sum()))
        if "shown/lost" in sums and sums["shown/lost"][place]:
            return {"n": None, "events": None, **dict.fromkeys(FIGURES)}
        found: dict[str, object] = {"n": count_of(n), "events": count_of(events)}
        for name in (*FIGURES, "recalibrated"):
            for end in ("", "_low", "_high", "_error"):
                if f"{name}{end}" in figures:
                    found[f"{name}{end}"] = float(figures[f"{name}{end}"][place])
        cuts = sums["shown/cuts"][place] if "shown/cuts" in sums else np.ones(counted.shape[1] + 1, np.bool_)
        found["calibration"] = self._bins(counted, place, figures, cuts, step)
        found["decisions"] = self._decisions(place, figures, cuts, groups)
        return found

    def _bins(
        self, counted: Floats, place: int, figures: Estimates, cuts: NDArray[np.bool_], step: int
    ) -> list[dict[str, float | int | None]]:
        """Bins of about as many patients; neighbours are one where between them nothing may be told."""
        bin_of = bins(counted, self.scale)
        begins = np.append(True, np.diff(bin_of) > 0)
        merged = np.cumsum(begins & cuts[:-1]) - 1
        n, events = (np.bincount(merged, part).astype(np.float64) for part in (counted.sum(0), counted[1]))
        foreseen = np.bincount(merged, counted.sum(0) * self.scale.probability)
        low, high = wilson(events, n)
        if self.privacy is not None:
            own = np.unique(bin_of)
            low, high = (np.clip(figures[f"observed_{end}"][place][own], 0.0, 1.0) for end in ("low", "high"))
        told = []
        for index in np.flatnonzero(n > (0 if self.privacy is None else 1)):
            one = {"n": count_of(rounded(n[index], step)), "events": count_of(rounded(events[index], step))}
            shares = {"predicted": foreseen[index] / n[index], "observed": events[index] / n[index]}
            shares = {name: float(np.clip(share, 0.0, 1.0)) for name, share in shares.items()}
            told.append({**one, **shares, "low": float(low[index]), "high": float(high[index])})
        return told

    def _decisions(
        self, place: int, figures: Estimates, cuts: NDArray[np.bool_], groups: Floats
    ) -> dict[str, list[float]]:
        """By threshold; NaN where few patients lie between two of them."""
        thresholds = np.array(self.question.thresholds)
        above = np.ceil(self.scale.above(thresholds)).sum(1).astype(np.int64)
        told = cuts[groups.shape[-1] - above]
        names = [name for name in figures if name.removesuffix("_low").removesuffix("_high") in CURVES]
        return {name: np.where(told, figures[name][place], np.nan).tolist() for name in names}

    def _differences(self, figures: Estimates, sums: Sums) -> dict[str, object]:
        """Of each figure, whether groups differ in it."""
        others = np.array([bool(self.sites) and level == OTHERS for level in self.levels])
        lost = sums["shown/lost"][:-1] if "shown/lost" in sums else others
        found: dict[str, object] = {}
        for name in ("auc", "brier", "intercept", "slope"):
            values, errors = (np.where(lost, np.nan, figures[one][:-1]) for one in (name, f"{name}_se"))
            statistic, degrees = heterogeneity(values, errors)
            p = chi_squared_p(statistic, degrees) if degrees else math.nan
            found[name] = {"statistic": statistic, "degrees": degrees, "p": p}
        return found

    def _recalibrated(self, everyone: Mapping[str, object]) -> dict[str, object]:
        """A published score's coefficients as these patients would have them: intercept and slope anew."""
        model, slope, intercept = self.question.model, everyone.get("slope"), everyone.get("recalibrated")
        if (
            not isinstance(model, Coefficients)
            or not isinstance(slope, float)
            or not isinstance(intercept, float)
        ):
            return {}
        return {
            "recalibrated": {
                "intercept": intercept + slope * model.intercept,
                "coefficients": {name: slope * value for name, value in model.coefficients.items()},
            }
        }


def _lost_hospitals(sizes: Floats, lost: NDArray[np.bool_], n_others: int) -> tuple[NDArray[np.bool_], bool]:
    """Of which hospitals nothing is told; and whether all together would give the one of them away.

    Of one alone all figures together, less those of the hospitals that are told, would be its own: so the
    smallest of these is not told either.

    Args:
        sizes: (sites and others,) patients of each.
        lost: of those, which have few of an outcome.
        n_others: how many hospitals tell nothing of themselves.
    """
    lost = lost | (sizes == 0)
    lost[-1] = True
    unknown = int((lost & (sizes > 0))[:-1].sum()) + n_others
    shown = np.flatnonzero(~lost)
    if unknown == 1 and shown.size:
        lost[shown[np.argmin(sizes[shown])]] = True
        unknown = 2
    return lost, unknown == 1


def private_scale(thresholds: Floats) -> Scale:
    """Parts of scores that end at the thresholds, and are coarse between them."""
    at = np.log(thresholds) - np.log1p(-thresholds)
    far = np.abs(COARSE[:, None] - at).min(1) > NEAR
    edges = np.unique(np.concatenate([COARSE[far], at]))
    outer = np.concatenate([[min(-OUTERMOST, edges[0] - 1)], edges, [max(OUTERMOST, edges[-1] + 1)]])
    return Scale((outer[:-1] + outer[1:]) / 2, edges, apart=False)


CURVES = ("net_benefit", "treat_all", "sensitivity", "specificity", "ppv", "npv")
LIMITS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(("auc", "brier", "sensitivity", "specificity", "ppv", "npv", "observed"), (0.0, 1.0)),
    "oe": (0.0, math.inf),
}


def build(study: Study) -> ValidateAnalysis:
    """The analysis of `fc.Validate(model=...)`.

    Raises:
        StudyError: the model reads other columns, or predicts another kind of label.
    """
    question = study.analysis
    if not isinstance(question, Validate):
        raise StudyError("analysis: not a validation")
    levels = tuple(question.groups(study))
    return ValidateAnalysis(study, question, at_work(study, question.model), levels, tuple(question.sites))

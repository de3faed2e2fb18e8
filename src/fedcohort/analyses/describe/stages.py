"""Describe: count, missing, mean, deviation, and histogram or levels by column, from one sum, or two.

A number without declared bounds needs a second one for its histogram, about the pooled mean and
deviation: the least and the largest value, which are one patient's each, are looked for nowhere.
Under privacy sums are of scaled values, and histograms coarser, so that more patients stand in each part
than the noise. An image column is not described: it has no mean or levels that would tell a clinician
anything.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import (
    categorical_columns,
    described_columns,
    not_described,
    numeric_columns,
    numeric_matrix,
    unit_of,
    values_of,
)
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.describe.disclosed import shown_sums
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.histograms import bin_of, histogram, open_histogram, open_range
from fedcohort.analyses.intervals import NORMAL
from fedcohort.analyses.moments import (
    BoundedMoments,
    ExactMoments,
    Moments,
    Scaling,
    centre_and_scale,
    declared_scaling,
    moments_from_sums,
)
from fedcohort.analyses.moments_told import told_by_moments
from fedcohort.analyses.rows import Rows
from fedcohort.columns import Categorical, Numeric
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, number_of
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Cohort, Privacy, Study, missing_bounds
from fedcohort.texts import Text
from fedcohort.vector import MAX_ROWS, Block, counts

N_BINS, PRIVATE_N_BINS = 20, 10
HISTOGRAM_SHARE = 0.5
"""Of the privacy loss that each other block takes: a histogram is looked at, a mean is worked with."""


@dataclass(frozen=True)
class MomentsStage:
    """How many rows and patients there are, moments of numbers, levels, and histograms of bounded numbers."""

    cohort: Cohort
    moments: ExactMoments | BoundedMoments
    categorical: Mapping[str, Categorical]
    histograms: "Histograms | None"
    counts_rows: bool = True
    name: str = "moments"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Sizes, moments, histograms, levels."""
        levels = (counts(f"levels/{name}", len(kind.levels) + 1) for name, kind in self.categorical.items())
        return (
            *([counts("rows", 1)] if self.counts_rows else []),
            counts("patients", 1, once=True),
            *self.moments.blocks,
            *([self.histograms.block] if self.histograms else []),
            *levels,
        )

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each row's values, and the level that it has of each column."""
        ours, table = rows.of("all"), rows.table
        values = _numbers_of(rows, self.cohort, self.moments.columns)
        self.moments.check(values)
        parts: dict[str, Contribution] = {
            "rows": Tally(rows=ours),
            "patients": Tally(rows=rows.patients("all")),
            **self.moments.contribute(values, ours),
        }
        if self.histograms:
            parts["histograms"] = self.histograms.contribute(values, ours, state)
        for name, kind in self.categorical.items():
            levels = values_of(table, self.cohort, name)[ours]
            cell = np.where(np.isnan(levels), len(kind.levels), levels).astype(np.int64)
            parts[f"levels/{name}"] = Tally(cell=cell, rows=ours)
        return parts

    def update(self, state: State, sums: Sums) -> State:
        """What the report says, and where histograms lie that come after it.

        Raises:
            CohortTooSmallError: too few patients, by a noisy count.
        """
        check_enough(float(sums["patients"][0]), sums.noise("patients"))
        if self.histograms or not self.moments.columns:
            return state
        centre, scale = _ranges(self.moments.columns, moments_from_sums(sums.values))
        return replace(state, arrays={"centre": centre, "scale": scale}, kept=dict(sums.values))


@dataclass(frozen=True)
class Histograms:
    """Counts of numbers by equal parts of their range.

    Attributes:
        scaling: of the declared bounds; None: the state says it.
        ends: whether what lies below and above the range is counted; else it counts as the range's end.
    """

    n_columns: int
    n_bins: int
    scaling: Scaling | None
    ends: bool

    @property
    def block(self) -> Block:
        """A row adds one in each column."""
        shape = (self.n_columns, self.n_bins + 2 * self.ends)
        row = math.sqrt(self.n_columns)
        return Block("histograms", shape, row, HISTOGRAM_SHARE, resolution=1.0, bound=MAX_ROWS, cells=True)

    def contribute(self, values: Floats, rows: NDArray[np.int64], state: State) -> Tally:
        """Which part each number, (n, n_columns), lies in."""
        if self.scaling is not None:
            centre, scale = self.scaling.centre, self.scaling.scale
        else:
            centre, scale = (np.asarray(state.arrays.get(name, ())) for name in ("centre", "scale"))
            if centre.shape != (self.n_columns,) or scale.shape != (self.n_columns,):
                # As many lines as there are rows would fit them, and no other number: a count of rows.
                raise WireError("a state without a centre and a scale of each numeric column")
        with np.errstate(over="ignore"):  # what no double holds lies beyond the range, too
            numbers = (values - centre) / scale
        if self.ends:
            return Tally(cell=bin_of(numbers, self.n_bins), rows=rows)
        # NaN stays NaN: a missing value is counted nowhere.
        return Tally(cell=bin_of(np.clip(numbers, -1.0, 1.0), self.n_bins) - 1, rows=rows)


@dataclass(frozen=True)
class HistogramsStage:
    """Histograms of numbers of which one has no declared bounds: the state says where they lie."""

    cohort: Cohort
    columns: Mapping[str, Numeric]
    histograms: Histograms
    name: str = "histograms"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Histograms alone."""
        return (self.histograms.block,)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each row's place."""
        ours = rows.of("all")
        values = _numbers_of(rows, self.cohort, self.columns)
        return {"histograms": self.histograms.contribute(values, ours, state)}

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sum."""
        return state


@dataclass(frozen=True)
class DescribeAnalysis(Analysis):
    """The label is described beside the columns: as levels, or as a number."""

    cohort: Cohort
    numeric: dict[str, Numeric]
    categorical: dict[str, Categorical]
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "DescribeAnalysis":
        """The same columns; every number needs declared bounds.

        Raises:
            StudyError: one has none.
        """
        if declared_scaling(self.numeric) is None:
            missing = missing_bounds(self.cohort)
            raise StudyError(missing or "cohort.label: privacy needs declared bounds")
        return replace(self, privacy=privacy)

    @cached_property
    def moments(self) -> ExactMoments | BoundedMoments:
        """To the last bit, or of scaled values."""
        return ExactMoments(self.numeric) if self.privacy is None else BoundedMoments(self.numeric)

    @cached_property
    def histograms(self) -> Histograms | None:
        """None where there are no numbers to be noised."""
        n, scaling = len(self.numeric), declared_scaling(self.numeric)
        if self.privacy is None:
            return Histograms(n, N_BINS, scaling, ends=True)
        return Histograms(n, PRIVATE_N_BINS, scaling, ends=False) if n else None

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Histograms come with the moments where all numbers have bounds, and after them otherwise."""
        histograms = self.histograms
        at_once = histograms is None or histograms.scaling is not None
        counts_rows = self.privacy is None or self.privacy.rows_per_patient > 1
        moments = MomentsStage(
            self.cohort, self.moments, self.categorical, histograms if at_once else None, counts_rows
        )
        if at_once or histograms is None:
            return (moments,)
        return moments, HistogramsStage(self.cohort, self.numeric, histograms)

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """Means and deviations that are those of few."""
        return told_by_moments(sums.values, self.numeric, rules) if "squares" in sums else None

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Levels, parts and missing values above the threshold, means and deviations of enough patients."""
        sums = _whole(state)
        values, suppressed = shown_sums(sums, self.numeric, self.categorical, rules)
        return Disclosed(replace(state, kept={}, sums=replace(sums, values=values)), gathered(suppressed))

    def report(self, state: State) -> Report:
        """`describe` by column, under privacy with what the noise leaves uncertain."""
        sums = _whole(state)
        whole = "rows" if "rows" in sums else "patients"
        return {
            "rows": _count(sums, whole),
            "patients": _count(sums, "patients"),
            **self._errors(patients=_within(sums, "patients")),
            "describe": {**self._numbers(sums, whole), **self._levels(sums, whole)},
            **not_described(self.cohort),
        }

    def _errors(self, **within: float) -> dict[str, float]:
        """How far figures may be off, where there is noise."""
        return {
            f"{name}_error": round(error, 1) for name, error in within.items() if self.privacy is not None
        }

    def _numbers(self, sums: Sums, whole: str) -> dict[str, object]:
        if not self.numeric:
            return {}
        error = _within(sums, "n")
        figures = _as_shown(sums) if "shown/mean" in sums else self.moments.figures(sums)
        missing_error = math.hypot(_within(sums, whole), error)
        described: dict[str, object] = {}
        for index, (name, number) in enumerate(self.numeric.items()):
            n = _count(sums, "n", index)
            described[name] = {
                **unit_of(number),
                "n": n,
                **self._errors(n=error),
                "missing": _all_but(_count(sums, whole), n),
                **self._errors(missing=missing_error),
                **figures[index],
                "histogram": self._histogram(sums, index, is_open=number.bounds is None),
            }
        return described

    def _histogram(self, sums: Sums, index: int, is_open: bool) -> dict[str, object]:
        bins = [_count(sums, "histograms", index, part) for part in range(sums["histograms"].shape[1])]
        scaling = declared_scaling(self.numeric)
        centre, scale = (scaling.centre, scaling.scale) if scaling else (sums["centre"], sums["scale"])
        place = float(centre[index]), float(scale[index])
        if self.privacy is not None:
            return {**histogram(bins, *place), "error": round(_within(sums, "histograms"), 1)}
        return open_histogram(bins, *place) if is_open else histogram(bins[1:-1], *place)

    def _levels(self, sums: Sums, whole: str) -> dict[str, object]:
        described: dict[str, object] = {}
        for name, kind in self.categorical.items():
            block = f"levels/{name}"
            *known, missing = (_count(sums, block, index) for index in range(len(kind.levels) + 1))
            levels = {str(level): count for level, count in zip(kind.levels, known, strict=True)}
            error = _within(sums, block)
            described[name] = {
                "n": _all_but(_count(sums, whole), missing) if None in known else sum(filter(None, known)),
                **self._errors(n=math.sqrt(len(known)) * error),
                "missing": missing,
                **self._errors(missing=error),
                "levels": levels,
                **self._errors(levels=error),
            }
        return described


def _whole(state: State) -> Sums:
    """The sums of all rounds, and where histograms lie."""
    last = state.sums or Sums({})
    return replace(last, values={**state.kept, **state.arrays, **last.values})


def _as_shown(sums: Sums) -> list[dict[str, float | None]]:
    """Mean and deviation by column, as the rules of disclosure let them be."""
    both = zip(sums["shown/mean"], sums["shown/std"], strict=True)
    return [{"mean": number_of(mean), "std": number_of(std)} for mean, std in both]


def _all_but(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None else max(0, whole - part)


def _count(sums: Sums, block: str, *place: int) -> int | None:
    return count_of(sums[block][place or (0,)])


def _within(sums: Sums, block: str) -> float:
    """How far a count may be off: 95 % of the noise is smaller."""
    return round(NORMAL * sums.noise(block), 1)


def _numbers_of(rows: Rows, cohort: Cohort, columns: Mapping[str, Numeric]) -> Floats:
    """(n, n_columns) of the rows that count, NaN where missing."""
    return rows.once("numbers", lambda: numeric_matrix(rows.table, cohort, list(columns)))[rows.of("all")]


def _ranges(columns: Mapping[str, Numeric], moments: Moments) -> tuple[Floats, Floats]:
    """Declared bounds where there are any, else a range about the pooled mean."""
    ranges = [
        open_range(moments, index, N_BINS) if kind.bounds is None else centre_and_scale(*kind.bounds)
        for index, kind in enumerate(columns.values())
    ]
    centre, scale = np.array(ranges, np.float64).T
    return centre, scale


def build(study: Study) -> DescribeAnalysis:
    """The analysis of `fc.Describe()`."""
    columns = described_columns(study.cohort)
    return DescribeAnalysis(study.cohort, numeric_columns(columns), categorical_columns(columns))

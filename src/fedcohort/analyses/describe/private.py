"""Describe under privacy: every count and sum once, with noise, from one release.

A patient counts with at most `rows_per_patient` rows, and a value beyond its declared
bounds counts as the bound, so that one patient moves each block by no more than is
declared. The Gaussian mechanism (Dwork and Roth 2014, appendix A) then hides the patient
in all of them together. Intervals are those of the added noise alone.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import (
    categorical_columns,
    described_columns,
    level_counts,
    not_described,
    numeric_columns,
    numeric_matrix,
    unit_of,
    values_of,
)
from fedcohort.analyses.contract import Draw, Local, Report, SiteState, State
from fedcohort.analyses.histograms import count_bins, histogram
from fedcohort.analyses.moments import Scaling, declared_scaling
from fedcohort.analyses.patients import patients_of
from fedcohort.analyses.private_metrics import DRAWS, INTERVAL, RESOLUTION, check_enough, on_grid, sigma_of
from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Describe, Study, missing_bounds
from fedcohort.table import TRAIN, Table
from fedcohort.vector import MAX_ROWS, Block, Layout, Noisy, Vector

SUMS = ("n", "sum", "squares")
N_BINS = 10
"""Coarser than without privacy, so that more patients stand in each than the noise."""
HISTOGRAM_WEIGHT = 0.5
"""Of the privacy loss that each other block takes: a histogram is looked at, a mean is worked with."""
NORMAL = 1.96
"""Of the noise's standard deviation, how far 95 % of draws stay within."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PrivateDescribe:
    """The label is described beside the columns, as without privacy."""

    cohort: Cohort
    rows_per_patient: int
    numeric: dict[str, Numeric]
    categorical: dict[str, Categorical]
    scaling: Scaling

    def start(self) -> State:
        """One round, which needs nothing but the study."""
        return State("sums")

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked."""
        return {"sums": 1}

    def layout(self, state: State) -> Layout:
        """Counts of patients (and rows, where a patient has several), moments, levels."""
        most = float(self.rows_per_patient)
        blocks = [_block("patients", 1, 1.0)]
        if self.rows_per_patient > 1:
            blocks.append(_block("rows", 1, most))
        if self.numeric:
            n_columns = len(self.numeric)
            blocks += [_block(name, n_columns, most * math.sqrt(n_columns)) for name in SUMS]
            blocks.append(_block("histograms", n_columns * N_BINS, most * math.sqrt(n_columns)))
        blocks += [
            _block(f"levels/{name}", len(kind.levels) + 1, most) for name, kind in self.categorical.items()
        ]
        return tuple(blocks)

    def planned(self, site_state: SiteState) -> tuple[Noisy, ...]:
        """Every block, once; counts and sums are of whole steps, which rounding leaves alone."""
        weights = {"histograms": HISTOGRAM_WEIGHT}
        layout = self.layout(self.start())
        return tuple(Noisy(one, "all", 1, weights.get(one.name, 1.0), whole=True) for one in layout)

    def step(self, state: State) -> int:
        """There is no schedule."""
        return 0

    def steps_asked(self, phases: Mapping[str, int]) -> int:
        """There is no schedule."""
        return 0

    def prepare(self, table: Table) -> Local:
        """Choose each patient's rows, and gather their columns once."""
        patients = patients_of(replace(table, split=np.full_like(table.split, TRAIN)), self.rows_per_patient)
        rows = patients.rows[patients.rows >= 0]
        values = numeric_matrix(table, self.cohort, list(self.numeric))[rows]
        # NaN stays NaN: a missing value is counted nowhere.
        bounded = np.clip((values - self.scaling.centre) / self.scaling.scale, -1.0, 1.0)
        found: dict[str, NDArray[np.floating | np.integer]] = {"patients": np.array([len(patients.rows)])}
        if self.rows_per_patient > 1:
            found["rows"] = np.array([len(rows)])
        if self.numeric:
            found |= {**_whole_moments(bounded), "histograms": count_bins(bounded, N_BINS)[:, 1:-1].ravel()}
        for name, kind in self.categorical.items():
            levels = values_of(table, self.cohort, name)[rows]
            found[f"levels/{name}"] = level_counts(levels, len(kind.levels))

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            return found, site_state

        return local

    def update(self, state: State, total: Vector) -> State:
        """One sum, and it is done.

        Raises:
            CohortTooSmallError: too few patients, by the noisy count.
        """
        kept = {name: np.asarray(values) for name, values in total.items()}
        check_enough(float(kept["patients"][0]), sigma_of(kept, "patients"))
        return state.ended(kept)

    def report(self, state: State) -> Report:
        """`describe` by column, as without privacy, with what the noise leaves uncertain."""
        kept = state.kept
        sizes = {name: _count(kept, name, 0) for name in ("patients", "rows") if name in kept}
        described = {**self._numbers(kept), **self._levels(kept)}
        return {
            "rows": sizes["patients"],
            **sizes,
            "patients_error": _error(kept, "patients"),
            "describe": described,
            **not_described(self.cohort),
        }

    def _numbers(self, kept: Vector) -> dict[str, object]:
        if not self.numeric:
            return {}
        draw = np.random.default_rng(0)
        shape = (DRAWS, len(self.numeric))
        others = {
            name: np.asarray(kept[name]) + sigma_of(kept, name) * draw.standard_normal(shape) for name in SUMS
        }
        mean, variance = self._moments(kept)
        means, variances = self._moments(others)
        found: dict[str, object] = {}
        whole = "rows" if "rows" in kept else "patients"
        for index, (name, number) in enumerate(self.numeric.items()):
            n = _count(kept, "n", index)
            found[name] = {
                **unit_of(number),
                "n": n,
                "n_error": _error(kept, "n"),
                "missing": max(0, _count(kept, whole, 0) - n),
                "missing_error": round(math.hypot(_error(kept, whole), _error(kept, "n")), 1),
                **_interval("mean", mean[index], means[:, index], n),
                **_deviation(
                    float(variance[index]), variances[:, index], float(self.scaling.scale[index]), n
                ),
                "histogram": self._histogram(kept, index),
            }
        return found

    def _histogram(self, kept: Vector, index: int) -> dict[str, object]:
        places = range(index * N_BINS, (index + 1) * N_BINS)
        bins = [_count(kept, "histograms", place) for place in places]
        centre, scale = float(self.scaling.centre[index]), float(self.scaling.scale[index])
        return {**histogram(bins, centre, scale), "error": _error(kept, "histograms")}

    def _moments(self, sums: Vector) -> tuple[Floats, Floats]:
        """Mean, held within the declared bounds, and variance in units of the squared half range.

        A variance is as the noise leaves it, which may be negative.
        """
        n = np.maximum(np.asarray(sums["n"], np.float64), 1.0)
        mean = np.asarray(sums["sum"]) / n
        variance = np.asarray(sums["squares"]) / n - np.square(mean)
        return np.clip(mean, -1, 1) * self.scaling.scale + self.scaling.centre, variance

    def _levels(self, kept: Vector) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, kind in self.categorical.items():
            block = f"levels/{name}"
            *known, missing = (_count(kept, block, index) for index in range(len(kind.levels) + 1))
            levels = {str(level): count for level, count in zip(kind.levels, known, strict=True)}
            found[name] = {
                "n": sum(known),
                "n_error": round(math.sqrt(len(known)) * _error(kept, block), 1),
                "missing": missing,
                "missing_error": _error(kept, block),
                "levels": levels,
                "levels_error": _error(kept, block),
            }
        return found


def _block(name: str, size: int, sensitivity: float) -> Block:
    return Block(name, (size,), MAX_ROWS, RESOLUTION, sensitivity)


def _whole_moments(values: Floats) -> dict[str, NDArray[np.floating | np.integer]]:
    """Of values in [-1, 1] and squares that are rounded to whole steps before they are added."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    return {
        "n": known.sum(0),
        "sum": on_grid(filled).sum(0),
        "squares": on_grid(np.square(filled)).sum(0),
    }


def _count(kept: Vector, block: str, index: int) -> int:
    return max(0, round(float(np.asarray(kept[block])[index])))


def _error(kept: Vector, block: str) -> float:
    """How far a count may be off: 95 % of the noise is smaller."""
    return round(NORMAL * sigma_of(kept, block), 1)


def _interval(name: str, value: float, others: Floats, n: int) -> dict[str, float | None]:
    if n < 1:
        return {name: None}
    low, high = np.quantile(others, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return {name: float(value), f"{name}_low": float(low), f"{name}_high": float(high)}


def _deviation(variance: float, others: Floats, scale: float, n: int) -> dict[str, float | None]:
    """The deviation with its interval; none where noise hides it, and then only the interval is told.

    A deviation lies between 0 and half of the range. Where noise has made the variance negative the
    true one is less than what noise adds to it, so that the interval still holds it.
    """
    if n < 1:
        return {"std": None}
    low, high = np.quantile(others, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    high = max(variance, 0.0) + max(high - variance, 0.0)
    ends = (math.sqrt(min(max(float(end), 0.0), 1.0)) * scale for end in (low, high))
    told = math.sqrt(min(variance, 1.0)) * scale if variance > 0 else None
    return {"std": told, **dict(zip(("std_low", "std_high"), ends, strict=True))}


def private_describe(study: Study) -> PrivateDescribe:
    """The analysis of `fc.Describe()` under `[privacy]`.

    Raises:
        StudyError: a number has no declared bounds.
    """
    columns = described_columns(study.cohort)
    numeric = numeric_columns(columns)
    scaling = declared_scaling(numeric)
    if not isinstance(study.analysis, Describe) or study.privacy is None:
        raise StudyError("analysis: not a private description")
    if scaling is None:
        raise StudyError(missing_bounds(study.cohort) or "cohort.label: privacy needs declared bounds")
    rows = study.privacy.rows_per_patient
    return PrivateDescribe(study.cohort, rows, numeric, categorical_columns(columns), scaling)

"""Describe: count, missing, mean, deviation, and histogram or levels by column, from one sum, or two.

A number without declared bounds needs a second one for its histogram, about the pooled mean and
deviation: the least and the largest value, which are one patient's each, are looked for nowhere.

An image column is not described: it has no mean or levels that would tell a clinician anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

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
from fedcohort.analyses.histograms import count_bins, histogram, open_histogram, open_range
from fedcohort.analyses.moments import (
    Moments,
    Scaling,
    centre_and_scale,
    declared_scaling,
    moments_from_sums,
    moments_layout,
    refuse_outside,
    sum_moments,
)
from fedcohort.columns import Categorical, Numeric
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.vector import Array, Layout, Vector, counts

N_BINS = 20


@dataclass(frozen=True)
class DescribeAnalysis:
    """The label is described beside the columns: as levels, or as a number."""

    cohort: Cohort
    numeric: dict[str, Numeric]
    categorical: dict[str, Categorical]

    def start(self) -> State:
        """Histograms come with the moments where all columns have bounds, and after them otherwise."""
        scaling = declared_scaling(self.numeric)
        return State("moments", 0, {} if scaling is None else _arrays(scaling))

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked."""
        return {"moments": 1, "histograms": 1}

    def layout(self, state: State) -> Layout:
        """Everything, or histograms alone."""
        histograms = (counts("histograms", len(self.numeric), N_BINS + 2),) if "scale" in state.arrays else ()
        if state.phase == "histograms":
            return histograms
        levels = (counts(f"levels/{name}", len(kind.levels) + 1) for name, kind in self.categorical.items())
        sizes = (counts("rows", 1), counts("patients", 1))
        return (*sizes, *moments_layout(len(self.numeric)), *histograms, *levels)

    def prepare(self, table: Table) -> Local:
        """Gather the columns once."""
        values = numeric_matrix(table, self.cohort, list(self.numeric))

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            refuse_outside(values, self.numeric)
            histograms: Vector = {}
            if "scale" in state.arrays:
                numbers = (values - state.arrays["centre"]) / state.arrays["scale"]
                histograms = {"histograms": count_bins(numbers, N_BINS)}
            if state.phase == "histograms":
                return histograms, site_state
            levels = {
                f"levels/{name}": level_counts(values_of(table, self.cohort, name), len(kind.levels))
                for name, kind in self.categorical.items()
            }
            sizes = {"rows": np.array([table.n_rows]), "patients": np.array([table.n_patients])}
            return {**sizes, **sum_moments(values), **histograms, **levels}, site_state

        return local

    def update(self, state: State, total: Vector) -> State:
        """Moments lead to histograms, or to the end."""
        kept = {**state.kept, **state.arrays, **total}
        if "histograms" in total:
            return state.ended(kept)
        scaling = _scaling_about_means(self.numeric, moments_from_sums(total))
        return State("histograms", state.round + 1, _arrays(scaling), kept)

    def report(self, state: State) -> Report:
        """`describe` by column; `std` divides by n - 1, as pandas does."""
        kept = state.kept
        rows = int(kept["rows"][0])
        moments = moments_from_sums(kept)
        described: dict[str, object] = {}
        for index, (name, number) in enumerate(self.numeric.items()):
            n, bins = float(moments.n[index]), [int(count) for count in kept["histograms"][index]]
            place = float(kept["centre"][index]), float(kept["scale"][index])
            described[name] = {
                **unit_of(number),
                "n": int(n),
                "missing": rows - int(n),
                "mean": float(moments.mean[index]) if n else None,
                "std": float(moments.deviation[index] * np.sqrt(n / (n - 1))) if n > 1 else None,
                "histogram": (
                    open_histogram(bins, *place) if number.bounds is None else histogram(bins[1:-1], *place)
                ),
            }
        for name, kind in self.categorical.items():
            *known, missing = (int(count) for count in kept[f"levels/{name}"])
            levels = {str(level): count for level, count in zip(kind.levels, known, strict=True)}
            described[name] = {"n": sum(known), "missing": missing, "levels": levels}
        patients = int(kept["patients"][0])
        return {"rows": rows, "patients": patients, "describe": described, **not_described(self.cohort)}


def _arrays(scaling: Scaling) -> dict[str, Array]:
    return {"centre": scaling.centre, "scale": scaling.scale}


def _scaling_about_means(columns: Mapping[str, Numeric], moments: Moments) -> Scaling:
    """Declared bounds where there are any, else a range about the pooled mean."""
    ranges = [
        open_range(moments, index, N_BINS) if kind.bounds is None else centre_and_scale(*kind.bounds)
        for index, kind in enumerate(columns.values())
    ]
    centre, scale = np.array(ranges, np.float64).T
    return Scaling(centre, scale)


def describe(study: Study) -> DescribeAnalysis:
    """The analysis of `fc.Describe()`."""
    columns = described_columns(study.cohort)
    return DescribeAnalysis(study.cohort, numeric_columns(columns), categorical_columns(columns))

"""Describe: count, missing, mean, deviation, and histogram or levels by column, from one or two sums.

An image column is not described: it has no mean or levels that would tell a clinician anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fedcohort.analyses.columns_of import (
    categorical_columns,
    described_columns,
    level_counts,
    not_described,
    numeric_columns,
    numeric_matrix,
    values_of,
)
from fedcohort.analyses.contract import Draw, Local, Report, SiteState, State
from fedcohort.analyses.histograms import count_bins, histogram
from fedcohort.analyses.moments import (
    Scaling,
    count_exponents,
    declared_scaling,
    exponents_layout,
    moments_from_sums,
    moments_layout,
    scaled,
    scaling_from_exponents,
    sum_moments,
)
from fedcohort.columns import Categorical, Numeric
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.vector import Layout, Vector, counts

N_BINS = 20


@dataclass(frozen=True)
class DescribeAnalysis:
    """The label is described beside the columns: as levels, or as a number."""

    cohort: Cohort
    numeric: dict[str, Numeric]
    categorical: dict[str, Categorical]

    def start(self) -> State:
        """Look for scales first when a column has no bounds."""
        scaling = declared_scaling(self.numeric)
        return State("exponents") if scaling is None else _moments_state(scaling, 0)

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked."""
        return {"exponents": 1, "moments": 1}

    def layout(self, state: State) -> Layout:
        """Exponents, or everything else."""
        if state.phase == "exponents":
            return exponents_layout(len(self.numeric))
        levels = (counts(f"levels/{name}", len(kind.levels) + 1) for name, kind in self.categorical.items())
        numbers = (*moments_layout(len(self.numeric)), counts("histograms", len(self.numeric), N_BINS))
        return (counts("rows", 1), counts("patients", 1), *numbers, *levels)

    def prepare(self, table: Table) -> Local:
        """Gather the columns once."""
        values = numeric_matrix(table, self.cohort, list(self.numeric))

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            if state.phase == "exponents":
                return count_exponents(values), site_state
            scaling = Scaling(state.arrays["centre"], state.arrays["scale"])
            numbers = scaled(values, scaling, tuple(self.numeric))
            sums = {**sum_moments(numbers), "histograms": count_bins(numbers, N_BINS)}
            levels = {
                f"levels/{name}": level_counts(values_of(table, self.cohort, name), len(kind.levels))
                for name, kind in self.categorical.items()
            }
            sizes = {"rows": np.array([table.n_rows]), "patients": np.array([table.n_patients])}
            return {**sizes, **sums, **levels}, site_state

        return local

    def update(self, state: State, total: Vector) -> State:
        """Scales lead to moments, moments to the end."""
        if state.phase == "exponents":
            return _moments_state(scaling_from_exponents(self.numeric, total), state.round + 1)
        kept = {**state.arrays, **total}
        return replace(state, phase="done", round=state.round + 1, kept=kept, finished=True)

    def report(self, state: State) -> Report:
        """`describe` by column; `std` divides by n - 1, as pandas does."""
        kept = state.kept
        rows = int(kept["rows"][0])
        scaling = Scaling(kept["centre"], kept["scale"])
        moments = moments_from_sums(kept, scaling)
        described: dict[str, object] = {}
        for index, (name, number) in enumerate(self.numeric.items()):
            n, bins = float(moments.n[index]), [int(count) for count in kept["histograms"][index]]
            centre, scale = float(scaling.centre[index]), float(scaling.scale[index])
            described[name] = {
                "n": int(n),
                "missing": rows - int(n),
                "mean": float(moments.mean[index]) if n else None,
                "std": float(moments.deviation[index] * np.sqrt(n / (n - 1))) if n > 1 else None,
                "histogram": histogram(bins, centre, scale, number),
            }
        for name, kind in self.categorical.items():
            *known, missing = (int(count) for count in kept[f"levels/{name}"])
            levels = {str(level): count for level, count in zip(kind.levels, known, strict=True)}
            described[name] = {"n": sum(known), "missing": missing, "levels": levels}
        patients = int(kept["patients"][0])
        return {"rows": rows, "patients": patients, "describe": described, **not_described(self.cohort)}


def _moments_state(scaling: Scaling, number: int) -> State:
    return State("moments", number, {"centre": scaling.centre, "scale": scaling.scale})


def describe(study: Study) -> DescribeAnalysis:
    """The analysis of `fc.Describe()`."""
    columns = described_columns(study.cohort)
    return DescribeAnalysis(study.cohort, numeric_columns(columns), categorical_columns(columns))

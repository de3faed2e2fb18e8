"""What a researcher is told of ranks and models, obeyed: a fault, its message, and the deed as it says."""

from typing import Any

import pytest

import fedcohort as fc

from .remedy_rows import Row, obey

AGE = fc.Numeric(18, 90)
WARD = fc.Categorical(list(range(400)))


def quantiles(columns: dict[str, Any] | None = None, **words: Any) -> fc.Study:
    cohort = fc.Cohort(columns=columns or {"age": AGE, "sex": fc.Categorical(["f", "m"])})
    return fc.Study(name="x", cohort=cohort, analysis=fc.Quantiles(**words))


QUANTILES = [
    Row("probabilities: write them in order, each once, such as [0.25, 0.5, 0.75]",
        lambda: quantiles(probabilities=[0.5, 0.25]), lambda: quantiles(probabilities=[0.25, 0.5, 0.75])),
    Row("analysis.grid: {} is not a number; leave it out",
        lambda: quantiles(grid={"sex": 1.0}), quantiles),
    Row("analysis.grid: {}: a step of {} does not fit its bounds; write the step in which values are "
        "recorded, such as {}",
        lambda: quantiles(grid={"age": 100.0}), lambda: quantiles(grid={"age": 0.72})),
    Row("cohort.columns: quantiles are of numbers; name a numeric column",
        lambda: quantiles({"ward": WARD}), lambda: quantiles({"ward": WARD, "age": AGE})),
    Row("cohort.bounds: {} looks for values within declared bounds, and {} has none; declare them, "
        "such as the clinical range",
        lambda: quantiles({"age": fc.Numeric()}), lambda: quantiles({"age": fc.Numeric(0, 120)})),
    Row("analysis: columns, levels and probabilities make over {} figures; name fewer",
        lambda: quantiles({"age": AGE, "bp": AGE, "ward": WARD}, by="ward"),
        lambda: quantiles({"age": AGE, "ward": WARD}, by="ward")),
]  # fmt: skip


def correlation(columns: dict[str, Any] | None = None, **words: Any) -> fc.Study:
    cohort = fc.Cohort(columns=columns or {"age": AGE, "bp": AGE})
    return fc.Study(name="x", cohort=cohort, analysis=fc.Correlation(**words))


CORRELATION = [
    Row('analysis.grid: ranks are of a grid; leave it out, or take method = "spearman"',
        lambda: correlation(grid={"age": 1.0}),
        lambda: (correlation(), correlation(method="spearman", grid={"age": 1.0}))),
    Row("cohort.columns: a correlation is of two numbers; name two numeric columns or more",
        lambda: correlation({"age": AGE}), correlation),
    Row("cohort.columns: correlations of over {} numbers; name fewer",
        lambda: correlation({f"x{n}": AGE for n in range(61)}),
        lambda: correlation({f"x{n}": AGE for n in range(60)})),
    Row("analysis.pca: {} components of {} numbers; ask for no more than there are numbers",
        lambda: correlation(pca=3), lambda: correlation(pca=2)),
]  # fmt: skip
ROWS = [*QUANTILES, *CORRELATION]


@pytest.mark.parametrize("row", ROWS, ids=[row.said[:60] for row in ROWS])
def test_a_study_is_mended_as_it_is_told(row: Row) -> None:
    obey(row)

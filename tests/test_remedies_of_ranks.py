"""What a researcher is told about quantiles, obeyed: a fault, its message, and the same deed as it says."""

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
    Row("cohort.bounds: quantiles are looked for within declared bounds, and {} has none; declare them, "
        "such as the clinical range",
        lambda: quantiles({"age": fc.Numeric()}), lambda: quantiles({"age": fc.Numeric(0, 120)})),
    Row("analysis: columns, levels and probabilities make over {} figures; name fewer",
        lambda: quantiles({"age": AGE, "bp": AGE, "ward": WARD}, by="ward"),
        lambda: quantiles({"age": AGE, "ward": WARD}, by="ward")),
]  # fmt: skip


@pytest.mark.parametrize("row", QUANTILES, ids=[row.said[:60] for row in QUANTILES])
def test_a_study_is_mended_as_it_is_told(row: Row) -> None:
    obey(row)

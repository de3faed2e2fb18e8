"""What a researcher is told of ranks and models, obeyed: a fault, its message, and the deed as it says."""

from typing import Any

import pytest

import fedcohort as fc
from fedcohort.handed_in import check_handed_in
from fedcohort.study import parse_study

from .remedy_rows import Row, obey

AGE = fc.Numeric(18, 90)
WARD = fc.Categorical(list(range(400)))
TWO = fc.Categorical(["x", "y"])


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
SCORE = fc.Coefficients({"age": 0.03}, missing={"age": 60})
ILL = fc.Binary("ill")
WARDS: dict[str, Any] = {"age": AGE, "ward": fc.Categorical(list(range(100)))}


def validation(
    label: Any = ILL, split: Any = None, privacy: Any = None, columns: Any = None, **words: Any
) -> fc.Study:
    cohort = fc.Cohort(columns={**WARDS, **(columns or {})}, label=label, split=split)
    return fc.Study(name="x", cohort=cohort, analysis=fc.Validate(SCORE, **words), privacy=privacy)


PRIVACY = fc.Privacy(epsilon=1.0)


def named(model: Any) -> fc.Study:
    """A study as JSON has it, with this for its model."""
    asked = validation().model_dump(mode="json")
    return parse_study({**asked, "analysis": {**asked["analysis"], "model": model}})


VALIDATION = [
    Row("model: a study holds its model, and names no folder; take fc.Evaluate(model=folder) or fc.Validate("
        "model=folder), or a study in TOML with fc.load_study",
        lambda: named("folder"), lambda: named(SCORE.model_dump(mode="json"))),
    Row("thresholds: write them in order, each once, such as [0.1, 0.2, 0.5]",
        lambda: validation(thresholds=[0.5, 0.1]),
        lambda: validation(thresholds=[0.1, 0.2, 0.5])),
    Row("analysis.held_out: the cohort holds nobody out; give it a split, such as fc.Holdout(0.2), or leave "
        "it out",
        lambda: validation(held_out=True),
        lambda: (validation(held_out=True, split=fc.Holdout(0.2)), validation())),
    Row("analysis.by: this is the label; name a column that makes groups of patients",
        lambda: validation(by="ill"), lambda: validation(by="ward")),
    Row("analysis.grid: scores and levels make over {} cells; take a wider grid",
        lambda: validation(by="ward", grid=0.001), lambda: validation(by="ward", grid=0.05)),
    Row("cohort.label: a validation is of a yes-or-no label; take fc.Binary(column)",
        lambda: validation(fc.Number("days", 0, 10)), lambda: validation(fc.Binary("ill"))),
    Row('sites: they go with by = "site"; leave them out',
        lambda: validation(by="ward", sites=["north"]), lambda: validation(by="ward")),
    Row("sites: name each hospital once, and none that is called all",
        lambda: validation(by="site", sites=["north", "north"]),
        lambda: validation(by="site", sites=["north", "south"])),
    Row("analysis.sites: the cohort has a column site; leave the one or the other out",
        lambda: validation(by="site", sites=["north"], columns={"site": TWO}),
        lambda: (validation(by="site", sites=["north"]), validation(by="site", columns={"site": TWO}))),
    Row('analysis.sites: by = "site" asks of each hospital; name them, such as ["north", "south"]',
        lambda: check_handed_in(validation(by="site")),
        lambda: check_handed_in(validation(by="site", sites=["north", "south"]))),
    Row("analysis.by: figures of each hospital are not told under [privacy]; name a column of levels, or "
        "leave [privacy] out",
        lambda: validation(by="site", privacy=PRIVACY),
        lambda: (validation(by="ward", privacy=PRIVACY), validation(by="site"))),
    Row("analysis.grid: private scores are counted in coarse parts; leave it out",
        lambda: validation(grid=0.1, privacy=PRIVACY), lambda: validation(privacy=PRIVACY)),
]  # fmt: skip
ROWS = [*QUANTILES, *CORRELATION, *VALIDATION]


@pytest.mark.parametrize("row", ROWS, ids=[row.said[:60] for row in ROWS])
def test_a_study_is_mended_as_it_is_told(row: Row) -> None:
    obey(row)

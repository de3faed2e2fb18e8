"""What is said of a regression, obeyed: a row is a fault, its message, and the study as it says."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.carried_sums import to_limbs
from fedcohort.columns import Column

from .analyses.together import report_of
from .remedy_rows import Row, obey

COLUMNS: dict[str, Column] = {
    "age": fc.Numeric(), "twice": fc.Numeric(), "rare": fc.Numeric(), "three": fc.Categorical([1, 2, 3]),
    "below": fc.Numeric(-1, 9), "stage": fc.Categorical([0, 1]),
}  # fmt: skip

BOUNDED: dict[str, Column] = {name: COLUMNS[name] for name in ("below", "stage", "three")}
UNBOUNDED: dict[str, Column] = {"below": fc.Numeric(0, 1), "three": fc.Numeric()}
PRIVATE = {"privacy": fc.Privacy(epsilon=1.0)}


def frame() -> pd.DataFrame:
    draw = np.random.default_rng(0)
    age = draw.normal(60, 10, 80)
    ill = (draw.random(80) < 0.5).astype(int)
    return pd.DataFrame(
        {
            "age": age, "twice": 2 * age, "rare": (ill == 1) & (age > 65), "three": 1, "below": 0.0,
            "ill": ill, "none": 0, "visits": np.where(ill == 1, 0, 3) + (age > 60) * (1 - ill), "stage": ill,
            "patient_id": [f"p{row:02d}" for row in range(80)],
        }
    ).astype({"rare": float})  # fmt: skip


BINARY, COUNT = fc.Binary("ill"), fc.Number(column="visits", low=0, high=9)


def asked(
    formula: str, label: Any = BINARY, columns: dict[str, Column] = COLUMNS, **words: Any
) -> Callable[[], fc.Study]:
    cohort, privacy = fc.Cohort(columns=columns, label=label), words.pop("privacy", None)
    return lambda: fc.Study(name="g", cohort=cohort, analysis=fc.GLM(formula, **words), privacy=privacy)


def run(formula: str, label: Any = BINARY, rows: int = 80, **words: Any) -> Callable[[], object]:
    return lambda: report_of(asked(formula, label, **words)(), [frame().iloc[:rows]])


def filled(formula: str = "ill ~ age + gap", **words: Any) -> Callable[[], fc.Study]:
    cohort = fc.Cohort(columns={**GAPS, **words.pop("more", {})}, label=words.pop("label", BINARY))
    privacy, columns = words.pop("privacy", None), words.pop("columns", ["gap"])
    return lambda: fc.Study(
        name="g", cohort=cohort, analysis=fc.Impute(formula, columns=columns, **words), privacy=privacy
    )


GAPS: dict[str, Column] = {
    "age": fc.Numeric(0, 120), "gap": fc.Numeric(0, 120), "pair": fc.Categorical([0, 1]),
    "stage": fc.Categorical([0, 1]),
}  # fmt: skip


def run_filled(
    rows: int = 80, known: int = 60, pair: int | None = None, **words: Any
) -> Callable[[], object]:
    draw = np.random.default_rng(1)
    gap = np.where(np.arange(80) < known, draw.normal(50, 9, 80), np.nan)
    made = frame().assign(gap=gap, pair=draw.integers(0, 2, 80) if pair is None else np.full(80, pair))
    made.loc[made.index[:5], "pair"] = np.nan
    made["ward"] = np.where(np.arange(80) < 5, np.nan, draw.integers(1, 4, 80))
    return lambda: report_of(filled(m=2, cycles=1, **words)(), [made.iloc[:rows]])


ROWS = [
    Row("columns: a column is named twice; name it once", filled(columns=["gap", "gap"]), filled()),
    Row("filled in says nothing of the regression; leave the outcome out", filled(columns=["gap", "ill"]),
        filled()),
    Row("family: a formula without an outcome is of a Cox regression, which has none; leave it out",
        filled("age + gap", family="binomial"), filled("ill ~ age + gap", family="binomial")),
    Row("analysis.formula: nothing is explained; write an outcome on the left, such as death ~ age, or give "
        "the cohort the label fc.Survival(time, event)",
        filled("age + gap"), filled("age + gap", label=fc.Survival("time", "ill"))),
    Row("m: columns, cycles and data sets make over {} imputation models; choose fewer",
        filled(m=100, cycles=50), filled(m=20, cycles=10)),
    Row("analysis.columns: {} is not among the cohort's columns; name it in cohort.columns",
        filled(columns=["rare"]), filled(columns=["rare"], more={"rare": fc.Numeric()})),
    Row("analysis.columns: {} is neither a number nor of levels; leave it out",
        filled(columns=["gap", "scan"], more={"scan": fc.Image(8, 8)}),
        filled(more={"scan": fc.Image(8, 8)})),
    Row("analysis.columns: over all hospitals nobody has one of the levels of {}; declare it without the "
        "level, or leave it out",
        run_filled(columns=["gap", "ward"], more={"ward": fc.Categorical([1, 2, 3, 4])}),
        run_filled(columns=["gap", "ward"], more={"ward": fc.Categorical([1, 2, 3])})),
    Row("analysis: imputation asks for so many sums that noise would hide them; leave out [privacy]",
        filled(privacy=fc.Privacy(epsilon=1.0)), filled()),
    Row("values of {} are known, and {} are the least to fill in others by; leave the column out",
        run_filled(known=4, columns=["gap", "pair"]),
        run_filled(known=4, formula="ill ~ age", columns=["pair"])),
    Row("analysis.columns: over all hospitals {} has one level alone; leave it out",
        run_filled(pair=1, columns=["gap", "pair"]), run_filled(pair=1)),
    Row("data sets of {} columns and levels are over {} numbers a round; choose fewer data sets",
        filled("ill ~ age + gap + many", m=20, more={"many": fc.Categorical(range(200))}),
        filled("ill ~ age + gap + many", m=5, more={"many": fc.Categorical(range(200))})),
    Row("once missing values are filled in, {} tells the outcome of all",
        run_filled(formula="ill ~ gap + stage"),
        run_filled()),
    Row("it has no outcome; write one on the left", asked("age"), asked("ill ~ age")),
    Row('formula: site = "fixed" gives each hospital its intercept', asked("ill ~ age - 1", site="fixed"),
        asked("ill ~ age", site="fixed")),
    Row("offset: write one column or its logarithm", asked("ill ~ rare", offset="age + twice"),
        asked("ill ~ rare", offset="log(age)")),
    Row('firth: it goes with site = "none" and without a ridge', asked("ill ~ age", firth=True, ridge=1.0),
        asked("ill ~ age", firth=True)),
    Row("analysis.firth: it is of a logistic regression; leave it out", asked("below ~ age", firth=True),
        asked("below ~ age")),
    Row("has {} levels, and a regression explains two or a number", asked("three ~ age"),
        asked("stage ~ age")),
    Row("is a number beyond 0 and 1, and binomial explains", asked("below ~ age", family="binomial"),
        asked("below ~ age", family="gaussian")),
    Row("begin below 0, and a count does not; let them begin at 0", asked("below ~ age", family="poisson"),
        asked("visits ~ age", COUNT, family="poisson")),
    Row("analysis.weights: {} is no number of the cohort; name one", asked("ill ~ age", weights="stage"),
        asked("ill ~ age", weights="twice")),
    Row('ridge: site = "meta" combines what each hospital finds without one',
        asked("ill ~ age", site="meta", ridge=1.0), asked("ill ~ age", site="meta")),
    Row("analysis.site: no hospital can fit the model alone", run("ill ~ age + rare", site="meta"),
        run("ill ~ age", site="fixed")),
    Row("site: a negative binomial regression is of all hospitals alike",
        asked("visits ~ age", COUNT, family="negative_binomial", site="fixed"),
        asked("visits ~ age", COUNT, family="negative_binomial")),
    Row("a negative binomial regression cannot be asked privately",
        asked("visits ~ below", COUNT, BOUNDED, family="negative_binomial", privacy=fc.Privacy(epsilon=1.0)),
        asked("visits ~ below", COUNT, BOUNDED, family="poisson", privacy=fc.Privacy(epsilon=1.0))),
    Row("varies no more than a Poisson count, so that alpha has no estimate",
        run("visits ~ C(stage)", COUNT, family="negative_binomial", ridge=1.0),
        run("visits ~ C(stage)", COUNT, family="poisson", ridge=1.0)),
    Row('site: "random" goes with se = "model", without a ridge',
        asked("ill ~ age", site="random", ridge=1.0), asked("ill ~ age", site="random")),
    Row('a linear regression with site = "random" takes no offset',
        asked("age ~ rare", site="random", weights="twice"), asked("age ~ rare", site="random")),
    Row('analysis.reml: it is of a linear regression with site = "random"',
        asked("ill ~ age", site="random", reml=False), asked("age ~ rare", site="random", reml=False)),
    Row("follows from the others, or has one value alone", run("ill ~ age + twice"), run("ill ~ age")),
    Row("separation: {} tells the outcome of all", run("ill ~ age + rare"),
        run("ill ~ age + rare", firth=True)),
    Row("analysis.{}: a private regression does not heed it; leave it out",
        asked("ill ~ three", se="robust", columns=BOUNDED, privacy=fc.Privacy(epsilon=1.0)),
        asked("ill ~ three", columns=BOUNDED, privacy=fc.Privacy(epsilon=1.0))),
    Row("privacy needs declared bounds for each column of the formula and its outcome",
        lambda: build_analysis(asked("three ~ below", columns=UNBOUNDED)().model_copy(update=PRIVATE)),
        lambda: build_analysis(asked("stage ~ below", columns=BOUNDED, privacy=fc.Privacy(epsilon=1.0))())),
    Row("applies nothing was counted, so that the coefficient has no end",
        run("visits ~ C(stage)", COUNT, family="poisson"),
        run("visits ~ C(stage)", COUNT, family="poisson", ridge=1.0)),
    Row("rows have a value of each column, and {} are the least", run("ill ~ age", rows=2), run("ill ~ age")),
    Row("is the same for every patient, so that nothing can explain it", run("none ~ age", fc.Binary("none")),
        run("ill ~ age")),
    Row("is 0 for every patient, so that nothing can explain it",
        run("none ~ age", fc.Number(column="none", low=0, high=9), family="poisson"),
        run("visits ~ age", COUNT, family="poisson")),
    Row("analysis.rounds: after {} rounds the coefficients still change", run("ill ~ age", rounds=1),
        run("ill ~ age", rounds=20)),
    Row("a sum is beyond what can be carried; declare bounds and clean", lambda: to_limbs(1e200),
        lambda: to_limbs(1e20)),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.said)
def test_a_remedy_obeyed_is_the_end_of_its_fault(row: Row) -> None:
    obey(row)

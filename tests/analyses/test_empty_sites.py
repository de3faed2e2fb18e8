"""A hospital without a patient adds zeros to every kind of question, and one of one patient adds that one."""

from typing import Any

import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.kinds import KINDS
from fedcohort.errors import EmptyCohortError
from tests.disclosure.small_cells import BOUNDED, BY_COEFFICIENT, CASES, GRID, HOSPITALS, NUMBERS, Case

SURVIVAL = fc.Survival("time", "event", horizon=400.0)
BINARY = fc.Binary("ill")
COARSE = [50.0, 150.0, 400.0]


def regression(formula: str = "ill ~ age + weight", **words: Any) -> Case:
    return Case(fc.GLM(formula, **words), BINARY, BOUNDED)


MORE: dict[str, Case] = {
    "cox, over hospitals": Case(fc.Cox("age", strata="none", grid=COARSE), SURVIVAL, BOUNDED),
    "cox, in pieces": Case(fc.Cox("age", strata="none", pieces=3), SURVIVAL, BOUNDED),
    "survival, tested": Case(
        fc.KaplanMeier(grid=GRID, by="group", strata="rare"),
        SURVIVAL,
        {**BOUNDED, "rare": fc.Categorical([0, 1])},
    ),
    "linear": regression("weight ~ age"),
    "counts": regression("weight ~ age", family="poisson", se="robust"),
    "more than counts": Case(
        fc.GLM("time ~ age", family="negative_binomial"), columns={**BOUNDED, "time": fc.Numeric(0, 5000)}
    ),
    "fixed": regression(site="fixed"),
    "random": regression(site="random"),
    "linear, random": regression("weight ~ age", site="random"),
    "meta": regression(site="meta"),
    "firth": regression(firth=True),
    "ridge, offset": regression("ill ~ weight", ridge=1.0, offset="rare"),
    "correlation, ranks": Case(
        fc.Correlation(method="spearman"), columns={name: BOUNDED[name] for name in NUMBERS}
    ),
    "compare, ranks": Case(fc.Compare("weight", by="group", grid=1.0), columns=BOUNDED),
    "weighting, the treated": Case(
        fc.Weighting("ill ~ age", "weight", estimand="att"), label=BINARY, columns=BOUNDED
    ),
    "validate, apart": Case(fc.Validate(BY_COEFFICIENT), BINARY, NUMBERS),
}
EVERY = {**CASES, **MORE}
EACH = [pytest.param(name, marks=pytest.mark.training) if name == "train" else name for name in EVERY]
NOBODY = HOSPITALS["north"].iloc[:0]


def run(case: Case, frames: dict[str, pd.DataFrame]) -> dict[str, Any]:
    report: dict[str, Any] = fc.simulate(frames).run(case.study, progress=False).report
    return {name: part for name, part in report.items() if name in KINDS or name in WHOLE}


WHOLE = {"patients", "missing", "rows", "test", "label"}


def test_every_kind_is_asked() -> None:
    assert {case.study.analysis.kind for case in EVERY.values()} == set(KINDS)


@pytest.mark.parametrize("name", EACH)
def test_a_hospital_of_nobody_changes_nothing(name: str) -> None:
    without, beside = (run(EVERY[name], frames) for frames in (HOSPITALS, {**HOSPITALS, "empty": NOBODY}))
    assert beside == without


@pytest.mark.parametrize("name", EACH)
def test_a_hospital_of_one_patient_is_not_refused(name: str) -> None:
    one = HOSPITALS["north"].iloc[5:6].assign(patient_id="alone")
    report = run(EVERY[name], {**HOSPITALS, "one": one})
    alone = run(EVERY[name], dict(HOSPITALS))
    counted = {"patients", "rows"} & set(report)
    assert {name: report[name] for name in counted} == {name: alone[name] + 1 for name in counted}


def test_where_nobody_is_at_any_hospital_it_is_said() -> None:
    with pytest.raises(EmptyCohortError, match="the cohort selects nothing"):
        run(CASES["describe"], {"a": NOBODY, "b": NOBODY})

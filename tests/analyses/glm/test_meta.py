"""Each hospital's own model, combined: statsmodels' meta-analysis of statsmodels' fits."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.meta_analysis import combine_effects

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State
from fedcohort.analyses.glm.figures import figures
from fedcohort.errors import StudyError, WireError
from fedcohort.explain import explain
from fedcohort.figures import Table
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import contributed, rows_of
from tests.analyses.glm.test_robust import people, study
from tests.analyses.together import report_of

FORMULA = "ill ~ age + arm"


def sites() -> list[pd.DataFrame]:
    """Four hospitals whose patients differ."""
    made = [people(n, seed) for seed, n in enumerate((150, 80, 60, 200))]
    made[3]["ill"] = np.where(made[3]["arm"] == "b", 1 - made[3]["ill"], made[3]["ill"])
    return made


@pytest.mark.parametrize("se", ["model", "robust"])
def test_the_combined_coefficients_are_those_of_a_meta_analysis_of_pooled_fits(se: str) -> None:
    parts = sites()
    fits = [
        smf.logit(FORMULA, part).fit(disp=0, tol=1e-13, cov_type="nonrobust" if se == "model" else "HC0")
        for part in parts
    ]
    report: dict[str, Any] = report_of(study(FORMULA, site="meta", se=se), parts)
    assert report["glm"]["hospitals"] == 4
    for row in report["glm"]["coefficients"]:
        estimates = np.array([fit.params[row["name"]] for fit in fits])
        variances = np.array([fit.bse[row["name"]] ** 2 for fit in fits])
        theirs = combine_effects(estimates, variances, method_re="dl")
        assert row["coef"] == pytest.approx(theirs.mean_effect_re, rel=1e-8)
        assert row["se"] == pytest.approx(theirs.sd_eff_w_re, rel=1e-8)
        assert row["q"] == pytest.approx(theirs.q, rel=1e-8)
        assert row["tau2"] == pytest.approx(max(float(theirs.tau2), 0.0), rel=1e-8, abs=1e-12)
        assert row["i2"] == pytest.approx(max(theirs.i2, 0.0), rel=1e-8, abs=1e-12)
        assert row["q_p"] == pytest.approx(theirs.test_homogeneity().pvalue, rel=1e-8)


def test_a_linear_model_weighs_each_hospital_by_its_own_residuals() -> None:
    parts = sites()
    report: dict[str, Any] = report_of(study("dose ~ age", site="meta"), parts)
    fits = [smf.ols("dose ~ age", part).fit() for part in parts]
    theirs = combine_effects(
        np.array([fit.params["age"] for fit in fits]), np.array([fit.bse["age"] ** 2 for fit in fits]), "dl"
    )
    assert report["glm"]["coefficients"][1]["coef"] == pytest.approx(theirs.mean_effect_re, rel=1e-8)


def test_a_hospital_that_cannot_fit_the_model_alone_adds_nothing() -> None:
    parts = sites()
    alike, few, separated = people(30, 9).assign(ill=1), people(12, 8), people(60, 7)
    separated["ill"] = (separated["age"] > 60).astype(int)
    asked = study(FORMULA, site="meta")
    with_them: dict[str, Any] = report_of(asked, [*parts, alike, few, separated])
    alone: dict[str, Any] = report_of(asked, parts)
    assert with_them["glm"]["hospitals"] == 4
    found, expected = (
        [row["coef"] for row in report["glm"]["coefficients"]] for report in (with_them, alone)
    )
    assert found == pytest.approx(expected, rel=1e-9)
    with pytest.raises(StudyError, match="no hospital can fit the model alone"):
        report_of(asked, [alike, few.assign(ill=0)])


def test_one_hospital_says_nothing_of_differences() -> None:
    report: dict[str, Any] = report_of(study(FORMULA, site="meta"), [people(100, 1)])
    assert "i2" not in report["glm"]["coefficients"][0]


def test_what_is_shown_and_said() -> None:
    asked = study(FORMULA, site="meta")
    made = figures(report_of(asked, sites()), asked.model_dump(mode="json"))
    (table,) = [figure for figure in made if figure.name == "heterogeneity"]
    assert isinstance(table, Table)
    assert [column.name for column in table.columns] == ["i2", "tau2", "q", "q_p"]
    assert "Of two or three hospitals" in explain(asked)
    assert "合并结果" in explain(asked, language="zh")


def test_a_state_that_is_none_is_refused() -> None:
    asked = study(FORMULA, site="meta")
    analysis = build_analysis(asked)
    rows = rows_of(analysis, table_from_frame(people(), asked.cohort, 0))
    good: dict[str, Any] = {"centre": np.zeros(3), "scale": np.ones(3), "tau2": np.zeros(3)}
    for number, name, change in (
        (1, "own", {"scale": np.zeros(3)}), (1, "own", {"centre": np.zeros(120)}),
        (2, "combined", {"tau2": -np.ones(3)}), (2, "combined", {"tau2": np.zeros(120)}),
    ):  # fmt: skip
        with pytest.raises(WireError):
            contributed(analysis, rows, State(name, number, {**good, **change}))

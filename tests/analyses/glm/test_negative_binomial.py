"""Counts that vary beyond Poisson's: statsmodels' negative binomial regression."""

from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

import fedcohort as fc
from fedcohort.errors import StudyError
from tests.analyses.glm.data import whas500
from tests.analyses.glm.test_robust import VISITS, people, study
from tests.analyses.together import report_of

NAMES = {
    "Intercept": "Intercept",
    "age": "age",
    "C(gender)[T.1]": "C(gender)[T.1]",
    "C(chf)[T.1]": "C(chf)[T.1]",
}


@pytest.mark.parametrize("se", ["model", "robust"])
def test_days_in_hospital_are_statsmodels(se: str) -> None:
    data = whas500()
    words = "los ~ age + C(gender) + C(chf)"
    report: dict[str, Any] = report_of(
        data.study(formula=words, family="negative_binomial", se=se), data.sites
    )
    glm = report["glm"]
    found = {row["name"]: row for row in glm["coefficients"]}
    order = ["Intercept", "C(gender)[T.1]", "C(chf)[T.1]", "age"]
    at = [found[name]["coef"] for name in order]
    reference = smf.negativebinomial(words, data.frame).fit(
        disp=0, method="newton", maxiter=50, tol=1e-14, start_params=[*at, glm["alpha"]],
        cov_type="nonrobust" if se == "model" else "HC0",
    )  # fmt: skip
    assert list(reference.params.index) == [*order, "alpha"]
    for ours, theirs in NAMES.items():
        assert found[ours]["coef"] == pytest.approx(reference.params[theirs], rel=1e-8)
        assert found[ours]["se"] == pytest.approx(reference.bse[theirs], rel=1e-7)
    assert glm["alpha"] == pytest.approx(reference.params["alpha"], rel=1e-8)
    assert glm["alpha_se"] == pytest.approx(reference.bse["alpha"], rel=1e-7)
    assert glm["loglik"] == pytest.approx(reference.llf, rel=1e-10)
    null = smf.negativebinomial("los ~ 1", data.frame).fit(disp=0, method="bfgs", maxiter=200, gtol=1e-9)
    assert glm["null_loglik"] == pytest.approx(null.llf, rel=1e-9)
    assert glm["aic"] == pytest.approx(reference.aic, rel=1e-9)


def test_with_an_offset_and_weights_as_a_generalised_linear_model_of_the_same_alpha() -> None:
    data = whas500()
    words = "los ~ age + C(gender)"
    report: dict[str, Any] = report_of(
        data.study(formula=words, family="negative_binomial", offset="log(lenfol)", weights="weight"),
        data.sites,
    )
    alpha = report["glm"]["alpha"]
    offset, weights = np.log(data.frame["lenfol"]), data.frame["weight"]
    same = sm.families.NegativeBinomial(alpha=alpha)
    model = smf.glm(words, data.frame, family=same, offset=offset, var_weights=weights)
    reference = model.fit(tol=1e-14, maxiter=200)
    found = {row["name"]: row["coef"] for row in report["glm"]["coefficients"]}
    assert found == pytest.approx(
        {"Intercept": reference.params["Intercept"], "age": reference.params["age"],
         "C(gender)[T.1]": reference.params["C(gender)[T.1]"]}, rel=1e-7,
    )  # fmt: skip
    assert report["glm"]["pearson_chi2"] == pytest.approx(reference.pearson_chi2, rel=1e-6)


def test_counts_that_vary_less_than_poissons_are_refused_with_the_remedy() -> None:
    frame = people().assign(visits=lambda rows: 2 + rows["stage"] % 2)
    with pytest.raises(StudyError, match=r'varies no more than a Poisson count.*take family = "poisson"'):
        report_of(
            study("visits ~ age", VISITS, family="negative_binomial"), [frame.iloc[:60], frame.iloc[60:]]
        )


def test_none_and_masks_give_the_same_bits() -> None:
    frame = people(200, 3).assign(
        visits=lambda rows: np.random.default_rng(0).negative_binomial(1, 0.3, len(rows))
    )
    reports = []
    for protection in ("none", "masks"):
        asked = study("visits ~ age", VISITS, family="negative_binomial").model_copy(
            update={"protection": protection}
        )
        result = fc.simulate({"a": frame.iloc[:40], "b": frame.iloc[40:]}).run(asked, progress=False)
        reports.append(result.report["glm"])
    assert reports[0] == reports[1]
    assert "alpha" in reports[0]

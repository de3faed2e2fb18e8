"""A regression over hospitals is that of all rows together: statsmodels' coefficients and errors to 1e-8."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import fedcohort as fc
from tests.analyses.glm.data import ALL, Data, flchain, heart_disease, pooled, whas500
from tests.analyses.together import report_of

NEAR = 1e-8


def found(data: Data, **words: Any) -> dict[str, Any]:
    report: dict[str, Any] = report_of(data.study(**words), data.sites)
    return report


def table(report: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(report["glm"]["coefficients"]).set_index("name").astype(np.float64)


def check(report: dict[str, Any], reference: Any, factor: float = 1) -> pd.DataFrame:
    """Coefficients and errors, by size: patsy orders columns otherwise, and names some of them.

    Args:
        factor: of errors; statsmodels' GLM gives HC0 where it is asked for HC1.
    """
    ours = table(report).sort_values("coef")
    theirs = pd.DataFrame({"coef": reference.params, "se": reference.bse * factor}).sort_values("coef")
    for column in ("coef", "se"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=NEAR, atol=1e-10)
    return ours


def check_fit(glm: Any, reference: Any, alone: bool = True) -> None:
    """What statsmodels says of how well a model fits.

    Args:
        alone: whether its null model is of one intercept, as ours.
    """
    assert glm["bic"] == pytest.approx(reference.bic_llf, rel=1e-10)
    assert glm["pearson_chi2"] == pytest.approx(reference.pearson_chi2, rel=1e-8)
    assert (glm["model_degrees"], glm["residual_degrees"]) == (reference.df_model, reference.df_resid)
    if alone:
        assert glm["null_deviance"] == pytest.approx(reference.null_deviance, rel=1e-8)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("se", ["model", "robust", "HC1"])
def test_logistic_regression(name: str, se: str) -> None:
    data = ALL[name]()
    report = found(data, se=se)
    glm = report["glm"]
    reference = pooled(data, "binomial", cov_type="nonrobust" if se == "model" else "HC0")
    ours = check(report, reference, factor=np.sqrt(reference.nobs / reference.df_resid) if se == "HC1" else 1)
    if se != "HC1":
        order = np.argsort(reference.params)
        np.testing.assert_allclose(ours["z"], reference.tvalues.iloc[order], rtol=NEAR)
        ends = reference.conf_int().iloc[order]
        np.testing.assert_allclose(ours[["low", "high"]], ends, rtol=NEAR, atol=1e-9)
    assert glm["loglik"] == pytest.approx(reference.llf, rel=1e-11)
    assert glm["null_loglik"] == pytest.approx(reference.llnull, rel=1e-11)
    assert glm["deviance"] == pytest.approx(reference.deviance, rel=1e-11)
    assert glm["aic"] == pytest.approx(reference.aic, rel=1e-11)
    check_fit(glm, reference)
    assert (glm["n"], report["patients"], report["missing"]) == (
        reference.nobs, reference.nobs, len(data.frame) - reference.nobs
    )  # fmt: skip


@pytest.mark.parametrize("se", ["model", "robust", "HC1"])
def test_linear_regression(se: str) -> None:
    data = flchain()
    words = "creatinine ~ age + sex + log(kappa)"
    glm = found(data, formula=words, se=se)["glm"]
    assert glm["family"] == "gaussian"
    model = smf.ols("creatinine ~ age + sex + np.log(kappa)", data.frame)
    reference = (
        model.fit() if se == "model" else model.fit(cov_type={"robust": "HC0"}.get(se, se), use_t=True)
    )
    ours = check({"glm": glm}, reference)
    assert glm["pearson_chi2"] == pytest.approx(reference.ssr, rel=1e-9)
    assert glm["deviance"] == pytest.approx(reference.ssr, rel=1e-9)
    assert glm["null_deviance"] == pytest.approx(reference.centered_tss, rel=1e-9)
    # The variance is one more parameter than statsmodels counts.
    assert glm["bic"] == pytest.approx(reference.bic + np.log(reference.nobs), rel=1e-10)
    assert (glm["model_degrees"], glm["residual_degrees"]) == (reference.df_model, reference.df_resid)
    np.testing.assert_allclose(np.sort(ours["t"]), np.sort(reference.tvalues), rtol=NEAR)
    np.testing.assert_allclose(np.sort(ours["low"]), np.sort(reference.conf_int()[0]), rtol=NEAR, atol=1e-9)
    assert glm["loglik"] == pytest.approx(reference.llf, rel=1e-10)
    assert glm["residual_sd"] == pytest.approx(np.sqrt(reference.scale), rel=1e-10) or se != "model"
    ratio = glm["likelihood_ratio"]
    alone = smf.ols("creatinine ~ 1", data.frame.dropna(subset=["creatinine"])).fit()
    assert ratio["statistic"] == pytest.approx(2 * (reference.llf - alone.llf), rel=1e-9)
    assert ratio["degrees"] == 3


def test_linear_regression_with_weights() -> None:
    data = whas500()
    words = "sysbp ~ age + hr"
    report = found(data, formula=words, weights="weight")
    reference = smf.wls(words, data.frame, weights=data.frame["weight"]).fit()
    check(report, reference)
    assert report["glm"]["loglik"] == pytest.approx(reference.llf, rel=1e-11)


def test_poisson_regression_with_an_offset_and_weights() -> None:
    data = whas500()
    words = "los ~ age + C(gender) + chf"
    years = np.log(data.frame["lenfol"])
    for se, robust in (("model", "nonrobust"), ("robust", "HC0")):
        report = found(data, formula=words, family="poisson", offset="log(lenfol)", weights="weight", se=se)
        patsy, weights = "los ~ age + C(gender) + C(chf)", data.frame["weight"]
        reference = pooled(data, "poisson", patsy, robust, offset=years, var_weights=weights)
        check(report, reference)
        glm = report["glm"]
        assert glm["loglik"] == pytest.approx(reference.llf, rel=1e-11)
        assert glm["deviance"] == pytest.approx(reference.deviance, rel=1e-10)
        assert glm["null_loglik"] == pytest.approx(reference.llnull, rel=1e-10)
        check_fit(glm, reference)


@pytest.mark.parametrize(("family", "words"), [
    ("binomial", "death ~ age + sex + log(kappa)"),
    ("poisson", "death ~ age + sex + log(kappa)"),
    ("gaussian", "creatinine ~ age + sex + log(kappa)"),
])  # fmt: skip
def test_fixed_site_effects_are_those_of_an_indicator_of_each_site(family: str, words: str) -> None:
    data = flchain()
    sites = data.sites
    frame = pd.concat([part.assign(site=name) for name, part in sites.items()])
    whole = Data(frame, data.cohort, data.formula, data.patsy)
    for se, robust in (("model", "nonrobust"), ("robust", "HC0")):
        report: dict[str, Any] = report_of(
            data.study(formula=words, family=family, site="fixed", se=se), sites
        )
        patsy = words.replace("log(", "np.log(") + " + C(site)"
        reference = pooled(whole, family, patsy, robust)
        ours = table(report)
        names = {"sex[T.M]": "sex[T.M]", "age": "age", "log(kappa)": "np.log(kappa)"}
        assert set(ours.index) == set(names)
        for name, theirs in names.items():
            assert ours.loc[name, "coef"] == pytest.approx(reference.params[theirs], rel=NEAR)
            assert ours.loc[name, "se"] == pytest.approx(reference.bse[theirs], rel=NEAR)
        if family != "gaussian":
            assert report["glm"]["deviance"] == pytest.approx(reference.deviance, rel=1e-10)
            assert report["glm"]["aic"] == pytest.approx(reference.aic, rel=1e-10)
            check_fit(report["glm"], reference, alone=False)


def test_without_an_intercept() -> None:
    data = heart_disease()
    words = "disease ~ C(cp) + age - 1"
    report = found(data, formula=words)
    check(report, pooled(data, "binomial", words))
    assert "likelihood_ratio" in report["glm"]


def test_none_and_masks_give_the_same_bits() -> None:
    data = whas500()
    reports = []
    for protection in ("none", "masks"):
        study = data.study(se="robust", protection=protection)
        result = fc.simulate(data.sites).run(study, progress=False)
        reports.append(result.report["glm"])
    assert reports[0] == reports[1] == found(data, se="robust")["glm"]
    assert list(result.table.columns) == ["coef", "exp(coef)", "se", "z", "p", "low", "high", "n"]


def test_units_and_offsets_of_columns_cost_no_digit() -> None:
    draw = np.random.default_rng(3)
    n = 400
    x = draw.normal(0, 1, n)
    frame = pd.DataFrame(
        {
            "date": 1.7e9 + 3e6 * x, "tiny": 1e-9 * draw.normal(0, 1, n),
            "y": 5e6 + 1e3 * x + draw.normal(0, 1e3, n),
            "patient_id": [f"p{row}" for row in range(n)],
        }
    )  # fmt: skip
    cohort = fc.Cohort(
        columns={"date": fc.Numeric(), "tiny": fc.Numeric()}, label=fc.Number(column="y", low=0, high=1e8)
    )
    study = fc.Study(name="u", cohort=cohort, analysis=fc.GLM("y ~ date + tiny"))
    ours = table(report_of(study, [frame.iloc[:10], frame.iloc[10:350], frame.iloc[350:]]))
    centred = frame.assign(date=(frame["date"] - 1.7e9) / 3e6, tiny=frame["tiny"] * 1e9)
    reference = smf.ols("y ~ date + tiny", centred).fit()
    assert ours.loc["date", "coef"] == pytest.approx(reference.params["date"] / 3e6, rel=1e-8)
    assert ours.loc["date", "se"] == pytest.approx(reference.bse["date"] / 3e6, rel=1e-8)
    assert ours.loc["tiny", "coef"] == pytest.approx(reference.params["tiny"] * 1e9, rel=1e-8)


def test_a_ridge_is_the_largest_of_the_penalised_likelihood() -> None:
    from scipy.optimize import minimize

    data = whas500()
    report = found(data, formula="fstat ~ age + hr", ridge=20.0)
    x = data.frame[["age", "hr"]].to_numpy(np.float64)
    z = (x - x.mean(0)) / x.std(0)
    y = data.frame["fstat"].to_numpy()

    def loss(b: np.ndarray) -> float:
        eta = b[0] + z @ b[1:]
        return float(np.logaddexp(0, eta).sum() - y @ eta + 10.0 * (b[1:] ** 2).sum())

    best = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    np.testing.assert_allclose(table(report)["coef"].to_numpy()[1:], best[1:] / x.std(0), rtol=1e-5)

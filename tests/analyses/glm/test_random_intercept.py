"""A random intercept of each hospital: lme4's published figures, and independent maximisation."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.integrate import quad
from scipy.optimize import minimize, minimize_scalar

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State
from fedcohort.errors import WireError
from fedcohort.explain import explain
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import contributed, rows_of
from tests.analyses.glm.test_robust import VISITS, people, study
from tests.analyses.together import report_of

DYESTUFF = """1545 1440 1440 1520 1580, 1540 1555 1490 1560 1495, 1595 1550 1605 1510 1560,
1445 1440 1595 1465 1545, 1595 1630 1515 1635 1625, 1520 1455 1450 1480 1445"""
"""Yield by batch (Davies and Goldsmith 1972, table 6.3)."""
DYESTUFF2 = """7.298 3.846 2.434 9.566 7.990, 5.220 6.556 0.608 11.788 -0.892,
0.110 10.386 13.434 5.510 8.166,
2.212 4.852 7.092 9.288 4.980, 0.282 9.014 4.458 9.446 7.198, 1.722 4.782 8.106 0.758 3.758"""
"""Made by Box and Tiao 1973 (table 5.1.4), so that batches do not differ."""


def batches(text: str) -> list[pd.DataFrame]:
    return [
        pd.DataFrame(
            {
                "y": [float(value) for value in batch.split()],
                "x": 1.0,
                "patient_id": [f"{k}{row}" for row in range(5)],
            }
        )
        for k, batch in enumerate(text.split(","))
    ]


def one_way(text: str, reml: bool) -> dict[str, Any]:
    cohort = fc.Cohort(columns={"x": fc.Numeric()}, label=fc.Number(column="y", low=-100, high=2000))
    asked = fc.Study(name="d", cohort=cohort, analysis=fc.GLM("y ~ 1", site="random", reml=reml))
    report: dict[str, Any] = report_of(asked, batches(text))["glm"]
    return report


def test_the_dyestuff_data_give_the_figures_that_lme4_prints() -> None:
    """Bates, lme4: Mixed-effects Modeling with R, section 1.3; and the analysis of variance, exactly."""
    found = one_way(DYESTUFF, reml=True)
    (intercept,) = found["coefficients"]
    assert (round(intercept["coef"], 2), round(intercept["se"], 2)) == (1527.50, 19.38)
    assert round(found["reml_criterion"], 4) == 319.6543
    assert (round(found["hospital_sd"], 2), round(found["residual_sd"], 2)) == (42.00, 49.51)
    values = np.array([part["y"] for part in batches(DYESTUFF)])
    within = ((values - values.mean(1, keepdims=True)) ** 2).sum() / 24
    between = 5 * ((values.mean(1) - values.mean()) ** 2).sum() / 5
    assert found["residual_sd"] ** 2 == pytest.approx(within, rel=1e-8)
    assert found["hospital_sd"] ** 2 == pytest.approx((between - within) / 5, rel=1e-7)
    assert intercept["se"] == pytest.approx(np.sqrt(between / 30), rel=1e-8)
    by_likelihood = one_way(DYESTUFF, reml=False)
    assert round(by_likelihood["coefficients"][0]["se"], 2) == 17.69
    assert (round(by_likelihood["hospital_sd"], 2), round(by_likelihood["residual_sd"], 2)) == (37.26, 49.51)
    assert (round(by_likelihood["loglik"], 1), round(by_likelihood["aic"], 1)) == (-163.7, 333.3)


def test_hospitals_that_do_not_differ_have_no_variance() -> None:
    found = one_way(DYESTUFF2, reml=True)
    assert found["hospital_sd"] == pytest.approx(0.0, abs=1e-6)
    assert round(found["coefficients"][0]["coef"], 4) == 5.6656
    assert (round(found["coefficients"][0]["se"], 4), round(found["residual_sd"], 3)) == (0.6784, 3.716)
    assert round(found["reml_criterion"], 1) == 161.8


def hospitals(family: str) -> list[pd.DataFrame]:
    draw, parts = np.random.default_rng(0), []
    for k, n in enumerate((20, 60, 35, 80, 15, 50, 90, 40)):
        part = people(n, k)
        eta = 0.05 * (part["age"] - 60) + 0.7 * (part["arm"] == "b") + draw.normal(0, 0.8)
        if family == "binomial":
            part["ill"] = (draw.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
        elif family == "poisson":
            part["visits"] = draw.poisson(np.exp(0.5 * eta))
        else:
            part["dose"] = 100 + 3 * eta + draw.normal(0, 2, n)
        parts.append(part.assign(hospital=k))
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("reml", [True, False])
def test_a_linear_regression_of_uneven_hospitals_is_statsmodels_mixed_model(reml: bool) -> None:
    parts = hospitals("gaussian")
    found: dict[str, Any] = report_of(study("dose ~ age + arm", site="random", reml=reml), parts)["glm"]
    whole = pd.concat(parts)
    reference = smf.mixedlm("dose ~ age + arm", whole, groups=whole["hospital"]).fit(reml=reml)
    for row in found["coefficients"]:
        assert row["coef"] == pytest.approx(reference.fe_params[row["name"]], rel=1e-4)
        assert row["se"] == pytest.approx(reference.bse_fe[row["name"]], rel=1e-3)
    loglik = -found["reml_criterion"] / 2 if reml else found["loglik"]
    assert loglik == pytest.approx(reference.llf, rel=1e-6)
    ratio, beta, errors, residual = dense(whole, reml)
    np.testing.assert_allclose([row["coef"] for row in found["coefficients"]], beta, rtol=1e-7)
    np.testing.assert_allclose([row["se"] for row in found["coefficients"]], errors, rtol=1e-6)
    assert found["residual_sd"] == pytest.approx(residual, rel=1e-7)
    assert found["hospital_sd"] == pytest.approx(residual * np.sqrt(ratio), rel=1e-6)


def dense(whole: pd.DataFrame, reml: bool) -> tuple[float, np.ndarray, np.ndarray, float]:
    """By the whole covariance matrix and a line search: ratio, coefficients, errors, residual deviation."""
    x = np.column_stack([np.ones(len(whole)), whole["age"], whole["arm"] == "b"]).astype(np.float64)
    y, same = (
        whole["dose"].to_numpy(),
        np.equal.outer(whole["hospital"].to_numpy(), whole["hospital"].to_numpy()),
    )
    degrees = len(y) - 3 * reml

    def at(log_ratio: float) -> tuple[float, np.ndarray, np.ndarray, float]:
        covariance = np.eye(len(y)) + np.exp(log_ratio) * same
        weighted = np.linalg.solve(covariance, np.column_stack([x, y]))
        products = x.T @ weighted[:, :3]
        beta = np.linalg.solve(products, x.T @ weighted[:, 3])
        off = y - x @ beta
        variance = float(off @ np.linalg.solve(covariance, off)) / degrees
        value = degrees * np.log(variance) + np.linalg.slogdet(covariance)[1]
        value += reml * np.linalg.slogdet(products)[1]
        return value, beta, np.sqrt(np.diag(np.linalg.inv(products)) * variance), np.sqrt(variance)

    best = minimize_scalar(lambda log: at(log)[0], bounds=(-4, 4), method="bounded", options={"xatol": 1e-10})
    return float(np.exp(best.x)), *at(best.x)[1:]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_a_logistic_and_a_poisson_regression_maximise_the_integrated_likelihood(family: str) -> None:
    """Against a quadrature and an algorithm of others."""
    parts, outcome = hospitals(family), "ill" if family == "binomial" else "visits"
    asked = study(
        f"{outcome} ~ age + arm", None if family == "binomial" else VISITS, family=family, site="random"
    )
    found: dict[str, Any] = report_of(asked, parts)["glm"]

    def negative(theta: np.ndarray) -> float:
        total = 0.0
        for part in parts:
            eta = (
                theta[0]
                + theta[1] * (part["age"].to_numpy() - 60) / 10
                + theta[2] * (part["arm"] == "b").to_numpy()
            )
            y = part[outcome].to_numpy()

            def row(z: float, eta: np.ndarray = eta, y: np.ndarray = y) -> float:
                at = eta + theta[3] * z
                kernel = np.logaddexp(0, at) if family == "binomial" else np.exp(at)
                return float(y @ at - kernel.sum() - z * z / 2)

            largest = max(row(z) for z in np.linspace(-6, 6, 121))
            area = quad(lambda z: np.exp(row(z) - largest), -9, 9, epsabs=1e-13, epsrel=1e-11, limit=200)[0]  # noqa: B023
            total += largest + np.log(area) - 0.5 * np.log(2 * np.pi)
        return -total

    best = minimize(negative, [0, 0.4, 0.5, 0.7], method="BFGS", options={"gtol": 1e-5})
    rows = found["coefficients"]
    ours = [
        rows[0]["coef"] + 60 * rows[1]["coef"],
        10 * rows[1]["coef"],
        rows[2]["coef"],
        found["hospital_sd"],
    ]
    np.testing.assert_allclose(ours, best.x, rtol=2e-5, atol=2e-6)
    errors = np.sqrt(np.diag(best.hess_inv))
    assert rows[2]["se"] == pytest.approx(errors[2], rel=0.1)
    if family == "binomial":
        assert found["loglik"] == pytest.approx(-best.fun, rel=1e-9)


CBPP = """2/14 3/12 4/9 0/5, 3/22 1/18 1/21, 8/22 2/16 0/16 2/20, 2/10 0/10 2/9 0/6, 5/18 0/25 0/24 1/4,
3/17 0/17 0/18 1/20, 8/16 1/10 3/9 0/5, 12/34, 2/9 0/6 0/8 0/6, 1/22 1/22 0/18 2/22, 0/25 5/27 3/22 1/22,
2/10 1/8 0/6 0/5, 1/21 2/24 0/19 0/23, 11/19 0/2 0/3 0/2, 1/19 1/15 1/15 0/15"""
"""New cases / cattle by herd, in periods 1 to 4 (Lesnoff et al. 2004); herd 2 was not seen in period 4."""


def herds() -> list[pd.DataFrame]:
    """A row an animal and period."""
    frames = []
    for herd, text in enumerate(CBPP.split(",")):
        seen = [tuple(int(part) for part in share.split("/")) for share in text.split()]
        ill = [int(k < cases) for cases, size in seen for k in range(size)]
        period = [when + 1 for when, (_, size) in enumerate(seen) for _ in range(size)]
        patients = [f"{herd}-{k}" for k in range(len(ill))]
        frames.append(pd.DataFrame({"ill": ill, "period": period, "patient_id": patients}))
    return frames


def test_the_cattle_data_give_the_figures_that_lme4_holds_its_own_quadrature_to() -> None:
    """lme4's tests/lmer-1.R: 25 nodes, coefficients to 1e-5 and the deviance from the saturated model."""
    cohort = fc.Cohort(columns={"period": fc.Categorical([1, 2, 3, 4])}, label=fc.Binary("ill"))
    asked = fc.Study(name="cbpp", cohort=cohort, analysis=fc.GLM("ill ~ period", site="random"))
    found: dict[str, Any] = report_of(asked, herds())["glm"]
    published = [-1.39922533406847, -0.991407294757321, -1.12782184600404, -1.57946627431248]
    np.testing.assert_allclose([row["coef"] for row in found["coefficients"]], published, rtol=1e-5)
    shares = [tuple(int(part) for part in share.split("/")) for share in CBPP.replace(",", " ").split()]
    saturated = sum(
        (k * np.log(k / n) if k else 0.0) + ((n - k) * np.log1p(-k / n) if n > k else 0.0) for k, n in shares
    )
    assert 2 * (saturated - found["loglik"]) == pytest.approx(100.010030538022, rel=1e-9)


def test_hospitals_alike_and_tiny_ones_have_their_part() -> None:
    parts = hospitals("binomial")
    asked = study("ill ~ age + arm", site="random")
    alone: dict[str, Any] = report_of(asked, parts)["glm"]
    more: dict[str, Any] = report_of(
        asked, [*parts, parts[0].iloc[:3].assign(ill=1), parts[0].iloc[:2].assign(age=np.nan)]
    )["glm"]
    assert more["n"] == alone["n"] + 3
    assert more["coefficients"][1]["coef"] == pytest.approx(alone["coefficients"][1]["coef"], rel=0.1)
    assert more["likelihood_ratio"]["degrees"] == 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_approver_reads_what_leaves(language: str) -> None:
    said = explain(study("dose ~ age", site="random"), language=language)
    assert {"en": "Of few hospitals these sums tell each one's means", "zh": "透露各家的均值"}[
        language
    ] in said


@pytest.mark.parametrize("change", [
    {"ratio": np.zeros(2)}, {"ratio": np.array([-1.0, 0, 1])}, {"ratio": np.array([1.0, np.inf, 1])},
    {"centre": np.zeros(120)}, {"scale": np.zeros(2)},
])  # fmt: skip
def test_a_state_that_is_none_is_refused(change: dict[str, Any]) -> None:
    asked = study("dose ~ age", site="random")
    analysis = build_analysis(asked)
    rows = rows_of(analysis, table_from_frame(people(), asked.cohort, 0))
    good = {"centre": np.zeros(2), "scale": np.ones(2), "ratio": np.array([1.0, 0.0, 1.0])}
    with pytest.raises(WireError):
        contributed(analysis, rows, State("mixed", 1, {**good, **change}))

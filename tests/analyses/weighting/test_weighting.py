"""Weighted comparisons over hospitals are those of all rows together, with errors of all equations."""

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.treatment.treatment_effects import TreatmentEffect

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State
from fedcohort.analyses.weighting.weights import weights_of
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import StudyError, WireError
from fedcohort.explain import explain
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.texts.look_up import page_texts
from tests.analyses import clinical
from tests.analyses.at_site import rows_of

NEAR = 1e-8


def whas500() -> pd.DataFrame:
    """Heart failure as the treatment, death or the days in hospital as the outcome."""
    frame = clinical.whas500()
    return frame.assign(**{name: frame[name].astype(int) for name in ("chf", "gender", "fstat")})


def made_up(n: int = 400, seed: int = 3) -> pd.DataFrame:
    """Older patients are treated more often, and die more often whatever the treatment."""
    draw = np.random.default_rng(seed)
    age, sex = draw.normal(60, 10, n), draw.choice(["f", "m"], n)
    treated = draw.random(n) < 1 / (1 + np.exp(-(age - 60) / 15 - 0.3 * (sex == "m")))
    died = draw.random(n) < 1 / (1 + np.exp(1 - (age - 60) / 10 + 0.5 * treated))
    frame = pd.DataFrame({"age": age, "sex": sex, "treated": treated.astype(int), "died": died.astype(int)})
    return frame.assign(days=draw.exponential(10, n), patient_id=[f"p{row:04d}" for row in range(n)])


COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(),
    "sex": fc.Categorical(["f", "m"]),
    "treated": fc.Categorical([0, 1]),
    "days": fc.Numeric(),
}
OF_WHAS: dict[str, Any] = {
    "age": fc.Numeric(),
    "hr": fc.Numeric(),
    "gender": fc.Categorical([0, 1]),
    "chf": fc.Categorical([0, 1]),
    "los": fc.Numeric(),
}
FORMULA, CHF = "treated ~ age + C(sex)", "chf ~ age + hr + C(gender)"


def ask(frame: pd.DataFrame, question: fc.Weighting, columns: Any = None, **words: Any) -> Any:
    label = fc.Binary("fstat" if columns else "died")
    study = fc.Study(
        name="w", cohort=fc.Cohort(columns=columns or COLUMNS, label=label), analysis=question, **words
    )
    return fc.simulate(clinical.uneven(frame)).run(study, progress=False)


def design(frame: pd.DataFrame, columns: list[str]) -> np.ndarray:
    matrix: np.ndarray = sm.add_constant(frame[columns].to_numpy(float))
    return matrix


def library(frame: pd.DataFrame, outcome: str, group: Any) -> tuple[float, float]:
    """The effect and its standard error as statsmodels has them, from all equations together (GMM)."""
    x = design(frame, ["age", "hr", "gender"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        select = sm.Logit(frame["chf"].to_numpy(), x).fit(disp=0, tol=1e-14, maxiter=100)
        model = sm.OLS(frame[outcome].to_numpy(float), x)
        effect = TreatmentEffect(model, frame["chf"].to_numpy(), results_select=select)
        found = effect.ipw(return_results=True, effect_group=group)
    return float(np.ravel(found.effect)[0]), float(found.results_gmm.bse[0])


@pytest.mark.parametrize("outcome", ["fstat", "los"])
@pytest.mark.parametrize(("estimand", "group"), [("ate", "all"), ("att", 1)])
def test_effects_and_their_errors_are_those_of_statsmodels(outcome: str, estimand: str, group: Any) -> None:
    """Whose own errors rest on numerical derivatives, to 3e-6; the next test has them to all digits."""
    frame = whas500()
    report = ask(frame, fc.Weighting(CHF, outcome, estimand=estimand), OF_WHAS).report["weighting"]
    effect, error = library(frame, outcome, group)
    difference = report["effect"][0]
    assert difference["coef"] == pytest.approx(effect, rel=NEAR)
    assert difference["se"] == pytest.approx(error, rel=1e-5)
    assert [row["name"] for row in report["effect"]][1:] == (
        ["risk_ratio", "odds_ratio"] if outcome == "fstat" else []
    )


@pytest.mark.parametrize("estimand", ["ate", "att", "overlap"])
def test_effect_errors_scores_and_balance_are_those_of_all_rows_together(estimand: str) -> None:
    """Effects by weighted least squares, errors by all equations together."""
    frame = whas500()
    result = ask(frame, fc.Weighting(CHF, "fstat", estimand=estimand), OF_WHAS)
    report = result.report["weighting"]
    x, a, y = design(frame, ["age", "hr", "gender"]), frame["chf"].to_numpy(), frame["fstat"].to_numpy(float)
    select = sm.Logit(a, x).fit(disp=0, method="newton", tol=1e-14, maxiter=100)
    weight, _ = weights_of(estimand, a, select.predict(x))
    weighted = sm.WLS(y, sm.add_constant(a.astype(float)), weights=weight).fit()
    propensity = pd.DataFrame(report["propensity"]).set_index("name")
    order = ["Intercept", "age", "hr", "C(gender)[T.1]"]
    np.testing.assert_allclose(propensity.loc[order, "coef"].astype(float), select.params, rtol=NEAR)
    sandwich = sm.Logit(a, x).fit(disp=0, method="newton", tol=1e-14, maxiter=100, cov_type="HC0")
    np.testing.assert_allclose(propensity.loc[order, "se"].astype(float), sandwich.bse, rtol=NEAR)
    found = {row["name"]: row for row in report["effect"]}
    low, high = weighted.params[0], weighted.params.sum()
    assert found["difference"]["coef"] == pytest.approx(weighted.params[1], rel=NEAR)
    assert found["risk_ratio"]["coef"] == pytest.approx(np.log(high / low), rel=NEAR)
    covariance = stacked(estimand, x, a, y, np.array([*select.params, low, high]))[-2:, -2:]
    gradients = {"difference": np.array([-1, 1]), "risk_ratio": np.array([-1 / low, 1 / high])}
    gradients["odds_ratio"] = np.array([-1 / low / (1 - low), 1 / high / (1 - high)])
    for name, gradient in gradients.items():
        assert found[name]["se"] == pytest.approx(np.sqrt(gradient @ covariance @ gradient), rel=NEAR)
    untreated, treated = report["groups"]["0"], report["groups"]["1"]
    assert (untreated["n"], treated["n"]) == ((a == 0).sum(), (a == 1).sum())
    assert treated["effective_n"] == pytest.approx(weight[a == 1].sum() ** 2 / (weight[a == 1] ** 2).sum())
    assert treated["crude"] == pytest.approx(y[a == 1].mean())
    age = next(row for row in report["balance"] if row["name"] == "age")
    arms = [frame.loc[a == arm, "age"] for arm in (0, 1)]
    deviation = np.sqrt((arms[0].var() + arms[1].var()) / 2)
    assert age["smd"] == pytest.approx((arms[1].mean() - arms[0].mean()) / deviation, rel=1e-9)
    means = [np.average(arms[arm], weights=weight[a == arm]) for arm in (0, 1)]
    assert age["weighted_smd"] == pytest.approx((means[1] - means[0]) / deviation, rel=1e-6, abs=1e-10)
    counts = np.histogram(select.predict(x)[a == 1], np.linspace(0, 1, 11))[0]
    assert report["scores"]["counts"]["1"] == counts.tolist()
    assert list(result.table.columns)[:2] == ["coef", "exp(coef)"]


def stacked(estimand: str, x: np.ndarray, a: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The sandwich of all equations, each derivative by a step off the real axis, to all digits."""

    def equations(at: np.ndarray) -> np.ndarray:
        score = 1 / (1 + np.exp(-x @ at[:-2]))
        weight, _ = weights_of(estimand, a, score)
        off = y - np.where(a == 1, at[-1], at[-2])
        return np.column_stack(
            [x * (a - score)[:, None], np.where(a == 0, weight * off, 0), np.where(a == 1, weight * off, 0)]
        )

    def slope(place: int) -> np.ndarray:
        step = np.zeros(len(theta), np.complex128)
        step[place] = 1e-30j
        derivative: np.ndarray = equations(theta + step).sum(0).imag / 1e-30
        return derivative

    bread = -np.column_stack([slope(place) for place in range(len(theta))])
    each = equations(theta)
    inverse = np.linalg.inv(bread)
    return np.asarray(inverse @ (each.T @ each) @ inverse.T)


@pytest.mark.parametrize("estimand", ["ate", "att", "overlap"])
def test_weights_change_with_the_score_as_their_derivatives_say(estimand: str) -> None:
    a, eta, step = np.array([0.0, 1.0, 0.0, 1.0]), np.array([-1.0, -1.0, 2.0, 2.0]), 1e-6
    ends = [weights_of(estimand, a, 1 / (1 + np.exp(-(eta + sign * step))))[0] for sign in (1, -1)]
    _, slope = weights_of(estimand, a, 1 / (1 + np.exp(-eta)))
    np.testing.assert_allclose((ends[0] - ends[1]) / (2 * step), slope, atol=1e-8)


def test_the_same_bits_under_every_protection_and_rows_without_an_outcome_are_left_out() -> None:
    frame = made_up()
    holes = frame.copy()
    holes.loc[[3, 77], "days"] = np.nan
    holes.loc[5, "age"] = np.nan
    question = fc.Weighting(FORMULA, "days", estimand="overlap")
    reports = [ask(holes, question, protection=name).report for name in ("none", "masks")]
    assert reports[0]["weighting"] == reports[1]["weighting"]
    assert (reports[0]["patients"], reports[0]["missing"]) == (len(frame) - 3, 3)
    complete = ask(frame.drop(index=[3, 5, 77]), question).report["weighting"]
    assert reports[0]["weighting"]["effect"][0]["coef"] == pytest.approx(complete["effect"][0]["coef"])


def test_after_weights_of_overlap_the_groups_are_alike() -> None:
    """Means of each column are equal then (Li, Morgan, Zaslavsky 2018, theorem 3)."""
    rows = ask(made_up(), fc.Weighting(FORMULA, "died", estimand="overlap")).report["weighting"]["balance"]
    assert [row["name"] for row in rows] == ["age", "C(sex)[T.m]"]
    assert all(abs(row["weighted_smd"]) < 1e-8 < abs(row["smd"]) for row in rows)


@pytest.mark.slow
def test_intervals_of_all_patients_effect_hold_it_as_often_as_they_say() -> None:
    """Of 60 cohorts; the truth is that of a million patients."""
    million = made_up(1_000_000, 0)
    eta = 1 - (million["age"] - 60) / 10
    truth = float(np.mean(1 / (1 + np.exp(eta + 0.5)) - 1 / (1 + np.exp(eta))))
    held = []
    for seed in range(60):
        row = ask(made_up(300, seed + 1), fc.Weighting(FORMULA, "died")).report["weighting"]["effect"][0]
        held.append(row["low"] <= truth <= row["high"])
    assert sum(held) >= 51, "of 60; fewer in one of 1,000 runs where 95 % hold"


def test_hospitals_of_one_arm_or_of_nobody_take_part() -> None:
    frame = made_up()
    by_arm = {"yes": frame[frame["treated"] == 1], "no": frame[frame["treated"] == 0]}
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("died"))
    study = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, "died"))
    apart = fc.simulate(by_arm).run(study, progress=False).report["weighting"]
    together = ask(frame, fc.Weighting(FORMULA, "died")).report["weighting"]
    assert apart["effect"][0]["se"] == pytest.approx(together["effect"][0]["se"], rel=1e-9)


@pytest.mark.parametrize("n", [0, 20])
def test_a_coordinator_s_nonsense_is_refused_alike_with_patients_and_without(n: int) -> None:
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("died"))
    study = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, "died"))
    analysis = build_analysis(study)
    rows = rows_of(analysis, table_from_frame(made_up().iloc[:n], study.cohort, 0, private=n == 0))
    right = {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.ones(3), "means": np.zeros(2)}
    wrong = {"beta": np.full(3, np.nan), "scale": np.zeros(3), "means": np.array([0.0, np.inf])}
    for stage in analysis.stages[2:]:
        stage.contribute(State(stage.name, 0, right), rows, Draw(0, "a", 0))
        for name, array in wrong.items():
            if name == "means" and stage.name == "arms":
                continue
            with pytest.raises(WireError):
                stage.contribute(State(stage.name, 0, {**right, name: array}), rows, Draw(0, "a", 0))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("treated ~ 1", "died"), "write who is treated on the left"),
        (("~ age", "died"), "write who is treated on the left"),
        (("treated ~ age + days", "days"), "days is in the formula of the treatment, too"),
        (("treated ~ age", "treated"), "treated is in the formula of the treatment, too"),
        (("treated ~ weight", "died"), "weight"),
        (("treated ~ age", "ward"), "outcome: ward is not among the cohort's columns"),
        (("days ~ age", "died"), "days is not of two levels, untreated and treated"),
        (("treated ~ age", "group"), "group is neither a number nor of two levels"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: tuple[str, str], said: str) -> None:
    columns = {**COLUMNS, "group": fc.Categorical(["a", "b", "c"])}
    cohort = fc.Cohort(columns=columns, label=fc.Binary("died"))
    with pytest.raises(StudyError, match=said):
        fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(*words))


def test_privacy_is_refused_in_words() -> None:
    with pytest.raises(StudyError, match="one patient's weight has no bound"):
        ask(made_up(), fc.Weighting(FORMULA, "died"), privacy=fc.Privacy(epsilon=1.0))


def test_a_column_that_tells_who_is_treated_is_named_and_no_penalty_is_offered() -> None:
    frame = made_up()
    frame["age"] = np.where(frame["treated"] == 1, 70.0, 50.0) + np.arange(len(frame)) % 7
    with pytest.raises(StudyError, match=r"separation: age .*with the other treatment; merge levels"):
        ask(frame, fc.Weighting(FORMULA, "died"))
    frame["age"] = 5.0
    with pytest.raises(StudyError, match="is the same for every patient; leave it out"):
        ask(frame, fc.Weighting(FORMULA, "died"))
    assert ask(frame, fc.Weighting("treated ~ C(sex)", "died")).report["weighting"]["effect"]
    with pytest.raises(StudyError, match="is the same for every patient"):
        ask(made_up().assign(treated=1), fc.Weighting(FORMULA, "died"))


@pytest.mark.parametrize(
    ("language", "said"), [("en", "no patient's score leaves"), ("zh", "没有患者的评分离开")]
)
def test_it_is_explained(language: str, said: str) -> None:
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("died"))
    study = fc.Study(name="w", cohort=cohort, analysis=fc.Weighting(FORMULA, "died", estimand="att"))
    text = explain(study, language=language)
    assert said in text
    assert "treated ~ age + C(sex)" in text
    assert "{" not in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_report_and_plot_show_the_effect_the_balance_and_the_scores(language: str) -> None:
    result = ask(made_up(), fc.Weighting(FORMULA, "died"))
    assert list(result.table.index) == ["difference", "risk_ratio", "odds_ratio"]
    names = [figure.name for figure in result.figures]
    assert names == ["effect", "forest", "groups", "balance", "scores-0", "scores-1", "coefficients"]
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    for name in ("heading", "balance", "risk_ratio", "effective_n"):
        assert said[f"weighting.{name}"] in text
    assert said["weighting.scores"].format(group="treated 1") in text
    assert "<svg" in text
    result.plot()

"""Cox regression over hospitals is that of all patients, stratified by hospital."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored

import fedcohort as fc
from fedcohort.analyses.cox.concordance import pairs
from fedcohort.analyses.cox.risk_sets import RiskSets
from fedcohort.analyses.figures import figures_of
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from fedcohort.figures import from_json, to_json
from fedcohort.texts.look_up import page_texts
from tests.analyses.cox import data

SEX = fc.Categorical(["f", "m"])
Report = dict[str, Any]


def study(columns: dict[str, Any], formula: Any, label: Any = None, **words: Any) -> fc.Study:
    protection = words.pop("protection", "masks")
    label = label or fc.Survival("time", "event")
    cohort = fc.Cohort(columns=columns, label=label)
    return fc.Study(name="cox", cohort=cohort, analysis=fc.Cox(formula, **words), protection=protection)


def ask(frames: Mapping[str, pd.DataFrame], asked: fc.Study) -> fc.Result:
    return fc.simulate(frames).run(asked, progress=False)


def joined(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([frame.assign(site=name) for name, frame in frames.items()], ignore_index=True)


def check_rows(rows: list[dict[str, Any]], reference: Any) -> None:
    """Coefficients, errors, z, p and intervals of statsmodels."""
    found = pd.DataFrame(rows)
    np.testing.assert_allclose(found["coef"], reference.params, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found["se"], reference.bse, rtol=0, atol=1e-8)
    np.testing.assert_allclose(found["z"], reference.tvalues, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found["p"], reference.pvalues, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found[["low", "high"]], reference.conf_int(), rtol=0, atol=1e-8)


def tightly(model: Any, start: Any = None) -> Any:
    """statsmodels' fit, to the last digit; it halves no step, and may get lost far from the maximum."""
    return model.fit(start_params=start, method="newton", tol=1e-14, maxiter=100, disp=0)


@pytest.mark.parametrize(
    ("name", "ties"), list(product(["whas500", "flchain", "lung"], ["efron", "breslow"]))
)
def test_hospitals_together_find_the_stratified_cox_model_of_statsmodels(name: str, ties: str) -> None:
    """Three uneven hospitals of real patients, with the same bits under masks and without."""
    frame, columns, formula = data.ALL[name]()
    frames = data.uneven(frame)
    results = [
        ask(frames, study(columns, formula, ties=ties, protection=protection))
        for protection in ("none", "masks")
    ]
    reports = [result.report["cox"] for result in results]
    assert reports[0] == reports[1]
    pooled = joined(frames)
    x = data.design(pooled, columns)
    complete = x.notna().all(axis=1)
    assert results[0].report["patients"] == complete.sum()
    assert results[0].report["missing"] == (~complete).sum()
    pooled, x = pooled[complete], x[complete]
    near = [round(row["coef"], 2) for row in reports[0]["coefficients"]]
    model = sm.PHReg(pooled["time"], x, pooled["event"], ties=ties, strata=pooled["site"])
    theirs = tightly(model, near)
    check_rows(reports[0]["coefficients"], theirs)
    assert reports[0]["log_likelihood"] == pytest.approx(theirs.llf, rel=1e-12)
    assert reports[0]["events"] == pooled["event"].sum()
    assert results[0].table["coef"].to_numpy() == pytest.approx(theirs.params, abs=1e-8)


def test_strata_may_be_levels_within_hospitals() -> None:
    frame, columns, _ = data.whas500()
    frames = data.uneven(frame)
    found = ask(frames, study(columns, "age + bmi", strata=["site", "gender"])).report["cox"]
    pooled = joined(frames)
    strata = pooled["site"] + pooled["gender"]
    check_rows(
        found["coefficients"],
        tightly(
            sm.PHReg(pooled["time"], pooled[["age", "bmi"]], pooled["event"], ties="efron", strata=strata)
        ),
    )


def test_concordance_counts_the_pairs_within_hospitals() -> None:
    frame, columns, formula = data.whas500()
    frames = data.uneven(frame)
    found = ask(frames, study(columns, formula)).report["cox"]
    coefficients = np.array([row["coef"] for row in found["coefficients"]])
    counted = np.zeros(3)
    for one in frames.values():
        risk = data.design(one, columns).to_numpy() @ coefficients
        _, concordant, discordant, tied, _ = concordance_index_censored(one["event"] == 1, one["time"], risk)
        counted += [concordant, tied, concordant + discordant + tied]
    assert [found["concordance"][name] for name in ("concordant", "tied", "pairs")] == counted.tolist()
    assert found["concordance"]["c"] == pytest.approx((counted[0] + counted[1] / 2) / counted[2])


def test_pairs_are_counted_as_one_by_one() -> None:
    draw = np.random.default_rng(4)
    for n, levels in product((0, 1, 2, 7, 31, 32, 33, 40, 130), (2, 5, 10**6)):
        time, event, risk = draw.integers(1, 9, n), draw.integers(0, 2, n), draw.integers(0, levels, n)
        found = [0, 0, 0]
        for i, j in product(range(n), repeat=2):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                found = [found[0] + (risk[i] > risk[j]), found[1] + (risk[i] == risk[j]), found[2] + 1]
        assert pairs(time.astype(float), event.astype(float), risk.astype(float)) == tuple(found)


def test_proportional_hazards_of_one_hospital_are_tested_as_in_r() -> None:
    """Published figures of R's survival, cox.zph(coxph(Surv(time, status) ~ age + sex + wt.loss, lung))."""
    frame, columns, _ = data.lung()
    columns = {name: columns[name] for name in ("age", "sex", "wt_loss")}
    asked = study(columns, "age + sex + wt_loss", protection="none")
    asked = asked.model_copy(update={"min_sites": 1})
    found = ask({"only": frame}, asked).report["cox"]
    published = {"age": (0.5077, 0.48), "sex": (2.5489, 0.11), "wt_loss": (0.0144, 0.90)}
    shown = found["proportional_hazards"]
    for name, (statistic, p) in published.items():
        assert round(shown["each"][name]["statistic"], 4) == statistic
        assert round(shown["each"][name]["p"], 2) == p
    assert round(shown["all"]["statistic"], 4) == 3.0051
    assert (round(shown["all"]["p"], 2), shown["all"]["degrees"]) == (0.39, 3)
    assert [round(row["coef"], 7) for row in found["coefficients"]] == [0.0200882, -0.5210319, 0.0007596]


def test_the_baseline_of_one_hospital_on_its_own_times_is_breslows() -> None:
    frame, columns, formula = data.whas500()
    grid = sorted({float(time) for time in frame["time"]})
    asked = study(columns, formula, grid=grid, protection="none").model_copy(update={"min_sites": 1})
    found = ask({"only": frame}, asked).report["cox"]
    x = data.design(frame, columns)
    outcome = np.array(list(zip(frame["event"] == 1, frame["time"], strict=True)), dtype="?,f8")
    theirs = CoxPHSurvivalAnalysis(ties="efron", tol=1e-13, n_iter=100).fit(x - x.mean(), outcome)
    stratum = found["baseline"]["strata"]["all"]
    np.testing.assert_allclose(stratum["hazard"], theirs.cum_baseline_hazard_(np.array(grid)), rtol=1e-8)
    assert stratum["at_risk"] == [int((frame["time"] >= time).sum()) for time in grid]
    assert sum(stratum["events"]) == found["events"]


def test_tests_of_all_coefficients_are_the_likelihoods() -> None:
    frame, columns, _ = data.whas500()
    found = ask(data.uneven(frame), study(columns, "age + gender")).report["cox"]
    none = found["tests"]["likelihood_ratio"]["statistic"]
    assert none == pytest.approx(2 * (found["log_likelihood"] - found["log_likelihood_null"]))
    statistics = [test["statistic"] for test in found["tests"].values()]
    assert max(statistics) < 1.5 * min(statistics)
    assert found["aic"] == pytest.approx(4 - 2 * found["log_likelihood"])


# --- small numbers, and hospitals of few patients -------------------------------------------------


def freireich() -> pd.DataFrame:
    """Weeks of remission of 42 patients (Freireich et al. 1963), + where it went on."""
    weeks = {
        "drug": "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+",
        "placebo": "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23",
    }
    rows = [
        {"arm": arm, "time": float(week.rstrip("+")), "event": int(not week.endswith("+"))}
        for arm, one in weeks.items()
        for week in one.split()
    ]
    return pd.DataFrame(rows).assign(patient_id=[f"p{row:02d}" for row in range(len(rows))])


ARM = {"arm": fc.Categorical(["drug", "placebo"])}


@pytest.mark.parametrize(
    ("ties", "coefficient", "error"), [("efron", 1.5721, 0.4124), ("breslow", 1.5092, 0.4096)]
)
def test_the_leukaemia_trial_has_its_published_hazard_ratio(
    ties: str, coefficient: float, error: float
) -> None:
    """Kalbfleisch and Prentice 2002; Collett 2015: 1.57 (Efron) and 1.51 (Breslow) in one stratum."""
    asked = study(ARM, "C(arm)", ties=ties, protection="none").model_copy(update={"min_sites": 1})
    (row,) = ask({"only": freireich()}, asked).report["cox"]["coefficients"]
    assert (round(row["coef"], 4), round(row["se"], 4)) == (coefficient, error)
    assert (row["name"], row["n"]) == ("C(arm)[T.placebo]", 21)


def test_a_hospital_without_events_and_one_without_patients_add_nothing() -> None:
    frame = freireich()
    quiet = frame.iloc[:3].assign(event=0, patient_id=["q1", "q2", "q3"])
    unknown = frame.iloc[:2].assign(arm=None, patient_id=["u1", "u2"])
    alone = ask({"a": frame.iloc[::2], "b": frame.iloc[1::2]}, study(ARM, "C(arm)")).report
    more = {"a": frame.iloc[::2], "b": frame.iloc[1::2], "quiet": quiet, "unknown": unknown}
    found = ask(more, study(ARM, "C(arm)")).report
    assert (found["patients"], found["missing"]) == (45, 2)
    for row, other in zip(found["cox"]["coefficients"], alone["cox"]["coefficients"], strict=True):
        assert row["coef"] == pytest.approx(other["coef"], abs=1e-9)
        assert row["se"] == pytest.approx(other["se"], abs=1e-9)
    assert found["cox"]["concordance"]["pairs"] == alone["cox"]["concordance"]["pairs"]


def test_one_patient_and_one_event_of_a_hospital_are_no_risk_set_of_two() -> None:
    frame = freireich()
    lonely = frame.iloc[:1].assign(patient_id=["l"])
    alone = ask({"a": frame.iloc[::2], "b": frame.iloc[1::2]}, study(ARM, "arm")).report["cox"]
    found = ask({"a": frame.iloc[::2], "b": frame.iloc[1::2], "l": lonely}, study(ARM, "arm")).report["cox"]
    assert found["coefficients"][0]["coef"] == pytest.approx(alone["coefficients"][0]["coef"], abs=1e-9)


def test_scale_and_offset_of_a_column_cost_no_digit() -> None:
    draw = np.random.default_rng(5)
    frame = freireich().assign(dose=draw.normal(0, 1, 42))
    columns = {"dose": fc.Numeric()}
    (row,) = ask({"a": frame.iloc[::2], "b": frame.iloc[1::2]}, study(columns, "dose")).report["cox"][
        "coefficients"
    ]
    far = frame.assign(dose=1e6 + 1e-3 * frame["dose"])
    frames = {"a": far.iloc[::2], "b": far.iloc[1::2]}
    (other,) = ask(frames, study(columns, "dose")).report["cox"]["coefficients"]
    assert other["coef"] == pytest.approx(1e3 * row["coef"], rel=1e-5)
    assert other["z"] == pytest.approx(row["z"], rel=1e-5)


def test_the_likelihood_is_that_of_each_risk_set_in_turn() -> None:
    """Efron's, written out event by event, and its numerical derivatives."""
    draw = np.random.default_rng(6)
    x, time = draw.normal(0, 1, (30, 2)), draw.integers(1, 8, 30).astype(float)
    event, stratum = draw.integers(0, 2, 30).astype(float), draw.integers(0, 3, 30)
    sets = RiskSets.of(x, time, event, stratum, efron=True)

    def loglik(b: np.ndarray) -> float:
        total = 0.0
        for s, when in product(range(3), range(1, 8)):
            dead = (stratum == s) & (time == when) & (event == 1)
            risk = np.exp(x @ b) * (stratum == s) * (time >= when)
            for place in range(int(dead.sum())):
                total -= np.log(risk.sum() - place / dead.sum() * risk[dead].sum())
            total += (x[dead] @ b).sum()
        return total

    b = np.array([0.4, -0.7])
    here = sets.at(b)
    assert here.loglik == pytest.approx(loglik(b), abs=1e-10)
    steps = 1e-5 * np.eye(2)
    slopes = [(loglik(b + step) - loglik(b - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(here.score, slopes, atol=1e-6)
    bends = [(sets.at(b - step).score - sets.at(b + step).score) / 2e-5 for step in steps]
    np.testing.assert_allclose(here.information, bends, atol=1e-6)


def test_coefficients_far_away_are_no_infinity() -> None:
    sets = RiskSets.of(np.arange(5.0)[:, None], np.arange(5.0), np.ones(5), np.zeros(5, np.int64), efron=True)
    for far in (1e3, -1e3, 1e300):
        here = sets.at(np.array([far]))
        assert np.isfinite(here.packed).all()


# --- what is refused ------------------------------------------------------------------------------

TWO = {"a": freireich().iloc[::2], "b": freireich().iloc[1::2]}


def with_column(name: str, values: Any) -> dict[str, pd.DataFrame]:
    frame = freireich()
    frame[name] = values
    return {"a": frame.iloc[::2], "b": frame.iloc[1::2]}


def test_a_coefficient_without_end_is_told_with_its_column() -> None:
    """Nobody with the sign has the event while others are observed."""
    frame = freireich()
    frames = with_column("sign", ((frame["event"] == 0) & (frame["time"] < 20)).astype(int))
    columns = {**ARM, "sign": fc.Categorical([0, 1])}
    with pytest.raises(
        StudyError, match=r"C\(sign\)\[T.1\] grow without end.*leave them out, or join levels"
    ):
        ask(frames, study(columns, "C(arm) + C(sign)"))
    ask(frames, study(columns, "C(arm)"))


def test_columns_that_follow_from_one_another_are_named() -> None:
    frames = with_column("weeks", np.arange(42.0))
    frames = {name: one.assign(days=7 * one["weeks"]) for name, one in frames.items()}
    columns = {**ARM, "weeks": fc.Numeric(), "days": fc.Numeric()}
    with pytest.raises(
        StudyError, match=r"formula: weeks, days follow from one another.*leave one of them out"
    ):
        ask(frames, study(columns, "C(arm) + weeks + days"))
    ask(frames, study(columns, "C(arm) + weeks"))


def test_a_column_of_one_value_or_of_one_value_a_hospital_is_named() -> None:
    columns = {**ARM, "ward": fc.Numeric()}
    with pytest.raises(
        StudyError, match="formula: ward have the same value for every patient; leave them out"
    ):
        ask(with_column("ward", 3.0), study(columns, "C(arm) + ward"))
    by_hospital = {name: one.assign(ward=float(place)) for place, (name, one) in enumerate(TWO.items())}
    with pytest.raises(StudyError, match="ward have one value among the patients who are compared"):
        ask(by_hospital, study(columns, "C(arm) + ward"))


def test_a_cohort_without_events_is_told() -> None:
    frames = {name: one.assign(event=0) for name, one in TWO.items()}
    with pytest.raises(
        StudyError, match="no patient of whom all columns are known has the event; widen `where`"
    ):
        ask(frames, study(ARM, "C(arm)"))
    ask(TWO, study(ARM, "C(arm)"))


DAYS = [float(day) for day in range(1, 600)]
SEXES: dict[str, Any] = {**ARM, "sex": SEX, "age": fc.Numeric(0, 120)}


@pytest.mark.parametrize(
    ("bad", "said", "good"),
    [
        ({"formula": "death ~ age"}, "the label is what is explained; write the right-hand side alone",
         {"formula": "~ age"}),
        ({"formula": "time"}, "analysis.formula: the label is what is explained", {"formula": "age"}),
        ({"formula": "weight"}, "formula: weight is not among the cohort's columns", {"formula": "age"}),
        ({"formula": "C(age)"}, "analysis.formula: C.age.: age has no levels", {"formula": "C(sex)"}),
        ({"formula": "age - 1"}, "without - 1: the baseline takes the place", {"formula": "age"}),
        ({"strata": "none"}, "patients of different hospitals are compared on a grid of times; write one",
         {"strata": "none", "grid": [10.0]}),
        ({"strata": "none", "grid": DAYS, "formula": "age + sex + C(arm) + age:sex + age:arm + sex:arm"},
         "analysis.grid: sums by time of 7 columns are too many; write a coarser grid",
         {"strata": "none", "grid": DAYS[::2], "formula": "age + sex"}),
        ({"strata": ["site", "ward"]}, "strata: ward is not among the cohort's columns; name it there",
         {"strata": ["site", "sex"]}),
        ({"strata": ["site", "age"], "formula": "arm"}, "strata: age has no levels; name a categorical",
         {"strata": ["site", "sex"]}),
        ({"strata": ["site", "sex"], "formula": "sex"}, "strata: sex is in the formula, too; leave it out",
         {"strata": ["site"], "formula": "sex"}),
        ({"strata": ["site"] * 2}, "strata: a column is named twice; name each once", {"strata": ["site"]}),
        ({"grid": [60.0, 30.0]}, "grid: write times in order", {"grid": [30.0, 60.0]}),
        ({"grid": DAYS, "strata": ["site", "sex"]}, "levels and times make too many cells; name fewer",
         {"grid": DAYS[:500], "strata": ["site", "sex"]}),
    ],
)  # fmt: skip
def test_wrong_words_are_refused_with_what_to_write(
    bad: dict[str, Any], said: str, good: dict[str, Any]
) -> None:
    words = {"formula": "age", **bad}
    with pytest.raises(StudyError, match=said):
        study(SEXES, **words)
    study(SEXES, **{"formula": "age", **good})


def test_a_label_that_is_no_time_is_refused() -> None:
    with pytest.raises(StudyError, match=r"cox needs fc\.Survival\(time, event\)"):
        study(SEXES, "age", label=fc.Binary("event"))


def test_privacy_needs_pieces_of_a_time_with_a_horizon() -> None:
    def asked(label: Any, **words: Any) -> fc.Study:
        cohort = fc.Cohort(columns=SEXES, label=label)
        privacy = fc.Privacy(epsilon=1.0, **words.pop("privacy", {}))
        return fc.Study(name="cox", cohort=cohort, analysis=fc.Cox("age", **words), privacy=privacy)

    bounded = fc.Survival("time", "event", horizon=30)
    with pytest.raises(StudyError, match="privacy needs a hazard in pieces: write pieces = 5 and strata"):
        asked(bounded)
    with pytest.raises(StudyError, match="a survival time has none without a horizon"):
        asked(fc.Survival("time", "event"), pieces=[10.0], strata="none")
    with pytest.raises(StudyError, match="rows_per_patient: cox counts a patient with one row"):
        asked(bounded, pieces=5, strata="none", privacy={"rows_per_patient": 2})
    asked(bounded, pieces=5, strata="none")


def test_a_study_is_the_same_as_text_and_as_terms() -> None:
    asked = study(SEXES, "age + C(sex)", strata="site")
    again = fc.Study.model_validate_json(asked.canonical)
    assert (again.hash, again) == (asked.hash, asked)
    assert study(SEXES, "~ age + C(sex)", strata=["site"]).hash == asked.hash


def test_a_horizon_ends_observation() -> None:
    frame = freireich()
    found = ask(TWO, study(ARM, "C(arm)", label=fc.Survival("time", "event", horizon=10.0)))
    assert found.report["cox"]["events"] == int(((frame["time"] <= 10) & (frame["event"] == 1)).sum())
    cut = frame.assign(event=frame["event"] * (frame["time"] <= 10), time=frame["time"].clip(upper=10))
    theirs = tightly(
        sm.PHReg(cut["time"], (cut["arm"] == "placebo").astype(float), cut["event"], ties="efron",
                 strata=np.arange(42) % 2)
    )  # fmt: skip
    check_rows(found.report["cox"]["coefficients"], theirs)


def test_page_report_and_plot_show_ratios_tests_and_the_baseline() -> None:
    result = ask(TWO, study(ARM, "C(arm)", grid=[5.0, 10.0, 20.0]))
    named = {
        figure.name: figure for figure in figures_of(result.study.model_dump(mode="json"), result.report)
    }
    assert list(named) == ["coefficients", "forest", "tests", "baseline"]
    assert result.table["exp(coef)"].iloc[0] == pytest.approx(np.exp(result.table["coef"].iloc[0]))
    assert from_json(to_json(named.values())) == tuple(named.values())
    for language, heading, ratio in (("en", "Cox regression", "Hazard ratio"), ("zh", "Cox 回归", "风险比")):
        ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
        text = repr(results(ended, page_texts(language)))
        assert heading in text
        assert ratio in text
        assert "<svg" in text
    result.plot()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_leaves_is_said(language: str) -> None:
    text = explain(study(SEXES, "age + C(sex)", strata=["site", "arm"], grid=[5.0]), language=language)
    said = {
        "en": (
            "age + C(sex)",
            "same hospital and the same arm",
            "test of proportional hazards",
            "few events",
        ),
        "zh": ("age + C(sex)", "同一医院且 arm 相同", "比例风险检验", "事件很少"),
    }
    assert [one for one in said[language] if one not in text] == []


def test_events_of_one_time_say_nothing_of_proportional_hazards() -> None:
    frames = {name: one.assign(time=np.where(one["event"] == 1, 5.0, 9.0)) for name, one in TWO.items()}
    found = ask(frames, study(ARM, "C(arm)")).report["cox"]["proportional_hazards"]
    assert found["all"] == {"statistic": None, "degrees": 1, "p": None}
    assert found["each"]["C(arm)[T.placebo]"]["p"] is None

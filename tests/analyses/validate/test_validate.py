"""A model validated over hospitals is measured as scikit-learn measures it on all patients together."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.rows import Rows
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import StudyError, ValueRangeError
from fedcohort.explain import explain
from fedcohort.table import Table
from fedcohort.texts.look_up import page_texts

from ..at_site import contributed
from ..quantiles.test_quantiles import uneven

HEART = Path(os.environ.get("FEDCOHORT_DATA", "")) / "heart_disease"
needs_data = pytest.mark.skipif(not HEART.exists(), reason="FEDCOHORT_DATA")
COLUMNS: dict[str, Any] = {"age": fc.Numeric(18, 90), "sex": fc.Categorical(["f", "m"])}
SCORE = fc.Coefficients({"age": 0.06, "sex=m": 0.4}, intercept=-4.0, missing={"age": 50})
THRESHOLDS = (0.1, 0.25, 0.5)


def made_up(n: int = 400, seed: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame({"age": draw.integers(18, 91, n).astype(float)})
    frame["sex"] = np.array(["f", "m"])[draw.integers(0, 2, n)]
    frame["ill"] = (draw.random(n) < expit(0.8 * log_odds(frame) + 0.3)).astype(int)
    return frame.assign(patient_id=[f"p{row}" for row in range(n)])


def log_odds(frame: pd.DataFrame) -> np.ndarray:
    score: np.ndarray = (
        -4 + 0.06 * frame["age"].fillna(50).to_numpy() + 0.4 * (frame["sex"] == "m").to_numpy()
    )
    return score


def ask(frames: Mapping[str, pd.DataFrame], model: Any = SCORE, **words: Any) -> fc.Result:
    of_study = {name: words.pop(name) for name in ("privacy", "protection") if name in words}
    cohort = {"columns": COLUMNS, "label": fc.Binary("ill"), **words.pop("cohort", {})}
    question = fc.Validate(model, **{"thresholds": THRESHOLDS, **words})
    asked = fc.Study(name="v", cohort=fc.Cohort(**cohort), analysis=question, **of_study)
    return fc.simulate(frames).run(asked, progress=False)


def check(group: Mapping[str, Any], score: np.ndarray, outcome: np.ndarray) -> None:
    p = expit(score)
    assert (group["n"], group["events"]) == (len(p), int(outcome.sum()))
    assert group["auc"] == pytest.approx(roc_auc_score(outcome, p), abs=1e-6)
    assert group["brier"] == pytest.approx(brier_score_loss(outcome, p), abs=1e-6)
    assert group["oe"] == pytest.approx(outcome.sum() / p.sum(), abs=1e-6)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(score[:, None], outcome)
    assert group["slope"] == pytest.approx(theirs.coef_[0, 0], abs=1e-6)
    assert group["recalibrated"] == pytest.approx(theirs.intercept_[0], abs=1e-6)
    observed, foreseen = calibration_curve(outcome, p, n_bins=10, strategy="quantile")
    assert [one["observed"] for one in group["calibration"]] == pytest.approx(list(observed), abs=1e-6)
    assert [one["predicted"] for one in group["calibration"]] == pytest.approx(list(foreseen), abs=1e-6)
    for place, threshold in enumerate(THRESHOLDS):
        called = p >= threshold - 1e-12
        (tn, fp), (fn, tp) = confusion_matrix(outcome, called, labels=[0, 1])
        benefit = tp / len(p) - fp / len(p) * threshold / (1 - threshold)
        decided = group["decisions"]
        assert decided["net_benefit"][place] == pytest.approx(benefit, abs=1e-9)
        assert decided["sensitivity"][place] == pytest.approx(tp / (tp + fn), abs=1e-9)
        assert decided["specificity"][place] == pytest.approx(tn / (tn + fp), abs=1e-9)
        if tp + fp:
            assert decided["ppv"][place] == pytest.approx(tp / (tp + fp), abs=1e-9)


@pytest.mark.parametrize("protection", ["none", "masks"])
def test_hospitals_together_find_what_scikit_learn_finds(protection: str) -> None:
    frame = made_up()
    report = ask(uneven(frame), by="sex", protection=protection).report
    groups = report["validate"]["groups"]
    for level, group in groups.items():
        ours = frame if level == "all" else frame[frame["sex"] == level]
        check(group, log_odds(ours), ours["ill"].to_numpy())
        assert "auc_error" not in group, "every score is at a step"
    assert (report["patients"], report["missing"]) == (400, 0)


def test_the_same_bits_under_every_protection() -> None:
    found = [
        ask(uneven(made_up()), by="sex", protection=name).report["validate"] for name in ("none", "masks")
    ]
    assert found[0] == found[1]


def test_scores_between_steps_are_within_what_is_told() -> None:
    frame = made_up()
    model = fc.Coefficients({"age": 0.0617, "sex=m": 0.4}, intercept=-4.0, missing={"age": 50})
    group = ask(uneven(frame), model, grid=0.2).report["validate"]["groups"]["all"]
    score = -4 + 0.0617 * frame["age"].to_numpy() + 0.4 * (frame["sex"] == "m").to_numpy()
    assert 0 < abs(group["auc"] - roc_auc_score(frame["ill"], score)) <= group["auc_error"]
    assert abs(group["brier"] - brier_score_loss(frame["ill"], expit(score))) <= group["brier_error"]
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(score[:, None], frame["ill"])
    assert 0 < abs(group["slope"] - theirs.coef_[0, 0]) <= group["slope_error"]


def test_a_recalibrated_score_fits_these_patients() -> None:
    frame = made_up(2000)
    anew = ask(uneven(frame)).report["validate"]["recalibrated"]
    model = fc.Coefficients(anew["coefficients"], intercept=anew["intercept"], missing={"age": 50})
    group = ask(uneven(frame), model, grid=0.001).report["validate"]["groups"]["all"]
    assert group["intercept"] == pytest.approx(0, abs=1e-3)
    assert group["slope"] == pytest.approx(1, abs=1e-3)
    assert group["oe"] == pytest.approx(1, abs=1e-3)


def test_groups_are_compared() -> None:
    frame = made_up(1000)
    same = ask(uneven(frame), by="sex").report["validate"]["differences"]
    assert same["auc"]["degrees"] == 1
    assert same["intercept"]["p"] > 1e-4
    frame.loc[frame["sex"] == "m", "ill"] = 1 - frame["ill"]
    assert ask(uneven(frame), by="sex").report["validate"]["differences"]["auc"]["p"] < 1e-6


@needs_data
def test_a_score_at_real_hospitals() -> None:
    names = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"]
    frames = {}
    for site in ("cleveland", "hungarian", "va"):
        raw = pd.read_csv(HEART / f"processed.{site}.data", header=None, na_values="?")
        raw = raw.iloc[:, [*range(10), 13]].set_axis([*names, "num"], axis=1)
        raw["ill"] = (raw["num"] > 0).astype(int)
        frames[site] = raw.assign(patient_id=[f"{site}{row}" for row in range(len(raw))])
    model = fc.Coefficients({"age": 0.05, "sex": 1.2, "oldpeak": 0.6}, intercept=-4.0,
                            missing={"age": 54, "sex": 1, "oldpeak": 0.8})  # fmt: skip
    columns = {"age": fc.Numeric(18, 90), "sex": fc.Numeric(0, 1), "oldpeak": fc.Numeric(-3, 10)}
    report = ask(frames, model, cohort={"columns": columns}).report
    everyone = pd.concat(frames.values())
    filled = everyone.fillna({"age": 54, "sex": 1, "oldpeak": 0.8})
    score = -4 + 0.05 * filled["age"] + 1.2 * filled["sex"] + 0.6 * filled["oldpeak"]
    check(report["validate"]["groups"]["all"], np.round(score.to_numpy(), 9), everyone["ill"].to_numpy())


def test_hospitals_of_one_outcome_add_what_they_have() -> None:
    frame = made_up()
    healthy = frame[frame["ill"] == 0]
    frames = {"a": frame[frame["ill"] == 1], "b": healthy.iloc[1:], "c": healthy.iloc[:1]}
    everyone = pd.concat(frames.values())
    group = ask(frames).report["validate"]["groups"]["all"]
    check(group, log_odds(everyone), everyone["ill"].to_numpy())


def test_a_hospital_without_patients_adds_zeros() -> None:
    asked = fc.Study(
        name="v",
        cohort=fc.Cohort(columns=COLUMNS, label=fc.Binary("ill")),
        analysis=fc.Validate(SCORE, thresholds=THRESHOLDS),
    )
    analysis = build_analysis(asked)
    nobody = np.array([], np.float64)
    columns: dict[str, Any] = {"age": nobody, "sex": nobody.astype(np.int64)}
    table = Table(nobody.astype(str), columns, nobody.astype(np.int8), nobody)
    added = contributed(analysis, Rows(table), analysis.start())
    assert {name: float(np.sum(values)) for name, values in added.items()} == {"scores": 0, "between": 0}


def test_a_group_of_one_outcome_has_no_area_and_who_has_no_group_is_missing() -> None:
    frame = made_up()
    frame.loc[frame["sex"] == "m", "ill"] = 0
    frame.loc[frame.index[:5], "sex"] = None
    report = ask(uneven(frame), by="sex").report
    assert report["missing"] == 5
    group = report["validate"]["groups"]["m"]
    assert (group["auc"], group["slope"]) == (None, None)
    assert group["brier"] is not None
    assert report["validate"]["differences"]["auc"]["degrees"] == 0


def test_held_out_patients_alone_where_it_is_said() -> None:
    frame = made_up().assign(set=["train", "test"] * 200)
    held = ask(uneven(frame), held_out=True, cohort={"split": "set"}).report
    assert held["validate"]["part"] == "test"
    ours = frame[frame["set"] == "test"]
    check(held["validate"]["groups"]["all"], log_odds(ours), ours["ill"].to_numpy())
    assert ask(uneven(frame), cohort={"split": "set"}).report["validate"]["part"] == "all"


@pytest.mark.training
def test_a_trained_model_is_validated_on_held_out_patients() -> None:
    frame = made_up().assign(set=["train", "test"] * 200)
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("ill"), split="set")
    study = fc.Study(name="t", cohort=cohort, analysis=fc.Train(model="logistic", rounds=3))
    trained = fc.simulate(uneven(frame)).run(study, progress=False)
    report = ask(uneven(frame), trained, cohort={"split": "set"}).report
    group = report["validate"]["groups"]["all"]
    assert report["validate"]["part"] == "test"
    assert group["n"] == 200
    assert (
        abs(group["auc"] - trained.report["test"]["auc"])
        <= group["auc_error"] + trained.report["test"]["auc_error"]
    )
    assert "recalibrated" not in report["validate"]


def test_a_value_beyond_its_bounds_is_refused() -> None:
    frame = made_up()
    frame.loc[0, "age"] = 200.0
    with pytest.raises(ValueRangeError, match="outside the declared bounds"):
        ask(uneven(frame))


@pytest.mark.slow
def test_under_privacy_figures_are_near_and_intervals_hold_them() -> None:
    held: list[bool] = []
    true = ask(uneven(made_up(200_000, 99)), by="sex").report["validate"]["groups"]
    for seed in range(6):
        report = ask(uneven(made_up(2000, seed)), by="sex", privacy=fc.Privacy(epsilon=2.0)).report
        assert report["privacy"]["epsilon_spent"] <= 2.0
        for level, group in report["validate"]["groups"].items():
            for name in ("auc", "brier", "intercept", "slope", "oe"):
                held.append(group[f"{name}_low"] <= true[level][name] <= group[f"{name}_high"])
            decided, exact = group["decisions"], true[level]["decisions"]
            ends = zip(
                decided["net_benefit_low"], exact["net_benefit"], decided["net_benefit_high"], strict=True
            )
            held += [low <= value <= high for low, value, high in ends]
        assert abs(report["validate"]["groups"]["all"]["auc"] - true["all"]["auc"]) < 0.08
    assert np.mean(held) > 0.8


@pytest.mark.parametrize("privacy", [None, pytest.param(fc.Privacy(epsilon=20.0), marks=pytest.mark.slow)])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_report_and_notebook_show_it(privacy: fc.Privacy | None, language: str) -> None:
    result = ask(uneven(made_up()), by="sex", privacy=privacy)
    assert list(result.table.index) == ["f", "m", "all"]
    assert {"n", "events", "auc", "auc_low", "slope", "brier"} <= set(result.table.columns)
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    for name in ("heading", "decision_curve", "thresholds", "differences", "recalibrated", "part.all"):
        assert said[f"validate.{name}"] in text
    assert text.count("<svg") == 2
    assert len(result.plot().axes) == 2
    assert ("0.01" if privacy is None else "21") in explain(result.study, language=language)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"model": 5}, "model: give a result"),
        ({"thresholds": [0.5, 0.1]}, "in order, each once"),
        ({"thresholds": [1.0]}, "thresholds"),
        ({"grid": 0.0}, "grid"),
        ({"by": "ward"}, "not among the cohort's columns"),
        ({"by": "age"}, "has no levels"),
        ({"by": "ill"}, "this is the label"),
        ({"held_out": True, "cohort": {"split": None}}, "holds nobody out"),
        ({"cohort": {"label": fc.Number("days", 0, 9)}}, "yes-or-no label"),
        ({"cohort": {"label": None}}, "yes-or-no label"),
        ({"cohort": {"columns": {"age": COLUMNS["age"]}}}, "sex is no column of the cohort"),
        ({"privacy": fc.Privacy(epsilon=1.0, rows_per_patient=2)}, "one row"),
        ({"privacy": fc.Privacy(epsilon=1.0), "grid": 0.1}, "coarse parts"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    frame = made_up().assign(days=3.0)
    with pytest.raises(StudyError, match=said):
        ask(uneven(frame), **words)

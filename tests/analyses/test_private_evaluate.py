"""A private evaluation says what the exact one says, and its intervals hold the truth."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Sums
from fedcohort.analyses.measure import Measure
from fedcohort.analyses.model_of import outcome_of
from fedcohort.errors import CohortTooSmallError, StudyError
from fedcohort.explain import explain
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.plan import plan_noise
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import SavedModel, Study, Trained
from tests.build import simulated

from .at_site import contributed, rows_of

COLUMNS: dict[str, fc.Numeric | fc.Categorical] = {
    "age": fc.Numeric(18, 90),
    "sex": fc.Categorical(("f", "m")),
}
LABELS: dict[str, fc.Binary | fc.Classes | fc.Number] = {
    "binary": fc.Binary("ill"),
    "classes": fc.Classes("grade", (1, 2, 3)),
    "number": fc.Number(column="score", low=0, high=10),
}
N_WEIGHTS = {"binary": 5, "classes": 15, "number": 5}


def rows(n: int, seed: int = 0, per_patient: int = 1) -> pd.DataFrame:
    """Illness goes with age; a patient's rows may lie in several splits."""
    draw = np.random.default_rng(seed)
    age = draw.uniform(18, 90, n)
    return pd.DataFrame(
        {
            "patient_id": [f"p{seed}-{index // per_patient:05}" for index in range(n)],
            "age": age,
            "sex": draw.choice(["f", "m"], n),
            "ill": (draw.random(n) < 1 / (1 + np.exp(-(age - 54) / 9))).astype(int),
            "grade": draw.integers(1, 4, n),
            "score": draw.uniform(0, 10, n),
            "set": draw.choice(["train", "test", "valid"], n),
        }
    )


def saved(kind: str = "binary", weights: Any = None) -> SavedModel:
    chosen = np.linspace(-1, 1, N_WEIGHTS[kind]) if weights is None else np.asarray(weights)
    text = base64.b64encode(chosen.astype("<f4").tobytes()).decode()
    return SavedModel(model="logistic", weights=text, mean=(54.0,), deviation=(9.0,))


RULE = saved(weights=[1, 0, 0, 0, 0])
"""Age says it all, by the very rule that made the patients ill."""


def study(model: Trained = RULE, kind: str = "binary", eps: float = 1.5, **changes: Any) -> Study:
    cohort = fc.Cohort(columns=COLUMNS, label=LABELS[kind], split="set")
    return fc.Study(
        **{
            "name": "measure",
            "cohort": cohort,
            "analysis": fc.Evaluate(model=model),
            "privacy": fc.Privacy(epsilon=eps, delta=1e-5),
            **changes,
        }
    )


def report(asked: Study, frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    return simulated(asked, frames).report


def test_each_split_may_spend_the_whole_epsilon_for_they_share_no_patient() -> None:
    asked = study()
    analysis = build_analysis(asked)
    plan = plan_noise(asked, analysis.planned, 4)
    told = {one.what: (one.part, one.count) for one in plan.releases}
    assert told == {
        "scores/train": ("train", 1), "scores/test": ("test", 1), "scores/valid": ("valid", 1),
        "importance/test": ("test", 1),
    }  # fmt: skip
    assert 1.49 < epsilon(plan.releases, 1e-5) <= 1.5
    assert plan.sigmas["scores/train"] < plan.sigmas["scores/test"], "importance is paid by the held-out"
    assert [(stage.name, stage.times) for stage in analysis.stages] == [("evaluate", 1)]


def test_too_few_patients_are_judged_by_the_noise_of_every_split() -> None:
    analysis = build_analysis(study())
    nobody = {block.name: np.zeros(block.shape) for block in analysis.planned}
    quiet = dict.fromkeys(nobody, 0.01)
    with pytest.raises(CohortTooSmallError):
        analysis.update(analysis.start(), Sums(nobody, quiet, 4))
    loud = {**quiet, "scores/test": 10.0}
    assert analysis.update(analysis.start(), Sums(nobody, loud, 4)).finished


def test_a_study_without_a_split_measures_everybody_once() -> None:
    cohort = study().cohort.model_copy(update={"split": None})
    planned = build_analysis(study(cohort=cohort)).planned
    assert [block.name for block in planned] == ["scores/train", "importance/train"]
    assert {block.part for block in planned} == {"train"}


@pytest.mark.parametrize("protection", ["masks", "none"])
@pytest.mark.training
def test_it_says_what_the_exact_evaluation_says_within_its_intervals(protection: str) -> None:
    frames = {site: rows(12000, index) for index, site in enumerate("abcd")}
    exact = report(study(privacy=None), frames)
    noisy = report(study(protection=protection), frames)
    for split in ("train", "test", "valid"):
        for name, spread in (("auc", 0.02), ("accuracy", 0.02), ("loss", 0.03)):
            found = noisy[split]
            assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
            assert found[name] == pytest.approx(exact[split][name], abs=spread)
    drop = noisy["importance"]["age"]
    assert drop["auc_drop_low"] <= drop["auc_drop"] <= drop["auc_drop_high"]
    assert drop["loss_increase_low"] > 0.1, "without age the model knows nothing"
    assert abs(noisy["importance"]["sex"]["auc_drop"]) < 0.05, "sex has no part in it"
    assert noisy["privacy"]["epsilon"] == 1.5
    assert 1.49 < noisy["privacy"]["epsilon_spent"] <= 1.5


@pytest.mark.parametrize("kind", ["classes", "number"])
@pytest.mark.training
def test_classes_and_numbers_are_measured_too(kind: str) -> None:
    frames = {site: rows(2000, index) for index, site in enumerate("abc")}
    name = {"classes": "accuracy", "number": "mae"}[kind]
    exact = report(study(saved(kind), kind, privacy=None), frames)
    found = report(study(saved(kind), kind, eps=4.0), frames)
    if kind == "classes":
        assert found["test"][name] == pytest.approx(exact["test"][name], abs=0.05)
    assert found["test"][f"{name}_low"] < found["test"][name] < found["test"][f"{name}_high"]
    assert {f"{name}_change", f"{name}_change_low", f"{name}_change_high"} == set(found["importance"]["age"])


@pytest.mark.training
def test_an_interval_of_importance_covers_what_noise_did() -> None:
    asked = study()
    analysis = build_analysis(asked)
    rows_ = rows_of(analysis, table_from_frame(rows(6000), asked.cohort, 0))
    exact = contributed(analysis, rows_, analysis.start())
    sigmas = {"scores/test": 6.0, "importance/test": 9.0}
    measure = Measure(outcome_of(asked.cohort), private=True)
    columns = tuple(COLUMNS)
    truth = measure.private_importance(Sums(exact), "test", columns)["age"]
    assert truth["auc_drop_low"] == truth["auc_drop"] == truth["auc_drop_high"]
    draw, hits = np.random.default_rng(1), {"auc_drop": 0, "loss_increase": 0}
    for _ in range(100):
        seen = {
            name: exact[name] + sigma * draw.standard_normal(np.shape(exact[name]))
            for name, sigma in sigmas.items()
        }
        found = measure.private_importance(Sums(seen, sigmas), "test", columns)["age"]
        for name in hits:
            hits[name] += found[f"{name}_low"] <= truth[name] <= found[f"{name}_high"]  # type: ignore[operator]
    assert min(hits.values()) >= 85


@pytest.mark.training
def test_a_value_beyond_its_bounds_counts_as_the_bound() -> None:
    frame = rows(200)
    analysis = build_analysis(study())
    one, two = (
        contributed(analysis, rows_of(analysis, table_from_frame(each, study().cohort, 0)), analysis.start())
        for each in (frame.assign(age=1e9), frame.assign(age=90.0))
    )
    for block in one:
        np.testing.assert_array_equal(one[block], two[block])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy": fc.Privacy(epsilon=1.0, rows_per_patient=2)}, "counts a patient with one row"),
        ({"privacy": fc.Privacy(epsilon=1.0, clip=1.0)}, "privacy.clip: evaluate learns nothing by steps"),
        ({"privacy": fc.Privacy(epsilon=1.0, evaluate_every=5)}, "privacy.evaluate_every: evaluate learns"),
        (
            {"cohort": fc.Cohort(columns={**COLUMNS, "age": fc.Numeric()}, label=fc.Binary("ill"))},
            "declared bounds for age",
        ),
        ({"cohort": fc.Cohort(columns=COLUMNS, label=fc.Survival("time", "dead"))}, "survival"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        study(**changes)


def test_a_model_of_other_columns_is_refused() -> None:
    other = saved().model_copy(update={"mean": (1.0, 2.0), "deviation": (1.0, 2.0)})
    with pytest.raises(StudyError, match="made for other columns"):
        build_analysis(study(other))


def test_a_hospital_reads_what_leaves() -> None:
    text = explain(study())
    assert "Once, for the model in the study, all with noise:" in text
    assert "of held-out patients the same with each column hidden" in text
    assert "confusion" not in text
    assert "epsilon 1.5" in text


@pytest.mark.training
def test_a_row_of_metrics_for_each_split_goes_to_the_page() -> None:
    result = fc.simulate({site: rows(500, index) for index, site in enumerate("abc")}).run(
        study(), progress=False
    )
    assert result.metrics["split"].tolist() == ["train", "test", "valid"]
    for row in result.rows:
        told = dict(result.report[row["split"]])
        assert abs(told.pop("rows") - 500) < 150  # a third of 1,500, and noise
        assert {name: row[name] for name in told} == told
        assert row["auc_low"] <= row["auc"] <= row["auc_high"]


@pytest.mark.training
def test_a_privately_trained_model_is_measured_as_it_was_trained() -> None:
    frames = {site: rows(800, index) for index, site in enumerate("abc")}
    cohort = study().cohort
    train = fc.Study(
        name="train", cohort=cohort, analysis=fc.Train.private(rounds=20), privacy=fc.Privacy(epsilon=1e4)
    )
    trained = fc.simulate(frames).run(train, progress=False)
    again = report(study(trained.saved_model, eps=1e4), frames)
    assert again["test"]["auc"] == pytest.approx(trained.report["test"]["auc"], abs=1e-3)

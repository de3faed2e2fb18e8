"""A private description says what the exact one says, within intervals that hold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from fedcohort.privacy.accounting import epsilon
from fedcohort.privacy.plan import plan_noise
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Study
from tests.build import simulated

from .at_site import contributed, rows_of

COLUMNS: dict[str, fc.Numeric | fc.Categorical] = {
    "age": fc.Numeric(18, 90),
    "bp": fc.Numeric(80, 200),
    "sex": fc.Categorical(("f", "m")),
}


def rows(n: int, seed: int = 0, per_patient: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    ids = [f"p{seed}-{index // per_patient:05}" for index in range(n)]
    bp = np.where(draw.random(n) < 0.1, np.nan, draw.uniform(80, 200, n))
    return pd.DataFrame(
        {"patient_id": ids, "age": draw.uniform(18, 90, n), "bp": bp,
         "sex": draw.choice(["f", "m"], n), "ill": draw.integers(0, 2, n)}
    )  # fmt: skip


def study(rows_per_patient: int = 1, eps: float = 1.0, **changes: Any) -> Study:
    cohort = fc.Cohort(columns=COLUMNS, label=fc.Binary("ill"))
    privacy = fc.Privacy(epsilon=eps, delta=1e-5, rows_per_patient=rows_per_patient)
    return fc.Study(
        **{"name": "private", "cohort": cohort, "analysis": fc.Describe(), "privacy": privacy, **changes}
    )


def report(asked: Study, frames: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    return simulated(asked, frames).report


def test_sums_are_of_whole_steps_so_that_no_rounding_depends_on_who_else_is_there() -> None:
    """Were floating-point numbers added, the last bits of a sum would be those of all patients together."""
    analysis = build_analysis(study())
    frame = rows(3000).assign(age=18 + 72 / 3)
    table = table_from_frame(frame, study().cohort, 0)
    found = contributed(analysis, rows_of(analysis, table), analysis.start())
    third, ninth = round(2**16 / 3), round(2**16 / 9)
    assert found["sum"][0] == -3000 * third / 2**16
    assert found["squares"][0] == 3000 * ninth / 2**16


def test_it_releases_each_block_once_for_the_whole_epsilon() -> None:
    asked = study(2)
    analysis = build_analysis(asked)
    plan = plan_noise(asked, analysis.planned, 4)
    released = [one.what for one in plan.releases]
    assert released == [
        "rows", "patients", "n", "sum", "squares", "histograms", "levels/sex", "levels/ill"
    ]  # fmt: skip
    assert {one.count for one in plan.releases} == {1}
    assert 0.99 < epsilon(plan.releases, 1e-5) <= 1.0
    assert analysis.n_rounds == 1


@pytest.mark.parametrize("protection", ["masks", "none"])
def test_it_says_what_the_exact_description_says_within_its_intervals(protection: str) -> None:
    frames = {site: rows(2000, index) for index, site in enumerate("abcd")}
    exact = report(study(privacy=None), frames)
    noisy = report(study(protection=protection), frames)
    assert abs(noisy["patients"] - 8000) <= 2 * noisy["patients_error"]
    for name in ("age", "bp"):
        true, found = exact["describe"][name], noisy["describe"][name]
        width = found["mean_high"] - found["mean_low"]
        assert abs(found["mean"] - true["mean"]) <= width
        assert 0 < width < 2.0
        assert abs(found["std"] - true["std"]) <= found["std_high"] - found["std_low"]
        assert abs(found["n"] - true["n"]) <= 2 * found["n_error"]
        halves = np.add.reduceat(true["histogram"]["counts"], range(0, 20, 2))
        assert np.abs(halves - found["histogram"]["counts"]).max() <= 2 * found["histogram"]["error"]
        assert (found["histogram"]["low"], found["histogram"]["high"]) == (
            true["histogram"]["low"],
            true["histogram"]["high"],
        )
    for name in ("sex", "ill"):
        true, found = exact["describe"][name], noisy["describe"][name]
        for level, count in true["levels"].items():
            assert abs(found["levels"][level] - count) <= 2 * found["levels_error"]
    assert noisy["privacy"]["epsilon"] == 1.0
    assert noisy["privacy"]["noise"] == ("shared" if protection == "masks" else "site")


@pytest.mark.slow
def test_two_runs_differ_and_the_intervals_cover_the_truth_as_often_as_they_say() -> None:
    frames = {site: rows(300, index) for index, site in enumerate("ab")}
    truth = report(study(privacy=None), frames)["describe"]["age"]["mean"]
    inside, means = 0, set()
    for run in range(60):
        found = report(study(eps=2.0, colluders=0, name=f"run {run}"), frames)["describe"]["age"]
        inside += found["mean_low"] <= truth <= found["mean_high"]
        means.add(found["mean"])
    assert len(means) == 60
    assert inside >= 50  # 57 expected; fewer than 50 by chance: 1 in 1000


def test_a_tiny_cohort_gives_figures_that_stand_within_the_bounds() -> None:
    found = report(study(eps=0.05), {site: rows(12, index) for index, site in enumerate("abc")})
    for name, (low, high) in {"age": (18, 90), "bp": (80, 200)}.items():
        row = found["describe"][name]
        assert row["n"] >= 0
        if row["mean"] is not None:
            assert low <= row["mean_low"] <= row["mean_high"] <= high
    assert found["patients_error"] > 50


def test_without_declared_bounds_or_with_a_survival_time_it_is_refused_in_words() -> None:
    with pytest.raises(StudyError, match="needs declared bounds for age"):
        study(cohort=fc.Cohort(columns={"age": fc.Numeric()}))
    with pytest.raises(StudyError, match="survival time"):
        study(cohort=fc.Cohort(columns=COLUMNS, label=fc.Survival("time", "event")))


def test_a_hospital_reads_what_leaves() -> None:
    words = explain(study(2))
    assert "Once, all with noise: how many patients there are" in words
    assert "A patient counts with at most 2 rows" in words
    assert "epsilon 1" in words


@pytest.mark.slow
def test_a_deviation_that_noise_hides_is_not_told_as_none_and_its_interval_holds() -> None:
    """A constant column's noisy variance is negative half of the time: it read 0.0 (0 to 0)."""
    frames = {site: rows(50, index).assign(age=54.0) for index, site in enumerate("abc")}
    seen = [report(study(name=f"run {run}"), frames)["describe"]["age"] for run in range(30)]
    untold = [one for one in seen if one["std"] is None]
    assert 5 <= len(untold) <= 25  # fewer or more by chance: 1 in 3,000
    for one in untold:
        assert one["std_low"] == 0.0 < one["std_high"] <= 36.0
    for one in seen:
        assert one["std"] is None or one["std_low"] <= one["std"] <= one["std_high"]
        assert one["std_low"] < one["std_high"]


@pytest.mark.slow
def test_the_intervals_of_deviations_cover_the_truth_as_often_as_they_say() -> None:
    frames = {
        site: rows(150, index).assign(age=lambda f: 54 + (f["age"] - 54) / 8)
        for index, site in enumerate("ab")
    }
    truth = float(np.std(np.concatenate([frame["age"].to_numpy(float) for frame in frames.values()])))
    inside = 0
    for run in range(60):
        found = report(study(colluders=0, name=f"run {run}"), frames)["describe"]["age"]
        inside += found["std_low"] <= truth <= found["std_high"]
    assert inside >= 50  # 57 expected; fewer than 50 by chance: 1 in 1000


def test_levels_alone_are_described() -> None:
    """Without a number there is no range to place histograms by."""
    frame = pd.DataFrame({"sex": ["f", "m"] * 30, "patient_id": [f"p{row:03d}" for row in range(60)]})
    frames = {"a": frame, "b": frame.assign(patient_id=[f"q{row:03d}" for row in range(60)])}
    cohort = fc.Cohort(columns={"sex": fc.Categorical(["f", "m"])})
    asked = fc.Study(name="levels", cohort=cohort, analysis=fc.Describe(), privacy=fc.Privacy(epsilon=5.0))
    described = fc.simulate(frames).run(asked, progress=False).report["describe"]
    assert list(described) == ["sex"]
    assert abs(described["sex"]["levels"]["f"] - 60) < 40

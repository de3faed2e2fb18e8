"""Quantiles over hospitals are numpy's of all patients; under privacy near them, with intervals."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.io import arff
from scipy.stats import quantile_test

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State, Sums
from fedcohort.analyses.quantiles.stages import QuantilesAnalysis
from fedcohort.analyses.rows import Rows
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import StudyError, ValueRangeError, WireError
from fedcohort.explain import explain
from fedcohort.table import Table
from fedcohort.texts.look_up import page_texts

from ..at_site import contributed

TABULAR = Path(os.environ.get("FEDCOHORT_DATA", "")) / "tabular"
needs_data = pytest.mark.skipif(not (TABULAR / "flchain.arff").exists(), reason="FEDCOHORT_DATA")
P = [0.05, 0.25, 0.5, 0.75, 0.95]
COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(18, 90, unit="years"),
    "bp": fc.Numeric(80, 200),
    "sex": fc.Categorical(["f", "m"]),
}


def made_up(n: int = 211, seed: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"age": np.round(draw.uniform(18, 90, n)), "bp": draw.normal(140, 20, n).clip(80, 200)}
    )
    frame["sex"] = np.array(["f", "m", None], object)[draw.choice(3, n, p=[0.5, 0.45, 0.05])]
    frame.loc[draw.random(n) < 0.1, "bp"] = np.nan
    return frame.assign(patient_id=[f"p{row}" for row in range(n)])


def uneven(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Three hospitals: most patients, a few, and the rest."""
    n = len(frame)
    return {"a": frame.iloc[: n // 2], "b": frame.iloc[n // 2 : n // 2 + 3], "c": frame.iloc[n // 2 + 3 :]}


def ask(
    frames: Mapping[str, pd.DataFrame], columns: Any = None, label: Any = None, **words: Any
) -> fc.Result:
    of_study = {name: words.pop(name) for name in ("privacy", "protection") if name in words}
    question = fc.Quantiles(**{"probabilities": P, **words})
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label)
    return fc.simulate(frames).run(
        fc.Study(name="q", cohort=cohort, analysis=question, **of_study), progress=False
    )


def of_all(result: fc.Result, column: str) -> dict[str, Any]:
    sample: dict[str, Any] = result.report["quantiles"]["columns"][column]["groups"]["all"]
    return sample


def check(sample: Mapping[str, Any], values: np.ndarray, within: float = 1e-10) -> None:
    values = values[~np.isnan(values)]
    assert sample["n"] == len(values)
    assert np.max(np.abs(np.quantile(values, P) - sample["values"])) <= within
    for p, low, high in zip(P, sample["low"], sample["high"], strict=True):
        ends = quantile_test(values, p=p).confidence_interval(0.95)
        for end, true in ((low, ends.low), (high, ends.high)):
            if end is None:
                assert np.isnan(true) or true in (values.min(), values.max())
            else:
                assert end == pytest.approx(true, abs=max(within, 1e-10))


@pytest.mark.parametrize("protection", ["none", "masks"])
@pytest.mark.parametrize("grid", [{}, {"age": 1.0}])
def test_hospitals_together_find_numpys_quantiles_by_group(protection: str, grid: dict[str, float]) -> None:
    frame = made_up()
    report = ask(uneven(frame), by="sex", grid=grid, protection=protection).report
    known = frame[frame["sex"].notna()]
    assert (report["patients"], report["missing"]) == (len(known), len(frame) - len(known))
    for name, column in report["quantiles"]["columns"].items():
        for level, sample in column["groups"].items():
            ours = known if level == "all" else known[known["sex"] == level]
            check(sample, ours[name].to_numpy(float))
            assert sample["missing"] == int(ours[name].isna().sum())
            assert max(sample["within"]) < 1e-11


def test_the_same_bits_under_every_protection() -> None:
    found = [ask(uneven(made_up()), protection=name).report["quantiles"] for name in ("none", "masks")]
    assert found[0] == found[1]


def test_a_coarse_grid_needs_one_round_and_values_between_its_places_are_counted() -> None:
    frame, columns = made_up(), {"bp": COLUMNS["bp"]}
    study = fc.Study(name="q", cohort=fc.Cohort(columns=columns), analysis=fc.Quantiles(grid={"bp": 1.0}))
    assert build_analysis(study).n_rounds == 1
    values = frame["bp"].dropna().to_numpy()
    sample = of_all(ask(uneven(frame), columns, grid={"bp": 1.0}), "bp")
    assert sample["within"] == [0.5] * 5
    assert np.all(np.abs(np.quantile(values, P) - sample["values"]) <= 0.5)
    both = {"age": 5.0, "bp": 1.0}
    assert of_all(ask(uneven(frame), grid=both), "age")["within"] == [2.5] * 5
    check(of_all(ask(uneven(frame.round()), columns, grid={"bp": 1.0}), "bp"), np.round(values))


@needs_data
def test_real_patients() -> None:
    raw = pd.DataFrame(arff.loadarff(TABULAR / "flchain.arff")[0])
    sex = raw["sex"].str.decode("utf-8")
    frame = raw[["age", "kappa", "lambda", "creatinine"]].assign(
        sex=sex, patient_id=[f"p{row}" for row in range(len(raw))]
    )
    columns = {
        "age": fc.Numeric(40, 120),
        "kappa": fc.Numeric(0, 30),
        "lambda": fc.Numeric(0, 30),
        "creatinine": fc.Numeric(0, 20),
        "sex": fc.Categorical(["F", "M"]),
    }
    report = ask(uneven(frame), columns, by="sex", grid={"age": 1.0, "creatinine": 0.1}).report
    for name, column in report["quantiles"]["columns"].items():
        for level, sample in column["groups"].items():
            ours = frame if level == "all" else frame[sex == level]
            check(sample, ours[name].to_numpy(float))


def test_empty_and_small_hospitals_add_what_they_have() -> None:
    frame = made_up(60)
    nothing = frame.iloc[40:50].assign(bp=np.nan, sex=None)
    frames = {"a": frame.iloc[:40], "b": nothing, "c": frame.iloc[50:51], "d": frame.iloc[51:]}
    kept = pd.concat([frames[name] for name in "acd"])
    kept = kept[kept["sex"].notna()]
    columns = ask(frames, by="sex").report["quantiles"]["columns"]
    check(columns["bp"]["groups"]["all"], kept["bp"].to_numpy(float))


def test_a_group_without_values_has_no_quantiles() -> None:
    frame = made_up().assign(sex="m")
    sample = ask(uneven(frame), by="sex").report["quantiles"]["columns"]["age"]["groups"]["f"]
    assert sample["n"] == 0
    assert sample["values"] == [None] * 5


def test_the_label_makes_groups_and_is_a_number() -> None:
    frame = made_up().assign(
        ill=lambda rows: (rows["age"] > 50).astype(int), days=lambda rows: rows["age"] / 3
    )
    by_label = ask(uneven(frame), {"age": COLUMNS["age"]}, fc.Binary("ill"), by="ill").report["quantiles"]
    check(by_label["columns"]["age"]["groups"]["1"], frame.loc[frame["ill"] == 1, "age"].to_numpy(float))
    days = ask(uneven(frame), {"sex": COLUMNS["sex"]}, fc.Number("days", 0, 30)).report["quantiles"]
    check(days["columns"]["days"]["groups"]["all"], frame["days"].to_numpy(float))


def test_a_patient_counts_once() -> None:
    frame = made_up(50)
    twice = pd.concat([frame, frame], ignore_index=True)
    twice = twice.sort_values("patient_id", kind="stable", ignore_index=True)
    report = ask({"a": twice.iloc[:60], "b": twice.iloc[60:]}).report
    assert report["patients"] == 50
    check(report["quantiles"]["columns"]["age"]["groups"]["all"], frame["age"].to_numpy(float))


def test_with_a_least_cell_no_figure_is_of_fewer_patients() -> None:
    frame = made_up()
    study = fc.Study(name="q", cohort=fc.Cohort(columns=COLUMNS), analysis=fc.Quantiles(probabilities=P))
    analysis = build_analysis(study)
    assert isinstance(analysis, QuantilesAnalysis)
    guarded = QuantilesAnalysis(analysis.question, analysis.patients, min_cell=10)
    found = run_at_one_site(guarded, frame)["quantiles"]["columns"]
    for name, column in found.items():
        sample = column["groups"]["all"]
        assert min(sample["held"]) >= 10
        off = np.abs(np.quantile(frame[name].dropna(), P) - sample["values"])
        assert np.all(off <= np.array(sample["within"]) + 1e-9)
        assert max(sample["within"]) > 0.1


def table_of(frame: pd.DataFrame) -> Table:
    sex = frame["sex"].map({"f": 0, "m": 1}).fillna(-1).astype(np.int64).to_numpy()
    columns = {"age": frame["age"].to_numpy(float), "bp": frame["bp"].to_numpy(float), "sex": sex}
    return Table(frame["patient_id"].to_numpy(str), columns, np.zeros(len(frame), np.int8))


def run_at_one_site(analysis: QuantilesAnalysis, frame: pd.DataFrame) -> Any:
    rows, state = Rows(table_of(frame)), analysis.start()
    while not state.finished:
        state = analysis.update(state, Sums(contributed(analysis, rows, state)))
    return analysis.report(state)


@pytest.mark.parametrize(
    "cells",
    [
        np.zeros(3, np.int64),
        np.zeros(40),
        np.full(40, 1, np.int64),
        np.full(40, 2**46, np.int64),
        np.full(40, -2**36, np.int64),
        np.full(40, -2, np.int64),
    ],
)  # fmt: skip
def test_cells_that_are_none_of_the_round_are_refused_before_any_patient_is_looked_at(
    cells: np.ndarray,
) -> None:
    study = fc.Study(name="q", cohort=fc.Cohort(columns=COLUMNS), analysis=fc.Quantiles(probabilities=P))
    stage = build_analysis(study).stages[1]
    with pytest.raises(WireError, match="order statistics"):
        stage.contribute(State("cells", 1, {"cells": cells}), Rows(table_of(made_up())), Draw(1, "a", 1))


def test_a_value_beyond_its_bounds_is_refused_and_under_privacy_counts_as_the_bound() -> None:
    frame = made_up()
    frame.loc[0, "age"] = 200.0
    with pytest.raises(ValueRangeError, match="outside the declared bounds"):
        ask(uneven(frame))
    assert ask(uneven(frame), privacy=fc.Privacy(epsilon=50.0)).report["patients"] > 190


@pytest.mark.slow
@pytest.mark.parametrize("grid", [{}, {"age": 1.0, "bp": 1.0}])
def test_under_privacy_quantiles_are_near_and_intervals_hold_them(grid: dict[str, float]) -> None:
    """In six studies of other patients and noise, against the quartiles of their population."""
    held, near = [], []
    true = {"age": [36.0, 54.0, 72.0], "bp": [126.51, 140.0, 153.49]}
    for seed in range(6):
        result = ask(
            uneven(made_up(2000, seed)),
            by="sex",
            probabilities=[0.25, 0.5, 0.75],
            grid=grid,
            privacy=fc.Privacy(epsilon=2.0),
        )
        assert result.report["privacy"]["epsilon_spent"] <= 2.0
        for name, column in result.report["quantiles"]["columns"].items():
            for sample in column["groups"].values():
                ends = zip(sample["low"], true[name], sample["high"], strict=True)
                held += [low <= value <= high for low, value, high in ends]
                near.append(np.max(np.abs(np.array(sample["values"]) - true[name])))
    assert np.mean(held) > 0.85
    assert np.max(near) < 12


def test_too_few_patients_are_told_by_the_noisy_count() -> None:
    frame = made_up(8)
    with pytest.raises(fc.FedcohortError, match="noisy count"):
        ask({"a": frame.iloc[:4], "b": frame.iloc[4:]}, privacy=fc.Privacy(epsilon=2000.0, delta=1e-2))


@pytest.mark.parametrize("privacy", [None, pytest.param(fc.Privacy(epsilon=20.0), marks=pytest.mark.slow)])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_report_and_notebook_show_them(privacy: fc.Privacy | None, language: str) -> None:
    result = ask(uneven(made_up()), by="sex", privacy=privacy)
    assert list(result.table.index)[:3] == ["age, f", "age, m", "age, all"]
    assert {"n", "missing", "0.5", "0.5_low", "0.5_high"} <= set(result.table.columns)
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    for name in ("quantiles.heading", "quantiles.everyone"):
        assert said[name] in text
    assert text.count("<svg") == 2
    assert len(result.plot().axes) == 2
    told = explain(result.study, language=language)
    assert "25 %, 50 %" in told or "25 %" in told
    assert ("512" if privacy else "1024") in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"probabilities": []}, "probabilities: name 1 or more"),
        ({"probabilities": [0.5, 0.25]}, "in order, each once"),
        ({"probabilities": [0.0]}, "probabilities"),
        ({"probabilities": [1.0]}, "probabilities"),
        ({"by": "ward"}, "not among the cohort's columns"),
        ({"by": "age"}, "has no levels"),
        ({"grid": {"weight": 1.0}}, "analysis.grid: weight is not among the cohort's columns"),
        ({"grid": {"sex": 1.0}}, "sex is not a number"),
        ({"grid": {"age": 100.0}}, "a step of 100 does not fit"),
        ({"grid": {"age": 1e-14}}, "does not fit its bounds"),
        ({"grid": {"age": 0.0}}, "above 0"),
        ({"columns": {"sex": COLUMNS["sex"]}}, "name a numeric column"),
        ({"columns": {"age": fc.Numeric()}}, "within declared bounds, and age has none"),
        ({"privacy": fc.Privacy(epsilon=1.0, rows_per_patient=2)}, "one row"),
        ({"privacy": fc.Privacy(epsilon=1.0, clip=2.0)}, "clip"),
        (
            {
                "by": "ward",
                "columns": {**COLUMNS, "ward": fc.Categorical(list(range(400)))},
            },
            "over 2,000 figures",
        ),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        ask(uneven(made_up()), **words)

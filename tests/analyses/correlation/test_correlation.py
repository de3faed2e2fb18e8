"""Correlations over hospitals are scipy's of all patients; under privacy near them, with intervals."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.io import arff

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State
from fedcohort.analyses.rows import Rows
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import StudyError, ValueRangeError, WireError
from fedcohort.explain import explain
from fedcohort.texts.look_up import page_texts

from ..quantiles.test_quantiles import table_of, uneven

TABULAR = Path(os.environ.get("FEDCOHORT_DATA", "")) / "tabular"
needs_data = pytest.mark.skipif(not (TABULAR / "flchain.arff").exists(), reason="FEDCOHORT_DATA")
COLUMNS: dict[str, Any] = {"age": fc.Numeric(18, 90), "bp": fc.Numeric(80, 200), "chol": fc.Numeric(0, 600)}
GRID = {"age": 1.0, "bp": 1.0, "chol": 1.0}


def made_up(n: int = 211, seed: int = 1) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    age, bp, chol = draw.multivariate_normal(
        [54, 140, 250], [[100, 72, -50], [72, 144, 60], [-50, 60, 2500]], n
    ).T
    values = {"age": age.clip(18, 90), "bp": bp.clip(80, 200), "chol": chol.clip(0, 600)}
    frame = pd.DataFrame(values).round()
    frame.loc[draw.random(n) < 0.1, "bp"] = np.nan
    return frame.assign(patient_id=[f"p{row}" for row in range(n)], sex="f")


TRUE = {("age", "bp"): 72 / 120, ("age", "chol"): -50 / 500, ("bp", "chol"): 60 / 600}


def ask(
    frames: Mapping[str, pd.DataFrame], columns: Any = None, label: Any = None, **words: Any
) -> fc.Result:
    of_study = {name: words.pop(name) for name in ("privacy", "protection") if name in words}
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label)
    asked = fc.Study(name="c", cohort=cohort, analysis=fc.Correlation(**words), **of_study)
    return fc.simulate(frames).run(asked, progress=False)


def check(report: Mapping[str, Any], frame: pd.DataFrame, within: float = 1e-10) -> None:
    found = report["correlation"]
    complete = frame[found["columns"]].dropna().to_numpy(float)
    assert (report["patients"], report["missing"]) == (len(complete), len(frame) - len(complete))
    test = stats.pearsonr if found["method"] == "pearson" else stats.spearmanr
    for i in range(complete.shape[1]):
        for j in range(i):
            theirs = test(complete[:, i], complete[:, j])
            assert found["r"][i][j] == pytest.approx(theirs.statistic, abs=within)
            if within < 1e-9:
                assert found["p"][i][j] == pytest.approx(theirs.pvalue, rel=1e-7, abs=1e-12)
            if found["method"] == "pearson":
                ends = theirs.confidence_interval()
                assert (found["low"][i][j], found["high"][i][j]) == pytest.approx(tuple(ends), abs=1e-10)


@pytest.mark.parametrize("protection", ["none", "masks"])
@pytest.mark.parametrize(("method", "grid"), [("pearson", {}), ("spearman", GRID)])
def test_hospitals_together_find_scipys_coefficients(
    protection: str, method: str, grid: dict[str, float]
) -> None:
    frame = made_up()
    check(ask(uneven(frame), method=method, grid=grid, protection=protection).report, frame)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_the_same_bits_under_every_protection(method: str) -> None:
    reports = [
        ask(uneven(made_up()), method=method, pca=2, protection=name).report for name in ("none", "masks")
    ]
    assert reports[0]["correlation"] == reports[1]["correlation"]


def test_a_number_far_from_zero_loses_no_digits() -> None:
    frame = made_up().assign(far=lambda rows: 1e9 + rows["age"] / 1000)
    columns = {"bp": COLUMNS["bp"], "far": fc.Numeric()}
    report = ask(uneven(frame), columns).report
    complete = frame[["bp", "age"]].dropna()
    expected = stats.pearsonr(complete["bp"], complete["age"]).statistic
    assert report["correlation"]["r"][0][1] == pytest.approx(expected, abs=1e-6)


def test_ranks_without_a_grid_are_within_what_is_told() -> None:
    frame = made_up().assign(bp=lambda rows: rows["bp"] + np.linspace(0, 0.9, len(rows)))
    report = ask(uneven(frame.assign(bp=frame["bp"].clip(80, 200))), method="spearman").report["correlation"]
    expected = stats.spearmanr(frame[["age", "bp", "chol"]].dropna()).statistic
    assert np.all(np.abs(expected - report["r"]) <= np.array(report["within"]) + 1e-12)
    coarse = ask(uneven(frame), method="spearman", grid={"age": 1.0, "bp": 20.0, "chol": 1.0}).report[
        "correlation"
    ]
    off = np.abs(expected - coarse["r"])
    assert off[0, 1] > 1e-4
    assert np.all(off <= np.array(coarse["within"]) + 1e-12)


@needs_data
def test_real_patients() -> None:
    raw = pd.DataFrame(arff.loadarff(TABULAR / "flchain.arff")[0])
    frame = raw[["age", "kappa", "lambda", "creatinine"]].assign(
        patient_id=[f"p{row}" for row in range(len(raw))]
    )
    columns = {"age": fc.Numeric(40, 120), "kappa": fc.Numeric(0, 30), "lambda": fc.Numeric(0, 30)}
    columns["creatinine"] = fc.Numeric(0, 20)
    check(ask(uneven(frame), columns).report, frame)
    grid = {"age": 1.0, "kappa": 0.001, "lambda": 0.001, "creatinine": 0.1}
    rounded = frame.assign(kappa=frame["kappa"].round(3), **{"lambda": frame["lambda"].round(3)})
    check(ask(uneven(rounded), columns, method="spearman", grid=grid).report, rounded)
    check(ask(uneven(frame), columns, method="spearman").report, frame, within=1e-4)


def test_principal_components_are_the_eigenvectors_of_the_matrix() -> None:
    frame = made_up()
    pca = ask(uneven(frame), pca=2).report["correlation"]["pca"]
    values, vectors = np.linalg.eigh(np.corrcoef(frame[["age", "bp", "chol"]].dropna().T))
    assert pca["eigenvalues"] == pytest.approx(values[::-1][:2], abs=1e-10)
    assert pca["share"] == pytest.approx(values[::-1][:2] / 3, abs=1e-10)
    loadings = np.array(list(pca["loadings"].values()))
    assert np.abs(loadings) == pytest.approx(np.abs(vectors[:, ::-1][:, :2]), abs=1e-10)


def test_empty_and_small_hospitals_add_what_they_have() -> None:
    frame = made_up(60)
    frames = {
        "a": frame.iloc[:40],
        "b": frame.iloc[40:50].assign(bp=np.nan),
        "c": frame.iloc[50:51],
        "d": frame.iloc[51:],
    }
    for method, grid in (("pearson", {}), ("spearman", GRID)):
        check(ask(frames, method=method, grid=grid).report, pd.concat(frames.values()))


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_a_column_that_does_not_vary_has_no_coefficient(method: str) -> None:
    found = ask(uneven(made_up().assign(bp=120.0)), method=method, pca=1).report["correlation"]
    assert found["r"][1] == [None, None, None]
    assert found["r"][0][2] is not None
    assert found["p"][0][1] is None
    assert found["pca"] is None


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_where_nobody_has_every_number_nothing_is_found(method: str) -> None:
    report = ask(uneven(made_up().assign(bp=np.nan)), method=method).report
    assert report["patients"] == 0
    assert report["correlation"]["r"][0][1] is None


@pytest.mark.parametrize(
    ("method", "arrays"),
    [
        ("pearson", {}),
        ("pearson", {"centre": np.zeros(2), "scale": np.ones(3), "unit": np.ones(1)}),
        ("pearson", {"centre": np.full(3, np.nan), "scale": np.ones(3), "unit": np.ones(1)}),
        ("spearman", {"ranks": np.zeros((3, 211)), "unit": np.ones(1)}),
    ],
)
def test_a_scaling_that_is_none_is_refused_before_any_patient_is_looked_at(
    method: Any, arrays: dict[str, np.ndarray]
) -> None:
    asked = fc.Study(name="c", cohort=fc.Cohort(columns=COLUMNS), analysis=fc.Correlation(method=method))
    stage = build_analysis(asked).stages[1]
    with pytest.raises(WireError, match="of 3 columns"):
        stage.contribute(State("products", 1, arrays), Rows(table_of(made_up())), Draw(1, "a", 1))


def test_a_value_beyond_its_bounds_is_refused_and_under_privacy_counts_as_the_bound() -> None:
    frame = made_up()
    frame.loc[0, "age"] = 200.0
    with pytest.raises(ValueRangeError, match="outside the declared bounds"):
        ask(uneven(frame))
    assert ask(uneven(frame), privacy=fc.Privacy(epsilon=50.0)).report["patients"] > 150


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_under_privacy_coefficients_are_near_and_intervals_hold_them(method: str) -> None:
    held, near = [], []
    for seed in range(6):
        report = ask(
            uneven(made_up(4000, seed)), method=method, pca=1, privacy=fc.Privacy(epsilon=2.0)
        ).report
        assert report["privacy"]["epsilon_spent"] <= 2.0
        found = report["correlation"]
        for (one, other), r in TRUE.items():
            i, j = found["columns"].index(one), found["columns"].index(other)
            true = r if method == "pearson" else 6 / np.pi * np.arcsin(r / 2)
            held.append(found["low"][i][j] <= true <= found["high"][i][j])
            near.append(abs(found["r"][i][j] - true))
        assert found["p"][0][1] < 1e-6
        assert found["pca"]["low"][0] < found["pca"]["eigenvalues"][0] < found["pca"]["high"][0]
    assert np.mean(held) > 0.7, "of 18; so few in one of 2,000 runs where 95 % of intervals hold"
    assert max(near) < 0.25


@pytest.mark.slow
def test_private_p_values_of_numbers_that_do_not_correlate_are_seldom_small() -> None:
    found = []
    for seed in range(20):
        frame = made_up(500, seed)
        frame["chol"] = np.random.default_rng(seed).permutation(frame["chol"].to_numpy())
        columns = {name: COLUMNS[name] for name in ("age", "chol")}
        report = ask(uneven(frame), columns, privacy=fc.Privacy(epsilon=2.0)).report
        found.append(report["correlation"]["p"][0][1])
    assert sum(p is not None and p < 0.05 for p in found) <= 5


@pytest.mark.parametrize("words", [{}, {"method": "spearman"}, {"privacy": fc.Privacy(epsilon=20.0)}])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_report_and_notebook_show_them(words: dict[str, Any], language: str) -> None:
    result = ask(uneven(made_up()), pca=2, **words)
    assert list(result.table.index) == ["age, bp", "age, chol", "bp, chol"]
    assert {"r", "r_low", "r_high", "p", "n"} <= set(result.table.columns)
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    for name in ("correlation.heading", "correlation.matrix", "correlation.loadings"):
        assert said[name] in text
    assert "<svg" in text
    assert len(result.plot().axes) == 2
    assert ("Spearman" if "method" in words else "Pearson") in explain(result.study, language=language)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"method": "kendall"}, "method"),
        ({"pca": 0}, "pca"),
        ({"pca": 4}, "ask for no more than there are numbers"),
        ({"grid": {"age": 1.0}}, 'take method = "spearman"'),
        ({"method": "spearman", "grid": {"weight": 1.0}}, "not among the cohort's columns"),
        ({"method": "spearman", "grid": {"age": 0.001}}, "does not fit its bounds"),
        ({"columns": {"age": COLUMNS["age"]}}, "two numeric columns or more"),
        ({"columns": {f"x{n}": fc.Numeric(0, 1) for n in range(61)}}, "over 60 numbers"),
        (
            {"method": "spearman", "columns": {"age": fc.Numeric(), "bp": COLUMNS["bp"]}},
            "within declared bounds, and age has none",
        ),
        ({"privacy": fc.Privacy(epsilon=1.0, rows_per_patient=2)}, "one row"),
        ({"privacy": fc.Privacy(epsilon=1.0, clip=2.0)}, "clip"),
        (
            {"privacy": fc.Privacy(epsilon=1.0), "columns": {"age": fc.Numeric(), "bp": COLUMNS["bp"]}},
            "privacy needs",
        ),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    frame = made_up().assign(**{f"x{n}": 0.5 for n in range(61)})
    with pytest.raises(StudyError, match=said):
        ask(uneven(frame), **words)

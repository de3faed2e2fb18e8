"""Describe equals pandas on the pooled rows."""

import math
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.errors import StudyFailedError

from .support import FRAMES, POOLED, run, study

TOLERANCE = 1e-12


@pytest.mark.parametrize("bounds", [True, False], ids=["with bounds", "without bounds"])
def test_describe_equals_pandas_on_the_pooled_rows(bounds: bool) -> None:
    kind = fc.Numeric(0, 300) if bounds else fc.Numeric()
    columns = {"age": kind, "pressure": kind, "smoker": fc.Categorical(["no", "yes"])}
    report = run(study(fc.Describe(), columns=columns)).report
    for name in ("age", "pressure"):
        found, expected = report["describe"][name], POOLED[name]
        assert found["n"] == expected.count()
        assert found["missing"] == expected.isna().sum()
        assert found["mean"] == pytest.approx(expected.mean(), rel=TOLERANCE)
        assert found["std"] == pytest.approx(expected.std(), rel=TOLERANCE)
    smoker = report["describe"]["smoker"]
    assert smoker["levels"] == POOLED["smoker"].value_counts().reindex(["no", "yes"]).to_dict()
    assert smoker["missing"] == POOLED["smoker"].isna().sum()
    assert report["describe"]["disease"]["levels"]["1"] == POOLED["disease"].sum()
    assert (report["rows"], report["patients"]) == (len(POOLED), POOLED["patient_id"].nunique())


def test_a_histogram_equals_numpys_on_the_pooled_rows() -> None:
    kind = fc.Numeric(0, 300)
    report = run(study(fc.Describe(), columns={"age": kind, "pressure": kind})).report["describe"]
    for name in ("age", "pressure"):
        found = report[name]["histogram"]
        expected, edges = np.histogram(POOLED[name].dropna(), 20, (0, 300))
        assert found == {"low": edges[0], "high": edges[-1], "counts": expected.tolist()}
        assert sum(found["counts"]) == report[name]["n"]


def test_a_histogram_without_bounds_begins_at_the_first_value_and_ends_at_the_last() -> None:
    frame = pd.DataFrame({"x": [0.5, 3.0, 3.0, 9.0]})
    cohort = fc.Cohort(columns={"x": fc.Numeric()}, split=None)
    asked = fc.Study(name="x", cohort=cohort, analysis=fc.Describe())
    found = run(asked, {"a": frame}).report["describe"]["x"]["histogram"]
    assert found["low"] <= 0.5
    assert found["high"] >= 9.0
    expected, _ = np.histogram(frame["x"], len(found["counts"]), (found["low"], found["high"]))
    assert found["counts"] == expected.tolist()
    assert (found["counts"][0], found["counts"][-1]) == (1, 1)


def test_a_column_that_one_hospital_has_not_filled_counts_as_missing_there() -> None:
    frames = {site: frame.copy() for site, frame in FRAMES.items()}
    frames["c"]["pressure"] = np.nan
    report = run(study(fc.Describe()), frames).report["describe"]["pressure"]
    others = pd.concat([FRAMES["a"], FRAMES["b"]])["pressure"]
    assert report["n"] == others.count()
    assert report["mean"] == pytest.approx(others.mean(), rel=TOLERANCE)


def test_numbers_of_any_size_find_their_scale() -> None:
    frames = {"a": pd.DataFrame({"x": [1e-9, 2e-9]}), "b": pd.DataFrame({"x": [-3e9, 1e9]})}
    asked = fc.Study(
        name="x", cohort=fc.Cohort(columns={"x": fc.Numeric()}, split=None), analysis=fc.Describe()
    )
    found = run(asked, frames).report["describe"]["x"]
    assert found["mean"] == pytest.approx(-0.5e9, rel=1e-6)
    assert found["std"] == pytest.approx(np.std([0, 0, -3e9, 1e9], ddof=1), rel=1e-6)


def test_a_patient_with_two_rows_is_one_patient() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 4.0], "patient_id": ["p", "p", "q"]})
    cohort = fc.Cohort(columns={"x": fc.Numeric(0, 5)}, split=None)
    report = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), {"a": frame}).report
    assert (report["rows"], report["patients"]) == (3, 2)


def test_a_survival_label_is_described_as_time_and_event() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "t": [10.0, 30.0], "seen": [0, 1]})
    cohort = fc.Cohort(columns={"x": fc.Numeric(0, 5)}, label=fc.Survival("t", "seen"), split=None)
    report = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), {"a": frame}).report["describe"]
    assert report["t"]["mean"] == pytest.approx(20.0)
    assert report["seen"]["levels"] == {"0": 1, "1": 1}


def test_a_value_beyond_the_declared_bounds_is_an_error_and_never_cut() -> None:
    columns = {"age": fc.Numeric(18, 50)}
    with pytest.raises(StudyFailedError, match="value-out-of-range"):
        run(study(fc.Describe(), columns=columns))


def test_a_column_without_any_value_has_no_mean() -> None:
    frame = pd.DataFrame({"x": [np.nan, np.nan]})
    cohort = fc.Cohort(columns={"x": fc.Numeric(0, 5)}, split=None)
    found = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), {"a": frame}).report["describe"][
        "x"
    ]
    assert found.pop("histogram") == {"low": 0.0, "high": 5.0, "counts": [0] * 20}
    assert found == {"n": 0, "missing": 2, "mean": None, "std": None}
    assert not math.isnan(found["n"])


DAYS = 19_783.0 + np.array([*range(29), 30])
"""Thirty dates of spring 2024, in days since 1970."""
HARD = {
    "dates in nanoseconds": DAYS * 86.4e12,
    "dates in days": DAYS,
    "an offset of 1e9": 1e9 + np.arange(30.0),
    "an offset of 1e15": 1e15 + np.arange(30.0),
    "a unit of 1e-30": 1e-30 * np.arange(30.0),
    "a unit of 1e30": 1e30 * np.arange(30.0),
    "an outlier of 1e12": np.append(np.arange(29.0), 1e12),
    "decimals": np.arange(30) * 0.1 + 273.15,
}
PARTS = {"a": slice(0, 7), "b": slice(7, 9), "c": slice(9, None)}


@pytest.mark.parametrize("bounds", [None, (-1e34, 1e34)], ids=["no bounds", "bounds far too wide"])
@pytest.mark.parametrize("name", HARD)
def test_mean_and_deviation_are_pandas_whatever_unit_offset_and_bounds(
    name: str, bounds: tuple[float, float] | None
) -> None:
    values = pd.Series(HARD[name])
    frames = {site: pd.DataFrame({"x": values[part]}) for site, part in PARTS.items()}
    cohort = fc.Cohort(columns={"x": fc.Numeric(*(bounds or ()))}, split=None)
    found = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), frames).report["describe"]["x"]
    exact = [Fraction(float(value)) for value in values]
    mean = sum(exact, Fraction(0)) / 30
    deviation = math.sqrt(float(sum(((value - mean) ** 2 for value in exact), Fraction(0)) / 29))
    assert found["std"] == pytest.approx(deviation, rel=1e-14)
    assert found["mean"] == float(mean)
    assert found["std"] == pytest.approx(values.std(), rel=1e-9)
    assert found["mean"] == pytest.approx(values.mean(), rel=1e-9)


def test_thirty_dates_as_numbers_deviate_by_less_than_nine_days() -> None:
    cohort = fc.Cohort(columns={"x": fc.Numeric()}, split=None)
    asked = fc.Study(name="x", cohort=cohort, analysis=fc.Describe())
    found = run(asked, {"a": pd.DataFrame({"x": DAYS})}).report["describe"]["x"]
    assert found["std"] == pytest.approx(8.862, abs=0.001)


@pytest.mark.parametrize("value", [1e9 + 1, 0.1, -3e-20, 0.0])
def test_a_constant_does_not_deviate(value: float) -> None:
    cohort = fc.Cohort(columns={"x": fc.Numeric()}, split=None)
    frames = {"a": pd.DataFrame({"x": [value] * 7}), "b": pd.DataFrame({"x": [value] * 4})}
    found = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), frames).report["describe"]["x"]
    assert (found["mean"], found["std"]) == (value, 0.0)
    assert found["histogram"]["counts"] == [11]
    assert found["histogram"]["low"] <= value < found["histogram"]["high"]


def test_a_histogram_without_bounds_lies_about_the_mean_and_tells_how_many_are_beyond() -> None:
    values = [*range(1, 100), 5000]
    cohort = fc.Cohort(columns={"x": fc.Numeric()}, split=None)
    frames = {"a": pd.DataFrame({"x": values[::2]}), "b": pd.DataFrame({"x": values[1::2]})}
    found = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), frames).report["describe"]["x"]
    # Of a deviation of 493 a part is the power of two at or above 0.3 times it: 256, from a multiple of it.
    assert found["histogram"] == {"low": 0.0, "high": 256.0, "counts": [99], "below": 0, "above": 1}


def test_the_range_without_bounds_is_no_patients_value() -> None:
    """The largest value may be anything beyond; only the pooled mean and deviation say where parts begin."""
    cohort = fc.Cohort(columns={"x": fc.Numeric()}, split=None)
    asked = fc.Study(name="x", cohort=cohort, analysis=fc.Describe())
    ranges = set()
    for largest in (100.0, 100.5, 101.0):
        values = [float(n) for n in range(99)] + [largest]
        found = run(asked, {"a": pd.DataFrame({"x": values})}).report["describe"]["x"]["histogram"]
        ranges.add((found["low"], found["high"], len(found["counts"])))
    assert len(ranges) == 1


@pytest.mark.skipif("FEDCOHORT_DATA" not in os.environ, reason="FEDCOHORT_DATA names no data sets")
def test_heart_disease_is_described_as_pandas_does() -> None:
    names = ["age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"]
    folder = Path(os.environ["FEDCOHORT_DATA"]) / "heart_disease"
    frames = {
        site: pd.read_csv(folder / f"processed.{site}.data", names=names, usecols=range(10), na_values="?")
        for site in ("cleveland", "hungarian", "switzerland", "va")
    }
    columns = ["age", "trestbps", "chol", "thalach", "oldpeak"]
    cohort = fc.Cohort(columns={name: fc.Numeric() for name in columns}, split=None)
    found = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), frames).report["describe"]
    pooled = pd.concat(frames.values())
    for name in columns:
        assert found[name]["n"] == pooled[name].count()
        assert found[name]["mean"] == pytest.approx(pooled[name].mean(), rel=1e-12)
        assert found[name]["std"] == pytest.approx(pooled[name].std(), rel=1e-12)

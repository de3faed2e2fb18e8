"""Describe equals pandas on the pooled rows."""

import math

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.errors import StudyFailedError

from .support import FRAMES, POOLED, run, study

TOLERANCE = 1e-6


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

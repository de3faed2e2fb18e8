"""Regressions that single patients out: each tells of them without the rules, and is refused with them."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.told_by_design import of_few
from fedcohort.analyses.told_by_regression import told_by_size
from fedcohort.disclosure.rules import OPEN
from fedcohort.errors import DisclosureError

N, ONE = 200, 117
Json = Mapping[str, Any]
Table = dict[str, float]


def patients() -> pd.DataFrame:
    draw = np.random.default_rng(7)
    place = np.arange(N)
    frame = pd.DataFrame({
        "patient_id": [f"p{one:03d}" for one in place],
        "salary": np.where(place == ONE, 91_250.0, 0.0),
        "one": (place == ONE).astype(float),
        "three": (place % 67 == 0).astype(float),
        "secret": draw.normal(50, 9, N).round(1),
        "age": np.where(place == ONE, 97.0, draw.integers(20, 90, N)),
        "group": np.where(place < 3, "a", np.where(place % 2 == 0, "b", "c")),
        "half": np.where(place % 4 < 2, 1.0, 0.0),
        "ill": draw.integers(0, 2, N),
        "time": np.ceil(draw.exponential(100, N)),
        "event": draw.integers(0, 2, N),
    })  # fmt: skip
    # Of a pair of levels three patients have one, though each level by itself has many.
    frame["arm"] = np.where((place % 2 == 0) & (place > 8), "u", "v")
    return frame


PATIENTS = patients()
COLUMNS: dict[str, Any] = {
    "salary": fc.Numeric(0, 200_000),
    "one": fc.Numeric(0, 1),
    "three": fc.Numeric(0, 1),
    "half": fc.Numeric(0, 1),
    "secret": fc.Numeric(0, 200),
    "age": fc.Numeric(0, 110),
    "group": fc.Categorical(["a", "b", "c"]),
    "arm": fc.Categorical(["u", "v"]),
}
SECRET = float(PATIENTS["secret"][ONE])


def report_of(question: Any, rules: fc.Disclosure, label: Any = None, frame: pd.DataFrame = PATIENTS) -> Json:
    names = [name for name in COLUMNS if name in question.model_dump_json()]
    cohort = fc.Cohort(columns={name: COLUMNS[name] for name in names}, label=label)
    study = fc.Study(name="attack", cohort=cohort, analysis=question)
    frames = {"north": frame.iloc[::2], "south": frame.iloc[1::2]}
    return fc.simulate(frames, disclosure=rules).run(study, progress=False).report


def coefficients(report: Json) -> Table:
    return {row["name"]: row["coef"] for row in report["glm"]["coefficients"]}


SPLINE = "bs(age, knots=[90], degree=1)"


def by_spline(found: Table) -> float:
    """A line of its own behind the knot passes through the only patient there, whose age is known."""
    share = (97 - 90) / (110 - 90)
    return found["Intercept"] + share * found[f"{SPLINE}[2]"] + (1 - share) * found[f"{SPLINE}[1]"]


MEAN = float(PATIENTS["secret"].mean())
ATTACKS: dict[str, tuple[Any, Callable[[Table], float], float]] = {
    "weights of one patient": (fc.GLM("secret ~ 1", weights="one"), lambda b: b["Intercept"], SECRET),
    "a number of zeros and a one": (
        fc.GLM("secret ~ one"), lambda b: b["Intercept"] + b["one"], SECRET,
    ),
    "an outcome that one patient has": (
        fc.GLM("salary ~ 1"), lambda b: b["Intercept"] * N, 91_250.0,
    ),
    "a count as a Poisson rate": (
        fc.GLM("three ~ 1", family="poisson"), lambda b: math.exp(b["Intercept"]) * N, 3.0,
    ),
    "an offset of one patient": (
        fc.GLM("secret ~ 1", offset="salary"), lambda b: (MEAN - b["Intercept"]) * N, 91_250.0,
    ),
    "a spline's last knot": (fc.GLM(f"secret ~ {SPLINE}"), by_spline, SECRET),
    "a reference of three": (
        fc.GLM("secret ~ C(group)"),
        lambda b: b["Intercept"],
        float(PATIENTS["secret"][:3].mean()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_a_regression_that_singles_patients_out_is_refused(name: str) -> None:
    question, attack, truth = ATTACKS[name]
    assert attack(coefficients(report_of(question, OPEN))) == pytest.approx(truth, rel=1e-6)
    with pytest.raises(DisclosureError, match="min_cell = 10"):
        report_of(question, fc.Disclosure())


@pytest.mark.parametrize(
    ("question", "label"),
    [
        (fc.GLM('secret ~ C(group, ref="b") * C(arm)'), None),
        (fc.GLM("ill ~ C(group) + age"), fc.Binary("ill")),
        (fc.Impute("secret ~ age + C(group)", columns=["age"], m=2, cycles=1), None),
        (fc.Impute("secret ~ age + one", columns=["age"], m=2, cycles=1), None),
        (fc.Weighting("arm ~ C(group) + age", outcome="secret"), None),
        (fc.Cox("C(group)"), fc.Survival("time", "event")),
        (fc.Cox(SPLINE), fc.Survival("time", "event")),
        (fc.GLM("secret ~ ns(age, knots=[91, 95])"), None),
    ],
)
def test_a_combination_of_levels_that_few_have_is_refused_though_it_has_no_column(
    question: Any, label: Any
) -> None:
    frame = PATIENTS.assign(age=PATIENTS["age"].where(np.arange(N) % 9 != 1))
    with pytest.raises(DisclosureError, match="min_cell = 10"):
        report_of(question, fc.Disclosure(), label, frame)


def test_a_hospital_whose_level_is_that_of_one_patient_adds_nothing_to_what_is_combined() -> None:
    place = np.arange(N)
    frame = PATIENTS.assign(arm=np.where((place == 6) | (place % 4 == 1), "u", "v"))
    rows = report_of(fc.GLM("secret ~ C(arm)", site="meta"), fc.Disclosure(), frame=frame)["glm"]
    south = frame.iloc[1::2].groupby("arm")["secret"].mean()
    assert rows["hospitals"] == 1
    assert rows["coefficients"][1]["coef"] == pytest.approx(south["v"] - south["u"])


def test_rows_of_one_patient_are_no_cohort() -> None:
    frame = PATIENTS.assign(patient_id=np.where(np.arange(N) % 2 == 0, "p", "q"))
    with pytest.raises(DisclosureError, match="min_cell = 10 patients"):
        report_of(fc.GLM("secret ~ age"), fc.Disclosure(), frame=frame)


def test_rows_without_weight_hide_nobody() -> None:
    """More than a hundred patients are of arm u, but one alone of them has a weight."""
    frame = PATIENTS.assign(arm=np.where((PATIENTS["half"] == 0) | (np.arange(N) == 0), "u", "v"))
    question = fc.GLM("secret ~ C(arm)", weights="half")
    found = coefficients(report_of(question, OPEN, frame=frame))
    assert found["Intercept"] == pytest.approx(float(PATIENTS["secret"][0]))
    with pytest.raises(DisclosureError, match="min_cell = 10"):
        report_of(question, fc.Disclosure(), frame=frame)


def test_few_events_of_a_reference_do_not_follow_from_those_of_other_levels() -> None:
    ill = np.where(PATIENTS["age"] < 40, np.arange(N) % 60 == 1, PATIENTS["ill"])
    frame = PATIENTS.assign(group=np.where(PATIENTS["age"] < 40, "a", PATIENTS["arm"]), ill=ill.astype(int))
    frame["group"] = frame["group"].replace({"u": "b", "v": "c"})
    few = int(frame.loc[frame["group"] == "a", "ill"].sum())
    assert 0 < few < 10
    report = report_of(fc.GLM("ill ~ C(group) + secret"), fc.Disclosure(), fc.Binary("ill"), frame)
    rows = [row for row in report["glm"]["coefficients"] if "n" in row]
    assert [row["events"] for row in rows] == [None, None]


def test_a_stratum_of_few_does_not_follow_from_the_others() -> None:
    question = fc.Cox("age", strata=["site", "group"], grid=[float(time) for time in range(1, 400, 5)])
    label = fc.Survival("time", "event")
    open_, hidden = (
        report_of(question, rules, label)["cox"]["baseline"]["strata"] for rules in (OPEN, fc.Disclosure())
    )
    assert [open_[level]["n"] for level in "abc"] == [3, 98, 99]
    assert [hidden[level]["n"] for level in "abc"] == [None, None, 99]
    assert set(hidden["b"]["at_risk"]) == {None}


def test_the_mean_of_a_group_whose_size_is_hidden_does_not_tell_it() -> None:
    """Of values with one decimal a mean with sixteen digits fits one size alone."""

    def sizes(rules: fc.Disclosure) -> list[int]:
        mean = report_of(fc.Compare("secret", by="group"), rules)["compare"]["groups"]["b"]["mean"]
        return [n for n in range(10, 197) if abs(mean * n * 10 - round(mean * n * 10)) < 1e-8]

    assert sizes(OPEN) == [98, 196]
    assert len(sizes(fc.Disclosure())) > 100


@pytest.mark.parametrize(
    ("values", "few"),
    [
        ([0.0] * 195 + [7.0] * 5, True),
        ([0.0] * 185 + [7.0] * 15, False),
        ([1.0] * 3 + [2.0] * 197, True),
        ([5.0] * 200, False),
        ([*np.random.default_rng(1).normal(0, 1, 30)], False),
        ([*np.random.default_rng(1).normal(2000, 5, 100)], False),
        ([*np.random.default_rng(1).normal(0, 1, 199), 400.0], True),
    ],
)
def test_a_number_of_few_is_seen_by_its_powers(values: list[float], few: bool) -> None:
    powers = np.array([np.sum(np.array(values) ** power) for power in range(1, 5)])
    assert of_few(len(values), powers, 10) is few
    assert not of_few(0, np.zeros(4), 10)


def test_sums_of_nobody_tell_of_nobody() -> None:
    """So a hospital that never recorded a column refuses nothing, which would tell that it did not."""
    rules = fc.Disclosure()
    assert told_by_size(0, 4, rules) is None
    assert "min_cell" in str(told_by_size(3, 1, rules))
    assert "max_parameters" in str(told_by_size(30, 4, rules))

"""What users of peers complain of: each attack succeeds with the room switched off, and fails with it.

An attack knows study and report, and computes; it returns what it has found, or None. Vectors that isolate a
value are known from federated analyses (Huth et al. 2023, Bioinformatics 39, btad531), subtraction and
saturated models from the handbook of output checkers (Welpton 2019, doi 10.6084/m9.figshare.9958520).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.disclosure.rules import OPEN
from fedcohort.errors import DisclosureError

N = 200
SALARY = 91_250.0


def hospitals() -> dict[str, pd.DataFrame]:
    """Two hundred patients, of whom one alone has a salary in `isolating`, and four are of group c."""
    draw = np.random.default_rng(7)
    frame = pd.DataFrame({
        "patient_id": [f"p{place:03d}" for place in range(N)],
        "isolating": np.where(np.arange(N) == 117, SALARY, 0.0),
        "one": (np.arange(N) == 117).astype(float),
        "code": np.repeat([0.0, 1.0, 2.0], [100, 96, 4]),
        "group": np.repeat(["a", "b", "c"], [100, 96, 4]),
        "wide": np.repeat([1.0, 2.0], [196, 4]),
        "ill": np.concatenate([draw.integers(0, 2, 196), [1, 1, 1, 0]]),
        "time": np.concatenate([np.repeat([50.0, 100.0, 150.0], 66), [163.0, 170.0]]),
        "event": np.concatenate([np.tile([0, 1], 99), [1, 0]]),
    })  # fmt: skip
    return {"north": frame.iloc[::2], "south": frame.iloc[1::2]}


COLUMNS: dict[str, Any] = {
    "isolating": fc.Numeric(0, 200_000),
    "one": fc.Numeric(0, 1),
    "code": fc.Numeric(0, 2),
    "wide": fc.Numeric(0, 1_000),
    "group": fc.Categorical(["a", "b", "c"]),
}
Json = Mapping[str, Any]
Attack = Callable[[Json], float | None]


def report_of(question: Any, rules: fc.Disclosure, label: Any = None, columns: Any = None) -> Json:
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label)
    study = fc.Study(name="attack", cohort=cohort, analysis=question)
    return fc.simulate(hospitals(), disclosure=rules).run(study, progress=False).report


def one_value(report: Json) -> float | None:
    """A column that is zero but for one patient has that patient's value as its sum."""
    column = report["describe"]["isolating"]
    return None if column["mean"] is None else float(column["mean"] * N)


def one_patient(report: Json) -> float | None:
    """The mean of a 0/1 vector is how many are meant."""
    column = report["describe"]["one"]
    return None if column["mean"] is None else float(column["mean"] * N)


def by_a_wide_range(report: Json) -> float | None:
    """Bounds may be so wide that both values of a column are in one part of its histogram."""
    column = report["describe"]["wide"]
    return None if column["mean"] is None else float((column["mean"] - 1) * N)


def by_subtraction(report: Json) -> float | None:
    """The level that is not shown is what the others leave of all rows."""
    column = report["describe"]["group"]
    known = [n for level, n in column["levels"].items() if level != "c"]
    return None if None in known else float(report["rows"] - sum(known) - (column["missing"] or 0))


def by_moments(report: Json) -> float | None:
    """Of values 0, 1 and 2 size, mean and deviation are three equations for three counts."""
    column = report["describe"]["code"]
    if None in (column["mean"], column["std"]):
        return None
    variance = column["std"] ** 2 * (N - 1) / N
    squares = (variance + column["mean"] ** 2) * N
    return float(squares - column["mean"] * N) / 2


def by_last_step(report: Json) -> float | None:
    """Where two are left, the step of a curve says when one of them died."""
    group = report["survival"]["groups"]["all"]
    steps = [
        float(time)
        for time, before, after in zip(
            report["survival"]["grid"][1:], group["survival"], group["survival"][1:], strict=False
        )
        if None not in (before, after) and after < before
    ]
    return steps[-1] if steps and steps[-1] > 150 else None


GRID = [float(time) for time in range(1, 201)]
ATTACKS: dict[str, tuple[Any, Any, Attack, float]] = {
    "a vector that isolates one value": (fc.Describe(), None, one_value, SALARY),
    "a vector of zeros and a one": (fc.Describe(), None, one_patient, 1.0),
    "two values within wide bounds": (fc.Describe(), None, by_a_wide_range, 4.0),
    "a hidden cell by subtraction": (fc.Describe(), None, by_subtraction, 4.0),
    "counts by moments": (fc.Describe(), None, by_moments, 4.0),
    "the last step of a curve": (
        fc.KaplanMeier(grid=GRID), fc.Survival("time", "event"), by_last_step, 163.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_succeeds_without_the_rules_and_fails_with_them(name: str) -> None:
    question, label, attack, truth = ATTACKS[name]
    assert attack(report_of(question, OPEN, label)) == pytest.approx(truth)
    found = attack(report_of(question, fc.Disclosure(), label))
    assert found is None or abs(found - truth) >= fc.Disclosure().min_cell


def test_a_saturated_model_is_the_patients_and_is_refused() -> None:
    """With nothing but levels a logistic regression repeats each level's share of yes."""
    question, label = fc.GLM("ill ~ C(group)"), fc.Binary("ill")
    columns = {"group": COLUMNS["group"]}
    report = report_of(question, OPEN, label, columns)
    rows = {row["name"]: row for row in report["glm"]["coefficients"]}
    (name,) = (each for each in rows if each.endswith(("c]", "=c")))
    odds = math.exp(rows["Intercept"]["coef"] + rows[name]["coef"])
    assert round(rows[name]["n"] * odds / (1 + odds)) == 3
    with pytest.raises(DisclosureError, match="min_cell = 10"):
        report_of(question, fc.Disclosure(), label, columns)


def test_a_saturated_model_of_which_few_lack_the_outcome_is_refused() -> None:
    frame = pd.DataFrame({
        "patient_id": [f"p{place:03d}" for place in range(N)],
        "group": np.repeat(["a", "b"], [150, 50]),
        "ill": np.concatenate([np.tile([0, 1], 75), np.ones(47, int), np.zeros(3, int)]),
    })  # fmt: skip
    cohort = fc.Cohort(columns={"group": fc.Categorical(["a", "b"])}, label=fc.Binary("ill"))
    study = fc.Study(name="few lack it", cohort=cohort, analysis=fc.GLM("ill ~ C(group)"))
    hospitals = fc.simulate({"north": frame.iloc[::2], "south": frame.iloc[1::2]}, disclosure=fc.Disclosure())
    with pytest.raises(DisclosureError, match="no: fewer than min_cell"):
        hospitals.run(study, progress=False)


def test_a_covariance_with_a_vector_of_one_patient_is_that_patient_s_value_and_is_refused() -> None:
    frames = {site: frame.assign(secret=frame["code"] * 7 + 3) for site, frame in hospitals().items()}
    columns = {"one": COLUMNS["one"], "secret": fc.Numeric(0, 20)}
    study = fc.Study(name="rows", cohort=fc.Cohort(columns=columns), analysis=fc.Correlation())
    report = fc.simulate(frames, disclosure=OPEN).run(study, progress=False).report
    together = pd.concat(frames.values())["secret"]
    share = report["correlation"]["r"][0][1] * math.sqrt(N - 1)
    found = together.mean() + share * together.std(ddof=0)
    assert found == pytest.approx(float(pd.concat(frames.values()).set_index("patient_id")["secret"]["p117"]))
    with pytest.raises(DisclosureError, match="its mean would tell how many"):
        fc.simulate(frames, disclosure=fc.Disclosure()).run(study, progress=False)


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_a_coefficient_of_two_columns_of_two_values_hides_how_many_have_both(method: Any) -> None:
    frame = pd.DataFrame({
        "patient_id": [f"p{place:03d}" for place in range(N)],
        "a": np.repeat([1.0, 0.0], [60, 140]),
        "b": np.concatenate([np.ones(3), np.zeros(57), np.ones(80), np.zeros(60)]),
        "c": np.arange(N) % 50,
    })  # fmt: skip
    cohort = fc.Cohort(columns={"a": fc.Numeric(0, 1), "b": fc.Numeric(0, 1), "c": fc.Numeric(0, 50)})
    study = fc.Study(name="both", cohort=cohort, analysis=fc.Correlation(method=method))
    frames = {"north": frame.iloc[::2], "south": frame.iloc[1::2]}

    def r(rules: fc.Disclosure) -> list[list[float | None]]:
        report = fc.simulate(frames, disclosure=rules).run(study, progress=False).report
        found: list[list[float | None]] = report["correlation"]["r"]
        return found

    p, q = 60 / N, 83 / N
    coefficient = r(OPEN)[0][1]
    assert coefficient is not None
    assert N * (p * q + coefficient * math.sqrt(p * (1 - p) * q * (1 - q))) == pytest.approx(3.0)
    hidden = r(fc.Disclosure())
    assert hidden[0][1] is None
    assert hidden[0][2] is not None


def test_products_of_nearly_as_many_columns_as_patients_are_refused() -> None:
    draw = np.random.default_rng(5)
    names = [f"x{place}" for place in range(6)]
    frame = pd.DataFrame(draw.normal(size=(40, 6)).round(2), columns=names)
    frame = frame.assign(patient_id=[f"p{place}" for place in range(40)])
    cohort = fc.Cohort(columns={name: fc.Numeric(-9, 9) for name in names})
    study = fc.Study(name="wide", cohort=cohort, analysis=fc.Correlation())
    frames = {"north": frame.iloc[:20], "south": frame.iloc[20:]}
    assert (
        len(fc.simulate(frames, disclosure=OPEN).run(study, progress=False).report["correlation"]["r"]) == 6
    )
    with pytest.raises(DisclosureError, match="max_parameters"):
        fc.simulate(frames, disclosure=fc.Disclosure()).run(study, progress=False)


def test_a_model_with_nearly_as_many_parameters_as_patients_is_refused() -> None:
    """Each further column takes a degree of freedom, until the fit passes through the patients."""
    draw = np.random.default_rng(3)
    names = [f"x{place}" for place in range(30)]
    frame = pd.DataFrame(draw.normal(size=(60, 30)).round(2), columns=names)
    frame = frame.assign(patient_id=[f"p{place}" for place in range(60)], y=draw.normal(size=60).round(2))
    frames = {"north": frame.iloc[:30], "south": frame.iloc[30:]}
    cohort = fc.Cohort(columns={name: fc.Numeric(-9, 9) for name in [*names, "y"]})
    study = fc.Study(
        name="wide", cohort=cohort, analysis=fc.GLM("y ~ " + " + ".join(names), family="gaussian")
    )
    fitted = fc.simulate(frames, disclosure=OPEN).run(study, progress=False).report["glm"]
    assert len(fitted["coefficients"]) == 31
    with pytest.raises(DisclosureError, match="max_parameters"):
        fc.simulate(frames, disclosure=fc.Disclosure()).run(study, progress=False)

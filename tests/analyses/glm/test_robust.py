"""A regression where hospitals are empty, tiny or alike, and where nothing can be fitted."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State
from fedcohort.columns import Column
from fedcohort.errors import StudyError, WireError
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import contributed, rows_of
from tests.analyses.together import report_of

COLUMNS: dict[str, Column] = {
    "age": fc.Numeric(), "dose": fc.Numeric(),
    "arm": fc.Categorical(["a", "b"]), "stage": fc.Categorical([1, 2, 3]),
}  # fmt: skip


def people(n: int = 120, seed: int = 0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.normal(60, 10, n),
            "dose": draw.exponential(1, n),
            "arm": draw.choice(["a", "b"], n),
            "stage": draw.integers(1, 4, n),
            "patient_id": [f"p{row:03d}" for row in range(n)],
        }
    )
    chance = 1 / (1 + np.exp(-(0.05 * (frame["age"] - 60) + 0.7 * (frame["arm"] == "b"))))
    return frame.assign(ill=(draw.random(n) < chance).astype(int), visits=draw.poisson(2, n))


def study(formula: str = "ill ~ age + arm", label: Any = None, **words: Any) -> fc.Study:
    cohort = fc.Cohort(columns=COLUMNS, label=label or fc.Binary("ill"))
    return fc.Study(name="glm", cohort=cohort, analysis=fc.GLM(formula, **words))


def coefficients(report: dict[str, Any]) -> dict[str, float]:
    return {row["name"]: row["coef"] for row in report["glm"]["coefficients"]}


VISITS = fc.Number(column="visits", low=0, high=100)


@pytest.mark.parametrize(
    "words", [{}, {"se": "robust"}, {"firth": True}, {"site": "fixed"}, {"weights": "dose"}]
)
def test_tiny_missing_and_uniform_sites_add_what_they_have(words: dict[str, Any]) -> None:
    frame = people()
    nothing = frame.iloc[:2].assign(age=np.nan)
    sites = [frame.iloc[:70], frame.iloc[70:71], nothing, frame.iloc[71:]]
    asked = study(**words)
    found = report_of(asked, sites)
    assert (found["glm"]["n"], found["missing"], found["patients"]) == (120, 2, 120)
    expected = report_of(asked, [sites[0], sites[1], sites[3]])
    assert coefficients(found) == pytest.approx(coefficients(expected), rel=1e-12)


def test_a_site_where_everybody_has_the_outcome_tells_the_slopes_nothing_under_fixed_effects() -> None:
    frame = people()
    alike = people(20, 5).assign(ill=1)
    asked = study(site="fixed")
    found = report_of(asked, [frame.iloc[:60], frame.iloc[60:], alike])
    expected = report_of(asked, [frame.iloc[:60], frame.iloc[60:]])
    assert coefficients(found) == pytest.approx(coefficients(expected), rel=1e-9)
    assert found["glm"]["loglik"] == pytest.approx(expected["glm"]["loglik"], rel=1e-9)
    assert found["glm"]["n"] == 140


def test_a_site_without_an_outcome_counts_as_any_other_without_site_effects() -> None:
    frame = people()
    frame.loc[:29, "ill"] = 0
    found = report_of(study(), [frame.iloc[:30], frame.iloc[30:]])
    reference = smf.logit("ill ~ age + arm", frame).fit(disp=0, tol=1e-12)
    assert sorted(coefficients(found).values()) == pytest.approx(sorted(reference.params), rel=1e-7)


def test_several_rows_of_a_patient_all_count() -> None:
    frame = people()
    twice = pd.concat([frame, frame.iloc[:10]], ignore_index=True)
    report = report_of(study(), [twice.iloc[60:], twice.iloc[:60].sort_values("age")])
    assert report["glm"]["n"] == 130
    assert report["patients"] == 130, "a patient of two hospitals is counted at each"


REFUSED = [
    ("ill ~ age + stage + I(age**2) + rare", "separation: rare"),
    ("ill ~ age + twice", "follows from the others, or has one value alone: age, twice"),
    ("ill ~ age + constant", "has one value alone: constant"),
    ("same ~ age", "same is the same for every patient"),
]


@pytest.mark.parametrize(("formula", "why"), REFUSED)
def test_what_has_no_estimate_is_said_with_its_remedy(formula: str, why: str) -> None:
    frame = people()
    frame = frame.assign(
        rare=((frame["ill"] == 1) & (frame["age"] > 70)).astype(float),
        twice=2 * frame["age"] + 1, constant=3.0, same=1,
    )  # fmt: skip
    columns = {**COLUMNS, "rare": fc.Numeric(), "twice": fc.Numeric(), "constant": fc.Numeric()}
    label = fc.Binary("same" if "same" in formula else "ill")
    asked = fc.Study(name="g", cohort=fc.Cohort(columns=columns, label=label), analysis=fc.GLM(formula))
    with pytest.raises(StudyError, match=why):
        report_of(asked, [frame.iloc[:50], frame.iloc[50:]])


def test_more_coefficients_than_rows_and_counts_of_nothing_are_refused() -> None:
    frame = people()
    with pytest.raises(StudyError, match="3 rows have a value of each column, and 4 are the least"):
        report_of(study(), [frame.iloc[:2], frame.iloc[2:3]])
    with pytest.raises(StudyError, match="over all hospitals 0 rows have"):
        report_of(study(), [frame.iloc[:9].assign(age=np.nan), frame.iloc[9:].assign(age=np.nan)])
    none = frame.assign(visits=0)
    with pytest.raises(StudyError, match="visits is 0 for every patient"):
        report_of(study("visits ~ age", VISITS, family="poisson"), [none])
    unseen = frame.assign(visits=np.where(frame["stage"] == 3, 0, frame["visits"]))
    with pytest.raises(StudyError, match=r"where C\(stage\)\[T\.3\] applies nothing was counted"):
        report_of(study("visits ~ C(stage)", VISITS, family="poisson"), [unseen])
    with pytest.raises(StudyError, match="after 2 rounds the coefficients still change"):
        report_of(study(rounds=2), [frame])


def test_newton_goes_uphill_from_anywhere() -> None:
    """Counts so far apart that full steps overshoot."""
    frame = people(60)
    frame["visits"] = np.where(frame["age"] > 75, 5_000, 0) + frame["visits"] % 2
    label = fc.Number(column="visits", low=0, high=1e5)
    report = report_of(
        study("visits ~ age + I(age**2)", label, family="poisson"), [frame.iloc[:20], frame.iloc[20:]]
    )
    reference = smf.poisson("visits ~ age + I(age**2)", frame).fit(
        disp=0, method="newton", maxiter=500, start_params=list(coefficients(report).values())
    )
    assert report["glm"]["loglik"] == pytest.approx(reference.llf, rel=1e-9)


@pytest.mark.parametrize("arrays", [
    {}, {"beta": np.zeros(2), "centre": np.zeros(3), "scale": np.ones(3)},
    {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.ones((3, 120))},
    {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.zeros(3)},
    {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.ones(3), "null": np.zeros(120)},
    {"beta": np.array([0.0, np.nan, 0.0]), "centre": np.zeros(3), "scale": np.ones(3)},
    {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.ones(3), "null": np.array([np.inf])},
])  # fmt: skip
def test_a_state_that_is_none_is_refused_before_any_row_is_looked_at(arrays: dict[str, Any]) -> None:
    asked = study()
    analysis = build_analysis(asked)
    rows = rows_of(analysis, table_from_frame(people(), asked.cohort, 0))
    with pytest.raises(WireError):
        contributed(analysis, rows, State("newton", 1, arrays))


@pytest.mark.parametrize(
    ("formula", "words", "why"),
    [
        ("ill ~ weight", {}, r"analysis\.formula: weight is not among the cohort's columns"),
        ("ill ~ C(age)", {}, "age has no levels"),
        ("~ age", {}, "it has no outcome"),
        ("stage ~ age", {}, "stage has 3 levels"),
        ("dose ~ age", {"family": "poisson"}, None),
        ("ill ~ age", {"family": "negative"}, "family"),
        ("ill ~ age", {"offset": "log(arm)"}, r"analysis\.offset: .*levels and no number"),
        ("ill ~ age", {"offset": "age + dose"}, "offset: write one column"),
        ("ill ~ age", {"weights": "arm"}, r"analysis\.weights: arm is no number"),
        ("ill ~ age - 1", {"site": "fixed"}, r'site = "fixed" gives each hospital its intercept'),
        ("age ~ dose", {"firth": True}, "it is of a logistic regression"),
        ("ill ~ age", {"firth": True, "ridge": 1.0}, "without a ridge"),
        ("ill ~ age", {"ridge": -1.0}, "write 0 or more"),
        ("ill ~ exec(1)", {}, "not among what a formula may compute"),
    ],
)
def test_bad_words_are_refused_before_anything_is_computed(
    formula: str, words: dict[str, Any], why: str | None
) -> None:
    if why is None:
        study(formula, **words)
        return
    with pytest.raises(StudyError, match=why):
        study(formula, **words)


def test_a_study_of_bare_columns_is_checked_once_the_sites_have_told() -> None:
    cohort = fc.Cohort(columns=["age", "dose"], label="ill")
    asked = fc.Study(name="g", cohort=cohort, analysis=fc.GLM("ill ~ age:dose"))
    frame = people()
    report = fc.simulate({"a": frame.iloc[:60], "b": frame.iloc[60:]}).run(asked, progress=False).report
    assert set(coefficients(report)) == {"Intercept", "age:dose"}
    assert report["glm"]["family"] == "binomial"


def test_a_coordinator_that_asks_by_another_scaling_each_round_fills_no_memory() -> None:
    asked = study()
    analysis = build_analysis(asked)
    rows = rows_of(analysis, table_from_frame(people(), asked.cohort, 0))
    sizes = []
    for number in range(1, 6):
        arrays = {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.full(3, float(number))}
        contributed(analysis, rows, State("newton", number, arrays))
        sizes.append(len(rows.made))
    assert len(set(sizes)) == 1
    again = {"beta": np.zeros(3), "centre": np.zeros(3), "scale": np.full(3, 1.0)}
    first = contributed(analysis, rows, State("newton", 7, again))
    fresh = rows_of(analysis, table_from_frame(people(), asked.cohort, 0))
    other = contributed(analysis, fresh, State("newton", 7, again))
    for name, values in first.items():
        np.testing.assert_array_equal(values, other[name])

"""A Cox regression of imputed data: within hospitals, and equal to all patients in one process."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sksurv.nonparametric import nelson_aalen_estimator
from statsmodels.duration.hazard_regression import PHReg

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State
from fedcohort.analyses.impute.chains import nelson_aalen
from fedcohort.analyses.impute.hazards import HazardImputation, HazardRegressions, hazard_imputation
from fedcohort.analyses.impute.rubin import pooled
from fedcohort.analyses.impute.stages import ImputeAnalysis
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import DisclosureError, WireError
from fedcohort.explain import explain
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.table import Table
from fedcohort.texts.look_up import page_texts
from tests.analyses import clinical
from tests.analyses.at_site import contributed, rows_of
from tests.analyses.together import finished, report_of, sums_of

from .test_impute import number, sites, table

COHORT = fc.Cohort(
    columns={"x": fc.Numeric(), "w": fc.Numeric(), "b": fc.Categorical([0, 1])}, label=fc.Survival("t", "e")
)
NAMES = ["x", "w", "b[T.1]"]
TRUTH = np.array([0.5, 0.7, -0.6])


def people(seed: int = 0, n: int = 360) -> pd.DataFrame:
    """Patients whose hazard depends on x, w and b; the last hospital's is twice as high."""
    draw = np.random.default_rng([seed, 4])
    x = draw.normal(0, 1, n)
    w = 0.6 * x + draw.normal(0, 0.8, n)
    b = (draw.random(n) < 1 / (1 + np.exp(-x))).astype(float)
    hazard = np.exp(np.column_stack([x, w, b]) @ TRUTH) * np.where(np.arange(n) < n // 2, 1, 2)
    life, lost = draw.exponential(100 / hazard), draw.exponential(150, n)
    time = np.ceil(np.minimum(life, lost))
    ids = [f"{seed}-{row}" for row in range(n)]
    return pd.DataFrame({"patient_id": ids, "x": x, "w": w, "b": b, "t": time, "e": (life <= lost) * 1})


def lacking(seed: int = 0, n: int = 360) -> pd.DataFrame:
    """The same without some of w, more of those with the event and a large x, and without some of b."""
    frame, draw = people(seed, n), np.random.default_rng([seed, 1])
    gone = draw.random(n) < 1 / (1 + np.exp(1.2 - 1.5 * frame["x"] - 1.5 * frame["e"]))
    frame.loc[gone, "w"] = np.nan
    frame.loc[draw.random(n) < 0.2, "b"] = np.nan
    return frame


def lacking_at_a_site(seed: int = 0, n: int = 360) -> pd.DataFrame:
    """The first hospital has no w at all."""
    frame = people(seed, n)
    return frame.assign(w=frame["w"].where(np.arange(n) >= n // 3))


def study(seed: int = 0, protection: Any = "none", **words: Any) -> fc.Study:
    asked = fc.Impute(**{"formula": "x + w + b", "columns": ["w", "b"], "m": 5, "cycles": 3, **words})
    return fc.Study(name="i", cohort=COHORT, analysis=asked, seed=seed, protection=protection)


COMPLETE = fc.Study(name="c", cohort=COHORT, analysis=fc.Cox("x + w + b"))


@dataclass(frozen=True, eq=False)
class InOne(HazardImputation):
    """All patients in one process, which knows the hospital of each."""

    hospitals: Any = None

    def stratum(self, table: Table) -> NDArray[np.int64]:
        """By patient."""
        found: NDArray[np.int64] = self.hospitals.loc[table.patient_ids].to_numpy(np.int64)
        return found


def in_one(made: fc.Study, frames: list[pd.DataFrame]) -> tuple[ImputeAnalysis, State]:
    """The same study of all rows in one, each compared with those of its hospital."""
    whole = pd.concat(frames)
    place = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
    hospitals = pd.Series(place, whole["patient_id"])
    question: Any = made.analysis
    asked = hazard_imputation(made.cohort, question, made.seed).asked
    imputation = InOne(made.cohort, question, made.seed, asked=asked, hospitals=hospitals)
    analysis = ImputeAnalysis(imputation, HazardRegressions(imputation))
    return analysis, finished(made, analysis, [whole])


@pytest.mark.parametrize("made", [lacking, lacking_at_a_site])
def test_hospitals_together_are_all_patients_in_one_process(made: Any) -> None:
    parted = report_of(study(), sites(made()))
    analysis, state = in_one(study(), sites(made()))
    whole: Any = analysis.report(state)
    np.testing.assert_allclose(table(whole), table(parted), rtol=1e-9)
    assert whole["impute"]["events"] == parted["impute"]["events"] == made()["e"].sum()


def test_each_data_set_is_fitted_as_statsmodels_does_and_combined() -> None:
    frames = sites(lacking())
    analysis, state = in_one(study(), frames)
    imputation: Any = analysis.imputation
    whole = table_from_frame(pd.concat(frames), COHORT, 0, False)
    rows = rows_of(analysis, whole)
    estimates, variances = [], []
    for filled in imputation.tables(rows, state):
        x = np.column_stack([filled.columns[name].astype(float) for name in ("x", "w", "b")])
        assert filled.label is not None
        fit = PHReg(
            filled.label, x, status=filled.event, strata=imputation.stratum(filled), ties="efron"
        ).fit(disp=0)
        estimates.append(fit.params)
        variances.append(fit.bse**2)
    events = int(pd.concat(frames)["e"].sum())
    expected = pooled(np.array(estimates), np.array(variances), events - 3.0)
    found = table(report_of(study(), frames))
    np.testing.assert_allclose(found["coef"].to_numpy(), expected.coefficients, rtol=1e-7)
    np.testing.assert_allclose(found["se"].to_numpy(), expected.errors, rtol=1e-7)
    np.testing.assert_allclose(found["df"].to_numpy(), expected.degrees, rtol=1e-5)


def test_nothing_missing_is_the_cox_regression_itself() -> None:
    ours, plain = table(report_of(study(), sites(people()))), report_of(COMPLETE, sites(people()))
    for name in NAMES:
        for figure in ("coef", "se"):
            assert number(ours, name, figure) == pytest.approx(
                number(table(plain, "cox"), name, figure), rel=1e-9
            )
    assert (ours["fmi"] < 1e-9).all()


def test_the_hazard_is_that_of_scikit_survival_within_each_stratum() -> None:
    frame = people()
    time, event = frame["t"].to_numpy(), frame["e"].to_numpy(float)
    stratum = np.arange(len(frame)) % 2
    found = nelson_aalen(time, event, stratum)
    for one in (0, 1):
        mine = stratum == one
        times, hazard = nelson_aalen_estimator(event[mine] == 1, time[mine])
        np.testing.assert_allclose(found[mine], hazard[np.searchsorted(times, time[mine])], rtol=1e-12)


def test_intervals_hold_the_truth_where_complete_rows_are_farther_from_it() -> None:
    held: list[Any] = []
    errors: dict[str, list[Any]] = {"impute": [], "cox": []}
    for seed in range(40):
        frame = lacking(seed)
        found = table(report_of(study(seed, m=10), sites(frame))).loc[NAMES]
        held.append((found["low"] <= TRUTH) & (found["high"] >= TRUTH))
        complete = table(report_of(COMPLETE, sites(frame)), "cox").loc[NAMES]
        for name, one in (("impute", found), ("cox", complete)):
            errors[name].append(one["coef"].to_numpy() - TRUTH)
    # Of 120 intervals 114 are to hold it; fewer than 105 would happen once in 1,000.
    assert np.sum(held) >= 105
    spread = {name: np.sqrt(np.mean(np.square(one), 0)) for name, one in errors.items()}
    assert (spread["impute"] < spread["cox"]).all()


def test_a_hospital_without_the_column_takes_part() -> None:
    frame = lacking_at_a_site()
    report = report_of(study(), sites(frame))
    assert report["impute"]["columns"]["w"]["missing"] == 120
    complete = table(report_of(COMPLETE, sites(frame)), "cox")
    assert number(table(report), "x", "se") < number(complete, "x", "se")


def test_none_and_masks_give_the_same_bits_and_a_process_that_begins_again_sends_them() -> None:
    frames = dict(zip("abc", sites(lacking()), strict=True))
    reports = [
        fc.simulate(frames).run(study(0, protection), progress=False).report["impute"]
        for protection in ("none", "masks")
    ]
    assert reports[0] == reports[1] == report_of(study(), list(frames.values()))["impute"]
    analysis = build_analysis(study())
    tables = [table_from_frame(frame, COHORT, 0, False) for frame in sites(lacking())]
    kept, state = [rows_of(analysis, one) for one in tables], analysis.start()
    while not state.finished:
        for rows, one in zip(kept, tables, strict=True):
            ours, fresh = (contributed(analysis, each, state) for each in (rows, rows_of(analysis, one)))
            assert all(np.array_equal(ours[name], fresh[name]) for name in ours)
        state = analysis.update(state, sums_of(analysis, kept, state, None, np.random.default_rng(0)))


def test_a_patient_counts_with_one_row() -> None:
    frame = lacking()
    again = frame.iloc[:30].assign(t=frame["t"] + 500)
    once = report_of(study(), [frame])
    twice = report_of(study(), [pd.concat([frame, again])])
    assert (once["patients"], once["impute"]["n"]) == (twice["patients"], twice["impute"]["n"])


def test_a_coordinator_that_sends_other_coefficients_is_refused() -> None:
    analysis = build_analysis(study())
    rows, state = rows_of(analysis, table_from_frame(lacking(), COHORT, 0, False)), analysis.start()
    while state.phase != "newton":
        state = analysis.update(state, sums_of(analysis, [rows], state, None, np.random.default_rng(0)))
    for name, value in (("beta", np.zeros(3)), ("beta", np.full((5, 3), np.nan)), ("model scale", [1.0])):
        forged = State(state.phase, state.round, {**state.arrays, name: np.asarray(value)})
        with pytest.raises(WireError):
            contributed(analysis, rows, forged)


def test_creatinine_of_flchain() -> None:
    """A sixth of the patients have none."""
    raw = clinical.flchain()
    frame = raw[["patient_id", "creatinine", "age"]].assign(
        t=np.maximum(raw["futime"], 1), e=(raw["death"] == "dead") * 1, sex=raw["sex"]
    )
    frame = frame.astype({"creatinine": float, "age": float})
    columns: dict[str, Any] = {
        "age": fc.Numeric(),
        "creatinine": fc.Numeric(),
        "sex": fc.Categorical(sorted(frame["sex"].unique())),
    }
    cohort = fc.Cohort(columns=columns, label=fc.Survival("t", "e"))
    asked = fc.Impute("age + sex + log(creatinine)", columns=["creatinine"], m=5, cycles=2)
    made = fc.Study(name="f", cohort=cohort, analysis=asked)
    frames = list(clinical.uneven(frame).values())
    analysis, state = in_one(made, frames)
    whole: Any = analysis.report(state)
    parted = report_of(made, frames)
    np.testing.assert_allclose(table(parted), table(whole), rtol=1e-8)
    plain = fc.Study(name="f", cohort=cohort, analysis=fc.Cox("age + sex + log(creatinine)"))
    complete = table(report_of(plain, frames), "cox")
    assert number(table(parted), "age", "se") < number(complete, "age", "se")


def test_few_events_and_few_of_a_level_end_the_study_under_rules() -> None:
    frame = lacking()
    frame.loc[frame.index[6:], "e"] = 0
    hospitals = fc.simulate(dict(zip("abc", sites(frame), strict=True)), disclosure=fc.Disclosure())
    with pytest.raises(DisclosureError, match="e: fewer than min_cell"):
        hospitals.run(study(), progress=False)


@pytest.mark.parametrize(
    ("language", "said"), [("en", "hazard of the event depends on x + w + b"), ("zh", "偏似然的对数")]
)
def test_it_is_explained(language: str, said: str) -> None:
    text = explain(study(), language=language)
    assert said in text
    assert "{" not in text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_table_and_plot_show_hazard_ratios(language: str) -> None:
    result = fc.simulate(dict(zip("abc", sites(lacking()), strict=True))).run(study(), progress=False)
    assert list(result.table.index) == NAMES
    assert [figure.name for figure in result.figures] == ["coefficients", "forest", "missing"]
    said = page_texts(language)
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    assert said["impute.cox"] in text
    assert said["coefficients.hazard_ratio"] in text
    result.plot()

"""Over three uneven hospitals, real data: what libraries find in all patients together."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sksurv.compare import compare_survival
from sksurv.nonparametric import kaplan_meier_estimator
from sksurv.util import Surv
from statsmodels.duration.survfunc import SurvfuncRight, survdiff

import fedcohort as fc
from tests.analyses.clinical import uneven
from tests.analyses.clinical_survival import ALL

COLUMNS = {"arm": fc.Categorical((0, 1)), "stratum": fc.Categorical((0, 1))}


def ask(frame: pd.DataFrame, protection: str = "none", **words: Any) -> dict[str, Any]:
    study = fc.Study(
        name="km",
        cohort=fc.Cohort(columns=COLUMNS, label=fc.Survival("t", "e")),
        analysis=fc.KaplanMeier(grid=sorted(set(frame["t"])), **words),
        protection=protection,
    )
    survival: dict[str, Any] = fc.simulate(uneven(frame)).run(study, progress=False).report["survival"]
    return survival


@pytest.mark.parametrize("name", ALL)
def test_curves_intervals_and_the_log_rank_test_are_those_of_the_libraries(name: str) -> None:
    frame = ALL[name]()
    found = ask(frame, by="arm", strata="stratum")
    assert found == ask(frame, "masks", by="arm", strata="stratum")
    for arm, part in frame.groupby("arm"):
        group = found["groups"][str(arm)]
        time, curve, ends = kaplan_meier_estimator(part["e"] == 1, part["t"], conf_type="log-log")
        at = np.searchsorted(found["grid"], time)
        assert np.max(np.abs(np.array(group["survival"])[at] - curve)) < 1e-12
        begun = (curve < 1) & (curve > 0)
        for end, theirs in zip(("low", "high"), ends, strict=True):
            assert np.max(np.abs(np.array(group[end], float)[at] - theirs)[begun]) < 1e-12
        assert group["at_risk"] == [int((part["t"] >= time).sum()) for time in found["grid"]]
        middle = SurvfuncRight(part["t"], part["e"]).quantile(0.5)
        assert group["median"] == (None if np.isnan(middle) else middle)
    chi_squared, p = survdiff(frame["t"], frame["e"], frame["arm"], strata=frame["stratum"])
    assert found["logrank"]["strata"] == "stratum"
    assert found["logrank"]["statistic"] == pytest.approx(chi_squared, rel=1e-10)
    assert found["logrank"]["p"] == pytest.approx(p, rel=1e-10)


@pytest.mark.parametrize("name", ALL)
def test_the_log_rank_test_without_strata_is_that_of_scikit_survival(name: str) -> None:
    frame = ALL[name]()
    found = ask(frame, by="arm")["logrank"]
    label = Surv.from_arrays(frame["e"] == 1, frame["t"])
    chi_squared, p = compare_survival(label, frame["arm"])
    assert found == {"degrees": 1, "statistic": pytest.approx(chi_squared, rel=1e-12), "p": pytest.approx(p)}


def test_strata_are_of_the_test_and_of_no_curve() -> None:
    """Of levels beside 0 and 1, and with a patient of no stratum, who is missing."""
    frame = pd.DataFrame(
        {
            "arm": [0, 1] * 6,
            "ward": ["a", "a", "b", "b", "c", "c"] * 2,
            "t": [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0],
            "e": [1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 1],
        }
    )
    frame = frame.assign(patient_id=[f"p{row}" for row in range(12)])
    more = pd.concat([frame, frame.iloc[:1].assign(ward=None, patient_id="p99")], ignore_index=True)
    columns = {"arm": fc.Categorical((0, 1)), "ward": fc.Categorical(("a", "b", "c"))}
    asked = [fc.KaplanMeier(grid=range(1, 10), by="arm", strata=strata) for strata in (None, "ward")]
    plain, stratified = (
        fc.simulate({"x": one.iloc[::2], "y": one.iloc[1::2]})
        .run(
            fc.Study(
                name="km", cohort=fc.Cohort(columns=columns, label=fc.Survival("t", "e")), analysis=question
            ),
            progress=False,
        )
        .report
        for one, question in ((frame, asked[0]), (more, asked[1]))
    )
    assert stratified["survival"]["groups"] == plain["survival"]["groups"]
    assert (stratified["patients"], stratified["missing"]) == (12, 1)
    chi_squared, p = survdiff(frame["t"], frame["e"], frame["arm"], strata=frame["ward"])
    assert stratified["survival"]["logrank"]["statistic"] == pytest.approx(chi_squared, rel=1e-12)
    assert stratified["survival"]["logrank"]["p"] == pytest.approx(p, rel=1e-10)

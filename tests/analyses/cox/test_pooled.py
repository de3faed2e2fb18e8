"""Over the risk sets of all hospitals on a grid: Cox's model of one stratum, of times rounded to the grid."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import fedcohort as fc
from fedcohort.analyses.cox.risk_sets import RiskSets
from fedcohort.disclosure.rules import OPEN
from fedcohort.errors import DisclosureError
from fedcohort.explain import explain
from tests.analyses.cox import data
from tests.analyses.cox.test_cox import ARM, SEXES, TWO, ask, check_rows, freireich, study, tightly

COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(20, 110),
    "gender": data.SEX,
    "chf": fc.Categorical(["no", "yes"]),
}
GRID = [30.0 * month for month in range(1, 61)]


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """Times as the next of the grid, beyond which nobody is observed."""
    times = np.append(GRID, GRID[-1] + 1)
    later = times[np.searchsorted(GRID, frame["time"], side="left")]
    return frame.assign(time=later, event=frame["event"] * (later <= GRID[-1]))


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_hospitals_together_find_the_cox_model_of_statsmodels(ties: str) -> None:
    frame, _, _ = data.whas500()
    words: dict[str, Any] = {"strata": "none", "grid": GRID, "ties": ties}
    frames = data.uneven(frame)
    reports = [
        ask(frames, study(COLUMNS, "age + gender + chf", protection=protection, **words)).report["cox"]
        for protection in ("none", "masks")
    ]
    assert reports[0] == reports[1]
    pooled = rounded(frame)
    x = data.design(pooled, COLUMNS)
    theirs = tightly(sm.PHReg(pooled["time"], x, pooled["event"], ties=ties))
    check_rows(reports[0]["coefficients"], theirs)
    assert reports[0]["log_likelihood"] == pytest.approx(theirs.llf, rel=1e-12)
    found = np.array([row["coef"] for row in reports[0]["coefficients"]])
    sets = RiskSets.of(
        x.to_numpy(), pooled["time"].to_numpy(), pooled["event"].to_numpy(), np.zeros(500, np.int64),
        efron=ties == "efron",
    )  # fmt: skip
    _, there = sets.fit(found)
    left = there.information - there.mixed @ np.linalg.solve(sets.at(found).information, there.mixed)
    statistic = there.score @ np.linalg.solve(left, there.score)
    assert reports[0]["proportional_hazards"]["all"]["statistic"] == pytest.approx(statistic, rel=1e-6)


def test_levels_alone_are_strata_over_all_hospitals() -> None:
    frame, _, _ = data.whas500()
    asked = study(COLUMNS, "age + chf", strata="gender", grid=GRID)
    found = ask(data.uneven(frame), asked).report["cox"]
    pooled = rounded(frame)
    x = data.design(pooled, {name: COLUMNS[name] for name in ("age", "chf")})
    check_rows(
        found["coefficients"],
        tightly(sm.PHReg(pooled["time"], x, pooled["event"], ties="efron", strata=pooled["gender"])),
    )
    strata = found["baseline"]["strata"]
    assert list(strata) == ["f", "m"]
    for level, stratum in strata.items():
        mine = pooled[pooled["gender"] == level]
        assert stratum["n"] == len(mine)
        assert stratum["at_risk"] == [int((mine["time"] >= time).sum()) for time in GRID]


def test_the_leukaemia_trial_has_its_published_hazard_ratio_in_two_hospitals() -> None:
    """On the grid of weeks it is the textbook's: 1.57 by Efron, 1.51 by Breslow."""
    weeks = [float(week) for week in range(1, 36)]
    for ties, coefficient in (("efron", 1.5721), ("breslow", 1.5092)):
        found = ask(TWO, study(ARM, "C(arm)", strata="none", grid=weeks, ties=ties)).report["cox"]
        assert round(found["coefficients"][0]["coef"], 4) == coefficient
        assert found["events"] == freireich()["event"].sum()


def test_a_time_at_which_few_leave_ends_the_study_before_sums_of_theirs() -> None:
    frame, _, _ = data.whas500()
    frames = data.uneven(frame)
    rules = OPEN.model_copy(update={"min_cell": 10})
    hospitals = fc.simulate(frames, disclosure=rules)
    with pytest.raises(DisclosureError, match=r"fewer than min_cell = 10 patients leave.*a coarser grid"):
        hospitals.run(study(COLUMNS, "age", strata="none", grid=GRID), progress=False)
    coarse = hospitals.run(study(COLUMNS, "age", strata="none", grid=[365.0, 1095.0]), progress=False)
    assert coarse.report["cox"]["coefficients"][0]["coef"] > 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_sums_by_time_show_is_said(language: str) -> None:
    text = explain(study(SEXES, "age", strata="sex", grid=[5.0, 9.0]), language=language)
    said = {
        "en": ("all hospitals who have the same sex", "for each of 2 times", "14 to 69 % of patients"),
        "zh": ("所有医院中 sex 相同", "在 2 个时间点", "14% 至 69%"),
    }
    assert [one for one in said[language] if one not in text] == []

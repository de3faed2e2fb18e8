"""A hazard in pieces is Poisson's model of events over time in each; over hospitals that of all patients."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import fedcohort as fc
from fedcohort.analyses.cox.pieces import Followed
from fedcohort.errors import StudyError
from tests.analyses.cox import data
from tests.analyses.cox.test_cox import ARM, SEXES, TWO, ask, study


def long_form(frame: pd.DataFrame, edges: list[float]) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """A row a patient and piece in which the patient is observed: indicators of pieces, events, time."""
    rows, events, spent = [], [], []
    of_patients = zip(frame["time"].tolist(), frame["event"].tolist(), strict=True)
    for place, (time, event) in enumerate(of_patients):
        for piece, (low, high) in enumerate(pairwise(edges)):
            if time > low:
                rows.append((place, piece))
                events.append(float(event == 1 and low < time <= high))
                spent.append(min(time, high) - low)
    place, piece = np.array(rows).T
    x = data.design(frame, COLUMNS).to_numpy()[place]
    of_each = np.hstack([np.eye(len(edges) - 1)[piece], x])
    return pd.DataFrame(of_each), np.array(events), np.array(spent)


COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(20, 110),
    "gender": data.SEX,
    "chf": fc.Categorical(["no", "yes"]),
}


def test_hospitals_together_find_the_poisson_model_of_statsmodels() -> None:
    frame, _, _ = data.whas500()
    ends = [100.0, 400.0, 1000.0]
    label = fc.Survival("time", "event", horizon=2000)
    words = {"strata": "none", "pieces": ends, "label": label}
    reports = [
        ask(data.uneven(frame), study(COLUMNS, "age + gender + chf", protection=protection, **words)).report
        for protection in ("none", "masks")
    ]
    assert reports[0]["cox"] == reports[1]["cox"]
    found = reports[0]["cox"]
    x, events, spent = long_form(frame, [0.0, *ends, 2000.0])
    theirs = sm.GLM(events, x, sm.families.Poisson(), offset=np.log(spent)).fit(tol=1e-14)
    log_hazard = theirs.params.to_numpy()[:4]
    coefficients = pd.DataFrame(found["coefficients"])
    np.testing.assert_allclose(coefficients["coef"], theirs.params[4:], rtol=0, atol=1e-8)
    np.testing.assert_allclose(coefficients["se"], theirs.bse[4:], rtol=0, atol=1e-8)
    means = np.array(list(found["means"].values()))
    rates = np.exp(log_hazard + means @ theirs.params[4:].to_numpy()) * np.diff([0.0, *ends, 2000.0])
    stratum = found["baseline"]["strata"]["all"]
    np.testing.assert_allclose(stratum["hazard"], rates.cumsum(), rtol=1e-8)
    assert sum(stratum["events"]) == found["events"] == events.sum()
    survival = zip(stratum["low"], stratum["survival"], stratum["high"], strict=True)
    assert all(low < share < high for low, share, high in survival)
    density = theirs.llf - events @ np.log(spent)
    assert found["log_likelihood"] == pytest.approx(density, rel=1e-10)
    assert found["aic"] == pytest.approx(2 * 7 - 2 * density, rel=1e-10)


def test_many_pieces_come_near_to_coxs_model_of_one_stratum() -> None:
    frame, columns, _ = data.whas500()
    asked = study(
        columns, "age + bmi", strata="none", pieces=20, label=fc.Survival("time", "event", horizon=2400)
    )
    found = ask(data.uneven(frame), asked).report["cox"]["coefficients"]
    theirs = sm.PHReg(frame["time"], frame[["age", "bmi"]], frame["event"], ties="efron").fit(disp=0)
    for row, coefficient, error in zip(found, theirs.params, theirs.bse, strict=True):
        assert abs(row["coef"] - coefficient) < 0.1 * error


def test_one_piece_without_columns_that_matter_is_events_over_time() -> None:
    """Of one piece and two arms each has its own rate: events over weeks of observation."""
    asked = study(ARM, "C(arm)", strata="none", pieces=[35.0])
    found = ask(TWO, asked).report["cox"]
    frame = pd.concat(TWO.values())
    rates = frame.groupby("arm").apply(lambda one: one["event"].sum() / one["time"].sum())
    (row,) = found["coefficients"]
    assert row["coef"] == pytest.approx(np.log(rates["placebo"] / rates["drug"]), abs=1e-9)
    assert row["se"] == pytest.approx(np.sqrt(1 / 9 + 1 / 21), abs=1e-9)


def test_a_patient_is_followed_until_enough_is_expected() -> None:
    followed = Followed(np.array([1.0, 3.0, 9.0]), np.array([1.0, 1.0, 0.0]), (0.0, 2.0, 4.0))
    events, cut = followed.stopped(np.log([0.5, 0.5]), np.zeros(3), 1.2)
    assert events.tolist() == [[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    np.testing.assert_allclose(cut, [[0.5, 0.0], [1.0, 0.2], [1.0, 0.2]])
    events, cut = followed.stopped(np.log([0.5, 0.5]), np.zeros(3), 9.0)
    assert events.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    np.testing.assert_allclose(cut, [[0.5, 0.0], [1.0, 0.5], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("bad", "said", "good"),
    [
        ({"pieces": 5}, 'one baseline of all hospitals, on their own times: write strata = "none"', {}),
        ({"pieces": 5, "strata": "none", "grid": [5.0]}, "leave out grid and ties", {}),
        ({"pieces": [9.0, 3.0], "strata": "none"}, "write their ends in order", {"pieces": [3.0, 9.0]}),
        ({"pieces": 5, "strata": "none", "label": fc.Survival("time", "event")},
         "a number of pieces needs fc.Survival.time, event, horizon=",
         {"pieces": [5.0], "label": fc.Survival("time", "event")}),
        ({"pieces": [40.0], "strata": "none"}, "beyond the label's horizon; write ends before it",
         {"pieces": [30.0]}),
        ({"pieces": 21, "strata": "none"}, "pieces", {"pieces": 20}),
    ],
)  # fmt: skip
def test_wrong_pieces_are_refused_with_what_to_write(
    bad: dict[str, Any], said: str, good: dict[str, Any]
) -> None:
    label = fc.Survival("time", "event", horizon=30)
    with pytest.raises(StudyError, match=said):
        study(SEXES, "age", **{"label": label, **bad})
    study(SEXES, "age", **{"label": label, "strata": "none", "pieces": 5, **good})


def test_a_piece_without_events_is_told() -> None:
    with pytest.raises(
        StudyError, match=r"nobody has the event between 0 and 0\.5; write fewer, or other ends"
    ):
        ask(TWO, study(ARM, "C(arm)", strata="none", pieces=[0.5, 35.0]))
    ask(TWO, study(ARM, "C(arm)", strata="none", pieces=[5.0, 35.0]))


def test_where_pieces_begin_and_end() -> None:
    assert fc.Cox("age", strata="none", pieces=2).edges(100.0) == (0.0, 25.0, 100.0)
    assert fc.Cox("age", strata="none", pieces=[10.0]).edges(100.0) == (0.0, 10.0, 100.0)
    assert fc.Cox("age", strata="none", pieces=[10.0, 100.0]).edges(100.0) == (0.0, 10.0, 100.0)
    assert fc.Cox("age", strata="none", pieces=[10.0]).edges(None) == (0.0, 10.0)
    assert b"pieces" not in study(SEXES, "age").canonical

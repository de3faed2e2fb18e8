"""A private Cox regression: near the exact one, with intervals that hold what noise and patients leave."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import fedcohort as fc
from fedcohort.analyses.cox.filter import (
    BENT,
    believed_information,
    blended,
    first_belief,
    gain_of,
    positive,
    uncertain,
)
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import CohortTooSmallError
from fedcohort.explain import explain
from fedcohort.texts.look_up import page_texts
from tests.analyses.cox import data
from tests.analyses.cox.rounds import played, table_of

COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(20, 100),
    "bmi": fc.Numeric(13, 45),
    "gender": data.SEX,
    "chf": fc.Categorical(["no", "yes"]),
}


def study(epsilon: float, columns: dict[str, Any] = COLUMNS, **words: Any) -> fc.Study:
    label = fc.Survival("time", "event", horizon=words.pop("horizon", 2200))
    return fc.Study(
        name="private cox",
        cohort=fc.Cohort(columns=columns, label=label),
        analysis=fc.Cox(" + ".join(columns), strata="none", **{"pieces": 5, **words}),
        privacy=fc.Privacy(epsilon=epsilon),
    )


def coefficients(report: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(report["cox"]["coefficients"])


@pytest.mark.parametrize(("epsilon", "far"), [(1.0, 1.6), (3.0, 1.0)])
def test_intervals_hold_the_exact_coefficients_and_these_are_near(epsilon: float, far: float) -> None:
    """30 studies of 500 patients drawn anew: of 120 intervals of 95 % most hold (of 300 studies, 94 %)."""
    frame, _, _ = data.whas500()
    asked, draw, held, errors = study(epsilon), np.random.default_rng(3), [], []
    x = data.design(frame, COLUMNS)
    exact = sm.PHReg(frame["time"], x, frame["event"], ties="efron").fit(disp=0)
    for _ in range(30):
        others = frame.iloc[draw.integers(0, len(frame), len(frame))]
        found = coefficients(played(asked, [table_of(others, asked)], draw))
        held += [*((found["low"] <= exact.params) & (exact.params <= found["high"]))]
        again = coefficients(played(asked, [table_of(frame, asked)], draw))
        errors += [*np.abs((again["coef"] - exact.params) / exact.bse)]
    assert np.mean(held) > 0.87
    assert np.median(errors) < far


def test_without_noise_it_is_the_piecewise_model_but_for_clipping_and_stopping() -> None:
    """Patients whose hazard is what the model says: neither biases it, however strong a column is."""
    draw, n = np.random.default_rng(8), 40_000
    x = draw.normal(0, 1, (n, 2)).clip(-4, 4)
    time = draw.exponential(1 / (0.1 * np.exp(x @ [0.9, -0.3])))
    lost = draw.uniform(2, 30, n)
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "time": np.minimum(time, lost), "event": time <= lost})
    columns = {"a": fc.Numeric(-4, 4), "b": fc.Numeric(-4, 4)}
    asked = study(1.0, columns, horizon=20)
    report = played(asked, [table_of(frame, asked)], None)
    np.testing.assert_allclose(coefficients(report)["coef"], [0.9, -0.3], atol=0.03)
    hazard = np.array(report["cox"]["baseline"]["strata"]["all"]["hazard"])
    np.testing.assert_allclose(hazard, 0.1 * np.array(report["cox"]["baseline"]["grid"]), rtol=0.05)


@pytest.fixture(scope="module")
def result() -> fc.Result:
    frame, _, _ = data.whas500()
    frames = data.uneven(frame.assign(bmi=frame["bmi"].where(frame.index % 10 > 0)))
    return fc.simulate(frames).run(study(3.0), progress=False)


def test_hospitals_together_are_asked_within_the_budget(result: fc.Result) -> None:
    report = result.report
    assert 2.5 < report["privacy"]["epsilon_spent"] <= 3.0
    assert abs(report["patients"] - 450) < 90
    assert abs(report["missing"] - 50) < 45
    found = coefficients(report)
    assert (found["low"] < found["coef"]).all()
    assert (found["coef"] < found["high"]).all()
    assert found.loc[found["name"] == "age", "low"].item() > 0
    stratum = report["cox"]["baseline"]["strata"]["all"]
    assert all(np.diff(stratum["survival"]) < 0)
    for low, share, high in zip(stratum["low"], stratum["survival"], stratum["high"], strict=True):
        assert low <= share <= high


@pytest.mark.parametrize("language", ["en", "zh"])
def test_page_and_words_say_what_is_known_and_what_leaves(result: fc.Result, language: str) -> None:
    ended = Finished({"study": result.study.model_dump(mode="json")}, result.report, [], "0")
    said = page_texts(language)
    text = repr(results(ended, said))
    assert said["cox.heading"] in text
    assert said["coefficients.hazard_ratio"] in text
    assert "<svg" in text
    words = explain(result.study, language=language, patients=(500, 50_000))
    expected = {
        "en": ("a hazard in each of 5 pieces", "in 8 rounds, with noise", "With 500 patients, half of them"),
        "zh": ("在 5 段时间内", "在 8 轮中，带噪声", "若有 500 名患者"),
    }
    assert [one for one in expected[language] if one not in words] == []


def test_a_cohort_that_is_surely_too_small_ends_in_words() -> None:
    frame, _, _ = data.whas500()
    asked = study(500.0)
    with pytest.raises(CohortTooSmallError, match="by its noisy count the cohort has"):
        played(asked, [table_of(frame.iloc[:3], asked)], np.random.default_rng(1))


# --- the filter -----------------------------------------------------------------------------------


def test_what_is_believed_follows_scores_as_far_as_they_are_without_noise() -> None:
    """A quadratic likelihood: without noise its maximum is found, and noise that hides it moves nothing."""
    information = np.diag([50.0, 80.0, 200.0])
    maximum = np.array([0.3, -0.2, 0.5])
    for sigma, near in ((0.0, True), (1e6, False)):
        belief = first_belief(2, 1)
        for _ in range(8):
            belief, _ = belief.after(information @ (maximum - belief.at), information, sigma)
        assert np.allclose(belief.at, maximum if near else 0.0, atol=1e-3)
        assert (np.diag(belief.covariance) < 1e-3).all() == near


def test_a_gain_is_kalmans_where_the_likelihood_is_straight() -> None:
    """Of one parameter with variance v and score i (m - t) + noise: v i / (v i^2 (1 + bent^2) + sigma^2)."""
    gain, after = gain_of(np.array([[2.0]]), np.array([[3.0]]), 4.0)
    assert gain.item() == pytest.approx(2 * 3 / (2 * 9 * 1.25 + 16))
    assert after.item() == pytest.approx(2 - gain.item() * 3 * 2)


def test_what_is_not_known_after_rounds_follows_from_the_information_that_there_is() -> None:
    """Gains of a larger information than the true one find less than they believe."""
    believed, true, sigma = np.diag([400.0, 90.0]), np.diag([40.0, 90.0]), 12.0
    first, gains = np.diag([2.0, 2.0]), []
    covariance = first
    for _ in range(3):
        gain, covariance = gain_of(covariance, believed, sigma)
        gains.append(gain)
    np.testing.assert_allclose(uncertain(first, gains, believed, sigma), covariance, rtol=1e-9)
    found = np.diag(uncertain(first, gains, true, sigma))
    draw, off = (
        np.random.default_rng(3),
        np.sqrt(2.0) * np.random.default_rng(4).standard_normal((200_000, 2)),
    )
    for gain in gains:
        score = off @ true
        bent = BENT * draw.standard_normal((len(off), 1)) * score  # of each direction by itself
        off = off - (score + bent + sigma * draw.standard_normal(off.shape)) @ gain.T
    np.testing.assert_allclose(off.var(0), found, rtol=0.02)
    assert found[0] > 50 * covariance[0, 0]
    assert found[1] == pytest.approx(covariance[1, 1])


def test_a_noisy_information_counts_as_far_as_its_noise_is_small() -> None:
    believed = believed_information(np.array([0.0, 0.0, 0.0]), np.array([100.0, 100.0]))
    np.testing.assert_allclose(believed, np.diag([100.0, 100.0, 200.0]))
    released = np.diag([110.0, 90.0, 160.0])
    np.testing.assert_allclose(blended(released, believed, np.full((3, 3), 1e-9)), released)
    np.testing.assert_allclose(blended(released, believed, np.full((3, 3), 1e9)), believed, rtol=1e-6)
    wild = positive(np.array([[1.0, 5.0], [5.0, 1.0]]))
    assert np.linalg.eigvalsh(wild)[0] > 0

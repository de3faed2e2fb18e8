"""What follows from counts by score and outcome, by hand and as scikit-learn has it."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from fedcohort.analyses.score_tables import (
    auc,
    auc_error,
    bins,
    brier,
    brier_error,
    calibration,
    calibration_errors,
    decisions,
    even_scale,
    heterogeneity,
    probability_of,
    wilson,
)

SCALE = even_scale(0.5, 4.0, apart=True)


def patients(n: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    score = draw.normal(-0.5, 1.3, n).clip(-4, 4)
    return score, (draw.random(n) < probability_of(0.7 * score + 0.4)).astype(int)


def counted(score: np.ndarray, outcome: np.ndarray, scale: object = SCALE) -> np.ndarray:
    place = np.searchsorted(SCALE.edges, score, side="right")
    n = len(SCALE.middles)
    return np.stack([np.bincount(place[outcome == side], minlength=n) for side in (0, 1)]).astype(float)


def test_four_patients_by_hand() -> None:
    """Scores -1 and 0 without, 0 and 1 with the outcome: of four pairs three are right and one is a tie."""
    counts = counted(np.array([-1.0, 0.0, 0.0, 1.0]), np.array([0, 0, 1, 1]))
    assert auc(counts)[0] == 0.875
    p = probability_of(np.array([1.0]))[0]
    assert brier(counts, SCALE)[0] == pytest.approx((2 * (1 - p) ** 2 + 2 * 0.25) / 4)
    made = decisions(counts, SCALE, np.array([0.5])).figures()
    assert made["sensitivity"].tolist() == [1.0]
    assert made["specificity"].tolist() == [0.5]
    assert made["net_benefit"].tolist() == [0.25]
    assert made["ppv"][0] == pytest.approx(2 / 3)
    assert made["npv"].tolist() == [1.0]
    assert made["treat_all"].tolist() == [0.0]


def delong(score: np.ndarray, outcome: np.ndarray) -> float:
    """The standard error pair by pair."""
    positives, negatives = score[outcome == 1], score[outcome == 0]
    won = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    return math.sqrt(won.mean(1).var(ddof=1) / len(positives) + won.mean(0).var(ddof=1) / len(negatives))


def test_on_the_grid_all_is_scikit_learns() -> None:
    score, outcome = patients()
    score = np.round(score * 2) / 2
    counts, p = counted(score, outcome), probability_of(score)
    area, error = auc(counts)
    assert area == pytest.approx(roc_auc_score(outcome, p), abs=1e-12)
    assert error == pytest.approx(delong(score, outcome), abs=1e-12)
    mean, spread = brier(counts, SCALE)
    assert mean == pytest.approx(brier_score_loss(outcome, p), abs=1e-12)
    assert spread == pytest.approx(np.square(p - outcome).std(ddof=1) / math.sqrt(300), abs=1e-12)
    line = calibration(counts, SCALE)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(score[:, None], outcome)
    assert (line.slope, line.intercept) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=1e-6)
    bin_of = bins(counts, SCALE)
    n, events = (np.bincount(bin_of, part, minlength=10) for part in (counts.sum(0), counts[1]))
    observed, _ = calibration_curve(outcome, p, n_bins=10, strategy="quantile")
    assert (events[n > 0] / n[n > 0]) == pytest.approx(observed, abs=1e-12)


def test_errors_of_the_line_are_statsmodels() -> None:
    import statsmodels.api as sm

    score, outcome = patients()
    score = np.round(score * 2) / 2
    counts = counted(score, outcome)
    fitted = sm.GLM(outcome, sm.add_constant(score), sm.families.Binomial()).fit(tol=1e-12)
    assert calibration(counts, SCALE).errors == pytest.approx(tuple(fitted.bse), abs=1e-8)
    large = sm.GLM(outcome, np.ones(300), sm.families.Binomial(), offset=score).fit(tol=1e-12)
    found = calibration(counts, SCALE, slope=False)
    assert (found.intercept, found.errors[0]) == pytest.approx((large.params[0], large.bse[0]), abs=1e-8)
    assert found.slope == 1


@pytest.mark.parametrize("seed", range(5))
def test_between_the_steps_figures_are_within_what_is_told(seed: int) -> None:
    score, outcome = patients(seed=seed)
    counts, p = counted(score, outcome), probability_of(score)
    assert abs(auc(counts)[0] - roc_auc_score(outcome, p)) <= auc_error(counts)
    assert abs(brier(counts, SCALE)[0] - brier_score_loss(outcome, p)) <= brier_error(counts, SCALE)
    theirs = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(score[:, None], outcome)
    line = calibration(counts, SCALE)
    intercept, slope = calibration_errors(counts, SCALE, line)
    assert abs(line.slope - theirs.coef_[0, 0]) <= slope
    assert abs(line.intercept - theirs.intercept_[0]) <= intercept


def test_separated_outcomes_and_one_outcome_alone_have_no_line() -> None:
    score = np.array([-2.0, -1.0, 1.0, 2.0])
    assert math.isnan(calibration(counted(score, np.array([0, 0, 1, 1])), SCALE).slope)
    alone = counted(score, np.array([1, 1, 1, 1]))
    assert math.isnan(calibration(alone, SCALE).slope)
    assert math.isnan(auc(alone)[0])
    assert math.isnan(brier(alone * 0, SCALE)[0])
    assert bins(alone * 0, SCALE).tolist() == [0] * len(SCALE.middles)
    made = decisions(alone * 0, SCALE, np.array([0.5]))
    assert all(np.isnan(one).all() for one in made.figures().values())
    assert np.isnan(made.benefit_error()).all()


def test_a_threshold_inside_a_coarse_part_takes_a_share_of_it() -> None:
    coarse = even_scale(0.5, 4.0, apart=False)
    share = coarse.above(np.array([0.5]))[0]
    assert share[: len(share) // 2].tolist() == [0.0] * 8
    assert share[8] == pytest.approx(0.5)
    assert share[9:].tolist() == [1.0] * 8


def test_wilsons_interval_is_scipys() -> None:
    low, high = wilson(np.array([3.0]), np.array([10.0]))
    theirs = stats.binomtest(3, 10).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_groups_that_are_the_same_do_not_differ() -> None:
    assert heterogeneity(np.array([0.7, 0.7]), np.array([0.1, 0.2])) == (0.0, 1)
    statistic, degrees = heterogeneity(np.array([0.6, 0.8, np.nan]), np.array([0.1, 0.1, 0.1]))
    assert statistic == pytest.approx(2.0)
    assert degrees == 1
    assert heterogeneity(np.array([0.7]), np.array([0.1]))[1] == 0

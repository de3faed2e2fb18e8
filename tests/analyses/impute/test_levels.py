"""Columns of three levels are filled in by a multinomial model: over hospitals as by all rows together."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

import fedcohort as fc
from fedcohort.analyses.impute.chains import Target
from fedcohort.analyses.impute.multinomial import multinomial_sums, shares_of
from fedcohort.errors import DisclosureError
from tests.analyses.together import report_of

from .test_impute import number, sites, table

COHORT = fc.Cohort(columns={"x": fc.Numeric(), "g": fc.Categorical(["a", "b", "c"])}, label=fc.Binary("y"))
NAMES = ["Intercept", "x", "C(g)[T.b]", "C(g)[T.c]"]
TRUTH = np.array([-0.4, 0.8, 1.2, -0.7])


def people(seed: int = 0, n: int = 400) -> pd.DataFrame:
    """Patients of three groups, of which x tells something, with an outcome by known coefficients."""
    draw = np.random.default_rng([seed, 9])
    x = draw.normal(0, 1, n)
    shares = shares_of(np.column_stack([0.8 * x - 0.2, -0.9 * x]))
    ends = np.cumsum(np.column_stack([1 - shares.sum(1), shares]), axis=1)
    level = (draw.random(n)[:, None] >= ends[:, :2]).sum(1)
    eta = np.column_stack([np.ones(n), x, level == 1, level == 2]) @ TRUTH
    y = (draw.random(n) < 1 / (1 + np.exp(-eta))).astype(int)
    ids = [f"{seed}-{row}" for row in range(n)]
    return pd.DataFrame({"patient_id": ids, "x": x, "g": np.array(["a", "b", "c"])[level], "y": y})


def lacking(seed: int = 0, n: int = 400) -> pd.DataFrame:
    """The same without the group of some, of more the larger x, and of most who have the outcome."""
    frame, draw = people(seed, n), np.random.default_rng([seed, 1])
    gone = draw.random(n) < 1 / (1 + np.exp(1 - 1.2 * frame["x"] - 1.5 * frame["y"]))
    return frame.assign(g=frame["g"].where(~gone))


def lacking_at_a_site(seed: int = 0, n: int = 400) -> pd.DataFrame:
    """The first hospital has no groups at all."""
    frame = people(seed, n)
    return frame.assign(g=frame["g"].where(np.arange(n) >= n // 3))


def study(seed: int = 0, protection: Any = "none", **words: Any) -> fc.Study:
    asked = fc.Impute(**{"formula": "y ~ x + C(g)", "columns": ["g"], "m": 5, "cycles": 3, **words})
    return fc.Study(name="i", cohort=COHORT, analysis=asked, seed=seed, protection=protection)


COMPLETE = fc.Study(name="g", cohort=COHORT, analysis=fc.GLM("y ~ x + C(g)"))


def test_the_sums_of_a_multinomial_model_are_those_of_statsmodels() -> None:
    draw = np.random.default_rng(2)
    x = np.column_stack([np.ones(300), draw.normal(0, 1, (300, 2))])
    level, theta = draw.integers(0, 4, 300), draw.normal(0, 0.5, 9)
    indicators = (level[:, None] == np.arange(1, 4)).astype(float)
    ours, model = multinomial_sums(x, indicators, theta), sm.MNLogit(level, x)
    at = theta.reshape(3, 3).T
    assert ours.loglik == pytest.approx(model.loglike(at), rel=1e-12)
    np.testing.assert_allclose(ours.score, model.score(at), rtol=1e-9)
    np.testing.assert_allclose(-ours.information, model.hessian(at), rtol=1e-9)


def test_shares_of_any_size_are_shares() -> None:
    shares = shares_of(np.array([[0.0, 0.0], [900.0, -900.0], [-900.0, -900.0], [np.log(2), np.log(3)]]))
    expected = np.array([[1 / 3, 1 / 3], [1, 0], [0, 0], [2 / 6, 3 / 6]])
    np.testing.assert_allclose(shares, expected, atol=1e-12)


def test_a_number_picks_a_level_by_its_share() -> None:
    three, pair = Target("g", (4, 5), False), Target("b", (1,), False)
    uniform = np.array([0.05, 0.2, 0.59, 0.61, 0.99])
    picked = three.chosen(uniform, np.array([0.2, 0.4]))
    assert picked.tolist() == [[1, 0], [0, 1], [0, 1], [0, 0], [0, 0]]
    assert pair.chosen(uniform, np.array([0.6]))[:, 0].tolist() == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("made", [lacking, lacking_at_a_site])
def test_hospitals_together_are_all_rows_in_one(made: Any) -> None:
    whole, parted = report_of(study(), [made()]), report_of(study(), sites(made()))
    np.testing.assert_allclose(table(whole), table(parted), rtol=1e-9)
    shuffled = report_of(study(), sites(made().sample(frac=1, random_state=3)))
    np.testing.assert_allclose(table(whole), table(shuffled), rtol=1e-9)
    gone = int(made()["g"].isna().sum())
    assert whole["impute"]["columns"]["g"] == {"missing": gone, "n": 400 - gone}


def test_none_and_masks_give_the_same_bits() -> None:
    frames = dict(zip("abc", sites(lacking()), strict=True))
    reports = [
        fc.simulate(frames).run(study(0, protection), progress=False).report["impute"]
        for protection in ("none", "masks")
    ]
    assert reports[0] == reports[1]


def test_nothing_missing_is_the_regression_itself() -> None:
    ours, plain = report_of(study(), sites(people())), report_of(COMPLETE, sites(people()))
    assert [number(table(ours), name, "coef") for name in NAMES] == pytest.approx(
        [number(table(plain, "glm"), name, "coef") for name in NAMES], rel=1e-9
    )


def test_intervals_hold_the_truth_where_complete_rows_are_far_from_it() -> None:
    held, off, complete_off = [], [], []
    for seed in range(40):
        frame = lacking(seed)
        found = table(report_of(study(seed, m=10), sites(frame))).loc[NAMES]
        held.append(((found["low"] <= TRUTH) & (found["high"] >= TRUTH)).to_numpy())
        off.append(found["coef"].to_numpy() - TRUTH)
        complete_off.append(table(report_of(COMPLETE, sites(frame)), "glm").loc[NAMES, "coef"] - TRUTH)
    # Of 160 intervals 152 are to hold it; fewer than 142 would happen once in 1,000.
    assert np.sum(held) >= 142
    bias, of_complete = np.abs(np.mean(off, 0)), np.abs(np.mean(complete_off, 0))
    assert (bias < 0.15).all()
    assert bias[0] < 0.3 * of_complete[0]


def test_a_hospital_without_the_column_takes_part_and_number_and_levels_go_together() -> None:
    frame = lacking_at_a_site()
    frame.loc[frame.index[200:230], "x"] = np.nan
    report = report_of(study(columns=["x", "g"]), sites(frame))
    assert report["impute"]["n"] == 400
    complete = report_of(COMPLETE, sites(frame))
    assert number(table(report), "x", "se") < number(table(complete, "glm"), "x", "se")


def test_a_level_that_few_have_ends_the_study_under_rules() -> None:
    frame = lacking()
    few = frame.index[frame["g"] == "a"][5:]
    frame.loc[few, "g"] = "b"
    hospitals = fc.simulate(dict(zip("abc", sites(frame), strict=True)), disclosure=fc.Disclosure())
    with pytest.raises(DisclosureError, match="g: fewer than min_cell"):
        hospitals.run(study(), progress=False)

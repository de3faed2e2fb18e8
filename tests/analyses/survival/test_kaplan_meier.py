"""Survival curves over hospitals are those of all patients; under privacy near them, with intervals."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Draw, State, Sums
from fedcohort.analyses.exits import CHUNK, ExitsStage, GridPlaces
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.analyses.survival.life_table import LifeTable
from fedcohort.errors import StudyError, ValueRangeError
from fedcohort.table import Table

TREATED = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"
"""Weeks of remission, + where it went on (Freireich et al. 1963, Blood 21:699)."""
WEEKS = [float(week) for week in range(1, 36)]


def freireich() -> pd.DataFrame:
    rows = [
        {"arm": arm, "weeks": float(week.rstrip("+")), "relapse": int(not week.endswith("+"))}
        for arm, weeks in (("drug", TREATED), ("placebo", PLACEBO))
        for week in weeks.split()
    ]
    return pd.DataFrame(rows).assign(patient_id=[f"p{row:02d}" for row in range(len(rows))])


COHORT = fc.Cohort(
    columns={"arm": fc.Categorical(["drug", "placebo"])}, label=fc.Survival("weeks", "relapse")
)


def ask(frame: pd.DataFrame, cohort: fc.Cohort = COHORT, sites: int = 3, **words: Any) -> dict[str, Any]:
    privacy = words.pop("privacy", None)
    asked = fc.Study(
        name="km", cohort=cohort, analysis=fc.KaplanMeier(**{"grid": WEEKS, **words}), privacy=privacy
    )
    frames = {f"site{index}": frame.iloc[index::sites] for index in range(sites)}
    return fc.simulate(frames).run(asked, progress=False).report


def pooled(time: np.ndarray, event: np.ndarray) -> dict[float, tuple[float, float]]:
    """By time of an event the survival after it and Greenwood's sum, patient by patient."""
    found, survival, greenwood = {}, 1.0, 0.0
    for when in sorted(set(time[event == 1])):
        risk, died = int((time >= when).sum()), int(((time == when) & (event == 1)).sum())
        survival *= 1 - died / risk
        greenwood += died / (risk * (risk - died)) if risk > died else 0.0
        found[when] = survival, greenwood
    return found


def restricted_mean(time: np.ndarray, event: np.ndarray, horizon: float) -> tuple[float, float]:
    """The area under the curve and its variance, step by step (Klein and Moeschberger 2003, section 4.5)."""
    curve = pooled(time, np.where(time <= horizon, event, 0))
    edges, heights = [0.0, *curve, horizon], [1.0, *(survival for survival, _ in curve.values())]
    areas = [height * (edges[place + 1] - edges[place]) for place, height in enumerate(heights)]
    variance = 0.0
    for place, when in enumerate(curve):
        risk, died = int((time >= when).sum()), int(((time == when) & (event == 1)).sum())
        if risk > died:
            variance += sum(areas[place + 1 :]) ** 2 * died / (risk * (risk - died))
    return sum(areas), variance


def test_published_figures_of_the_leukaemia_trial() -> None:
    """Survival of the treated and the log-rank test as textbooks have them (Collett 2015; Klein 2003)."""
    found = ask(freireich(), by="arm")["survival"]
    drug = dict(zip(found["grid"], found["groups"]["drug"]["survival"], strict=True))
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    assert {week: round(drug[week], 3) for week in published} == published
    assert found["groups"]["drug"]["median"] == 23
    assert found["groups"]["placebo"]["median"] == 8
    assert round(found["groups"]["drug"]["rmst"], 1) == 23.3
    assert round(found["logrank"]["statistic"], 2) == 16.79
    assert found["logrank"]["p"] == pytest.approx(chi2.sf(found["logrank"]["statistic"], 1), rel=1e-9)


@pytest.mark.parametrize("sites", [2, 3, 5])
def test_hospitals_together_find_what_all_patients_show(sites: int) -> None:
    draw = np.random.default_rng(sites)
    n = 200
    time, event = np.ceil(draw.exponential(20, n)), draw.integers(0, 2, n)
    frame = pd.DataFrame(
        {"arm": "drug", "weeks": time, "relapse": event, "patient_id": [f"p{i}" for i in range(n)]}
    )
    report = ask(frame, sites=sites)
    group = report["survival"]["groups"]["all"]
    inside = time <= WEEKS[-1]
    expected = pooled(time, np.where(inside, event, 0))
    for place, week in enumerate(WEEKS):
        survival, greenwood = next(
            (value for when, value in reversed(expected.items()) if when <= week), (1.0, 0.0)
        )
        assert group["survival"][place] == pytest.approx(survival, abs=1e-12)
        assert group["at_risk"][place] == int((time >= week).sum())
        if 0 < survival < 1:
            spread = 1.959963984540054 * math.sqrt(greenwood) / abs(math.log(survival))
            assert group["low"][place] == pytest.approx(survival ** math.exp(spread), abs=1e-12)
            assert group["high"][place] == pytest.approx(survival ** math.exp(-spread), abs=1e-12)
        else:
            assert group["low"][place] is None
    assert report["patients"] == n
    assert group["n"] == n
    mean, variance = restricted_mean(time, event, WEEKS[-1])
    assert group["rmst"] == pytest.approx(mean, abs=1e-10)
    assert group["rmst_high"] - mean == pytest.approx(1.959963984540054 * math.sqrt(variance), abs=1e-10)


def test_the_same_bits_under_every_protection() -> None:
    frames = {f"site{index}": freireich().iloc[index::3] for index in range(3)}
    reports = []
    for protection in ("none", "masks"):
        asked = fc.Study(
            name="km", cohort=COHORT, analysis=fc.KaplanMeier(grid=WEEKS, by="arm"), protection=protection
        )
        reports.append(fc.simulate(frames).run(asked, progress=False).report["survival"])
    assert reports[0] == reports[1]


def test_who_has_no_group_is_missing_and_who_has_no_time_is_not_in_the_cohort() -> None:
    frame = freireich()
    frame.loc[0, "weeks"] = np.nan
    frame.loc[30, "arm"] = None
    report = ask(frame, by="arm")
    assert (report["patients"], report["missing"]) == (40, 1)
    groups = report["survival"]["groups"]
    assert (groups["drug"]["n"], groups["placebo"]["n"]) == (20, 20)


def test_a_negative_time_is_refused_and_under_privacy_missing() -> None:
    frame = freireich()
    frame.loc[0, "weeks"] = -1.0
    with pytest.raises(ValueRangeError, match="negative time"):
        ask(frame)
    assert ask(frame, privacy=fc.Privacy(epsilon=100.0))["missing"] <= 3


def test_a_patient_with_two_rows_counts_once() -> None:
    frame = freireich()
    twice = pd.concat([frame, frame.assign(weeks=1.0)], ignore_index=True)
    later = twice.sort_values("patient_id", kind="stable", ignore_index=True)
    frames = {"a": later.iloc[:40], "b": later.iloc[40:]}
    asked = fc.Study(name="km", cohort=COHORT, analysis=fc.KaplanMeier(grid=WEEKS))
    found = fc.simulate(frames).run(asked, progress=False).report
    assert found["patients"] == 42
    group = found["survival"]["groups"]["all"]
    assert (group["n"], group["events"]) == (42, ask(frame)["survival"]["groups"]["all"]["events"])


def test_what_lies_beyond_the_grid_is_observed_to_its_end() -> None:
    group = ask(freireich(), grid=[5.0, 10.0])["survival"]["groups"]["all"]
    assert group["survival"][0] == pytest.approx(1 - 9 / 42)
    assert group["events"] == 9 + 9


def many(n: int, seed: int) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    arm = np.array(["drug", "placebo"])[draw.integers(0, 2, n)]
    time = np.ceil(draw.exponential(np.where(arm == "drug", 25.0, 12.0)))
    lost = np.ceil(draw.uniform(5, 60, n))
    frame = pd.DataFrame({"arm": arm, "weeks": np.minimum(time, lost), "relapse": (time <= lost).astype(int)})
    return frame.assign(patient_id=[f"p{seed}-{row}" for row in range(n)])


def test_under_privacy_the_curve_is_near_the_exact_one_and_its_intervals_hold_it() -> None:
    """In six studies, since the noise is the system's: intervals of 95 % miss now and then."""
    grid, held, means = [5.0 * step for step in range(1, 8)], [], []
    for seed in range(6):
        frame = many(2000, seed)
        report = ask(frame, by="arm", grid=grid, privacy=fc.Privacy(epsilon=2.0))
        exact = ask(frame, by="arm")["survival"]["groups"]
        assert report["survival"]["logrank"]["p"] < 0.01
        assert report["privacy"]["epsilon_spent"] <= 2.0
        for level, group in report["survival"]["groups"].items():
            true = [exact[level]["survival"][WEEKS.index(week)] for week in grid]
            assert np.max(np.abs(np.array(group["survival"]) - true)) < 0.12
            ends = zip(group["low"], true, group["high"], strict=True)
            held += [low <= value <= high for low, value, high in ends]
            means.append(group["rmst_low"] < exact[level]["rmst"] < group["rmst_high"])
    assert np.mean(held) > 0.85
    assert sum(means) >= 8, "of 12; fewer in one of 5,000 runs where 95 % of intervals hold"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "repeats"),
    [(60, 20), (300, 15), (3000, 10)],
)
def test_private_intervals_hold_the_curve_whatever_the_number_of_patients(n: int, repeats: int) -> None:
    """Of places of a curve, which fall and hold together: .90 to 1 where 95 % are meant; docs/privacy.md."""
    grid, held = [5.0 * step for step in range(1, 9)], []
    analysis = build_analysis(
        fc.Study(
            name="km",
            cohort=COHORT,
            analysis=fc.KaplanMeier(grid=grid, by="arm"),
            privacy=fc.Privacy(epsilon=1.0),
        )
    )
    true = np.exp(-np.array(grid) / np.array([[25.0], [12.0]]))
    for seed in range(repeats):
        draw, cells = np.random.default_rng((n, seed)), np.zeros((2, 9, 2))
        arm = draw.integers(0, 2, n)
        time, lost = draw.exponential(np.where(arm, 12.0, 25.0)), draw.uniform(5, 60, n)
        place = np.searchsorted(grid, np.minimum(time, lost))
        np.add.at(cells, (arm, place, np.where(place < 8, time <= lost, 0).astype(int)), 1)
        noisy = cells + draw.normal(0, 4.5, cells.shape)
        sums = Sums({"exits": np.append(noisy.reshape(-1), 0.0)}, {"exits": 4.5})
        found = analysis.report(State("done", 1, finished=True, sums=sums))["survival"]
        for level, curve in zip(("drug", "placebo"), true, strict=True):
            group = found["groups"][level]  # type: ignore[index]
            assert all(
                low <= x <= high
                for low, x, high in zip(group["low"], group["survival"], group["high"], strict=True)
            )
            held.append(np.mean((np.array(group["low"]) <= curve) & (curve <= np.array(group["high"]))))
    assert np.mean(held) > 0.88


@pytest.mark.parametrize("one_hazard", [False, True])
def test_whatever_noise_does_counts_are_drawn_as_of_patients_who_may_have_been(one_hazard: bool) -> None:
    """Of tables that are mostly noise, of which some have nobody left in a group."""
    for seed in range(300):
        draw = np.random.default_rng(seed)
        counts = draw.poisson(1.5, (2, 2, 9, 2)) + draw.normal(0, 4.5, (2, 2, 9, 2))
        expected = LifeTable(counts, halved=True).expected(one_hazard)
        assert np.all(expected >= 0)
        np.testing.assert_allclose(expected.sum((2, 3)), np.maximum(counts.sum((2, 3)), 0), atol=1e-9)


def test_the_private_test_within_strata_finds_what_differs_and_not_what_does_not() -> None:
    frame = many(3000, 1)
    frame["ward"] = np.where(np.arange(len(frame)) % 2, "a", "b")
    columns = {"arm": fc.Categorical(["drug", "placebo"]), "ward": fc.Categorical(["a", "b"])}
    cohort = fc.Cohort(columns=columns, label=fc.Survival("weeks", "relapse"))
    words: dict[str, Any] = {"by": "arm", "strata": "ward", "grid": [5.0 * step for step in range(1, 8)]}
    found = ask(frame, cohort, privacy=fc.Privacy(epsilon=2.0), **words)
    assert found["privacy"]["epsilon_spent"] <= 2.0
    assert found["survival"]["logrank"]["p"] < 0.01
    mixed = frame.assign(arm=np.random.default_rng(1).permutation(frame["arm"].to_numpy()))
    privacy = fc.Privacy(epsilon=2.0)
    again = [ask(mixed, cohort, privacy=privacy, **words)["survival"]["logrank"]["p"] for _ in range(3)]
    assert max(again) > 0.01


def test_without_noise_a_private_curve_is_the_life_table() -> None:
    """Who is lost within an interval counts for half of it (Cutler and Ederer 1958)."""
    grid = [10.0, 20.0, 30.0]
    asked = fc.Study(
        name="km",
        cohort=COHORT,
        analysis=fc.KaplanMeier(grid=grid, by="arm"),
        privacy=fc.Privacy(epsilon=1.0),
    )
    analysis = build_analysis(asked)
    frame = freireich()
    cells = np.zeros((2, 4, 2))
    for arm, weeks, relapse in zip(frame["arm"], frame["weeks"], frame["relapse"], strict=True):
        place = int(np.searchsorted(grid, float(weeks)))
        cells[int(arm == "placebo"), place, int(relapse) if place < 3 else 0] += 1
    state = State("done", 1, finished=True, sums=Sums({"exits": np.append(cells.reshape(-1), 0.0)}))
    found = analysis.report(state)["survival"]["groups"]["drug"]  # type: ignore[index]
    expected, left = 1.0, 21.0
    for place in range(3):
        lost, died = cells[0, place]
        expected *= 1 - died / (left - lost / 2)
        left -= lost + died
        assert found["survival"][place] == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_the_log_rank_test_of_arms_that_do_not_differ_is_seldom_significant() -> None:
    """Under privacy the p-value is of patients and noise together."""
    grid, found = [5.0 * step for step in range(1, 8)], []
    for seed in range(20):
        frame = many(400, seed)
        frame["arm"] = np.random.default_rng(seed).permutation(frame["arm"].to_numpy())
        found.append(
            ask(frame, by="arm", grid=grid, privacy=fc.Privacy(epsilon=2.0))["survival"]["logrank"]["p"]
        )
    assert sum(p < 0.05 for p in found) <= 5
    assert min(found) > 0.0005


def test_noise_that_lifts_a_curve_is_smoothed_by_least_squares() -> None:
    from scipy.optimize import isotonic_regression

    draw = np.random.default_rng(3)
    counts = draw.normal(5, 8, (2, 12, 2))
    table = LifeTable(counts, halved=True)
    raw = np.cumprod(1 - np.clip(table.events / np.maximum(table.at_risk, 1.0), -0.5, 1.0), axis=-1)
    smooth = np.stack([isotonic_regression(line, increasing=False).x for line in raw])
    assert np.allclose(table.survival, np.clip(smooth, 0, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"grid": []}, "grid: name 1 or more"),
        ({"grid": [3.0, 2.0]}, "in order"),
        ({"grid": [0.0]}, "grid"),
        ({"at": [99.0]}, "the grid's last"),
        ({"by": "ward"}, "by: ward is not among the cohort's columns"),
        ({"by": "arm", "strata": "ward"}, "strata: ward is not among the cohort's columns"),
        ({"strata": "arm"}, "name another column as `by`"),
        ({"by": "arm", "strata": "arm"}, "name another column as `by`"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        ask(freireich(), **words)


def test_a_cohort_without_a_survival_label_is_refused() -> None:
    cohort = fc.Cohort(columns={"arm": fc.Categorical(["drug", "placebo"])}, label="relapse")
    with pytest.raises(StudyError, match=r"survival needs fc\.Survival"):
        ask(freireich(), cohort)


def test_groups_are_levels() -> None:
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 120)}, label=fc.Survival("weeks", "relapse"))
    with pytest.raises(StudyError, match="has no levels"):
        ask(freireich().assign(age=60.0), cohort, by="age")


@pytest.mark.parametrize("words", [{"clip": 1.0}, {"evaluate_every": 7}, {"rows_per_patient": 2}])
def test_privacy_says_nothing_that_a_curve_does_not_heed(words: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(words))):
        ask(freireich(), privacy=fc.Privacy(epsilon=1.0, **words))


@pytest.mark.parametrize("grid", [(1.0, 2.0, 5.0, 9.0), (0.5, 2.25, 9.0), tuple(range(1, 40))])
def test_a_time_counts_at_the_next_of_the_grid(grid: tuple[float, ...]) -> None:
    times = np.array([0.0, 0.2, 1.0, 1.5, 2.0, 5.000001, 9.0, 9.5, 39.0, 1e300, np.inf])
    expected = [sum(edge < time for edge in grid) for time in times]
    places = GridPlaces.of(grid)
    assert places(times).tolist() == expected
    assert places(np.array([np.nan])).tolist() == [len(grid)]
    assert places(times[:0]).tolist() == []


@pytest.mark.parametrize("most", [None, 1])
@pytest.mark.parametrize("n_causes", [1, 2])
def test_chunks_of_patients_add_up_to_one_patient_after_the_other(n_causes: int, most: int | None) -> None:
    n, draw = CHUNK + 3, np.random.default_rng(1)
    time, event, arm = (
        draw.integers(0, 12, n) / 2,
        draw.integers(0, 4, n).astype(np.float64),
        draw.integers(-1, 2, n),
    )
    time[[0, CHUNK]], time[CHUNK - 1], event[[5, CHUNK + 1]] = np.nan, -1.0, np.nan
    ids = np.char.zfill(np.arange(n).astype(str), 6)
    table = Table(ids, {"arm": arm}, np.zeros(n, np.int8), time, event)
    stage = ExitsStage(COHORT, (1.0, 2.0, 4.0), ("arm",), (2,), n_causes)
    rows = Rows(table, most)
    found = site_sum(stage.blocks, stage.contribute(State("exits"), rows, Draw(0, "a", 0)), rows, most == 1)
    expected = np.zeros(stage.shape, np.int64)
    missing = 0
    for t, e, a in zip(time.tolist(), event.tolist(), arm.tolist(), strict=True):
        if not (t >= 0 and e >= 0 and a >= 0):
            missing += 1
            continue
        place = sum(edge < t for edge in stage.grid)
        expected[a, place, min(int(e), n_causes) if place < 3 else 0] += 1
    assert found["exits"].tolist() == [*expected.reshape(-1).tolist(), missing]

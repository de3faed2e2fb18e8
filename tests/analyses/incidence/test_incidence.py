"""Cumulative incidence over hospitals is that of all patients, and Gray's test that of published figures."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from sksurv.nonparametric import cumulative_incidence_competing_risks

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import State, Sums
from fedcohort.analyses.incidence.aalen_johansen import IncidenceTable
from fedcohort.analyses.incidence.gray import GrayTest
from fedcohort.dashboard.federation.document import Finished, results
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from fedcohort.texts.look_up import page_texts
from tests.analyses.clinical import uneven
from tests.analyses.clinical_survival import flchain

from .marrow import marrow

LABEL = fc.Survival("t", "e", causes=(1, 2))
ARMS = fc.Categorical(("ALL", "AML low risk", "AML high risk"))
COHORT = fc.Cohort(columns={"arm": ARMS}, label=LABEL)


def ask(frame: pd.DataFrame, cohort: fc.Cohort = COHORT, **words: Any) -> dict[str, Any]:
    study = {name: words.pop(name) for name in ("privacy", "protection") if name in words}
    question = fc.CumulativeIncidence(**{"grid": sorted(set(frame["t"])), "by": "arm", **words})
    asked = fc.Study(name="cif", cohort=cohort, analysis=question, **study)
    report: dict[str, Any] = fc.simulate(uneven(frame)).run(asked, progress=False).report
    return report


def check_against_the_library(found: dict[str, Any], frame: pd.DataFrame) -> None:
    for arm, part in frame.groupby("arm"):
        group = found["groups"][str(arm)]
        time, curves, ends = cumulative_incidence_competing_risks(
            part["e"].to_numpy(), part["t"].to_numpy(), conf_type="log-log"
        )
        at = np.searchsorted(found["grid"], time)
        assert group["at_risk"] == [int((part["t"] >= when).sum()) for when in found["grid"]]
        for cause in (1, 2):
            ours = group["causes"][str(cause)]
            assert ours["events"] == int((part["e"] == cause).sum())
            assert np.max(np.abs(np.array(ours["incidence"])[at] - curves[cause])) < 1e-12
            begun = curves[cause] > 0
            for end, theirs in zip(("low", "high"), ends[cause], strict=True):
                assert np.max(np.abs(np.array(ours[end], float)[at] - theirs)[begun]) < 1e-10
            assert np.array(ours["low"], float)[at][begun].max() < 1


def test_curves_and_intervals_are_those_of_scikit_survival() -> None:
    frame = marrow()
    found = ask(frame)["incidence"]
    assert found == ask(frame, protection="none")["incidence"]
    check_against_the_library(found, frame)


def test_curves_of_thousands_are_those_of_scikit_survival() -> None:
    frame = flchain()
    frame["e"] = frame["cause"]
    cohort = fc.Cohort(columns={"arm": fc.Categorical((0, 1))}, label=LABEL)
    found = ask(frame, cohort)["incidence"]
    check_against_the_library(found, frame)
    for cause in (1, 2):
        expected = of_single_patients(frame, cause)
        assert found["gray"][str(cause)]["statistic"] == pytest.approx(expected, rel=1e-9)


def test_grays_test_is_that_of_published_figures() -> None:
    """11.9229 and p .0026, as PROC LIFETEST of SAS/STAT prints them of these patients' relapses."""
    found = ask(marrow())["incidence"]["gray"]
    assert found["1"]["statistic"] == pytest.approx(11.9229, abs=5e-5)
    assert found["1"]["p"] == pytest.approx(0.0026, abs=5e-5)
    assert found["1"]["p"] == pytest.approx(chi2.sf(found["1"]["statistic"], 2), rel=1e-9)


def of_single_patients(frame: pd.DataFrame, cause: int) -> float:
    """Gray's statistic time by time, every sum over patients written out (Gray 1988, section 3)."""
    arms = sorted(set(frame["arm"]))
    place = {arm: index for index, arm in enumerate(arms)}
    t, e = frame["t"].to_numpy(), frame["e"].to_numpy()
    arm = frame["arm"].map(place).to_numpy()
    n_arms, free, own, pooled = len(arms), np.ones(len(arms)), np.zeros(len(arms)), 0.0
    excess, passed = np.zeros(n_arms), []
    for when in np.unique(t[e > 0]):
        risk = np.bincount(arm[t >= when], minlength=n_arms).astype(float)
        mine = np.bincount(arm[(t == when) & (e == cause)], minlength=n_arms)
        other = np.bincount(arm[(t == when) & (e > 0) & (e != cause)], minlength=n_arms)
        h = np.array([n / s if n else 0.0 for n, s in zip(risk, free, strict=True)])
        subject = h * (1 - own)
        excess += mine - mine.sum() * subject / subject.sum()
        hazard = mine.sum() / (h.sum() * (1 - pooled))
        spread = np.diag(h) - np.outer(h, h) / h.sum()
        after = np.array(
            [s * (1 - (a + b) / n) if n else s for s, a, b, n in zip(free, mine, other, risk, strict=True)]
        )
        own = own + np.array([s * a / n if n else 0.0 for s, a, n in zip(free, mine, risk, strict=True)])
        pooled += mine.sum() / h.sum()
        passed.append((risk, mine.sum(), other, free, after, h, spread, hazard, pooled))
        free = after
    variance, still_to_come = np.zeros((n_arms, n_arms)), np.zeros((n_arms, n_arms))
    for risk, died, other, before, after, h, spread, hazard, pooled in reversed(passed):
        for k in range(n_arms):
            if not risk[k]:
                continue
            ratio = (1 - pooled) / after[k] if after[k] > 0 else 0.0
            jump = spread[:, k] + (1 - ratio if after[k] > 0 else 1.0) * still_to_come[:, k]
            if died:
                tied = 1 - (died - 1) / (h.sum() * before[k] - 1) if died > 1 else 1.0
                variance += np.outer(jump, jump) * tied * before[k] * died / (h.sum() * risk[k])
            tied = 1 - (other[k] - 1) / (risk[k] - 1) if other[k] > 1 else 1.0
            moved = ratio * still_to_come[:, k]
            variance += np.outer(moved, moved) * tied * other[k] * (before[k] / risk[k]) ** 2
        still_to_come += spread * hazard
    return float(excess[:-1] @ np.linalg.solve(variance[:-1, :-1], excess[:-1]))


@pytest.mark.parametrize("seed", range(4))
def test_grays_test_is_that_of_single_patients(seed: int) -> None:
    """With ties, and groups of which one ends early."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {"arm": draw.integers(0, 3, 90), "t": np.ceil(draw.exponential(9, 90)), "e": draw.integers(0, 3, 90)}
    )
    frame.loc[frame["arm"] == 2, "t"] = np.minimum(frame["t"], 4.0)
    counts = np.zeros((3, int(frame["t"].max()) + 1, 3))
    np.add.at(counts, (frame["arm"], frame["t"].astype(int) - 1, frame["e"]), 1)
    for cause in (1, 2):
        statistic, _ = GrayTest(counts, cause - 1).statistic()
        assert statistic == pytest.approx(of_single_patients(frame, cause), rel=1e-10)


def test_groups_alike_differ_by_nothing_and_a_group_of_nobody_by_nothing_either() -> None:
    counts = np.zeros((2, 4, 3))
    counts[:, :3] = [[1, 1, 0], [0, 1, 2], [1, 1, 1]]
    statistic, p = GrayTest(counts, 0).statistic()
    assert statistic == pytest.approx(0.0)
    assert p == pytest.approx(1.0)
    counts[1] = 0
    assert GrayTest(counts, 0).statistic()[0] == pytest.approx(0.0)
    assert GrayTest(np.zeros((2, 4, 3)), 0).statistic()[0] == 0.0


def test_of_four_patients() -> None:
    """Day 1 one dies of cause 2; day 2 one of cause 1; day 3 one is lost; day 4 the last of cause 1."""
    frame = pd.DataFrame({"t": [1.0, 2.0, 3.0, 4.0], "e": [2, 1, 0, 1], "arm": "ALL"})
    frame["patient_id"] = list("abcd")
    report = ask(frame, by=None)
    group = report["incidence"]["groups"]["all"]
    assert report["patients"] == 4
    assert "gray" not in report["incidence"]
    assert group["causes"]["1"]["incidence"] == pytest.approx([0, 0.25, 0.25, 0.75])
    assert group["causes"]["2"]["incidence"] == pytest.approx([0.25] * 4)
    assert group["causes"]["1"]["low"][0] is None


def test_of_competing_causes_a_survival_curve_takes_each_as_the_event() -> None:
    frame = marrow()
    plain = frame.assign(e=(frame["e"] > 0).astype(int))
    reports = []
    for one, label in ((frame, LABEL), (plain, fc.Survival("t", "e"))):
        cohort = fc.Cohort(columns={"arm": ARMS}, label=label)
        asked = fc.KaplanMeier(grid=[100.0, 500.0, 2000.0], by="arm")
        study = fc.Study(name="km", cohort=cohort, analysis=asked)
        reports.append(fc.simulate(uneven(one)).run(study, progress=False).report["survival"])
    assert reports[0] == reports[1]


def test_other_questions_take_causes_as_levels_or_refuse_the_label() -> None:
    frame = marrow().assign(age=lambda rows: 20.0 + np.arange(len(rows)) % 50)
    cohort = fc.Cohort(columns={"arm": ARMS, "age": fc.Numeric(0, 120)}, label=LABEL)

    def run(question: Any) -> dict[str, Any]:
        study = fc.Study(name="x", cohort=cohort, analysis=question)
        report: dict[str, Any] = fc.simulate(uneven(frame)).run(study, progress=False).report
        return report

    causes = frame["e"].value_counts().sort_index().tolist()
    assert list(run(fc.Describe())["describe"]["e"]["levels"].values()) == causes
    assert (
        list(run(fc.TableOne(by="arm"))["table_one"]["columns"]["e"]["overall"]["levels"].values()) == causes
    )
    assert np.sum(run(fc.Crosstab("arm", "e"))["crosstab"]["counts"], axis=0).tolist() == causes
    assert [group["n"] for group in run(fc.Compare("age", by="e"))["compare"]["groups"].values()] == causes
    assert run(fc.GLM("age ~ C(e)"))["glm"]["n"] == len(frame)
    with pytest.raises(StudyError, match="cox does not tell causes apart; leave causes out"):
        run(fc.Cox("age"))


GRID = [5.0 * step for step in range(1, 9)]
SIGMA = 4.5
"""About that of epsilon 1 with four hospitals."""


def noisy_report(n: int, seed: int, alike: bool = False) -> dict[str, Any]:
    """Of patients whose hazards of two causes are 1/40 and 1/60, or 1/20 and 1/60 in the other arm."""
    cohort = fc.Cohort(columns={"arm": fc.Categorical((0, 1))}, label=LABEL)
    question = fc.CumulativeIncidence(grid=GRID, by="arm")
    study = fc.Study(name="cif", cohort=cohort, analysis=question, privacy=fc.Privacy(epsilon=1.0))
    draw, counts = np.random.default_rng((n, seed)), np.zeros((2, 9, 3))
    arm = draw.integers(0, 2, n)
    first, second = draw.exponential(np.where(arm & (not alike), 20.0, 40.0)), draw.exponential(60.0, n)
    lost = draw.uniform(5, 60, n)
    time = np.minimum(np.minimum(first, second), lost)
    place, event = np.searchsorted(GRID, time), np.where(time == lost, 0, np.where(time == first, 1, 2))
    np.add.at(counts, (arm, place, np.where(place < 8, event, 0)), 1)
    noisy = counts + draw.normal(0, SIGMA, counts.shape)
    sums = Sums({"exits": np.append(noisy.reshape(-1), 0.0)}, {"exits": SIGMA})
    report: dict[str, Any] = build_analysis(study).report(State("done", 1, finished=True, sums=sums))
    incidence: dict[str, Any] = report["incidence"]
    return incidence


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "repeats"),
    [(60, 12), (300, 12), (3000, 8)],
)
def test_private_intervals_hold_the_incidence_whatever_the_number_of_patients(n: int, repeats: int) -> None:
    held = []
    for seed in range(repeats):
        found = noisy_report(n, seed)
        for level, rates in (("0", (1 / 40, 1 / 60)), ("1", (1 / 20, 1 / 60))):
            for cause, rate in zip(("1", "2"), rates, strict=True):
                curve = found["groups"][level]["causes"][cause]
                true = rate / sum(rates) * (1 - np.exp(-np.array(GRID) * sum(rates)))
                ends = zip(curve["low"], curve["incidence"], curve["high"], strict=True)
                assert all(low <= value <= high for low, value, high in ends)
                held.append(np.mean((np.array(curve["low"]) <= true) & (true <= np.array(curve["high"]))))
    assert np.mean(held) > 0.88


@pytest.mark.slow
def test_the_private_test_finds_what_differs_and_seldom_what_does_not() -> None:
    assert noisy_report(3000, 1)["gray"]["1"]["p"] < 0.01
    alike = [noisy_report(1000, seed, alike=True)["gray"]["1"]["p"] for seed in range(12)]
    assert sum(p < 0.05 for p in alike) <= 3


def test_whatever_noise_does_counts_are_drawn_as_of_patients_who_may_have_been() -> None:
    """Of tables that are mostly noise, of which some have nobody left in a group."""
    for seed in range(300):
        draw = np.random.default_rng(seed)
        counts = draw.poisson(1.5, (2, 9, 3)) + draw.normal(0, SIGMA, (2, 9, 3))
        table = IncidenceTable(counts, halved=True)
        for same in (None, 0, 1):
            expected = table.expected(same)
            assert np.all(expected >= 0)
            total = np.maximum(counts.sum((1, 2)), 0)
            np.testing.assert_allclose(expected.sum((1, 2)), total, atol=1e-9)


def test_a_private_study_runs_and_says_what_it_spent() -> None:
    frame = pd.concat([marrow()] * 8, ignore_index=True)
    frame["patient_id"] = [f"p{row}" for row in range(len(frame))]
    report = ask(frame, grid=[100.0, 300.0, 1000.0], privacy=fc.Privacy(epsilon=2.0))
    assert report["privacy"]["epsilon_spent"] <= 2.0
    exact = ask(frame, grid=[100.0, 300.0, 1000.0])["incidence"]["groups"]
    for name, group in report["incidence"]["groups"].items():
        ours = np.array(group["causes"]["1"]["incidence"])
        assert np.max(np.abs(ours - exact[name]["causes"]["1"]["incidence"])) < 0.15


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"grid": []}, "grid: name 1 or more"),
        ({"grid": [3.0, 2.0]}, "in order"),
        ({"at": [9999.0]}, "the grid's last"),
        ({"by": "ward"}, "by: ward is not among the cohort's columns"),
        ({"privacy": fc.Privacy(epsilon=1.0, clip=1.0)}, "clip"),
        ({"privacy": fc.Privacy(epsilon=1.0, rows_per_patient=2)}, "rows_per_patient"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        ask(marrow(), **words)


def test_a_label_without_causes_is_refused() -> None:
    cohort = fc.Cohort(columns={"arm": ARMS}, label=fc.Survival("t", "e"))
    with pytest.raises(StudyError, match="incidence needs causes, such as"):
        ask(marrow(), cohort)


@pytest.mark.parametrize(("language", "asked"), [("en", "Gray's test"), ("zh", "Gray 检验")])
def test_page_report_and_plot_show_each_cause(language: str, asked: str) -> None:
    question = fc.CumulativeIncidence(grid=[100.0, 500.0, 2000.0], by="arm", at=[500.0])
    study = fc.Study(name="cif", cohort=COHORT, analysis=question)
    result = fc.simulate(uneven(marrow())).run(study, progress=False)
    assert list(result.table["cause"]) == ["1", "2"] * 3
    assert {"n", "events", "incidence_500", "incidence_500_low"} <= set(result.table.columns)
    said = page_texts(language)
    ended = Finished({"study": study.model_dump(mode="json")}, result.report, [], "0")
    text = repr(results(ended, said))
    for name in ("incidence.heading", "incidence.at_risk", "incidence.cause"):
        assert said[name] in text
    p = f"{result.report['incidence']['gray']['2']['p']:.2g}"
    assert said["incidence.gray"].format(cause="2", p=p) in text.replace("\\'", "'")
    assert text.count("<svg") == 2
    assert len(result.plot().axes) == 2
    told = explain(study, language=language)
    assert asked in told
    assert "{" not in told

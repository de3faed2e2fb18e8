"""Comparisons over hospitals are those of all patients, as scipy has them; under privacy near them."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import fedcohort as fc
from fedcohort.analyses.mean_tests import GroupMoments, anova, smd, smd_of_levels, student, welch
from fedcohort.analyses.order_statistics import Grid
from fedcohort.analyses.rank_tests import kruskal, mann_whitney, mean_ranks, rank_errors, u_error
from fedcohort.analyses.value_counts import Places
from fedcohort.errors import StudyError, StudyFailedError
from fedcohort.explain import explain
from tests.analyses.clinical import flchain, lung, uneven, whas500
from tests.analyses.together import noisy

CLOSE = 1e-10
COLUMNS: Any = {
    "arm": fc.Categorical(["a", "b"]),
    "stage": fc.Categorical([1, 2, 3]),
    "bmi": fc.Numeric(10, 60, unit="kg/m2"),
    "weight": fc.Numeric(),
}
BOUNDED = {name: kind for name, kind in COLUMNS.items() if name != "weight"}
ILL = fc.Binary("ill")


def made_up(n: int, seed: int, effect: float = 2.0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    second = draw.integers(0, 2, n)
    bmi = np.clip(np.round(draw.normal(26 + effect * second, 4 + second, n), 1), 10, 60)
    weight = 1e6 + draw.lognormal(0, 1, n) + second * effect
    frame = pd.DataFrame({"arm": np.array(["a", "b"])[second], "stage": draw.integers(1, 4, n)})
    frame = frame.assign(bmi=bmi, weight=weight, ill=draw.integers(0, 2, n))
    return frame.assign(patient_id=[f"p{seed}-{row}" for row in range(n)])


def study(question: fc.Compare, columns: Any = None, label: Any = ILL, **words: Any) -> fc.Study:
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label)
    return fc.Study(name="compared", cohort=cohort, analysis=question, **words)


def ask(
    frame: pd.DataFrame, question: fc.Compare, columns: Any = None, label: Any = ILL, **words: Any
) -> Any:
    return fc.simulate(uneven(frame)).run(study(question, columns, label, **words), progress=False)


def groups_of(frame: pd.DataFrame, column: str, by: str) -> list[np.ndarray]:
    known = frame.dropna(subset=[column, by])
    return [part[column].to_numpy(float) for _, part in known.groupby(by)]


def close(found: float | None, expected: float | np.floating) -> bool:
    assert found is not None
    return found == pytest.approx(expected, rel=CLOSE, abs=CLOSE)


def check_two(found: dict[str, Any], groups: list[np.ndarray], level: str) -> None:
    """Every figure of two groups against scipy's of the second and the first."""
    first, second = groups
    welch_of, student_of = (stats.ttest_ind(second, first, equal_var=equal) for equal in (False, True))
    for ours, theirs in ((found["differences"][level], welch_of), (found["student"], student_of)):
        interval = theirs.confidence_interval()
        assert close(ours["difference"], second.mean() - first.mean())
        assert close(ours["statistic"], theirs.statistic)
        assert close(ours["degrees"], theirs.df)
        assert close(ours["p"], theirs.pvalue)
        assert close(ours["low"], interval.low)
        assert close(ours["high"], interval.high)
    theirs = stats.mannwhitneyu(second, first, method="asymptotic")
    assert close(found["mann_whitney"]["statistic"], theirs.statistic)
    assert close(found["mann_whitney"]["p"], theirs.pvalue)
    assert close(found["mann_whitney"]["superiority"], theirs.statistic / len(first) / len(second))
    assert found["mann_whitney"]["error"] == 0.0
    check_all(found, [first, second])


def check_all(found: dict[str, Any], groups: list[np.ndarray]) -> None:
    f, h = stats.f_oneway(*groups), stats.kruskal(*groups)
    assert close(found["anova"]["statistic"], f.statistic)
    assert close(found["anova"]["p"], f.pvalue)
    assert close(found["kruskal"]["statistic"], h.statistic)
    assert close(found["kruskal"]["p"], h.pvalue)
    ranks = np.split(stats.rankdata(np.concatenate(groups)), np.cumsum([len(group) for group in groups])[:-1])
    for told, mean, values, rank in zip(
        found["groups"].values(), map(np.mean, groups), groups, ranks, strict=True
    ):
        assert told["n"] == len(values)
        assert close(told["mean"], mean)
        assert close(told["std"], values.std(ddof=1))
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval()
        assert close(told["mean_low"], low)
        assert close(told["mean_high"], high)
        assert rank.mean() > 0
    for told, rank in zip(found["mean_ranks"].values(), ranks, strict=True):
        assert close(told["rank"], rank.mean())


def test_two_groups_are_compared_as_scipy_compares_them() -> None:
    frame = made_up(300, 1)
    frame.loc[[4, 7], "bmi"] = np.nan
    frame.loc[5, "arm"] = None
    result = ask(frame, fc.Compare("bmi", "arm", grid=0.1))
    assert (result.report["patients"], result.report["missing"]) == (297, 3)
    check_two(result.report["compare"], groups_of(frame, "bmi", "arm"), "b")
    assert result.report["compare"]["between"] == 0


def test_more_groups_have_analysis_of_variance_and_each_is_compared_with_the_first() -> None:
    frame = made_up(200, 2)
    found = ask(frame, fc.Compare("bmi", "stage", grid=0.1)).report["compare"]
    groups = groups_of(frame, "bmi", "stage")
    check_all(found, groups)
    assert list(found["differences"]) == ["2", "3"]
    assert close(
        found["differences"]["3"]["p"], stats.ttest_ind(groups[2], groups[0], equal_var=False).pvalue
    )
    assert {"student", "mann_whitney"} & set(found) == set()


def test_a_large_offset_costs_no_digit_and_without_bounds_there_are_no_ranks() -> None:
    frame = made_up(150, 3)
    found = ask(frame, fc.Compare("weight", "arm")).report["compare"]
    first, second = (group - 1e6 for group in groups_of(frame, "weight", "arm"))
    theirs = stats.ttest_ind(second, first, equal_var=False)
    assert found["differences"]["b"]["statistic"] == pytest.approx(theirs.statistic, rel=1e-9)
    assert found["groups"]["a"]["std"] == pytest.approx(first.std(ddof=1), rel=CLOSE)
    assert {"kruskal", "mann_whitney", "mean_ranks"} & set(found) == set()


def test_without_a_grid_it_is_told_how_far_ranks_may_be_off() -> None:
    frame = made_up(400, 4).assign(bmi=lambda f: f["bmi"] + np.random.default_rng(0).uniform(0, 0.05, len(f)))
    found = ask(frame, fc.Compare("bmi", "arm")).report["compare"]
    first, second = groups_of(frame, "bmi", "arm")
    exact = stats.mannwhitneyu(second, first, method="asymptotic")
    ours = found["mann_whitney"]
    assert 0 < abs(ours["statistic"] - exact.statistic) <= ours["error"]
    assert ours["error"] < 0.02 * len(first) * len(second)
    assert ours["p"] == pytest.approx(exact.pvalue, rel=0.1)
    off_grid = ask(frame, fc.Compare("bmi", "arm", grid=0.1)).report["compare"]
    assert off_grid["between"] > 300
    assert off_grid["mann_whitney"]["error"] > 0


def test_real_patients_are_compared_as_scipy_compares_them() -> None:
    heart = whas500()
    columns: Any = {"sysbp": fc.Numeric(0, 300), "gender": fc.Categorical([0, 1])}
    found = ask(heart, fc.Compare("sysbp", "fstat", grid=1.0), columns, fc.Binary("fstat")).report["compare"]
    check_two(found, groups_of(heart, "sysbp", "fstat"), "1")
    chains = flchain().rename(columns={"flc.grp": "flc_grp"})
    columns = {
        "creatinine": fc.Numeric(0, 20),
        "age": fc.Numeric(0, 120),
        "flc_grp": fc.Categorical(range(1, 11)),
        "sex": fc.Categorical(["F", "M"]),
    }
    found = ask(chains, fc.Compare("creatinine", "sex", grid=0.1), columns, None).report["compare"]
    check_two(found, groups_of(chains, "creatinine", "sex"), "M")
    by_group = ask(chains, fc.Compare("age", "flc_grp", grid=1.0), columns, None).report["compare"]
    check_all(by_group, groups_of(chains, "age", "flc_grp"))
    patients = lung().rename(columns={"wt.loss": "wt_loss"})
    columns = {"wt_loss": fc.Numeric(-50, 100), "sex": fc.Categorical([1, 2])}
    report = ask(patients, fc.Compare("wt_loss", "sex", grid=1.0), columns, None).report
    assert report["missing"] == patients["wt_loss"].isna().sum()
    check_two(report["compare"], groups_of(patients, "wt_loss", "sex"), "2")


def test_the_same_bits_under_every_protection() -> None:
    reports = [
        ask(made_up(60, 5), fc.Compare("bmi", "stage"), protection=name).report["compare"]
        for name in ("none", "masks")
    ]
    assert reports[0] == reports[1]


def test_a_group_of_one_and_a_hospital_that_knows_nothing_are_told_as_they_are() -> None:
    frame = made_up(40, 6)
    frame["arm"] = "a"
    frame.loc[0, "arm"] = "b"
    frames = {"a": frame.iloc[:20], "b": frame.iloc[20:], "c": made_up(5, 7).assign(bmi=np.nan)}
    report = fc.simulate(frames).run(study(fc.Compare("bmi", "arm", grid=0.1)), progress=False).report
    assert (report["patients"], report["missing"]) == (40, 5)
    found = report["compare"]
    assert (found["groups"]["b"]["n"], found["groups"]["b"]["std"]) == (1, None)
    assert found["differences"]["b"]["p"] is None
    assert found["student"]["p"] is not None
    nobody = ask(frame.assign(arm="a"), fc.Compare("bmi", "arm", grid=0.1)).report["compare"]
    assert nobody["groups"]["b"] == {"n": 0, "mean": None, "mean_low": None, "mean_high": None, "std": None}
    assert (nobody["anova"]["p"], nobody["kruskal"]["p"], nobody["mann_whitney"]["p"]) == (None, None, None)


def test_a_second_row_counts_for_nothing_and_a_value_beyond_its_bounds_is_refused() -> None:
    frame = made_up(50, 8)
    frames = {name: pd.concat([part, part.assign(bmi=59.0)]) for name, part in uneven(frame).items()}
    twice = fc.simulate(frames).run(study(fc.Compare("bmi", "arm")), progress=False).report
    assert twice["compare"] == ask(frame, fc.Compare("bmi", "arm")).report["compare"]
    frame.loc[0, "bmi"] = 99.0
    with pytest.raises(StudyFailedError, match="value-out-of-range"):
        ask(frame, fc.Compare("bmi", "arm"))


# --- arithmetic on numbers that a person can check ---------------------------------------------------


def moments(*groups: list[float]) -> GroupMoments:
    arrays = [np.array(group) for group in groups]
    return GroupMoments(
        np.array([[float(len(group))] for group in arrays]),
        np.array([[group.mean()] for group in arrays]),
        np.array([[group.var(ddof=1)] for group in arrays]),
    )


def test_students_sleep() -> None:
    """Student 1908: ten patients' hours of sleep gained by two drugs; p as R's t.test has it."""
    drug_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    drug_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    both = moments(drug_1, drug_2)
    assert welch(both).test(0)["p"] == pytest.approx(0.07939, abs=5e-6)
    assert welch(both).test(0)["degrees"] == pytest.approx(17.776, abs=5e-4)
    assert student(both).test(0)["p"] == pytest.approx(0.07919, abs=5e-6)
    assert anova(both, 0)["statistic"] == pytest.approx(student(both).t[0] ** 2)


def test_standardised_differences() -> None:
    assert smd(moments([1.0, 3.0], [5.0, 7.0]))[0] == pytest.approx(4 / np.sqrt(2))
    assert smd_of_levels(np.array([[5.0, 5.0], [2.0, 8.0]])) == pytest.approx(0.3 / np.sqrt(0.205))
    assert smd_of_levels(np.array([[5.0, 5.0, 0.0], [2.0, 8.0, 0.0]])) == pytest.approx(0.3 / np.sqrt(0.205))
    assert np.isnan(smd_of_levels(np.array([[5.0, 0.0], [0.0, 8.0]])))
    assert np.isnan(smd_of_levels(np.array([[0.0, 0.0], [2.0, 8.0]])))


def test_ranks_of_few_values() -> None:
    """Values 1 2 2 against 2 3: of six pairs the second wins four, and ties two."""
    counts = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]])
    assert mann_whitney(counts)["statistic"] == 5.0
    assert mean_ranks(counts).tolist() == pytest.approx([7 / 3, 4.0])
    assert (u_error(counts), rank_errors(counts).tolist()) == (1.0, pytest.approx([1 / 3, 0.5]))
    assert kruskal(counts)["statistic"] == pytest.approx(stats.kruskal([1, 2, 2], [2, 3]).statistic)
    one_value = np.array([[3.0], [4.0]])
    assert np.isnan(kruskal(one_value)["statistic"])
    assert np.isnan(mann_whitney(one_value)["p"])
    assert mann_whitney(np.array([[1.0, 1.0], [1.0, 1.0]]))["p"] == 1.0


def test_places_of_a_grid_are_its_values_and_missing_is_none() -> None:
    tenths = Places(Grid(18.0, 90.0, 0.1))
    values = np.array([18.0, 18.1, 54.3, 90.0, np.nan, 1e308, -5.0, 20.05])
    assert tenths.of(values).tolist()[:7] == [0, 1, 363, 720, -1, 720, 0]
    assert tenths.is_between(values).tolist() == [False, False, False, False, False, True, True, True]
    assert Places(Grid(0.0, 1.0), 2).of(np.array([0.0, 0.24, 0.25, 1.0])).tolist() == [0, 0, 1, 3]


# --- under privacy -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_under_privacy_intervals_hold_the_exact_figures_and_p_tells_an_effect() -> None:
    """In eight studies: patients and noise are redrawn, so that an interval of 95 % seldom misses."""
    held = []
    for seed in range(8):
        frame = made_up(2000, 20 + seed)
        asked = study(fc.Compare("bmi", "arm"), BOUNDED, privacy=fc.Privacy(epsilon=2.0))
        found = noisy(asked, uneven(frame), seed)["compare"]
        exact = ask(frame, fc.Compare("bmi", "arm")).report["compare"]
        difference, ranks = found["differences"]["b"], found["mann_whitney"]
        held.append(difference["low"] <= 2.0 <= difference["high"])
        held.append(difference["low"] <= exact["differences"]["b"]["difference"] <= difference["high"])
        for level, group in found["groups"].items():
            held.append(group["mean_low"] <= exact["groups"][level]["mean"] <= group["mean_high"])
        held.append(
            ranks["superiority_low"] <= exact["mann_whitney"]["superiority"] <= ranks["superiority_high"]
        )
        assert difference["p"] < 0.05
        assert found["anova"]["p"] < 0.05
        assert ranks["p"] < 0.05
        assert found["kruskal"]["p"] < 0.05
    assert np.mean(held) > 0.85


@pytest.mark.slow
@pytest.mark.slow
def test_under_privacy_groups_that_do_not_differ_are_seldom_told_apart() -> None:
    found: dict[str, list[float]] = {"anova": [], "kruskal": []}
    for seed in range(14):
        frame = made_up(600, 40 + seed, effect=0.0)
        asked = study(fc.Compare("bmi", "stage"), BOUNDED, privacy=fc.Privacy(epsilon=1.0))
        report = noisy(asked, uneven(frame), seed)
        for name, values in found.items():
            values.append(report["compare"][name]["p"])
    for values in found.values():
        assert sum(p < 0.05 for p in values) <= 5
        assert np.mean(values) > 0.2


# --- what is refused, and what is shown --------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"column": "arm", "by": "stage"}, "arm is not a number; take fc.Crosstab"),
        ({"column": "bmi", "by": "weight"}, "analysis.by: weight has no levels"),
        ({"column": "height", "by": "arm"}, "analysis.column: height is not among"),
        ({"column": "bmi", "by": "bmi"}, "by: this is the column itself"),
        ({"column": "bmi", "by": "arm", "grid": 0.0}, "grid"),
        ({"column": "bmi", "by": "arm", "grid": 1e-9}, "over 100,000 cells"),
        ({"column": "weight", "by": "arm", "grid": 1.0}, "weight has no declared bounds"),
        ({"column": "bmi"}, "by"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        study(fc.Compare(**words))


@pytest.mark.parametrize("words", [{"clip": 1.0}, {"evaluate_every": 7}, {"rows_per_patient": 2}])
def test_privacy_says_nothing_that_a_comparison_does_not_heed(words: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(words))):
        study(fc.Compare("bmi", "arm"), privacy=fc.Privacy(epsilon=1.0, **words))


def test_it_is_a_table_of_groups_one_of_differences_and_a_forest_plot() -> None:
    result = ask(made_up(90, 9), fc.Compare("bmi", "stage", grid=0.1))
    assert [figure.name for figure in result.figures] == ["groups", "differences", "mean-differences"]
    assert result.table["n"].sum() == 90
    assert {"mean", "mean_low", "mean_high", "std", "mean_rank"} <= set(result.table.columns)
    private = ask(made_up(90, 9), fc.Compare("bmi", "arm"), BOUNDED, privacy=fc.Privacy(epsilon=1.0))
    assert private.report["privacy"]["epsilon_spent"] <= 1.0
    assert "n_error" in private.table.columns


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_explained(language: str) -> None:
    private = study(fc.Compare("bmi", "arm"), BOUNDED, privacy=fc.Privacy(epsilon=1.0))
    for asked in (private, study(fc.Compare("bmi", "arm")), study(fc.Compare("bmi", "arm", grid=0.1))):
        text = explain(asked, language=language)
        assert "bmi" in text
        assert "{" not in text

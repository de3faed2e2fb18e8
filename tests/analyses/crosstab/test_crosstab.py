"""Crosstabs over hospitals are those of all patients, as scipy and statsmodels have them."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import StratifiedTable, Table2x2
from statsmodels.stats.proportion import confint_proportions_2indep

import fedcohort as fc
from fedcohort.analyses.contingency import Strata, chi_squared, fisher_p, two_groups
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from tests.analyses.clinical import uneven, whas500
from tests.analyses.together import noisy

CLOSE = 1e-10
YES_NO: Any = {"smoker": fc.Categorical(["no", "yes"]), "ward": fc.Categorical(["a", "b", "c"])}
ILL = fc.Binary("ill")


def made_up(n: int, seed: int, odds: float = 3.0) -> pd.DataFrame:
    """Smokers are more often ill; how many of them there are depends on the ward."""
    draw = np.random.default_rng(seed)
    ward = draw.integers(0, 3, n)
    smoker = draw.random(n) < np.array([0.2, 0.4, 0.6])[ward]
    logit = -1.0 + 0.4 * ward + math.log(odds) * smoker
    ill = draw.random(n) < 1 / (1 + np.exp(-logit))
    frame = pd.DataFrame({"smoker": np.where(smoker, "yes", "no"), "ward": np.array(["a", "b", "c"])[ward]})
    return frame.assign(ill=ill.astype(int), patient_id=[f"p{seed}-{row}" for row in range(n)])


def study(question: fc.Crosstab, columns: Any = None, label: Any = ILL, **words: Any) -> fc.Study:
    return fc.Study(
        name="tab", cohort=fc.Cohort(columns=columns or YES_NO, label=label), analysis=question, **words
    )


def ask(
    frame: pd.DataFrame, question: fc.Crosstab, columns: Any = None, label: Any = ILL, **words: Any
) -> Any:
    return fc.simulate(uneven(frame)).run(study(question, columns, label, **words), progress=False)


def table_of(frame: pd.DataFrame, rows: str, columns: str) -> np.ndarray:
    return pd.crosstab(frame[rows], frame[columns]).to_numpy().astype(float)


def close(found: float | None, expected: float) -> bool:
    assert found is not None
    return found == pytest.approx(expected, rel=CLOSE, abs=CLOSE)


def test_two_by_two_levels_are_as_scipy_and_statsmodels_have_them() -> None:
    """The second level is the outcome, and the first group the reference: their tables are turned over."""
    frame = made_up(400, 1)
    report = ask(frame, fc.Crosstab("smoker", "ill")).report
    found, table = report["crosstab"], table_of(frame, "smoker", "ill")
    assert found["counts"] == table.astype(int).tolist()
    assert (report["patients"], report["missing"]) == (400, 0)
    for name, correction in (("chi_squared", False), ("yates", True)):
        theirs = stats.chi2_contingency(table, correction=correction)
        assert close(found[name]["statistic"], theirs.statistic)
        assert close(found[name]["p"], theirs.pvalue)
    assert close(found["fisher"]["p"], stats.fisher_exact(table).pvalue)
    smokers, theirs = found["groups"]["yes"], Table2x2(table[::-1, ::-1])
    assert (smokers["n"], smokers["events"]) == (table[1].sum(), table[1, 1])
    assert close(smokers["risk"], table[1, 1] / table[1].sum())
    for name, value, ends in (
        ("odds_ratio", theirs.oddsratio, theirs.oddsratio_confint()),
        ("risk_ratio", theirs.riskratio, theirs.riskratio_confint()),
    ):
        assert close(smokers[name], value)
        assert close(smokers[f"{name}_low"], ends[0])
        assert close(smokers[f"{name}_high"], ends[1])
    (_, e0), (_, e1) = table
    low, high = confint_proportions_2indep(
        e1, table[1].sum(), e0, table[0].sum(), compare="diff", method="newcomb"
    )
    assert close(smokers["risk_difference"], e1 / table[1].sum() - e0 / table[0].sum())
    assert close(smokers["risk_difference_low"], low)
    assert close(smokers["risk_difference_high"], high)


def test_more_levels_have_chi_squared_and_each_group_is_compared_with_the_first() -> None:
    frame = made_up(300, 2)
    found, table = ask(frame, fc.Crosstab("ward", "ill")).report["crosstab"], table_of(frame, "ward", "ill")
    theirs = stats.chi2_contingency(table)
    assert close(found["chi_squared"]["statistic"], theirs.statistic)
    assert found["chi_squared"]["degrees"] == 2
    assert "fisher" not in found, "it is of two by two levels"
    assert list(found["groups"]) == ["b", "c"]
    assert close(found["groups"]["c"]["odds_ratio"], Table2x2(table[[2, 0]][:, ::-1]).oddsratio)
    turned = ask(frame, fc.Crosstab("ill", "ward")).report["crosstab"]
    assert close(turned["chi_squared"]["p"], theirs.pvalue)
    assert "groups" not in turned, "there is no one outcome"


def test_strata_are_pooled_as_statsmodels_pools_them() -> None:
    frame = made_up(500, 3)
    found = ask(frame, fc.Crosstab("smoker", "ill", strata="ward")).report["crosstab"]
    tables = [table_of(part, "smoker", "ill")[::-1, ::-1] for _, part in frame.groupby("ward")]
    theirs, ours = StratifiedTable(tables), found["mantel_haenszel"]
    assert close(ours["odds_ratio"], theirs.oddsratio_pooled)
    assert close(ours["odds_ratio_low"], theirs.oddsratio_pooled_confint()[0])
    assert close(ours["odds_ratio_high"], theirs.oddsratio_pooled_confint()[1])
    assert close(ours["risk_ratio"], theirs.riskratio_pooled)
    for name, correction in (("", False), ("corrected_", True)):
        test = theirs.test_null_odds(correction=correction)
        assert close(ours[f"{name}statistic"], test.statistic)
        assert close(ours[f"{name}p"], test.pvalue)
    assert close(found["breslow_day"]["statistic"], theirs.test_equal_odds().statistic)
    assert close(found["breslow_day"]["p"], theirs.test_equal_odds().pvalue)
    assert close(found["strata_groups"]["b"]["odds_ratio"], Table2x2(tables[1]).oddsratio)
    assert np.array(found["counts"]).shape == (3, 2, 2)
    crude = Table2x2(table_of(frame, "smoker", "ill")).oddsratio
    assert close(found["groups"]["yes"]["odds_ratio"], crude)


def test_heart_attacks_by_sex_and_shock_are_those_of_all_hospitals() -> None:
    frame = whas500()
    columns = {name: fc.Categorical([0, 1]) for name in ("gender", "sho", "chf")}
    question = fc.Crosstab("sho", "fstat", strata="gender")
    found = ask(frame, question, columns, fc.Binary("fstat")).report["crosstab"]
    tables = [table_of(part, "sho", "fstat") for _, part in frame.groupby("gender")]
    assert close(found["mantel_haenszel"]["odds_ratio"], StratifiedTable(tables).oddsratio_pooled)
    assert close(found["fisher"]["p"], stats.fisher_exact(sum(tables)).pvalue)
    by_failure = ask(frame, fc.Crosstab("chf", "fstat"), columns, fc.Binary("fstat")).report["crosstab"]
    theirs = stats.chi2_contingency(table_of(frame, "chf", "fstat"), correction=False)
    assert close(by_failure["chi_squared"]["statistic"], theirs.statistic)


def test_the_same_bits_under_every_protection() -> None:
    reports = [
        ask(made_up(60, 4), fc.Crosstab("smoker", "ill", strata="ward"), protection=name).report["crosstab"]
        for name in ("none", "masks")
    ]
    assert reports[0] == reports[1]


def test_who_lacks_a_level_is_missing_and_a_second_row_counts_for_nothing() -> None:
    frame = made_up(60, 5)
    first = ask(frame, fc.Crosstab("smoker", "ward")).report
    gap = frame.copy()
    gap.loc[[3, 9], "smoker"] = None
    assert ask(gap, fc.Crosstab("smoker", "ward")).report["missing"] == 2
    later = frame.assign(smoker="yes")
    frames = {name: pd.concat([part, later.loc[part.index]]) for name, part in uneven(frame).items()}
    twice = fc.simulate(frames).run(study(fc.Crosstab("smoker", "ward")), progress=False).report
    assert twice["patients"] == first["patients"] == 60


def test_a_hospital_with_one_patient_or_with_no_level_known_adds_what_it_has() -> None:
    frame = made_up(41, 6)
    unknown = made_up(5, 8).assign(smoker=None)
    frames = {"a": frame.iloc[:40], "b": frame.iloc[40:], "c": unknown}
    report = fc.simulate(frames).run(study(fc.Crosstab("smoker", "ill")), progress=False).report
    assert report["crosstab"]["counts"] == table_of(frame, "smoker", "ill").astype(int).tolist()
    healthy = ask(frame.assign(ill=0), fc.Crosstab("smoker", "ill")).report["crosstab"]
    assert "chi_squared" not in healthy, "nothing differs where all have one level"
    assert healthy["groups"]["yes"]["risk"] == 0.0


# --- arithmetic on numbers that a person can check ---------------------------------------------------


def test_the_lady_who_tastes_tea() -> None:
    """Fisher 1935: 3 of 4 cups told right have a one-sided p-value of 17/70, and a two-sided one of 34/70."""
    assert fisher_p(np.array([[3.0, 1.0], [1.0, 3.0]])) == pytest.approx(34 / 70, rel=1e-12)
    assert fisher_p(np.array([[4.0, 0.0], [0.0, 4.0]])) == pytest.approx(2 / 70, rel=1e-12)
    assert fisher_p(np.array([[5.0, 0.0], [0.0, 0.0]])) == 1.0


@pytest.mark.parametrize("seed", range(6))
def test_fishers_test_is_scipys_for_small_and_large_tables(seed: int) -> None:
    draw = np.random.default_rng(seed)
    table = draw.integers(0, [6, 30, 400, 3000, 9000, 20][seed], (2, 2)).astype(float)
    assert close(fisher_p(table), stats.fisher_exact(table).pvalue)


def test_an_empty_cell_counts_as_half_a_patient_in_ratios_alone() -> None:
    table = np.array([[10.0, 0.0], [5.0, 5.0]])
    found = two_groups(table)
    assert found["odds_ratio"] == pytest.approx(5.5 / 5.5 / (0.5 / 10.5))
    assert found["risk_ratio"] == pytest.approx(0.5 / (0.5 / 11))
    assert (found["corrected"], found["risk_difference"]) == (1.0, 0.5)
    assert two_groups(np.array([[0.0, 0.0], [3.0, 4.0]])) == {}, "there is nobody to compare with"


def test_levels_that_nobody_has_are_left_out_of_a_test() -> None:
    test = chi_squared(np.array([[10.0, 20.0, 0.0], [30.0, 5.0, 0.0], [0.0, 0.0, 0.0]]))
    assert test is not None
    assert test.degrees == 1
    theirs = stats.chi2_contingency([[10, 20], [30, 5]], correction=False)
    assert test.statistic == pytest.approx(theirs.statistic)
    few = chi_squared(np.array([[1.0, 2.0], [3.0, 40.0]]))
    assert few is not None
    assert few.few == 3


def test_a_stratum_in_which_nothing_differs_changes_no_pooled_odds_ratio() -> None:
    told = np.array([[[10.0, 4.0], [6.0, 9.0]], [[8.0, 3.0], [7.0, 7.0]]])
    silent = np.concatenate([told, [[[0.0, 0.0], [5.0, 5.0]], [[4.0, 0.0], [6.0, 0.0]]]])
    assert Strata(silent).pooled()["odds_ratio"] == pytest.approx(Strata(told).pooled()["odds_ratio"])
    assert Strata(silent).breslow_day() == Strata(told).breslow_day()
    assert Strata(silent).test() == Strata(told).test()
    alike = np.array([[[2.0, 4.0], [3.0, 6.0]], [[10.0, 5.0], [4.0, 2.0]]])
    assert Strata(alike).pooled()["odds_ratio"] == pytest.approx(1.0)
    assert Strata(alike).breslow_day()[0] == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(Strata(silent[2:]).test()[0])


# --- under privacy -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_under_privacy_intervals_hold_the_exact_figures_and_p_tells_an_effect() -> None:
    """In eight studies: patients and noise are redrawn, so that an interval of 95 % seldom misses."""
    held = []
    for seed in range(8):
        frame = made_up(1500, 20 + seed)
        question = fc.Crosstab("smoker", "ill", strata="ward")
        report = noisy(study(question, privacy=fc.Privacy(epsilon=2.0)), uneven(frame), seed)
        found, exact = report["crosstab"], ask(frame, question).report["crosstab"]
        assert abs(report["patients"] - 1500) < 100
        pooled = found["mantel_haenszel"]
        held.append(pooled["odds_ratio_low"] <= 3.0 <= pooled["odds_ratio_high"])
        for name in ("risk", "risk_difference", "odds_ratio"):
            group = found["groups"]["yes"]
            held.append(group[f"{name}_low"] <= exact["groups"]["yes"][name] <= group[f"{name}_high"])
        assert found["chi_squared"]["p"] < 0.01
        assert pooled["p"] < 0.01
    assert np.mean(held) > 0.85


@pytest.mark.slow
@pytest.mark.slow
def test_under_privacy_groups_that_do_not_differ_are_seldom_told_apart() -> None:
    found = []
    for seed in range(20):
        frame = made_up(500, 40 + seed)
        frame["smoker"] = np.random.default_rng(seed).permutation(frame["smoker"].to_numpy())
        asked = study(fc.Crosstab("smoker", "ill"), privacy=fc.Privacy(epsilon=1.0))
        found.append(noisy(asked, uneven(frame), seed)["crosstab"]["chi_squared"]["p"])
    assert sum(p < 0.05 for p in found) <= 5
    assert np.mean(found) > 0.2


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"rows": "age", "columns": "ill"}, "analysis.rows: age has no levels"),
        ({"rows": "smoker", "columns": "nobody"}, "analysis.columns: nobody is not among"),
        ({"rows": "smoker", "columns": "smoker"}, "named twice"),
        ({"rows": "smoker", "columns": "ill", "strata": "ill"}, "named twice"),
        ({"rows": "ward", "columns": "ill", "strata": "smoker"}, "Mantel-Haenszel is of two levels by two"),
        ({"rows": "smoker"}, "columns"),
        ({"rows": "many", "columns": "more"}, "over 100,000 cells"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    columns = {**YES_NO, "age": fc.Numeric(0, 120)}
    columns |= {name: fc.Categorical(range(500)) for name in ("many", "more")}
    with pytest.raises(StudyError, match=said):
        study(fc.Crosstab(**words), columns)


@pytest.mark.parametrize("words", [{"clip": 1.0}, {"evaluate_every": 7}, {"rows_per_patient": 2}])
def test_privacy_says_nothing_that_counts_do_not_heed(words: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(words))):
        study(fc.Crosstab("smoker", "ill"), privacy=fc.Privacy(epsilon=1.0, **words))


# --- what is shown -----------------------------------------------------------------------------------


def test_it_is_a_table_of_counts_a_comparison_and_a_forest_plot() -> None:
    result = ask(made_up(200, 7), fc.Crosstab("smoker", "ill", strata="ward"))
    assert [figure.name for figure in result.figures] == ["counts", "comparisons", "odds-ratios", "strata"]
    assert list(result.table.columns) == ["n", "ill 0", "ill 1"]
    assert result.table["n"].sum() == 200
    assert len(result.table) == 6
    private = ask(made_up(200, 7), fc.Crosstab("smoker", "ward"), privacy=fc.Privacy(epsilon=1.0))
    assert [figure.name for figure in private.figures] == ["counts"]
    assert private.report["privacy"]["epsilon_spent"] <= 1.0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_explained(language: str) -> None:
    asked = study(fc.Crosstab("smoker", "ill", strata="ward"), privacy=fc.Privacy(epsilon=1.0))
    text = explain(asked, language=language)
    assert "ward x smoker x ill" in text
    assert ("Mantel-Haenszel" in text, "{" in text) == (True, False)

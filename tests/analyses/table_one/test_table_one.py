"""A table one over hospitals is that of all patients, as tableone and scipy have it."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tableone import TableOne

import fedcohort as fc
from fedcohort.errors import StudyError
from fedcohort.explain import explain
from tests.analyses.clinical import flchain, lung, uneven, whas500
from tests.analyses.glm.data import heart_disease
from tests.analyses.together import noisy

CLOSE = 1e-10
NUMBERS: dict[str, Any] = {
    "age": fc.Numeric(18, 100, unit="years"),
    "bmi": fc.Numeric(10, 60),
    "crp": fc.Numeric(0, 100),
}
LEVELS: dict[str, Any] = {
    "sex": fc.Categorical(["f", "m"]),
    "stage": fc.Categorical([1, 2, 3]),
    "rare": fc.Categorical(["no", "yes"]),
    "arm": fc.Categorical(["a", "b"]),
}
COLUMNS: dict[str, Any] = {**NUMBERS, **LEVELS}
ILL = fc.Binary("ill")
GRID = {"crp": 0.1}


def made_up(n: int, seed: int, effect: float = 1.0) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    arm = draw.integers(0, 2, n)
    frame = pd.DataFrame({"arm": np.array(["a", "b"])[arm]})
    frame["age"] = np.clip(np.round(draw.normal(60 + 3 * effect * arm, 12, n)), 18, 100)
    frame["bmi"] = np.clip(draw.normal(26 + effect * arm, 4, n), 10, 60)
    frame["crp"] = np.clip(np.round(draw.lognormal(1 + 0.3 * effect * arm, 1, n), 1), 0, 100)
    frame["sex"] = np.array(["f", "m"])[draw.integers(0, 2, n)]
    frame["stage"] = np.clip(draw.integers(1, 4, n) + (draw.random(n) < 0.2 * effect * arm), 1, 3)
    frame["rare"] = np.where(draw.random(n) < 0.01 + 0.02 * arm, "yes", "no")
    frame["ill"] = draw.integers(0, 2, n)
    return frame.assign(patient_id=[f"p{seed}-{row}" for row in range(n)])


def gappy(n: int, seed: int) -> pd.DataFrame:
    """With values and levels missing."""
    frame, draw = made_up(n, seed), np.random.default_rng(seed + 1000)
    for name in ("age", "bmi", "crp", "sex", "stage"):
        frame[name] = frame[name].astype(object).where(draw.random(n) > 0.05, None)
    return frame


def study(question: fc.TableOne, columns: Any = None, label: Any = ILL, **words: Any) -> fc.Study:
    cohort = fc.Cohort(columns=columns or COLUMNS, label=label)
    return fc.Study(name="first", cohort=cohort, analysis=question, **words)


def ask(
    frame: pd.DataFrame, question: fc.TableOne, columns: Any = None, label: Any = ILL, **words: Any
) -> Any:
    return fc.simulate(uneven(frame)).run(study(question, columns, label, **words), progress=False)


def close(found: float | None, expected: float | np.floating) -> bool:
    assert found is not None
    return found == pytest.approx(expected, rel=CLOSE, abs=CLOSE)


@dataclass(frozen=True)
class Columns:
    """Of one table."""

    by: str
    numbers: tuple[str, ...]
    levels: tuple[str, ...]
    nonnormal: tuple[str, ...] = ()


def pooled(frame: pd.DataFrame, of: Columns) -> TableOne:
    """All patients' table, as tableone has it; its own warnings are not ours."""
    data = frame[[*of.numbers, *of.levels, of.by]].copy()
    for name in of.numbers:
        data[name] = data[name].astype(float)
    data[of.by] = data[of.by].astype(str)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TableOne(
            data,
            columns=[*of.numbers, *of.levels],
            categorical=list(of.levels),
            groupby=of.by,
            nonnormal=list(of.nonnormal),
            pval=True,
            smd=True,
            include_null=False,
        )


def check(found: dict[str, Any], frame: pd.DataFrame, of: Columns) -> None:
    """Every figure against tableone's of all patients."""
    theirs = pooled(frame, of)
    p_values, smds, described = theirs.htest_table["P-Value"], theirs.smd_table, theirs.cont_describe
    for name in [*of.numbers, *of.levels]:
        column = found["columns"][name]
        assert close(column["test"]["p"], p_values[name])
        for pair in column["smd"]:
            assert close(pair["value"], smds.loc[name, f"SMD ({','.join(pair['groups'])})"])
        for level, cell in column["groups"].items():
            if name in of.levels:
                counts = theirs.cat_describe.loc[name]["freq"][level]
                assert all(n == counts.get(told, 0) for told, n in cell["levels"].items())
                continue
            assert cell["n"] == described["count"][level][name]
            assert close(cell["mean"], described["mean"][level][name])
            assert close(cell["std"], described["std"][level][name])
            if name in of.nonnormal:
                for figure, quantile in (("q1", "q25"), ("median", "median"), ("q3", "q75")):
                    assert close(cell[figure], described[quantile][level][name])
        check_overall(column["overall"], frame[name].dropna(), name in of.nonnormal)


def check_overall(cell: dict[str, Any], values: pd.Series, nonnormal: bool) -> None:
    """Of all groups together, which tableone only writes."""
    assert cell["n"] == len(values)
    if "levels" in cell:
        counts = values.astype(str).value_counts()
        assert all(n == counts.get(level, 0) for level, n in cell["levels"].items())
        return
    numbers = values.astype(float)
    assert close(cell["mean"], numbers.mean())
    assert close(cell["std"], numbers.std())
    if nonnormal:
        told = [cell[figure] for figure in ("q1", "median", "q3")]
        assert told == pytest.approx(np.quantile(numbers, [0.25, 0.5, 0.75]), rel=CLOSE)


def test_two_groups_are_described_and_tested_as_tableone_has_them() -> None:
    frame = gappy(400, 1)
    question = fc.TableOne(by="arm", nonnormal=["crp", "age"], grid={"crp": 0.1, "age": 1.0})
    report = ask(frame, question).report
    assert (report["patients"], report["missing"]) == (400, 0)
    found = report["table_one"]
    check(
        found, frame, Columns("arm", ("age", "bmi", "crp"), ("sex", "stage", "rare", "ill"), ("crp", "age"))
    )
    tests = {name: column["test"]["name"] for name, column in found["columns"].items()}
    assert tests == {
        "age": "kruskal", "bmi": "welch", "crp": "kruskal", "sex": "yates", "stage": "chi_squared",
        "rare": "fisher", "ill": "yates",
    }  # fmt: skip
    age = found["columns"]["age"]
    missing = frame.groupby("arm")["age"].apply(lambda values: int(values.isna().sum()))
    assert {level: cell["missing"] for level, cell in age["groups"].items()} == missing.to_dict()
    assert age["overall"]["missing"] == missing.sum()
    assert age["unit"] == "years"


def test_three_groups_have_analysis_of_variance_and_each_two_are_compared() -> None:
    frame = gappy(300, 2).dropna(subset=["stage"])
    frame["stage"] = frame["stage"].astype(int)
    found = ask(frame, fc.TableOne(by="stage", nonnormal=["crp"], grid=GRID)).report["table_one"]
    check(found, frame, Columns("stage", ("age", "bmi", "crp"), ("sex", "arm", "ill"), ("crp",)))
    assert found["columns"]["age"]["test"]["name"] == "anova"
    assert [pair["groups"] for pair in found["columns"]["age"]["smd"]] == [["1", "2"], ["1", "3"], ["2", "3"]]


def test_heart_attacks_by_sex_are_those_of_all_hospitals() -> None:
    numbers = {"age": (18, 110), "hr": (0, 250), "sysbp": (0, 300), "bmi": (10, 60), "los": (0, 60)}
    levels = ["cvd", "afb", "sho", "chf", "av3", "miord", "mitype", "fstat"]
    frame = whas500()[[*numbers, *levels, "gender", "patient_id"]]
    columns: Any = {name: fc.Numeric(*bounds) for name, bounds in numbers.items()}
    columns |= {name: fc.Categorical([0, 1]) for name in [*levels, "gender"]}
    question = fc.TableOne(by="gender", nonnormal=["los", "hr"], grid={"los": 1.0, "hr": 1.0})
    found = ask(frame, question, columns, None).report["table_one"]
    check(found, frame, Columns("gender", tuple(numbers), tuple(levels), ("los", "hr")))


def test_light_chains_and_advanced_cancer_by_sex_are_those_of_all_hospitals() -> None:
    """Many values are missing, and some groups of a level are empty."""
    chains = flchain().rename(columns={"flc.grp": "flc_grp", "lambda": "light"})
    columns: Any = {
        "age": fc.Numeric(0, 120), "light": fc.Numeric(0, 30), "creatinine": fc.Numeric(0, 20),
        "sex": fc.Categorical(["F", "M"]), "flc_grp": fc.Categorical(range(1, 11)),
        "mgus": fc.Categorical(["no", "yes"]), "death": fc.Categorical(["alive", "dead"]),
    }  # fmt: skip
    question = fc.TableOne(by="sex", nonnormal=["creatinine"], grid={"creatinine": 0.1})
    found = ask(chains, question, columns, None).report["table_one"]
    of = Columns("sex", ("age", "light", "creatinine"), ("flc_grp", "mgus", "death"), ("creatinine",))
    check(found, chains, of)
    patients = lung().rename(columns={"ph.ecog": "ecog", "wt.loss": "loss", "meal.cal": "meal"})
    columns = {
        "age": fc.Numeric(0, 120), "loss": fc.Numeric(-50, 100), "meal": fc.Numeric(),
        "ecog": fc.Categorical([0, 1, 2, 3]), "sex": fc.Categorical([1, 2]),
    }  # fmt: skip
    question = fc.TableOne(by="sex", nonnormal=["loss"], grid={"loss": 1.0})
    found = ask(patients, question, columns, None).report["table_one"]
    patients["ecog"] = patients["ecog"].astype("Int64")
    check(found, patients, Columns("sex", ("age", "loss", "meal"), ("ecog",), ("loss",)))


def test_heart_disease_in_four_cities_is_that_of_all_hospitals() -> None:
    frame = heart_disease().frame
    columns: Any = {
        "age": fc.Numeric(18, 100), "trestbps": fc.Numeric(0, 250), "chol": fc.Numeric(0, 700),
        "oldpeak": fc.Numeric(-5, 10), "sex": fc.Categorical([0, 1]), "cp": fc.Categorical([1, 2, 3, 4]),
        "fbs": fc.Categorical([0, 1]), "restecg": fc.Categorical([0, 1, 2]),
    }  # fmt: skip
    question = fc.TableOne(by="disease", nonnormal=["oldpeak"], grid={"oldpeak": 0.1})
    sites = {str(city): part for city, part in frame.groupby("centre")}
    asked = study(question, columns, fc.Binary("disease"))
    found = fc.simulate(sites).run(asked, progress=False).report["table_one"]
    for name in ("sex", "cp", "fbs", "restecg"):
        frame[name] = frame[name].astype("Int64")
    of = Columns(
        "disease", ("age", "trestbps", "chol", "oldpeak"), ("sex", "cp", "fbs", "restecg"), ("oldpeak",)
    )
    check(found, frame, of)


def test_the_interval_of_a_standardised_difference_is_of_tableones_standard_error() -> None:
    frame = made_up(200, 3)
    theirs = pooled(frame, Columns("arm", ("bmi",), ("stage",)))
    found = ask(frame, fc.TableOne(by="arm")).report["table_one"]["columns"]
    groups = [part["bmi"] for _, part in frame.groupby("arm")]
    _, error = theirs.statistics._cont_smd(
        mean1=groups[0].mean(), mean2=groups[1].mean(), sd1=groups[0].std(), sd2=groups[1].std(),
        n1=len(groups[0]), n2=len(groups[1]),
    )  # fmt: skip
    pair = found["bmi"]["smd"][0]
    assert (pair["high"] - pair["low"]) / 2 == pytest.approx(1.959963984540054 * error, rel=1e-9)


def test_without_groups_there_is_one_and_no_test() -> None:
    frame = gappy(120, 4)
    report = ask(frame, fc.TableOne(nonnormal=["crp"], grid=GRID)).report
    found = report["table_one"]["columns"]
    assert set(found) == {*COLUMNS, "ill"}
    assert set(found["age"]) == {"unit", "nonnormal", "overall"}
    values = frame["crp"].dropna().astype(float)
    assert close(found["crp"]["overall"]["median"], values.median())
    assert close(found["crp"]["overall"]["mean"], values.mean())
    assert found["sex"]["overall"]["levels"] == frame["sex"].value_counts().sort_index().to_dict()
    assert "groups" not in report["table_one"]


def test_what_is_not_asked_for_is_not_told() -> None:
    found = ask(made_up(80, 5), fc.TableOne(by="arm", tests=False, smd=False)).report["table_one"]
    assert all({"test", "smd"} & set(column) == set() for column in found["columns"].values())
    assert "balance" not in {f.name for f in ask(made_up(80, 5), fc.TableOne(by="stage")).figures}


def test_without_a_grid_it_is_told_that_ranks_are_of_parts() -> None:
    frame = made_up(300, 6)
    found = ask(frame, fc.TableOne(by="arm", nonnormal=["crp", "bmi"], grid=GRID)).report["table_one"][
        "columns"
    ]
    assert found["crp"]["test"]["exact"]
    assert not found["bmi"]["test"]["exact"]
    groups = [part["bmi"] for _, part in frame.groupby("arm")]
    assert found["bmi"]["test"]["p"] == pytest.approx(stats.kruskal(*groups).pvalue, rel=0.05)
    assert found["bmi"]["overall"]["median"] == pytest.approx(frame["bmi"].median(), rel=1e-9)


def test_the_same_bits_under_every_protection() -> None:
    question = fc.TableOne(by="arm", nonnormal=["crp"], grid=GRID)
    reports = [ask(gappy(60, 7), question, protection=name).report["table_one"] for name in ("none", "masks")]
    assert reports[0] == reports[1]


def test_who_has_no_group_is_missing_and_an_empty_group_has_no_figures() -> None:
    frame = made_up(60, 8).assign(arm="a")
    frame.loc[[1, 2], "arm"] = None
    frame.loc[3, "crp"] = np.nan
    report = ask(frame, fc.TableOne(by="arm", nonnormal=["crp"], grid=GRID)).report
    assert (report["patients"], report["missing"]) == (58, 2)
    found = report["table_one"]
    assert found["groups"] == {"a": 58, "b": 0}
    age, crp = found["columns"]["age"], found["columns"]["crp"]
    assert age["groups"]["b"] == {"n": 0, "missing": 0, "mean": None, "std": None}
    assert crp["groups"]["b"]["median"] is None
    assert (crp["groups"]["a"]["n"], crp["groups"]["a"]["missing"]) == (57, 1)
    assert [found["columns"][name]["test"]["p"] for name in ("age", "crp", "sex")] == [None] * 3
    assert age["smd"][0]["value"] is None


def test_levels_alone_and_numbers_alone() -> None:
    frame = made_up(50, 9)
    levels = ask(frame, fc.TableOne(by="arm"), LEVELS, None).report["table_one"]["columns"]
    assert set(levels) == {"sex", "stage", "rare"}
    numbers = ask(frame, fc.TableOne(by="ill", nonnormal=["crp"]), NUMBERS).report["table_one"]["columns"]
    assert set(numbers) == {"age", "bmi", "crp"}


# --- under privacy -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_under_privacy_intervals_hold_the_exact_figures_and_p_tells_an_effect() -> None:
    """In five studies: patients and noise are redrawn, so that an interval of 95 % seldom misses."""
    held: list[bool] = []
    columns = {name: COLUMNS[name] for name in ("age", "crp", "stage", "arm")}
    question = fc.TableOne(by="arm", nonnormal=["crp"], grid=GRID)
    for seed in range(5):
        frame = made_up(4000, 20 + seed)
        asked = study(question, columns, None, privacy=fc.Privacy(epsilon=3.0))
        report = noisy(asked, uneven(frame), seed)
        assert abs(report["patients"] - 4000) < 100
        found = report["table_one"]["columns"]
        exact = ask(frame, question, columns, None).report["table_one"]["columns"]
        for level in ("a", "b"):
            age, true = found["age"]["groups"][level], exact["age"]["groups"][level]
            held.append(age["mean_low"] <= true["mean"] <= age["mean_high"])
            crp, true = found["crp"]["groups"][level], exact["crp"]["groups"][level]
            held.append(crp["median_low"] <= true["median"] <= crp["median_high"])
            sizes, true_sizes = (
                found["stage"]["groups"][level]["levels"],
                exact["stage"]["groups"][level]["levels"],
            )
            held += [abs(sizes[name] - n) <= found["stage"]["error"] for name, n in true_sizes.items()]
        for name in ("age", "stage", "crp"):
            pair = found[name]["smd"][0]
            held.append(pair["low"] <= exact[name]["smd"][0]["value"] <= pair["high"])
            assert found[name]["test"]["p"] < 0.05
    assert np.mean(held) > 0.88


@pytest.mark.slow
def test_under_privacy_groups_that_do_not_differ_are_seldom_told_apart() -> None:
    columns = {name: COLUMNS[name] for name in ("age", "crp", "sex", "arm")}
    found: list[float] = []
    for seed in range(12):
        frame = made_up(500, 60 + seed, effect=0.0)
        question = fc.TableOne(by="arm", nonnormal=["crp"], smd=False)
        asked = study(question, columns, None, privacy=fc.Privacy(epsilon=1.0))
        report = noisy(asked, uneven(frame), seed)
        found += [column["test"]["p"] for column in report["table_one"]["columns"].values()]
    assert sum(p < 0.05 for p in found) <= 7, "of 36; more in one of 500 runs where 5 % are"
    assert np.mean(found) > 0.25


# --- what is refused, and what is shown --------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"by": "age"}, "analysis.by: age has no levels"),
        ({"by": "ward"}, "analysis.by: ward is not among"),
        ({"by": "code"}, "code has 30 levels"),
        ({"nonnormal": ["sex"]}, "analysis.nonnormal: sex is not a number"),
        ({"nonnormal": ["crp", "crp"]}, "nonnormal: a column is named twice"),
        ({"nonnormal": ["height"]}, "analysis.nonnormal: height is not among"),
        ({"nonnormal": ["open"]}, "open has none"),
        ({"grid": {"crp": 0.1}}, "crp is not among nonnormal"),
        ({"nonnormal": ["crp"], "grid": {"crp": 500.0}}, "does not fit its bounds"),
        ({"tests": "yes"}, "tests"),
    ],
)
def test_wrong_words_are_refused_with_what_to_write(words: dict[str, Any], said: str) -> None:
    columns = {**COLUMNS, "open": fc.Numeric(), "code": fc.Categorical(range(30))}
    with pytest.raises(StudyError, match=said):
        study(fc.TableOne(**words), columns)


def test_a_table_has_more_columns_than_its_groups_and_only_so_many_quartiles() -> None:
    with pytest.raises(StudyError, match="beside `by`"):
        study(fc.TableOne(by="arm"), {"arm": COLUMNS["arm"]}, None)
    many = {f"x{place}": fc.Numeric(0, 1) for place in range(250)}
    with pytest.raises(StudyError, match="over 2,000 quartiles"):
        study(fc.TableOne(by="stage", nonnormal=list(many)), {**COLUMNS, **many})


@pytest.mark.parametrize("words", [{"clip": 1.0}, {"evaluate_every": 7}, {"rows_per_patient": 2}])
def test_privacy_says_nothing_that_a_table_does_not_heed(words: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match=next(iter(words))):
        study(fc.TableOne(by="arm"), privacy=fc.Privacy(epsilon=1.0, **words))


def test_it_is_a_table_as_in_a_paper_and_a_plot_of_the_balance() -> None:
    result = ask(made_up(90, 10), fc.TableOne(by="arm", nonnormal=["crp"], grid=GRID))
    assert [figure.name for figure in result.figures] == ["table-one", "balance"]
    table = result.table
    assert list(table.index)[:4] == ["n", "age", "bmi", "crp"]
    assert "stage 3" in table.index
    assert {"overall", "arm a", "arm b", "p", "smd", "smd_low", "missing"} <= set(table.columns)
    assert table.loc["bmi", "overall"].endswith(")")
    private = ask(made_up(400, 10), fc.TableOne(by="arm", nonnormal=["crp"]), privacy=fc.Privacy(epsilon=3.0))
    assert private.report["privacy"]["epsilon_spent"] <= 3.0
    assert "±" in private.table.loc["sex f", "overall"]
    assert "[" in private.table.loc["crp", "overall"]
    alone = ask(made_up(50, 10), fc.TableOne())
    assert [figure.name for figure in alone.figures] == ["table-one"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_is_explained(language: str) -> None:
    for question in (fc.TableOne(), fc.TableOne(by="arm", nonnormal=["crp"]), fc.TableOne(by="arm")):
        for privacy in (None, fc.Privacy(epsilon=1.0)):
            text = explain(study(question, privacy=privacy), language=language)
            assert "{" not in text
            assert ("crp" in text) or not question.nonnormal
    levels = study(fc.TableOne(by="arm"), LEVELS, privacy=fc.Privacy(epsilon=1.0))
    assert explain(levels, language=language)

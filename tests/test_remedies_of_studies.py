"""What a researcher is told about a study, obeyed: a row is a fault, its message, and the study mended.

Where a message says a setting (`take noise = "site"`), the mended study is made of the message's own words.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.errors import FedcohortError
from fedcohort.handed_in import check_handed_in
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.where.kinds import check_kinds, kinds_of_study
from fedcohort.sources.cohort.where.parse import check_plain, parse_where
from fedcohort.study import Cohort, Study, parse_study

from .test_named_remedies import SETTING

AGE, SEX = {"low": 18, "high": 90}, {"levels": ["f", "m"]}
COLUMNS = {"age": AGE, "sex": SEX}
VALID: dict[str, Any] = {
    "name": "x",
    "cohort": {"columns": COLUMNS, "label": {"column": "ill"}},
    "analysis": {"kind": "describe"},
}
TRAIN = {"kind": "train", "model": "logistic"}
PRIVATE = {"epsilon": 1.5}
REMOVED = object()


def mended(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The study with changes by path: {"cohort.where": "age > 3"}; REMOVED takes a key out."""
    made: dict[str, Any] = {name: {**part} if isinstance(part, dict) else part for name, part in base.items()}
    for path, value in changes.items():
        *above, last = path.split(".")
        inside = made
        for name in above:
            inside[name] = {**inside.get(name, {})}
            inside = inside[name]
        if value is REMOVED:
            del inside[last]
        else:
            inside[last] = value
    return made


def settings_of(message: str) -> dict[str, Any]:
    """The settings that a message says, in TOML."""
    return {found[1]: tomllib.loads(f"x = {found[2]}")["x"] for found in SETTING.finditer(message)}


@pytest.mark.parametrize(
    ("bad", "said", "good"),
    [
        ({"cohort.label": REMOVED, "analysis": TRAIN}, "train needs a label", {"cohort.label": "ill"}),
        (
            {"cohort.label": {"time": "t", "event": "e"}, "analysis": TRAIN},
            "cannot use a survival label; describe can",
            {"analysis": {"kind": "describe"}},
        ),
        ({"cohort.columns": []}, "columns: name at least one column", {"cohort.columns": ["age"]}),
        ({"cohort.columns": ["age", "age"]}, "a column is named twice", {"cohort.columns": ["age"]}),
        (
            {"cohort.bounds": {"bp": [80, 200]}},
            "bounds: bp is not among the columns",
            {"cohort.columns": {**COLUMNS, "bp": {}}},
        ),
        (
            {"cohort.bounds": {"sex": [0, 1]}},
            "a categorical column or an image has none",
            {"cohort.bounds": {}},
        ),
        (
            {"cohort.bounds": {"age": [90, 18]}},
            "bounds.age: low 90 must be below high 18",
            {"cohort.bounds": {"age": [18, 90]}},
        ),
        ({"cohort.label": "age"}, "label: age is also among the columns", {"cohort.label": "ill"}),
        (
            {"cohort.columns": {"age": {"low": 1}}},
            "give both low and high, or neither",
            {"cohort.columns.age": {}},
        ),
        (
            {"cohort.columns": {"sex": {"levels": ["f", "f"]}}},
            "levels must be distinct",
            {"cohort.columns.sex": SEX},
        ),
        ({"cohort.columns": {"9": {}}}, "is called by a letter and then", {"cohort.columns": {"c9": {}}}),
        ({"cohort.columns": "age"}, "write a list of names", {"cohort.columns": ["age"]}),
        ({"cohort.columns": {"age": 5}}, "write what the column holds", {"cohort.columns.age": AGE}),
        (
            {"cohort.bounds": {"age": 5}},
            r"write low and high, such as \[18, 90\]",
            {"cohort.bounds.age": [18, 90]},
        ),
        ({"cohort.split": 0.2}, "write a column's name, or fc.Holdout", {"cohort.split": {"fraction": 0.2}}),
        (
            {"analysis": {**TRAIN, "algorithm": "fedsgd", "local_epochs": 2, "proximal_mu": 0.1}},
            "leave out local_epochs and proximal_mu",
            {"analysis.local_epochs": REMOVED, "analysis.proximal_mu": REMOVED},
        ),
        (
            {"analysis": {**TRAIN, "rounds": 3, "average_rounds": 5}},
            "average_rounds: 5 of 3 rounds; give no more",
            {"analysis.average_rounds": 3},
        ),
        (
            {"analysis": {**TRAIN, "augment": ["mirror"]}},
            "no image column; leave it out",
            {"analysis.augment": REMOVED},
        ),
        (
            {"analysis": {**TRAIN, "augment": ["mirror"]}, "privacy": PRIVATE},
            "an image counts as it is; leave it out",
            {"analysis.augment": REMOVED},
        ),
        ({"key_bits": 2048}, "masks has no key of a size to choose; leave it out", {"key_bits": REMOVED}),
        ({"privacy": {"epsilon": -1}}, "such as 1.5: the smaller", {"privacy.epsilon": 1.5}),
        ({"privacy": {"epsilon": 0}}, "leave it out for a study without privacy", {"privacy": REMOVED}),
        (
            {"privacy": PRIVATE, "cohort.columns": {"age": {}}},
            "cohort.bounds: privacy needs declared bounds for age, such as the clinical range",
            {"cohort.bounds": {"age": [18, 90]}},
        ),
        (
            {"privacy": PRIVATE, "cohort.label": {"time": "t", "event": "e"}},
            "a survival time has none without a horizon, such as fc.Survival",
            {"cohort.label": {"time": "t", "event": "e", "horizon": 1825.0}},
        ),
        *[
            (
                {"privacy": {**PRIVATE, name: value}},
                f"privacy.{name}: describe .*; leave it out",
                {f"privacy.{name}": REMOVED},
            )
            for name, value in (("clip", 1.0), ("schedule", "decaying"), ("evaluate_every", 7))
        ],
    ],
)  # fmt: skip
def test_a_study_is_mended_as_it_is_told(bad: dict[str, Any], said: str, good: dict[str, Any]) -> None:
    wrong = mended(VALID, bad)
    with pytest.raises(fc.StudyError, match=said):
        parse_study(wrong)
    parse_study(mended(wrong, good))


@pytest.mark.parametrize(
    ("bad", "where"),
    [
        ({"privacy": {**PRIVATE, "noise": "shared"}, "protection": "none"}, {"noise": "privacy"}),
        ({"privacy": {**PRIVATE, "noise": "shared"}, "analysis": TRAIN}, {"noise": "privacy"}),
        ({"privacy": {**PRIVATE, "noise": "shared"}, "analysis": TRAIN}, {"algorithm": "analysis"}),
        ({"min_sites": 1}, {"min_sites": ""}),
        ({"min_sites": 1}, {"protection": ""}),
    ],
)
def test_a_setting_that_a_message_says_is_set_and_the_study_stands(
    bad: dict[str, Any], where: dict[str, str]
) -> None:
    wrong = mended(VALID, bad)
    with pytest.raises(fc.StudyError) as refused:
        check_handed_in(parse_study(wrong))
    told = settings_of(str(refused.value))
    changes = {f"{table}.{name}".lstrip("."): told[name] for name, table in where.items()}
    check_handed_in(parse_study(mended(wrong, changes)))


PIECE = re.compile(r"write such as (.+?)(?:, or (.+))?$")


@pytest.mark.parametrize(
    "where", ["age >=", "18 <= age <= 65", "(age > 3) = 1", "age", "age AND sex = 'f'", "age + 1"]
)
def test_a_where_is_written_as_its_message_says(where: str) -> None:
    with pytest.raises(fc.FedcohortError, match="where: ") as refused:
        parse_where(where, "records", COLUMNS)
    said = PIECE.search(str(refused.value))
    assert said is not None, refused.value
    for written in filter(None, said.groups()):
        parse_where(written, "records", COLUMNS)


@pytest.mark.parametrize(
    ("where", "said", "better"),
    [
        ("sex LIKE 'x' ESCAPE 'xx'", "ESCAPE takes one character in quotes", "sex LIKE 'x' ESCAPE '!'"),
        ("sex LIKE age", "LIKE takes a pattern in quotes, such as 'I2%'", "sex LIKE 'I2%'"),
        ("sex LIKE 'f!' ESCAPE '!'", "write it twice, or something after it", "sex LIKE 'f!!' ESCAPE '!'"),
        ("round(age, 99) = 1", "decimals are one of 0 to", "round(age, 2) = 1"),
        ("sex = female", "write a text in single quotes", "sex = 'female'"),
        ('sex = "female"', "write a text in single quotes", "sex = 'female'"),
        ("patient_id = 'p1'", "a cohort cannot ask for patient_id", "age = 41"),
        ("ward.age > 1", "other tables are not offered", "records.age > 1"),
        ("age = 1; age = 2", "write one boolean expression, or leave where out", "age = 1 OR age = 2"),
        ("", "write one boolean expression, or leave where out", None),
        ("age = 1\0", "at most 10,000 characters, none of them a control character", "age = 1"),
    ],
)  # fmt: skip
def test_a_where_is_mended_as_it_is_told(where: str, said: str, better: str | None) -> None:
    with pytest.raises(fc.FedcohortError) as refused:
        parse_where(where, "records", COLUMNS)
    assert said in str(refused.value)
    if better is not None:
        parse_where(better, "records", COLUMNS)


def cohort(**changes: Any) -> Cohort:
    return Cohort.model_validate({"columns": COLUMNS, "split": None, **changes})


@pytest.mark.parametrize(
    ("where", "said", "better"),
    [
        ("age >= '18'", "quotes", "age >= 18"),
        ("sex = 1", "quotes", "sex = '1'"),
        ("age LIKE '1%'", "needs a text and has a number", "sex LIKE '1%'"),
        ("lower(age) = 'x'", "needs a text and has a number", "lower(sex) = 'x'"),
    ],
)
def test_a_comparison_of_two_kinds_is_mended_as_it_is_told(where: str, said: str, better: str) -> None:
    kinds = kinds_of_study(cohort())
    with pytest.raises(fc.FedcohortError) as refused:
        check_kinds(parse_where(where, "records", COLUMNS), kinds)
    assert said in str(refused.value)
    check_kinds(parse_where(better, "records", COLUMNS), kinds)


def test_a_private_where_compares_as_it_is_told() -> None:
    with pytest.raises(fc.FedcohortError, match=r"compare columns as they are"):
        check_plain("age * 2 > 80")
    check_plain("age > 40")


def numeric(
    low: float | None = None, high: float | None = None, unit: str | None = None
) -> dict[str, object]:
    return {"kind": "numeric", "low": low, "high": high, **({"unit": unit} if unit else {})}


def levels(*values: int | str) -> dict[str, object]:
    return {"kind": "categorical", "levels": list(values)}


TEXT: dict[str, object] = {"kind": "categorical", "levels": None}
PICTURE: dict[str, object] = {"kind": "image", "height": 8, "width": 8, "channels": 1}


def sites(*columns: dict[str, object]) -> dict[str, Any]:
    """One site for each column, which is called x there."""
    return {name: {"tables": {"records": {"columns": {"x": one, "ill": levels(0, 1)}}}}
            for name, one in zip("ab", columns, strict=False)}  # fmt: skip


def asked(**changes: Any) -> Cohort:
    return Cohort.model_validate({"columns": ["x"], "split": None, **changes})


RESOLVED: list[tuple[dict[str, Any], Cohort, str, tuple[dict[str, Any], Cohort]]] = [
    ({}, asked(), "connect a site", (sites(numeric()), asked())),
    (sites(numeric()), asked(table="labs"), "choose another table, or ask the site",
     (sites(numeric()), asked(table="records"))),
    (sites(numeric()), asked(columns=["x", "y"]), "leave it out, or ask the site",
     (sites(numeric()), asked(columns=["x"]))),
    (sites(TEXT), asked(), r"give fc\.Categorical\(\[\.\.\.\]\)",
     (sites(TEXT), asked(columns={"x": {"levels": ["a", "b"]}}))),
    (sites(numeric(0, 9), levels(0, 1)), asked(), "say in the study which it is",
     (sites(numeric(0, 9), levels(0, 1)), asked(columns={"x": {"low": 0, "high": 1}}))),
    (sites(levels("a", "b")), asked(columns={"x": {"levels": ["a", "c"]}}),
     "no site .* declares level c; declared are a, b",
     (sites(levels("a", "b")), asked(columns={"x": {"levels": ["a", "b"]}}))),
    (sites(levels("a", "b")), asked(columns={"x": {}}), "holds words, not numbers; give fc.Categorical",
     (sites(levels("a", "b")), asked(columns={"x": {"levels": ["a", "b"]}}))),
    (sites(numeric(0, 9)), asked(bounds={"x": [0, 99]}), "a study may only narrow them",
     (sites(numeric(0, 9)), asked(bounds={"x": [1, 8]}))),
    (sites(PICTURE), asked(columns={"x": {"height": 4, "width": 4}}), "import them with one declared size",
     (sites(PICTURE), asked(columns={"x": {"height": 8, "width": 8}}))),
    (sites(PICTURE), asked(columns=["ill"], label="x"),
     r"it can be nothing but one of the cohort's columns, as fc\.Image",
     (sites(PICTURE), asked(columns={"x": {"height": 8, "width": 8}}, label="ill"))),
    (sites(TEXT), asked(columns=["ill"], label="x"), r"give fc\.Binary or fc\.Classes in the study",
     (sites(TEXT), asked(columns=["ill"], label={"column": "x", "positive": "y", "negative": "n"}))),
    (sites(numeric(0, 9, "mg/dL"), numeric(0, 9, "mmol/L")), asked(), "let one of them convert it",
     (sites(numeric(0, 9, "mg/dL"), numeric(0, 9, "mg/dL")), asked())),
    (sites(numeric(0, 9, "mg/dL")), asked(columns={"x": {"low": 1, "high": 2, "unit": "mmol/L"}}),
     "leave unit out",
     (sites(numeric(0, 9, "mg/dL")), asked(columns={"x": {"low": 1, "high": 2}}))),
]  # fmt: skip


@pytest.mark.parametrize("row", RESOLVED, ids=lambda row: row[2][:40])
def test_a_cohort_is_mended_as_the_sites_catalogues_demand(row: Any) -> None:
    catalogues, wrong, said, better = row
    with pytest.raises(FedcohortError, match=said):
        resolve_cohort(wrong, catalogues)
    catalogues, right = better
    resolve_cohort(right, catalogues)


def test_what_counts_as_yes_is_said_as_the_message_writes_it() -> None:
    declared = sites(levels("no", "yes"), levels("yes", "no"))
    with pytest.raises(FedcohortError, match="do not declare alike") as refused:
        resolve_cohort(asked(columns=["ill"], label="x"), declared)
    said = re.search(r'give fc\.Binary\("(\w+)", positive="(\w+)"\) or positive="(\w+)"', str(refused.value))
    assert said is not None
    for positive in (said[2], said[3]):
        label = fc.Binary(said[1], positive=positive)
        resolve_cohort(asked(columns=["ill"], label=label), declared)


FRAME = pd.DataFrame(
    {"patient_id": [f"p{i}" for i in range(40)], "age": np.arange(40) + 30.0, "ill": [0, 1] * 20}
)


def describe(**changes: Any) -> Study:
    return Study(name="x", cohort=Cohort(columns={"age": fc.Numeric(18, 90)}, split=None, **changes),
                 analysis=fc.Describe())  # fmt: skip


@pytest.mark.parametrize(
    ("frames", "said", "better"),
    [
        (FRAME, r"give \{'hospital_a': frame_a", {"hospital_a": FRAME, "hospital_b": FRAME}),
        ([], "give at least one frame", [FRAME, FRAME]),
        ({"a": FRAME, "b": "b.csv"}, "is no pandas data frame; give one", {"a": FRAME, "b": FRAME}),
        ({"": FRAME, "b": FRAME}, "take another one for each", {"a": FRAME, "b": FRAME}),
        ({1: FRAME, "1": FRAME}, "take another one for each", {1: FRAME, 2: FRAME}),
        (
            [FRAME, pd.concat([FRAME, FRAME[["age"]]], axis="columns")],
            "two columns are called age; rename one",
            [FRAME, FRAME],
        ),
    ],
)
def test_frames_are_given_as_it_is_told(frames: Any, said: str, better: Any) -> None:
    with pytest.raises(FedcohortError, match=said):
        fc.simulate(frames)
    assert fc.simulate(better).run(describe(), progress=False).report["describe"]


def test_a_column_that_a_frame_lacks_is_named_with_those_it_has() -> None:
    fed = fc.simulate([FRAME, FRAME])
    with pytest.raises(FedcohortError) as refused:
        fed.run(
            Study(name="x", cohort=Cohort(columns=["agee"], split=None), analysis=fc.Describe()),
            progress=False,
        )
    assert "agee" in str(refused.value)
    assert fed.run(describe(), progress=False).report["describe"]


def test_a_value_beyond_its_bounds_is_left_out_or_taken_in_as_it_is_told() -> None:
    fed = fc.simulate([FRAME, FRAME])
    narrow = fc.Numeric(18, 50)
    with pytest.raises(FedcohortError):
        fed.run(
            Study(name="x", cohort=Cohort(columns={"age": narrow}, split=None), analysis=fc.Describe()),
            progress=False,
        )
    inside = Cohort(columns={"age": narrow}, where="age <= 50", split=None)
    fed.run(Study(name="x", cohort=inside, analysis=fc.Describe()), progress=False)
    fed.run(describe(), progress=False)

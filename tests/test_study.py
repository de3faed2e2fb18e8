"""What a researcher writes: one meaning in Python, TOML and JSON, and every fault named."""

import json
from pathlib import Path
from typing import Any

import pytest

import fedcohort as fc
from fedcohort.errors import StudyError
from fedcohort.study import parse_study

PYTHON = fc.Study(
    name="heart-disease",
    cohort=fc.Cohort(
        table="records",
        columns=["age", "sex", "bp", "chol"],
        label="disease",
        where="age >= 18",
        bounds={"age": (18, 90), "bp": (80, 200), "chol": (0, 600), "sex": (0, 1)},
    ),
    analysis=fc.Train(model="logistic", algorithm="fedavg", rounds=30, local_epochs=1, batch_size=32),
)
TOML = """
name = "heart-disease"
protection = "masks"
[cohort]
table = "records"
columns = ["age", "sex", "bp", "chol"]
label = "disease"
where = "age >= 18"
[cohort.bounds]
age = [18, 90]
bp = [80, 200]
chol = [0, 600]
sex = [0, 1]
[analysis]
kind = "train"
model = "logistic"
algorithm = "fedavg"
rounds = 30
local_epochs = 1
batch_size = 32
"""
VALID: dict[str, Any] = {"name": "x", "cohort": {"columns": ["age"]}, "analysis": {"kind": "describe"}}


def test_python_toml_and_json_are_one_study(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(TOML)
    (tmp_path / "s.json").write_bytes(json.dumps(json.loads(PYTHON.canonical), indent=2).encode())
    for name in ("s.toml", "s.json"):
        assert fc.load_study(tmp_path / name).hash == PYTHON.hash


def test_the_hash_is_of_the_canonical_json_and_stays() -> None:
    assert PYTHON.hash == "eb1134b67cde7c58883034ad43578f3fdc296c84e0f60baeaf6fcfded403239e"
    assert parse_study(PYTHON.canonical) == PYTHON


def test_the_order_of_keys_does_not_matter_and_every_value_does() -> None:
    data = json.loads(PYTHON.canonical)
    assert parse_study(dict(reversed(data.items()))).hash == PYTHON.hash
    assert parse_study({**data, "seed": 1}).hash != PYTHON.hash


def test_a_study_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PYTHON.name = "other"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "colour: there is no such key; known are name, cohort"),
        ({"name": ""}, "name: is empty; write a text"),
        ({"seed": "7"}, "seed: write a whole number, without quotes"),
        ({"seed": True}, "seed: write a whole number, without quotes"),
        ({"min_sites": 0}, "min_sites: write 1 or more"),
        ({"round_timeout_seconds": float("nan")}, "round_timeout_seconds"),
        ({"cohort": {"columns": []}}, "name at least one column"),
        ({"cohort": {"columns": ["a", "a"]}}, "named twice"),
        ({"cohort": {"columns": "abc"}}, "cohort.columns"),
        ({"cohort": {"columns": ["a; DROP TABLE x"]}}, "cohort.columns.0"),
        ({"cohort": {"columns": ["a"], "bounds": {"b": [0, 1]}}}, "b is not among the columns"),
        ({"cohort": {"columns": ["a"], "bounds": {"a": [1, 0]}}}, "low 1 must be below high 0"),
        ({"cohort": {"columns": {"a": {"low": 1}}}}, "cohort.columns.a: give both low and high"),
        ({"cohort": {"columns": {"a": {"levels": [1]}}}}, "cohort.columns.a.levels"),
        ({"cohort": {"columns": {"a": {"levels": [1, "1"]}}}}, "levels must be distinct"),
        ({"cohort": {"columns": {"a": {"levels": [1, 2]}}, "bounds": {"a": [0, 1]}}}, "categorical"),
        ({"cohort": {"columns": ["a"], "label": "a"}}, "also among the columns"),
        ({"cohort": {"columns": ["a"], "label": 3}}, "cohort.label"),
        ({"cohort": {"columns": ["a"], "split": {"fraction": 1.5}}}, "cohort.split.fraction"),
        ({"analysis": {"kind": "guess"}}, "analysis"),
        ({"analysis": {"kind": "train"}}, "train needs a label"),
        ({"analysis": {"kind": "train", "rounds": 0}}, "analysis.rounds"),
        ({"analysis": {"kind": "train", "learning_rate": -1.0}}, "analysis.learning_rate"),
        ({"analysis": {"kind": "train", "algorithm": "fedsgd", "local_epochs": 2}}, "one gradient a round"),
        ({"analysis": {"kind": "evaluate", "model": "nowhere"}}, "names no folder"),
        ({"privacy": {"epsilon": 1.5, "clip": 1.0}}, "privacy.clip: describe learns nothing by steps"),
        ({"privacy": {"epsilon": 1.5}, "cohort": {"columns": {"a": {}}}}, "needs declared bounds for a"),
        ({"privacy": {"epsilon": -1.0}}, "privacy.epsilon"),
        ({"protection": "rot13"}, 'protection: write "none", "masks", "paillier" or "ckks"'),
        ({"protection": None}, "protection"),
        ({"colluders": -1}, "colluders: write 0 or more"),
        ({"key_bits": 1024}, "key_bits: write 2048 or 3072"),
        ({"key_bits": 2048}, "key_bits: masks has no key of a size to choose; leave it out"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(StudyError) as caught:
        parse_study({**VALID, **change}, "study.toml")
    assert said in str(caught.value)


def test_every_fault_is_told_at_once_with_the_file() -> None:
    with pytest.raises(StudyError) as caught:
        parse_study({"name": "", "cohort": {"columns": []}, "analysis": {"kind": "describe"}}, "s.toml")
    assert [line.split(": ")[0] for line in str(caught.value).splitlines()] == ["s.toml", "s.toml"]


@pytest.mark.parametrize("text", ["{", "[]", "null", "[" * 100_000])
def test_what_is_not_a_table_of_keys_is_refused(text: str) -> None:
    with pytest.raises(StudyError):
        parse_study(text.encode())


def test_a_file_that_is_missing_or_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text("name = ")
    for name in ("s.toml", "none.toml"):
        with pytest.raises(StudyError, match=name):
            fc.load_study(tmp_path / name)


def test_parts_made_in_python_name_their_fault_too() -> None:
    with pytest.raises(StudyError, match="train: rounds"):
        fc.Train(rounds=0)
    with pytest.raises(StudyError, match="holdout: fraction"):
        fc.Holdout(2.0)


def test_a_horizon_bounds_a_survival_time_and_is_left_out_of_the_hash_without_one() -> None:
    columns = {"a": fc.Numeric(0, 1)}
    plain = fc.Study(
        name="x", cohort=fc.Cohort(columns=columns, label=fc.Survival("t", "e")), analysis=fc.Describe()
    )
    assert b"horizon" not in plain.canonical
    label = fc.Survival("t", "e", horizon=1825)
    private = fc.Study(
        name="x",
        cohort=fc.Cohort(columns=columns, label=label),
        analysis=fc.Describe(),
        privacy=fc.Privacy(epsilon=1.0),
    )
    assert private.hash != plain.hash
    with pytest.raises(StudyError, match="horizon: write a number above 0"):
        fc.Survival("t", "e", horizon=0)


def test_competing_causes_are_in_order_left_out_of_the_hash_without_any_and_refused_where_unheeded() -> None:
    columns = {"a": fc.Numeric(0, 1)}

    def asked(analysis: fc.Describe | fc.KaplanMeier | fc.Train, causes: Any = ()) -> fc.Study:
        label = fc.Survival("t", "e", causes=causes)
        return fc.Study(name="x", cohort=fc.Cohort(columns=columns, label=label), analysis=analysis)

    assert b"causes" not in asked(fc.Describe()).canonical
    both = asked(fc.Describe(), [1, 2])
    assert parse_study(both.canonical) == both
    label = both.cohort.label
    assert isinstance(label, fc.Survival)
    assert label.events == (0, 1, 2)
    assert asked(fc.KaplanMeier(grid=[1.0]), (1, 2)).hash != asked(fc.KaplanMeier(grid=[1.0])).hash
    for causes in ([1], [2, 1], [1, 1], [0, 1], [1, "2"], [1.0, 2.0], list(range(1, 30))):
        with pytest.raises(StudyError, match="causes"):
            asked(fc.Describe(), causes)
    with pytest.raises(StudyError, match="train does not tell causes apart; leave causes out"):
        asked(fc.Train(), (1, 2))


def test_a_survival_label_is_for_describe_only() -> None:
    cohort = fc.Cohort(columns=["a"], label=fc.Survival("t", "e"))
    assert fc.Study(name="x", cohort=cohort, analysis=fc.Describe()).cohort.label_columns == ("t", "e")
    with pytest.raises(StudyError, match="survival"):
        fc.Study(name="x", cohort=cohort, analysis=fc.Train())

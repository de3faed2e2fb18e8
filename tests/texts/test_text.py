"""A text behaves as its English sentence, and is looked up by what it was made of."""

import copy
import json
import math
import pickle

import numpy as np
import pytest

from fedcohort.texts import Text, in_a_row, say
from fedcohort.texts.look_up import carried, received, sentences, translated

SHARE = "{share:.0%} of the patients are held out for testing."
TRAINED = "At the end, once more, for the finished model: {parts}."


def test_a_text_is_its_english_sentence() -> None:
    said = say(SHARE, share=0.25)
    assert said == "25% of the patients are held out for testing."
    assert translated(said, "zh") == "留出 25% 的患者用于测试。"
    assert (said.template, said.values) == (SHARE, {"share": 0.25})
    assert type(str(said)) is Text, "so that an error's message stays one"


def test_a_text_without_values_may_hold_braces() -> None:
    assert say("give {}") == "give {}"


def test_a_text_within_a_text_is_translated_with_it_and_a_value_is_not() -> None:
    parts = in_a_row("; ", [say("rows by predicted and true class"), say("Label: {label}", label="one row")])
    said = say(TRAINED, parts=parts)
    assert said == (
        "At the end, once more, for the finished model: rows by predicted and true class; Label: one row."
    )
    assert (
        translated(said, "zh")
        == "最后，对训练完成的模型再一次：按预测类别与真实类别统计的行数；标签：one row。"
    )


def test_a_text_without_a_translation_stays_english() -> None:
    assert translated(say("nobody says {this}", this=3), "zh") == "nobody says 3"
    assert translated("What is asked", "zh") == "所问的问题"
    assert translated("what nobody says", "zh") == "what nobody says"


def test_numbers_of_numpy_and_other_things_are_values() -> None:
    said = say("{n:,} {x:.1f} {why}", n=np.int64(1234), x=np.float32(0.5), why=ValueError(say("one row")))
    assert said == "1,234 0.5 one row"
    assert json.loads(json.dumps(carried(said)["values"])) == {
        "n": 1234,
        "x": 0.5,
        "why": {"message": "one row"},
    }


@pytest.mark.parametrize(
    "said",
    [
        say("one row"),
        say(SHARE, share=0.5),
        say(TRAINED, parts=in_a_row("; ", [say("one row"), say(SHARE, share=1)])),
    ],
)
def test_a_text_is_the_same_after_a_journey(said: Text) -> None:
    read = received(json.loads(json.dumps(carried(said))))
    assert read is not None
    assert read == said
    assert translated(read, "zh") == translated(said, "zh") != said
    for again in (copy.deepcopy(said), pickle.loads(pickle.dumps(said))):
        assert (again, again.template, again.values) == (said, said.template, said.values)


def test_a_number_that_json_has_not_leaves_the_sentence_english() -> None:
    read = received(json.loads(json.dumps(carried(say(SHARE, share=math.inf)), allow_nan=False)))
    assert read is not None
    assert read == "inf% of the patients are held out for testing." == translated(read, "zh")


HOSTILE = "{a.__class__} {b:>999999999}"


@pytest.mark.parametrize(
    "given",
    [
        {"message": "m", "template": HOSTILE, "values": {"a": 1, "b": 2}},
        {"message": "m", "template": SHARE, "values": {}},
        {"message": "m", "template": SHARE, "values": {"share": "x"}},
        {"message": "m", "template": SHARE, "values": {"other": 1}},
        {"message": "m", "template": TRAINED, "values": []},
    ],
)
def test_values_from_elsewhere_that_do_not_fit_leave_its_sentence(given: object) -> None:
    read = received(given)
    assert read is not None
    assert translated(read, "zh") in {"m", ""}


@pytest.mark.parametrize(
    "given",
    [
        None,
        "m",
        {"message": 3},
        {"message": "m", "template": "t", "values": {"a": None}},
        {"message": "m", "template": "t", "values": {"a": {"message": 3}}},
        {"message": "m", "template": "; ", "values": ["a"]},
        {"message": "m", "template": "; ", "values": [{"message": 3}]},
    ],
)
def test_what_is_no_text_is_none(given: object) -> None:
    assert received(given) is None


def test_texts_within_texts_from_elsewhere_end_somewhere() -> None:
    deep: dict[str, object] = {"message": "m"}
    for _ in range(200):
        deep = {"message": "m", "template": "t", "values": {"a": deep}}
    assert received(deep) is None
    assert "t" not in sentences("zh")

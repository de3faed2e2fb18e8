"""Figures as data: every type goes through JSON and comes back the same."""

import json
import math
from dataclasses import replace

import pytest

from fedcohort.errors import StudyError
from fedcohort.figures import Axis, Bars, Curve, Line, Named, Point, Value, first_table, from_json, to_json
from tests.figures import COEFFICIENTS, EVERY_TYPE


def test_every_type_goes_through_json_and_comes_back_the_same() -> None:
    text = json.dumps(to_json(EVERY_TYPE))
    assert from_json(json.loads(text)) == EVERY_TYPE
    assert {figure["type"] for figure in json.loads(text)} == {
        "table", "curve", "bars", "matrix", "intervals"
    }  # fmt: skip


def test_a_number_that_is_not_finite_is_null_in_json() -> None:
    (figure,) = to_json([Bars(name="a", section="made", bars=(Named("b", Value(math.nan, 0.0, math.inf)),))])
    assert figure["bars"][0]["value"] | {"of_patients": 0} == {
        "number": None, "low": 0.0, "high": None, "error": None, "known": True, "of_patients": 0
    }  # fmt: skip


def test_figures_that_cannot_be_read_say_which_and_why() -> None:
    damaged = to_json(EVERY_TYPE)
    del damaged[1]["x"]
    with pytest.raises(StudyError, match=r"figures: 1\.curve\.x: Field required; .*another version"):
        from_json(damaged)


def test_the_main_table_is_the_first() -> None:
    assert first_table(EVERY_TYPE) is COEFFICIENTS
    assert first_table(EVERY_TYPE[1:]) is None


def test_in_steps_an_interval_holds_until_the_next_point() -> None:
    line = Line("a", (Point(0, 1), Point(3, 0.8, 0.6, 0.9), Point(5, 0.5), Point(6, 0.2)))
    curve = Curve(name="a", section="made", x=Axis(), y=Axis(), lines=(line,), steps=True)
    assert curve.band(line) == [(3, 0.6, 0.9), (5, 0.6, 0.9)]
    assert replace(curve, steps=False).band(line) == [(3, 0.6, 0.9)]

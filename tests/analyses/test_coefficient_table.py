"""Coefficients as a table and a forest plot."""

import math
from typing import Any

from fedcohort.analyses.coefficient_table import coefficient_table, forest_plot
from fedcohort.figures import Key, Value, from_json, to_json

RATIO = Key("coefficients.odds_ratio")
ROWS: list[dict[str, Any]] = [
    {"name": "Intercept", "coef": -9.0, "se": 1.0, "z": -9.0, "p": 0.0, "low": -11.0, "high": -7.0},
    {"name": "age", "coef": math.log(2), "se": 0.1, "z": 6.9, "p": 0.001, "low": 0.0, "high": math.log(4)},
    {"name": "rare", "coef": 800.0, "se": 9e3, "z": 0.1, "p": 0.9, "low": -1e4, "high": 1e4},
    {"name": "lost", "coef": None, "se": None, "z": None, "p": None, "low": None, "high": None},
]


def test_columns_are_called_as_in_statsmodels_and_lifelines() -> None:
    table = coefficient_table(ROWS, "glm", RATIO)
    assert [column.name for column in table.columns] == ["coef", "exp(coef)", "se", "z", "p", "low", "high"]
    assert table.rows[1].cells[1] == Value(math.exp(math.log(2)))
    assert [row.cells[1] for row in table.rows[2:]] == [Value(None), Value(None)]
    plain = coefficient_table([{"name": "age", "coef": 1.0, "t": 2.0, "n": 9}], "glm", None)
    assert [column.name for column in plain.columns] == ["coef", "t", "n"]


def test_a_forest_plot_has_every_ratio_that_can_be_drawn_but_the_intercept() -> None:
    forest = forest_plot(ROWS, "cox", Key("coefficients.hazard_ratio"))
    assert forest is not None
    (row,) = forest.rows
    assert row.name == "age"
    assert row.value == Value(math.exp(math.log(2)), 1.0, math.exp(math.log(4)))
    assert (forest.reference, forest.x.log) == (1.0, True)
    assert from_json(to_json([forest]))[0] == forest
    assert forest_plot(ROWS[:1], "cox", RATIO) is None
    plain = forest_plot(ROWS, "glm", None)
    assert plain is not None
    assert [row.name for row in plain.rows] == ["age", "rare"]
    assert (plain.reference, plain.x.log) == (0.0, False)

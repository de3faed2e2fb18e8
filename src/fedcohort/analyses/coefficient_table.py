"""Coefficients of a regression as figures: a table, named as in statsmodels and lifelines, and a forest plot.

A row of the report is `name, coef, se, z (or t), p, low, high` and, where it has them, `n`, and of imputed
data `df` and `fmi`; low and high are of the coefficient. What is not known is None.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fedcohort.figures import Axis, Column, Intervals, Key, Named, Row, Said, Table, Value

LARGEST_RATIO = 1e6
"""A forest plot leaves out what lies farther from 1: it would press all others together."""

Json = Mapping[str, Any]

_COLUMNS = (
    Column("coef", Key("coefficients.coef")),
    Column("exp(coef)"),
    Column("se", Key("coefficients.se")),
    Column("z"),
    Column("t"),
    Column("df", Key("coefficients.df")),
    Column("p", format="p"),
    Column("low", Key("coefficients.low")),
    Column("high", Key("coefficients.high")),
    Column("fmi", Key("coefficients.fmi"), format="share"),
    Column("n", format="count"),
)


def coefficient_table(
    rows: Sequence[Json], section: str, ratio: Key | None, notes: Sequence[Said] = ()
) -> Table:
    """A coefficient a row, with the columns that any of them has.

    Args:
        ratio: what exp(coef) is called, such as an odds ratio; None where it means nothing.
    """
    columns = [
        Column(column.name, ratio) if ratio is not None and column.name == "exp(coef)" else column
        for column in _COLUMNS
        if (column.name == "exp(coef)" and ratio is not None) or any(column.name in row for row in rows)
    ]
    return Table(
        name="coefficients",
        section=section,
        notes=tuple(notes),
        index=Column("term", Key("coefficients.term")),
        columns=tuple(columns),
        rows=tuple(
            Row(row["name"], tuple(Value(_number(row, column.name)) for column in columns)) for row in rows
        ),
    )


def _number(row: Json, name: str) -> float | None:
    number = row.get("coef" if name == "exp(coef)" else name)
    return _exp(number) if name == "exp(coef)" else number


def _exp(number: float | None) -> float | None:
    return None if number is None or number > math.log(1e300) else math.exp(number)


def forest_plot(rows: Sequence[Json], section: str, ratio: Key | None) -> Intervals | None:
    """Every coefficient but the intercept with its interval, ratios on a log scale; None without any."""
    named = []
    for row in rows:
        coef, low, high = (row.get(name) for name in ("coef", "low", "high"))
        if row["name"] == "Intercept" or coef is None or low is None or high is None:
            continue
        if ratio is None:
            named.append(Named(row["name"], Value(coef, low, high)))
        elif max(abs(low), abs(high)) < math.log(LARGEST_RATIO):
            named.append(Named(row["name"], Value(math.exp(coef), math.exp(low), math.exp(high))))
    if not named:
        return None
    return Intervals(
        name="forest",
        section=section,
        title=ratio or Key("coefficients.forest"),
        x=Axis(ratio or Key("coefficients.coef"), log=ratio is not None),
        rows=tuple(named),
        reference=0.0 if ratio is None else 1.0,
        interval="coefficients.interval",
    )

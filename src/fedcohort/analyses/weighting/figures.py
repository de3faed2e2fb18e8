"""What a weighted comparison shows: the effect, both groups, balance before and after, and the scores.

Of survival also both curves.
"""

import math
from collections.abc import Mapping
from typing import Any

from fedcohort.analyses.coefficient_table import coefficient_table
from fedcohort.analyses.curves_told import at_risk_below, points, shown_places
from fedcohort.figures import (
    Axis,
    Bars,
    Column,
    Curve,
    Figure,
    Intervals,
    Key,
    Line,
    Named,
    Row,
    Table,
    Value,
)

SECTION = "weighting"
BALANCED = 0.1
"""A standardised difference that is smaller is commonly taken for none (Austin 2009, Stat Med 28:3083)."""

RATIOS = {"risk_ratio", "odds_ratio", "hazard_ratio"}
"""Effects whose logarithm is told."""
AT = "survival_difference_"
"""How the difference of survival at a time is called, before the time."""

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """The effect first."""
    told = report["weighting"]
    scores = (_scores(told, level) for level in told["groups"])
    ratio = Key("coefficients.odds_ratio")
    propensity = coefficient_table(told["propensity"], "propensity", ratio)
    forest = _forest(told)
    ratios = () if forest is None else (forest,)
    groups = (_curves(told, study), _survivors(told)) if "survival" in told else (_groups(told),)
    return _effect(report, told), *ratios, *groups, _balance(told), *scores, propensity


def _effect(report: Json, told: Json) -> Table:
    """Ratios as exp(coef); of a difference that means nothing."""
    notes = [
        Key(
            "weighting.model",
            {
                "formula": told["formula"],
                "outcome": told["outcome"],
                "whom": Key(f"weighting.{told['estimand']}"),
            },
        )
    ]
    if "survival" in told:
        found = any(row["name"] == "hazard_ratio" for row in told["effect"])
        notes.append(Key("weighting.within" if found else "weighting.no_hazard_ratio"))
    if report["missing"] is not None:
        notes.append(Key("weighting.rows", {"n": told["n"], "missing": report["missing"]}))
    columns = (
        Column("coef", Key("coefficients.coef")),
        Column("exp(coef)", Key("weighting.ratio")),
        Column("se", Key("coefficients.se")),
        Column("z"),
        Column("p", format="p"),
        Column("low", Key("coefficients.low")),
        Column("high", Key("coefficients.high")),
        Column("n", format="count"),
    )
    return Table(
        name="effect",
        section=SECTION,
        notes=tuple(notes),
        index=Column("effect", Key("weighting.effect")),
        columns=columns,
        rows=tuple(
            Row(row["name"], (*_estimate(row), *_test(row), Value(told["n"])), _named(told, row["name"]))
            for row in told["effect"]
        ),
    )


def _named(told: Json, effect: str) -> Key:
    if effect.startswith(AT):
        return Key("weighting.survival_difference", {"time": effect.removeprefix(AT)})
    if effect == "rmst_difference":
        return Key("weighting.rmst_difference", {"time": f"{told['survival']['grid'][-1]:g}"})
    return Key(f"weighting.{effect}")


def _estimate(row: Json) -> tuple[Value, Value]:
    if row["name"] not in RATIOS:
        return Value(row["coef"]), Value()
    ratio, low, high = (
        None if row[name] is None else math.exp(row[name]) for name in ("coef", "low", "high")
    )
    return Value(row["coef"]), Value(ratio, low, high)


def _test(row: Json) -> tuple[Value, ...]:
    return tuple(Value(row.get(name)) for name in ("se", "z", "p", "low", "high"))


def _forest(told: Json) -> Intervals | None:
    """Ratios of a yes or no."""
    rows = tuple(
        Named(Key(f"weighting.{row['name']}"), _estimate(row)[1])
        for row in told["effect"]
        if row["name"] in RATIOS and row["low"] is not None
    )
    if not rows:
        return None
    title = Key("weighting.ratio")
    return Intervals(
        name="forest", section=SECTION, title=title, x=Axis(title, log=True), rows=rows, reference=1.0
    )


def _groups(told: Json) -> Table:
    return Table(
        name="groups",
        section=SECTION,
        title=Key("weighting.groups", {"outcome": told["outcome"]}),
        index=Column("group", Key("weighting.group")),
        columns=(
            Column("n", format="count"),
            Column("effective_n", Key("weighting.effective_n")),
            Column("crude", Key("weighting.crude")),
            Column("mean", Key("weighting.mean")),
        ),
        rows=tuple(
            Row(
                level,
                (
                    Value(group["n"]),
                    Value(group["effective_n"]),
                    Value(group["crude"]),
                    Value(group["mean"], group["low"], group["high"]),
                ),
                f"{told['treatment']} {level}",
            )
            for level, group in told["groups"].items()
        ),
    )


def _curves(told: Json, study: Json) -> Curve:
    grid, groups = told["survival"]["grid"], told["survival"]["groups"]
    named = {level: f"{told['treatment']} {level}" for level in groups}
    below = at_risk_below(
        SECTION,
        Key("weighting.at_risk"),
        Column("group", Key("weighting.group")),
        grid,
        shown_places(grid, study["analysis"].get("at", ())),
        [(level, named[level], group) for level, group in groups.items()],
    )
    lines = (
        Line(
            named[level],
            points(
                1.0,
                told["groups"][level]["n"],
                grid,
                *(group[name] for name in ("survival", "low", "high", "at_risk")),
            ),
        )
        for level, group in groups.items()
    )
    return Curve(
        name="survival",
        section=SECTION,
        title=Key("weighting.survival"),
        x=Axis(Key("weighting.time"), 0.0, grid[-1]),
        y=Axis(Key("weighting.share"), 0.0, 1.0, "share"),
        lines=tuple(lines),
        steps=True,
        below=below,
        spoken=Key("weighting.spoken"),
    )


def _survivors(told: Json) -> Table:
    """Sizes and events are of patients, times of the weighted curves."""
    curves = told["survival"]
    mean = Column("rmst", Key("weighting.rmst", {"time": f"{curves['grid'][-1]:g}"}))
    rows = []
    for level, group in told["groups"].items():
        curve = curves["groups"][level]
        times = (
            Value(curve[name], curve[f"{name}_low"], curve[f"{name}_high"]) for name in ("median", "rmst")
        )
        sizes = (Value(group["n"]), Value(group["effective_n"]), Value(group["events"]))
        rows.append(Row(level, (*sizes, *times), f"{told['treatment']} {level}"))
    return Table(
        name="groups",
        section=SECTION,
        title=Key("weighting.survivors"),
        index=Column("group", Key("weighting.group")),
        columns=(
            Column("n", format="count"),
            Column("effective_n", Key("weighting.effective_n")),
            Column("events", Key("weighting.events"), "count"),
            Column("median", Key("weighting.median")),
            mean,
        ),
        rows=tuple(rows),
    )


def _balance(told: Json) -> Table:
    """A row a column of the formula."""
    off = [row for row in told["balance"] if abs(row["weighted_smd"] or 0.0) > BALANCED]
    note = (
        Key("weighting.unbalanced", {"n": len(off), "least": BALANCED}) if off else Key("weighting.balanced")
    )
    return Table(
        name="balance",
        section=SECTION,
        title=Key("weighting.balance"),
        notes=(note,),
        index=Column("column", Key("weighting.column")),
        columns=(Column("smd", Key("weighting.smd")), Column("weighted_smd", Key("weighting.weighted_smd"))),
        rows=tuple(
            Row(row["name"], (Value(row["smd"]), Value(row["weighted_smd"]))) for row in told["balance"]
        ),
    )


def _scores(told: Json, level: str) -> Bars:
    """How many have which score: where the groups hardly overlap, few patients stand for many."""
    edges = told["scores"]["edges"]
    parts = zip(edges, edges[1:], told["scores"]["counts"][level], strict=False)
    return Bars(
        name=f"scores-{list(told['groups']).index(level)}",
        section=SECTION,
        title=Key("weighting.scores", {"group": f"{told['treatment']} {level}"}),
        bars=tuple(Named(f"{low:g} – {high:g}", Value(n)) for low, high, n in parts),
        measure=Key("weighting.patients"),
        format="count",
        edges=tuple(edges),
    )

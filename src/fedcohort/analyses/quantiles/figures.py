"""What quantiles show: a table of them by number and group, and of each number the range of its groups."""

from collections.abc import Mapping
from typing import Any

from fedcohort.figures import Axis, Column, Figure, Intervals, Key, Named, Row, Said, Table, Value
from fedcohort.known import MOST

SECTION = "quantiles"
COLUMNS = (Column("n", format="count"), Column("missing", Key("document.missing"), "count"))

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """A table, and a picture of each number that has quantiles on both sides of the middle one."""
    quantiles = report["quantiles"]
    pictures = (_picture(quantiles, index, name) for index, name in enumerate(quantiles["columns"]))
    return (_table(report, quantiles), *(one for one in pictures if one is not None))


def _table(report: Json, quantiles: Json) -> Table:
    shares = tuple(Column(f"{p:g}", f"{100 * p:g} %") for p in quantiles["probabilities"])
    columns = quantiles["columns"].items()
    rows = (_row(quantiles, name, level) for name, column in columns for level in column["groups"])
    return Table(
        name="quantiles",
        section=SECTION,
        notes=(Key("quantiles.patients", {"n": report["patients"], "missing": report["missing"]}),),
        index=Column("column", Key("document.column")),
        columns=(*COLUMNS, *shares),
        rows=tuple(rows),
    )


def _row(quantiles: Json, name: str, level: str) -> Row:
    column = quantiles["columns"][name]
    sample = column["groups"][level]
    cells = (_value(column, sample, place) for place in range(len(quantiles["probabilities"])))
    shown = name if len(column["groups"]) == 1 else f"{name}, {level}"
    title: Said = shown if len(column["groups"]) == 1 else _titled(quantiles, name, level)
    return Row(shown, (Value(sample["n"]), Value(sample["missing"]), *cells), title, column.get("unit") or "")


def _titled(quantiles: Json, name: str, level: str) -> Said:
    if level == _last(quantiles, name):
        return Key("quantiles.of_all", {"column": name})
    return f"{name}, {quantiles['by']} = {level}"


def _last(quantiles: Json, name: str) -> str:
    """All patients together stand last."""
    return str(list(quantiles["columns"][name]["groups"])[-1])


def _value(column: Json, sample: Json, place: int) -> Value:
    low, high = sample["low"][place], sample["high"][place]
    value, (least, most) = sample["values"][place], column["bounds"]
    known = low is None or high is None or high - low <= MOST * (most - least)
    within = sample["within"][place] if "within" in sample else None
    told = within if within is not None and within > 1e-6 * (most - least) else None
    return Value(value, low, high, told, known and value is not None)


def _picture(quantiles: Json, index: int, name: str) -> Intervals | None:
    column, n = quantiles["columns"][name], len(quantiles["probabilities"])
    if n < 3:
        return None
    rows = []
    for level, sample in column["groups"].items():
        middle, low, high = (sample["values"][place] for place in (n // 2, 0, n - 1))
        title = (
            Key("quantiles.everyone") if level == _last(quantiles, name) else f"{quantiles['by']} = {level}"
        )
        if middle is not None:
            rows.append(Named(title, Value(middle, low, high)))
    shares = [f"{100 * quantiles['probabilities'][place]:g} %" for place in (0, n // 2, n - 1)]
    return (
        Intervals(
            name=f"quantiles-{index}",
            section=SECTION,
            title=f"{name} ({column['unit']})" if column.get("unit") else name,
            notes=(Key("quantiles.shown", dict(zip(("low", "middle", "high"), shares, strict=True))),),
            x=Axis(),
            rows=tuple(rows),
        )
        if rows
        else None
    )

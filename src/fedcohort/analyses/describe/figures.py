"""What a description shows: a table of the columns, their numbers as histograms, their levels as bars."""

from collections.abc import Mapping
from typing import Any

from fedcohort.figures import Bars, Column, Figure, Key, Named, Row, Table, Value
from fedcohort.known import column_name, ends_of, is_known
from fedcohort.sampling_intervals import mean_interval

SECTION = "described"
COLUMNS = (
    Column("n", format="count"),
    Column("missing", Key("document.missing"), "count"),
    Column("mean", Key("document.mean")),
    Column("std", Key("document.deviation")),
)
LEVELS = Column("levels", Key("document.levels"), "count", drawn=True)

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """A table, and what can be drawn of each column."""
    described: Mapping[str, Json] = report.get("describe", {})
    drawn = (_bars(index, name, column) for index, (name, column) in enumerate(described.items()))
    return (_table(report, described), *(bars for bars in drawn if bars is not None))


def _table(report: Json, described: Mapping[str, Json]) -> Table:
    patients = report.get("patients", report.get("rows"))
    return Table(
        name="described",
        section=SECTION,
        notes=() if patients is None else (Key("described.patients", {"n": patients}),),
        index=Column("column", Key("document.column")),
        columns=(*COLUMNS, LEVELS),
        rows=tuple(_row(name, column) for name, column in described.items()),
    )


def _row(name: str, column: Json) -> Row:
    cells = (_value(column, each.name) for each in COLUMNS)
    return Row(name, (*cells, _levels(column) or None), unit=column.get("unit") or "")


def _value(column: Json, name: str) -> Value | None:
    if name not in column:
        return None
    low, high = ends_of(column, name) or (None, None)
    error = column.get(f"{name}_error")
    of_patients = _of_patients(column) if name == "mean" and low is None else None
    known = column[name] is not None and is_known(column, name)
    return Value(column[name], low, high, error, known or low is None, of_patients)


def _of_patients(column: Json) -> Value | None:
    """The mean with the interval that other patients may give."""
    mean, deviation = column["mean"], column.get("std")
    if mean is None or deviation is None or column["n"] is None:
        return None
    interval = mean_interval(mean, deviation, column["n"])
    return None if interval is None else Value(mean, *interval, known=is_known(column, "mean", interval))


def _levels(column: Json) -> tuple[Named, ...]:
    error = column.get("levels_error")
    return tuple(Named(level, Value(n, error=error)) for level, n in column.get("levels", {}).items())


def _bars(index: int, name: str, column: Json) -> Bars | None:
    if column.get("levels"):
        return Bars(
            name=f"levels-{index}",
            section=SECTION,
            title=name,
            bars=_levels(column),
            format="count",
            tabled=True,
        )
    histogram = column.get("histogram") or {}
    return _histogram(index, column_name(name, column), histogram) if histogram.get("counts") else None


def _histogram(index: int, title: str, histogram: Json) -> Bars:
    low, high, counts = histogram["low"], histogram["high"], histogram["counts"]
    width = (high - low) / len(counts)
    beyond = {end: histogram.get(end, 0) for end in ("below", "above")}
    error = histogram.get("error")
    return Bars(
        name=f"histogram-{index}",
        section=SECTION,
        title=title,
        notes=(Key("described.beyond", beyond),)
        if any(beyond.values()) and None not in beyond.values()
        else (),
        bars=tuple(Named("", Value(n, error=error)) for n in counts),
        format="count",
        edges=(*(low + place * width for place in range(len(counts))), high),
    )

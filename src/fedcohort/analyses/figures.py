"""The figures of a finished study, whatever its kind: each analysis' folder has its own `figures.py`.

A folder is found by its name, which is the kind's; so that a new analysis is drawn everywhere, and no line
here or elsewhere names it.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fedcohort.figures import (
    Axis,
    Column,
    Curve,
    Figure,
    Key,
    Line,
    Point,
    Row,
    Table,
    Value,
    from_json,
)
from fedcohort.known import METRICS, SHARES, ends_of

KIND = re.compile(r"[a-z][a-z0-9_]{0,63}")

Json = Mapping[str, Any]
Figures = Callable[[Json, Json], tuple[Figure, ...]]


def figures_of(study: Json, report: Json) -> tuple[Figure, ...]:
    """What a study's report shows.

    An analysis whose folder is not here, as one of a later version, may bring its figures in the report's
    `figures`, as `to_json` gives them.

    Args:
        study: as its JSON says it; the kind is that of its `analysis`.
        report: of this version, or of an earlier one.
    Raises:
        StudyError: the figures that the report brings cannot be read.
    """
    made = _made_by(str(study["analysis"]["kind"]))
    found = from_json(report.get("figures", ())) if made is None else made(report, study)
    return (*map(_without_hidden_notes, found), *_hidden(report))


def _without_hidden_notes(figure: Figure) -> Figure:
    """A sentence with a number that is hidden says nothing."""
    notes = tuple(
        note for note in figure.notes if not (isinstance(note, Key) and None in note.values.values())
    )
    return figure if len(notes) == len(figure.notes) else replace(figure, notes=notes)


def _hidden(report: Json) -> tuple[Figure, ...]:
    """What the rules of disclosure have hidden, where they were applied."""
    told = report.get("disclosure")
    if not isinstance(told, Mapping) or not told.get("applied") or not told.get("suppressed"):
        return ()
    rules = told["rules"]
    rows = tuple(
        Row(
            str(one["figure"]),
            (Value(one["n"]), Key(f"disclosure.{one['why']}", {"rule": rules[one["why"]]})),
        )
        for one in told["suppressed"]
    )
    columns = (
        Column("hidden", Key("disclosure.hidden"), "count"),
        Column("rule", Key("disclosure.rule")),
    )
    index = Column("figure", Key("disclosure.figure"))
    return (
        Table(
            name="hidden-by-rules",
            section="disclosure",
            index=index,
            columns=columns,
            rows=rows,
            notes=(Key("disclosure.note"),),
        ),
    )


@cache
def _made_by(kind: str) -> Figures | None:
    """The function `figures(report, study)` of the kind's folder."""
    if not KIND.fullmatch(kind):
        return None
    try:
        is_there = find_spec(f"{__package__}.{kind}.figures") is not None
    except ModuleNotFoundError:  # neither is the folder
        is_there = False
    if not is_there:
        return None
    made: Figures = import_module(f"{__package__}.{kind}.figures").figures
    return made


def figures_by_round(rows: Sequence[Json]) -> tuple[Curve, ...]:
    """Each metric that was measured in several rounds, as curves: held-out patients, and those of training.

    Args:
        rows: metrics of a round and split each.
    """
    lines = {metric: [_line(rows, split, metric) for split in ("test", "train")] for metric in METRICS}
    measured = {metric: tuple(filter(None, both)) for metric, both in lines.items()}
    return tuple(_by_round(metric, both) for metric, both in measured.items() if both)


def _line(rows: Sequence[Json], split: str, metric: str) -> Line | None:
    mine = [row for row in rows if row.get("split") == split and isinstance(row.get(metric), int | float)]
    points = (Point(row["round"], row[metric], *(ends_of(row, metric) or (None, None))) for row in mine)
    return Line(Key(f"split.{split}"), tuple(points)) if len(mine) > 1 else None


def _by_round(metric: str, lines: tuple[Line, ...]) -> Curve:
    """A share's axis ends at 1; others begin at 0."""
    points = [point for line in lines for point in line.points]
    lowest = min(end for point in points for end in (point.y, point.low) if end is not None)
    low, high = (math.floor(10 * lowest) / 10, 1.0) if metric in SHARES else (min(0.0, lowest), None)
    title = Key(f"metric.{metric}")
    return Curve(
        name=f"by-round-{metric}",
        section="chart",
        title=title,
        interval="tile.interval",
        x=Axis(Key("chart.round"), format="count"),
        y=Axis(title, low, high, "metric"),
        lines=lines,
    )

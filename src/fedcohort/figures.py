"""What an analysis shows of a finished study: tables, curves, bars, matrices and intervals, as data.

Each analysis makes them of its report, and the command line, the HTML report, the pages and the notebook
draw each type, whatever the analysis. Numbers are kept as numbers: whoever draws them writes them in the
reader's language and room.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from fedcohort.errors import StudyError

Format = Literal["count", "number", "metric", "share", "p"]
"""A whole number; four significant digits; a metric's fixed decimals; per cent; a p-value."""


@dataclass(frozen=True)
class Key:
    """A text of the pages by its name, which each language has; `values` fill its places."""

    key: str
    values: "Mapping[str, str | int | float | Key]" = field(default_factory=dict)


Said = str | Key
"""What stands as it is, such as the name of a column of the study, or a text that is translated."""


@dataclass(frozen=True)
class Value:
    """A number and how certain it is.

    Attributes:
        number: None where there is none.
        low, high: the ends of its interval; with `low` alone it has no upper end.
        error: how far it may be off, as 95 % of the noise is.
        known: False where the interval covers most of what is possible, so that the interval alone is shown,
            or hides the number altogether.
        of_patients: the same number with the interval that other patients of the same kind may give; a
            printed report shows it, where without privacy there is no other.
    """

    number: int | float | None = None
    low: float | None = None
    high: float | None = None
    error: float | None = None
    known: bool = True
    of_patients: "Value | None" = None


@dataclass(frozen=True)
class Named:
    """A value by its name; `more` are further ones of the same name, which a tip tells."""

    name: Said
    value: Value
    more: "tuple[Named, ...]" = ()


Cell = Value | str | Key | tuple[Named, ...] | None
"""Several named values are the levels of one column with their counts; None is an empty cell."""


@dataclass(frozen=True)
class Column:
    """A table's column.

    Attributes:
        name: in `result.table` and on a command line: the field's short term, such as `mean` or `se`.
        title: on a page and in a report; the name where it is empty.
        drawn: bars draw its values, too, so that a page leaves the column out.
    """

    name: str
    title: Said = ""
    format: Format = "number"
    drawn: bool = False


@dataclass(frozen=True)
class Row:
    """A table's row: `name` and `title` as a column's, the unit of its values, and a cell a column."""

    name: str
    cells: tuple[Cell, ...]
    title: Said = ""
    unit: str = ""


@dataclass(frozen=True, kw_only=True)
class _Figure:
    """What every figure has.

    Attributes:
        name: of letters, digits, `_` and `-`, by which a page and a link find it; one a study.
        section: figures of one section stand together below the text `SECTION.heading`.
        title: the section's heading where it is empty.
        notes: sentences that go with it.
        spoken: what a screen reader says of a picture, with its values in the text's place `{parts}`; where
            it is left out, the title and the values.
        interval: the name of a text with the places `{low}` and `{high}` that says what intervals are of.
    """

    name: str
    section: str
    title: Said = ""
    notes: tuple[Said, ...] = ()
    spoken: Key | None = None
    interval: str = ""


@dataclass(frozen=True, kw_only=True)
class Table(_Figure):
    """Rows of values; `index` is the column of the rows' names."""

    index: Column
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    type: Literal["table"] = "table"


@dataclass(frozen=True)
class Axis:
    """What an axis is called, and from where to where it goes; None is as far as the values go."""

    title: Said = ""
    low: float | None = None
    high: float | None = None
    format: Format = "number"
    log: bool = False


@dataclass(frozen=True)
class Point:
    """One place of a curve, the interval of y there, and the number of patients behind it."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: Said
    points: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True)
class Curve(_Figure):
    """Lines over one pair of axes, each with a band where its points have intervals.

    Attributes:
        steps: y stays as it is until the next point, as in a Kaplan-Meier curve.
        marked: each point is measured by itself, and marked.
        diagonal: where x and y are equal is drawn, too.
        below: a table beneath the x axis, whose columns' names are places on it: numbers at risk.
    """

    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    steps: bool = False
    marked: bool = False
    diagonal: bool = False
    below: Table | None = None
    type: Literal["curve"] = "curve"

    def band(self, line: Line) -> list[tuple[float, float, float]]:
        """Places and ends of the line's intervals; in steps an interval holds until the next point."""
        band: list[tuple[float, float, float]] = []
        ends: tuple[float, float] | None = None
        for point in line.points:
            before, ends = ends, None
            if point.low is not None and point.high is not None:
                ends = point.low, point.high
                band.append((point.x, *ends))
            elif self.steps and before is not None:
                band.append((point.x, *before))
        return band


@dataclass(frozen=True, kw_only=True)
class Bars(_Figure):
    """One bar a value, in this order; with `edges` a histogram.

    Attributes:
        measure: what the values are of.
        edges: one more than there are bars: where each part of a number's range begins, and the last ends.
        tabled: a table has the same values, so that a command line and a printed report leave the bars out.
    """

    bars: tuple[Named, ...]
    measure: Said = ""
    format: Format = "number"
    edges: tuple[float, ...] = ()
    tabled: bool = False
    type: Literal["bars"] = "bars"


@dataclass(frozen=True, kw_only=True)
class Matrix(_Figure):
    """Counts by row and column; what lies on the diagonal is right."""

    rows: tuple[Said, ...]
    columns: tuple[Said, ...]
    counts: tuple[tuple[int | float, ...], ...]
    type: Literal["matrix"] = "matrix"


@dataclass(frozen=True, kw_only=True)
class Intervals(_Figure):
    """An interval a row, as in a forest plot; `reference` is where there is no effect: 0, or 1 of ratios."""

    x: Axis
    rows: tuple[Named, ...]
    reference: float | None = None
    type: Literal["intervals"] = "intervals"


Figure = Table | Curve | Bars | Matrix | Intervals


@cache
def _adapter() -> TypeAdapter[tuple[Figure, ...]]:
    return TypeAdapter(tuple[Annotated[Figure, Field(discriminator="type")], ...])


def to_json(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """The figures as JSON carries them; a number that is not finite becomes null."""
    loaded: list[dict[str, Any]] = json.loads(_adapter().dump_json(tuple(figures)))
    return loaded


def from_json(figures: object) -> tuple[Figure, ...]:
    """Read figures back.

    Raises:
        StudyError: they are not what `to_json` gives.
    """
    try:
        return _adapter().validate_python(figures)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StudyError(
            f"figures: {place}: {first['msg']}; they come from another version: install the coordinator's"
        ) from None


def first_table(figures: Iterable[Figure]) -> Table | None:
    """The main table of a study's figures."""
    return next((figure for figure in figures if isinstance(figure, Table)), None)

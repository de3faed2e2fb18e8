"""Figures in words, for paper, terminals and notebooks; in a browser `static/js/values.js` says the same."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedcohort.figures import (
    Bars,
    Cell,
    Column,
    Curve,
    Figure,
    Format,
    Intervals,
    Matrix,
    Row,
    Said,
    Table,
    Value,
)

SMALLEST_P = 0.001
NEGLIGIBLE = 5e-5
"""Of a number: what changes none of four significant digits is not worth a word."""

NOTHING, WITHOUT_END = "–", "∞"

Texts = Mapping[str, str]
"""Of one language, by name."""


@dataclass(frozen=True)
class Style:
    """How a reader wants numbers and names.

    Attributes:
        metric: the format of metrics.
        between: what stands between the ends of an interval.
        printed: on paper columns and rows have their titles, not their short names, and numbers without noise
            the intervals of other patients.
    """

    metric: str
    between: str
    printed: bool


TERMINAL = Style(".4g", " to ", printed=False)
PAPER = Style(".4f", " – ", printed=True)


def said(words: Said, texts: Texts) -> str:
    """A text as it stands, or by its name with its values."""
    if isinstance(words, str):
        return words
    values = {name: _filled(value, texts) for name, value in words.values.items()}
    return texts[words.key].format(**values)


def _filled(value: Said | int | float, texts: Texts) -> str:
    if isinstance(value, int | float):
        return written(value, "count" if isinstance(value, int) else "number", TERMINAL)
    return said(value, texts)


def written(number: int | float, format: Format, style: Style) -> str:
    """A number in one of the formats."""
    match format:
        case "share":
            return f"{number:.1%}"
        case "p":
            return f"< {SMALLEST_P}" if number < SMALLEST_P else f"{number:.3f}"
        case "metric":
            return f"{number:{style.metric}}"
    return str(number) if isinstance(number, int) else f"{number:.4g}"


def shown(value: Value, format: Format, texts: Texts, style: Style) -> str:
    """A number with what is uncertain of it, or its interval alone where that leaves the number unknown."""
    if style.printed and value.of_patients is not None:
        value = value.of_patients
    low, high = (None if end is None else written(end, format, style) for end in (value.low, value.high))
    if value.number is None and not value.known and high is not None:
        return texts["described.untold"].format(high=high)
    number = NOTHING if value.number is None else written(value.number, format, style)
    if low is not None and not value.known:
        return texts["figure.unknown"].format(low=low, high=high)
    if low is not None:
        return f"{number} ({low}{style.between}{WITHOUT_END if high is None else high})"
    if value.number is None:
        return ""
    if value.error is None or value.error < abs(value.number) * NEGLIGIBLE:
        return number
    return f"{number} ± {value.error:.4g}"


def cell_text(cell: Cell, format: Format, texts: Texts, style: Style) -> str:
    """A table's cell."""
    if cell is None:
        return ""
    if isinstance(cell, tuple):
        return ", ".join(
            f"{said(each.name, texts)}: {shown(each.value, format, texts, style)}" for each in cell
        )
    return shown(cell, format, texts, style) if isinstance(cell, Value) else said(cell, texts)


@dataclass(frozen=True)
class Grid:
    """A figure as a table of words; the first name of the head is that of the rows' names."""

    title: str
    head: list[str]
    rows: list[list[str]]


def grid(figure: Figure, texts: Texts, style: Style) -> Grid | None:
    """What a figure says in words; None of curves and histograms, which have to be drawn.

    Of a curve it is the table below its x axis, where there is one.
    """
    match figure:
        case Table():
            return _table(figure, texts, style)
        case Matrix():
            head = ["", *(said(name, texts) for name in figure.columns)]
            pairs = zip(figure.rows, figure.counts, strict=True)
            rows = [[said(name, texts), *map(str, counts)] for name, counts in pairs]
            return Grid(heading(figure, texts), head, rows)
        case Intervals():
            head = ["", said(figure.x.title, texts)]
            told = [shown(row.value, figure.x.format, texts, style) for row in figure.rows]
            rows = [[said(row.name, texts), value] for row, value in zip(figure.rows, told, strict=True)]
            return Grid(heading(figure, texts), head, rows)
        case Bars(edges=(), tabled=False):
            return _bars(figure, texts, style)
        case Curve(below=Table() as below):
            return _table(below, texts, style)
    return None


def _table(table: Table, texts: Texts, style: Style) -> Grid:
    head = [_name_of(column, texts, style) for column in (table.index, *table.columns)]
    rows = []
    for row in table.rows:
        pairs = zip(row.cells, table.columns, strict=True)
        cells = [cell_text(cell, column.format, texts, style) for cell, column in pairs]
        rows.append([_name_of(row, texts, style), *cells])
    return Grid(heading(table, texts), head, rows)


def _name_of(named: Column | Row, texts: Texts, style: Style) -> str:
    """The title on paper, else the short name; a row's with its unit."""
    name = said(named.title, texts) or named.name if style.printed else named.name
    return f"{name} ({named.unit})" if isinstance(named, Row) and named.unit else name


def _bars(figure: Bars, texts: Texts, style: Style) -> Grid:
    """A bar a row, and what a tip would tell of it."""
    further = list(dict.fromkeys(said(each.name, texts) for bar in figure.bars for each in bar.more))
    rows = []
    for bar in figure.bars:
        more = {said(each.name, texts): shown(each.value, figure.format, texts, style) for each in bar.more}
        value = shown(bar.value, figure.format, texts, style)
        rows.append([said(bar.name, texts), value, *(more.get(name, "") for name in further)])
    return Grid(heading(figure, texts), ["", said(figure.measure, texts), *further], rows)


def heading(figure: Figure, texts: Texts) -> str:
    """The figure's title, or its section's heading."""
    return said(figure.title, texts) or texts.get(f"{figure.section}.heading", figure.section)

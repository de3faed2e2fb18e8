"""Figures in words, for paper, terminals and notebooks; in a browser `static/js/values.js` says the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedcohort.figures import Cell, Column, Format, Row, Said, Value

SMALLEST_P = 0.001
NEGLIGIBLE = 5e-5
"""Of a number: what changes none of four significant digits is not worth a word."""

Texts = Mapping[str, str]
"""Of one language, by name."""


@dataclass(frozen=True)
class Style:
    """How a reader wants numbers: a metric's format, and what stands between the ends of an interval."""

    metric: str
    between: str


TERMINAL = Style(".4g", " to ")
PAPER = Style(".4f", " – ")


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
    low, high = (None if end is None else written(end, format, style) for end in (value.low, value.high))
    if value.number is None:
        return "" if high is None else texts["described.untold"].format(high=high)
    number = written(value.number, format, style)
    if low is not None and high is not None:
        if not value.known:
            return texts["figure.unknown"].format(low=low, high=high)
        return f"{number} ({low}{style.between}{high})"
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


def title_of(named: Column | Row, texts: Texts) -> str:
    """A column's or row's title, a row's with its unit."""
    title = said(named.title, texts) or named.name
    return f"{title} ({named.unit})" if isinstance(named, Row) and named.unit else title


def row_texts(row: Row, columns: Sequence[Column], texts: Texts, style: Style) -> list[str]:
    """The row's cells in words."""
    pairs = zip(row.cells, columns, strict=True)
    return [cell_text(cell, column.format, texts, style) for cell, column in pairs]

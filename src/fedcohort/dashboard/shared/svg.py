"""Figures as small SVG pictures, for a document that needs neither server nor script.

Everything is put together by `Markup.format`, which escapes what it is given.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from markupsafe import Markup

from fedcohort.figure_texts import PAPER, Texts, said, shown
from fedcohort.figures import Axis, Bars, Curve, Figure, Intervals, Line, Matrix, Named, Point, Table

WIDTH, HEIGHT = 320.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 10.0, 30.0
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Okabe and Ito's, which colour-blind readers tell apart; lines differ in their dashes, too."""
DASHES = ("none", "5 3", "2 2", "7 2 2 2")
GREY, INK = "#8a97a3", "#16212b"
LONGEST_NAME = 18
LETTER = 5.2
"""Width that a letter takes at most, of numbers on average."""
MAX_POINTS = 500
"""Of one curve: a study of thousands of rounds is thinned out, its ends stay."""
MAX_BARS = 40

_SVG = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img"><title>{}</title>{}</svg>')
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
_TURNED = Markup('<text transform="translate(12 {:.0f}) rotate(-90)" text-anchor="middle">{}</text>')
_STROKE = Markup('<path d="{}" fill="none" stroke="{}" stroke-width="1.6" stroke-dasharray="{}"/>')
_AREA = Markup('<path d="{} Z" fill="{}" fill-opacity="0.15"/>')
_DOT = Markup('<path d="M{} {} h0.01" fill="none" stroke="{}" stroke-width="5" stroke-linecap="round"/>')
_BAR = Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="12" fill="{}"/>')

Places = Sequence[tuple[float, float]]
Span = tuple[float, float]


def svg(figure: Figure, texts: Texts) -> Markup | None:
    """The picture of a figure, whose title a screen reader says; None of a table or a matrix."""
    match figure:
        case Curve():
            return _curve(figure, texts)
        case Bars(edges=()):
            return _bars(figure, texts)
        case Bars():
            return _histogram(figure, texts)
        case Intervals():
            return _intervals(figure, texts)
        case Table() | Matrix():
            return None


@dataclass(frozen=True)
class _Axes:
    """From where to where the axes go."""

    x: Span
    y: Span

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point in the picture's own units."""
        return _share(x, self.x, LEFT, WIDTH - RIGHT), _share(y, self.y, HEIGHT - BOTTOM, TOP)

    def way(self, points: Places) -> str:
        """Through all points."""
        return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in (self.place(*point) for point in points))


def _share(value: float, span: Span, begin: float, end: float) -> float:
    low, high = span
    part = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
    return begin + part * (end - begin)


def _curve(figure: Curve, texts: Texts) -> Markup:
    """Curves over one pair of axes, and what they are called beneath."""
    lines = [Line(line.name, _thinned(line.points)) for line in figure.lines]
    points = [point for line in lines for point in line.points]
    ends = [end for point in points for end in (point.y, point.low, point.high) if end is not None]
    axes = _Axes(_span(figure.x, [point.x for point in points]), _span(figure.y, ends))
    parts = _frame(axes, said(figure.x.title, texts), said(figure.y.title, texts))
    if figure.diagonal:
        parts.append(_STROKE.format(axes.way([(0.0, 0.0), (1.0, 1.0)]), GREY, "1 3"))
    for index, line in enumerate(lines):
        parts += _line(figure, line, index, axes)
    named = lines if len(lines) > 1 else []
    for index, line in enumerate(named):
        y = HEIGHT + 14 * index + 4
        parts.append(_STROKE.format(f"M{LEFT} {y} h24", *_style(index)))
        parts.append(_TEXT.format(LEFT + 30, y + 4, "start", said(line.name, texts)))
    return _svg(said(figure.title, texts), HEIGHT + 14 * len(named), parts)


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    step = -(-len(points) // MAX_POINTS)
    return (*points[:-1][:: max(step, 1)], *points[-1:])


def _span(axis: Axis, values: Sequence[float]) -> Span:
    low = min(values, default=0.0) if axis.low is None else axis.low
    return low, max(values, default=1.0) if axis.high is None else axis.high


def _style(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]


def _line(figure: Curve, line: Line, index: int, axes: _Axes) -> list[Markup]:
    """The curve over its band; a single point is a dot."""
    colour, dash = _style(index)
    ends = figure.band(line)
    lows, highs = (_stepped(figure, [(end[0], end[which]) for end in ends]) for which in (1, 2))
    band = [_AREA.format(axes.way([*lows, *reversed(highs)]), colour)] if ends else []
    places = _stepped(figure, [(point.x, point.y) for point in line.points])
    dots = [axes.place(*place) for place in places] if figure.marked or len(places) == 1 else []
    marks = [_DOT.format(f"{x:.1f}", f"{y:.1f}", colour) for x, y in dots]
    return [*band, *([_STROKE.format(axes.way(places), colour, dash)] if places else []), *marks]


def _stepped(figure: Curve, places: Places) -> Places:
    """With a corner before each place where y stays as it is until then."""
    if not figure.steps:
        return places
    corners = ((x, before) for (_, before), (x, _) in pairwise(places))
    return [*places[:1], *chain.from_iterable(zip(corners, places[1:], strict=True))]


def _bars(figure: Bars, texts: Texts) -> Markup:
    """One horizontal bar a name, from zero, with a line over its interval."""
    bars = figure.bars[:MAX_BARS]
    reached = [end for bar in bars for end in _reached(bar)]
    most = max(map(abs, reached), default=0.0) or 1.0
    left = 60.0 if any(end < 0 for end in reached) else 0.0
    axis, right = 120.0 + left, WIDTH - 180.0 - left

    def place(value: float) -> float:
        return axis + value / most * (right if value >= 0 else left)

    parts = []
    for index, bar in enumerate(bars):
        value = bar.value.number or 0.0
        y, end = 6 + 18 * index, place(value)
        parts += [
            _TEXT.format(4, y + 10, "start", _short(said(bar.name, texts))),
            _BAR.format(min(axis, end), y, abs(end - axis), COLOURS[0 if value >= 0 else 1]),
            _TEXT.format(
                WIDTH - 4, y + 10, "end", f"{value:d}" if isinstance(value, int) else f"{value:+.3g}"
            ),
            *_whisker(bar, y + 6, place),
        ]
    return _svg(said(figure.title, texts), 12.0 + 18 * len(bars), parts)


def _reached(row: Named) -> list[float]:
    """How far the row reaches: its value, and the ends of its interval."""
    given = (row.value.number, row.value.low, row.value.high)
    return [float(end) for end in given if end is not None]


def _whisker(row: Named, y: float, place: Callable[[float], float]) -> list[Markup]:
    if row.value.low is None or row.value.high is None:
        return []
    low, high = place(row.value.low), place(row.value.high)
    way = f"M{low:.1f} {y:g} H{high:.1f} M{low:.1f} {y - 3:g} v6 M{high:.1f} {y - 3:g} v6"
    return [_STROKE.format(way, INK, "none")]


def _intervals(figure: Intervals, texts: Texts) -> Markup:
    """A line a row from end to end of its interval, a mark at its value, and both in words at the right."""
    reached = [end for row in figure.rows for end in _reached(row)]
    reached += [] if figure.reference is None else [figure.reference]
    scale: Callable[[float], float] = math.log if figure.x.log else float
    span = (scale(min(reached, default=1.0)), scale(max(reached, default=1.0)))

    words = [shown(row.value, figure.x.format, texts, PAPER) for row in figure.rows]
    width = max(WIDTH, 220.0 + LETTER * max(map(len, words), default=0))
    right = width - LETTER * max(map(len, words), default=0) - 14.0

    def place(value: float) -> float:
        return _share(scale(value), span, 110.0, right)

    floor = 6.0 + 18 * len(figure.rows)
    parts = [_TEXT.format((110.0 + right) / 2, floor + 14, "middle", said(figure.x.title, texts))]
    if figure.reference is not None:
        parts.append(_STROKE.format(f"M{place(figure.reference):.1f} 0 V{floor:g}", GREY, "3 2"))
    for index, (row, told) in enumerate(zip(figure.rows, words, strict=True)):
        y = 12.0 + 18 * index
        parts += [
            _TEXT.format(4, y + 4, "start", _short(said(row.name, texts))),
            *_whisker(row, y, place),
            _TEXT.format(width - 4, y + 4, "end", told),
        ]
        if row.value.number is not None:
            parts.append(_DOT.format(f"{place(row.value.number):.1f}", f"{y:.1f}", COLOURS[0]))
    return _svg(said(figure.title, texts), floor + 20, parts, width)


def _histogram(figure: Bars, texts: Texts) -> Markup:
    """How many values lie in each part of a number's range."""
    counts = [float(bar.value.number or 0) for bar in figure.bars]
    low, high = figure.edges[0], figure.edges[-1]
    axes = _Axes((low, high), (0.0, max(counts) or 1.0))
    steps = [(edge, n) for both, n in zip(pairwise(figure.edges), counts, strict=True) for edge in both]
    way = axes.way([(low, 0.0), *steps, (high, 0.0)])
    drawn = [_AREA.format(way, COLOURS[0]), _STROKE.format(way, COLOURS[0], "none")]
    return _svg(said(figure.title, texts), HEIGHT, [*_frame(axes, "", ""), *drawn])


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _svg(title: str, height: float, parts: Sequence[Markup], width: float = WIDTH) -> Markup:
    return _SVG.format(width, height, title, Markup("").join(parts))


def _frame(axes: _Axes, x_title: str, y_title: str) -> list[Markup]:
    (first, last), (low, high) = axes.x, axes.y
    floor, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    return [
        _STROKE.format(f"M{LEFT} {TOP} V{floor} H{WIDTH - RIGHT}", GREY, "none"),
        _TEXT.format(LEFT - 4, floor, "end", f"{low:.3g}"),
        _TEXT.format(LEFT - 4, TOP + 8, "end", f"{high:.3g}"),
        _TEXT.format(LEFT, floor + 12, "start", f"{first:.4g}"),
        _TEXT.format(WIDTH - RIGHT, floor + 12, "end", f"{last:.4g}"),
        _TEXT.format(middle, HEIGHT - 4, "middle", x_title),
        _TURNED.format(HEIGHT / 2, y_title),
    ]

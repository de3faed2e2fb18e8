"""Small charts as SVG, for a document that needs neither server nor script.

Everything is put together by `Markup.format`, which escapes what it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 320.0, 200.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 10.0, 30.0
COLOURS = ("#0072B2", "#D55E00", "#009E73")
"""Okabe and Ito's, which colour-blind readers tell apart; lines differ in their dashes, too."""
DASHES = ("none", "5 3", "2 2")
GREY, INK = "#8a97a3", "#16212b"
LONGEST_NAME = 18

_SVG = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img"><title>{}</title>{}</svg>')
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
_TURNED = Markup('<text transform="translate(12 {:.0f}) rotate(-90)" text-anchor="middle">{}</text>')
_STROKE = Markup('<path d="{}" fill="none" stroke="{}" stroke-width="1.6" stroke-dasharray="{}"/>')
_AREA = Markup('<path d="{} Z" fill="{}" fill-opacity="0.15"/>')
_BAR = Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="12" fill="{}"/>')

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve; `band` is its lower and upper edge where there is an interval."""

    name: str
    points: Points
    band: tuple[Points, Points] | None = None


@dataclass(frozen=True)
class Bar:
    """One value by its name; `ends` are those of its interval where there is one."""

    name: str
    value: float
    ends: tuple[float, float] | None = None


@dataclass(frozen=True)
class Axes:
    """What the axes are called, and from where to where they go."""

    x: str
    y: str
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """A point in the picture's own units."""
        return _share(x, self.x_range, LEFT, WIDTH - RIGHT), _share(y, self.y_range, HEIGHT - BOTTOM, TOP)


def _share(value: float, span: tuple[float, float], begin: float, end: float) -> float:
    low, high = span
    part = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
    return begin + part * (end - begin)


def line_chart(title: str, axes: Axes, lines: Sequence[Line], *, diagonal: bool = False) -> Markup:
    """Curves over one pair of axes; `title` is what a screen reader says."""
    parts = _frame(axes)
    if diagonal:
        parts.append(_STROKE.format(_way([(0.0, 0.0), (1.0, 1.0)], axes), GREY, "1 3"))
    for index, line in enumerate(lines):
        colour, dash = COLOURS[index % len(COLOURS)], DASHES[index % len(DASHES)]
        if line.band is not None:
            parts.append(_AREA.format(_way([*line.band[0], *reversed(line.band[1])], axes), colour))
        y = HEIGHT + 14 * index + 4
        parts += [
            _STROKE.format(_way(line.points, axes), colour, dash),
            _STROKE.format(f"M{LEFT} {y} h24", colour, dash),
            _TEXT.format(LEFT + 30, y + 4, "start", line.name),
        ]
    return _svg(title, HEIGHT + 14 * len(lines), parts)


def bar_chart(title: str, bars: Sequence[Bar]) -> Markup:
    """One horizontal bar a name, from zero, with a line over its interval; `title` is for screen readers."""
    reached = [end for bar in bars for end in (bar.value, *(bar.ends or ()))]
    most = max(map(abs, reached), default=0.0) or 1.0
    left = 60.0 if any(end < 0 for end in reached) else 0.0
    axis, right = 120.0 + left, WIDTH - 180.0 - left

    def place(value: float) -> float:
        return axis + value / most * (right if value >= 0 else left)

    parts = []
    for index, bar in enumerate(bars):
        y, end = 6 + 18 * index, place(bar.value)
        short = bar.name if len(bar.name) <= LONGEST_NAME else bar.name[: LONGEST_NAME - 1] + "…"
        parts += [
            _TEXT.format(4, y + 10, "start", short),
            _BAR.format(min(axis, end), y, abs(end - axis), COLOURS[0 if bar.value >= 0 else 1]),
            _TEXT.format(WIDTH - 4, y + 10, "end", f"{bar.value:+.3g}"),
        ]
        if bar.ends is not None:
            low, high = map(place, bar.ends)
            way = f"M{low:.1f} {y + 6} H{high:.1f} M{low:.1f} {y + 3} v6 M{high:.1f} {y + 3} v6"
            parts.append(_STROKE.format(way, INK, "none"))
    return _svg(title, 12.0 + 18 * len(bars), parts)


def histogram_chart(title: str, low: float, high: float, counts: Sequence[int]) -> Markup:
    """How many values lie in each of equal parts from `low` to `high`."""
    axes = Axes("", "", (low, high), (0.0, float(max(counts)) or 1.0))
    width = (high - low) / len(counts)
    edges = [(low + index * width, low + (index + 1) * width) for index in range(len(counts))]
    steps = [(edge, float(n)) for both, n in zip(edges, counts, strict=True) for edge in both]
    way = _way([(low, 0.0), *steps, (high, 0.0)], axes)
    drawn = [_AREA.format(way, COLOURS[0]), _STROKE.format(way, COLOURS[0], "none")]
    return _svg(title, HEIGHT, [*_frame(axes), *drawn])


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return _SVG.format(WIDTH, height, title, Markup("").join(parts))


def _frame(axes: Axes) -> list[Markup]:
    (first, last), (low, high) = axes.x_range, axes.y_range
    floor, middle = HEIGHT - BOTTOM, (LEFT + WIDTH - RIGHT) / 2
    return [
        _STROKE.format(f"M{LEFT} {TOP} V{floor} H{WIDTH - RIGHT}", GREY, "none"),
        _TEXT.format(LEFT - 4, floor, "end", f"{low:.3g}"),
        _TEXT.format(LEFT - 4, TOP + 8, "end", f"{high:.3g}"),
        _TEXT.format(LEFT, floor + 12, "start", f"{first:.4g}"),
        _TEXT.format(WIDTH - RIGHT, floor + 12, "end", f"{last:.4g}"),
        _TEXT.format(middle, HEIGHT - 4, "middle", axes.x),
        _TURNED.format(HEIGHT / 2, axes.y),
    ]


def _way(points: Points, axes: Axes) -> str:
    placed = (axes.place(x, y) for x, y in points)
    return "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in placed)

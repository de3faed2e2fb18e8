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
GREY = "#8a97a3"
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


def bar_chart(title: str, bars: Sequence[tuple[str, float]]) -> Markup:
    """One horizontal bar a name, from zero; `title` is what a screen reader says."""
    most = max((abs(value) for _, value in bars), default=0.0) or 1.0
    left = 60.0 if any(value < 0 for _, value in bars) else 0.0
    axis, right = 120.0 + left, WIDTH - 180.0 - left
    parts = []
    for index, (name, value) in enumerate(bars):
        y, positive = 6 + 18 * index, value >= 0
        length = abs(value) / most * (right if positive else left)
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        parts += [
            _TEXT.format(4, y + 10, "start", short),
            _BAR.format(axis if positive else axis - length, y, length, COLOURS[0 if positive else 1]),
            _TEXT.format(WIDTH - 4, y + 10, "end", f"{value:+.3g}"),
        ]
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

"""Figures drawn by matplotlib, without its global state, for notebooks and as PNG files."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, Literal

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from matplotlib.transforms import Transform

from fedcohort.figure_texts import PAPER, TERMINAL, Texts, heading, said, shown, written
from fedcohort.figures import Axis, Bars, Curve, Figure, Intervals, Line, Matrix, Named, Table

MAX_BARS = 40
MAX_LABEL_LENGTH = 48
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, which colour-blind readers tell apart; lines differ in their dashes, too."""
DASHES = ("-", "--", ":", "-.", (0, (6, 2)), (0, (1, 3)))
INK, GRID = "#16212B", "#DDE4EA"
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Zen Hei")
"""Those that are installed are tried in turn for each letter; the later ones know Chinese."""
IN_A_ROW = 3
FIRST_ROW_POINTS, ROW_POINTS = 34, 12
"""How far beneath the x axis the first row of numbers at risk stands, and each further one below it."""


class Picture(Drawing):
    """A drawing that a notebook shows, whether or not pyplot was ever imported."""

    def _repr_png_(self) -> bytes:
        return self.png()

    def png(self) -> bytes:
        """As a PNG file."""
        buffer = BytesIO()
        with warnings.catch_warnings():
            # A machine without a Chinese font draws boxes for Chinese names; the rest is right.
            warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
            self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()


def drawable(figures: Sequence[Figure]) -> list[Figure]:
    """Those that are pictures: a table is none."""
    return [figure for figure in figures if type(figure) in DRAW]


def side_by_side(figures: Sequence[Figure], texts: Texts) -> Picture:
    """Figures beside each other, three in a row."""
    n_rows, n_columns = -(-len(figures) // IN_A_ROW), min(IN_A_ROW, len(figures))
    width = 6 if n_columns == 1 else 3 * n_columns
    whole = Picture(figsize=(width, 3.2 * n_rows), layout="constrained")
    places = list(whole.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, figure in zip(places, figures, strict=False):
        _draw(axes, figure, texts)
    for axes in places[len(figures) :]:
        axes.set_axis_off()
    return whole


def alone(figure: Figure, heading: str, texts: Texts) -> Picture:
    """One figure below a heading, high enough for all its rows."""
    rows = len(figure.bars[:MAX_BARS]) if isinstance(figure, Bars) and not figure.edges else 0
    rows = len(figure.rows) if isinstance(figure, Intervals) else rows
    size = (7.2, 1.3 + 0.3 * rows if rows else 4.5)
    whole = Picture(figsize=size, dpi=144, layout="constrained", facecolor="white")
    axes = whole.add_subplot()
    _draw(axes, figure, texts)
    axes.set_title("")
    _plain([axes.set_title(_short(heading), loc="left", fontsize=11, fontweight="bold", color=INK)])
    return whole


def _draw(axes: Axes, figure: Figure, texts: Texts) -> None:
    axes.set_title(_short(heading(figure, texts)), fontsize=11, color=INK)
    DRAW[type(figure)](axes, figure, texts)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)
    legend = axes.get_legend()
    labels = [
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
        axes.xaxis.label,
        axes.yaxis.label,
        axes.title,
    ]
    _plain([*labels, *axes.texts, *(legend.get_texts() if legend else ())])


def _bars(axes: Axes, figure: Bars, texts: Texts) -> None:
    if figure.edges:
        heights = [bar.value.number or 0 for bar in figure.bars]
        axes.stairs(heights, figure.edges, fill=True, color=COLOURS[0], alpha=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        return
    bars = figure.bars[:MAX_BARS]
    values = [bar.value.number or 0.0 for bar in bars]
    colours = [COLOURS[0] if value >= 0 else COLOURS[1] for value in values]
    axes.barh(range(len(bars)), values, color=colours, height=0.66, zorder=2)
    _whiskers(axes, bars, INK)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=3)
    axes.set_xlabel(said(figure.measure, texts), fontsize=9, color=INK)
    _rows(axes, bars, texts)


def _intervals(axes: Axes, figure: Intervals, texts: Texts) -> None:
    _whiskers(axes, figure.rows, COLOURS[0])
    placed = [
        (row.value.number, place) for place, row in enumerate(figure.rows) if row.value.number is not None
    ]
    axes.plot(*zip(*placed, strict=True), "s", color=COLOURS[0], markersize=5, zorder=5)
    if figure.reference is not None:
        axes.axvline(figure.reference, color=INK, linewidth=0.8, linestyle="--", zorder=3)
    _scale(axes, figure.x, "x", texts)
    _rows(axes, figure.rows, texts)
    right = axes.secondary_yaxis("right")
    told = [shown(row.value, figure.x.format, texts, TERMINAL) for row in figure.rows]
    right.set_yticks(range(len(told)), told, fontsize=9)
    right.tick_params(length=0, labelcolor=INK)
    right.spines[:].set_visible(False)


def _whiskers(axes: Axes, rows: Sequence[Named], colour: str) -> None:
    for place, row in enumerate(rows):
        if row.value.low is not None and row.value.high is not None:
            ends = (row.value.low, row.value.high)
            axes.plot(ends, (place, place), color=colour, marker="|", linewidth=1.2, zorder=4)


def _rows(axes: Axes, rows: Sequence[Named], texts: Texts) -> None:
    """A name a row, the first on top; light grid, no frame."""
    axes.set_yticks(range(len(rows)), [_short(said(row.name, texts)) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.spines[:].set_visible(False)


def _curve(axes: Axes, figure: Curve, texts: Texts) -> None:
    if figure.diagonal:
        axes.axline((0, 0), slope=1, color=GRID, linestyle=":")
    for place, line in enumerate(figure.lines):
        _line(axes, figure, line, place, texts)
    _scale(axes, figure.x, "x", texts)
    _scale(axes, figure.y, "y", texts)
    if figure.y.title == figure.title:
        axes.set_ylabel("")
    if len(figure.lines) > 1:
        axes.legend(fontsize=9, frameon=False)
    if figure.below is not None:
        _below(axes, figure.below, texts)


def _line(axes: Axes, figure: Curve, line: Line, place: int, texts: Texts) -> None:
    colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
    known = figure.band(line)
    lows, highs = [low for _, low, _ in known], [high for _, _, high in known]
    step: Literal["post"] | None = "post" if figure.steps else None
    axes.fill_between([x for x, _, _ in known], lows, highs, step=step, color=colour, alpha=0.15, linewidth=0)
    x, y = [point.x for point in line.points], [point.y for point in line.points]
    drawstyle = "steps-post" if figure.steps else "default"
    marker = "o" if figure.marked or len(x) == 1 else None
    axes.plot(
        x, y, color=colour, linestyle=dash, drawstyle=drawstyle, marker=marker, label=said(line.name, texts)
    )


def _scale(axes: Axes, axis: Axis, which: str, texts: Texts) -> None:
    limits: Mapping[str, Any] = {f"{which}label": said(axis.title, texts)}
    if axis.log:
        limits = {**limits, f"{which}scale": "log"}
    axes.set(**limits)
    shown = getattr(axes, f"get_{which}lim")()
    low, high = (
        end if given is None else given for end, given in zip(shown, (axis.low, axis.high), strict=True)
    )
    # Of one value alone, which is the axis' own end, there would be no axis.
    getattr(axes, f"set_{which}lim")(low, high if high > low else low + 1.0)


def _below(axes: Axes, table: Table, texts: Texts) -> None:
    """Each column beneath its place on the x axis, as numbers at risk are printed."""
    across = axes.get_xaxis_transform()

    def beneath(x: float, index: int, text: str, coordinates: Transform) -> None:
        axes.annotate(
            text,
            (x, 0),
            (0, -FIRST_ROW_POINTS - ROW_POINTS * index),
            xycoords=coordinates,
            textcoords="offset points",
            annotation_clip=False,
            ha="right" if coordinates is axes.transAxes else "center",
            va="top",
            fontsize=8,
        )

    for index, row in enumerate(table.rows):
        beneath(-0.02, index, _short(said(row.title, texts) or row.name), axes.transAxes)
        for column, cell in zip(table.columns, row.cells, strict=True):
            number = getattr(cell, "number", None)
            if number is not None:
                beneath(float(column.name), index, written(number, column.format, PAPER), across)


def _matrix(axes: Axes, figure: Matrix, texts: Texts) -> None:
    totals = [sum(counts) or 1 for counts in figure.counts]
    shares = [[n / total for n in counts] for counts, total in zip(figure.counts, totals, strict=True)]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for place, counts in enumerate(figure.counts):
        for column, n in enumerate(counts):
            ink = "white" if shares[place][column] > 0.6 else INK
            axes.text(column, place, f"{n:g}", ha="center", va="center", color=ink, fontsize=10)
    axes.set_xticks(range(len(figure.columns)), [_short(said(name, texts)) for name in figure.columns])
    axes.set_yticks(range(len(figure.rows)), [_short(said(name, texts)) for name in figure.rows])


DRAW: dict[type, Callable[[Axes, Any, Texts], None]] = {
    Bars: _bars,
    Curve: _curve,
    Intervals: _intervals,
    Matrix: _matrix,
}


def _plain(texts: Sequence[Text]) -> None:
    """Fonts that know Chinese where there are any; a dollar sign in a name begins no formula."""
    fonts = [name for name in FONTS if name in _installed()]
    for text in texts:
        text.set_fontfamily(fonts)
        text.set_parse_math(False)


@lru_cache(maxsize=1)
def _installed() -> frozenset[str]:
    return frozenset(font_manager.get_font_names())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_LABEL_LENGTH else line[: MAX_LABEL_LENGTH - 1] + "…"

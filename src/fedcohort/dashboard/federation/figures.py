"""The permutation importance of a study's columns as a PNG, drawn by matplotlib without its global state."""

import io
import threading
import warnings
from collections.abc import Mapping
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from fedcohort.dashboard.shared.svg import Bar

MAX_BARS = 40
MAX_LABEL_LENGTH = 48
INCREASE, DECREASE, INK, GRID = "#0072B2", "#D55E00", "#16212B", "#DDE4EA"
"""Okabe and Ito's blue and vermilion, which colour-blind readers tell apart."""
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Zen Hei")
"""Those that are installed are tried in turn for each letter; the later ones know Chinese."""

_drawing = threading.Lock()

Bars = tuple[Bar, ...]


def importance_bars(report: Mapping[str, object]) -> Bars:
    """Each column and the increase of the loss, the most important first; empty when a report has none.

    With the interval of the noise where a study is private.
    """
    importance = report.get("importance")
    if not isinstance(importance, dict):
        return ()
    bars = []
    for column, entry in importance.items():
        value = entry.get("loss_increase") if isinstance(entry, dict) else None
        if isinstance(value, int | float):
            bars.append(Bar(str(column), float(value), _ends(entry)))
    return tuple(sorted(bars, key=lambda bar: (-bar.value, bar.name)))


def _ends(entry: Mapping[str, object]) -> tuple[float, float] | None:
    low, high = entry.get("loss_increase_low"), entry.get("loss_increase_high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return float(low), float(high)
    return None


@lru_cache(maxsize=32)
def importance_png(title: str, x_label: str, bars: Bars) -> bytes:
    """One horizontal bar a column, with a line over its interval; at most the 40 most important ones.

    Args:
        title, x_label: plain text; nothing in them is read as a formula.
        bars: sorted.
    """
    with _drawing:
        return _draw(title, x_label, bars[:MAX_BARS])


def _draw(title: str, x_label: str, bars: Bars) -> bytes:
    figure = Figure(figsize=(7.2, 1.3 + 0.3 * len(bars)), dpi=144, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    values = [bar.value for bar in bars]
    colours = [INCREASE if value >= 0 else DECREASE for value in values]
    axes.barh(range(len(bars)), values, color=colours, height=0.66, zorder=2)
    for place, bar in enumerate(bars):
        if bar.ends is not None:
            axes.plot(bar.ends, (place, place), color=INK, marker="|", linewidth=1.2, zorder=4)
    axes.set_yticks(range(len(bars)), [_short(bar.name) for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    heading = axes.set_title(_short(title), loc="left", fontsize=11, fontweight="bold", color=INK)
    label = axes.set_xlabel(x_label, fontsize=9, color=INK)
    _calm(axes)
    _plain([heading, label, *axes.get_yticklabels()])
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A machine without a Chinese font draws boxes for Chinese names; the rest of the picture is right.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _calm(axes: Axes) -> None:
    """Light grid, no frame."""
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=3)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=9, labelcolor=INK)


def _plain(texts: list[Text]) -> None:
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

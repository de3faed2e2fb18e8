"""Which figures are known: a figure whose interval covers most of its range is not.

Analyses ask here as they make their figures; about a round's metrics the page asks `static/js/known.js`,
which says the same.
"""

from collections.abc import Mapping
from typing import Any

METRICS = ("loss", "accuracy", "auc", "mae", "r2")
"""Those that have a name in every language, in the order in which they are shown."""
SHARES = frozenset({"accuracy", "auc"})
"""Metrics between 0 and 1."""
MOST = 0.5
"""Of the possible range: an interval that covers more leaves a figure unknown."""
FACTOR = 4.0
"""Of a figure without an upper end, such as a loss: ends further apart than this leave it unknown."""

Ends = tuple[float, float]


def ends_of(row: Mapping[str, Any], name: str) -> Ends | None:
    """The interval that a report has of a figure."""
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return None if low is None or high is None else (float(low), float(high))


def possible_range(row: Mapping[str, Any], name: str) -> Ends | None:
    """Between what a figure of a report's row must lie; None where it has no upper end, or nobody says it.

    Args:
        row: of a split's metrics, or of a described column, whose declared range its histogram has.
    """
    if name in SHARES:
        return 0.0, 1.0
    histogram = row.get("histogram")
    if not isinstance(histogram, Mapping) or "error" not in histogram:
        return None
    low, high = float(histogram["low"]), float(histogram["high"])
    return {"mean": (low, high), "std": (0.0, (high - low) / 2)}.get(name)


def is_known(row: Mapping[str, Any], name: str, ends: Ends | None = None) -> bool:
    """Whether a figure says something: it has no interval, or one that leaves out half of what is possible.

    Args:
        ends: the interval, where it is not the report's own.
    """
    between = ends_of(row, name) if ends is None else ends
    if between is None:
        return True
    low, high = between
    possible = possible_range(row, name)
    if possible is not None:
        return high - low <= MOST * (possible[1] - possible[0]) * (1 + 1e-9)
    return name in ("mean", "std", "r2") or high <= FACTOR * low


IN_LABEL_UNITS = frozenset({"mae"})
"""Metrics that are in the unit of a label that is a number."""


def metric_name(metric: str, unit: str | None, said: str | None = None) -> str:
    """A metric's name, with the label's unit where the metric is in it.

    Args:
        said: the name in another language, or the metric's own word.
    """
    name = metric if said is None else said
    return f"{name} ({unit})" if unit and metric in IN_LABEL_UNITS else name


def column_name(name: str, row: Mapping[str, Any]) -> str:
    """A described column's name, with its unit."""
    return f"{name} ({row['unit']})" if row.get("unit") else name

"""How far a released figure may be from what other patients of the same kind would give (95 %).

Where a study is private its intervals are those of the noise, which the report has already; a figure
of an exact study is a figure of these patients, whose number the report has, too. Accuracy: Wilson
1927's score interval. AUC: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

Z = 1.959963984540054
Interval = tuple[float, float]


def accuracy_interval(right: float, n: int) -> Interval | None:
    """Of a share `right` of n rows."""
    if n < 1:
        return None
    middle = (right + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(right * (1 - right) / n + Z * Z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def auc_interval(auc: float, n_positive: int, n_negative: int) -> Interval | None:
    """Of an area under the ROC curve over so many rows of each outcome."""
    if n_positive < 1 or n_negative < 1:
        return None
    both_positive, both_negative = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    variance = (
        auc * (1 - auc)
        + (n_positive - 1) * (both_positive - auc * auc)
        + (n_negative - 1) * (both_negative - auc * auc)
    ) / (n_positive * n_negative)
    half = Z * math.sqrt(max(0.0, variance))
    return max(0.0, auc - half), min(1.0, auc + half)


def mean_interval(mean: float, deviation: float, n: int) -> Interval | None:
    """Of a mean of n values."""
    half = Z * deviation / math.sqrt(n) if n > 1 else 0.0
    return (mean - half, mean + half) if n > 1 else None


def sampling_interval(metric: str, measured: Mapping[str, Any]) -> Interval | None:
    """Of one split's metric; None where the report does not say enough.

    Args:
        measured: the split's part of the report.
    """
    value, confusion = measured.get(metric), measured.get("confusion")
    if not isinstance(value, int | float):
        return None
    if metric == "accuracy" and isinstance(measured.get("rows"), int):
        return accuracy_interval(value, measured["rows"])
    if metric == "auc" and isinstance(confusion, Sequence) and len(confusion) == 2:
        if any(count is None for row in confusion for count in row):
            return None
        negative, positive = (sum(row) for row in confusion)
        return auc_interval(value, positive, negative)
    return None

"""A curve over time as a product: what is left after each time, its area, interval and median.

Kaplan and Meier 1958; the interval is that of log(-log S) (Kalbfleisch and Prentice 2002, section 1.4).
"""

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.intervals import NORMAL_EXACT

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def product_limit(events: Floats, at_risk: Floats) -> Floats:
    """(…, times): the share left after each time; with noise it may rise, and above 1.

    Args:
        at_risk: of whom the events are; above 0.
    """
    return np.cumprod(1 - np.clip(events / at_risk, -0.5, 1.0), axis=-1).astype(np.float64)


def areas(grid: Floats, curve: Floats, halved: bool | NDArray[np.bool_]) -> Floats:
    """(…, times): the area before each time; where who is lost counts for half, a curve falls evenly."""
    before = np.concatenate([np.ones_like(curve[..., :1]), curve[..., :-1]], axis=-1)
    found: Floats = np.diff(grid, prepend=0.0) * np.where(halved, (before + curve) / 2, before)
    return found


def log_log_interval(curve: Floats, error: Floats) -> tuple[Floats, Floats]:
    """95 % interval: NaN where a curve has not begun to fall, or is at its end.

    Args:
        error: standard error of the curve's logarithm.
    """
    inside = (curve > 0) & (curve < 1)
    log = np.log(np.where(inside, curve, 0.5))
    spread = NORMAL_EXACT * error / np.abs(log)
    ends = (np.exp(log * np.exp(sign * spread)) for sign in (1, -1))
    low, high = (np.where(inside, end, np.nan) for end in ends)
    return low, high


def median(grid: Floats, curve: Floats) -> float | None:
    """The first time at which half of the patients are gone; None where more of them are left at the end."""
    reached = np.flatnonzero(curve <= 0.5)
    return float(grid[reached[0]]) if reached.size else None


def median_of_windows(
    times: Floats, ends: Places, curve: Floats, low: Floats, high: Floats
) -> dict[str, float | None]:
    """The median, where it falls on a time that is shown by itself, and between which times it lies.

    Args:
        times: of windows' ends, which are places of a grid.
    """
    first, found, last = (median(times, np.nan_to_num(line, nan=1.0)) for line in (low, curve, high))
    begin = None if first is None else _begin(times, ends, first)
    if found is not None and _begin(times, ends, found) is not None:
        found = None
    return {"median": found, "median_low": first if begin is None else begin, "median_high": last}


def _begin(times: Floats, ends: Places, end: float) -> float | None:
    """The last time before the window that ends there; None of a window of one time."""
    place = int(np.flatnonzero(times == end)[0])
    if ends[place] - (ends[place - 1] if place else -1) == 1:
        return None
    return float(times[place - 1]) if place else 0.0

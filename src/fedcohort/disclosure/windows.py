"""Ordered cells, put together until each window rests on enough patients: times, scores, quantiles."""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Ends = NDArray[np.int64]


def windows(counts: Counts, min_cell: int, rest: float = 0.0, *, closed: bool = False) -> Ends:
    """Where windows end, each with its last cell, such that none of them shows a small count.

    Empty cells belong to the window after them, so that none of them says where the first patient is.

    Args:
        counts: (cells, kinds), in order; each kind of a window is empty or holds `min_cell` or more.
        rest: what comes after the cells, such as those still at risk: nothing, or with what no window holds
            `min_cell` or more.
        closed: whether what no window holds is shown as another one, such as a curve's last point.
    Returns:
        the places of the last cells of windows, in order; what is behind the last one is not shown.
    """
    if min_cell <= 1:
        return np.arange(len(counts))
    sums = np.concatenate([np.zeros((1, counts.shape[1])), np.cumsum(counts, axis=0)])
    ends, last = [0], len(counts)
    for place in range(1, last + 1):
        inside = sums[place] - sums[ends[-1]]
        if inside.any() and _fits(inside, min_cell):
            ends.append(place)
    begin = max(len(ends) - 2, 0)
    if ends[-1] < last and _fits(sums[last] - sums[ends[begin]], min_cell):
        # What is left joins the last window.
        ends = [*ends[: begin + 1], last]
    everyone = float(sums[-1].sum()) + rest
    while len(ends) > 1:
        behind = everyone - float(sums[ends[-1]].sum())
        if not 0 < behind < min_cell and (not closed or _fits(sums[-1] - sums[ends[-1]], min_cell)):
            break
        ends.pop()
    return np.array(ends[1:], np.int64) - 1


def _fits(counts: Counts, min_cell: int) -> bool:
    return bool(np.all((counts == 0) | (counts >= min_cell)))

"""Quantiles from a tree of noisy counts: a range in 8 parts, each of these in 8, and so once more.

A rank is a sum of counts; from the tree it is one of few, whatever the number of the finest parts. Counts of
a parent and of its children are made consistent by least squares (Hay, Rastogi, Miklau, Suciu 2010, section
4).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BRANCHES, LEVELS = 8, 3
PARTS: tuple[int, ...] = tuple(BRANCHES**level for level in range(1, LEVELS + 1))
FINEST_BITS = 9
"""Halvings of the range to one of the finest parts."""

Floats = NDArray[np.float64]


def levels_of(finest: Floats) -> list[Floats]:
    """The counts of every level, from those of the finest parts: (..., 512)."""
    return [finest.reshape(*finest.shape[:-1], parts, -1).sum(-1) for parts in PARTS]


def consistent(levels: Sequence[Floats]) -> Floats:
    """(..., 512): of the finest parts, by all levels, which have the same noise.

    Args:
        levels: (..., 8), (..., 64) and (..., 512).
    """
    upward = [np.asarray(levels[-1], np.float64)]
    for height, own in enumerate(reversed(levels[:-1]), start=2):
        whole = BRANCHES**height - 1
        share = (BRANCHES**height - BRANCHES ** (height - 1)) / whole
        upward.append(share * own + (1 - share) * _families(upward[-1]).sum(-1))
    best = upward.pop()
    while upward:
        children = _families(upward.pop())
        missing = (best - children.sum(-1)) / BRANCHES
        best = (children + missing[..., None]).reshape(*best.shape[:-1], -1)
    return best


def _families(counts: Floats) -> Floats:
    return counts.reshape(*counts.shape[:-1], -1, BRANCHES)


def cumulated(finest: Floats) -> Floats:
    """(..., 513): how many values lie below each edge, which never falls as noise would have it.

    The mean of the least and the largest curve that does not fall and touches the noisy one.
    """
    total = np.maximum(finest.sum(-1, keepdims=True), 0.0)
    reached = np.concatenate([np.zeros_like(total), np.cumsum(finest, axis=-1)], axis=-1)
    above = np.maximum.accumulate(reached, axis=-1)
    below = np.flip(np.minimum.accumulate(np.flip(reached, -1), axis=-1), -1)
    rising = np.clip((above + below) / 2, 0.0, total)
    rising[..., 0], rising[..., -1] = 0.0, total[..., 0]
    smooth: Floats = rising
    return smooth


def expected(finest: Floats) -> Floats:
    """Counts as they may have been without noise, none of them negative, of about the same sum."""
    counts: Floats = np.diff(cumulated(finest), axis=-1)
    return counts


def quantiles(finest: Floats, probabilities: Floats) -> Floats:
    """(..., probabilities): as shares of the range, values lying evenly in each part; NaN where nobody is."""
    reached = cumulated(finest)
    edges = np.linspace(0.0, 1.0, reached.shape[-1])
    lines = reached.reshape(-1, reached.shape[-1])
    found = np.full((len(lines), len(probabilities)), np.nan)
    for line, values in enumerate(lines):
        if values[-1] >= 1:
            found[line] = np.interp(probabilities * values[-1], values, edges)
    return found.reshape(*reached.shape[:-1], -1)

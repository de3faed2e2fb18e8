"""Where scores are counted for ROC curves: bins on the log-odds scale, of which the data place the edges.

The AUC from binned scores counts a pair in one bin as a tie (Mann and Whitney 1947), so that it is off by
at most the sum over bins of n+ n- / (2 N+ N-). Equal bins of probability hold nearly all pairs of a rare
outcome in one bin. Here the pooled counts of the round before place the edges, at quantiles of the class
that has more rows: with a share 1 / B of it in each of B bins, the sum is 1 / (2 B) however rare the other
class is, and wherever its rows are. Half of the edges are placed so, which leaves 1 / B at most; the others
lie evenly where the scores were and about it, for few rows and for scores that have moved since.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUND_BINS, CLASS_ROUND_BINS = 1024, 256
"""Of a curve in every round; a label of several classes has one curve a class."""
FINAL_BINS, CLASS_FINAL_BINS = 4096, 1024
"""Of the finished model, which is measured once."""
FURTHEST = 16.0
"""Log-odds that the even grid reaches to: a probability of 1e-7 from 0 and 1."""
LOWEST, HIGHEST = -104.0, 17.0
"""Log-odds of the smallest float32 above 0, and beyond those of the largest below 1."""
EVEN_SHARE, NEAR_SHARE = 1 / 8, 3 / 8
"""Of the edges, those on the even grid, and those at even distances about where the scores were."""

Edges = NDArray[np.float32]
Floats = NDArray[np.float64]


def even_edges(n_curves: int, n_bins: int) -> Edges:
    """(n_curves, n_bins - 1) probabilities, at equal distances of log-odds: before anything is known."""
    log_odds = np.linspace(-FURTHEST, FURTHEST, n_bins - 1)
    return np.tile(_probability(log_odds), (n_curves, 1))


def placed_edges(edges: Edges, counts: NDArray[np.floating | np.integer], n_bins: int) -> Edges:
    """Edges for the next model's scores, which lie about where the last one's did.

    Args:
        edges: (n_curves, bins - 1), by which the scores were counted.
        counts: (n_curves, 2, bins), negatives first.
    Returns:
        (n_curves, n_bins - 1), not decreasing.
    """
    pairs = zip(edges, np.asarray(counts, np.float64), strict=True)
    return np.stack([_placed(*pair, n_bins) for pair in pairs])


def _placed(edges: Edges, counts: Floats, n_bins: int) -> Edges:
    inner = np.clip(_log_odds(edges), LOWEST, HIGHEST)
    ends = np.concatenate([[LOWEST], inner, [HIGHEST]])
    more = counts[np.argmax(counts.sum(axis=1))]
    if not more.any():
        return _at_quantiles(ends, _share_of(ends, -FURTHEST, FURTHEST), n_bins)
    reached = np.concatenate([[0.0], np.cumsum(more) / more.sum()])
    low, high = np.interp([0.02, 0.98], reached, ends)
    near = np.clip([low - (high - low) / 2, high + (high - low) / 2], LOWEST, HIGHEST)
    places = np.sort(np.concatenate([ends, near, [-FURTHEST, FURTHEST]]))
    quantiles = np.diff(np.interp(places, ends, reached))
    even = EVEN_SHARE * _share_of(places, -FURTHEST, FURTHEST) + NEAR_SHARE * _share_of(places, *near)
    return _at_quantiles(places, even + (1 - EVEN_SHARE - NEAR_SHARE) * quantiles, n_bins)


def _share_of(ends: Floats, low: float, high: float) -> Floats:
    """By bin, its share of the range from `low` to `high`; nothing of an empty range."""
    share: Floats = np.diff(np.clip(ends, low, high)) / max(high - low, 1e-12)
    return share


def _at_quantiles(ends: Floats, mass: Floats, n_bins: int) -> Edges:
    reached = np.concatenate([[0.0], np.cumsum(mass)])
    wanted = np.arange(1, n_bins) / n_bins * reached[-1]
    return np.maximum.accumulate(_probability(np.interp(wanted, reached, ends)))


def coarser(edges: Edges, n_bins: int) -> Edges:
    """So many bins, each of several neighbours."""
    step = (edges.shape[1] + 1) // n_bins
    return edges[:, step - 1 :: step]


def coarser_counts(counts: Floats, n_bins: int) -> Floats:
    """The counts of `coarser` edges: (..., n_bins)."""
    summed: Floats = counts.reshape(*counts.shape[:-1], n_bins, -1).sum(-1)
    return summed


def bin_of(edges: Edges, curve: int, scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Which bin each score is in; a bin begins with its lower edge. Compared to the last bit of either."""
    bins: NDArray[np.int64] = np.searchsorted(edges[curve], scores, side="right")
    return bins


def tie_error(negatives: Floats, positives: Floats) -> float | None:
    """How far the AUC from these counts may be from that of the scores; None when a side is empty."""
    pairs = float(negatives.sum()) * float(positives.sum())
    return float((negatives * positives).sum()) / (2 * pairs) if pairs else None


def _probability(log_odds: Floats) -> Edges:
    return (1 / (1 + np.exp(-log_odds))).astype(np.float32)


def _log_odds(edges: Edges) -> Floats:
    p = edges.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.log(p) - np.log1p(-p)

"""How often a fitted order of patients is the order of their events: Harrell's concordance, in pairs.

Two patients are compared where one had the event and the other was observed for longer, or as long and
without it (Harrell, Lee and Mark 1996). Pairs are counted bit by bit of the ranks (a wavelet matrix: Claude,
Navarro and Ordonez 2015), n log n steps without a loop over patients.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def pairs(time: Floats, event: Floats, risk: Floats) -> tuple[int, int, int]:
    """Count the pairs of patients that can be compared.

    Args:
        time, event, risk: (n,), without missing values; who has the higher risk is expected to go first.
    Returns:
        in the expected order; of one risk; all that can be compared.
    """
    order = np.lexsort((-event, time))
    time, died = time[order], event[order] > 0
    distinct, places = np.unique(risk[order], return_inverse=True)
    rank: NDArray[np.int32] = places.astype(np.int32)
    asked = np.flatnonzero(died)
    # Of one time those with the event stand first: whoever is compared stands behind them.
    later = np.searchsorted(time, time[asked], side="right")
    censored = np.concatenate([[0], np.cumsum(~died)])
    begins = later - (censored[later] - censored[np.searchsorted(time, time[asked], side="left")])
    below = _below(rank, begins, rank[asked])
    # Where no two have one risk, nobody is tied with whom is asked about.
    up_to = below if len(distinct) == len(rank) else _below(rank, begins, rank[asked] + 1)
    return int(below.sum()), int((up_to - below).sum()), int((len(time) - begins).sum())


def _below(rank: NDArray[np.int32], begins: Ints, limit: NDArray[np.int32]) -> Ints:
    """For each query, how many ranks from a place to the end lie below a limit."""
    found = np.zeros(len(begins), np.int64)
    low, high = begins.copy(), np.full(len(begins), len(rank))
    for bit in reversed(range(max(int(limit.max(initial=0)).bit_length(), 1))):
        ones = (rank >> bit) & 1
        zeros_before = np.concatenate([[0], np.cumsum(1 - ones)])
        zeros = int(zeros_before[-1])
        low_zeros, high_zeros = zeros_before[low], zeros_before[high]
        up = (limit >> bit) & 1 == 1
        found += np.where(up, high_zeros - low_zeros, 0)
        low = np.where(up, zeros + low - low_zeros, low_zeros)
        high = np.where(up, zeros + high - high_zeros, high_zeros)
        rank = np.concatenate([rank[ones == 0], rank[ones == 1]])
    return found

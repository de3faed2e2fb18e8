"""How often a fitted order of patients is the order of their events: Harrell's concordance, in pairs.

Two patients are compared where one had the event and the other was observed for longer, or as long and
without it (Harrell, Lee and Mark 1996). Pairs are counted as inversions are while a list is sorted by merging
(Knight 1966, J. Am. Stat. Assoc. 61:436), bit by bit of the places: n log n steps, no loop over patients.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK_BITS = 5
"""Patients among whom each two are looked at: 32."""


def pairs(time: Floats, event: Floats, risk: Floats) -> tuple[int, int, int]:
    """Count the pairs of patients that can be compared.

    Args:
        time, event, risk: (n,), without missing values; who has the higher risk is expected to go first.
    Returns:
        in the expected order; of one risk; all that can be compared.
    """
    order = np.lexsort((event, -time))
    time, died = time[order], event[order] > 0
    first = np.ones(len(time), np.bool_)
    first[1:] = time[1:] != time[:-1]
    return pairs_in_order(np.cumsum(first) - 1, died, risk[order])


def pairs_in_order(place: Ints, died: NDArray[np.bool_], risk: Floats) -> tuple[int, int, int]:
    """The same of patients from the latest time, of one time those without the event first.

    Args:
        place: (n,) the distinct time of each, which rises by 1 where the time changes.
    """
    events = np.flatnonzero(died)
    if not len(events):
        return 0, 0, 0
    # Whoever is compared stands before all of that time who have the event.
    n_left, n_died = np.bincount(place), np.bincount(place[events], minlength=int(place[-1]) + 1)
    compared = int((np.cumsum(n_left) - n_died)[place[events]].sum())
    rising = np.argsort(risk)
    rises = np.diff(risk[rising]) > 0
    # Of one time those with the event stand by falling risk, so that none is before another and below it.
    falling = rising[::-1][died[rising[::-1]]]
    small = np.uint16 if place[-1] < 2**16 else np.int64  # which NumPy sorts in one pass
    where = np.arange(len(place), dtype=np.int32)
    where[falling[np.argsort(place[falling].astype(small), kind="stable")]] = events
    if rises.all():
        return _before(where[rising], died[rising]), 0, compared
    rank = np.zeros(len(place), np.int64)
    rank[rising[1:]] = np.cumsum(rises)
    below, up_to = (np.lexsort((sign * where, rank)) for sign in (-1, 1))
    _, together = np.unique(place[events] * len(place) + rank[events], return_counts=True)
    n_below = _before(where[below], died[below])
    n_tied = _before(where[up_to], died[up_to]) - n_below - int((together * (together - 1) // 2).sum())
    return n_below, n_tied, compared


def _before(where: NDArray[np.int32], died: NDArray[np.bool_]) -> int:
    """Of patients in order, over those with the event, how many stand before them here and in `where`.

    Places are divided at bit after bit: who is in a half counts whom it has met of the half before.

    Args:
        where: (n,) a permutation of 0 to n - 1.
    """
    n, found = len(where), 0
    both = where << 1 | died  # the event is carried along as the last bit
    for bit in reversed(range(BLOCK_BITS, int(n - 1).bit_length())):
        later = (both >> (bit + 1) & 1).astype(np.bool_)
        asked = np.flatnonzero(later & (both & 1).astype(np.bool_))
        met = np.cumsum(~later, dtype=np.int32)[asked]
        found += int(met.sum(dtype=np.int64)) - (int((asked >> (bit + 1)).sum()) << bit)
        both = _halves(both[~later], both[later], bit)
    return found + _before_in_blocks(both)


def _halves(former: NDArray[np.int32], later: NDArray[np.int32], bit: int) -> NDArray[np.int32]:
    """Halves of 2^bit in turn; those of the last may be shorter."""
    whole = len(later) >> bit << bit
    both = np.empty(len(former) + len(later), np.int32)
    in_turn = both[: 2 * whole].reshape(-1, 2, 1 << bit)
    in_turn[:, 0], in_turn[:, 1] = former[:whole].reshape(-1, 1 << bit), later[:whole].reshape(-1, 1 << bit)
    both[2 * whole :] = np.concatenate([former[whole:], later[whole:]])
    return both


def _before_in_blocks(both: NDArray[np.int32]) -> int:
    """The same within each block of 2^BLOCK_BITS places, one by one."""
    size, n = 1 << BLOCK_BITS, len(both)
    both = np.concatenate([both, np.arange(n, n + -n % size, dtype=np.int32) << 1]).reshape(-1, size)
    where, died = (both >> 1 & (size - 1)).astype(np.int8), (both & 1).astype(np.bool_)
    met = where[:, None, :] < where[:, :, None]
    met &= np.tril(np.ones((size, size), np.bool_), -1)
    met &= died[:, :, None]
    return int(np.count_nonzero(met))

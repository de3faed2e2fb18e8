"""Counts that must not leave: small ones, and others by which these could be computed back.

Primary suppression hides counts from 1 to below `min_cell`. Complementary suppression hides more until no
known total gives a hidden count away (Cox 1980, J. Am. Stat. Assoc. 75; Fischetti and Salazar 2001,
Management Science 47): along each line of cells whose total is known at least two are hidden, which hold
`min_cell` patients or more together; and where lines cross, the counts that a linear programme finds possible
for a hidden cell are at least `min_cell` apart.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]
Mask = NDArray[np.bool_]
Line = NDArray[np.int64]

MOST_SOLVED = 200
"""Hidden cells of one table, up to which programmes are solved; of more, the whole table is hidden."""


def small(counts: Counts, min_cell: int) -> Mask:
    """Which counts are above nothing and below `min_cell`."""
    found: Mask = (counts > 0) & (counts < min_cell)
    return found


def margins(shape: Sequence[int]) -> list[Line]:
    """Of a table the lines along each of its axes, as places in the flat table; of one axis, all of it."""
    places = np.arange(int(np.prod(shape))).reshape(shape)
    lines = []
    for axis, length in enumerate(shape):
        lines += list(np.moveaxis(places, axis, -1).reshape(-1, length))
    return lines


def hidden(counts: Counts, lines: Sequence[Line], min_cell: int) -> Mask:
    """Which of the cells must not be shown.

    Args:
        counts: (n,), none negative.
        lines: places of cells whose total is known, or may be.
    Returns:
        (n,); empty cells are shown, unless they are needed to hide others.
    """
    mask = small(counts, min_cell)
    lines = [line for line in lines if line.size]
    if not mask.any() or not lines:
        return mask
    while True:
        mask = _closed(counts, lines, mask, min_cell)
        if not _cross(lines, mask):
            return mask
        if mask.sum() > MOST_SOLVED:
            return np.ones_like(mask)
        told = next(_narrow(counts, lines, mask, min_cell), None)
        if told is None:
            return mask
        more = _next(counts, lines, mask, told)
        if more is None:  # nothing is left in its lines that could hide it
            return np.ones_like(mask)
        mask[more] = True


def _closed(counts: Counts, lines: Sequence[Line], mask: Mask, min_cell: int) -> Mask:
    """With more cells until each line hides two or more, which hold enough together, or all of it."""
    mask, again = mask.copy(), True
    while again:
        again = False
        for line in lines:
            while (under := mask[line]).any() and not under.all():
                own = counts[line][under]
                if (own > 0).sum() != 1 and (own.sum() == 0 or own.sum() >= min_cell):
                    break
                mask[line[~under][_cheapest(counts[line][~under])]] = again = True
    return mask


def _cheapest(counts: Counts) -> int:
    """The smallest count that there is; an empty cell only where there is no other."""
    return int(np.argmin(np.where(counts > 0, counts, np.inf)))


def _cross(lines: Sequence[Line], mask: Mask) -> bool:
    """Whether a hidden cell is in two lines of others."""
    seen = np.zeros(len(mask), np.int64)
    for line in lines:
        seen[line] += 1
    return bool((seen[mask] > 1).any())


def _narrow(counts: Counts, lines: Sequence[Line], mask: Mask, min_cell: int) -> Iterator[int]:
    """Hidden cells of which the known totals say too much."""
    for cell in np.flatnonzero(mask & small(counts, min_cell)):
        low, high = possible(counts, lines, mask, int(cell))
        if high - low < min_cell - 1e-6:
            yield int(cell)


def possible(counts: Counts, lines: Sequence[Line], mask: Mask, cell: int) -> tuple[float, float]:
    """The least and the largest number that a hidden cell may hold, by the totals of all lines."""
    from scipy.optimize import linprog  # it is asked for where lines cross, and nowhere else

    under = np.flatnonzero(mask)
    place = {int(at): index for index, at in enumerate(under)}
    touched = [line[mask[line]] for line in lines]
    touched = [line for line in touched if line.size]
    equal = np.zeros((len(touched), len(under)))
    for row, line in enumerate(touched):
        equal[row, [place[int(at)] for at in line]] = 1.0
    totals = np.array([counts[line].sum() for line in touched])
    ends = []
    for sign in (1.0, -1.0):
        cost = np.zeros(len(under))
        cost[place[cell]] = sign
        solved = linprog(cost, A_eq=equal, b_eq=totals, bounds=(0, None), method="highs")
        ends.append(sign * float(solved.fun))
    return ends[0], ends[1]


def _next(counts: Counts, lines: Sequence[Line], mask: Mask, cell: int) -> int | None:
    """Another cell of one of its lines, the smallest; if all of them are hidden, one of any line of those."""
    mine = [line for line in lines if cell in line]
    beside = np.unique(np.concatenate(mine))
    others = beside[~mask[beside]]
    if not others.size:
        near = [line for line in lines if mask[line].any()]
        reach = np.unique(np.concatenate(near))
        others = reach[~mask[reach]]
    return int(others[_cheapest(counts[others])]) if others.size else None


def hidden_table(counts: Counts, min_cell: int) -> Mask:
    """Of a table of any shape, all of whose totals along its axes are known."""
    flat = np.asarray(counts, np.float64).reshape(-1)
    return hidden(flat, margins(counts.shape), min_cell).reshape(counts.shape)


def exact(counts: Counts, mask: Mask, most: int) -> dict[tuple[int, ...], set[int]]:
    """By hidden cell of a small two-way table, every count that it may hold: by trying all, for tests.

    Args:
        most: no cell holds more.
    """
    places = [tuple(int(axis) for axis in place) for place in np.argwhere(mask)]
    rows, columns = counts.sum(1), counts.sum(0)
    found: dict[tuple[int, ...], set[int]] = {place: set() for place in places}
    for tried in product(range(most + 1), repeat=len(places)):
        table = np.where(mask, 0.0, counts)
        for place, count in zip(places, tried, strict=True):
            table[place] = count
        if np.array_equal(table.sum(1), rows) and np.array_equal(table.sum(0), columns):
            for place, count in zip(places, tried, strict=True):
                found[place].add(count)
    return found


def rounded(counts: Counts, step: int) -> Counts:
    """Counts to the nearest multiple; NaN stays."""
    near: Counts = np.round(counts / step) * step
    return near if step > 1 else counts

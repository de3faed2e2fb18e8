"""Order statistics from counts: which values stand at given places of the order of all hospitals' values.

A round counts the values in equal parts of the cell in which an order statistic is known to lie; the part
that holds it is the next round's cell, down to one place of the column's grid. The cell is halved as often
as there are parts for it, and only while it holds enough values (`min_cell`), so that an order statistic is
never told closer than so many values lie together. A quantile is numpy's "linear", method 7 of Hyndman and
Fan (1996); its interval is between two order statistics (Conover 1999, section 3.2).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.tails import binomial_quantile

FINEST_BITS = 46
"""Halvings of a range without a declared step: what is left is 10^-14 of it."""
COVERAGE = 0.95

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """The places that values of a column may have, numbered from 0.

    Attributes:
        step: between two neighbouring values as they are recorded; None: 2^46 equal parts of the range, of
            which each begins with its lower edge.
    """

    low: float
    high: float
    step: float | None = None

    @property
    def n(self) -> int:
        """How many places there are."""
        return (
            2**FINEST_BITS if self.step is None else math.floor((self.high - self.low) / self.step + 0.5) + 1
        )

    @property
    def bits(self) -> int:
        """Halvings down to one place."""
        return (self.n - 1).bit_length()

    @property
    def width(self) -> float:
        """Of one place."""
        return (self.high - self.low) / self.n if self.step is None else self.step

    def places(self, values: Floats) -> Ints:
        """The place of each value, one beyond the bounds at their end; -1 where it is missing."""
        with np.errstate(over="ignore"):
            scaled = (values - self.low) / self.width
        whole = np.floor(scaled) if self.step is None else np.rint(scaled)
        held = np.clip(np.nan_to_num(whole, nan=-1.0), np.where(np.isnan(whole), -1, 0), self.n - 1)
        places: Ints = held.astype(np.int64)
        return places

    def is_between(self, values: Floats) -> NDArray[np.bool_]:
        """Which values lie between two places of a declared step, of which they count as the nearest."""
        if self.step is None:
            return np.zeros(values.shape, np.bool_)
        nearest = self.value(self.places(values).astype(np.float64) + 0.5)
        off = np.abs(values - nearest)
        return np.nan_to_num(off) > 1e-9 * self.step

    def value(self, place: Floats) -> Floats:
        """The value at a point of the scale on which place k reaches from k to k + 1; its own is k + 1/2."""
        offset = 0.0 if self.step is None else 0.5
        values: Floats = self.low + (place - offset) * self.width
        return values


@dataclass(frozen=True)
class Cells:
    """Where order statistics are known to lie, each in 2^bits places from `begin`.

    Attributes:
        rank: of each from 0, the least; -1: there is none.
        begin, bits: of its cell.
        below, held: how many values lie below the cell, and in it.
        whole: whether the cell may be halved no further.
    """

    rank: Ints
    begin: Ints
    bits: Ints
    below: Ints
    held: Ints
    whole: NDArray[np.bool_]

    @property
    def asked(self) -> Ints:
        """Where the cells begin that the next round counts; -1 for those that are found."""
        return np.where(self.whole | (self.bits == 0), -1, self.begin)


def cells_of(rank: Ints, bits: Ints, n: Ints) -> Cells:
    """At first each order statistic lies somewhere in the whole range, among `n` values."""
    zeros = np.zeros_like(rank)
    return Cells(rank, zeros, bits, zeros, n, rank < 0)


def edges_of(begin: int, bits: int, part_bits: int) -> Ints:
    """(2^part_bits + 1,): the places at which the parts of a cell begin; a part may be empty."""
    edges: Ints = (np.arange(2**part_bits + 1, dtype=np.int64) << bits) + 2**part_bits - 1 >> part_bits
    return begin + edges


def part_of(places: Ints, bits: int, part_bits: int) -> Ints:
    """In which part of a cell from 0 each place lies: `edges_of`, turned round."""
    parts: Ints = (places << part_bits) >> bits
    return parts


def refined(cells: Cells, counts: NDArray[np.floating | np.integer], min_cell: int = 0) -> Cells:
    """Halve each cell that is asked for as often as the counts of its parts allow.

    Args:
        counts: (n, 2^k) values in equal parts of each cell.
        min_cell: a cell is halved only if it holds at least twice so many values, and the half that holds
            the order statistic at least so many.
    """
    reached = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1).astype(np.int64)
    lines, size = np.arange(len(counts)), counts.shape[1]
    first, asked = np.zeros_like(cells.rank), cells.asked >= 0
    while size > 1:
        size //= 2
        middle = reached[lines, first + size]
        left = middle - reached[lines, first]
        right = reached[lines, first + 2 * size] - middle
        above = cells.rank - cells.below >= left
        held = np.where(above, right, left)
        enough = (cells.held >= 2 * min_cell) & (held >= max(min_cell, 1))
        halved = asked & ~cells.whole & (cells.bits > 0) & enough
        bits = np.where(halved, cells.bits - 1, cells.bits)
        first = np.where(halved & above, first + size, first)
        cells = replace(
            cells,
            bits=bits,
            begin=np.where(halved & above, cells.begin + (1 << bits), cells.begin),
            below=np.where(halved & above, cells.below + left, cells.below),
            held=np.where(halved, held, cells.held),
            whole=cells.whole | (asked & (cells.bits > 0) & ~enough),
        )
    return cells


def placed(cells: Cells, grid: Grid) -> tuple[Floats, Floats]:
    """Of each order statistic a value, and how far from it the true one may lie; NaN where there is none.

    In a cell of several places values are taken to lie evenly.
    """
    begin = cells.begin.astype(np.float64)
    # The last cells reach beyond the grid.
    width: Floats = np.minimum(np.ldexp(1.0, cells.bits), grid.n - begin)
    share = np.where(cells.bits > 0, (cells.rank - cells.below + 0.5) / np.maximum(cells.held, 1), 0.5)
    value = grid.value(begin + width * share)
    edge = 0.0 if grid.step is None else 0.5  # a grid's values are in the middle of their places
    least, most = grid.value(begin + edge), grid.value(begin + width - edge)
    off = np.maximum(value - least, most - value)
    there = cells.rank >= 0
    return np.where(there, value, np.nan), np.where(there, np.maximum(off, 0.0), np.nan)


def ranks_of(probabilities: Floats, n: int) -> Ints:
    """(probabilities, 4): the order statistics on both sides of a quantile, and those that end its interval.

    -1 where there is none; an end that would be the least or the largest value is none either.
    """
    ranks = np.full((len(probabilities), 4), -1, np.int64)
    if n < 1:
        return ranks
    place = probabilities * (n - 1)
    ranks[:, 0], ranks[:, 1] = np.floor(place), np.ceil(place)
    for row, probability in enumerate(probabilities.tolist()):
        low = binomial_quantile((1 - COVERAGE) / 2, n, probability) - 1
        high = binomial_quantile((1 + COVERAGE) / 2, n, probability)
        ranks[row, 2] = low if low > 0 else -1
        ranks[row, 3] = high if high < n - 1 else -1
    return ranks


def between(probabilities: Floats, n: Floats, lower: Floats, upper: Floats) -> Floats:
    """Quantiles from the order statistics on both sides of them, as numpy does."""
    place = probabilities * (n - 1)
    share = place - np.floor(place)
    return lower + (upper - lower) * share

"""Sums of floating-point numbers without any rounding, whatever their unit and offset.

A float64 is a whole number times a power of two, so a sum of floats is one long whole number. It
leaves a site as limbs of 32 bits, in which sums of sites have no order and lose nothing (Kulisch
1971; Neal 2015, arXiv 1505.05571). From exact sums of values and of squares follows the variance
without cancellation: the mean need not be known beforehand, and no scale is looked for in the data.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import frexp, isnan, ldexp
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import ValueRangeError
from fedcohort.vector import Block

if TYPE_CHECKING:
    from fedcohort.analyses.design_rows import Matrix

LIMB_BITS = 32
LARGEST = 2.0**127
"""A value beyond it belongs to no measurement; a square of it still has room."""
_MANTISSA, _HALF = 53, 27
_LIMB = np.uint64(2**LIMB_BITS - 1)
_AT_ONCE = 2**13
"""Rows that are worked on together: they stay in the processor's cache."""
SLICE_BITS, MOST_SLICES = 18, 6

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Grid:
    """Of a sum in limbs: its least bit is worth 2^lowest."""

    lowest: int
    n_limbs: int


VALUES, SQUARES = Grid(-192, 11), Grid(-384, 22)
"""Values of at least 2^-139 are exact, smaller ones lose bits below 2^-192; so with their squares."""


def limbs(name: str, n: int, grid: Grid) -> Block:
    """The block of `n` exact sums: (n, n_limbs)."""
    return Block(name, (n, grid.n_limbs), resolution=1.0, bound=2.0**LIMB_BITS)


def sum_values(columns: "Matrix") -> Ints:
    """(n_columns, n_limbs): limbs of the sum of each column of (n_rows, n_columns), NaN left out.

    Raises:
        ValueRangeError: a value is beyond 2^127.
    """
    return _summed(columns, (VALUES, _Part.value_sum))[0]


def sum_squares(columns: "Matrix") -> Ints:
    """(n_columns, n_limbs): the sum of each column's squares, as `sum_values`."""
    return _summed(columns, (SQUARES, _Part.square_sum))[0]


def limbs_of(values: Floats) -> Ints:
    """(n, n_limbs): limbs of each of (n,) numbers, such as a site's own sums.

    Raises:
        ValueRangeError: one is beyond 2^127, or no number.
    """
    if not np.all(np.abs(values) <= LARGEST):
        raise ValueRangeError("a value is beyond 2^127; declare bounds and clean the column")
    whole, place = _whole_numbers(values)
    found = limbs_at(np.abs(whole).astype(np.uint64), place, VALUES.n_limbs)
    signed: Ints = found * np.sign(whole)[:, None]
    return signed


def limbs_at(whole: NDArray[np.uint64], place: Ints, n_limbs: int) -> Ints:
    """(…, n_limbs): limbs, lowest first, of whole numbers below 2^53 times 2^place, which is not negative."""
    shift = (place % LIMB_BITS).astype(np.uint64)
    low, high = (whole & _LIMB) << shift, (whole >> np.uint64(LIMB_BITS)) << shift
    # What is carried into the middle limb has none of the bits that stand there.
    parts = (low & _LIMB, (low >> np.uint64(LIMB_BITS)) + (high & _LIMB), high >> np.uint64(LIMB_BITS))
    limbs = np.zeros((*whole.shape, n_limbs), np.int64)
    for offset, part in enumerate(parts):
        at = np.minimum(place // LIMB_BITS + offset, n_limbs - 1)[..., None]
        filled = np.take_along_axis(limbs, at, -1) + part.astype(np.int64)[..., None]
        np.put_along_axis(limbs, at, filled, -1)
    return limbs


def floats_of(limbs: NDArray[np.floating | np.integer]) -> Floats:
    """(n,): the exact sums that limbs of VALUES stand for, each rounded once."""
    return np.array([ldexp(float(whole), VALUES.lowest) for whole in _wholes(limbs)], np.float64)


def totals(limbs: NDArray[np.floating | np.integer], grid: Grid) -> list[Fraction]:
    """The exact sums that limbs, added over sites, stand for: one a row."""
    step = Fraction(2) ** grid.lowest
    return [whole * step for whole in _wholes(limbs)]


def _wholes(limbs: NDArray[np.floating | np.integer]) -> list[int]:
    """One a row of limbs, added over sites."""
    wholes = []
    for row in np.asarray(limbs).astype(np.int64).tolist():
        whole = 0
        for limb in reversed(row):
            whole = (whole << LIMB_BITS) + limb
        wholes.append(whole)
    return wholes


def sum_both(columns: "Matrix") -> tuple[Ints, Ints]:
    """`sum_values` and `sum_squares`, which share most of their work."""
    values, squares = _summed(columns, (VALUES, _Part.value_sum), (SQUARES, _Part.square_sum))
    return values, squares


def _summed(columns: "Matrix", *asked: "tuple[Grid, Callable[[_Part], int]]") -> list[Ints]:
    p = columns.shape[1]
    sums = [[0] * p for _ in asked]
    for begin in range(0, len(columns), _AT_ONCE):
        # Of these rows all columns, and not of a column all rows, which are far apart in memory.
        for index, values in enumerate(columns[begin : begin + _AT_ONCE].T):
            part = _Part.of(np.ascontiguousarray(values))
            for (_, part_of), total in zip(asked, sums, strict=True):
                total[index] += part_of(part)
    return [
        np.array([_to_limbs(whole, grid) for whole in total], np.int64).reshape(p, grid.n_limbs)
        for (grid, _), total in zip(asked, sums, strict=True)
    ]


@dataclass(frozen=True)
class _Part:
    """Values that are worked on together, none of them NaN, and the largest of them without its sign."""

    values: Floats
    largest: float

    @classmethod
    def of(cls, values: Floats) -> "_Part":
        """NaN left out.

        Raises:
            ValueRangeError: a value is beyond 2^127.
        """
        largest = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
        if isnan(largest):
            return cls.of(values[~np.isnan(values)])
        if not largest <= LARGEST:
            raise ValueRangeError("a value is beyond 2^127; declare bounds and clean the column")
        return cls(values, largest)

    @cached_property
    def slices(self) -> tuple[list[Floats], int] | None:
        """Whole numbers, (n,) each, and the highest place: a value is a sum of slice j times 2^(top - 18 j).

        Slices are of 18 bits, so that sums of their products are exact as floats, 2^16 of them in whatever
        order. None where values are so far apart that they take more slices than `MOST_SLICES`.
        """
        top = frexp(self.largest)[1] - SLICE_BITS
        if top < VALUES.lowest:
            return None
        rest = self.values * 2.0**-top
        found: list[Floats] = []
        while len(found) < MOST_SLICES and top - SLICE_BITS * len(found) >= VALUES.lowest:
            found.append(np.rint(rest))
            rest -= found[-1]
            if not rest.any():
                return found, top
            rest *= 2.0**SLICE_BITS
        return None

    def value_sum(self) -> int:
        """In steps of 2^VALUES.lowest."""
        if self.slices is None:
            return _value_sum(self.values)
        slices, top = self.slices
        places = (top - SLICE_BITS * j - VALUES.lowest for j in range(len(slices)))
        return sum(int(part.sum()) << place for part, place in zip(slices, places, strict=True))

    def square_sum(self) -> int:
        """In steps of 2^SQUARES.lowest, which is twice as low: a square's place is twice the value's."""
        if self.slices is None:
            return _square_sum(self.values)
        slices, top = self.slices
        return sum(
            (int(np.dot(one, other)) << (2 * top - SLICE_BITS * (i + j) - SQUARES.lowest)) << (i != j)
            for i, one in enumerate(slices)
            for j, other in enumerate(slices[: i + 1])
        )


def _to_limbs(whole: int, grid: Grid) -> list[int]:
    sign, rest = (-1 if whole < 0 else 1), abs(whole)
    mask = (1 << LIMB_BITS) - 1
    return [sign * ((rest >> (LIMB_BITS * place)) & mask) for place in range(grid.n_limbs)]


def _value_sum(values: Floats) -> int:
    """In steps of 2^VALUES.lowest."""
    whole, place = _whole_numbers(values)
    return _shifted_sum(whole, place)


def _square_sum(values: Floats) -> int:
    """In steps of 2^SQUARES.lowest, which is twice as low: a square's place is twice the value's."""
    whole, place = _whole_numbers(values)
    high, low = np.abs(whole) >> _HALF, np.abs(whole) & ((1 << _HALF) - 1)
    return (
        (_shifted_sum(high * high, 2 * place) << 2 * _HALF)
        + (_shifted_sum(2 * high * low, 2 * place) << _HALF)
        + _shifted_sum(low * low, 2 * place)
    )


def _whole_numbers(values: Floats) -> tuple[Ints, Ints]:
    """Each value as a whole number below 2^53 times 2^(place + VALUES.lowest)."""
    fraction, exponent = np.frexp(values)
    place = exponent.astype(np.int64) - _MANTISSA - VALUES.lowest
    tiny = np.rint(np.ldexp(values, -VALUES.lowest))
    whole = np.where(place < 0, tiny, np.ldexp(fraction, _MANTISSA)).astype(np.int64)
    return whole, np.maximum(place, 0)


def _shifted_sum(whole: Ints, place: Ints) -> int:
    """The sum of whole * 2^place; halves of fewer than 2^27 add up exactly as floats, 2^16 of them."""
    high = np.bincount(place, weights=whole >> _HALF)
    low = np.bincount(place, weights=whole & ((1 << _HALF) - 1))
    there = np.flatnonzero((high != 0) | (low != 0)).tolist()
    return sum(((int(high[at]) << _HALF) + int(low[at])) << at for at in there)

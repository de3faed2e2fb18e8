"""A site's sum of floats as integers that lose nothing of it, whatever its size: no scale is looked for.

A float64 is a whole number below 2^53 times a power of two. It leaves as limbs of 32 bits, which are added
over sites like any other integers (`exact_sums` does the same for every single value, which costs more: here
a site's own sum is rounded as floats are).
"""

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exact_sums import LIMB_BITS, limbs_at
from fedcohort.errors import ValueRangeError
from fedcohort.vector import Block

LOWEST, N_LIMBS = -128, 9
"""From 2^-128 up to 2^157, so that a sum of 2^-75 or more keeps all of its 53 bits."""
LARGEST = 2.0 ** (LOWEST + LIMB_BITS * N_LIMBS - 3)
_MANTISSA = 53

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def carried(name: str, *shape: int) -> Block:
    """The block of float sums of a shape: (*shape, N_LIMBS)."""
    return Block(name, (*shape, N_LIMBS), resolution=1.0, bound=2.0 ** (LIMB_BITS + 1))


def to_limbs(values: Floats | float) -> Ints:
    """(…, N_LIMBS): limbs of each number, lowest first.

    Raises:
        ValueRangeError: a sum is beyond 2^157, or no number.
    """
    numbers = np.asarray(values, np.float64)
    if numbers.size and not np.max(np.abs(numbers)) <= LARGEST:
        raise ValueRangeError("a sum is beyond what can be carried; declare bounds and clean the columns")
    fraction, exponent = np.frexp(np.abs(numbers))
    place = exponent.astype(np.int64) - _MANTISSA - LOWEST
    tiny = place < 0
    whole = np.where(
        tiny, np.rint(np.ldexp(fraction, np.where(tiny, place, 0) + _MANTISSA)), np.ldexp(fraction, _MANTISSA)
    )
    limbs = limbs_at(whole.astype(np.uint64), np.maximum(place, 0), N_LIMBS)
    signed: Ints = limbs * np.where(numbers < 0, -1, 1)[..., None]
    return signed


def from_limbs(limbs: NDArray[np.floating | np.integer]) -> Floats:
    """(…): the sums that limbs, added over sites, stand for, to the last bit or two."""
    numbers = np.zeros(np.shape(limbs)[:-1])
    for place in reversed(range(N_LIMBS)):
        numbers = numbers + np.ldexp(np.asarray(limbs[..., place], np.float64), LOWEST + LIMB_BITS * place)
    return numbers


def triangle(matrix: Floats) -> Floats:
    """(p (p + 1) / 2,): a symmetric matrix by its upper triangle."""
    values: Floats = matrix[np.triu_indices(len(matrix))]
    return values


def symmetric(values: Floats, p: int) -> Floats:
    """(p, p): the inverse of `triangle`."""
    matrix = np.zeros((p, p))
    matrix[np.triu_indices(p)] = values
    whole: Floats = matrix + np.triu(matrix, 1).T
    return whole

"""Reckoning and functions of `where`: all numbers are doubles, and no value ends the evaluation.

A sum or product too large is infinite; what is divided by zero, and what is no number, is NULL.
Remainders and rounding are those of decimals of 15 digits, so that 0.3 % 0.1 is 0 and round(2.675, 2)
is 2.68; a remainder has the dividend's sign, and halves are rounded away from zero.
"""

import math
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation

import numpy as np

from fedcohort.sources.cohort.where.compare import compare
from fedcohort.sources.cohort.where.operands import (
    EXACT,
    NULL,
    Bools,
    Floats,
    Operand,
    merged,
    numbers_of,
    of_floats,
)

MAX_DECIMALS = 15
_DECIMALS = Context(prec=400)


def _divided(left: Floats, right: Floats) -> Floats:
    return left / np.where(right == 0, np.nan, right)


def _remainders(left: Floats, right: Floats) -> Floats:
    """Whole numbers at once; others one by one, each distinct pair once."""
    left, right = np.broadcast_arrays(left, right)
    whole = (left == np.trunc(left)) & (right == np.trunc(right))
    whole &= (np.abs(left) < EXACT) & (np.abs(right) < EXACT) & (right != 0)
    result = np.fmod(left, np.where(whole, right, np.nan))
    pairs, places = np.unique(np.stack([left[~whole], right[~whole]]), axis=1, return_inverse=True)
    result[~whole] = np.array([_remainder(*pair) for pair in pairs.T.tolist()], np.float64)[
        places.reshape(-1)
    ]
    return result


def _remainder(dividend: float, divisor: float) -> float:
    if not divisor or not math.isfinite(dividend) or math.isnan(divisor):
        return math.nan
    try:
        return float(Decimal(f"{dividend:.15g}") % Decimal(f"{divisor:.15g}"))
    except InvalidOperation:  # more digits than a Decimal has, or by infinity
        return math.fmod(dividend, divisor)


def rounded(operand: Operand, decimals: int) -> Operand:
    """The nearest number of so many decimals."""
    values, places = np.unique(numbers_of(operand), return_inverse=True)
    step = Decimal(1).scaleb(-decimals)
    return of_floats(np.array([_rounded(value, step) for value in values.tolist()], np.float64)[places])


def _rounded(value: float, step: Decimal) -> float:
    if not math.isfinite(value):
        return value
    return float(Decimal(f"{value:.15g}").quantize(step, ROUND_HALF_UP, _DECIMALS))


ARITHMETIC: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": _divided,
    "%": _remainders,
}


def reckoned(left: Operand, sign: str, right: Operand) -> Operand:
    """`left sign right`, sign being one of ARITHMETIC."""
    with np.errstate(all="ignore"):
        return of_floats(ARITHMETIC[sign](numbers_of(left), numbers_of(right)))


def negated(operand: Operand) -> Operand:
    """The number with the other sign, exactly."""
    if operand.numbers is None:
        return NULL
    rest = None if operand.rest is None else -operand.rest
    return Operand(operand.is_number, -operand.numbers, rest)


def absolute(operand: Operand) -> Operand:
    """The number without its sign, exactly."""
    if operand.numbers is None:
        return NULL
    rest = None if operand.rest is None else operand.rest * np.where(operand.numbers < 0, -1.0, 1.0)
    return Operand(operand.is_number, np.abs(operand.numbers), rest)


def length(operand: Operand) -> Operand:
    """A text's characters (code points)."""
    if operand.texts is None:
        return NULL
    return of_floats(
        operand.texts.each([float(len(word)) for word in operand.texts.words], np.nan, np.float64)
    )


def cased(operand: Operand, function: Callable[[str], str]) -> Operand:
    """A text in lower or upper case, by Unicode."""
    if operand.texts is None:
        return NULL
    return Operand(operand.is_text, texts=operand.texts.mapped(function))


def coalesced(operands: list[Operand], n: int) -> Operand:
    """The first that is not NULL."""
    left, chosen = np.ones(n, np.bool_), list[Bools]()
    for operand in operands:
        chosen.append(left & operand.present)
        left &= ~operand.present
    return merged(chosen, operands, n)


def nullif(left: Operand, right: Operand, n: int) -> Operand:
    """The left one, NULL where it equals the right one."""
    equal = compare(left, "=", right).true
    return merged([np.broadcast_to(left.present & ~equal, (n,))], [left], n)

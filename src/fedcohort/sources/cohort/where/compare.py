"""Comparisons in three values: true, false, and unknown, which selects nobody.

What is of two kinds is neither equal nor different: a number beside a text is unknown. A text is in
the order of its code points. A quoted date beside a text that is a date by ISO 8601 compares the two
moments; beside another text it is equal only to the same characters, and neither before nor after it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.sources.catalogue.dates import NO_MOMENT, moment_of
from fedcohort.sources.cohort.where.operands import (
    Bools,
    Ints,
    Operand,
    Texts,
    numbers_of,
)

Signs = NDArray[np.int8]


@dataclass(frozen=True)
class Truth:
    """A condition of each row: true, false, or neither, which is unknown."""

    true: Bools
    false: Bools

    def __and__(self, other: "Truth") -> "Truth":
        return Truth(self.true & other.true, self.false | other.false)

    def __or__(self, other: "Truth") -> "Truth":
        return Truth(self.true | other.true, self.false & other.false)

    def __invert__(self) -> "Truth":
        return Truth(self.false, self.true)


def known(mask: Bools) -> Truth:
    """A condition that is true or false in every row."""
    return Truth(mask, ~mask)


@dataclass(frozen=True)
class Compared:
    """Two operands beside each other: sign is -1, 0 or 1; where they are unequal but have no order, 1."""

    sign: Signs
    ordered: Bools
    comparable: Bools
    """Whether equality is known: wherever the order is, and where a date stands beside another text."""


def compared(left: Operand, right: Operand) -> Compared:
    """The order of two operands in each row."""
    shape = np.broadcast_shapes(left.present.shape, right.present.shape)
    result = Compared(np.zeros(shape, np.int8), np.zeros(shape, np.bool_), np.zeros(shape, np.bool_))
    if left.numbers is not None and right.numbers is not None:
        _set(result, _number_signs(left, right), left.is_number & right.is_number)
    if left.texts is not None and right.texts is not None:
        _set(result, _text_signs(left.texts, right.texts), left.is_text & right.is_text)
    _compare_moments(result, left, right)
    return result


def _set(into: Compared, signs: Signs, where: Bools) -> None:
    np.copyto(into.sign, signs, where=where)
    np.copyto(into.ordered, where, where=where)
    np.copyto(into.comparable, where, where=where)


def _signs(left: NDArray[Any], right: NDArray[Any]) -> Signs:
    signs: Signs = (left > right).astype(np.int8) - (left < right)
    return signs


def _number_signs(left: Operand, right: Operand) -> Signs:
    """By the doubles, and where they are equal by what whole numbers are beyond them."""
    signs = _signs(numbers_of(left), numbers_of(right))
    if left.rest is None and right.rest is None:
        return signs
    none = np.zeros(1)
    of_left, of_right = (none if operand.rest is None else operand.rest for operand in (left, right))
    return np.where(signs == 0, _signs(of_left, of_right), signs)


def _text_signs(left: Texts, right: Texts) -> Signs:
    if len(right.words) == 1:
        word = right.words[0]
        return left.each([(text > word) - (text < word) for text in left.words], 0, np.int8)
    if len(left.words) == 1:
        return -_text_signs(right, left)
    ranks = {word: rank for rank, word in enumerate(sorted({*left.words, *right.words}))}
    of_left, of_right = (
        texts.each([ranks[word] for word in texts.words], -1, np.int64) for texts in (left, right)
    )
    return _signs(of_left, of_right)


def _compare_moments(result: Compared, left: Operand, right: Operand) -> None:
    """Where either side is a moment, and the other one is one or can be read as one."""
    if left.moments is None and right.moments is None:
        return
    of_left, of_right = (_moments(operand) for operand in (left, right))
    either = left.is_moment | right.is_moment
    both = either & (of_left != NO_MOMENT) & (of_right != NO_MOMENT)
    _set(result, _signs(of_left, of_right), both)
    result.ordered[np.broadcast_to(either & ~both, result.ordered.shape)] = False


def _moments(operand: Operand) -> Ints:
    """Its moments, and those of its texts."""
    moments = operand.moments if operand.moments is not None else np.full(1, NO_MOMENT, np.int64)
    if operand.texts is None:
        return moments
    read = [moment_of(word) for word in operand.texts.words]
    of_texts = operand.texts.each(
        [NO_MOMENT if moment is None else moment for moment in read], NO_MOMENT, np.int64
    )
    return np.where(moments == NO_MOMENT, of_texts, moments)


Test = Callable[[Compared], tuple[Bools, Bools]]
"""Where a comparison is known, and where it is true if it is known."""
TESTS: Mapping[str, Test] = {
    "=": lambda compared: (compared.comparable, compared.sign == 0),
    "<>": lambda compared: (compared.comparable, compared.sign != 0),
    "<": lambda compared: (compared.ordered, compared.sign < 0),
    "<=": lambda compared: (compared.ordered, compared.sign <= 0),
    ">": lambda compared: (compared.ordered, compared.sign > 0),
    ">=": lambda compared: (compared.ordered, compared.sign >= 0),
}


def compare(left: Operand, sign: str, right: Operand) -> Truth:
    """`left sign right`, sign being one of TESTS."""
    certain, holds = TESTS[sign](compared(left, right))
    return Truth(certain & holds, certain & ~holds)


def same(left: Operand, right: Operand) -> Truth:
    """IS NOT DISTINCT FROM: never unknown, NULL being the same as NULL."""
    equal = compare(left, "=", right).true
    return known(equal | (~left.present & ~right.present))

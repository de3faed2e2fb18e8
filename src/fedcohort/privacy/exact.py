"""Exact comparisons of a uniform number with exp(-gamma), for the few that floating point cannot decide.

A uniform number in [0, 1) is drawn 64 bits at a time, as many as the comparison needs; exp(-gamma) is
bracketed by partial sums of its alternating series, in integers as long as needed. Both ends come closer
until they no longer overlap, which is certain to happen for a rational gamma other than zero.
"""

import math
import os
from fractions import Fraction


def bracket_exp(gamma: Fraction, bits: int) -> tuple[Fraction, Fraction]:
    """Rationals on both sides of exp(-gamma), at most gamma + 1 times 2^(1 - bits) apart.

    Args:
        gamma: not negative.
        bits: of precision.
    """
    pieces = max(1, math.ceil(gamma))
    part = gamma / pieces
    # On [0, 1] the terms of exp(-part) alternate and shrink: neighbouring partial sums bracket it.
    low, high, term, power = Fraction(0), Fraction(1), Fraction(1), 0
    while high - low > Fraction(1, 2**bits):
        power += 1
        term = term * part / power
        if power % 2:
            low = high - term
        else:
            high = low + term
    return low**pieces, high**pieces


def floor_exp(gamma: Fraction, bits: int) -> int:
    """floor(2^bits exp(-gamma)), exactly; gamma is rational and not zero, so the product is no integer."""
    precision = bits + 16
    while True:
        low, high = bracket_exp(gamma, precision)
        floor = math.floor(low * (1 << bits))
        if floor == math.floor(high * (1 << bits)):
            return floor
        precision *= 2


class Uniform:
    """One uniform number in [0, 1), whose bits are drawn when a comparison asks for them."""

    def __init__(self, first: int) -> None:
        self._value, self._bits = first, 64

    def below_exp(self, gamma: Fraction) -> bool:
        """Whether the number is below exp(-gamma)."""
        if gamma == 0:
            return True
        while True:
            low, high = bracket_exp(gamma, self._bits + 16)
            if Fraction(self._value + 1, 2**self._bits) <= low:
                return True
            if Fraction(self._value, 2**self._bits) >= high:
                return False
            self._value = self._value << 64 | int.from_bytes(os.urandom(8), "little")
            self._bits += 64

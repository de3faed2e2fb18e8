"""Exact comparisons with exp(-gamma): brackets that hold, and decisions beyond 64 bits."""

import itertools
import os
from fractions import Fraction

import mpmath
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.privacy.samplers import Uniform, bracket_exp, floor_exp


@given(st.fractions(min_value=0, max_value=60, max_denominator=10**9), st.integers(1, 200))
def test_the_bracket_holds_exp_and_is_narrow(gamma: Fraction, bits: int) -> None:
    low, high = bracket_exp(gamma, bits)
    with mpmath.workprec(400):
        truth = mpmath.exp(-mpmath.mpf(gamma.numerator) / gamma.denominator)
        assert mpmath.mpf(low.numerator) / low.denominator <= truth
        assert truth <= mpmath.mpf(high.numerator) / high.denominator
    assert high - low <= Fraction(2 * (1 + max(1, int(gamma) + 1)), 2**bits)


def test_the_first_64_bits_of_1_over_e_are_known() -> None:
    assert floor_exp(Fraction(1), 64) == 6786177901268885274
    assert [floor_exp(Fraction(v), 64) for v in (44, 45)] == [1, 0]


def test_a_number_that_shares_192_bits_with_exp_is_decided_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gamma = Fraction(7, 3)
    bits = floor_exp(gamma, 256)
    words = [(bits >> 64 * (3 - i)) & (2**64 - 1) for i in range(4)]
    for last, below in ((words[3] - 1, True), (words[3] + 1, False)):
        stream = iter([*words[1:3], last])
        monkeypatch.setattr(os, "urandom", lambda n, stream=stream: next(stream).to_bytes(n, "little"))
        assert Uniform(words[0]).below_exp(gamma) is below


def test_every_number_is_below_exp_of_zero() -> None:
    assert Uniform(2**64 - 1).below_exp(Fraction(0))


def test_one_number_compared_twice_keeps_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = itertools.count()
    monkeypatch.setattr(os, "urandom", lambda n: bytes([next(drawn)] * n))
    uniform = Uniform(floor_exp(Fraction(1), 64))
    first = uniform.below_exp(Fraction(1))
    used = next(drawn)
    assert uniform.below_exp(Fraction(1)) is first
    assert next(drawn) == used + 1

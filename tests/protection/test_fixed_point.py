"""Numbers as ring integers: sums are exact, have no order, and cannot wrap."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.errors import SaturationError, StudyError, ValueRangeError, WireError
from fedcohort.protection.fixed_point import (
    add_ring,
    from_ring,
    ring_bits,
    ring_from_bytes,
    shape_of,
    to_ring,
    zero_ring,
)
from fedcohort.vector import MAX_ROWS, FixedPoint


@settings(max_examples=60, deadline=None)
@given(
    n_sites=st.integers(1, 40),
    size=st.integers(0, 20),
    bound=st.floats(1e-3, 1e6),
    exponent=st.integers(-30, 0),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_sum_is_that_of_the_rounded_values_in_any_order(
    n_sites: int, size: int, bound: float, exponent: int, seed: int
) -> None:
    layout = (FixedPoint("w", (size,), bound, 2.0**exponent), FixedPoint("n", (2,), MAX_ROWS))
    draw = np.random.default_rng(seed)
    vectors: list[dict[str, Any]] = [
        {"w": draw.uniform(-bound, bound, size), "n": draw.integers(0, 1000, 2)} for _ in range(n_sites)
    ]
    sizes = shape_of(layout, n_sites).sizes
    totals = []
    for order in (range(n_sites), draw.permutation(n_sites)):
        total = zero_ring(sizes)
        for index in order:
            part = to_ring(layout, vectors[index], n_sites).to_bytes()
            add_ring(total, ring_from_bytes(part, sizes))
        totals.append(total)
    assert totals[0].to_bytes() == totals[1].to_bytes()
    found = from_ring(layout, totals[0], n_sites)
    exact = sum(np.rint(vector["w"] / 2.0**exponent).astype(int).astype(object) for vector in vectors)
    expected = [float(value) * 2.0**exponent for value in np.atleast_1d(exact)] if size else []
    np.testing.assert_array_equal(found["w"], expected)
    np.testing.assert_array_equal(found["n"], sum(vector["n"] for vector in vectors))


@settings(max_examples=200, deadline=None)
@given(
    n_sites=st.integers(1, 300),
    bound=st.floats(1e-3, 1e15),
    exponent=st.integers(-40, 0),
    sign=st.sampled_from((1, -1)),
    private=st.booleans(),
)
def test_the_largest_sum_of_all_sites_does_not_wrap_with_all_the_room_for_noise_used_up(
    n_sites: int, bound: float, exponent: int, sign: int, private: bool
) -> None:
    block = FixedPoint("w", (1,), bound, 2.0**exponent, noisy=private)
    try:
        sizes = shape_of((block,), n_sites).sizes
    except StudyError:
        assert n_sites * 2.0 * (bound / block.resolution + 1) >= 2.0**62
        return
    largest = round(bound / block.resolution)
    noise = {"w": np.array([sign * largest])} if private else {}
    ring = to_ring((block,), {"w": np.array([sign * bound])}, n_sites, noise)
    total = zero_ring(sizes)
    for _ in range(n_sites):
        add_ring(total, ring)
    found = total.wide.view(np.int64).tolist() + total.narrow.view(np.int32).tolist()
    assert found == [sign * n_sites * (largest + (largest if private else 0))]


@settings(max_examples=200, deadline=None)
@given(
    dtype=st.sampled_from((np.float32, np.float64, np.int64)),
    bound=st.sampled_from((0.75, 16.0, 1e6, 2.0**40)),
    exponent=st.integers(-70, 30),
    n_sites=st.sampled_from((1, 1000)),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_type_of_number_is_rounded_as_exact_arithmetic_rounds(
    dtype: type[np.generic], bound: float, exponent: int, n_sites: int, seed: int
) -> None:
    """float32 is scaled as float32, in half the memory: the integers are those of exact fractions."""
    block = FixedPoint("w", (24,), bound, 2.0**exponent)
    try:
        sizes = shape_of((block,), n_sites).sizes
    except StudyError:
        return
    draw = np.random.default_rng(seed)
    halves = np.clip((draw.integers(-9, 9, 12) + 0.5) * block.resolution, -bound, bound)
    values = np.concatenate([draw.uniform(-bound, bound, 12), halves]).astype(dtype)
    values = np.clip(values, -np.asarray(bound).astype(dtype), np.asarray(bound).astype(dtype))
    ring = to_ring((block,), {"w": values}, n_sites)
    found = ring.wide.view(np.int64).tolist() + ring.narrow.view(np.int32).tolist()
    assert sizes in {(24, 0), (0, 24)}
    assert found == [round(Fraction(value) / Fraction(2) ** exponent) for value in values.tolist()]


def test_a_block_takes_32_bits_where_the_sum_of_all_sites_fits() -> None:
    block = FixedPoint("w", (1,), 16.0, 2.0**-22)
    assert ring_bits(block, 31) == 32
    assert ring_bits(block, 33) == 64
    assert ring_bits(FixedPoint("n", (1,), MAX_ROWS), 100) == 32


def test_what_fits_no_ring_is_refused_before_a_round_starts() -> None:
    with pytest.raises(StudyError, match=r"block w.*do not fit in 64 bits"):
        shape_of((FixedPoint("w", (1,), 1e15, 2.0**-20),), 10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueRangeError, match="block w: not a finite number"):
        to_ring((FixedPoint("w", (1,), 1.0, 0.5),), {"w": np.array([value])}, 1)


def test_a_value_beyond_its_bound_is_an_error_and_its_value_is_not_told() -> None:
    with pytest.raises(SaturationError, match="beyond 2") as caught:
        to_ring((FixedPoint("w", (2,), 2.0, 0.5),), {"w": np.array([0.0, 2.75])}, 1)
    assert "2.75" not in str(caught.value)
    with pytest.raises(SaturationError):
        to_ring((FixedPoint("n", (1,), 3.0),), {"n": np.array([4])}, 1)


def test_bytes_of_another_length_are_refused() -> None:
    sizes = shape_of((FixedPoint("w", (3,), 1.0, 0.5),), 2).sizes
    assert sizes == (0, 3)
    with pytest.raises(WireError, match="11 bytes where 12"):
        ring_from_bytes(bytes(11), sizes)


def test_a_shape_other_than_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="block w"):
        to_ring((FixedPoint("w", (3,), 1.0, 0.5),), {"w": np.zeros(2)}, 2)


def test_known_integers() -> None:
    layout = (FixedPoint("w", (2,), 4.0, 0.25), FixedPoint("big", (1,), 2.0**40, 1.0))
    ring = to_ring(layout, {"w": np.array([-0.25, 1.1]), "big": np.array([2**40])}, 2)
    assert ring.narrow.tolist() == [2**32 - 1, 4]
    assert ring.wide.tolist() == [2**40]
    add_ring(ring, ring)
    assert from_ring(layout, ring, 2)["w"].tolist() == [-0.5, 2.0]


@pytest.mark.parametrize(("bound", "resolution"), [(0.0, 1.0), (np.inf, 1.0), (1.0, 0.3), (1.0, 0.0)])
def test_a_block_without_a_range_is_no_block(bound: float, resolution: float) -> None:
    with pytest.raises(ValueError, match="block w"):
        FixedPoint("w", (1,), bound, resolution)

"""Packing: what goes in comes out, and sums of plaintexts are sums of values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.errors import SaturationError, WireError
from fedcohort.protection.fixed_point import Ring, Segment, Shape, add_ring, zero_ring
from fedcohort.protection.packing import n_plaintexts, pack, slot_bytes, unpack


def ring_of(wide: list[int], narrow: list[int]) -> Ring:
    return Ring(np.array(wide, np.int64).view(np.uint64), np.array(narrow, np.int32).view(np.uint32))


def summed(plaintexts: list[np.ndarray], capacity: int) -> np.ndarray:
    """Add plaintexts as the large integers that they are."""
    rows = []
    for row in range(plaintexts[0].shape[0]):
        total = sum(int.from_bytes(part[row].tobytes(), "little") for part in plaintexts)
        rows.append(np.frombuffer(total.to_bytes(capacity, "little"), np.uint8))
    return np.array(rows, np.uint8).reshape(len(rows), capacity)


def test_a_22_bit_value_of_three_sites_takes_three_bytes() -> None:
    assert slot_bytes(Segment(1, 32, 2**21), 3) == 3
    assert slot_bytes(Segment(1, 32, 2**21), 4) == 4
    assert slot_bytes(Segment(1, 32, 0), 4) == 1
    assert slot_bytes(Segment(1, 64, 2**63), 1000) == 10


def test_slots_hold_the_value_raised_by_half_the_range() -> None:
    shape = Shape((Segment(3, 32, 100),), 2)
    plaintexts = pack(shape, ring_of([], [-100, 0, 7]), capacity=8)
    assert plaintexts.tolist() == [[0, 0, 100, 0, 107, 0, 0, 0]]


def test_no_slot_lies_across_two_plaintexts() -> None:
    shape = Shape((Segment(3, 32, 2**21),), 3)
    plaintexts = pack(shape, ring_of([], [-(2**21)] * 2 + [-(2**21) + 5]), capacity=8)
    assert plaintexts.tolist() == [[0] * 8, [5] + [0] * 7]


def test_small_blocks_fill_the_room_that_wide_ones_leave() -> None:
    shape = Shape((Segment(1, 64, 2**40), Segment(1, 32, 3), Segment(2, 32, 1000), Segment(1, 32, 3)), 3)
    assert [slot_bytes(segment, 3) for segment in shape.segments] == [6, 1, 2, 1]
    assert n_plaintexts(shape, 12) == 1
    plaintexts = pack(shape, ring_of([1 - 2**40], [-2, -998, -997, 1]), capacity=12)
    assert plaintexts.tolist() == [[1, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 4]]


def test_10113_values_of_22_bits_fill_119_plaintexts_of_2048_bits() -> None:
    assert n_plaintexts(Shape((Segment(10_113, 32, 2**21),), 3), 255) == 119


def test_an_empty_vector_needs_no_plaintext() -> None:
    shape = Shape((Segment(0, 32, 5),), 2)
    plaintexts = pack(shape, ring_of([], []), capacity=16)
    assert plaintexts.shape == (0, 16)
    assert unpack(shape, plaintexts, 2).narrow.size == 0


def test_a_value_beyond_its_range_is_refused() -> None:
    shape = Shape((Segment(1, 64, 5), Segment(1, 32, 5)), 2)
    for wide, narrow in ((6, 0), (-6, 0), (0, 6), (0, -6), (2**63 - 1, 0), (-(2**63), 0)):
        with pytest.raises(SaturationError):
            pack(shape, ring_of([wide], [narrow]), capacity=16)


def test_a_ring_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="declared"):
        pack(Shape((Segment(2, 32, 5),), 2), ring_of([], [1]), capacity=16)


def test_a_slot_wider_than_a_plaintext_is_refused() -> None:
    with pytest.raises(ValueError, match="5 bytes"):
        n_plaintexts(Shape((Segment(1, 32, 2**30),), 2), 3)


def test_a_sum_beyond_what_the_contributors_can_give_is_refused() -> None:
    shape = Shape((Segment(2, 32, 100),), 3)
    plaintexts = np.array([[144, 1, 0, 0, 0]], np.uint8)  # 400 and 0: two sites' largest and smallest
    assert unpack(shape, plaintexts, 2).narrow.view(np.int32).tolist() == [200, -200]
    with pytest.raises(WireError):
        unpack(shape, plaintexts, 1)


def test_a_10_byte_slot_is_compared_exactly() -> None:
    shape = Shape((Segment(1, 64, 2**63),), 3)
    most = (2 * 2**63 * 3).to_bytes(16, "little")
    assert unpack(shape, np.frombuffer(most, np.uint8).reshape(1, 16), 3).wide.tolist() == [2**63]
    for beyond in (2 * 2**63 * 3 + 1, 2**66, 2**127):
        row = np.frombuffer(beyond.to_bytes(16, "little"), np.uint8).reshape(1, 16)
        with pytest.raises(WireError):
            unpack(shape, row, 3)


def test_bytes_that_no_slot_uses_must_be_zero() -> None:
    with pytest.raises(WireError):
        unpack(Shape((Segment(1, 32, 100),), 2), np.array([[1, 0, 1]], np.uint8), 2)


@pytest.mark.parametrize("contributors", [0, 4])
def test_an_impossible_number_of_contributors_is_refused(contributors: int) -> None:
    shape = Shape((Segment(1, 32, 100),), 3)
    with pytest.raises(ValueError, match="contributors"):
        unpack(shape, np.zeros((1, 8), np.uint8), contributors)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Shape, list[Ring], int]:
    """A shape of up to six segments, and what each of up to five sites has."""
    n_sites = draw(st.integers(1, 5))
    segments, limits = [], {64: 2**63, 32: 2**31}
    for bits in (64, 32):
        for _ in range(draw(st.integers(0, 3))):
            half = draw(st.one_of(st.integers(0, limits[bits]), st.sampled_from([0, 1, limits[bits]])))
            segments.append(Segment(draw(st.integers(0, 40)), bits, half))
    rings = []
    for _ in range(n_sites):
        values: dict[int, list[int]] = {64: [], 32: []}
        for segment in segments:
            low = -segment.half_range
            high = min(segment.half_range, limits[segment.bits] - 1)
            value = st.one_of(st.integers(low, high), st.sampled_from([low, 0, high]))
            values[segment.bits] += draw(st.lists(value, min_size=segment.count, max_size=segment.count))
        rings.append(ring_of(values[64], values[32]))
    return Shape(tuple(segments), n_sites), rings, draw(st.integers(10, 60))


@given(rounds())
def test_sums_of_plaintexts_are_sums_of_values(case: tuple[Shape, list[Ring], int]) -> None:
    shape, rings, capacity = case
    expected = zero_ring(shape.sizes)
    for ring in rings:
        add_ring(expected, ring)
    plaintexts = [pack(shape, ring, capacity) for ring in rings]
    found = unpack(shape, summed(plaintexts, capacity), len(rings))
    assert found.to_bytes() == expected.to_bytes()
    assert plaintexts[0].shape == (n_plaintexts(shape, capacity), capacity)

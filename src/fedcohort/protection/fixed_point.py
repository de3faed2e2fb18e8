"""Numbers as integers in a ring: sums that are exact and have no order.

Each block becomes integers mod 2^32 where a sum over all sites is sure to fit,
else mod 2^64; what would fit neither is refused before a round starts. A sum of
data can therefore not wrap, and the same contributions give the same bits in
whatever order they arrive.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import SaturationError, StudyError, ValueRangeError, WireError
from fedcohort.vector import FixedPoint, Layout, Vector

_Integer = TypeVar("_Integer", np.uint32, np.uint64)
Noise = Mapping[str, NDArray[np.int64]]
_NO_NOISE: Noise = MappingProxyType({})


@dataclass(frozen=True)
class Ring:
    """A vector of ring integers: the blocks that need 64 bits, then those that need 32."""

    wide: NDArray[np.uint64]
    narrow: NDArray[np.uint32]

    def to_bytes(self, head: bytes = b"") -> bytes:
        """`head`, then the integers as little-endian bytes, `wide` first."""
        wide, narrow = np.ascontiguousarray(self.wide, "<u8"), np.ascontiguousarray(self.narrow, "<u4")
        return b"".join((head, wide.data, narrow.data))


@dataclass(frozen=True)
class Segment:
    """Consecutive ring integers of one range, in the order in which a ring holds them.

    Attributes:
        bits: 32 or 64, the ring that they are reduced in.
        half_range: read as signed integers, every site's lie in [-half_range, half_range].
    """

    count: int
    bits: int
    half_range: int


@dataclass(frozen=True)
class Shape:
    """The shape of a vector, as protections know it: how many integers, how large, from how many sites."""

    segments: tuple[Segment, ...]
    n_sites: int

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Numbers of 64-bit and of 32-bit integers."""
        wide = sum(segment.count for segment in self.segments if segment.bits == 64)
        return wide, sum(segment.count for segment in self.segments) - wide

    @cached_property
    def text(self) -> str:
        """As JSON, for a store."""
        return json.dumps([self.n_sites, *(astuple(segment) for segment in self.segments)])


@lru_cache(maxsize=64)
def shape_from_text(text: str) -> Shape:
    """Read what `Shape.text` wrote."""
    n_sites, *segments = json.loads(text)
    return Shape(tuple(Segment(*segment) for segment in segments), n_sites)


def half_range(block: FixedPoint) -> int:
    """The largest integer that a site can send: its rounded value, and as much again for noise.

    Noise has at least 40 standard deviations of room (`privacy.plan`), so that it wraps with a
    probability below 2^-1000.
    """
    largest = math.floor(block.bound / block.resolution) + 1
    return 2 * largest if block.noisy else largest


def ring_bits(block: FixedPoint, n_sites: int) -> int:
    """32 or 64: the smallest ring in which the sum of `n_sites` vectors cannot wrap.

    Raises:
        StudyError: not even 64 bits suffice.
    """
    for bits in (32, 64):
        if n_sites * half_range(block) < 2 ** (bits - 1):
            return bits
    raise StudyError(
        "block {block}: {sites} sites with values up to {bound:g} in steps of {step:g} do not fit in 64 "
        "bits; declare narrower bounds",
        block=block.name,
        sites=n_sites,
        bound=block.bound,
        step=block.resolution,
    )


# A round asks a thousand simulated sites, or one node's rounds, of one layout.
@lru_cache(maxsize=64)
def _split(layout: Layout, n_sites: int) -> tuple[list[FixedPoint], list[FixedPoint]]:
    wide = [block for block in layout if ring_bits(block, n_sites) == 64]
    return wide, [block for block in layout if block not in wide]


def _integers(block: FixedPoint, vector: Vector) -> NDArray[np.int32] | NDArray[np.int64]:
    """A block's values in steps of its resolution; as int32 where every value within the bound fits."""
    values = np.asarray(vector[block.name])
    if values.shape != block.shape:
        raise ValueError(f"block {block.name}: shape {values.shape} where {block.shape} was declared")
    # Both extremes rather than a copy of all magnitudes; either is NaN where one value is.
    largest = max(float(values.max()), -float(values.min())) if values.size else 0.0
    if not math.isfinite(largest):
        raise ValueRangeError(
            "block {block}: not a finite number; lower the learning rate or check the data", block=block.name
        )
    if largest > block.bound:
        raise SaturationError(
            "block {block}: a value lies beyond {bound:g}; lower the learning rate or declare wider bounds",
            block=block.name,
            bound=block.bound,
        )
    short = half_range(block) < 2**31
    dtype = np.dtype(np.int32 if short else np.int64)
    if values.dtype.kind != "f" and block.resolution == 1.0:
        return values.astype(dtype).reshape(-1)
    # A power of two scales a float32 exactly, and below 2^31 so is its rounding: the same integers from half
    # the memory. Where float32 could not hold the factor, float64 does.
    single = short and values.dtype == np.float32 and 2.0**-64 < block.resolution < 2.0**64
    scale = (np.float32 if single else np.float64)(1.0 / block.resolution)
    scaled = np.multiply(values, scale, dtype=scale.dtype)
    return np.rint(scaled, out=scaled).astype(dtype).reshape(-1)


def to_ring(layout: Layout, vector: Vector, n_sites: int, noise: Noise = _NO_NOISE) -> Ring:
    """Round a site's vector to ring integers, and add noise to them.

    Args:
        layout: the blocks of this round, the same at every site.
        vector: block name to array of the block's shape, in the block's own units.
        n_sites: sites in the roster, which sizes the ring.
        noise: block name to integers, in steps of the block's resolution.
    Raises:
        ValueRangeError: NaN or infinity.
        SaturationError: a value lies beyond its block's bound.
    """
    wide, narrow = _split(layout, n_sites)
    return Ring(
        _join([_wide(block, vector, noise).view(np.uint64) for block in wide], np.uint64),
        _join([_narrow(block, vector, noise) for block in narrow], np.uint32),
    )


def _wide(block: FixedPoint, vector: Vector, noise: Noise) -> NDArray[np.int64]:
    integers = _integers(block, vector).astype(np.int64, copy=False)
    return integers + noise[block.name].reshape(-1) if block.name in noise else integers


def _narrow(block: FixedPoint, vector: Vector, noise: Noise) -> NDArray[np.uint32]:
    if block.name in noise:
        # The tail of noise has no bound: reduced to the ring, not cast.
        return _wide(block, vector, noise).astype(np.uint32)
    return _integers(block, vector).view(np.uint32)


def _join(parts: list[NDArray[_Integer]], dtype: type[_Integer]) -> NDArray[_Integer]:
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, dtype), *parts])


def from_ring(layout: Layout, ring: Ring, n_sites: int) -> dict[str, NDArray[np.float64]]:
    """Turn a sum of ring integers back to numbers, exactly.

    Returns:
        block name to float64 array of the block's shape.
    """
    wide, narrow = _split(layout, n_sites)
    parts = ((wide, ring.wide.view(np.int64)), (narrow, ring.narrow.view(np.int32)))
    vector = {}
    for blocks, integers in parts:
        start = 0
        for block in blocks:
            values = integers[start : start + block.size].astype(np.float64)
            values *= block.resolution  # in place: a second vector of a million costs ten times as much
            vector[block.name] = values.reshape(block.shape)
            start += block.size
    return {block.name: vector[block.name] for block in layout}


@lru_cache(maxsize=64)
def shape_of(layout: Layout, n_sites: int) -> Shape:
    """The shape that sites and coordinator derive from a layout, before a round starts.

    Raises:
        StudyError: a block does not fit 64 bits.
    """
    wide, narrow = _split(layout, n_sites)
    segments = [
        Segment(block.size, bits, half_range(block))
        for bits, blocks in ((64, wide), (32, narrow))
        for block in blocks
    ]
    return Shape(tuple(segments), n_sites)


def ring_from_bytes(data: bytes | memoryview, sizes: tuple[int, int]) -> Ring:
    """View bytes as ring integers, without copying.

    Raises:
        WireError: the length does not fit the layout.
    """
    n_wide, n_narrow = sizes
    if len(data) != 8 * n_wide + 4 * n_narrow:
        raise WireError(f"a vector of {len(data)} bytes where {8 * n_wide + 4 * n_narrow} are needed")
    return Ring(
        np.frombuffer(data, "<u8", n_wide).astype(np.uint64, copy=False),
        np.frombuffer(data, "<u4", n_narrow, offset=8 * n_wide).astype(np.uint32, copy=False),
    )


def zero_ring(sizes: tuple[int, int]) -> Ring:
    """The neutral element of `add_ring`."""
    return Ring(np.zeros(sizes[0], np.uint64), np.zeros(sizes[1], np.uint32))


def add_ring(total: Ring, part: Ring) -> None:
    """Add `part` to `total` in place; ring addition has no order."""
    np.add(total.wide, part.wide, out=total.wide)
    np.add(total.narrow, part.narrow, out=total.narrow)

"""Many small integers in one large plaintext: slots that sums over all sites cannot overflow.

A slot holds value + half_range, which is never negative, in as many whole bytes as
the sum over all sites needs: adding two plaintexts adds all their slots, and none
carries into the next. Wide slots come first and small blocks fill what room the
blocks before them left. No slot lies across two plaintexts; bytes that no slot uses
are zero. A plaintext is a row of bytes, the least significant first.
Source: Ge, Zdonik 2007, Answering aggregation queries in a secure system model (VLDB).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import SaturationError, WireError
from fedcohort.protection.fixed_point import Ring, Segment, Shape

_WORD = 2**64

Plaintexts = NDArray[np.uint8]
"""(n_plaintexts, capacity) bytes."""


@dataclass(frozen=True)
class _Run:
    """A rectangle of slots: `per_row` of them in each of `rows` plaintexts."""

    segment: Segment
    width: int
    first: int
    row: int
    rows: int
    column: int
    per_row: int

    @property
    def values(self) -> slice:
        return slice(self.first, self.first + self.rows * self.per_row)

    @property
    def place(self) -> tuple[slice, slice]:
        return (
            slice(self.row, self.row + self.rows),
            slice(self.column, self.column + self.per_row * self.width),
        )


def slot_bytes(segment: Segment, n_sites: int) -> int:
    """Bytes that hold any sum of `n_sites` values of a segment."""
    return max(1, ((2 * segment.half_range * n_sites).bit_length() + 7) // 8)


def n_plaintexts(shape: Shape, capacity: int) -> int:
    """How many plaintexts of `capacity` bytes a vector fills."""
    return max((run.row + run.rows for run in _runs(shape, capacity)), default=0)


def pack(shape: Shape, ring: Ring, capacity: int) -> Plaintexts:
    """Lay a site's ring integers into plaintexts of `capacity` bytes.

    Raises:
        ValueError: the ring is not of this shape.
        SaturationError: a value lies beyond its segment's range.
    """
    if (ring.wide.size, ring.narrow.size) != shape.sizes:
        raise ValueError(f"a ring of {ring.wide.size} + {ring.narrow.size} where {shape.sizes} was declared")
    signed = np.concatenate([ring.wide, ring.narrow.view(np.int32).astype(np.int64).view(np.uint64)])
    plaintexts = np.zeros((n_plaintexts(shape, capacity), capacity), np.uint8)
    for run in _runs(shape, capacity):
        raised = signed[run.values] + np.uint64(run.segment.half_range)
        if np.any(raised > np.uint64(min(2 * run.segment.half_range, _WORD - 1))):
            raise SaturationError("a value lies beyond its block's range; declare wider bounds")
        slots = np.zeros((raised.size, run.width), np.uint8)
        slots[:, :8] = raised.astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)[:, : run.width]
        plaintexts[run.place] = slots.reshape(run.rows, -1)
    return plaintexts


def unpack(shape: Shape, plaintexts: Plaintexts, n_contributors: int) -> Ring:
    """Read the sum over `n_contributors` sites back to ring integers.

    Raises:
        ValueError: more contributors than sites, or none.
        WireError: a slot holds more than so many sites can give: this is no such sum.
    """
    if not 1 <= n_contributors <= shape.n_sites:
        raise ValueError(f"{n_contributors} contributors where 1 to {shape.n_sites} are possible")
    capacity = plaintexts.shape[1]
    n_wide, n_narrow = shape.sizes
    values, unused = np.zeros(n_wide + n_narrow, np.uint64), plaintexts.copy()
    for run in _runs(shape, capacity):
        values[run.values] = _values(run, plaintexts[run.place], n_contributors)
        unused[run.place] = 0
    if plaintexts.shape[0] != n_plaintexts(shape, capacity) or unused.any():
        raise WireError(_NO_SUM)
    return Ring(values[:n_wide], values[n_wide:].astype(np.uint32))


_NO_SUM = "what was opened is not the sum of these sites' values; compare the sites' versions and keys"


def _values(run: _Run, plaintexts: Plaintexts, n_contributors: int) -> NDArray[np.uint64]:
    """A run's sums, without the half range that each contributor added to its values, mod 2^64."""
    slots = np.zeros((run.rows * run.per_row, 16), np.uint8)
    slots[:, : run.width] = plaintexts.reshape(-1, run.width)
    low, high = slots.view("<u8").astype(np.uint64, copy=False).T
    most_high, most_low = (
        np.uint64(part) for part in divmod(2 * run.segment.half_range * n_contributors, _WORD)
    )
    if np.any((high > most_high) | ((high == most_high) & (low > most_low))):
        raise WireError(_NO_SUM)
    lowered: NDArray[np.uint64] = low - np.uint64(run.segment.half_range * n_contributors % _WORD)
    return lowered


def _runs(shape: Shape, capacity: int) -> Iterator[_Run]:
    """Where all values lie, wide slots first."""
    firsts = np.cumsum([0, *(segment.count for segment in shape.segments)]).tolist()
    widths = [slot_bytes(segment, shape.n_sites) for segment in shape.segments]
    if max(widths, default=0) > capacity:
        raise ValueError(f"slots of {max(widths)} bytes where a plaintext has {capacity}")
    position = 0
    for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
        for run in _runs_of(shape.segments[index], widths[index], firsts[index], position, capacity):
            yield run
            position = (run.row + run.rows - 1) * capacity + run.place[1].stop


def _runs_of(segment: Segment, width: int, first: int, position: int, capacity: int) -> Iterator[_Run]:
    """A segment's runs: the rest of the row that was begun, whole rows, and the beginning of one."""
    left = segment.count
    while left:
        row, column = divmod(position, capacity)
        room = (capacity - column) // width
        if room:
            per_row = min(left, room)
            rows = left // per_row if column == 0 else 1
            yield _Run(segment, width, first, row, rows, column, per_row)
            first, left, row = first + rows * per_row, left - rows * per_row, row + rows - 1
        position = (row + 1) * capacity

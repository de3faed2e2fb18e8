"""Vector: the one thing that leaves a hospital each round, as named blocks of numbers.

A layout says, before a round starts, what blocks its vectors have and how far
each coordinate may lie from zero; from that follow the integers that are
really sent (see `protection.fixed_point`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Vector = Mapping[str, NDArray[np.floating | np.integer]]

MAX_ROWS = 2**24
"""Rows of one cohort at one site that the ranges of sums are sized for (16.7 million)."""


@dataclass(frozen=True)
class Block:
    """One named part of a vector.

    Attributes:
        bound: no site's coordinate may lie farther from zero; beyond is an error, never silent.
        resolution: the step between two neighbouring values, a power of two; 1 for counts.
        sensitivity: L2 distance that one patient can move the block; None when it has no such bound.
    """

    name: str
    shape: tuple[int, ...]
    bound: float
    resolution: float = 1.0
    sensitivity: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"block {self.name}: bound {self.bound} must be positive and finite")
        if self.resolution <= 0 or math.frexp(self.resolution)[0] != 0.5:
            raise ValueError(f"block {self.name}: resolution {self.resolution} must be a power of two")

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


Layout = tuple[Block, ...]


def counts(name: str, *shape: int) -> Block:
    """A block of exact counts of rows."""
    return Block(name, shape, bound=MAX_ROWS)


@dataclass(frozen=True)
class Noisy:
    """Releases of one block that a private study has planned, all with the same noise.

    Attributes:
        block: its name in the layout.
        part: the patients that it is computed from; differently named parts have no patient in common.
        count: how many times it is released.
        weight: of this block's privacy loss against others of the part; noise goes with 1 / sqrt(weight).
        sampling_probability: of each patient, each time.
        steps: whether the count follows the study's noise schedule.
        whole: whether all values are multiples of the resolution, so that rounding moves nothing.
        inside: the block of the sum that is computed from these releases; the noise is then added at
            every one of the site's own steps, and none to the sum.
        a_round: how many of the releases each such sum takes.
        apart: of the part's epsilon and delta, what this release costs beside the others, which may then
            depend on what it showed (basic composition); 0 where all are accounted together.
    """

    block: Block
    part: str
    count: int
    weight: float = 1.0
    sampling_probability: float = 1.0
    steps: bool = False
    whole: bool = False
    inside: str | None = None
    a_round: int = 1
    apart: float = 0.0

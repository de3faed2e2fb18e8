"""Vector: the one thing that leaves a hospital each round, as named blocks of numbers.

A stage of an analysis declares its blocks before the first round: how far one row may move each of them,
or how far a whole site's part may lie from zero. From that follow the integers that are really sent (see
`protection.fixed_point`) and, under privacy, the noise (see `privacy.plan`).
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
STEPS_PER_ROW = 2.0**16
"""Steps of a private block's resolution in what one row may add: rounding costs little beside any noise, that
of a small study, less than a patient wide, is still many steps, and 63 bits hold the rows of 2^20 sites."""
STEPS_PER_OUTER = 2.0**24
"""The same of outer products, as a row is rounded and not its product: 2^12 steps in its length."""
EXACT_STEPS_PER_ROW = 2.0**28
"""The same without privacy, where nothing hides the rounding: 63 bits hold the rows of 2^9 sites."""

ULPS = 1 + 2.0**-50
"""What the rounding of a declared norm, such as a square root, may hide of it."""


@dataclass(frozen=True)
class FixedPoint:
    """How a block's numbers become integers.

    Attributes:
        bound: no site's coordinate may lie farther from zero; beyond is an error, never silent.
        resolution: the step between two neighbouring values, a power of two; 1 for counts.
        noisy: whether noise is added, which needs as much room again.
    """

    name: str
    shape: tuple[int, ...]
    bound: float
    resolution: float = 1.0
    noisy: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"block {self.name}: bound {self.bound} must be positive and finite")
        if self.resolution <= 0 or math.frexp(self.resolution)[0] != 0.5:
            raise ValueError(f"block {self.name}: resolution {self.resolution} must be a power of two")

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)


Layout = tuple[FixedPoint, ...]


@dataclass(frozen=True)
class Steps:
    """Noisy steps of a site's own, on patients whom it samples; what is released is where they led.

    Attributes:
        block: the sum of one step, to which its noise is added.
        a_round: how many are taken for one sum.
        probability: of each patient, in each step.
    """

    block: "Block"
    a_round: int
    probability: float


@dataclass(frozen=True)
class Block:
    """One named part of a sum over patients, as a stage declares it.

    Attributes:
        row: L2 norm that one row may add, or one patient where `once`; None: a sum over sites, which has no
            such norm, and which privacy refuses unless it follows from `steps`.
        share: of the privacy loss, against one release of other blocks of the same part.
        resolution: the step between two neighbouring values, a power of two. Derived where `row` is given
            and this is None, and always under privacy.
        part: the patients it is computed from, by split; different parts have no patient in common.
        apart: of the part's epsilon and delta, what this block costs beside the others, which may then
            depend on what it showed (basic composition); None where all are accounted together.
        scheduled: whether its noise follows the study's schedule.
        once: whether a patient adds to it once, however many rows the patient has.
        proved: whether a stage adds it up itself and proves its norm: it is then rounded once a site, and
            not row by row, which moves each coordinate by up to half a step.
        outer: whether rows add outer products (`analyses.contract.Gram`).
        bound: no site's coordinate may lie farther from zero; derived where `row` is given and this is None.
        steps: under privacy, the noisy steps that it is the outcome of.
        cells: whether its numbers are counts of rows in cells, which rules of disclosure hide where few are
            in one (`fedcohort.disclosure`).
    """

    name: str
    shape: tuple[int, ...]
    row: float | None = None
    share: float = 1.0
    resolution: float | None = None
    part: str = "all"
    apart: float | None = None
    scheduled: bool = False
    once: bool = False
    proved: bool = False
    outer: bool = False
    bound: float | None = None
    steps: Steps | None = None
    cells: bool = False

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return math.prod(self.shape)

    @property
    def derived_resolution(self) -> float:
        """Under privacy: the power of two at or below a row's norm over the steps that it is rounded to."""
        return self._below(STEPS_PER_OUTER if self.outer else STEPS_PER_ROW)

    def _below(self, steps: float) -> float:
        if self.row is None:
            raise ValueError(f"block {self.name}: a sum over sites needs a resolution")
        return 2.0 ** math.floor(math.log2(self.row / steps))

    def fixed_point(self, private: bool) -> FixedPoint:
        """Its integers, without and with noise."""
        noisy = private and self.steps is None
        resolution = self.resolution
        if noisy or resolution is None:
            resolution = self.derived_resolution if noisy else self._below(EXACT_STEPS_PER_ROW)
        bound = self.bound
        if bound is None:
            if self.row is None:
                raise ValueError(f"block {self.name}: a sum over sites needs a bound")
            bound = MAX_ROWS * self.row
        return FixedPoint(self.name, self.shape, bound, resolution, noisy)


def counts(name: str, *shape: int, part: str = "all", share: float = 1.0, once: bool = False) -> Block:
    """A block of counts, of which a row adds to one; without privacy they are exact."""
    exact: dict[str, Any] = {"resolution": 1.0, "bound": MAX_ROWS, "cells": True}
    return Block(name, shape, 1.0, share, part=part, once=once, **exact)

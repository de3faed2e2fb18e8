"""What one site adds to a round's sum, as a node computes it, before noise."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Analysis, Draw, State
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.protection.fixed_point import to_ring
from fedcohort.table import Table
from fedcohort.vector import Array, FixedPoint

DRAW = Draw(1, "a", 0)
SITES = 4
Integers = NDArray[np.int64]


def round_of(analysis: Analysis, name: str) -> int:
    """The first round of a stage of this name."""
    return [stage.name for stage in analysis.stages for _ in range(stage.times)].index(name)


def state_of(analysis: Analysis, name: str, arrays: Mapping[str, Array]) -> State:
    """The state before the first round of a stage of this name."""
    return State(name, round_of(analysis, name), arrays)


def rows_of(analysis: Analysis, table: Table, known: Mapping[str, Array] | None = None) -> Rows:
    """A table as stages see it, and what the site remembers."""
    most = None if analysis.privacy is None else analysis.privacy.rows_per_patient
    return Rows(table, most, known or {})


def contributed(analysis: Analysis, rows: Rows, state: State, draw: Draw = DRAW) -> dict[str, Array]:
    """By block, the sum over rows."""
    stage = analysis.stage_at(state.round)
    assert stage is not None
    assert stage.name == state.phase
    parts = stage.contribute(state, rows, draw)
    return site_sum(stage.blocks, parts, rows, analysis.privacy is not None)


def integers(block: FixedPoint, vector: Mapping[str, Array]) -> Integers:
    """A block's integers as they leave, without noise."""
    ring = to_ring((block,), vector, SITES)
    return np.concatenate([ring.wide.view(np.int64), ring.narrow.view(np.int32).astype(np.int64)])


def distance(one: Integers, other: Integers) -> float:
    """L2, in steps."""
    return float(np.linalg.norm((one - other).astype(np.float64)))

"""What a site's rows add up to: the one place where contributions of rows become a bounded sum.

Without privacy a row that adds more than its block declares is an error in the analysis. With privacy each
row is held to what is declared, a patient to so many rows of the block's part, and what a row adds is rounded
before it is added, so that one patient moves the integers by no more than rows times norm, whatever the other
patients are: noise is sized for that alone (`privacy.plan`), and added to the integers.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Contribution, Gram, Proved, Tally
from fedcohort.analyses.rows import Rows
from fedcohort.errors import ValueRangeError
from fedcohort.table import SPLITS
from fedcohort.vector import ULPS, Array, Block

ROUNDING = 1 + 1e-9
"""Beyond a declared norm by more than this is an error."""
LARGEST = 1e100
"""Of a number whose square is to be finite."""

CHUNK = 2**15
"""Rows that are counted together, at least."""

Floats = NDArray[np.float64]
Cells = NDArray[np.integer] | None


def site_sum(
    blocks: tuple[Block, ...], contributed: Mapping[str, Contribution], rows: Rows, private: bool
) -> dict[str, Array]:
    """Add up what a stage's rows contribute.

    Returns:
        by block, of its shape; under privacy multiples of its resolution, but for what is `Proved`.
    Raises:
        ValueRangeError: without privacy a row adds more than its block declares.
    """
    return {block.name: _sum_of(block, contributed[block.name], rows, private) for block in blocks}


def _sum_of(block: Block, part: Contribution, rows: Rows, private: bool) -> Array:
    if isinstance(part, Proved):
        if private and block.row is not None and not block.proved:
            raise ValueError(f"block {block.name}: a sum of rows, of which the stage has made the sum")
        return part.values
    if private:
        return _private_sum(block, part, rows)
    if isinstance(part, Gram):
        _check_row(block, _lengths(part))
        weighted = part.values if part.weights is None else part.values * part.weights[:, None]
        product: Array = weighted.T @ part.values
        return product
    if part.values is not None:
        _check_row(block, np.sqrt(_squares(np.asarray(part.values, np.float64))))
    return added(block, part)


def _check_row(block: Block, norms: Floats) -> None:
    if block.row is None or not norms.size or float(np.max(norms)) <= block.row * ROUNDING:
        return
    template = "block {block}: a row adds more than {most:g}, which it declares"
    raise ValueRangeError(template, block=block.name, most=block.row)


def _private_sum(block: Block, part: Tally | Gram, rows: Rows) -> Array:
    """Of the same rows, each held to the block's norm in whole steps, so many of a patient as may count."""
    if block.row is None:
        raise ValueError(f"block {block.name}: a sum over sites, under privacy")
    if block.outer != isinstance(part, Gram):
        raise ValueError(f"block {block.name}: outer products are declared, or none are declared")
    indices = _counting(block, part, rows)
    step = block.derived_resolution
    if isinstance(part, Gram):
        # A row's products are whole numbers of at most 2^25, so that sums are exact in whatever order.
        side = 2.0 ** math.ceil(math.log2(step) / 2)
        values = np.asarray(part.values, np.float64)
        if part.weights is not None:
            roots = np.sqrt(np.maximum(np.nan_to_num(part.weights), 0.0))
            with np.errstate(over="ignore", invalid="ignore"):  # what is no number then counts as 0
                values = values * roots[:, None]
        steps = _whole_steps(values, side, math.sqrt(block.row))
        product: Array = (steps.T @ steps) * side**2
        return product
    if _is_counted(block, block.row, part):
        return added(block, replace(part, rows=indices))
    values = _ones(part, len(indices)) if part.values is None else np.asarray(part.values, np.float64)
    return added(block, Tally(_whole_steps(values, step, block.row), part.cell, indices)) * step


def _counting(block: Block, part: Tally | Gram, rows: Rows) -> NDArray[np.integer]:
    """The rows that are meant, of which each patient has so many as may count, all of the block's part."""
    indices = rows.of(block.part) if part.rows is None else part.rows
    owners = rows.owner[indices]
    most = 1 if block.once else rows.most or 1
    if owners.size and int(np.bincount(owners).max()) > most:
        raise ValueError(f"block {block.name}: a patient has more than {most} rows in it")
    if block.part != "all" and np.any(rows.part_of_patient[owners] != SPLITS[block.part]):
        raise ValueError(f"block {block.name}: a patient of another part than {block.part}")
    beside = (part.values, part.weights if isinstance(part, Gram) else part.cell)
    if any(values is not None and len(values) != len(indices) for values in beside):
        raise ValueError(f"block {block.name}: not as many values as the {len(indices)} rows")
    return indices


def _lengths(part: Gram) -> Floats:
    """Of each row its weight times its squared length, the norm of what it adds."""
    squares = _squares(np.asarray(part.values, np.float64))
    return squares if part.weights is None else squares * np.abs(part.weights)


def _is_counted(block: Block, most: float, part: Tally) -> bool:
    """Whether rows add ones alone, which are whole steps, and none of them more than the norm."""
    if block.derived_resolution > 1 or (part.values is not None and part.values.dtype.kind != "b"):
        return False
    if part.values is not None:
        ones = part.values
    elif part.cell is not None and part.cell.ndim == 2:
        ones = part.cell >= 0
    else:
        return most >= 1
    return not ones.size or bool(ones.sum(1).max() <= math.floor(most**2 * ULPS))


def _ones(part: Tally, n: int) -> Floats:
    """(n, d): 1 for each cell that a row falls into."""
    if part.cell is None:
        return np.ones((n, 1))
    inside = (part.cell >= 0).astype(np.float64)
    return inside[:, None] if inside.ndim == 1 else inside


def _whole_steps(values: Floats, step: float, most: float) -> Floats:
    """Each row within its norm, in whole steps of the resolution; what is not a number counts as 0.

    Where rounding to the nearest step lengthens a row beyond the norm, its numbers are rounded towards 0.
    """
    norms = _squares(values)
    endless = ~np.isfinite(norms)
    if np.any(endless):
        # Of these rows alone: what another row adds must not follow from them.
        values = values.copy()
        numbers = np.nan_to_num(values[endless], nan=0.0, posinf=0.0, neginf=0.0)
        values[endless] = np.clip(numbers, -LARGEST, LARGEST)
        norms[endless] = _squares(values[endless])
    long = norms > most**2
    if np.any(long):
        values = values.copy()
        values[long] *= (most / np.sqrt(norms[long]))[:, None]
    steps = values * (1 / step)
    np.rint(steps, out=steps)
    # In whole numbers below 2^53, exactly: (row / step)^2 is at most 2^34.
    long = _squares(steps) > math.floor((most / step) ** 2 * ULPS)
    if np.any(long):
        steps[long] = np.trunc(values[long] / step * (1 - 2.0**-40))
    return steps


def _squares(values: Floats) -> Floats:
    """Of each row the sum of squares."""
    squares: Floats = np.einsum("ij,ij->i", values, values)
    return squares


def added(block: Block, part: Tally) -> Array:
    """The sum of a tally's rows, of the block's shape; counts are whole numbers."""
    values, cell = part.values, part.cell
    if values is not None and values.dtype.kind == "b":
        values = values.astype(np.int64)
    if cell is None:
        total = np.array([0 if part.rows is None else len(part.rows)]) if values is None else values.sum(0)
        return total.reshape(block.shape)
    if cell.ndim == 1:
        d = 1 if values is None else values.shape[1]
        cells = block.size // d
        columns = [_in_cells(cell, None if values is None else values[:, j], cells) for j in range(d)]
        return np.stack(columns, axis=1).reshape(block.shape)
    cells = block.size // cell.shape[1]
    lines = [
        _in_cells(cell[:, j], None if values is None else values[:, j], cells) for j in range(cell.shape[1])
    ]
    return np.stack(lines).reshape(block.shape)


def _in_cells(cell: NDArray[np.integer], values: Array | None, cells: int) -> Array:
    if values is None:
        return _counted(cell, cells)
    inside = cell >= 0
    if not inside.all():
        cell, values = cell[inside], values[inside]
    return np.bincount(cell, weights=values, minlength=cells)


def _counted(cell: NDArray[np.integer], cells: int) -> NDArray[np.int64]:
    """How many rows fall into each cell, a chunk at a time: it is copied, and stays in the cache."""
    total, chunk = np.zeros(cells, np.int64), max(CHUNK, 4 * cells)
    for begin in range(0, len(cell), chunk):
        part = cell[begin : begin + chunk]
        total += np.bincount(part if part.min() >= 0 else part[part >= 0], minlength=cells)
    return total

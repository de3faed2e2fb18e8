"""Pieces of patients: each step's sample as arrays of row indices of one size, padded by -1."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.inputs import PIECE_BYTES, Inputs
from fedcohort.models.local import renumbered
from fedcohort.models.private_graphs import USES_IN_A_PIECE, USES_IN_A_STEP

Floats = NDArray[np.float32]


def cut(
    rows_of_patients: NDArray[np.integer[Any]], samples: Sequence[NDArray[np.integer[Any]]], patients: int
) -> NDArray[np.int32]:
    """Cut each step's sample of patients into pieces of one size.

    Args:
        rows_of_patients: (n_patients, rows_per_patient) row indices of each patient; -1 is no row.
        samples: of each step, indices of patients.
        patients: in a piece, as `piece_patients` gives it.
    Returns:
        (steps, pieces, patients, rows_per_patient): -1 where there is no row.
    """
    pieces = max((-(-len(sample) // patients) for sample in samples), default=0)
    whole = np.full((len(samples), pieces * patients, rows_of_patients.shape[1]), -1, np.int32)
    for step, sample in zip(whole, samples, strict=True):
        step[: len(sample)] = rows_of_patients[sample]
    return whole.reshape(len(samples), pieces, patients, rows_of_patients.shape[1])


def n_filled(pieces: NDArray[np.int32]) -> int:
    """How many pieces there are to the last one that holds anybody."""
    return 1 + int(np.flatnonzero((pieces >= 0).any(axis=(1, 2))).max(initial=-1))


def in_turn(steps: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """All steps' pieces in order, without empty ones, but one for a step without patients.

    Returns:
        the pieces (n, patients, rows), and of each (n, 3) its step, the value of dropout's counters, and 1
        where its step ends.
    """
    pieces = np.array([max(1, n_filled(step)) for step in steps], np.int64)
    padded = steps if steps.shape[1] else np.full((len(steps), 1, *steps.shape[2:]), -1, np.int32)
    step = np.repeat(np.arange(len(steps)), pieces)
    ends = np.cumsum(pieces) - 1
    piece = np.arange(len(step)) - np.repeat(ends - pieces + 1, pieces)
    places = np.stack([step, step * USES_IN_A_STEP + piece * USES_IN_A_PIECE, np.zeros_like(step)], 1)
    places[ends, 2] = 1
    return padded[step, piece], places


def nobody(inputs: Inputs, pieces: NDArray[np.int32]) -> tuple[Any, ...]:
    """A row of zeros for a site without rows, which no piece names: a graph has to gather something."""
    zeros = tuple(np.zeros((1, *part.shape[1:]), part.dtype) for part in inputs.take(slice(0)))
    return zeros, np.zeros(1, np.float32), np.full_like(pieces, -1)


def with_rows(inputs: Inputs, y: Floats, indices: NDArray[np.int32]) -> tuple[Any, ...]:
    """The rows that a graph needs for these indices: all, or where images are many only the indexed ones."""
    if inputs.fits:
        return inputs.take(), y, indices
    rows, own = renumbered(indices)
    return inputs.take(rows), y[rows], own


def steps_at_once(image_bytes: int, steps: NDArray[np.int32]) -> int:
    """How many steps' images fit; one step's are in memory together."""
    largest = max((int(np.count_nonzero(step >= 0)) for step in steps), default=0)
    return max(1, PIECE_BYTES // max(1, largest * image_bytes))

"""Position invariance: whether a compiled model gives a row the same bits at every place of a piece.

Under privacy one patient more must change no bit of the others: with weights made for it a last bit decides
about whole clips, or on which side of an edge a score lies. A patient may come to any place, so every
place has to compute the same. No documentation of the libraries promises that: which kernel is taken
depends on processor, sizes, threads and settings, never on values. So each graph is tried, before its first
answer, in the shape in which it answers, on made-up rows and on weights of usual and of steep size: one row
at every place, all rows in other orders, and pieces one after another. A graph that fails answers nothing.

Sums are compared in float64, where adding in another order moves them by some 2^-45 of themselves, and one
patient's last float32 bit by 2^-24 of that patient's part.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.inputs import InputPart
from fedcohort.models.start import SETTINGS, start_tensorflow

Floats = NDArray[np.float32]
Pieces = NDArray[np.int32]
Arrays = tuple[NDArray[Any], ...]
Read = Callable[[Floats, Arrays, Floats, Pieces], NDArray[np.float64]]
"""(weights, rows by input, targets, (pieces, patients, rows) indices) to the float64 sum."""

STEEP = (1.0, 6.0)
"""How much larger than usual the weights of each trial are."""

CHUNK = 64
"""Places that hold one row at once, few enough that a single last bit shows in their sum."""

LIMIT = 2.0**-40
"""Of the largest part of a patient: how far a sum may be from what it should be, for each patient in it."""

_ALIGNMENTS = 32, 24
"""Of a piece's patients. oneDNN's kernels take 4, 6 or 8 rows at once and Eigen's up to 8 numbers; rows that
are left over go through other code."""


@cache
def piece_alignment() -> int:
    """The number of rows of which a matrix product computes all in the same way on this processor.

    It only chooses sizes; each graph's own trial decides whether they are right.
    """
    tf = start_tensorflow()
    generator = np.random.default_rng(0)
    for alignment in _ALIGNMENTS:
        same = True
        for width, units in ((13, 128), (128, 64), (64, 3), (5, 4), (70, 24), (300, 7)):
            row, kernel = generator.normal(size=(1, width)), generator.normal(size=(width, units))
            rows = np.repeat(row, alignment, 0).astype(np.float32)
            product = tf.matmul(rows, kernel.astype(np.float32)).numpy()
            same &= bool((product == product[0]).all())
        if same:
            return alignment
    return _ALIGNMENTS[0]


def try_sums(
    read: Read,
    shapes: Sequence[tuple[int, ...]],
    parts: Sequence[InputPart],
    head: Head,
    piece: tuple[int, int],
    rounding: float,
) -> None:
    """Try a graph that adds up patients.

    Args:
        read: the graph, silenced: it draws nothing.
        shapes: of the model's weights.
        piece: patients and rows a patient, in which it will answer.
        rounding: how far a sum that is read may be from the sum.
    Raises:
        StudyError: a patient's part depends on its place or on others.
    """
    generator = np.random.default_rng(7)
    patients, rows = piece
    x, y = made_up_rows(parts, head, patients * rows, generator)
    everybody = np.arange(patients * rows, dtype=np.int32).reshape(1, patients, rows)
    everybody[:, 1::2, 1:] = -1  # every second patient has one row
    for steep in STEEP:
        weights = made_up_weights(shapes, steep, generator)

        def total(pieces: Pieces, weights: Floats = weights) -> NDArray[np.float64]:
            return read(weights, x, y, pieces)

        if not _one_patient_at_every_place(total, everybody[0], generator, rounding):
            raise _refusal()
        if not _everybody_in_another_order(total, everybody, generator, rounding):
            raise _refusal()


def try_rows(
    predict: Callable[[Floats, Arrays], Floats],
    shapes: Sequence[tuple[int, ...]],
    parts: Sequence[InputPart],
    head: Head,
    rows: int,
) -> None:
    """Try a graph that gives a result a row, in pieces of so many rows.

    Raises:
        StudyError: a row's result depends on its place or on others.
    """
    generator = np.random.default_rng(7)
    x, _ = made_up_rows(parts, head, rows, generator)
    for steep in STEEP:
        weights = made_up_weights(shapes, steep, generator)
        whole = _bits(predict(weights, x))
        for order in _orders(rows, generator):
            if not np.array_equal(_bits(predict(weights, tuple(part[order] for part in x))), whole[order]):
                raise _refusal()
        for row in generator.choice(rows, 3, replace=False):
            everywhere = _bits(predict(weights, tuple(part[np.full(rows, row)] for part in x)))
            if not (everywhere == whole[row]).all():
                raise _refusal()


def made_up_weights(
    shapes: Sequence[tuple[int, ...]], steep: float, generator: np.random.Generator
) -> Floats:
    """(n_weights,): normal; a layer gives as large numbers as it takes, times `steep`."""
    parts = [
        generator.normal(size=prod(shape)) * steep / max(1.0, float(prod(shape[:-1]))) ** 0.5
        for shape in shapes
    ]
    return np.concatenate(parts).astype(np.float32)


def made_up_rows(
    parts: Sequence[InputPart], head: Head, n: int, generator: np.random.Generator
) -> tuple[Arrays, Floats]:
    """Rows of nobody by input, and their targets."""
    x = tuple(
        generator.integers(0, 256, (n, *part.shape), np.uint8)
        if part.pixels
        else generator.uniform(-1, 1, (n, *part.shape)).astype(np.float32)
        for part in parts
    )
    if head.kind == "number":
        return x, generator.uniform(-1, 1, n).astype(np.float32)
    return x, generator.integers(0, max(2, head.outputs), n).astype(np.float32)


def _one_patient_at_every_place(
    total: Callable[[Pieces], NDArray[np.float64]],
    patients: Pieces,
    generator: np.random.Generator,
    rounding: float,
) -> bool:
    def at(patient: int, places: NDArray[np.int64]) -> NDArray[np.float64]:
        piece = np.full((1, *patients.shape), -1, np.int32)
        piece[0, places] = patients[patient]
        return total(piece)

    places = generator.permutation(len(patients))
    for patient in generator.choice(len(patients), 2, replace=False):
        alone = at(patient, np.zeros(1, np.int64))
        for start in range(0, len(places), CHUNK):
            some = places[start : start + CHUNK]
            limit = len(some) * (LIMIT * float(np.abs(alone).max()) + rounding)
            if not _agree(at(patient, some), len(some) * alone, limit):
                return False
    return True


def _everybody_in_another_order(
    total: Callable[[Pieces], NDArray[np.float64]],
    everybody: Pieces,
    generator: np.random.Generator,
    rounding: float,
) -> bool:
    n = everybody.shape[1]
    whole, nobody = total(everybody), np.full_like(everybody, -1)
    first = total(np.concatenate([everybody[:, :1], nobody[:, 1:]], 1))
    limit = LIMIT * max(n * float(np.abs(first).max()), float(np.abs(whole).max())) + 4 * rounding
    others = [everybody[:, order] for order in _orders(n, generator)]
    twice = total(np.concatenate([everybody, others[0]]))
    return all(_agree(total(other), whole, limit) for other in others) and _agree(twice, 2 * whole, 2 * limit)


def _orders(n: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Backwards, one place further as one patient more would move them, and at random."""
    yield np.arange(n)[::-1]
    yield np.roll(np.arange(n), 1)
    yield generator.permutation(n)


def _agree(got: NDArray[np.float64], expected: NDArray[np.float64], limit: float) -> bool:
    return bool(np.isfinite(got).all() and (np.abs(got - expected) <= limit).all())


def _bits(values: Floats) -> NDArray[np.uint32]:
    return np.ascontiguousarray(values, np.float32).view(np.uint32)


def _refusal() -> StudyError:
    wanted = " ".join(f"{name}={value}" for name, value in SETTINGS.items())
    return StudyError(
        "privacy: on this machine, as TensorFlow was started, a patient's last digits depend on where the "
        "patient stands among others, so there is no privacy; start this process with {settings}, and "
        "without a GPU (CUDA_VISIBLE_DEVICES=-1)",
        settings=wanted,
    )

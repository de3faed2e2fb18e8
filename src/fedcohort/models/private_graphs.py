"""The graphs of private training: the clipped sum of a sample, and a loop of private steps.

A step of a small model takes a fifth of a millisecond, of which each operation is some hundredth: so
what a study does not need (penalties) is not in its graph, and a piece's size is a constant of it, so that
no shape is computed in a step.

Every patient goes through one body of one loop, whatever the number of pieces and of patients: a graph
of its own for samples that fit into one piece would compute other last bits of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.graphs import split_weights
from fedcohort.models.inputs import InputPart, signature
from fedcohort.models.start import start_tensorflow

Tensor = Any
Traced = Callable[..., Tensor]
Shape = tuple[int, int]
"""(patients, rows_per_patient) of a piece."""


@dataclass(frozen=True)
class PrivateGraphs:
    """Traced functions, by what they need not do; each is traced when it is first asked for.

    Attributes:
        clipped_sum: a piece's shape to a graph.
        train: (a piece's shape, penalised) to a graph.
    """

    clipped_sum: Callable[[Shape], Traced]
    train: Callable[[Shape, bool], Traced]
    penalty_gradient: Traced


def private_graphs(
    model: Any,
    total: Callable[..., Tensor],
    parts: Sequence[InputPart],
    trainable: NDArray[np.bool_],
    one_thread: bool,
) -> PrivateGraphs:
    """Graphs around `total`, the clipped sum of one piece.

    Args:
        trainable: (n_weights,); False for frozen weights.
        one_thread: run each graph in the caller's thread: handing an operation to another thread costs a
            small model more than the operation. A large one is slower so.
    """
    tf = start_tensorflow()
    flat, row = tf.TensorSpec((None,), tf.float32), signature(parts)
    number, precise = tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.float64)
    seeds, noise = tf.TensorSpec((2,), tf.int64), tf.TensorSpec((None, None), tf.int64)
    places = tf.TensorSpec((None, 3), tf.int64)
    penalty, regularised = _penalty_gradient(model, trainable)
    of_piece = partial(_of_piece, total)

    def traced(function: Traced, *signature: Any) -> Traced:
        graph: Traced = tf.function(function, input_signature=signature, autograph=False)
        return _in_one_thread(graph) if one_thread else graph

    @cache
    def clipped_sum(shape: Shape) -> Traced:
        rows = tf.TensorSpec((None, *shape), tf.int32)
        return traced(partial(_clipped_sum, of_piece), flat, row, flat, rows, number, precise, seeds)

    @cache
    def train(shape: Shape, penalised: bool) -> Traced:
        rows = tf.TensorSpec((None, *shape), tf.int32)
        own = penalty if penalised or regularised else None
        loop = partial(_train, of_piece, own, trainable)
        return traced(loop, flat, flat, row, flat, rows, places, noise, precise, *(number,) * 5, seeds)

    return PrivateGraphs(clipped_sum, train, traced(penalty, flat, number))


def _in_one_thread(graph: Traced) -> Traced:
    """The graph, traced and run by TensorFlow's executor that hands nothing to other threads."""
    tf = start_tensorflow()

    def run(*arguments: Any) -> Tensor:
        with tf.experimental.function_executor_type("SINGLE_THREADED_EXECUTOR"):
            return graph(*arguments)

    return run


def _of_piece(
    total: Callable[..., Tensor],
    weights: Tensor,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
    clip: Tensor,
    unit: Tensor,
    seed: Tensor,
) -> Tensor:
    tf = start_tensorflow()
    # A missing row is computed, too, and counts nothing; but where its numbers are beyond float32, nothing
    # times infinity is no number: so it is the patient's own first row, and never that of somebody else.
    own = tf.where(rows >= 0, rows, rows[:, :1]) if rows.shape[1] > 1 else rows
    chosen = tf.maximum(tf.reshape(own, [-1]), 0)
    present = tf.cast(rows >= 0, tf.float32)
    of_rows = [tf.gather(part, chosen) for part in x]
    return total(weights, of_rows, tf.gather(y, chosen), present, clip, unit, seed)


def _clipped_sum(
    of_piece: Callable[..., Tensor],
    weights: Tensor,
    x: Tensor,
    y: Tensor,
    pieces: Tensor,
    clip: Tensor,
    unit: Tensor,
    seed: Tensor,
) -> Tensor:
    """The sum over a sample's pieces."""
    tf = start_tensorflow()
    count = tf.shape(pieces)[0]

    def add(index: Tensor, so_far: Tensor) -> tuple[Tensor, Tensor]:
        place = tf.stack([tf.constant(0, tf.int64), tf.cast(index, tf.int64) * USES_IN_A_PIECE])
        return index + 1, so_far + of_piece(weights, x, y, pieces[index], clip, unit, seed + place)

    start = (tf.constant(0), tf.zeros(tf.shape(weights), tf.float64))
    _, result = tf.while_loop(lambda index, _: index < count, add, start, parallel_iterations=1)
    return result


def _train(
    of_piece: Callable[..., Tensor],
    penalty_gradient: Callable[..., Tensor] | None,
    trainable: NDArray[np.bool_],
    weights: Tensor,
    anchor: Tensor,
    x: Tensor,
    y: Tensor,
    pieces: Tensor,
    places: Tensor,
    noise: Tensor,
    resolution: Tensor,
    clip: Tensor,
    patients: Tensor,
    rate: Tensor,
    l2: Tensor,
    mu: Tensor,
    seed: Tensor,
) -> Tensor:
    """The weights after all steps; only what is rounded and noised touches them.

    `anchor` are the weights of the round's first step. `places` says of each piece of which step it is,
    where dropout's counters stand for it, and whether (1 or 0) the step ends with it.
    """
    tf = start_tensorflow()
    scale = rate * tf.cast(resolution, tf.float32) / patients
    learned = 1.0 if trainable.all() else trainable.astype(np.float32)
    count = tf.shape(pieces)[0]

    def add(index: Tensor, now: Tensor, so_far: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        step, counter, ends = tf.unstack(places[index])
        place = tf.stack([tf.constant(0, tf.int64), counter])
        exact = so_far + of_piece(now, x, y, pieces[index], clip, resolution, seed + place)
        released = tf.round(exact) + tf.cast(noise[step], tf.float64)
        moves = tf.cast(ends, tf.float32)  # a piece that does not end a step moves nothing
        after = now - learned * (moves * scale) * tf.cast(released, tf.float32)
        if penalty_gradient is not None:
            after -= learned * (moves * rate) * (penalty_gradient(now, l2) + mu * (now - anchor))
        return index + 1, after, exact * tf.cast(1 - ends, tf.float64)

    start = (tf.constant(0), weights, tf.zeros(tf.shape(weights), tf.float64))
    _, result, _ = tf.while_loop(lambda index, *_: index < count, add, start, parallel_iterations=1)
    return result


USES_IN_A_PIECE, USES_IN_A_STEP = 2**10, 2**24
"""How far apart the counters of dropout's generators start: no mask is drawn twice."""


def _penalty_gradient(
    model: Any, trainable: NDArray[np.bool_]
) -> tuple[Callable[[Tensor, Tensor], Tensor], bool]:
    """The gradient of l2 / 2 * |kernel|^2 over kernels, and of each weight's own regulariser.

    Returns:
        gradient(weights, l2), and whether a weight has a regulariser.
    """
    tf = start_tensorflow()
    shapes = [tuple(int(size) for size in v.shape) for v in model.weights]
    kernel = np.concatenate(
        [np.full(int(np.prod(v.shape)), v.path.endswith("kernel")) for v in model.weights]
    )
    kernels = (kernel & trainable).astype(np.float32)
    regularized = [(i, v.regularizer) for i, v in enumerate(model.weights) if v.trainable and v.regularizer]

    def gradient(weights: Tensor, l2: Tensor) -> Tensor:
        of_kernels = l2 * kernels * weights
        if not regularized:
            return of_kernels
        with tf.GradientTape() as tape:
            tape.watch(weights)
            values = split_weights(weights, shapes)
            penalty = tf.add_n([regularizer(values[index]) for index, regularizer in regularized])
        return of_kernels + tape.gradient(penalty, weights)

    return gradient, bool(regularized)

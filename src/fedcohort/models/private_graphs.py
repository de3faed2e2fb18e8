"""The graphs of private training: the clipped sum of a sample, and a loop of private steps.

A step of a small model takes a fifth of a millisecond, of which each operation is some hundredth: so
what a study does not need (penalties, several pieces, care for gradients that are not finite) is not in
its graph, and a piece's size is a constant of it, so that no shape is computed in a step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.ghost import split_weights
from fedcohort.models.inputs import Part, signature
from fedcohort.models.start import start_tensorflow

Tensor = Any
Traced = Callable[..., Tensor]
Shape = tuple[int | None, int, int]
"""(pieces, patients, rows_per_patient): 1 if there is one piece, else None."""


@dataclass(frozen=True)
class PrivateGraphs:
    """Traced functions, by what they need not do; each is traced when it is first asked for.

    Attributes:
        clipped_sum: (pieces' shape, careful) to a graph.
        train: (pieces' shape, careful, penalised) to a graph.
    """

    clipped_sum: Callable[[Shape, bool], Traced]
    train: Callable[[Shape, bool, bool], Traced]
    penalty_gradient: Traced


def private_graphs(
    model: Any,
    total: Callable[..., Tensor],
    parts: Sequence[Part],
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
    penalty, regularised = _penalty_gradient(model, trainable)

    def traced(function: Traced, *signature: Any) -> Traced:
        graph: Traced = tf.function(function, input_signature=signature, autograph=False)
        return _in_one_thread(graph) if one_thread else graph

    def sample_sum(careful: bool, shape: Shape) -> Traced:
        return partial(_sample_sum, partial(total, careful=careful), shape[0] == 1)

    @cache
    def clipped_sum(shape: Shape, careful: bool) -> Traced:
        rows = tf.TensorSpec(shape, tf.int32)
        return traced(sample_sum(careful, shape), flat, row, flat, rows, number, precise, seeds)

    @cache
    def train(shape: Shape, careful: bool, penalised: bool) -> Traced:
        rows = tf.TensorSpec((None, *shape), tf.int32)
        own = penalty if penalised or regularised else None
        loop = partial(_train, sample_sum(careful, shape), own, trainable)
        return traced(loop, flat, flat, row, flat, rows, noise, precise, *(number,) * 5, seeds)

    return PrivateGraphs(clipped_sum, train, traced(penalty, flat, number))


def _in_one_thread(graph: Traced) -> Traced:
    """The graph, traced and run by TensorFlow's executor that hands nothing to other threads."""
    tf = start_tensorflow()

    def run(*arguments: Any) -> Tensor:
        with tf.experimental.function_executor_type("SINGLE_THREADED_EXECUTOR"):
            return graph(*arguments)

    return run


def _sample_sum(
    total: Callable[..., Tensor],
    one_piece: bool,
    weights: Tensor,
    x: Tensor,
    y: Tensor,
    pieces: Tensor,
    clip: Tensor,
    unit: Tensor,
    seed: Tensor,
) -> Tensor:
    """The sum over a sample's pieces; empty ones stand last and cost nothing if there are several."""
    tf = start_tensorflow()

    def of_piece(index: Any) -> Tensor:
        rows = pieces[index]
        chosen = tf.maximum(tf.reshape(rows, [-1]), 0)
        present = tf.cast(rows >= 0, tf.float32)
        place = tf.stack([tf.constant(0, tf.int64), tf.cast(index, tf.int64) * USES_IN_A_PIECE])
        of_rows = [tf.gather(part, chosen) for part in x]
        return total(weights, of_rows, tf.gather(y, chosen), present, clip, unit, seed + place)

    if one_piece:
        return of_piece(0)
    filled = tf.reduce_sum(tf.cast(pieces[:, 0, 0] >= 0, tf.int32))
    _, result = tf.while_loop(
        lambda index, _: index < filled,
        lambda index, so_far: (index + 1, so_far + of_piece(index)),
        (tf.constant(0), tf.zeros(tf.shape(weights), tf.float64)),
        parallel_iterations=1,
    )
    return result


def _train(
    sample_sum: Callable[..., Tensor],
    penalty_gradient: Callable[..., Tensor] | None,
    trainable: NDArray[np.bool_],
    weights: Tensor,
    anchor: Tensor,
    x: Tensor,
    y: Tensor,
    steps: Tensor,
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

    `anchor` are the weights of the round's first step.
    """
    tf = start_tensorflow()
    scale = rate * tf.cast(resolution, tf.float32) / patients
    learned = 1.0 if trainable.all() else trainable.astype(np.float32)

    def one_step(index: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        place = tf.stack([tf.constant(0, tf.int64), tf.cast(index, tf.int64) * USES_IN_A_STEP])
        exact = sample_sum(now, x, y, steps[index], clip, resolution, seed + place)
        released = tf.round(exact) + tf.cast(noise[index], tf.float64)
        after = now - learned * scale * tf.cast(released, tf.float32)
        if penalty_gradient is not None:
            after -= learned * rate * (penalty_gradient(now, l2) + mu * (now - anchor))
        return index + 1, after

    count = tf.shape(steps)[0]
    start = (tf.constant(0), weights)
    _, result = tf.while_loop(lambda index, _: index < count, one_step, start, parallel_iterations=1)
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

"""The graphs of private training: the clipped sum of a sample, and a loop of private steps.

Each exists twice: fast, and careful about patients whose gradient is not a finite number. The
careful one is traced when it is first needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.ghost import split_weights
from fedcohort.models.start import start_tensorflow

Tensor = Any
Traced = Callable[..., Tensor]


@dataclass(frozen=True)
class PrivateGraphs:
    """Traced functions; the pairs are (fast, careful)."""

    clipped_sum: tuple[Traced, Traced]
    train: tuple[Traced, Traced]
    penalty_gradient: Traced


def private_graphs(
    model: Any, total: Callable[..., Tensor], input_shape: tuple[int, ...], trainable: NDArray[np.bool_]
) -> PrivateGraphs:
    """Graphs around `total`, the clipped sum of one piece.

    Args:
        trainable: (n_weights,); False for frozen weights.
    """
    tf = start_tensorflow()
    flat, row = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None, *input_shape), tf.float32)
    rows = (None,) * 3
    number, precise = tf.TensorSpec((), tf.float32), tf.TensorSpec((), tf.float64)
    seeds = tf.TensorSpec((2,), tf.int64)
    of_site = (flat, row, flat)
    sum_signature = (*of_site, tf.TensorSpec(rows, tf.int32), number, seeds)
    noise = tf.TensorSpec((None, None), tf.int64)
    train_signature = (
        *of_site,
        tf.TensorSpec((None, *rows), tf.int32),
        noise,
        precise,
        *(number,) * 5,
        seeds,
    )
    penalty = _penalty_gradient(model, trainable)

    def traced(function: Traced, signature: tuple[Any, ...]) -> Traced:
        graph: Traced = tf.function(function, input_signature=signature, autograph=False)
        return graph

    sums = [partial(_sample_sum, partial(total, careful=careful)) for careful in (False, True)]
    fast, careful = (traced(one, sum_signature) for one in sums)
    train_fast, train_careful = (
        traced(partial(_train, one, penalty, trainable), train_signature) for one in sums
    )
    return PrivateGraphs((fast, careful), (train_fast, train_careful), traced(penalty, (flat, number)))


def _sample_sum(
    total: Callable[..., Tensor],
    weights: Tensor,
    x: Tensor,
    y: Tensor,
    pieces: Tensor,
    clip: Tensor,
    seed: Tensor,
) -> Tensor:
    """The sum over a sample's pieces; empty ones stand last and cost nothing."""
    tf = start_tensorflow()
    filled = tf.reduce_sum(tf.cast(pieces[:, 0, 0] >= 0, tf.int32))

    def one_piece(index: Tensor, so_far: Tensor) -> tuple[Tensor, Tensor]:
        rows = pieces[index]
        chosen = tf.maximum(tf.reshape(rows, [-1]), 0)
        present = tf.cast(rows >= 0, tf.float32)
        place = tf.stack([tf.constant(0, tf.int64), tf.cast(index, tf.int64) * _USES_IN_A_PIECE])
        part = total(weights, tf.gather(x, chosen), tf.gather(y, chosen), present, clip, seed + place)
        return index + 1, so_far + part

    start = (tf.constant(0), tf.zeros(tf.shape(weights), tf.float64))
    _, result = tf.while_loop(lambda index, _: index < filled, one_piece, start, parallel_iterations=1)
    return result


def _train(
    sample_sum: Callable[..., Tensor],
    penalty_gradient: Callable[..., Tensor],
    trainable: NDArray[np.bool_],
    weights: Tensor,
    x: Tensor,
    y: Tensor,
    steps: Tensor,
    noise: Tensor,
    resolution: Tensor,
    clip: Tensor,
    rate_by_patients: Tensor,
    rate: Tensor,
    l2: Tensor,
    mu: Tensor,
    seed: Tensor,
) -> Tensor:
    """The weights after all steps; only what is rounded and noised touches them."""
    tf = start_tensorflow()
    learned = trainable.astype(np.float32)

    def one_step(index: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
        place = tf.stack([tf.constant(0, tf.int64), tf.cast(index, tf.int64) * _USES_IN_A_STEP])
        exact = sample_sum(now, x, y, steps[index], clip, seed + place)
        released = tf.cast(
            (tf.round(exact / resolution) + tf.cast(noise[index], tf.float64)) * resolution, tf.float32
        )
        move = rate_by_patients * released + rate * (penalty_gradient(now, l2) + mu * (now - weights))
        return index + 1, now - learned * move

    count = tf.shape(steps)[0]
    start = (tf.constant(0), weights)
    _, result = tf.while_loop(lambda index, _: index < count, one_step, start, parallel_iterations=1)
    return result


_USES_IN_A_PIECE, _USES_IN_A_STEP = 2**10, 2**24
"""How far apart the counters of dropout's generators start: no mask is drawn twice."""


def _penalty_gradient(model: Any, trainable: NDArray[np.bool_]) -> Callable[[Tensor, Tensor], Tensor]:
    """The gradient of l2 / 2 * |kernel|^2 over kernels, and of each weight's own regulariser."""
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

    return gradient

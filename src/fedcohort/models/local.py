"""What one site computes: a local round, a gradient, predictions; each is one traced graph.

Weights travel as one flat float32 vector: all of the model's weights in Keras'
order, moving statistics among them. A model is built and traced once a study in
a process, whatever the number of rows, batches and sites.
"""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.build import build_model
from fedcohort.models.head import Head
from fedcohort.models.own import row_values
from fedcohort.models.start import start_tensorflow

PIECE_ROWS, PIECE_VALUES = 4096, 2**24
"""Rows, and numbers over all layers, in memory at once for gradients and predictions."""

_BUILDING = threading.Lock()
"""Keras draws initial weights from generators that a process has once."""

Floats = NDArray[np.float32]
Tensor = Any


@dataclass(frozen=True)
class Graphs:
    """The traced functions of one model."""

    train: Callable[..., Tensor]
    gradient: Callable[..., tuple[Tensor, Tensor]]
    predict: Callable[..., Tensor]


@dataclass(frozen=True)
class LocalModel:
    """A compiled model; weights are arguments, so that all sites of a process share it.

    Attributes:
        model: the Keras model; its own weights are scratch space.
        shapes: of each weight, in Keras' order.
        trainable_mask: (n_weights,) bool; False for moving statistics.
        piece_rows: rows in memory at once for gradients and predictions.
    """

    model: Any
    head: Head
    shapes: tuple[tuple[int, ...], ...]
    trainable_mask: NDArray[np.bool_]
    first_weights: Floats
    graphs: Graphs
    piece_rows: int
    lock: threading.Lock

    @property
    def n_weights(self) -> int:
        """Length of the flat vector."""
        return len(self.first_weights)

    def initial(self) -> Floats:
        """(n_weights,): the weights that the seed gives."""
        return self.first_weights.copy()

    def train(
        self,
        weights: Floats,
        x: Floats,
        y: Floats,
        batches: NDArray[np.int32],
        *,
        learning_rate: float,
        l2: float = 0.0,
        proximal_mu: float = 0.0,
        seed: int = 0,
    ) -> Floats:
        """Take one step of SGD for each batch, in one graph call.

        Args:
            x, y: (n, ...) features and (n,) targets.
            batches: (steps, batch_size) row indices; -1 is no row.
            l2: adds l2 / 2 * |kernel|^2 to the loss.
            proximal_mu: adds mu / 2 * |w - weights|^2 over trainable weights (FedProx).
        Returns:
            (n_weights,): the weights after the last batch.
        """
        with self.lock:
            numbers = (np.float32(learning_rate), np.float32(l2), np.float32(proximal_mu))
            result: Floats = self.graphs.train(weights, x, y, batches, *numbers, _seed_pair(seed)).numpy()
        return result

    def gradient(
        self, weights: Floats, x: Floats, y: Floats, *, l2: float = 0.0, seed: int = 0
    ) -> tuple[Floats, float]:
        """Sum the gradient of the loss over rows.

        Returns:
            (n_weights,), zero for moving statistics, and the sum of the rows' losses.
        """
        total, loss = np.zeros(self.n_weights, np.float64), 0.0
        with self.lock:
            for start in range(0, len(x), self.piece_rows):
                rows = slice(start, start + self.piece_rows)
                part, part_loss = self.graphs.gradient(
                    weights, x[rows], y[rows], np.float32(l2), _seed_pair(seed + start)
                )
                total += part.numpy()
                loss += float(part_loss)
        return total.astype(np.float32), loss

    def predict(self, weights: Floats, x: Floats) -> Floats:
        """(n, outputs): probabilities or numbers, dropout off."""
        if not len(x):
            return np.zeros((0, self.head.outputs), np.float32)
        with self.lock:
            pieces = [
                self.graphs.predict(weights, x[start : start + self.piece_rows]).numpy()
                for start in range(0, len(x), self.piece_rows)
            ]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _seed_pair(seed: int) -> NDArray[np.int64]:
    return np.array([seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF], np.int64)


def local_model(
    model: str | dict[str, Any], input_shape: tuple[int, ...], head: Head, seed: int
) -> LocalModel:
    """Build and trace a model, once a process for the same arguments.

    Raises:
        StudyError: the model cannot be built, or its shapes do not fit.
    """
    with _BUILDING:
        return _local_model(json.dumps(model, sort_keys=True), input_shape, head, seed)


@lru_cache(maxsize=8)
def _local_model(model: str, input_shape: tuple[int, ...], head: Head, seed: int) -> LocalModel:
    built = build_model(json.loads(model), input_shape, head, seed)
    variables = built.weights
    trainable = {id(variable) for variable in built.trainable_variables}
    mask = [np.full(int(np.prod(v.shape)), id(v) in trainable) for v in variables]
    first = [np.asarray(v.numpy(), np.float32).reshape(-1) for v in variables]
    shapes = tuple(tuple(int(size) for size in v.shape) for v in variables)
    graphs = _trace(built, head, input_shape)
    piece_rows = min(PIECE_ROWS, max(1, PIECE_VALUES // row_values(built)))
    return LocalModel(
        built, head, shapes, np.concatenate(mask), np.concatenate(first), graphs, piece_rows, threading.Lock()
    )


def _trace(model: Any, head: Head, input_shape: tuple[int, ...]) -> Graphs:
    tf = start_tensorflow()
    row = tf.TensorSpec((None, *input_shape), tf.float32)
    target, flat = tf.TensorSpec((None,), tf.float32), tf.TensorSpec((None,), tf.float32)
    number, seeds = tf.TensorSpec((), tf.float32), tf.TensorSpec((2,), tf.int64)
    step = train_step(model, head)

    @tf.function(
        input_signature=(
            flat,
            row,
            target,
            tf.TensorSpec((None, None), tf.int32),
            number,
            number,
            number,
            seeds,
        ),
        autograph=False,
    )
    def train(weights, x, y, batches, rate, l2, mu, seed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        _assign(model, weights)
        _reseed(model, seed)
        anchors = [tf.identity(v.value) for v in model.trainable_variables]

        def one_batch(index: Tensor) -> tuple[Tensor]:
            rows = tf.boolean_mask(batches[index], batches[index] >= 0)
            gradients, _ = step(tf.gather(x, rows), tf.gather(y, rows), l2)
            for v, anchor, gradient in zip(model.trainable_variables, anchors, gradients, strict=True):
                v.value.assign_sub(rate * (gradient + mu * (v.value - anchor)))
            return (index + 1,)

        n_batches = tf.shape(batches)[0]
        tf.while_loop(lambda index: index < n_batches, one_batch, (tf.constant(0),), parallel_iterations=1)
        return _flatten(model)

    @tf.function(input_signature=(flat, row, target, number, seeds), autograph=False)
    def gradient(weights, x, y, l2, seed):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        _assign(model, weights)
        _reseed(model, seed)
        gradients, loss = step(x, y, l2)
        n = tf.cast(tf.shape(x)[0], tf.float32)
        by_variable = {id(v): g for v, g in zip(model.trainable_variables, gradients, strict=True)}
        parts = [by_variable.get(id(v), tf.zeros(v.shape)) for v in model.weights]
        return n * tf.concat([tf.reshape(part, [-1]) for part in parts], 0), n * loss

    @tf.function(input_signature=(flat, row), autograph=False)
    def predict(weights, x):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        _assign(model, weights)
        return model(x, training=False)

    return Graphs(train, gradient, predict)


def train_step(model: Any, head: Head) -> Callable[..., tuple[list[Tensor], Tensor]]:
    """A function of one batch.

    The gradient is that of the mean loss, of l2 / 2 * |kernel|^2 over all kernels, and of the
    regularisers that a researcher's own layers carry.

    Returns:
        step(x, y, l2=0.0) to (gradients by trainable variable, mean loss of the batch).
    """
    tf = start_tensorflow()
    kernels = [v for v in model.trainable_variables if v.path.endswith("kernel")]

    def step(x: Tensor, y: Tensor, l2: Tensor = 0.0) -> tuple[list[Tensor], Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(_row_losses(head, y, model(x, training=True)))
            penalty = tf.add_n([tf.nn.l2_loss(v.value) for v in kernels]) if kernels else 0.0
            penalised = tf.add_n([loss + l2 * penalty, *model.losses])
        # an inner model may have an output that nothing reads: its weights have no path to the loss
        gradients = tape.gradient(
            penalised,
            [v.value for v in model.trainable_variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return gradients, loss

    return step


def _row_losses(head: Head, y: Tensor, predicted: Tensor) -> Tensor:
    """(n,): cross-entropy (Keras finds the logits behind the activation) or squared error."""
    import keras

    if head.kind == "number":
        return keras.ops.square(predicted[:, 0] - y)
    if head.kind == "classes":
        return keras.losses.sparse_categorical_crossentropy(keras.ops.cast(y, "int32"), predicted)
    return keras.losses.binary_crossentropy(y[:, None], predicted)


def _assign(model: Any, weights: Tensor) -> None:
    tf = start_tensorflow()
    variables = model.weights
    sizes = [int(np.prod(v.shape)) for v in variables]
    for variable, part in zip(variables, tf.split(weights, sizes), strict=True):
        variable.value.assign(tf.reshape(part, variable.shape))


def _flatten(model: Any) -> Tensor:
    tf = start_tensorflow()
    return tf.concat([tf.reshape(variable.value, [-1]) for variable in model.weights], 0)


def _reseed(model: Any, seed: Tensor) -> None:
    """Start every dropout layer's generator from the round's seed."""
    tf = start_tensorflow()
    weights = {id(variable) for variable in model.weights}
    for index, variable in enumerate(v for v in model.variables if id(v) not in weights):
        variable.value.assign(tf.cast(seed + tf.constant([index, 0], tf.int64), variable.value.dtype))

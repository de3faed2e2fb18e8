"""The traced graphs of one model: a loop of SGD steps, a sum of gradients, and predictions.

Weights are an argument and the result, as one flat vector; the model's variables are scratch space.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from fedcohort.models.head import Head
from fedcohort.models.inputs import InputPart, caller, signature
from fedcohort.models.start import start_tensorflow

Tensor = Any
Step = Callable[..., tuple[list[Tensor], Tensor]]


@dataclass(frozen=True)
class Graphs:
    """The traced functions of one model.

    Attributes:
        more: continues `train` where it ended, on other rows; no other graph may run in between.
    """

    train: Callable[..., Tensor]
    more: Callable[..., Tensor]
    gradient: Callable[..., tuple[Tensor, Tensor]]
    predict: Callable[..., Tensor]


def trace(model: Any, head: Head, parts: Sequence[InputPart]) -> Graphs:
    """Graphs of rows by input.

    Raises:
        StudyError: the model's inputs are others.
    """
    tf = start_tensorflow()
    rows, target, flat = (
        signature(parts),
        tf.TensorSpec((None,), tf.float32),
        tf.TensorSpec((None,), tf.float32),
    )
    number, seeds = tf.TensorSpec((), tf.float32), tf.TensorSpec((2,), tf.int64)
    batch = tf.TensorSpec((None, None), tf.int32)
    call = caller(model, parts)
    step = train_step(model, head, call)
    train, more = _training(model, step)

    def predict(weights: Tensor, x: Tensor) -> Tensor:
        _assign(model, weights)
        return call(x, False)

    def traced(function: Callable[..., Any], *given: Any) -> Callable[..., Any]:
        graph: Callable[..., Any] = tf.function(function, input_signature=given, autograph=False)
        return graph

    loop = (flat, rows, target, batch, number, number, number)
    return Graphs(
        traced(train, *loop, seeds),
        traced(more, *loop),
        traced(_weight_gradient(model, step), flat, rows, target, number, seeds),
        traced(predict, flat, rows),
    )


def _training(model: Any, step: Step) -> tuple[Callable[..., Tensor], Callable[..., Tensor]]:
    """Steps of SGD from given weights, and more of them from where those ended."""
    tf = start_tensorflow()
    steps = _steps(model, step)

    def train(
        weights: Tensor,
        x: Tensor,
        y: Tensor,
        batches: Tensor,
        rate: Tensor,
        l2: Tensor,
        mu: Tensor,
        seed: Tensor,
    ) -> Tensor:
        _assign(model, weights)
        _reseed(model, seed)
        anchors = [tf.identity(v.value) for v in model.trainable_variables]
        return steps(anchors, x, y, batches, rate, l2, mu)

    def more(
        weights: Tensor, x: Tensor, y: Tensor, batches: Tensor, rate: Tensor, l2: Tensor, mu: Tensor
    ) -> Tensor:
        values = split_weights(weights, [variable.shape for variable in model.weights])
        by_id = dict(zip(map(id, model.weights), values, strict=True))
        return steps([by_id[id(v)] for v in model.trainable_variables], x, y, batches, rate, l2, mu)

    return train, more


def _weight_gradient(model: Any, step: Step) -> Callable[..., tuple[Tensor, Tensor]]:
    """The sum over rows of gradient and loss at given weights; zero for weights that are not trained."""
    tf = start_tensorflow()

    def gradient(weights: Tensor, x: Tensor, y: Tensor, l2: Tensor, seed: Tensor) -> tuple[Tensor, Tensor]:
        _assign(model, weights)
        _reseed(model, seed)
        gradients, loss = step(x, y, l2)
        n = tf.cast(tf.shape(y)[0], tf.float32)
        by_variable = {id(v): g for v, g in zip(model.trainable_variables, gradients, strict=True)}
        parts = [by_variable.get(id(v), tf.zeros(v.shape)) for v in model.weights]
        return n * tf.concat([tf.reshape(part, [-1]) for part in parts], 0), n * loss

    return gradient


def _steps(model: Any, step: Step) -> Callable[..., Tensor]:
    """A step of SGD for each batch, from the model's own weights."""
    tf = start_tensorflow()

    def steps(
        anchors: Sequence[Tensor], x: Tensor, y: Tensor, batches: Tensor, rate: Tensor, l2: Tensor, mu: Tensor
    ) -> Tensor:
        def one_batch(index: Tensor) -> tuple[Tensor]:
            rows = tf.boolean_mask(batches[index], batches[index] >= 0)
            chosen = [tf.gather(part, rows) for part in x]
            gradients, _ = step(chosen, tf.gather(y, rows), l2)
            for v, anchor, gradient in zip(model.trainable_variables, anchors, gradients, strict=True):
                v.value.assign_sub(rate * (gradient + mu * (v.value - anchor)))
            return (index + 1,)

        n_batches = tf.shape(batches)[0]
        tf.while_loop(lambda index: index < n_batches, one_batch, (tf.constant(0),), parallel_iterations=1)
        return tf.concat([tf.reshape(variable.value, [-1]) for variable in model.weights], 0)

    return steps


def train_step(
    model: Any, head: Head, call: Callable[[Any, bool], Tensor] | None = None
) -> Callable[..., tuple[list[Tensor], Tensor]]:
    """A function of one batch.

    The gradient is that of the mean loss, of l2 / 2 * |kernel|^2 over all kernels, and of the
    regularisers that a researcher's own layers carry.

    Args:
        call: the model as a function of rows and whether it trains; None: of its only input.
    Returns:
        step(x, y, l2=0.0) to (gradients by trainable variable, mean loss of the batch).
    """
    tf = start_tensorflow()
    kernels = [v for v in model.trainable_variables if v.path.endswith("kernel")]

    def step(x: Tensor, y: Tensor, l2: Tensor = 0.0) -> tuple[list[Tensor], Tensor]:
        with tf.GradientTape() as tape:
            predicted = model(x, training=True) if call is None else call(x, True)
            loss = tf.reduce_mean(row_losses(head, y, predicted))
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


def row_losses(head: Head, y: Tensor, predicted: Tensor) -> Tensor:
    """(n,): cross-entropy (Keras finds the logits behind the activation) or squared error."""
    import keras

    if head.kind == "number":
        return keras.ops.square(predicted[:, 0] - y)
    if head.kind == "classes":
        return keras.losses.sparse_categorical_crossentropy(keras.ops.cast(y, "int32"), predicted)
    return keras.losses.binary_crossentropy(y[:, None], predicted)


def split_weights(weights: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """A flat vector as weights of these shapes."""
    tf = start_tensorflow()
    parts = tf.split(weights, [prod(shape) for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def _assign(model: Any, weights: Tensor) -> None:
    values = split_weights(weights, [variable.shape for variable in model.weights])
    for variable, value in zip(model.weights, values, strict=True):
        variable.value.assign(value)


def _reseed(model: Any, seed: Tensor) -> None:
    """Start every dropout layer's generator from the round's seed."""
    tf = start_tensorflow()
    weights = {id(variable) for variable in model.weights}
    for index, variable in enumerate(v for v in model.variables if id(v) not in weights):
        variable.value.assign(tf.cast(seed + tf.constant([index, 0], tf.int64), variable.value.dtype))

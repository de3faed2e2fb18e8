"""The sum of patients' clipped gradients, by one forward and one backward pass.

Ghost clipping: the backward pass stops at the layers' outputs. From these derivatives and the
layers' inputs come both each patient's norm and, once the factors min(1, clip / norm) are known,
the sum; no patient's gradient is ever written down (Li, Tramer, Liang, Hashimoto 2021, arXiv
2110.05679; without a second backward pass: Bu, Wang, Zha, Karypis 2023, arXiv 2210.00038).

There is one forward pass, so a dropout mask is the same in the norm and in the sum. A model's
regularisers are of its weights and not of patients, and are not part of the sum.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fedcohort.models.allowed_layers import check_row_wise, layers_of
from fedcohort.models.ghost_layers import (
    CLIP_MARGIN,
    LayerGradient,
    Use,
    group_norm_gradient,
    is_group_norm,
    is_matrix_layer,
    matrix_gradient,
    vectorized_gradient,
)
from fedcohort.models.graphs import split_weights
from fedcohort.models.head import Head
from fedcohort.models.start import start_tensorflow

Tensor = Any
RowLosses = Callable[[Head, Tensor, Tensor], Tensor]


def clipped_gradient_sum(
    model: Any,
    head: Head,
    row_losses: RowLosses,
    *,
    rows_per_patient: int = 1,
    call: Callable[[Any, bool], Tensor] | None = None,
) -> Callable[..., Tensor]:
    """A function, for use inside a traced graph, of one piece of patients.

    A patient's gradient is that of the mean loss of the patient's rows; each is scaled to an L2
    norm of at most `clip`, and all are added. It changes the model: its layers report what
    they compute from now on, so the model may serve nothing else.

    Args:
        model: a Keras model of its own for this function.
        row_losses: (head, y, predicted) to (rows,).
        call: the model as a function of rows and of whether it trains; None: of its only input.
    Returns:
        total(weights, x, y, present, clip, unit, seed): weights (n_weights,) float32; x, y of
        (patients * rows, ...), a patient's rows together; present (patients, rows) is 1.0 for a row
        and 0.0 for padding; clip a float32; the result counts in `unit`, a float64; seed is two int64.
        It gives (n_weights,) float64, zero for weights that are not trained. A patient whose gradient is
        not finite adds nothing, and changes no bit of another's gradient. A patient adds at most `clip` in
        L2 norm, rounding included, where the bits of the others stay the same, as `invariance.py` tries.
    Raises:
        StudyError: a layer mixes patients; it is named.
    """
    check_row_wise(model)
    tf = start_tensorflow()
    uses = _listen(model)
    shapes = [tuple(int(size) for size in v.shape) for v in model.weights]

    def total(
        weights: Tensor,
        x: Tensor,
        y: Tensor,
        present: Tensor,
        clip: Tensor,
        unit: Tensor,
        seed: Tensor,
    ) -> Tensor:
        values = split_weights(weights, shapes)
        counts = 1.0 if rows_per_patient == 1 else tf.reduce_sum(present, 1, keepdims=True)
        share = present / tf.maximum(counts, 1.0)
        uses.clear()
        with _values_of(model, values, seed), tf.GradientTape() as tape:
            tape.watch(values)
            losses = row_losses(head, y, model(x, training=True) if call is None else call(x, True))
            loss = tf.reduce_sum(losses * tf.reshape(share, [-1]))
        derivatives = tape.gradient(
            loss, [use.outputs for use in uses], unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        by_variable = dict(zip(map(id, model.weights), values, strict=True))
        passes = _Passes(list(uses), derivatives, rows_per_patient, by_variable)
        uses.clear()
        return _sum_clipped(model.weights, shapes, passes, clip, unit)

    return total


@dataclass(frozen=True)
class _Passes:
    """What the forward and the backward pass of one piece of patients have found.

    Attributes:
        derivatives: of the loss, by each use's outputs.
        rows: of each patient.
        values: of the weights, by the identity of their variable.
    """

    uses: Sequence[Use]
    derivatives: Sequence[Tensor]
    rows: int
    values: Mapping[int, Tensor]


def _sum_clipped(
    variables: Sequence[Any], shapes: Sequence[tuple[int, ...]], passes: _Passes, clip: Tensor, unit: Tensor
) -> Tensor:
    """(n_weights,) float64: the sum over patients, of whom those that are not finite add nothing."""
    tf = start_tensorflow()
    layers = _layer_gradients(passes)
    factors = _factors(layers, clip) / unit
    sums = {id(v): part for layer in layers for v, part in layer.weighted_sum(factors)}
    pairs = zip(variables, shapes, strict=True)
    return tf.concat([_flat(sums.get(id(v)), shape) for v, shape in pairs], 0)


def _flat(part: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    tf = start_tensorflow()
    return tf.zeros([prod(shape)], tf.float64) if part is None else tf.reshape(part, [-1])


def _factors(layers: Sequence[LayerGradient], clip: Tensor) -> Tensor:
    """(patients,) float64: min(1, clip / norm); 0 where the norm is not a number or beyond float32.

    Layers are added in float64: TensorFlow adds float32 in another order in a graph of one piece than in
    a loop, and a patient's bits would depend on how many others there are.
    """
    tf = start_tensorflow()
    square_norms = tf.add_n([tf.cast(layer.square_norms, tf.float64) for layer in layers])
    limit = tf.cast(clip, tf.float64) * (1.0 - CLIP_MARGIN)
    factors = tf.minimum(tf.constant(1.0, tf.float64), limit * tf.math.rsqrt(square_norms))
    return tf.where(square_norms <= tf.float32.max, factors, tf.constant(0.0, tf.float64))


def _values_of(model: Any, values: Sequence[Tensor], seed: Tensor) -> Any:
    """A scope in which the model's weights are the given ones, and dropout starts from the seed."""
    import keras

    tf = start_tensorflow()
    weights = {id(variable) for variable in model.weights}
    generators = [variable for variable in model.variables if id(variable) not in weights]
    seeds = [
        tf.cast(seed + np.array([index, 0], np.int64), variable.dtype)
        for index, variable in enumerate(generators)
    ]
    mapping = [*zip(model.weights, values, strict=True), *zip(generators, seeds, strict=True)]
    return keras.StatelessScope(mapping, initialize_variables=False)


def _listen(model: Any) -> list[Use]:
    """Let every layer with weights to train append to a list what it is given and gives."""
    uses: list[Use] = []
    for layer in layers_of(model):
        if layer.trainable_variables:
            layer.call = _reporting(layer, uses)
    return uses


def _reporting(layer: Any, uses: list[Use]) -> Callable[..., Tensor]:
    """The layer's call, which reports; a kernel's product is reported before the activation."""
    plain, activation = layer.call, None
    if is_matrix_layer(layer):
        activation, layer.activation = layer.activation, None

    def call(inputs: Tensor, **arguments: Any) -> Tensor:
        outputs = plain(inputs, **arguments)
        uses.append(Use(layer, inputs, outputs))
        return outputs if activation is None else activation(outputs)

    call.plain = plain  # type: ignore[attr-defined]
    return call


def _layer_gradients(passes: _Passes) -> list[LayerGradient]:
    grouped: dict[int, tuple[list[Use], list[Tensor]]] = {}
    for use, derivative in zip(passes.uses, passes.derivatives, strict=True):
        of_layer = grouped.setdefault(id(use.layer), ([], []))
        of_layer[0].append(use)
        of_layer[1].append(derivative)
    return [_layer_gradient(*of_layer, passes.rows, passes.values) for of_layer in grouped.values()]


def _layer_gradient(
    uses: list[Use], derivatives: list[Tensor], rows: int, values: Mapping[int, Tensor]
) -> LayerGradient:
    import keras

    layer = uses[0].layer
    if is_matrix_layer(layer):
        return matrix_gradient(uses, derivatives, rows)
    if is_group_norm(layer):
        return group_norm_gradient(uses, derivatives, rows)
    frozen = [(v, values[id(v)]) for v in layer.non_trainable_variables]

    def call(inputs: Tensor, own: Sequence[Tensor]) -> Tensor:
        mapping = [*frozen, *zip(layer.trainable_variables, own, strict=True)]
        with keras.StatelessScope(mapping, initialize_variables=False):
            return layer.call.plain(inputs)

    own = [values[id(v)] for v in layer.trainable_variables]
    return vectorized_gradient(uses, derivatives, rows, call, own)

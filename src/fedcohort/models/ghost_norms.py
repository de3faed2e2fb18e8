"""Each patient's gradient of a GroupNormalization, which scales and shifts what it has normalised.

The gradient by the scale is the sum over positions of derivative times normalised input, by the shift
that of the derivative alone (Wu and He 2018, arXiv 1803.08494, equation 6). Both are a patient's own, and
small: one number a channel.
"""

from collections.abc import Sequence
from math import prod
from typing import Any

from fedcohort.models.ghost_layers import LayerGradient, Use, squares, sum_rows
from fedcohort.models.start import start_tensorflow

Tensor = Any


def is_scaled_by_group(layer: Any) -> bool:
    """Whether the layer is a GroupNormalization over channels that come last."""
    return type(layer).__name__ == "GroupNormalization" and layer.axis in (-1, len(layer.input.shape) - 1)


def group_gradient(uses: Sequence[Use], derivatives: Sequence[Tensor], rows: int) -> LayerGradient:
    """The gradient by scale and shift, a patient's rows and all uses of the layer together.

    Args:
        uses: of one layer, all calls of it.
        derivatives: by each use's outputs.
        rows: of a patient; a patient's rows follow each other.
    """
    tf = start_tensorflow()
    layer, channels = uses[0].layer, derivatives[0].shape[-1]

    def by_patient(tensor: Tensor) -> Tensor:
        positions = rows * prod(tensor.shape[1:-1])
        return tf.reduce_sum(tf.reshape(tensor, [-1, positions, channels]), 1)

    found = []
    if layer.scale:
        normal = [_normalised(layer, use.inputs) for use in uses]
        scaled = [by_patient(d * n) for d, n in zip(derivatives, normal, strict=True)]
        found.append((layer.gamma, tf.add_n(scaled)))
    if layer.center:
        found.append((layer.beta, tf.add_n([by_patient(derivative) for derivative in derivatives])))

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        return [(variable, sum_rows(factors, part)) for variable, part in found]

    return LayerGradient(tf.add_n([squares(part) for _, part in found]), weighted_sum)


def _normalised(layer: Any, inputs: Tensor) -> Tensor:
    """Mean 0 and variance 1 within each group of channels of each row."""
    tf = start_tensorflow()
    channels = inputs.shape[-1]
    groups = tf.reshape(inputs, [-1, prod(inputs.shape[1:-1]), layer.groups, channels // layer.groups])
    mean, variance = tf.nn.moments(groups, [1, 3], keepdims=True)
    return tf.reshape((groups - mean) * tf.math.rsqrt(variance + layer.epsilon), tf.shape(inputs))

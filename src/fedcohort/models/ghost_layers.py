"""Each patient's squared gradient norm for one layer, and the weighted sum of gradients, layer by layer.

A Dense or Conv layer multiplies the inputs at each position of a row (a pixel, a step in time; one
for a vector) by its kernel, so that a patient's gradient is U^T D: U holds the inputs and D the
loss's derivatives by the outputs at the patient's positions. Where there is one position the norm
is |u| |d| (Goodfellow 2015, arXiv 1510.01799). Where there are few, it is the sum of U U^T * D D^T
(Li, Tramer, Liang, Hashimoto 2021, arXiv 2110.05679; convolutions: Bu, Mao, Xu 2022, arXiv
2205.10683). Where there are many, U^T D itself is smaller. A layer used twice has its positions
of both uses. A GroupNormalization's gradient by its scale is the sum over positions of derivative times
normalised input, by its shift that of the derivative alone (Wu and He 2018, arXiv 1803.08494, equation 6).
Every other layer's gradient is differentiated patient by patient.

In float32 the norm may come out too small by a rounding, or because a square is too small for float32, so
each is pushed up: see CLIP_MARGIN, GRAM_MARGIN and _VANISHED; no weights, however chosen, hide a gradient.
Sums over patients are in float64, so that what one patient adds is not blurred by the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.models.start import start_tensorflow

CLIP_MARGIN = 2.0**-15
"""Share by which the clip is lowered: more than a float32 sum of squares errs (tree sums of leaves
of 1,024 numbers: 7.6e-6 at most)."""

GRAM_MARGIN = 2.0**-36
"""Terms of U U^T * D D^T may cancel; in float64 their rounding is at most so much of (sum of |u| |d|)^2."""

_VANISHED = 2.0**-126
"""What a square counts at least where another factor may be huge: smaller ones are 0 in float32, and
1e19 times 1e-20 would look like a gradient of norm 0."""

Tensor = Any


@dataclass(frozen=True)
class Use:
    """One call of a layer.

    Attributes:
        inputs: (rows, ...) what it was given.
        outputs: (rows, ...) before the activation for Dense and Conv, else what it returned.
    """

    layer: Any
    inputs: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class LayerGradient:
    """The gradients of one layer, patient by patient, never all in memory for Dense.

    Attributes:
        square_norms: (patients,) of the gradient by all of the layer's weights, never too small by
            more than CLIP_MARGIN.
        weighted_sum: from (patients,) float64 factors to (variable, float64 sum) of each weight.
    """

    square_norms: Tensor
    weighted_sum: Callable[[Tensor], list[tuple[Any, Tensor]]]


def is_matrix_layer(layer: Any) -> bool:
    """Whether the layer is one product with a kernel at each position."""
    kind = type(layer).__name__
    plain = kind == "Dense" or (kind in {"Conv1D", "Conv2D"} and layer.data_format == "channels_last")
    return plain and len(layer.trainable_variables) == 1 + bool(layer.use_bias)


def held_values(layer: Any) -> int:
    """Numbers that a row's gradient by one layer takes, in addition to the layer's inputs and outputs.

    Of a convolution: what stands under the kernel at every position, and the smaller of both ways to a norm.
    Of a layer that is differentiated patient by patient: its weights.
    """
    if not layer.trainable_variables:
        return 0
    if not is_matrix_layer(layer):
        return sum(prod(variable.shape) for variable in layer.trainable_variables)
    window = getattr(layer, "kernel_size", ())  # none of Dense, which multiplies its inputs as they stand
    positions, width = prod(layer.output.shape[1:-1]), layer.input.shape[-1] * prod(window)
    if positions == 1 and not window:
        return 0
    patches = positions * width if window else 0
    return int(patches + min(positions**2, width * layer.output.shape[-1]))


def matrix_gradient(uses: Sequence[Use], derivatives: Sequence[Tensor], rows: int) -> LayerGradient:
    """The gradient of a Dense or Conv layer from its inputs and the loss's derivatives.

    Args:
        uses: of one layer, all calls of it.
        derivatives: by each use's outputs.
        rows: of a patient; a patient's rows follow each other.
    """
    layer = uses[0].layer
    groups = 1 if type(layer).__name__ == "Dense" else layer.groups
    if groups == 1:
        return _group_gradient(uses, derivatives, rows)
    tf = start_tensorflow()
    given = [tf.split(use.inputs, groups, -1) for use in uses]
    split = [tf.split(derivative, groups, -1) for derivative in derivatives]
    parts = [
        _group_gradient([Use(layer, inputs, None) for inputs in own], list(of_outputs), rows)
        for own, of_outputs in zip(zip(*given, strict=True), zip(*split, strict=True), strict=True)
    ]

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        sums = zip(*(part.weighted_sum(factors) for part in parts), strict=True)
        return [(of_weight[0][0], tf.concat([part for _, part in of_weight], -1)) for of_weight in sums]

    return LayerGradient(tf.add_n([part.square_norms for part in parts]), weighted_sum)


def _group_gradient(uses: Sequence[Use], derivatives: Sequence[Tensor], rows: int) -> LayerGradient:
    tf = start_tensorflow()
    layer = uses[0].layer
    units = derivatives[0].shape[-1]
    parts_u = [_positions(layer, use.inputs, rows) for use in uses]
    parts_d = [_by_patient(derivative, rows, units) for derivative in derivatives]
    inputs = parts_u[0] if len(uses) == 1 else tf.concat(parts_u, 1)
    outputs = parts_d[0] if len(uses) == 1 else tf.concat(parts_d, 1)
    positions, width = inputs.shape[1], inputs.shape[2]
    if positions == 1:
        return _one_position(layer, inputs[:, 0], outputs[:, 0])
    if 2 * positions**2 < width * units:
        return _few_positions(layer, inputs, outputs)
    return _many_positions(layer, inputs, outputs)


def vectorized_gradient(
    uses: Sequence[Use],
    derivatives: Sequence[Tensor],
    rows: int,
    call: Callable[[Tensor, Sequence[Tensor]], Tensor],
    values: Sequence[Tensor],
) -> LayerGradient:
    """The gradient of any other layer, differentiated patient by patient by tf.vectorized_map.

    Args:
        call: the layer as a function of (inputs, values of its trainable variables).
    """
    tf = start_tensorflow()
    variables = uses[0].layer.trainable_variables

    def split(tensor: Tensor) -> Tensor:
        return tf.reshape(tensor, [-1, rows, *tensor.shape[1:]])

    def one_patient(parts: tuple[list[Tensor], list[Tensor]]) -> list[Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(values)
            results = [call(part, values) for part in parts[0]]
        gradients: list[Tensor] = tape.gradient(results, values, output_gradients=parts[1])
        return gradients

    inputs, outputs = [split(use.inputs) for use in uses], [split(part) for part in derivatives]
    gradients = tf.vectorized_map(one_patient, (inputs, outputs))
    flat = [tf.reshape(part, [-1, prod(part.shape[1:])]) for part in gradients]

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        return [(v, sum_rows(factors, part)) for v, part in zip(variables, flat, strict=True)]

    return LayerGradient(tf.add_n([squares(part) for part in flat]), weighted_sum)


def _one_position(layer: Any, inputs: Tensor, outputs: Tensor) -> LayerGradient:
    tf = start_tensorflow()
    of_inputs = squares(inputs) + (1.0 if layer.use_bias else inputs.shape[1] * _VANISHED)
    of_outputs = squares(outputs) + outputs.shape[1] * _VANISHED

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        u, d = tf.cast(inputs, tf.float64), tf.cast(outputs, tf.float64)
        if u.shape[1] < d.shape[1]:  # the factors stand at the narrower side
            d = counted(factors, d)
            kernel = tf.matmul(scaled(factors, u), d, transpose_a=True)
            return _with_bias(layer, kernel, tf.matmul(factors[None], d)[0])
        d = scaled(factors, d)
        kernel = tf.matmul(counted(factors, u), d, transpose_a=True)
        return _with_bias(layer, kernel, tf.reduce_sum(d, 0))

    return LayerGradient(of_inputs * of_outputs, weighted_sum)


def _few_positions(layer: Any, inputs: Tensor, outputs: Tensor) -> LayerGradient:
    tf = start_tensorflow()
    inputs, outputs = tf.cast(inputs, tf.float64), tf.cast(outputs, tf.float64)
    by_inputs = tf.matmul(inputs, inputs, transpose_b=True)
    by_outputs = tf.matmul(outputs, outputs, transpose_b=True)
    lengths = tf.linalg.diag_part(by_inputs) * tf.linalg.diag_part(by_outputs)
    rounding = GRAM_MARGIN * tf.square(tf.reduce_sum(tf.sqrt(lengths), 1))
    norms = tf.maximum(tf.reduce_sum(by_inputs * by_outputs, [1, 2]), 0.0) + rounding
    biases = tf.reduce_sum(outputs, 1)

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        kernel = tf.tensordot(counted(factors, inputs), scaled(factors, outputs), [[0, 1], [0, 1]])
        return _with_bias(layer, kernel, sum_rows(factors, biases))

    both = norms + squares(biases) if layer.use_bias else norms
    return LayerGradient(tf.cast(both, tf.float32), weighted_sum)


def _many_positions(layer: Any, inputs: Tensor, outputs: Tensor) -> LayerGradient:
    tf = start_tensorflow()
    width, units = inputs.shape[2], outputs.shape[2]
    kernels = tf.matmul(outputs, inputs, transpose_a=True)  # twice as fast as its transpose
    flat = tf.reshape(kernels, [-1, units * width])
    biases = tf.reduce_sum(outputs, 1)

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        kernel = tf.transpose(tf.reshape(sum_rows(factors, flat), [units, width]))
        return _with_bias(layer, kernel, sum_rows(factors, biases))

    norms = squares(flat)
    return LayerGradient(norms + squares(biases) if layer.use_bias else norms, weighted_sum)


def _with_bias(layer: Any, kernel: Tensor, bias: Tensor) -> list[tuple[Any, Tensor]]:
    own, *others = layer.trainable_variables
    return [(own, kernel), *((variable, bias) for variable in others)]


def squares(rows: Tensor) -> Tensor:
    """(n,): squared lengths of (n, d) rows."""
    tf = start_tensorflow()
    return tf.reduce_sum(tf.square(rows), 1)


def sum_rows(factors: Tensor, rows: Tensor) -> Tensor:
    """(d,): the sum of (n, d) rows, each times its factor, in float64; a factor of 0 counts nothing."""
    tf = start_tensorflow()
    return tf.matmul(factors[None], tf.cast(counted(factors, rows), tf.float64))[0]


def counted(factors: Tensor, rows: Tensor) -> Tensor:
    """(n, ...) rows, zeros where the factor is 0: what is not finite times 0 would be no number.

    All patients go through this, whether or not there is such a one: a choice between two computations
    would let one patient lead the others through another.
    """
    tf = start_tensorflow()
    # this Select takes whole rows, which tf.where would spread a condition for
    return tf.raw_ops.Select(condition=factors > 0.0, x=rows, y=tf.zeros_like(rows))


def scaled(factors: Tensor, rows: Tensor) -> Tensor:
    """(n, ...) rows, each times its factor; a factor of 0 gives 0, even of what is not finite."""
    tf = start_tensorflow()
    return counted(factors, rows) * tf.reshape(factors, [-1, *[1] * (len(rows.shape) - 1)])


def _by_patient(tensor: Tensor, rows: int, width: int) -> Tensor:
    """(patients, positions, width), a patient's rows one after the other."""
    tf = start_tensorflow()
    return tf.reshape(tensor, [-1, rows * prod(tensor.shape[1:-1]), width])


def _positions(layer: Any, inputs: Tensor, rows: int) -> Tensor:
    """What the kernel multiplies: the inputs, or for a convolution the patch under it."""
    tf = start_tensorflow()
    if type(layer).__name__ == "Dense":
        return _by_patient(inputs, rows, inputs.shape[-1])
    places, channels = prod(inputs.shape[1:-1]), inputs.shape[-1]
    under = _places_under(layer, inputs.shape[1:-1])
    flat = tf.pad(tf.reshape(inputs, [-1, places, channels]), [[0, 0], [0, 1], [0, 0]])
    patches = tf.gather(flat, under.reshape(-1), axis=1)
    return tf.reshape(patches, [-1, rows * len(under), under.shape[1] * channels])


def _places_under(layer: Any, shape: Sequence[int]) -> NDArray[np.int32]:
    """(outputs, kernel): which flattened place of the input each kernel element stands on.

    One past the last place is the zero that padding adds.
    """
    places = np.arange(prod(shape), dtype=np.int32).reshape(shape)
    spans = [rate * (size - 1) for rate, size in zip(layer.dilation_rate, layer.kernel_size, strict=True)]
    pads = [_padding(layer.padding, *numbers) for numbers in zip(shape, spans, layer.strides, strict=True)]
    padded = np.pad(places, pads, constant_values=prod(shape))
    counts = [
        (size - span - 1) // stride + 1
        for size, span, stride in zip(padded.shape, spans, layer.strides, strict=True)
    ]
    axes = [
        np.arange(count)[:, None] * stride + np.arange(size)[None] * rate
        for count, stride, size, rate in zip(
            counts, layer.strides, layer.kernel_size, layer.dilation_rate, strict=True
        )
    ]
    grid = axes[0] if len(axes) == 1 else (axes[0][:, None, :, None], axes[1][None, :, None, :])
    chosen: NDArray[np.int32] = padded[grid].reshape(prod(counts), -1)
    return chosen


def _padding(kind: str, size: int, span: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis, as TensorFlow lays them."""
    if kind == "valid":
        return 0, 0
    if kind == "causal":
        return span, 0
    total = max((-(-size // stride) - 1) * stride + span + 1 - size, 0)
    return total // 2, total - total // 2


def is_group_norm(layer: Any) -> bool:
    """Whether the layer is a GroupNormalization over channels that come last."""
    return type(layer).__name__ == "GroupNormalization" and layer.axis in (-1, len(layer.input.shape) - 1)


def group_norm_gradient(uses: Sequence[Use], derivatives: Sequence[Tensor], rows: int) -> LayerGradient:
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

    gradients = []
    if layer.scale:
        normal = [_normalised(layer, use.inputs) for use in uses]
        scaled = [by_patient(d * n) for d, n in zip(derivatives, normal, strict=True)]
        gradients.append((layer.gamma, tf.add_n(scaled)))
    if layer.center:
        gradients.append((layer.beta, tf.add_n([by_patient(derivative) for derivative in derivatives])))

    def weighted_sum(factors: Tensor) -> list[tuple[Any, Tensor]]:
        return [(variable, sum_rows(factors, part)) for variable, part in gradients]

    return LayerGradient(tf.add_n([squares(part) for _, part in gradients]), weighted_sum)


def _normalised(layer: Any, inputs: Tensor) -> Tensor:
    """Mean 0 and variance 1 within each group of channels of each row."""
    tf = start_tensorflow()
    channels = inputs.shape[-1]
    groups = tf.reshape(inputs, [-1, prod(inputs.shape[1:-1]), layer.groups, channels // layer.groups])
    mean, variance = tf.nn.moments(groups, [1, 3], keepdims=True)
    return tf.reshape((groups - mean) * tf.math.rsqrt(variance + layer.epsilon), tf.shape(inputs))

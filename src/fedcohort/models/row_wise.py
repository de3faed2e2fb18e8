"""Which models compute each patient's rows apart from all others': the ground that clipping stands on.

A patient's gradient can be clipped only if it depends on no other patient. So under privacy every
layer is of a class that is known to work row by row, along axes other than the batch; what is not
known is refused by its name.
"""

from collections.abc import Iterator
from typing import Any

from fedcohort.errors import StudyError

ROW_WISE = frozenset(
    {
        "InputLayer",
        "Dense",
        "Activation",
        "Dropout",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "GaussianNoise",
        "Flatten",
        "Reshape",
        "Permute",
        "Conv1D",
        "Conv2D",
        "SeparableConv1D",
        "SeparableConv2D",
        "DepthwiseConv1D",
        "DepthwiseConv2D",
        "MaxPooling1D",
        "MaxPooling2D",
        "AveragePooling1D",
        "AveragePooling2D",
        "GlobalAveragePooling1D",
        "GlobalAveragePooling2D",
        "GlobalMaxPooling1D",
        "GlobalMaxPooling2D",
        "ZeroPadding1D",
        "ZeroPadding2D",
        "Cropping1D",
        "Cropping2D",
        "UpSampling1D",
        "UpSampling2D",
        "LayerNormalization",
        "GroupNormalization",
        "UnitNormalization",
        "Rescaling",
        "Add",
        "Subtract",
        "Multiply",
        "Average",
        "Maximum",
        "Minimum",
        "Concatenate",
        "Dot",
        "ReLU",
        "LeakyReLU",
        "PReLU",
        "ELU",
        "Softmax",
    }
)
"""Classes of keras.layers whose output for a row depends on that row alone, unless `axis` is 0; each is let
in from outside, too (`safety`)."""


def check_row_wise(model: Any) -> None:
    """Refuse a model in which one patient's data could reach another patient's gradient.

    Raises:
        StudyError: names the layer, and says what to use instead.
    """
    for layer in _operations(model):
        name = f"analysis.model: layer {layer.name!r}"
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            if layer.trainable:
                raise StudyError(
                    f"{name} (BatchNormalization) mixes the patients of a batch, so that no patient's share"
                    " can be bounded under privacy; use LayerNormalization or GroupNormalization"
                )
        elif kind not in ROW_WISE or not type(layer).__module__.startswith("keras.src.layers."):
            raise StudyError(
                f"{name} ({kind}) is not known to treat each patient apart, as privacy needs; leave it out"
            )
        if getattr(layer, "activity_regularizer", None) is not None:
            raise StudyError(
                f"{name} penalises what it computes from patients (activity_regularizer), which privacy"
                " cannot bound; penalise its weights instead (kernel_regularizer)"
            )
        _check_activation(layer, name)
        _check_axes(layer, name)
        _check_noise(layer, name)


def layers_of(model: Any) -> Iterator[Any]:
    """All layers, those of inner models among them, each once."""
    seen: set[int] = set()
    for layer in _operations(model):
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer


def _operations(model: Any) -> Iterator[Any]:
    """What a model calls: layers, and operations of keras.ops that are none."""
    for operation in getattr(model, "operations", model.layers):
        if hasattr(operation, "layers"):
            yield from _operations(operation)
        else:
            yield operation


def _check_activation(layer: Any, name: str) -> None:
    activation = getattr(layer, "activation", None)
    if activation is not None and not getattr(activation, "__module__", "").startswith("keras.src.activ"):
        raise StudyError(f"{name} has a layer as its activation; let that be a layer of its own after it")


def _check_noise(layer: Any, name: str) -> None:
    """A mask that patients share is another one for whoever a patient more moves to the next piece."""
    shape = getattr(layer, "noise_shape", None)
    if shape is not None and (not shape or shape[0] is not None):
        raise StudyError(
            f"{name} draws one mask for several patients (noise_shape {tuple(shape)}); let noise_shape begin"
            " with None, or leave it out"
        )


def _check_axes(layer: Any, name: str) -> None:
    import keras

    for tensor in keras.tree.flatten([layer.input, layer.output]):
        if len(tensor.shape) < 2:
            raise StudyError(
                f"{name} has one number a patient on the axis of the batch, along which the next layer may"
                " work across patients; keep an axis of its own, as Reshape((1,)) gives"
            )

    axes = [getattr(layer, "axis", None), getattr(layer, "axes", None)]
    rank = len(keras.tree.flatten(layer.output)[0].shape) if type(layer).__name__ != "Dot" else 0
    ranks = [len(tensor.shape) for tensor in keras.tree.flatten(layer.input)] or [rank]
    for axis in keras.tree.flatten([part for part in axes if part is not None]):
        if axis == 0 or any(axis == -rank for rank in ranks):
            raise StudyError(f"{name} works across the patients of a batch (axis 0); choose another axis")

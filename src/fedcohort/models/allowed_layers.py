"""The Keras layers that a model may have: no code, and under privacy only layers that work row by row.

A configuration from outside names classes, of which Keras would import any. Only those below pass,
before Keras reads the configuration, and Keras' own safe mode stays on. Constraints on weights do not
pass, in whatever form they are written: a mean of constrained weights need not obey the constraint.

A patient's gradient can be clipped only if it depends on no other patient. So under privacy every
layer is of a class that is known to work row by row, along axes other than the batch's; any other
class is refused by its name.
"""

from collections.abc import Iterator
from typing import Any

from fedcohort.errors import StudyError
from fedcohort.texts import say

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
"""Classes of keras.layers whose output for a row depends on that row alone, unless `axis` is 0."""

MAX_DEPTH = 40
MAX_OBJECTS = 2_000
MAX_LAYERS = 200
MAX_ROW_VALUES = 50_000_000

_MODELS = frozenset({"Sequential", "Functional", "Model"})
_LAYERS = ROW_WISE | {
    "BatchNormalization",
    "LSTM",
    "GRU",
    "SimpleRNN",
    "Bidirectional",
    "Embedding",
    "RepeatVector",
}
_PARTS = frozenset(
    {
        "DTypePolicy",
        "GlorotUniform",
        "GlorotNormal",
        "HeUniform",
        "HeNormal",
        "LecunUniform",
        "LecunNormal",
        "Zeros",
        "Ones",
        "Constant",
        "RandomNormal",
        "RandomUniform",
        "TruncatedNormal",
        "VarianceScaling",
        "Orthogonal",
        "Identity",
        "IdentityInitializer",
        "L1",
        "L2",
        "L1L2",
    }
)
_INSIDE = frozenset({"__keras_tensor__"})
_ALLOWED = _MODELS | _LAYERS | _PARTS | _INSIDE


def check_config(config: dict[str, Any]) -> None:
    """Refuse a configuration that names anything but known layers and their parts.

    Raises:
        StudyError: names the class, and says what is allowed.
    """
    objects = layers = 0
    for node in _walk(config, 0):
        _check_constraints(node)
        if "class_name" not in node:
            continue
        name = node["class_name"]
        objects += 1
        layers += isinstance(name, str) and name in _LAYERS
        if objects > MAX_OBJECTS or layers > MAX_LAYERS:
            raise StudyError(
                "analysis.model: more than {layers} layers or {objects} objects",
                layers=MAX_LAYERS,
                objects=MAX_OBJECTS,
            )
        if not isinstance(name, str) or name not in _ALLOWED or not _is_keras(node.get("module")):
            raise StudyError(
                "analysis.model: {name!r} is not allowed; docs/models.md lists the layers that are",
                name=str(name)[:64],
            )
        _check_recurrent(name, node.get("config"))
        if node.get("registered_name") not in (None, name):
            raise StudyError(
                "analysis.model: {name!r} is a registered class of somebody's own", name=str(name)[:64]
            )
    if config.get("class_name") not in _MODELS:
        raise StudyError("analysis.model: not a model's configuration; give what model.to_json() returns")


def _check_constraints(node: dict[str, Any]) -> None:
    """Keras takes a constraint as a name, too, such as "non_neg", without the class of one."""
    for key, value in node.items():
        if key.endswith("constraint") and isinstance(value, str):
            raise StudyError(
                "analysis.model: {key} is not allowed, for the mean of sites' weights need not obey it; "
                "leave it out, or penalise weights (kernel_regularizer)",
                key=key,
            )


def _check_recurrent(name: str, config: object) -> None:
    if not isinstance(config, dict):
        return
    for word, why in (
        ("stateful", say("what one batch leaves to the next")),
        ("unroll", say("a graph a step in time")),
    ):
        if config.get(word) is True:
            raise StudyError(
                "analysis.model: {name} with {word}=True is not allowed ({why}); leave it out",
                name=name,
                word=word,
                why=why,
            )


def _is_keras(module: object) -> bool:
    return module is None or (isinstance(module, str) and (module == "keras" or module.startswith("keras.")))


def _walk(value: object, depth: int) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        raise StudyError("analysis.model: the configuration is nested deeper than {most}", most=MAX_DEPTH)
    if isinstance(value, dict):
        yield value
        for part in value.values():
            yield from _walk(part, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, depth + 1)


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
                    "{name} (BatchNormalization) mixes the patients of a batch, so that no patient's share "
                    "can be bounded under privacy; use LayerNormalization or GroupNormalization",
                    name=name,
                )
        elif kind not in ROW_WISE or not type(layer).__module__.startswith("keras.src.layers."):
            raise StudyError(
                "{name} ({kind}) is not known to treat each patient apart, as privacy needs; leave it out",
                name=name,
                kind=kind,
            )
        if getattr(layer, "activity_regularizer", None) is not None:
            raise StudyError(
                "{name} penalises what it computes from patients (activity_regularizer), which privacy "
                "cannot bound; penalise its weights instead (kernel_regularizer)",
                name=name,
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
    """The layers that a model calls, and the operations of keras.ops."""
    for operation in getattr(model, "operations", model.layers):
        if hasattr(operation, "layers"):
            yield from _operations(operation)
        else:
            yield operation


def _check_activation(layer: Any, name: str) -> None:
    activation = getattr(layer, "activation", None)
    if activation is not None and not getattr(activation, "__module__", "").startswith("keras.src.activ"):
        raise StudyError(
            "{name} has a layer as its activation; let that be a layer of its own after it", name=name
        )


def _check_noise(layer: Any, name: str) -> None:
    """Refuse masks that patients share: one patient more would move others to a piece with another mask."""
    shape = getattr(layer, "noise_shape", None)
    if shape is not None and (not shape or shape[0] is not None):
        raise StudyError(
            "{name} draws one mask for several patients (noise_shape {shape}); let noise_shape begin with "
            "None, or leave it out",
            name=name,
            shape=tuple(shape),
        )


def _check_axes(layer: Any, name: str) -> None:
    import keras

    for tensor in keras.tree.flatten([layer.input, layer.output]):
        if len(tensor.shape) < 2:
            raise StudyError(
                "{name} has one number a patient on the axis of the batch, along which the next layer may "
                "work across patients; keep an axis of its own, as Reshape((1,)) gives",
                name=name,
            )

    axes = [getattr(layer, "axis", None), getattr(layer, "axes", None)]
    rank = len(keras.tree.flatten(layer.output)[0].shape) if type(layer).__name__ != "Dot" else 0
    ranks = [len(tensor.shape) for tensor in keras.tree.flatten(layer.input)] or [rank]
    for axis in keras.tree.flatten([part for part in axes if part is not None]):
        if axis == 0 or any(axis == -rank for rank in ranks):
            raise StudyError(
                "{name} works across the patients of a batch (axis 0); choose another axis", name=name
            )

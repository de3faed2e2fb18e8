"""The models by name, and a researcher's own from its configuration."""

from typing import Any

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.own import build_own, seeded
from fedcohort.models.start import start_tensorflow

_ACTIVATION = {"binary": "sigmoid", "classes": "softmax", "number": "linear"}


def build_model(model: str | dict[str, Any], input_shape: tuple[int, ...], head: Head, seed: int) -> Any:
    """Build a Keras model whose initial weights follow from the seed alone.

    Args:
        model: a name, or the configuration that `model.to_json()` gives.
        input_shape: of one row: (d,) for features, (height, width, channels) for images.
    Returns:
        a keras.Model from (n, *input_shape) to (n, head.outputs).
    Raises:
        StudyError: no such model, a class that is not allowed, or shapes that do not fit.
    """
    start_tensorflow()
    if isinstance(model, dict):
        return build_own(model, input_shape, head, seed)
    if model not in _BY_NAME:
        raise StudyError(f"analysis.model: no model {model[:64]!r}; choose one of {', '.join(_BY_NAME)}")
    with seeded(seed):
        return _BY_NAME[model](input_shape, head)


def _logistic(input_shape: tuple[int, ...], head: Head) -> Any:
    import keras

    flat = [keras.layers.Flatten()] if len(input_shape) > 1 else []
    return keras.Sequential([keras.Input(input_shape), *flat, _output(head)], name="logistic")


def _mlp_medical(input_shape: tuple[int, ...], head: Head) -> Any:
    import keras

    flat = [keras.layers.Flatten()] if len(input_shape) > 1 else []
    layers = [
        *flat,
        keras.layers.Dense(128, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(64, activation="relu"),
        _output(head),
    ]
    return keras.Sequential([keras.Input(input_shape), *layers], name="mlp_medical")


def _cnn_medical(input_shape: tuple[int, ...], head: Head) -> Any:
    """Two convolutions with stride 2, over an image or along the vector of features."""
    import keras

    if len(input_shape) == 1:
        convolution = keras.layers.Conv1D
        shape = [keras.layers.Reshape((*input_shape, 1))]
    else:
        convolution, shape = keras.layers.Conv2D, []
    layers = [
        *shape,
        convolution(16, 3, strides=2, padding="same", activation="relu"),
        convolution(32, 3, strides=2, padding="same", activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        _output(head),
    ]
    return keras.Sequential([keras.Input(input_shape), *layers], name="cnn_medical")


def _output(head: Head) -> Any:
    import keras

    return keras.layers.Dense(head.outputs, activation=_ACTIVATION[head.kind])


_BY_NAME = {"logistic": _logistic, "mlp_medical": _mlp_medical, "cnn_medical": _cnn_medical}

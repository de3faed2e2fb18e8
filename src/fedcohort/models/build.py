"""The models by name, and a researcher's own from its configuration."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.safety import MAX_WEIGHTS, check_config
from fedcohort.models.start import start_tensorflow

_ACTIVATION = {"binary": "sigmoid", "classes": "softmax", "number": "linear"}


def build_model(model: str | dict[str, Any], input_shape: tuple[int, ...], head: Head, seed: int) -> Any:  # noqa: ANN401
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
    with _seeded(seed):
        built = _own(model) if isinstance(model, dict) else _BY_NAME[model](input_shape, head)
    _check_shapes(built, input_shape, head)
    return built


def _logistic(input_shape: tuple[int, ...], head: Head) -> Any:  # noqa: ANN401
    import keras

    flat = [keras.layers.Flatten()] if len(input_shape) > 1 else []
    return keras.Sequential([keras.Input(input_shape), *flat, _output(head)], name="logistic")


def _mlp_medical(input_shape: tuple[int, ...], head: Head) -> Any:  # noqa: ANN401
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


def _cnn_medical(input_shape: tuple[int, ...], head: Head) -> Any:  # noqa: ANN401
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


def _output(head: Head) -> Any:  # noqa: ANN401
    import keras

    return keras.layers.Dense(head.outputs, activation=_ACTIVATION[head.kind])


_BY_NAME = {"logistic": _logistic, "mlp_medical": _mlp_medical, "cnn_medical": _cnn_medical}


def _own(config: dict[str, Any]) -> Any:  # noqa: ANN401
    import keras

    check_config(config)
    try:
        return keras.models.model_from_json(json.dumps(config))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise StudyError(
            f"analysis.model: Keras cannot build it ({type(error).__name__}: {str(error)[:200]})"
        ) from error


def _check_shapes(model: Any, input_shape: tuple[int, ...], head: Head) -> None:  # noqa: ANN401
    if len(model.inputs) != 1 or tuple(model.inputs[0].shape[1:]) != input_shape:
        shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
        raise StudyError(
            f"analysis.model: takes {shapes}, and the cohort's features have the shape {input_shape}"
        )
    if tuple(model.outputs[0].shape[1:]) != (head.outputs,) or len(model.outputs) != 1:
        shapes = [tuple(tensor.shape[1:]) for tensor in model.outputs]
        raise StudyError(f"analysis.model: gives {shapes}, and the label needs {(head.outputs,)}")
    if model.count_params() > MAX_WEIGHTS:
        raise StudyError(f"analysis.model: more than {MAX_WEIGHTS:,} weights")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed Keras' initialisers, and give Python's and NumPy's own generators their states back."""
    import keras

    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)

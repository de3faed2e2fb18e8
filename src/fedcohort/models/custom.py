"""A researcher's own Keras model, from the configuration that `model.to_json()` gives.

The configuration is checked, then built without memory for its weights to learn how
large it is, and only then built; so a study cannot exhaust a hospital's memory.
"""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from math import prod
from typing import Any

import numpy as np

from fedcohort.analyses.trained.question import MAX_WEIGHTS
from fedcohort.errors import StudyError
from fedcohort.models.allowed_layers import MAX_ROW_VALUES, check_config
from fedcohort.models.head import Head
from fedcohort.models.inputs import InputShape, caller, matched, parts_of
from fedcohort.models.start import start_tensorflow


def build_custom(config: dict[str, Any], input_shape: InputShape, head: Head, seed: int) -> Any:
    """Build a configuration; its compile settings are left out, since the study says how to train.

    Raises:
        StudyError: a class that is not allowed, too large, or shapes or types that do not fit.
    """
    config = {key: value for key, value in config.items() if key != "compile_config"}
    check_config(config)
    text = json.dumps(config)
    with seeded(seed), ThreadPoolExecutor(1) as pool:
        pool.submit(_measure, text, input_shape, head).result()
    with seeded(seed):
        model = _load(text)
    _check_outputs(model, input_shape, head)
    return model


def _measure(text: str, input_shape: InputShape, head: Head) -> None:
    """Check sizes before there are weights.

    Inside a StatelessScope Keras gives variables a shape and no value, until the scope is
    left. It never is: the scope belongs to this thread, and ends with it.
    """
    import keras

    keras.StatelessScope().__enter__()
    model = _load(text)
    _check_shapes(model, input_shape, head)
    weights = sum(prod(variable.shape) for variable in model.weights)
    if not weights:
        raise StudyError("analysis.model: has no weights; there is nothing to train")
    if weights > MAX_WEIGHTS:
        raise StudyError(
            "analysis.model: {count:,} weights; at most {most:,} are allowed", count=weights, most=MAX_WEIGHTS
        )
    if row_values(model) > MAX_ROW_VALUES:
        raise StudyError(
            "analysis.model: its layers hold more than {most:,} numbers for one row", most=MAX_ROW_VALUES
        )


def _load(text: str) -> Any:
    import keras

    with _keras_errors("build"):
        return keras.models.model_from_json(text)


@contextmanager
def _keras_errors(verb: str) -> Iterator[None]:
    """Raise as StudyError whatever Keras' layers raise on a wrong configuration."""
    tf = start_tensorflow()
    wrong = (TypeError, ValueError, LookupError, AttributeError, RuntimeError, ArithmeticError)
    try:
        yield
    except (*wrong, tf.errors.OpError) as error:
        said = f"{type(error).__name__}: {str(error)[:200]}"
        raise StudyError("analysis.model: Keras cannot {verb} it ({said})", verb=verb, said=said) from error


def _check_shapes(model: Any, input_shape: InputShape, head: Head) -> None:
    if not model.built or not getattr(model, "inputs", None):
        raise StudyError("analysis.model: no input shape; begin with keras.Input(...)")
    matched(model, parts_of(input_shape))
    gives = [tuple(tensor.shape[1:]) for tensor in model.outputs]
    if gives != [(head.outputs,)]:
        raise StudyError(
            "analysis.model: gives {gives}, and a label of the kind {kind} needs {needed}",
            gives=gives,
            kind=head.kind,
            needed=(head.outputs,),
        )
    for layer in _layers(model):
        if layer.dtype_policy.name != "float32":
            raise StudyError(
                "analysis.model: layer {name!r} is {dtype}; use float32",
                name=layer.name,
                dtype=layer.dtype_policy.name,
            )


def _check_outputs(model: Any, input_shape: InputShape, head: Head) -> None:
    """Run the model on made-up rows: outputs that are no probabilities lack sigmoid or softmax."""
    draw, parts = np.random.default_rng(0), parts_of(input_shape)
    rows = [
        draw.integers(0, 256, (16, *part.shape), np.uint8)
        if part.pixels
        else draw.normal(scale=10.0, size=(16, *part.shape)).astype(np.float32)
        for part in parts
    ]
    with _keras_errors("run"):
        result = caller(model, parts)(rows, False)
    if not hasattr(result, "numpy"):
        raise StudyError("analysis.model: gives its output in a mapping or list; give one tensor")
    if head.kind == "number":
        return
    given = result.numpy()
    total = given.sum(axis=1)
    if not (given.min() >= 0 and given.max() <= 1) or (
        head.kind == "classes" and abs(total - 1).max() > 1e-3
    ):
        needed = "sigmoid" if head.kind == "binary" else "softmax"
        raise StudyError(
            "analysis.model: layer {name!r} gives no probabilities; end with {needed}",
            name=model.layers[-1].name,
            needed=needed,
        )


def row_values(model: Any) -> int:
    """How many numbers all layers hold for one row."""
    import keras

    outputs = (tensor for layer in _layers(model) for tensor in keras.tree.flatten(layer.output))
    within = sum(_gate_values(layer) for layer in _layers(model))
    return within + sum(prod(size or 1 for size in tensor.shape[1:]) for tensor in outputs)


GATE_VALUES = 8
"""An LSTM's gates, states and their derivatives, a unit and step in time."""


def _gate_values(layer: Any) -> int:
    """Numbers that a recurrent layer holds in addition to its output: its gates at every step in time."""
    inner = getattr(layer, "forward_layer", layer)
    if not hasattr(inner, "return_sequences"):
        return 0
    steps = layer.input.shape[1] or 1
    return GATE_VALUES * int(steps) * int(inner.units) * (1 + (inner is not layer))


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Keras' initialisers, and restore the states of Python's and NumPy's generators."""
    import keras

    python_state, numpy_state = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)

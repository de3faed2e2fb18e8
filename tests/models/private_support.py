"""Models for the tests of private training, and gradients taken patient by patient."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fedcohort.models.build import build_model
from fedcohort.models.ghost_layers import CLIP_MARGIN
from fedcohort.models.graphs import train_step
from fedcohort.models.head import Head
from fedcohort.models.pieces import cut
from fedcohort.models.private import PrivateModel, private_model
from fedcohort.models.start import start_tensorflow

Floats = NDArray[np.float32]
Config = dict[str, Any]
layers = keras.layers

BINARY, CLASSES, NUMBER = Head("binary", 1), Head("classes", 3), Head("number", 1)
PIECE = 32


def json_of(model: keras.Model) -> Config:
    config: Config = json.loads(model.to_json())
    return config


def chain(
    shape: tuple[int, ...], *parts: keras.layers.Layer, end: keras.layers.Layer | None = None
) -> Config:
    last = end or layers.Dense(1, "sigmoid")
    return json_of(keras.Sequential([keras.Input(shape), *parts, layers.Flatten(), last]))


def _branches() -> Config:
    start = keras.Input((8, 8, 2))
    left = layers.Conv2D(4, 3, padding="same", activation="relu")(start)
    right = layers.SeparableConv2D(4, 3, padding="same")(start)
    both = layers.LayerNormalization()(layers.Concatenate()([left, right]))
    pooled = layers.GlobalAveragePooling2D()(layers.PReLU(shared_axes=[1, 2])(both))
    wide = layers.Dense(6, "tanh")(layers.Flatten()(start))
    end = layers.Dense(3, "softmax")(layers.Concatenate()([pooled, wide]))
    return json_of(keras.Model(start, end))


def _shared() -> Config:
    start = keras.Input((6, 3))
    twice, dense, norm = (
        layers.Conv1D(3, 3, padding="same", activation="tanh"),
        layers.Dense(3),
        layers.LayerNormalization(),
    )
    inner = keras.Sequential([keras.Input((6, 3)), layers.Dense(3, "relu")])
    first = norm(dense(twice(start)))
    second = norm(inner(dense(twice(first))))
    end = layers.Dense(1, "sigmoid")(layers.Flatten()(layers.Add()([inner(first), second])))
    return json_of(keras.Model(start, end))


def _frozen() -> Config:
    parts = [layers.Dense(4, "tanh", trainable=False), layers.BatchNormalization(trainable=False)]
    return chain((5,), *parts)


def _named(name: str) -> Callable[[], Any]:
    return lambda: name


MODELS: dict[str, tuple[Callable[[], Any], tuple[int, ...], Head]] = {
    "logistic": (_named("logistic"), (13,), BINARY),
    "logistic of classes": (_named("logistic"), (13,), CLASSES),
    "logistic of a number": (_named("logistic"), (13,), NUMBER),
    "cnn of features": (_named("cnn_medical"), (13,), BINARY),
    "cnn of images": (_named("cnn_medical"), (28, 28, 1), BINARY),
    "perceptron": (lambda: chain((13,), layers.Dense(16, "relu"), layers.Dense(8, "gelu")), (13,), BINARY),
    "no bias": (
        lambda: chain(
            (7, 6, 2),
            layers.Conv2D(5, (3, 2), strides=(2, 1), use_bias=False, activation="elu"),
            layers.Dense(4, use_bias=False),
        ),
        (7, 6, 2),
        BINARY,
    ),
    "dilated": (
        lambda: chain((9, 9, 2), layers.Conv2D(4, 3, dilation_rate=(2, 3), padding="same")),
        (9, 9, 2),
        BINARY,
    ),
    "causal": (
        lambda: chain(
            (11, 2), layers.Conv1D(4, 3, padding="causal", dilation_rate=2), layers.Conv1D(3, 2, strides=3)
        ),
        (11, 2),
        BINARY,
    ),
    "few positions": (
        lambda: chain((4, 4, 8), layers.Conv2D(32, 3, strides=2, activation="relu"), layers.Dense(64)),
        (4, 4, 8),
        BINARY,
    ),
    "groups": (
        lambda: chain(
            (6, 6, 4),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.GroupNormalization(2),
            layers.PReLU(),
        ),
        (6, 6, 4),
        BINARY,
    ),
    "grouped convolution": (lambda: chain((8, 4), layers.Conv1D(4, 3, groups=2)), (8, 4), BINARY),
    "branches": (_branches, (8, 8, 2), CLASSES),
    "shared": (_shared, (6, 3), BINARY),
    "frozen": (_frozen, (5,), BINARY),
    "regularised": (
        lambda: chain(
            (4,), layers.Dense(5, "relu", kernel_regularizer="l2", bias_regularizer="l1"), layers.Dense(3)
        ),
        (4,),
        BINARY,
    ),
}


def made_up_rows(shape: tuple[int, ...], head: Head, n: int, seed: int = 0) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, *shape)) * generator.lognormal(0, 0.7, size=(n, *[1] * len(shape)))
    y = generator.integers(3 if head is CLASSES else 2, size=n)
    return x.astype(np.float32), y.astype(np.float32)


def one_each(n: int, piece: int = PIECE) -> NDArray[np.int32]:
    pieces: NDArray[np.int32] = cut(np.arange(n, dtype=np.int32)[:, None], [np.arange(n)], piece)[0]
    return pieces


def weights_of(model: keras.Model, seed: int = 1) -> Floats:
    """The first weights, biases moved off zero and scales off one."""
    flat = np.concatenate([v.numpy().reshape(-1) for v in model.weights])
    return (flat + np.random.default_rng(seed).uniform(-0.1, 0.1, len(flat))).astype(np.float32)


def gradients_by_patient(
    model: keras.Model, head: Head, weights: Floats, x: Floats, y: Floats, patients: NDArray[np.int32]
) -> NDArray[np.float64]:
    """(patients, n_weights): each patient's gradient of the mean loss, alone, by GradientTape."""
    tf = start_tensorflow()
    starts = np.cumsum([0, *(int(np.prod(v.shape)) for v in model.weights)])
    for v, start, end in zip(model.weights, starts[:-1], starts[1:], strict=True):
        v.assign(weights[start:end].reshape(v.shape))
    for v in model.trainable_variables:
        v.regularizer = None
    step = tf.function(train_step(model, head), reduce_retracing=True, autograph=False)
    found = []
    for rows in patients:
        gradients, _ = step(x[rows[rows >= 0]], y[rows[rows >= 0]], 0.0)
        by_id = {id(v): g.numpy() for v, g in zip(model.trainable_variables, gradients, strict=True)}
        found.append(np.concatenate([by_id.get(id(v), np.zeros(v.shape)).reshape(-1) for v in model.weights]))
    return np.array(found, np.float64)


def clip_and_add(gradients: NDArray[np.float64], clip: float) -> NDArray[np.float64]:
    norms = np.linalg.norm(gradients, axis=1)
    factors = np.minimum(1, clip * (1 - CLIP_MARGIN) / np.maximum(norms, 1e-300))
    total: NDArray[np.float64] = factors @ gradients
    return total


@cache
def private_of(name: str, rows: int = 1) -> PrivateModel:
    """One for all tests of this process: its graphs are compiled once, and its weights are arguments."""
    make, shape, head = MODELS[name]
    return private_model(make(), shape, head, 0, rows)


def built(name: str, rows: int = 1) -> tuple[PrivateModel, keras.Model, Floats, tuple[int, ...], Head]:
    """A private model, and the same one as Keras has it, for this test alone."""
    make, shape, head = MODELS[name]
    plain = build_model(make(), shape, head, 0)
    return private_of(name, rows), plain, weights_of(plain), shape, head

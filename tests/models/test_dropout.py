"""Dropout from fewer random bits: its rate, its scale, its seed, and what it leaves to Keras."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from numpy.typing import NDArray

from fedcohort.models.build import build_model
from fedcohort.models.dropout import use_quick_dropout
from fedcohort.models.head import Head

pytestmark = pytest.mark.training


def _one(rate: float, shape: tuple[int, ...] = (101,), **settings: Any) -> Any:
    layer = layers.Dropout(rate, seed=7, **settings)
    model = keras.Sequential([keras.Input(shape), layer])
    return use_quick_dropout(model)


def _through(model: Any, rows: int = 2_000) -> NDArray[np.float32]:
    shape = model.input_shape[1:]
    return np.asarray(model(np.ones((rows, *shape), np.float32), training=True))


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.5, 0.9])
def test_so_many_values_are_dropped_and_the_mean_stays(rate: float) -> None:
    found = _through(_one(rate))
    dropped = (found == 0).mean()
    spread = np.sqrt(rate * (1 - rate) / found.size)
    assert abs(dropped - rate) < 5 * spread + 2.0**-17
    kept = found[found != 0]
    assert np.all(kept == kept[0])
    assert kept[0] * (1 - round(rate * 2**16) / 2**16) == pytest.approx(1, rel=1e-7)


def test_values_of_one_draw_and_of_neighbours_are_independent() -> None:
    kept = (_through(_one(0.5, (100,))) != 0).astype(float)
    of_columns = np.corrcoef(kept.T)
    assert np.abs(of_columns - np.eye(100)).max() < 6 / np.sqrt(len(kept))
    of_rows = [np.corrcoef(kept[:-lag].ravel(), kept[lag:].ravel())[0, 1] for lag in (1, 2, 4)]
    assert np.abs(of_rows).max() < 5 / np.sqrt(kept.size)


def test_every_call_draws_anew_and_the_seed_decides() -> None:
    model, same = _one(0.5), _one(0.5)
    first, second = _through(model), _through(model)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, _through(same))


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3), (4, 4, 3)])
def test_any_shape_of_row_is_masked_value_by_value(shape: tuple[int, ...]) -> None:
    found = _through(_one(0.5, shape))
    assert found.shape == (2_000, *shape)
    assert np.abs((found != 0).mean(0) - 0.5).max() < 0.07


def test_what_goes_back_is_scaled_as_what_went_forth() -> None:
    import tensorflow as tf

    model, x = _one(0.4), tf.ones((50, 101))
    with tf.GradientTape() as tape:
        tape.watch(x)
        found = model(x, training=True)
    np.testing.assert_array_equal(tape.gradient(found, x), found)


def test_prediction_leaves_every_value() -> None:
    x = np.ones((3, 101), np.float32)
    assert np.array_equal(_one(0.5)(x, training=False), x)


def test_noise_of_a_shape_of_its_own_is_left_to_keras() -> None:
    found = _through(_one(0.5, (6, 4), noise_shape=(None, 1, 4)))
    assert np.array_equal(found, np.broadcast_to(found[:, :1], found.shape))


def test_a_model_within_a_model_is_changed_too_and_is_saved_as_before() -> None:
    inner = keras.Sequential([keras.Input((4,)), layers.Dropout(0.5)])
    outer = keras.Sequential([keras.Input((4,)), inner, layers.Dense(1)])
    before = outer.to_json()
    use_quick_dropout(outer)
    assert inner.layers[0].call.func.__module__ == "fedcohort.models.dropout"
    assert outer.to_json() == before


def test_the_named_model_uses_it() -> None:
    model = use_quick_dropout(build_model("mlp_medical", (13,), Head("binary", 1), 0))
    assert [layer.call.func.__name__ for layer in model.layers if layer.name.startswith("dropout")] == [
        "_call"
    ]

"""Weights as text, and as a Keras model to take away."""

import base64
import json

import keras
import numpy as np
import pytest

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.local import local_model
from fedcohort.models.saved import to_keras, weights_from_base64, weights_to_base64

pytestmark = pytest.mark.training

BINARY = Head("binary", 1)


def test_weights_are_little_endian_float32_in_base64_and_come_back_bit_for_bit() -> None:
    weights = np.array([1.0, -2.5, 0.1], np.float32)
    text = weights_to_base64(weights)
    assert base64.b64decode(text) == bytes.fromhex("0000803f 000020c0 cdcccc3d")
    assert np.array_equal(weights_from_base64(text, 3), weights)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("***", "not base64"),
        ("é", "not base64"),
        (weights_to_base64(np.ones(2, np.float32)), "8 bytes where the model has 3 numbers"),
        (base64.b64encode(bytes(13)).decode(), "13 bytes where the model has 3 numbers"),
        (weights_to_base64(np.array([1, np.nan, 1], np.float32)), "not finite"),
    ],
)
def test_other_text_is_refused(text: str, says: str) -> None:
    with pytest.raises(StudyError, match=says):
        weights_from_base64(text, 3)


@pytest.mark.parametrize("own", [False, True])
def test_a_model_to_take_away_predicts_as_the_study_did_and_stands_alone(own: bool) -> None:
    parts = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.5), keras.layers.Dense(1, "sigmoid")]
    config = json.loads(keras.Sequential([keras.Input((3,)), *parts]).to_json())
    local = local_model(config if own else "mlp_medical", (3,), BINARY, 0)
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.float32)
    weights = local.train(local.initial(), x, y, np.arange(20, dtype=np.int32)[None], learning_rate=0.5)
    model = to_keras(local, weights)
    np.testing.assert_allclose(model.predict(x, verbose=0), local.predict(weights, x), rtol=1e-5)
    local.predict(local.initial(), x)
    np.testing.assert_allclose(model.predict(x, verbose=0), local.predict(weights, x), rtol=1e-5)

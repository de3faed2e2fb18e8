"""Models of several inputs: which input takes what, and pieces of many images against all at once."""

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models import inputs as inputs_module
from fedcohort.models import local as local_module
from fedcohort.models import pieces as pieces_module
from fedcohort.models.build import build_model
from fedcohort.models.inputs import InputPart, Inputs
from fedcohort.models.local import LocalModel, local_model
from fedcohort.models.pieces import cut
from fedcohort.models.private import private_model
from fedcohort.pixels import stored
from tests.models.private_support import BINARY, clip_and_add, json_of, one_each, weights_of

pytestmark = pytest.mark.training

layers = keras.layers
SHAPE = (8, 6, 1)
RECORD, IMAGE = InputPart("record", (3,)), InputPart("scan", SHAPE, pixels=True)
PARTS = (RECORD, IMAGE)


def joined(*, image_first: bool = True, dropout: float = 0.0) -> dict[str, Any]:
    """A researcher's own model of an image and a record."""
    image, record = keras.Input(SHAPE, name="picture"), keras.Input((3,), name="values")
    seen = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    seen = layers.Flatten()(layers.MaxPooling2D()(seen))
    known = layers.Dropout(dropout)(layers.Dense(5, "tanh")(record))
    end = layers.Dense(1, "sigmoid")(layers.Concatenate()([seen, known]))
    return json_of(keras.Model([image, record] if image_first else [record, image], end))


def rows(n: int, seed: int = 0) -> tuple[Inputs, NDArray[np.float32]]:
    draw = np.random.default_rng(seed)
    record = draw.normal(size=(n, 3)).astype(np.float32)
    pixels = draw.integers(0, 256, (n, *SHAPE), dtype=np.uint8)
    y = (record[:, 0] + pixels[:, :4].mean((1, 2, 3)) / 40 > 3.2).astype(np.float32)
    return Inputs({"record": record, "scan": stored(list(pixels), SHAPE)}), y


def batches(n: int, size: int) -> NDArray[np.int32]:
    order = np.random.default_rng(5).permutation(n).astype(np.int32)
    padded = np.full(-(-n // size) * size, -1, np.int32)
    padded[:n] = order
    return padded.reshape(-1, size)


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for seven images at once."""
    for module in (inputs_module, local_module, pieces_module):
        monkeypatch.setattr(module, "PIECE_BYTES", 7 * 8 * 6)


@pytest.mark.parametrize("image_first", [True, False])
def test_a_model_of_two_inputs_takes_them_in_whatever_order_it_has(image_first: bool) -> None:
    local = local_model(joined(image_first=image_first), PARTS, BINARY, 0)
    x, _ = rows(5)
    record, pixels = x.take()
    given = [pixels / np.float32(255), record]
    expected = local.model(given if image_first else given[::-1]).numpy()
    np.testing.assert_array_equal(local.predict(local.initial(), x), expected)
    arranged = list(local.arranged(x).values())
    np.testing.assert_array_equal(local.model(arranged).numpy(), expected)


def test_inputs_of_one_shape_are_told_apart_by_name() -> None:
    left, right = keras.Input(SHAPE, name="left"), keras.Input(SHAPE, name="right")
    end = layers.Dense(1, "sigmoid")(layers.Flatten()(layers.Subtract()([left, right])))
    parts = (InputPart("right", SHAPE, True), InputPart("left", SHAPE, True))
    local = local_model(json_of(keras.Model([left, right], end)), parts, BINARY, 0)
    x = Inputs({name: rows(2, seed)[0].parts["scan"] for name, seed in (("right", 1), ("left", 2))})
    first, second = local.arranged(x).values()
    np.testing.assert_array_equal(first * 255, x.take()[1])
    np.testing.assert_array_equal(second * 255, x.take()[0])


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (joined, (RECORD,)),
        (joined, (IMAGE,)),
        (joined, (InputPart("record", (4,)), IMAGE)),
        (joined, (RECORD, InputPart("scan", (6, 8, 1), True))),
        (joined, (RECORD, IMAGE, InputPart("other", SHAPE, True))),
        (lambda: "image_and_record", (RECORD,)),
        (lambda: "image_and_record", (IMAGE,)),
        (lambda: "cnn_medical", PARTS),
        (lambda: "logistic", PARTS),
    ],
)
def test_a_model_that_does_not_fit_the_cohort_is_refused(config: Any, parts: tuple[InputPart, ...]) -> None:
    with pytest.raises(StudyError, match=r"analysis\.model: .*(takes|shape)"):
        build_model(config(), parts, BINARY, 0)


@pytest.mark.parametrize("name", ["image_and_record", "own"])
def test_training_in_pieces_gives_the_same_bits(name: str, in_pieces: None) -> None:
    model: Any = joined(dropout=0.3) if name == "own" else name
    x, y = rows(40)
    settings: dict[str, Any] = {"learning_rate": 0.1, "l2": 0.01, "proximal_mu": 0.2, "seed": 9}
    local = local_model(model, PARTS, BINARY, 3)
    assert not x.fits
    whole = Inputs({"record": x.take()[0], "scan": x.take()[1]})
    assert whole.fits
    for size in (3, 16):
        got = local.train(local.initial(), x, y, batches(40, size), **settings)
        np.testing.assert_array_equal(
            got, local.train(local.initial(), whole, y, batches(40, size), **settings)
        )
        assert not np.array_equal(got, local.initial())
    np.testing.assert_array_equal(local.predict(got, x), local.predict(got, whole))


def test_gradients_and_predictions_in_pieces_are_those_of_all_rows(in_pieces: None) -> None:
    local = local_model("image_and_record", PARTS, BINARY, 1)
    small = LocalModel(**{**vars(local), "piece_rows": 7})
    x, y = rows(30)
    whole = Inputs({"record": x.take()[0], "scan": x.take()[1]})
    gradient, loss = small.gradient(local.initial(), x, y)
    expected, expected_loss = local.gradient(local.initial(), whole, y)
    np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=2e-5)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    np.testing.assert_allclose(
        small.predict(local.initial(), x), local.predict(local.initial(), whole), rtol=1e-5
    )


def gradients_alone(model: keras.Model, x: Inputs, y: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, n_weights): each patient's gradient by itself, the naive way."""
    import tensorflow as tf

    record, pixels = x.take()
    found = []
    for index in range(len(y)):
        row = slice(index, index + 1)
        scaled = pixels[row].astype(np.float32) / np.float32(255)
        with tf.GradientTape() as tape:
            predicted = model([scaled, record[row]])
            loss = keras.losses.binary_crossentropy(y[row, None], predicted)[0]
        parts = tape.gradient(loss, [v.value for v in model.trainable_variables])
        found.append(np.concatenate([part.numpy().reshape(-1) for part in parts]))
    return np.array(found, np.float64)


@pytest.mark.parametrize("name", ["image_and_record", "own"])
def test_the_private_sum_over_two_inputs_is_that_of_gradients_clipped_one_by_one(name: str) -> None:
    model: Any = joined() if name == "own" else name
    private, plain = private_model(model, PARTS, BINARY, 0), build_model(model, PARTS, BINARY, 0)
    weights = weights_of(plain)
    starts = np.cumsum([0, *(int(np.prod(v.shape)) for v in plain.weights)])
    for v, start, end in zip(plain.weights, starts[:-1], starts[1:], strict=True):
        v.assign(weights[start:end].reshape(v.shape))
    x, y = rows(40)
    gradients = gradients_alone(plain, x, y)
    for clip in map(float, np.quantile(np.linalg.norm(gradients, axis=1), (0.1, 0.5))):
        got = private.clipped_sum(weights, x, y, one_each(40), clip=clip, seed=0)
        expected = clip_and_add(gradients, clip)
        assert np.linalg.norm(got - expected) < 2e-5 * np.linalg.norm(expected)


def test_the_private_sum_in_pieces_is_that_of_all_images_and_within_the_clip(in_pieces: None) -> None:
    private = private_model("image_and_record", PARTS, BINARY, 0)
    x, y = rows(70)
    whole = Inputs({"record": x.take()[0], "scan": x.take()[1]})
    weights = weights_of(build_model("image_and_record", PARTS, BINARY, 0))
    got, expected = (private.clipped_sum(weights, i, y, one_each(70), clip=0.1, seed=4) for i in (x, whole))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    others = cut(np.arange(70, dtype=np.int32)[:, None], [np.delete(np.arange(70), 33)], 32)[0]
    without = private.clipped_sum(weights, x, y, others, clip=0.1, seed=4)
    assert 0.05 < np.linalg.norm(got - without) <= 0.1


def test_private_steps_in_pieces_give_the_same_bits(in_pieces: None) -> None:
    private = private_model(joined(dropout=0.3), PARTS, BINARY, 0)
    x, y = rows(40)
    whole = Inputs({"record": x.take()[0], "scan": x.take()[1]})
    draw = np.random.default_rng(2)
    samples = [np.flatnonzero(draw.random(40) < 0.3) for _ in range(5)]
    steps = cut(np.arange(40, dtype=np.int32)[:, None], samples, 32)
    noise = draw.integers(-5, 6, (5, private.n_weights)).astype(np.int64)
    weights = weights_of(build_model(joined(), PARTS, BINARY, 0))
    settings: dict[str, Any] = {
        "clip": 0.5, "resolution": 2.0**-10, "expected_patients": 12.0, "learning_rate": 0.5,
        "l2": 0.01, "proximal_mu": 0.1, "seed": 6,
    }  # fmt: skip
    got, expected = (private.train(weights, i, y, steps, noise, **settings) for i in (x, whole))
    np.testing.assert_array_equal(got, expected)


def test_batch_normalisation_of_images_is_refused_by_name_under_privacy() -> None:
    image, record = keras.Input(SHAPE), keras.Input((3,))
    seen = layers.Flatten()(layers.BatchNormalization(name="of_the_batch")(image))
    end = layers.Dense(1, "sigmoid")(layers.Concatenate()([seen, record]))
    with pytest.raises(StudyError, match=r"'of_the_batch' \(BatchNormalization\) mixes the patients"):
        private_model(json_of(keras.Model([image, record], end)), PARTS, BINARY, 0)


def test_a_model_that_takes_a_mapping_of_inputs_is_trained_too() -> None:
    image, record = keras.Input(SHAPE, name="scan"), keras.Input((3,), name="record")
    end = layers.Dense(1, "sigmoid")(layers.Concatenate()([layers.Flatten()(image), record]))
    config = json_of(keras.Model({"scan": image, "record": record}, end))
    local = local_model(config, PARTS, BINARY, 0)
    x, y = rows(20)
    trained = local.train(local.initial(), x, y, batches(20, 8), learning_rate=0.1)
    assert not np.array_equal(trained, local.initial())


@pytest.mark.parametrize("model", ["logistic", "mlp_medical", "cnn_medical", "image_and_record"])
def test_a_row_s_prediction_has_the_same_bits_whoever_else_is_there(model: str) -> None:
    n = 100
    x, _ = rows(n)
    if model in ("logistic", "mlp_medical"):
        x = Inputs({"record": x.parts["record"]})
    elif model == "cnn_medical":
        x = Inputs({"scan": x.parts["scan"]})
    parts = tuple(part for part in (RECORD, IMAGE) if part.name in x.parts)
    local = local_model(model, parts, BINARY, 0)
    draw = np.random.default_rng(1)
    weights = draw.standard_normal(local.n_weights).astype(np.float32)
    whole = local.predict_apart(weights, x)
    assert local.predict_apart(weights, x[:0]).shape == (0, 1)
    for size in (1, 7, 31, 32, 33, 63, 99):
        chosen = draw.permutation(n)[:size]
        some = local.predict_apart(weights, x[chosen])
        np.testing.assert_array_equal(some.view(np.uint32), whole[chosen].view(np.uint32))

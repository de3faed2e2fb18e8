"""A site's local round, gradient and predictions, against plain NumPy and GradientTape."""

import json
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from fedcohort.models.graphs import train_step
from fedcohort.models.head import Head
from fedcohort.models.local import LocalModel, local_model
from fedcohort.models.start import start_tensorflow

pytestmark = pytest.mark.training

Floats = NDArray[np.float32]

BINARY, CLASSES, NUMBER = Head("binary", 1), Head("classes", 3), Head("number", 1)
X = np.array([[1, 0], [0, 1], [1, 1], [-1, 2], [2, -1]], np.float32)
Y = np.array([1, 0, 1, 0, 1], np.float32)
ONE_BATCH = np.array([[0, 1, 2, 3, 4]], np.int32)


def _rows(n: int, *shape: int) -> tuple[Floats, Floats]:
    generator = np.random.default_rng(n)
    x = generator.normal(size=(n, *shape)).astype(np.float32)
    return x, (generator.random(n) < 0.5).astype(np.float32)


def _own(*layers: keras.layers.Layer, head: Head = BINARY) -> LocalModel:
    model = keras.Sequential([keras.Input((2,)), *layers])
    return local_model(_json(model), (2,), head, 0)


def _json(model: keras.Model) -> dict[str, object]:
    config: dict[str, object] = json.loads(model.to_json())
    return config


def _numpy_epoch(weights: Floats, batches: list[list[int]], rate: float, l2: float, mu: float) -> Floats:
    kernel, bias = weights[:2].astype(float), float(weights[2])
    first_kernel, first_bias = kernel.copy(), bias
    for rows in batches:
        error = 1 / (1 + np.exp(-(X[rows] @ kernel + bias))) - Y[rows]
        step = X[rows].T @ error / len(rows) + l2 * kernel + mu * (kernel - first_kernel)
        bias -= rate * (error.mean() + mu * (bias - first_bias))
        kernel = kernel - rate * step
    return np.array([*kernel, bias], np.float32)


@pytest.mark.parametrize(("l2", "mu"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.7), (0.3, 0.7)])
def test_an_epoch_equals_sgd_written_in_numpy(l2: float, mu: float) -> None:
    local = local_model("logistic", (2,), BINARY, 0)
    weights = np.array([0.5, -0.25, 0.1], np.float32)
    batches = np.array([[0, 3], [4, 1], [2, -1]], np.int32)
    trained = local.train(weights, X, Y, batches, learning_rate=0.5, l2=l2, proximal_mu=mu)
    np.testing.assert_allclose(
        trained, _numpy_epoch(weights, [[0, 3], [4, 1], [2]], 0.5, l2, mu), rtol=1e-5, atol=1e-6
    )


def test_a_huge_proximal_term_holds_the_weights_where_the_round_began() -> None:
    local = local_model("logistic", (2,), BINARY, 0)
    batches = np.tile(ONE_BATCH, (50, 1))
    free = local.train(local.initial(), X, Y, batches, learning_rate=0.01)
    held = local.train(local.initial(), X, Y, batches, learning_rate=0.01, proximal_mu=90.0)
    assert np.abs(held - local.initial()).max() < 0.1 * np.abs(free - local.initial()).max()


@pytest.mark.parametrize("model", ["logistic", "mlp_medical"])
def test_padding_has_no_effect(model: str) -> None:
    local = local_model(model, (2,), BINARY, 0)
    padded = np.array([[0, -1, 1, -1, 2, 3, 4, -1]], np.int32)
    plain = local.train(local.initial(), X, Y, ONE_BATCH, learning_rate=0.5, seed=1)
    assert np.array_equal(local.train(local.initial(), X, Y, padded, learning_rate=0.5, seed=1), plain)


def test_no_batches_change_nothing() -> None:
    local = local_model("logistic", (2,), BINARY, 0)
    none = np.zeros((0, 4), np.int32)
    assert np.array_equal(local.train(local.initial(), X, Y, none, learning_rate=0.5), local.initial())


def test_a_model_is_traced_once_for_sites_rounds_and_batches_of_every_size() -> None:
    local = local_model("mlp_medical", (2,), BINARY, 12)
    for n, steps, size in ((5, 1, 5), (40, 3, 16), (41, 6, 7), (7, 2, 32)):
        x, y = _rows(n, 2)
        batches = np.full((steps, size), -1, np.int32)
        batches[:, 0] = np.arange(steps)
        weights = local.train(local.initial(), x, y, batches, learning_rate=0.1, seed=n)
        local.gradient(weights, x, y, l2=0.1, seed=n)
        local.predict(weights, x)
    graphs: tuple[Any, ...] = (local.graphs.train, local.graphs.gradient, local.graphs.predict)
    assert [graph.experimental_get_tracing_count() for graph in graphs] == [1, 1, 1]
    assert local_model("mlp_medical", (2,), BINARY, 12) is local


@pytest.mark.parametrize("head", [BINARY, CLASSES, NUMBER])
def test_the_gradient_is_the_tapes_times_the_number_of_rows(head: Head) -> None:
    tf = start_tensorflow()
    local = local_model("cnn_medical", (2,), head, 3)
    y = np.array([2, 0, 1, 0, 2], np.float32) if head is CLASSES else Y
    gradient, loss = local.gradient(local.initial(), X, y)
    with tf.GradientTape() as tape:
        predicted = local.model(X)
        if head is CLASSES:
            losses = -tf.math.log(tf.gather(predicted, y.astype(int), batch_dims=1))
        elif head is NUMBER:
            losses = (predicted[:, 0] - y) ** 2
        else:
            losses = -tf.math.log(tf.where(y == 1, predicted[:, 0], 1 - predicted[:, 0]))
        total = tf.reduce_sum(losses)
    parts = tape.gradient(total, [v.value for v in local.model.trainable_variables])
    expected = np.concatenate([part.numpy().reshape(-1) for part in parts])
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    assert loss == pytest.approx(float(total), rel=1e-5)


def test_two_sites_gradients_sum_to_the_pooled_gradient() -> None:
    local = local_model("cnn_medical", (13,), BINARY, 0)
    x, y = _rows(300, 13)
    parts = [local.gradient(local.initial(), x[rows], y[rows])[0] for rows in (slice(0, 90), slice(90, 300))]
    pooled, _ = local.gradient(local.initial(), x, y)
    np.testing.assert_allclose(sum(parts), pooled, rtol=1e-4, atol=1e-4)


def test_l2_is_on_kernels_and_counts_once_a_row() -> None:
    local = local_model("logistic", (2,), BINARY, 0)
    weights = np.array([0.5, -0.25, 0.1], np.float32)
    plain, _ = local.gradient(weights, X, Y)
    with_l2, _ = local.gradient(weights, X, Y, l2=2.0)
    np.testing.assert_allclose(with_l2 - plain, [5 * 2 * 0.5, 5 * 2 * -0.25, 0], rtol=1e-5)


def test_a_regulariser_of_an_own_layer_has_its_effect() -> None:
    regularised = _own(keras.layers.Dense(1, "sigmoid", kernel_regularizer=keras.regularizers.L2(1.0)))
    weights = np.array([0.5, -0.25, 0.1], np.float32)
    plain, _ = local_model("logistic", (2,), BINARY, 0).gradient(weights, X, Y)
    gradient, _ = regularised.gradient(weights, X, Y)
    np.testing.assert_allclose(gradient - plain, [5 * 2 * 0.5, 5 * 2 * -0.25, 0], rtol=1e-5)


def test_a_train_step_gives_gradients_and_the_mean_loss_of_one_batch() -> None:
    local = local_model("logistic", (2,), BINARY, 0)
    summed, loss_sum = local.gradient(local.initial(), X, Y)
    gradients, loss = train_step(local.model, BINARY)(X, Y)
    np.testing.assert_allclose(
        np.concatenate([g.numpy().reshape(-1) for g in gradients]), summed / 5, rtol=1e-5
    )
    assert float(loss) == pytest.approx(loss_sum / 5, rel=1e-5)


def test_a_confident_wrong_answer_keeps_a_finite_loss_and_its_gradient() -> None:
    local = local_model("logistic", (2,), BINARY, 0)
    weights = np.array([0, 0, 200], np.float32)
    gradient, loss = local.gradient(weights, X, np.zeros(5, np.float32))
    assert loss == pytest.approx(1000)
    assert gradient[2] == pytest.approx(5)


def test_dropout_depends_on_the_seed_and_on_nothing_else() -> None:
    local = local_model("mlp_medical", (2,), BINARY, 0)

    def once(seed: int) -> Floats:
        return local.train(local.initial(), X, Y, np.tile(ONE_BATCH, (3, 1)), learning_rate=0.5, seed=seed)

    first = once(7)
    local.gradient(local.initial(), X, Y, seed=3)
    start_tensorflow().random.set_seed(99)
    assert np.array_equal(once(7), first)
    assert not np.array_equal(once(8), first)
    assert not np.array_equal(once(7 + 2**40), first)


def test_dropout_draws_anew_for_every_batch_and_layer() -> None:
    local = _own(
        keras.layers.Dense(64, "relu", use_bias=False, kernel_initializer="ones"),
        keras.layers.Dropout(0.5),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1, "linear", use_bias=False, kernel_initializer="ones"),
        head=NUMBER,
    )
    x, y = np.ones((2, 2), np.float32), np.zeros(2, np.float32)
    gradient, _ = local.gradient(local.initial(), x, y, seed=5)
    kept = (gradient[128:] != 0).mean()
    assert 0.2 < kept < 0.75  # of two rows and two layers: 1 - (1 - 1/4)^2 = .44; with one mask twice: .75
    steps = [
        local.train(local.initial(), x, y, np.array(rows, np.int32), learning_rate=1e-6, seed=5)
        for rows in ([[0]], [[0], [0]])
    ]
    moved = np.array(steps)[:, 128:] - local.initial()[128:]
    assert not np.array_equal(moved[0] != 0, moved[1] != 0)


def test_prediction_is_without_dropout_and_in_pieces_the_same() -> None:
    local = local_model("mlp_medical", (13,), BINARY, 0)
    x, _ = _rows(50, 13)
    at_once = local.predict(local.initial(), x)
    in_pieces = replace(local, piece_rows=7).predict(local.initial(), x)
    np.testing.assert_allclose(in_pieces, at_once, rtol=1e-6)
    assert at_once.shape == (50, 1)
    assert local.predict(local.initial(), x[:0]).shape == (0, 1)


def test_a_gradient_in_pieces_is_the_same() -> None:
    local = local_model("logistic", (13,), BINARY, 0)
    x, y = _rows(50, 13)
    whole, loss = local.gradient(local.initial(), x, y, l2=0.5)
    pieces, pieces_loss = replace(local, piece_rows=7).gradient(local.initial(), x, y, l2=0.5)
    np.testing.assert_allclose(pieces, whole, rtol=1e-4, atol=1e-5)
    assert pieces_loss == pytest.approx(loss, rel=1e-5)


def test_rows_in_memory_at_once_shrink_with_the_model() -> None:
    small, image = (local_model("cnn_medical", shape, BINARY, 0).piece_rows for shape in ((3,), (64, 64, 3)))
    assert small == 4096
    assert 50 < image < 150  # 16M numbers: 12k of input, 3 x 16k, 3 x 32k + 8k and 3 x 16k + 4k a row


def test_moving_statistics_travel_with_the_weights() -> None:
    local = _own(keras.layers.BatchNormalization(momentum=0.0), keras.layers.Dense(1, "sigmoid"))
    assert local.shapes == ((2,), (2,), (2,), (2,), (2, 1), (1,))
    assert local.trainable_mask.tolist() == [True] * 4 + [False] * 4 + [True] * 3
    padded = np.array([[0, 1, 2, 3, 4, -1, -1]], np.int32)
    trained = local.train(local.initial(), X, Y, padded, learning_rate=0.1)
    np.testing.assert_allclose(trained[4:6], X.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(trained[6:8], X.var(axis=0), rtol=1e-5)
    gradient, _ = local.gradient(trained, X, Y)
    assert not gradient[~local.trainable_mask].any()
    assert not np.array_equal(local.predict(trained, X), local.predict(local.initial(), X))


def test_a_proximal_term_leaves_moving_statistics_alone() -> None:
    local = _own(keras.layers.BatchNormalization(momentum=0.0), keras.layers.Dense(1, "sigmoid"))
    trained = local.train(local.initial(), X, Y, ONE_BATCH, learning_rate=0.01, proximal_mu=90.0)
    np.testing.assert_allclose(trained[4:6], X.mean(axis=0), rtol=1e-5)


def test_a_frozen_layer_stays() -> None:
    local = _own(keras.layers.Dense(4, "relu", trainable=False), keras.layers.Dense(1, "sigmoid"))
    trained = local.train(local.initial(), X, Y, ONE_BATCH, learning_rate=0.5, proximal_mu=0.1)
    assert np.array_equal(trained[:12], local.initial()[:12])
    assert not np.array_equal(trained[12:], local.initial()[12:])


def test_layers_of_nested_models_with_one_name_keep_their_own_gradients() -> None:
    inner = [
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="seed_generator")], name=name)
        for name in ("a", "b")
    ]
    local = _own(*inner, keras.layers.Dense(1, "sigmoid"))
    assert local.n_weights == 6 + 6 + 3
    gradient, _ = local.gradient(local.initial(), X, Y)
    assert not np.allclose(gradient[:6], gradient[6:12])


def test_an_output_of_an_inner_model_that_nothing_reads_has_a_gradient_of_zero() -> None:
    start = keras.Input((2,))
    inner = keras.Model(start, [keras.layers.Dense(3)(start), keras.layers.Dense(3)(start)])
    whole = keras.Model(start, keras.layers.Dense(1, "sigmoid")(inner(start)[0]))
    local = local_model(_json(whole), (2,), BINARY, 0)
    gradient, _ = local.gradient(local.initial(), X, Y)
    assert gradient[:9].any()
    assert not gradient[9:18].any()
    trained = local.train(local.initial(), X, Y, ONE_BATCH, learning_rate=0.5)
    assert np.array_equal(trained[9:18], local.initial()[9:18])


@pytest.mark.parametrize("head", [BINARY, CLASSES, NUMBER])
def test_logistic_takes_images(head: Head) -> None:
    local = local_model("logistic", (28, 28, 1), head, 0)
    assert local.n_weights == (28 * 28 + 1) * head.outputs
    assert local.predict(local.initial(), np.zeros((2, 28, 28, 1), np.float32)).shape == (2, head.outputs)


def test_two_models_live_in_one_process() -> None:
    first, second = local_model("logistic", (2,), BINARY, 0), local_model("mlp_medical", (2,), BINARY, 0)
    before = first.predict(first.initial(), X)
    second.train(second.initial(), X, Y, ONE_BATCH, learning_rate=0.5)
    assert np.array_equal(first.predict(first.initial(), X), before)

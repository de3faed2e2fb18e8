"""Ghost clipping against gradients that are taken patient by patient and clipped in NumPy."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.models.build import build_model
from fedcohort.models.ghost_layers import CLIP_MARGIN
from fedcohort.models.pieces import cut
from fedcohort.models.private import private_model
from tests.models.private_support import (
    BINARY,
    MODELS,
    NUMBER,
    PIECE,
    built,
    clip_and_add,
    gradients_by_patient,
    json_of,
    made_up_rows,
    one_each,
    private_of,
    weights_of,
)

pytestmark = pytest.mark.training

layers = keras.layers


@pytest.mark.parametrize("name", MODELS)
def test_the_sum_equals_gradients_clipped_one_patient_at_a_time(name: str) -> None:
    private, plain, weights, shape, head = built(name)
    x, y = made_up_rows(shape, head, 40)
    gradients = gradients_by_patient(plain, head, weights, x, y, np.arange(40, dtype=np.int32)[:, None])
    norms = np.linalg.norm(gradients, axis=1)
    for clip in (*map(float, np.quantile(norms, (0.1, 0.5))), float(2 * norms.max())):
        got = private.clipped_sum(weights, x, y, one_each(40), clip=clip, seed=0)
        expected = clip_and_add(gradients, clip)
        assert np.linalg.norm(got - expected) < 2e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", ["perceptron", "causal", "few positions", "groups", "shared"])
def test_a_patient_with_several_rows_is_clipped_as_one(name: str) -> None:
    private, plain, weights, shape, head = built(name, rows=3)
    x, y = made_up_rows(shape, head, 30)
    rows = np.array([[0, 1, 2], [3, -1, -1], [4, 5, -1], *np.arange(6, 30).reshape(8, 3)], np.int32)
    gradients = gradients_by_patient(plain, head, weights, x, y, rows)
    clip = float(np.median(np.linalg.norm(gradients, axis=1)))
    got = private.clipped_sum(weights, x, y, cut(rows, [np.arange(11)], PIECE)[0], clip=clip, seed=0)
    expected = clip_and_add(gradients, clip)
    assert np.linalg.norm(got - expected) < 2e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", MODELS)
def test_one_patient_moves_the_sum_by_at_most_the_clip_wherever_the_others_move(name: str) -> None:
    private, _, weights, shape, head = built(name)
    x, y = made_up_rows(shape, head, 45, seed=7)
    rows = np.arange(45, dtype=np.int32)[:, None]
    clip = 0.01
    whole = private.clipped_sum(weights, x, y, one_each(45), clip=clip, seed=0)
    for patient in (0, 7, 31, 44):
        others = np.delete(np.arange(45), patient)
        without = private.clipped_sum(weights, x, y, cut(rows, [others], PIECE)[0], clip=clip, seed=0)
        alone = private.clipped_sum(
            weights, x, y, cut(rows, [np.array([patient])], PIECE)[0], clip=clip, seed=0
        )
        assert 0.9 * clip < np.linalg.norm(whole - without) <= clip
        # not one bit of another patient changed, though each stands in another place now
        np.testing.assert_allclose(whole - without, alone, rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(["perceptron", "few positions", "causal", "groups"]),
    n_rows=st.integers(1, 3),
    exponents=st.tuples(st.floats(-5, 5), st.floats(-3, 3), st.floats(-4, 3)),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_patient_alone_moves_the_sum_by_more_than_the_clip(
    name: str, n_rows: int, exponents: tuple[float, float, float], seed: int
) -> None:
    private, (_, shape, head) = private_of(name, rows=3), MODELS[name]
    rows, size, clip = 10.0 ** np.array(exponents)
    x, y = made_up_rows(shape, head, n_rows, seed)
    weights = np.random.default_rng(seed).normal(size=private.n_weights)
    one = np.full((1, PIECE, 3), -1, np.int32)
    one[0, 0, :n_rows] = np.arange(n_rows)
    scaled, now = (x * rows).astype(np.float32), (weights * size).astype(np.float32)
    assert np.linalg.norm(private.clipped_sum(now, scaled, y, one, clip=clip, seed=0)) <= clip


def test_weights_made_to_hide_a_gradient_from_float32_hide_nothing() -> None:
    config = json_of(keras.Sequential([keras.Input((1,)), layers.Dense(1), layers.Dense(1)]))
    private = private_model(config, (1,), NUMBER, 0)
    x, y = np.ones((1, 1), np.float32), np.full(1, -0.5e-20, np.float32)
    # the gradient by the last kernel is 1e19 * 1e-20 = 0.1, but the squares of these are 1e38 and 1e-40
    weights = np.array([1e19, 0, 0, 0], np.float32)
    one = cut(np.zeros((1, 1), np.int32), [np.zeros(1, int)], PIECE)[0]
    assert 0.02 < np.linalg.norm(private.clipped_sum(weights, x, y, one, clip=1e6, seed=0)) <= 0.1001
    assert 0.0 < np.linalg.norm(private.clipped_sum(weights, x, y, one, clip=1e-3, seed=0)) <= 1e-3


def test_positions_whose_gradients_cancel_are_still_within_the_clip() -> None:
    config = json_of(
        keras.Sequential(
            [keras.Input((4, 40)), layers.Dense(40), layers.GlobalAveragePooling1D(), layers.Dense(1)]
        )
    )
    private = private_model(config, (4, 40), NUMBER, 0)
    weights = np.random.default_rng(0).normal(size=private.n_weights).astype(np.float32)
    weights[-41:] = 1e-3
    half = np.random.default_rng(1).normal(size=(64, 1, 40)).astype(np.float32)
    x = np.concatenate([half, -half, half, -half * np.float32(1 + 1e-6)], 1)
    y = np.full(64, 100.0, np.float32)
    for patient in range(8):
        one = cut(np.arange(64, dtype=np.int32)[:, None], [np.array([patient])], PIECE)[0]
        assert np.linalg.norm(private.clipped_sum(weights, x, y, one, clip=1e-4, seed=0)) <= 1e-4


def test_one_dropout_mask_serves_the_norm_and_the_sum() -> None:
    private = private_model("mlp_medical", (13,), BINARY, 0)
    weights = weights_of(build_model("mlp_medical", (13,), BINARY, 0))
    x, y = made_up_rows((13,), BINARY, 40)
    for patient in range(5):
        one = cut(np.arange(40, dtype=np.int32)[:, None], [np.array([patient])], PIECE)[0]
        moved = np.linalg.norm(private.clipped_sum(weights, x, y, one, clip=1e-3, seed=5))
        assert moved == pytest.approx(1e-3, rel=2 * CLIP_MARGIN)
        assert moved <= 1e-3


def test_a_patient_whose_gradient_is_not_a_number_adds_nothing() -> None:
    private, _, weights, shape, head = built("cnn of images")
    x, y = made_up_rows(shape, head, 40)
    rows = np.arange(40, dtype=np.int32)[:, None]
    for value in (np.nan, np.inf, 3e38):
        x[17] = value
        x[18, 3, 4] = value
        with_them = private.clipped_sum(weights, x, y, one_each(40), clip=0.5, seed=0)
        places = np.delete(np.arange(40), [17, 18])
        without = private.clipped_sum(weights, x, y, cut(rows, [places], PIECE)[0], clip=0.5, seed=0)
        np.testing.assert_allclose(with_them, without, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_a_patient_whose_gradient_is_not_finite_is_to_the_bit_an_empty_place(name: str) -> None:
    private, _, weights, shape, head = built(name)
    x, y = made_up_rows(shape, head, 20)
    empty = one_each(20)
    empty[:, [3, 11]] = -1
    for value in (np.nan, np.inf):
        x[[3, 11]] = value
        with_them = private.clipped_sum(weights, x, y, one_each(20), clip=0.5, seed=0)
        without = private.clipped_sum(weights, x, y, empty, clip=0.5, seed=0)
        assert without.any()
        np.testing.assert_array_equal(with_them, without)

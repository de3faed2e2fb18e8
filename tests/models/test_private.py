"""Private steps, their pieces, penalties, dropout and what is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fedcohort.errors import StudyError
from fedcohort.models.build import build_model
from fedcohort.models.graphs import train_step
from fedcohort.models.pieces import cut
from fedcohort.models.private import private_model
from tests.models.private_support import BINARY, MODELS, built, made_up_rows, one_each, weights_of

pytestmark = pytest.mark.training


def test_dropout_follows_from_the_seed_and_differs_by_seed_piece_and_step() -> None:
    private = private_model("mlp_medical", (13,), BINARY, 0)
    weights = weights_of(build_model("mlp_medical", (13,), BINARY, 0))
    x, y = np.ones((64, 13), np.float32), np.ones(64, np.float32)

    def total(pieces: NDArray[np.int32], seed: int) -> NDArray[np.float64]:
        return private.clipped_sum(weights, x, y, pieces, clip=10.0, seed=seed)

    whole = one_each(64)
    assert np.array_equal(total(whole, 3), total(whole, 3))
    assert not np.array_equal(total(whole, 3), total(whole, 4))
    assert not np.allclose(total(whole, 3), 2 * total(whole[:1], 3))


def test_pieces_pads_and_an_empty_sample_change_nothing() -> None:
    private, _, weights, shape, head = built("perceptron")
    x, y = made_up_rows(shape, head, 100)
    one = private.clipped_sum(weights, x, y, one_each(100, 128), clip=0.5, seed=0)
    many = private.clipped_sum(weights, x, y, one_each(100, 32), clip=0.5, seed=0)
    np.testing.assert_allclose(one, many, rtol=1e-5, atol=1e-7)
    empty = cut(np.zeros((0, 1), np.int32), [np.zeros(0, int)], 32)[0]
    assert not private.clipped_sum(weights, x, y, empty, clip=0.5, seed=0).any()
    assert not private.clipped_sum(weights, x[:0], y[:0], empty, clip=0.5, seed=0).any()


@pytest.mark.parametrize("name", MODELS)
def test_one_piece_more_changes_no_bit_of_the_patients_in_the_others(name: str) -> None:
    """Or one patient more, who begins another piece, would move what all others add."""
    private, _, weights, shape, head = built(name)
    x, y = made_up_rows(shape, head, 45, seed=7)
    rows = np.arange(45, dtype=np.int32)[:, None]
    one = cut(rows, [np.arange(30) + step for step in range(3)], 32)
    more = np.concatenate([one, np.full_like(one, -1)], 1)
    silence = np.zeros((3, private.n_weights), np.int64)
    numbers = {"resolution": 2.0**-40, "expected_patients": 30, "learning_rate": 0.1}

    def results(steps: NDArray[np.int32]) -> tuple[bytes, bytes]:
        total = private.clipped_sum(weights, x, y, steps[0], clip=0.01, seed=1)
        return total.tobytes(), private.train(
            weights, x, y, steps, silence, clip=0.01, seed=1, **numbers
        ).tobytes()

    assert results(one) == results(more)


@pytest.mark.parametrize("name", ["perceptron", "causal", "few positions", "groups", "branches"])
def test_a_patient_beyond_float32_takes_nobody_along_whose_rows_are_filled_up(name: str) -> None:
    """A row that a patient lacks was computed as the first of all: nothing times infinity is no number."""
    private, _, weights, shape, head = built(name, rows=2)
    x, y = made_up_rows(shape, head, 40, seed=9)
    x[0] = np.nan
    patients = np.stack([np.arange(40), np.full(40, -1)], 1).astype(np.int32)
    numbers = {"resolution": 2.0**-40, "expected_patients": 30, "learning_rate": 0.1}
    silence = np.zeros((1, private.n_weights), np.int64)

    def results(first: int) -> tuple[bytes, bytes]:
        steps = cut(patients, [np.arange(first, 40)], private.cohort_patients)
        total = private.clipped_sum(weights, x, y, steps[0], clip=0.01, seed=1)
        assert total.any()
        return total.tobytes(), private.train(
            weights, x, y, steps, silence, clip=0.01, seed=1, **numbers
        ).tobytes()

    with_it, without = results(0), results(1)
    np.testing.assert_allclose(np.frombuffer(with_it[0]), np.frombuffer(without[0]), rtol=0, atol=1e-12)
    assert with_it[1] == without[1]


def test_a_private_step_is_the_rounded_sum_plus_noise_over_the_expected_batch() -> None:
    private, _, weights, shape, head = built("perceptron")
    x, y = made_up_rows(shape, head, 50)
    samples = [np.arange(0, 40), np.arange(10, 13), np.zeros(0, int)]
    steps = cut(np.arange(50, dtype=np.int32)[:, None], samples, 32)
    noise = np.random.default_rng(0).integers(-50, 50, (3, private.n_weights))
    resolution = 2.0**-8
    got = private.train(
        weights, x, y, steps, noise, clip=0.5, resolution=resolution, expected_patients=20.0,
        learning_rate=0.3, l2=0.1, proximal_mu=0.2, seed=0,
    )  # fmt: skip
    now = weights
    for pieces, whole_numbers in zip(steps, noise, strict=True):
        total = private.clipped_sum(now, x, y, pieces, clip=0.5, seed=0)
        released = (np.round(total / resolution) + whole_numbers) * resolution / 20.0
        now = (now - 0.3 * (released + private.penalty_gradient(now, l2=0.1) + 0.2 * (now - weights))).astype(
            np.float32
        )
    np.testing.assert_allclose(got, now, rtol=1e-5, atol=1e-6)


def test_penalties_are_those_of_training_without_privacy_and_of_no_patient() -> None:
    private, plain, weights, _, head = built("regularised")
    for v, start in zip(plain.weights, np.cumsum([0, 20, 5, 15, 3, 3]), strict=True):
        v.assign(weights[start : start + int(np.prod(v.shape))].reshape(v.shape))
    x, y = np.zeros((1, 4), np.float32), np.zeros(1, np.float32)
    step = train_step(plain, head)
    penalised = np.concatenate([g.numpy().reshape(-1) for g in step(x, y, 0.3)[0]])
    for v in plain.trainable_variables:
        v.regularizer = None
    bare = np.concatenate([g.numpy().reshape(-1) for g in step(x, y, 0.0)[0]])
    np.testing.assert_allclose(private.penalty_gradient(weights, l2=0.3), penalised - bare, atol=1e-6)


def test_frozen_weights_stay_where_they_are() -> None:
    private, _, weights, shape, head = built("frozen")
    x, y = made_up_rows(shape, head, 20)
    frozen = ~private.trainable_mask
    assert frozen.sum() == 24 + 16
    noise = np.ones((1, private.n_weights), np.int64)
    trained = private.train(
        weights, x, y, one_each(20)[None], noise, clip=1.0, resolution=0.1, expected_patients=20.0,
        learning_rate=0.5, l2=0.1, seed=0,
    )  # fmt: skip
    assert np.array_equal(trained[frozen], weights[frozen])
    assert (trained[~frozen] != weights[~frozen]).all()


@pytest.mark.parametrize("clip", [0.0, -1.0, float("nan"), float("inf"), 1e-9])
def test_a_clip_that_bounds_nothing_is_refused(clip: float) -> None:
    private, _, weights, shape, head = built("logistic")
    x, y = made_up_rows(shape, head, 4)
    with pytest.raises(StudyError, match=r"privacy\.clip"):
        private.clipped_sum(weights, x, y, one_each(4), clip=clip, seed=0)


def test_pieces_hold_whole_vectors_and_most_samples() -> None:
    private = private_model("mlp_medical", (13,), BINARY, 0)
    whole = private.alignment
    assert whole in (24, 32)
    assert private.piece_patients(32) == -(-49 // whole) * whole
    assert private.piece_patients(1e9) == private.most_patients == {24: 768, 32: 1024}[whole]
    assert private_model("cnn_medical", (28, 28, 1), BINARY, 0).most_patients % whole == 0

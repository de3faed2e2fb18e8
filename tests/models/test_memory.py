"""What private training holds in memory follows from the model, is bounded, and is known beforehand."""

import json
from typing import Any

import keras
import numpy as np
import pytest

from fedcohort.errors import StudyError
from fedcohort.models.head import Head
from fedcohort.models.pieces import cut
from fedcohort.models.private import _HELD_VALUES, private_model
from fedcohort.node.noise import StepNoise

pytestmark = pytest.mark.training

layers = keras.layers
BINARY = Head("binary", 1)


def convolved(side: int, kernel: int) -> dict[str, Any]:
    parts = [layers.Conv2D(1, kernel, padding="same"), layers.Flatten(), layers.Dense(1, "sigmoid")]
    config: dict[str, Any] = json.loads(keras.Sequential([keras.Input((side, side, 1)), *parts]).to_json())
    return config


@pytest.mark.parametrize("side", [64, 72])
def test_a_kernel_as_large_as_the_picture_is_refused_before_it_asks_for_memory(side: int) -> None:
    with pytest.raises(StudyError, match=r"clipping by patient holds [\d,]+ numbers for one row"):
        private_model(convolved(side, side), (side, side, 1), BINARY, 0)
    assert private_model(convolved(side, 5), (side, side, 1), BINARY, 0).most_patients >= 24


def test_patches_under_a_kernel_make_pieces_smaller() -> None:
    small, large = (private_model(convolved(64, kernel), (64, 64, 1), BINARY, 0) for kernel in (3, 21))
    assert large.most_patients < small.most_patients
    assert large.most_patients * 64**2 * 21**2 <= _HELD_VALUES


class Counted:
    """Noise that says how much of it was taken at once, and gives what an array would."""

    def __init__(self, whole: np.ndarray) -> None:
        self.whole, self.taken = whole, list[int]()

    def __getitem__(self, steps: slice) -> np.ndarray:
        self.taken.append(self.whole[steps].shape[0])
        return self.whole[steps]


def test_noise_of_many_steps_is_taken_a_part_at_a_time_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    private = private_model("logistic", (3,), BINARY, 0)
    x = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    y = (x[:, 0] > 0.5).astype(np.float32)
    samples = [np.arange(step, 40, 3) for step in range(9)]
    steps = cut(np.arange(40)[:, None], samples, private.piece_patients(14.0))
    noise = np.random.default_rng(1).integers(-50, 50, (9, private.n_weights))
    settings = {"clip": 1.0, "resolution": 2.0**-10, "expected_patients": 14.0, "learning_rate": 0.5}

    def trained() -> tuple[bytes, list[int]]:
        counted = Counted(noise)
        start = np.zeros(private.n_weights, np.float32)
        return private.train(start, x, y, steps, counted, seed=5, **settings).tobytes(), counted.taken

    whole, taken = trained()
    assert taken == [9]
    monkeypatch.setattr("fedcohort.models.private._NOISE_VALUES", 2 * private.n_weights)
    parts, taken = trained()
    assert taken == [2, 2, 2, 2, 1]
    assert parts == whole


def test_noise_of_steps_is_drawn_for_those_that_are_taken() -> None:
    noise = StepNoise(3.0, 10, 4)
    assert noise[slice(0, 4)].shape == (4, 4)
    assert noise[slice(8, 12)].shape == (2, 4)
    assert (noise[slice(0, 4)] != noise[slice(0, 4)]).any()

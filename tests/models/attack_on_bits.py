"""Weights by which a row's last bit decides about whole clips: what whoever chooses the weights may do.

Frozen layers compute one number of a row in two ways, h and (h + 3) - 3, whose difference is the rounding of
the second, a few times 2^-23. Times 2^30 it decides between the two ends of the sigmoid.
"""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from fedcohort.models.local import local_model
from fedcohort.models.private import cut, private_model
from tests.models.private_support import BINARY, json_of

layers = keras.layers
WIDTH, CLIP = 30, 0.5


def steep_model() -> tuple[dict[str, Any], NDArray[np.float32]]:
    """A model and its weights."""
    start = keras.Input((WIDTH,))
    hidden = layers.Dense(8, name="hidden", trainable=False)(start)
    plus = layers.Dense(1, name="plus", trainable=False)(hidden)
    minus = layers.Dense(1, name="minus", trainable=False)(plus)
    same = layers.Dense(1, name="same", trainable=False)(hidden)
    saw = layers.Dense(1, name="saw", trainable=False)(layers.Concatenate()([same, minus]))
    model = keras.Model(start, layers.Dense(1, "sigmoid", name="out")(saw))
    first = np.eye(8, 1)
    values = {
        "hidden/kernel": np.random.default_rng(5).normal(scale=0.3, size=(WIDTH, 8)),
        "plus/kernel": first, "plus/bias": np.array([3.0]),
        "minus/kernel": np.ones((1, 1)), "minus/bias": np.array([-3.0]),
        "same/kernel": first,
        "saw/kernel": np.array([[2.0**30], [-(2.0**30)]]), "saw/bias": np.array([-0.5]),
        "out/kernel": np.ones((1, 1)),
    }  # fmt: skip
    flat = [np.ravel(values.get(v.path, np.zeros(v.shape))) for v in model.weights]
    return json_of(model), np.concatenate(flat).astype(np.float32)


def clips_moved(n: int = 3200) -> float:
    """By how many clips the sum of n patients moves if one more comes, who stands first."""
    config, weights = steep_model()
    private = private_model(config, (WIDTH,), BINARY, 0)
    x = np.random.default_rng(1).random((n + 1, WIDTH)).astype(np.float32)
    y, rows = np.zeros(n + 1, np.float32), np.arange(n + 1, dtype=np.int32)[:, None]

    def total(patients: NDArray[np.int64]) -> NDArray[np.float64]:
        pieces = cut(rows, [patients], 32)[0]
        return private.clipped_sum(weights, x, y, pieces, clip=CLIP, seed=0)

    moved = total(np.arange(n + 1)) - total(np.arange(1, n + 1))
    return float(np.linalg.norm(moved)) / CLIP


def scores_moved(n: int = 3200) -> int:
    """How many scores of n patients change if one more comes, who stands first."""
    config, weights = steep_model()
    local = local_model(config, (WIDTH,), BINARY, 0)
    x = np.random.default_rng(1).random((n + 1, WIDTH)).astype(np.float32)
    more, without = local.predict_apart(weights, x)[1:], local.predict_apart(weights, x[1:])
    return int(np.count_nonzero(more != without))


if __name__ == "__main__":
    print(clips_moved(), scores_moved())

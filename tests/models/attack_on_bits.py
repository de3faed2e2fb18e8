"""Weights by which a row's last bit decides about whole clips: what whoever chooses the weights may do.

Frozen layers compute one number of a row in two ways, h and (h + 3) - 3, whose difference is the rounding of
the second, a few times 2^-23. Times 2^30 it decides between the two ends of the sigmoid.
"""

from typing import Any

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.models.local import local_model
from fedcohort.sources.cohort.frame import table_from_frame
from tests.analyses.at_site import contributed, integers, rows_of, state_of
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


def clips_moved(n: int) -> float:
    """By how many clips the integers before noise of a round move if one more comes to n patients, and first.

    As a node computes them: a study, a table, the round's gradient on its resolution.
    """
    config, weights = steep_model()
    names = [f"c{place:02}" for place in range(WIDTH)]
    cohort = fc.Cohort(columns={name: fc.Numeric(0, 1) for name in names}, label=fc.Binary("ill"), split=None)
    study = fc.Study(
        name="steep",
        cohort=cohort,
        analysis=fc.Train.private(config, rounds=50, importance=False),
        privacy=fc.Privacy(epsilon=1.5, delta=1e-5, clip=CLIP),
    )
    analysis = build_analysis(study)
    x = np.random.default_rng(1).random((n + 1, WIDTH))
    ids = np.array([f"p{place:06}" for place in range(n + 1)])
    state = state_of(analysis, "train", {"weights": weights})
    (block,) = analysis.layout(state)

    def before_noise(rows: slice) -> NDArray[np.int64]:
        frame = pd.DataFrame({"patient_id": ids[rows], "ill": 0, **dict(zip(names, x[rows].T, strict=True))})
        table = table_from_frame(frame, study.cohort, 0, private=True)
        return integers(block, contributed(analysis, rows_of(analysis, table), state))

    moved = before_noise(slice(0, None)) - before_noise(slice(1, None))
    return float(np.linalg.norm(moved)) * block.resolution / CLIP


def scores_moved(n: int) -> int:
    """How many scores of n patients change if one more comes, who stands first."""
    config, weights = steep_model()
    local = local_model(config, (WIDTH,), BINARY, 0)
    x = np.random.default_rng(1).random((n + 1, WIDTH)).astype(np.float32)
    more, without = local.predict_apart(weights, x)[1:], local.predict_apart(weights, x[1:])
    return int(np.count_nonzero(more != without))


def attack() -> tuple[float, int]:
    """The worst of both, at sizes about the ends of pieces."""
    sizes = (7, 255, 256, 383, 384, 3200)
    return max(map(clips_moved, sizes)), max(map(scores_moved, sizes))

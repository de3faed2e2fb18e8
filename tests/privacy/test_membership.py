"""Proof by attack: who was in the training data is told by an overfitted model, and not under the defaults.

Whoever holds the trained model guesses that a patient was in the data whose loss is small (Yeom et al.
2018, arXiv 1709.01604). Labels are tosses of a coin, so that a model can only fit them by remembering. A
promise of epsilon allows any such attack an AUC of e^epsilon / (1 + e^epsilon) at most, but for delta: the
best trade-off of its errors is the two lines of Kairouz, Oh and Viswanath 2015 (arXiv 1311.0776).
"""

import json
import math

import keras
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

import fedcohort as fc
from fedcohort.study import Study

pytestmark = pytest.mark.training

COLUMNS, PATIENTS, REPEATS = 60, 20, 5
"""Columns; patients of each of three hospitals, and as many others; studies of new patients."""
PRIVACY = fc.Privacy(epsilon=1.5)
Losses = NDArray[np.float64]


def patients(draw: np.random.Generator, n: int = PATIENTS) -> pd.DataFrame:
    frame = pd.DataFrame(draw.uniform(-1, 1, (n, COLUMNS)), columns=[f"c{i}" for i in range(COLUMNS)])
    return frame.assign(
        ill=draw.integers(0, 2, n), patient_id=[f"p{draw.integers(10**12)}" for _ in range(n)]
    )


def model() -> object:
    """One hidden layer: enough to learn these patients by heart."""
    start = keras.Input((COLUMNS,))
    hidden = keras.layers.Dense(64, "relu")(start)
    return json.loads(keras.Model(start, keras.layers.Dense(1, "sigmoid")(hidden)).to_json())


def study(protection: str, privacy: fc.Privacy | None = None) -> Study:
    """The same training with and without privacy, of the settings that are private training's default."""
    columns = {f"c{index}": fc.Numeric(-1, 1) for index in range(COLUMNS)}
    whole = {
        "name": "remembered",
        "cohort": fc.Cohort(columns=dict(columns), label=fc.Binary("ill"), split=None),
        "analysis": fc.Train.private(model(), importance=False),
        "privacy": privacy,
        "protection": protection,
    }
    return Study.model_validate(whole)


def losses(result: fc.Result, frame: pd.DataFrame) -> Losses:
    """Of each patient, as anybody who has the model computes them."""
    right = np.where(frame["ill"] == 1, result.predict(frame)[:, 0], 1 - result.predict(frame)[:, 0])
    return np.asarray(-np.log(np.clip(right.astype(float), 1e-7, 1)))


def auc(members: Losses, others: Losses) -> float:
    """The chance that a member's loss is smaller than another's."""
    smaller = (members[:, None] < others[None]).mean() + (members[:, None] == others[None]).mean() / 2
    return float(smaller)


def most_allowed(epsilon: float) -> float:
    """The largest AUC under a promise of epsilon."""
    return math.exp(epsilon) / (1 + math.exp(epsilon))


def attack(asked: Study, repeats: int = REPEATS) -> tuple[float, float, float]:
    """The attack's AUC over studies of new patients, and its 99.9 % confidence interval (Mann, Whitney)."""
    found = []
    for seed in range(repeats):
        draw = np.random.default_rng(seed)
        inside = {site: patients(draw) for site in "abc"}
        outside = patients(draw, 3 * PATIENTS)
        result = fc.simulate(inside).run(asked, progress=False)
        found.append(auc(losses(result, pd.concat(inside.values())), losses(result, outside)))
    mean, apart = float(np.mean(found)), 3.29 * math.sqrt(2 / (12 * 3 * PATIENTS * repeats))
    return mean, mean - apart, mean + apart


def test_an_overfitted_model_tells_whom_it_was_trained_on() -> None:
    _, low, _ = attack(study("none"))
    assert low > 0.8


def test_under_privacy_the_same_model_tells_hardly_more_than_chance() -> None:
    mean, _, high = attack(study("masks", PRIVACY))
    assert abs(mean - 0.5) < 0.15
    assert high < most_allowed(PRIVACY.epsilon)

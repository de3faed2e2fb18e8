"""Recurrent layers, embeddings and models with an input for each column, in exact training."""

import json
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.errors import StudyError

pytestmark = pytest.mark.training

layers = keras.layers
LEVELS = ("a", "b", "c")
COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(0, 100), "ward": fc.Categorical(LEVELS), "t1": fc.Numeric(0, 1), "t2": fc.Numeric(0, 1),
}  # fmt: skip
COHORT = fc.Cohort(columns=COLUMNS, label=fc.Binary("ill"), split=None)


def frame(n: int = 60) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    ward = np.array([*LEVELS, None], object)[draw.integers(0, 4, n)]
    return pd.DataFrame(
        {
            "patient_id": np.arange(n), "age": draw.integers(20, 90, n).astype(float), "ward": ward,
            "t1": draw.random(n), "t2": draw.random(n), "ill": (ward == "b").astype(int),
        }
    )  # fmt: skip


def by_column() -> Any:
    """The level through an Embedding, the two times through an LSTM, and the age."""
    age, ward = keras.Input((1,), name="age"), keras.Input((1,), dtype="int32", name="ward")
    times = [keras.Input((1,), name=name) for name in ("t1", "t2")]
    embedded = layers.Flatten()(layers.Embedding(len(LEVELS) + 1, 2)(ward))
    read = layers.LSTM(3)(layers.Reshape((2, 1))(layers.Concatenate()(times)))
    end = layers.Dense(1, "sigmoid")(layers.Concatenate()([age, embedded, read]))
    return keras.Model([times[1], age, times[0], ward], end)


def sequence(layer: Any) -> Any:
    return keras.Sequential([keras.Input((7,)), layers.Reshape((7, 1)), layer, layers.Dense(1, "sigmoid")])


def study(model: Any, **changes: Any) -> fc.Study:
    train = fc.Train(model=model, algorithm="fedsgd", rounds=60, learning_rate=2.0, importance=False)
    return fc.Study(**{"name": "s", "cohort": COHORT, "analysis": train, **changes})


def test_embedding_lstm_and_an_input_for_each_column_train_and_predict_together() -> None:
    model = by_column()
    result = fc.simulate({"x": frame(), "y": frame().assign(patient_id=range(100, 160))}).run(
        study(model), progress=False
    )
    rows = frame()
    predicted = result.predict(rows)
    assert result.report["train"]["auc"] > 0.95
    arranged = result.features(rows)
    assert [part.shape for part in arranged] == [(60, 1)] * 4
    missing = rows["ward"].isna().to_numpy()
    assert set(arranged[3][missing].ravel()) == {3}
    np.testing.assert_allclose(result.model.predict(arranged, verbose=0), predicted, atol=1e-6)
    told = result.predictor.predict_one({"age": 50.0, "ward": "b", "t1": 0.5})
    assert sum(told.contributions.values()) == pytest.approx(told.value - told.baseline, abs=1e-5)
    assert max(told.contributions, key=lambda name: told.contributions[name]) == "ward"


@pytest.mark.parametrize(
    "layer", [layers.LSTM(4), layers.GRU(4), layers.SimpleRNN(4), layers.Bidirectional(layers.GRU(2))]
)
def test_a_recurrent_layer_s_federated_step_is_the_pooled_one(layer: Any) -> None:
    config = json.loads(sequence(layer).to_json())
    train = fc.Train(model=config, algorithm="fedsgd", rounds=3, learning_rate=0.5, importance=False)
    asked = study(config, analysis=train)
    sites = {"x": frame()[:25], "y": frame()[25:]}
    pooled = fc.simulate({"all": frame()}).run(asked, progress=False)
    together = fc.simulate(sites).run(asked, progress=False)
    np.testing.assert_allclose(together.arrays["weights"], pooled.arrays["weights"], atol=2e-5)


@pytest.mark.parametrize("layer", [layers.LSTM(2), layers.GRU(2), layers.Bidirectional(layers.LSTM(2))])
def test_under_privacy_a_recurrent_layer_is_refused_by_name(layer: Any) -> None:
    private = study(
        sequence(layer),
        analysis=fc.Train.private(sequence(layer)),
        privacy=fc.Privacy(epsilon=1.0),
    )
    with pytest.raises(
        StudyError, match=rf"\({type(layer).__name__}\) is not known to treat each patient apart"
    ):
        build_analysis(private).start()


@pytest.mark.parametrize("word", ["stateful", "unroll"])
def test_what_carries_state_or_grows_with_time_is_refused(word: str) -> None:
    config = json.loads(sequence(layers.LSTM(2)).to_json())
    config["config"]["layers"][2]["config"][word] = True
    with pytest.raises(StudyError, match=rf"LSTM with {word}=True is not allowed"):
        build_analysis(study(config)).start()


def test_an_input_that_does_not_fit_its_column_is_refused_with_a_remedy_that_helps() -> None:
    inputs = [keras.Input((1,), name=name) for name in COLUMNS]
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.Concatenate()(inputs)))
    with pytest.raises(
        StudyError, match=r"input 'ward' is of shape \(1,\).*give keras.Input\(\(4,\), name='ward'\)"
    ):
        build_analysis(study(model)).start()
    inputs = [keras.Input((4 if name == "ward" else 1,), name=name) for name in COLUMNS]
    build_analysis(
        study(keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.Concatenate()(inputs))))
    ).start()


def test_columns_that_have_no_input_are_told() -> None:
    inputs = [keras.Input((1,), name="age"), keras.Input((4,), name="ward")]
    model = keras.Model(inputs, layers.Dense(1, "sigmoid")(layers.Concatenate()(inputs)))
    with pytest.raises(StudyError, match="or an input for each column, of its name"):
        build_analysis(study(model)).start()

"""A Keras model that is given begins training with its own weights, and what cannot be heeded is refused."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Sums
from fedcohort.analyses.train.question import MOST_START_WEIGHTS
from fedcohort.errors import StudyError
from fedcohort.handed_in import check_handed_in
from fedcohort.study import parse_study

layers = keras.layers
pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]
COHORT = fc.Cohort(columns={"a": fc.Numeric(0, 1), "b": fc.Numeric(0, 1)}, label=fc.Binary("ill"), split=None)


def model() -> Any:
    made = keras.Sequential([keras.Input((2,)), layers.Dense(1, "sigmoid")])
    made.set_weights([np.array([[3.0], [-2.0]], np.float32), np.array([0.5], np.float32)])
    return made


def study(given: Any, **changes: Any) -> fc.Study:
    train = fc.Train(
        **{"model": given, "algorithm": "fedsgd", "rounds": 1, "learning_rate": 1e-30, **changes}
    )
    return fc.Study(name="s", cohort=COHORT, analysis=train)


def frames() -> dict[str, pd.DataFrame]:
    rows = {"patient_id": range(20), "a": np.arange(20) / 20, "b": np.arange(20) % 3 / 2}
    frame = pd.DataFrame({**rows, "ill": [0, 1] * 10})
    return {"x": frame, "y": frame.assign(patient_id=range(20, 40))}


def test_training_begins_with_the_given_model_s_weights() -> None:
    result = fc.simulate(frames()).run(study(model()), progress=False)
    assert result.arrays["weights"].tolist() == [3.0, -2.0, 0.5]
    fresh = fc.simulate(frames()).run(study(json.loads(model().to_json())), progress=False)
    assert fresh.arrays["weights"].tolist() != [3.0, -2.0, 0.5]


def test_private_training_begins_with_them_too() -> None:
    private = fc.Study(
        name="s", cohort=COHORT, analysis=fc.Train.private(model()), privacy=fc.Privacy(epsilon=1.0)
    )
    analysis = build_analysis(private)
    state = analysis.update(analysis.start(), Sums({"patients": np.array([40.0])}))
    assert state.arrays["weights"].tolist() == [3.0, -2.0, 0.5]


def test_the_start_is_part_of_the_study_s_hash_and_absent_where_there_is_none() -> None:
    with_weights = study(model())
    assert parse_study(with_weights.canonical) == with_weights
    assert "weights" not in json.loads(study("logistic").canonical)["analysis"]
    assert with_weights.hash != study(json.loads(model().to_json())).hash


def test_weights_of_another_model_are_refused_before_the_first_round() -> None:
    other = study("logistic").model_copy(
        update={"analysis": fc.Train(model=json.loads(model().to_json()), weights="AAAA")}
    )
    with pytest.raises(StudyError, match=r"analysis\.weights: 3 bytes where the model has 3 numbers"):
        build_analysis(other).start()


def test_a_compiled_model_is_refused_by_name_and_the_remedy_helps(tmp_path: Path) -> None:
    compiled = model()
    compiled.compile("adam", "binary_crossentropy")
    with pytest.raises(StudyError, match=r"compiled with optimizer Adam and loss 'binary_crossentropy'"):
        fc.Train(model=compiled)
    compiled.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    result = fc.simulate(frames()).run(study(loaded), progress=False)
    assert result.arrays["weights"].tolist() == [3.0, -2.0, 0.5]
    configuration = study(json.loads(compiled.to_json()))
    with pytest.raises(StudyError, match="says how it was compiled"):
        check_handed_in(configuration)


def test_more_weights_than_a_study_carries_are_refused_with_a_remedy_that_helps() -> None:
    wide = MOST_START_WEIGHTS // 3 + 1
    large = keras.Sequential([keras.Input((2,)), layers.Dense(wide), layers.Dense(1, "sigmoid")])
    with pytest.raises(StudyError, match=r"weights to begin with, and a study carries at most"):
        fc.Train(model=large)
    fc.Train(model=json.loads(large.to_json()))


def test_a_model_larger_than_a_study_is_kept_and_predicts(tmp_path: Path) -> None:
    width = 13_000_000 // 4
    large = keras.Sequential([keras.Input((2,)), layers.Dense(width, "relu"), layers.Dense(1, "sigmoid")])
    fresh = study(json.loads(large.to_json()), importance=False)
    trained = fc.simulate({"x": frames()["x"]}).run(fresh, progress=False)
    assert len(trained.arrays["weights"]) > 12_582_912
    folder = trained.save(tmp_path / "large")
    again = fc.Evaluate(model=str(folder)).model
    assert again == trained.saved_model
    assert trained.predict(frames()["x"]).shape == (20, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protection": "ckks"}, "protection: ckks carries at most"),
        ({"server_optimizer": "adam", "average_rounds": 1}, "analysis.server_optimizer: adam and an average"),
    ],
)
def test_what_a_later_round_could_not_carry_is_refused_before_the_first(
    changes: dict[str, Any], message: str
) -> None:
    from fedcohort.analyses.model_of import check_capacity

    train = {name: value for name, value in changes.items() if name != "protection"}
    asked = study("logistic", **train).model_copy(update={"protection": changes.get("protection", "masks")})
    assert isinstance(asked.analysis, fc.Train)
    check_capacity(asked, asked.analysis, 1_000_000)
    with pytest.raises(StudyError, match=message):
        check_capacity(asked, asked.analysis, 50_000_000)

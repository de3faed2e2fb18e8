"""A time series of events through a recurrent layer of an own Keras model, at two sites together."""

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.engines.local import run_local
from fedcohort.errors import StudyError
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
from fedcohort.table import Table
from tests.sources.cohort.events.rows import filled, ill, lab, person, stay

pytestmark = pytest.mark.training

HERE = SiteEvents(in_event_tables({}))
HOUR = 1 / 24
STEPS, COLUMNS = 4, ("creatinine", "urea")
WORDS = """
[codes]
creatinine = { loinc = ["2160-0"] }
urea = { loinc = ["3091-6"] }
infarction = { icd10 = ["I21*"] }
[index]
encounter = true
which = "first"
[columns.creatinine]
observation = "creatinine"
take = "mean"
window = ["-4h", "0h"]
low = 0
high = 200
unit = "umol/L"
[columns.urea]
observation = "urea"
take = "mean"
window = ["-4h", "0h"]
low = 0
high = 200
unit = "umol/L"
[columns.age]
patient = "age"
low = 0
high = 120
[sequence]
window = ["-4h", "0h"]
step = "1h"
columns = ["creatinine", "urea"]
hold = "last"
[label]
condition = "infarction"
take = "any"
window = ["1d", "366d"]
"""
SERIES = [f"t{step:03d}.{name}" for step in range(STEPS) for name in COLUMNS]


def site(path: Path, salt: int, n: int = 60) -> str:
    """Creatinine rises where an infarction follows, and falls as much where none does: no mean tells."""
    draw = np.random.default_rng(salt)
    rows = []
    for number in range(n):
        patient, rises = f"{salt}-{number}", bool(draw.integers(2))
        rows += [stay(patient, 20_000.0, 20_001.0), person(patient, 20_000.0 - 365.25 * 60, "female")]
        values = 100 + 20 * np.arange(-1.5, 2) * (1 if rises else -1) + draw.normal(0, 2, STEPS)
        for step, value in enumerate(values):
            at = 20_000 - (STEPS - step - 0.5) * HOUR
            rows += [
                lab(patient, at, float(value)),
                lab(patient, at, float(draw.normal(50, 9)), code="3091-6"),
            ]
        rows += [ill(patient, 20_100.0)] if rises else []
    return filled(str(path), rows)


def by_column(layer: Any) -> Any:
    """As docs/cohorts.md writes it: the series through a recurrent layer, and the other columns."""
    inputs = {name: keras.Input((1,), name=name) for name in (*SERIES, *COLUMNS, "age")}
    series = keras.layers.Concatenate()([inputs[name] for name in SERIES])
    read = layer(keras.layers.Reshape((STEPS, len(COLUMNS)))(series))
    others = [inputs[name] for name in (*COLUMNS, "age")]
    end = keras.layers.Dense(1, "sigmoid")(keras.layers.Concatenate()([read, *others]))
    return keras.Model(list(inputs.values()), end)


def study(model: Any) -> fc.Study:
    train = fc.Train(model=model, algorithm="fedsgd", rounds=40, learning_rate=1.0, importance=False)
    return fc.Study(name="s", cohort=Cohort(**tomllib.loads(WORDS), split=None), analysis=train)


def read(database: str, cohort: Cohort, seed: int, private: bool) -> Table:
    return load_cohort(database, cohort, seed, {}, private=private, events=HERE)


@pytest.mark.parametrize("layer", [keras.layers.GRU, keras.layers.LSTM])
def test_a_time_series_of_events_trains_a_recurrent_layer_at_two_sites(tmp_path: Path, layer: Any) -> None:
    sites = {name: site(tmp_path / f"{name}.db", salt) for salt, name in enumerate("ab")}
    asked = study(by_column(layer(4)))
    loaders = {name: partial(read, database) for name, database in sites.items()}
    report: Any = run_local(asked, loaders, lambda rows: None).report
    assert report["train"]["auc"] > 0.95


def test_the_steps_stand_in_the_order_that_reshape_takes() -> None:
    names = Cohort(**tomllib.loads(WORDS)).schema_
    assert [name for name in names if name not in {*COLUMNS, "age"}] == SERIES == sorted(SERIES)


def test_a_model_of_the_series_alone_is_refused_since_its_columns_are_features_too() -> None:
    layers = [keras.Input((len(SERIES),)), keras.layers.Reshape((STEPS, 2)), keras.layers.GRU(2)]
    model = keras.Sequential([*layers, keras.layers.Dense(1, "sigmoid")])
    with pytest.raises(
        StudyError, match=r"takes \[\(8,\)\], and the cohort's features have the shape \(11,\)"
    ):
        build_analysis(study(model)).start()

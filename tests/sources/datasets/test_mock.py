"""A simulated twin: made of declared facts alone, and a study runs on it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.columns import Binary, Categorical, Classes, Holdout, Number, Numeric, Survival
from fedcohort.errors import CohortError, ConfigError, StoreError, StudyError
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.datasets.mock import make_mock
from fedcohort.study import Cohort

KINDS = {"age": Numeric(18, 90), "creatinine": Numeric(0.2, 8.0), "sex": Categorical(("f", "m"))}


def cohort(**changes: Any) -> Cohort:
    return Cohort(**{"table": "ward", "columns": KINDS, "label": Binary("ill"), **changes})


def loaded(path: Path, asked: Cohort, *more: str) -> Any:
    return load_cohort(path, asked, 0, {asked.table: [*asked.schema_, *asked.label_columns, *more]})


def frame(path: Path, table: str = "ward") -> pd.DataFrame:
    with closing(sqlite3.connect(path)) as connection:
        return pd.read_sql(f'SELECT * FROM "{table}"', connection).drop(columns="id")


def test_every_made_up_patient_is_within_what_is_declared(tmp_path: Path) -> None:
    path = tmp_path / "mock.db"
    report = make_mock(path, cohort(), 500, 0.2, 1)
    table = loaded(path, cohort())
    assert (report.written, table.n_rows, table.n_patients) == (500, 500, 500)
    age = table.columns["age"][~np.isnan(table.columns["age"])]
    assert age.min() >= 18
    assert age.max() <= 90
    assert (age == np.rint(age)).all()
    assert 0.1 < np.isnan(table.columns["age"]).mean() < 0.3
    assert set(np.unique(table.columns["sex"])) == {-1, 0, 1}
    assert set(np.unique(table.label)) == {0.0, 1.0}


def test_the_same_seed_makes_the_same_patients(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_mock(tmp_path / f"{name}.db", cohort(), 50, 0.1, seed)
    first, same, other = (frame(tmp_path / f"{name}.db") for name in "abc")
    assert first.equals(same)
    assert not set(first["patient_id"]) & set(other["patient_id"])


@pytest.mark.parametrize(
    "where",
    [
        "age >= 60 AND sex = 'f'",
        "AGE BETWEEN 30 AND 40",
        "ward IN ('icu', 'er') AND stay > 2",
        "discharged IS NULL OR sex LIKE 'f%'",
        "height / 2 < 3",
    ],
)
def test_all_made_up_patients_are_selected(tmp_path: Path, where: str) -> None:
    asked = cohort(where=where)
    make_mock(tmp_path / "mock.db", asked, 200, 0.0, 0)
    table = loaded(tmp_path / "mock.db", asked, "ward", "stay", "discharged", "height")
    assert table.n_patients == 200


@pytest.mark.parametrize(
    "label",
    [
        None,
        Binary("ill", positive="yes", negative="no"),
        Classes("stage", ("i", "ii", "iii")),
        Number(column="days", low=0.0, high=30.0),
        Survival("time", "event"),
    ],
)
def test_every_kind_of_label_and_split_is_made(tmp_path: Path, label: Any) -> None:
    asked = cohort(label=label, split="set", patient_id="mrn")
    make_mock(tmp_path / "mock.db", asked, 300, 0.1, 0)
    table = loaded(tmp_path / "mock.db", asked, "set", "mrn")
    assert table.n_patients == 300
    assert set(np.unique(table.split)) == {0, 1, 2}


def test_images_are_noise_of_the_declared_size(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    asked = cohort(columns={"age": Numeric(18, 90), "scan": fc.Image(4, 6)}, where="age > 30")
    make_mock(tmp_path / "mock.db", asked, 20, 0.5, 0)
    table = loaded(tmp_path / "mock.db", asked)
    assert table.images["scan"].take().shape == (20, 4, 6, 1)


@pytest.mark.training
def test_a_study_runs_on_two_twins_and_learns(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        make_mock(tmp_path / f"{name}.db", cohort(), 300, 0.05, seed)
    train = fc.Train(model="logistic", algorithm="fedsgd", rounds=30, learning_rate=1.0, importance=False)
    study = fc.Study(name="twin", cohort=cohort(split=Holdout(0.3)), analysis=train, protection="none")
    frames = {name: frame(tmp_path / f"{name}.db") for name in "ab"}
    result = fc.simulate(frames).run(study, progress=False)
    assert result.metrics["auc"].iloc[-1] > 0.7


def test_what_cannot_be_made_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mock.db"
    with pytest.raises(
        StudyError, match=r"columns age: write .* or take what a site declares \(by --site site.toml"
    ):
        make_mock(path, cohort(columns=["age"]), 5, 0.0, 0)
    with pytest.raises(CohortError, match="hardly ever"):
        make_mock(path, cohort(where="age > 90"), 5, 0.0, 0)
    with pytest.raises(ConfigError, match="missing from 0"):
        make_mock(path, cohort(), 5, 1.0, 0)
    assert not path.exists()
    assert make_mock(path, cohort(where="age > 30"), 5, 0.0, 0).written == 5  # the remedy: a wider one


def test_a_file_that_is_there_is_never_written(write_ward: Callable[..., Path]) -> None:
    path = write_ward()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is there already"):
        make_mock(path, cohort(), 5, 0.0, 0)
    assert path.read_bytes() == before
    assert make_mock(path.with_name("new.db"), cohort(), 5, 0.0, 0).written == 5  # the remedy

"""Simulated cohorts: the same from the same seed, different by hospital, worth learning from."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from fedcohort.columns import Numeric
from fedcohort.errors import ConfigError, StoreError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.datasets.synthetic import (
    COLUMNS,
    DISEASED,
    FEATURES,
    HEALTHY,
    simulated_rows,
    synthesize,
)
from fedcohort.study import Cohort
from fedcohort.table import Table

WriteWard = Callable[..., Path]


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("synthetic")
    paths = {f"site{index}": folder / f"site{index}.db" for index in range(2)}
    for index, path in enumerate(paths.values()):
        assert synthesize(path, index, 1500, 0).written == 1500
    return paths


def load(sites: dict[str, Path], **fields: Any) -> list[Table]:
    catalogues = {site: catalogue(path, None) for site, path in sites.items()}
    cohort = resolve_cohort(Cohort(columns=FEATURES, label="label", **fields), catalogues)
    offered = {"records": list(catalogues["site0"]["tables"]["records"]["columns"])}
    return [load_cohort(path, cohort, 0, offered) for path in sites.values()]


def test_a_record_has_a_pseudonym_a_diagnosis_a_vector_and_a_label(sites: dict[str, Path]) -> None:
    with closing(sqlite3.connect(sites["site0"])) as connection:
        rows = connection.execute("SELECT patient_id, diagnosis, features, label FROM records").fetchall()
    assert len({row[0] for row in rows}) == 1500
    assert all(len(json.loads(row[2])) == len(FEATURES) == 12 for row in rows)
    assert {row[1] for row in rows if row[3] == 1.0} == set(DISEASED)
    assert {row[1] for row in rows if row[3] == 0.0} == set(HEALTHY)


def test_everything_is_declared_and_within_its_bounds(sites: dict[str, Path]) -> None:
    for table in load(sites):
        for name, values in table.columns.items():
            kind = COLUMNS[name].kind
            assert isinstance(kind, Numeric)
            assert kind.bounds is not None
            assert kind.bounds[0] <= np.nanmin(values) < np.nanmax(values) <= kind.bounds[1]


def test_values_are_missing_differently_by_hospital_and_vitals_are_correlated(sites: dict[str, Path]) -> None:
    first, second = load(sites)
    shares = [float(np.isnan(table.columns["glucose"]).mean()) for table in (first, second)]
    assert 0.07 < shares[0] < 0.13 < shares[1] < 0.20
    assert not np.isnan(first.columns["age"]).any()
    assert second.columns["age"].mean() - first.columns["age"].mean() > 3
    pressures = np.corrcoef(first.columns["systolic_bp"], first.columns["diastolic_bp"])[0, 1]
    assert 0.5 < pressures < 0.9


def test_a_plain_model_learns_the_risk(sites: dict[str, Path]) -> None:
    tables = load(sites)
    x = np.concatenate([np.stack(list(table.columns.values()), axis=1) for table in tables])
    y = np.concatenate([table.label for table in tables if table.label is not None])
    train = np.concatenate([table.split for table in tables]) == 0
    z = np.nan_to_num((x - np.nanmean(x[train], axis=0)) / np.nanstd(x[train], axis=0))
    scores = LogisticRegression().fit(z[train], y[train]).predict_proba(z[~train])[:, 1]
    assert 0.79 < roc_auc_score(y[~train], scores) < 0.87
    assert log_loss(y[~train], scores) < 0.55


def test_where_asks_the_vector(sites: dict[str, Path]) -> None:
    everyone = load(sites)[0]
    women = load(sites, where="sex = 0 and age >= 65 and glucose is not null")[0]
    columns = everyone.columns
    expected = (columns["sex"] == 0) & (columns["age"] >= 65) & ~np.isnan(columns["glucose"])
    assert women.patient_ids.tolist() == everyone.patient_ids[expected].tolist()


def test_the_same_seed_and_site_give_the_same_patients_and_others_do_not() -> None:
    assert simulated_rows(0, 20, 5) == simulated_rows(0, 20, 5)
    others = [simulated_rows(0, 20, 6), simulated_rows(1, 20, 5), simulated_rows(4, 20, 5)]
    ids = {row["patient_id"] for rows in (simulated_rows(0, 20, 5), *others) for row in rows}
    assert len(ids) == 80


def test_twice_changes_nothing_and_something_else_is_refused(tmp_path: Path, write_ward: WriteWard) -> None:
    path = tmp_path / "site.db"
    assert synthesize(path, 0, 30, 0).written == 30
    before = path.read_bytes()
    assert synthesize(path, 0, 30, 0).written == 0
    for index, n_patients, seed in ((1, 30, 0), (0, 31, 0), (0, 30, 1)):
        with pytest.raises(StoreError, match=r"site\.db: table records holds something else"):
            synthesize(path, index, n_patients, seed)
    assert path.read_bytes() == before
    foreign = tmp_path / "foreign.db"
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE patients (id)")
    with pytest.raises(StoreError, match="tables that fedcohort did not make"):
        synthesize(foreign, 0, 30, 0)


@pytest.mark.parametrize(
    ("index", "n_patients", "seed"), [(-1, 10, 0), (0, 0, 0), (0, 10**9, 0), (0, 10, -1)]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, index: int, n_patients: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="patients from 1 to"):
        synthesize(tmp_path / "x.db", index, n_patients, seed)
    assert not (tmp_path / "x.db").exists()

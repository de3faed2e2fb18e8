"""The four hospitals of UCI Heart Disease for benchmarks, as databases, as a study and as pooled rows.

`SETTINGS` are the benchmark's: the logistic model has the penalty of scikit-learn's default
(C = 1, that is l2 = 1 / n); those of `mlp_medical` were chosen with sight of the test rows, as
the figures that they are held against were. `CROSS_VALIDATED` were chosen on the training
rows alone (`scripts/bench heart_disease -- --choose`), and are reported beside them.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import fedcohort as fc
from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix
from fedcohort.analyses.encode import Encoder
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.datasets import heart_disease
from fedcohort.table import TEST, TRAIN, Table

Settings = Mapping[str, Mapping[str, object]]
Rows = tuple[NDArray[np.float32], NDArray[np.float32]]
_STEPS = {"algorithm": "fedsgd", "server_optimizer": "momentum"}
SETTINGS = {
    "logistic": {**_STEPS, "learning_rate": 0.1, "l2": 0.002, "rounds": 120},
    "mlp_medical": {**_STEPS, "learning_rate": 0.1, "l2": 0.01, "rounds": 60},
}
CROSS_VALIDATED = {
    "logistic": {**_STEPS, "learning_rate": 0.03, "l2": 0.03, "rounds": 240},
    "mlp_medical": {**_STEPS, "learning_rate": 0.03, "l2": 0.0, "rounds": 30},
}


def heart_databases(folder: Path, into: Path) -> dict[str, str]:
    """One database a hospital."""
    return {
        Path(report.database).stem: report.database
        for report in heart_disease.import_heart_disease(folder, into)
    }


def heart_study(model: str, seed: int, settings: Settings = SETTINGS) -> fc.Study:
    """The study of the benchmark, with the split of FLamby."""
    columns = tuple(name for name in heart_disease.COLUMNS if name not in ("disease", "set"))
    cohort = fc.Cohort(table="heart_disease", columns=columns, label="disease", split="set")
    train = fc.Train.model_validate({"model": model, "importance": False, **settings[model]})
    return fc.Study(name=f"heart disease, {model}", cohort=cohort, analysis=train, seed=seed)


def explicit_study(
    databases: dict[str, str], model: str, seed: int, settings: Settings = SETTINGS
) -> fc.Study:
    """The same, with every column's kind."""
    study = heart_study(model, seed, settings)
    catalogues = {site: catalogue(path, None) for site, path in databases.items()}
    return study.model_copy(update={"cohort": resolve_cohort(study.cohort, catalogues)})


def loader(database: str) -> partial[Table]:
    """What selects one hospital's cohort."""
    offered = {"heart_disease": [*heart_disease.COLUMNS, "set"]}
    return partial(_load, database, offered)


def _load(
    database: str, offered: dict[str, list[str]], cohort: fc.Cohort, seed: int, private: bool = False
) -> Table:
    return load_cohort(database, cohort, seed, offered, private=private)


def pooled_rows(databases: dict[str, str], study: fc.Study) -> tuple[list[Rows], Rows]:
    """Training rows by hospital and all test rows, encoded by the pooled mean and deviation."""
    tables = [loader(path)(study.cohort, 0) for path in databases.values()]
    names = list(numeric_columns(study.cohort.schema_))
    values = np.concatenate(
        [numeric_matrix(table, study.cohort, names)[table.split == TRAIN] for table in tables]
    )
    encoder = Encoder(study.cohort, np.nanmean(values, axis=0), np.nanstd(values, axis=0))
    rows = [(encoder.features(table), encoder.targets(table), table.split) for table in tables]
    train = [(x[split == TRAIN], y[split == TRAIN]) for x, y, split in rows]
    test_x = np.concatenate([x[split == TEST] for x, _, split in rows])
    test_y = np.concatenate([y[split == TEST] for _, y, split in rows])
    return train, (test_x, test_y)


def encoded_splits(folder: Path, into: Path) -> tuple[list[Rows], NDArray[np.float32], NDArray[np.float32]]:
    """The rows for a peer that encodes nothing itself."""
    databases = heart_databases(folder, into)
    train, (test_x, test_y) = pooled_rows(databases, explicit_study(databases, "logistic", 0))
    return train, test_x, test_y

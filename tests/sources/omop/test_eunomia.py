"""Eunomia's GiBleed data, read in place: the patients that ACES finds, frozen, the same on each engine."""

import gzip
import hashlib
import os
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")
pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")

import duckdb
from sqlalchemy import BigInteger, Column, Date, DateTime, Float, MetaData, String, Table

import fedcohort as fc
from fedcohort.engines.local import run_local
from fedcohort.errors import SchemaError
from fedcohort.explain import explain
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.omop.views import in_omop
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from fedcohort.table import Table as Rows
from tests.postgres import Postgres

PACKED = Path(os.environ.get("FEDCOHORT_DATA", "-")) / "omop" / "eunomia_gibleed_5.3.1.duckdb.gz"
pytestmark = pytest.mark.skipif(not PACKED.is_file(), reason="FEDCOHORT_DATA has no omop")
HERE = SiteEvents(in_omop)
SINUSITIS = "40481087, 4283893, 257012"
BELOW = "SELECT descendant_concept_id FROM concept_ancestor WHERE ancestor_concept_id = 192671"
READ = {
    "person": "true",
    "condition_occurrence": f"condition_concept_id IN ({BELOW} UNION SELECT unnest([{SINUSITIS}]))",
    "drug_exposure": "drug_concept_id = 1118084",
    "concept_ancestor": "ancestor_concept_id = 192671",
}
TYPES: dict[str, Any] = {
    "BIGINT": BigInteger(), "INTEGER": BigInteger(), "DATE": Date(), "TIMESTAMP": DateTime(),
    "DOUBLE": Float(53),
}  # fmt: skip
WORDS = """
[codes]
celecoxib = { omop = ["1118084"] }
gi_bleed  = { omop = ["192671+"] }
sinusitis = { omop = ["40481087", "4283893", "257012"] }
[index]
medication = "celecoxib"
which = "first"
[exclude.earlier_bleed]
condition = "gi_bleed"
window = ["-36500d", "0d"]
[columns.n_sinusitis]
condition = "sinusitis"
window = ["-3650d", "0d"]
take = "count"
high = 30
[columns.since]
condition = "sinusitis"
window = ["-3650d", "0d"]
take = "days_since"
[columns.age]
patient = "age"
low = 18
high = 110
[columns.sex]
patient = "sex"
[label]
condition = "gi_bleed"
window = ["1d", "366d"]
take = "any"
"""


def cohort(*changes: tuple[str, str]) -> Cohort:
    text = WORDS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return Cohort(**tomllib.loads(text))


@pytest.fixture(scope="module")
def eunomia(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("omop") / "eunomia.duckdb"
    with gzip.open(PACKED) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


def read(eunomia: Path, *changes: tuple[str, str]) -> Rows:
    return load_cohort(f"duckdb:///{eunomia}", cohort(*changes), 0, {}, events=HERE)


def digest(table: Rows) -> str:
    whole = hashlib.sha256("".join(f"{one};" for one in table.patient_ids.tolist()).encode())
    for name in sorted(table.columns):
        whole.update(np.ascontiguousarray(table.columns[name]).tobytes())
    whole.update(np.ascontiguousarray(table.label).tobytes())
    return whole.hexdigest()[:16]


def test_celecoxib_and_then_a_bleed_are_the_patients_of_aces(eunomia: Path) -> None:
    """ACES 0.7.3 (https://github.com/justin13601/ACES) finds these over MEDS events; frozen."""
    table = read(eunomia)
    assert (table.n_rows, table.n_patients) == (1844, 1844)
    assert table.label is not None
    assert table.label.sum() == 355
    labels = "".join(
        f"{one}={int(label)};" for one, label in sorted(zip(table.patient_ids, table.label, strict=True))
    )
    assert hashlib.sha256(labels.encode()).hexdigest()[:16] == "fd49ebfaf6f212d2"


def test_the_example_study_runs_on_it(eunomia: Path) -> None:
    study = fc.load_study(Path(__file__).parents[3] / "examples" / "celecoxib_bleed.toml")
    assert "time zero is when the first medication of celecoxib begins" in explain(study)

    def load(cohort: Cohort, seed: int, private: bool) -> Rows:
        return load_cohort(f"duckdb:///{eunomia}", cohort, seed, {}, private=private, events=HERE)

    report = run_local(study, {"a": load, "b": load}, lambda rows: None).report
    described = report["describe"]
    assert isinstance(described, dict)
    assert described["label"]["levels"] == {"0": 2 * (1844 - 355), "1": 2 * 355}
    assert described["sinusitis"]["n"] == 2 * 1844


def test_plain_sql_selects_the_same(eunomia: Path) -> None:
    with duckdb.connect(str(eunomia), read_only=True) as connection:
        found = connection.execute(
            """WITH zero AS (SELECT person_id AS p, min(drug_exposure_start_date) AS t FROM drug_exposure
                             WHERE drug_concept_id = 1118084 GROUP BY 1),
                    bleeds AS (SELECT person_id AS p, condition_start_date AS t FROM condition_occurrence
                               WHERE condition_concept_id IN (SELECT descendant_concept_id
                                   FROM concept_ancestor WHERE ancestor_concept_id = 192671))
               SELECT p, EXISTS (SELECT 1 FROM bleeds b WHERE b.p = zero.p
                                 AND b.t - zero.t BETWEEN 1 AND 365)
               FROM zero WHERE NOT EXISTS (SELECT 1 FROM bleeds b WHERE b.p = zero.p AND b.t < zero.t)"""
        ).fetchall()
    table = read(eunomia)
    assert table.label is not None
    ours = dict(zip(map(int, table.patient_ids.tolist()), table.label.tolist(), strict=True))
    assert ours == {patient: float(bled) for patient, bled in found}


def test_a_date_is_its_midnight_and_the_day_of_time_zero_is_left_out(eunomia: Path) -> None:
    same_day = ('take = "any"\n', 'take = "any"\n')
    zero = read(eunomia, ('window = ["1d", "366d"]', 'window = ["0d", "1d"]'), same_day)
    before = read(eunomia, ('window = ["1d", "366d"]', 'window = ["0d", "366d"]'))
    assert zero.label is not None
    assert before.label is not None
    assert before.label.sum() == zero.label.sum() + 355


def test_time_to_a_bleed_ends_with_the_observation_period(eunomia: Path) -> None:
    table = read(
        eunomia, ('window = ["1d", "366d"]\ntake = "any"', 'window = ["0d", "3650d"]\ntake = "time_to"')
    )
    assert table.event is not None
    assert table.label is not None
    assert table.label.max() <= 3650
    assert (table.n_rows, table.event.sum()) == (1800, 355)  # 44 are not observed at time zero


@pytest.fixture(params=("sqlite", "postgresql"))
def copied(request: pytest.FixtureRequest, eunomia: Path, tmp_path: Path) -> str:
    """The same tables on another engine, names in capitals on one of them."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        address = server.create("eunomia")
    else:
        address = str(tmp_path / "eunomia.db")
    with duckdb.connect(str(eunomia), read_only=True) as connection, writing(address) as target:
        for name, which in READ.items():
            described = connection.execute(f"DESCRIBE {name}").fetchall()
            columns = [Column(str(one[0]), TYPES.get(one[1], String())) for one in described]
            table = Table(name.upper() if request.param == "sqlite" else name, MetaData(), *columns)
            table.create(target)
            rows = connection.execute(f"SELECT * FROM {name} WHERE {which}").fetchall()
            names = [one.name for one in columns]
            if rows:
                target.execute(table.insert(), [dict(zip(names, row, strict=True)) for row in rows])
    return address


def test_the_bits_are_the_same_on_another_engine(eunomia: Path, copied: str) -> None:
    here = load_cohort(copied, cohort(), 0, {}, events=HERE)
    assert digest(here) == digest(read(eunomia))


def test_kinds_that_the_model_lacks_and_lists_without_concepts_are_refused(eunomia: Path) -> None:
    with pytest.raises(SchemaError, match="the model has no table of report"):
        read(eunomia, ("[index]\n", '[need.any]\nreport = true\nwindow = ["-9d", "0d"]\n[index]\n'))
    with pytest.raises(SchemaError, match=r"codes\.celecoxib: has no code of a system"):
        read(eunomia, ('omop = ["1118084"]', 'rxnorm = ["140587"]'))


def test_a_database_that_is_no_model_is_told_what_it_lacks(tmp_path: Path) -> None:
    empty = tmp_path / "empty.duckdb"
    with duckdb.connect(str(empty)) as connection:
        connection.execute("CREATE TABLE drug_exposure (drug_exposure_id BIGINT)")
    with pytest.raises(SchemaError, match="table drug_exposure has no field person_id, drug_concept_id"):
        load_cohort(f"duckdb:///{empty}", cohort(), 0, {}, events=HERE)
    with duckdb.connect(str(empty)) as connection:
        connection.execute("DROP TABLE drug_exposure")
    with pytest.raises(SchemaError, match="this database has no table drug_exposure"):
        load_cohort(f"duckdb:///{empty}", cohort(), 0, {}, events=HERE)

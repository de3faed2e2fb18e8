"""Names of columns as laboratories give them, `HbA1c (%)`, in every source and engine, in quotes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

import fedcohort as fc
from fedcohort.errors import StudyError
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import read_mapping
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.storage.database import writing
from fedcohort.table import Table
from tests.postgres import Postgres

NAMES = ["HbA1c (%)", "Na+ / K+, ratio", "T °C", "dose #1: a&b"]
COHORT = fc.Cohort(
    columns={name: fc.Numeric(0, 100) for name in NAMES},
    where='"HbA1c (%)" >= 6 AND "T °C" < 40',
    split=None,
)
ROWS = [("p1", 5, 1, 37, 2), ("p2", 6, 2, 38, 3), ("p3", 7, 3, 39, 4), ("p4", 8, 4, 41, 5)]


def check(table: Table) -> None:
    assert {name: table.columns[name].tolist() for name in NAMES} == {
        "HbA1c (%)": [6.0, 7.0],
        "Na+ / K+, ratio": [2.0, 3.0],
        "T °C": [38.0, 39.0],
        "dose #1: a&b": [3.0, 4.0],
    }


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "duckdb"])
def test_a_hospital_s_own_table_is_read(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    columns = ", ".join(f'"{name}" DOUBLE PRECISION' for name in NAMES)
    create, insert = f"CREATE TABLE records (patient_id VARCHAR(9), {columns})", "INSERT INTO records VALUES "
    insert += ", ".join(map(str, ROWS))
    url = f"{engine}:///{tmp_path}/own.{engine}"
    if engine == "duckdb":
        duckdb = pytest.importorskip("duckdb", reason="needs the extra [duckdb]")
        with duckdb.connect(f"{tmp_path}/own.duckdb") as connection:
            connection.execute(f"{create}; {insert}")
    elif engine == "sqlite":
        with closing(sqlite3.connect(f"{tmp_path}/own.sqlite")) as connection, connection:
            connection.execute(create)
            connection.execute(insert)
    else:
        server: Postgres = request.getfixturevalue("postgres_server")
        url = server.create("names")
        with writing(url) as connection:
            connection.execute(text(create))
            connection.execute(text(insert))
    check(load_cohort(url, COHORT, 0, {"records": NAMES}))


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_file_is_imported_and_read(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    frame = pd.DataFrame(ROWS, columns=["patient_id", *NAMES])
    frame.to_csv(tmp_path / "records.csv", index=False)
    url = f"sqlite:///{tmp_path}/s.db"
    if engine == "postgresql":
        url = request.getfixturevalue("postgres_server").create("names2")
    source = csv_source(tmp_path / "records.csv", "records", None)
    assert import_source(source, url, RuleSet(Rules(), bytes(range(32)))).written["records"] == 4
    read = load_cohort(url, COHORT, 0, {"records": NAMES})
    assert sorted(read.columns["HbA1c (%)"].tolist()) == [6.0, 7.0]


def test_the_remedy_for_other_names_works(tmp_path: Path) -> None:
    (tmp_path / "records.csv").write_text("patient_id,% predicted\np1,80\n")
    mapped = "[tables.records.columns.pct_predicted]\nfrom = '% predicted'\n"
    (tmp_path / "mapping.toml").write_text(mapped)
    mapping = read_mapping(tmp_path / "mapping.toml")["records"]
    import_source(csv_source(tmp_path / "records.csv", "records", mapping), tmp_path / "s.db", MADE_UP)
    cohort = fc.Cohort(columns={"pct_predicted": fc.Numeric(0, 200)}, split=None)
    read = load_cohort(tmp_path / "s.db", cohort, 0, {"records": ["pct_predicted"]})
    assert read.columns["pct_predicted"].tolist() == [80.0]


@pytest.mark.training
def test_a_model_is_trained_on_such_columns() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.uniform(0, 100, 60) for name in NAMES})
    frame["ill (y/n)"] = (frame["HbA1c (%)"] > 50).astype(int)
    cohort = fc.Cohort(columns=COHORT.columns, label=fc.Binary("ill (y/n)"), where='"HbA1c (%)" > 1')
    for analysis in (fc.Describe(), fc.Train(model="logistic", rounds=1)):
        study = fc.Study(name="names", cohort=cohort, analysis=analysis, protection="none")
        assert fc.simulate({"a": frame, "b": frame}).run(study).report["sites"]


@pytest.mark.parametrize("name", ["% predicted", '2nd "visit"', "a;b", "x`y"])
def test_another_name_is_refused_with_a_remedy(name: str) -> None:
    with pytest.raises(StudyError, match=r"in the mapping file give it a name, such as .* from = "):
        fc.Cohort(columns={name: fc.Numeric(0, 1)})

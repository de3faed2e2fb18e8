"""OMOP's tables as they come: a generated cohort as the index, and what copies of them have of their own."""

import os
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")
pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")

import duckdb

from fedcohort.errors import SchemaError
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness import check_readiness
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.omop.quality import faults
from fedcohort.sources.omop.views import in_omop
from fedcohort.storage.database import reading
from fedcohort.study import Cohort, parse_study
from fedcohort.table import Table

HERE = SiteEvents(in_omop)
PACKED = Path(os.environ.get("FEDCOHORT_DATA", "-")) / "omop" / "Synthea27Nj_5.4.zip"
needs_synthea = pytest.mark.skipif(not PACKED.is_file(), reason="FEDCOHORT_DATA has no omop")
ENTRY = """
[codes]
ill = { omop = ["7"] }
[index]
cohort_definition = 7
[columns.n]
condition = "ill"
window = ["-30d", "0d"]
take = "count"
high = 9
[label]
condition = "ill"
window = ["0d", "30d"]
take = "any"
"""
TABLES = (
    "CREATE TABLE person (person_id INT, gender_concept_id INT, year_of_birth INT)",
    "INSERT INTO person SELECT i, 8507, 1950 FROM range(1, 5) t(i)",
    "CREATE TABLE condition_occurrence (condition_occurrence_id INT, person_id INT, condition_concept_id INT,"
    " condition_start_date DATE)",
    "INSERT INTO condition_occurrence VALUES (1, 1, 7, '2020-01-05'), (2, 1, 7, '2020-01-06'),"
    " (3, 1, 7, '2020-02-10'), (4, 2, 7, '2020-01-20'), (5, 3, 7, '2020-01-20'), (6, 1, 0, '2020-01-07')",
    "CREATE TABLE cohort (cohort_definition_id INT, subject_id INT, cohort_start_date DATE,"
    " cohort_end_date DATE)",
    "INSERT INTO cohort VALUES (7, 1, '2020-01-10', '2020-02-20'), (7, 1, '2020-02-12', '2020-03-01'),"
    " (7, 2, '2020-01-20', '2020-01-21'), (8, 3, '2020-01-10', '2020-02-20')",
)


def filled(path: Path, *statements: str) -> str:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return f"duckdb:///{path}"


def selected(database: str, words: str = ENTRY) -> Table:
    return load_cohort(database, Cohort(**tomllib.loads(words)), 0, {}, events=HERE)


def rows(table: Table) -> list[tuple[str, float, float]]:
    assert table.label is not None
    columns = (table.patient_ids, table.columns["n"], table.label)
    found = [(str(patient), float(n), float(label)) for patient, n, label in zip(*columns, strict=True)]
    return sorted(found)


def test_the_index_is_an_entry_of_a_generated_cohort(tmp_path: Path) -> None:
    database = filled(tmp_path / "omop.duckdb", *TABLES)
    assert rows(selected(database)) == [("1", 2, 0), ("2", 0, 1)]
    assert rows(selected(database, ENTRY.replace("= 7", "= 8", 1))) == [("3", 0, 1)]
    last = ENTRY.replace("cohort_definition = 7", 'cohort_definition = 7\nwhich = "last"')
    assert rows(selected(database, last)) == [("1", 1, 0), ("2", 0, 1)]
    end = ENTRY.replace("cohort_definition = 7", 'cohort_definition = 7\nat = "end"')
    assert rows(selected(database, end)) == [("1", 1, 0), ("2", 1, 0)]
    every = ENTRY.replace("cohort_definition = 7", 'cohort_definition = 7\nwhich = "every"\nat_most = 2')
    assert rows(selected(database, every)) == [("1", 1, 0), ("1", 2, 0), ("2", 0, 1)]


def test_a_header_that_came_as_a_row_is_nobodys_entry(tmp_path: Path) -> None:
    texts = (
        "CREATE TABLE entries AS SELECT COLUMNS(*)::VARCHAR FROM cohort",
        "DROP TABLE cohort",
        "ALTER TABLE entries RENAME TO cohort",
        "INSERT INTO cohort VALUES ('COHORT_DEFINITION_ID', 'SUBJECT_ID', 'COHORT_START_DATE',"
        " 'COHORT_END_DATE'), ('7', '3', 'COHORT_START_DATE', '2020-02-20')",
    )
    conditions = "ALTER TABLE condition_occurrence ALTER person_id TYPE VARCHAR"
    database = filled(tmp_path / "omop.duckdb", *TABLES, *texts, conditions)
    assert rows(selected(database)) == [("1", 2, 0), ("2", 0, 1)]


def test_ancestors_and_codes_may_be_texts_or_numbers(tmp_path: Path) -> None:
    below = "CREATE TABLE concept_ancestor AS SELECT '6' AS ancestor_concept_id, '7' AS descendant_concept_id"
    path = tmp_path / "omop.duckdb"
    database = filled(path, *TABLES, below)
    descendants = ENTRY.replace('"7"', '"6+"')
    assert rows(selected(database, descendants)) == [("1", 2, 0), ("2", 0, 1)]
    filled(path, "ALTER TABLE condition_occurrence ALTER condition_concept_id TYPE VARCHAR")
    assert rows(selected(database, descendants)) == [("1", 2, 0), ("2", 0, 1)]
    filled(path, "ALTER TABLE concept_ancestor ALTER descendant_concept_id TYPE BIGINT")
    assert rows(selected(database, descendants)) == [("1", 2, 0), ("2", 0, 1)]


def test_a_cohort_table_that_is_none_of_the_model_is_told(tmp_path: Path) -> None:
    path = tmp_path / "omop.duckdb"
    database = filled(path, *TABLES, "ALTER TABLE cohort RENAME cohort_definition_id TO definition")
    with pytest.raises(SchemaError, match="table cohort has no field cohort_definition_id"):
        selected(database)
    filled(path, "DROP TABLE cohort")
    with pytest.raises(SchemaError, match="this database has no table cohort"):
        selected(database)


def test_ancestors_without_their_fields_are_told(tmp_path: Path) -> None:
    database = filled(tmp_path / "omop.duckdb", *TABLES, "CREATE TABLE CONCEPT_ANCESTOR (ancestor INT)")
    with pytest.raises(
        SchemaError, match="table concept_ancestor has no field ancestor_concept_id, descendant_concept_id"
    ):
        selected(database, ENTRY.replace('"7"', '"7+"'))


def test_without_a_row_of_ancestors_a_concept_is_itself(tmp_path: Path) -> None:
    ancestors = "CREATE TABLE concept_ancestor (ANCESTOR_CONCEPT_ID INT, DESCENDANT_CONCEPT_ID INT)"
    database = filled(tmp_path / "omop.duckdb", *TABLES, ancestors)
    assert rows(selected(database, ENTRY.replace('"7"', '"7+"'))) == [("1", 2, 0), ("2", 0, 1)]
    filled(tmp_path / "omop.duckdb", "INSERT INTO concept_ancestor VALUES (6, 7)")
    assert rows(selected(database, ENTRY.replace('"7"', '"6+"'))) == [("1", 2, 0), ("2", 0, 1)]


WARD = """
name = "ward"
[cohort.codes]
pressure = { omop = ["3004249+"] }
sinusitis = { omop = ["40481087"] }
[cohort.index]
encounter = true
which = "last"
[cohort.columns.pressure]
observation = "pressure"
take = "mean"
window = ["-3650d", "1d"]
low = 10
high = 300
unit = "mm[Hg]"
[cohort.columns.sinusitis]
condition = "sinusitis"
take = "count"
window = ["-36500d", "1d"]
high = 50
[cohort.columns.age]
patient = "age"
low = 0
high = 120
[analysis]
kind = "describe"
"""
READ = (
    "person", "visit_occurrence", "measurement", "observation", "condition_occurrence", "concept",
    "concept_ancestor",
)  # fmt: skip


@pytest.fixture(scope="module")
def synthea(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Synthea's tables in CDM 5.4, as they should be and as somebody has loaded them in a hurry.

    The hasty copy has names in capitals, texts in every column, its header as a row and no value.
    """
    folder = tmp_path_factory.mktemp("synthea")
    made = {name: folder / f"{name}.duckdb" for name in ("clean", "hasty")}
    with zipfile.ZipFile(PACKED) as packed:
        for name in READ:
            packed.extract(f"{name.upper()}.csv", folder)
    for name in READ:
        file = folder / f"{name.upper()}.csv"
        filled(made["clean"], f"CREATE TABLE {name} AS SELECT * FROM read_csv('{file}')")
        capitals = file.read_text(encoding="utf-8").splitlines()[0].upper().split(",")
        source = f"read_csv('{file}', all_varchar = true, header = false, names = {capitals})"
        filled(made["hasty"], f"CREATE TABLE {name.upper()} AS SELECT * FROM {source}")
    filled(made["hasty"], "DELETE FROM CONCEPT_ANCESTOR")  # as in the clean one, it has no row
    return made


def told(path: Path, folder: Path) -> dict[str, tuple[str, str]]:
    policy = SitePolicy.model_validate(
        {
            "id": "a", "data": f"duckdb:///{path}", "coordinator": "ws://x", "state": folder / "state",
            "tables": {"events": "*"}, "layout": "omop",
        }
    )  # fmt: skip
    lines = check_readiness(policy, parse_study(tomllib.loads(WARD))).lines
    return {line.what: (line.verdict, line.found) for line in lines}


def ward(path: Path) -> Table:
    words: Any = tomllib.loads(WARD)["cohort"]
    return load_cohort(f"duckdb:///{path}", Cohort(**words), 0, {}, events=HERE)


@needs_synthea
def test_a_hasty_copy_of_the_model_gives_the_same_patients(synthea: dict[str, Path]) -> None:
    clean, hasty = ward(synthea["clean"]), ward(synthea["hasty"])
    frames = [
        pd.DataFrame({"patient_id": table.patient_ids, **table.columns}).sort_values(
            "patient_id", ignore_index=True
        )
        for table in (clean, hasty)
    ]
    assert len(frames[0]) == 28
    assert frames[0]["pressure"].notna().all()
    assert frames[0]["sinusitis"].gt(0).sum() == 23
    pd.testing.assert_frame_equal(frames[0], frames[1])


def test_tables_without_the_fields_that_checks_read_are_told(tmp_path: Path) -> None:
    periods = (
        "CREATE TABLE observation_period AS SELECT 1 AS person_id, DATE '2019-01-01' AS"
        " observation_period_start_date, DATE '2021-01-01' AS observation_period_end_date"
    )
    path = tmp_path / "omop.duckdb"
    filled(path, *TABLES, periods, "ALTER TABLE person RENAME person_id TO subject")
    words = ENTRY.replace("cohort_definition = 7", 'cohort_definition = 7\nobserved = ["-30d", "0d"]')
    cohort = Cohort(**tomllib.loads(words))
    with reading(f"duckdb:///{path}") as connection:
        found = {(fault.check, fault.table) for fault in faults(connection, cohort)}
    assert ("cdmField", "person.person_id") in found
    assert ("cdmField", "observation_period.observation_period_id") in found


@needs_synthea
def test_what_a_copy_has_of_its_own_is_told(synthea: dict[str, Path], tmp_path: Path) -> None:
    clean, hasty = told(synthea["clean"], tmp_path), told(synthea["hasty"], tmp_path)
    no_row = {"omop concept_ancestor": ("warning", "descendants fails for 0 rows")}
    assert {what: line for what, line in clean.items() if what.startswith("omop ")} == no_row
    assert hasty["omop concept_ancestor"] == no_row["omop concept_ancestor"]
    assert hasty["omop measurement.person_id"] == ("warning", "cdmDatatype fails")
    assert hasty["omop visit_occurrence.visit_start_date"] == (
        "warning", "plausibleAfterBirth fails for 1 rows"
    )  # fmt: skip
    filled(synthea["hasty"], "UPDATE MEASUREMENT SET VALUE_AS_NUMBER = NULL")
    assert told(synthea["hasty"], tmp_path)["omop measurement.value_as_number"] == (
        "warning", "measureValueCompleteness fails for 10,041 rows"
    )  # fmt: skip
    assert ward(synthea["hasty"]).columns["pressure"].size == 28

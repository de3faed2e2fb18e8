"""Columns of a hospital's database by their SQL type: read or told; none vanishes, none ends an import."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.sql import sql_source
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from tests.postgres import Postgres

UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"


@pytest.fixture(scope="module")
def hospital(postgres_server: Postgres) -> str:
    url = postgres_server.create("types")
    with writing(url) as connection:
        for statement in (
            "CREATE DOMAIN years AS integer CHECK (VALUE >= 0)",
            "CREATE TABLE visits (patient_id uuid, age years, seen date, at timestamp, clock time, host inet,"
            " paid money, stay interval, notes jsonb, codes text[], place point, tag xml)",
            f"INSERT INTO visits VALUES ('{UUID}', 40, 'infinity', '0044-03-15 BC', '24:00', '10.0.0.1',"
            " 5, '100000000 years', '{}', '{}', '(1,2)', '<a/>')",
            f"INSERT INTO visits VALUES ('{UUID}', 41, '2026-01-02', '2026-01-02 10:00', '10:00', NULL)",
            "CREATE MATERIALIZED VIEW ages AS SELECT patient_id::text, age, age * 1.5 AS more FROM visits",
        ):
            connection.exec_driver_sql(statement)
    return url


def test_one_infinite_date_ends_no_import_and_what_is_left_out_is_told(hospital: str, tmp_path: Path) -> None:
    source = sql_source(hospital, "visits", "records", None)
    assert [note.partition(" is left out")[0] for note in source.notes] == [
        "paid", "stay", "notes", "codes", "place", "tag",
    ]  # fmt: skip
    assert source.notes[0] == (
        "paid is left out: it is MONEY; cast it to a number or a text in a view, and name that view"
    )
    report = import_source(source, tmp_path / "s.db", MADE_UP)
    assert (report.written["records"], report.refusals) == (2, [])
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        rows = connection.execute("SELECT patient_id, age, seen, at, clock, host FROM records").fetchall()
    assert rows == [
        (UUID, 40.0, "infinity", "0044-03-15 00:00:00 BC", "24:00:00", "10.0.0.1"),
        (UUID, 41.0, "2026-01-02", "2026-01-02 10:00:00", "10:00:00", None),
    ]


def test_what_the_note_says_to_do_works(hospital: str, tmp_path: Path) -> None:
    with writing(hospital) as connection:
        connection.exec_driver_sql(
            "CREATE VIEW paid AS SELECT patient_id, paid::numeric AS paid, extract(day from stay) AS days"
            " FROM visits"
        )
    source = sql_source(hospital, "paid", "records", None)
    assert source.notes == []
    assert import_source(source, tmp_path / "s.db", MADE_UP).written["records"] == 2


def test_a_mapping_cannot_name_a_column_that_is_not_read(hospital: str) -> None:
    mapping = MappedTable.model_validate({"columns": {"days": {"from": "stay"}}})
    with pytest.raises(SchemaError, match=r"visits: column stay is INTERVAL, which is not read; cast it"):
        sql_source(hospital, "visits", "records", mapping)


def test_a_materialised_view_is_a_table(hospital: str, tmp_path: Path) -> None:
    found = catalogue(hospital, {"ages": ["age", "more"]})["tables"]["ages"]["columns"]
    assert {name: facts["kind"] for name, facts in found.items()} == {"age": "numeric", "more": "numeric"}
    cohort = Cohort(table="ages", columns={"age": Numeric(0, 100)}, split=None)
    read = load_cohort(hospital, cohort, 0, {"ages": ["age", "more"]})
    assert read.columns["age"].tolist() == [40.0, 41.0]
    assert (
        import_source(
            sql_source(hospital, "ages", "records", None), tmp_path / "s.db", MADE_UP
        ).written.total()
        == 2
    )


def test_a_study_is_refused_a_column_that_is_not_read_before_any_row(hospital: str) -> None:
    cohort = Cohort(table="visits", columns={"notes": Categorical(("a", "b"))}, split=None)
    with pytest.raises(SchemaError, match=r"column visits\.notes: is JSONB, which is not read; cast it"):
        load_cohort(hospital, cohort, 0, {"visits": ["notes"]})


def test_an_expression_in_a_view_of_sqlite_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (patient_id INTEGER, kg REAL, m REAL)")
        connection.execute("INSERT INTO t VALUES (1, 80, 2), (2, 90, 2)")
        connection.execute("CREATE VIEW v AS SELECT patient_id, kg / (m * m) AS bmi, 'x' AS word FROM t")
    assert set(catalogue(path, None)["tables"]["v"]["columns"]) == {"bmi", "word"}
    words = Categorical(("x", "y"))
    cohort = Cohort(table="v", columns={"bmi": Numeric(0, 100), "word": words}, split=None)
    read = load_cohort(path, cohort, 0, {"v": ["bmi", "word"]})
    assert read.columns["bmi"].tolist() == [20.0, 22.5]
    assert read.columns["word"].tolist() == [0, 0]
    source = sql_source(path, "v", "records", None)
    assert source.notes[0] == (
        "bmi is read as text, for the source gives it no type; name it in a mapping if it holds numbers"
    )
    assert import_source(source, tmp_path / "s.db", MADE_UP).written["records"] == 2


def test_another_patient_column_needs_no_mapping_of_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (mrn INTEGER, age INTEGER, word TEXT)")
        connection.execute("INSERT INTO t VALUES (7, 40, 'x')")
    mapping = MappedTable.model_validate({"patient_id": "mrn", "others": True})
    import_source(sql_source(path, "t", "records", mapping), tmp_path / "s.db", MADE_UP)
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        assert connection.execute("SELECT patient_id, age, word FROM records").fetchall() == [
            ("7", 40.0, "x")
        ]


def test_a_table_without_patients_is_numbered_as_the_refusal_says(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (age INTEGER)")
        connection.execute("INSERT INTO t VALUES (40), (50)")
    with pytest.raises(SchemaError, match="number them in a view: CREATE VIEW numbered AS") as refused:
        sql_source(path, "t", "records", None)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(str(refused.value).partition("in a view: ")[2])
    import_source(sql_source(path, "numbered", "records", None), tmp_path / "s.db", MADE_UP)
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        found = connection.execute("SELECT patient_id, age FROM records ORDER BY id").fetchall()
    assert found == [("1", 40.0), ("2", 50.0)]

"""A hospital's DuckDB file: read where it is, by a study and by an import, and never written."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")

from fedcohort.columns import Binary, Categorical, Numeric
from fedcohort.errors import SchemaError, StoreError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.sql import key_of, sql_source
from fedcohort.storage import timeouts
from fedcohort.storage.database import reading, writing
from fedcohort.study import Cohort
from tests.sources.importer.test_pipeline import ROWS, stored, write

OFFERED = {"labs": ["value", "size", "ill"]}
ASKED = Cohort(
    table="labs", columns={"value": Numeric(), "size": Categorical(("large", "small"))}, label=Binary("ill")
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "hospital.duckdb"
    with writing(f"duckdb:///{made}") as connection:
        for statement in (
            "CREATE TYPE size AS ENUM ('small', 'large')",
            "CREATE TABLE labs (lab INT PRIMARY KEY, patient_id VARCHAR, value DOUBLE, size size, ill INT)",
            "INSERT INTO labs VALUES (1, 'a', 'nan', 'small', 0), (2, 'b', 2.5, 'large', 1)",
            "INSERT INTO labs VALUES (3, 'c', 9, NULL, 1)",
            "CREATE VIEW recent AS SELECT patient_id, value FROM labs WHERE lab > 1",
        ):
            connection.exec_driver_sql(statement)
    return made


def test_a_study_reads_a_table_by_the_same_words(file: Path) -> None:
    table = load_cohort(f"duckdb:///{file}", ASKED, 0, OFFERED)
    assert table.patient_ids.tolist() == ["a", "b", "c"]
    assert table.columns["size"].tolist()[:2] == [1, 0]
    some = load_cohort(
        f"duckdb:///{file}", ASKED.model_copy(update={"where": "value > 1 AND size < 'm'"}), 0, OFFERED
    )
    assert some.patient_ids.tolist() == ["b"]


def test_the_catalogue_tells_its_columns(file: Path) -> None:
    told = catalogue(f"duckdb:///{file}", OFFERED)
    assert told["tables"]["labs"]["columns"]["value"]["kind"] == "numeric"


def test_a_table_and_a_view_come_in_by_their_keys(file: Path, tmp_path: Path) -> None:
    url = f"duckdb:///{file}"
    assert key_of(url, "labs", None) == ("lab",)
    keys = {"labs": key_of(url, "labs", None)}
    report = import_source(sql_source(url, "labs", "labs", None), tmp_path / "s.db", MADE_UP, keys=keys)
    assert report.written["labs"] == 3
    assert stored(tmp_path / "s.db", "labs", "patient_id, value, size") == [
        ("a", None, "small"),
        ("b", 2.5, "large"),
        ("c", 9.0, None),
    ]
    import_source(sql_source(url, "recent", "recent", None), tmp_path / "s.db", MADE_UP)
    assert stored(tmp_path / "s.db", "recent", "patient_id") == [("b",), ("c",)]
    with pytest.raises(SchemaError, match="it has labs"):
        sql_source(url, "nothing", "labs", None)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM labs",
        "CREATE TABLE t (x INT)",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY labs TO '{folder}/labs.csv'",
        "ATTACH '{folder}/other.duckdb'",
        "SET enable_external_access = true",
        "INSTALL httpfs",
    ],
)
def test_reading_writes_nothing_and_opens_no_other_file(file: Path, statement: str) -> None:
    before = file.read_bytes()
    with pytest.raises(StoreError) as caught, reading(f"duckdb:///{file}") as connection:
        connection.exec_driver_sql(statement.format(folder=file.parent))
    assert "patient" not in str(caught.value)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["hospital.duckdb"]


def test_a_query_that_takes_too_long_is_ended(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "QUERY_SECONDS", 0.3)
    with (
        pytest.raises(StoreError, match="narrow the cohort"),
        reading(f"duckdb:///{file}") as connection,
    ):
        connection.exec_driver_sql("SELECT sum(a.i * b.i) FROM range(100000) a(i), range(10000000) b(i)")


def test_what_is_no_duckdb_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("not a database " * 1000, encoding="utf-8")
    for name, said in (("none.duckdb", "no such file"), ("text.duckdb", "no DuckDB database")):
        with pytest.raises(StoreError, match=said):
            load_cohort(f"duckdb:///{tmp_path / name}", ASKED, 0, OFFERED)
    assert not (tmp_path / "none.duckdb").exists()


@pytest.mark.processes
def test_a_file_that_another_program_writes_is_told(file: Path) -> None:
    held = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(StoreError, match="another program writes to it"):
            load_cohort(f"duckdb:///{file}", ASKED, 0, OFFERED)
        other.communicate()


def test_imports_are_not_written_to_it(file: Path, tmp_path: Path) -> None:
    source = csv_source(write(tmp_path / "a.csv", ROWS), "records", None)
    with pytest.raises(StoreError, match="imports are written to SQLite and PostgreSQL"):
        import_source(source, f"duckdb:///{file}", MADE_UP)

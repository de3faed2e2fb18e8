"""A key that restarts per patient replaces no other patient's record: it is refused, and the remedy works."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.storage.database import reading
from tests.postgres import Postgres

ROWS = "patient_id,visit,age\n" + "".join(f"p{n % 3},{n // 3},{40 + n}\n" for n in range(9))
ASKED = "SELECT patient_id, visit, age FROM records ORDER BY patient_id, visit"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/s.db"
    server: Postgres = request.getfixturevalue("postgres_server")
    return server.create("keys" + request.node.name.partition("[")[0][-20:].replace("_", ""))


def brought(folder: Path, rows: str, database: str, key: list[str]) -> tuple[list[tuple[object, ...]], str]:
    path = folder / "visits.csv"
    path.write_text(rows)
    columns = {"visit": {"text": True}, "age": {}}
    mapping = MappedTable.model_validate({"key": key, "columns": columns})
    report = import_source(csv_source(path, "records", mapping), database, MADE_UP, keys={"records": key})
    with reading(database) as connection:
        return [tuple(row) for row in connection.execute(text(ASKED))], str(report)


def test_a_key_that_restarts_per_patient_is_refused_by_record(database: str, tmp_path: Path) -> None:
    found, told = brought(tmp_path, ROWS, database, ["visit"])
    assert found == [("p0", "0", 40.0), ("p0", "1", 43.0), ("p0", "2", 46.0)]
    assert "3 into records (each key once)" in told
    remedy = 'write key = ["patient_id", "visit"] in the mapping, and import into a new database'
    assert f"6 refused: visit is the key of another patient's record: {remedy}" in told


def test_the_remedy_brings_everybody_in(database: str, tmp_path: Path) -> None:
    found, told = brought(tmp_path, ROWS, database, ["patient_id", "visit"])
    assert len(found) == 9
    assert "refused" not in told


def test_a_later_file_cannot_take_another_patient_s_record_either(database: str, tmp_path: Path) -> None:
    brought(tmp_path, "patient_id,visit,age\np0,1,40\n", database, ["visit"])
    found, told = brought(tmp_path, "patient_id,visit,age\np1,1,50\np0,1,41\n", database, ["visit"])
    assert found == [("p0", "1", 41.0)]
    assert "1 into records (each key once, 1 in place of others)" in told
    assert "1 refused: visit is the key of another patient's record" in told


def test_a_refusal_is_kept_with_its_place(tmp_path: Path) -> None:
    brought(tmp_path, ROWS, f"sqlite:///{tmp_path}/s.db", ["visit"])
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        kept = set(connection.execute("SELECT file, position, field FROM fedcohort_refusals"))
    assert kept == {("visits.csv", "records 1 to 9", "visit")}

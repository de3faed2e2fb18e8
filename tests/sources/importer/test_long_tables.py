"""The guide's way from a record a value to a record a patient, as it is written there."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from fedcohort.columns import Numeric
from fedcohort.errors import StoreError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.deidentify.pseudonym import pseudonym
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rule, Rules
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.derive import derive, read_derivations
from fedcohort.sources.importer.mapping import read_mapping
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.undo import undo
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from tests.postgres import Postgres
from tests.sources.importer.test_pipeline import write

GUIDE = Path(__file__).parents[3] / "docs" / "data.md"
ROWS = [
    "1,creatinine,2020-03-02,130",
    "1,creatinine,2020-03-01,80",
    "1,glucose,2020-03-01,",
    "1,glucose,2020-03-05,5.5",
    "2,creatinine,2020-01-01,99999",
    "2,creatinine,2020-01-02,90",
    "2,lipase,2020-01-01,12",
]
FIRST = Cohort(
    table="first_labs", columns={"creatinine": Numeric(0, 2000), "glucose": Numeric(0, 60)}, split=None
)


def of_guide(kind: str, about: str) -> str:
    found: list[str] = re.findall(rf"```{kind}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in found if about in block)


def bring_labs(folder: Path, database: str | Path, rows: list[str]) -> None:
    (folder / "mapping.toml").write_text(of_guide("toml", "tables.labs.columns.item"))
    mapping = read_mapping(folder / "mapping.toml")["labs"]
    file = write(folder / f"labs{len(rows)}.csv", rows, "patient_id,item,drawn,value")
    source = csv_source(file, "labs", mapping)
    rules = Rules(columns={"drawn": Rule(role="date")})
    import_source(source, database, RuleSet(rules, b"k" * 32))


def firsts(database: Path) -> dict[str, list[float]]:
    table = load_cohort(database, FIRST, 0, {"first_labs": ["creatinine", "glucose"]})
    columns = zip(*(table.columns[name].tolist() for name in ("creatinine", "glucose")), strict=True)
    return {str(patient): list(row) for patient, row in zip(table.patient_ids, columns, strict=True)}


def test_the_view_of_the_guide_makes_a_record_a_patient_of_a_record_a_value(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring_labs(tmp_path, database, ROWS)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(of_guide("sql", "first_labs"))
    first, second, third = (pseudonym(b"k" * 32, number) for number in "123")
    assert firsts(database) == {first: [80.0, 5.5], second: [90.0, pytest.approx(float("nan"), nan_ok=True)]}
    bring_labs(tmp_path, database, ["3,glucose,2021-01-01,6.5"])
    assert firsts(database)[third][1] == 6.5
    assert set(catalogue(database, None)["tables"]["first_labs"]["columns"]) == {"creatinine", "glucose"}


def test_a_view_on_a_table_that_would_go_is_named_on_postgresql(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    url = postgres_server.create("long_tables")
    bring_labs(tmp_path, url, ROWS)
    with writing(url) as connection:
        connection.execute(text(of_guide("sql", "first_labs")))
    with pytest.raises(StoreError, match="has a view on the table; drop the view first"):
        undo(url, 1)
    with writing(url) as connection:
        connection.execute(text("DROP VIEW first_labs"))
    assert [one.number for one in undo(url, 1)] == [1]


def test_the_derived_table_of_the_guide_is_made_as_it_is_written_there(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring_labs(tmp_path, database, ROWS)
    people = write(tmp_path / "patients.csv", ["1,40", "2,50"], "patient_id,age")
    import_source(csv_source(people, "patients", None), database, RuleSet(Rules(), b"k" * 32))
    (tmp_path / "derived.toml").write_text(of_guide("toml", "tables.first_labs"))
    (derivation,) = read_derivations(tmp_path / "derived.toml")
    assert derive(database, derivation).provenance.rows == 2
    cohort = Cohort(table="first_labs", columns=["age", "glucose"], split=None)
    columns = {"age": Numeric(0, 120, unit="years"), "glucose": Numeric(1, 600, unit="mg/dL")}
    read = load_cohort(
        database, cohort.model_copy(update={"columns": columns}), 0, {"first_labs": [*columns]}
    )
    assert sorted(read.columns["age"].tolist()) == [40.0, 50.0]

"""A site's catalogue: declared facts, never anything computed from rows."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.schema import Declared, read_declarations, write_declarations
from fedcohort.storage.database import reading, writing

WriteWard = Callable[..., Path]


def sql(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


def test_declared_bounds_and_levels_are_told_and_patients_are_not(write_ward: WriteWard) -> None:
    assert catalogue(write_ward(), None) == {
        "tables": {
            "ward": {
                "columns": {
                    "age": {"kind": "numeric", "low": 0.0, "high": 120.0, "unit": "years"},
                    "sex": {"kind": "categorical", "levels": ["f", "m"]},
                    "ill": {"kind": "categorical", "levels": [0, 1]},
                    "set": {"kind": "categorical", "levels": ["train", "test", "valid"]},
                }
            }
        }
    }


def test_the_vectors_elements_are_columns_in_their_order_and_the_vector_is_none(records: Path) -> None:
    columns = catalogue(records, None)["tables"]["records"]["columns"]
    assert list(columns) == ["diagnosis", "label", "age", "bp"]
    assert columns["bp"] == {"kind": "numeric", "low": 0.0, "high": 300.0, "unit": "mm Hg"}


def test_only_what_is_offered_is_told(write_ward: WriteWard) -> None:
    told = catalogue(write_ward(), {"ward": ["age", "patient_id"]})
    assert told == {
        "tables": {
            "ward": {"columns": {"age": {"kind": "numeric", "low": 0.0, "high": 120.0, "unit": "years"}}}
        }
    }
    assert catalogue(write_ward(), {}) == {"tables": {}}


def test_an_offer_of_what_is_not_there_is_refused(write_ward: WriteWard) -> None:
    with pytest.raises(SchemaError, match=r"site\.toml offers table yard, which the database lacks"):
        catalogue(write_ward(), {"yard": ["age"]})
    with pytest.raises(SchemaError, match=r"site\.toml offers column ward\.height, which the database lacks"):
        catalogue(write_ward(), {"ward": ["age", "height"]})


def test_a_hospitals_own_table_has_the_kinds_of_its_sql_types(tmp_path: Path) -> None:
    path = sql(
        tmp_path / "own.db",
        "CREATE TABLE own (stay INTEGER PRIMARY KEY, patient_id TEXT, age INTEGER, bmi NUMERIC, dose REAL, "
        "smoker BOOLEAN, ward VARCHAR(10), admitted DATE, note JSON, scan BLOB)",
        "INSERT INTO own VALUES (1, 'p', 40, 22.5, 1.5, 1, 'A', '2026-01-01', '{}', x'00')",
    )
    number = {"kind": "numeric", "low": None, "high": None}
    words = {"kind": "categorical", "levels": []}
    assert catalogue(path, None)["tables"]["own"]["columns"] == {
        "age": number,
        "bmi": number,
        "dose": number,
        "smoker": {"kind": "numeric", "low": 0.0, "high": 1.0},
        "ward": words,
        "admitted": words,
    }


def test_a_view_can_be_offered(write_ward: WriteWard) -> None:
    path = sql(write_ward(), "CREATE VIEW adults AS SELECT patient_id, age FROM ward WHERE age >= 18")
    assert catalogue(path, {"adults": ["age"]}) == {
        "tables": {"adults": {"columns": {"age": {"kind": "numeric", "low": None, "high": None}}}}
    }


def test_a_data_engineer_declares_a_table_of_their_own(tmp_path: Path) -> None:
    path = sql(tmp_path / "own.db", "CREATE TABLE own (patient_id TEXT, age INTEGER, ward TEXT)")
    declared = {"age": Declared(Numeric(18, 90), "years"), "ward": Declared(Categorical(("A", "B")))}
    for _ in range(2):
        with writing(path) as connection:
            write_declarations(connection, "own", declared)
    with reading(path) as connection:
        assert read_declarations(connection, "own") == declared
    assert catalogue(path, None)["tables"]["own"]["columns"] == {
        "age": {"kind": "numeric", "low": 18.0, "high": 90.0, "unit": "years"},
        "ward": {"kind": "categorical", "levels": ["A", "B"]},
    }


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE fedcohort_columns SET low = 200 WHERE column_name = 'age'",
        "UPDATE fedcohort_columns SET low = NULL WHERE column_name = 'age'",
        "UPDATE fedcohort_columns SET kind = 'other' WHERE column_name = 'age'",
        "UPDATE fedcohort_columns SET levels = '[1]' WHERE column_name = 'ill'",
        "UPDATE fedcohort_columns SET levels = '{' WHERE column_name = 'ill'",
        "UPDATE fedcohort_columns SET levels = '[[1], [2]]' WHERE column_name = 'ill'",
    ],
)
def test_a_damaged_declaration_is_refused(write_ward: WriteWard, damage: str) -> None:
    with pytest.raises(SchemaError, match="fedcohort_columns: what is declared about ward"):
        catalogue(sql(write_ward(), damage), None)

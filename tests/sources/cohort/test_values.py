"""Values that do not fit a study: an error that names table, column and remedy, and quotes no patient."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fedcohort.columns import Binary, Categorical, Numeric, Survival
from fedcohort.errors import DataError, SchemaError, ValueRangeError
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
from tests.build import changed

WriteWard = Callable[..., Path]
OFFERED = {"ward": ["age", "sex", "ill", "set"]}
WARD = Cohort(
    table="ward",
    columns={"age": Numeric(0, 120), "sex": Categorical(("f", "m"))},
    label=Binary("ill"),
    split="set",
)
RECORDS = Cohort(columns={"age": Numeric(0, 120), "bp": Numeric(0, 300)}, label=Binary("label"), split=None)
RECORDS_OFFERED = {"records": ["age", "bp", "diagnosis", "label"]}


MARKER = "MARKER-9173"
FAULTS = [
    ("age", f"'{MARKER}'", SchemaError, "ward.age: holds text where numbers are needed"),
    ("age", "9e999", ValueRangeError, "ward.age: holds an infinite"),
    ("age", "x'9173'", SchemaError, "ward.age: holds text where numbers"),
    ("sex", f"'{MARKER}'", SchemaError, "ward.sex: holds a level that is not among f, m"),
    ("sex", "9173", SchemaError, "ward.sex: holds a level that is not among f, m"),
    ("ill", "9173", SchemaError, "ward.ill: holds a level that is not among 0, 1"),
    ("ill", f"'{MARKER}'", SchemaError, "ward.ill: holds a level that is not among 0, 1"),
    ('"set"', f"'{MARKER}'", SchemaError, "ward.set: a split column holds train, test or valid"),
    ('"set"', "NULL", SchemaError, "ward.set: a split column holds train, test or valid"),
    ("patient_id", "''", SchemaError, "ward.patient_id: has rows without a patient"),
]


@pytest.mark.parametrize(("column", "value", "error", "message"), FAULTS, ids=range(len(FAULTS)))
def test_a_value_that_does_not_fit_is_refused_and_never_quoted(
    write_ward: WriteWard, column: str, value: str, error: type[DataError], message: str
) -> None:
    path = write_ward()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"UPDATE ward SET {column} = {value} WHERE patient_id = 'p2'")
    with pytest.raises(error, match=message) as caught:
        load_cohort(path, WARD, 0, OFFERED)
    assert "9173" not in _everything(caught.value)


def _everything(error: BaseException) -> str:
    """What a traceback would print of an error and its causes."""
    parts = [repr(error)]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "".join(parts + ([_everything(cause)] if cause else []))


@pytest.mark.parametrize("features", [f'["{MARKER}"]', "9173", f'{{"age": "{MARKER}"}}', MARKER, "[40]", ""])
def test_a_broken_json_vector_is_refused_and_never_quoted(records: Path, features: str) -> None:
    with closing(sqlite3.connect(records, isolation_level=None)) as connection:
        connection.execute("UPDATE records SET features = ? WHERE patient_id = 'b'", [features])
    with pytest.raises(SchemaError, match=r"^records\.") as caught:
        load_cohort(records, RECORDS, 0, RECORDS_OFFERED)
    assert "9173" not in _everything(caught.value)


def test_a_json_vector_that_cannot_be_read_is_refused_and_never_quoted(records: Path) -> None:
    with closing(sqlite3.connect(records, isolation_level=None)) as connection:
        connection.execute("UPDATE records SET features = ? WHERE patient_id = 'b'", [MARKER])
    with pytest.raises(SchemaError, match="a row is not a JSON list of") as caught:
        load_cohort(records, changed(RECORDS, where="age > 50"), 0, RECORDS_OFFERED)
    assert "9173" not in _everything(caught.value)


def test_a_value_beyond_the_declared_bounds_stays_for_the_analysis_to_clip(write_ward: WriteWard) -> None:
    cohort = changed(WARD, columns={"age": Numeric(30, 40)})
    table = load_cohort(write_ward(), cohort, 0, OFFERED)
    np.testing.assert_array_equal(table.columns["age"], [20.0, np.nan, 50.0])


def test_a_negative_survival_time_is_refused(write_ward: WriteWard) -> None:
    rows = [{"patient_id": "p", "age": -1.0, "sex": "f", "ill": 1, "set": "train"}]
    cohort = changed(WARD, columns={"sex": Categorical(("f", "m"))}, label=Survival("age", "ill"))
    with pytest.raises(ValueRangeError, match=r"ward\.age: holds a negative time"):
        load_cohort(write_ward(rows), cohort, 0, OFFERED)


def test_levels_that_mean_the_same_value_are_refused(write_ward: WriteWard) -> None:
    cohort = changed(WARD, columns={"sex": Categorical(("1", "1.0"))})
    with pytest.raises(SchemaError, match="mean the same value"):
        load_cohort(write_ward(), cohort, 0, OFFERED)

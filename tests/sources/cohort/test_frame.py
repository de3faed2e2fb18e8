"""A data frame is selected from as a database is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.columns import Binary, Categorical, Holdout, Number, Numeric
from fedcohort.errors import CohortError, SchemaError, StudyError, ValueRangeError
from fedcohort.sources.cohort.frame import catalogue_of_frame, table_from_frame
from fedcohort.sources.cohort.resolve import resolve_cohort
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
from tests.build import changed

WriteWard = Callable[..., Path]
FRAME = pd.DataFrame(
    {
        "age": [50.0, 20.0, np.nan, 70.0],
        "sex": ["m", "f", None, "f"],
        "ill": pd.array([1, 0, 1, None], dtype="Int64"),
        "set": ["test", "train", "train", "valid"],
        "patient_id": ["p3", "p1", "p2", "p4"],
    }
)
COHORT = Cohort(
    table="whatever",
    columns={"age": Numeric(0, 120), "sex": Categorical(("f", "m"))},
    label=Binary("ill"),
    split="set",
)


def test_a_frame_gives_the_table_that_a_database_gives(write_ward: WriteWard) -> None:
    ward = changed(COHORT, table="ward", where="age > 10 or age is null")
    stored = load_cohort(write_ward(), ward, 3, {"ward": ["age", "sex", "ill", "set"]})
    framed = table_from_frame(FRAME, ward, 3)
    assert framed.patient_ids.tolist() == stored.patient_ids.tolist() == ["p1", "p2", "p3"]
    for name in stored.columns:
        assert framed.columns[name].tobytes() == stored.columns[name].tobytes()
    assert framed.split.tolist() == stored.split.tolist()
    assert framed.label is not None
    assert stored.label is not None
    assert framed.label.tobytes() == stored.label.tobytes()


def test_where_is_asked_of_the_frame_whatever_the_tables_name() -> None:
    assert table_from_frame(
        FRAME, changed(COHORT, where="age < 60 and sex = 'm'"), 0
    ).patient_ids.tolist() == ["p3"]
    assert table_from_frame(FRAME, changed(COHORT, where="whatever.ill = 1"), 0).patient_ids.tolist() == [
        "p2",
        "p3",
    ]
    with pytest.raises(CohortError, match="selects nothing"):
        table_from_frame(FRAME, changed(COHORT, where="sex LIKE 'M'"), 0)
    with pytest.raises(CohortError, match="is not a column"):
        table_from_frame(FRAME, changed(COHORT, where="patient_id = 'p1'"), 0)
    with pytest.raises(CohortError, match="is not allowed"):
        table_from_frame(FRAME, changed(COHORT, where="age in (select 1)"), 0)


def test_a_column_named_as_the_helpers_own_is_no_trouble() -> None:
    frame = FRAME.rename(columns={"age": "position"})
    cohort = changed(COHORT, columns={"position": Numeric()}, where="position > 30")
    assert table_from_frame(frame, cohort, 0).patient_ids.tolist() == ["p3"]


def test_without_patient_id_every_row_is_a_patient() -> None:
    frame = FRAME.drop(columns="patient_id")
    table = table_from_frame(frame, changed(COHORT, where="age >= 50", label=None), 0)
    assert table.patient_ids.tolist() == ["0", "3"]
    with pytest.raises(SchemaError, match="data frame: has no column person"):
        table_from_frame(frame, changed(COHORT, patient_id="person"), 0)


def test_whatever_the_frames_index_and_types() -> None:
    frame = pd.DataFrame(
        {
            "x": pd.array([1, 2, None], dtype="Int32"),
            "y": [True, False, True],
            "z": pd.Categorical(["a", None, "b"]),
        },
        index=[7, 7, 7],
    )
    cohort = Cohort(columns={"x": Numeric(), "z": Categorical(("a", "b"))}, label=Binary("y"), split=None)
    table = table_from_frame(frame, cohort, 0)
    np.testing.assert_array_equal(table.columns["x"], [1, 2, np.nan])
    assert table.columns["z"].tolist() == [0, -1, 1]
    assert table.label is not None
    assert table.label.tolist() == [1.0, 0.0, 1.0]
    assert table_from_frame(frame, changed(cohort, where="y = 1 and z = 'b'"), 0).n_rows == 1


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        ([1.0, np.inf, 2.0], ValueRangeError, r"\.age: holds an infinite"),
        ([1, 10**400, 2], ValueRangeError, r"\.age: holds an infinite"),
        ([1.0, "MARKER", 2.0], SchemaError, r"\.age: holds text where numbers"),
        ([1.0, [9173], 2.0], SchemaError, r"\.age: holds text where numbers"),
        (pd.to_datetime(["2026-01-01"] * 3), SchemaError, r"\.age: holds text where numbers"),
        ([1j, 2j, 3j], SchemaError, r"\.age: holds text where numbers"),
    ],
)
def test_what_is_no_finite_number_is_refused_and_never_quoted(
    column: Any, error: type[Exception], message: str
) -> None:
    cohort = Cohort(columns={"age": Numeric()}, split=None)
    with pytest.raises(error, match=message) as caught:
        table_from_frame(pd.DataFrame({"age": column}), cohort, 0)
    assert "MARKER" not in str(caught.value)
    assert "9173" not in str(caught.value)


def test_a_list_is_no_level() -> None:
    cohort = Cohort(columns={"sex": Categorical(("f", "m"))}, split=None)
    with pytest.raises(SchemaError, match="neither text nor number"):
        table_from_frame(pd.DataFrame({"sex": [["f"], ["m"]]}), cohort, 0)


def test_where_asks_about_whatever_stands_in_a_column() -> None:
    cohort = Cohort(columns={"n": Numeric()}, split=None)
    frame = pd.DataFrame({"n": range(6), "odd": [["f"], {"f": 1}, "f", 10**400, b"f", None]}, dtype=object)
    for where, rows in [
        ("odd = 'f'", ["2"]),
        ("odd <> 'g'", ["2"]),
        ("odd > 5", ["3"]),
        ("odd IS NULL", ["5"]),
        ("odd IS NOT NULL", ["0", "1", "2", "3", "4"]),
    ]:
        assert table_from_frame(frame, changed(cohort, where=where), 0).patient_ids.tolist() == rows


def test_missing_and_double_columns_are_named() -> None:
    with pytest.raises(SchemaError, match=r"data frame: has no column height; its columns are age, sex"):
        table_from_frame(FRAME, changed(COHORT, columns={"height": Numeric()}), 0)
    twice = pd.concat([FRAME, FRAME[["age"]]], axis="columns")
    with pytest.raises(SchemaError, match="two columns are called age"):
        table_from_frame(twice, COHORT, 0)
    with pytest.raises(StudyError, match=r"columns age: write \[cohort.columns\]"):
        table_from_frame(FRAME, Cohort(columns=("age",)), 0)


def test_an_empty_frame_selects_nothing() -> None:
    with pytest.raises(CohortError, match="selects nothing"):
        table_from_frame(FRAME.iloc[:0], COHORT, 0)


def test_a_frames_catalogue_tells_types_and_no_values() -> None:
    frame = FRAME.assign(
        ok=[True, False, True, True], grade=pd.Categorical(["lo", "hi", "lo", "lo"]), when=pd.Timestamp(0)
    )
    words = {"kind": "categorical", "levels": []}
    assert catalogue_of_frame(frame) == {
        "tables": {
            "*": {
                "columns": {
                    "age": {"kind": "numeric", "low": None, "high": None},
                    "sex": words,
                    "ill": {"kind": "numeric", "low": None, "high": None},
                    "set": words,
                    "ok": {"kind": "numeric", "low": 0.0, "high": 1.0},
                    "grade": {"kind": "categorical", "levels": ["hi", "lo"], "ordered": False},
                    "when": words,
                }
            }
        }
    }
    assert list(catalogue_of_frame(frame, "records")["tables"]) == ["records"]


@pytest.mark.parametrize("ordered", [True, False])
def test_categories_that_somebody_has_put_in_order_stay_so(ordered: bool) -> None:
    given = pd.Categorical(["case", "control", "case", "case"], ["control", "case"], ordered=ordered)
    sites = {"a": catalogue_of_frame(FRAME.assign(ill=given))}
    short = Cohort(columns={"age": Numeric(0, 120)}, label="ill")
    assert resolve_cohort(short, sites).label == Binary("ill", negative="control", positive="case")
    sorted_by_pandas = {"a": catalogue_of_frame(FRAME.assign(ill=pd.Categorical(["case", "control"] * 2)))}
    with pytest.raises(SchemaError, match=r"give fc\.Binary"):
        resolve_cohort(short, sorted_by_pandas)


def test_a_short_study_over_frames_works_without_declarations() -> None:
    short = Cohort(columns=("age",), label="ill", bounds={"age": (0.0, 120.0)}, split="set")
    cohort = resolve_cohort(short, {"a": catalogue_of_frame(FRAME), "b": catalogue_of_frame(FRAME)})
    assert (cohort.columns, cohort.label) == ({"age": Numeric(0, 120)}, Binary("ill"))
    assert table_from_frame(FRAME, cohort, 0).n_rows == 3


CELLS = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=False), st.integers(-(2**53), 2**53))


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), CELLS, st.sampled_from(["f", "m", None, ""]), CELLS), min_size=1
    ),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 2**31 - 1),
)
def test_any_frame_in_any_order_gives_the_same_table(
    rows: list[tuple[Any, ...]], order: Any, seed: int
) -> None:
    cohort = Cohort(
        columns={"x": Numeric(), "sex": Categorical(("f", "m"))},
        label=Number(column="y", low=-1, high=1),
        split=Holdout(0.3),
    )
    names = ["patient_id", "x", "sex", "y"]
    labelled = [row for row in rows if row[3] is not None and row[3] == row[3]]
    frame = pd.DataFrame(rows, columns=names, dtype=object)
    if not labelled:
        with pytest.raises(CohortError, match="selects nothing"):
            table_from_frame(frame, cohort, seed)
        return
    table = table_from_frame(frame, cohort, seed)
    shuffled = [*rows]
    order.shuffle(shuffled)
    again = table_from_frame(pd.DataFrame(shuffled, columns=names, dtype=object), cohort, seed)
    assert table.n_rows == len(labelled)
    assert sorted(table.patient_ids.tolist()) == sorted(str(row[0]) for row in labelled)
    assert table.one_row_each == (len(set(table.patient_ids.tolist())) == table.n_rows)
    assert table.label is not None
    assert again.label is not None
    assert sorted(table.label.tolist()) == sorted(float(row[3]) for row in labelled)
    assert int((table.columns["sex"] == -1).sum()) == sum(not row[2] for row in labelled)
    assert table.label.tolist() == again.label.tolist()
    assert table.split.tolist() == again.split.tolist()
    np.testing.assert_array_equal(table.columns["x"], again.columns["x"])


def test_objects_and_categories_are_what_they_hold() -> None:
    frame = pd.DataFrame(
        {
            "number": pd.Series([1, 2.5, None], dtype=object),
            "truth": pd.Series([True, False, None], dtype=object),
            "word": pd.Series([1, "x", None], dtype=object),
            "bools": pd.Categorical([True, False, True]),
            "doses": pd.Categorical([1.5, 2.0, 1.5]),
        }
    )
    columns: Any = catalogue_of_frame(frame)["tables"]["*"]["columns"]
    assert columns == {
        "number": {"kind": "numeric", "low": None, "high": None},
        "truth": {"kind": "numeric", "low": 0.0, "high": 1.0},
        "word": {"kind": "categorical", "levels": []},
        "bools": {"kind": "categorical", "levels": [0, 1], "ordered": False},
        "doses": {"kind": "categorical", "levels": ["1.5", 2], "ordered": False},
    }
    asked = Cohort(columns=["number", "truth", "bools", "doses"], split=None)
    cohort = resolve_cohort(asked, {"a": catalogue_of_frame(frame)})
    read = table_from_frame(frame, cohort, 0)
    assert read.columns["bools"].tolist() == [1, 0, 1]
    assert sorted(read.columns["doses"].tolist()) == [0, 1, 1] or read.columns["doses"].tolist() == [1, 0, 1]
    np.testing.assert_array_equal(read.columns["number"], [1, 2.5, np.nan])
    np.testing.assert_array_equal(read.columns["truth"], [1, 0, np.nan])

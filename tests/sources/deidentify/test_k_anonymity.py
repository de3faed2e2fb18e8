"""k-anonymity and l-diversity of a table that a person can count by eye, and of any table against pandas."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import CohortError, ConfigError, SchemaError
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.deidentify.k_anonymity import k_anonymity
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows

WriteWard = Callable[..., Path]
COLUMNS = {
    "age": Declared(Numeric(0, 90), "years"),
    "sex": Declared(Categorical(("f", "m"))),
    "zip3": Declared(Categorical(("021", "606"))),
    "dx": Declared(Categorical(("I10", "I20"))),
}
# Three women of 40 in 021 (one with two visits), two men of 41 in 606, and a man of 70 alone.
ROWS = [
    ("a", 40.0, "f", "021", "I10"),
    ("a", 40.0, "f", "021", "I20"),
    ("b", 40.0, "f", "021", "I10"),
    ("c", 40.0, "f", "021", "I10"),
    ("d", 41.0, "m", "606", "I20"),
    ("e", 41.0, "m", "606", "I20"),
    ("f", 70.0, "m", "606", "I10"),
]
QUASI = ("age", "sex", "zip3")


def write(path: Path, rows: list[tuple[object, ...]]) -> Path:
    names = ("patient_id", *COLUMNS)
    write_rows(
        path,
        wide_table("ward", COLUMNS),
        COLUMNS,
        [dict(zip(names, row, strict=True)) for row in rows],
        MADE_UP,
    )
    return path


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    return write(tmp_path / "ward.db", list(ROWS))


def test_patients_are_counted_and_not_their_rows(ward: Path) -> None:
    found = k_anonymity(ward, "ward", QUASI, k=3, sensitive="dx")
    assert (found.classes.n_classes, found.classes.smallest, found.classes.n_rows) == (3, 1, 7)
    assert found.classes.rows_below == 3
    # The two men of 41 share I20, and the man alone shares with nobody; the women have both.
    assert (found.classes.least_values, found.classes.rows_uniform) == (1, 3)


def test_the_column_that_sets_patients_apart_comes_first(ward: Path) -> None:
    found = k_anonymity(ward, "ward", QUASI, k=3)
    assert found.without[0].column == "age"
    assert {change.column: change.classes.rows_below for change in found.without} == {
        "age": 0,
        "sex": 3,
        "zip3": 3,
    }


def test_numbers_with_bounds_are_tried_in_bands(ward: Path) -> None:
    found = k_anonymity(ward, "ward", ["age"], k=2)
    assert [(change.column, change.words) for change in found.coarser] == [
        ("age", "in bands of 5"),
        ("age", "in bands of 10"),
    ]
    assert found.without == ()


def test_a_table_that_holds_needs_no_remedy(ward: Path) -> None:
    found = k_anonymity(ward, "ward", ["sex"], k=3)
    assert (found.without, found.coarser) == ((), ())
    assert "3-anonymous" in str(found)
    assert "NOT" not in str(found)


def test_the_words_hold_counts_and_no_values(ward: Path) -> None:
    words = str(k_anonymity(ward, "ward", QUASI, k=3, sensitive="dx"))
    assert "NOT 3-anonymous; the smallest of 3 classes has 1 patients; 42.9% of rows" in words
    assert "dx: 1-diverse" in words
    assert not any(value in words for value in ("606", "021", "I20", "70"))


@pytest.mark.parametrize(
    ("quasi", "k", "sensitive"),
    [
        ([], 5, None),
        (["age", "age"], 5, None),
        (["age"], 5, "age"),
        (["age"], 1, None),
        (["patient_id"], 5, None),
    ],
)
def test_an_empty_question_is_refused(ward: Path, quasi: list[str], k: int, sensitive: str | None) -> None:
    with pytest.raises(ConfigError, match="k-anonymity"):
        k_anonymity(ward, "ward", quasi, k, sensitive)


def test_what_is_not_there_is_named(ward: Path) -> None:
    with pytest.raises(SchemaError, match="no such table"):
        k_anonymity(ward, "wards", ["age"])
    with pytest.raises(SchemaError, match="no column postcode"):
        k_anonymity(ward, "ward", ["age", "postcode"])
    with pytest.raises(SchemaError, match="no column"):
        k_anonymity(ward, "ward", ['age"; DROP TABLE ward; --'])


def test_an_empty_table_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "ward.db", list(ROWS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM ward"))
    engine.dispose()
    with pytest.raises(CohortError, match="no rows"):
        k_anonymity(path, "ward", ["age"])


def test_elements_of_the_json_vector_are_columns_too(records: Path) -> None:
    found = k_anonymity(records, "records", ["age", "label"], k=2)
    assert (found.classes.n_classes, found.classes.smallest) == (3, 1)


VALUES = st.tuples(
    st.sampled_from("abcdef"),
    st.sampled_from([30.0, 31.0, 55.0, None]),
    st.sampled_from(["f", "m", None]),
    st.sampled_from(["021", "606"]),
    st.sampled_from(["I10", "I20"]),
)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(VALUES, min_size=1, max_size=40), k=st.integers(2, 4))
def test_any_table_counts_as_pandas_counts_it(tmp_path: Path, rows: list[tuple[object, ...]], k: int) -> None:
    path = tmp_path / "any.db"
    path.unlink(missing_ok=True)
    write(path, rows)
    found = k_anonymity(path, "ward", QUASI, k=k, sensitive="dx").classes
    frame = pd.DataFrame(rows, columns=["patient_id", *COLUMNS])
    groups = frame.groupby(list(QUASI), dropna=False)
    patients = groups["patient_id"].nunique()
    assert (found.n_classes, found.smallest) == (len(patients), patients.min())
    assert found.rows_below == groups.size()[patients < k].sum()
    assert found.least_values == groups["dx"].nunique().min()

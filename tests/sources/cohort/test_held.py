"""Rows that a node holds: a study's table is made of them as of the database, and changes are found."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedcohort.columns import Binary, Categorical, Number, Numeric
from fedcohort.sources.cohort import select as cohort_source
from fedcohort.sources.cohort.columnar import Unsuited
from fedcohort.sources.cohort.held import Held, changes
from fedcohort.sources.cohort.select import hold_cohort, load_cohort
from fedcohort.sources.cohort.values import Coded
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.vector import Array
from tests.postgres import Postgres

OFFERED = {"t": ["x", "word", "dose", "ill"]}
COHORT = Cohort(
    table="t",
    columns={
        "x": Numeric(),
        "word": Categorical(("f", "m", "1")),
        "dose": Categorical(("0.5", 1, "0.50", 2)),
    },
    label=Binary("ill"),
)
DOSES = ("0.50", "1.0", "2", None)


def rows() -> Iterator[tuple[object, ...]]:
    """Patients with a row or three, values that are missing, and levels that are written in several ways."""
    for n in range(90):
        word, ill = (None, "f", "m", " f ", "1.0")[n % 5], (0, 1, None)[n % 3]
        yield f"p{n % 60:03}", None if n % 7 == 0 else n / 3 - 9, word, DOSES[n % 4], ill


def fill(address: str | Path, dose: str) -> None:
    with writing(address) as connection:
        types = f"patient_id text, x double precision, word text, dose {dose}, ill int"
        connection.exec_driver_sql(f"CREATE TABLE t ({types})")
        for row in rows():
            values = ["NULL" if value is None else f"'{value}'" for value in row]
            connection.exec_driver_sql(f"INSERT INTO t VALUES ({', '.join(values)})")


def assert_same_bits(one: Table, other: Table) -> None:
    assert one.label is not None
    assert other.label is not None
    assert one.patient_ids.tolist() == other.patient_ids.tolist()
    pairs: list[tuple[Array, Array]] = [(one.split, other.split), (one.label, other.label)]
    pairs += [(values, other.columns[name]) for name, values in one.columns.items()]
    for first, second in pairs:
        assert first.dtype == second.dtype
        assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("by_row", [False, True])
def test_a_table_of_what_is_held_has_the_databases_bits(
    tmp_path: Path, by_row: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_columns(*_: object) -> None:
        raise Unsuited

    if by_row:
        monkeypatch.setattr(cohort_source, "query_of", no_columns)
    path = tmp_path / "t.db"
    fill(path, "numeric")
    other = COHORT.model_copy(
        update={"label": Number("x", -100, 100), "columns": {"ill": Categorical((1, 0))}}
    )
    for cohort in (COHORT, other, COHORT.model_copy(update={"where": "x > 3"})):
        held = hold_cohort(path, cohort, OFFERED)
        assert_same_bits(held.table(cohort, 5), load_cohort(path, cohort, 5, OFFERED))


@pytest.mark.processes
def test_a_table_of_what_is_held_has_the_bits_of_a_server(postgres_server: Postgres) -> None:
    for dose in ("numeric(5, 2)", "real", "text"):
        address = postgres_server.create(f"held_{dose[:4]}")
        fill(address, dose)
        held = hold_cohort(address, COHORT, OFFERED)
        assert_same_bits(held.table(COHORT, 5), load_cohort(address, COHORT, 5, OFFERED))


VALUES = st.sampled_from([float("nan"), 0.0, -0.0, 1.0, 2.5])
ROWS = st.lists(st.tuples(st.sampled_from("abcd"), VALUES, st.sampled_from([None, "u", "v"])), max_size=8)
Rows = list[tuple[str, float, str | None]]


def held_of(rows: Rows) -> Held:
    rows = sorted(rows, key=lambda row: row[0])
    words = sorted({word for _, _, word in rows if word is not None})
    codes = np.array([-1 if word is None else words.index(word) for _, _, word in rows], np.int64)
    x = np.array([value for _, value, _ in rows], np.float64)
    patients = np.array([patient for patient, _, _ in rows], dtype="U1")
    return Held(patients, {("number", "x"): x, ("level", "w"): Coded(codes, tuple(words))})


def known(rows: Rows, patient: str, place: int) -> Counter[object]:
    """A patient's values of one column, or whole rows; two zeros are one, and missing is no value."""
    mine = [(None if x != x else x + 0.0, word) for who, x, word in rows if who == patient]
    return Counter(mine if place == 2 else [row[place] for row in mine if row[place] is not None])


@given(ROWS, ROWS)
def test_changes_are_those_of_the_patients_rows_in_any_order(before: Rows, now: Rows) -> None:
    found = changes(held_of(before), held_of(now))
    patients = sorted({patient for patient, _, _ in [*before, *now]})
    assert found.patients.tolist() == patients
    differing = {
        place: [one for one in patients if known(before, one, place) != known(now, one, place)]
        for place in (0, 1, 2)
    }
    assert found.patients[found.changed].tolist() == differing[2]
    gone = {who for who, _, _ in before} - {who for who, _, _ in now}
    assert found.patients[found.gone].tolist() == sorted(gone)
    assert found.least == min((len(differing[place]) for place in (0, 1) if differing[place]), default=0)

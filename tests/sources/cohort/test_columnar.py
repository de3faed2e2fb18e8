"""Columns read through Arrow: the bits that rows give, and rows wherever Arrow could tell otherwise."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fedcohort.columns import Binary, Categorical, Numeric
from fedcohort.errors import DataError, StoreError
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.cohort import columnar
from fedcohort.sources.cohort import select as cohort_source
from fedcohort.sources.cohort.columnar import Query, Unsuited, column_chunks
from fedcohort.sources.cohort.order import _words
from fedcohort.sources.cohort.patients import patients
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage import timeouts
from fedcohort.storage.database import database_url, writing
from fedcohort.study import Cohort
from fedcohort.table import Table
from tests.patience import until
from tests.postgres import Postgres

pytest.importorskip("adbc_driver_sqlite", reason="needs the extra [arrow]")

WriteWard = Callable[..., Path]
COHORT = Cohort(
    table="t",
    columns={"x": Numeric(), "word": Categorical(("f", "m", "1", "0.5"))},
    label=Binary("ill"),
)
OFFERED = {"t": ["x", "word", "ill"]}
NAMES = ("patient_id", "x", "word", "ill")


def table_of(
    path: Path, rows: Sequence[tuple[object, ...]], types: str = "patient_id TEXT, x, word TEXT, ill"
) -> Path:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"CREATE TABLE t ({types})")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
        connection.commit()
    return path


def asking(database: str | Path, statement: str) -> Query:
    return Query(database_url(database), statement, NAMES, frozenset(("patient_id", "word")))


def no_rows(*_: object) -> Iterator[Sequence[Sequence[object]]]:
    raise AssertionError("read by rows")


def no_columns(*_: object) -> None:
    raise Unsuited


def by_rows(
    path: str | Path,
    cohort: Cohort = COHORT,
    seed: int = 0,
    offered: dict[str, list[str]] = OFFERED,
    *,
    private: bool = False,
) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_source, "query_of", no_columns)
        return load_cohort(path, cohort, seed, offered, private=private)


def by_columns(path: str | Path, cohort: Cohort = COHORT, offered: dict[str, list[str]] = OFFERED) -> Table:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cohort_source, "_stream", no_rows)
        return load_cohort(path, cohort, 0, offered)


def assert_same_bits(one: Table, other: Table) -> None:
    assert one.label is not None
    assert other.label is not None
    pairs = [(one.patient_ids, other.patient_ids), (one.split, other.split), (one.label, other.label)]
    pairs += [(values, other.columns[name]) for name, values in one.columns.items()]
    for first, second in pairs:
        assert first.dtype == second.dtype
        assert first.tobytes() == second.tobytes()


def test_columns_and_rows_give_the_same_bits(tmp_path: Path) -> None:
    rows = [
        (f"p{n % 70:03}", None if n % 7 == 0 else n / 3, (None, "f", "m", "")[n % 4], n % 2)
        for n in range(200)
    ]
    path = table_of(tmp_path / "t.db", rows)
    assert by_columns(path).n_rows == 200
    assert_same_bits(by_columns(path), by_rows(path))


def test_many_batches_are_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "BATCH_ROWS", 3)
    path = table_of(tmp_path / "t.db", [(n, n / 3, "f", n % 2) for n in range(40)])
    assert_same_bits(by_columns(path), by_rows(path))


values = st.one_of(
    st.none(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False),
    st.sampled_from(["f", "m", " f", "1", "1.0", "+1", "-0", "", "é", "a\0b", "x" * 100]),
    st.sampled_from([b"f", b"\xff", b""]),
)
rows = st.lists(st.tuples(values, values, values, values), min_size=1, max_size=8)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(
    drawn=[("a", 1, "f", 1), ("b", 0.5, "f", 0), ("c", 2, b"m", 1), ("d", 2, 1, 1)],
    affinity="",
    private=False,
)
@example(drawn=[("a", 1, "f", 1), ("b", 0.5, "f", 0), ("c", 2, b"m", 1)], affinity="", private=False)
@example(drawn=[(b"a", 2**53 + 1, "f", 1), ("b", None, "f", 0)], affinity="", private=False)
@example(drawn=[("a", 1, "f", 1), ("b", None, "f", 0), ("c", "1", "f", 1)], affinity="", private=True)
@example(drawn=[(0.5, None, 0.5, 1), (1, None, None, 0), (3, 2.5, 1, 1)], affinity="", private=False)
@given(drawn=rows, affinity=st.sampled_from(["", "TEXT", "REAL", "INTEGER"]), private=st.booleans())
def test_whatever_stands_in_a_table_ends_alike_by_columns_and_by_rows(
    tmp_path: Path, drawn: list[tuple[object, ...]], affinity: str, private: bool
) -> None:
    path = table_of(tmp_path / "any.db", drawn, ", ".join(f"{name} {affinity}" for name in NAMES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar, "BATCH_ROWS", 2)
        patch.setattr(cohort_source, "CHUNK_ROWS", 2)  # of several faults the first chunk's is told
        loads = [partial(load, path, COHORT, 0, OFFERED, private=private) for load in (load_cohort, by_rows)]
        found, wanted = map(outcome, loads)
    if isinstance(wanted, Table) and isinstance(found, Table):
        assert_same_bits(found, wanted)
    else:
        assert found == wanted


def outcome(load: Callable[[], Table]) -> Table | str:
    try:
        return load()
    except (DataError, StoreError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("value", ["abc", "7", b"7"])
def test_one_odd_value_changes_no_other_patients_under_privacy(tmp_path: Path, value: object) -> None:
    """Arrow makes texts of a column's numbers where one is a text: 3 would be "3", and no number."""
    rows = [(f"p{n}", n, "f", 1) for n in range(20)]
    odd = table_of(tmp_path / "odd.db", [*rows, ("q", value, "f", 1)])
    found = load_cohort(odd, COHORT, 0, OFFERED, private=True)
    plain = load_cohort(table_of(tmp_path / "plain.db", rows), COHORT, 0, OFFERED, private=True)
    others = found.patient_ids != "q"
    assert np.isnan(found.columns["x"][~others]).all()
    assert found.columns["x"][others].tolist() == plain.columns["x"].tolist()


def test_without_the_drivers_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table_of(tmp_path / "t.db", [("a", 1.5, "f", 1)])
    monkeypatch.setitem(columnar._DRIVERS, "sqlite", "adbc_driver_absent.dbapi")
    assert load_cohort(path, COHORT, 0, OFFERED).columns["x"].tolist() == [1.5]
    with pytest.raises(AssertionError, match="read by rows"):
        by_columns(path)


@pytest.mark.parametrize("statement", ["DELETE FROM t", "CREATE TABLE u (x)"])
def test_columns_cannot_write(tmp_path: Path, statement: str) -> None:
    path = table_of(tmp_path / "t.db", [("a", 1.5, "f", 1)])
    with pytest.raises(Unsuited):
        list(column_chunks(asking(path, statement)))
    assert by_rows(path).n_rows == 1
    assert [found.name for found in tmp_path.iterdir()] == ["t.db"]


def test_like_tells_cases_apart_by_columns_as_by_rows(tmp_path: Path) -> None:
    path = table_of(tmp_path / "t.db", [("a", 1.0, "f", 1), ("b", 1.0, "m", 0)])
    asked = COHORT.model_copy(update={"where": "word LIKE 'F' OR word LIKE 'm'"})
    assert by_columns(path, asked).patient_ids.tolist() == ["b"]


def test_a_locked_file_is_named_after_both_have_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "LOCK_SECONDS", 0.1)
    path = table_of(tmp_path / "t.db", [("a", 1.0, "f", 1)])
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="is locked by another program"):
            load_cohort(path, COHORT, 0, OFFERED)


def test_a_query_that_takes_too_long_is_told_and_left_to_its_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table_of(tmp_path / "t.db", [(f"p{n}", 1.0, "f", 1) for n in range(3000)])
    monkeypatch.setattr(timeouts, "QUERY_SECONDS", 0.05)
    slow = "SELECT max(a.x), 1, 'f', 1 FROM t AS a, t AS b WHERE a.x + b.x = 0"
    with pytest.raises(StoreError, match="took longer than"):
        list(column_chunks(asking(path, slow)))
    wait_for_no_thread()


def test_whoever_stops_half_way_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "BATCH_ROWS", 2)
    path = table_of(tmp_path / "t.db", [(f"p{n}", 1.0, "f", 1) for n in range(100)])
    chunks = column_chunks(asking(path, "SELECT * FROM t"))
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    wait_for_no_thread()


def wait_for_no_thread() -> None:
    until(lambda: all(thread.name != columnar.THREAD for thread in threading.enumerate()), "the thread ends")


ALIKE, NOT_ALIKE = ("int", "bigint", "float8", "text", "boolean"), ("real", "numeric(8, 3)", "date", "size")
KINDS = [*((kind, True) for kind in ALIKE), *((kind, False) for kind in NOT_ALIKE)]


@pytest.mark.parametrize(("kind", "suited"), KINDS)
def test_types_of_postgresql_that_arrow_rounds_or_renames_are_read_by_rows(
    postgres_server: Postgres, kind: str, suited: bool
) -> None:
    address = postgres_server.create(f"types_{kind.split('(', maxsplit=1)[0]}")
    texts = {"boolean": "true", "date": "2020-01-02", "text": "m", "size": "m"}
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TYPE size AS ENUM ('s', 'm')")
        connection.exec_driver_sql(f"CREATE TABLE t (patient_id text, x {kind}, ill int)")
        connection.exec_driver_sql(f"INSERT INTO t VALUES ('a', '{texts.get(kind, '1')}', 1), ('b', NULL, 0)")
    column = Categorical(("m", "s", "2020-01-02")) if kind in texts and kind != "boolean" else Numeric()
    asked = Cohort(table="t", columns={"x": column}, label=Binary("ill"))
    rows = by_rows(address, asked, 0, {"t": ["x", "ill"]})
    if suited:
        assert_same_bits(by_columns(address, asked, {"t": ["x", "ill"]}), rows)
    else:
        with pytest.raises(AssertionError, match="read by rows"):
            by_columns(address, asked, {"t": ["x", "ill"]})
        assert_same_bits(load_cohort(address, asked, 0, {"t": ["x", "ill"]}), rows)


def test_a_cohort_of_postgresql_has_the_same_bits_by_columns_and_by_rows(postgres_server: Postgres) -> None:
    address = postgres_server.create("columns")
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TABLE t (patient_id text, x float8, word text, ill boolean)")
        connection.exec_driver_sql(
            "INSERT INTO t SELECT 'é' || n, CASE WHEN mod(n, 7) > 0 THEN n / 3.0 END, "
            "CASE WHEN mod(n, 5) > 0 THEN 'f' END, mod(n, 2) = 0 FROM generate_series(1, 500) AS n"
        )
    assert_same_bits(by_columns(address), by_rows(address))


def test_columns_of_postgresql_cannot_write(postgres_server: Postgres) -> None:
    address = postgres_server.create("readonly")
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TABLE t (patient_id text, x float8, word text, ill int)")
        connection.exec_driver_sql("INSERT INTO t VALUES ('a', 1, 'f', 1)")
    with pytest.raises(Unsuited):
        list(column_chunks(asking(address, "DELETE FROM t RETURNING *")))
    assert by_rows(address).n_rows == 1


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.one_of(texts, st.from_regex(r"[+-]?\d{1,17}(\.0+)?", fullmatch=True)), min_size=1))
def test_identifiers_mean_what_each_alone_means(drawn: list[str]) -> None:
    keys = [level_key(text) for text in drawn]
    for given_values in (drawn, np.array(drawn, np.str_)):
        found, unfit = patients(given_values, "t.patient_id")
        assert found.tolist() == [key or "" for key in keys]
        assert [one.rows.tolist() for one in unfit] == (
            [[key is None for key in keys]] if None in keys else []
        )


@given(st.lists(st.text(max_size=20).filter(lambda text: not text.endswith("\0")), min_size=1))
def test_identifiers_are_in_the_order_of_their_letters(drawn: list[str]) -> None:
    ids = np.array(drawn, np.str_)
    if ids.dtype.itemsize:
        assert ids[np.lexsort(_words(ids))].tolist() == sorted(drawn)

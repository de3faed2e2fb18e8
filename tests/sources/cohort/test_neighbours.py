"""Reading D + x, restricted to D, is reading D, to the bit: no patient changes how another is read.

Over every SQL type that can hold one odd value, every engine, chunk size and place of x.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.columns import Binary, Categorical, Numeric, Survival
from fedcohort.errors import DataError
from fedcohort.sources.cohort import columnar
from fedcohort.sources.cohort import select as cohort_source
from fedcohort.sources.cohort.columnar import Unsuited
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort
from fedcohort.table import Table
from tests.postgres import Postgres

DATES = ("2026-01-01", "2026-01-02 10:30:00", "10:00:00")
LEVELS = ("1", "1.5", "0.1", "flu", "9007199254740993", "true", *DATES)
OFFERED = {"t": ["v", "w", "s", "seen"]}
COLUMNS = Cohort(table="t", columns={"v": Numeric(0, 10), "w": Categorical(LEVELS)})
BESIDE = {"s": Categorical(("a", "b"))}
NEEDED = (
    Cohort(table="t", columns=BESIDE, label=Binary("v")),
    Cohort(table="t", columns=BESIDE, label=Survival("v", "seen")),
    Cohort(table="t", columns=BESIDE, split="v"),
)
TARGET = "zz-target"

# By SQL type: what D holds, and what x may hold, as SQL.
POSTGRES = {
    "bigint": (["1", "NULL", "9007199254740993"], ["NULL", "9223372036854775807", "0", "-1"]),
    "numeric": (["1.5", "1", "NULL"], ["1.50", "1.0000", "'NaN'", "'Infinity'", "1e400", "0.10"]),
    "numeric(38, 10)": (["1.5", "9007199254740993"], ["NULL", "1e20"]),
    "real": (["1.5", "0.1"], ["'NaN'", "'Infinity'", "NULL"]),
    "double precision": (["1.5", "0.1", "NULL"], ["'NaN'", "'Infinity'", "9007199254740993", "-0.0"]),
    "boolean": (["true", "false"], ["NULL"]),
    "text": (["'flu'", "'1.5'", "'1'"], ["NULL", "'hiv'", "'1.50'", "''", "E'\\ufeff1'", "'train'"]),
    "char(30)": (["'flu'", "'1'"], ["NULL", "'hiv'"]),
    "date": (["'2026-01-01'", "'2026-01-02'"], ["'infinity'", "'0044-03-15 BC'", "'10000-01-01'", "NULL"]),
    "timestamp": (["'2026-01-02 10:30'"], ["'infinity'", "'0044-03-15 BC'", "NULL"]),
    "timestamptz": (["'2026-01-02 10:30+00'"], ["'infinity'", "'2026-01-02 11:30+01'", "'0044-03-15 BC'"]),
    "time": (["'10:00'"], ["'24:00'", "NULL"]),
    "timetz": (["'10:00+00'"], ["'24:00+00'", "NULL"]),
    "interval": (["'1 day'"], ["'100000000 years'"]),
    "uuid": (["'6f9619ff-8b86-d011-b42d-00c04fc964ff'"], ["NULL"]),
    "inet": (["'10.0.0.1'"], ["'10.0.0.1/8'", "NULL"]),
    "bytea": (["'flu'", "'1'"], ["'\\xff00'", "NULL"]),
    "json": (["'[1]'"], ["'[" + "9" * 5000 + "]'", "'{}'", "NULL"]),
    "money": (["1.5"], ["NULL"]),
    "int[]": (["'{1}'"], ["'{}'", "NULL"]),
}
DUCKDB = {
    "BIGINT": POSTGRES["bigint"],
    "HUGEINT": (["1", "9007199254740993"], ["170141183460469231731687303715884105727", "NULL"]),
    "DECIMAL(38, 10)": (["1.5", "9007199254740993"], ["NULL", "100000000000000000000"]),
    "FLOAT": POSTGRES["real"],
    "DOUBLE": POSTGRES["double precision"],
    "BOOLEAN": POSTGRES["boolean"],
    "VARCHAR": (["'flu'", "'1.5'", "'1'"], ["NULL", "'hiv'", "'1.50'", "''", "'train'"]),
    "DATE": (["'2026-01-01'", "'2026-01-02'"], ["'infinity'", "'0044-03-15 (BC)'", "'10000-01-01'", "NULL"]),
    "TIMESTAMP": (["'2026-01-02 10:30:00'"], ["'infinity'", "'0044-03-15 (BC) 00:00:00'", "NULL"]),
    "TIMESTAMPTZ": (["'2026-01-02 10:30:00+00'"], ["'infinity'", "NULL"]),
    "TIMESTAMP_NS": (["'2026-01-02 10:30:00'"], ["'2026-01-02 10:30:00.123456789'", "NULL"]),
    "TIME": (["'10:00:00'"], ["'24:00:00'", "NULL"]),
    "INTERVAL": (["'1 day'"], ["'100000000 years'"]),
    "UUID": POSTGRES["uuid"],
    "BLOB": (["'flu'", "'1'"], ["'\\xFF\\x00'", "NULL"]),
    "JSON": (["'[1]'"], ["'{}'", "NULL"]),
    "INTEGER[]": (["[1]"], ["[]", "NULL"]),
    "ENUM('flu', '1', '1.5', 'hiv')": (["'flu'", "'1'"], ["'hiv'", "NULL"]),
}
WORDS = (["1", "1.5", "'flu'", "'2026-01-01'", "9007199254740993", "NULL"], [
    "NULL", "'hiv'", "'1.50'", "1.0", "0.5", "9e999", "x'ff'", "x'666c75'", "CAST(x'ff41' AS TEXT)", "''",
    "-1", "9223372036854775807", "'train'",
])  # fmt: skip
SQLITE = dict.fromkeys(("", "TEXT", "INTEGER", "REAL", "NUMERIC", "BLOB", "DATE", "BOOLEAN"), WORDS)


def statements(kind: str, values: Sequence[str], odd: str | None, place: int) -> Iterator[str]:
    """A table of twelve patients, and x among them where it is said."""
    yield f"CREATE TABLE t (patient_id VARCHAR(40), v {kind}, w {kind}, s VARCHAR(9), seen INTEGER)"
    rows = [(f"p{n:02}", values[n % len(values)], "ab"[n % 2], n % 2) for n in range(12)]
    if odd is not None:
        rows.insert(place, (TARGET, odd, "a", 1))
    for patient, value, letter, seen in rows:
        yield f"INSERT INTO t VALUES ('{patient}', {value}, {value}, '{letter}', {seen})"


def outcome(url: str | Path, cohort: Cohort) -> Table | str:
    try:
        return load_cohort(url, cohort, 3, OFFERED, None, private=True)
    except DataError as error:
        return f"{type(error).__name__}: {error}"


def assert_same_but_for_the_target(one: Table | str, more: Table | str) -> None:
    """Nobody else is there, and everybody else has the same bits."""
    if isinstance(one, str) or isinstance(more, str):
        assert one == more or (isinstance(one, str) and "selects nothing" in one)
        return
    others = more.patient_ids != TARGET
    pairs = [(one.patient_ids, more.patient_ids), (one.split, more.split), (one.label, more.label)]
    pairs += [(one.columns[name], more.columns[name]) for name in one.columns]
    for before, after in pairs:
        if before is not None and after is not None:
            kept = after[others].astype(before.dtype)
            assert before.tobytes() == kept.tobytes()


Make = Callable[[str, Sequence[str], str | None, int], str | Path]
Kinds = Mapping[str, tuple[list[str], list[str]]]


def check(make: Make, kinds: Kinds, kind: str, cohort: Cohort = COLUMNS) -> None:
    values, odd = kinds[kind]
    plain = outcome(make(kind, values, None, 0), cohort)
    for value in odd:
        for place in (0, 12):
            assert_same_but_for_the_target(plain, outcome(make(kind, values, value, place), cohort))


@pytest.fixture(params=[5, pytest.param(1000, marks=pytest.mark.slow)], ids=lambda rows: f"chunks of {rows}")
def chunk_rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_source, "CHUNK_ROWS", request.param)
    monkeypatch.setattr(columnar, "BATCH_ROWS", request.param)


@pytest.fixture(params=["by rows", "by columns"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "by columns":
        pytest.importorskip("adbc_driver_sqlite", reason="needs the extra [arrow]")
        return

    def no_columns(*_: object) -> None:
        raise Unsuited

    monkeypatch.setattr(cohort_source, "query_of", no_columns)


@pytest.fixture
def in_sqlite(tmp_path: Path) -> Make:
    path = tmp_path / "t.db"

    def make(kind: str, values: Sequence[str], odd: str | None, place: int) -> Path:
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in statements(kind, values, odd, place):
                connection.execute(statement)
        return path

    return make


@pytest.mark.usefixtures("chunk_rows", "way")
@pytest.mark.parametrize("kind", SQLITE)
def test_in_sqlite_one_patient_changes_no_other(in_sqlite: Make, kind: str) -> None:
    check(in_sqlite, SQLITE, kind)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("cohort", NEEDED, ids=["label", "survival", "split"])
def test_a_label_or_split_of_one_patient_changes_no_other_s(in_sqlite: Make, cohort: Cohort) -> None:
    values = ["0", "1", "'train'", "'test'", "1"]
    check(in_sqlite, {"": (values, WORDS[1])}, "", cohort)


@pytest.mark.usefixtures("chunk_rows", "way")
@pytest.mark.parametrize("kind", POSTGRES)
def test_in_postgresql_one_patient_changes_no_other(neighbours: str, kind: str) -> None:
    import psycopg

    def make(kind: str, values: Sequence[str], odd: str | None, place: int) -> str:
        with psycopg.connect(neighbours.replace("+psycopg", ""), autocommit=True) as connection:
            wanted = ["DROP TABLE IF EXISTS t", *statements(kind, values, odd, place)]
            connection.execute(";".join(wanted))
        return neighbours

    check(make, POSTGRES, kind)


@pytest.fixture(scope="module")
def neighbours(postgres_server: Postgres) -> str:
    return postgres_server.create("neighbours")


@pytest.mark.slow
@pytest.mark.usefixtures("chunk_rows")
@pytest.mark.parametrize("kind", DUCKDB)
def test_in_duckdb_one_patient_changes_no_other(tmp_path: Path, kind: str) -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs the extra [duckdb]")
    path = tmp_path / "t.duckdb"

    def make(kind: str, values: Sequence[str], odd: str | None, place: int) -> str:
        path.unlink(missing_ok=True)
        with duckdb.connect(str(path)) as connection:
            connection.execute(";".join(["BEGIN", *statements(kind, values, odd, place), "COMMIT"]))
        return f"duckdb:///{path}"

    check(make, DUCKDB, kind)

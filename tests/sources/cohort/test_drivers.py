"""No value ends a driver's reading: what Python has no value for does not fit, and changes no other row."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import DataError, SchemaError, StoreError
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.cohort.where.narrowing import is_stored
from fedcohort.storage.database import reading, writing
from fedcohort.study import Cohort
from tests.postgres import Postgres

pytestmark = pytest.mark.processes

pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")

OFFERED = {"t": ["n", "day", "seen", "dx"]}


def ids(address: str | Path, where: str, column: str = "n") -> list[str]:
    """Who is in a private cohort."""
    kind = Numeric() if column == "n" else Categorical(("flu", "cold", "2024-02-01", "2024-02-02"))
    asked = Cohort(table="t", columns={column: kind}, where=where, split=None)
    return [*map(str, load_cohort(address, asked, 0, OFFERED, None, True).patient_ids)]


ODD_DATES = ("infinity", "-infinity", "0044-03-15 BC", "20000-01-01")


@pytest.fixture(scope="module")
def dates(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two patients with dates, and one with each that Python does not have."""
    folder = tmp_path_factory.mktemp("drivers")
    found = {"postgresql": postgres_server.create("dates"), "duckdb": f"duckdb:///{folder / 'dates.duckdb'}"}
    for engine, address in found.items():
        with writing(address) as connection:
            connection.exec_driver_sql("CREATE TABLE t (patient_id text, n int, day date, seen timestamp)")
            rows = ["('a', 1, '2024-02-01', '2024-02-01 08:30:00')", "('b', 2, '2024-02-02', NULL)"]
            for row, date in enumerate(ODD_DATES):
                text = date.replace("BC", "(BC)") if engine == "duckdb" else date
                rows.append(f"('odd{row}', 3, '{text}', '{text}')")
            connection.exec_driver_sql(f"INSERT INTO t VALUES {', '.join(rows)}")
    return found


@pytest.mark.parametrize("engine", ["postgresql", "duckdb"])
@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("day <= '2024-02-01'", ["a"]),
        ("day > '2024-02-01'", ["b"]),
        ("day > '2024-02-01 01:00:00'", ["b"]),
        ("NOT day <= '2024-02-01'", ["b"]),
        ("seen <> '2024-02-01'", ["a"]),
        ("day IS NOT NULL AND seen IS NOT NULL", ["a", "odd0", "odd1", "odd2", "odd3"]),
        ("seen IS NULL", ["b"]),
    ],
)
def test_a_date_that_python_does_not_have_is_there_and_equals_nothing(
    dates: dict[str, str], engine: str, where: str, wanted: Sequence[str]
) -> None:
    assert ids(dates[engine], where) == wanted


@pytest.mark.parametrize("engine", ["postgresql", "duckdb"])
def test_such_a_date_in_a_column_counts_as_missing_under_privacy_and_is_told_without(
    dates: dict[str, str], engine: str
) -> None:
    asked = Cohort(
        table="t", columns={"day": Categorical(("2024-02-01", "2024-02-02"))}, where="n > 0", split=None
    )
    table = load_cohort(dates[engine], asked, 0, OFFERED, None, True)
    assert table.columns["day"].tolist() == [0, 1, -1, -1, -1, -1]
    with pytest.raises(SchemaError, match=r"t\.day: holds a level that is not among"):
        load_cohort(dates[engine], asked, 0, OFFERED)


def test_a_text_outside_the_encoding_is_one_value_that_does_not_fit(
    postgres_server: Postgres, tmp_path: Path
) -> None:
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (patient_id TEXT, n INTEGER, dx TEXT)")
        connection.execute(
            "INSERT INTO t VALUES ('a', 1, 'flu'), ('b', 2, CAST(x'66ff' AS TEXT)), ('c', 3, 'cold')"
        )
    options = ("-E", "WIN1252", "-T", "template0", "--locale=C")
    postgres_server.run("createdb", *options, "windows")
    address = postgres_server.url("windows")
    with writing(address) as connection_:
        connection_.exec_driver_sql("CREATE TABLE t (patient_id text, n int, dx text)")
        connection_.exec_driver_sql("INSERT INTO t VALUES ('a', 1, 'flu'), ('c', 3, 'cold')")
        connection_.exec_driver_sql(
            "INSERT INTO t VALUES ('b', 2, convert_from(decode('6681', 'hex'), 'WIN1252'))"
        )
    for source in (path, address):
        assert ids(source, "dx = 'flu'") == ["a"]
        assert ids(source, "dx <> 'flu'", "dx") == ["c"]
        assert ids(source, "NOT dx LIKE 'f%'") == ["c"]
        assert ids(source, "dx IS NOT NULL", "dx") == ["a", "b", "c"]
        asked = Cohort(table="t", columns={"dx": Categorical(("flu", "cold"))}, split=None)
        with pytest.raises(DataError, match=r"t\.dx: holds something that is neither text nor number"):
            load_cohort(source, asked, 0, OFFERED)


DEEP = "[" * 5_000 + "]" * 5_000


def test_json_nested_thousands_deep_holds_nothing(postgres_server: Postgres, tmp_path: Path) -> None:
    from fedcohort.sources.datasets.synthetic import synthesize

    asked = Cohort(columns={"age": Numeric(18, 100)}, where="age > 0", split=None)
    offered = {"records": ["age", "bmi"]}
    for address in (str(tmp_path / "records.db"), postgres_server.create("deep")):
        synthesize(address, 0, 20, 5)
        whole = load_cohort(address, asked, 0, offered, None, True)
        first = str(whole.patient_ids[0])
        with writing(address) as connection:
            connection.exec_driver_sql(f"UPDATE records SET features = '{DEEP}' WHERE patient_id = '{first}'")
        others = load_cohort(address, asked, 0, offered, None, True)
        assert others.patient_ids.tolist() == whole.patient_ids[whole.patient_ids != first].tolist()
        np.testing.assert_array_equal(others.columns["age"], whole.columns["age"][whole.patient_ids != first])
        with pytest.raises(SchemaError, match="a row is not a JSON list"):
            load_cohort(address, asked, 0, offered)


def _make(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE TABLE plain (patient_id text, x int)")
    connection.exec_driver_sql("CREATE VIEW seen AS SELECT patient_id, x + 1 AS x FROM plain")
    stored = "STORED" if connection.dialect.name == "postgresql" else ""
    connection.exec_driver_sql(
        f"CREATE TABLE computed (patient_id text, x int, y int GENERATED ALWAYS AS (x + 1) {stored})"
    )


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "duckdb"])
def test_only_tables_of_stored_columns_are_narrowed(
    postgres_server: Postgres, tmp_path: Path, engine: str
) -> None:
    address = {
        "sqlite": lambda: str(tmp_path / "t.db"),
        "postgresql": lambda: postgres_server.create("stored"),
        "duckdb": lambda: f"duckdb:///{tmp_path / 't.duckdb'}",
    }[engine]()
    with writing(address) as connection:
        _make(connection)
    with reading(address) as connection:
        assert {name: is_stored(connection, name) for name in ("plain", "seen", "computed")} == {
            "plain": True,
            "seen": False,
            "computed": False,
        }


def test_a_view_that_fails_for_one_patient_fails_whatever_is_asked(postgres_server: Postgres) -> None:
    """Narrowed to the others, it would be read: an answer about the one patient."""
    address = postgres_server.create("view")
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TABLE raw (patient_id text, n int, value text)")
        connection.exec_driver_sql("INSERT INTO raw VALUES ('a', 1, '5'), ('b', 2, '<5')")
        connection.exec_driver_sql("CREATE VIEW t AS SELECT patient_id, n, value::float8 AS dx FROM raw")
    asked = Cohort(table="t", columns={"dx": Numeric()}, split=None)
    for where in ("n = 1", "n = 2", "n > 0"):
        with pytest.raises(StoreError, match="cannot be read as the study's column kind"):
            load_cohort(address, asked.model_copy(update={"where": where}), 0, OFFERED, None, True)

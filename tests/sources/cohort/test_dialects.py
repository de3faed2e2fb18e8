"""One condition selects the same rows on SQLite, DuckDB and a real PostgreSQL; a cohort has the same bits."""

import datetime
import decimal
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Boolean, Column, Date, Double, Integer, MetaData, Numeric, String, Table

from fedcohort.columns import Binary, Categorical
from fedcohort.columns import Numeric as Number
from fedcohort.errors import CohortError, SchemaError, StoreError
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage import timeouts
from fedcohort.storage.database import reading, writing
from fedcohort.study import Cohort
from tests.postgres import Postgres

pytestmark = pytest.mark.processes

ODD = 'Größe "x" %s'
WARD = Table(
    "ward",
    MetaData(),
    Column("patient_id", String(20)),
    Column("n", Integer),
    Column("m", Integer),
    Column("x", Double),
    Column("d", Numeric(8, 2)),
    Column("word", String(20)),
    Column("flag", Boolean),
    Column("day", Date),
    Column("ill", Integer),
)
WORDS = (None, "", "a", "B", "ab", "a%", "a_b", "a\\b", "it's", "Z", "é")
NUMBERS = (None, -3, 0, 1, 2, 2_000_000_000)
FLOATS = (None, -2.5, 0.0, 0.1, 0.5, 1.5, 3.0, 7.25)


def row(number: int) -> dict[str, Any]:
    flags = (None, True, False)
    return {
        "patient_id": f"p{number:03}",
        "n": NUMBERS[number % 6],
        "m": NUMBERS[number // 6 % 6],
        "x": FLOATS[number % 8],
        "d": None if number % 7 == 0 else decimal.Decimal(number) / 4,
        "word": WORDS[number % 11],
        "flag": flags[number % 3],
        "day": None if number % 5 == 0 else datetime.date(2020, 1, 1 + number % 28),
        "ill": number % 2,
    }


def fill(address: str | Path) -> None:
    with writing(address) as connection:
        WARD.create(connection)
        connection.execute(WARD.insert(), [row(number) for number in range(120)])


@pytest.fixture(scope="module")
def addresses(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The same ward in every engine."""
    found = {
        "sqlite": str(tmp_path_factory.mktemp("dialects") / "ward.db"),
        "postgresql": postgres_server.create("ward"),
        "duckdb": f"duckdb:///{tmp_path_factory.mktemp('dialects') / 'ward.duckdb'}",
    }
    for address in found.values():
        fill(address)
    return found


FRAME = pd.DataFrame([row(number) for number in range(120)])
"""Which nothing narrows before `where` is evaluated."""


def selected(source: str | pd.DataFrame, where: str) -> list[str] | str:
    """The rows of an engine or frame; of a refusal, its words."""
    asked = Cohort(table="ward", columns={"n": Number()}, where=where, split=None)
    try:
        if isinstance(source, str):
            return [*map(str, load_cohort(source, asked, 0, OFFERED).patient_ids)]
        return [*map(str, table_from_frame(source, asked, 0).patient_ids)]
    except CohortError as error:
        return str(error)


literals = st.sampled_from(["-3", "0", "1", "2", "3", "0.5", "2.5", "0.1", "2000000000"])
operators = st.sampled_from(["+", "-", "*", "/", "%"])
numbers = st.recursive(
    st.one_of(st.sampled_from(["n", "m", "x", "d"]), literals),
    lambda inner: st.one_of(
        st.builds(
            "({} {} {})".format,
            inner,
            st.sampled_from(["+", "-", "*", "/", "%"]),
            inner,
        ),
        st.builds("abs({})".format, inner),
        st.builds("coalesce({}, 0)".format, inner),
        st.builds("round({})".format, st.sampled_from(["x", "d", "n", "2.5", "0.5"])),
        st.builds("nullif({}, 1)".format, inner),
        st.builds("case when {} > 0 then {} else 1 end".format, inner, inner),
    ),
    max_leaves=4,
)
quoted = st.sampled_from(["a", "B", "ab", "a%", "%b", "_", "a_b", "a\\b", "a\\%", "it''s", "A%", ""]).map(
    "'{}'".format
)
compare = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])
atoms = st.one_of(
    st.builds("{} {} {}".format, numbers, compare, numbers),
    st.builds("{} in ({}, {})".format, numbers, literals, literals),
    st.builds("{} not in ({}, {})".format, st.sampled_from(["n", "x", "d"]), literals, literals),
    st.builds("{} between {} and {}".format, numbers, literals, literals),
    st.builds("{} is null".format, st.sampled_from(["n", "x", "word", "flag", "day", "n / m", "n % m"])),
    st.builds("word {} {}".format, compare, quoted),
    st.builds("word like {}".format, quoted),
    st.builds("word like {} escape '!'".format, quoted),
    st.builds("word ilike {}".format, quoted),
    st.builds("word in ({}, {})".format, quoted, quoted),
    st.builds("upper(word) = {}".format, quoted),
    st.builds("length(word) {} {}".format, compare, literals),
    st.builds("flag {} {}".format, compare, st.sampled_from(["1", "0", "true", "false"])),
    st.sampled_from(
        ["flag is true", "flag is not false", "true", "flag + 1 = 2", "n is not distinct from m"]
    ),
    st.builds("day {} '2020-01-{}'".format, compare, st.sampled_from(["05", "20"])),
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=4,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(where="n / 2 = 0.5")
@example(where="n / m > 1")
@example(where="x % 1 = 0.5")
@example(where="n * n * n > 1")
@example(where="word < 'Z'")
@example(where="word like 'a\\%'")
@example(where="round(x) = 1")
@example(where="x + 0.1 = 0.2")
@example(where="d + 0.1 = 0.6")
@example(where="(n - m) % 2 = 0")
@example(where="n - (m - 1) = 1")
@example(where="2 / (n + 1) < 1")
@given(where=conditions)
def test_the_same_rows_are_selected_on_every_engine(addresses: dict[str, str], where: str) -> None:
    sources: list[str | pd.DataFrame] = [*addresses.values(), FRAME]
    first, *others = (selected(source, where) for source in sources)
    for other in others:
        assert other == first


COHORT = Cohort(
    table="ward",
    columns={
        "n": Number(),
        "x": Number(),
        "d": Number(),
        "word": Categorical([word for word in WORDS if word]),
        "flag": Categorical((0, 1)),
        "day": Categorical([f"2020-01-{day:02}" for day in range(1, 29)]),
    },
    label=Binary("ill"),
)
OFFERED = {"ward": [column.name for column in WARD.columns]}


def test_a_cohort_has_the_same_bits_from_every_engine(addresses: dict[str, str]) -> None:
    first, *others = (load_cohort(address, COHORT, 7, OFFERED) for address in addresses.values())
    assert first.n_rows == 120
    for other in others:
        assert other.patient_ids.tolist() == first.patient_ids.tolist()
        assert other.split.tobytes() == first.split.tobytes()
        assert other.label is not None
        assert first.label is not None
        assert other.label.tobytes() == first.label.tobytes()
        for name, values in first.columns.items():
            assert other.columns[name].tobytes() == values.tobytes(), name


def test_nan_is_missing_in_the_cohort_and_in_its_condition(postgres_server: Postgres) -> None:
    address = postgres_server.create("nan")
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TABLE ward (patient_id text, x float8, d numeric, ill int)")
        connection.exec_driver_sql(
            "INSERT INTO ward VALUES ('a', 'NaN', 1, 0), ('b', 9, 'NaN', 1), ('c', 1, 2, 1)"
        )
    asked = Cohort(table="ward", columns={"x": Number(), "d": Number()}, label=Binary("ill"))
    offered = {"ward": ["x", "d", "ill"]}
    whole = load_cohort(address, asked, 0, offered)
    assert [math.isnan(value) for value in whole.columns["x"]] == [True, False, False]
    some = load_cohort(address, asked.model_copy(update={"where": "x > 5 OR d > 5"}), 0, offered)
    assert some.patient_ids.tolist() == ["b"]


def test_an_enumeration_is_in_the_order_of_its_words(postgres_server: Postgres) -> None:
    address = postgres_server.create("enumeration")
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TYPE size AS ENUM ('small', 'large')")
        connection.exec_driver_sql("CREATE TABLE ward (patient_id char(4), s size, c char(3), ill int)")
        connection.exec_driver_sql("INSERT INTO ward VALUES ('a', 'small', 'f', 0), ('b', 'large', 'm', 1)")
    columns: dict[str, Number | Categorical] = {
        "s": Categorical(("large", "small")),
        "c": Categorical(("f", "m")),
    }
    asked = Cohort(table="ward", columns=columns, label=Binary("ill"), where="s < 'm' AND length(c) = 1")
    table = load_cohort(address, asked, 0, {"ward": ["s", "c", "ill"]})
    assert table.patient_ids.tolist() == ["b"]
    assert table.columns["c"].tolist() == [1]


def test_odd_column_names_are_read(postgres_server: Postgres) -> None:
    address = postgres_server.create("odd")
    quoted = '"größe in cm"'
    with writing(address) as connection:
        connection.exec_driver_sql(f'CREATE TABLE "my ward" (patient_id text, {quoted} float8, "select" int)')
        connection.exec_driver_sql("INSERT INTO \"my ward\" VALUES ('a', 1, 0), ('b', 2, 1)")
    asked = Cohort(
        table="my ward", columns={"größe in cm": Number()}, label=Binary("select"), where=f"{quoted} > 1"
    )
    table = load_cohort(address, asked, 0, {"my ward": ["größe in cm", "select"]})
    assert table.columns["größe in cm"].tolist() == [2.0]


def test_an_account_that_can_only_read_is_enough(
    postgres_server: Postgres, addresses: dict[str, str]
) -> None:
    statements = "CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ward TO reader"
    postgres_server.run("psql", "-d", "ward", "-c", statements)
    address = addresses["postgresql"].replace(f"postgres:{postgres_server.password}@", "reader:r@")
    assert load_cohort(address, COHORT, 7, OFFERED).n_rows == 120
    with (
        pytest.raises(StoreError, match=r"reader:\*\*\*@.* does not let this account"),
        writing(address) as connection,
    ):
        connection.exec_driver_sql("DELETE FROM ward")
    postgres_server.run("psql", "-d", "ward", "-c", "REVOKE SELECT ON ward FROM reader")
    with pytest.raises((StoreError, SchemaError), match=r"grant it SELECT|not in this database"):
        load_cohort(address, COHORT, 7, OFFERED)


@pytest.mark.parametrize("statement", ["DELETE FROM ward", "CREATE TABLE t (x int)", "SELECT nextval('s')"])
def test_reading_cannot_write_even_as_the_owner(addresses: dict[str, str], statement: str) -> None:
    with writing(addresses["postgresql"]) as connection:
        connection.exec_driver_sql("CREATE SEQUENCE IF NOT EXISTS s")
    with pytest.raises(StoreError, match="is read-only"), reading(addresses["postgresql"]) as connection:
        connection.exec_driver_sql(statement)


def test_a_query_that_takes_too_long_is_ended(
    addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timeouts, "QUERY_SECONDS", 0.2)
    with pytest.raises(StoreError, match="narrow the cohort"), reading(addresses["postgresql"]) as connection:
        connection.exec_driver_sql("SELECT pg_sleep(30)")


def test_a_comparison_of_text_and_number_is_put_in_words(addresses: dict[str, str]) -> None:
    asked = COHORT.model_copy(update={"where": "word = 1"})
    with pytest.raises(CohortError, match="write texts in single quotes"):
        load_cohort(addresses["postgresql"], asked, 0, OFFERED)


def test_elements_of_the_vector_select_the_same_rows(postgres_server: Postgres, tmp_path: Path) -> None:
    from fedcohort.sources.datasets.synthetic import synthesize

    addresses = [str(tmp_path / "records.db"), postgres_server.create("records")]
    asked = Cohort(
        columns={"age": Number(18, 100), "bmi": Number()},
        label=Binary("label"),
        where="age % 2 = 1 AND bmi / 2 > 13.5 AND diagnosis <> 'I10'",
    )
    tables = []
    for address in addresses:
        synthesize(address, 0, 200, 5)
        tables.append(load_cohort(address, asked, 0, {"records": ["age", "bmi", "diagnosis", "label"]}))
    assert 0 < tables[0].n_rows < 200
    for name in ("age", "bmi"):
        assert np.array_equal(tables[0].columns[name], tables[1].columns[name], equal_nan=True)
    assert tables[0].patient_ids.tolist() == tables[1].patient_ids.tolist()

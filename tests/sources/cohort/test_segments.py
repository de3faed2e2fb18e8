"""PostgreSQL's doubles four in a segment: the bits that rows give, of whatever is asked."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from sqlalchemy import types as sql
from sqlalchemy.types import TypeEngine

from fedcohort.columns import Binary, Categorical, Numeric
from fedcohort.errors import EmptyCohortError
from fedcohort.sources.cohort import columnar
from fedcohort.sources.cohort.columnar import column_chunks, query_of
from fedcohort.sources.cohort.segments import Segments, doubles_of, segments_of
from fedcohort.storage.database import database_url
from fedcohort.study import Cohort
from tests.postgres import Postgres
from tests.sources.cohort.test_columnar import assert_same_bits, by_columns, by_rows

pytest.importorskip("adbc_driver_postgresql", reason="needs the extra [arrow]")

Types = dict[str, TypeEngine[Any]]
DOUBLES = [f"x{n}" for n in range(9)]
COHORT = Cohort(
    table="t",
    columns={
        **{name: Numeric() for name in DOUBLES},
        "n s": Numeric(),
        "word": Categorical(("f", "m", "é", "1")),
        "well": Categorical((0, 1)),
    },
    label=Binary("ill"),
)
OFFERED = {"t": [*COHORT.columns, "ill"]}
TABLE = (
    f"patient_id text, {', '.join(f'{name} float8' for name in DOUBLES)}, "
    '"n s" bigint, word varchar(9), well boolean, ill int'
)
ROWS = (
    "SELECT 'p' || mod(n, 2000), "
    f"{', '.join(f'CASE WHEN mod(n, {place + 2}) > 0 THEN n / (3.0 + {place}) END' for place in range(9))}, "
    "CASE WHEN mod(n, 11) > 0 THEN n - 999 END, "
    "CASE mod(n, 5) WHEN 0 THEN 'f' WHEN 1 THEN '' WHEN 2 THEN 'é' WHEN 3 THEN 'm' END, "
    "CASE WHEN mod(n, 3) > 0 THEN n > 1000 END, mod(n, 2) FROM generate_series(1, 3000) AS n"
)


def plain(address: str) -> str:
    return address.replace("+psycopg", "")


def filled(server: Postgres, name: str, change: str = "") -> str:
    address = server.create(f"segments_{name}")
    with psycopg.connect(plain(address)) as connection:
        connection.execute(f"CREATE TABLE t ({TABLE})")
        connection.execute(f"INSERT INTO t {ROWS}")
        if change:
            connection.execute(change)
    return address


def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many segments each batch has from here on."""
    counts: list[int] = []

    def counted(arrays: Sequence[object], packed: Segments) -> dict[str, NDArray[np.float64]]:
        counts.append(len(arrays))
        return doubles_of(arrays, packed)

    monkeypatch.setattr(columnar, "doubles_of", counted)
    return counts


@pytest.mark.parametrize("kind", ["table", "view", "condition"])
def test_segments_and_rows_give_the_same_bits(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    change = "ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u" if kind == "view" else ""
    address = filled(postgres_server, kind, change)
    where = "x3 >= 100 AND word = 'é' OR x8 IS NULL" if kind == "condition" else None
    asked = COHORT.model_copy(update={"where": where})
    counts = seen(monkeypatch)
    found = by_columns(address, asked, OFFERED)
    assert found.n_rows == 3000 if where is None else 300 < found.n_rows < 1500
    assert counts
    assert set(counts) == {2}
    assert_same_bits(found, by_rows(address, asked, 0, OFFERED))


ODD = ("NaN", "Infinity", "-Infinity", "-0", "5e-324", "-1.7976931348623157e308", "0.1", None)


def test_any_double_is_the_same_bits_in_a_segment(postgres_server: Postgres) -> None:
    address = postgres_server.create("segments_odd")
    with psycopg.connect(plain(address)) as connection:
        connection.execute("CREATE TABLE t (patient_id int, a float8, b float8, c float8, d float8)")
        turns = [(*ODD[place:], *ODD[:place]) for place in range(len(ODD))]
        for turn in turns:
            connection.execute("INSERT INTO t VALUES (1, %s, %s, %s, %s)", turn[:4])
    types: Types = {"patient_id": sql.Integer(), **{name: sql.Double() for name in "abcd"}}
    url, text = database_url(address), "SELECT patient_id, a, b, c, d FROM t"
    (packed,) = column_chunks(query_of(url, text, types, segments_of("t", types, None)))
    (alone,) = column_chunks(query_of(url, text, types))
    assert packed.keys() == alone.keys()
    for name, values in alone.items():
        assert np.asarray(packed[name]).tobytes() == np.asarray(values).tobytes()
    assert np.isnan(np.asarray(alone["a"], float)).sum() == 2


def test_a_table_without_rows_has_no_segments(postgres_server: Postgres) -> None:
    address = filled(postgres_server, "empty", "TRUNCATE t")
    with pytest.raises(EmptyCohortError):
        by_columns(address, COHORT, OFFERED)


def test_a_patient_and_what_is_no_double_is_never_in_a_segment() -> None:
    doubles: Types = {name: sql.Double() for name in "abcd"}
    fewer: Types = {"patient_id": sql.TEXT(), **doubles, "d": sql.REAL()}
    more: Types = {"p": sql.Double(), **doubles, "e": sql.Double(), "n": sql.Integer()}
    assert segments_of("t", doubles, None) is None
    assert segments_of("t", fewer, None) is None
    packed = segments_of("t", more, None)
    assert packed is not None
    assert (packed.fours, packed.rest) == ((("a", "b", "c", "d"),), ("p", "e", "n"))

"""A refusal of a private study tells nothing about one patient, whatever its `where` is, on every engine.

Each of these conditions once ended an engine's query if, and only if, one patient was there: a question
about that patient, answered without noise and given back to the budget.
"""

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.engines.local import Simulated, simulated_node
from fedcohort.errors import FedcohortError
from fedcohort.node.answer import answer
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.wire.messages import Event, Task
from tests.postgres import Postgres

pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")

NAMES = ["patient_id", "age", "sex", "dx"]
OTHERS = [(f"p{row:03}", 20.0 + row, "f" if row % 2 else "m", "flu") for row in range(60)]
TARGET = ("t999", 88.0, "f", "hiv")
WHO = "age = 88 AND sex = 'f' AND dx = 'hiv'"
SLOW = f"NOT ({WHO}) OR lower(coalesce(nullif(dx, dx), '{'a' * 60}')) LIKE '{'%a' * 12}%b'"
CONDITIONS = {
    "long-escape": f"NOT ({WHO}) OR dx LIKE 'h%' ESCAPE 'xx'",
    "escape-at-the-end": "dx LIKE 'hi!' ESCAPE '!' OR age > 0",
    "cast-of-a-case": f"(CASE WHEN {WHO} THEN dx ELSE '1' END) = 1",
    "text-beside-a-number": f"NOT ({WHO}) OR dx = 1",
    "slow-pattern": SLOW,
    "slow-pattern-of-any": f"NOT ({WHO}) OR coalesce(nullif(dx, dx), '{'a' * 5000}') LIKE '{'%_a' * 1500}%b'",
    "no-oracle": f"NOT ({WHO})",
    "empty": "age > 1000",
}


def rows(*, target: bool) -> list[tuple[object, ...]]:
    return [*OTHERS, *([TARGET] if target else [])]


Load = Callable[[Cohort, int, bool], Table]


def frame_of(folder: Path, *, target: bool) -> Load:
    del folder
    return partial(table_from_frame, pd.DataFrame(rows(target=target), columns=NAMES))


def sqlite_of(folder: Path, *, target: bool) -> Load:
    path = folder / f"{target}.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records (patient_id TEXT, age REAL, sex TEXT, dx TEXT)")
        connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", rows(target=target))
    return partial(_load, str(path))


def _server(address: str, *, target: bool) -> Load:
    with writing(address) as connection:
        connection.exec_driver_sql("CREATE TABLE records (patient_id text, age float8, sex text, dx text)")
        for row in rows(target=target):
            values = ", ".join(repr(value) for value in row)
            connection.exec_driver_sql(f"INSERT INTO records VALUES ({values})")
    return partial(_load, address)


def _load(address: str, cohort: Cohort, seed: int, private: bool) -> Table:
    return load_cohort(address, cohort, seed, {"records": NAMES}, None, private)


@pytest.fixture(scope="module")
def neighbours(
    postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, tuple[Load, Load]]:
    """Each engine without the target and with it."""
    folder = tmp_path_factory.mktemp("oracle")
    found = {}
    for name, make in (("sqlite", sqlite_of), ("frame", frame_of)):
        found[name] = (make(folder, target=False), make(folder, target=True))
    found["duckdb"] = (
        _server(f"duckdb:///{folder / 'without.duckdb'}", target=False),
        _server(f"duckdb:///{folder / 'with.duckdb'}", target=True),
    )
    found["postgresql"] = (
        _server(postgres_server.create("oracle_without"), target=False),
        _server(postgres_server.create("oracle_with"), target=True),
    )
    return found


def outcome(load: Load, where: str) -> str:
    cohort = Cohort(columns={"age": fc.Numeric(18, 90)}, where=where, split=None)
    study = fc.Study(
        name="q", cohort=cohort, analysis=fc.Describe(), privacy=fc.Privacy(epsilon=0.05), protection="none"
    )
    node = simulated_node(Simulated(), "a", study, load, build_analysis(study), 1)
    reply = answer(node, Task(study.hash, 0, 0, "sums", {}, bytes(32), ("a",)))
    return reply.code if isinstance(reply, Event) else type(reply).__name__


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "duckdb", "frame"])
@pytest.mark.parametrize("where", CONDITIONS.values(), ids=CONDITIONS)
def test_a_private_study_ends_alike_with_the_patient_and_without(
    neighbours: Mapping[str, tuple[Load, Load]], engine: str, where: str
) -> None:
    without, with_target = neighbours[engine]
    assert outcome(without, where) == outcome(with_target, where)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "duckdb", "frame"])
def test_what_is_not_refused_selects_everybody_but_the_patient(
    neighbours: Mapping[str, tuple[Load, Load]], engine: str
) -> None:
    without, with_target = neighbours[engine]
    asked = Cohort(columns={"age": fc.Numeric(18, 90)}, where=CONDITIONS["slow-pattern"], split=None)
    one, other = (load(asked, 0, True) for load in (without, with_target))
    assert one.patient_ids.tolist() == other.patient_ids.tolist() == [row[0] for row in OTHERS]
    np.testing.assert_array_equal(one.columns["age"], other.columns["age"])


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "duckdb", "frame"])
@pytest.mark.parametrize(
    "name", ["long-escape", "escape-at-the-end", "cast-of-a-case", "text-beside-a-number"]
)
def test_what_an_engine_would_fail_at_is_refused_before_any_row_is_read(
    neighbours: Mapping[str, tuple[Load, Load]], engine: str, name: str
) -> None:
    asked = Cohort(columns={"age": fc.Numeric(18, 90)}, where=CONDITIONS[name], split=None)
    messages = []
    for load in neighbours[engine]:
        with pytest.raises(FedcohortError, match=r"^where: ") as caught:
            load(asked, 0, True)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]

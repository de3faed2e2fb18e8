"""`cohorts`: 1M rows x 20 columns to a Table, against pandas.read_sql and connectorx, and its memory.

And what a selective `where` costs over 10M rows against the own filter of SQLite, PostgreSQL and DuckDB.
"""

import argparse
import importlib
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import psycopg
from sqlalchemy import create_engine

from benchmarks.harness import at_most, emit, median, reported, say, unavailable
from fedcohort.columns import Binary, Categorical, Numeric
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.storage.database import database_url
from fedcohort.study import Cohort
from fedcohort.table import Table

ROWS, NUMBERS, REPEATS = 1_000_000, 16, 3
SPEED, MEMORY, WHERE = 1.5, 2.0, 2.0
LONG_ROWS, PIECE = 10_000_000, 500_000
SELECTIVE = "c0 >= 190 AND c1 < 20 AND ward LIKE 'icu%' AND (sex = 'f' OR c2 IS NULL OR lower(sex) = 'm')"
FUNCTIONS = "upper(ward) = 'ICU' AND coalesce(c0, 0) >= 195"
NUMERIC = [f"c{index}" for index in range(NUMBERS)]
NAMES = ["patient_id", *NUMERIC, "sex", "ward", "ill"]
COHORT = Cohort(
    table="big",
    columns={
        **{name: Numeric(0, 200) for name in NUMERIC},
        "sex": Categorical(("f", "m")),
        "ward": Categorical(("icu", "er", "surgery")),
    },
    label=Binary("ill"),
)
OFFERED = {"big": NAMES}
LONG: dict[str, str] = {
    "patient_id": "TEXT",
    **{f"c{index}": "DOUBLE PRECISION" for index in range(4)},
    **{"sex": "TEXT", "ward": "TEXT", "ill": "INTEGER"},
}
LONG_NAMES = [*LONG]
LONG_COHORT = Cohort(
    table="long", columns={"c0": Numeric(0, 200), "sex": Categorical(("f", "m"))}, label=Binary("ill")
)
DUCKDB = "duckdb:///"
ENGINES = ("SQLite", "PostgreSQL", "DuckDB")
READ_WHOLE = ("SQLite", "PostgreSQL")
"""Engines of which reading everything is measured, too."""
QUERY = f"SELECT {', '.join(NAMES)} FROM big"


def frame(rows: int) -> pd.DataFrame:
    """Patients, sixteen numbers, two codes and a label; a twentieth of the numbers is missing."""
    draw = np.random.default_rng(0)
    columns: dict[str, object] = {"patient_id": [f"p{row:07}" for row in draw.permutation(rows)]}
    for name in NUMERIC:
        values = np.round(draw.uniform(0, 200, rows), 2)
        values[draw.random(rows) < 0.05] = np.nan
        columns[name] = values
    columns["sex"] = np.array(["f", "m"], dtype=object)[draw.integers(0, 2, rows)]
    columns["ward"] = np.array(["icu", "er", "surgery"], dtype=object)[draw.integers(0, 3, rows)]
    columns["ill"] = draw.integers(0, 2, rows)
    return pd.DataFrame(columns)


def write(address: str, rows: int) -> None:
    """A table `big` in a new database."""
    engine = create_engine(database_url(address))
    made = frame(rows)
    if engine.dialect.name == "sqlite":
        made.to_sql("big", engine, index=False, chunksize=50_000)
    else:
        made.head(0).to_sql("big", engine, index=False)
        with (
            psycopg.connect(address.replace("+psycopg", "")) as connection,
            connection.cursor() as cursor,
            cursor.copy("COPY big FROM STDIN (FORMAT csv)") as copy,
        ):
            for begin in range(0, rows, 50_000):
                copy.write(made.iloc[begin : begin + 50_000].to_csv(index=False, header=False))
    engine.dispose()


def ours(address: str) -> Table:
    """The cohort as a node reads it: checked, by kinds, sorted by patient, held out by hash."""
    return load_cohort(address, COHORT, 0, OFFERED)


def by_pandas(address: str) -> object:
    """A frame of what the database holds, unchecked and unsorted."""
    engine = create_engine(database_url(address))
    try:
        return pd.read_sql(QUERY, engine)
    finally:
        engine.dispose()


def by_connectorx(address: str) -> object:
    """The same frame, by connectorx."""
    connectorx = importlib.import_module("connectorx")
    plain = address.replace("+psycopg", "") if "://" in address else f"sqlite://{address}"
    return connectorx.read_sql(plain, QUERY)


PEERS: dict[str, Callable[[str], object]] = {"pandas.read_sql": by_pandas, "connectorx": by_connectorx}


def seconds(work: Callable[[str], object], address: str) -> float:
    """Of one reading, thrown away before the next."""
    began = time.perf_counter()
    result = work(address)
    took = time.perf_counter() - began
    del result
    return took


def compare(name: str, address: str, rows: int, repeats: int) -> None:
    """Ours and its peers in turns."""
    times: dict[str, list[float]] = {"ours": [], **{peer: [] for peer in PEERS}}
    broken: dict[str, str] = {}
    for _ in range(repeats):
        times["ours"].append(seconds(ours, address))
        for peer, work in PEERS.items():
            if peer not in broken:
                try:
                    times[peer].append(seconds(work, address))
                except (ImportError, RuntimeError) as error:
                    broken[peer] = type(error).__name__
    mine = median(times["ours"])
    claim = f"cohorts: {rows:,} x {len(NAMES)} from {name} to a Table"
    for peer in PEERS:
        if peer in broken:
            emit(unavailable(f"{claim}, against {peer}", mine, "s", broken[peer]))
        else:
            emit(reported(f"{claim}, against {peer}", mine, median(times[peer]), "s"))
    fastest = min(median(times[peer]) for peer in PEERS if peer not in broken)
    emit(at_most(f"{claim}, against the faster", mine, fastest, "s", SPEED))


def table_mib(table: Table) -> float:
    """What its arrays hold."""
    arrays = [table.patient_ids, *table.columns.values(), table.split, table.label]
    return sum(array.nbytes for array in arrays if array is not None) / 2**20


def memory(name: str, address: str, rows: int) -> None:
    """The peak of a fresh process above what it had before it read, against the Table."""
    command = [sys.executable, "-m", "benchmarks.cohorts", "--peak", address]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    peak, size = map(float, done.stdout.split())
    claim = f"cohorts: peak memory of {rows:,} rows from {name}, against the Table"
    emit(at_most(claim, peak, size, "MiB", MEMORY))


def write_long(address: str, rows: int) -> None:
    """A table `long` of eight columns, in pieces: the numbers `c0` to `c3`, two codes and a label."""
    names = ", ".join(LONG_NAMES)
    types = ", ".join(f"{name} {kind}" for name, kind in LONG.items())
    for begin in range(0, rows, PIECE):
        made = frame(min(PIECE, rows - begin))[LONG_NAMES]
        made["patient_id"] = [f"p{row:08}" for row in range(begin, begin + len(made))]
        if address.startswith(DUCKDB):
            with duckdb.connect(address.removeprefix(DUCKDB)) as database:
                database.execute(f"CREATE TABLE IF NOT EXISTS long ({types})")
                database.register("made", made)
                database.execute(f"INSERT INTO long ({names}) SELECT {names} FROM made")
            continue
        if "://" not in address:
            with closing(sqlite3.connect(address)) as connection, connection:
                connection.execute(f"CREATE TABLE IF NOT EXISTS long ({types})")
                values = made.astype(object).where(made.notna(), None).itertuples(index=False)
                marks = ", ".join("?" * len(LONG_NAMES))
                connection.executemany(f"INSERT INTO long ({names}) VALUES ({marks})", values)
            continue
        with psycopg.connect(address.replace("+psycopg", "")) as server, server.cursor() as cursor:
            cursor.execute(f"CREATE TABLE IF NOT EXISTS long ({types})")
            with cursor.copy(f"COPY long ({names}) FROM STDIN (FORMAT csv)") as copy:
                copy.write(made.to_csv(index=False, header=False))


def ours_where(where: str, address: str) -> Table:
    """The rows that `where` selects, as a node reads them."""
    return load_cohort(address, LONG_COHORT.model_copy(update={"where": where}), 0, {"long": LONG_NAMES})


def by_engine(where: str, address: str) -> object:
    """The same rows by the engine's own filter and driver, unchecked and unsorted."""
    query = f"SELECT {', '.join(LONG_NAMES)} FROM long WHERE {where}"
    if "://" not in address:
        with closing(sqlite3.connect(address)) as connection:
            return connection.execute(query).fetchall()
    if address.startswith(DUCKDB):
        with duckdb.connect(address.removeprefix(DUCKDB), read_only=True) as database:
            return database.execute(query).fetchall()
    with psycopg.connect(address.replace("+psycopg", "")) as server:
        return server.execute(query).fetchall()


def compare_where(name: str, address: str, rows: int, repeats: int) -> None:
    """A condition that databases can narrow by, and one that only we evaluate, each in turns."""
    for words, where, bound in (
        ("a selective where", SELECTIVE, WHERE),
        ("a where of functions alone", FUNCTIONS, None),
    ):
        ours_times, engine_times = [], []
        for _ in range(repeats):
            ours_times.append(seconds(partial(ours_where, where), address))
            engine_times.append(seconds(partial(by_engine, where), address))
        claim = f"cohorts: {words} over {rows:,} rows of {name}, against its own filter"
        mine, engine = median(ours_times), median(engine_times)
        emit(
            reported(claim, mine, engine, "s") if bound is None else at_most(claim, mine, engine, "s", bound)
        )


def most() -> float:
    """This process's peak in MiB; Linux, where getrusage would begin with the parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def peak(address: str) -> None:
    """Print what reading added to this process's peak, and the Table's size, in MiB."""
    before = most()
    table = ours(address)
    print(most() - before, table_mib(table))


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peak")
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--long-rows", type=int, default=LONG_ROWS)
    parser.add_argument("--only-where", action="store_true", help="leave out what reading everything costs")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    options = parser.parse_args()
    if options.peak:
        peak(options.peak)
        return
    with ExitStack() as stack:
        for name, address in addresses(options.engines, stack).items():
            write_long(address, options.long_rows)
            compare_where(name, address, options.long_rows, options.repeats)
            if options.only_where or name not in READ_WHOLE:
                continue
            write(address, options.rows)
            compare(name, address, options.rows, options.repeats)
            memory(name, address, options.rows)


def addresses(engines: Sequence[str], stack: ExitStack) -> dict[str, str]:
    """An empty database of each engine that there is here, gone when the stack ends."""
    from tests.postgres import postgres, program

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    found = {"SQLite": str(folder / "big.db"), "DuckDB": f"{DUCKDB}{folder / 'big.duckdb'}"}
    if "PostgreSQL" in engines and program("initdb") is None:
        say("no PostgreSQL server here: it is not measured")
    elif "PostgreSQL" in engines:
        found["PostgreSQL"] = stack.enter_context(postgres()).create("big")
    return {name: found[name] for name in engines if name in found}


if __name__ == "__main__":
    main()

"""`features`: ten columns and a label of 1M persons' 21M events on DuckDB, against the bare ordered SELECTs.

And on SQLite, 50,000 persons, against the same columns as SQL aggregates. Times are processor seconds of this
process, in which DuckDB and SQLite compute, too; both sides of a claim run in it, one after the other.
"""

import argparse
import datetime
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np

from benchmarks.harness import at_least_times_faster, at_most, emit, median, reported, say, under
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.omop.views import in_omop
from fedcohort.study import Cohort
from fedcohort.table import Table

PERSONS, FEW, REPEATS = 1_000_000, 50_000, 3
TIMES_SELECTS, TIMES_AGGREGATES, MEMORY_MIB = 3.0, 3.0, 1024.0
VALUES = ("last", "first", "min", "max", "mean")
OF_CONDITIONS = ("any", "count", "days_since")
MEASUREMENT, CONDITION = 3_000_000, 400_000
BIRTH, FIRST, DAYS = 1930, "2014-01-01", 2_500
HERE = SiteEvents(in_omop)


def cohort() -> Cohort:
    """First visits; five columns of values, three of conditions, age and sex; a condition within a year."""
    lists = [f'o{n} = {{ omop = ["{MEASUREMENT + n}"] }}' for n in range(len(VALUES))]
    lists += [f'd{n} = {{ omop = ["{CONDITION + n}"] }}' for n in range(len(OF_CONDITIONS) + 1)]
    columns = [
        f'[columns.o{n}]\nobservation = "o{n}"\ntake = "{take}"\nwindow = ["-365d", "0d"]\n'
        'low = 0\nhigh = 200\nunit = "mg/dL"'
        for n, take in enumerate(VALUES)
    ]
    columns += [
        f'[columns.d{n}]\ncondition = "d{n}"\ntake = "{take}"\nwindow = ["-365d", "0d"]'
        + ("\nhigh = 9" if take == "count" else "")
        for n, take in enumerate(OF_CONDITIONS)
    ]
    columns += ['[columns.age]\npatient = "age"\nlow = 0\nhigh = 120', '[columns.sex]\npatient = "sex"']
    label = f'[label]\ncondition = "d{len(OF_CONDITIONS)}"\nwindow = ["1d", "366d"]'
    words = ["[codes]", *lists, "[index]", "encounter = true", *columns, label]
    return Cohort(**tomllib.loads("\n".join(words)))


def fill(path: Path, persons: int) -> None:
    """Tables of OMOP: 2 visits, 15 measurements and 4 conditions a person, in no order."""

    def day(salt: int) -> str:
        return f"DATE '{FIRST}' + (hash(i * {salt}) % {DAYS})::INT"

    with duckdb.connect(str(path)) as connection:
        for statement in (
            f"CREATE TABLE person AS SELECT i::BIGINT AS person_id, 8507 + 25 * (i % 2) AS gender_concept_id,"
            f" {BIRTH} + (i % 70)::INT AS year_of_birth FROM range({persons}) t(i)",
            f"CREATE TABLE visit_occurrence AS SELECT i::BIGINT AS visit_occurrence_id,"
            f" (i % {persons})::BIGINT AS person_id, 9201 AS visit_concept_id, {day(23)} AS visit_start_date"
            f" FROM range({2 * persons}) t(i)",
            f"CREATE TABLE measurement AS SELECT i::BIGINT AS measurement_id,"
            f" (hash(i * 3) % {persons})::BIGINT AS person_id,"
            f" ({MEASUREMENT} + hash(i * 7) % 5)::BIGINT AS measurement_concept_id,"
            f" {day(5)} AS measurement_date,"
            f" (hash(i * 11) % 2000)::DOUBLE / 10 AS value_as_number, 8840 AS unit_concept_id"
            f" FROM range({15 * persons}) t(i)",
            f"CREATE TABLE condition_occurrence AS SELECT i::BIGINT AS condition_occurrence_id,"
            f" (hash(i * 13) % {persons})::BIGINT AS person_id,"
            f" ({CONDITION} + hash(i * 17) % 4)::BIGINT AS condition_concept_id,"
            f" {day(19)} AS condition_start_date"
            f" FROM range({4 * persons}) t(i)",
            "CREATE TABLE concept AS SELECT 8840 AS concept_id, 'mg/dL' AS concept_code,"
            " 'UCUM' AS vocabulary_id",
        ):
            connection.execute(statement)


def made(address: str) -> Table:
    """The cohort, as a node makes it."""
    return load_cohort(address, cohort(), 0, {}, events=HERE)


SELECTS = (
    "SELECT person_id, measurement_date, measurement_concept_id, value_as_number, unit_concept_id"
    " FROM measurement ORDER BY 1",
    "SELECT person_id, condition_start_date, condition_concept_id FROM condition_occurrence ORDER BY 1",
    "SELECT person_id, visit_start_date FROM visit_occurrence ORDER BY 1",
    "SELECT person_id, gender_concept_id, year_of_birth FROM person ORDER BY 1",
)


def selected(path: Path) -> int:
    """The bare SELECTs of the same rows in order of patients, as NumPy's arrays, batch by batch."""
    rows = 0
    with duckdb.connect(str(path), read_only=True) as connection:
        for query in SELECTS:
            for batch in connection.sql(query).to_arrow_reader(50_000):
                arrays = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
                rows += len(arrays[0])
    return rows


def cpu(work: Callable[[], object]) -> float:
    """Processor seconds of one run."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def peak(path: Path) -> float:
    """MiB that a process of its own holds at most, making the cohort."""
    code = "import sys; from benchmarks.features import alone; alone(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    return float(done.stdout)


def alone(path: str) -> None:
    """Make the cohort and print how much memory that took."""
    made(f"duckdb:///{path}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def on_duckdb(folder: Path, persons: int, repeats: int) -> None:
    """Many persons, against the SELECTs alone."""
    path = folder / "omop.duckdb"
    fill(path, persons)
    say(f"{persons:,} persons, {22 * persons:,} rows on DuckDB")
    ours, floor = [], []
    for _ in range(repeats):
        ours.append(cpu(lambda: made(f"duckdb:///{path}")))
        floor.append(cpu(lambda: selected(path)))
    claim = f"features: 10 columns and a label of {persons:,} persons on DuckDB, against the ordered SELECTs"
    emit(at_most(claim, median(ours), median(floor), "CPU s", TIMES_SELECTS))
    emit(under(f"features: memory of the same, {persons:,} persons", peak(path), "MiB", MEMORY_MIB))


def as_sqlite(source: Path, target: Path) -> None:
    """The same tables in SQLite, with the indexes that a warehouse has."""
    with duckdb.connect(str(source), read_only=True) as rows, closing(sqlite3.connect(target)) as connection:
        for name in ("person", "visit_occurrence", "measurement", "condition_occurrence", "concept"):
            found = rows.execute(f"SELECT * FROM {name}")
            names = [str(one[0]) for one in found.description or ()]
            typed = ", ".join(f"{one} {TYPES.get(one, 'INTEGER')}" for one in names)
            connection.execute(f"CREATE TABLE {name} ({typed})")
            marks = ", ".join("?" * len(names))
            while batch := found.fetchmany(50_000):
                written = [list(map(_plain, row)) for row in batch]
                connection.executemany(f"INSERT INTO {name} VALUES ({marks})", written)
        for table, concept in (
            ("measurement", "measurement_concept_id"),
            ("condition_occurrence", "condition_concept_id"),
        ):
            connection.execute(f"CREATE INDEX {table}_code ON {table} ({concept}, person_id)")
            connection.execute(f"CREATE INDEX {table}_person ON {table} (person_id)")
        connection.execute("CREATE INDEX visit_person ON visit_occurrence (person_id)")
        connection.execute("ANALYZE")  # without it the aggregates take forty times as long
        connection.commit()


TYPES = {
    **dict.fromkeys(("measurement_date", "condition_start_date", "visit_start_date"), "DATE"),
    **dict.fromkeys(("concept_code", "vocabulary_id"), "TEXT"),
    "value_as_number": "REAL",
}


def _plain(value: object) -> object:
    """A date as SQLite has it."""
    return value.isoformat() if isinstance(value, datetime.date) else value


def aggregates() -> str:
    """The same columns as one statement of SQL: a common table expression a column, joined to the index."""

    def events(name: str, table: str, concept: str, number: int, begin: str, value: str = "NULL") -> str:
        return (
            f"{name} AS MATERIALIZED (SELECT person_id AS p, julianday({begin}) AS t, {value} AS v"
            f" FROM {table} WHERE {concept} = {number})"
        )

    ctes = [
        "zero AS MATERIALIZED (SELECT person_id AS p, min(julianday(visit_start_date)) AS t0"
        " FROM visit_occurrence GROUP BY 1)"
    ]
    shown = []
    inside = "LEFT JOIN {e} e ON e.p = z.p AND e.t >= z.t0 + {begin} AND e.t < z.t0 + {end}"
    for number, take in enumerate(VALUES):
        name = f"o{number}"
        ctes.append(
            events(
                f"e_{name}",
                "measurement",
                "measurement_concept_id",
                MEASUREMENT + number,
                "measurement_date",
                "value_as_number",
            )
        )
        join = inside.format(e=f"e_{name}", begin=-365, end=0)
        if take in ("first", "last"):
            way = "DESC" if take == "last" else "ASC"
            ctes.append(
                f"f_{name} AS MATERIALIZED (SELECT p, v FROM (SELECT z.p, e.v, row_number() OVER"
                f" (PARTITION BY z.p ORDER BY e.t {way}, e.v {way}) AS n FROM zero z {join}) WHERE n = 1)"
            )
        else:
            word = "avg" if take == "mean" else take
            ctes.append(
                f"f_{name} AS MATERIALIZED (SELECT z.p, {word}(e.v) AS v FROM zero z {join} GROUP BY 1)"
            )
        shown.append(name)
    for number, take in enumerate((*OF_CONDITIONS, "any")):
        name = f"d{number}"
        ctes.append(
            events(
                f"e_{name}",
                "condition_occurrence",
                "condition_concept_id",
                CONDITION + number,
                "condition_start_date",
            )
        )
        begin, end = (-365, 0) if number < len(OF_CONDITIONS) else (1, 366)
        word = "max(z.t0 - e.t)" if take == "days_since" else "count(e.p)"
        join = inside.format(e=f"e_{name}", begin=begin, end=end)
        ctes.append(f"f_{name} AS MATERIALIZED (SELECT z.p, {word} AS v FROM zero z {join} GROUP BY 1)")
        shown.append(name)
    joins = " ".join(f"LEFT JOIN f_{name} ON f_{name}.p = z.p" for name in shown)
    values = ", ".join(f"f_{name}.v" for name in shown)
    person = "JOIN person q ON q.person_id = z.p"
    shown_values = f"SELECT z.p, {values}, q.year_of_birth FROM zero z {joins} {person} ORDER BY 1"
    return f"WITH {', '.join(ctes)} {shown_values}"


def on_sqlite(folder: Path, persons: int, repeats: int) -> None:
    """Few persons, against aggregates."""
    fill(folder / "few.duckdb", persons)
    path = folder / "few.db"
    as_sqlite(folder / "few.duckdb", path)
    say(f"{persons:,} persons on SQLite")
    ours, theirs, counted = [], [], list[tuple[float | None, ...]]()
    with closing(sqlite3.connect(path)) as connection:
        for _ in range(repeats):
            ours.append(cpu(lambda: made(str(path))))
            theirs.append(cpu(lambda: counted.__setitem__(slice(None), connection.execute(aggregates()))))
    table = made(str(path))
    _same(table, counted)
    claim = f"features: 10 columns and a label of {persons:,} persons on SQLite, against SQL aggregates"
    emit(at_least_times_faster(claim, median(ours), median(theirs), "CPU s", TIMES_AGGREGATES))


def _same(table: Table, rows: list[tuple[float | None, ...]]) -> None:
    """Both sides answer the same question: the mean of a value's last, and how many have the label."""
    last = np.array([np.nan if row[1] is None else row[1] for row in rows], np.float64)
    labelled = sum((row[len(VALUES) + len(OF_CONDITIONS) + 1] or 0) > 0 for row in rows)
    same = np.isclose(np.nanmean(last), np.nanmean(table.columns["o0"])) and table.label is not None
    if not same or table.label is None or labelled != int(table.label.sum()):
        raise SystemExit("the two sides select differently; nothing is claimed")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--persons", type=int, default=PERSONS)
    parser.add_argument("--few", type=int, default=FEW)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        on_sqlite(Path(folder), asked.few, asked.repeats)
        on_duckdb(Path(folder), asked.persons, asked.repeats)
    emit(reported("features: persons", float(asked.persons), None, "persons"))


if __name__ == "__main__":
    main()

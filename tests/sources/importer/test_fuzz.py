"""Tables changed at random, packed or not: every record in, or refused in its place; and never anything else.

DICOM has a test of its own (`test_dicom_fuzz`).
"""

import gzip
import math
import sqlite3
import tempfile
import time
import zipfile
from contextlib import closing, suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedcohort.errors import FedcohortError
from fedcohort.sources.datasets.mimic_iv import import_mimic
from fedcohort.sources.importer.batch import Source
from fedcohort.sources.importer.csv import fast as csv_fast
from fedcohort.sources.importer.csv import source as csv_files
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.parquet import parquet_source
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.sql import sql_source
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

PIECES = (
    *(b'"', b'""', b"\n", b"\r\n", b"\r", b",", b";", b"\0", b"-", b"5,", b"1\n", b"nan", b"1e999"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"=cmd|'/C calc'!A0", b" " * 70_000, b"9" * 400),
    *(b"PK\x03\x04", b"\x1f\x8b\x08", b"PAR1"),
)
EDITS = st.lists(
    st.tuples(st.sampled_from(["set", "cut", "copy", "put"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=6,
)
LINES = [f'p{n},{n % 90},{"fm"[n % 2]},"{n / 7:.3f}","at ""home"", well"' for n in range(300)]
CSV = "\n".join(["patient_id,age,sex,value,note", *LINES, ""]).encode()


def edited(data: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    changed = bytearray(data)
    for what, place, number in edits:
        at = math.floor(place * len(changed))
        match what:
            case "set":
                changed[at : at + 1] = bytes((number,))
            case "cut":
                del changed[at : at + 8 * number]
            case "copy":
                changed[at:at] = changed[: 16 * number]
            case _:
                changed[at:at] = PIECES[number % len(PIECES)]
    return bytes(changed)


def packed(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data, 1)
    if how == "zip":
        held = BytesIO()
        with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("a.csv", data)
        return held.getvalue()
    return data


def check(source: Source, database: Path) -> Imported:
    """Every record that was read is written or refused, each refusal with a place and a reason.

    What is refused of a file as a whole, such as its damaged end, is no record.
    """
    report = import_source(source, database, MADE_UP)
    written = report.written.total()
    assert written <= report.read <= written + report.refused.total()
    assert all(one.file and one.position and one.reason for one in report.refusals)
    with closing(sqlite3.connect(database)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        stored = [connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables & {"t"}]
    assert sum(stored) == report.written.total()
    return report


@settings(max_examples=200, deadline=None)
@given(
    EDITS,
    st.sampled_from(["plain", "gzip", "zip"]),
    st.booleans(),
    st.sampled_from([60, 2000]),
)
def test_a_mutated_csv_file_is_read_or_refused_record_by_record(
    edits: list[tuple[str, float, int]], how: str, inside: bool, block: int
) -> None:
    data = packed(edited(CSV, edits), how) if inside else edited(packed(CSV, how), edits)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_fast, "BLOCK_BYTES", block)
        patch.setattr(csv_files, "BATCH_ROWS", 37)
        patch.setattr(csv_files, "SAMPLE_ROWS", 50)
        file = Path(name) / ("a.csv" if how == "plain" else "a.csv.gz")
        file.write_bytes(data)
        began = time.process_time()
        with suppress(FedcohortError):
            check(csv_source(file, "t", None), Path(name) / "s.db")
            again = import_source(csv_source(file, "t", None), Path(name) / "s.db", MADE_UP)
            assert not again.written.total()
        assert time.process_time() - began < PATIENCE_SECONDS


def parquet_bytes() -> bytes:
    pyarrow = pytest.importorskip("pyarrow", reason="Parquet needs the extra files")
    from pyarrow import parquet

    columns = {
        "patient_id": [f"p{n}" for n in range(300)],
        "age": [n % 90 for n in range(300)],
        "note": [None if n % 5 == 0 else f"word {n % 7}" for n in range(300)],
        "value": [n / 7 for n in range(300)],
    }
    held = BytesIO()
    parquet.write_table(pyarrow.table(columns), held, row_group_size=100)
    return held.getvalue()


@settings(max_examples=200, deadline=None)
@given(EDITS)
def test_a_mutated_parquet_file_is_read_or_refused(edits: list[tuple[str, float, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "a.parquet"
        file.write_bytes(edited(parquet_bytes(), edits))
        began = time.process_time()
        with suppress(FedcohortError):
            check(parquet_source(file, "t", None), Path(name) / "s.db")
            assert not import_source(
                parquet_source(file, "t", None), Path(name) / "s.db", MADE_UP
            ).written.total()
        assert time.process_time() - began < PATIENCE_SECONDS


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.sampled_from(["1e999", "nan", "0042", " ", "2020-02-30", "x" * 3000, "a\0b"]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES, VALUES), max_size=40))
def test_whatever_a_column_of_a_hospitals_table_holds_is_read_or_refused(
    rows: list[tuple[object, ...]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        hospital = Path(name) / "h.db"
        with closing(sqlite3.connect(hospital)) as connection, connection:
            connection.execute("CREATE TABLE t (patient_id TEXT, n INTEGER, x REAL, word TEXT, day DATE)")
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?)", rows)
        report = check(sql_source(f"sqlite:///{hospital}", "t", "t", None), Path(name) / "s.db")
        assert report.read == len(rows)


@settings(max_examples=200, deadline=None)
@given(EDITS)
def test_a_mutated_database_of_a_hospital_is_read_or_refused(edits: list[tuple[str, float, int]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        hospital = Path(name) / "h.db"
        with closing(sqlite3.connect(hospital)) as connection, connection:
            connection.execute("CREATE TABLE t (patient_id TEXT, n INTEGER PRIMARY KEY, word TEXT)")
            connection.executemany(
                "INSERT INTO t VALUES (?, ?, ?)", [(f"p{n}", n, "w" * 9) for n in range(300)]
            )
        hospital.write_bytes(edited(hospital.read_bytes(), edits))
        with suppress(FedcohortError):
            check(sql_source(f"sqlite:///{hospital}", "t", "t", None), Path(name) / "s.db")


TABLES = {
    "admissions": "subject_id,hadm_id,admittime,admission_type,insurance,edregtime,edouttime,"
    "hospital_expire_flag\n"
    + "".join(
        f"{n % 20},{n},2150-01-{n % 28 + 1:02} 10:00:00,URGENT,Other,2150-01-01 08:00:00,"
        f"2150-01-01 09:30:00,{n % 2}\n"
        for n in range(60)
    ),
    "icustays": "subject_id,hadm_id,stay_id,intime,los\n"
    + "".join(f"{n % 20},{n},{n},2150-01-{n % 28 + 1:02} 12:00:00,1.5\n" for n in range(0, 60, 3)),
    "patients": "subject_id,gender,anchor_age,anchor_year\n"
    + "".join(f"{n},F,{40 + n},2149\n" for n in range(20)),
}


@settings(max_examples=100, deadline=None)
@example(
    which="patients", edits=[("set", 0.625, 0)], inside=False
)  # an age below the declared ones was written
@given(which=st.sampled_from(sorted(TABLES)), edits=EDITS, inside=st.booleans())
def test_a_mutated_table_of_mimic_is_read_or_refused(
    which: str, edits: list[tuple[str, float, int]], inside: bool
) -> None:
    with tempfile.TemporaryDirectory() as scratch, suppress(FedcohortError):
        folder = Path(scratch)
        for name, content in TABLES.items():
            data = content.encode()
            if name == which:
                data = packed(edited(data, edits), "gzip") if inside else edited(packed(data, "gzip"), edits)
            else:
                data = packed(data, "gzip")
            (folder / f"{name}.csv.gz").write_bytes(data)
        reports = import_mimic(folder, folder, 2, MADE_UP)
        for report in reports:
            with closing(sqlite3.connect(report.database)) as connection:
                counted = connection.execute("SELECT count(*) FROM mortality").fetchone()[0]
                odd = connection.execute(
                    "SELECT count(*) FROM mortality WHERE age < 18 OR age > 91 OR died NOT IN (0, 1)"
                ).fetchone()[0]
            assert counted == report.written["mortality"]
            assert odd == 0

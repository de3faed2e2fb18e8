"""The importer: each record once, in its place or refused with it, whatever happens meanwhile."""

import csv
import gzip
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import ConfigError, DataError, SchemaError, StoreError
from fedcohort.sources.catalogue.schema import Declared, read_declarations
from fedcohort.sources.catalogue.units import conversion
from fedcohort.sources.importer import checkpoint as how_far
from fedcohort.sources.importer.csv import source as csv_files
from fedcohort.sources.importer.csv.opening import Dialect
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import MappedColumn, MappedTable, read_mapping
from fedcohort.sources.importer.parquet import parquet_source
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.sql import key_of, sql_source
from fedcohort.sources.importer.transactions import compiled
from fedcohort.storage.database import reading, writing
from tests.patience import PATIENCE_SECONDS
from tests.processes.support import cli

HEADER = "patient_id,age,sex,note"
ROWS = ["p1,63,f,stable", "p2,71.5,m,", "p3,,f,=cmd|' /C calc'!A0"]


def write(path: Path, rows: Sequence[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def stored(database: Path, table: str = "records", columns: str = "*") -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(f"SELECT {columns} FROM {table} ORDER BY id").fetchall()


def bring(file: Path, database: Path, mapping: MappedTable | None = None) -> Imported:
    keys = {"records": mapping.key} if mapping else {}
    return import_source(csv_source(file, "records", mapping), database, MADE_UP, keys=keys)


@pytest.fixture
def mapping(tmp_path: Path) -> MappedTable:
    (tmp_path / "mapping.toml").write_text("""
[tables.records]
patient_id = "mrn"
key = ["visit"]
[tables.records.columns.visit]
text = true
[tables.records.columns.glucose]
from = "GLU"
low = 1
high = 60
unit = "mmol/L"
local_unit = "mg/dL"
substance = "glucose"
missing = ["n/a"]
[tables.records.columns.sex]
levels = ["f", "m"]
codes = { W = "f", M = "m" }
""")
    return read_mapping(tmp_path / "mapping.toml")["records"]


def test_without_a_mapping_numbers_have_no_bounds_and_texts_stay_what_they_are(tmp_path: Path) -> None:
    report = bring(write(tmp_path / "a.csv", ROWS), tmp_path / "s.db")
    assert stored(tmp_path / "s.db", columns="patient_id, age, sex, note") == [
        ("p1", 63.0, "f", "stable"), ("p2", 71.5, "m", None), ("p3", None, "f", "=cmd|' /C calc'!A0"),
    ]  # fmt: skip
    with reading(tmp_path / "s.db") as connection:
        assert read_declarations(connection, "records") == {"age": Declared(Numeric())}
    assert (report.read, report.written["records"], report.refused.total()) == (3, 3, 0)


def test_names_units_and_codes_become_those_of_the_study(tmp_path: Path, mapping: MappedTable) -> None:
    rows = ["7,v1,90.078,W", "7,v2,n/a,M", "8,v3,180.156,W"]
    bring(write(tmp_path / "a.csv", rows, "mrn,visit,GLU,sex"), tmp_path / "s.db", mapping)
    found = stored(tmp_path / "s.db", columns="patient_id, visit, glucose, sex")
    assert [row[2] for row in found] == [pytest.approx(5.0), None, pytest.approx(10.0)]
    assert [(row[0], row[1], row[3]) for row in found] == [
        ("7", "v1", "f"),
        ("7", "v2", "m"),
        ("8", "v3", "f"),
    ]
    with reading(tmp_path / "s.db") as connection:
        assert read_declarations(connection, "records")["glucose"] == Declared(Numeric(1, 60), "mmol/L")
        assert read_declarations(connection, "records")["sex"] == Declared(Categorical(("f", "m")))


@pytest.mark.parametrize(
    ("source", "target", "mass", "value", "expected"),
    [
        ("degF", "degC", None, 98.6, 37.0),
        ("lb", "kg", None, 100.0, 45.359237),
        ("mg/dL", "umol/L", 113.12, 1.0, 88.4016973125884),
        ("mmHg", "kPa", None, 120.0, 15.99868),
    ],
)
def test_units_are_converted_with_their_offset(
    source: str, target: str, mass: float | None, value: float, expected: float
) -> None:
    factor, offset = conversion(source, target, mass)
    assert factor * value + offset == pytest.approx(expected, rel=1e-5)


def test_every_refusal_has_file_record_and_field_and_never_a_value(
    tmp_path: Path, mapping: MappedTable
) -> None:
    rows = [
        "7,v1,90,W",
        "7,v2,lots,W",
        "7,v3,90",
        "7,v4,90,secret",
        ",v5,90,M",
        "7,v6,9999,M",
        "7,v7,inf,M",
        "7,v8,90,M",
    ]
    report = bring(write(tmp_path / "a.csv", rows, "mrn,visit,GLU,sex"), tmp_path / "s.db", mapping)
    assert [(one.file, one.position, one.field, one.reason) for one in report.refusals] == [
        ("a.csv", "record 3", "", "has 3 fields where the header has 4"),
        ("a.csv", "record 2", "glucose", "is not a number"),
        ("a.csv", "record 4", "sex", "holds a level that is not declared"),
        ("a.csv", "record 5", "patient_id", "is missing"),
        ("a.csv", "record 6", "glucose", "is outside 1 to 60"),
        ("a.csv", "record 7", "glucose", "is outside 1 to 60"),
    ]
    assert [row[0] for row in stored(tmp_path / "s.db", columns="visit")] == ["v1", "v8"]
    assert (report.read, report.written["records"], report.refused.total()) == (8, 2, 6)
    assert not any(word in str(report) for word in ("lots", "secret", "9999"))


def test_the_same_content_twice_changes_nothing_whatever_the_file_is_called(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ROWS)
    bring(file, tmp_path / "s.db")
    before = stored(tmp_path / "s.db")
    again = bring(file, tmp_path / "s.db")
    renamed = bring(file.rename(tmp_path / "b.csv"), tmp_path / "s.db")
    assert stored(tmp_path / "s.db") == before
    assert (again.unchanged, again.read, renamed.unchanged) == (1, 0, 1)


def test_one_file_goes_into_two_tables_and_under_another_reading_into_neither(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ROWS)
    bring(file, tmp_path / "s.db")
    other = import_source(csv_source(file, "again", None), tmp_path / "s.db", MADE_UP)
    assert (other.unchanged, other.written["again"]) == (0, 3)
    with pytest.raises(StoreError, match=r"a\.csv: was imported under another mapping"):
        import_source(csv_source(file, "records", None), tmp_path / "s.db", MADE_UP, context="other units")
    assert stored(tmp_path / "s.db", columns="count(*)") == [(3,)]


def test_a_corrected_mapping_replaces_records_by_their_key(tmp_path: Path, mapping: MappedTable) -> None:
    file = write(tmp_path / "a.csv", ["7,v1,180,W"], "mrn,visit,GLU,sex")
    bring(file, tmp_path / "s.db", mapping)
    glucose = MappedColumn.model_validate(
        {"from": "GLU", "low": 1, "high": 60, "unit": "mmol/L", "factor": 0.05}
    )
    corrected = mapping.model_copy(update={"columns": {**mapping.columns, "glucose": glucose}})
    source = csv_source(file, "records", corrected)
    import_source(source, tmp_path / "s.db", MADE_UP, keys={"records": mapping.key}, context="corrected")
    assert stored(tmp_path / "s.db", columns="glucose") == [(pytest.approx(9.0),)]


def test_records_appended_to_a_file_come_in_behind_the_others(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", ROWS)
    bring(file, tmp_path / "s.db")
    write(file, [*ROWS, "p4,50,m,new"])
    report = bring(file, tmp_path / "s.db")
    assert report.read == 1
    assert [row[0] for row in stored(tmp_path / "s.db", columns="patient_id")] == ["p1", "p2", "p3", "p4"]


def test_a_changed_file_is_refused_without_keys_and_replaces_its_records_by_them(
    tmp_path: Path, mapping: MappedTable
) -> None:
    file = write(tmp_path / "a.csv", ROWS)
    bring(file, tmp_path / "s.db")
    write(file, ["p1,64,f,corrected", *ROWS[1:]])
    with pytest.raises(StoreError, match=r"a\.csv: changed since it was imported"):
        bring(file, tmp_path / "s.db")
    keyed = write(tmp_path / "k.csv", ["7,v1,90,W", "8,v2,90,M"], "mrn,visit,GLU,sex")
    bring(keyed, tmp_path / "k.db", mapping)
    write(keyed, ["7,v1,180,M", "8,v2,90,M", "9,v3,90,M"], "mrn,visit,GLU,sex")
    bring(keyed, tmp_path / "k.db", mapping)
    assert stored(tmp_path / "k.db", columns="visit, sex") == [("v1", "m"), ("v2", "m"), ("v3", "m")]


def test_a_folder_s_files_come_in_whatever_is_between_them(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    write(folder / "a.csv", ROWS[:1])
    with gzip.open(folder / "deeper" / "b.csv.gz", "wt", encoding="utf-8") as file:
        file.write("\n".join([HEADER, *ROWS[1:]]))
    (folder / "readme.txt").write_text("not a table")
    report = bring(folder, tmp_path / "s.db")
    assert report.written["records"] == 3
    assert not [one for one in report.refusals if "readme" in one.file]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_told_by_their_mark_or_declared(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.csv").write_text(f"{HEADER}\np1,63,f,Jürgen\n", encoding=encoding)
    dialect = Dialect(encoding="cp1252" if encoding == "cp1252" else None)
    import_source(csv_source(tmp_path / "a.csv", "records", None, dialect), tmp_path / "s.db", MADE_UP)
    assert stored(tmp_path / "s.db", columns="note") == [("Jürgen",)]


def test_bytes_outside_the_encoding_refuse_their_record_alone(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(
        f"{HEADER}\np1,63,f,fine\n".encode() + b"p2,64,f,J\xfcrgen\np3,65,m,ok\n"
    )
    report = bring(tmp_path / "a.csv", tmp_path / "s.db")
    assert [row[0] for row in stored(tmp_path / "s.db", columns="patient_id")] == ["p1", "p3"]
    assert "encoding" in report.refusals[0].reason


def test_semicolons_quotes_and_line_breaks_within_a_field_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('patient_id;age;note\np1;63;"two\nlines; and ""quotes"""\n')
    bring(tmp_path / "a.csv", tmp_path / "s.db")
    assert stored(tmp_path / "s.db", columns="age, note") == [(63.0, 'two\nlines; and "quotes"')]


def test_a_field_of_ten_megabytes_and_an_open_quote_refuse_their_records_alone(
    tmp_path: Path,
) -> None:
    rows = [ROWS[0], "p2,64,f," + "x" * 10_000_000, ROWS[2], 'p4,50,m,"never closed']
    report = bring(write(tmp_path / "a.csv", rows), tmp_path / "s.db")
    assert [row[0] for row in stored(tmp_path / "s.db", columns="patient_id")][:2] == ["p1", "p3"]
    assert report.refusals[0].position == "record 2"
    assert "a line of more than 4194304 characters" in report.refusals[0].reason


@pytest.mark.slow
def test_a_bomb_and_a_cut_off_archive_are_refused_in_words_and_keep_what_came_before(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.csv.gz"
    with gzip.open(bomb, "wb") as file:
        file.write(f"{HEADER}\n{ROWS[0]}\n".encode())
        for _ in range(100):
            file.write(b"p2,1,f," + b" " * 2**20 + b"\n")
    report = bring(bomb, tmp_path / "bomb.db")
    assert "unpacks to more than 200 times its size" in report.refusals[-1].reason
    whole = gzip.compress(
        "\n".join([HEADER, *(f"p{n},{n % 90},f,{os.urandom(20).hex()}" for n in range(30_000))]).encode()
    )
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    report = bring(tmp_path / "cut.csv.gz", tmp_path / "cut.db")
    assert "broken or cut off" in report.refusals[-1].reason
    assert len(stored(tmp_path / "cut.db")) > 10_000


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", SchemaError, "must name each column once"),
        ("a,a\n1,2\n", SchemaError, "must name each column once"),
        ("age,sex\n1,f\n", SchemaError, "has no column patient_id"),
    ],
)
def test_a_file_without_a_header_that_fits_is_refused(
    tmp_path: Path, text: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=said):
        bring(tmp_path / "a.csv", tmp_path / "s.db")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tables.a]\n", "tables.a: columns: name one at least"),
        ('[tables.a.columns.x]\nlevels = ["f"]\nlow = 1\n', "bounds and units are for numbers"),
        ('[tables.a.columns.x]\nlocal_unit = "mg/dL"\n', "local_unit needs unit"),
        ('[tables.a.columns.x]\nlocal_unit = "mg/dL"\nunit = "mmol/L"\n', "give substance or molar_mass"),
        ('[tables.a.columns.x]\nlocal_unit = "parsec"\nunit = "kg"\n', "cannot be converted"),
        ('[tables.a.columns.x]\ncodes = {a = "b"}\n', "codes need levels"),
        ('[tables.a]\nkey = ["y"]\n[tables.a.columns.x]\n', "y: no column of this table"),
        ("[tables.a.columns.x]\ncolour = 1\n", "tables.a.columns.x.colour"),
        ("no toml", "not TOML"),
    ],
)
def test_a_mapping_that_does_not_fit_is_named_with_its_field(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_mapping(tmp_path / "m.toml")
    assert str(tmp_path / "m.toml") in str(caught.value)


def test_parquet_comes_in_as_csv_does(tmp_path: Path, mapping: MappedTable) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "mrn": [7, 8, None],
        "visit": ["v1", "v2", "v3"],
        "GLU": [90.078, None, 1.0],
        "sex": ["W", "M", "W"],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    source = parquet_source(tmp_path / "a.parquet", "records", mapping)
    report = import_source(source, tmp_path / "s.db", MADE_UP, keys={"records": mapping.key})
    assert stored(tmp_path / "s.db", columns="patient_id, glucose, sex") == [
        ("7", pytest.approx(5.0), "f"), ("8", None, "m")
    ]  # fmt: skip
    assert [one.reason for one in report.refusals] == ["is missing"]
    (tmp_path / "b.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DataError, match="not a Parquet file"):
        parquet_source(tmp_path / "b.parquet", "records", None)
    broken = parquet_source(tmp_path, "records", mapping)
    assert "not a Parquet file" in import_source(broken, tmp_path / "t.db", MADE_UP).refusals[-1].reason


def test_a_hospital_s_table_comes_in_by_its_key_and_a_changed_row_again(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection, connection:
        connection.execute(
            "CREATE TABLE labs (patient_id TEXT, lab INTEGER PRIMARY KEY, value REAL, raw BLOB)"
        )
        connection.executemany(
            "INSERT INTO labs VALUES (?, ?, ?, x'00')", [(f"p{n % 3}", n, n / 2) for n in range(50_001)]
        )
    url = f"sqlite:///{tmp_path / 'h.db'}"

    def bring_labs() -> Imported:
        keys = {"labs": key_of(url, "labs", None)}
        return import_source(sql_source(url, "labs", "labs", None), tmp_path / "s.db", MADE_UP, keys=keys)

    assert bring_labs().written["labs"] == 50_001
    assert bring_labs().unchanged == 1
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection, connection:
        connection.execute("UPDATE labs SET value = -1 WHERE lab = 7")
    bring_labs()
    assert stored(tmp_path / "s.db", "labs", "count(*), min(value)") == [(50_001, -1.0)]
    with pytest.raises(SchemaError, match="it has labs"):
        sql_source(url, "nothing", "labs", None)


def test_a_database_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "h.db")) as connection, connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="tables that fedcohort did not make"):
        bring(write(tmp_path / "a.csv", ROWS), tmp_path / "h.db")
    assert stored(tmp_path / "h.db", "sqlite_master", "name, 1 AS id") == [("theirs", 1)]


def test_another_file_of_other_columns_does_not_go_into_the_same_table(tmp_path: Path) -> None:
    bring(write(tmp_path / "a.csv", ROWS), tmp_path / "s.db")
    with pytest.raises(StoreError, match="other columns or declarations"):
        bring(write(tmp_path / "b.csv", ["p9,1"], "patient_id,weight"), tmp_path / "s.db")


def test_progress_is_told_by_file_and_record_as_batches_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BATCH_ROWS", 2)
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    file = write(tmp_path / "a.csv", [*ROWS, "p4,50", "p5,51,m,"])
    told: list[tuple[str, int]] = []
    source = csv_source(file, "records", None)
    import_source(source, tmp_path / "s.db", MADE_UP, progress=lambda name, done: told.append((name, done)))
    assert told == [("a.csv", done) for done in (0, 2, 4, 5)]


def test_a_part_is_found_among_any_number_of_others_without_reading_them(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(write(tmp_path / "a.csv", ROWS), database)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP INDEX ix_fedcohort_imports_done")  # as databases of earlier versions
    bring(write(tmp_path / "b.csv", ["p9,1,f,"]), database)
    with writing(database) as connection:
        query, order = compiled(how_far._LIKE, connection.dialect)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("",) * len(order)).fetchall()
    assert plan
    assert not [step for *_, step in plan if step.startswith("SCAN")]


@pytest.mark.processes
def test_an_import_that_is_killed_goes_on_from_its_last_batch(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["patient_id", *"abcdef"])
        writer.writerows([f"p{n}", *([n / 7] * 6)] for n in range(400_000))
    asked = ("data", "import", "csv", "--from", str(file), "--into", "s.db")
    command = [sys.executable, "-m", "fedcohort", *asked]
    database = tmp_path / "s.db"
    running = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _progress(database) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    begun = _progress(database)
    assert 0 < begun < 400_000
    done = cli(*asked, cwd=tmp_path, seconds=120)
    assert done.returncode == 0, done.stderr
    assert "400000 records read, 400000 into records" in done.stdout  # those before the kill among them
    assert stored(database, columns="count(*), count(DISTINCT patient_id), sum(a)") == [
        (400_000, 400_000, pytest.approx(sum(n / 7 for n in range(400_000))))
    ]


def _progress(database: Path) -> int:
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        try:
            query = "SELECT coalesce(max(read), 0) FROM fedcohort_imports"
            return int(connection.execute(query).fetchone()[0])
        except sqlite3.OperationalError:
            return 0


@pytest.mark.processes
def test_the_command_reports_and_writes_what_was_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [*ROWS, "p4,50", "=p5,51"])
    done = cli(
        "data", "import", "csv", "--from", "a.csv", "--into", "s.db", "--refused", "refused.csv", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "5 records read, 3 into records" in done.stdout
    with (tmp_path / "refused.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == ["a.csv", "record 4", "", "has 2 fields where the header has 4"]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 60))
def test_whatever_bytes_follow_a_header_no_record_is_lost_or_doubled(data: bytes, size: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "BATCH_ROWS", size)
        file = Path(name) / "a.csv"
        file.write_bytes(f"{HEADER}\n{ROWS[0]}\n".encode() + data)
        report = bring(file, Path(name) / "s.db")
        assert report.read == report.written["records"] + report.refused.total()
        assert report.written["records"] >= 1
        assert bring(file, Path(name) / "s.db").unchanged == 1

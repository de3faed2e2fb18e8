"""What an attacker, a full disk or a careless export did to an import once; none of it does so again."""

import csv
import gzip
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fedcohort.cli.data.import_report import REFUSED_HEADER
from fedcohort.columns import Numeric
from fedcohort.errors import ConfigError, SchemaError, StoreError
from fedcohort.sources.catalogue.schema import Declared, read_declarations
from fedcohort.sources.importer.batch import Batch, Part, Source
from fedcohort.sources.importer.csv import source as csv_files
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import MappedTable, read_mapping
from fedcohort.sources.importer.parquet import parquet_source
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.sql import sql_source
from fedcohort.storage.database import reading
from tests.processes.support import cli
from tests.sources.importer.test_pipeline import HEADER, ROWS, bring, stored, write

JANE = "Jane 12.3.1980"


@pytest.fixture
def keyed(tmp_path: Path) -> MappedTable:
    (tmp_path / "mapping.toml").write_text("""
[tables.records]
patient_id = "patient_id"
key = ["patient_id"]
[tables.records.columns.age]
low = 0
high = 120
""")
    return read_mapping(tmp_path / "mapping.toml")["records"]


def patients(database: Path) -> list[object]:
    return [row[0] for row in stored(database, columns="patient_id")]


def test_a_quote_that_does_not_close_refuses_one_record_of_a_thousand(tmp_path: Path) -> None:
    rows = [f"p{n},64,f,home" for n in range(1000)]
    rows[300] = 'p300,64,f,"never closed'
    report = bring(write(tmp_path / "a.csv", rows), tmp_path / "s.db")
    assert (report.read, report.written["records"]) == (1000, 999)
    assert [(one.position, one.reason) for one in report.refusals] == [
        ("record 301", "a quote does not close")
    ]


def test_both_halves_of_the_reader_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fast half takes what is plain; what stands in several lines goes to the other."""
    rows = [f'p{n},{n % 90},f,"at ""home"", well"' for n in range(500)]
    rows[250] = 'p250,50,m,"two\nlines"'
    file = write(tmp_path / "a.csv", rows)
    monkeypatch.setattr("fedcohort.sources.importer.csv.fast.BLOCK_BYTES", 2000)
    bring(file, tmp_path / "fast.db")
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    bring(file, tmp_path / "slow.db")
    assert stored(tmp_path / "fast.db") == stored(tmp_path / "slow.db")
    assert len(patients(tmp_path / "fast.db")) == 500


def packed(path: Path, rows: Sequence[str]) -> Path:
    path.write_bytes(gzip.compress("\n".join([HEADER, *rows, ""]).encode(), mtime=0))
    return path


@pytest.mark.parametrize("name", ["a.csv.gz", pytest.param("b.CSV.GZ", marks=pytest.mark.slow)])
def test_of_a_file_that_is_cut_off_all_whole_records_come_in_and_the_whole_one_goes_on(
    tmp_path: Path, name: str
) -> None:
    rows = [f"p{n},{n % 97},f,{os.urandom(12).hex()}" for n in range(50_000)]
    cut = packed(tmp_path / "a.csv.gz", rows)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    report = bring(cut, tmp_path / "s.db")
    written = report.written["records"]
    assert 25_000 < written < 40_000
    assert report.refusals[0].position == f"after record {written}"
    assert "cut off" in report.refusals[0].reason
    assert bring(cut, tmp_path / "s.db").unchanged == 1
    mended = tmp_path / name
    mended.write_bytes(whole)
    assert bring(mended, tmp_path / "s.db").written["records"] == 50_000 - written
    assert patients(tmp_path / "s.db") == [f"p{n}" for n in range(50_000)]


def test_the_same_content_packed_is_the_same_content(tmp_path: Path) -> None:
    bring(write(tmp_path / "a.csv", ROWS), tmp_path / "s.db")
    assert bring(packed(tmp_path / "a.csv.gz", ROWS), tmp_path / "s.db").unchanged == 1


def test_a_last_record_that_was_half_written_is_never_kept_for_the_whole_one(
    tmp_path: Path, keyed: MappedTable
) -> None:
    file = tmp_path / "a.csv"
    for database, mapping in ((tmp_path / "s.db", None), (tmp_path / "keyed.db", keyed)):
        file.write_text(f"{HEADER}\np1,5,f,x\np2,6,m,y")
        bring(file, database, mapping)
        file.write_text(f"{HEADER}\np1,5,f,x\np2,61,m,y\np3,7,f,z\n")
        if mapping is None:
            with pytest.raises(StoreError, match="changed since it was imported"):
                bring(file, database)
        else:
            bring(file, database, mapping)
            assert stored(database, columns="patient_id, age") == [("p1", 5), ("p2", 61), ("p3", 7)]


def test_a_last_line_that_only_lacked_its_end_is_whole_and_a_header_alone_may_grow(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    for text, read in (
        (f"{HEADER}\n", 0),
        (f"{HEADER}\np1,5,f,x", 1),
        (f"{HEADER}\np1,5,f,x\np2,6,m,y\n", 1),
    ):
        file.write_text(text)
        assert bring(file, tmp_path / "s.db").read == read
    assert patients(tmp_path / "s.db") == ["p1", "p2"]


def interrupted(source: Source, batches: int) -> Source:
    """The source, whose reader dies behind so many batches."""
    (part,) = source.parts

    def some(done: int) -> "object":
        for index, batch in enumerate(part.batches(done)):
            if index == batches:
                raise KeyboardInterrupt
            yield batch

    dying = Part(part.name, part.table, part.digest, some, part.size, part.prefix)  # type: ignore[arg-type]
    return Source(source.tables, [dying])


def test_after_an_interruption_the_report_and_the_list_of_refusals_have_those_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BATCH_ROWS", 10)
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    rows = [f"p{n},{'old' if n % 5 == 0 else n},f,x" for n in range(100)]
    file, database = write(tmp_path / "a.csv", rows), tmp_path / "s.db"
    mapping = {"numbers": ["age"]}
    with pytest.raises(KeyboardInterrupt):
        import_source(interrupted(csv_source(file, "records", None, **mapping), 4), database, MADE_UP)  # type: ignore[arg-type]
    told: list[str] = []
    source = csv_source(file, "records", None, numbers=["age"])
    report = import_source(source, database, MADE_UP, on_refusal=lambda one: told.append(one.position))
    assert told == [f"record {n + 1}" for n in range(0, 100, 5)]
    assert (report.read, report.written["records"], report.refused["age is not a number"]) == (100, 80, 20)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM fedcohort_refusals").fetchone() == (20,)


@pytest.mark.processes
def test_the_list_of_refusals_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    file = write(tmp_path / "g.csv", [*ROWS, "p9,1"])
    before = file.read_bytes()
    asked = ("data", "import", "csv", "--keep-identifiers", "--from", "g.csv", "--into", "s.db", "--refused")
    for name, said in (("g.csv", "no list of refusals"), ("none/x.csv", "no folder"), (".", "directory")):
        done = cli(*asked, name, cwd=tmp_path)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert said in " ".join(done.stderr.split()), done.stderr
    assert file.read_bytes() == before
    for _ in range(2):
        assert cli(*asked, "list.csv", cwd=tmp_path).returncode == 0
        (tmp_path / "s.db").unlink()
        with (tmp_path / "list.csv").open(newline="") as listed:
            found = list(csv.reader(listed))
        assert found[0] == list(REFUSED_HEADER)
        assert [row[1] for row in found[1:]] == ["record 4"]


def sqlite_of(path: Path, create: str, rows: Sequence[tuple[object, ...]]) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(create)
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO t VALUES ({marks})", rows)
        connection.commit()
    return path


def test_a_text_in_a_column_of_dates_stays_a_text_and_out_of_every_message(tmp_path: Path) -> None:
    origin = sqlite_of(
        tmp_path / "h.db",
        "CREATE TABLE t (patient_id TEXT, seen DATE, at DATETIME, hb NUMERIC(5, 2))",
        [("p1", "2020-02-03", "2020-02-03 10:00:00", 12.5), ("p2", JANE, JANE, 11)],
    )
    import_source(sql_source(origin, "t", "records", None), tmp_path / "s.db", MADE_UP)
    assert stored(tmp_path / "s.db", columns="patient_id, seen, at, hb") == [
        ("p1", "2020-02-03", "2020-02-03 10:00:00", 12.5), ("p2", JANE, JANE, 11),
    ]  # fmt: skip


def test_a_text_outside_utf_8_is_one_records_fault(tmp_path: Path) -> None:
    create = "CREATE TABLE t (patient_id TEXT PRIMARY KEY, note TEXT)"
    origin = sqlite_of(tmp_path / "h.db", create, [("p1", "well"), ("p2", "x"), ("p3", "ill")])
    with closing(sqlite3.connect(origin)) as connection:
        connection.execute("UPDATE t SET note = CAST(x'ff41' AS TEXT) WHERE patient_id = 'p2'")
        connection.commit()
    report = import_source(sql_source(origin, "t", "records", None), tmp_path / "s.db", MADE_UP)
    assert patients(tmp_path / "s.db") == ["p1", "p3"]
    assert (report.refusals[0].position, report.refusals[0].field) == ("record 2", "note")


def test_a_column_called_id_and_lines_that_end_in_a_delimiter_come_in(tmp_path: Path) -> None:
    bring(write(tmp_path / "a.csv", ["7,p1,5,", "8,p2,6,"], "id,patient_id,age,"), tmp_path / "s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        found = connection.execute("SELECT fedcohort_id, id, patient_id, age FROM records").fetchall()
    assert found == [(1, 7, "p1", 5), (2, 8, "p2", 6)]


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("patient_id,Age,age", "p1,1,2", "Age, age differ in capitals only"),
        (",".join(["patient_id", *(f"c{n}" for n in range(2100))]), ",".join(["p1"] * 2101), "2101 columns"),
    ],
)
def test_columns_that_cannot_stand_in_one_table_are_named_before_anything_is_written(
    tmp_path: Path, header: str, row: str, said: str
) -> None:
    with pytest.raises(SchemaError, match=said):
        bring(write(tmp_path / "a.csv", [row], header), tmp_path / "s.db")
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "records" not in names


@pytest.mark.parametrize("name", ["sqlite_x", "fedcohort_imports", "pg_class"])
def test_a_table_may_not_have_a_name_of_the_databases_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="choose another"):
        import_source(csv_source(write(tmp_path / "a.csv", ROWS), name, None), tmp_path / "s.db", MADE_UP)


@pytest.mark.processes
def test_a_files_name_is_a_name_and_no_markup(tmp_path: Path) -> None:
    folder = tmp_path / "in [red]"
    folder.mkdir()
    write(folder / "a[b].csv", [*ROWS, "p9,1"])
    done = cli(
        "data", "import", "csv", "--keep-identifiers", "--from", str(folder), "--into", "s.db", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "a[b].csv: record 4" in done.stderr


def test_an_empty_first_file_is_refused_in_its_place_and_the_others_come_in(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"")
    write(folder / "b.csv", ROWS)
    report = bring(folder, tmp_path / "s.db")
    assert report.written["records"] == 3
    assert [one.file for one in report.refusals] == ["a.csv"]


def test_a_header_that_is_no_text_is_refused_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"patient_id,ag\xe9\np1,50\n")
    with pytest.raises(SchemaError, match=r"a\.csv: its first line is not text in UTF-8"):
        bring(tmp_path / "a.csv", tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize("text", ["1_000", "١٢", "1,5"])
def test_what_only_a_program_takes_for_a_number_is_none(
    tmp_path: Path, keyed: MappedTable, text: str
) -> None:
    rows = [f'p1,"{text}"', "p2,50"]
    report = bring(write(tmp_path / "a.csv", rows, "patient_id,age"), tmp_path / "s.db", keyed)
    assert patients(tmp_path / "s.db") == ["p2"]
    (reason,) = report.refused
    assert reason.startswith("age is not a number")


def test_numbers_with_spaces_and_without_end_are_read_alike_by_both_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"p{n:04},{n / 2} , {n},{n:03}" for n in range(1, 500)]
    rows[40] = "p0041,nan,1e+3,041"
    rows[90] = "p0091,  ,+5,091"
    text = "\n".join(["patient_id,a,b,code", *rows, "p0500,inf,1,500", "p0501,1,x,501"])
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    monkeypatch.setattr("fedcohort.sources.importer.csv.fast.BLOCK_BYTES", 2000)
    monkeypatch.setattr(csv_files, "SAMPLE_ROWS", 100)
    fast = bring(tmp_path / "a.csv", tmp_path / "fast.db")
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    slow = bring(tmp_path / "a.csv", tmp_path / "slow.db")
    assert stored(tmp_path / "fast.db") == stored(tmp_path / "slow.db")
    assert fast.refusals == slow.refusals
    found = stored(tmp_path / "fast.db", columns="a, b, code")
    assert found[0] == (0.5, 1.0, "001")
    assert found[40] == (None, 1000.0, "041")
    assert found[90] == (None, 5.0, "091")
    assert [(one.position, one.field) for one in fast.refusals] == [("record 500", "a"), ("record 501", "b")]


def test_nan_in_a_column_of_numbers_means_missing(tmp_path: Path, keyed: MappedTable) -> None:
    rows = ["p1,nan", "p2,50", "p3,NaN", "p4,inf"]
    report = bring(write(tmp_path / "a.csv", rows, "patient_id,age"), tmp_path / "s.db", keyed)
    assert stored(tmp_path / "s.db", columns="patient_id, age") == [("p1", None), ("p2", 50), ("p3", None)]
    assert report.refused.total() == 1
    assert "3 into records (each key once)" in str(report)


@pytest.mark.processes
def test_a_line_of_three_hundred_megabytes_is_not_held_in_memory(tmp_path: Path) -> None:
    """Measured in a process of its own by the kernel's own mark; Linux only, as /proc is."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    file = tmp_path / "line.csv"
    with file.open("w") as out:
        out.write(f"{HEADER}\np1,5,f,")
        for _ in range(100):
            out.write("x" * 1_000_000)
        out.write("\np2,6,m,y\n")
    script = (
        "import sys; from pathlib import Path; from fedcohort.sources.importer.csv.source import csv_source\n"
        "from fedcohort.sources.importer.deidentification import MADE_UP\n"
        "from fedcohort.sources.importer.pipeline import import_source\n"
        "def peak(): return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])\n"
        "import pyarrow.csv, fedcohort.sources.importer.csv.fast; before = peak()\n"
        "report = import_source(csv_source(Path(sys.argv[1]), 'records', None), sys.argv[2], MADE_UP)\n"
        "print(report.written['records'], (peak() - before) // 1024)\n"
    )
    command = [sys.executable, "-c", script, str(file), str(tmp_path / "s.db")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    written, grown = map(int, done.stdout.split())
    assert written == 1
    assert grown < 90  # MiB; the line alone has 95


class TestParquet:
    """Files that are sound Parquet, and no sound data."""

    @pytest.fixture
    def save(self, tmp_path: Path) -> Callable[..., Path]:
        pyarrow = pytest.importorskip("pyarrow", reason="needs the extra [files]")
        from pyarrow import parquet

        def write_file(columns: dict[str, object] | object, **options: object) -> Path:
            path = tmp_path / "f.parquet"
            table = pyarrow.table(columns) if isinstance(columns, dict) else columns
            parquet.write_table(table, path, **options)
            return path

        return write_file

    def bring(self, path: Path) -> Imported:
        return import_source(parquet_source(path, "records", None), path.parent / "s.db", MADE_UP)

    def test_a_dictionary_bomb_is_refused_before_it_unpacks(self, save: Callable[..., Path]) -> None:
        import pyarrow

        texts = pyarrow.DictionaryArray.from_arrays(
            pyarrow.array([0] * 200_000, "int32"), pyarrow.array(["x" * 900_000])
        )
        path = save({"patient_id": [f"p{n}" for n in range(200_000)], "note": texts})
        assert path.stat().st_size < 2_000_000
        report = self.bring(path)
        assert report.written["records"] == 0
        assert "unpacks to more than 200 times its size" in report.refusals[0].reason

    def test_texts_of_a_dictionary_are_what_they_were(self, save: Callable[..., Path]) -> None:
        path = save({"patient_id": ["p1", "p2", "p3"], "sex": ["f", None, "f"], "age": [5.0, None, 7.0]})
        self.bring(path)
        assert stored(path.parent / "s.db", columns="patient_id, sex, age") == [
            ("p1", "f", 5.0), ("p2", None, None), ("p3", "f", 7.0),
        ]  # fmt: skip

    def test_a_date_beyond_the_year_9999_is_its_records_fault(self, save: Callable[..., Path]) -> None:
        import pyarrow

        days = pyarrow.array([0, 5_000_000, 1], pyarrow.int32()).cast(pyarrow.date32())
        path = save({"patient_id": ["p1", "p2", "p3"], "seen": days})
        report = self.bring(path)
        assert patients(path.parent / "s.db") == ["p1", "p3"]
        assert [(one.position, one.reason) for one in report.refusals] == [
            ("record 2", "holds a date that is none")
        ]

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_duration_is_seconds_or_the_unit_that_is_declared(
        self, save: Callable[..., Path], unit: str
    ) -> None:
        import pyarrow

        count = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit] * 5400
        stays = pyarrow.array([count, None, count // 2], pyarrow.duration(unit))
        path = save({"patient_id": ["p1", "p2", "p3"], "stay": stays})
        assert not self.bring(path).refused
        assert stored(path.parent / "s.db", columns="stay") == [(5400.0,), (None,), (2700.0,)]
        with reading(path.parent / "s.db") as connection:
            assert read_declarations(connection, "records") == {"stay": Declared(Numeric(), "s")}
        for words, hours in (({"unit": "hour"}, 1.5), ({"unit": "min", "local_unit": "s"}, 90.0)):
            mapping = MappedTable.model_validate({"columns": {"stay": words}})
            database = path.parent / f"{hours}.db"
            import_source(parquet_source(path, "records", mapping), database, MADE_UP)
            assert [row[0] for row in stored(database, columns="stay")] == [
                pytest.approx(hours), None, pytest.approx(hours / 2)
            ]  # fmt: skip
        for words, why in (({}, 'write unit = "hour"'), ({"unit": "mmol/L"}, "cannot be converted")):
            mapping = MappedTable.model_validate({"columns": {"stay": words}})
            report = import_source(
                parquet_source(path, "records", mapping), path.parent / f"{why[0]}.db", MADE_UP
            )
            assert why in report.refusals[0].reason

    def test_other_columns_come_in_beside_mapped_ones(self, save: Callable[..., Path]) -> None:
        path = save({"mrn": [1, 2], "sex": ["W", "M"], "age": [60, 70], "note": ["a", None]})
        sex = {"levels": ["f", "m"], "codes": {"W": "f", "M": "m"}}
        words = {"patient_id": "mrn", "others": True, "columns": {"sex": sex}}
        source = parquet_source(path, "records", MappedTable.model_validate(words))
        import_source(source, path.parent / "s.db", MADE_UP)
        assert stored(path.parent / "s.db", columns="patient_id, sex, age, note") == [
            ("1", "f", 60, "a"), ("2", "m", 70, None)
        ]  # fmt: skip

    def test_two_columns_of_one_name_and_columns_of_lists_are_named(self, save: Callable[..., Path]) -> None:
        import pyarrow

        ids = pyarrow.array(["p1"])
        with pytest.raises(SchemaError, match="names a column twice"):
            self.bring(save(pyarrow.Table.from_arrays([ids, ids], ["patient_id", "patient_id"])))
        with pytest.raises(SchemaError, match="address hold lists, structures"):
            self.bring(save({"patient_id": ["p1"], "address": [{"x": JANE}]}))

    def test_a_broken_first_file_is_refused_in_its_place(self, save: Callable[..., Path]) -> None:
        path = save({"patient_id": ["p1"]})
        folder = path.parent / "in"
        folder.mkdir()
        (folder / "a.parquet").write_bytes(b"PAR1 nothing")
        path.rename(folder / "b.parquet")
        report = import_source(parquet_source(folder, "records", None), path.parent / "s.db", MADE_UP)
        assert report.written["records"] == 1
        assert [one.file for one in report.refusals] == ["a.parquet"]


def test_a_batch_says_when_nothing_follows() -> None:
    assert not Batch("records", {}, 0).broken

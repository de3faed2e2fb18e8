"""Files as programs write them: what stands before a header, and in which encoding."""

import gzip
import zipfile
from pathlib import Path

import pytest

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.parquet import parquet_source
from fedcohort.sources.importer.pipeline import import_source
from tests.sources.importer.test_pipeline import bring, stored

TABLE = "patient_id;age;ward\np1;63;A\np2;71,5;B\n"
PREAMBLE = 'Export of 1 May 2024;;\n\n"Ward ""A"" and others"\n'


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", ["", "sep=;\n", '"sep=;"\n', PREAMBLE, "\n", "sep=;\n" + PREAMBLE])
def test_a_header_is_found_behind_what_programs_write_before_it(
    tmp_path: Path, before: str, encoding: str, end: str
) -> None:
    text = (before + TABLE).replace("71,5", "71").replace("\n", end)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    source = csv_source(tmp_path / "a.csv", "records", None)
    assert not import_source(source, tmp_path / "s.db", MADE_UP).refused
    assert stored(tmp_path / "s.db", columns="patient_id, age, ward") == [("p1", 63, "A"), ("p2", 71, "B")]
    count = before.count("\n")
    told = [f"a.csv: the header is line {count + 1}; what stands before it is no record"] if count else []
    assert source.notes == told


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("before", ["", PREAMBLE])
def test_a_header_with_line_breaks_is_one_line_of_names(tmp_path: Path, end: str, before: str) -> None:
    text = before + 'mrn,"HbA1c\n(%)","age \n in years"\n1,6.5,63\n2,7.5,71\n'
    (tmp_path / "a.csv").write_bytes(text.replace("\n", end).encode())
    for name in ("HbA1c (%)", "HbA1c\n(%)", "HbA1c\r\n(%)"):
        mapping = MappedTable.model_validate({"patient_id": "mrn", "columns": {"hba1c": {"from": name}}})
        database = tmp_path / f"{len(name)}.db"
        bring(tmp_path / "a.csv", database, mapping)
        assert stored(database, columns="patient_id, hba1c") == [("1", 6.5), ("2", 7.5)]


def test_a_quote_that_never_closes_before_the_header_hides_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"Export\npatient_id,age\np1,5\n')
    with pytest.raises(DataError, match=r"a\.csv: its first line is no header"):
        csv_source(tmp_path / "a.csv", "records", None)


def test_a_preamble_before_another_patient_column_says_what_finds_the_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Export;;\nmrn;age;ward\n7;63;A\n")
    with pytest.raises(
        DataError, match=r"none of 100 names patient_id; patient_id in a mapping file says another"
    ):
        csv_source(tmp_path / "a.csv", "records", None)
    bring(
        tmp_path / "a.csv",
        tmp_path / "s.db",
        MappedTable.model_validate({"patient_id": "mrn", "others": True}),
    )
    assert stored(tmp_path / "s.db", columns="patient_id, age, ward") == [("7", 63, "A")]


def test_other_columns_come_in_as_without_a_mapping_and_another_names_the_patient(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("mrn,age,sex,note\n7,63,W,home\n8,NA,M,\n")
    columns = {"sex": {"levels": ["f", "m"], "codes": {"W": "f", "M": "m"}}}
    with pytest.raises(DataError, match='patient_id = "…" and others = true'):
        csv_source(tmp_path / "a.csv", "records", None)
    bring(
        tmp_path / "a.csv",
        tmp_path / "all.db",
        MappedTable.model_validate({"patient_id": "mrn", "others": True}),
    )
    assert stored(tmp_path / "all.db", columns="patient_id, age, sex, note") == [
        ("7", 63, "W", "home"), ("8", None, "M", None)
    ]  # fmt: skip
    mapping = MappedTable.model_validate({"patient_id": "mrn", "others": True, "columns": columns})
    bring(tmp_path / "a.csv", tmp_path / "some.db", mapping)
    assert stored(tmp_path / "some.db", columns="patient_id, age, sex, note") == [
        ("7", 63, "f", "home"), ("8", None, "m", None)
    ]  # fmt: skip


def test_an_archive_says_what_it_is_and_the_remedy_imports_it(tmp_path: Path) -> None:
    file = tmp_path / "a.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", TABLE.replace("71,5", "71"))
    with pytest.raises(DataError, match="is a ZIP archive: unpack it, and import the files in it"):
        csv_source(file, "records", None)
    with pytest.raises(ConfigError, match=r"a\.zip is no CSV or Parquet file: unpack it"):
        csv_source(tmp_path, "records", None)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert bring(tmp_path / "unpacked", tmp_path / "s.db").written["records"] == 2
    packed = tmp_path / "b.csv"
    packed.write_bytes(gzip.compress(TABLE.replace("71,5", "71").encode()))
    with pytest.raises(DataError, match=r"let its name end in \.csv\.gz"):
        csv_source(packed, "records", None)
    assert bring(packed.rename(tmp_path / "b.csv.gz"), tmp_path / "t.db").written["records"] == 2


@pytest.mark.parametrize(
    ("name", "begin", "said"),
    [
        ("a.xlsx", b"PK\x03\x04", "Excel workbook: save each sheet of it as CSV UTF-8"),
        ("a.xls", b"\xd0\xcf\x11\xe0", "Excel workbook"),
        ("a.csv", b"PAR1", "data import parquet"),
        ("a.db", b"SQLite format 3\0", "data import sql"),
    ],
)
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, name: str, begin: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(begin + bytes(100))
    with pytest.raises(DataError, match=said):
        csv_source(tmp_path / name, "records", None)


def test_a_text_for_parquet_says_that_it_is_csv(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs the extra [files]")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="is a ZIP archive"):
        parquet_source(tmp_path / "a.zip", "records", None)

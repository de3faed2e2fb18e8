"""One identifier is one patient, whatever it comes through; what was imported earlier keeps its form."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import text

from fedcohort.columns import Categorical, Classes, Numeric
from fedcohort.errors import SchemaError, StoreError
from fedcohort.sources.catalogue.normal_form import FORM
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.deidentify.pseudonym import pseudonym
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.dicom.options import DicomOptions
from fedcohort.sources.dicom.pixels import Rendering
from fedcohort.sources.dicom.source import dicom_source
from fedcohort.sources.events.change import Group, Record, Row
from fedcohort.sources.events.feed import EventFeed, EventPart
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.importer.batch import Source
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP, DeidentifiedSource, Keys
from fedcohort.sources.importer.identity import form_of
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.sql import sql_source
from fedcohort.storage.database import writing
from fedcohort.study import Cohort
from tests.postgres import Postgres
from tests.sources.dicom.files import PIXELS, image, write

KEY = bytes(range(32))
STORED = Path(__file__).parent / "stored"
COHORT = Cohort(columns={"age": Numeric(0, 100)})
OFFERED = {"records": ["age"]}


def by_csv(folder: Path, spelling: str) -> Source:
    path = folder / "records.csv"
    path.write_text(f"age,patient_id\n40,{spelling}\n", encoding="utf-8")
    return csv_source(path, "records", None)


def by_parquet(folder: Path, value: Any) -> Source:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra [parquet]")
    from pyarrow import parquet

    from fedcohort.sources.importer.parquet import parquet_source

    parquet.write_table(arrow.table({"patient_id": arrow.array(*value), "age": [40.0]}), folder / "r.parquet")
    return parquet_source(folder / "r.parquet", "records", None)


def by_sql(url: str, kind: str, value: str) -> Source:
    if url.startswith("duckdb"):
        import duckdb

        with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
            for statement in _statements(kind, value):
                connection.execute(statement)
    else:
        with writing(url) as connection:
            for statement in _statements(kind, value):
                connection.execute(text(statement))
    return sql_source(url, "patients", "records", None)


def _statements(kind: str, value: str) -> Iterator[str]:
    yield "DROP TABLE IF EXISTS patients"
    yield f"CREATE TABLE patients (patient_id {kind}, age INTEGER)"
    yield f"INSERT INTO patients VALUES ({value}, 40)"


def by_dicom(folder: Path, patient: str) -> Source:
    write(folder / "image.dcm", image(PIXELS, PatientID=patient, SpecificCharacterSet="ISO_IR 192"))
    options = DicomOptions(table="records", rendering=Rendering(height=2, width=2))
    return dicom_source(folder / "image.dcm", options)


SPELLINGS: list[tuple[str, str, Any]] = [
    *(("csv", "", text) for text in ("23", "23.0", " 23 ", "\ufeff23", "2\u200b3", "\uff12\uff13", "+23")),
    *(("dicom", "", text) for text in ("23", "23 ", "2\u200b3")),
    *(("parquet", "", value) for value in (
        ([23],), ([23.0],), (["23"],), (["\ufeff23"],), (["23"], "dictionary"), ([23], "int8"),
        ([23], "decimal"),
    )),
    *(("sqlite", kind, value) for kind, value in (
        ("INTEGER", "23"), ("REAL", "23.0"), ("TEXT", "'23'"), ("BLOB", "x'3233'"), ("", "'23.0'"),
        ("NUMERIC", "23.0"), ("DECIMAL(38, 10)", "23"),
    )),
    *(("postgresql", kind, value) for kind, value in (
        ("bigint", "23"), ("numeric(38, 10)", "23"), ("double precision", "23"), ("text", "'23'"),
        ("char(8)", "'23'"), ("bytea", "'23'"), ("text", "E'\\ufeff23'"),
    )),
    *(("duckdb", kind, value) for kind, value in (
        ("BIGINT", "23"), ("DECIMAL(38, 10)", "23"), ("DOUBLE", "23"), ("VARCHAR", "'23.0'"),
        ("BLOB", "'23'"), ("HUGEINT", "23"),
    )),
]  # fmt: skip


@pytest.fixture
def source_of(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[str, str, Any], Source]:
    def make(way: str, kind: str, value: Any) -> Source:
        if way == "csv":
            return by_csv(tmp_path, value)
        if way == "dicom":
            return by_dicom(tmp_path, value)
        if way == "parquet":
            return by_parquet(tmp_path, _typed(value))
        if way == "postgresql":
            return by_sql(request.getfixturevalue("patients_url"), kind, value)
        if way == "duckdb":
            pytest.importorskip("duckdb", reason="needs the extra [duckdb]")
        prefix = "duckdb" if way == "duckdb" else "sqlite"
        return by_sql(f"{prefix}:///{tmp_path}/{way}.file", kind, value)

    return make


def _typed(value: tuple[Any, ...]) -> tuple[Any, ...]:
    import pyarrow

    types = {
        "dictionary": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
        "int8": pyarrow.int8(),
        "decimal": pyarrow.decimal128(38, 10),
    }
    return (value[0], *(types[one] for one in value[1:]))


@pytest.fixture(scope="module")
def patients_url(postgres_server: Postgres) -> str:
    return postgres_server.create("patients")


@pytest.mark.parametrize(("way", "kind", "value"), SPELLINGS, ids=repr)
def test_every_source_and_type_gives_one_patient(
    tmp_path: Path, source_of: Callable[[str, str, Any], Source], way: str, kind: str, value: Any
) -> None:
    """All pairs at once: each of them gives what a person would write."""
    kept, hidden = tmp_path / "kept.db", tmp_path / "hidden.db"
    source = source_of(way, kind, value)
    report = import_source(source, kept, MADE_UP)
    assert report.refusals == []
    assert stored(kept) == ["23"]
    import_source(source_of(way, kind, value), hidden, RuleSet(Rules(), KEY))
    assert stored(hidden) == [pseudonym(KEY, "23")]


def stored(database: Path) -> list[str]:
    with closing(sqlite3.connect(database)) as connection:
        return [row[0] for row in connection.execute("SELECT patient_id FROM records ORDER BY id")]


def test_a_hospital_s_own_table_and_a_frame_are_read_in_the_same_form(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records (patient_id, age REAL)")
        spelled = ["23", "\ufeff23", 23, 23.0, b"23", "2\u200b3"]
        connection.executemany("INSERT INTO records VALUES (?, 40)", [(one,) for one in spelled])
    assert set(load_cohort(path, COHORT, 0, OFFERED).patient_ids) == {"23"}
    frame = pd.DataFrame({"patient_id": pd.Series(spelled, dtype=object), "age": 40.0})
    assert set(table_from_frame(frame, COHORT, 0).patient_ids) == {"23"}


IDS = ["1", "\u200b23", "23.0", "M\u00fc", "12345.0000000000"]


@pytest.fixture(params=["kept", "pseudonyms"])
def older(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A database that ed08848 imported: five patients, of which form 2 would name three otherwise."""
    path = tmp_path / "older.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            (STORED / f"imported_by_ed08848_{request.param}.sql").read_text(encoding="utf-8")
        )
    return path, request.param


@dataclass(frozen=True)
class InForm:
    """The rules of a site with pseudonyms of a form that need not be the database's."""

    rules: RuleSet
    form: int

    def apply(self, source: Source, keys: Keys, form: int) -> DeidentifiedSource:
        return self.rules.apply(source, keys, self.form)


def more(folder: Path) -> Source:
    path = folder / "more.csv"
    path.write_text("patient_id,age\n" + "".join(f"{one},60\n" for one in IDS), encoding="utf-8")
    return csv_source(path, "records", None)


RULES = RuleSet(Rules(), KEY, named=["more.csv"])


def test_an_older_import_goes_on_in_its_form(older: tuple[Path, str], tmp_path: Path) -> None:
    database, name = older
    before = stored(database)
    assert form_of(database) == 1
    import_source(more(tmp_path), database, MADE_UP if name == "kept" else RULES)
    assert stored(database) == [*before, *before]
    read = load_cohort(database, COHORT, 0, OFFERED).patient_ids
    assert len(np.unique(read)) == 5


def test_events_of_the_same_patients_link_with_an_older_import(older: tuple[Path, str]) -> None:
    """Whoever was imported as rows is the same patient as events, in the form of the database."""
    database, name = older
    orders: list[Row] = [{"code": "CBC", "time": 18_000.5}]
    changes = [Group("orders", one, 1.0, one, tuple(orders)) for one in IDS]
    record = Record("message 1", tuple(changes))
    feed = EventFeed("adt", [EventPart("a", lambda: "a" * 64, lambda done: iter([record][done:]))])
    report = import_events(feed, database, MADE_UP if name == "kept" else RULES)
    assert report.refusals == []
    with closing(sqlite3.connect(database)) as connection:
        found = {row[0] for row in connection.execute("SELECT patient_id FROM orders")}
    assert found == set(stored(database))
    assert form_of(database) == 1


def test_an_older_import_takes_no_patients_of_another_form(older: tuple[Path, str], tmp_path: Path) -> None:
    database, _ = older
    with pytest.raises(StoreError, match="identifiers of form 2; they would not be the same patients"):
        import_source(more(tmp_path), database, InForm(RULES, FORM))


def test_a_new_import_of_the_same_file_is_in_the_new_form(tmp_path: Path) -> None:
    database = tmp_path / "new.db"
    import_source(more(tmp_path), database, MADE_UP)
    assert stored(database) == ["1", "23", "23", "M\u00fc", "12345"]
    assert form_of(database) == FORM


def test_a_later_version_s_import_is_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "later.db"
    import_source(more(tmp_path), database, MADE_UP)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "UPDATE fedcohort_identity SET identity = 'identifiers kept, identifiers of form 3'"
        )
    with pytest.raises(StoreError, match="was imported by a later version of fedcohort"):
        load_cohort(database, COHORT, 0, OFFERED)


def test_an_identifier_without_a_text_refuses_its_record(tmp_path: Path) -> None:
    path = tmp_path / "odd.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE patients (patient_id, age INTEGER)")
        connection.execute("INSERT INTO patients VALUES (?, 1), (x'ff', 2), ('7', 3)", ["x" * 129])
    report = import_source(sql_source(path, "patients", "records", None), tmp_path / "s.db", MADE_UP)
    assert [one.reason for one in report.refusals] == [
        "is longer than 128 characters; give another column",
        "is neither text nor number; cast it in a view of the source",
    ]
    assert stored(tmp_path / "s.db") == ["7"]


def test_a_text_that_is_not_utf_8_refuses_its_record_alone(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra [parquet]")
    from pyarrow import parquet

    from fedcohort.sources.importer.parquet import parquet_source

    words = arrow.array([b"x", b"\xff", b"y"], arrow.binary()).view(arrow.string())
    parquet.write_table(arrow.table({"patient_id": ["1", "2", "3"], "word": words}), tmp_path / "r.parquet")
    for number, column in enumerate(({"text": True}, {"levels": ["x", "y"]})):
        mapping = MappedTable.model_validate({"columns": {"word": column}})
        source = parquet_source(tmp_path / "r.parquet", "records", mapping)
        report = import_source(source, tmp_path / f"{number}.db", MADE_UP)
        assert stored(tmp_path / f"{number}.db") == ["1", "3"]
        assert [(one.position, one.field) for one in report.refusals] == [("record 2", "word")]


CODES = (9007199254740992, 9007199254740993)
WHOLE = {
    "sqlite": ("INTEGER", "INTEGER"),
    "postgresql": ("bigint", "bigint"),
    "postgresql numeric": ("numeric", "numeric(20, 0)"),
    "duckdb": ("BIGINT", "BIGINT"),
    "duckdb hugeint": ("HUGEINT", "HUGEINT"),
}


@pytest.mark.parametrize("codes", [CODES, (5, 6)], ids=["beyond doubles", "small"])
@pytest.mark.parametrize("form", [1, FORM])
@pytest.mark.parametrize("engine", WHOLE)
def test_whole_numbers_beside_missing_ones_are_read_to_the_last_digit(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str, form: int, codes: tuple[int, int]
) -> None:
    if engine.startswith("postgresql"):
        server: Postgres = request.getfixturevalue("postgres_server")
        address = server.create(f"whole_{form}_{len(engine)}_{codes[0]}")
    elif engine.startswith("duckdb"):
        pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")
        address = f"duckdb:///{tmp_path / 'whole.duckdb'}"
    else:
        address = str(tmp_path / "whole.db")
    patient, code = WHOLE[engine]
    with writing(address) as connection:
        for statement in (
            f"CREATE TABLE records (patient_id {patient}, age FLOAT, code {code}, arm {code})",
            f"INSERT INTO records VALUES (1234567890123456, 40, {codes[0]}, {codes[1]})",
            f"INSERT INTO records VALUES (1234567890123457, 41, {codes[1]}, {codes[0]})",
            "INSERT INTO records VALUES (12345678901234, 42, NULL, 0)",
            "INSERT INTO records VALUES (NULL, 99, NULL, NULL)",
            "CREATE TABLE fedcohort_identity (id INTEGER, identity VARCHAR(256))",
            f"INSERT INTO fedcohort_identity VALUES (1, 'identifiers kept{_of_form(form)}')",
        ):
            connection.exec_driver_sql(statement)
    cohort = Cohort(
        columns={"age": Numeric(0, 100), "code": Categorical(codes)},
        label=Classes("arm", (0, *codes)),
        where="coalesce(age, 99) < 50",  # by which no database narrows: the row without a patient is read
    )
    found = load_cohort(address, cohort, 0, {"records": ["age", "code", "arm"]})
    assert found.label is not None
    rows = zip(found.patient_ids, found.columns["code"], found.label, strict=True)
    assert list(rows) == [
        ("12345678901234", -1, 0),
        ("1234567890123456", 0, 2),
        ("1234567890123457", 1, 1),
    ]


def _of_form(form: int) -> str:
    return "" if form == 1 else f", identifiers of form {form}"


def test_a_column_of_whole_and_broken_numbers_names_patients_as_its_rows_do(tmp_path: Path) -> None:
    path = tmp_path / "mixed.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE records (patient_id NUMERIC, age REAL)")
        connection.executemany("INSERT INTO records VALUES (?, 40)", [(12345678901234,), (1.5,)])
        connection.execute("CREATE TABLE fedcohort_identity (id INTEGER, identity VARCHAR(256))")
        connection.execute("INSERT INTO fedcohort_identity VALUES (1, 'identifiers kept')")
    assert load_cohort(path, COHORT, 0, OFFERED).patient_ids.tolist() == ["1.5", "12345678901234"]


def test_nullable_whole_numbers_of_a_frame_are_read_to_the_last_digit() -> None:
    for dtype in ("Int64", "object", "int64[pyarrow]"):
        if "pyarrow" in dtype:
            pytest.importorskip("pyarrow", reason="needs the extra [parquet]")
        values = pd.Series([CODES[1], CODES[0], None], dtype=dtype)
        frame = pd.DataFrame({"patient_id": values, "age": [40.0, 41.0, 99.0]})
        cohort = COHORT.model_copy(update={"where": "age < 50"})
        assert table_from_frame(frame, cohort, 0).patient_ids.tolist() == list(map(str, CODES))


def test_patients_that_were_rounded_are_refused_and_not_made_one(tmp_path: Path) -> None:
    frame = pd.DataFrame({"patient_id": [CODES[1], CODES[0], None], "age": [40.0, 41.0, 99.0]})
    cohort = COHORT.model_copy(update={"where": "age < 50"})
    with pytest.raises(SchemaError, match=r"patient_id: holds a number .* which was rounded"):
        table_from_frame(frame, cohort, 0)
    assert table_from_frame(frame, cohort, 0, private=True).n_rows == 0
    arrow = pytest.importorskip("pyarrow", reason="needs the extra [parquet]")
    value = arrow.array([float(CODES[0])])
    report = import_source(by_parquet(tmp_path, (value,)), tmp_path / "s.db", MADE_UP)
    assert [one.reason.partition(",")[0] for one in report.refusals] == [
        "is a number with a decimal point of 16 digits or more"
    ]


def test_whole_numbers_beside_missing_ones_come_in_from_parquet_to_the_last_digit(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra [files]")
    from pyarrow import parquet

    from fedcohort.sources.importer.parquet import parquet_source

    patients = arrow.array([CODES[1], CODES[0], None], arrow.int64())
    parquet.write_table(
        arrow.table({"patient_id": patients, "age": [40.0, 41.0, 42.0]}), tmp_path / "r.parquet"
    )
    source = parquet_source(tmp_path / "r.parquet", "records", None)
    report = import_source(source, tmp_path / "s.db", MADE_UP)
    assert stored(tmp_path / "s.db") == [str(CODES[1]), str(CODES[0])]
    assert [(one.position, one.reason) for one in report.refusals] == [("record 3", "is missing")]

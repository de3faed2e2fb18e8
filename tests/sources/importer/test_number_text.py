"""A text is one number, or none: whoever reads it, and wherever in a file it stands."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from fedcohort.columns import Numeric
from fedcohort.errors import SchemaError, StudyError
from fedcohort.sources.catalogue.schema import Declared
from fedcohort.sources.importer.batch import Source
from fedcohort.sources.importer.csv import fast as csv_fast
from fedcohort.sources.importer.csv import source as csv_files
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.mapping import MappedTable, writing_of
from fedcohort.sources.importer.numbers import (
    MISSING_MARKS,
    Writing,
    decimal_mark,
    plain_number,
    thousands_mark,
)
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.sql import sql_source
from fedcohort.storage.database import writing
from tests.postgres import Postgres
from tests.sources.importer.test_pipeline import bring, stored, write

BOTH_HALVES = pytest.mark.parametrize("half", ["fast", "slow"])


def use(half: str, monkeypatch: pytest.MonkeyPatch, sample: int = 10_000) -> None:
    monkeypatch.setattr(csv_files, "SAMPLE_ROWS", sample)
    monkeypatch.setattr(csv_fast, "BLOCK_BYTES", 400)
    if half == "slow":
        monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))


def one_column(folder: Path, *values: str, name: str = "x") -> Path:
    rows = [f'p{number},"{value}"' for number, value in enumerate(values, 1)]
    return write(folder / "a.csv", rows, f"patient_id,{name}")


@BOTH_HALVES
@pytest.mark.parametrize("text", ["1E2", "12_3", "１２", "0389", "+0389", "007.5", "inf", "1e999"])
def test_what_may_be_a_code_or_is_no_number_makes_a_text_and_stays_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, half: str
) -> None:
    use(half, monkeypatch)
    report = bring(one_column(tmp_path, "12", text, "7.5"), tmp_path / "s.db")
    assert stored(tmp_path / "s.db", columns="x") == [("12",), (text,), ("7.5",)]
    assert not report.refused


@BOTH_HALVES
@pytest.mark.parametrize("text", ["0389", "1E2", "12_3", "１２", "+0389", " 0389"])
def test_a_code_behind_the_first_records_is_refused_in_words_and_never_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, half: str
) -> None:
    use(half, monkeypatch, sample=100)
    report = bring(one_column(tmp_path, *["389.5"] * 150, text, "390.5"), tmp_path / "s.db")
    assert [row[0] for row in stored(tmp_path / "s.db", columns="x")] == [*[389.5] * 150, 390.5]
    assert [(one.position, one.field) for one in report.refusals] == [("record 151", "x")]


def test_the_remedy_for_a_late_code_keeps_every_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use("fast", monkeypatch, sample=2)
    file = one_column(tmp_path, "389", "390", "0389")
    (reason,) = bring(file, tmp_path / "s.db").refused
    assert "declare the column in a mapping file, as a number or with text = true" in reason
    as_text = MappedTable.model_validate({"others": True, "columns": {"x": {"text": True}}})
    bring(file, tmp_path / "text.db", as_text)
    assert stored(tmp_path / "text.db", columns="x") == [("389",), ("390",), ("0389",)]
    as_number = MappedTable.model_validate({"others": True, "columns": {"x": {}}})
    bring(file, tmp_path / "number.db", as_number)
    assert stored(tmp_path / "number.db", columns="x") == [(389,), (390,), (389,)]


@BOTH_HALVES
def test_the_usual_marks_are_missing_among_numbers_and_told_and_stay_in_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    use(half, monkeypatch, sample=30)
    marks = sorted(MISSING_MARKS)
    rows = [f"p{n},{mark},{mark}" for n, mark in enumerate(["5", *marks, "7.5"] * 10)]
    rows[1] = "p1,NA,Na"
    file = write(tmp_path / "a.csv", [*rows, "q,1,home"], "patient_id,x,note")
    source = csv_source(
        file, "records", MappedTable.model_validate({"others": True, "columns": {"note": {"text": True}}})
    )
    report = import_source(source, tmp_path / "s.db", MADE_UP)
    assert not report.refused
    found = stored(tmp_path / "s.db", columns="x, note")
    assert [x for x, _ in found[: len(marks) + 2]] == [5, *[None] * len(marks), 7.5]
    assert found[1] == (None, "Na")
    assert [note.partition(";")[0] for note in source.notes] == ["x: numbers"]
    assert source.tables["records"] == {"x": Declared(Numeric())}


def test_one_limit_makes_a_text_of_numbers_and_says_so(tmp_path: Path) -> None:
    source = csv_source(one_column(tmp_path, "1.5", "2.5", "<0.5", "4.5"), "records", None)
    assert source.notes == [
        "x: a text, for 1 of 4 values of the first records are no numbers (record 3 the first); a mapping "
        "file can make it numbers, by missing, codes or outside for the others"
    ]
    assert csv_source(one_column(tmp_path, "home", "ward 7", "12"), "records", None).notes == []


@pytest.mark.parametrize(
    ("texts", "answers"),
    [
        (("265,000", "150,000"), {"--decimal ,": (265.0, 150.0), "--thousands ,": (265_000.0, 150_000.0)}),
        (("265,000", "7"), {"--decimal ,": (265.0, 7.0), "--thousands ,": (265_000.0, 7.0)}),
        (("150.000", "1"), {"--decimal .": (150.0, 1.0), "--thousands .": (150_000.0, 1.0)}),
        (("120,5", "98,25"), {"--decimal ,": (120.5, 98.25)}),
        (("1,234.5", "98.25"), {"--thousands ,": (1234.5, 98.25)}),
        (("1.234,5", "98,25"), {"--thousands .": (1234.5, 98.25)}),
    ],
)
def test_numbers_of_two_meanings_are_asked_about_and_every_answer_gives_its_value(
    tmp_path: Path, texts: tuple[str, ...], answers: dict[str, tuple[float, ...]]
) -> None:
    file = one_column(tmp_path, *texts)
    with pytest.raises(SchemaError, match=r"a\.csv: x: its numbers have a (comma|point): say") as asked:
        csv_source(file, "records", None)
    assert {
        one
        for one in ("--decimal ,", "--decimal .", "--thousands ,", "--thousands .")
        if one in str(asked.value)
    } == set(answers)
    assert not any(text in str(asked.value) for text in ("98,25", "98.25", "7"))
    for number, (answer, expected) in enumerate(answers.items()):
        decimal, thousands = (answer[-1], None) if "decimal" in answer else (None, answer[-1])
        writing = writing_of(decimal_mark(decimal), thousands_mark(thousands))
        source = csv_source(file, "records", None, writing=writing)
        import_source(source, tmp_path / f"{number}.db", MADE_UP)
        assert stored(tmp_path / f"{number}.db", columns="x") == [(value,) for value in expected]


@pytest.mark.parametrize(("text", "value"), [("265,000", 265_000.0), ("150.000", 150_000.0)])
def test_what_is_asked_beside_a_mapping_is_answered_in_it(tmp_path: Path, text: str, value: float) -> None:
    file = write(tmp_path / "a.csv", [f'1,"{text}"'], "mrn,x")
    words = {"patient_id": "mrn", "others": True}
    with pytest.raises(SchemaError) as asked:
        csv_source(file, "records", MappedTable.model_validate(words))
    mark = text[3]
    assert f'write thousands = "{mark}" below the table in the mapping file' in str(asked.value)
    assert "--" not in str(asked.value)
    bring(file, tmp_path / "s.db", MappedTable.model_validate(words | {"thousands": mark}))
    assert stored(tmp_path / "s.db", columns="patient_id, x") == [("1", value)]


def test_words_behind_the_first_numbers_say_how_they_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("fast", monkeypatch, sample=2)
    file = one_column(tmp_path, "1.5", "2.5", "0.5-1")
    (reason,) = bring(file, tmp_path / "s.db").refused
    assert "a mapping file can make the column a text (text = true)" in reason
    words = {"others": True, "columns": {"x": {"text": True}}}
    bring(file, tmp_path / "t.db", MappedTable.model_validate(words))
    assert stored(tmp_path / "t.db", columns="x") == [("1.5",), ("2.5",), ("0.5-1",)]


def test_a_point_before_one_or_two_digits_or_behind_a_zero_is_a_decimal_point(tmp_path: Path) -> None:
    for texts in (("150.000", "150.5"), ("0.125", "7.125"), ("1234.567", "150.000")):
        assert csv_source(one_column(tmp_path, *texts), "records", None).tables["records"] == {
            "x": Declared(Numeric())
        }


@BOTH_HALVES
def test_three_digits_behind_a_point_after_whole_numbers_alone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    use(half, monkeypatch, sample=100)
    report = bring(one_column(tmp_path, *["150"] * 120, "150.000", "150.5"), tmp_path / "s.db")
    (reason,) = report.refused
    assert "if it is, say --thousands .; if they are decimals, say --decimal ." in reason
    assert [row[0] for row in stored(tmp_path / "s.db", columns="x")] == [*[150.0] * 120, 150.5]


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, ('thousands = "."', 'decimal = "."')),
        ({"low": 0, "high": 1e6}, ('thousands = "."', 'decimal = "."')),
        ({"low": 1_000, "high": 1e6}, ('thousands = "."',)),
        ({"low": 0, "high": 1_000}, ()),
    ],
)
def test_bounds_tell_what_a_point_means_and_where_they_do_not_it_is_asked(
    tmp_path: Path, bounds: dict[str, float], said: tuple[str, ...]
) -> None:
    file = one_column(tmp_path, "150.000", "265.000", "300")
    mapping = MappedTable.model_validate({"columns": {"x": bounds}})
    if not said:
        bring(file, tmp_path / "s.db", mapping)
        assert stored(tmp_path / "s.db", columns="x") == [(150.0,), (265.0,), (300.0,)]
        return
    with pytest.raises(SchemaError, match="three digits stand behind every point") as asked:
        csv_source(file, "records", mapping)
    for answer in ('thousands = "."', 'decimal = "."'):
        assert (answer in str(asked.value)) == (answer in said)
    for number, (words, value) in enumerate(
        [({"thousands": "."}, 150_000.0), ({"decimal": "."}, 150.0)][: len(said)]
    ):
        for columns in ({"columns": {"x": bounds | words}}, {"columns": {"x": bounds}} | words):
            database = tmp_path / f"{number}{len(columns)}.db"
            bring(file, database, MappedTable.model_validate(columns))
            assert stored(database, columns="x")[0] == (value,)


def test_a_comma_before_three_digits_is_hinted_at_in_both_ways_and_both_are_right(tmp_path: Path) -> None:
    file = one_column(tmp_path, "265,000")
    column = {"x": {"low": 0, "high": 1e6}}
    (reason,) = bring(file, tmp_path / "s.db", MappedTable.model_validate({"columns": column})).refused
    assert 'if it is, write thousands = "," below the table' in reason
    assert 'if they are decimals, write decimal = "," below the table' in reason
    for words, value in (({"thousands": ","}, 265_000.0), ({"decimal": ","}, 265.0)):
        database = tmp_path / f"{value:g}.db"
        bring(file, database, MappedTable.model_validate({"columns": column} | words))
        assert stored(database, columns="x") == [(value,)]


@pytest.mark.parametrize(
    ("writing", "text", "value"),
    [
        (Writing(".", ","), "1,234,567.5", 1_234_567.5),
        (Writing(".", ","), "1,23", None),
        (Writing(".", ","), "1234,567", None),
        (Writing(",", "."), "-1.234,5", -1234.5),
        (Writing(",", "."), "1.5", None),
        (Writing(",", " "), "1\u202f234,5", 1234.5),
        (Writing(",", " "), "1\u00a0234", 1234.0),
        (Writing(".", "'"), "1’234.5", 1234.5),
        (Writing(".", "'"), "12345", 12345.0),
        (Writing(","), "1.234", None),
        (Writing("."), "\u00a05", 5.0),
        (Writing("."), "1_000", None),
    ],
)
def test_thousands_stand_in_groups_of_three_or_it_is_no_number(
    writing: Writing, text: str, value: float | None
) -> None:
    if value is None:
        with pytest.raises(ValueError, match=r"^$|could not convert"):
            writing.reader(text)
    else:
        assert writing.reader(text) == value


def test_one_mark_cannot_stand_before_decimals_and_between_thousands() -> None:
    with pytest.raises(StudyError, match="one mark cannot mean both"):
        MappedTable.model_validate({"decimal": ",", "thousands": ",", "columns": {"x": {}}})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_python_writes_for_a_number_is_read_as_it(number: float) -> None:
    assert plain_number(repr(number)) == number
    whole = f"{round(number % 1e12):,}"
    assert Writing(".", ",").reader(whole) == round(number % 1e12)


OUTSIDE = {
    "x": {"low": 0, "high": 100, "outside": "missing", "codes": {"neg": 0, "<0.5": 0.25}},
    "sex": {"levels": ["f", "m"], "outside": "missing"},
}


@BOTH_HALVES
def test_what_lies_outside_is_missing_where_it_is_asked_for_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    use(half, monkeypatch)
    rows = [
        "p1,5,f",
        "p2,> 89,m",
        "p3,-1,x",
        "p4,neg,f",
        "p5,<0.5,f",
        "p6,lots,f",
        "p7,inf,",
        "p8,NA,f",
        "p9,NA,x",
    ]
    file = write(tmp_path / "a.csv", rows, "patient_id,x,sex")
    report = bring(file, tmp_path / "s.db", MappedTable.model_validate({"columns": OUTSIDE}))
    assert stored(tmp_path / "s.db", columns="patient_id, x, sex") == [
        ("p1", 5, "f"), ("p2", None, "m"), ("p3", None, None), ("p4", 0, "f"), ("p5", 0.25, "f"),
        ("p7", None, None),
    ]  # fmt: skip
    assert report.made_missing == {
        "x is a limit such as <0.5": 1,
        "x is outside 0 to 100": 2,
        "sex holds a level that is not declared": 1,  # the other's record is refused
    }
    assert "\n  2 made missing: x is outside 0 to 100" in str(report)
    assert [(one.position, one.reason) for one in report.refusals] == [
        ("record 6", "is not a number"),
        ("record 8", 'is not a number, but "NA": write missing = ["NA"] for the column in the mapping file'),
        ("record 9", 'is not a number, but "NA": write missing = ["NA"] for the column in the mapping file'),
    ]


@BOTH_HALVES
def test_an_age_over_89_as_safe_harbor_writes_it_is_90_in_a_column_of_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    use(half, monkeypatch)
    file = write(
        tmp_path / "a.csv", ["p1,63,9", "p2,> 89,9", "p3,90+,> 89", "p4,> 70,9"], "patient_id,Alter,x"
    )
    columns = {"age": {"from": "Alter", "low": 18, "high": 120, "unit": "years"}, "x": {}}
    report = bring(file, tmp_path / "s.db", MappedTable.model_validate({"columns": columns}))
    assert stored(tmp_path / "s.db", columns="patient_id, age, x") == [("p1", 63, 9), ("p2", 90, 9)]
    assert [(one.position, one.field) for one in report.refusals] == [("record 3", "x"), ("record 4", "age")]
    columns["age"]["unit"] = "months"
    report = bring(file, tmp_path / "m.db", MappedTable.model_validate({"columns": columns}))
    assert [one.position for one in report.refusals] == ["record 2", "record 3", "record 4"]


def test_all_that_is_wrong_with_a_record_is_told_at_once(tmp_path: Path) -> None:
    columns = {"x": {"low": 0, "high": 100}, "y": {}, "sex": {"levels": ["f", "m"]}}
    file = write(tmp_path / "a.csv", ["p1,-1,lots,q", "p2,5,5,f", ",5,5,q"], "patient_id,x,y,sex")
    report = bring(file, tmp_path / "s.db", MappedTable.model_validate({"columns": columns}))
    assert [(one.position, one.field, one.also) for one in report.refusals] == [
        ("record 1", "x", (("y", "is not a number"), ("sex", "holds a level that is not declared"))),
        ("record 3", "patient_id", (("sex", "holds a level that is not declared"),)),
    ]
    assert (report.read, report.written.total(), report.refused.total()) == (3, 1, 2)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"outside": "missing"}, "needs low and high, or levels"),
        ({"text": True, "codes": {"a": 1}}, "a text has none"),
        ({"low": 0, "high": 1, "codes": {"a": "b"}}, "codes need levels"),
        ({"levels": ["a", "b"], "decimal": ","}, "bounds and units are for numbers"),
    ],
)
def test_a_mapped_column_that_contradicts_itself_is_named(column: dict[str, object], said: str) -> None:
    with pytest.raises(StudyError, match=said):
        MappedTable.model_validate({"columns": {"x": column}})


def test_a_mapping_that_says_nothing_new_is_the_same_import_as_under_older_versions() -> None:
    columns = {"bp": {"from": "BP", "low": 50, "factor": 1e-7, "high": 300}, "v": {"text": True}}
    rest = (
        '"unit":null,"local_unit":null,"substance":null,"molar_mass":null,"factor":{},'
        '"codes":{{}},"missing":[]'
    )
    assert MappedTable.model_validate({"patient_id": "mrn", "key": ["v"], "columns": columns}).context == (
        '{"patient_id":"mrn","key":["v"],"columns":{"bp":{"source":"BP","low":50.0,"high":300.0,"levels":null,'
        '"text":false,' + rest.format("1e-7") + '},"v":{"source":null,"low":null,"high":null,"levels":null,'
        '"text":true,' + rest.format("null") + "}}}"
    )
    assert "thousands" in MappedTable.model_validate({"thousands": ",", "columns": columns}).context


WAYS = pytest.mark.parametrize("way", ["csv", "parquet", "sqlite", "postgresql", "duckdb"])
SourceOf = Callable[[Sequence[str | bytes], MappedTable], Source]


@pytest.fixture
def texts_in(tmp_path: Path, request: pytest.FixtureRequest, way: str) -> SourceOf:
    """A source of this kind, whose column x holds texts."""

    def make(texts: Sequence[str | bytes], mapping: MappedTable) -> Source:
        if way == "csv":
            return csv_source(one_column(tmp_path, *map(str, texts)), "records", mapping)
        if way == "parquet":
            return in_parquet(tmp_path / "a.parquet", texts, mapping)
        if way == "duckdb":
            pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")
        servers = {"sqlite": f"sqlite:///{tmp_path / 'o.db'}", "duckdb": f"duckdb:///{tmp_path / 'o.duckdb'}"}
        address = servers.get(way) or request.getfixturevalue("hospital")
        with writing(address) as connection:
            connection.execute(text("DROP TABLE IF EXISTS labs"))
            connection.execute(text("CREATE TABLE labs (lab INTEGER PRIMARY KEY, patient_id TEXT, x TEXT)"))
            for number, value in enumerate(texts, 1):
                row = {"lab": number, "patient": f"p{number}", "x": value}
                connection.execute(text("INSERT INTO labs VALUES (:lab, :patient, :x)"), row)
        return sql_source(address, "labs", "records", mapping)

    return make


def in_parquet(path: Path, texts: Sequence[str | bytes], mapping: MappedTable) -> Source:
    arrow = pytest.importorskip("pyarrow", reason="needs the extra [files]")
    from pyarrow import parquet

    from fedcohort.sources.importer.parquet import parquet_source

    patients = [f"p{number}" for number in range(1, len(texts) + 1)]
    parquet.write_table(arrow.table({"patient_id": patients, "x": list(texts)}), path)
    return parquet_source(path, "records", mapping)


@pytest.fixture(scope="module")
def hospital(postgres_server: Postgres) -> str:
    return postgres_server.create("texts")


@WAYS
def test_three_digits_behind_every_point_are_asked_about_whatever_the_texts_come_from(
    tmp_path: Path, texts_in: SourceOf
) -> None:
    texts = ["150.000", "NA", "265.000", "300"]

    def mapped(**more: object) -> MappedTable:
        return MappedTable.model_validate({"columns": {"x": {"missing": ["NA"]} | more}})

    with pytest.raises(SchemaError, match="x: three digits stand behind every point of its numbers") as asked:
        texts_in(texts, mapped())
    assert 'thousands = "."' in str(asked.value)
    assert 'decimal = "."' in str(asked.value)
    thousand: list[int | None] = [150_000, None, 265_000, 300]
    plain: list[int | None] = [150, None, 265, 300]
    answers: list[tuple[dict[str, object], list[int | None]]] = [
        ({"thousands": "."}, thousand),
        ({"decimal": "."}, plain),
        ({"low": 0, "high": 1_000}, plain),
    ]
    for number, (more, values) in enumerate(answers):
        database = tmp_path / f"{number}.db"
        assert not import_source(texts_in(texts, mapped(**more)), database, MADE_UP).refused
        assert [row[0] for row in stored(database, columns="x")] == values
    assert not import_source(texts_in([*texts, "36.6"], mapped()), tmp_path / "told.db", MADE_UP).refused


@WAYS
def test_texts_declared_to_be_numbers_are_read_by_one_grammar_whatever_they_come_from(
    tmp_path: Path, texts_in: SourceOf
) -> None:
    mapping = MappedTable.model_validate({"columns": {"x": {"missing": ["NA"]}}})
    texts = ["1E2", "0389", " 7.5 ", "NA", "12_3", "１２", "<0.5", "265,000", "N/A", "lots"]
    report = import_source(texts_in(texts, mapping), tmp_path / "s.db", MADE_UP)
    assert [row[0] for row in stored(tmp_path / "s.db", columns="x")] == [100, 389, 7.5, None]
    assert [(one.position, one.reason.partition(":")[0]) for one in report.refusals] == [
        ("record 5", "is not a number"),
        ("record 6", "is not a number"),
        ("record 7", "is not a number, but a limit such as <0.5"),
        ("record 8", "is not a number, for three digits stand behind a comma, which may be a thousand"),
        ("record 9", 'is not a number, but "N/A"'),
        ("record 10", "is not a number"),
    ]


@pytest.mark.parametrize("way", ["sqlite"])
def test_bytes_that_a_driver_gives_for_texts_are_read_as_texts_are(
    tmp_path: Path, texts_in: SourceOf
) -> None:
    mapping = MappedTable.model_validate({"columns": {"x": {"missing": ["NA"]}}})
    with pytest.raises(SchemaError, match="three digits stand behind every point"):
        texts_in([b"150.000"], mapping)
    report = import_source(texts_in([b"7.5", b"NA", b"12_3", b"\xff"], mapping), tmp_path / "s.db", MADE_UP)
    assert [row[0] for row in stored(tmp_path / "s.db", columns="x")] == [7.5, None]
    assert [one.position for one in report.refusals] == ["record 3", "record 4"]


LONG = [900719925474099200, 900719925474099201]


def long_numbers(folder: Path, way: str, mapping: MappedTable | None) -> Source:
    if way == "csv":
        rows = [f"p1,{number},{place}" for place, number in enumerate(LONG)]
        return csv_source(write(folder / "a.csv", rows, "patient_id,lab,x"), "records", mapping)
    if way == "parquet":
        arrow = pytest.importorskip("pyarrow", reason="needs the extra [files]")
        from pyarrow import parquet

        from fedcohort.sources.importer.parquet import parquet_source

        parquet.write_table(
            arrow.table({"patient_id": ["p1", "p1"], "lab": LONG, "x": [0, 1]}), folder / "a.parquet"
        )
        return parquet_source(folder / "a.parquet", "records", mapping)
    address = f"sqlite:///{folder / 'o.db'}"
    with writing(address) as connection:
        connection.execute(text("DROP TABLE IF EXISTS labs"))
        connection.execute(text("CREATE TABLE labs (lab BIGINT PRIMARY KEY, patient_id TEXT, x REAL)"))
        for place, number in enumerate(LONG):
            connection.execute(text(f"INSERT INTO labs VALUES ({number}, 'p1', {place})"))
    return sql_source(address, "labs", "records", mapping)


@pytest.mark.parametrize("way", ["csv", "parquet", "sqlite"])
def test_a_key_of_more_digits_than_a_double_has_never_makes_one_record_of_two(
    tmp_path: Path, way: str
) -> None:
    columns: dict[str, dict[str, object]] = {"lab": {}, "x": {}}
    number = MappedTable.model_validate({"columns": columns, "key": ["lab"]})
    keys = {"records": ("lab",)}
    report = import_source(long_numbers(tmp_path, way, number), tmp_path / "number.db", MADE_UP, keys=keys)
    (refused,) = report.refusals
    assert (refused.field, refused.position) == ("lab", "record 2")
    assert "text = true" in refused.reason
    as_text = MappedTable.model_validate({"columns": columns | {"lab": {"text": True}}, "key": ["lab"]})
    import_source(long_numbers(tmp_path, way, as_text), tmp_path / "text.db", MADE_UP, keys=keys)
    assert stored(tmp_path / "text.db", columns="lab, x") == [(str(LONG[0]), 0), (str(LONG[1]), 1)]


@pytest.mark.parametrize("way", ["csv", "parquet", "sqlite"])
def test_undeclared_numbers_of_more_digits_than_a_double_has_are_texts_or_refused_and_never_rounded(
    tmp_path: Path, way: str
) -> None:
    report = import_source(long_numbers(tmp_path, way, None), tmp_path / "s.db", MADE_UP)
    found = [row[0] for row in stored(tmp_path / "s.db", columns="lab")]
    if way == "csv":
        assert found == list(map(str, LONG))
    else:
        assert (found, report.refused.total()) == ([LONG[0]], 1)


@BOTH_HALVES
def test_a_number_of_too_many_digits_behind_the_first_records_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half: str
) -> None:
    use(half, monkeypatch, sample=100)
    file = one_column(tmp_path, *["5"] * 120, str(LONG[1]), str(LONG[0]), "1.5e300")
    report = bring(file, tmp_path / "s.db")
    assert [one.position for one in report.refusals] == ["record 121"]
    assert [row[0] for row in stored(tmp_path / "s.db", columns="x")][120:] == [float(LONG[0]), 1.5e300]

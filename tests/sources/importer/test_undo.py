"""An import can be tried before, and taken back after: all of it, and nothing else."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.errors import StoreError
from fedcohort.sources.deidentify import lost_columns
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.importer.batch import Batch, Part, Source
from fedcohort.sources.importer.csv import source as csv_files
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.dry_run import try_source
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.report import Imported
from fedcohort.sources.importer.undo import imports_of, undo
from fedcohort.storage.database import reading
from tests.postgres import Postgres
from tests.sources.importer.test_pipeline import ROWS, bring, stored, write


def content(database: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every table's rows; when an import ran is left out."""
    with closing(sqlite3.connect(database)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {}
        for name in names:
            cursor = connection.execute(f"SELECT * FROM {name}")
            keep = [
                n
                for n, column in enumerate(cursor.description)
                if column[0] not in ("at", "id", "import_number")
            ]
            found[name] = [tuple(row[n] for n in keep) for row in cursor]
        return found


def test_an_import_is_taken_back_whole_and_the_file_can_be_imported_another_way(tmp_path: Path) -> None:
    database, file = tmp_path / "s.db", write(tmp_path / "a.csv", ["p1,5", "p2,lots"], "patient_id,x")
    bring(write(tmp_path / "b.csv", ROWS), database)
    before = content(database)
    as_text = MappedTable.model_validate({"columns": {"x": {"text": True}}})
    as_number = MappedTable.model_validate({"columns": {"x": {}}})
    assert (
        import_source(csv_source(file, "t", as_number), database, MADE_UP, context="a").refused.total() == 1
    )
    with pytest.raises(StoreError, match=r"was imported under another mapping.*take that import back"):
        import_source(csv_source(file, "t", as_text), database, MADE_UP, context="b")
    assert [str(one).partition("  ")[2][18:] for one in imports_of(database)] == [
        "b.csv: 3 into records",
        "a.csv: 1 into t",
    ]
    assert [one.number for one in undo(database, 2)] == [2]
    assert content(database) == before
    import_source(csv_source(file, "t", as_text), database, MADE_UP, context="b")
    assert stored(database, "t", "patient_id, x") == [("p1", "5"), ("p2", "lots")]


def test_of_two_imports_into_one_table_either_goes_alone(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    for name in "abc":
        bring(write(tmp_path / f"{name}.csv", [f"{name}{n},5,f," for n in range(3)]), database)
    undo(database, 2)
    assert [row[0] for row in stored(database, columns="patient_id")] == ["a0", "a1", "a2", "c0", "c1", "c2"]
    assert bring(tmp_path / "b.csv", database).written["records"] == 3
    assert [one.number for one in imports_of(database)] == [1, 3, 4]
    undo(database, 3)
    assert {str(row[0])[0] for row in stored(database, columns="patient_id")} == {"a", "b"}


def test_the_last_import_that_is_taken_back_leaves_a_database_that_takes_any_other(
    tmp_path: Path,
) -> None:
    database = tmp_path / "s.db"
    source = csv_source(write(tmp_path / "a.csv", ROWS), "records", None)
    import_source(source, database, RuleSet(Rules(), bytes(range(32))))
    undo(database, 1)
    assert "records" not in content(database)
    other = write(tmp_path / "b.csv", ["p1,1"], "patient_id,weight")
    import_source(csv_source(other, "records", None), database, RuleSet(Rules(), bytes(32)))
    assert stored(database, columns="weight") == [(1.0,)]


def keyed(folder: Path, name: str, *rows: str) -> tuple[Path, MappedTable]:
    mapping = MappedTable.model_validate({"key": ["visit"], "columns": {"visit": {"text": True}, "x": {}}})
    return write(folder / name, rows, "patient_id,visit,x"), mapping


def test_what_replaced_others_cannot_be_taken_back_and_says_what_helps(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(*reversed_arguments(keyed(tmp_path, "a.csv", "p1,v1,1", "p2,v2,2"), database))
    report = bring(*reversed_arguments(keyed(tmp_path, "b.csv", "p1,v1,10", "p3,v3,3"), database))
    assert "2 into records (each key once, 1 in place of others)" in str(report)
    before = content(database)
    for number, why in (
        (2, "import 2 put 1 records in the place"),
        (1, "import 2 came later and put records"),
    ):
        with pytest.raises(StoreError, match=why):
            undo(database, number)
    assert content(database) == before
    right = keyed(tmp_path, "c.csv", "p1,v1,1", "p3,v3,33")
    bring(*reversed_arguments(right, database))
    assert stored(database, columns="visit, x") == [("v1", 1), ("v2", 2), ("v3", 33)]


def reversed_arguments(found: tuple[Path, MappedTable], database: Path) -> tuple[Path, Path, MappedTable]:
    return found[0], database, found[1]


def test_records_behind_which_another_import_went_on_are_taken_back_after_it(tmp_path: Path) -> None:
    database, file = tmp_path / "s.db", write(tmp_path / "a.csv", ROWS)
    bring(file, database)
    write(file, [*ROWS, "p4,50,f,"])
    bring(file, database)
    with pytest.raises(StoreError, match="import 2 went on behind these records; undo 2 first"):
        undo(database, 1)
    undo(database, 2)
    undo(database, 1)
    assert bring(file, database).written["records"] == 4


def test_an_import_that_was_interrupted_is_taken_back_with_what_went_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BATCH_ROWS", 2)
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    database, file = tmp_path / "s.db", write(tmp_path / "a.csv", [*ROWS, "p4,50,f,", "p5,51,m,"])
    source = csv_source(file, "records", None)

    def cut(done: int) -> object:
        yield next(iter(source.parts[0].batches(done)))  # type: ignore[index]
        raise KeyboardInterrupt

    (part,) = source.parts
    half = Source(source.tables, [Part(part.name, part.table, part.digest, cut, part.size, part.prefix)])  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        import_source(half, database, MADE_UP)
    assert len(stored(database)) == 2
    assert bring(file, database).written["records"] == 5
    assert [one.number for one in imports_of(database)] == [1, 2]
    assert {one.number for one in undo(database, 2)} == {1, 2}
    assert "records" not in content(database)
    assert bring(file, database).written["records"] == 5


def test_what_was_made_from_imports_is_never_left_behind_them(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(write(tmp_path / "a.csv", ROWS), database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE mortality AS SELECT * FROM records")
    with pytest.raises(StoreError, match="mortality was made from what imports wrote"):
        undo(database, 1)
    with pytest.raises(StoreError, match="has no import 7; it has 1"):
        undo(database, 7)


def test_imports_of_an_older_version_stay_and_say_so(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(write(tmp_path / "a.csv", ROWS), database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE fedcohort_writes")
    assert imports_of(database) == []
    with pytest.raises(StoreError, match="holds no import that noted its rows"):
        undo(database, 1)
    bring(write(tmp_path / "b.csv", ["p9,1,f,"]), database)
    undo(database, 1)
    assert [row[0] for row in stored(database, columns="patient_id")] == ["p1", "p2", "p3"]


def attempt(database: Path, file: Path, *, trial: bool) -> Imported:
    source = csv_source(
        file, "records", MappedTable.model_validate({"columns": {"age": {"low": 0, "high": 70}}})
    )
    return (try_source if trial else import_source)(source, database, MADE_UP)


@pytest.mark.parametrize("exists", [False, True])
def test_a_trial_tells_what_an_import_would_and_changes_nothing(tmp_path: Path, exists: bool) -> None:
    database, file = tmp_path / "s.db", write(tmp_path / "a.csv", ROWS)
    if exists:
        attempt(database, write(tmp_path / "b.csv", ["p9,1,f,"]), trial=False)
    before = database.read_bytes() if exists else None
    tried = attempt(database, file, trial=True)
    assert (database.read_bytes() if database.exists() else None) == before
    done = attempt(database, file, trial=False)
    assert (tried.read, tried.written, tried.refusals) == (done.read, done.written, done.refusals)
    assert "tried, and nothing changed: 3 records read, 2 into records" in str(tried)
    assert attempt(database, file, trial=True).unchanged == 1


def test_a_trial_stops_where_the_import_would(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(write(tmp_path / "a.csv", ROWS), database)
    other = csv_source(write(tmp_path / "b.csv", ["p9,1"], "patient_id,weight"), "records", None)
    with pytest.raises(StoreError, match="stands there with other columns"):
        try_source(other, database, MADE_UP)
    with pytest.raises(StoreError, match="would not be the same patients"):
        try_source(
            csv_source(tmp_path / "a.csv", "records", None), database, RuleSet(Rules(), bytes(range(32)))
        )
    with pytest.raises(StoreError, match="not a file in an existing folder"):
        try_source(other, tmp_path / "nowhere" / "s.db", MADE_UP)


def test_the_commands_try_tell_and_take_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.csv", ["p1,63", "p2,lots"], "patient_id,age")
    (tmp_path / "m.toml").write_text("[tables.records.columns.age]\nlow = 0\nhigh = 120\n")
    words = ["data", "import", "csv", "--from", "a.csv", "--into", "s.db", "--mapping", "m.toml"]
    tried = CliRunner().invoke(app, [*words, "--dry-run"])
    assert tried.exit_code == 0, tried.output
    assert "s.db: tried, and nothing changed: 2 records read, 1 into records" in tried.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "m.toml"]
    done = CliRunner().invoke(app, words)
    assert "import 1; to take it back: fedcohort data undo --into s.db --import 1" in done.output
    listed = CliRunner().invoke(app, ["data", "undo", "--into", "s.db"])
    assert listed.output.startswith("1  ")
    assert "a.csv: 1 into records" in listed.output
    undone = CliRunner().invoke(app, ["data", "undo", "--into", "s.db", "--import", "1"])
    assert undone.output.startswith("taken back: 1  ")
    assert CliRunner().invoke(app, ["data", "undo", "--into", "s.db"]).output.strip() == (
        "no import that noted which rows it wrote"
    )


def test_on_postgresql_an_import_is_tried_and_taken_back_alike(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    url = postgres_server.create("undone")
    for name in "ab":
        file = write(tmp_path / f"{name}.csv", [f"{name}1,5,f,", f"{name}2,6,m,"])
        assert try_source(csv_source(file, "records", None), url, MADE_UP).written["records"] == 2
        assert import_source(csv_source(file, "records", None), url, MADE_UP).written["records"] == 2
    undo(url, 1)
    with reading(url) as connection:
        found = connection.execute(text("SELECT patient_id FROM records ORDER BY 1")).scalars().all()
    assert found == ["b1", "b2"]
    undo(url, 2)
    assert imports_of(url) == []


@pytest.mark.parametrize("server", ["sqlite", "postgresql"])
def test_what_was_made_missing_is_counted_of_the_whole_import_whichever_run_did_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, server: str
) -> None:
    monkeypatch.setattr(csv_files, "BATCH_ROWS", 2)
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    database = str(tmp_path / "s.db")
    if server == "postgresql":
        database = request.getfixturevalue("postgres_server").create("missing")
    mapping = MappedTable.model_validate({"columns": {"age": {"low": 0, "high": 70, "outside": "missing"}}})
    rows = ["p1,99,f,", "p2,5,m,", "p3,> 89,f,", "p4,-1,f,", "p5,lots,m,", "p6,88,f,"]
    write(tmp_path / "a.csv", ["p0,71,f,"])
    write(tmp_path / "b.csv", rows)

    def source() -> Source:
        return csv_source(tmp_path, "records", mapping)

    whole = {"age is outside 0 to 70": 4, "age is a limit such as <0.5": 1}
    assert try_source(source(), database, MADE_UP).made_missing == whole
    with pytest.raises(KeyboardInterrupt):
        import_source(cut_off(source(), 1), database, MADE_UP)
    for _ in range(2):
        tried = try_source(source(), database, MADE_UP)
        assert (tried.made_missing, tried.refused.total()) == (whole, 1)
    done = import_source(source(), database, MADE_UP)
    assert (done.made_missing, done.refused.total(), done.written["records"]) == (whole, 1, 5)
    assert import_source(source(), database, MADE_UP).made_missing == whole
    undo(database, 2)
    assert try_source(source(), database, MADE_UP).made_missing == whole
    assert import_source(source(), database, MADE_UP).made_missing == whole


def test_what_de_identification_cannot_read_is_counted_of_the_whole_import_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BATCH_ROWS", 2)
    monkeypatch.setattr(csv_files, "sound_batches", lambda *_: iter(()))
    monkeypatch.setattr(lost_columns, "AHEAD_ROWS", 1)
    database = tmp_path / "s.db"
    rows = ["p1,,", "p2,2020-01-02,", "p3,soon,12345", "p4,2020-01-04,1x", "p5,later,", "p6,2020-01-06,"]
    write(tmp_path / "a.csv", rows, "patient_id,seen_date,zip_code")

    def source() -> Source:
        return csv_source(tmp_path, "visits", None)

    rules = RuleSet(Rules(), bytes(range(32)))
    whole = {"seen_date cannot be read as a date": 2, "zip_code cannot be read as a ZIP code": 1}
    assert try_source(source(), database, rules).made_missing == whole
    with pytest.raises(KeyboardInterrupt):
        import_source(cut_off(source(), 2), database, rules)
    assert try_source(source(), database, rules).made_missing == whole
    done = import_source(source(), database, rules)
    assert done.made_missing == whole
    assert "\n  2 made missing: seen_date cannot be read as a date" in str(done)
    assert import_source(source(), database, rules).made_missing == whole, "nothing of it is read again"
    undo(database, 1)
    assert "fedcohort_made_missing" in content(database)
    assert content(database)["fedcohort_made_missing"] == []


def cut_off(source: Source, n_batches: int) -> Source:
    """The source, whose last part is interrupted behind so many batches."""
    *others, part = source.parts

    def batches(done: int) -> Iterator[Batch]:
        yield from islice(part.batches(done), n_batches)
        raise KeyboardInterrupt

    return replace(source, parts=[*others, replace(part, batches=batches)])


def test_a_database_of_before_made_missing_was_kept_goes_on_and_is_taken_back(tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    bring(write(tmp_path / "a.csv", ROWS), database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE fedcohort_made_missing")
    undo(database, 1)
    assert "records" not in content(database)
    assert bring(tmp_path / "a.csv", database).written["records"] == 3

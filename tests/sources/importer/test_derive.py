"""Derived tables: one SELECT that only reads, tells the same each time, and is held to its declarations."""

import re
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

import fedcohort.sources
from fedcohort.cli.app import app
from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import ConfigError, SchemaError, StoreError
from fedcohort.sources.catalogue.declared import catalogue
from fedcohort.sources.catalogue.schema import Declared
from fedcohort.sources.importer import derive as module
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.derive import Derivation, derive, list_derived, read_derivations
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.undo import imports_of, undo
from fedcohort.storage import timeouts
from tests.build import selected
from tests.postgres import Postgres

FILE = '''
[tables.first_labs]
select = """
SELECT l.patient_id, min(p.age) AS age,          -- the age stands in another table
       max(CASE WHEN l.item = 'glucose' THEN l.value END) AS glucose,
       CASE WHEN count(*) > 1 THEN 'many' ELSE 'one' END AS values_taken
FROM labs l JOIN patients p ON p.patient_id = l.patient_id
GROUP BY l.patient_id
"""

[tables.first_labs.columns]
age = { low = 0, high = 120, unit = "years" }
glucose = { low = 1, high = 600 }
values_taken = { levels = ["one", "many"] }
'''
PATIENTS = "patient_id,age\nann,63\nbob,41\ncarl,50\n"
LABS = "patient_id,item,value\nbob,glucose,90\nann,glucose,110\nann,sodium,140\ncarl,glucose,900\n"
ROWS = [(1, "ann", 63.0, 110.0, "many"), (2, "bob", 41.0, 90.0, "one")]
TEXT = MappedTable.model_validate({"columns": {"item": {"text": True}, "value": {}}})


def imported(folder: Path, database: str | Path) -> None:
    for name, content, mapping in (("patients", PATIENTS, None), ("labs", LABS, TEXT)):
        (folder / f"{name}.csv").write_text(content)
        import_source(csv_source(folder / f"{name}.csv", name, mapping), database, MADE_UP)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    imported(tmp_path, tmp_path / "s.db")
    return tmp_path / "s.db"


@pytest.fixture
def first_labs(tmp_path: Path) -> Derivation:
    (tmp_path / "derived.toml").write_text(FILE)
    (derivation,) = read_derivations(tmp_path / "derived.toml")
    return derivation


def of(select: str) -> Derivation:
    return Derivation("wide", select, {"x": Declared(Numeric(0, 1000))})


def test_a_row_a_patient_is_made_declared_and_noted(database: Path, first_labs: Derivation) -> None:
    derived = derive(database, first_labs)
    assert derived.changed
    assert selected(database, "SELECT * FROM first_labs") == ROWS
    assert [(one.position, one.field, one.reason) for one in derived.refusals] == [
        ("record 3", "glucose", "is outside 1 to 600")
    ]
    assert str(derived).splitlines() == [
        f"{database}: 2 rows from labs, patients into first_labs",
        "  1 refused: glucose is outside 1 to 600",
    ]
    columns = catalogue(database, {"first_labs": ["age", "glucose", "values_taken"]})["tables"]["first_labs"]
    assert columns["columns"]["age"] == {"kind": "numeric", "low": 0.0, "high": 120.0, "unit": "years"}
    assert columns["columns"]["values_taken"] == {"kind": "categorical", "levels": ["one", "many"]}
    noted = derived.provenance
    assert noted.sources == {"labs": 2, "patients": 1}
    assert "--" not in noted.query
    assert selected(database, "SELECT table_name, query, rows, digest FROM fedcohort_derived") == [
        ("first_labs", noted.query, 2, noted.digest)
    ]


def test_the_same_again_changes_no_byte(database: Path, first_labs: Derivation) -> None:
    first = derive(database, first_labs)
    before = database.read_bytes()
    again = derive(database, first_labs)
    assert not again.changed
    assert again.provenance == first.provenance
    assert database.read_bytes() == before


def test_the_digest_is_of_rows_and_declarations_and_not_of_batches(
    database: Path, first_labs: Derivation, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = derive(database, first_labs)
    monkeypatch.setattr(module, "BATCH_ROWS", 1)
    assert not derive(database, first_labs).changed
    columns = {**first_labs.columns, "age": Declared(Numeric(0, 99))}
    narrower = Derivation("first_labs", first_labs.select, columns)
    assert derive(database, narrower).provenance.digest != first.provenance.digest


def test_what_is_imported_later_comes_in_when_it_is_derived_again(
    database: Path, tmp_path: Path, first_labs: Derivation
) -> None:
    derive(database, first_labs)
    (tmp_path / "more.csv").write_text("patient_id,item,value\nbob,glucose,95\n")
    import_source(csv_source(tmp_path / "more.csv", "labs", TEXT), database, MADE_UP)
    (line,) = list_derived(database)
    assert line.endswith("changed since: labs by import 3")
    assert derive(database, first_labs).changed
    assert selected(database, "SELECT glucose FROM first_labs WHERE patient_id = 'bob'") == [(95.0,)]
    assert "changed since" not in list_derived(database)[0]


def test_undoing_an_import_drops_what_was_derived_from_it(
    database: Path, tmp_path: Path, first_labs: Derivation
) -> None:
    derive(database, first_labs)
    select = "SELECT patient_id, age AS x FROM first_labs"
    derive(database, of(select))
    derive(database, Derivation("ages", "SELECT patient_id, age AS x FROM patients", of(select).columns))
    undo(database, 2)
    assert [name for (name,) in selected(database, "SELECT table_name FROM fedcohort_derived")] == ["ages"]
    assert selected(database, "SELECT name FROM sqlite_schema WHERE name IN ('first_labs', 'wide')") == []
    assert (
        selected(database, "SELECT * FROM fedcohort_columns WHERE table_name IN ('first_labs', 'wide')") == []
    )
    import_source(csv_source(tmp_path / "labs.csv", "labs", TEXT), database, MADE_UP)
    assert derive(database, first_labs).provenance.rows == 2
    assert [one.number for one in imports_of(database)] == [1, 2]


def test_nothing_else_is_replaced_and_nothing_is_imported_into_it(
    database: Path, tmp_path: Path, first_labs: Derivation
) -> None:
    mine = Derivation("patients", first_labs.select.replace("patients", "labs").replace("p.age", "1"), {})
    with pytest.raises(ConfigError, match="name each column once in both"):
        derive(database, mine)
    taken = Derivation("patients", "SELECT patient_id, value AS x FROM labs", of("").columns)
    with pytest.raises(StoreError, match="table patients stands there and was not derived; choose another"):
        derive(database, taken)
    assert len(selected(database, "SELECT * FROM patients")) == 3
    derive(database, of("SELECT patient_id, value AS x FROM labs"))
    (tmp_path / "wide.csv").write_text("patient_id,x\nann,1\n")
    mapping = MappedTable.model_validate({"columns": {"x": {"low": 0, "high": 1000}}})
    with pytest.raises(StoreError, match="table wide: is derived from others; import into another table"):
        import_source(csv_source(tmp_path / "wide.csv", "wide", mapping), database, MADE_UP)
    assert import_source(csv_source(tmp_path / "wide.csv", "other", mapping), database, MADE_UP).written
    with pytest.raises(ConfigError, match="such names are the database's own"):
        derive(database, Derivation("fedcohort_x", "SELECT patient_id, value AS x FROM labs", of("").columns))


@pytest.mark.parametrize(
    ("select", "why"),
    [
        ("DELETE FROM labs", "write one SELECT"),
        ("SELECT patient_id, value AS x FROM labs; DROP TABLE labs", "write one SELECT"),
        ("PRAGMA writable_schema = 1", "write one SELECT"),
        ("SELECT patient_id, value AS x FROM", "is not SQL of sqlite"),
        ("SELECT patient_id, 'x AS x FROM labs", "is not SQL of sqlite"),
        ("SELECT patient_id, 1 AS x INTO y FROM labs", "is not allowed"),
        ("SELECT * FROM labs", r"\* is not allowed"),
        ("SELECT patient_id, random() AS x FROM labs", r"RAND\(\) is not allowed"),
        ("SELECT patient_id, julianday() AS x FROM labs", r"JULIANDAY\(\) is not allowed"),
        ("SELECT patient_id, julianday('NOW') AS x FROM labs", "'NOW' is not allowed"),
        ("SELECT patient_id, current_date AS x FROM labs", "CURRENT_DATE is not allowed"),
        ("SELECT patient_id, load_extension('x') AS x FROM labs", "is not allowed"),
        (
            "WITH RECURSIVE r AS (SELECT patient_id, 1 AS x FROM labs) SELECT patient_id, x FROM r",
            "not allowed",
        ),
        ('SELECT patient_id, "vlaue" AS x FROM labs', "'vlaue' could not be resolved"),
        ("SELECT patient_id, l.vlaue AS x FROM labs l", "Unknown column: vlaue"),
        ("SELECT patient_id, value AS x FROM lab", "reads lab, which is no imported table"),
        ("SELECT patient_id, value AS x FROM main.labs", "which is no imported table"),
        ("SELECT name AS patient_id, 1 AS x FROM fedcohort_imports", "which is no imported table"),
        ("SELECT patient_id, x FROM wide", "reads wide, which is no imported table"),
        ("SELECT value AS x FROM labs", "give patient_id as a table has it"),
        ("SELECT upper(patient_id) AS patient_id, value AS x FROM labs", "give patient_id as a table has it"),
        (
            "SELECT patient_id, x FROM (SELECT item AS patient_id, value AS x FROM labs) AS l",
            "give patient_id as a table has it",
        ),
        (
            "WITH l (patient_id, x) AS (SELECT item, value FROM labs) SELECT patient_id, x FROM l",
            "not allowed",
        ),
        (
            "SELECT patient_id, value AS x FROM labs UNION SELECT item, value FROM labs",
            "give patient_id as a table has it",
        ),
        ("SELECT patient_id, value AS y FROM labs", "name each column once in both"),
        ("SELECT patient_id, value AS x, value AS y FROM labs", "name each column once in both"),
        (f"SELECT patient_id, {'(' * 40}value{')' * 40} AS x FROM labs", "nested more than 32 deep"),
        (f"SELECT patient_id, {'value + ' * 6000}value AS x FROM labs", "words and signs; at most"),
        ("x" * 60_000, "at most 50,000 characters"),
    ],
)
def test_a_select_that_may_not_be_is_refused_by_its_piece(database: Path, select: str, why: str) -> None:
    before = database.read_bytes()
    with pytest.raises(ConfigError, match=why):
        derive(database, of(select))
    assert database.read_bytes() == before


def test_a_select_that_was_refused_is_derived_once_it_is_written_as_told(database: Path) -> None:
    for bad, good in (
        ("SELECT patient_id, value AS x FROM lab", "SELECT patient_id, value AS x FROM labs"),
        ("SELECT value AS x FROM labs", "SELECT a.patient_id, value AS x FROM labs AS a"),
        ('SELECT patient_id, "vlaue" AS x FROM labs', "SELECT patient_id, value AS x FROM labs"),
        ("SELECT patient_id, value AS y FROM labs", "SELECT patient_id, value AS x FROM labs"),
        ("SELECT patient_id, random() AS x FROM labs", "SELECT patient_id, round(value) AS x FROM labs"),
        ("SELECT patient_id, value AS x FROM", "SELECT patient_id, value AS x FROM labs"),
        ("DELETE FROM labs", "SELECT patient_id, value AS x FROM labs"),
        (
            f"SELECT patient_id, {'(' * 40}value{')' * 40} AS x FROM labs",
            "WITH l AS (SELECT patient_id, value AS x FROM labs) SELECT patient_id, x FROM l",
        ),
    ):
        with pytest.raises(ConfigError):
            derive(database, of(bad))
        assert derive(database, of(good)).provenance.rows == 4


def test_a_select_that_takes_too_long_or_gives_too_much_is_ended(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "SELECT a.patient_id, 1 AS x FROM labs a, labs b, labs c, labs d, labs e, labs f, labs g, labs h"
    monkeypatch.setattr(module, "MAX_ROWS", 1000)
    with pytest.raises(SchemaError, match="more than 1,000 rows; give one a patient or visit, by GROUP BY"):
        derive(database, of(many))
    grouped = "SELECT patient_id, count(*) AS x FROM labs GROUP BY patient_id"
    assert derive(database, of(grouped)).provenance.rows == 3
    monkeypatch.setattr(timeouts, "QUERY_SECONDS", 0.0)
    with pytest.raises(StoreError):
        derive(database, of(many.replace("1 AS x", "max(1) AS x") + ", labs i, labs j GROUP BY a.patient_id"))


def test_postgresql_derives_the_same_rows(
    tmp_path: Path, first_labs: Derivation, postgres_server: Postgres
) -> None:
    url = postgres_server.create("derived")
    imported(tmp_path, url)
    assert derive(url, first_labs).provenance.rows == 2
    assert not derive(url, first_labs).changed
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM first_labs ORDER BY id")).all()
    engine.dispose()
    assert [tuple(row) for row in rows] == ROWS
    with pytest.raises(ConfigError, match="is not allowed"):
        derive(url, of("SELECT patient_id, pg_sleep(60) AS x FROM labs"))
    with pytest.raises(StoreError, match="tables are derived in SQLite and PostgreSQL"):
        derive(f"duckdb:///{tmp_path / 'a.duckdb'}", first_labs)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("x =", "not TOML"),
        ("[tables]", "tables"),
        ('[tables.a]\nselect = "SELECT 1"\n', "columns"),
        ('[tables.a]\nselect = "SELECT 1"\n[tables.a.columns]\npatient_id = {}', "leave it out"),
        ('[tables.a]\nselect = "SELECT 1"\n[tables.a.columns]\nx = {levels = [0, 1], low = 1}', "has none"),
        ('[tables.a]\nselect = "SELECT 1"\n[tables.a.columns]\nx = {unit = "\\u0007"}', "prints on one line"),
        ("#" * 1_000_001, "is it a file of derived tables"),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "derived.toml").write_text(content)
    with pytest.raises(ConfigError, match=rf"derived\.toml.*{why}"):
        read_derivations(tmp_path / "derived.toml")
    with pytest.raises(ConfigError, match="give the file of derived tables"):
        read_derivations(tmp_path / "nowhere.toml")
    (tmp_path / "derived.toml").write_text(FILE)
    assert len(read_derivations(tmp_path / "derived.toml")) == 1


def test_the_command_derives_lists_and_names_what_was_refused(database: Path, tmp_path: Path) -> None:
    (tmp_path / "derived.toml").write_text(FILE)
    words = ["data", "derive", "--into", str(database)]
    assert CliRunner().invoke(app, words).output == "no derived table\n"
    refused = tmp_path / "refused.csv"
    more = ["--tables", str(tmp_path / "derived.toml"), "--refused", str(refused)]
    done = CliRunner().invoke(app, [*words, *more])
    assert done.exit_code == 0
    assert "2 rows from labs, patients into first_labs" in " ".join(done.output.split())
    assert "first_labs,record 3,glucose,is outside 1 to 600" in refused.read_text()
    assert "as before: nothing changed" in " ".join(CliRunner().invoke(app, [*words, *more]).output.split())
    assert "2 rows from labs as of import 2" in " ".join(CliRunner().invoke(app, words).output.split())


def test_one_module_writes_rows_into_a_site_s_tables() -> None:
    """Others insert into tables of fedcohort's own, each beside that table."""
    house = Path(fedcohort.sources.__file__).parent
    inserting = {
        path.relative_to(house).as_posix()
        for path in house.rglob("*.py")
        # A list's insert begins with a place, a table's does not.
        if re.search(r"\.insert\((?!\d)|executemany\(|INSERT INTO", path.read_text(encoding="utf-8"))
    }
    own = {"checkpoint", "identity", "transactions", "written_rows"}
    assert inserting - {f"importer/{name}.py" for name in own} == {
        "catalogue/derived_tables.py",
        "catalogue/schema.py",
        "cohort/predictions.py",
        "datasets/mock_events.py",
        "events/merges.py",
        "events/writer.py",
        "importer/writer.py",
    }


def test_categories_of_numbers_are_levels(database: Path) -> None:
    derivation = Derivation(
        "high",
        "SELECT patient_id, max(value) > 100 AS high FROM labs GROUP BY patient_id",
        {"high": Declared(Categorical((0, 1)))},
    )
    derive(database, derivation)
    assert selected(database, "SELECT patient_id, high FROM high") == [("ann", 1), ("bob", 0), ("carl", 1)]

"""What is done about identifiers is said by whoever imports, and stands in the database if they are kept."""

import hashlib
import inspect
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedcohort.cli.app import app
from fedcohort.columns import Numeric
from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.schema import Declared, wide_table
from fedcohort.sources.datasets.mimic_iv import import_mimic
from fedcohort.sources.deidentify.pseudonym import key_id, load_key
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import IdentifiersKept, NoIdentifiers
from fedcohort.sources.importer.dry_run import try_source
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.undo import undo
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.sources.importer.writer import write_table
from tests.build import selected

KEY = bytes(range(32))
KEPT = IdentifiersKept("the registry's board agreed", "Dr Example")
PERMISSIONS = "SELECT because, allowed_by FROM fedcohort_identifiers_kept"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_text("patient_id,age\nann,63\nbob,41\n")
    return path


def call(*words: str) -> str:
    done = CliRunner().invoke(app, ["data", *words])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.parametrize("function", [import_source, try_source, write_rows, write_table, import_mimic])
def test_nothing_is_imported_without_a_word_about_identifiers(function: object) -> None:
    parameter = inspect.signature(function).parameters["deidentification"]  # type: ignore[arg-type]
    assert parameter.default is inspect.Parameter.empty


@pytest.mark.parametrize(("because", "allowed_by"), [("", "Dr Example"), ("research", " ")])
def test_a_permission_says_why_and_by_whom(because: str, allowed_by: str) -> None:
    with pytest.raises(ConfigError, match="say why, and who allows it"):
        IdentifiersKept(because, allowed_by)
    assert str(IdentifiersKept("research", "Dr Example")) == "NOT de-identified: research"


def test_a_permission_is_kept_once_with_the_identifiers_and_goes_with_them(
    file: Path, tmp_path: Path
) -> None:
    database = tmp_path / "s.db"
    report = import_source(csv_source(file, "records", None), database, KEPT)
    assert report.deidentification == "NOT de-identified: the registry's board agreed"
    import_source(csv_source(file, "again", None), database, KEPT)
    assert selected(database, PERMISSIONS) == [("the registry's board agreed", "Dr Example")]
    undo(database, 1)
    assert selected(database, PERMISSIONS) != []
    undo(database, 2)
    assert selected(database, PERMISSIONS) == []


def test_a_trial_keeps_no_permission(file: Path, tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    import_source(csv_source(file, "records", None), database, NoIdentifiers("made up"))
    try_source(csv_source(file, "again", None), database, KEPT)
    assert selected(database, "SELECT name FROM sqlite_schema WHERE name LIKE '%kept'") == []


def test_a_whole_data_set_of_people_has_its_permission_beside_it(tmp_path: Path) -> None:
    columns = {"age": Declared(Numeric(0, 120))}
    rows = [{"patient_id": "ann", "age": 63.0}]
    write_rows(tmp_path / "s.db", wide_table("ward", columns), columns, rows, KEPT)
    assert selected(tmp_path / "s.db", PERMISSIONS) == [("the registry's board agreed", "Dr Example")]


def test_rules_are_applied_by_the_importer_itself(file: Path, tmp_path: Path) -> None:
    database = tmp_path / "s.db"
    report = import_source(csv_source(file, "records", None), database, RuleSet(Rules(), KEY))
    assert {len(str(row[0])) for row in selected(database, "SELECT patient_id FROM records")} == {33}
    assert "records.patient_id: pseudonym (keyed pseudonym)" in report.deidentification
    assert KEY.hex() not in repr(RuleSet(Rules(), KEY))


def test_the_command_keeps_identifiers_under_the_account_s_name(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "data-engineer")
    database = tmp_path / "s.db"
    words = ("import", "csv", "--from", str(file), "--into", str(database), "--keep-identifiers")
    assert "NOT de-identified: --keep-identifiers was said" in call(*words)
    assert [row[1] for row in selected(database, PERMISSIONS)] == ["data-engineer"]


def test_a_file_imported_before_this_version_is_still_the_same_file(file: Path, tmp_path: Path) -> None:
    """What decides an import's sameness is the text that it was when identifiers were a default."""
    database, kept = tmp_path / "s.db", tmp_path / "kept.db"
    words = ("import", "csv", "--from", str(file), "--into")
    call(*words, str(kept), "--keep-identifiers")
    call(*words, str(database), "--key", str(tmp_path / "deid.key"))
    context = "SELECT context FROM fedcohort_imports"
    assert selected(kept, context) == [(hashlib.sha256(b"\nNone None\n").hexdigest(),)]
    decides = f"{key_id(load_key(tmp_path / 'deid.key'))}|{Rules().model_dump_json()}"
    rules = hashlib.sha256(decides.encode()).hexdigest()
    assert selected(database, context) == [(hashlib.sha256(f"{rules}\nNone None\n".encode()).hexdigest(),)]

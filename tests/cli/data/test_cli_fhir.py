"""FHIR as a site's engineer types it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedcohort.cli.app import app
from tests.build import selected
from tests.remedies_obeyed_data import open_folder, unprivileged
from tests.sources.fhir.support import bundle, observation, written


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", *words])


def said(done: Result) -> str:
    return " ".join(f"{done.output} {done.exception or ''}".split())


def test_a_folder_is_imported_and_its_files_deleted_where_it_is_said() -> None:
    patient = {"resourceType": "Patient", "id": "p1", "gender": "female"}
    written(Path("in"), "0001-Patient-000001.ndjson", patient)
    written(Path("in"), "0001-Medication-000002.ndjson", {"resourceType": "Medication", "id": "m"})
    Path("in/0001-Observation-000003.json").write_text(json.dumps(bundle(observation())))
    words = ("import", "fhir", "--from", "in", "--into", "h.db")
    done = run(*words)
    assert done.exit_code == 0, said(done)
    assert "3 records read, 1 into observations, 1 into patients" in said(done)
    assert "de-identified: pseudonyms of key" in said(done)
    assert len(list(Path("in").iterdir())) == 3
    done = run(*words, "--delete-imported")
    assert "3 of 3 files unchanged" in said(done)
    assert [path.name for path in Path("in").iterdir()] == ["0001-Medication-000002.ndjson"]


def test_identifiers_stay_where_it_is_said_and_local_times_are_of_the_zone() -> None:
    written(Path("in"), "o.ndjson", observation(effectiveDateTime="2020-01-15"))
    done = run(
        "import",
        "fhir",
        "--from",
        "in/o.ndjson",
        "--into",
        "h.db",
        "--keep-identifiers",
        "--time-zone",
        "Asia/Shanghai",
        "--source",
        "lab",
    )
    assert done.exit_code == 0, said(done)
    assert "NOT de-identified" in said(done)
    assert selected("h.db", "SELECT patient_id, source, time FROM observations") == [
        ("p1", "lab", 18275 + 16 / 24)
    ]


def test_a_view_of_the_hospital_s_own_is_used() -> None:
    column = [
        {"name": "patient_id", "path": "subject.getReferenceKey(Patient)"},
        {"name": "time", "path": "effective.ofType(dateTime)"},
        {"name": "code", "path": "'GLU'"},
    ]
    Path("own.json").write_text(
        json.dumps({"name": "observations", "resource": "Observation", "select": [{"column": column}]})
    )
    written(Path("in"), "o.ndjson", observation())
    words = ("import", "fhir", "--from", "in", "--into", "h.db")
    assert run(*words, "--view", "own.json").exit_code == 0
    assert selected("h.db", "SELECT code, value FROM observations") == [("GLU", None)]
    again = run(*words)
    assert "1 into observations" in said(again), "another view: the file is read anew"
    assert selected("h.db", "SELECT code, value FROM observations") == [("2345-7", 5.5)]


def test_what_cannot_be_imported_is_told_and_imported_once_it_is_right() -> None:
    written(Path("in"), "o.ndjson", observation(subject={"reference": "Group/g"}))
    words = ("import", "fhir", "--from", "in", "--into", "h.db")
    done = run(*words, "--time-zone", "Mars/Base")
    assert "--time-zone Mars/Base: unknown; write such as Europe/Berlin, or UTC" in said(done)
    assert "nothing.json" in said(run(*words, "--view", "nothing.json"))
    for source in ("", "the lab of Mei Ng", "x" * 65):
        told = said(run(*words, "--source", source))
        assert "--source: write a short name of letters, digits and signs, such as lab-2" in told
    done = run(*words, "--time-zone", "Europe/Berlin")
    assert done.exit_code != 0
    assert "no event was imported, and none was there before: correct what was refused" in said(done)
    written(Path("in"), "o.ndjson", observation())
    assert run(*words, "--time-zone", "Europe/Berlin", "--source", "lab-2").exit_code == 0


def test_a_file_that_cannot_be_deleted_is_once_its_folder_is_writable() -> None:
    with open_folder():
        Path("in").mkdir()
        written(Path("in"), "o.ndjson", observation())
        Path("in").chmod(0o755)
        words = ("import", "fhir", "--from", "in", "--into", "h.db", "--delete-imported")
        run(
            "import", "fhir", "--from", "in", "--into", "other.db"
        )  # what it imports must have been imported before
        with unprivileged():
            done = run(*words, "--keep-identifiers")
        assert "make its folder writable" in said(done)
        Path("in").chmod(0o777)
        with unprivileged():
            assert run(*words, "--keep-identifiers").exit_code == 0
        assert list(Path("in").iterdir()) == []


def test_a_fetch_into_a_folder_that_others_read_is_refused() -> None:
    Path("in").chmod(0o755)
    done = run("fetch-fhir", "--from", "http://127.0.0.1:9", "--into", "in")
    assert "run chmod 700 on it" in said(done)
    assert "--from fhir.example is not an address" in said(
        run("fetch-fhir", "--from", "fhir.example", "--into", "in")
    )

"""Imports as a site's engineer types them: what they say, and how they end."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from fedcohort.cli import app
from fedcohort.sources.pseudonym import load_key, pseudonym


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", "import", *words])


def said(done: Result) -> str:
    """All that was printed, and what an error would print, as one line."""
    return " ".join(f"{done.output} {done.exception or ''}".split())


def rows(database: str, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def mimic() -> Path:
    folder = Path("mimic")
    folder.mkdir()
    files = {
        "patients": "subject_id,gender,anchor_age,anchor_year\n101,F,60,2150\n102,M,70,2150\n",
        "admissions": "subject_id,hadm_id,admittime,admission_type,insurance,edregtime,edouttime,"
        "hospital_expire_flag\n101,9001,2151-03-01 10:00:00,URGENT,Medicare,,,0\n"
        "102,9002,2150-03-01 10:00:00,URGENT,Private,,,1\n",
        "icustays": "subject_id,hadm_id,intime\n101,9001,2151-03-01 12:00:00\n",
    }
    for name, text in files.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_mimic_is_deidentified_unless_it_is_told_not_to_be(mimic: Path) -> None:
    done = run("mimic-iv", "--from", str(mimic), "--sites", "1", "--key", "deid.key")
    assert done.exit_code == 0, said(done)
    assert "de-identified: pseudonyms of key" in said(done)
    key = load_key(Path("deid.key"))
    expected = sorted([(pseudonym(key, "101"), 61.0, 1, 0), (pseudonym(key, "102"), 70.0, 0, 1)])
    found = rows("mimic_a.db", "SELECT patient_id, age, icu_first_day, died FROM mortality")
    assert sorted(found) == expected


def test_mimics_own_numbers_stay_where_it_is_said(mimic: Path) -> None:
    done = run("mimic-iv", "--from", str(mimic), "--sites", "1", "--keep-identifiers")
    assert done.exit_code == 0, said(done)
    assert "NOT de-identified" in said(done)
    assert rows("mimic_a.db", "SELECT patient_id FROM patients") == [("101",), ("102",)]
    again = run("mimic-iv", "--from", str(mimic), "--sites", "1", "--key", "deid.key")
    assert again.exit_code != 0
    assert "patients" in said(again)


def test_public_data_say_that_they_were_not_deidentified() -> None:
    done = run("breast-cancer")
    assert done.exit_code == 0, said(done)
    assert "not de-identified: public data without identifiers" in said(done)

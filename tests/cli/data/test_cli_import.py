"""Imports as a site's engineer types them: what they say, and how they end."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from fedcohort.cli.app import app
from fedcohort.sources.deidentify.pseudonym import key_id, load_key, pseudonym
from fedcohort.sources.importer.mapping import MappedTable
from tests.build import selected


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["data", "import", *words])


def said(done: Result) -> str:
    """All that was printed, and what an error would print, as one line."""
    return " ".join(f"{done.output} {done.exception or ''}".split())


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
    found = selected("mimic_a.db", "SELECT patient_id, age, icu_first_day, died FROM mortality")
    assert sorted(found) == expected


def test_mimics_own_numbers_stay_where_it_is_said(mimic: Path) -> None:
    done = run("mimic-iv", "--from", str(mimic), "--sites", "1", "--keep-identifiers")
    assert done.exit_code == 0, said(done)
    assert "NOT de-identified" in said(done)
    assert selected("mimic_a.db", "SELECT patient_id FROM patients") == [("101",), ("102",)]
    again = run("mimic-iv", "--from", str(mimic), "--sites", "1", "--key", "deid.key")
    assert again.exit_code != 0
    assert "patients" in said(again)


def test_public_data_say_that_they_were_not_deidentified() -> None:
    done = run("breast-cancer")
    assert done.exit_code == 0, said(done)
    assert "not de-identified: public data without identifiers" in said(done)


MAPPING = """
[tables.records]
patient_id = "mrn"
[tables.records.columns.bp]
low = 50
high = 300
"""
CSV = ("csv", "--into", "h.db", "--from")


@pytest.mark.parametrize(
    ("text", "why", "more"),
    [
        ("mrn,pressure\n1,120\n", "the header has no column bp", ()),
        ("name,bp\n1,120\n", "the header has no column mrn", ()),
        ("mrn,bp\n1,120\n", "the header has no column mrn, bp", ("--delimiter", ";")),
        ("", "it is empty; its first line must name each column once", ()),
        ("mrn,bp\n1,high\n", "1 refused: bp is not a number", ()),
    ],
)
def test_an_import_that_leaves_nothing_fails(text: str, why: str, more: tuple[str, ...]) -> None:
    Path("mapping.toml").write_text(MAPPING)
    Path("in.csv").write_text(text)
    for attempt in range(2):
        done = run(*CSV, "in.csv", "--mapping", "mapping.toml", *more)
        assert done.exit_code == 1, said(done)
        assert "nothing was imported into records, and nothing was there before" in said(done)
        assert (why in said(done)) == (attempt == 0)
        records = 1 if attempt == 0 and "bp is" in why else 0
        assert f"{records} records read" in said(done)


def test_an_import_of_which_something_is_left_or_was_there_is_a_success() -> None:
    Path("mapping.toml").write_text(MAPPING)
    Path("in.csv").write_text("mrn,bp\n1,120\n2,high\n")
    for words in (
        "2 records read, 1 into records",
        "0 records read, nothing written; 1 of 1 files unchanged",
    ):
        done = run(*CSV, "in.csv", "--mapping", "mapping.toml")
        assert done.exit_code == 0, said(done)
        assert words in said(done)


COMMAS = "mrn;bp\n1;120,5\n2; 98,25 \n3;\n4;-7\n5;1.234,5\n6;1.234\n7;100,5,5\n"


@pytest.mark.parametrize("keep", [(), ("--keep-identifiers",)])
@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_a_decimal_comma_is_hinted_at_and_read_where_the_mapping_says_so(
    keep: tuple[str, ...], encoding: str
) -> None:
    Path("mapping.toml").write_text(MAPPING.replace("50", "-50"))
    Path("in.csv").write_text(COMMAS)
    words = (*CSV, "in.csv", "--mapping", "mapping.toml", "--encoding", encoding, *keep)
    done = run(*words)
    hint = 'it has a decimal comma: write decimal = "," below the table in the mapping file'
    assert f"2 refused: bp is not a number, for {hint}" in said(done)
    Path("h.db").unlink()
    with_comma = Path("mapping.toml").read_text().replace("patient_id", 'decimal = ","\npatient_id')
    Path("mapping.toml").write_text(with_comma)
    done = run(*words)
    assert done.exit_code == 0, said(done)
    for why in (
        "1 refused: bp is not a number",
        "points between thousands",
        "three digits stand behind a point",
    ):
        assert why in said(done)
    found = selected("h.db", "SELECT bp FROM records ORDER BY rowid")
    assert found == [(120.5,), (98.25,), (None,), (-7.0,)]


def test_a_mapping_without_decimal_is_the_same_import_as_before_there_was_one() -> None:
    column = {"from": "BP", "low": 50, "high": 300}
    table = MappedTable.model_validate({"columns": {"bp": column}})
    assert "decimal" not in table.context
    assert '"decimal":","' in MappedTable.model_validate({"columns": {"bp": column}, "decimal": ","}).context


def test_a_key_that_is_made_is_told_and_no_folder_is() -> None:
    Path("in.csv").write_text("patient_id,bp\n1,120\n")
    made = run(*CSV, "in.csv", "--key", "deid.key")
    words = f"made a new key deid.key (id {key_id(load_key(Path('deid.key')))}): pseudonyms will not link"
    assert words in said(made)
    assert "made a new key" not in said(run(*CSV, "in.csv", "--key", "deid.key"))
    wrong = run("csv", "--into", "other.db", "--from", "in.csv", "--key", "keys/deid.key")
    assert wrong.exit_code == 1
    assert "there is no folder keys; correct --key" in said(wrong)
    assert not Path("keys").exists()


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_column_of_which_nothing_can_be_read_stops_the_import_and_the_remedy_reads_it(
    dry: tuple[str, ...],
) -> None:
    Path("in.csv").write_text("patient_id,seen_date,age\n1,05.01.1950,60\n2,17.02.1950,70\n3,,80\n")
    words = (*CSV, "in.csv", "--key", "deid.key", *dry)
    done = run(*words)
    assert done.exit_code == 1
    for words_of_it in (
        "records.seen_date (named like a date): none of 2 values could be read as dates",
        'rules file (--deidentify) say how, such as seen_date = { role = "date", format = "%d.%m.%Y" }',
    ):
        assert words_of_it in said(done)
    assert not dry or not Path("h.db").exists()
    if not dry:
        tables = {name for (name,) in selected("h.db", "SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert "records" not in tables
    Path("rules.toml").write_text('[columns]\nseen_date = { role = "date", format = "%d.%m.%Y" }\n')
    assert run(*words, "--deidentify", "rules.toml").exit_code == 0
    if not dry:
        assert [bool(row[0]) for row in selected("h.db", "SELECT seen_date FROM records")] == [
            True,
            True,
            False,
        ]
    Path("rules.toml").write_text('[columns]\nseen_date = "remove"\n')
    again = run(*CSV, "in.csv", "--into", "other.db", "--key", "deid.key", "--deidentify", "rules.toml", *dry)
    assert again.exit_code == 0, said(again)


def test_levels_of_which_a_rule_leaves_none_are_named_with_the_rule() -> None:
    Path("in.csv").write_text("patient_id,grp\n1,young\n2,old\n")
    Path("mapping.toml").write_text('[tables.records.columns.grp]\nlevels = ["young", "old"]\n')
    words = (*CSV, "in.csv", "--mapping", "mapping.toml", "--key", "deid.key", "--deidentify", "rules.toml")
    for role, why in (
        ("zip", "records.grp: fewer than two of its levels would be left (rule: zip); say remove, or keep"),
        ("date", "records.grp: a date that changes with the patient has no levels; declare none"),
    ):
        Path("rules.toml").write_text(f'[columns]\ngrp = "{role}"\n')
        done = run(*words)
        assert done.exit_code == 1
        assert why in said(done)
    Path("rules.toml").write_text('[columns]\ngrp = "remove"\n')
    assert run(*words).exit_code == 0
    assert "records.grp: left out (rule: remove)" in said(run(*words, "--into", "another.db"))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_table_without_patients_is_numbered_where_it_is_said(ending: str) -> None:
    file = Path(f"measured.{ending}")
    frame = pd.DataFrame({"bp": [120, 130, 120], "ward": ["a", "b", "a"]})
    if ending == "csv":
        frame.to_csv(file, index=False)
    else:
        pytest.importorskip("pyarrow")
        frame.to_parquet(file, index=False)
    words = (ending, "--from", str(file), "--into", "h.db", "--keep-identifiers")
    refused = run(*words)
    assert refused.exit_code != 0
    assert "--number-patients" in said(refused)
    done = run(*words, "--number-patients")
    assert done.exit_code == 0, said(done)
    found = selected("h.db", "SELECT patient_id, bp FROM records ORDER BY id")
    assert [row[1] for row in found] == [120, 130, 120]
    assert [str(row[0]).partition("-")[2] for row in found] == ["1", "2", "3"]
    again = run(*words, "--number-patients")
    assert again.exit_code == 0, said(again)
    assert selected("h.db", "SELECT patient_id, bp FROM records ORDER BY id") == found
    frame.assign(bp=99.0).to_csv("other.csv", index=False)
    assert (
        run("csv", "--from", "other.csv", "--into", "h.db", *words[-1:], "--number-patients").exit_code == 0
    )
    assert selected("h.db", "SELECT count(DISTINCT patient_id) FROM records") == [(6,)]


def test_numbered_records_keep_units_and_bounds_of_a_mapping() -> None:
    Path("m.csv").write_text("sbp\n120\n500\n")
    Path("m.toml").write_text('[tables.records.columns]\nbp = { from = "sbp", low = 50, high = 300 }\n')
    words = ("csv", "--from", "m.csv", "--into", "h.db", "--keep-identifiers", "--mapping", "m.toml")
    done = run(*words, "--number-patients")
    assert selected("h.db", "SELECT bp FROM records") == [(120.0,)], said(done)

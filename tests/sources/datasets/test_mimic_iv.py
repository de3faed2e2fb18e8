"""MIMIC-IV's demo: every table's rows are at one site each, and the example study learns from two."""

import csv
import hashlib
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import fedcohort as fc
from fedcohort.errors import ConfigError, SchemaError
from fedcohort.sources.datasets.mimic_iv import TABLES, Share, StandIns, import_mimic
from fedcohort.sources.deidentify.pseudonym import code_pseudonym, pseudonym
from fedcohort.sources.importer.deidentification import PUBLIC
from fedcohort.sources.importer.derive import list_derived
from tests.build import selected
from tests.test_examples import EXAMPLES, run_on

SHARED = Path(__file__).parents[4] / "shared" / "data"
KEY = bytes(range(32))
FOLDER = Path(os.environ.get("FEDCOHORT_DATA", SHARED)) / "mimic_iv_demo"


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    if not FOLDER.is_dir():
        pytest.skip(f"needs MIMIC-IV's demo in {FOLDER}; set FEDCOHORT_DATA")
    into = tmp_path_factory.mktemp("mimic")
    return [Path(report.database) for report in import_mimic(FOLDER, into, 2, StandIns(KEY))]


@pytest.mark.parametrize("table", TABLES)
def test_every_row_of_a_table_is_at_one_of_the_sites(databases: list[Path], table: str) -> None:
    with (FOLDER / f"{table}.csv").open(newline="", encoding="utf-8") as file:
        expected = sum(1 for _ in csv.DictReader(file))
    assert (
        sum(int(str(selected(path, f"SELECT count(*) FROM {table}")[0][0])) for path in databases) == expected
    )


def test_no_patient_is_at_two_sites(databases: list[Path]) -> None:
    one, two = ({row[0] for row in selected(path, "SELECT patient_id FROM patients")} for path in databases)
    assert one & two == set()
    assert len(one | two) == 100
    assert min(len(one), len(two)) > 30


def test_codes_keep_their_leading_zeros(databases: list[Path]) -> None:
    codes = {
        str(row[0]) for path in databases for row in selected(path, "SELECT icd_code FROM diagnoses_icd")
    }
    assert {"07070", "5723", "V1582"} <= codes


def test_an_admission_s_row_says_what_is_known_on_the_first_day(databases: list[Path]) -> None:
    query = "SELECT age, earlier_admissions, icu_first_day, died FROM mortality"
    rows = [row for path in databases for row in selected(path, query)]
    assert (len(rows), sum(int(str(row[3])) for row in rows)) == (275, 15)
    assert all(18 <= float(str(row[0])) <= 91 for row in rows)
    assert {row[2] for row in rows} == {0, 1}
    patient = pseudonym(KEY, "10000032")
    query = f"SELECT earlier_admissions FROM mortality WHERE patient_id = '{patient}'"
    found = sorted(str(row[0]) for path in databases for row in selected(path, query))
    assert found == ["0.0", "1.0", "2.0", "3.0"]


def test_the_admissions_are_those_of_the_version_before_they_were_derived(databases: list[Path]) -> None:
    rows = [selected(path, "SELECT * FROM mortality ORDER BY id") for path in databases]
    assert [hashlib.sha256(repr(one).encode()).hexdigest() for one in rows] == [
        "e1bb873b50e5ffe41b1892d1cffe0db300cfd7ed3018759a2281a780fae12602",
        "60b403954e815e94c5a7dd8bf90b91ecf1b682816bbb26ccbe8e59ffd135f7e8",
    ]


def test_the_admissions_of_an_earlier_version_are_replaced_and_then_known(
    databases: list[Path], tmp_path: Path
) -> None:
    for path in databases:
        shutil.copy(path, tmp_path)
        with closing(sqlite3.connect(tmp_path / path.name)) as connection, connection:
            connection.execute("DROP TABLE fedcohort_derived")
    import_mimic(FOLDER, tmp_path, 2, StandIns(KEY))
    for path in databases:
        assert selected(tmp_path / path.name, "SELECT * FROM mortality") == selected(
            path, "SELECT * FROM mortality"
        )
        assert [derived.split()[0] for derived in list_derived(tmp_path / path.name)] == ["mortality"]


def test_no_number_of_mimics_patients_admissions_or_staff_is_stored(databases: list[Path]) -> None:
    with (FOLDER / "admissions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    named = ("subject_id", "hadm_id", "admit_provider_id")
    numbers = {row[name] for row in rows for name in named} - {""}
    for path in databases:
        with closing(sqlite3.connect(path)) as connection:
            written = {word for line in connection.iterdump() for word in line.split("'")}
        assert not numbers & written
    admissions = {row[0] for path in databases for row in selected(path, "SELECT hadm_id FROM admissions")}
    assert admissions == {code_pseudonym(KEY, "hadm_id", row["hadm_id"]) for row in rows}


def test_the_sites_are_the_same_whatever_the_key(databases: list[Path], tmp_path: Path) -> None:
    plain = [Path(report.database) for report in import_mimic(FOLDER, tmp_path, 2, PUBLIC)]
    for kept, path in zip(plain, databases, strict=True):
        patients = {pseudonym(KEY, str(row[0])) for row in selected(kept, "SELECT patient_id FROM patients")}
        assert patients == {row[0] for row in selected(path, "SELECT patient_id FROM patients")}


def test_the_same_import_again_changes_nothing(databases: list[Path], tmp_path: Path) -> None:
    for path in databases:
        shutil.copy(path, tmp_path)
    reports = import_mimic(FOLDER, tmp_path, 2, StandIns(KEY))
    assert [report.read for report in reports] == [0, 0]
    for path in databases:
        assert selected(tmp_path / path.name, "SELECT * FROM mortality") == selected(
            path, "SELECT * FROM mortality"
        )


@pytest.mark.training
def test_the_example_learns_from_two_sites(databases: list[Path]) -> None:
    study = fc.load_study(EXAMPLES / "mimic_mortality.toml")
    report = run_on({path.stem: str(path) for path in databases}, study)
    assert isinstance(report["train"], dict)
    assert report["train"]["auc"] > 0.75


def test_a_folder_without_admissions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no file, or a folder without any"):
        import_mimic(tmp_path, tmp_path, 1, PUBLIC)
    (tmp_path / "patients.csv").write_text("subject_id\n1\n")
    with pytest.raises(ConfigError, match="has no admissions, icustays"):
        import_mimic(tmp_path, tmp_path, 1, PUBLIC)


def test_shares_are_about_equal_and_never_overlap() -> None:
    held = [sum(Share(site, 3).has(str(patient)) for patient in range(3000)) for site in range(3)]
    assert sum(held) == 3000
    assert min(held) > 900


def test_an_admission_that_cannot_be_is_refused_and_the_others_are_kept(tmp_path: Path) -> None:
    tables = {
        "admissions": "subject_id,hadm_id,admittime,admission_type,insurance,edregtime,edouttime,"
        "hospital_expire_flag\n1,10,2150-01-01 10:00:00,URGENT,Other,,,0\n"
        "2,20,2150-01-01 10:00:00,URGENT,Other,,,7\n3,30,2150-01-01 10:00:00,URGENT,Other,,,1\n",
        "icustays": "subject_id,hadm_id,stay_id,intime,los\n3,30,7,2150-01-01 12:00:00,1.5\n",
        "patients": "subject_id,gender,anchor_age,anchor_year\n1,F,5,2149\n2,F,50,2149\n3,M,60,2149\n",
    }
    for name, content in tables.items():
        (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
    (report,) = import_mimic(tmp_path, tmp_path, 1, PUBLIC)
    database = tmp_path / "mimic_a.db"
    assert selected(database, "SELECT patient_id, age, icu_first_day FROM mortality") == [("3", 61.0, 1)]
    assert {(one.file, one.position, one.field) for one in report.refusals} == {
        ("mortality", "record 1", "age"),
        ("mortality", "record 2", "died"),
    }
    (tmp_path / "icustays.csv").write_text(tables["icustays"].splitlines()[0] + "\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SchemaError, match="no record of icustays"):
        import_mimic(tmp_path, tmp_path / "empty", 1, PUBLIC)
    (tmp_path / "icustays.csv").write_text(tables["icustays"], encoding="utf-8")
    (tmp_path / "patients.csv").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"has no patients\.csv; give the folder"):
        import_mimic(tmp_path, tmp_path / "whole", 1, PUBLIC)
    (tmp_path / "elsewhere").rename(tmp_path / "patients.csv")
    (tmp_path / "whole").mkdir()
    import_mimic(
        tmp_path, tmp_path / "whole", 1, PUBLIC
    )  # the remedies of both: the folder with whole tables
    assert len(selected(tmp_path / "whole" / "mimic_a.db", "SELECT patient_id FROM mortality")) == 1

"""`fedcohort data check` of a study of events: counts, units and codes, for the site's own engineer."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ucumvert", reason="units of events need the extra ucum")

from fedcohort.errors import FedcohortError
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness import check_readiness
from fedcohort.study import Study, parse_study
from tests.sources.cohort.events.rows import filled, ill, lab, stay

WORDS = """
name = "kidneys"
[cohort.codes]
creatinine = { loinc = ["2160-0"] }
infarction = { icd10 = ["I21*"] }
stroke = { icd10 = ["I63*"] }
[cohort.index]
encounter = true
[cohort.columns.creatinine]
observation = "creatinine"
take = "last"
window = ["-24h", "0h"]
low = 10
high = 2000
unit = "umol/L"
[cohort.columns.stroke]
condition = "stroke"
take = "any"
window = ["-365d", "0d"]
[cohort.label]
condition = "infarction"
window = ["1d", "366d"]
[analysis]
kind = "describe"
"""


def study() -> Study:
    return parse_study(tomllib.loads(WORDS))


def policy(folder: Path, database: str, **more: Any) -> SitePolicy:
    fixed: Mapping[str, Any] = {
        "id": "a",
        "data": database,
        "coordinator": "ws://x",
        "state": folder / "state",
    }
    return SitePolicy(**{**fixed, "tables": {"events": "*"}, **more})


def found(policy: SitePolicy, asked: Study | None = None) -> dict[str, tuple[str, str]]:
    lines = check_readiness(policy, asked or study()).lines
    return {line.what: (line.verdict, line.found) for line in lines}


@pytest.fixture
def database(tmp_path: Path) -> str:
    rows = []
    for number in range(40):
        patient = f"p{number:02}"
        rows += [stay(patient, 100.0, 101.0), lab(patient, 99.5, 80.0)]
        rows += [ill(patient, 150.0)] if number < 12 else []
        rows += [lab(patient, 99.6, 1.0, "mg/dL")] if number < 15 else []
    kind, row = lab("p00", 99.7, 3.0)
    rows += [(kind, {**row, "system": "lab", "code": "KREA"})] * 25
    return filled(str(tmp_path / "e.db"), rows)


def test_patients_with_and_without_events_units_and_codes_are_counted(tmp_path: Path, database: str) -> None:
    lines = found(policy(tmp_path, database))
    assert lines["events of columns.creatinine"] == ("ready", "40 rows with such an event, 0 without")
    assert lines["events of columns.stroke"] == ("warning", "0 rows with such an event, 40 without")
    assert lines["events of label"] == ("ready", "12 rows with such an event, 28 without")
    assert lines["units of columns.creatinine"] == ("warning", "15 values in mg/dL do not convert")
    assert lines["codes of observation"] == (
        "warning", "25 events have no code of a system that studies know"
    )  # fmt: skip
    assert lines["cohort size"][0] == "ready"


def test_of_few_patients_no_count_is_told_nor_what_gives_it_away(tmp_path: Path, database: str) -> None:
    lines = found(policy(tmp_path, database, min_patients=13))
    assert (
        lines["events of label"][1] == "fewer than 13 rows with such an event, all but fewer than 13 without"
    )
    small = found(policy(tmp_path, database, min_patients=41))
    assert "events of label" not in small
    assert small["cohort size"] == ("not ready", "fewer than min_patients = 41 patients")


def test_events_that_are_not_offered_and_tables_that_are_not_there_are_told(
    tmp_path: Path, database: str
) -> None:
    without = found(policy(tmp_path, database, tables={"conditions": "*"}))
    assert without["events"][0] == "not ready"
    assert "offers none to studies" in without["events"][1]
    some = found(policy(tmp_path, database, tables={"events": ["encounter", "condition"]}))
    assert "does not offer observation" in some["events"][1]
    (tmp_path / "empty.db").touch()
    empty = found(policy(tmp_path, str(tmp_path / "empty.db")))
    assert empty["cohort"][0] == "not ready"
    assert "no such event table" in empty["cohort"][1]


def test_one_population_is_one_account(tmp_path: Path, database: str) -> None:
    tables = {"events": "*", "conditions": "*"}
    apart = {"x": {"epsilon": 1.0, "tables": ["events"]}, "y": {"epsilon": 1.0, "tables": ["conditions"]}}
    with pytest.raises(FedcohortError, match="budget: events and conditions hold the same patients"):
        policy(tmp_path, database, tables=tables, budget=apart)
    together = {"x": {"epsilon": 1.0, "tables": ["events", "conditions"]}}
    assert policy(tmp_path, database, tables=tables, budget=together).group_of("events").name == "x"


def test_events_are_in_one_place(tmp_path: Path, database: str) -> None:
    named = {"conditions": {"table": "dx", "columns": {"code": "icd", "time": "at"}}}
    with pytest.raises(FedcohortError, match='events: layout = "omop" says where all events are; keep one'):
        policy(tmp_path, database, layout="omop", events=named)
    assert policy(tmp_path, database, events=named).events["conditions"].table == "dx"
    assert policy(tmp_path, database, layout="omop").layout == "omop"


def test_omops_fatal_checks_are_told_by_their_names(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("duckdb_engine", reason="DuckDB needs the extra duckdb")
    path = tmp_path / "omop.duckdb"
    with duckdb.connect(str(path)) as connection:
        for statement in (
            "CREATE TABLE PERSON (PERSON_ID VARCHAR, GENDER_CONCEPT_ID INT, YEAR_OF_BIRTH INT)",
            "INSERT INTO PERSON VALUES ('person_id', NULL, NULL)",
            "INSERT INTO PERSON SELECT i::VARCHAR, 8507, 1950 FROM range(30) t(i)",
            "CREATE TABLE visit_occurrence (visit_occurrence_id INT, person_id INT, visit_concept_id INT,"
            " visit_start_date DATE, visit_end_date DATE)",
            "INSERT INTO visit_occurrence SELECT i, i, 9201, DATE '2020-01-01', DATE '2020-01-03'"
            " FROM range(30) t(i)",
            "INSERT INTO visit_occurrence VALUES (1, 99, 9201, NULL, NULL)",
            "INSERT INTO visit_occurrence VALUES (100, 3, 9201, '1940-01-01', '1939-01-01')",
            "CREATE TABLE condition_occurrence (condition_occurrence_id INT, person_id INT,"
            " condition_concept_id INT, condition_start_date DATE)",
            "INSERT INTO condition_occurrence SELECT i, i, 7, DATE '2020-02-01' FROM range(15) t(i)",
            "CREATE TABLE concept_ancestor (ancestor_concept_id INT, descendant_concept_id INT)",
        ):
            connection.execute(statement)
    words = """
name = "stays"
[cohort.codes]
ill = { omop = ["7+"] }
[cohort.index]
encounter = true
which = "last"
[cohort.columns.age]
patient = "age"
low = 0
high = 120
[cohort.label]
condition = "ill"
window = ["1d", "366d"]
[analysis]
kind = "describe"
"""
    lines = found(policy(tmp_path, f"duckdb:///{path}", layout="omop"), parse_study(tomllib.loads(words)))
    told = {
        what.removeprefix("omop "): words for what, (_, words) in lines.items() if what.startswith("omop ")
    }
    assert told["person.person_id"] == "cdmDatatype fails"
    assert told["visit_occurrence.visit_occurrence_id"] == "isPrimaryKey fails for 1 rows"
    assert told["visit_occurrence.visit_start_date"] == "plausibleAfterBirth fails for 1 rows"
    assert told["visit_occurrence.visit_end_date"] == "plausibleStartBeforeEnd fails for 1 rows"
    assert told["visit_occurrence.person_id"] == "isForeignKey fails for 1 rows"
    assert told["concept_ancestor"] == "descendants fails for 0 rows"
    assert lines["events of label"] == ("ready", "15 rows with such an event, 15 without")

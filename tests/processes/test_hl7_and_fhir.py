"""A hospital that speaks HL7 v2 by MLLP and one with FHIR train a model together, in real processes."""

import json
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.disclosure.rules import OPEN
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort, parse_study
from tests.build import free_port
from tests.cli.data.test_cli_hl7 import ask, values
from tests.patience import until
from tests.sources.hl7v2.build import message, segment

from .support import Group, Process, cli, comparable, healthy

pytestmark = [pytest.mark.processes, pytest.mark.training]

STUDY = """
name = "infarction within a year"
[cohort.codes]
glucose = { loinc = ["2345-7"] }
infarction = { icd10 = ["I21*"] }
[cohort.index]
encounter = true
which = "first"
[cohort.columns.glucose]
observation = "glucose"
take = "last"
window = ["-1d", "1d"]
low = 2
high = 30
unit = "mmol/L"
[cohort.columns.age]
patient = "age"
low = 18
high = 100
[cohort.label]
condition = "infarction"
take = "any"
window = ["2d", "366d"]
[analysis]
kind = "train"
model = "logistic"
rounds = 3
learning_rate = 0.2
"""
MARKER = "MARKERNAME"
PATIENTS = 90


@dataclass(frozen=True)
class Person:
    """What has happened to one patient, whatever a hospital writes it in."""

    name: str
    born: int
    admitted: datetime
    glucose: float
    infarction: datetime | None

    @property
    def has_label(self) -> bool:
        after = None if self.infarction is None else self.infarction - self.admitted
        return after is not None and timedelta(2) <= after < timedelta(366)


def people(site: int) -> list[Person]:
    draw = np.random.default_rng([18, site])
    made = []
    for number in range(PATIENTS):
        admitted = datetime(2024, 1, 1) + timedelta(minutes=int(draw.integers(0, 500_000)))
        glucose = round(float(draw.uniform(3, 15)), 1)
        days = int(draw.integers(3, 700))
        infarction = admitted + timedelta(days) if draw.random() < (glucose - 2) / 14 else None
        made.append(
            Person(f"S{site}P{number}", 1955 + int(draw.integers(0, 40)), admitted, glucose, infarction)
        )
    return made


def in_hl7(one: Person) -> list[bytes]:
    """An admission, a result, and perhaps a second visit with a diagnosis."""
    pid = f"PID|1||{one.name}^^^HOSP^MR||{MARKER}^PATIENT||{one.born}0401|F"

    def visit(name: str, at: datetime, *more: str) -> bytes:
        pv1 = segment("PV1", {1: "1", 2: "I", 3: "WARD", 19: f"{one.name}-{name}", 44: f"{at:%Y%m%d%H%M%S}"})
        return message("ADT^A01", pid, pv1, *more, at=f"{at:%Y%m%d%H%M%S}", control=f"{one.name}-{name}")

    drawn = one.admitted + timedelta(hours=3)
    obr = f"OBR|1||{one.name}-L|2345-7^Glucose^LN|||{drawn:%Y%m%d%H%M%S}"
    obx = f"OBX|1|NM|2345-7^Glucose^LN||{one.glucose}|mmol/L|||||F"
    result = message("ORU^R01", pid, obr, obx, at=f"{drawn:%Y%m%d%H%M%S}", control=f"{one.name}-L")
    said = [visit("V1", one.admitted), result]
    if one.infarction is not None:
        dg1 = f"DG1|1||I21.4^Infarction^I10||{one.infarction:%Y%m%d%H%M%S}|F"
        said.append(visit("V2", one.infarction, dg1))
    return said


def in_fhir(one: Person) -> list[dict[str, Any]]:
    """The same as resources."""
    patient = {"reference": f"Patient/{one.name}"}
    made: list[dict[str, Any]] = [
        {"resourceType": "Patient", "id": one.name, "name": [{"family": MARKER}], "gender": "female",
         "birthDate": f"{one.born}-04-01"},
        {"resourceType": "Encounter", "id": f"{one.name}-1", "status": "finished", "class": {"code": "IMP"},
         "subject": patient, "period": {"start": f"{one.admitted.isoformat()}Z"}},
        {"resourceType": "Observation", "id": f"{one.name}-2", "status": "final", "subject": patient,
         "code": {"coding": [{"system": "http://loinc.org", "code": "2345-7"}]},
         "effectiveDateTime": f"{(one.admitted + timedelta(hours=3)).isoformat()}Z",
         "valueQuantity": {"value": one.glucose, "code": "mmol/L"}},
    ]  # fmt: skip
    if one.infarction is not None:
        code = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "I21.4"}]}
        made.append({"resourceType": "Condition", "id": f"{one.name}-3", "subject": patient, "code": code,
                     "onsetDateTime": f"{one.infarction.isoformat()}Z"})  # fmt: skip
    return made


def counted(database: Path, table: str) -> int:
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def received(folder: Path, site_file: Path, port: int) -> None:
    """All messages of a hospital, acknowledged one by one and imported by a running receiver."""
    process = Process(["node", "hl7", "--site", str(site_file), "--key", "a.key"], folder, folder / "hl7.log")
    process.start()
    try:
        until(lambda: "HL7 v2 is received on" in process.text, "a listening receiver")
        for one in people(0):
            for said in in_hl7(one):
                assert b"MSA|AA|" in ask(port, said)
        until(lambda: len(values(folder / "a.db")) == PATIENTS, "the receiver imports")
        diagnosed = sum(one.infarction is not None for one in people(0))
        until(lambda: counted(folder / "a.db", "conditions") == diagnosed, "the receiver imports")
    finally:
        process.kill()
    assert MARKER not in process.text


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    folder, port = tmp_path_factory.mktemp("formats"), free_port()
    hl7 = f'[hl7]\nport = {port}\nimport_seconds = 0.2\nauthority = "HOSP"\n'
    with Group(folder) as running:
        received(folder, running.site_file("a", "a.db", hl7, 'events = "*"'), port)
        lines = [json.dumps(resource) for one in people(1) for resource in in_fhir(one)]
        (folder / "all.ndjson").write_text("\n".join(lines), encoding="utf-8")
        done = cli("data", "import", "fhir", "--from", "all.ndjson", "--into", "b.db", "--key", "b.key",
                   cwd=folder)  # fmt: skip
        assert done.returncode == 0, done.stderr
        running.add("a", "a.db", hl7, 'events = "*"')
        running.add("b", "b.db", "", 'events = "*"')
        running.coordinator.start()
        until(lambda: healthy(running.url), "the coordinator listens")
        running.wait_linked()
        yield running


def test_a_hospital_of_hl7_and_one_of_fhir_train_a_model_as_if_all_rows_were_in_one_place(
    group: Group,
) -> None:
    asked = parse_study(tomllib.loads(STUDY))
    result = group.run(asked)
    frames = {}
    for number, site in enumerate("ab"):
        database = group.folder / f"{site}.db"
        table = load_cohort(database, asked.cohort, 0, {}, events=SiteEvents(in_event_tables({})))
        frame = pd.DataFrame({**table.columns, "patient_id": table.patient_ids, "label": table.label})
        happened = people(number)
        assert len(frame) == PATIENTS
        assert sorted(frame["glucose"]) == sorted(one.glucose for one in happened)
        assert frame["label"].sum() == sum(one.has_label for one in happened) > 10
        # Birthdays move with all dates, so that a year has 365.25 days.
        ages = [(one.admitted - datetime(one.born, 4, 1)) // timedelta(365.25) for one in happened]
        assert sorted(frame["age"]) == sorted(ages)
        frames[site] = frame
    ordinary = Cohort(columns=dict(asked.cohort.schema_), label=asked.cohort.label)
    same = asked.model_copy(update={"cohort": ordinary})
    pooled = fc.simulate(frames, disclosure=OPEN).run(same, progress=False)
    assert comparable(result) == comparable(pooled)


def test_nobody_s_name_or_number_is_in_a_database(group: Group) -> None:
    for site, file in (("S0P", "a.db"), ("S1P", "b.db")):
        content = (group.folder / file).read_bytes()
        assert MARKER.encode() not in content
        assert f"{site}1".encode() not in content
        with closing(sqlite3.connect(group.folder / file)) as connection:
            (count,) = connection.execute("SELECT count(DISTINCT patient_id) FROM observations").fetchone()
        assert count == PATIENTS

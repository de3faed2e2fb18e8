"""Two hospitals, one whose interface engine speaks HL7 v2 and one with FHIR, train a model together."""

import datetime
import json
import socket
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("orjson", reason="FHIR needs the extra fhir")

import fedcohort as fc
from fedcohort.disclosure.rules import OPEN
from fedcohort.sources.cohort.events.cohort import SiteEvents
from fedcohort.sources.cohort.events.tables import in_event_tables
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.sources.hl7v2.inbox import END, START
from fedcohort.study import Cohort, Study, parse_study
from tests.build import free_port
from tests.patience import PATIENCE_SECONDS, until

from .support import Group, Process, cli, comparable, healthy

pytestmark = [pytest.mark.processes, pytest.mark.training]

STUDY = """
name = "infarction within a year"
[cohort.codes]
diabetes = { icd10 = ["E11*"] }
infarction = { icd10 = ["I21*"] }
[cohort.index]
encounter = true
which = "first"
[cohort.columns.diabetes]
condition = "diabetes"
take = "any"
window = ["-365d", "1d"]
levels = [0, 1]
[cohort.columns.age]
patient = "age"
low = 18
high = 100
[cohort.label]
condition = "infarction"
take = "any"
window = ["1d", "366d"]
[analysis]
kind = "train"
model = "logistic"
algorithm = "fedsgd"
rounds = 3
"""


@dataclass(frozen=True)
class History:
    """A patient: in the hospital once, and ill a year before, after, or never."""

    name: str
    born: datetime.date
    admitted: datetime.date
    diabetic: datetime.date | None
    infarction: datetime.date | None


def histories(site: str, count: int = 60) -> list[History]:
    draw = np.random.default_rng([7, ord(site)])
    made = []
    for number in range(count):
        admitted = datetime.date(2020, 1, 1) + datetime.timedelta(int(draw.integers(0, 700)))
        born = admitted - datetime.timedelta(int(draw.integers(25, 85) * 365.25))
        ill = [
            admitted + datetime.timedelta(int(draw.integers(low, high)))
            for low, high in ((-200, -2), (5, 600))
        ]
        has = draw.random(2) < (0.4, 0.5)
        first, second = (day if true else None for day, true in zip(ill, has, strict=True))
        made.append(History(f"{site}{number}", born, admitted, first, second))
    return made


def messages_of(one: History) -> Iterator[bytes]:
    """What an interface engine sends of a patient: an admission, with what was known, and an update."""
    days = [(day, code) for day, code in ((one.diabetic, "E11.9"), (one.infarction, "I21.0")) if day]
    pid = f"PID|1||{one.name}^^^HOSP^MR||MARKER^PATIENT||{one.born:%Y%m%d}|F"
    pv1 = "|".join(["PV1", "1", "I", *[""] * 16, f"V{one.name}", *[""] * 24, f"{one.admitted:%Y%m%d}080000"])
    for number, event in enumerate(("A01", "A08")):
        listed = days[: 1 + number]
        dg1 = [f"DG1|{place}||{code}^x^I10||{day:%Y%m%d}" for place, (day, code) in enumerate(listed, 1)]
        msh = f"MSH|^~\\&|ADT|HOSP|FED|HOSP|2023010{number + 1}||ADT^{event}|{one.name}-{number}|P|2.5.1"
        yield "\r".join([msh, pid, pv1, *dg1, ""]).encode()


def resources_of(one: History) -> Iterator[dict[str, Any]]:
    """The same of a FHIR server."""
    subject = {"reference": f"Patient/{one.name}"}
    yield {"resourceType": "Patient", "id": one.name, "birthDate": f"{one.born}", "gender": "female"}
    yield {
        "resourceType": "Encounter", "id": f"V{one.name}", "subject": subject, "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
        "period": {"start": f"{one.admitted}T08:00:00Z"},
    }  # fmt: skip
    for day, code in ((one.diabetic, "E11.9"), (one.infarction, "I21.0")):
        if day is not None:
            coding = {"system": "http://hl7.org/fhir/sid/icd-10", "code": code}
            yield {
                "resourceType": "Condition", "id": f"{one.name}{code}", "subject": subject,
                "code": {"coding": [coding]}, "onsetDateTime": f"{day}",
            }  # fmt: skip


def send(port: int, data: list[bytes]) -> None:
    """Send messages by MLLP, each after the acknowledgement of the one before."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as connection:
        for one in data:
            connection.sendall(START + one + END)
            answer = b""
            while not answer.endswith(END):
                answer += (piece := connection.recv(65_536))
                assert piece, answer
            assert b"MSA|AA" in answer, answer


def counted(database: Path, table: str) -> int:
    if database.exists():
        with closing(sqlite3.connect(database)) as connection, suppress(sqlite3.OperationalError):
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    return 0


def receive(folder: Path, told: list[History]) -> Path:
    """Hospital a: its interface engine sends into a receiver that runs, until all has been imported."""
    port, database = free_port(), folder / "a.db"
    site = folder / "receiver.toml"
    site.write_text(
        'id = "a"\ndata = "a.db"\ncoordinator = "ws://127.0.0.1:1"\n[tables]\nevents = "*"\n'
        f'[hl7]\nport = {port}\nimport_seconds = 0.2\nauthority = "HOSP"\n',
        encoding="utf-8",
    )
    arguments = ["node", "hl7", "--site", str(site), "--key", "a.key"]
    process = Process(arguments, folder, folder / "receiver.log").start()
    try:
        until(lambda: "HL7 v2 is received on" in process.text, "the receiver listens")
        send(port, [message for one in told for message in messages_of(one)])
        wanted = sum(bool(one.diabetic) + bool(one.infarction) for one in told)
        until(lambda: counted(database, "conditions") == wanted, "what was sent is imported")
    finally:
        process.kill()
    return database


def imported(folder: Path, told: list[History]) -> Path:
    """Hospital b: a file of its FHIR server."""
    lines = [json.dumps(resource) for one in told for resource in resources_of(one)]
    (folder / "b.ndjson").write_text("\n".join(lines), encoding="utf-8")
    words = ["data", "import", "fhir", "--from", "b.ndjson", "--into", "b.db", "--key", "b.key"]
    done = cli(*words, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "b.db"


def frame(database: Path, cohort: Cohort) -> pd.DataFrame:
    """What a site's event tables make, as ordinary rows."""
    table = load_cohort(database, cohort, 0, {}, events=SiteEvents(in_event_tables({})))
    columns: dict[str, Any] = {**table.columns}
    return pd.DataFrame({**columns, "patient_id": table.patient_ids, "label": table.label})


def ordinary(study: Study) -> Study:
    """The same question of a table with the same columns."""
    cohort = study.cohort
    return study.model_copy(update={"cohort": Cohort(columns=dict(cohort.schema_), label=cohort.label)})


def test_a_hospital_with_hl7_v2_and_one_with_fhir_train_one_model(tmp_path: Path) -> None:
    told = {site: histories(site) for site in "ab"}
    data = {"a": receive(tmp_path, told["a"]), "b": imported(tmp_path, told["b"])}
    study = parse_study(tomllib.loads(STUDY))
    frames = {site: frame(database, study.cohort) for site, database in data.items()}
    year = datetime.timedelta(366)
    for site, patients in told.items():
        due = [one for one in patients if one.infarction and one.infarction < one.admitted + year]
        diabetic = [one for one in patients if one.diabetic]
        assert len(frames[site]) == len(patients)
        assert int(frames[site]["label"].astype(int).sum()) == len(due) > 10
        assert int(frames[site]["diabetes"].astype(int).sum()) == len(diabetic) > 10
    with Group(tmp_path / "group") as group:
        for site, database in data.items():
            group.add(site, database, "", 'events = "*"')
        group.coordinator.start()
        until(lambda: healthy(group.url), "the coordinator listens")
        group.wait_linked()
        result = group.run(study)
    pooled = fc.simulate(frames, disclosure=OPEN).run(ordinary(study), progress=False)
    assert {**comparable(result)["report"]} == {**comparable(pooled)["report"]}
    assert b"MARKER" not in data["a"].read_bytes()

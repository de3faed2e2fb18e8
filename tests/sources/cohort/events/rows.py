"""Rows of event tables that a person can check by eye, and a database of them."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Column, MetaData, Table

from fedcohort.sources.events.tables import KINDS
from fedcohort.storage.database import writing

LOINC, ICD10 = "http://loinc.org", "http://hl7.org/fhir/sid/icd-10"
Event = tuple[str, Mapping[str, object]]
"""A table, and a row of it."""


def filled(database: str, rows: Sequence[Event]) -> str:
    """A database with all event tables and these rows."""
    with writing(database) as connection:
        for kind in KINDS.values():
            bare = Table(kind.name, MetaData(), *(Column(one.name, one.type) for one in kind.table.c))
            (bare if database.startswith("duckdb") else kind.table).create(connection)
            mine = [row for name, row in rows if name == kind.name]
            if mine:
                empty = {**dict.fromkeys(kind.table.c.keys()), "source": "s", "group_id": 1}
                connection.execute(bare.insert(), [{**empty, **row} for row in mine])
    return database


def lab(patient: str, time: float, value: float, unit: str | None = "umol/L", code: str = "2160-0") -> Event:
    """A creatinine."""
    row = {"patient_id": patient, "system": LOINC, "code": code, "time": time, "value": value, "unit": unit}
    return "observations", row


def stay(patient: str, start: float, end: float) -> Event:
    """An inpatient encounter."""
    return "encounters", {"patient_id": patient, "start": start, "end": end, "class": "IMP"}


def ill(patient: str, time: float, code: str = "I21.0") -> Event:
    """A condition, an infarction where nothing else is said."""
    return "conditions", {"patient_id": patient, "system": ICD10, "code": code, "time": time}


def person(patient: str, birth: float | None, sex: str, death: float | None = None) -> Event:
    """A birth, a sex and a death."""
    return "patients", {"patient_id": patient, "birth_date": birth, "sex": sex, "death_time": death}

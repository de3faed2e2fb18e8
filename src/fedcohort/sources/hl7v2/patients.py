"""PID, PV1, MRG, DG1, PR1, PRB: patients, visits, what they have and what was done to them.

HL7 v2.9, chapters 3 (ADT), 6 (DG1, PR1) and 12 (PRB). Numbers of fields are those of HL7's maps to FHIR where
they have the segment, else as the standard has them.
"""

from collections.abc import Mapping

from fedcohort.sources.events.change import KEEP, Value
from fedcohort.sources.events.times import Precision
from fedcohort.sources.hl7v2 import meanings
from fedcohort.sources.hl7v2.meanings import field
from fedcohort.sources.hl7v2.message import DELETE, Segment
from fedcohort.sources.hl7v2.reading import Reading

PID_ID, PID_LIST = field("PID[Patient]", "identifier[1]"), field("PID[Patient]", "identifier[2]")
PID_BIRTH, PID_SEX = field("PID[Patient]", "birthDate"), field("PID[Patient]", "gender")
PID_DEATH, PID_DIED = field("PID[Patient]", "deceasedDateTime"), field("PID[Patient]", "deceasedBoolean")
PID_ACCOUNT = 18
PV1_CLASS, PV1_TYPE = field("PV1[Encounter]", "class"), field("PV1[Encounter]", "type")
PV1_NUMBER = field("PV1[Encounter]", "identifier[1]")
PV1_DISCHARGE = field("PV1[Encounter]", "hospitalization.dischargeDisposition")
PV1_START, PV1_END = field("PV1[Encounter]", "period.start"), field("PV1[Encounter]", "period.end")
EVN_RECORDED, EVN_OCCURRED = (
    field("EVN[Provenance]", "recorded"),
    field("EVN[Provenance]", "occurredDateTime"),
)
DG1_METHOD, DG1_CODE = 2, field("DG1[Condition]", "code[1]")
DG1_TIME, DG1_RECORDED = field("DG1[Condition]", "onsetDateTime"), field("DG1[Condition]", "recordedDate")
DG1_ID, DG1_ACTION = (
    field("DG1[Condition]", "identifier"),
    field("DG1[Condition]", "verificationStatus.coding.code"),
)
DG1_ROLE = field("DG1[Encounter]", "diagnosis.use")
PR1_METHOD, PR1_CODE = 2, field("PR1[Procedure]", "code[1]")
PR1_TIME, PR1_MINUTES = (
    field("PR1[Procedure]", "performedDateTime"),
    field("PR1[Procedure]", "performedPeriod.end"),
)
PR1_ID, PR1_ACTION = field("PR1[Procedure]", "identifier"), 20
PRB_ACTION, PRB_ACTED, PRB_CODE, PRB_ID = 1, 2, 3, 4
PRB_RESOLVED, PRB_STATUS, PRB_ONSET = 9, 14, 16
MRG_LIST = 1

DELETED_VISITS = frozenset(("A11", "A23", "A27", "A38"))
"""Cancel admit, delete a patient's visit, cancel pending admit, cancel pre-admit."""
ADMITTING = frozenset(("A01", "A04"))
MERGES = frozenset(("A18", "A30", "A34", "A36", "A39", "A40", "A43", "A46", "A47"))
"""MRG-1 is no patient any more: the identifiers are PID's."""
UNFOLLOWED = frozenset(("A24", "A35", "A37", "A41", "A42", "A44", "A45", "A48", "A49", "A50", "A51"))
"""Links and their ends, and accounts and visits that are merged, moved or numbered anew."""
_DELETE = "D"


def read_patient(reading: Reading, pid: Segment) -> None:
    """PID: whose everything below is."""
    patient = reading.patient_of(pid, PID_LIST) or reading.patient_of(pid, PID_ID)
    reading.patient = patient
    reading.visit = reading.identifier(pid, PID_ACCOUNT, authority=4)
    if patient is None:
        reading.refuse(
            pid,
            PID_LIST,
            "no-patient",
            "names no patient of this hospital: no identifier of an accepted type and authority",
        )
        return
    if reading.event == "A29" and reading.family == "ADT":
        reading.add("patients", patient, [], (pid, PID_LIST))
        return
    death, _ = reading.moment(pid, PID_DEATH)
    row: dict[str, Value] = {
        "birth_date": reading.day(pid, PID_BIRTH),
        "sex": reading.word(pid, PID_SEX, meanings.SEX),
        "died": _died(reading.text(pid, PID_DIED), death),
        "death_time": death,
    }
    as_of = None if reading.family == "ADT" else reading.before_every_adt()
    reading.add("patients", patient, [row], (pid, PID_LIST), as_of)


def _died(said: str, death: Value) -> Value:
    if isinstance(death, float):
        return 1.0
    if said in ("Y", "N"):
        return 1.0 if said == "Y" else 0.0
    return None if said == DELETE or (death is None and not said) else KEEP


def read_merge(reading: Reading, mrg: Segment) -> None:
    """MRG: who is PID's patient from now on."""
    before = reading.patient_of(mrg, MRG_LIST)
    if reading.patient is None or reading.event not in MERGES:
        return
    if before is None:
        reading.refuse(mrg, MRG_LIST, "no-patient", "names no patient of this hospital to merge")
    elif before != reading.patient:
        reading.merge(before, reading.patient, mrg)


def read_visit(reading: Reading, pv1: Segment) -> None:
    """PV1: the visit to which what follows belongs."""
    number = reading.identifier(pv1, PV1_NUMBER, authority=4)
    reading.visit = number or reading.visit
    if reading.patient is None:
        return
    adt = reading.family == "ADT"
    key, start = reading.visit, reading.value(pv1, PV1_START)
    if not key and not start:
        return
    key = key or f"{reading.patient}|{start}"
    if adt and reading.event in DELETED_VISITS:
        for kind in ("encounters", "conditions", "procedures"):
            reading.add(kind, key if kind == "encounters" else f"{key}|ADT", [], (pv1, PV1_NUMBER))
        return
    as_of = None if adt else reading.before_every_adt()
    reading.add("encounters", key, [_encounter(reading, pv1, key)], (pv1, PV1_NUMBER), as_of)


def _encounter(reading: Reading, pv1: Segment, key: str) -> Mapping[str, Value]:
    event = reading.event if reading.family == "ADT" else ""
    start, precision = reading.moment(pv1, PV1_START)
    end, _ = reading.moment(pv1, PV1_END)
    discharge = reading.word(pv1, PV1_DISCHARGE)
    if start is KEEP and event in ADMITTING:
        start, precision = _of_event(reading)
    if end is KEEP and event == "A03":
        end, _ = _of_event(reading)
    if event == "A13":  # the discharge is cancelled
        end, discharge = (None if end is KEEP else end), (None if discharge is KEEP else discharge)
    finished = isinstance(end, float)
    status: Value = "finished" if finished else meanings.ENCOUNTER_STATUS.get(event, KEEP)
    kind = reading.word(pv1, PV1_TYPE)
    return {
        "encounter_id": key,
        "class": reading.word(pv1, PV1_CLASS, meanings.ENCOUNTER_CLASS),
        "system": meanings.v2_table("0007") if isinstance(kind, str) else kind,
        "code": kind,
        "start": start,
        "end": end,
        "discharge": discharge,
        "status": status,
        "precision": KEEP if start is KEEP else precision,
    }


def _of_event(reading: Reading) -> tuple[Value, Precision | None]:
    """When what the message tells of happened, for an admission or discharge whose time is not in PV1."""
    time, precision = reading.first_moment((reading.evn, EVN_OCCURRED, 1), (reading.evn, EVN_RECORDED, 1))
    return (KEEP, None) if time is None else (time, precision)


def read_diagnosis(reading: Reading, dg1: Segment) -> None:
    """DG1: one of the visit's diagnoses, or one that has an identifier of its own."""
    own = reading.identifier(dg1, DG1_ID)
    key = f"DG1|{own}" if own else _list_key(reading)
    time, precision = reading.first_moment((dg1, DG1_TIME, 1))
    recorded, _ = reading.first_moment((dg1, DG1_RECORDED, 1))
    role = reading.word(dg1, DG1_ROLE, meanings.DIAGNOSIS_ROLE)
    codings = _codings(reading, dg1, DG1_CODE, DG1_METHOD)
    if not codings and reading.text(dg1, DG1_CODE) != DELETE:
        reading.refuse(dg1, DG1_CODE, "no-code", "has no code; a diagnosis in words is left out")
        return
    if reading.text(dg1, DG1_ACTION) == _DELETE:
        codings = []
    rows = [
        {
            "condition_id": own or f"{key}|{code}",
            "encounter_id": reading.visit or None,
            "system": system,
            "code": code,
            "time": time,
            "recorded": recorded,
            "role": role if isinstance(role, str) else None,
            "precision": precision,
        }
        for system, code in codings
    ]
    reading.add("conditions", key, [*rows], (dg1, DG1_CODE))


def read_procedure(reading: Reading, pr1: Segment) -> None:
    """PR1: one of the visit's procedures, or one that has an identifier of its own."""
    own = reading.identifier(pr1, PR1_ID)
    key = f"PR1|{own}" if own else _list_key(reading)
    time, precision = reading.first_moment((pr1, PR1_TIME, 1))
    minutes = reading.number(pr1, PR1_MINUTES) if precision in _TIMES_OF_DAY else None
    codings = _codings(reading, pr1, PR1_CODE, PR1_METHOD)
    if not codings and reading.text(pr1, PR1_CODE) != DELETE:
        reading.refuse(pr1, PR1_CODE, "no-code", "has no code; a procedure in words is left out")
        return
    if reading.text(pr1, PR1_ACTION) == _DELETE:
        codings = []
    rows = [
        {
            "procedure_id": own or f"{key}|{code}|{time}",
            "encounter_id": reading.visit or None,
            "system": system,
            "code": code,
            "time": time,
            "end": None if minutes is None or time is None else time + minutes / 1440,
            "status": "completed",
            "precision": precision,
        }
        for system, code in codings
    ]
    reading.add("procedures", key, [*rows], (pr1, PR1_CODE))


_TIMES_OF_DAY = ("minute", "second", "millisecond")


def read_problem(reading: Reading, prb: Segment) -> None:
    """PRB: a problem of the patient's list."""
    codings = reading.codings(prb, PRB_CODE)
    own = reading.identifier(prb, PRB_ID)
    if not codings:
        reading.refuse(prb, PRB_CODE, "no-code", "has no code; a problem in words is left out")
        return
    key = f"PRB|{own}" if own else f"PRB|{reading.patient}|{codings[0][1]}"
    time, precision = reading.first_moment((prb, PRB_ONSET, 1))
    end, _ = reading.first_moment((prb, PRB_RESOLVED, 1))
    recorded, _ = reading.first_moment((prb, PRB_ACTED, 1))
    status = reading.word(prb, PRB_STATUS)
    rows: list[Mapping[str, Value]] = [
        {
            "condition_id": key,
            "encounter_id": reading.visit or None,
            "system": system,
            "code": code,
            "time": time,
            "end": end,
            "recorded": recorded,
            "role": "problem-list-item",
            "status": status if isinstance(status, str) else None,
            "precision": precision,
        }
        for system, code in codings
    ]
    deleted = reading.text(prb, PRB_ACTION) in ("DE", "D") or reading.event == "PC3"
    reading.add("conditions", key, [] if deleted else rows, (prb, PRB_CODE))


def _list_key(reading: Reading) -> str:
    """A visit's list by one kind of messages; bills do not shorten what admissions say."""
    return f"{reading.visit or reading.patient}|{reading.family}"


def _codings(reading: Reading, segment: Segment, code: int, method: int) -> list[tuple[str | None, str]]:
    """A code whose system stands within it, or as before v2.3 in the field before it."""
    return reading.codings(segment, code, default=reading.value(segment, method))

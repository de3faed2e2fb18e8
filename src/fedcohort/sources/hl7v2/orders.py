"""Orders and what came of them: ORC, OBR, OBX, TXA, and the pharmacy's RXO, RXE, RXD, RXA, RXR, TQ1.

HL7 v2.9, chapters 4 and 4A (orders, pharmacy, vaccination), 7 (observations) and 9 (documents).
"""

from collections.abc import Mapping, Sequence

from fedcohort.sources.events.change import KEEP, Value
from fedcohort.sources.hl7v2 import meanings
from fedcohort.sources.hl7v2.meanings import field
from fedcohort.sources.hl7v2.message import Segment
from fedcohort.sources.hl7v2.reading import Reading

ORC_CONTROL, ORC_STATUS = field("ORC[ServiceRequest]", "status"), 5
ORC_PLACER, ORC_FILLER = (
    field("ORC[ServiceRequest]", "identifier[1]"),
    field("ORC[ServiceRequest]", "identifier[2]"),
)
ORC_QUANTITY, ORC_ORDERED, ORC_EFFECTIVE = 7, field("ORC[ServiceRequest]", "authoredOn"), 15
OBR_PLACER, OBR_FILLER = (
    field("OBR[DiagnosticReport]", "identifier[1]"),
    field("OBR[DiagnosticReport]", "identifier[2]"),
)
OBR_CODE, OBR_REQUESTED = (
    field("OBR[DiagnosticReport]", "code"),
    field("OBR[ServiceRequest]", "occurrenceDateTime"),
)
OBR_TIME, OBR_STATUS = (
    field("OBR[DiagnosticReport]", "effectiveDateTime"),
    field("OBR[DiagnosticReport]", "status"),
)
OBX_TYPE, OBX_CODE, OBX_SUB = 2, field("OBX[Observation]", "code"), 4
OBX_VALUE, OBX_UNIT = (
    field("OBX[Observation]", "valueQuantity.value"),
    field("OBX[Observation]", "valueRatio[1].denominator"),
)
OBX_FLAG, OBX_STATUS = field("OBX[Observation]", "interpretation"), field("OBX[Observation]", "status")
OBX_TIME = field("OBX[Observation]", "effectiveDateTime")
SPM_COLLECTED = field("SPM[Specimen]", "collection.collectedDateTime")
RXA_TIME, RXA_CODE = (
    field("RXA[Immunization]", "occurrenceDateTime"),
    field("RXA[Immunization]", "vaccineCode"),
)
RXA_DOSE, RXA_UNIT = (
    field("RXA[Immunization]", "doseQuantity.value"),
    field("RXA[Immunization]", "doseQuantity"),
)
RXA_COUNTER, RXA_STATUS, RXA_ACTION = 2, field("RXA[Immunization]", "status"), 21
RXR_ROUTE = field("RXR[MedicationRequest]", "dosageInstruction.route")
TQ1_START, TQ1_END = (
    field("TQ1[MedicationRequest]", "dosageInstruction.timing.repeat.boundsPeriod.start"),
    field("TQ1[MedicationRequest]", "dosageInstruction.timing.repeat.boundsPeriod.end"),
)
RXE_QUANTITY, RXE_CODE, RXE_DOSE, RXE_UNIT = 1, 2, 3, 5
RXO_CODE, RXO_DOSE, RXO_UNIT = 1, 2, 4
RXD_COUNTER, RXD_CODE, RXD_TIME, RXD_DOSE, RXD_UNIT, RXD_NUMBER = 1, 2, 3, 4, 5, 7
TXA_TYPE, TXA_DATE = field("TXA[DocumentReference]", "type"), field("TXA[DocumentReference]", "date")
TXA_ACTIVITY, TXA_NUMBER = 4, field("TXA[DocumentReference]", "masterIdentifier")
TXA_PARENT, TXA_STATUS, TXA_AVAILABLE = 13, field("TXA[DocumentReference]", "docStatus"), 19

REPORTING, ORDERING = frozenset(("ORU", "OUL")), frozenset(("ORM", "OML", "OMG"))
NO_IDENTIFIER = frozenset(("9999",))
"""ORC-3 of a vaccination that nobody ordered (the CDC's implementation guide 2.5.1, ORC-3)."""
NOT_GIVEN = "998"
"""CVX: no vaccine administered."""
_CODED = frozenset(("CE", "CWE", "CNE", "CF", "IS", "ID"))
_COMPARATORS = frozenset(("<", "<=", ">", ">="))

Segments = Sequence[Segment]


def read_order(reading: Reading, segments: Segments, specimen: Segment | None) -> None:
    """One order: ORC with what follows it.

    Args:
        specimen: SPM, where it stands before its orders.
    """
    if reading.patient is None:
        return
    first = {segment[0]: segment for segment in reversed(segments)}
    obr, orc = first.get("OBR"), first.get("ORC", ["ORC"])
    order = _order_key(reading, orc, obr)
    if obr is not None and reading.family in REPORTING:
        _add_report(reading, obr, order)
    elif obr is not None and reading.family in ORDERING:
        _add_order(reading, orc, obr, order)
    if "RXA" in first:
        _add_administration(reading, first, order)
    elif "RXD" in first:
        _add_dispense(reading, first, order)
    elif "RXE" in first or "RXO" in first:
        _add_request(reading, first, order)
    specimen = specimen or first.get("SPM")
    read_observations(reading, [one for one in segments if one[0] == "OBX"], order, obr, specimen)


def _order_key(reading: Reading, orc: Segment, obr: Segment | None) -> str:
    """The filler's number, else the placer's, else what tells orders of a patient apart; empty for none."""
    tests = [] if obr is None else [(obr, OBR_FILLER)]
    tests += [(orc, ORC_FILLER)]
    tests += [] if obr is None else [(obr, OBR_PLACER)]
    for segment, number in (*tests, (orc, ORC_PLACER)):
        found = reading.identifier(segment, number)
        if found and found not in NO_IDENTIFIER:
            return found
    if obr is None:
        return ""
    return f"{reading.patient}|{reading.value(obr, OBR_CODE)}|{reading.value(obr, OBR_TIME)}"


def _add_report(reading: Reading, obr: Segment, order: str) -> None:
    codings = reading.codings(obr, OBR_CODE)
    if not codings:
        return
    time, precision = reading.first_moment((obr, OBR_TIME, 1))
    status = reading.word(obr, OBR_STATUS, meanings.REPORT_STATUS)
    key = f"{order}|{codings[0][1]}"
    base: Mapping[str, Value] = {
        "report_id": key,
        "order_id": order,
        "encounter_id": reading.visit or None,
        "time": time,
        "status": status if isinstance(status, str) else None,
        "precision": precision,
    }
    reading.add("reports", key, _coded(base, codings), (obr, OBR_CODE))


def _add_order(reading: Reading, orc: Segment, obr: Segment, order: str) -> None:
    codings = reading.codings(obr, OBR_CODE)
    if not codings:
        reading.refuse(obr, OBR_CODE, "no-code", "has no code; an order in words is left out")
        return
    time, precision = reading.first_moment((orc, ORC_ORDERED, 1), (obr, OBR_REQUESTED, 1), (obr, OBR_TIME, 1))
    key = f"{order}|{codings[0][1]}"
    base: Mapping[str, Value] = {
        "order_id": order,
        "encounter_id": reading.visit or None,
        "time": time,
        "status": _order_status(reading, orc),
        "precision": precision,
    }
    reading.add("orders", key, _coded(base, codings), (obr, OBR_CODE))


def _order_status(reading: Reading, orc: Segment) -> str | None:
    """By ORC-5, else by ORC-1; None where neither says so."""
    status = reading.value(orc, ORC_STATUS)
    if status:
        return meanings.ORDER_STATUS.get(status)
    return meanings.ORDER_CONTROL.get(reading.value(orc, ORC_CONTROL))


def _add_request(reading: Reading, first: Mapping[str, Segment], order: str) -> None:
    """RXE, or RXO where the pharmacy has not encoded the order."""
    rxe, rxo, orc = first.get("RXE"), first.get("RXO", ["RXO"]), first.get("ORC", ["ORC"])
    tq1 = first.get("TQ1", ["TQ1"])
    if rxe is not None:
        segment, code, dose, unit = rxe, RXE_CODE, RXE_DOSE, RXE_UNIT
    else:
        segment, code, dose, unit = rxo, RXO_CODE, RXO_DOSE, RXO_UNIT
    old = (segment, RXE_QUANTITY) if rxe is not None else (orc, ORC_QUANTITY)
    time, precision = reading.first_moment(
        (tq1, TQ1_START, 1), (*old, 4), (orc, ORC_EFFECTIVE, 1), (orc, ORC_ORDERED, 1)
    )
    end, _ = reading.first_moment((tq1, TQ1_END, 1), (*old, 5))
    fields: dict[str, Value] = {"time": time, "end": end, "precision": precision, "kind": "request"}
    fields["status"] = _order_status(reading, orc)
    _add_medication(reading, first, order, (segment, code, dose, unit), fields)


def _add_dispense(reading: Reading, first: Mapping[str, Segment], order: str) -> None:
    rxd = first["RXD"]
    time, precision = reading.first_moment((rxd, RXD_TIME, 1))
    own = f"{reading.value(rxd, RXD_NUMBER)}|{reading.value(rxd, RXD_COUNTER)}|{reading.value(rxd, RXD_TIME)}"
    fields: dict[str, Value] = {
        "time": time,
        "precision": precision,
        "kind": "dispense",
        "status": "completed",
    }
    places = (rxd, RXD_CODE, RXD_DOSE, RXD_UNIT)
    _add_medication(reading, first, f"{order or reading.patient}|{own}", places, fields)


def _add_administration(reading: Reading, first: Mapping[str, Segment], order: str) -> None:
    """RXA: of a vaccine in VXU, of any medication elsewhere."""
    rxa = first["RXA"]
    time, precision = reading.first_moment((rxa, RXA_TIME, 1))
    said = reading.value(rxa, RXA_STATUS)
    fields: dict[str, Value] = {
        "time": time,
        "precision": precision,
        "status": meanings.COMPLETION.get(said) if said else "completed",
    }
    code, at = reading.value(rxa, RXA_CODE), reading.value(rxa, RXA_TIME)
    places = (rxa, RXA_CODE, RXA_DOSE, RXA_UNIT)
    if reading.family != "VXU":
        fields["kind"] = "administration"
        own = f"{order or reading.patient}|{reading.value(rxa, RXA_COUNTER)}|{at}"
        _add_medication(reading, first, own, places, fields)
        return
    key = order or f"{reading.patient}|{code}|{at}"
    if reading.value(rxa, RXA_ACTION) == "D" or code == NOT_GIVEN:
        reading.add("immunizations", key, [], (rxa, RXA_CODE))
        return
    _add_medication(reading, first, key, places, fields, "immunizations")


def _add_medication(
    reading: Reading,
    first: Mapping[str, Segment],
    key: str,
    places: tuple[Segment, int, int, int],
    fields: Mapping[str, Value],
    table: str = "medications",
) -> None:
    """A row of `medications` or `immunizations` for each coding, with its dose and route."""
    segment, code, dose, unit = places
    codings = reading.codings(segment, code)
    if not codings:
        reading.refuse(segment, code, "no-code", "has no code; a medication in words is left out")
        return
    key = key or f"{reading.patient}|{codings[0][1]}|{fields['time']}"
    route = [code for _, code in reading.codings(first.get("RXR", ["RXR"]), RXR_ROUTE)]
    amount = None if table == "immunizations" and reading.value(segment, dose) == "999" else dose
    base: dict[str, Value] = {
        **fields,
        ("immunization_id" if table == "immunizations" else "medication_id"): key,
        "encounter_id": reading.visit or None,
        "dose": None if amount is None else reading.number(segment, amount),
        "dose_unit": reading.value(segment, unit) or None,
        "route": route[0] if route else None,
    }
    reading.add(table, key, _coded(base, codings), (segment, code))


def read_document(reading: Reading, txa: Segment) -> str:
    """TXA: a document, of which nothing but its kind and time is kept.

    Returns:
        what its observations belong to.
    """
    key = reading.identifier(txa, TXA_NUMBER)
    if not key or reading.patient is None:
        if reading.patient is not None:
            reading.refuse(
                txa, TXA_NUMBER, "no-key", "is empty; without a number a document cannot be told apart"
            )
        return ""
    parent = reading.identifier(txa, TXA_PARENT)
    if parent and parent != key and reading.event in ("T09", "T10"):  # it replaces the other
        reading.add("reports", parent, [], (txa, TXA_PARENT))
    time, precision = reading.first_moment((txa, TXA_DATE, 1), (txa, TXA_ACTIVITY, 1))
    status = reading.word(txa, TXA_STATUS, meanings.DOCUMENT_STATUS)
    codings = reading.codings(txa, TXA_TYPE, default="HL70270")
    base: Mapping[str, Value] = {
        "report_id": key,
        "encounter_id": reading.visit or None,
        "time": time,
        "status": status if isinstance(status, str) else None,
        "precision": precision,
    }
    gone = reading.event == "T11" or reading.value(txa, TXA_AVAILABLE) == "CA"
    reading.add("reports", key, [] if gone else _coded(base, codings), (txa, TXA_NUMBER))
    return key


def read_observations(
    reading: Reading, segments: Segments, order: str, obr: Segment | None, specimen: Segment | None
) -> None:
    """OBX segments below one order, or below none."""
    later: list[tuple[Segment, int, int]] = [] if obr is None else [(obr, OBR_TIME, 1)]
    later += [] if specimen is None else [(specimen, SPM_COLLECTED, 1)]
    of_order = reading.first_moment(*later) if segments else (None, None)
    for obx in segments:
        codings = reading.codings(obx, OBX_CODE)
        if not codings:
            reading.refuse(obx, OBX_CODE, "no-code", "has no code; an observation in words is left out")
            continue
        time, precision = reading.first_moment((obx, OBX_TIME, 1))
        # What a correction or deletion replaces has the same order, code and sub-identifier (7.4.2.4).
        owner = order or f"{reading.visit or reading.patient}|{reading.family}|{reading.value(obx, OBX_TIME)}"
        key = f"{owner}|{codings[0][1]}|{reading.value(obx, OBX_SUB)}"
        status = reading.value(obx, OBX_STATUS)
        if status in meanings.NO_OBSERVATION:
            reading.add("observations", key, [], (obx, OBX_CODE))
            continue
        base: Mapping[str, Value] = {
            "order_id": order or None,
            "encounter_id": reading.visit or None,
            "time": of_order[0] if time is None else time,
            "interpretation": _flag(reading, obx),
            "status": meanings.OBSERVATION_STATUS.get(status),
            "precision": of_order[1] if time is None else precision,
        }
        rows: list[Mapping[str, Value]] = [
            {
                **base,
                **value,
                "observation_id": key if index == 0 else f"{key}|{index}",
                "system": system,
                "code": code,
            }
            for index, value in enumerate(_values(reading, obx, status))
            for system, code in codings
        ]
        reading.add("observations", key, rows, (obx, OBX_CODE))


def _flag(reading: Reading, obx: Segment) -> str | None:
    flag = reading.word(obx, OBX_FLAG)
    return flag if isinstance(flag, str) else None


def _values(reading: Reading, obx: Segment, status: str) -> list[Mapping[str, Value]]:
    """OBX-5 by OBX-2 of the same segment: what tables hold of each of its repetitions, at least one."""
    count = reading.message.repetitions(obx, OBX_VALUE)
    if not count:
        if status == "U":  # final from now on, and not sent again
            return [dict.fromkeys(("value", "unit", "comparator", "value_system", "value_code"), KEEP)]
        return [{}]
    return [_value(reading, obx, repetition) for repetition in range(count)]


def _value(reading: Reading, obx: Segment, repetition: int) -> Mapping[str, Value]:
    kind = reading.value(obx, OBX_TYPE)
    if kind == "NM":
        number = reading.number(obx, OBX_VALUE, repetition=repetition)
        return {"value": number, "unit": _unit(reading, obx)}
    if kind == "SN":
        return _structured(reading, obx, repetition)
    if kind in _CODED:
        codings = reading.codings(obx, OBX_VALUE, repetition)
        if codings:
            return {"value_system": codings[0][0], "value_code": codings[0][1]}
    return {}


def _structured(reading: Reading, obx: Segment, repetition: int) -> Mapping[str, Value]:
    """SN (2.A.70): a number with a comparator; a range, a ratio or a category has no one number."""
    comparator, separator = (reading.text(obx, OBX_VALUE, part, repetition) for part in (1, 3))
    if separator or comparator not in (*_COMPARATORS, "", "="):
        return {}
    number = reading.number(obx, OBX_VALUE, 2, repetition)
    told = comparator if comparator in _COMPARATORS and number is not None else None
    return {"value": number, "comparator": told, "unit": _unit(reading, obx)}


def _unit(reading: Reading, obx: Segment) -> str | None:
    """OBX-6: the unit's code, else its text."""
    return reading.value(obx, OBX_UNIT) or reading.value(obx, OBX_UNIT, 2) or None


def _coded(base: Mapping[str, Value], codings: list[tuple[str | None, str]]) -> list[Mapping[str, Value]]:
    """A row for each coding of the same event."""
    return [{**base, "system": system, "code": code} for system, code in codings]

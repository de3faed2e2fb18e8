"""From one message to changes of the event tables: pure, bytes in and changes out."""

from collections.abc import Iterator, Sequence

from fedcohort.errors import Hl7Error
from fedcohort.sources.events.change import Change, Record, Refusal
from fedcohort.sources.hl7v2.message import Message, Segment
from fedcohort.sources.hl7v2.orders import read_document, read_observations, read_order
from fedcohort.sources.hl7v2.patients import (
    UNFOLLOWED,
    read_diagnosis,
    read_merge,
    read_patient,
    read_problem,
    read_procedure,
    read_visit,
)
from fedcohort.sources.hl7v2.reading import Hl7Options, Reading

VISITS_ONLY = frozenset(("SIU", "DFT", "BAR"))
"""Of appointments, charges and bills: patients, visits, diagnoses and procedures."""
FAMILIES = frozenset(
    ("ADT", "ORU", "OUL", "ORM", "OML", "OMG", "VXU", "RDE", "RDS", "RAS", "PPR", "MDM", *VISITS_ONLY)
)
"""MSH-9.1 of what is read."""
_DIAGNOSES = frozenset(("ADT", *VISITS_ONLY))
"""Elsewhere DG1 says why something was ordered, which is no diagnosis of the visit."""
_HEADS = frozenset(("OBR", "RXO", "RXE", "RXD", "RXA"))
_OF_ORDERS = frozenset((*_HEADS, "ORC", "OBX", "RXR", "TQ1", "SPM"))
_NOT_REAL = {"T": "training", "D": "debugging"}


def check_header(message: Message) -> None:
    """Refuse what no event comes of: another type of message, and one that is no real patient's.

    Raises:
        Hl7Error: MSH-9 or MSH-11 says so.
    """
    head = message.segments[0]
    family = message.get(head, 9).strip()
    if family not in FAMILIES:
        accepted = ", ".join(sorted(FAMILIES))
        raise Hl7Error("MSH-9", "type", f"messages of this type are not read; those of {accepted} are")
    processing = message.get(head, 11).strip()
    if processing in _NOT_REAL:
        why = f"it is marked as sent for {_NOT_REAL[processing]}; nothing of it belongs among patients"
        raise Hl7Error("MSH-11", "not-production", why)


def read_message(data: bytes, options: Hl7Options) -> tuple[Change, ...]:
    """What a message changes, and what of it was left out.

    Args:
        data: from MSH on.
    """
    try:
        message = Message(data, options.charset)
        check_header(message)
        reading = Reading(message, options)
        _read_all(reading)
    except Hl7Error as error:
        return (Refusal(error.field, error.fault, error.reason),)
    return reading.changes()


def record_of(place: str, data: bytes, options: Hl7Options) -> Record:
    """A message as the import takes it."""
    return Record(place, read_message(data, options))


def _read_all(reading: Reading) -> None:
    head = reading.message.segments[0]
    if reading.family == "ADT" and reading.event in UNFOLLOWED:
        reading.refuse(
            head,
            9,
            "not-followed",
            f"{reading.event} links patients, or moves or renames visits or accounts, which is not followed: "
            "import their messages anew",
        )
    specimen: Segment | None = None
    document, named = "", False
    for part in _parts(reading.message.segments[1:], reading.family):
        name = part[0][0]
        if name in _OF_ORDERS:
            if reading.family in VISITS_ONLY:
                continue
            if name == "SPM":
                specimen, part = part[0], part[1:]  # noqa: PLW2901
            if {segment[0] for segment in part} & {"ORC", *_HEADS}:
                read_order(reading, part, specimen)
            elif reading.patient is not None:
                loose = [segment for segment in part if segment[0] == "OBX"]
                read_observations(reading, loose, document, None, specimen)
        elif name == "PID":
            read_patient(reading, part[0])
            specimen, document, named = None, "", True
        elif name == "TXA":
            document = read_document(reading, part[0])
        else:
            _read_one(reading, part[0])
    if not named:
        reading.refuse(head, 9, "no-patient", "the message has no PID segment, and names no patient")


def _read_one(reading: Reading, segment: Segment) -> None:
    name = segment[0]
    if name == "PV1":
        read_visit(reading, segment)
    elif name == "MRG":
        read_merge(reading, segment)
    elif reading.patient is None:
        return
    elif name == "DG1" and reading.family in _DIAGNOSES:
        read_diagnosis(reading, segment)
    elif name == "PR1" and reading.family in _DIAGNOSES:
        read_procedure(reading, segment)
    elif name == "PRB":
        read_problem(reading, segment)


def _parts(segments: Sequence[Segment], family: str) -> Iterator[list[Segment]]:
    """Segments that are read together: an order with what follows it, and every other one alone.

    An order begins with ORC, which may be left out; in OUL, whose specimens hold orders, ORC follows OBR
    (7.3.8).
    """
    order: list[Segment] = []
    names: set[str] = set()
    for segment in segments:
        name = segment[0]
        if name not in _OF_ORDERS:
            if name in _INSIDE:
                continue
            if order:
                yield order
                order, names = [], set()
            yield [segment]
            continue
        if order and _begins(name, names, family):
            yield order
            order, names = [], set()
        order.append(segment)
        names.add(name)
    if order:
        yield order


_INSIDE = frozenset(
    (
        "NTE",
        "PRT",
        "CTD",
        "FT1",
        "CTI",
        "SAC",
        "INV",
        "RXC",
        "BLG",
        "TQ2",
        "CDO",
        "SFT",
        "RXV",
        "IPC",
        "PDC",
        "FAC",
    )
)
"""Segments within orders, of which nothing is read."""


def _begins(name: str, names: set[str], family: str) -> bool:
    """Whether a segment begins another order than that of the names before it."""
    if family == "OUL":
        return name == "SPM" or (name == "OBR" and bool(names & {"OBR", "SPM", "OBX"}))
    return name == "ORC" or (name in _HEADS and name in names) or (name in _HEADS and names == {"OBX"})

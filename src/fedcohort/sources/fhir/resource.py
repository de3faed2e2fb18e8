"""A FHIR resource as changes of event tables: pure, a resource in, changes out.

What a resource owns is replaced together, under its type and id: an update, a correction and a retraction
(`entered-in-error`) are the same thing. Only what a view's columns name comes out; narrative, names,
addresses and identifiers never do.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedcohort.errors import DataError, ValueRangeError
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.events.change import Change, Group, Merge, Refusal, Row, Value, refused
from fedcohort.sources.events.tables import EventKind, Role
from fedcohort.sources.events.times import UTC, Precision, iso_day, iso_time
from fedcohort.sources.fhir.path.functions import reference_keys
from fedcohort.sources.fhir.view import View
from fedcohort.sources.fhir.views import KindViews, Views

Resource = dict[str, Any]
PATIENT = "Patient"
PRECISION = "precision"
_WITHOUT_CODE = ("patients", "encounters")
"""What is an event without a code."""


@dataclass(frozen=True)
class Reading:
    """How resources are read.

    Attributes:
        views: by type of resource.
        zone: of times that are written without one, and of dates: the hospital's.
        medications: codings of Medication resources, by id.
        aliases: a bundle's own ids (`urn:uuid:`) of resources that have another id.
        written: when the bundle was, for resources that do not say so themselves.
    """

    views: Views
    zone: datetime.tzinfo = UTC
    medications: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    written: float | None = None


def changes_of(resource: Resource, reading: Reading) -> tuple[Change, ...]:
    """What a resource says; nothing where no view reads its type."""
    kind = resource.get("resourceType")
    views = reading.views.get(kind) if isinstance(kind, str) else None
    if views is None:
        return ()
    identifier = resource.get("id")
    if not isinstance(identifier, str) or not identifier:
        return (Refusal("id", "no-id", "a resource without an id; export it from the server that keeps it"),)
    key, as_of = f"{kind}/{identifier}", written_at(resource.get("meta"), reading.written)
    try:
        merges = tuple(_merges(resource, identifier, as_of, reading)) if kind == PATIENT else ()
        resolved = with_medication(resource, reading)
        groups = [change for one in views for change in _group(one, resolved, key, as_of, reading)]
    except ValueRangeError as fault:
        return (refused(str(kind), fault),)
    return (*groups, *merges)


def deletion_of(url: object, as_of: float | None, views: Views) -> tuple[Change, ...]:
    """What a deleted resource owned, by its type and id (`Observation/12`), goes."""
    parts = url.partition("?")[0].rstrip("/").split("/") if isinstance(url, str) else []
    if len(parts) < 2 or not parts[-1] or "?" in str(url):
        return (Refusal("request.url", "no-id", "a deletion that names no resource; delete it by TYPE/ID"),)
    try:
        return tuple(
            Group(one.kind.name, f"{parts[-2]}/{parts[-1]}", as_of, None) for one in views.get(parts[-2], ())
        )
    except ValueRangeError as fault:
        return (refused("request.url", fault),)


def written_at(meta: object, otherwise: float | None) -> float | None:
    """When a resource was written, by its meta.lastUpdated."""
    text = meta.get("lastUpdated") if isinstance(meta, dict) else None
    time = iso_time(text) if isinstance(text, str) else None
    return time[0] if time else otherwise


def with_medication(resource: Resource, reading: Reading) -> Resource:
    """The resource with the codes of the Medication that it refers to, contained or beside it."""
    reference = resource.get("medicationReference")
    if not isinstance(reference, dict) or "medicationCodeableConcept" in resource:
        return resource
    text = reference.get("reference")
    concept: object = None
    if isinstance(text, str) and text.startswith("#"):
        contained = resource.get("contained")
        named = [
            one
            for one in (contained if isinstance(contained, list) else [])
            if isinstance(one, dict) and one.get("id") == text[1:]
        ]
        concept = named[0].get("code") if named else None
    else:
        for key in reference_keys(reference, "Medication"):
            concept = reading.medications.get(reading.aliases.get(key, key))
    return {**resource, "medicationCodeableConcept": concept} if isinstance(concept, dict) else resource


def _merges(
    resource: Resource, identifier: str, as_of: float | None, reading: Reading
) -> Iterator[Merge | Refusal]:
    """Patient.link: of two records of one person one replaces the other."""
    links = resource.get("link")
    for link in links if isinstance(links, list) else []:
        way = link.get("type") if isinstance(link, dict) else None
        if way not in ("replaced-by", "replaces"):
            continue
        others = [reading.aliases.get(key, key) for key in reference_keys(link.get("other"), PATIENT)]
        if not others:
            sentence = "a link to a patient without a reference; correct it in the source"
            yield Refusal("link", "no-patient", sentence)
        elif others[0] != identifier:
            pair = (identifier, others[0]) if way == "replaced-by" else (others[0], identifier)
            yield Merge(*pair, as_of)


def _group(
    views: KindViews, resource: Resource, key: str, as_of: float | None, reading: Reading
) -> Iterator[Change]:
    """The rows that all views of one kind make of a resource, and why some are left out."""
    patient: str | None = None
    rows: list[Row] = []
    refusals: dict[str, Refusal] = {}
    for view in views.views:
        try:
            made = view.rows(resource)
        except DataError as error:
            refusals["view"] = Refusal(view.name, "view", f"the view does not fit it: {error}"[:1000])
            continue
        for values in made:
            row, owner = _row(views.kind, view, values, reading)
            refusal = _lacking(views.kind, row, owner)
            if refusal is not None:
                refusals[refusal.code] = refusal
                continue
            patient = owner
            if row not in rows:
                rows.append(row)
    yield from refusals.values()
    yield Group(views.kind.name, key, as_of, patient, tuple(rows))


def _row(
    kind: EventKind, view: View, values: tuple[Any, ...], reading: Reading
) -> tuple[dict[str, Value], str | None]:
    """A view's row as one of the event table, and whose it is.

    Raises:
        ValueRangeError: a value cannot be of its column.
    """
    row: dict[str, Value] = {}
    patient: str | None = None
    for name, value in zip(view.columns, values, strict=True):
        if value is None:
            continue
        if name == PATIENT_ID:
            patient = _id(name, value, reading)
        elif (role := kind.columns[name]) == "time":
            days, precision = _time(name, value, reading)
            row[name] = days
            if name == kind.time and PRECISION in kind.columns:
                row[PRECISION] = precision
        else:
            row[name] = _VALUES[role](name, value, reading)
    return row, patient


def _lacking(kind: EventKind, row: Row, patient: str | None) -> Refusal | None:
    """Why a row is of no use."""
    if patient is None:
        return Refusal("subject", "no-patient", "refers to no Patient; export the patient's own resources")
    if kind.time is not None and row.get(kind.time) is None:
        return Refusal(kind.time, "no-time", "says not when it happened; add its time in the source")
    if kind.name not in _WITHOUT_CODE and row.get("code") is None:
        sentence = "has no code; code it in the source, or import the Medication that it names with it"
        return Refusal("code", "no-code", sentence)
    return None


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueRangeError(f"{name} is no text")
    return value


def _time(name: str, value: object, reading: Reading) -> tuple[float, Precision]:
    time = iso_time(_text(name, value), reading.zone)
    if time is None:
        raise ValueRangeError(f"{name} is no date or time between 1800 and 2200")
    return time


def _day(name: str, value: object, _: Reading) -> Value:
    day = iso_day(_text(name, value))
    if day is None:
        raise ValueRangeError(f"{name} is no date between 1800 and 2200")
    return day[0]


def _number(name: str, value: object, _: Reading) -> Value:
    if not isinstance(value, int | float):
        raise ValueRangeError(f"{name} is no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueRangeError(f"{name} is no finite number") from None


def _id(name: str, value: object, reading: Reading) -> str:
    key = _text(name, value)
    return reading.aliases.get(key, key)


def _word(name: str, value: object, _: Reading) -> Value:
    return _text(name, value)


_VALUES: Mapping[Role, Callable[[str, object, Reading], Value]] = {
    "day": _day,
    "number": _number,
    "id": _id,
    "system": _word,
    "code": _word,
    "word": _word,
    "unit": _word,
}

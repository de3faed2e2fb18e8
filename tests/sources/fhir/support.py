"""FHIR files of tests, and what a reader makes of them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from fedcohort.sources.events.change import Change, Group, Merge, Record, Refusal
from fedcohort.sources.fhir.files import FhirOptions, medications_of, records_of
from fedcohort.sources.fhir.resource import Reading, changes_of
from fedcohort.sources.fhir.views import read_views

LOINC = "http://loinc.org"


def observation(key: str = "o1", **more: Any) -> dict[str, Any]:
    """A glucose of 5.5 mmol/L of patient p1; None leaves an element out."""
    made: dict[str, Any] = {
        "resourceType": "Observation",
        "id": key,
        "status": "final",
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2020-03-01T08:00:00Z",
        "code": {"coding": [{"system": LOINC, "code": "2345-7"}]},
        "valueQuantity": {"value": 5.5, "unit": "millimol per litre", "code": "mmol/L"},
        **more,
    }
    return {name: value for name, value in made.items() if value is not None}


def bundle(*resources: Any, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Bundle",
        "type": "collection",
        "entry": [{"resource": one} for one in resources],
        **more,
    }


def changes(resource: dict[str, Any], **more: Any) -> tuple[Change, ...]:
    return changes_of(resource, Reading(read_views(), **more))


def only_row(resource: dict[str, Any]) -> dict[str, Any]:
    """The one row of the one group, of a resource of which nothing is refused."""
    [group] = changes(resource)
    assert isinstance(group, Group)
    [row] = group.rows
    return dict(row)


def refusals(resource: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one.place, one.code) for one in changes(resource) if isinstance(one, Refusal)]


def read(path: Path, skip: int = 0) -> list[Record]:
    options = FhirOptions(read_views(), medications=medications_of([path]))
    return list(records_of(path, options, skip))


def written(folder: Path, name: str, *lines: Any) -> Path:
    """NDJSON."""
    path = folder / name
    path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return path


def counted(records: list[Record]) -> Counter[str]:
    """Rows by kind, merges, and refusals by code."""
    found: Counter[str] = Counter()
    for record in records:
        for change in record.changes:
            if isinstance(change, Group):
                found[change.kind] += len(change.rows)
            else:
                found["merge" if isinstance(change, Merge) else change.code] += 1
    return found

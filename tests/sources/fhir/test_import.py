"""FHIR into a site's database: identifiers nowhere, updates and deletions, and what is read anew."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from fedcohort.errors import ConfigError
from fedcohort.sources.deidentify.rule_set import RuleSet
from fedcohort.sources.deidentify.rules import Rules
from fedcohort.sources.events.pipeline import import_events
from fedcohort.sources.fhir.files import FhirOptions
from fedcohort.sources.fhir.source import context_of, fhir_feed
from fedcohort.sources.fhir.views import read_views
from fedcohort.sources.importer.report import Imported

from .support import bundle, observation, written

MARK = "Zebedee"


def imported(folder: Path, database: Path) -> Imported:
    feed = fhir_feed(folder, FhirOptions(read_views()), "fhir").feed
    return import_events(feed, database, RuleSet(Rules(), b"k" * 32), context=context_of([], "UTC"))


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(database) as connection:
        found = connection.execute(query).fetchall()
    connection.close()
    return found


def marked(resource: dict[str, Any]) -> dict[str, Any]:
    """The resource with the mark wherever R4 lets a text, a name or an identifier stand."""
    said = [{"text": MARK, "family": MARK, "given": [MARK], "value": MARK, "display": MARK}]
    free = (
        "text",
        "identifier",
        "name",
        "telecom",
        "address",
        "contact",
        "note",
        "performer",
        "extension",
        "comment",
    )
    return {**dict.fromkeys(free, said), **resource, "id": f"{MARK}-{resource['id']}", "conclusion": MARK}


def everybody_marked() -> dict[str, Any]:
    subject = {"reference": f"Patient/{MARK}-p", "display": MARK}
    concept = {"coding": [{"system": "urn:s", "code": "c1", "display": MARK}], "text": MARK}
    common = {
        "subject": subject,
        "patient": subject,
        "code": concept,
        "status": "final",
        "recordedDate": "2020-01-01",
    }
    times = {
        "effectiveDateTime": "2020-01-01",
        "authoredOn": "2020-01-01",
        "occurrenceDateTime": "2020-01-01",
    }
    links = {
        "encounter": {"reference": f"Encounter/{MARK}-e"},
        "basedOn": [{"reference": f"ServiceRequest/{MARK}-s"}],
        "performedDateTime": "2020-01-01",
        "period": {"start": "2020-01-01"},
        "vaccineCode": concept,
        "medicationCodeableConcept": concept,
        "valueString": MARK,
        "link": [{"other": {"reference": f"Patient/{MARK}-old"}, "type": "replaces"}],
    }
    types = [*read_views(), "Claim"]
    made = [
        marked(
            {"resourceType": kind, "id": "p" if kind == "Patient" else kind[:1], **common, **times, **links}
        )
        for kind in types
    ]
    unreadable = observation(f"{MARK}-x", subject={"reference": f"Group/{MARK}"}, effectiveDateTime=MARK)
    return bundle(
        *made, unreadable, {"resourceType": "Observation", "id": MARK, "status": MARK, "code": concept}
    )


def test_a_marked_patient_is_nowhere_in_clear(tmp_path: Path) -> None:
    folder, database = tmp_path / MARK, tmp_path / "h.db"
    folder.mkdir()
    written(folder, f"{MARK}.ndjson", everybody_marked())
    report = imported(folder, database)
    kinds = {name for (name,) in rows(database, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    filled = {kind for kind in report.written if rows(database, f'SELECT count(*) FROM "{kind}"')[0][0]}
    assert filled == {one.kind.name for kinds_of in read_views().values() for one in kinds_of} <= kinds
    assert report.merged == 1
    content = b"".join(path.read_bytes() for path in tmp_path.glob("h.db*"))
    assert MARK.encode() not in content
    assert MARK not in f"{report} {report.refusals}"


def test_an_update_replaces_an_older_one_does_not_and_a_retraction_deletes(tmp_path: Path) -> None:
    database = tmp_path / "h.db"

    def said(name: str, day: int, **more: Any) -> list[tuple[Any, ...]]:
        folder = tmp_path / name
        folder.mkdir()
        meta = {"lastUpdated": f"2020-04-{day:02}T00:00:00Z"}
        written(folder, "o.ndjson", observation(meta=meta, **more))
        imported(folder, database)
        return rows(database, "SELECT value FROM observations")

    assert said("a", 2, valueQuantity={"value": 1}) == [(1.0,)]
    assert said("b", 3, valueQuantity={"value": 2}) == [(2.0,)]
    assert said("late", 1, valueQuantity={"value": 3}) == [(2.0,)]
    assert said("c", 4, status="entered-in-error") == []
    assert said("later still", 3, valueQuantity={"value": 4}) == []


def test_duplicates_across_pages_are_one_event(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for page in ("1.json", "2.json"):
        (folder / page).write_text(json.dumps(bundle(observation("a"), observation(page))), "utf-8")
    imported(folder, tmp_path / "h.db")
    assert rows(tmp_path / "h.db", "SELECT count(*), count(DISTINCT observation_id) FROM observations") == [
        (3, 3)
    ]


def test_a_file_is_read_once_and_anew_when_its_medications_come(tmp_path: Path) -> None:
    folder, database = tmp_path / "in", tmp_path / "h.db"
    folder.mkdir()
    request = {
        "resourceType": "MedicationRequest",
        "id": "m1",
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2020-01-01",
        "medicationReference": {"reference": "Medication/a"},
    }
    written(folder, "requests.ndjson", request)
    assert imported(folder, database).refused.total() == 1
    assert imported(folder, database).unchanged == 1
    code = {"coding": [{"system": "urn:s", "code": "c1"}]}
    written(folder, "medications.ndjson", {"resourceType": "Medication", "id": "a", "code": code})
    assert imported(folder, database).written == {"medications": 1}


def test_a_file_that_is_cut_off_is_imported_up_to_there_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    import gzip

    packed = gzip.compress(b"".join(json.dumps(observation(str(n))).encode() + b"\n" for n in range(2000)))
    (folder / "o.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    made = fhir_feed(folder, FhirOptions(read_views()), "fhir")
    report = import_events(made.feed, tmp_path / "h.db", RuleSet(Rules(), b"k" * 32))
    assert 0 < report.written["observations"] < 2000
    assert report.refused.total() == 1
    assert "broken or cut off" in report.refusals[-1].reason
    assert made.broken == {folder / "o.ndjson.gz"}


def test_a_folder_without_files_of_fhir_is_told(tmp_path: Path) -> None:
    (tmp_path / ".hidden.json").write_text("{}")
    (tmp_path / "a.tar.gz").write_text("")
    with pytest.raises(ConfigError, match=r"no file ending in \.json"):
        fhir_feed(tmp_path, FhirOptions(read_views()), "fhir")
    (tmp_path / "link.json").symlink_to(tmp_path / ".hidden.json")
    with pytest.raises(ConfigError, match="unpack archives"):
        fhir_feed(tmp_path, FhirOptions(read_views()), "fhir")

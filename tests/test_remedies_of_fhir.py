# mypy: disable-error-code="func-returns-value"
"""What an import of FHIR says of a view or a file, obeyed: the same resource is read then."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedcohort.errors import DataError
from fedcohort.sources.events.change import Refusal
from fedcohort.sources.fhir import files
from fedcohort.sources.fhir.files import FhirOptions
from fedcohort.sources.fhir.path import values
from fedcohort.sources.fhir.source import fhir_feed
from fedcohort.sources.fhir.view import MAX_DEPTH, MAX_NESTED, compile_view
from fedcohort.sources.fhir.views import MAX_BYTES, read_views
from tests.sources.fhir.support import bundle, observation, written

from .remedies_obeyed_data import open_folder, unprivileged
from .remedy_rows import Row, obey, refusal

PATIENT: dict[str, Any] = {
    "resourceType": "Patient",
    "id": "p1",
    "gender": "female",
    "multipleBirthInteger": 2,
    "name": [{"family": "Ng"}, {"family": "Ong"}],
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def flat(path: str, resource: dict[str, Any] | None = None, **more: Any) -> None:
    """Read one column."""
    view = {"resource": "Patient", "select": [{"column": [{"name": "a", "path": path}]}], **more}
    compile_view(view).rows(PATIENT if resource is None else resource)


def selected(*selects: Any, resource: str = "Patient") -> None:
    compile_view({"resource": resource, "select": list(selects)}).rows(PATIENT)


def column(name: str = "a", path: str = "id") -> dict[str, Any]:
    return {"column": [{"name": name, "path": path}]}


def nested(depth: int) -> dict[str, Any]:
    part = column()
    for _ in range(depth):
        part = {"select": [part]}
    return part


def deep(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = {"resourceType": "Patient"}
    inner = made
    for _ in range(depth):
        inner["item"] = [{"id": "i"}]
        inner = inner["item"][0]
    return made


def repeated(depth: int) -> None:
    compile_view({"resource": "Patient", "select": [{"repeat": ["item"], **column()}]}).rows(deep(depth))


VIEWS = [
    Row(
        "an operator's side has more than one item; write first()",
        lambda: flat("name.family + 'x'"),
        lambda: flat("name.family.first() + 'x'"),
    ),
    Row(
        "an index is a whole number; correct the view's path",
        lambda: flat("name[gender].family"),
        lambda: flat("name[0].family"),
    ),
    Row(
        "& is of texts; write toString() behind a number",
        lambda: flat("gender & multipleBirth.ofType(integer)"),
        lambda: flat("gender & multipleBirth.ofType(integer).toString()"),
    ),
    Row("{} is of numbers; correct the view's path", lambda: flat("gender * 2"), lambda: flat("2 * 2")),
    Row(
        "a text is asked of what is none; name one of its elements",
        lambda: flat("name.join()"),
        lambda: flat("name.family.join()"),
    ),
    Row(
        "%{}: not defined; name it in the view's constants",
        lambda: flat("gender = %sex"),
        lambda: flat("gender = %sex", constant=[{"name": "sex", "valueString": "female"}]),
    ),
    Row(
        "a condition of more than one item; write exists(), or first()",
        lambda: flat("name and true"),
        lambda: flat("name.exists() and true"),
    ),
    Row(
        "compared are numbers with numbers and texts with texts; correct the view's path",
        lambda: flat("gender < 1"),
        lambda: flat("gender < 'x'"),
    ),
    Row(
        "resource: name the type that the view reads, such as Observation",
        lambda: selected(column(), resource=""),
        lambda: selected(column(), resource="Observation"),
    ),
    Row(
        "column {}: named twice; give one another name",
        lambda: selected(column(), column()),
        lambda: selected(column(), column("b")),
    ),
    Row(
        "select: nested deeper than {}; write it flatter",
        lambda: selected(nested(MAX_NESTED + 1)),
        lambda: selected(nested(3)),
    ),
    Row(
        "constant {}: FHIRPath's own; give another name",
        lambda: flat("id", constant=[{"name": "context", "valueString": "a"}]),
        lambda: flat("id", constant=[{"name": "other", "valueString": "a"}]),
    ),
    Row(
        "repeat: nested deeper than {}; leave it out",
        lambda: repeated(MAX_DEPTH + 2),
        lambda: repeated(2),
    ),
    Row(
        "where: a path that is neither true nor false; write exists() behind it",
        lambda: flat("id", where=[{"path": "name"}]),
        lambda: flat("id", where=[{"path": "name.exists()"}]),
    ),
    Row(
        "column {}: more than one value; write first(), or collection: true",
        lambda: flat("name.family"),
        lambda: flat("name.family.first()"),
    ),
]


@pytest.mark.parametrize("row", VIEWS, ids=lambda row: row.said[:30])
def test_a_view_reads_a_resource_once_it_is_written_as_told(row: Row) -> None:
    obey(row)


def test_a_view_that_takes_too_long_is_written_simpler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcohort.sources.fhir.view.MAX_STEPS", 50)
    assert values.MAX_STEPS > 50
    wide = {"resourceType": "Patient", "a": [{"b": number} for number in range(10)]}
    refusal(STEPS, lambda: flat("a.where(%resource.a.where(b = 0).exists()).count()", wide))
    flat("a.where(b = 0).count()", wide)


STEPS = "takes more than {} steps; leave the resource out, or write simpler paths"


def own(definition: object) -> None:
    """Read a hospital's own view."""
    content = definition if isinstance(definition, bytes) else json.dumps(definition).encode()
    Path("own.json").write_bytes(content)
    read_views([Path("own.json")])


OWN: dict[str, Any] = {
    "name": "observations",
    "resource": "Observation",
    "select": [column("patient_id"), column("time", "issued")],
}
OWN_VIEWS = [
    Row(
        "{}: {}; give a ViewDefinition's file by --view",
        lambda: read_views([Path("nothing.json")]),
        lambda: own(OWN),
    ),
    Row("is larger than any view; give", lambda: own(b" " * (MAX_BYTES + 1)), lambda: own(OWN)),
    Row("{}: is no JSON; write a ViewDefinition as SQL-on-FHIR v2", lambda: own(b"{"), lambda: own(OWN)),
    Row(
        "name: a view is named for what it fills, one of {}",
        lambda: own({**OWN, "name": "labs"}),
        lambda: own({**OWN, "name": "orders"}),
    ),
    Row(
        "column {}: {} has no such column; choose among {}",
        lambda: own({**OWN, "select": [*OWN["select"], column("note")]}),
        lambda: own({**OWN, "select": [*OWN["select"], column("code")]}),
    ),
    Row(
        "column {}: missing; write it, such as subject",
        lambda: own({**OWN, "select": [column("time")]}),
        lambda: own(OWN),
    ),
]


@pytest.mark.parametrize("row", OWN_VIEWS, ids=lambda row: row.said[:30])
def test_a_hospital_s_own_view_is_taken_once_it_is_as_told(row: Row) -> None:
    obey(row)


def bring(place: str = "in") -> None:
    """Read files; what is refused raises, as an import would tell it."""
    feed = fhir_feed(Path(place), FhirOptions(read_views()), "fhir").feed
    for part in feed.parts:
        for record in part.records(0):
            for change in record.changes:
                if isinstance(change, Refusal):
                    raise DataError(change.sentence)


def put(name: str, *lines: object) -> None:
    Path("in").mkdir(exist_ok=True)
    for path in Path("in").iterdir():
        path.unlink()
    if lines and isinstance(lines[0], bytes):
        (Path("in") / name).write_bytes(lines[0])
    else:
        written(Path("in"), name, *lines)


REQUEST: dict[str, Any] = {
    "resourceType": "MedicationRequest",
    "id": "m1",
    "subject": {"reference": "Patient/p1"},
    "authoredOn": "2020-01-01",
    "medicationReference": {"reference": "Medication/a"},
}
MEDICATION = {"resourceType": "Medication", "id": "a", "code": {"coding": [{"code": "c"}]}}


def linked(other: dict[str, Any]) -> None:
    put("p.ndjson", {"resourceType": "Patient", "id": "p1", "link": [{"type": "replaces", "other": other}]})
    bring()


def deleted(url: str) -> None:
    put("d.json", {"resourceType": "Bundle", "entry": [{"request": {"method": "DELETE", "url": url}}]})
    bring()


def given(name: str, *lines: object) -> None:
    put(name, *lines)
    bring()


def bundles(depth: int) -> dict[str, Any]:
    made: dict[str, Any] = observation()
    for _ in range(depth):
        made = bundle(made)
    return made


FILES = [
    Row(
        "{}: no file ending in {}; unpack archives, or name a file",
        lambda: given("a.tar", b"x"),
        lambda: given("a.json", observation()),
    ),
    Row(
        "is no JSON object; export the file again, or correct it there",
        lambda: given("a.json", b"{"),
        lambda: given("a.json", observation()),
    ),
    Row(
        "is no FHIR resource; give Bundles or NDJSON of resources",
        lambda: given("a.json", {"a": 1}),
        lambda: given("a.json", bundle(observation())),
    ),
    Row(
        "Bundles nested deeper than {}; give the inner one by itself",
        lambda: given("a.json", bundles(4)),
        lambda: given("a.json", bundles(3)),
    ),
    Row(
        "has no code; code it in the source, or import the Medication that it names with it",
        lambda: given("a.ndjson", REQUEST),
        lambda: given("a.ndjson", REQUEST, MEDICATION),
    ),
    Row(
        "a link to a patient without a reference; correct it in the source",
        lambda: linked({}),
        lambda: linked({"reference": "Patient/p2"}),
    ),
    Row(
        "a deletion that names no resource; delete it by TYPE/ID",
        lambda: deleted("Observation"),
        lambda: deleted("Observation/o1"),
    ),
]


@pytest.mark.parametrize("row", FILES, ids=lambda row: row.said[:30])
def test_a_file_is_read_once_it_is_as_told(row: Row) -> None:
    obey(row)


LONG_LINE = "a line longer than {} bytes; give it as a file of its own, a Bundle"
LARGE_ENTRY = "an entry larger than {} bytes; leave it out of the export"
MANY = "{}: more than {} Medications; import in smaller pieces"
NO_BUNDLE = "is read as a Bundle for its size, and is none; give it as NDJSON"


def test_what_is_too_large_is_given_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 1000)
    long = observation("b", note=[{"text": "x" * 200_000}])
    refusal(LONG_LINE, lambda: given("a.ndjson", observation("a"), long))
    given("a.json", json.dumps(bundle(long), indent=1).encode())
    monkeypatch.setattr(files, "ENTRY_BYTES", 100_000)
    refusal(LARGE_ENTRY, lambda: given("a.json", json.dumps(bundle(observation(), long), indent=1).encode()))
    given("a.json", json.dumps(bundle(*[observation()] * 3), indent=1).encode())
    refusal(NO_BUNDLE, lambda: given("a.json", json.dumps({"a": "x" * 2000}, indent=1).encode()))
    given("a.ndjson", observation(), observation("b"))
    monkeypatch.setattr(files, "MOST_NOTED", 1)
    refusal(MANY, lambda: given("a.ndjson", MEDICATION, {**MEDICATION, "id": "b"}))
    given("a.ndjson", MEDICATION)
    given("a.ndjson", {**MEDICATION, "id": "b"})


UNREADABLE = "{}: {}; make it readable"


def test_a_file_that_cannot_be_read_is_once_it_is_made_readable() -> None:
    with open_folder():
        given("a.ndjson", observation())
        path = Path("in") / "a.ndjson"
        path.chmod(0o600)
        Path("in").chmod(0o755)
        with unprivileged():
            refusal("make it readable", bring)
        path.chmod(0o644)
        with unprivileged():
            bring()


SAID = {
    "test_a_view_reads_a_resource_once_it_is_written_as_told": [row.said for row in VIEWS],
    "test_a_view_that_takes_too_long_is_written_simpler": [STEPS],
    "test_a_hospital_s_own_view_is_taken_once_it_is_as_told": [row.said for row in OWN_VIEWS],
    "test_a_file_is_read_once_it_is_as_told": [row.said for row in FILES],
    "test_what_is_too_large_is_given_as_told": [LONG_LINE, LARGE_ENTRY, MANY, NO_BUNDLE],
    "test_a_file_that_cannot_be_read_is_once_it_is_made_readable": [UNREADABLE],
}

"""The built-in views, and a hospital's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedcohort.errors import ConfigError
from fedcohort.sources.events.change import Group
from fedcohort.sources.events.tables import KINDS
from fedcohort.sources.fhir.resource import Reading, changes_of
from fedcohort.sources.fhir.views import MAX_BYTES, built_in_views, event_view, read_views

from .support import observation

OWN: dict[str, Any] = {
    "resourceType": "ViewDefinition",
    "name": "observations",
    "resource": "Observation",
    "select": [
        {
            "column": [
                {"name": "patient_id", "path": "subject.getReferenceKey(Patient)"},
                {"name": "time", "path": "effective.ofType(dateTime)"},
                {"name": "code", "path": "extension('urn:local').value.ofType(code)"},
            ]
        }
    ],
}


def test_every_kind_of_event_has_a_built_in_view() -> None:
    assert {view.name for view in built_in_views()} == set(KINDS)
    assert {view.resource for view in built_in_views()} == set(read_views())


def test_a_hospital_s_own_view_replaces_those_of_its_kind_and_resource(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text("\ufeff" + json.dumps(OWN), "utf-8")
    views = read_views([path])
    local = observation(extension=[{"url": "urn:local", "valueCode": "GLU"}])
    [group] = changes_of(local, Reading(views))
    assert isinstance(group, Group)
    assert [row["code"] for row in group.rows] == ["GLU"]
    assert views["Encounter"] == read_views()["Encounter"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "labs"}, "a view is named for what it fills, one of patients, encounters"),
        ({"name": "reports"}, None),
        ({"select": [{"column": [{"name": "time", "path": "issued"}]}]}, "column patient_id: missing"),
        ({"select": [*OWN["select"], {"column": [{"name": "note", "path": "id"}]}]}, "column note"),
        ({"resource": ""}, "resource: name the type"),
    ],
)  # fmt: skip
def test_a_view_that_fills_no_event_table_is_refused(tmp_path: Path, change: Any, told: str | None) -> None:
    path = tmp_path / "own.json"
    path.write_text(json.dumps({**OWN, **change}), "utf-8")
    if told is None:
        assert len(read_views([path])["Observation"]) == 2
        return
    with pytest.raises(ConfigError) as caught:
        read_views([path])
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff", b"[]", b" " * (MAX_BYTES + 1)])
def test_a_file_that_is_no_view_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "own.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"own\.json"):
        read_views([path])
    with pytest.raises(ConfigError, match=r"nothing\.json"):
        read_views([tmp_path / "nothing.json"])


def test_the_view_that_the_page_shows_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "fhir.md").read_text("utf-8")
    [shown] = page.split("```json\n")[1:]
    assert event_view(json.loads(shown.split("```")[0])).resource == "Observation"

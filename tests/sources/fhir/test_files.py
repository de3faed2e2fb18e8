"""Files of FHIR: how they are told apart, what a broken place costs, and that memory stays flat."""

import gzip
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.events.change import Group, Record, Refusal
from fedcohort.sources.fhir import files
from fedcohort.sources.fhir.files import FhirOptions, medications_of, records_of
from fedcohort.sources.fhir.views import read_views

from .support import bundle, changes, counted, observation, read, written

DATA = Path(os.environ.get("FEDCOHORT_DATA", "/nowhere")) / "fhir_r4"
wanted = pytest.mark.skipif(not DATA.is_dir(), reason="FEDCOHORT_DATA names no fhir_r4")


def places(records: list[Record]) -> list[str]:
    return [record.place for record in records]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_lines_are_read_with_a_mark_blank_lines_and_no_last_end(
    tmp_path: Path, end: bytes, mark: bytes
) -> None:
    one, two = (json.dumps(observation(key)).encode() for key in ("a", "b"))
    path = tmp_path / "Observation.ndjson"
    path.write_bytes(mark + end + one + end + end + b"  " + two)
    assert places(read(path)) == ["line 2", "line 4"]
    assert counted(read(path)) == {"observations": 2}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_bundle_and_a_single_resource_are_read_in_any_layout(
    tmp_path: Path, indent: int | None, mark: bytes
) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(mark + json.dumps(bundle(observation("a"), observation("b")), indent=indent).encode())
    assert [place.removeprefix("line 1, ") for place in places(read(path))] == ["entry 1", "entry 2"]
    path.write_bytes(mark + json.dumps(observation("a"), indent=indent).encode())
    assert counted(read(path)) == {"observations": 1}


def test_packed_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "o.ndjson.gz"
    path.write_bytes(gzip.compress(json.dumps(observation()).encode()))
    assert counted(read(path)) == {"observations": 1}
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="broken or cut off"):
        read(path)


def test_a_line_that_is_no_resource_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    good = json.dumps(observation()).encode()
    lines = [
        good,
        b"{",
        b"[1]",
        b"7",
        b'{"a":1}',
        b'{"resourceType":7}',
        b"\xff\xfe",
        b"[" * 5000,
        b"NaN",
        good,
    ]
    path = tmp_path / "o.ndjson"
    path.write_bytes(b"\n".join(lines))
    assert counted(read(path)) == {"observations": 2, "json": 8}


def test_a_line_that_is_too_long_is_refused_and_the_next_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 1000)
    note = [{"text": "x" * 5000}]
    path = written(tmp_path, "o.ndjson", observation("a"), observation("b", note=note), observation("c"))
    assert counted(read(path)) == {"observations": 2, "too-long": 1}
    assert places(read(path)) == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize("whole_bytes", [2**24, 100])
def test_references_by_urn_find_the_resource_whatever_its_id_and_the_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_bytes: int
) -> None:
    """A small bundle is read whole and a large one by the entry, with the same outcome."""
    monkeypatch.setattr(files, "WHOLE_BYTES", whole_bytes)
    entries = [
        {"fullUrl": "urn:uuid:o", "resource": observation(subject={"reference": "urn:uuid:p"})},
        {"fullUrl": "urn:uuid:n", "resource": observation("x", id=None, subject={"reference": "urn:uuid:q"})},
        {"fullUrl": "urn:uuid:p", "resource": {"resourceType": "Patient", "id": "p1", "gender": "male"}},
        {"fullUrl": "urn:uuid:q", "resource": {"resourceType": "Patient", "gender": "female"}},
    ]
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"resourceType": "Bundle", "entry": entries}, indent=1), "utf-8")
    groups = [one for record in read(path) for one in record.changes if isinstance(one, Group)]
    assert [(group.key, group.patient) for group in groups] == [
        ("Observation/o1", "p1"),
        ("Observation/n", "q"),
        ("Patient/p1", "p1"),
        ("Patient/q", "q"),
    ]


def test_deletions_of_a_bundle_are_made_at_their_time(tmp_path: Path) -> None:
    deleted = {"request": {"method": "DELETE", "url": "Observation/o1"}}
    made = bundle(type="transaction", meta={"lastUpdated": "1970-01-03T00:00:00Z"})
    path = written(tmp_path, "d.ndjson", {**made, "entry": [deleted]})
    assert read(path) == [Record("line 1, entry 1", (Group("observations", "Observation/o1", 2.0, None),))]


def test_bundles_in_bundles_are_read_to_a_depth(tmp_path: Path) -> None:
    inner: Any = observation()
    for _ in range(3):
        inner = bundle(inner)
    assert counted(read(written(tmp_path, "b.ndjson", inner))) == {"observations": 1}
    assert counted(read(written(tmp_path, "b.ndjson", bundle(inner)))) == {"json": 1}


@pytest.mark.parametrize("entry", [7, [7], [None], [{}], [{"resource": 7}], {"a": 1}])
def test_an_entry_that_is_none_is_refused_by_its_number(tmp_path: Path, entry: Any) -> None:
    records = read(written(tmp_path, "b.ndjson", {"resourceType": "Bundle", "entry": entry}))
    assert counted(records) == ({"json": 1} if isinstance(entry, list) else {})


@pytest.mark.parametrize("cut", [0, 1])
def test_a_giant_document_that_is_cut_off_is_read_up_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 100)
    whole = json.dumps(bundle(observation("a"), observation("b")), indent=1).encode()
    path = tmp_path / "b.json"
    path.write_bytes(whole[: len(whole) - 40 * cut])
    records: list[Record] = []
    if cut:
        with pytest.raises(DataError, match="cut off or no JSON"):
            records.extend(records_of(path, FhirOptions(read_views())))
    else:
        records = read(path)
    assert len(records) == (1 if cut else 2)


def test_a_giant_entry_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 100)
    monkeypatch.setattr(files, "ENTRY_BYTES", 200_000)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(bundle(observation("a", note=[{"text": "x" * 2_000_000}])), indent=1), "utf-8")
    with pytest.raises(DataError, match="an entry larger"):
        read(path)


def test_a_giant_document_without_entries_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", 10)
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"a": "b" * 30}, indent=1), "utf-8")
    assert counted(read(path)) == {"json": 1}


def test_numbers_are_the_same_doubles_whichever_way_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [0.1, 5.50, 1e-7, 123456789.123456789, 9007199254740993, 1.7976931348623157e308]
    made = bundle(*(observation(f"o{n}", valueQuantity={"value": x}) for n, x in enumerate(numbers)))
    path = tmp_path / "b.json"
    path.write_text(json.dumps(made, indent=1), "utf-8")

    def values() -> list[object]:
        groups = [one for record in read(path) for one in record.changes]
        return [one.rows[0]["value"] for one in groups if isinstance(one, Group)]

    whole = values()
    monkeypatch.setattr(files, "WHOLE_BYTES", 100)
    assert values() == whole == [float(x) for x in numbers]


@pytest.mark.parametrize(("module", "whole_bytes"), [("orjson", 2**24), ("ijson", 100)])
def test_a_missing_package_is_told_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, whole_bytes: int
) -> None:
    monkeypatch.setattr(files, "WHOLE_BYTES", whole_bytes)
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(bundle(observation()), indent=1), "utf-8")
    with pytest.raises(ConfigError, match=rf"needs {module}; pip install -c constraints.txt '.\[fhir\]'"):
        read(path)


def test_an_import_goes_on_behind_the_records_that_it_had_read(tmp_path: Path) -> None:
    path = written(tmp_path, "o.ndjson", *(observation(str(number)) for number in range(5)))
    assert read(path, 3) == read(path)[3:]


def test_medications_are_found_in_any_file_without_their_texts(tmp_path: Path) -> None:
    concept = {"coding": [{"system": "urn:x", "code": "1", "display": "Zebedee"}], "text": "Zebedee"}
    one = written(tmp_path, "m.ndjson", {"resourceType": "Medication", "id": "a", "code": concept})
    two = written(
        tmp_path, "b.ndjson", bundle({"resourceType": "Medication", "id": "b"}), {"resourceType": "Group"}
    )
    assert medications_of([one, two]) == {
        "a": {"coding": [{"system": "urn:x", "code": "1"}]},
        "b": {"coding": []},
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.data())
def test_any_bytes_are_records_or_one_error(tmp_path: Path, data: st.DataObject) -> None:
    """A valid file with bytes changed, cut and doubled: nothing but refusals and DataError."""
    content = bytearray(
        json.dumps(bundle(observation("a"), {"resourceType": "Patient", "id": "p1"}), indent=1).encode()
    )
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    path = tmp_path / "fuzz.json"
    path.write_bytes(bytes(content) or b" ")
    try:
        records = read(path)
    except DataError:
        return
    assert all(isinstance(one, Group | Refusal) for record in records for one in record.changes)


ELEMENTS = (
    "period", "start", "id", "code", "coding", "system", "status", "subject", "reference", "meta",
    "lastUpdated", "effectiveDateTime", "valueQuantity", "value", "link", "other", "type", "component",
    "verificationStatus", "medicationReference", "contained",
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.floats() | st.text(max_size=9) | st.sampled_from(["Patient/p", "2020-01"])
)


def _within(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(ELEMENTS), inner, max_size=6)


@settings(max_examples=200)
@given(st.recursive(LEAVES, _within, max_leaves=25))
def test_any_elements_make_changes_or_refusals(made: Any) -> None:
    elements = made if isinstance(made, dict) else {"code": made}
    for kind in ("Patient", "Observation", "Condition", "MedicationRequest", "Encounter", "Immunization"):
        changes({**elements, "resourceType": kind})
        changes({**elements, "resourceType": kind, "id": "x"})


@wanted
def test_the_synthea_bundles_have_the_rows_of_their_resources(tmp_path: Path) -> None:
    with tarfile.open(DATA / "synthea_r4_100_patients.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    paths = sorted(tmp_path.glob("*.json"))
    found = sum((counted(read(path)) for path in paths), start=counted([]))
    assert len(paths) == 102
    assert found == {
        "patients": 100, "encounters": 995, "conditions": 414, "observations": 7039, "immunizations": 899,
        "medications": 208, "procedures": 338, "reports": 337,
    }  # fmt: skip


@wanted
def test_every_example_of_the_specification_is_read() -> None:
    paths = sorted((DATA / "examples").glob("*.json"))
    found = sum((counted(read(path)) for path in paths), start=counted([]))
    assert len(paths) == 198
    assert found == EXAMPLES


EXAMPLES = {
    "patients": 247, "encounters": 3, "conditions": 10, "observations": 137, "procedures": 10,
    "immunizations": 3, "orders": 14, "reports": 14, "no-time": 80, "no-patient": 15, "no-code": 4,
}  # fmt: skip
"""Most of the specification's examples of encounters say no time; some subjects are groups and devices."""

GIANT = """
import resource, sys
from pathlib import Path
from fedcohort.sources.fhir.files import FhirOptions, records_of
from fedcohort.sources.fhir.views import read_views
options = FhirOptions(read_views())
print(sum(1 for _ in records_of(Path(sys.argv[1]), options)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("form", ["ndjson", "json"])
def test_memory_does_not_grow_with_a_file(tmp_path: Path, form: str) -> None:
    def peak(count: int) -> int:
        path, line = tmp_path / f"{count}.{form}", json.dumps(observation(note=[{"text": "x" * 900}]))
        between = ",\n" if form == "json" else "\n"
        with path.open("w", encoding="utf-8") as file:
            file.write('{"resourceType":"Bundle","entry":[\n' if form == "json" else "")
            for number in range(count):
                file.write(
                    (between if number else "") + ('{"resource":' + line + "}" if form == "json" else line)
                )
            file.write("]}" if form == "json" else "")
        ran = subprocess.run(
            [sys.executable, "-c", GIANT, str(path)], capture_output=True, text=True, check=True
        )
        read_records, kilobytes = map(int, ran.stdout.split())
        assert read_records == count
        return kilobytes

    assert peak(20_000) < 1.1 * peak(5_000)

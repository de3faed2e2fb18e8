"""The samples that others wrote: read as python-hl7 reads them, and by HL7's own maps."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedcohort.sources.events.change import Group, Merge, Refusal
from fedcohort.sources.hl7v2.framing import messages
from fedcohort.sources.hl7v2.mapping import read_message
from fedcohort.sources.hl7v2.meanings import codes
from fedcohort.sources.hl7v2.message import Message
from fedcohort.sources.hl7v2.reading import Hl7Options

DATA = Path(os.environ.get("FEDCOHORT_DATA", "/nowhere"))
SAMPLES = DATA / "hl7v2"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="FEDCOHORT_DATA has no hl7v2")
needs_maps = pytest.mark.skipif(
    not (DATA / "official" / "v2_to_fhir").is_dir(), reason="FEDCOHORT_DATA has no official/v2_to_fhir"
)
ROOT = Path(__file__).parent.parent.parent.parent


def sample_messages() -> Iterator[tuple[str, bytes]]:
    for path in sorted(SAMPLES.glob("*.hl7")):
        with path.open("rb") as file:
            for one in messages(file):
                assert not one.fault, path.name
                yield path.name, one.data


Told = list[tuple[str, ...]]


def by_ours(data: bytes) -> Told:
    message = Message(data)
    told: Told = []
    for segment in message.segments:
        fields = {"PID": (3,), "PV1": (19,), "OBX": (3, 5, 6, 11)}.get(segment[0], ())
        if fields:
            told.append((segment[0], *(message.get(segment, number) for number in fields)))
    return told


def by_python_hl7(text: str) -> Told:
    hl7 = importlib.import_module("hl7")
    message, told = hl7.parse(text), []
    for segment in message:
        name = str(segment[0])
        fields = {"PID": (3,), "PV1": (19,), "OBX": (3, 5, 6, 11)}.get(name, ())
        if fields:
            told.append((name, *(first(message, segment, number) for number in fields)))
    return told


def first(message: object, segment: list[object], number: int) -> str:
    """The first component of the first repetition."""
    if number >= len(segment):
        return ""
    value = segment[number]
    while not isinstance(value, str):
        if not len(value):  # type: ignore[arg-type]
            return ""
        value = value[0]  # type: ignore[index]
    return str(message.unescape(value))  # type: ignore[attr-defined]


@needs_samples
@pytest.mark.skipif(importlib.util.find_spec("hl7") is None, reason="python-hl7 is not installed")
def test_all_samples_are_read_as_python_hl7_reads_them() -> None:
    seen = list(sample_messages())
    assert len(seen) == 139
    for name, data in seen:
        text = data.decode("utf-8").replace("\r\n", "\r").replace("\n", "\r")
        assert by_ours(data) == by_python_hl7(text), name


@needs_samples
def test_all_samples_become_changes_or_are_told() -> None:
    kinds: dict[str, int] = {}
    refused: dict[str, int] = {}
    for _name, data in sample_messages():
        for change in read_message(data, Hl7Options()):
            if isinstance(change, Refusal):
                refused[change.code] = refused.get(change.code, 0) + 1
            elif isinstance(change, Merge):
                kinds["merges"] = kinds.get("merges", 0) + 1
            else:
                assert isinstance(change, Group)
                kinds[change.kind] = kinds.get(change.kind, 0) + len(change.rows)
    assert (kinds, refused) == (COUNTS, REFUSED)


COUNTS: dict[str, int] = {
    "patients": 129, "encounters": 102, "observations": 214, "conditions": 34, "procedures": 22, "merges": 6,
    "immunizations": 8, "orders": 20, "reports": 31, "medications": 10,
}  # fmt: skip
REFUSED: dict[str, int] = {
    "code": 59, "not-followed": 4, "not-production": 9, "no-code": 8, "time": 3, "type": 4,
}  # fmt: skip


@needs_maps
def test_the_tables_of_hl7_s_maps_are_what_the_script_makes(tmp_path: Path) -> None:
    package = ROOT / "src" / "fedcohort" / "sources" / "hl7v2"
    script = (ROOT / "scripts" / "v2_to_fhir.py").read_text(encoding="utf-8")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "src" / "fedcohort" / "sources" / "hl7v2").mkdir(parents=True)
    (tmp_path / "scripts" / "v2_to_fhir.py").write_text(script, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "scripts" / "v2_to_fhir.py")]
    subprocess.run([*command, str(DATA / "official" / "v2_to_fhir"), "8c9b414b"], check=True)
    for name in ("v2_to_fhir.toml", "v2_to_fhir.LICENSE"):
        made = tmp_path / "src" / "fedcohort" / "sources" / "hl7v2" / name
        assert made.read_bytes() == (package / name).read_bytes(), name


def test_hl7_s_maps_give_the_meanings() -> None:
    assert codes("AdministrativeSex")["A"] == "other"
    assert codes("PatientClass[EncounterClass]")["I"] == "IMP"
    assert codes("ObservationResultStatusCodesInterpretation")["W"] == "entered-in-error"


@pytest.mark.skipif(not (DATA / "official" / "hl7v2_linuxforhealth").is_dir(), reason="no official samples")
def test_windows_and_unix_ends_of_lines_hold_the_same_messages() -> None:
    folder = DATA / "official" / "hl7v2_linuxforhealth"
    unix: list[bytes] = []
    windows: list[bytes] = []
    for found, name in ((unix, "sample_unix.hl7"), (windows, "sample_win.hl7")):
        with (folder / name).open("rb") as file:
            # Its writer has doubled the backslash of MSH-2, which is refused.
            found += [one.data.replace(b"^~\\\\&", b"^~\\&") for one in messages(file)]
    assert len(unix) == len(windows) > 0
    # One of them names its characters in MSH.
    assert [Message(one).segments[1:] for one in unix] == [Message(one).segments[1:] for one in windows]

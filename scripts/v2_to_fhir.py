"""Make the tables of HL7's v2-to-FHIR maps that the reader of HL7 v2 uses, from a checkout of HL7/v2-to-fhir.

Usage: python scripts/v2_to_fhir.py FOLDER COMMIT    FOLDER is its `mappings`, with LICENSE beside or in it

Writes v2_to_fhir.toml and v2_to_fhir.LICENSE into src/fedcohort/sources/hl7v2: the codes of some code
systems, and of some segments which field becomes which attribute. Nothing else of those files is taken over.
"""

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "fedcohort" / "sources" / "hl7v2"
CODES = (
    "AdministrativeSex",
    "CompletionStatus",
    "DiagnosisType",
    "Event[EncounterStatus]",
    "ObservationResultStatusCodesInterpretation",
    "OrderControlCode[ServiceRequest.status]",
    "OrderStatus",
    "PatientClass[EncounterClass]",
    "ResultStatus[Non-Queries]",
)
FIELDS = {
    "DG1[Condition]": (
        "code[1]",
        "onsetDateTime",
        "recordedDate",
        "identifier",
        "verificationStatus.coding.code",
    ),
    "DG1[Encounter]": ("diagnosis.use",),
    "EVN[Provenance]": ("recorded", "occurredDateTime"),
    "OBR[DiagnosticReport]": ("identifier[1]", "identifier[2]", "code", "effectiveDateTime", "status"),
    "OBR[ServiceRequest]": ("occurrenceDateTime",),
    "OBX[Observation]": (
        "code",
        "valueQuantity.value",
        "valueRatio[1].denominator",
        "interpretation",
        "status",
        "effectiveDateTime",
    ),
    "ORC[ServiceRequest]": ("status", "identifier[1]", "identifier[2]", "authoredOn"),
    "PID[Patient]": (
        "identifier[1]",
        "identifier[2]",
        "birthDate",
        "gender",
        "deceasedDateTime",
        "deceasedBoolean",
    ),
    "PR1[Procedure]": ("code[1]", "performedDateTime", "performedPeriod.end", "identifier"),
    "PV1[Encounter]": (
        "class",
        "type",
        "identifier[1]",
        "hospitalization.dischargeDisposition",
        "period.start",
        "period.end",
    ),
    "RXA[Immunization]": (
        "occurrenceDateTime",
        "vaccineCode",
        "doseQuantity.value",
        "doseQuantity",
        "status",
    ),
    "RXR[MedicationRequest]": ("dosageInstruction.route",),
    "SPM[Specimen]": ("collection.collectedDateTime",),
    "TQ1[MedicationRequest]": (
        "dosageInstruction.timing.repeat.boundsPeriod.start",
        "dosageInstruction.timing.repeat.boundsPeriod.end",
    ),
    "TXA[DocumentReference]": ("type", "date", "masterIdentifier", "docStatus"),
}
"""By segment and resource, the attributes whose fields are read."""
NOTICE = """\
# HL7's maps from v2 to FHIR, as far as the reader of HL7 v2 uses them: codes by code, and the numbers of
# fields by the FHIR attribute that they become.
# Made by scripts/v2_to_fhir.py from HL7/v2-to-fhir, commit {commit}, folder mappings; change nothing here.
# Those maps are of HL7 International, under the Apache License, version 2.0, whose text is in
# v2_to_fhir.LICENSE. Changed: some columns of some files, in another format.
commit = "{commit}"
"""


def rows(folder: Path, name: str) -> Iterator[list[str]]:
    """The lines of one map below its two headings."""
    (path,) = (path for path in folder.rglob("*.csv") if f"_ {name} - " in path.name)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from list(csv.reader(file))[2:]


def codes(folder: Path, name: str) -> dict[str, str]:
    """Code to code; those that HL7 maps to nothing are left out."""
    return {row[0].strip(): row[6].strip() for row in rows(folder, name) if row[0].strip() and row[6].strip()}


def fields(folder: Path, name: str) -> dict[str, int]:
    """FHIR attribute to the number of the field; the first that is said."""
    segment, found = name.partition("[")[0], dict[str, int]()
    for row in rows(folder, name):
        number = re.fullmatch(rf"{segment}-(\d+)", row[1].strip())
        if number:
            found.setdefault(row[9].strip(), int(number[1]))
    return {attribute: found[attribute] for attribute in FIELDS[name]}


def table(kind: str, name: str, content: dict[str, str] | dict[str, int]) -> str:
    """One table of TOML."""
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in content.items()]
    return "\n".join([f"\n[{kind}.{json.dumps(name)}]", *lines, ""])


def main() -> None:
    """Write both files."""
    folder, commit = Path(sys.argv[1]), sys.argv[2]
    whole = NOTICE.format(commit=commit)
    whole += "".join(table("codes", name, codes(folder, name)) for name in CODES)
    whole += "".join(table("fields", name, fields(folder, name)) for name in FIELDS)
    (TARGET / "v2_to_fhir.toml").write_text(whole, encoding="utf-8")
    licence = next(path for path in (folder / "LICENSE", folder.parent / "LICENSE") if path.exists())
    (TARGET / "v2_to_fhir.LICENSE").write_bytes(licence.read_bytes())


if __name__ == "__main__":
    main()

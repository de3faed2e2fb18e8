"""What HL7's codes and fields mean, in FHIR's words: by HL7's own maps (v2_to_fhir.toml).

The maps leave some codes open; what stands here for them is from the tables' own descriptions (HL7 v2.9,
chapter 2C), and is said in docs/hl7.md.
"""

import re
import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_MAPS: Mapping[str, Any] = tomllib.loads(
    files("fedcohort.sources.hl7v2").joinpath("v2_to_fhir.toml").read_text(encoding="utf-8")
)


def codes(name: str) -> Mapping[str, str]:
    """A code system's map, such as `AdministrativeSex`."""
    found: Mapping[str, str] = _MAPS["codes"][name]
    return found


def field(segment: str, attribute: str) -> int:
    """The number of the field that becomes a FHIR attribute, such as `PV1[Encounter]`'s `period.start`."""
    return int(_MAPS["fields"][segment][attribute])


SEX = codes("AdministrativeSex")
ENCOUNTER_CLASS = codes("PatientClass[EncounterClass]")
ENCOUNTER_STATUS = {
    **{event: word for event, word in codes("Event[EncounterStatus]").items() if event != "A08"},
    "A14": "planned",
    "A06": "in-progress",
    "A07": "in-progress",
}
"""By trigger event; A08 says nothing of it."""
OBSERVATION_STATUS = {
    **codes("ObservationResultStatusCodesInterpretation"),
    "B": "amended",
    "R": "preliminary",
    "S": "preliminary",
    "U": "final",
    "V": "final",
}
NO_OBSERVATION = frozenset("DINOWX")
"""HL7 table 0085: deleted, pending, not asked, order detail, wrong, cannot be obtained."""
REPORT_STATUS = {**codes("ResultStatus[Non-Queries]"), "A": "partial", "M": "preliminary", "N": "registered"}
DOCUMENT_STATUS = {
    **dict.fromkeys(("AU", "LA"), "final"),
    **dict.fromkeys(("DI", "DO", "IN", "IP", "PA"), "preliminary"),
}
"""HL7 table 0271, for which HL7 has no map."""
ORDER_CONTROL = codes("OrderControlCode[ServiceRequest.status]")
ORDER_STATUS = {**codes("OrderStatus"), "A": "active"}
COMPLETION = codes("CompletionStatus")
DIAGNOSIS_ROLE = {**codes("DiagnosisType"), "W": "working", "F": "final"}

_SYSTEMS = {
    "LN": "http://loinc.org",
    "LOINC": "http://loinc.org",
    "SCT": "http://snomed.info/sct",
    "SNM3": "http://snomed.info/sct",
    "SNOMED-CT": "http://snomed.info/sct",
    "I10": "http://hl7.org/fhir/sid/icd-10",
    "ICD10": "http://hl7.org/fhir/sid/icd-10",
    "ICD-10": "http://hl7.org/fhir/sid/icd-10",
    "I10C": "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD-10-CM": "http://hl7.org/fhir/sid/icd-10-cm",
    "ICD10GM": "http://fhir.de/CodeSystem/bfarm/icd-10-gm",
    "I10P": "http://www.cms.gov/Medicare/Coding/ICD10",
    "I9": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9C": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9CDX": "http://hl7.org/fhir/sid/icd-9-cm",
    "ICD9": "http://hl7.org/fhir/sid/icd-9-cm",
    "I9CP": "http://hl7.org/fhir/sid/icd-9-cm",
    "C4": "http://www.ama-assn.org/go/cpt",
    "CPT": "http://www.ama-assn.org/go/cpt",
    "CPT4": "http://www.ama-assn.org/go/cpt",
    "HCPCS": "http://terminology.hl7.org/CodeSystem/HCPCS",
    "CVX": "http://hl7.org/fhir/sid/cvx",
    "NDC": "http://hl7.org/fhir/sid/ndc",
    "RXNORM": "http://www.nlm.nih.gov/research/umls/rxnorm",
    "WC": "http://www.whocc.no/atc",
    "ATC": "http://www.whocc.no/atc",
    "UCUM": "http://unitsofmeasure.org",
}
"""HL7 table 0396 and names that senders use for the same, as FHIR names the systems."""
_V2_TABLE = re.compile(r"HL7-?(\d{4,5})")


def system(name: str) -> str | None:
    """A code system by its name in a message; a local one as it is, in one word; None where there is none."""
    if not name:
        return None
    upper = name.upper()
    found = _SYSTEMS.get(upper)
    if found is not None:
        return found
    table = _V2_TABLE.fullmatch(upper)
    return v2_table(table[1][-4:]) if table else "-".join(name.split())


def v2_table(number: str) -> str:
    """HL7's own table, such as 0007, as FHIR names it."""
    return f"http://terminology.hl7.org/CodeSystem/v2-{number}"

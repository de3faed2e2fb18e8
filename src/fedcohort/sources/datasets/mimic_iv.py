"""MIMIC-IV (Johnson et al. 2023): its tables as they are, and one row an admission to learn from.

The module `hosp` and `icu` as CSV, packed or not. MIMIC's dates are already shifted, and its texts
are codes; its numbers of patients, admissions, orders and staff become keyed stand-ins, as those of any
import do. Several sites stand in for hospitals: who goes where follows from a hash of MIMIC's own
number of the patient, so that nobody is in two of them, whatever the key.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

from sqlalchemy import inspect

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import ConfigError, SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.deidentify.pseudonym import code_pseudonym, key_id, pseudonym
from fedcohort.sources.importer.batch import Batch, Part, Source
from fedcohort.sources.importer.csv.source import csv_source
from fedcohort.sources.importer.deidentification import (
    Deidentification,
    DeidentifiedSource,
    Keys,
)
from fedcohort.sources.importer.derive import Derivation, derive
from fedcohort.sources.importer.files import files_of
from fedcohort.sources.importer.pipeline import import_source
from fedcohort.sources.importer.report import SHOWN_REFUSALS, Imported
from fedcohort.storage.database import reading

SUBJECT = "subject_id"
IDENTIFIER_ENDING = "_id"
"""How MIMIC's columns of identifiers end: hadm_id, stay_id, order_provider_id and so on."""
TABLES = (
    "admissions", "diagnoses_icd", "drgcodes", "hcpcsevents", "icustays", "microbiologyevents", "omr",
    "patients", "prescriptions", "procedures_icd", "services", "transfers",
)  # fmt: skip
NUMBERS = ("anchor_age", "anchor_year", "hospital_expire_flag", "icd_version", "los", "seq_num")
"""Everything else is kept as the text that it is: codes have leading zeros, doses are ranges."""
NEEDED = ("admissions", "icustays", "patients")
MORTALITY = "mortality"
COLUMNS = {
    "age": Declared(Numeric(18, 91), "years"),
    "sex": Declared(Categorical(("F", "M"))),
    "admission_type": Declared(
        Categorical(
            ("AMBULATORY OBSERVATION", "DIRECT EMER.", "DIRECT OBSERVATION", "ELECTIVE", "EU OBSERVATION",
             "EW EMER.", "OBSERVATION ADMIT", "SURGICAL SAME DAY ADMISSION", "URGENT")
        )
    ),
    "insurance": Declared(Categorical(("Medicaid", "Medicare", "No charge", "Other", "Private"))),
    "earlier_admissions": Declared(Numeric(0, 100)),
    "emergency_hours": Declared(Numeric(0, 72), "hours"),
    "icu_first_day": Declared(Categorical((0, 1))),
    "died": Declared(Categorical((0, 1))),
}  # fmt: skip
"""Of the table `mortality`: what is known on the first day, and whether the patient died in hospital."""

_SELECT = """
SELECT a.patient_id,
  min(91.0, p.anchor_age + strftime('%Y', a.admittime) - p.anchor_year) AS age,
  p.gender AS sex, a.admission_type, a.insurance,
  (SELECT count(*) FROM admissions e WHERE e.patient_id = a.patient_id AND e.admittime < a.admittime)
    AS earlier_admissions,
  min(72.0, max(0.0, 24 * (julianday(a.edouttime) - julianday(a.edregtime)))) AS emergency_hours,
  EXISTS (SELECT 1 FROM icustays i WHERE i.hadm_id = a.hadm_id
          AND julianday(i.intime) < julianday(a.admittime) + 1) AS icu_first_day,
  CAST(a.hospital_expire_flag AS INTEGER) AS died
FROM admissions a JOIN patients p ON p.patient_id = a.patient_id
ORDER BY a.patient_id, a.admittime
"""
ADMISSIONS = Derivation(MORTALITY, _SELECT, COLUMNS)
"""One row an admission."""


@dataclass(frozen=True)
class Share:
    """The patients of one of `sites` sites."""

    site: int
    sites: int

    def has(self, patient: object) -> bool:
        """Whether a patient is theirs."""
        digest = hashlib.sha256(f"fedcohort-mimic|{patient}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.sites == self.site

    def only(self, batch: Batch) -> Batch:
        """A batch's rows of these patients."""
        own = [row for row, patient in enumerate(batch.columns.get(PATIENT_ID, ())) if self.has(patient)]
        columns = {name: [values[row] for row in own] for name, values in batch.columns.items()}
        return replace(batch, columns=columns)


def mimic_source(folder: Path, share: Share) -> Source:
    """The tables that speak of patients, one site's share of them.

    Raises:
        ConfigError: a table that the analysis needs is missing.
    """
    files = {path.name.split(".")[0]: path for path in files_of(folder, ".csv", ".csv.gz")}
    missing = [name for name in NEEDED if name not in files]
    if missing:
        raise ConfigError(f"{folder}: has no {', '.join(missing)}.csv; give the folder that has hosp and icu")
    present = [name for name in TABLES if name in files]
    sources = [csv_source(files[name], name, None, patient=SUBJECT, numbers=NUMBERS) for name in present]
    tables = {name: columns for source in sources for name, columns in source.tables.items()}
    parts = [_mapped(part, share.only) for source in sources for part in source.parts]
    return Source(tables, parts)


def _mapped(part: Part, change: Callable[[Batch], Batch]) -> Part:
    return replace(part, batches=lambda done: map(change, part.batches(done)))


@dataclass(frozen=True)
class StandIns:
    """De-identification of MIMIC, whose dates are shifted: its identifiers become keyed stand-ins.

    Attributes:
        key: the site's; in no representation.
    """

    key: bytes = field(repr=False)

    @property
    def identity(self) -> str:
        """How patients are known afterwards."""
        return f"pseudonyms of key {key_id(self.key)}, dates as MIMIC shifted them"

    def apply(self, source: Source, keys: Keys, form: int) -> DeidentifiedSource:
        """Every batch of the source with stand-ins in its columns of identifiers."""
        parts = [_mapped(part, partial(_with_stand_ins, key=self.key)) for part in source.parts]
        return DeidentifiedSource(
            replace(source, parts=parts), self.identity, lambda: f"de-identified: {self.identity}"
        )


def _with_stand_ins(batch: Batch, key: bytes) -> Batch:
    """A batch whose identifiers are keyed stand-ins, the same in all columns of one name."""
    columns: dict[str, Sequence[object]] = dict(batch.columns)
    for name in (name for name in columns if name.endswith(IDENTIFIER_ENDING)):
        columns[name] = [value if value is None else _stand_in(key, name)(value) for value in columns[name]]
    return replace(batch, columns=columns)


@lru_cache(maxsize=64)
def _stand_in(key: bytes, column: str) -> Callable[[object], str]:
    if column == PATIENT_ID:
        return lru_cache(maxsize=100_000)(lambda value: pseudonym(key, str(value)))
    return lru_cache(maxsize=100_000)(lambda value: code_pseudonym(key, column, str(value)))


def import_mimic(folder: Path, into: Path, sites: int, deidentification: Deidentification) -> list[Imported]:
    """Write mimic_a.db, mimic_b.db and so on, each with MIMIC's tables and `mortality`.

    Args:
        deidentification: `StandIns`, or why identifiers are kept.
    Raises:
        ConfigError: a table is missing. SchemaError: one is empty. StoreError: a database cannot be written.
    """
    reports = []
    for index in range(sites):
        database = into / f"mimic_{chr(ord('a') + index)}.db"
        source = mimic_source(folder, Share(index, sites))
        report = import_source(source, database, deidentification, context=f"{index} of {sites}")
        _check_filled(database)
        derived = derive(database, ADMISSIONS, adopt=True)
        report.written[MORTALITY] = derived.provenance.rows
        report.refused.update(f"{MORTALITY}.{refusal.field} {refusal.reason}" for refusal in derived.refusals)
        report.refusals += derived.refusals[: max(0, SHOWN_REFUSALS - len(report.refusals))]
        reports.append(report)
    return reports


def _check_filled(database: Path) -> None:
    """Refuse to derive from tables of which nothing came in."""
    with reading(database) as connection:
        present = inspect(connection).get_table_names()
    if empty := [name for name in NEEDED if name not in present]:
        raise SchemaError(f"{database}: no record of {', '.join(empty)} came in; get the whole tables")

"""Make the tables of OMOP's common data model that an OMOP site is read by, from OHDSI/CommonDataModel.

Usage: python scripts/omop_fields.py FOLDER LICENSE COMMIT    FOLDER is its `inst/csv`, LICENSE Apache's text

Writes cdm_fields.csv and cdm_fields.LICENSE into src/fedcohort/sources/omop: of the tables that studies read,
each field with its type, whether it must be filled, and the versions that have it.
"""

import csv
import sys
from pathlib import Path

TARGET = Path(__file__).parent.parent / "src" / "fedcohort" / "sources" / "omop"
VERSIONS = ("5.3", "5.4")
TABLES = (
    "cdm_source",
    "cohort",
    "concept",
    "concept_ancestor",
    "condition_occurrence",
    "death",
    "drug_exposure",
    "measurement",
    "observation",
    "observation_period",
    "person",
    "procedure_occurrence",
    "visit_occurrence",
)
NOTICE = """\
# Fields of OMOP's common data model, versions 5.3 and 5.4, of the tables that studies read.
# Made by scripts/omop_fields.py from OHDSI/CommonDataModel, commit {commit}, folder inst/csv; change
# nothing here.
# Those tables are of OHDSI, under the Apache License, version 2.0, whose text is in cdm_fields.LICENSE.
# Changed: some tables and columns of them, both versions in one, in another format.
"""


def fields(folder: Path) -> dict[tuple[str, str], tuple[str, str, list[str]]]:
    """By table and field: type, whether it must be filled, and versions."""
    found: dict[tuple[str, str], tuple[str, str, list[str]]] = {}
    for version in VERSIONS:
        path = folder / f"OMOP_CDMv{version}_Field_Level.csv"
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                table, field = row["cdmTableName"].lower(), row["cdmFieldName"].lower()
                if table in TABLES:
                    kind, needed = row["cdmDatatype"].lower(), row["isRequired"].lower()
                    _, _, versions = found.setdefault((table, field), (kind, needed, []))
                    versions.append(version)
    return found


def written(folder: Path, commit: str) -> str:
    """The file."""
    lines = [NOTICE.format(commit=commit), "table,field,type,required,versions\n"]
    for (table, field), (kind, needed, versions) in sorted(fields(folder).items()):
        lines.append(f"{table},{field},{kind},{needed},{' '.join(versions)}\n")
    return "".join(lines)


if __name__ == "__main__":
    source, licence, commit = sys.argv[1:]
    (TARGET / "cdm_fields.csv").write_text(written(Path(source), commit), encoding="utf-8")
    text = Path(licence).read_text(encoding="utf-8")
    (TARGET / "cdm_fields.LICENSE").write_text(text, encoding="utf-8")

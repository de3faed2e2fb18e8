"""Rows and refusals of an import of DICOM images, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedcohort.sources.dicom.options import DicomOptions, columns_of
from fedcohort.sources.dicom.pixels import Rendering
from fedcohort.sources.dicom.source import dicom_source
from fedcohort.sources.importer.batch import Refusal

SMALL = Rendering(height=2, width=2)
Rows = list[dict[str, Any]]
KEYWORDS = ("Modality", "PatientSex", "PatientAge", "PixelSpacing", "StudyDate", "BodyPartExamined")
OPTIONS = DicomOptions(
    rendering=Rendering(height=8, width=8, frames="middle"), columns=columns_of(KEYWORDS, {}), vouched=True
)


def load(path: Path, keywords: Sequence[str] = (), **options: object) -> tuple[Rows, list[Refusal]]:
    """Every row and refusal of an import."""
    columns = columns_of(tuple(keywords), {})
    source = dicom_source(
        path, DicomOptions.model_validate({"rendering": SMALL, "columns": columns, **options})
    )
    rows: Rows = []
    refused: list[Refusal] = []
    for part in source.parts:
        for batch in part.batches(0):
            names = list(batch.columns)
            rows += [
                dict(zip(names, values, strict=True)) for values in zip(*batch.columns.values(), strict=True)
            ]
            refused += batch.refusals
    return rows, refused


def refusal_of(data: bytes, folder: Path) -> Refusal | None:
    """What the import says of a file of these bytes; None when it comes in."""
    path = folder / "a.dcm"
    path.write_bytes(data)
    (part,) = dicom_source(path, OPTIONS).parts
    part.digest()
    refusals = [refusal for batch in part.batches(0) for refusal in batch.refusals]
    return refusals[0] if refusals else None

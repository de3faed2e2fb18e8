"""Import of the Breast Cancer Wisconsin (Diagnostic) data as three uneven hospitals.

Wolberg, Mangasarian, Street and Street 1993, https://doi.org/10.24432/C5DW2B, as it ships
inside scikit-learn: 569 patients, 30 measurements of cell nuclei, 212 malignant.

The rule of the split: within each class, patients are put in the order of SHA-256 of
their row number; hospital_a takes the first 40 % of the malignant and 56 % of the benign,
hospital_b the next 35 % and 27 %, hospital_c the rest. That gives 285, 170 and 114
patients, of whom 30 %, 44 % and 46 % have cancer: uneven sizes and shifted prevalence.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from fedcohort.columns import Categorical
from fedcohort.errors import ConfigError, SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared, wide_table
from fedcohort.sources.importer.deidentification import PUBLIC
from fedcohort.sources.importer.whole_dataset import ImportReport, Row, declare_numeric, write_rows

TABLE = "breast_cancer"
HOSPITALS = ("hospital_a", "hospital_b", "hospital_c")
SHARES: Mapping[bool, tuple[float, float, float]] = {True: (0.40, 0.35, 0.25), False: (0.56, 0.27, 0.17)}
"""Malignant or not, to the hospitals' shares of that class."""

# Upper bounds of mean, error and worst; all lower bounds are 0. They are the published ranges
# of the data set's own description, rounded up by about a fifth: lengths in pixels.
_HIGHS = {
    "radius": (35, 4, 45),
    "texture": (50, 6, 60),
    "perimeter": (230, 26, 300),
    "area": (3000, 650, 5000),
    "smoothness": (0.2, 0.04, 0.3),
    "compactness": (0.45, 0.2, 1.3),
    "concavity": (0.55, 0.5, 1.5),
    "concave_points": (0.25, 0.07, 0.35),
    "symmetry": (0.4, 0.1, 0.8),
    "fractal_dimension": (0.12, 0.04, 0.25),
}

COLUMNS: Mapping[str, Declared] = {
    **{
        column: declare_numeric(0, highs[index])
        for index, column_of in enumerate(("mean_{}", "{}_error", "worst_{}"))
        for measure, highs in _HIGHS.items()
        for column in [column_of.format(measure)]
    },
    "malignant": Declared(Categorical((0, 1))),
}


def import_breast_cancer(out: str | Path) -> list[ImportReport]:
    """Write all three hospitals, each into its own database `out/<hospital>.db`.

    Raises:
        ConfigError: scikit-learn is not installed.
        StoreError: a database holds something else, or cannot be written.
    """
    Path(out).mkdir(parents=True, exist_ok=True)
    return [import_hospital(hospital, Path(out) / f"{hospital}.db") for hospital in HOSPITALS]


def import_hospital(hospital: str, database: str | Path) -> ImportReport:
    """Write one hospital's patients into one database; twice changes nothing.

    Args:
        hospital: one of HOSPITALS.
        database: SQLAlchemy URL, or a path of a SQLite file.
    Raises:
        ConfigError: scikit-learn is not installed.
        SchemaError: there is no such hospital.
        StoreError: the database holds something else, or cannot be written.
    """
    if hospital not in HOSPITALS:
        raise SchemaError(f"breast-cancer: no hospital {hospital!r}; choose {', '.join(HOSPITALS)}")
    rows = hospital_rows(hospital)
    name, written = write_rows(database, wide_table(TABLE, COLUMNS), COLUMNS, rows, PUBLIC)
    return ImportReport(name, TABLE, len(rows), written, len(rows))


def hospital_rows(hospital: str) -> list[Row]:
    """The patients whom the rule gives to one hospital."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ModuleNotFoundError:
        raise ConfigError(
            "breast-cancer ships inside scikit-learn; "
            "pip install -c constraints.txt '.[demo]' in fedcohort's folder"
        ) from None
    features, benign = load_breast_cancer(return_X_y=True)
    columns = [name for name in COLUMNS if name != "malignant"]
    chosen = _patients_of(HOSPITALS.index(hospital), [not value for value in benign])
    return [
        {
            PATIENT_ID: f"bc-{patient:03d}",
            **dict(zip(columns, features[patient].tolist(), strict=True)),
            "malignant": int(not benign[patient]),
        }
        for patient in chosen
    ]


def _patients_of(hospital: int, malignant: list[bool]) -> list[int]:
    chosen: list[int] = []
    for is_malignant, shares in SHARES.items():
        members = [patient for patient, value in enumerate(malignant) if value == is_malignant]
        members.sort(key=lambda patient: hashlib.sha256(str(patient).encode()).digest())
        first, last = (round(sum(shares[:index]) * len(members)) for index in (hospital, hospital + 1))
        chosen += members[first:last]
    return sorted(chosen)

"""Simulated cardiology cohorts, to try everything without a patient: `fedcohort data synthesize`.

Nobody is behind these rows; ids are pseudonyms of nobody. Hospitals differ in age, sex,
weight, how they measure blood pressure, how often they measure at all, and prevalence.

How a patient is drawn (N is normal, m is 1 for men, s for smokers; sex, smoking and family
history are coin throws; everything is rounded as a clinic would, then kept within its bounds):

    age           N(site, 11)
    bmi           N(site, 4.3)
    systolic_bp   N(130 + .5 (age - 60) + .9 (bmi - 27) + site's cuff, 14)
    diastolic_bp  N(78 + .45 (systolic_bp - 130), 7)
    cholesterol   N(205 + .3 (age - 60) + .8 (bmi - 27), 36)
    hdl           N(56 - 8 m - 4 s - .8 (bmi - 27), 11)
    heart_rate    N(72 + 4 s + .4 (bmi - 27), 10)
    glucose       exp N(log 100 + .004 (age - 60) + .012 (bmi - 27), .2)
    creatinine    exp N(log .92 + .15 m + .005 (age - 60), .2)

The risk model: the label is a coin throw with probability 1 / (1 + exp(-r)), where
r = site + .06 (age - 60) + .9 m + .8 s + .6 family_history + .024 (systolic_bp - 130)
  + .01 (cholesterol - 205) - .035 (hdl - 50) + .014 (glucose - 100) + .02 (heart_rate - 73)
  + .04 (bmi - 27) + .8 (creatinine - 1).
Knowing r itself gives an AUC of about .84. Last, values go missing at random.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Categorical
from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.schema import PATIENT_ID, RECORDS, Base, Declared
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import ImportReport, Row, declare_numeric, write_rows

MAX_PATIENTS = 10_000_000
DISEASED = ("I20.9", "I21.9", "I25.1", "I50.9")
"""ICD-10 of those with the label: angina, infarction, chronic ischaemic disease, heart failure."""
HEALTHY = ("E78.5", "I10", "Z13.6")
"""ICD-10 of the others: hyperlipidaemia, hypertension, or a screening without finding."""

_FEATURES = {
    "age": (18, 100, "years"),
    "sex": (0, 1, None),  # 1 is male
    "systolic_bp": (70, 250, "mm Hg"),
    "diastolic_bp": (40, 150, "mm Hg"),
    "cholesterol": (80, 500, "mg/dl"),
    "hdl": (10, 120, "mg/dl"),
    "heart_rate": (35, 180, "beats/min"),
    "bmi": (12, 60, "kg/m2"),
    "glucose": (40, 400, "mg/dl"),
    "creatinine": (0.2, 8, "mg/dl"),
    "smoker": (0, 1, None),
    "family_history": (0, 1, None),
}
FEATURES = tuple(_FEATURES)
"""Names of the JSON vector's elements, in order."""

COLUMNS: Mapping[str, Declared] = {
    **{
        name: declare_numeric(low, high, unit, position)
        for position, (name, (low, high, unit)) in enumerate(_FEATURES.items())
    },
    "diagnosis": Declared(Categorical((*HEALTHY, *DISEASED))),
    "label": Declared(Categorical((0, 1))),
}

_DECIMALS = {"bmi": 1, "creatinine": 2}
_MISSING = {"cholesterol": 0.06, "hdl": 0.09, "heart_rate": 0.03, "bmi": 0.05, "glucose": 0.10} | {
    "creatinine": 0.08,
    "smoker": 0.04,
    "family_history": 0.12,
}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hospital:
    """How one hospital's patients and habits differ; `missing` multiplies the rates of missing values."""

    age: float
    male: float
    bmi: float
    cuff: float
    missing: float
    intercept: float


HOSPITALS = (
    Hospital(age=61, male=0.56, bmi=27.0, cuff=0.0, missing=1.0, intercept=-1.1),
    Hospital(age=66, male=0.63, bmi=28.5, cuff=4.0, missing=1.6, intercept=-1.3),
    Hospital(age=54, male=0.48, bmi=26.2, cuff=-3.0, missing=0.6, intercept=-0.8),
    Hospital(age=70, male=0.90, bmi=29.0, cuff=2.0, missing=2.2, intercept=-1.4),
)
"""A university hospital, a district one, an outpatient clinic and a veterans' one; then again."""


def synthesize(url: str | Path, site_index: int, n_patients: int, seed: int) -> ImportReport:
    """Write one hospital's simulated cohort into the table `records`; twice changes nothing.

    Args:
        url: SQLAlchemy URL, or a path of a SQLite file, made when missing.
        site_index: from 0; which hospital of HOSPITALS, in turn, and which random stream.
        n_patients: rows to write, one a patient.
        seed: the same seed and site give the same patients.
    Raises:
        ConfigError: a number is out of range.
        StoreError: the database holds something else, or cannot be written.
    """
    if not 1 <= n_patients <= MAX_PATIENTS or site_index < 0 or seed < 0:
        raise ConfigError(f"synthesize: patients from 1 to {MAX_PATIENTS:,}, site and seed from 0")
    rows = simulated_rows(site_index, n_patients, seed)
    name, written = write_rows(url, Base.metadata.tables[RECORDS], COLUMNS, rows, MADE_UP)
    return ImportReport(name, RECORDS, n_patients, written, n_patients)


def simulated_rows(site_index: int, n_patients: int, seed: int) -> list[Row]:
    """One hospital's patients as rows of the table `records`."""
    hospital = HOSPITALS[site_index % len(HOSPITALS)]
    draw = np.random.default_rng([seed, site_index])
    features = _draw_features(hospital, n_patients, draw)
    label = draw.random(n_patients) < 1 / (1 + np.exp(-risk(features, hospital.intercept)))
    disease = np.array(DISEASED)[draw.choice(len(DISEASED), n_patients, p=(0.3, 0.15, 0.4, 0.15))]
    other = np.select(
        [features["systolic_bp"] >= 140, features["cholesterol"] >= 240], ["I10", "E78.5"], "Z13.6"
    )
    diagnosis = np.where(label, disease, other).tolist()
    vectors = _with_missing(features, hospital.missing, draw)
    return [
        {
            PATIENT_ID: _pseudonym(seed, site_index, patient),
            "diagnosis": diagnosis[patient],
            "features": vectors[patient],
            "label": float(label[patient]),
        }
        for patient in range(n_patients)
    ]


def _draw_features(hospital: Hospital, n: int, draw: np.random.Generator) -> dict[str, Floats]:
    """Everything about the patients before the label, without gaps, in the order of FEATURES."""
    age = draw.normal(hospital.age, 11, n)
    bmi = draw.normal(hospital.bmi, 4.3, n)
    male, smoker, family = (draw.random(n) < share for share in (hospital.male, 0.26, 0.3))
    older, heavier = age - 60, bmi - 27
    systolic = draw.normal(130 + 0.5 * older + 0.9 * heavier + hospital.cuff, 14)
    drawn = {
        "age": age,
        "sex": male.astype(np.float64),
        "systolic_bp": systolic,
        "diastolic_bp": draw.normal(78 + 0.45 * (systolic - 130), 7),
        "cholesterol": draw.normal(205 + 0.3 * older + 0.8 * heavier, 36),
        "hdl": draw.normal(56 - 8.0 * male - 4.0 * smoker - 0.8 * heavier, 11),
        "heart_rate": draw.normal(72 + 4.0 * smoker + 0.4 * heavier, 10),
        "bmi": bmi,
        "glucose": np.exp(draw.normal(np.log(100) + 0.004 * older + 0.012 * heavier, 0.2)),
        "creatinine": np.exp(draw.normal(np.log(0.92) + 0.15 * male + 0.005 * older, 0.2)),
        "smoker": smoker.astype(np.float64),
        "family_history": family.astype(np.float64),
    }
    return {
        name: np.clip(np.round(drawn[name], _DECIMALS.get(name, 0)), low, high)
        for name, (low, high, _) in _FEATURES.items()
    }


def risk(features: Mapping[str, Floats], intercept: float) -> Floats:
    """The risk model's log odds, as the module's docstring states it."""
    return (
        intercept
        + 0.06 * (features["age"] - 60)
        + 0.9 * features["sex"]
        + 0.8 * features["smoker"]
        + 0.6 * features["family_history"]
        + 0.024 * (features["systolic_bp"] - 130)
        + 0.01 * (features["cholesterol"] - 205)
        - 0.035 * (features["hdl"] - 50)
        + 0.014 * (features["glucose"] - 100)
        + 0.02 * (features["heart_rate"] - 73)
        + 0.04 * (features["bmi"] - 27)
        + 0.8 * (features["creatinine"] - 1)
    )


def _with_missing(
    features: Mapping[str, Floats], factor: float, draw: np.random.Generator
) -> list[list[float | None]]:
    matrix = np.stack([features[name] for name in FEATURES], axis=1)
    rates = np.array([_MISSING.get(name, 0.0) for name in FEATURES]) * factor
    gaps = draw.random(matrix.shape) < rates
    return [
        [None if gap else value for value, gap in zip(values, row_gaps, strict=True)]
        for values, row_gaps in zip(matrix.tolist(), gaps.tolist(), strict=True)
    ]


def _pseudonym(seed: int, site_index: int, patient: int) -> str:
    return "p" + hashlib.blake2b(f"{seed}/{site_index}/{patient}".encode(), digest_size=8).hexdigest()

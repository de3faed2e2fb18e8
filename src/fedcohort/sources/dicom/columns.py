"""Which of an image's attributes become columns, as numbers in a declared range or levels of a closed list.

A text from the file is never taken as it is: it is one of the levels that were declared, or the
image is refused. So nothing that somebody typed into a field reaches the database.
"""

import datetime
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from fedcohort.columns import Categorical, Frozen, Level, Numeric, Real
from fedcohort.errors import ConfigError
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.catalogue.schema import DAY_0, DAYS_SINCE_1970, Declared
from fedcohort.sources.dicom.grey import Groups
from fedcohort.sources.dicom.scan import vr_of
from fedcohort.sources.dicom.values import DataSet

PATIENT_ID_TAG = 0x00100020
_PIXEL_MEASURES = 0x00289110
_OTHER = "OTHER"
_NUMERIC = frozenset(["DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"])
_TEXT = frozenset(["CS", "LO", "SH", "ST", "LT", "UC", "UT"])
_AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})", re.ASCII)

# PS3.3, C.7.3.1.1.1: modalities of images.
MODALITIES = (
    "AR BI BMD CR CT DG DX ES GM IO IVOCT IVUS LS MG MR NM OCT OP OPM OPT PT PX RF RG SC SM TG US XA XC"
)
# PS3.16, annex L, the most frequent ones of radiography and tomography.
BODY_PARTS = (
    "ABDOMEN ABDOMENPELVIS ANKLE ARM BRAIN BREAST CHEST CHESTABDOMEN CHESTABDPELVIS CLAVICLE COCCYX CSPINE "
    "ELBOW EYE FACE FEMUR FINGER FOOT FOREARM HAND HEAD HEADNECK HEART HIP HUMERUS JAW KIDNEY KNEE LEG LIVER "
    "LSPINE LUNG NECK PANCREAS PELVIS PROSTATE RIB SCAPULA SHOULDER SINUS SKULL SPINE SPLEEN SSPINE STERNUM "
    "THYROID TIBFIB TOE TSPINE UTERUS WRIST"
)


class DicomColumn(Frozen):
    """One column of the table.

    Attributes:
        keyword: the attribute's, as DICOM's dictionary has it, such as `KVP`.
        levels: of a text; anything else refuses the image.
        low, high: of a number.
        index: which of several values, from 0.
    """

    keyword: Annotated[str, Field(pattern=r"^[A-Z]\w*$", max_length=64)]
    levels: Annotated[tuple[Level, ...], Field(min_length=2, max_length=1024)] | None = None
    low: Real | None = None
    high: Real | None = None
    unit: Annotated[str, Field(max_length=32)] | None = None
    index: Annotated[int, Field(strict=True, ge=0, le=99)] = 0

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.levels is None) == (self.low is None or self.high is None):
            raise ValueError("give levels for a text, or low and high for a number")
        return self


@dataclass(frozen=True)
class ColumnReader:
    """A column, and how its value is read from an image and the number of a frame."""

    declared: Declared
    read: Callable[[Groups, int], object]


def _date_column(keyword: str) -> DicomColumn:
    first, last = (float(datetime.date(year, 1, 1).toordinal() - DAY_0) for year in (1900, 2201))
    return DicomColumn(keyword=keyword, low=first, high=last, unit=DAYS_SINCE_1970)


_KNOWN: Mapping[str, Mapping[str, DicomColumn]] = {
    "Modality": {"modality": DicomColumn(keyword="Modality", levels=(*MODALITIES.split(), _OTHER))},
    "BodyPartExamined": {
        "body_part": DicomColumn(keyword="BodyPartExamined", levels=(*BODY_PARTS.split(), _OTHER))
    },
    "PatientSex": {"sex": DicomColumn(keyword="PatientSex", levels=("F", "M", "O"))},
    "PatientAge": {"age": DicomColumn(keyword="PatientAge", low=0.0, high=150.0, unit="years")},
    "PatientSize": {"height_m": DicomColumn(keyword="PatientSize", low=0.2, high=2.6, unit="m")},
    "PatientWeight": {"weight_kg": DicomColumn(keyword="PatientWeight", low=0.2, high=500.0, unit="kg")},
    "Laterality": {"laterality": DicomColumn(keyword="Laterality", levels=("L", "R"))},
    "ImageLaterality": {"laterality": DicomColumn(keyword="ImageLaterality", levels=("L", "R", "U", "B"))},
    "ViewPosition": {
        "view_position": DicomColumn(
            keyword="ViewPosition", levels=("AP", "PA", "LL", "RL", "CC", "MLO", _OTHER)
        )
    },
    "Rows": {"image_rows": DicomColumn(keyword="Rows", low=1.0, high=65535.0, unit="pixels")},
    "Columns": {"image_columns": DicomColumn(keyword="Columns", low=1.0, high=65535.0, unit="pixels")},
    "PixelSpacing": {
        "row_spacing_mm": DicomColumn(keyword="PixelSpacing", low=0.0, high=100.0, unit="mm"),
        "column_spacing_mm": DicomColumn(keyword="PixelSpacing", low=0.0, high=100.0, unit="mm", index=1),
    },
    "SliceThickness": {"slice_mm": DicomColumn(keyword="SliceThickness", low=0.0, high=500.0, unit="mm")},
    "KVP": {"kvp": DicomColumn(keyword="KVP", low=0.0, high=500.0, unit="kV")},
    "MagneticFieldStrength": {
        "field_t": DicomColumn(keyword="MagneticFieldStrength", low=0.0, high=30.0, unit="T")
    },
    "RepetitionTime": {"repetition_ms": DicomColumn(keyword="RepetitionTime", low=0.0, high=1e6, unit="ms")},
    "EchoTime": {"echo_ms": DicomColumn(keyword="EchoTime", low=0.0, high=1e5, unit="ms")},
    "StudyDate": {"study_date": _date_column("StudyDate")},
    "SeriesDate": {"series_date": _date_column("SeriesDate")},
    "AcquisitionDate": {"acquisition_date": _date_column("AcquisitionDate")},
}
"""Attributes whose columns need no further words. Dates are days since 1970-01-01, from 1900 to 2200; where
the site's rules keep the year alone, its first day."""


def known_columns(keyword: str) -> Mapping[str, DicomColumn]:
    """The columns that a keyword alone means.

    Raises:
        ConfigError: none; says which there are.
    """
    if keyword not in _KNOWN:
        raise ConfigError(
            f"--column: {keyword} needs levels or a range: declare it in the file of --options; "
            f"without, there are {', '.join(sorted(_KNOWN))}"
        )
    return _KNOWN[keyword]


def column_reader(name: str, column: DicomColumn) -> ColumnReader:
    """How a declared column is read.

    Raises:
        ConfigError: the attribute is not in DICOM's dictionary, or is of a kind that never becomes a column.
    """
    from pydicom.datadict import tag_for_keyword

    tag = tag_for_keyword(column.keyword)
    if tag is None:
        raise ConfigError(f"columns.{name}: {column.keyword} is not in DICOM's dictionary")
    vr = vr_of(tag)
    if column.levels is not None and vr in _TEXT and tag != PATIENT_ID_TAG:
        return ColumnReader(Declared(Categorical(column.levels), column.unit), _level_reader(tag, column))
    readers = {**dict.fromkeys(_NUMERIC, _number), "AS": _age, "DA": _date}
    if column.levels is not None or vr not in readers or column.low is None or column.high is None:
        raise ConfigError(
            f"columns.{name}: {column.keyword} is of kind {vr}: levels are for texts, a range for numbers, "
            "ages and dates; names and identifiers never become columns"
        )
    if vr == "DA" and column.unit not in (None, DAYS_SINCE_1970):
        raise ConfigError(
            f"columns.{name}: dates are in {DAYS_SINCE_1970}; leave unit out; low and high are such"
        )
    unit = DAYS_SINCE_1970 if vr == "DA" else column.unit
    kind = Numeric(column.low, column.high)
    return ColumnReader(Declared(kind, unit), _number_reader(tag, column, readers[vr]))


def is_date(column: DicomColumn) -> bool:
    """Whether its values are dates, which the site's de-identification shifts."""
    from pydicom.datadict import tag_for_keyword

    return vr_of(tag_for_keyword(column.keyword) or 0) == "DA"


def _number_reader(
    tag: int, column: DicomColumn, read: Callable[[DataSet, int, int], float | None]
) -> Callable[[Groups, int], object]:
    low, high = column.low or 0.0, column.high or 0.0

    def value(groups: Groups, frame: int) -> object:
        for place in reversed(groups.places(_PIXEL_MEASURES, frame)):
            level = read(place, tag, column.index)
            if level is not None:
                if not low <= level <= high:
                    raise place.refusal(tag, f"is outside {low:g} to {high:g}")
                return level
        return None

    return value


def _level_reader(tag: int, column: DicomColumn) -> Callable[[Groups, int], object]:
    levels = {level_key(level): level for level in column.levels or ()}
    other = _KNOWN.get(column.keyword) is not None and _OTHER in levels

    def value(groups: Groups, _frame: int) -> object:
        texts = groups.image.texts(tag)
        text = texts[column.index] if column.index < len(texts) else ""
        if not text:
            return None
        level = levels.get(level_key(text))
        if level is None:
            if other:
                return _OTHER
            raise groups.image.refusal(tag, "holds a level that is not declared")
        return level

    return value


def _number(place: DataSet, tag: int, index: int) -> float | None:
    numbers = place.numbers(tag)
    return numbers[index] if index < len(numbers) else None


def _age(place: DataSet, tag: int, _index: int) -> float | None:
    """Years, from such as 045Y or 018M: PS3.5, 6.2, AS."""
    text = place.text(tag)
    if text is None:
        return None
    match = _AGE.fullmatch(text)
    if match is None:
        raise place.refusal(tag, "is not an age such as 045Y")
    return int(match[1]) * _YEARS[match[2]]


def _date(place: DataSet, tag: int, index: int) -> float | None:
    """20260131 as days since 1970-01-01; the older 2026.01.31, too."""
    texts = place.texts(tag)
    if index >= len(texts) or not texts[index]:
        return None
    match = _DATE.fullmatch(texts[index])
    try:
        day = datetime.date(*map(int, match.groups())) if match else None
    except ValueError:
        day = None
    if day is None:
        raise place.refusal(tag, "is not a date such as 20260131")
    return float(day.toordinal() - DAY_0)

"""A data set without the patient: PS3.15's basic profile, and nothing kept that is not understood.

What the profile says stands in `dicom_profile`. The new data set is built from nothing: an
element of the old one is added only by a rule, and only as a number, a term of the standard, a
new UID, a moved date or a dummy. Items of sequences pass through the same rules.
"""

import datetime
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fedcohort.errors import DicomError
from fedcohort.sources.catalogue.normal_form import level_key
from fedcohort.sources.deidentify.pseudonym import DEFAULT_MAX_SHIFT_DAYS, alias, code_pseudonym, shift_date
from fedcohort.sources.dicom.columns import PATIENT_ID_TAG
from fedcohort.sources.dicom.grey import descriptor, table
from fedcohort.sources.dicom.profile import EDITION, action
from fedcohort.sources.dicom.scan import PIXEL_DATA, may_be_signed, vr_of
from fedcohort.sources.dicom.terms import allowed
from fedcohort.sources.dicom.values import DataSet

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BINARY_NUMBERS = frozenset(["US", "SS", "UL", "SL", "FL", "FD", "UV", "SV"])
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DAY = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})(?:\d{2}){0,3}(?:\.\d{1,6})?(?:[+-]\d{4})?", re.ASCII)
_AGE = re.compile(r"(\d{3})([DWMY])", re.ASCII)
_MAX_NUMBERS_BYTES = 64 * 1024
_STANDARD_UIDS = "1.2.840.10008."
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_CHARACTERISTICS = {0x00100040, 0x00101010, 0x00101020, 0x00101030}
_DUMMIES = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "ANONYMIZED"),
    "AS": "000Y",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101",
    "IS": "0",
    "TM": "000000",
}
_CODES = {
    "profile": ("113100", "Basic Application Confidentiality Profile"),
    "pixels": ("113101", "Clean Pixel Data Option"),
    "dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "characteristics": ("113108", "Retain Patient Characteristics Option"),
}
"""PS3.16, CID 7050."""


@dataclass(frozen=True)
class DicomPrivacy:
    """How a data set is de-identified; the key is the site's.

    Attributes:
        dates: `shift`: all of a patient's by as many days, times of day left out; `remove`: the profile.
        keep_characteristics: sex, age (over 89 as 90), size and weight stay.
    """

    key: bytes
    dates: Literal["shift", "remove"] = "shift"
    max_shift_days: int = DEFAULT_MAX_SHIFT_DAYS
    keep_characteristics: bool = False

    def __repr__(self) -> str:
        """Without the key."""
        return f"DicomPrivacy(dates={self.dates!r})"


def new_uid(key: bytes, uid: str) -> str:
    """Another UID for a UID, the same whenever it is met under this key: PS3.5, B.2 (128 bits under 2.25)."""
    return f"2.25.{int(code_pseudonym(key, 'DICOM UID', f'uid {uid}')[1:], 16)}"


def patient_of(image: DataSet) -> str:
    """PatientID.

    Raises:
        DicomError: it is missing.
    """
    patient = image.text(PATIENT_ID_TAG)
    if patient is None or level_key(patient) is None:
        raise image.refusal(PATIENT_ID_TAG, "is missing; an image without a patient is of no use here")
    return patient


def without_patient(image: DataSet, privacy: DicomPrivacy, masked: bool) -> "Dataset":
    """Everything but pixels, de-identified.

    Args:
        masked: texts in the pixels are painted over, which the data set then says.
    Raises:
        DicomError: there is no PatientID.
    """
    known_as = alias(privacy.key, patient_of(image), privacy.max_shift_days)
    made = _Treated(privacy, known_as.days).data_set(image)
    made.PatientID, made.PatientName = known_as.name, known_as.name
    made.PatientIdentityRemoved = "YES"
    made.DeidentificationMethod = ["fedcohort", EDITION, "text kept only where it is a defined term"]
    made.LongitudinalTemporalInformationModified = "MODIFIED" if privacy.dates == "shift" else "REMOVED"
    names = ["profile"]
    names += ["pixels"] if masked else []
    names += ["dates"] if privacy.dates == "shift" else []
    names += ["characteristics"] if privacy.keep_characteristics else []
    made.DeidentificationMethodCodeSequence = [_code(*_CODES[name]) for name in names]
    if masked:
        made.BurnedInAnnotation = "NO"
    return made


def _code(value: str, meaning: str) -> "Dataset":
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


@dataclass(frozen=True)
class _Treated:
    """The rules, with the offset of this file's patient."""

    privacy: DicomPrivacy
    days: int

    def data_set(self, source: DataSet) -> "Dataset":
        from pydicom.dataset import Dataset

        made = Dataset()
        for tag in sorted(source.elements):
            if tag == PIXEL_DATA:
                continue
            vr = _vr(source, tag)
            value = self._value(source, tag, vr)
            if value is not None:
                made.add_new(tag, vr, value)
        return made

    def _value(self, source: DataSet, tag: int, vr: str) -> object:
        """What stands there afterwards; None when the element is left out."""
        if self.privacy.keep_characteristics and tag in _CHARACTERISTICS:
            return _characteristic(source, tag)
        moved = self._moved(source, tag) if vr in ("DA", "DT") else None
        if moved is not None:
            return moved
        done = action(tag)
        if done == "empty":
            return [] if vr == "SQ" else ""
        if done == "remove" or (done == "dummy" and vr != "SQ"):
            return _DUMMIES.get(vr) if done == "dummy" else None
        try:
            return self._kept(source, tag, vr)
        except DicomError:
            return None  # not what its tag promises

    def _kept(self, source: DataSet, tag: int, vr: str) -> object:
        from pydicom.datadict import keyword_for_tag

        match vr:
            case "SQ":
                return [made for item in source.items(tag) if len(made := self.data_set(item))] or None
            case "UI":
                return [self._uid(text) for text in source.texts(tag)] or None
            case "CS" | "LO":
                return allowed(keyword_for_tag(tag), source.texts(tag)) or None
            case "DS" | "IS":
                return _decimals(source, tag)
            case "OW" | "US" | "SS" if tag in (_LUT_DATA, _LUT_DESCRIPTOR):
                return _look_up_table(source) if tag == _LUT_DATA else _look_up_descriptor(source)
        return _binary_numbers(source, tag, vr) if vr in _BINARY_NUMBERS else None

    def _uid(self, uid: str) -> str:
        from pydicom.uid import UID

        standard = uid.startswith(_STANDARD_UIDS) and UID(uid).name != uid  # the dictionary has a name for it
        return uid if standard else new_uid(self.privacy.key, uid)

    def _moved(self, source: DataSet, tag: int) -> list[str] | None:
        """Dates of examinations, moved; none of the patient's own (group 0010), such as the birth date."""
        if self.privacy.dates == "remove" or tag >> 16 == 0x0010:
            return None
        try:
            days = [_day(text) for text in source.texts(tag)]
        except DicomError:
            return None
        moved = [shift_date(day, self.days) if day else None for day in days]
        return (
            [f"{day:%Y%m%d}".zfill(8) for day in moved if day is not None] if moved and all(moved) else None
        )


def _vr(source: DataSet, tag: int) -> str:
    """The dictionary's, whatever the file says; where that leaves US or SS open, how it is read."""
    if tag == _LUT_DATA:
        return "OW"
    written = source.vr(tag)
    return written if may_be_signed(tag) and written in ("US", "SS") else vr_of(tag)


def _day(text: str) -> datetime.date | None:
    match = _DAY.fullmatch(text)
    try:
        return datetime.date(*map(int, match.groups())) if match else None
    except ValueError:
        return None


def _decimals(source: DataSet, tag: int) -> list[str] | None:
    texts = source.texts(tag)
    return (
        list(texts) if texts and all(len(text) <= 16 and _DECIMAL.fullmatch(text) for text in texts) else None
    )


def _binary_numbers(source: DataSet, tag: int, vr: str) -> list[int] | list[float] | None:
    element = source.elements[tag]
    if not 0 < element.end - element.start <= _MAX_NUMBERS_BYTES:
        return None
    numbers = source.numbers(tag)
    if vr in ("FL", "FD"):
        return list(numbers)
    low, high = {"US": (0, 2**16), "SS": (-(2**15), 2**15), "UL": (0, 2**32), "SL": (-(2**31), 2**31)}.get(
        vr, (-(2**53), 2**53)
    )
    fits = all(number == int(number) and low <= number < high for number in numbers)
    return [int(number) for number in numbers] if fits and numbers else None


def _look_up_table(source: DataSet) -> bytes:
    """LUTData as its descriptor describes it, in 16 bits an entry."""
    entries, _, _ = descriptor(source, _LUT_DESCRIPTOR)
    return table(source, _LUT_DATA, entries).astype("<u2").tobytes()


def _look_up_descriptor(source: DataSet) -> list[int]:
    """Entries, first value mapped, and bits; pydicom writes the first without a sign, whatever the VR."""
    entries, first, bits = descriptor(source, _LUT_DESCRIPTOR)
    return [entries % 2**16, first, bits]


def _characteristic(source: DataSet, tag: int) -> object:
    """Sex, age, size or weight; None when it is none."""
    texts = source.texts(tag)[:1]
    text = texts[0] if texts else ""
    if tag == 0x00100040:
        return text if text in ("M", "F", "O") else ""
    if tag == 0x00101010:
        match = _AGE.fullmatch(text)
        if match is None:
            return None
        return "090Y" if match[2] == "Y" and int(match[1]) > 89 else text
    return _decimals(source, tag)

"""DICOM files without the patient: the standard's table, and a marker that shows up nowhere."""

import datetime
import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="DICOM needs the extra dicom")

from pydicom import dcmread
from pydicom.datadict import DicomDictionary, tag_for_keyword  # type: ignore[attr-defined]
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from fedcohort.errors import ConfigError, DicomError
from fedcohort.sources.deidentify.pseudonym import pseudonym, shift_days
from fedcohort.sources.dicom.deidentify import DicomPrivacy, new_uid
from fedcohort.sources.dicom.file import parse
from fedcohort.sources.dicom.pixels import Mask
from fedcohort.sources.dicom.profile import action, table_e1_1
from fedcohort.sources.dicom.write import Written, deidentified_file, deidentify_files
from fedcohort.sources.importer.batch import Refusal
from tests.sources.dicom.files import PIXELS, encoded, image, sample, write

KEY = b"k" * 32
SHIFT = DicomPrivacy(KEY)
MARKER = "ZEBRA"
FREE_TEXT = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")


def deidentified(dataset: Dataset, privacy: DicomPrivacy = SHIFT, masks: tuple[Mask, ...] = ()) -> Dataset:
    data = deidentified_file(parse(encoded(dataset)), privacy, masks)
    return dcmread(io.BytesIO(data))


# Rows to look up in PS3.15, table E.1-1 (2026c).
ROWS = {
    "PatientName": "Z",
    "PatientID": "Z/D",
    "PatientBirthDate": "Z",
    "PatientSex": "Z",
    "PatientAge": "X",
    "PatientAddress": "X",
    "OtherPatientIDs": "X",
    "AccessionNumber": "Z",
    "StudyInstanceUID": "U",
    "SeriesInstanceUID": "U",
    "SOPInstanceUID": "U",
    "FrameOfReferenceUID": "U",
    "StudyDate": "Z",
    "SeriesDate": "X/D",
    "AcquisitionDate": "X/Z",
    "ContentDate": "Z/D",
    "StudyDescription": "X",
    "SeriesDescription": "X",
    "InstitutionName": "X/Z/D",
    "ReferringPhysicianName": "Z",
    "OperatorsName": "X/Z/D",
    "StationName": "X/Z/D",
    "DeviceSerialNumber": "X/Z/D",
    "ProtocolName": "X/D",
    "ContrastBolusAgent": "Z/D",
    "PatientComments": "X",
    "ImageComments": "X",
    "ReferencedImageSequence": "X/Z/U*",
    "ContentSequence": "D",
    "PersonName": "D",
    "RequestAttributesSequence": "X",
    "DigitalSignaturesSequence": "X",
}


def test_the_table_is_the_standards() -> None:
    found = {keyword: table_e1_1()[tag_for_keyword(keyword) or 0] for keyword in ROWS}
    assert found == ROWS
    assert len(table_e1_1()) == 652
    assert set(table_e1_1().values()) == {"X", "Z", "D", "U", "X/Z", "X/D", "Z/D", "X/Z/D", "X/Z/U*"}


@pytest.mark.parametrize(
    "tag", [0x00091001, 0x60003000, 0x60024000, 0x50003000, 0x00080000, 0x00020010, 0xFFFCFFFC]
)
def test_private_overlay_curve_and_padding_attributes_are_removed(tag: int) -> None:
    assert action(tag) == "remove"


def test_a_patient_gets_a_pseudonym_and_the_file_says_what_was_done() -> None:
    made = deidentified(image(PIXELS, PatientID="7", PatientSex="F", PatientAge="093Y"))
    assert made.PatientID == made.PatientName == pseudonym(KEY, "7")
    assert (made.PatientIdentityRemoved, made.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113107"]
    assert (made.PatientSex, "PatientAge" in made) == ("", False)


def test_characteristics_stay_by_option_and_nobody_is_over_90() -> None:
    privacy = DicomPrivacy(KEY, dates="remove", keep_characteristics=True)
    made = deidentified(image(PIXELS, PatientSex="F", PatientAge="093Y", PatientWeight="70.5"), privacy)
    assert (made.PatientSex, made.PatientAge, made.PatientWeight) == ("F", "090Y", 70.5)
    codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    assert (codes, made.LongitudinalTemporalInformationModified) == (["113100", "113108"], "REMOVED")


def test_all_of_a_patients_dates_move_by_as_many_days_and_birth_is_emptied() -> None:
    days = datetime.timedelta(shift_days(KEY, "P1"))
    made = deidentified(
        image(
            PIXELS,
            StudyDate="20260131",
            ContentDate="20260201",
            StudyTime="101112",
            PatientBirthDate="19500101",
        )
    )
    assert made.StudyDate == f"{datetime.date(2026, 1, 31) + days:%Y%m%d}"
    assert made.ContentDate == f"{datetime.date(2026, 2, 1) + days:%Y%m%d}"
    assert (made.PatientBirthDate, made.StudyTime) == ("", "")
    removed = deidentified(
        image(PIXELS, StudyDate="20260131", ContentDate="20260201"), DicomPrivacy(KEY, "remove")
    )
    assert (removed.StudyDate, removed.ContentDate) == ("", "19000101")


def test_uids_change_and_agree_between_files_and_those_of_the_standard_stay() -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.3.4",
    )
    one = deidentified(image(PIXELS))
    two = deidentified(image(PIXELS, SOPInstanceUID="1.2.3.5", ReferencedImageSequence=[reference]))
    assert one.StudyInstanceUID == two.StudyInstanceUID == new_uid(KEY, "1.2.3")
    assert two.ReferencedImageSequence[0].ReferencedSOPInstanceUID == one.SOPInstanceUID
    assert two.ReferencedImageSequence[0].ReferencedSOPClassUID == reference.ReferencedSOPClassUID
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    assert new_uid(KEY, "1.2.3").startswith("2.25.")
    assert len(new_uid(KEY, "1.2.3")) <= 64
    assert new_uid(b"l" * 32, "1.2.3") != new_uid(KEY, "1.2.3")


def planted(dataset: Dataset, skip: set[str]) -> Dataset:
    """The marker in every element of the dictionary that can hold a text."""
    for tag, (vr, _vm, _name, _retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if keyword in skip or keyword == "" or group < 8 or group in (0x5400, 0xFFFE) or tag == 0x7FE00010:
            continue
        if vr in FREE_TEXT or vr == "CS":
            dataset.add_new(tag, vr, MARKER)
        elif vr in ("OB", "OW", "UN"):
            dataset.add_new(tag, "UN", MARKER.encode() + b"\0")
    return dataset


def test_a_marker_patient_in_every_text_of_a_file_shows_up_nowhere() -> None:
    needed = {"PhotometricInterpretation", "SpecificCharacterSet", "BurnedInAnnotation", "PatientID"}
    made = planted(image(PIXELS), needed)
    for tag in (0x00081140, 0x00081032, 0x52009229, 0x00082218, 0x00400275, 0x00189346):
        made.add_new(tag, "SQ", [planted(Dataset(), {"SpecificCharacterSet"})])
    made.private_block(0x0009, MARKER, create=True).add_new(1, "LO", MARKER)
    made.add_new(0x60003000, "OW", MARKER.encode() + b"\0")
    made.PatientID = MARKER
    data = bytearray(encoded(made))
    data[: len(MARKER)] = MARKER.encode()
    assert data.count(MARKER.encode()) > 2000
    out = (
        deidentified_file(parse(bytes(data) + MARKER.encode() * 2), SHIFT)
        if False
        else deidentified_file(parse(bytes(data)), SHIFT)
    )
    assert MARKER.encode() not in out
    assert MARKER.lower().encode() not in out.lower()


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "examples_overlay.dcm", "examples_palette.dcm"]
)
def test_a_real_file_keeps_its_pixels_and_loses_its_texts(name: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        before = dcmread(sample(name))
        made = dcmread_bytes(deidentified_file(parse(sample(name).read_bytes()), SHIFT))
        np.testing.assert_array_equal(before.pixel_array, made.pixel_array)
    texts = [str(one.value) for one in before.iterall() if one.VR in FREE_TEXT and len(str(one.value)) > 5]
    text = str(made)
    assert [one for one in texts if one in text] == []
    assert not any(one.tag.is_private or one.tag.group & 0xFF00 == 0x6000 for one in made)


def dcmread_bytes(data: bytes) -> Dataset:
    return dcmread(io.BytesIO(data))


def test_what_hides_in_a_codestream_in_unused_bits_or_behind_the_pixels_is_gone() -> None:
    from PIL import Image as pillow

    stream = io.BytesIO()
    pillow.fromarray(PIXELS).save(stream, format="JPEG2000", irreversible=False, comment=MARKER)
    made = image(PIXELS)
    made.PixelData = encapsulate([stream.getvalue()])
    made["PixelData"].is_undefined_length = True
    data = encoded(made, "1.2.840.10008.1.2.4.90")
    assert MARKER.encode() in data
    assert MARKER.encode() not in deidentified_file(parse(data), SHIFT)
    hidden = image(np.array([[0x5A01, 0x4502]], np.uint16), BitsStored=8, HighBit=7)
    hidden.PixelData += MARKER.encode() + b"\0"
    out = deidentified(hidden)
    assert (out.PixelData, out.BitsStored) == (struct.pack("<2H", 1, 2), 8)


def test_masks_are_painted_into_the_copy_and_said_in_it() -> None:
    made = deidentified(image(PIXELS, BurnedInAnnotation="YES"), masks=(Mask(x=0, y=0, width=2, height=1),))
    assert made.pixel_array.tolist() == [[0, 0], [128, 64]]
    assert made.BurnedInAnnotation == "NO"
    assert "113101" in [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
    light = image(PIXELS, PhotometricInterpretation="MONOCHROME1")
    assert deidentified(light, masks=(Mask(x=0, y=0, width=1, height=1),)).pixel_array[0, 0] == 255


def test_a_folder_is_copied_under_new_names_once(tmp_path: Path) -> None:
    write(tmp_path / "in" / "Doe.dcm", image(PIXELS, PatientID="7"))
    write(
        tmp_path / "in" / "us.dcm",
        image(PIXELS, Modality="US", BurnedInAnnotation=None, SOPInstanceUID="1.2.9"),
    )
    (tmp_path / "in" / "x.txt").write_text("x", encoding="utf-8")
    first, second = (list(deidentify_files(tmp_path / "in", tmp_path / "out", SHIFT)) for _ in range(2))
    assert [type(one) for one in first] == [Written, Refusal, Refusal]
    assert [one.new for one in (*first, *second) if isinstance(one, Written)] == [True, False]
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert path.relative_to(tmp_path / "out").parts == (
        pseudonym(KEY, "7"),
        new_uid(KEY, "1.2.3"),
        new_uid(KEY, "1.2.3.4") + ".dcm",
    )
    (other,) = list(
        deidentify_files(tmp_path / "in" / "Doe.dcm", tmp_path / "out", DicomPrivacy(KEY, "remove"))
    )
    assert isinstance(other, Refusal)
    assert "under other options" in other.reason


def test_copies_do_not_go_into_the_folder_they_come_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lies within"):
        list(deidentify_files(tmp_path, tmp_path / "out", SHIFT))
    with pytest.raises(ConfigError, match="no such file"):
        list(deidentify_files(tmp_path / "x", tmp_path / "out", SHIFT))


def test_a_file_without_patient_or_uids_is_refused() -> None:
    for keyword in ("PatientID", "SOPInstanceUID", "StudyInstanceUID", "SOPClassUID"):
        data = bytearray(encoded(image(PIXELS)))
        tag = tag_for_keyword(keyword) or 0
        start = data.rindex(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
        (length,) = struct.unpack_from("<H", data, start + 6)
        data[start + 8 : start + 8 + length] = b" " * length
        with pytest.raises(DicomError, match=keyword):
            deidentified_file(parse(bytes(data)), SHIFT)


def test_the_key_is_in_no_representation() -> None:
    assert "kkk" not in repr(SHIFT)

"""DICOM as careless writers leave it: what pydicom reads is read, to the same picture."""

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, dcmwrite
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedcohort.errors import DicomError
from fedcohort.sources.dicom.codec import FrameReader
from fedcohort.sources.dicom.deidentify import DicomPrivacy
from fedcohort.sources.dicom.file import parse
from fedcohort.sources.dicom.folder import find
from fedcohort.sources.dicom.grey import Picture, read_groups, to_grey
from fedcohort.sources.dicom.layout import read_layout
from fedcohort.sources.dicom.palette import palette
from fedcohort.sources.dicom.values import DataSet
from fedcohort.sources.dicom.write import deidentified_file
from tests.sources.dicom.files import PIXELS, element, encoded, image

PATIENT = 0x00100020
SIGNED = np.full((8, 8), -2000, np.int16)
SIGNED[2:6, 2:6] = np.arange(16).reshape(4, 4) * 50 - 400
LUT = Dataset()
LUT.LUTDescriptor = [2048, -1024, 16]
LUT.LUTData = (np.arange(2048) * 32).astype("<u2").tobytes()


def shown(image: DataSet) -> Picture:
    layout = read_layout(image)
    return to_grey(read_groups(image), layout, FrameReader(image, layout).decode(0), 0, "file")


@pytest.mark.parametrize("attributes", [{"PixelPaddingValue": -2000}, {"VOILUTSequence": [LUT]}])
def test_us_or_ss_follows_the_sign_of_the_pixels_in_implicit_vr(attributes: dict[str, object]) -> None:
    explicit = parse(encoded(image(SIGNED, **attributes), ExplicitVRLittleEndian))
    implicit = parse(encoded(image(SIGNED, **attributes), ImplicitVRLittleEndian))
    assert shown(implicit).tolist() == shown(explicit).tolist()
    assert shown(implicit).max() > shown(implicit)[3, 3] > 0


def test_a_look_up_table_in_implicit_vr_gives_pydicom_s_picture() -> None:
    data = encoded(image(SIGNED, VOILUTSequence=[LUT]), ImplicitVRLittleEndian)
    theirs = dcmread(io.BytesIO(data))
    expected = np.asarray(apply_voi_lut(theirs.pixel_array, theirs), np.float64)
    assert np.abs(shown(parse(data)) - expected * 255 / 65535).max() <= 0.51


@pytest.mark.parametrize("entries", [2048, 40000])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_deidentified_copy_shows_the_same_picture_through_its_table(syntax: str, entries: int) -> None:
    lut = Dataset()
    with disable_value_validation():
        lut.add_new(0x00283002, "SS", [entries, -1024, 16])
    lut.LUTData = (np.arange(entries) % 2**16).astype("<u2").tobytes()
    attributes = {"VOILUTSequence": [lut], "PixelPaddingValue": -2000}
    original = parse(encoded(image(SIGNED, **attributes), syntax))
    copy = deidentified_file(original, DicomPrivacy(b"k" * 32))
    assert shown(parse(copy)).tolist() == shown(original).tolist()
    assert dcmread(io.BytesIO(copy)).PixelPaddingValue == -2000


def test_a_deidentified_copy_keeps_a_large_palette_of_signed_pixels() -> None:
    shades = np.arange(40000).astype("<u2").tobytes()
    colours: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        colours[f"{name}PaletteColorLookupTableDescriptor"] = [40000, -2000, 16]
        colours[f"{name}PaletteColorLookupTableData"] = shades
    original = parse(encoded(image(SIGNED, **colours)))
    copy = parse(deidentified_file(original, DicomPrivacy(b"k" * 32)))
    assert [one.values.tolist() for one in palette(copy)] == [
        one.values.tolist() for one in palette(original)
    ]
    assert [one.first for one in palette(copy)] == [-2000] * 3


def test_zeros_behind_the_last_element_are_padding() -> None:
    data = encoded(image(PIXELS))
    for count in (1, 2, 7, 8, 9, 4096):
        assert parse(data + bytes(count)).elements.keys() == parse(data).elements.keys()
    with pytest.raises(DicomError):
        parse(data + bytes(16) + b"\1")


def test_delimiters_behind_defined_lengths_end_nothing() -> None:
    end_of_item, end_of_sequence = b"\xfe\xff\x0d\xe0" + bytes(4), b"\xfe\xff\xdd\xe0" + bytes(4)
    inside = element(0x00080100, b"SH", b"A1") + end_of_item
    item = b"\xfe\xff\x00\xe0" + len(inside).to_bytes(4, "little") + inside
    sequence = element(0x00081032, b"SQ", item + end_of_sequence)
    data = encoded(image(PIXELS))
    at = data.index(b"\x10\x00\x10\x00PN")
    read = parse(data[:at] + sequence + data[at:])
    (code,) = read.items(0x00081032)
    assert code.texts(0x00080100) == ("A1",)
    assert read.text(PATIENT) == "P1"


def test_a_number_of_frames_of_zero_means_one() -> None:
    assert read_layout(parse(encoded(image(PIXELS, NumberOfFrames=0)))).frames == 1


@pytest.mark.parametrize("term", ["ISO-IR 100", "ISO IR 100", "iso_ir 100", "ISO 2022-IR 100"])
def test_a_character_set_that_is_written_carelessly_is_the_one_that_is_meant(term: str) -> None:
    stated = "ISO 2022 IR 100 " if "2022" in term else "ISO_IR 100"
    data = encoded(image(PIXELS, SpecificCharacterSet=stated.strip()))
    written = data.replace(stated.encode(), term.encode().ljust(len(stated))).replace(b"P1", b"M\xfc")
    assert parse(written).text(PATIENT) == "Mü"


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_without_preamble_or_meta_information_is_read(syntax: str) -> None:
    made = image(PIXELS)
    whole = encoded(made, syntax)
    assert parse(whole[132:]).text(PATIENT) == "P1"
    made.file_meta = FileMetaDataset()
    file = io.BytesIO()
    dcmwrite(file, made, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    bare = file.getvalue()
    bare = bare[bare.index(b"\x08\x00\x16\x00") :]
    assert parse(bare).text(PATIENT) == "P1"
    assert shown(parse(bare)).tolist() == shown(parse(whole)).tolist()
    for other in (b"", b"\x89PNG", b"PK\3\4" + bytes(300), bytes(400)):
        with pytest.raises(DicomError, match="is not a DICOM file"):
            parse(other)


def test_a_dicomdir_finds_its_files_in_whatever_case_they_are(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Im1").write_bytes(encoded(image(PIXELS)))
    (tmp_path / "images" / "IM2;1").write_bytes(encoded(image(PIXELS)))
    records = []
    for name in ("IM1", "IM2", "im1"):
        record = Dataset()
        with disable_value_validation():
            record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["IMAGES", name]
        records.append(record)
    listing = image(PIXELS, DirectoryRecordSequence=records)
    (tmp_path / "dicomdir").write_bytes(encoded(listing))
    names = [found.path.relative_to(tmp_path).as_posix() for found in find(tmp_path / "dicomdir")]
    assert names == ["images/Im1", "images/IM2;1", "images/Im1"]

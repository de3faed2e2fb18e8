"""Files that are cut short, lie about themselves or were made to hurt: refused, at a bounded cost."""

import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from fedcohort.errors import DicomError
from fedcohort.sources.dicom import palette as dicom_palette
from fedcohort.sources.dicom import scan as dicom_scan
from fedcohort.sources.dicom.file import parse
from tests.patience import PATIENCE_SECONDS
from tests.sources.dicom.files import PIXELS, element, encoded, image, raw
from tests.sources.dicom.rows import refusal_of

ITEM, ITEM_END, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0"
UNDEFINED = b"\xff\xff\xff\xff"
SEQUENCE = b"\x08\x00\x40\x11SQ\0\0"


def with_codestream(stream: bytes, syntax: str, **attributes: object) -> bytes:
    made = image(PIXELS, **attributes)
    made.PixelData = encapsulate([stream])
    made["PixelData"].is_undefined_length = True
    return encoded(made, syntax)


def test_a_file_cut_at_any_byte_is_refused_or_whole(tmp_path: Path) -> None:
    whole = encoded(image(PIXELS))
    for end in range(0, len(whole), 7):
        refused = refusal_of(whole[:end], tmp_path)
        assert refused is not None
        assert refused.position.startswith("byte ")
    assert refusal_of(whole, tmp_path) is None


@pytest.mark.parametrize(
    ("data", "position", "field", "reason"),
    [
        (b"", 128, "", "not a DICOM file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), 128, "", "not a DICOM file"),
        (bytes(128) + b"DICM", 132, "(0002,0010) TransferSyntaxUID", "is missing"),
        (raw(syntax=b"1.2.3.4\0"), 140, "(0002,0010) TransferSyntaxUID", "no transfer syntax"),
        (
            raw(element(0x00100020, b"LO", b"x" * 9, 60000)),
            160,
            "(0010,0020) PatientID",
            "60,000 bytes long, and 9 are left",
        ),
        (
            raw(element(0x7FE00010, b"OW", b"xx", 0xFFFFFFFE)),
            160,
            "(7FE0,0010) PixelData",
            "4,294,967,294 bytes long",
        ),
        (raw(element(0x00100020, b"ZZ", b"x")), 160, "(0010,0020) PatientID", "no value representation"),
        (
            raw(element(0x00100020, b"LO", b"x "), element(0x00100020, b"LO", b"y ")),
            170,
            "(0010,0020) PatientID",
            "stands twice",
        ),
        (raw(SEQUENCE + UNDEFINED + ITEM + UNDEFINED), 180, "", "cut short"),
        (raw(SEQUENCE + UNDEFINED), 172, "(0008,1140) ReferencedImageSequence", "has no end"),
        (
            raw(SEQUENCE + UNDEFINED + ITEM + b"\xff\0\0\0"),
            172,
            "(0008,1140) ReferencedImageSequence",
            "255 bytes long",
        ),
        (
            raw(SEQUENCE + UNDEFINED + b"\x08\0\x18\0\0\0\0\0"),
            172,
            "(0008,1140) ReferencedImageSequence",
            "no item",
        ),
        (raw(ITEM_END + bytes(4)), 160, "(FFFE,E00D) ItemDelimitationItem", "stands where no item is"),
        (
            raw(element(0x00080018, b"UN", b"", 0xFFFFFFFF)[:8] + UNDEFINED),
            172,
            "(0008,0018) SOPInstanceUID",
            "has no end",
        ),
    ],
)
def test_a_lie_is_told_by_its_position_and_tag(
    tmp_path: Path, data: bytes, position: int, field: str, reason: str
) -> None:
    refused = refusal_of(data, tmp_path)
    assert refused is not None
    assert (refused.position, refused.field.strip()) == (f"byte {position:,}", field)
    assert reason in refused.reason


@pytest.mark.parametrize(
    ("attributes", "field"),
    [
        ({"Rows": 65535, "Columns": 65535}, "(0028,0010) Rows"),
        ({"Rows": 0}, "(0028,0010) Rows"),
        ({"Rows": 300}, "(7FE0,0010) PixelData"),
        ({"NumberOfFrames": "99999999"}, "(0028,0008) NumberOfFrames"),
        ({"NumberOfFrames": "50"}, "(7FE0,0010) PixelData"),
        ({"BitsAllocated": 24}, "(0028,0100) BitsAllocated"),
        ({"BitsStored": 99}, "(0028,0101) BitsStored"),
        ({"HighBit": 3}, "(0028,0102) HighBit"),
        ({"SamplesPerPixel": 3}, "(0028,0004) PhotometricInterpretation"),
        ({"PhotometricInterpretation": "SEPIA"}, "(0028,0004) PhotometricInterpretation"),
        ({"RescaleSlope": "0", "RescaleIntercept": "1"}, "(0028,1053) RescaleSlope"),
        ({"RescaleSlope": "1e300", "RescaleIntercept": "1"}, "(0028,1053) RescaleSlope"),
        ({"RescaleSlope": "nan"}, "(0028,1053) RescaleSlope"),
        ({"PixelSpacing": ["-1", "1"]}, "(0028,0030) PixelSpacing"),
        ({"StudyDate": "20260230"}, "(0008,0020) StudyDate"),
        ({"PatientAge": "45"}, "(0010,1010) PatientAge"),
        ({"PatientSex": "Jane Doe"}, "(0010,0040) PatientSex"),
        ({"PatientID": None}, "(0010,0020) PatientID"),
        ({"PixelData": None}, "(7FE0,0010) PixelData"),
    ],
)
def test_an_attribute_that_cannot_be_is_named_and_its_value_is_not(
    tmp_path: Path, attributes: dict[str, object], field: str
) -> None:
    data = encoded(image(PIXELS, SpecificCharacterSet="ISO_IR 192", **attributes))
    refused = refusal_of(data, tmp_path)
    assert refused is not None
    assert refused.field == field
    assert not any(str(value) in refused.reason for value in attributes.values() if len(str(value)) > 3)


def test_a_text_longer_than_any_has_to_be_is_not_read() -> None:
    found = parse(raw(element(0x00100020, b"UT", b"x" * 70_000)))
    with pytest.raises(DicomError, match="longer than 65,536 bytes"):
        found.text(0x00100020)


def test_a_text_in_another_character_set_than_told_is_refused(tmp_path: Path) -> None:
    data = encoded(image(PIXELS, SpecificCharacterSet="ISO_IR 192", PatientID="Mueller"))
    refused = refusal_of(data.replace(b"Mueller", b"M\xfcller "), tmp_path)
    assert refused is not None
    assert refused.field == "(0010,0020) PatientID"
    unknown = refusal_of(data.replace(b"ISO_IR 192", b"ISO_IR 999"), tmp_path)
    assert unknown is not None
    assert unknown.field == "(0008,0005) SpecificCharacterSet"


def nested(depth: int, undefined: bool) -> bytes:
    """A sequence in a sequence in a sequence ..."""
    inner = b""
    for _ in range(depth):
        if undefined:
            inner = (
                SEQUENCE
                + UNDEFINED
                + ITEM
                + UNDEFINED
                + inner
                + ITEM_END
                + bytes(4)
                + SEQUENCE_END
                + bytes(4)
            )
        else:
            item = ITEM + struct.pack("<L", len(inner)) + inner
            inner = SEQUENCE + struct.pack("<L", len(item)) + item
    return inner


@pytest.mark.parametrize("undefined", [True, False])
def test_nesting_is_bounded_and_its_cost_is_that_of_the_bytes(tmp_path: Path, undefined: bool) -> None:
    parse(raw(nested(15, undefined)))
    began = time.process_time()
    with pytest.raises(DicomError, match="nested more than"):
        parse(raw(nested(20_000, undefined)))
    assert time.process_time() - began < PATIENCE_SECONDS


@pytest.mark.parametrize("unit", [element(0x00090001, b"LO", b""), ITEM + bytes(4)])
def test_a_file_of_nothing_but_elements_is_let_go_at_a_bounded_cost(
    monkeypatch: pytest.MonkeyPatch, unit: bytes
) -> None:
    monkeypatch.setattr(dicom_scan, "MAX_ELEMENTS", 5_000)
    monkeypatch.setattr(dicom_scan, "MAX_TOP_ELEMENTS", 2_000)
    many = b"".join(
        element(0x00090000 + number, b"LO", b"") if unit[:1] == b"\x09" else unit for number in range(10_000)
    )
    body = many if unit[:1] == b"\x09" else SEQUENCE + UNDEFINED + many
    with pytest.raises(DicomError, match="has more than"):
        parse(raw(body))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([0, 1, 7, *[2, 0, 0, 0] * 40_000], "longer than"),
        ([0, 1, 7, *[0, 0] * 30_000, *[2, 30_000, 6, 0] * 25_000], "not a segmented table"),
        ([0, 1, 7, *[2, 1, 2, 0] * 1_000], "not a segmented table"),  # repeats what begins in no place
        ([0, 1, 7, 1, 5], "not a segmented table"),  # a line to nowhere
        ([2, 1, 0, 0], "not a segmented table"),  # repeats itself
        ([0, 1, 7, *[1, 65_535, 9] * 50_000], "as many entries"),
    ],
)
def test_a_segmented_palette_costs_no_more_than_its_entries(
    monkeypatch: pytest.MonkeyPatch, words: list[int], said: str
) -> None:
    if said == "longer than":
        monkeypatch.setattr(dicom_palette, "_MAX_SEGMENTED", 100_000)
    made = image(np.zeros((2, 2), np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [0, 0, 16])
        data = np.array(words, "<u2").tobytes()
        made.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", data)
    began = time.process_time()
    with pytest.raises(DicomError, match=said):
        dicom_palette.palette(parse(encoded(made)))
    assert time.process_time() - began < PATIENCE_SECONDS


def test_a_deflated_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedcohort.sources.dicom import file as dicom_file

    monkeypatch.setattr(dicom_file, "MAX_FILE_BYTES", 2**20)
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeezer.compress(bytes(2**26)) + squeezer.flush()
    tracemalloc.start()
    with pytest.raises(DicomError, match="unpacks to more than"):
        parse(raw(bomb, syntax=b"1.2.840.10008.1.2.1.99\0\0"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20
    with pytest.raises(DicomError, match="does not unpack"):
        parse(raw(b"\xff" * 100, syntax=b"1.2.840.10008.1.2.1.99\0\0"))


def jpeg(rows: int, columns: int) -> bytes:
    """A JPEG's beginning that declares a size."""
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, rows, columns, 1) + b"\x01\x11\x00" + bytes(20)


def jpeg_2000(rows: int, columns: int, tile: int) -> bytes:
    siz = struct.pack(">HHLLLLLLLLH", 41, 0, columns, rows, 0, 0, tile, tile, 0, 0, 1) + b"\x07\x01\x01"
    return b"\xff\x4f\xff\x51" + siz + bytes(20)


@pytest.mark.parametrize(
    ("stream", "syntax"),
    [
        (jpeg(65500, 65500), JPEGBaseline8Bit),
        (jpeg_2000(60000, 60000, 60000), JPEG2000Lossless),
        (jpeg_2000(2, 2, 0), JPEG2000Lossless),
        (b"\xff" * 1000, JPEGBaseline8Bit),
        (bytes(64) + b"\x81\x00" * 500_000, RLELossless),
    ],
)
def test_a_codestream_that_would_unpack_to_more_than_the_image_is_not_unpacked(
    tmp_path: Path, stream: bytes, syntax: str
) -> None:
    data = with_codestream(stream, syntax)
    tracemalloc.start()
    refused = refusal_of(data, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused is not None
    assert refused.field == "(7FE0,0010) PixelData"
    assert peak < 20 * 2**20


def test_many_tiny_tiles_are_refused(tmp_path: Path) -> None:
    made = with_codestream(jpeg_2000(1000, 1000, 1), JPEG2000Lossless, Rows=1000, Columns=1000)
    refused = refusal_of(made, tmp_path)
    assert refused is not None
    assert "another size" in refused.reason


@pytest.mark.parametrize("kind", [ValueError, MemoryError, type("PanicException", (BaseException,), {})])
def test_whatever_a_decoder_raises_refuses_its_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    # What broke it: pylibjpeg-rle panics in Rust on a segment one byte too long, and a panic is no Exception.
    from pydicom.pixels.decoders import base

    def panic(*_arguments: object, **_options: object) -> None:
        raise kind

    monkeypatch.setattr(base.Decoder, "as_array", panic)
    refused = refusal_of(with_codestream(bytes(64), RLELossless), tmp_path)
    assert refused is not None
    assert refused.reason.startswith("cannot be decoded")


def test_an_interrupt_is_not_taken_for_a_damaged_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels.decoders import base

    def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(base.Decoder, "as_array", interrupt)
    with pytest.raises(KeyboardInterrupt):
        refusal_of(with_codestream(bytes(64), RLELossless), tmp_path)

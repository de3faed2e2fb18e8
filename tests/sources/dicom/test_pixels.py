"""Pictures from stored values, on numbers that a person can check; and against pydicom on every real file."""

import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("pydicom", reason="DICOM needs the extra dicom")
pytest.importorskip("PIL", reason="pictures need Pillow")

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fedcohort.errors import ConfigError, DicomError, StudyError
from fedcohort.sources.dicom.codec import FrameReader
from fedcohort.sources.dicom.file import parse
from fedcohort.sources.dicom.grey import Window, read_groups
from fedcohort.sources.dicom.layout import read_layout
from fedcohort.sources.dicom.pixels import Mask, Rendering, render
from tests.sources.dicom.files import encoded, image, sample

GREY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def shown(dataset: Dataset, index: int = 0, **options: object) -> object:
    """The picture of a data set, of its own size unless another is given."""
    options = {"height": dataset.Rows, "width": dataset.Columns, **options}
    found = parse(encoded(dataset))
    layout = read_layout(found)
    stored = FrameReader(found, layout).decode(index)
    picture = render(read_groups(found), layout, stored, index, Rendering.model_validate(options))
    return picture.tolist()


def item(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def test_eight_bits_without_a_window_stay_as_they_are() -> None:
    assert shown(image(GREY)) == GREY.tolist()


def test_monochrome1_shows_its_largest_value_black() -> None:
    assert shown(image(GREY, PhotometricInterpretation="MONOCHROME1")) == (255 - GREY).tolist()


def test_hounsfield_units_come_from_slope_and_intercept_before_the_window() -> None:
    # -1024, 0 and 1024 HU in a window of 2049 around 0.5: black, grey and white
    pixels = np.array([[0, 1024, 2048]], np.uint16)
    made = image(pixels, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="0.5", WindowWidth="2049")
    assert shown(made) == [[0, 128, 255]]


def test_a_declared_window_comes_before_the_files_own() -> None:
    made = image(np.array([[0, 100, 200, 300]], np.int16), WindowCenter="1000", WindowWidth="10")
    assert shown(made, window={"center": 100.5, "width": 201}) == [[0, 128, 255, 255]]
    assert shown(made, window="range") == [[0, 85, 170, 255]]


def test_linear_exact_and_sigmoid_follow_the_standards_formulas() -> None:
    pixels = np.array([[0, 25, 50, 75, 100]], np.uint16)
    window = {"WindowCenter": "50", "WindowWidth": "100"}
    assert shown(image(pixels, **window, VOILUTFunction="LINEAR_EXACT")) == [[0, 64, 128, 191, 255]]
    expected = [int(255 / (1 + np.exp(-4 * (x - 50) / 100)) + 0.5) for x in (0, 25, 50, 75, 100)]
    assert shown(image(pixels, **window, VOILUTFunction="SIGMOID")) == [expected]


def test_without_a_window_sixteen_bits_range_from_the_smallest_to_the_largest_padding_apart() -> None:
    pixels = np.array([[-2000, 0, 100, 200]], np.int16)
    assert shown(image(pixels, PixelPaddingValue=-2000)) == [[0, 0, 128, 255]]
    assert shown(image(np.full((2, 2), 7, np.uint16))) == [[0, 0], [0, 0]]


def test_bits_that_are_not_in_use_do_not_show() -> None:
    pixels = np.array([[0xF000, 0xF0FF, 0x0800]], np.uint16)  # an old overlay in the upper four bits
    made = image(pixels, BitsStored=12, HighBit=11)
    assert shown(made, window={"center": 128, "width": 256}) == [[0, 255, 255]]
    signed = image(
        np.array([[0x0FFF, 0x0001, 0x07FF]], np.uint16), BitsStored=12, HighBit=11, PixelRepresentation=1
    )
    assert shown(signed, window="range") == [[0, 0, 255]]  # -1, 1 and 2047


def test_look_up_tables_stand_before_slope_and_window() -> None:
    lut = item(LUTDescriptor=[3, 10, 8], LUTData=bytes([0, 100, 200, 0]))
    lut["LUTData"].VR = "OW"
    made = image(
        np.array([[9, 10, 11, 12, 13]], np.uint8), VOILUTSequence=[lut], WindowCenter="1", WindowWidth="2"
    )
    assert shown(made) == [[0, 0, 100, 200, 200]]


def test_a_palette_becomes_colour_and_colour_becomes_grey() -> None:
    table = np.array([0, 65535, 0, 32768], "<u2").tobytes()
    made = image(np.array([[0, 1, 2, 3]], np.uint8), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [4, 0, 16])
        data = table if colour == "Red" else bytes(8)
        made.add_new(f"{colour}PaletteColorLookupTableData", "OW", data)
    assert shown(made, channels=3) == [[[0, 0, 0], [255, 0, 0], [0, 0, 0], [128, 0, 0]]]
    assert shown(made, channels=1) == [[0, 76, 0, 38]]  # 0.299 of red


def test_a_segmented_palette_is_written_out_before_it_is_used() -> None:
    # two values, a line of four steps from 20 to 60, and the line's segment again, from 60 to 60
    words = [0, 2, 10 << 8, 20 << 8, 1, 4, 60 << 8, 2, 1, 8, 0]
    made = image(np.arange(10, dtype=np.uint8).reshape(1, 10), PhotometricInterpretation="PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", "US", [10, 0, 16])
        data = np.array(words, "<u2").tobytes()
        made.add_new(f"Segmented{colour}PaletteColorLookupTableData", "OW", data)
    expected = [10, 20, 30, 40, 50, 60, 60, 60, 60, 60]
    assert shown(made, channels=3) == [[[value] * 3 for value in expected]]


@pytest.mark.parametrize("planar", [0, 1])
def test_colours_keep_their_places_by_pixel_and_by_plane(planar: int) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) * 20
    made = image(pixels)
    if planar:
        made.PlanarConfiguration = 1
        made.PixelData = pixels.transpose(2, 0, 1).tobytes()
    assert shown(made, channels=3) == pixels.tolist()
    assert shown(image(GREY), channels=3) == np.repeat(GREY[..., None], 3, 2).tolist()


def test_a_smaller_picture_holds_the_means_of_areas() -> None:
    pixels = np.array([[0, 100, 10, 10], [100, 200, 10, 10]], np.uint8)
    assert shown(image(pixels), height=1, width=2) == [[100, 10]]


def test_padding_keeps_the_proportions_and_stretching_does_not() -> None:
    pixels = np.full((2, 4), 200, np.uint8)
    assert shown(image(pixels), height=4, width=4, fit="pad") == [[0] * 4, [200] * 4, [200] * 4, [0] * 4]
    assert shown(image(pixels), height=4, width=4) == [[200] * 4] * 4


def test_a_mask_is_black_whatever_the_photometric_interpretation() -> None:
    mask = Mask.parse("1,0,2,1")
    assert shown(image(GREY), masks=(mask,)) == [[0, 0, 0], [150, 200, 255]]
    inverted = image(GREY, PhotometricInterpretation="MONOCHROME1")
    assert shown(inverted, masks=(mask,)) == [[255, 0, 0], [105, 55, 0]]


def test_a_mask_beyond_the_image_was_meant_for_another() -> None:
    with pytest.raises(DicomError, match="3 x 2 pixels, and a mask reaches beyond it"):
        shown(image(GREY), masks=(Mask.parse("1,1,3,1"),))


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5", "-1,0,2,2", "1.5,0,2,2", "²,0,1,1"])
def test_a_mask_is_four_whole_numbers(text: str) -> None:
    with pytest.raises((ConfigError, StudyError)):
        Mask.parse(text)


def test_frames_have_their_own_rescale_and_window_or_the_shared_one() -> None:
    def groups(intercept: str) -> Dataset:
        values = item(RescaleSlope="1", RescaleIntercept=intercept, RescaleType="US")
        return item(PixelValueTransformationSequence=[values])

    made = image(
        np.array([[[0, 10]], [[0, 10]]], np.uint16),
        SharedFunctionalGroupsSequence=[
            item(FrameVOILUTSequence=[item(WindowCenter="10.5", WindowWidth="21")])
        ],
        PerFrameFunctionalGroupsSequence=[groups("0"), groups("10")],
    )
    assert shown(made, index=0) == [[0, 128]]
    assert shown(made, index=1) == [[128, 255]]


def test_pixels_of_one_bit_follow_each_other_without_a_gap() -> None:
    made = image(np.zeros((2, 1, 5), np.uint8), BitsAllocated=1, BitsStored=1, HighBit=0)
    made.PixelData = bytes([0b101_01010, 0b11])  # from the right: 01010, then 101 and 11
    assert [shown(made, index=index) for index in range(2)] == [
        [[0, 255, 0, 255, 0]],
        [[255, 0, 255, 255, 255]],
    ]


def real_files() -> list[Path]:
    """Those of pydicom, and of pydicom-data where it is installed; nothing is downloaded."""
    folders = [sample("CT_small.dcm").parent]
    package = importlib.util.find_spec("data_store")
    if package is not None and package.origin is not None:
        folders.append(Path(package.origin).parent / "data")
    return sorted(path for folder in folders for path in folder.glob("*.dcm"))


def reference(path: Path) -> NDArray[np.generic] | None:
    """The middle frame as pydicom decodes it; None where it does not."""
    with warnings.catch_warnings(action="ignore"):
        try:
            dataset = dcmread(path, force=True)  # also without preamble
            if "TransferSyntaxUID" not in dataset.file_meta:
                implicit, _ = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = (
                    ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
                )
            return pixel_array(dataset, index=int(dataset.get("NumberOfFrames", 1) or 1) // 2)
        except Exception:  # noqa: BLE001
            return None


@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_every_real_file_decodes_to_what_pydicom_decodes(share: int) -> None:
    pytest.importorskip("libjpeg", reason="the extra dicom-codecs is not installed")
    pytest.importorskip("openjpeg", reason="the extra dicom-codecs is not installed")
    compared = 0
    for path in real_files()[::share]:
        expected = reference(path)
        try:
            found = parse(path.read_bytes())
            layout = read_layout(found)
            stored = FrameReader(found, layout).decode(layout.frames // 2)
        except DicomError:
            # written against the standard: a value representation of none
            assert expected is None or path.name == "SC_rgb_jpeg.dcm"
            continue
        assert expected is not None
        np.testing.assert_array_equal(stored, expected, err_msg=path.name)
        render(read_groups(found), layout, stored, layout.frames // 2, Rendering(height=32, width=32))
        compared += 1
    assert compared >= 50 / share


def test_a_codec_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import base

    decoder = base.get_decoder("1.2.840.10008.1.2.4.90")
    monkeypatch.setattr(decoder, "_available", {})
    found = parse(sample("examples_jpeg2k.dcm").read_bytes())
    layout = read_layout(found)
    with pytest.raises(
        DicomError,
        match=r"JPEG 2000.*"
        r"pip install -c constraints.txt '\.\[dicom-codecs\]' in fedcohort's folder",
    ):
        FrameReader(found, layout).decode(0)


def test_a_window_must_be_wider_than_one() -> None:
    with pytest.raises(StudyError, match="width"):
        Window(center=0, width=1)

"""PNG bytes of one picture: every bit comes back, and nothing else gets in."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedcohort.columns import Image
from fedcohort.errors import SchemaError, StudyError
from fedcohort.sources.catalogue.stored_images import decode_image, encode_image


def png(height: int, width: int, depth: int, colour: int, body: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 1), (3, 5, 3), (1, 1), (28, 28)])
def test_a_picture_comes_back_bit_by_bit(shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    back = decode_image(encode_image(pixels), shape[0], shape[1], shape[2] if len(shape) == 3 else 1)
    assert back.dtype == np.uint8
    assert back.shape == (shape[0], shape[1], shape[2] if len(shape) == 3 else 1)
    assert np.array_equal(back.ravel(), pixels.ravel())


@settings(max_examples=50, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))))
def test_any_picture_comes_back(pixels: np.ndarray) -> None:
    assert np.array_equal(decode_image(encode_image(pixels), *pixels.shape), pixels)


def test_a_picture_is_stored_in_little_more_than_the_smallest_png_of_it() -> None:
    pydicom = pytest.importorskip("pydicom", reason="a real image comes with pydicom")
    scan = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False)).pixel_array
    pixels = np.clip((scan.astype(int) - scan.min()) // 8, 0, 255).astype(np.uint8)
    smallest = io.BytesIO()
    PIL.Image.fromarray(pixels).save(smallest, format="PNG", optimize=True)
    assert len(encode_image(pixels)) < 1.1 * len(smallest.getvalue())


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((2, 2, 3, 1), np.uint8),
    ],
)
def test_what_is_no_picture_is_not_written(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="pixels"):
        encode_image(pixels)


def test_another_size_is_refused_with_its_place_and_both_sizes() -> None:
    with pytest.raises(SchemaError, match=r"scans\.image, row 3: .*5 x 4 pixels.*declared \(28 x 28"):
        decode_image(encode_image(np.zeros((5, 4), np.uint8)), 28, 28, 1, "scans.image, row 3")


@pytest.mark.parametrize(("depth", "colour"), [(16, 0), (1, 0), (8, 3), (8, 6), (8, 4), (8, 2)])
def test_another_depth_or_colour_is_refused(depth: int, colour: int) -> None:
    with pytest.raises(SchemaError, match="another kind of PNG"):
        decode_image(png(2, 2, depth, colour, b"\0" * 100), 2, 2, 1)


def test_a_bomb_is_refused_by_its_header_before_it_is_unpacked() -> None:
    bomb = png(30_000, 30_000, 8, 0, bytes(50_000_000))
    with pytest.raises(SchemaError, match="30000 x 30000"):
        decode_image(bomb, 28, 28, 1)


def test_data_beyond_the_declared_pixels_are_never_unpacked_into_memory() -> None:
    lying = png(2, 2, 8, 0, b"\0\1\2\0\3\4" + bytes(20_000_000))
    assert np.array_equal(decode_image(lying, 2, 2, 1)[..., 0], [[1, 2], [3, 4]])


def test_text_beside_the_pixels_is_passed_over() -> None:
    text = b"note\0\0" + zlib.compress(bytes(30_000_000))
    with_text = png(2, 2, 8, 0, b"\0\1\2\0\3\4", (b"zTXt", text), (b"tEXt", b"patient\0name"))
    assert np.array_equal(decode_image(with_text, 2, 2, 1)[..., 0], [[1, 2], [3, 4]])


def test_a_long_file_is_refused_by_its_length() -> None:
    with pytest.raises(SchemaError, match="larger"):
        decode_image(encode_image(np.zeros((2, 2), np.uint8)) + bytes(100_000), 2, 2, 1)


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(100), b"\xff\xd8\xff\xe0" + bytes(100)])
def test_another_format_is_refused(data: bytes) -> None:
    with pytest.raises(SchemaError, match="not a PNG"):
        decode_image(data, 2, 2, 1)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_refused_or_leaves_a_picture_of_the_declared_size(data: st.DataObject) -> None:
    whole = bytearray(encode_image(np.arange(64, dtype=np.uint8).reshape(8, 8)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    for damaged in (bytes(whole), cut):
        try:
            assert decode_image(damaged, 8, 8, 1).shape == (8, 8, 1)
        except SchemaError:
            continue


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (2_049, 1), (1, 2_049), (1.5, 1)])
def test_a_declared_size_has_bounds(size: tuple[int, int]) -> None:
    with pytest.raises(StudyError):
        Image(*size)


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_a_picture_is_grey_or_colour(channels: int) -> None:
    with pytest.raises(StudyError, match="channels"):
        Image(4, 4, channels)

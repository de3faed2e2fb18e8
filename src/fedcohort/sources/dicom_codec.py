"""Stored pixels of a DICOM image, a frame at a time: native or compressed, never larger than it declares.

The image pixel module is PS3.3, C.7.6.3; encapsulation PS3.5, annex A.4. Compressed frames
are decoded by pydicom's plug-ins (pylibjpeg, Pillow). What a codestream says of its own size
is read first, for decoders believe it: a bomb is refused before anything is unpacked.
"""

import struct
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import DicomError
from fedcohort.sources.dicom_scan import PIXEL_DATA
from fedcohort.sources.dicom_values import DataSet

Stored = NDArray[np.integer]

MAX_PIXELS = 2**25
"""Of one frame: rows x columns; the largest mammograms have about 2^24."""
MAX_FRAMES = 100_000
_MAX_TILES = 10_000
_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
ROWS, COLUMNS = 0x00280010, 0x00280011
_ALLOCATED, _STORED, _HIGH, _SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
_KNOWN = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in ("90", "91", "201", "202", "203"))
_RLE = "1.2.840.10008.1.2.5"
_START_OF_FRAME = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7))
# Whatever the decoders' own code raises for damaged data; pydicom gathers a plug-in's errors into RuntimeError.
_DECODER_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    OSError,
    MemoryError,
    struct.error,
    Warning,
)


@dataclass(frozen=True)
class Layout:
    """How an image's pixels are stored.

    Attributes:
        samples: 1, or 3 for colour; planar: 1 when colours stand one plane after the other.
        allocated, stored, high: bits of a sample: in memory, in use, and the highest in use.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: int

    @property
    def frame_bytes(self) -> int:
        """Of one native frame."""
        samples = 2 if self.photometric == "YBR_FULL_422" else self.samples
        return (self.rows * self.columns * samples * self.allocated + 7) // 8


def read_layout(image: DataSet) -> Layout:
    """Check the image pixel module.

    Raises:
        DicomError: there is no image, or it is of a kind or size that is not read; names the tag.
    """
    if PIXEL_DATA not in image.elements:
        raise DicomError(0, "(7FE0,0010) PixelData", "is missing: no image; leave the file out")
    rows, columns = image.whole(ROWS, 1, 65535), image.whole(COLUMNS, 1, 65535)
    if rows * columns > MAX_PIXELS:
        raise image.refusal(ROWS, f"and Columns make more than {MAX_PIXELS:,} pixels; reduce the image first")
    photometric = image.text(_PHOTOMETRIC) or ""
    samples = image.whole(_SAMPLES, 1, 4, 1)
    if _KNOWN.get(photometric) != samples:
        raise image.refusal(_PHOTOMETRIC, "is none that is read here, or does not fit SamplesPerPixel")
    allocated = image.whole(_ALLOCATED, 1, 64)
    if allocated not in (1, 8, 16, 32):
        raise image.refusal(_ALLOCATED, "is none of 1, 8, 16 and 32")
    stored = image.whole(_STORED, 1, allocated, allocated)
    high = image.whole(_HIGH, stored - 1, allocated - 1, stored - 1)
    return Layout(
        rows,
        columns,
        samples,
        image.whole(_FRAMES, 1, MAX_FRAMES, 1),
        allocated,
        stored,
        high,
        image.whole(_SIGNED, 0, 1, 0) == 1,
        photometric,
        image.whole(_PLANAR, 0, 1, 0),
    )


def decode_frame(image: DataSet, layout: Layout, index: int) -> Stored:
    """One frame's stored values.

    Returns:
        (rows, columns), or (rows, columns, 3) in RGB.
    Raises:
        DicomError: the pixels are cut short, damaged, or compressed in a way whose decoder is missing.
    """
    element = image.elements[PIXEL_DATA]
    encapsulated = image.syntax.uid not in _NATIVE
    if element.undefined != encapsulated:
        raise image.refusal(PIXEL_DATA, "is not stored as the transfer syntax says")
    if encapsulated:
        return _decoded(image, layout, _frame(image, layout, index))
    length = layout.frame_bytes
    plain = layout.allocated > 1 and not layout.photometric.startswith("YBR")
    expected = length * layout.frames if layout.allocated > 1 else (
        (layout.rows * layout.columns * layout.samples * layout.frames + 7) // 8
    )
    if element.end - element.start < expected:
        raise image.refusal(PIXEL_DATA, f"has fewer than {expected:,} bytes; the image is cut short, get it again")
    if plain and image.syntax.little:
        return _native(image.data, element.start + index * length, layout)
    whole = memoryview(image.data)[element.start : element.end]
    return _decoded(image, layout, bytes(whole), index, layout.frames)


_NATIVE = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
)


def _native(data: bytes, start: int, layout: Layout) -> Stored:
    kind = np.dtype(f"<{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    count = layout.rows * layout.columns * layout.samples
    pixels = np.frombuffer(data, kind, count, start)
    pixels = _without_unused_bits(pixels, layout)
    if layout.samples == 1:
        return pixels.reshape(layout.rows, layout.columns)
    if layout.planar:
        return pixels.reshape(layout.samples, layout.rows, layout.columns).transpose(1, 2, 0)
    return pixels.reshape(layout.rows, layout.columns, layout.samples)


def _without_unused_bits(pixels: Stored, layout: Layout) -> Stored:
    """Bits beyond those in use may hold an overlay; a shift up and down leaves sign and value."""
    if layout.stored == layout.allocated:
        return pixels
    up = layout.allocated - 1 - layout.high
    return np.right_shift(np.left_shift(pixels, up), layout.allocated - layout.stored)


def _frame(image: DataSet, layout: Layout, index: int) -> bytes:
    """One frame's codestream, whose own header agrees with the image's."""
    from pydicom.encaps import get_frame

    element = image.elements[PIXEL_DATA]
    try:
        with warnings.catch_warnings(action="error"):
            data = image.data[element.start : element.end]
            frame = get_frame(data, index, number_of_frames=layout.frames)
    except _DECODER_ERRORS:
        raise image.refusal(PIXEL_DATA, f"has no frame {index + 1}, or a damaged table of offsets") from None
    if image.syntax.uid == _RLE:
        if len(frame) > 2 * layout.frame_bytes + 64:
            raise image.refusal(PIXEL_DATA, "is longer than run lengths of its size can be; it is damaged")
        return frame
    read = _size_of_jpeg_2000 if image.syntax.uid in _JPEG_2000 else _size_of_jpeg
    if read(frame) != (layout.rows, layout.columns, layout.samples):
        raise image.refusal(PIXEL_DATA, "is compressed in another size than Rows, Columns and SamplesPerPixel say")
    return frame


def _size_of_jpeg(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) from the first start-of-frame segment: ISO/IEC 10918-1, B.2.2 and 14495-1, C.2.2."""
    position = 2
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _START_OF_FRAME:
            rows, columns, samples = struct.unpack_from(">HHB", frame, position + 5)
            return rows, columns, samples
        else:
            position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return None


def _size_of_jpeg_2000(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) from the SIZ segment: ISO/IEC 15444-1, A.5.1; None for absurd tiles."""
    start = frame.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0 or start + 42 > len(frame):
        return None
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, samples = struct.unpack_from(
        ">8LH", frame, start + 8
    )
    if not (tile_width and tile_height) or left >= width or top >= height:
        return None
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    return (height - top, width - left, samples) if 0 < tiles <= _MAX_TILES else None


def _decoded(image: DataSet, layout: Layout, data: bytes, index: int = 0, frames: int = 1) -> Stored:
    from pydicom.encaps import encapsulate
    from pydicom.pixels import get_decoder

    try:
        decoder = get_decoder(image.syntax.uid)
    except NotImplementedError:
        raise image.refusal(PIXEL_DATA, "is compressed in a way that is not read here") from None
    if not decoder.is_available:
        raise image.refusal(
            PIXEL_DATA,
            f"is compressed as {decoder.UID.name}, whose decoder is not installed: "
            "pip install 'fedcohort[dicom-codecs]'",
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            pixels, _ = decoder.as_array(
                data if image.syntax.uid in _NATIVE else encapsulate([data], has_bot=False),
                index=index,
                rows=layout.rows,
                columns=layout.columns,
                number_of_frames=frames,
                samples_per_pixel=layout.samples,
                bits_allocated=layout.allocated,
                bits_stored=layout.stored,
                pixel_representation=int(layout.signed),
                photometric_interpretation=layout.photometric,
                planar_configuration=layout.planar,
                pixel_keyword="PixelData",
                pixel_vr=image.elements[PIXEL_DATA].vr or "OW",
            )
    except _DECODER_ERRORS:
        raise image.refusal(PIXEL_DATA, "cannot be decoded; it is damaged, get the file again") from None
    wanted = (layout.rows, layout.columns, 3)[: 3 if layout.samples == 3 else 2]
    if pixels.shape != wanted or pixels.dtype.kind not in "iu":
        raise image.refusal(PIXEL_DATA, "decodes to another size than the image declares")
    return pixels

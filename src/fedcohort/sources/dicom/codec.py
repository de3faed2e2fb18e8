"""Stored pixels of a DICOM image, a frame at a time: native or compressed, never larger than it declares.

Native frames are laid out as in PS3.5, 8.1.1, encapsulated ones as in its annex A.4. The latter
are decoded by pydicom's plug-ins (pylibjpeg, Pillow). What a codestream says of its own size
is read first, for decoders believe it: a bomb is refused before anything is unpacked.
"""

import io
import struct
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fedcohort.sources.dicom.layout import Layout, Stored
from fedcohort.sources.dicom.scan import PIXEL_DATA
from fedcohort.sources.dicom.values import DataSet

_MAX_TILES = 10_000
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{end}" for end in ("90", "91", "201", "202", "203"))
_RLE = "1.2.840.10008.1.2.5"
_NATIVE = frozenset(
    ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
)
_START_OF_FRAME = frozenset(
    (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
)
# What the decoders' own code raises for damaged data; pydicom gathers a plug-in's errors into RuntimeError.
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


def installed_codecs() -> list[str]:
    """Transfer syntaxes whose compressed pixels can be decoded here."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import AllTransferSyntaxes

    codecs = []
    for syntax in AllTransferSyntaxes:
        try:
            codecs += [str(syntax)] if get_decoder(syntax).is_available else []
        except NotImplementedError:
            continue
    return codecs


class FrameReader:
    """The frames of one image; compressed ones are found in one pass, so ask for them in rising order."""

    def __init__(self, image: DataSet, layout: Layout) -> None:
        """Look at how the pixels are stored.

        Raises:
            DicomError: fewer bytes than the image needs, or another way than the transfer syntax says.
        """
        self._image, self._layout = image, layout
        self._element = image.elements[PIXEL_DATA]
        self._encapsulated = image.syntax.uid not in _NATIVE
        self._streams: Iterator[bytes] = iter(())
        self._next = 0
        if self._element.undefined != self._encapsulated:
            raise image.refusal(PIXEL_DATA, "is not stored as the transfer syntax says")
        if self._encapsulated:
            self._streams = _codestreams(image, layout)
        elif self._element.end - self._element.start < layout.image_bytes:
            raise image.refusal(
                PIXEL_DATA,
                f"has fewer than {layout.image_bytes:,} bytes; it is cut short, get the file again",
            )

    def decode(self, index: int) -> Stored:
        """One frame's stored values.

        Args:
            index: from 0; of a compressed image not below the one before.
        Returns:
            (rows, columns), or (rows, columns, 3) in RGB.
        Raises:
            DicomError: the pixels are damaged, or compressed in a way whose decoder is missing.
        """
        layout, data = self._layout, self._image.data
        if self._encapsulated:
            return _decoded(self._image, layout, self._codestream(index))
        if layout.allocated == 1:
            return _bits(data, self._element.start, layout, index)
        start = self._element.start + index * layout.frame_bytes
        if self._image.syntax.little and not layout.photometric.startswith("YBR"):
            return _native(data, start, layout)
        if (
            not self._image.syntax.little and layout.allocated == 8
        ):  # pairs of bytes may be swapped across frames
            whole = data[self._element.start : self._element.end]
            return _decoded(self._image, layout, whole, index, layout.frames)
        padding = b"\0" * (layout.frame_bytes % 2)
        return _decoded(self._image, layout, data[start : start + layout.frame_bytes] + padding)

    def _codestream(self, index: int) -> bytes:
        """One frame's codestream, whose own header agrees with the image's."""
        image, frame = self._image, b""
        try:
            with warnings.catch_warnings(action="error"):
                while self._next <= index:
                    frame = next(self._streams)
                    self._next += 1
        except (StopIteration, *_DECODER_ERRORS):
            raise image.refusal(
                PIXEL_DATA, f"has no frame {index + 1}, or a damaged table of offsets"
            ) from None
        _check_codestream(image, self._layout, frame)
        return frame


def _codestreams(image: DataSet, layout: Layout) -> Iterator[bytes]:
    from pydicom.encaps import generate_frames

    file = io.BytesIO(image.data)  # shares the bytes
    file.seek(image.elements[PIXEL_DATA].start)
    return generate_frames(file, number_of_frames=layout.frames)


def _check_codestream(image: DataSet, layout: Layout, frame: bytes) -> None:
    if image.syntax.uid == _RLE:
        if len(frame) > 2 * layout.frame_bytes + 64:
            raise image.refusal(PIXEL_DATA, "is longer than run lengths of its size can be; it is damaged")
        return
    read = _size_of_jpeg_2000 if image.syntax.uid in _JPEG_2000 else _size_of_jpeg
    if read(frame) != (layout.rows, layout.columns, layout.samples):
        raise image.refusal(
            PIXEL_DATA, "is compressed in another size than Rows, Columns and SamplesPerPixel say"
        )


def _bits(data: bytes, start: int, layout: Layout, index: int) -> Stored:
    """Frames of one bit a pixel follow each other without a gap: PS3.5, 8.1.1."""
    count = layout.rows * layout.columns
    first, last = index * count, (index + 1) * count
    packed = np.frombuffer(data, np.uint8, (last + 7) // 8 - first // 8, start + first // 8)
    bits = np.unpackbits(packed, bitorder="little")[first % 8 :][:count]
    return bits.reshape(layout.rows, layout.columns)


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
    if not layout.signed and layout.high == layout.stored - 1:
        return np.bitwise_and(pixels, pixels.dtype.type(2**layout.stored - 1))
    up = layout.allocated - 1 - layout.high
    return np.right_shift(np.left_shift(pixels, up), layout.allocated - layout.stored)


def _size_of_jpeg(frame: bytes) -> tuple[int, int, int] | None:
    """(rows, columns, samples) from the first start of a frame: ISO/IEC 10918-1, B.2.2 and 14495-1, C.2.2."""
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


def _options(image: DataSet, layout: Layout, frames: int) -> Mapping[str, object]:
    return {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": frames,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": layout.planar,
        "pixel_keyword": "PixelData",
        "pixel_vr": image.elements[PIXEL_DATA].vr or "OW",
    }


def _decoded(image: DataSet, layout: Layout, data: bytes, index: int = 0, frames: int = 1) -> Stored:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(image.syntax.uid)
    except NotImplementedError:
        raise image.refusal(PIXEL_DATA, "is compressed in a way that is not read here") from None
    if not decoder.is_available:
        raise image.refusal(
            PIXEL_DATA,
            f"is compressed as {decoder.UID.name}, whose decoder is not installed: "
            "pip install -c constraints.txt '.[dicom-codecs]' in fedcohort's folder",
        )
    try:
        with warnings.catch_warnings(action="ignore"):
            options: Any = _options(image, layout, frames)  # pydicom types each option as all of them
            pixels, _ = decoder.as_array(
                data if image.syntax.uid in _NATIVE else encapsulate([data], has_bot=False),
                index=index,
                **options,
            )
    except BaseException as error:
        # A panic of a decoder in Rust (RLE) is no Exception, and its class cannot be imported.
        if isinstance(error, _DECODER_ERRORS) or type(error).__name__ == "PanicException":
            raise image.refusal(PIXEL_DATA, "cannot be decoded; it is damaged, get the file again") from None
        raise
    wanted = (layout.rows, layout.columns, 3)[: 3 if layout.samples == 3 else 2]
    if pixels.shape != wanted or pixels.dtype.kind not in "iu":
        raise image.refusal(PIXEL_DATA, "decodes to another size than the image declares")
    return pixels

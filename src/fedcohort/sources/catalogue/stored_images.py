"""Pictures as they stand in a site's database: a PNG (ISO/IEC 15948) of a declared size, 8 bits a channel.

A picture is small or it is refused: what its header declares is compared with what the column
declares before anything is decompressed, and only the chunks that make the picture are handed to
the decoder, so that neither a bomb nor a text hidden beside the pixels is ever unpacked.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Image
from fedcohort.errors import ConfigError, SchemaError
from fedcohort.pixels import Pixels, PixelStore
from fedcohort.study import Cohort

Bytes = NDArray[np.uint8]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2}
"""Channels to PNG's colour type: grey and true colour."""


def encode_image(pixels: Bytes) -> bytes:
    """Write a picture as PNG, without loss and without any text beside the pixels.

    Args:
        pixels: uint8, (height, width) or (height, width, 1) for grey, (height, width, 3) for colour.
    Raises:
        ValueError: another type or shape.
        ConfigError: Pillow is not installed.
    """
    grey = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    if pixels.dtype != np.uint8 or not pixels.size or not (grey.ndim == 2 or grey.shape[2:] == (3,)):
        raise ValueError(f"pixels: {pixels.dtype} of shape {pixels.shape}; give uint8 (h, w) or (h, w, 3)")
    file = io.BytesIO()
    # Run lengths of the filtered rows: less than half of the default's time, for 0 to 7 % more bytes.
    _pillow().fromarray(np.ascontiguousarray(grey)).save(file, format="PNG", compress_type=zlib.Z_RLE)
    return file.getvalue()


def decode_image(data: bytes, height: int, width: int, channels: int, where: str = "image") -> Bytes:
    """Read a PNG of exactly the declared size.

    Args:
        where: the table, column and row that a refusal names.
    Returns:
        (height, width, channels) uint8.
    Raises:
        SchemaError: not a PNG, of another size or depth, or damaged; says which, before decompressing.
        ConfigError: Pillow is not installed.
    """
    _check_header(data, (height, width, channels), where)
    chunks = b"".join(_critical_chunks(data, where))
    try:
        with _pillow().open(io.BytesIO(_SIGNATURE + chunks), formats=("PNG",)) as picture:
            pixels = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, struct.error):  # what Pillow raises for damaged data
        raise SchemaError(
            "{column}: holds a damaged PNG; import again into a new database", column=where
        ) from None
    if pixels.dtype != np.uint8 or pixels.size != height * width * channels:
        raise SchemaError("{column}: holds a damaged PNG; import again into a new database", column=where)
    return pixels.reshape(height, width, channels)


def image_stores(cohort: Cohort, folder: Path | None = None) -> dict[str, PixelStore]:
    """An empty store for each image column of a cohort, whose chunks share it."""
    kinds = cohort.schema_.items()
    return {name: PixelStore(kind.shape, folder) for name, kind in kinds if isinstance(kind, Image)}


def pictures(
    values: Sequence[object], store: PixelStore, where: str
) -> tuple[Pixels, NDArray[np.bool_], SchemaError | None]:
    """Images, PNG bytes or arrays, checked one by one and put into the store.

    Returns:
        the images, with no place (-1) where there is none; which these are; and of the first of them
        why: missing, damaged, or of another size than declared, with its row.
    """
    places, first, error = np.full(len(values), -1, np.int64), len(store) + 1, None
    for row, value in enumerate(values):
        try:
            picture = _picture(value, store.shape, f"{where}, row {first + row} of the cohort")
        except SchemaError as found:
            error = error or found
        else:
            places[row] = store.append(picture)
    return Pixels(store, places), places < 0, error


def _picture(value: object, shape: tuple[int, int, int], where: str) -> Bytes:
    if isinstance(value, bytes | bytearray | memoryview):
        return decode_image(bytes(value), *shape, where)
    if isinstance(value, np.ndarray):
        if value.dtype != np.uint8 or value.shape not in (shape, *([shape[:2]] if shape[2] == 1 else [])):
            raise SchemaError(
                "{column}: holds an array of {kind} of shape {shape}; the declared image is of uint8 and "
                "shape {wanted}",
                column=where,
                kind=value.dtype,
                shape=value.shape,
                wanted=shape,
            )
        return value.reshape(shape)
    if value is None:
        raise SchemaError(
            "{column}: has no image; leave such rows out by `where`, as in: scan IS NOT NULL", column=where
        )
    raise SchemaError(
        "{column}: holds something that is not an image; import it as an image again into a new database",
        column=where,
    )


def _check_header(data: bytes, declared: tuple[int, int, int], where: str) -> None:
    """The first chunk is IHDR, 13 bytes: size, depth, colour type, compression, filter, interlace."""
    height, width, channels = declared
    if len(data) < 33 or data[:8] != _SIGNATURE or data[8:16] != b"\x00\x00\x00\rIHDR":
        raise SchemaError(
            "{column}: holds something that is not a PNG; import it as an image again into a new database",
            column=where,
        )
    if len(data) > Image(height, width, channels).most_bytes:
        raise SchemaError(
            "{column}: holds a PNG larger than its declared size can need; import again into a new database",
            column=where,
        )
    header = struct.unpack(">IIBB", data[16:26])
    if header != (width, height, 8, _COLOUR_TYPES[channels]) or data[28] != 0:
        raise SchemaError(
            "{column}: holds another kind of PNG ({width} x {height} pixels, {bits} bits, colour type "
            "{colour}) than is declared ({wanted} x {high}, {channels} channels of 8 bits, not interlaced); "
            "import again into a new database, with the declared size",
            column=where,
            width=header[1],
            height=header[0],
            bits=header[2],
            colour=header[3],
            wanted=height,
            high=width,
            channels=channels,
        )


def _critical_chunks(data: bytes, where: str) -> Iterator[bytes]:
    """IHDR, IDAT and IEND as they stand; text, profiles and times are passed over unread."""
    position, name = 8, b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise SchemaError(
                "{column}: holds a PNG that is cut short; import again into a new database", column=where
            )
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            raise SchemaError(
                "{column}: holds a PNG that is cut short; import again into a new database", column=where
            )
        if name in (b"IHDR", b"IDAT", b"IEND"):
            yield data[position:end]
        position = end


def check_decoder() -> None:
    """Refuse images before any row is read, whether a row has one or not.

    Raises:
        ConfigError: Pillow is not installed.
    """
    _pillow()


def _pillow() -> ModuleType:
    try:
        from PIL import Image as pillow
    except ImportError:
        raise ConfigError(
            "images need Pillow, which is not installed here: "
            "pip install -c constraints.txt '.[images]' in fedcohort's folder"
        ) from None
    return pillow

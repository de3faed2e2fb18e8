"""How an image's pixels are stored: the image pixel module (PS3.3, C.7.6.3)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import DicomError
from fedcohort.sources.dicom.scan import PIXEL_DATA
from fedcohort.sources.dicom.values import DataSet

Stored = NDArray[np.integer]

MAX_PIXELS = 2**25
"""Of one frame: rows x columns; the largest mammograms have about 2^24."""
MAX_FRAMES = 100_000
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
    def image_bytes(self) -> int:
        """Of all native frames; those of one bit a pixel have no gaps."""
        if self.allocated == 1:
            return (self.rows * self.columns * self.frames + 7) // 8
        return self.frame_bytes * self.frames

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
        image.whole(_FRAMES, 0, MAX_FRAMES, 1) or 1,  # 0 is written by some devices, and means one
        allocated,
        stored,
        high,
        image.whole(_SIGNED, 0, 1, 0) == 1,
        photometric,
        image.whole(_PLANAR, 0, 1, 0),
    )

"""Grey values as a viewer shows them, in 8 bits.

The way of a grey value is PS3.3's: modality LUT or rescale (C.11.1), values of interest LUT or
window (C.11.2), inverted for MONOCHROME1 (C.7.6.3.1.2). In a multi-frame image rescale and
window may stand with the frame (C.7.6.16.2.9 and .10).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedcohort.columns import Frozen
from fedcohort.sources.dicom.layout import Layout, Stored
from fedcohort.sources.dicom.values import DataSet

Picture = NDArray[np.uint8]
Values = NDArray[np.float32]

_RESCALE_INTERCEPT, _RESCALE_SLOPE, _MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_CENTER, _WIDTH, _FUNCTION, _VOI_LUT = 0x00281050, 0x00281051, 0x00281056, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_PADDING = 0x00280120
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_VALUE_TRANSFORMATION, _FRAME_VOI = 0x00289145, 0x00289132


class Window(Frozen):
    """A window of grey: `center` and `width`, in the unit that the rescale gives, such as HU."""

    center: float
    width: Annotated[float, Field(gt=1)]


Choice = Literal["file", "range"] | Window


@dataclass(frozen=True, eq=False)
class Groups:
    """Where a frame's attributes may stand outside the data set: its functional groups, and shared ones."""

    image: DataSet
    shared: Sequence[DataSet]
    per_frame: Sequence[DataSet]

    def places(self, macro: int, index: int) -> list[DataSet]:
        """The items that may hold an attribute of a macro, the frame's own first."""
        own = self.per_frame[index : index + 1]
        return [item for group in (*own, *self.shared) for item in group.items(macro)] + [self.image]


def read_groups(image: DataSet) -> Groups:
    """The functional groups of a multi-frame image; none in others."""
    return Groups(image, image.items(_SHARED)[:1], image.items(_PER_FRAME))


def to_grey(groups: Groups, layout: Layout, stored: Stored, index: int, window: Choice) -> Picture:
    """A frame's stored values as 8 bits of grey, 0 black.

    Raises:
        DicomError: a LUT or the rescale is none; names the tag.
    """
    values, slope, intercept = _modality(groups, stored, index)
    if window == "file":
        lut = _first(groups.places(_FRAME_VOI, index), _VOI_LUT)
        if lut is not None:
            rescaled = np.asarray(values, np.float32) * np.float32(slope) + np.float32(intercept)
            grey = _scaled(_looked_up(lut, rescaled))
            return _inverted(grey, layout)
    low, high, exact = _window(groups, layout, values, (slope, intercept), index, window)
    if exact is not None:
        return _inverted(_sigmoid(values, slope, intercept, exact), layout)
    if values.dtype == np.uint8 and (low, high, slope, intercept) == (0.0, 255.0, 1.0, 0.0):
        return _inverted(np.asarray(values, np.uint8), layout)
    scale = 255.0 / (high - low)
    grey = np.multiply(values, np.float32(slope * scale), dtype=np.float32)
    grey += np.float32((intercept - low) * scale + 0.5)
    return _inverted(np.clip(grey, 0.0, 255.0, out=grey).astype(np.uint8), layout)


def _modality(groups: Groups, stored: Stored, index: int) -> tuple[NDArray[np.generic], float, float]:
    """Values, and the slope and intercept still to be applied to them."""
    places = groups.places(_VALUE_TRANSFORMATION, index)
    lut = _first(places, _MODALITY_LUT)
    if lut is not None:
        return _looked_up(lut, stored)[0], 1.0, 0.0
    slopes = [place for place in places if _RESCALE_SLOPE in place]
    if not slopes:
        return stored, 1.0, 0.0
    slope, intercept = slopes[0].number(_RESCALE_SLOPE), slopes[0].number(_RESCALE_INTERCEPT)
    if not slope or abs(slope) > 1e12 or abs(intercept or 0.0) > 1e12:
        raise groups.image.refusal(_RESCALE_SLOPE, "and RescaleIntercept cannot be those of an image")
    return stored, slope, intercept or 0.0


def _first(places: Iterable[DataSet], tag: int) -> DataSet | None:
    return next((item for place in places for item in place.items(tag)), None)


def _looked_up(lut: DataSet, values: NDArray[np.generic]) -> tuple[Values, float]:
    """Values through a LUT, and the largest that it can give: PS3.3, C.11.1.1 and C.11.2.1.1."""
    entries, first, bits = descriptor(lut, _LUT_DESCRIPTOR)
    mapped = table(lut, _LUT_DATA, entries)
    places = np.clip(np.asarray(values, np.float64) - first, 0, entries - 1).astype(np.int64)
    return mapped.astype(np.float32)[places], float(2**bits - 1)


def descriptor(item: DataSet, tag: int) -> tuple[int, int, int]:
    """Entries, first value mapped and bits of an entry: PS3.3, C.11.1.1; 0 entries are 65,536.

    Raises:
        DicomError: it is none.
    """
    numbers = item.numbers(tag)
    if len(numbers) != 3 or not 8 <= numbers[2] <= 16:
        raise item.refusal(tag, "does not describe a look-up table")
    return int(numbers[0]) % 2**16 or 2**16, int(numbers[1]), int(numbers[2])


def table(item: DataSet, tag: int, entries: int) -> NDArray[np.uint16]:
    """A table's entries, of 8 or 16 bits each.

    Raises:
        DicomError: there are fewer or more.
    """
    element = item.elements.get(tag)
    size = 0 if element is None else element.end - element.start
    if element is None or size not in (entries, entries + entries % 2, 2 * entries):
        raise item.refusal(tag, "does not have as many entries as its descriptor says")
    order = "<" if item.syntax.little else ">"
    kind = f"{order}u2" if size >= 2 * entries else "u1"
    return np.frombuffer(item.data, kind, entries, element.start).astype(np.uint16)


def _window(
    groups: Groups,
    layout: Layout,
    values: NDArray[np.generic],
    rescale: tuple[float, float],
    index: int,
    window: Choice,
) -> tuple[float, float, Window | None]:
    """The values that become black and white; and a window for the sigmoid function instead."""
    if isinstance(window, Window):
        return *_linear(window), None
    places = groups.places(_FRAME_VOI, index) if window == "file" else []
    for place in places:
        center, width = place.number(_CENTER), place.number(_WIDTH)
        if center is None or width is None or not 0 < width < 1e12 or abs(center) > 1e12:
            continue
        function = place.text(_FUNCTION)
        if function == "SIGMOID":
            return 0.0, 1.0, Window(center=center, width=max(width, 1.001))
        if function == "LINEAR_EXACT":
            return center - width / 2, center + width / 2, None
        return *_linear(Window(center=center, width=max(width, 1.001))), None
    if window == "file" and layout.stored <= 8 and not layout.signed and rescale == (1.0, 0.0):
        return 0.0, float(2**layout.stored - 1), None
    return *_range(groups.image, values, rescale), None


def _linear(window: Window) -> tuple[float, float]:
    """PS3.3, C.11.2.1.2.1: black up to c - 0.5 - (w-1)/2, white from c - 0.5 + (w-1)/2."""
    half = (window.width - 1) / 2
    return window.center - 0.5 - half, window.center - 0.5 + half


def _sigmoid(values: NDArray[np.generic], slope: float, intercept: float, window: Window) -> Picture:
    """PS3.3, C.11.2.1.3.1."""
    power = np.asarray(values, np.float32) * np.float32(-4 * slope / window.width)
    power += np.float32(-4 * (intercept - window.center) / window.width)
    grey: Values = 255 / (1 + np.exp(np.clip(power, -80, 80)))
    return np.asarray(grey + 0.5, np.uint8)


def _range(image: DataSet, values: NDArray[np.generic], rescale: tuple[float, float]) -> tuple[float, float]:
    """From the smallest to the largest value, padding apart."""
    padding = image.number(_PADDING) if _PADDING in image else None
    used = values if padding is None else values[values != padding]
    if not used.size:
        return 0.0, 1.0
    ends = [float(end) * rescale[0] + rescale[1] for end in (used.min(), used.max())]
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low, math.nextafter(low + 1, math.inf))


def _scaled(stored: tuple[Values, float]) -> Picture:
    values, largest = stored
    grey = np.clip(values * np.float32(255 / largest) + np.float32(0.5), 0, 255)
    return np.asarray(grey, np.uint8)


def _inverted(grey: Picture, layout: Layout) -> Picture:
    return 255 - grey if layout.photometric == "MONOCHROME1" else grey

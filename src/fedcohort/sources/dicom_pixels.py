"""From stored values to a small picture of 8 bits: what a viewer would show, in a declared size.

The way of a grey value is PS3.3's: modality LUT or rescale (C.11.1), values of interest LUT or
window (C.11.2), inverted for MONOCHROME1 (C.7.6.3.1.2); palettes are C.7.9. In a multi-frame
image rescale and window may stand with the frame (C.7.6.16.2.9 and .10). Masks are painted
black before anything is resampled.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedcohort.columns import Frozen
from fedcohort.errors import ConfigError
from fedcohort.sources.dicom_codec import Layout, Stored
from fedcohort.sources.dicom_scan import PIXEL_DATA
from fedcohort.sources.dicom_values import DataSet

Picture = NDArray[np.uint8]
Values = NDArray[np.float32]

_RESCALE_INTERCEPT, _RESCALE_SLOPE, _MODALITY_LUT = 0x00281052, 0x00281053, 0x00283000
_CENTER, _WIDTH, _FUNCTION, _VOI_LUT = 0x00281050, 0x00281051, 0x00281056, 0x00283010
_LUT_DESCRIPTOR, _LUT_DATA = 0x00283002, 0x00283006
_PADDING = 0x00280120
_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_VALUE_TRANSFORMATION, _FRAME_VOI = 0x00289145, 0x00289132
_PALETTE = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))


class Window(Frozen):
    """A window of grey: `center` and `width`, in the unit that the modality LUT or rescale gives, such as HU."""

    center: float
    width: Annotated[float, Field(gt=1)]


class Mask(Frozen):
    """A rectangle that is painted black, in pixels of the stored image; x to the right, y down."""

    x: Annotated[int, Field(ge=0, le=65535)]
    y: Annotated[int, Field(ge=0, le=65535)]
    width: Annotated[int, Field(ge=1, le=65535)]
    height: Annotated[int, Field(ge=1, le=65535)]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `x,y,w,h`.

        Raises:
            ConfigError: it is not four whole numbers.
        """
        parts = text.split(",")
        if len(parts) != 4 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            raise ConfigError("--mask: write x,y,w,h in pixels, such as 0,0,640,40")
        x, y, width, height = (int(part) for part in parts)
        return cls(x=x, y=y, width=width, height=height)


class Rendering(Frozen):
    """How pictures are made.

    Attributes:
        window: `file`: the file's own, or the range of its values where it has none; `range`: from the
            smallest to the largest value of the frame; or one for all.
        fit: `stretch` to the declared size, or `pad` with black to keep the proportions.
        frames: of a multi-frame image: the `first`, the `middle`, or `every` one, a row each.
    """

    height: Annotated[int, Field(ge=1, le=4096)]
    width: Annotated[int, Field(ge=1, le=4096)]
    channels: Literal[1, 3] = 1
    window: Literal["file", "range"] | Window = "file"
    fit: Literal["stretch", "pad"] = "stretch"
    frames: Literal["first", "middle", "every"] = "first"
    masks: tuple[Mask, ...] = Field((), max_length=100)

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.height * self.width * self.channels > 2**24:
            raise ValueError("a picture must have at most 16,777,216 values")
        return self


@dataclass(frozen=True)
class Groups:
    """Where a frame's own attributes may stand, besides the data set: its functional groups, and the shared ones."""

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


def frame_numbers(layout: Layout, rendering: Rendering) -> range:
    """The frames that become rows, from 0."""
    if rendering.frames == "every":
        return range(layout.frames)
    one = layout.frames // 2 if rendering.frames == "middle" else 0
    return range(one, one + 1)


def render(groups: Groups, layout: Layout, stored: Stored, index: int, rendering: Rendering) -> Picture:
    """One frame as a picture.

    Args:
        stored: (rows, columns), or (rows, columns, 3) in RGB.
    Returns:
        (height, width) or (height, width, 3) uint8, as declared.
    Raises:
        DicomError: a LUT, window or mask does not fit the image; names the tag.
    """
    if layout.samples == 3:
        shown = _to_8_bits(stored, layout)
    elif layout.photometric == "PALETTE COLOR":
        shown = _through_palette(groups.image, stored)
    else:
        shown = _grey(groups, layout, stored, index, rendering)
    return _resampled(painted(groups.image, shown, rendering.masks), rendering)


def painted[T: np.integer](image: DataSet, pixels: NDArray[T], masks: Iterable[Mask], black: int = 0) -> NDArray[T]:
    """The pixels with every mask painted over; themselves when there is none.

    Raises:
        DicomError: a mask is not wholly within the image, and so was meant for another size.
    """
    rectangles = list(masks)
    if not rectangles:
        return pixels
    pixels = pixels.copy()
    rows, columns = pixels.shape[:2]
    for mask in rectangles:
        if mask.x + mask.width > columns or mask.y + mask.height > rows:
            raise image.refusal(PIXEL_DATA, f"is {columns} x {rows} pixels, and a mask reaches beyond it")
        pixels[mask.y : mask.y + mask.height, mask.x : mask.x + mask.width] = black
    return pixels


def _grey(groups: Groups, layout: Layout, stored: Stored, index: int, rendering: Rendering) -> Picture:
    values, slope, intercept = _modality(groups, stored, index)
    if rendering.window == "file":
        lut = _first(groups.places(_FRAME_VOI, index), _VOI_LUT)
        if lut is not None:
            grey = _scaled(_looked_up(lut, _VOI_LUT, values * np.float32(slope) + np.float32(intercept)))
            return _inverted(grey, layout)
    low, high, exact = _window(groups, layout, values, (slope, intercept), index, rendering)
    if exact is not None:
        return _inverted(_sigmoid(values, slope, intercept, exact), layout)
    scale = 255.0 / (high - low)
    grey = np.multiply(values, np.float32(slope * scale), dtype=np.float32)
    grey += np.float32((intercept - low) * scale + 0.5)
    return _inverted(np.clip(grey, 0.0, 255.0, out=grey).astype(np.uint8), layout)


def _modality(groups: Groups, stored: Stored, index: int) -> tuple[NDArray[np.generic], float, float]:
    """Values, and the slope and intercept still to be applied to them."""
    places = groups.places(_VALUE_TRANSFORMATION, index)
    lut = _first(places, _MODALITY_LUT)
    if lut is not None:
        return _looked_up(lut, _MODALITY_LUT, stored)[0], 1.0, 0.0
    slopes = [place for place in places if _RESCALE_SLOPE in place]
    if not slopes:
        return stored, 1.0, 0.0
    slope, intercept = slopes[0].number(_RESCALE_SLOPE), slopes[0].number(_RESCALE_INTERCEPT)
    if not slope or abs(slope) > 1e12 or abs(intercept or 0.0) > 1e12:
        raise groups.image.refusal(_RESCALE_SLOPE, "and RescaleIntercept cannot be those of an image")
    return stored, slope, intercept or 0.0


def _first(places: Iterable[DataSet], tag: int) -> DataSet | None:
    return next((item for place in places for item in place.items(tag)), None)


def _looked_up(lut: DataSet, tag: int, values: NDArray[np.generic]) -> tuple[Values, float]:
    """Values through a LUT, and the largest that it can give: PS3.3, C.11.1.1 and C.11.2.1.1."""
    entries, first, bits = _descriptor(lut, _LUT_DESCRIPTOR, tag)
    table = _table(lut, _LUT_DATA, entries, tag)
    places = np.clip(np.asarray(values, np.float64) - first, 0, entries - 1).astype(np.int64)
    return table.astype(np.float32)[places], float(2**bits - 1)


def _descriptor(item: DataSet, tag: int, within: int) -> tuple[int, int, int]:
    """Entries, first value mapped and bits of an entry: PS3.3, C.11.1.1; 0 entries are 65,536."""
    found = item.numbers(tag)
    if len(found) != 3 or not 8 <= found[2] <= 16:
        raise item.refusal(tag, "does not describe a look-up table")
    return int(found[0]) % 2**16 or 2**16, int(found[1]), int(found[2])


def _table(item: DataSet, tag: int, entries: int, within: int) -> NDArray[np.uint16]:
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
    rendering: Rendering,
) -> tuple[float, float, Window | None]:
    """The values that become black and white; and a window for the sigmoid function instead."""
    if isinstance(rendering.window, Window):
        return *_linear(rendering.window), None
    places = groups.places(_FRAME_VOI, index) if rendering.window == "file" else []
    for place in places:
        center, width = place.number(_CENTER), place.number(_WIDTH)
        if center is None or width is None or not 0 < width < 1e12 or abs(center) > 1e12:
            continue
        match place.text(_FUNCTION):
            case "SIGMOID":
                return 0.0, 1.0, Window(center=center, width=max(width, 1.001))
            case "LINEAR_EXACT":
                return center - width / 2, center + width / 2, None
            case _ if width > 1:
                return *_linear(Window(center=center, width=width)), None
            case _:
                return center - 1, center, None
    if rendering.window == "file" and layout.stored <= 8 and not layout.signed and rescale == (1.0, 0.0):
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
    return (grey + 0.5).astype(np.uint8)


def _range(image: DataSet, values: NDArray[np.generic], rescale: tuple[float, float]) -> tuple[float, float]:
    """From the smallest to the largest value, padding apart."""
    padding = image.number(_PADDING) if _PADDING in image else None
    found = values if padding is None else values[values != padding]
    if not found.size:
        return 0.0, 1.0
    ends = [float(end) * rescale[0] + rescale[1] for end in (found.min(), found.max())]
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low, math.nextafter(low + 1, math.inf))


def _scaled(found: tuple[Values, float]) -> Picture:
    values, largest = found
    return np.clip(values * np.float32(255 / largest) + np.float32(0.5), 0, 255).astype(np.uint8)


def _inverted(grey: Picture, layout: Layout) -> Picture:
    return np.bitwise_not(grey) if layout.photometric == "MONOCHROME1" else grey


def _to_8_bits(pixels: Stored, layout: Layout) -> Picture:
    if pixels.dtype == np.uint8 and layout.stored == 8:
        return pixels
    return (np.asarray(pixels, np.float64) * (255 / (2**layout.stored - 1)) + 0.5).clip(0, 255).astype(np.uint8)


def _through_palette(image: DataSet, stored: Stored) -> Picture:
    shown = np.empty((*stored.shape, 3), np.uint8)
    for channel, (descriptor, data) in enumerate(_PALETTE):
        entries, first, bits = _descriptor(image, descriptor, descriptor)
        table = _table(image, data, entries, data)
        eight = (table >> 8 if bits == 16 else table).clip(0, 255).astype(np.uint8)
        shown[..., channel] = eight[np.clip(stored.astype(np.int64) - first, 0, entries - 1)]
    return shown


def _resampled(shown: Picture, rendering: Rendering) -> Picture:
    """To the declared size: the mean of the area when it shrinks, bilinear when it grows."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(shown))
    wanted = "L" if rendering.channels == 1 else "RGB"
    size = _size(shown, rendering)
    if picture.size != size:
        shrinks = size[0] <= picture.width and size[1] <= picture.height
        picture = picture.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)
    if picture.mode != wanted:
        picture = picture.convert(wanted)
    if size != (rendering.width, rendering.height):
        whole = Image.new(wanted, (rendering.width, rendering.height))
        whole.paste(picture, ((rendering.width - size[0]) // 2, (rendering.height - size[1]) // 2))
        picture = whole
    return np.asarray(picture, np.uint8)


def _size(shown: Picture, rendering: Rendering) -> tuple[int, int]:
    if rendering.fit == "stretch":
        return rendering.width, rendering.height
    rows, columns = shown.shape[:2]
    factor = min(rendering.width / columns, rendering.height / rows)
    return max(1, round(columns * factor)), max(1, round(rows * factor))

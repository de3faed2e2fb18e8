"""From stored values to a small picture of 8 bits: what a viewer would show, in a declared size.

Colours come through palettes (PS3.3, C.7.9) or as they are; greys through `dicom_grey`. Masks
are painted black before anything is resampled.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedcohort.columns import Frozen
from fedcohort.errors import ConfigError
from fedcohort.sources.dicom.grey import Choice, Groups, Picture, to_grey
from fedcohort.sources.dicom.layout import Layout, Stored
from fedcohort.sources.dicom.palette import Colours, palette, through_palette
from fedcohort.sources.dicom.scan import PIXEL_DATA
from fedcohort.sources.dicom.values import DataSet

Pixel = TypeVar("Pixel", bound=np.integer)


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

    height: Annotated[int, Field(ge=1, le=4096)] = 224
    width: Annotated[int, Field(ge=1, le=4096)] = 224
    channels: Literal[1, 3] = 1
    window: Choice = "file"
    fit: Literal["stretch", "pad"] = "stretch"
    frames: Literal["first", "middle", "every"] = "first"
    masks: Annotated[tuple[Mask, ...], Field(max_length=100)] = ()

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.height * self.width * self.channels > 2**24:
            raise ValueError("a picture must have at most 16,777,216 values")
        return self


def frame_numbers(layout: Layout, rendering: Rendering) -> range:
    """The frames that become rows, from 0."""
    if rendering.frames == "every":
        return range(layout.frames)
    middle = layout.frames // 2 if rendering.frames == "middle" else 0
    return range(middle, middle + 1)


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
        shown = through_palette(_palette(groups), stored)
    else:
        shown = to_grey(groups, layout, stored, index, rendering.window)
    return _resampled(painted(groups.image, shown, rendering.masks), rendering)


def painted(image: DataSet, pixels: NDArray[Pixel], masks: Iterable[Mask], black: int = 0) -> NDArray[Pixel]:
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


def _to_8_bits(pixels: Stored, layout: Layout) -> Picture:
    if pixels.dtype == np.uint8 and layout.stored == 8:
        return np.asarray(pixels, np.uint8)
    scaled = np.asarray(pixels, np.float64) * (255 / (2**layout.stored - 1)) + 0.5
    return np.asarray(scaled.clip(0, 255), np.uint8)


@lru_cache(1)
def _palette(groups: Groups) -> list[Colours]:
    """An image's palette, once for all of its frames."""
    return palette(groups.image)


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

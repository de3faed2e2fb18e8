"""Colours through a palette, plain or segmented: PS3.3, C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcohort.sources.dicom.grey import Picture, descriptor, table
from fedcohort.sources.dicom.layout import Stored
from fedcohort.sources.dicom.values import DataSet

_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
PLAIN, _SEGMENTED = 0x100, 0x120
"""From a descriptor's tag to its table's."""
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2
_MAX_SEGMENTED = 3 * 2 * 2**16
"""Bytes: 65,536 entries of 16 bits, each a segment of its own."""
_REMEMBERED = 12
"""Tables written out: the images of one device have the same palette."""


class Colours(NamedTuple):
    """One of a palette's three tables.

    Attributes:
        first: the index that has the first of the values; bits: of a value, 8 or 16.
    """

    descriptor: int
    first: int
    bits: int
    values: NDArray[np.uint16]


def palette(image: DataSet) -> list[Colours]:
    """Red, green and blue, segmented tables written out.

    Raises:
        DicomError: a table is missing, damaged, or of another size than described.
    """
    tables = []
    for described in _DESCRIPTORS:
        entries, first, bits = descriptor(image, described)
        if described + _SEGMENTED in image:
            values = _expanded(image, described + _SEGMENTED, entries, bits)
        else:
            values = table(image, described + PLAIN, entries)
        tables.append(Colours(described, first, bits, values))
    return tables


def through_palette(colours: Sequence[Colours], stored: Stored) -> Picture:
    """Indices as colours: (rows, columns, 3)."""
    shown = np.empty((*stored.shape, 3), np.uint8)
    places = stored.astype(np.intp)
    for channel, (_, first, bits, values) in enumerate(colours):
        eight = (values >> 8 if bits == 16 else values).clip(0, 255).astype(np.uint8)
        shown[..., channel] = eight.take(places - first if first else places, mode="clip")
    return shown


def _expanded(image: DataSet, tag: int, entries: int, bits: int) -> NDArray[np.uint16]:
    """A segmented table, written out.

    Raises:
        DicomError: it is none, or of another size than described.
    """
    element = image.elements[tag]
    if element.end - element.start > _MAX_SEGMENTED:
        raise image.refusal(tag, f"is longer than {_MAX_SEGMENTED:,} bytes, which no palette needs")
    kind = "u1" if bits == 8 else "<u2" if image.syntax.little else ">u2"
    try:
        values = _written_out(image.data[element.start : element.end], kind, entries)
    except (IndexError, KeyError, ValueError):
        raise image.refusal(tag, "is not a segmented table") from None
    if len(values) != entries:
        raise image.refusal(tag, "does not have as many entries as its descriptor says")
    return values


@lru_cache(_REMEMBERED)
def _written_out(data: bytes, kind: str, entries: int) -> NDArray[np.uint16]:
    """Runs of values, straight lines, and repetitions of earlier segments; stops once they are too many.

    Raises:
        IndexError, KeyError, ValueError: it is cut short, damaged, or repeats what is not there.
    """
    size = np.dtype(kind).itemsize
    words = np.frombuffer(data[: len(data) // size * size], kind).tolist()
    values: list[int] = []
    starts: list[int] = []
    number_of: dict[int, int] = {}
    at = 0
    while at < len(words) and len(values) <= entries:
        number_of[at] = len(starts)
        starts.append(at)
        if words[at] != _INDIRECT:
            at = _extend(values, words, at)
            continue
        low, high = words[at + 2 : at + 4]
        earlier = number_of[(low + (high << 8 * size)) // size]
        for again in starts[earlier : earlier + words[at + 1]]:
            _extend(values, words, again)
            if len(values) > entries:
                break
        at += 4
    made = np.array(values, np.uint16)
    made.flags.writeable = False
    return made


def _extend(values: list[int], words: list[int], at: int) -> int:
    """Add one segment's values; returns where the next begins.

    Raises:
        IndexError: it is cut short, or a line begins at nothing.
        ValueError: it is neither values nor a line, or adds nothing: so each step costs a value.
    """
    kind, count = words[at], words[at + 1]
    if kind not in (_DISCRETE, _LINEAR) or count == 0:
        raise ValueError
    if kind == _DISCRETE:
        segment = words[at + 2 : at + 2 + count]
        if len(segment) != count:
            raise IndexError
        values += segment
        return at + 2 + count
    begin, rise = values[-1], words[at + 2] - values[-1]
    values += [begin + rise * step // count for step in range(1, count + 1)]
    return at + 3

"""Colours through a palette, plain or segmented: PS3.3, C.7.6.3.1.5, C.7.6.3.1.6 and C.7.9."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedcohort.sources.dicom_grey import Picture, descriptor, table
from fedcohort.sources.dicom_layout import Stored
from fedcohort.sources.dicom_values import DataSet

_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
PLAIN, _SEGMENTED = 0x100, 0x120
"""From a descriptor's tag to its table's."""
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


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
    found = []
    for described in _DESCRIPTORS:
        entries, first, bits = descriptor(image, described)
        if described + _SEGMENTED in image:
            values = _expanded(image, described + _SEGMENTED, entries, bits)
        else:
            values = table(image, described + PLAIN, entries)
        found.append(Colours(described, first, bits, values))
    return found


def through_palette(colours: Sequence[Colours], stored: Stored) -> Picture:
    """Indices as colours: (rows, columns, 3)."""
    shown = np.empty((*stored.shape, 3), np.uint8)
    for channel, (_, first, bits, values) in enumerate(colours):
        eight = (values >> 8 if bits == 16 else values).clip(0, 255).astype(np.uint8)
        shown[..., channel] = eight[np.clip(stored.astype(np.int64) - first, 0, len(values) - 1)]
    return shown


def _expanded(image: DataSet, tag: int, entries: int, bits: int) -> NDArray[np.uint16]:
    """A segmented table, written out: runs of values, straight lines, and repetitions of earlier segments."""
    element = image.elements[tag]
    order = "<" if image.syntax.little else ">"
    kind = f"{order}u2" if bits == 16 else "u1"
    length = (element.end - element.start) // np.dtype(kind).itemsize
    words = np.frombuffer(image.data, kind, length, element.start).tolist()
    values: list[int] = []
    starts: list[int] = []
    at = 0
    try:
        while at < len(words):
            starts.append(at)
            if words[at] == _INDIRECT:
                low, high = words[at + 2 : at + 4]
                earlier = starts.index(
                    (low + (high << 8 * np.dtype(kind).itemsize)) // np.dtype(kind).itemsize
                )
                for again in starts[earlier : earlier + words[at + 1]]:
                    _extend(values, words, again)
                at += 4
            else:
                at = _extend(values, words, at)
            if len(values) > entries:
                break
    except (IndexError, ValueError):
        raise image.refusal(tag, "is not a segmented table") from None
    if len(values) != entries:
        raise image.refusal(tag, "does not have as many entries as its descriptor says")
    return np.array(values, np.uint16)


def _extend(values: list[int], words: list[int], at: int) -> int:
    """Add one segment's values; returns where the next begins.

    Raises:
        IndexError: it is cut short, or a line begins at nothing.
        ValueError: it is neither values nor a line.
    """
    kind, count = words[at], words[at + 1]
    if kind == _DISCRETE:
        found = words[at + 2 : at + 2 + count]
        if len(found) != count:
            raise IndexError
        values += found
        return at + 2 + count
    if kind != _LINEAR:
        raise ValueError
    begin, end = values[-1], words[at + 2]
    values += [begin + (end - begin) * step // count for step in range(1, count + 1)]
    return at + 3

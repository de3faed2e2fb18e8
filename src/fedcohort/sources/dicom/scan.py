"""The bones of a DICOM data set: where each element stands, without believing any length that it declares.

Data elements are walked as DICOM PS3.5, section 7 lays them out (explicit and implicit VR,
either byte order, sequences of defined and undefined length, encapsulated fragments), in
one loop without recursion. What comes out is positions; values are read from them later.
How much a hostile file can cost is bounded here: bytes, elements, depth of nesting.
"""

import struct
from functools import lru_cache
from typing import Literal, NamedTuple

from fedcohort.errors import DicomError

MAX_ELEMENTS = 500_000
"""In all levels of nesting; an enhanced multi-frame image of a thousand frames has about 100,000."""
MAX_TOP_ELEMENTS = 20_000
MAX_DEPTH = 32

PIXEL_DATA = 0x7FE00010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_SHORT = {vr: vr.decode() for vr in b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()}
WRITTEN_VRS = _LONG | _SHORT.keys()
_HEADER = {order: struct.Struct(f"{order}HH2sH") for order in "<>"}
"""Of an element of explicit VR: tag, VR, and the length where that has 16 bits."""


class Syntax(NamedTuple):
    """How a data set is written: PS3.5, section 10."""

    uid: str
    implicit: bool
    little: bool


class Element(NamedTuple):
    """One data element.

    Attributes:
        vr: as written; None in implicit VR.
        start, end: of the value, in bytes from the beginning of the (unpacked) file.
        position: of the element itself.
        undefined: a sequence, or encapsulated pixels, that ends by a delimiter.
    """

    tag: int
    vr: str | None
    start: int
    end: int
    position: int
    undefined: bool


class _Level(NamedTuple):
    """A sequence whose items are walked, or an item whose elements are; end is None until a delimiter."""

    items: bool
    end: int | None
    implicit: bool
    limit: int
    tag: int
    vr: str | None
    start: int
    position: int


def tag_name(tag: int) -> str:
    """A tag as engineers write it, with its keyword where the standard has one: (0010,0020) PatientID."""
    from pydicom.datadict import keyword_for_tag

    return f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword_for_tag(tag)}".rstrip()


def scan(
    data: bytes, start: int, limit: int, implicit: bool, little: bool, item: Literal["", "known", "open"] = ""
) -> tuple[dict[int, Element], int]:
    """Walk a data set, or an item's, and everything nested in it.

    Args:
        limit: where it ends; where it ends at the latest when it is `open`.
        item: of a sequence, of known length or `open`, to its delimiter; empty: a file's data set.
    Returns:
        tag to element, of the outermost level alone; and where the walk ended.
    Raises:
        DicomError: an element does not fit into what is left, stands twice, or is nested too deeply.
    """
    order = "<" if little else ">"
    elements: dict[int, Element] = {}
    stack = [_Level(False, None if item == "open" else limit, implicit, limit, 0, None, start, start)]
    position, count = start, 0
    while stack:
        level = stack[-1]
        if position == level.end:
            stack.pop()
            continue
        count += 1
        if count > MAX_ELEMENTS:
            raise DicomError(position, "", f"has more than {MAX_ELEMENTS:,} elements; leave it out")
        if level.items:
            position = _item(data, position, order, stack, elements)
            continue
        if not item and len(stack) == 1 and _is_padding(data, position, limit):
            return elements, limit
        read = _implicit if level.implicit else explicit_element
        element, following = read(data, position, level.limit, order)
        if element.tag == _ITEM_END:
            if not item and len(stack) == 1:
                raise DicomError(
                    position, tag_name(element.tag), "stands where no item is; the file is damaged"
                )
            if level.end is None:  # some writers end items of a known length by a delimiter, too
                stack.pop()
            position = following
            continue
        inner = _inner(element, level)
        if inner is not None:
            if len(stack) > MAX_DEPTH:
                raise DicomError(
                    position, tag_name(element.tag), f"is nested more than {MAX_DEPTH} levels deep"
                )
            stack.append(inner)
        if len(stack) == 1 or (inner is not None and len(stack) == 2):
            _add(elements, element)
        position = following
    return elements, position


def _is_padding(data: bytes, position: int, limit: int) -> bool:
    """Whether nothing but zeros is left, as some writers fill a file's last block."""
    return not any(data[position : position + 8]) and not data[position:limit].strip(b"\0")


def _add(elements: dict[int, Element], element: Element) -> None:
    if element.tag in elements:
        raise DicomError(
            element.position, tag_name(element.tag), "stands twice; which one holds cannot be told"
        )
    if len(elements) >= MAX_TOP_ELEMENTS:
        raise DicomError(element.position, "", f"has more than {MAX_TOP_ELEMENTS:,} elements; leave it out")
    elements[element.tag] = element


def _inner(element: Element, level: _Level) -> _Level | None:
    """The level to walk next, when the element has items."""
    fragments = element.tag == PIXEL_DATA and element.undefined
    sequence = element.vr == "SQ" or (element.vr is None and vr_of(element.tag) == "SQ")
    if not (element.undefined or sequence):
        return None
    if element.undefined and element.vr not in (None, "SQ", "UN") and not fragments:
        raise DicomError(
            element.position, tag_name(element.tag), "has no length, which only sequences may lack"
        )
    # PS3.5, 6.2.2, note 4: what is UN of undefined length holds implicit VR.
    implicit = level.implicit or element.vr == "UN"
    end = None if element.undefined else element.end
    limit = level.limit if element.undefined else element.end
    return _Level(True, end, implicit, limit, element.tag, element.vr, element.start, element.position)


@lru_cache(2**16)
def vr_of(tag: int) -> str:
    """What the standard's dictionary gives a tag: the first where it gives several, UN for none."""
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "UN"


@lru_cache(2**16)
def may_be_signed(tag: int) -> bool:
    """Whether the dictionary leaves it to the pixels' sign: "US or SS"."""
    from pydicom.datadict import dictionary_VR

    try:
        return " or SS" in dictionary_VR(tag)
    except KeyError:
        return False


def _item(data: bytes, position: int, order: str, stack: list[_Level], elements: dict[int, Element]) -> int:
    """Enter the next item, or leave the sequence; returns where to go on."""
    level = stack[-1]
    tag, length = _item_header(data, position, order, level)
    position += 8
    if tag == _SEQUENCE_END and length == 0:
        if level.end is not None:  # one too many, behind items of a known length
            return position
        stack.pop()
        if len(stack) == 1:
            elements[level.tag] = Element(
                level.tag, level.vr, level.start, position - 8, level.position, True
            )
        return position
    if tag != _ITEM:
        raise DicomError(
            position - 8, tag_name(level.tag), "holds something that is no item; the file is damaged"
        )
    if length != _UNDEFINED and position + length > level.limit:
        raise _too_long(position - 8, level.tag, length, level.limit - position)
    if level.tag == PIXEL_DATA:
        if length == _UNDEFINED:
            raise DicomError(
                position - 8, tag_name(level.tag), "has a fragment without a length; it is damaged"
            )
        return position + length
    undefined = length == _UNDEFINED
    end = None if undefined else position + length
    limit = level.limit if undefined else position + length
    stack.append(_Level(False, end, level.implicit, limit, level.tag, None, position, position - 8))
    return position


def _item_header(data: bytes, position: int, order: str, level: _Level) -> tuple[int, int]:
    if position + 8 > level.limit:
        raise DicomError(position, tag_name(level.tag), "has no end; the file is cut short, get it again")
    group, number, length = struct.unpack_from(order + "HHL", data, position)
    return group << 16 | number, length


def explicit_element(data: bytes, position: int, limit: int, order: str) -> tuple[Element, int]:
    """The element of explicit VR at a position, and where to go on."""
    if position + 8 > limit:
        raise _cut(position)
    group, number, vr, length = _HEADER[order].unpack_from(data, position)
    tag = group << 16 | number
    short = _SHORT.get(vr)
    if short is not None and group != 0xFFFE:
        return _placed(tag, short, position, position + 8, length, limit)
    if group == 0xFFFE:
        return _delimiter(data, position, tag, order)
    if vr not in _LONG:
        raise DicomError(
            position,
            tag_name(tag),
            "has no value representation of the standard, or another transfer syntax than told",
        )
    if position + 12 > limit:
        raise _cut(position)
    (length,) = struct.unpack_from(order + "L", data, position + 8)
    return _placed(tag, vr.decode("ascii"), position, position + 12, length, limit)


def _implicit(data: bytes, position: int, limit: int, order: str) -> tuple[Element, int]:
    if position + 8 > limit:
        raise _cut(position)
    group, number, length = struct.unpack_from(order + "HHL", data, position)
    tag = group << 16 | number
    if group == 0xFFFE:
        return _delimiter(data, position, tag, order)
    return _placed(tag, None, position, position + 8, length, limit)


def _delimiter(data: bytes, position: int, tag: int, order: str) -> tuple[Element, int]:
    if tag != _ITEM_END or struct.unpack_from(order + "L", data, position + 4)[0] != 0:
        raise DicomError(position, tag_name(tag), "stands where no item is; the file is damaged")
    return Element(tag, None, position + 8, position + 8, position, False), position + 8


def _placed(
    tag: int, vr: str | None, position: int, start: int, length: int, limit: int
) -> tuple[Element, int]:
    """The element, and where to go on: at its items when it has some, else behind its value."""
    if length == _UNDEFINED:
        return Element(tag, vr, start, start, position, True), start
    end = start + length
    if end > limit:
        raise _too_long(position, tag, length, limit - start)
    walked = vr == "SQ" or (vr is None and vr_of(tag) == "SQ")
    return Element(tag, vr, start, end, position, False), start if walked else end


def _too_long(position: int, tag: int, length: int, left: int) -> DicomError:
    return DicomError(
        position,
        tag_name(tag),
        f"says that it is {length:,} bytes long, and {max(left, 0):,} are left; it is cut short or damaged",
    )


def _cut(position: int) -> DicomError:
    return DicomError(position, "", "ends within an element; the file is cut short, get it again")

"""Values of DICOM elements, read one by one when they are wanted: texts, numbers, the items of a sequence.

Value representations are those of PS3.5, section 6.2. A value that is not what its tag
promises is refused by position and tag; its words never stand in a message.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from fedcohort.errors import DicomError
from fedcohort.sources.dicom.scan import Element, Syntax, may_be_signed, scan, tag_name, vr_of

_BINARY = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q", "AT": "HH"}
_MAX_TEXT = 64 * 1024
_ITEM, _UNDEFINED = 0xFFFEE000, 0xFFFFFFFF
CHARACTER_SET, _PIXEL_REPRESENTATION = 0x00080005, 0x00280103


@dataclass(frozen=True)
class DataSet:
    """A data set, or an item's: elements in a file's bytes.

    Attributes:
        encodings: Python's codecs for its texts, as SpecificCharacterSet declares them.
        outer_signed: PixelRepresentation of the data set that this one is an item in.
    """

    data: bytes
    syntax: Syntax
    elements: Mapping[int, Element]
    encodings: tuple[str, ...] = ("iso8859",)
    outer_signed: bool = False

    def __contains__(self, tag: int) -> bool:
        """Whether it holds the element with a value."""
        element = self.elements.get(tag)
        return element is not None and element.end > element.start

    @property
    def signed(self) -> bool:
        """Whether pixels are: what stands here, or in the nearest data set around."""
        element = self.elements.get(_PIXEL_REPRESENTATION)
        if element is None or element.end - element.start != 2:
            return self.outer_signed
        return self.data[element.start : element.end] in (b"\1\0", b"\0\1")

    def vr(self, tag: int) -> str:
        """How a value is read: as written, or by the dictionary where it is not written.

        Between US and SS the sign of the pixels decides (PS3.5, A.1).
        """
        element = self.elements.get(tag)
        if element is not None and element.vr not in (None, "UN"):
            return element.vr or "UN"
        return "SS" if self.signed and may_be_signed(tag) else vr_of(tag)

    def refusal(self, tag: int, reason: str) -> DicomError:
        """What to raise about an element; position 0 when it is not there."""
        element = self.elements.get(tag)
        return DicomError(element.position if element else 0, tag_name(tag), reason)

    def raw(self, tag: int) -> bytes:
        """A value's bytes; none when it is missing.

        Raises:
            DicomError: it is longer than any text or list of numbers has to be.
        """
        element = self.elements.get(tag)
        if element is None:
            return b""
        if element.end - element.start > _MAX_TEXT:
            raise self.refusal(tag, f"is longer than {_MAX_TEXT:,} bytes")
        return self.data[element.start : element.end]

    def texts(self, tag: int) -> tuple[str, ...]:
        """A text's values, without the padding; () when there is none.

        Raises:
            DicomError: its bytes are not of the declared character set.
        """
        raw = self.raw(tag)
        if not raw.strip(b"\0 "):
            return ()
        plain = raw.isascii() and b"\x1b" not in raw
        text = raw.decode("ascii") if plain else self._decoded(tag, raw)
        return tuple(part.strip("\0 ") for part in text.split("\\"))

    def text(self, tag: int) -> str | None:
        """The only value, or None."""
        return "\\".join(self.texts(tag)) or None

    def _decoded(self, tag: int, raw: bytes) -> str:
        import warnings

        from pydicom.charset import decode_bytes

        try:
            with warnings.catch_warnings(action="error"):
                return str(decode_bytes(raw, list(self.encodings), {0x5C}))
        except (UnicodeError, LookupError, UserWarning):
            raise self.refusal(tag, "is not written in the character set that the file declares") from None

    def numbers(self, tag: int) -> tuple[float, ...]:
        """A list of numbers, binary or written out (DS, IS); () when there is none.

        Raises:
            DicomError: it is neither, or not finite.
        """
        raw = self.raw(tag)
        if not raw:
            return ()
        try:
            values = self._binary(tag, raw) or tuple(float(text) for text in self.texts(tag) if text)
        except (ValueError, struct.error):
            raise self.refusal(tag, "is not a number") from None
        if not all(map(math.isfinite, values)):
            raise self.refusal(tag, "is not a finite number")
        return values

    def _binary(self, tag: int, raw: bytes) -> tuple[float, ...]:
        letter = _BINARY.get(self.vr(tag))
        if letter is None:
            return ()
        order = "<" if self.syntax.little else ">"
        return struct.unpack(f"{order}{len(raw) // struct.calcsize(order + letter)}{letter}", raw)

    def number(self, tag: int) -> float | None:
        """The first number, or None."""
        return next(iter(self.numbers(tag)), None)

    def whole(self, tag: int, low: int, high: int, default: int | None = None) -> int:
        """A whole number within bounds.

        Raises:
            DicomError: it is missing and there is no default, or it is outside.
        """
        number = self.number(tag)
        if number is None:
            if default is None:
                raise self.refusal(tag, "is missing")
            return default
        if number != int(number) or not low <= number <= high:
            raise self.refusal(tag, f"is not a whole number from {low:,} to {high:,}")
        return int(number)

    def items(self, tag: int) -> list["DataSet"]:
        """The items of a sequence; none when there is none.

        Raises:
            DicomError: it is not a sequence.
        """
        element = self.elements.get(tag)
        if element is None:
            return []
        implicit = self.syntax.implicit or element.vr == "UN"
        order = "<" if self.syntax.little else ">"
        items_read, position = [], element.start
        while position + 8 <= element.end:
            group, number, length = struct.unpack_from(order + "HHL", self.data, position)
            if group << 16 | number != _ITEM:
                break
            limit = element.end if length == _UNDEFINED else min(position + 8 + length, element.end)
            item, position = self._item(position + 8, limit, length == _UNDEFINED, implicit)
            items_read.append(item)
        return items_read

    def _item(self, start: int, limit: int, undefined: bool, implicit: bool) -> tuple["DataSet", int]:
        kind: Literal["open", "known"] = "open" if undefined else "known"
        elements, end = scan(self.data, start, limit, implicit, self.syntax.little, kind)
        syntax = self.syntax._replace(implicit=implicit)
        return DataSet(self.data, syntax, elements, self.encodings, self.signed), end

"""One HL7 v2 message: decoded by MSH-18, split by its own separators, values unescaped as they are asked for.

HL7 v2.9, chapter 2: 2.5.3 (empty and `""`), 2.5.4 (delimiters; the truncation character of 2.7), 2.7
(escapes). Nothing is validated that is not asked for: senders differ, and a message is refused where its
meaning is in doubt.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from fedcohort.errors import Hl7Error
from fedcohort.sources.hl7v2.charsets import DEFAULT, SHORTEST_MSH, codec_of

DELETE = '""'
"""A value that says: delete what is stored. An empty one says nothing, and what is stored stays."""

Segment = Sequence[str]
"""Fields by number, from the segment's name; in MSH too, whose first field is the separator."""

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_DEFAULT_MARKS = "^~\\&"
MAX_SEGMENTS = 100_000
MAX_REPETITIONS = 10_000
"""Of one field; each may become a row."""


class Message:
    """A message's segments, and its separators.

    Attributes:
        codec: by which it was decoded.
    """

    __slots__ = (
        "_escapes",
        "_repeated",
        "codec",
        "component",
        "escape",
        "field",
        "repetition",
        "segments",
        "subcomponent",
    )

    def __init__(self, data: bytes, default: str = DEFAULT, *, header_alone: bool = False) -> None:
        """Read a message.

        Args:
            data: from MSH on, segments ended by carriage return, line feed or both.
            default: codec of a message without MSH-18.
            header_alone: decode all of it, and keep MSH.
        Raises:
            Hl7Error: it has no MSH, or its separators or characters cannot be read.
        """
        self.codec, lines = _lines(data, default)
        self.field = lines[0][3]
        marks = lines[0][4:].split(self.field, 1)[0]
        if not are_separators(self.field, marks):
            wrong = "MSH-1 and MSH-2 are not five different marks, such as |^~\\&"
            raise Hl7Error("MSH-2", "separators", wrong)
        every = (*marks, *_DEFAULT_MARKS[len(marks) :])
        self.component, self.repetition, self.escape, self.subcomponent = every[:4]
        self._escapes = _escape_table(self.field, "".join(every), self.codec)
        self._repeated: dict[str, list[str]] = {}
        self.segments: list[list[str]] = []
        text: list[str] = []
        for line in lines[:1] if header_alone else lines:
            if not _NAME.match(line) or (len(line) > 3 and line[3] != self.field):
                text.append(line)
                continue
            self._continue(text)
            fields = line.split(self.field)
            if fields[0] == "MSH":
                fields.insert(1, self.field)
            self.segments.append(fields)
        self._continue(text)

    def _continue(self, text: list[str]) -> None:
        """Lines that are no segments are the rest of a text in which ends of lines were not escaped."""
        if text:
            self.segments[-1][-1] = "\n".join((self.segments[-1][-1], *text))
            text.clear()

    def get(self, segment: Segment, field: int, component: int = 1, repetition: int = 0, sub: int = 1) -> str:
        """A value, unescaped; empty where there is none, and DELETE where it says so.

        Args:
            field: its number, as the standard's; also `component` and `sub`, from 1.
            repetition: from 0.
        """
        value = segment[field] if field < len(segment) else ""
        if value:
            value = self._repetition(value, repetition)
            value = _part(value, self.component, component - 1)
            value = _part(value, self.subcomponent, sub - 1)
        return self.unescape(value) if self.escape in value else value

    def components(self, segment: Segment, field: int, repetition: int = 0) -> list[str]:
        """The components of a value, of each the first sub-component, without blanks around."""
        value = segment[field] if field < len(segment) else ""
        if not value:
            return []
        if repetition or self.repetition in value:
            value = self._repetition(value, repetition)
        parts = value.split(self.component)
        if self.subcomponent in value:
            parts = [part.split(self.subcomponent, 1)[0] for part in parts]
        if self.escape in value:
            parts = [self.unescape(part) for part in parts]
        return [part.strip() for part in parts]

    def repetitions(self, segment: Segment, field: int) -> int:
        """How many values a field has; 0 where it is empty.

        Raises:
            Hl7Error: it has more than MAX_REPETITIONS.
        """
        if field >= len(segment) or not segment[field]:
            return 0
        count = segment[field].count(self.repetition) + 1
        if count > MAX_REPETITIONS:
            raise Hl7Error(f"{segment[0]}-{field}", "too-large", "it has more than 10,000 repetitions")
        return count

    def _repetition(self, value: str, index: int) -> str:
        """One of a field's values; a field is split once, however many of them are asked for."""
        if self.repetition not in value:
            return "" if index else value
        parts = self._repeated.get(value)
        if parts is None:
            parts = self._repeated[value] = value.split(self.repetition)
        return parts[index] if index < len(parts) else ""

    def unescape(self, value: str) -> str:
        """Text without escape sequences; highlighting and local ones are left out."""
        pattern, table, codec = self._escapes

        def plain(match: re.Match[str]) -> str:
            code = match[1]
            found = table.get(code)
            if found is not None:
                return found
            if code[:1] == "X":
                return _hexadecimal(code[1:], codec)
            return "" if code[:1] in "CMZ.HN" or not code else match[0]

        return pattern.sub(plain, value)


def _part(value: str, separator: str, index: int) -> str:
    if separator in value:
        parts = value.split(separator)
        return parts[index] if index < len(parts) else ""
    return "" if index else value


_TOO_MANY = "it has more than 100,000 segments"


def _lines(data: bytes, default: str) -> tuple[str, list[str]]:
    """The message's codec, and its lines, decoded.

    Raises:
        Hl7Error: no MSH, too many lines, or characters outside of its set.
    """
    end = re.search(rb"[\r\n]", data)
    head = data[: end.start()] if end else data
    if head[:3] != b"MSH" or len(head) < SHORTEST_MSH:
        raise Hl7Error("MSH", "no-message", "there is no MSH segment with its separators")
    if b"\x00" in data:
        raise Hl7Error("MSH-18", "charset", "it has bytes of zero, as UTF-16 has; send it in UTF-8")
    if max(data.count(b"\r"), data.count(b"\n")) > 2 * MAX_SEGMENTS:  # before a list of them is made
        raise Hl7Error("MSH", "too-large", _TOO_MANY)
    codec = codec_of(head, default)
    if codec is None:
        raise Hl7Error(
            "MSH-18", "charset", "the character set is not one of HL7 table 0211 that is read here"
        )
    try:
        if codec.startswith("iso2022"):  # whose escape sequences end with the segment
            lines = [line.decode(codec) for line in re.split(rb"[\r\n]+", data) if line]
        else:
            lines = [line for line in data.decode(codec).replace("\n", "\r").split("\r") if line]
    except UnicodeDecodeError:
        raise Hl7Error(
            "MSH-18", "charset", "it has bytes outside of its character set; correct MSH-18, or say --charset"
        ) from None
    if len(lines[0]) < SHORTEST_MSH:
        raise Hl7Error("MSH", "no-message", "there is no MSH segment with its separators")
    if len(lines) > MAX_SEGMENTS:
        raise Hl7Error("MSH", "too-large", _TOO_MANY)
    return codec, lines


@lru_cache(256)
def are_separators(field: str, marks: str) -> bool:
    """Whether MSH-1 and MSH-2 are different marks."""
    every = field + marks
    return 1 <= len(marks) <= 5 and len(set(every)) == len(every) and not any(c.isalnum() for c in every)


_Escapes = tuple[re.Pattern[str], dict[str, str], str]


@lru_cache(256)
def _escape_table(field: str, marks: str, codec: str) -> _Escapes:
    component, repetition, escape, subcomponent = (*marks[:4],)
    mark = re.escape(escape)
    table = {"F": field, "S": component, "T": subcomponent, "R": repetition, "E": escape, ".br": "\n"}
    table["P"] = marks[4:] or "#"
    return re.compile(f"{mark}([^{mark}]*){mark}"), table, codec


def _hexadecimal(digits: str, codec: str) -> str:
    """Characters given as their bytes in the message's own set; none where they are not of it."""
    try:
        return bytes.fromhex(digits).decode(codec)
    except (ValueError, UnicodeDecodeError):
        return ""

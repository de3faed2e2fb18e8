"""A DICOM file as a whole: preamble, meta information, the data set in its transfer syntax (PS3.10, 7)."""

import re
import stat
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fedcohort.errors import DicomError
from fedcohort.sources.dicom.scan import WRITTEN_VRS, Element, Syntax, explicit_element, scan, tag_name
from fedcohort.sources.dicom.values import CHARACTER_SET, DataSet

MAX_FILE_BYTES = 512 * 2**20
"""Of a file, and of what a deflated one may unpack to."""

_TRANSFER_SYNTAX = 0x00020010
_PREFIX = 132
_DEFLATED, _EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_FIRST_TAGS = frozenset(
    b"\x08\0" + bytes((number, 0)) for number in (0x00, 0x01, 0x05, 0x08, 0x12, 0x16, 0x18)
)
"""By which a data set without meta information begins: group length to SOPInstanceUID."""
_SLOPPY_CHARACTER_SET = re.compile(r"ISO[ _.-]?(2022[ _.-])?IR[ _.-](\d+)", re.ASCII | re.IGNORECASE)


def read_bytes(path: Path) -> bytes:
    """A regular file's bytes, if it is not too large; links, devices and pipes are not opened.

    Raises:
        DicomError: it is none, is too large, or cannot be read.
    """
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            raise DicomError(0, "", "is no ordinary file; leave it out")
        if status.st_size > MAX_FILE_BYTES:
            raise _too_large()
        with path.open("rb") as file:
            data = file.read(status.st_size + 1)  # as many are allocated
    except OSError as error:
        raise DicomError(0, "", f"cannot be read: {error.strerror}") from None
    if len(data) > status.st_size:
        raise DicomError(0, "", "grows while it is read; import it when it is complete")
    return data


def _too_large() -> DicomError:
    return DicomError(0, "", f"is larger than {MAX_FILE_BYTES:,} bytes; split it, or leave it out")


def parse(data: bytes) -> DataSet:
    """Walk a whole file: preamble, file meta information, data set.

    Raises:
        DicomError: it is not DICOM, is cut short, or lies about itself; names position and tag.
    """
    first = _first_element(data)
    meta, start = _meta(data, first)
    syntax_element = meta.get(_TRANSFER_SYNTAX)
    if syntax_element is not None:
        syntax = _syntax(
            data[syntax_element.start : syntax_element.end].rstrip(b"\0 ").decode("ascii", "replace"),
            syntax_element,
        )
    elif first == 0 and not meta:
        syntax = _syntaxes()[_EXPLICIT if data[4:6] in WRITTEN_VRS else _IMPLICIT]
    else:
        raise DicomError(
            first, tag_name(_TRANSFER_SYNTAX), "is missing; write the file again with meta information"
        )
    if syntax.uid == _DEFLATED:
        data, start = data[:first] + _inflate(data, start), first
    elements, _ = scan(data, start, len(data), syntax.implicit, syntax.little)
    return _with_character_set(DataSet(data, syntax, elements))


def _first_element(data: bytes) -> int:
    """Where elements begin: behind preamble and DICM, or at once in a file that somebody wrote without them.

    Raises:
        DicomError: neither, so that it is no DICOM file.
    """
    if data[128:_PREFIX] == b"DICM":
        return _PREFIX
    tag, vr = data[:4], data[4:6]
    if (tag[:2] == b"\x02\0" and vr in WRITTEN_VRS) or tag in _FIRST_TAGS:
        return 0
    raise DicomError(128, "", "is not a DICOM file: no DICM after the preamble; leave it out or convert it")


def _meta(data: bytes, position: int) -> tuple[dict[int, Element], int]:
    """Group 0002, always explicit little endian, and where the data set begins; its length is not used."""
    elements: dict[int, Element] = {}
    while data[position : position + 2] == b"\x02\x00":
        if len(elements) >= 100:
            raise DicomError(
                position, "", "has more than 100 elements of file meta information; it is damaged"
            )
        element, position = explicit_element(data, position, len(data), "<")
        if element.undefined:
            raise DicomError(
                element.position, tag_name(element.tag), "has no length; file meta information must"
            )
        elements[element.tag] = element
    return elements, position


@cache
def _syntaxes() -> Mapping[str, Syntax]:
    from pydicom import uid

    return {
        str(syntax): Syntax(str(syntax), syntax.is_implicit_VR, syntax.is_little_endian)
        for syntax in uid.AllTransferSyntaxes
    }


def _syntax(name: str, element: Element) -> Syntax:
    syntax = _syntaxes().get(name)
    if syntax is None:
        raise DicomError(
            element.start,
            tag_name(element.tag),
            "is no transfer syntax of the standard; send the file in one, such as Explicit VR Little Endian",
        )
    return syntax


def _inflate(data: bytes, start: int) -> bytes:
    """PS3.5, annex A.5; a bomb is unpacked up to the bound and no further."""
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = unpacker.decompress(memoryview(data)[start:], MAX_FILE_BYTES)
    except zlib.error:
        raise DicomError(
            start, "", "is damaged: its deflated part does not unpack; get the file again"
        ) from None
    if not unpacker.eof:
        raise DicomError(
            start, "", f"is cut short, or its deflated part unpacks to more than {MAX_FILE_BYTES:,} bytes"
        )
    return unpacked


def _with_character_set(plain: DataSet) -> DataSet:
    names = plain.texts(CHARACTER_SET)
    if not any(names):
        return plain
    from pydicom.charset import python_encoding

    terms = [_character_set(name) for name in names]
    if any(term not in python_encoding for term in terms):
        raise plain.refusal(CHARACTER_SET, "is no character set of the standard (PS3.3, C.12.1.1.2)")
    encodings = tuple(python_encoding[term] for term in terms)
    return DataSet(plain.data, plain.syntax, plain.elements, encodings)


def _character_set(name: str) -> str:
    """The defined term that is meant: `ISO-IR 100` and `iso ir 100` are ISO_IR 100."""
    match = _SLOPPY_CHARACTER_SET.fullmatch(name)
    if match is None:
        return name
    return f"ISO 2022 IR {match[2]}" if match[1] else f"ISO_IR {match[2]}"

"""A DICOM file as a whole: preamble, meta information, the data set in its transfer syntax (PS3.10, 7)."""

import stat
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from fedcohort.errors import DicomError
from fedcohort.sources.dicom_scan import Element, Syntax, explicit_element, scan, tag_name
from fedcohort.sources.dicom_values import CHARACTER_SET, DataSet

MAX_FILE_BYTES = 512 * 2**20
"""Of a file, and of what a deflated one may unpack to."""

_TRANSFER_SYNTAX = 0x00020010
_PREFIX = 132
_DEFLATED = "1.2.840.10008.1.2.1.99"


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
    if data[128:_PREFIX] != b"DICM":
        raise DicomError(
            128, "", "is not a DICOM file: no DICM after the preamble; leave it out or convert it"
        )
    meta, start = _meta(data)
    found = meta.get(_TRANSFER_SYNTAX)
    if found is None:
        raise DicomError(
            _PREFIX, tag_name(_TRANSFER_SYNTAX), "is missing; write the file again with meta information"
        )
    syntax = _syntax(data[found.start : found.end].rstrip(b"\0 ").decode("ascii", "replace"), found)
    if syntax.uid == _DEFLATED:
        data, start = data[:_PREFIX] + _inflate(data, start), _PREFIX
    elements, _ = scan(data, start, len(data), syntax.implicit, syntax.little)
    return _with_character_set(DataSet(data, syntax, elements))


def _meta(data: bytes) -> tuple[dict[int, Element], int]:
    """Group 0002, always explicit little endian, and where the data set begins; told lengths are not read."""
    elements: dict[int, Element] = {}
    position = _PREFIX
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
        str(one): Syntax(str(one), one.is_implicit_VR, one.is_little_endian)
        for one in uid.AllTransferSyntaxes
    }


def _syntax(name: str, element: Element) -> Syntax:
    found = _syntaxes().get(name)
    if found is None:
        raise DicomError(
            element.start,
            tag_name(element.tag),
            "is no transfer syntax of the standard; send the file in one, such as Explicit VR Little Endian",
        )
    return found


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

    if any(name not in python_encoding for name in names):
        raise plain.refusal(CHARACTER_SET, "is no character set of the standard (PS3.3, C.12.1.1.2)")
    encodings = tuple(python_encoding[name] for name in names)
    return DataSet(plain.data, plain.syntax, plain.elements, encodings)

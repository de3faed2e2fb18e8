"""Where messages begin and end in a file: plain, in batches (FHS, BHS), or with MLLP's marks left in.

HL7 v2.9, chapter 2, 2.10.3 (batches) and 2.5.4 (delimiters). A message begins at the beginning of a line with
MSH and its own separators, so that `MSH|` inside a field begins none; carriage return, line feed and both are
ends of lines. Files are read as a stream: memory holds one message.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

MAX_MESSAGE_BYTES = 32 * 2**20
"""Of one message of a file; documents are embedded in some."""

_PUNCTUATION = rb"[!-/:-@\[-`{-~]"
_HEAD = (
    rb"(?:\xef\xbb\xbf)?"
    rb"(?:MSH(" + _PUNCTUATION + rb")" + _PUNCTUATION + rb"{1,5}\1|[FB](?:HS|TS)(?=[|\r\n]|\Z))"
)
_BEGINNING = re.compile(_HEAD)
_START = re.compile(rb"[\r\n\x0b\x1c]" + _HEAD)
"""With the end of line before it, by which places are found fast."""
_LONGEST_START = 16
"""More than the pattern may match, with the end of line before it."""
_CHUNK = 2**18
_AROUND = b"\r\n\x0b\x1c \t\x00\x1a"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"M\x00S\x00H", b"\x00M\x00S\x00H")


@dataclass(frozen=True)
class Framed:
    """One message of a file, or what stands there instead.

    Attributes:
        number: from 1, of the file.
        data: its bytes, without marks around it; empty where `fault` says why there is none.
    """

    number: int
    data: bytes
    fault: str = ""


def messages(file: BinaryIO, limit: int = MAX_MESSAGE_BYTES) -> Iterator[Framed]:
    """The messages of a file in their order.

    Args:
        limit: bytes of one message; a longer one is a fault, and what follows it is read on.
    """
    number, in_batch = 0, 0
    for piece in _pieces(file, limit):
        head = piece.data[:3]
        if head == b"MSH" or piece.fault:
            number, in_batch = number + 1, in_batch + 1
            yield Framed(number, piece.data, piece.fault)
        elif head == b"BHS":
            in_batch = 0
        elif head == b"BTS":
            said = piece.data[4:].split(b"|", 1)[0].strip()
            if said.isdigit() and int(said[:9]) != in_batch:
                number += 1
                yield Framed(number, b"", _count_fault(int(said[:9]), in_batch))


def holds_another(data: bytes) -> bool:
    """Whether a second header begins within a message, as by an end of line in a text that is not escaped."""
    return _START.search(data) is not None


def _count_fault(said: int, seen: int) -> str:
    return f"the batch ends with a count of {said} messages and holds {seen}; ask for the file again"


@dataclass(frozen=True)
class _Piece:
    data: bytes
    fault: str = ""


def _pieces(file: BinaryIO, limit: int) -> Iterator[_Piece]:
    """What stands from one beginning to the next, and before the first."""
    held, searched, skipping = bytearray(b"\n"), 0, False
    while True:
        chunk = file.read(_CHUNK)
        held += chunk
        begin = 0
        # A beginning at the end of what is held may not be whole yet.
        last = len(held) - (_LONGEST_START if chunk else 0)
        for match in _START.finditer(held, searched):
            if match.start() >= last:
                break
            if match.start() > begin:
                if not skipping:
                    yield from _whole(bytes(held[begin : match.start()]), limit)
                skipping = False
            begin = match.start()
        del held[:begin]
        if not chunk:
            break
        if len(held) > limit + _CHUNK:
            if not skipping:
                yield _Piece(b"", _too_long(limit))
            skipping = True
            del held[: -_LONGEST_START - 1]
        searched = max(0, len(held) - _LONGEST_START)
    if held and not skipping:
        yield from _whole(bytes(held), limit)


def _too_long(limit: int) -> str:
    return f"the message has more than {limit:,} bytes; leave embedded documents out of it"


def _whole(data: bytes, limit: int) -> Iterator[_Piece]:
    data = data.strip(_AROUND).removeprefix(b"\xef\xbb\xbf")
    if len(data) > limit:
        yield _Piece(b"", _too_long(limit))
    elif _BEGINNING.match(data):
        yield _Piece(data)
    elif data:
        if data.startswith(_UTF_16):
            yield _Piece(b"", "the file is written in UTF-16, which HL7 v2 has not; convert it to UTF-8")
        else:
            yield _Piece(b"", "no message begins here: none of MSH and its separators; is it an HL7 v2 file?")

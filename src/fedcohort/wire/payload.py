"""Protobuf's wire format by hand, for messages with a long payload.

Protobuf copies a payload into a message, again when the message is written down or read, and once more at
each look at the field: 4 ms of a round of a million parameters. Here a payload is copied once on its way out,
and looked at where it is on its way in. The bytes are Protobuf's own
(https://protobuf.dev/programming-guides/encoding/); all other fields are left to it.
"""

from collections.abc import Iterable

from fedcohort.errors import WireError

LONG_BYTES = 2**16
"""A message from here on is worth the trouble."""
Buffer = bytes | memoryview

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}
_MOST_VARINT_BYTES = 10


def opening(number: int, size: int) -> bytes:
    """What stands before a field of `size` bytes: its tag and its length."""
    return _varint(number << 3 | _LENGTH) + _varint(size)


def fields(data: memoryview) -> Iterable[tuple[int, int, int, int]]:
    """Of each field its number, where its tag begins, and where its value begins and ends.

    Raises:
        WireError: these are not the fields of a message.
    """
    place, end = 0, len(data)
    while place < end:
        tag, value = _read_varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            _, stop = _read_varint(data, value)
        elif kind == _LENGTH:
            size, value = _read_varint(data, value)
            stop = value + size
        elif kind in _FIXED_BYTES:
            stop = value + _FIXED_BYTES[kind]
        else:
            raise WireError("not a message of this protocol")
        if stop > end:
            raise WireError("not a message of this protocol")
        yield tag, place, value, stop
        place = stop


def take_out(data: memoryview, number: int) -> tuple[bytes, list[memoryview]]:
    """The message without the values of one field of bytes or messages, and these values.

    Raises:
        WireError: as for `fields`.
    """
    rest, values = [], []
    wanted = number << 3 | _LENGTH
    for tag, begin, value, stop in fields(data):
        if tag == wanted:
            values.append(data[value:stop])
        else:
            rest.append(data[begin:stop])
    return b"".join(rest), values


def only(data: memoryview, number: int) -> memoryview | None:
    """The value of a message's one field, when it is this one and is there once.

    Raises:
        WireError: as for `fields`.
    """
    found = next(iter(fields(data)), None)
    if found is None or found[0] != number << 3 | _LENGTH or found[3] != len(data):
        return None
    return data[found[2] :]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: memoryview, place: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(data[place : place + _MOST_VARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, place + shift + 1
    raise WireError("not a message of this protocol")

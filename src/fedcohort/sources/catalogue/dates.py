"""Dates and timestamps as microseconds since 1970, in UTC where they have an offset (ISO 8601)."""

import datetime
import re

NO_MOMENT = -(2**63)
"""NumPy's NaT as a whole number."""
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s?(Z|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)


def moment_of(value: object) -> int | None:
    """Microseconds since 1970 of a date, a timestamp, or a text that is one by ISO 8601."""
    if isinstance(value, str):
        return _moment_of_text(value)
    if isinstance(value, datetime.datetime):
        if value.replace(tzinfo=None) in (datetime.datetime.min, datetime.datetime.max):
            return None  # DuckDB's infinity
        return _microseconds(value)
    if isinstance(value, datetime.date) and value not in (datetime.date.min, datetime.date.max):
        return _microseconds(datetime.datetime(value.year, value.month, value.day))
    return None


def _microseconds(value: datetime.datetime) -> int | None:
    try:
        offset = value.utcoffset() or datetime.timedelta()
    except (ValueError, OverflowError):
        return None
    return (value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND - offset // _MICROSECOND


def _moment_of_text(text: str) -> int | None:
    match = _ISO.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    fraction, offset = (match[7] or "0")[:6].ljust(6, "0"), match[8]
    try:
        moment = datetime.datetime(year, month, day, hour, minute, second, int(fraction))
    except ValueError:
        return None
    return (moment - _EPOCH) // _MICROSECOND - _offset(offset)


def _offset(text: str | None) -> int:
    if text is None or text == "Z":
        return 0
    minutes = 60 * int(text[1:3]) + int(text[3:].lstrip(":") or 0)
    return (-60_000_000 if text[0] == "-" else 60_000_000) * minutes

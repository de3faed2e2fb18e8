"""Times of events: doubles, days since 1970-01-01 UTC with a fraction; and how formats write them.

Whatever compares two times compares whole milliseconds (`milliseconds`): as doubles, 9 % of events
exactly an hour before another would seem to lie further away. A time that is written without its zone
is in the zone of the hospital; a date alone stands for its first moment there.
"""

import datetime
import math
import re
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedcohort.sources.catalogue.schema import DAY_0

Precision = Literal["year", "month", "day", "hour", "minute", "second", "millisecond"]
PRECISIONS: tuple[Precision, ...] = ("year", "month", "day", "hour", "minute", "second", "millisecond")
UTC = datetime.UTC
MILLISECONDS_PER_DAY = 86_400_000
MICROSECONDS_PER_DAY = 1000 * MILLISECONDS_PER_DAY

EARLIEST_DAYS = float(datetime.date(1800, 1, 1).toordinal() - DAY_0)
LATEST_DAYS = float(datetime.date(2200, 1, 1).toordinal() - DAY_0)
"""Nobody's events lie outside; such times are codes for 'never' and the like."""

_ISO = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r" ?(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
"""ISO 8601 as FHIR's date, dateTime and instant have it, and as SQL databases print it."""
_HL7 = re.compile(
    r"(\d{4})(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:(\d\d)(?:\.(\d{1,4}))?)?)?)?)?)?([+-]\d{4})?", re.ASCII
)
"""HL7 v2's TS.1 and DTM (2.A.22): YYYY[MM[DD[HH[MM[SS[.S[S[S[S]]]]]]]]][+/-ZZZZ]."""

Time = tuple[float, Precision]
"""Days since 1970-01-01 UTC, and to what they are known."""


def milliseconds(days: NDArray[np.float64]) -> NDArray[np.int64]:
    """Times or differences as whole milliseconds, half to even; NaN is refused by the caller before."""
    return np.rint(days * MILLISECONDS_PER_DAY).astype(np.int64)


def moved(days: float, by_days: int) -> float:
    """A time so many days later: in whole milliseconds, so that any number of moves gives the same bits."""
    return (round(days * MILLISECONDS_PER_DAY) + by_days * MILLISECONDS_PER_DAY) / MILLISECONDS_PER_DAY


def days_of(moment: datetime.datetime, zone: datetime.tzinfo = UTC) -> float:
    """A moment in days since 1970-01-01 UTC; one without a zone is in `zone`."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    since = moment.astimezone(UTC) - _EPOCH
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return microseconds / MICROSECONDS_PER_DAY


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)


def day_number(day: datetime.date) -> float:
    """A calendar day, such as one of birth, which has no zone: whole days since 1970-01-01."""
    return float(day.toordinal() - DAY_0)


def iso_time(text: str, zone: datetime.tzinfo = UTC) -> Time | None:
    """Read ISO 8601: a year, a month, a day, or a day and a time of day.

    Args:
        zone: of texts without one.
    Returns:
        None for what is no such text or no day of the calendar.
    """
    match = _ISO.fullmatch(text.strip())
    return None if match is None else _time(match.groups(), zone)


def hl7_time(text: str, zone: datetime.tzinfo = UTC) -> Time | None:
    """Read HL7 v2's TS.1 or DTM.

    Args:
        zone: of texts without one: that of MSH-7 if it has one (2.A.22), else of the hospital.
    Returns:
        None for what is no such text or no day of the calendar.
    """
    match = _HL7.fullmatch(text.strip())
    return None if match is None else _time(match.groups(), zone)


def iso_day(text: str) -> Time | None:
    """The calendar day, month or year of an ISO text, whatever its zone: for dates of birth."""
    return iso_time(text.strip()[:10])


def hl7_day(text: str) -> Time | None:
    """The calendar day, month or year of an HL7 text, whatever its zone: for dates of birth."""
    return hl7_time(re.split("[+-]", text.strip(), maxsplit=1)[0][:8])


def hl7_zone(text: str) -> datetime.tzinfo | None:
    """The zone that a TS.1 or DTM names, such as MSH-7's, which holds for the whole message."""
    match = _HL7.fullmatch(text.strip())
    try:
        return None if match is None else _zone(match[8])
    except ValueError:
        return None


def _time(parts: tuple[str | None, ...], zone: datetime.tzinfo) -> Time | None:
    year, month, day, hour, minute, second, fraction, offset = parts
    known = sum(part is not None for part in (year, month, day, hour, minute, second, fraction))
    leap = second == "60"  # ISO 8601 and HL7 allow it; the calendar here does not
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    try:
        moment = datetime.datetime(
            int(year or 0),
            int(month or 1),
            int(day or 1),
            int(hour or 0),
            int(minute or 0),
            59 if leap else int(second or 0),
            microsecond,
            tzinfo=_zone(offset) or zone,
        )
        days = days_of(moment + datetime.timedelta(seconds=1) if leap else moment)
    except (ValueError, OverflowError):
        return None
    return (days, PRECISIONS[known - 1]) if EARLIEST_DAYS <= days < LATEST_DAYS else None


def _zone(offset: str | None) -> datetime.tzinfo | None:
    if offset is None:
        return None
    if offset == "Z":
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[-2:])
    if minutes >= 24 * 60 or int(offset[-2:]) >= 60:
        raise ValueError("no such zone")
    return datetime.timezone(datetime.timedelta(minutes=-minutes if offset[0] == "-" else minutes))


def is_time(days: object) -> bool:
    """Whether a value may be an event's time."""
    return isinstance(days, float) and math.isfinite(days) and EARLIEST_DAYS <= days < LATEST_DAYS

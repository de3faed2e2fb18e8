"""lowBoundary() and highBoundary(): the least and greatest value that a value of its precision may stand for.

Source: FHIRPath, clause 5.6.8 (continuous build); of decimals the digits that they are written with.
"""

import calendar
import re
from decimal import Decimal
from typing import Any

_DATE = re.compile(r"(\d{4})(?:-(0[1-9]|1[0-2]))?(?:-(\d\d))?(T.*)?", re.ASCII)
_TIME = re.compile(r"\d\d:\d\d(:\d\d(\.\d{1,3})?)?", re.ASCII)
_ZONE = re.compile(r"(Z|[+-]\d\d:\d\d)$", re.ASCII)
_EARLIEST, _LATEST = "00:00:00.000", "23:59:59.999"


def boundary(value: Any, *, is_high: bool) -> list[Any]:  # noqa: ANN401 - JSON
    """The boundary of a number, a time of day or a date; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return []
    if isinstance(value, int | float):
        exact = Decimal(str(value))
        exponent = exact.as_tuple().exponent
        if not isinstance(exponent, int):
            return []
        half = Decimal(5).scaleb(min(exponent, 0) - 1)
        return [float(exact + half if is_high else exact - half)]
    if _TIME.fullmatch(value):
        return [value + _missing(value, is_high=is_high)]
    return _date(value, is_high=is_high)


def date_time_boundary(value: Any, *, is_high: bool) -> list[Any]:  # noqa: ANN401 - JSON
    """The boundary of a dateTime: to milliseconds, and where no zone is said, of all zones that there are."""
    if not isinstance(value, str):
        return []
    date, _, time = value.partition("T")
    zone = _ZONE.search(time)
    clock = time[: zone.start()] if zone else time
    suffix = zone.group() if zone else "-12:00" if is_high else "+14:00"
    return [
        f"{day}T{clock}{_missing(clock, is_high=is_high)}{suffix}" for day in _date(date, is_high=is_high)
    ]


def _missing(clock: str, *, is_high: bool) -> str:
    return (_LATEST if is_high else _EARLIEST)[len(clock) :]


def _date(value: str, *, is_high: bool) -> list[Any]:
    found = _DATE.fullmatch(value)
    if found is None or found[1] == "0000":
        return []
    year, month, day, rest = found.groups()
    month = month or ("12" if is_high else "01")
    last = calendar.monthrange(int(year), int(month))[1]
    day = day or (f"{last:02d}" if is_high else "01")
    return [f"{year}-{month}-{day}{rest or ''}"]

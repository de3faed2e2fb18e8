"""A column's values as they come from a driver, as doubles or texts: the same from every engine."""

import datetime
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.sources.events.tables import Role
from fedcohort.sources.events.times import (
    EARLIEST_DAYS,
    LATEST_DAYS,
    MICROSECONDS_PER_DAY,
    day_number,
    days_of,
    iso_time,
)

Column = NDArray[np.float64] | NDArray[np.object_]
_NUMBERS = frozenset((float, int, bool, Decimal, type(None)))
_NUMBER = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?\s*", re.ASCII)


def column_of(
    values: Sequence[object] | NDArray[Any], role: Role, per_day: float, unread: Counter[str], name: str
) -> Column:
    """One column of a block.

    Args:
        per_day: how many of a time's unit make a day, where times are numbers.
        unread: counts, under `name`, what is neither missing nor what the role says.
    Returns:
        doubles, NaN where missing, of times and numbers: times in days. Else texts and None.
    """
    if role in ("time", "day"):
        made = _times(values, per_day)
    elif role == "number":
        made = _numbers(values)
    else:
        return _texts(values)
    lost = _present(values) - int(np.count_nonzero(~np.isnan(made)))
    if lost:
        unread[name] += lost
    return made


def _present(values: Sequence[object] | NDArray[Any]) -> int:
    """How many values are not missing."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fM":
        return int(np.count_nonzero(~np.isnan(values)))
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return len(values)
    return sum(value is not None for value in values)


def _numbers(values: Sequence[object] | NDArray[Any]) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        made = values.astype(np.float64)
    elif _NUMBERS.issuperset(map(type, values)):
        made = np.array(values, np.float64)
    else:
        made = np.array([_number(value) for value in values], np.float64)
    made[np.isinf(made)] = np.nan
    return made


def _number(value: object) -> float:
    if isinstance(value, float | int | Decimal):
        return float(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return np.nan


def _times(values: Sequence[object] | NDArray[Any], per_day: float) -> NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        microseconds = values.astype("datetime64[us]")
        made = microseconds.astype(np.int64) / MICROSECONDS_PER_DAY
        made[np.isnat(microseconds)] = np.nan
    elif isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
        made = values.astype(np.float64) / per_day
    elif _NUMBERS.issuperset(map(type, values)):
        made = np.array(values, np.float64) / per_day
    else:
        known: dict[object, float] = {}
        for value in values:
            if value not in known:
                known[value] = _time(value, per_day)
        made = np.array([known[value] for value in values], np.float64)
    made[~((made >= EARLIEST_DAYS) & (made < LATEST_DAYS))] = np.nan
    return made


def _time(value: Any, per_day: float) -> float:  # noqa: ANN401  whatever a driver makes
    match value:
        case datetime.datetime():
            return days_of(value)
        case datetime.date():
            return day_number(value)
        case str():
            read = iso_time(value)
            return _number(value) / per_day if read is None else read[0]
    return _number(value) / per_day


def _texts(values: Sequence[object] | NDArray[Any]) -> NDArray[np.object_]:
    if isinstance(values, np.ndarray) and values.dtype == np.object_:
        return values  # Arrow's texts, and None
    made = np.empty(len(values), np.object_)
    made[:] = [
        value if isinstance(value, str) or value is None else None if isinstance(value, bytes) else str(value)
        for value in values
    ]
    return made

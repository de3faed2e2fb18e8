"""Events of a chunk of patients as sorted arrays, and what is taken of those in a window.

Every engine only filters and sorts. Windows, first and last, least and most, means are slices between two
places in a sorted array, so that the result is the same bits on SQLite, PostgreSQL and DuckDB. A patient and
a time are one whole number, by which `searchsorted` finds all windows of a chunk at once. Times are whole
milliseconds: as doubles, many events exactly an hour before another would lie outside `-1h`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.event_words import DAY_MS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

MOST_PATIENTS = 2**16
"""Of a chunk: a patient's number and a time are one 64-bit number."""
_SPAN_BITS = 45
_MIDDLE = 2 ** (_SPAN_BITS - 1)
"""Milliseconds: 557 years before and after 1970."""
NEVER = np.iinfo(np.int64).min
"""A time that nobody knows."""
NO_UNIT = -1


@dataclass(frozen=True)
class Timeline:
    """Events of one kind, in order of patient, time and value.

    Attributes:
        patient: (n,) numbers of the chunk's patients.
        time: (n,) milliseconds since 1970-01-01.
        sets: (n,) the code lists that each is in, a bit each.
        end: (n,) milliseconds, NEVER where unknown; None where it was not asked for.
        value: (n,) NaN where it has none; None where it was not asked for.
        unit: (n,) place in the chunk's list of units, or NO_UNIT; None where it was not asked for.
    """

    patient: Ints
    time: Ints
    sets: Ints
    end: Ints | None = None
    value: Floats | None = None
    unit: Ints | None = None

    def __len__(self) -> int:
        return len(self.time)

    def only(self, rows: NDArray[Any]) -> "Timeline":
        """The events that are chosen, by a mask or by their places."""
        optional = {
            name: None if array is None else array[rows]
            for name, array in (("end", self.end), ("value", self.value), ("unit", self.unit))
        }
        return Timeline(self.patient[rows], self.time[rows], self.sets[rows], **optional)

    def of_set(self, bit: int | None) -> "Timeline":
        """The events of one code list; None: all of them."""
        return self if bit is None else self.only((self.sets >> bit) & 1 == 1)

    def in_order(self) -> "Timeline":
        """Sorted anew, where values or times were changed."""
        keys = [self.time, self.patient] if self.value is None else [self.value, self.time, self.patient]
        return self.only(np.lexsort(keys))


@dataclass(frozen=True)
class Rows:
    """The rows of a chunk: of each its patient's number and time zero, in order of both."""

    patient: Ints
    zero: Ints

    def __len__(self) -> int:
        return len(self.zero)

    def only(self, rows: NDArray[Any]) -> "Rows":
        """The rows that are chosen."""
        return Rows(self.patient[rows], self.zero[rows])


def keys(patient: Ints, time: Ints) -> Ints:
    """Patient and time as one number."""
    since: Ints = np.clip(time + _MIDDLE, 0, 2**_SPAN_BITS - 1)
    return (patient << _SPAN_BITS) + since


def window(events: Timeline, rows: Rows, begin_ms: int, end_ms: int) -> tuple[Ints, Ints]:
    """[begin, end) of each row's events in a half open window around its time zero."""
    at = keys(events.patient, events.time)
    first = np.searchsorted(at, keys(rows.patient, rows.zero + begin_ms), "left")
    after = np.searchsorted(at, keys(rows.patient, rows.zero + end_ms), "left")
    return first.astype(np.int64), after.astype(np.int64)


def taken(take: str, events: Timeline, rows: Rows, first: Ints, after: Ints) -> Floats:
    """One number a row of the events from `first` to before `after`; NaN where there is none to take.

    Args:
        take: any, count, first, last, min, max, mean, days_since or days_until.
    """
    n = after - first
    there = n > 0
    if take == "any":
        return there.astype(np.float64)
    if take == "count":
        return n.astype(np.float64)
    result = np.full(len(n), np.nan)
    if take == "days_since":
        result[there] = (rows.zero[there] - events.time[after[there] - 1]) / DAY_MS
    elif take == "days_until":
        result[there] = (events.time[first[there]] - rows.zero[there]) / DAY_MS
    elif events.value is None:
        raise ValueError(f"{take} needs values")
    elif take == "first":
        result[there] = events.value[first[there]]
    elif take == "last":
        result[there] = events.value[after[there] - 1]
    elif there.any():
        reduce = {"min": np.minimum, "max": np.maximum, "mean": np.add}[take]
        edges = np.column_stack([first[there], after[there]]).ravel()
        result[there] = reduce.reduceat(np.append(events.value, 0.0), edges)[::2]
        if take == "mean":
            result[there] /= n[there]
    return result


def first_of_each(rows: Rows) -> Rows:
    """The first row of each patient."""
    return rows.only(np.append(True, rows.patient[1:] != rows.patient[:-1]) if len(rows) else _none())


def last_of_each(rows: Rows) -> Rows:
    """The last row of each patient."""
    return rows.only(np.append(rows.patient[1:] != rows.patient[:-1], True) if len(rows) else _none())


def distinct(rows: Rows) -> Rows:
    """Each patient's times zero once each."""
    new = (rows.patient[1:] != rows.patient[:-1]) | (rows.zero[1:] != rows.zero[:-1])
    return rows.only(np.append(True, new) if len(rows) else _none())


def at_most(rows: Rows, most: int) -> Rows:
    """The first `most` rows of each patient."""
    begins = np.searchsorted(rows.patient, rows.patient, "left")
    return rows.only(np.arange(len(rows)) - begins < most)


def _none() -> Bools:
    return np.zeros(0, np.bool_)


def converted(events: Timeline, factors: Floats, offsets: Floats, low: float, high: float) -> Timeline:
    """Events whose value in the asked unit lies from low to high; with the value in that unit.

    Args:
        factors, offsets: by unit, for `value * factor + offset`; NaN where it does not convert. The last
            place is of events without a unit, whose number is -1.
    """
    if events.value is None or events.unit is None:
        raise ValueError("values and units are needed")
    factor, offset = factors[events.unit], offsets[events.unit]
    value = np.where((factor == 1.0) & (offset == 0.0), events.value, events.value * factor + offset)
    with np.errstate(invalid="ignore"):
        fits = (value >= low) & (value <= high)
    chosen = replace(events, value=value).only(fits)
    return chosen if len(factors) <= 2 else chosen.in_order()


def stretches(events: Timeline) -> Timeline:
    """One stretch a patient, from the first event's begin to the last end."""
    if events.end is None:
        raise ValueError("ends are needed")
    if not len(events):
        return events
    new = np.append(True, events.patient[1:] != events.patient[:-1])
    begins = np.flatnonzero(new)
    ends = np.maximum.reduceat(np.maximum(events.end, events.time), begins)
    whole = events.only(begins)
    return replace(whole, end=ends)


def observed(periods: Timeline, rows: Rows, begin_ms: int, end_ms: int) -> Bools:
    """Whether one period of the patient holds all of [begin, end] around time zero."""
    return observed_until(periods, rows, begin_ms) >= rows.zero + end_ms


def observed_until(periods: Timeline, rows: Rows, begin_ms: int) -> Ints:
    """The latest end of the patient's periods that hold this moment, NEVER where none does.

    Of the periods that begin by then, one that ends later holds it whatever begins after it.
    """
    if periods.end is None:
        raise ValueError("ends are needed")
    result = np.full(len(rows), NEVER)
    if not len(periods):
        return result
    order = np.maximum.accumulate(keys(periods.patient, periods.end))  # of patients before it: smaller
    after = np.searchsorted(
        keys(periods.patient, periods.time), keys(rows.patient, rows.zero + begin_ms), "right"
    )
    there = after > 0
    latest = order[np.maximum(after, 1) - 1]
    there &= latest >> _SPAN_BITS == rows.patient
    end = (latest & (2**_SPAN_BITS - 1)) - _MIDDLE
    there &= end >= rows.zero + begin_ms
    result[there] = end[there]
    return result


def whole_years(birth_days: Floats, zero: Ints) -> Floats:
    """Whole years from birth to time zero by the calendar, NaN where the birth is unknown."""
    known = np.isfinite(birth_days)
    birth = np.where(known, birth_days, 0.0).astype("datetime64[D]")
    day = np.floor_divide(zero, DAY_MS).astype("datetime64[D]")
    (year, month, date), (year_2, month_2, date_2) = map(_calendar, (birth, day))
    before = (month_2 < month) | ((month_2 == month) & (date_2 < date))
    return np.where(known, (year_2 - year - before).astype(np.float64), np.nan)


def _calendar(days: NDArray[np.datetime64]) -> tuple[Ints, Ints, Ints]:
    months = days.astype("datetime64[M]")
    number = months.astype(np.int64)
    return number // 12, number % 12, (days - months).astype(np.int64)


def sets_of(named: Mapping[str, int], code_set: str | None) -> int | None:
    """The bit of a code list; None for every event of a kind."""
    return None if code_set is None else named[code_set]

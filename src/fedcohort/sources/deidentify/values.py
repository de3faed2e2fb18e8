"""Values of dates, ages, ZIP codes and kept texts, one at a time: pure functions from a value to a value.

`BLANK` stands for what cannot be read as what its column should hold: it becomes
missing, and is counted. Nothing here raises a value or writes it into a message.
"""

import datetime
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fedcohort.sources.catalogue.ages import OLDEST_PERSON_YEARS, age_number, capped, capped_text
from fedcohort.sources.catalogue.identifier_shapes import OLDEST_AGE_YEARS, zip3
from fedcohort.sources.catalogue.schema import DAY_0
from fedcohort.sources.deidentify.pseudonym import Alias, shift_date
from fedcohort.sources.events.times import moved

BLANK: Final = object()
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})((?:[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)?(?: ?Z|[+-]\d{2}:?\d{2})?)", re.ASCII
)
_DIGITS = re.compile(r"(\d{8})((?:\d{2}){0,3}(?:\.\d{1,6})?(?:[+-]\d{4})?)", re.ASCII)
_PARTIAL = re.compile(r"(\d{4})(?:-?(?:0[1-9]|1[0-2]))?", re.ASCII)
_FIRST_YEAR, _LAST_YEAR = 1000, 9900


def is_missing(value: object) -> bool:
    """NULL, NaN, NaT or an empty text."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or str(value) == "NaT"


@dataclass(frozen=True)
class Dates:
    """How a column's dates are changed.

    Attributes:
        year_only: the year is all that stays; else a date moves by its patient's offset.
        as_of: what lies 90 years or more before it becomes 1 January of that year: it tells an age over 89.
        layout: strptime's format; None for ISO 8601 and for DICOM's and HL7's digits.
        counts_days: they are numbers of days since 1970-01-01; of a year, that of its first day.
    """

    year_only: bool
    as_of: datetime.date
    layout: str | None = None
    counts_days: bool = False

    def change(self, value: object, days: int) -> object:
        """One value, with its patient's offset in days; BLANK when it cannot be read."""
        if isinstance(value, datetime.date):
            return self._year(value.year, "") if self.year_only else _found(self._moved(value, days))
        text = _text(value)
        match = None if self.layout else _ISO.fullmatch(text) or _DIGITS.fullmatch(text)
        if match is None and (self.layout is None or isinstance(value, int | float)):
            partial = _PARTIAL.fullmatch(text)
            return self._year(int(partial[1]), value) if partial else BLANK
        day = _parsed(text, self.layout) if match is None else _day(match[1])
        if day is None:
            return BLANK
        if self.year_only:
            return self._year(day.year, value)
        target = self._moved(day, days)
        if target is None or match is None:
            return BLANK if target is None else target.isoformat()
        written = target.isoformat() if "-" in match[1] else f"{target:%Y%m%d}".zfill(8)
        return int(written) if isinstance(value, int | float) else written + match[2]

    def count(self, value: object, days: int) -> object:
        """As `change`, of a number of days since 1970-01-01, with a fraction of a day or without."""
        try:
            number = float(str(value))
            whole = math.floor(number)
            day = datetime.date.fromordinal(DAY_0 + whole)
        except (OverflowError, ValueError):
            day = None
        if day is None:
            return BLANK
        if self.year_only:
            target = datetime.date(max(day.year, self.as_of.year - OLDEST_AGE_YEARS), 1, 1)
        elif (later := self._moved(day, days)) is not None:
            target = later
        else:
            return BLANK
        by_days = target.toordinal() - DAY_0 - whole
        if self.year_only or by_days != days or number == whole:
            return float(whole + by_days)
        return moved(number, by_days)  # with its time of day

    def moves(self, text: str) -> bool:
        """Whether a text is a day in ISO 8601 that only moves: written in full, and far from both ends."""
        match = None if self.year_only or self.layout else _ISO.fullmatch(text)
        day = _day(match[1]) if match else None
        return day is not None and self.as_of.year - OLDEST_AGE_YEARS < day.year < _LAST_YEAR

    def _year(self, year: int, value: object) -> object:
        """A number where the value was one; Safe Harbor allows a year unless it tells an age over 89."""
        if year < _FIRST_YEAR:
            return BLANK
        earliest = max(year, self.as_of.year - OLDEST_AGE_YEARS)
        return earliest if isinstance(value, int | float) else str(earliest)

    def _moved(self, day: datetime.date, days: int) -> datetime.date | None:
        oldest = datetime.date(self.as_of.year - OLDEST_AGE_YEARS, 1, 1)
        on = day.date() if isinstance(day, datetime.datetime) else day
        age = self.as_of.year - on.year - ((self.as_of.month, self.as_of.day) < (on.month, on.day))
        return _like(day, oldest) if age >= OLDEST_AGE_YEARS else shift_date(day, days)


def moved_dates(
    dates: Dates, values: Sequence[object], patients: Sequence[Alias | None]
) -> tuple[list[object], int]:
    """A column's dates, each by its patient's offset; and how many became missing, one without a patient too.

    A day and a time of day in ISO 8601 that were read once in this batch are not read again.
    """
    ordinals: dict[str, int] = {}
    times: set[str] = set()
    written: dict[int, str] = {}
    made: list[object] = []
    change = dates.count if dates.counts_days else dates.change
    for value, patient in zip(values, patients, strict=True):
        if is_missing(value) or patient is None:
            made.append(None if is_missing(value) else BLANK)
            continue
        text = value if isinstance(value, str) else ""
        ordinal = ordinals.get(text[:10])
        if ordinal is not None and text[10:] in times:
            target = ordinal + patient.days
            if target not in written:
                written[target] = datetime.date.fromordinal(target).isoformat()
            made.append(written[target] + text[10:])
            continue
        made.append(change(value, patient.days))
        if dates.moves(text):
            ordinals[text[:10]] = datetime.date.fromisoformat(text[:10]).toordinal()
            times.add(text[10:])
    return unblanked(made)


def _like(model: datetime.date, day: datetime.date) -> datetime.date:
    if isinstance(model, datetime.datetime):
        return datetime.datetime(day.year, day.month, day.day, tzinfo=model.tzinfo)
    return day


def _found(day: datetime.date | None) -> object:
    return BLANK if day is None else day


def _text(value: object) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else ""
    return str(value).strip()


def _day(text: str) -> datetime.date | None:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        return None


def _parsed(text: str, layout: str | None) -> datetime.date | None:
    try:
        moment = datetime.datetime.strptime(text, layout or "")
    except (ValueError, re.error):
        return None
    return moment if moment.time() != datetime.time() or "%H" in (layout or "") else moment.date()


def aged(value: object, per_year: float = 1.0, *, numeric: bool = False) -> object:
    """An age over 89 years as 90; whole numbers stay whole, and numbers in texts stay texts.

    Args:
        per_year: how many of its unit make a year.
        numeric: the column holds numbers, so that `> 89` is 90.
    Returns:
        BLANK for what is no age: above 150 years, as a code such as 999 is, or a band on both sides of 90.
    """
    try:
        age = float(str(value))
    except ValueError:
        return _aged_text(str(value), numeric)
    if not 0 <= age <= OLDEST_PERSON_YEARS * per_year:
        return BLANK
    made = capped(age, per_year)
    if made == age:
        return value
    if isinstance(value, str):
        return f"{made:g}"
    return int(made) if isinstance(value, int) else made


def _aged_text(text: str, numeric: bool) -> object:
    if numeric:
        number = age_number(text)
        return BLANK if number is None else number
    capped = capped_text(text)
    if capped is not None:
        return capped
    return BLANK if any(letter.isdigit() for letter in text) else text


def zipped(value: object, *, numeric: bool) -> object:
    """Three digits of a ZIP code, as a text or as a number."""
    digits = zip3(value)
    if digits is None:
        return BLANK
    return int(digits) if numeric else digits


def each_once(values: Sequence[object], change: Callable[[object], object]) -> tuple[list[object], int]:
    """Change every value, each distinct one once; and how many became BLANK, and so missing."""
    changed = {value: None if is_missing(value) else change(value) for value in distinct(values)}
    if changed or not values:
        return unblanked([changed[value] for value in values])
    return unblanked([None if is_missing(value) else change(value) for value in values])


def distinct(values: Sequence[object]) -> set[object]:
    """The values, each once; none when one of them is a list or an array, which has no hash."""
    try:
        return set(values)
    except TypeError:
        return set()


def unblanked(values: list[object]) -> tuple[list[object], int]:
    """BLANK as missing, and how often it was there."""
    blank = sum(value is BLANK for value in values)
    return [None if value is BLANK else value for value in values] if blank else values, blank

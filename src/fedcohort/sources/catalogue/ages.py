"""Ages as Safe Harbor leaves them: all over 89 years are one, in whatever unit or band they are given.

45 CFR 164.514(b)(2)(i)(C). An age of an infant is in months or days, and a table of ages often holds bands
such as `80-89` and `90+`, or `> 89`, which is how the rule itself is written down.
"""

import math
import re
from collections.abc import Mapping

from fedcohort.sources.catalogue.identifier_names import name_parts
from fedcohort.sources.catalogue.identifier_shapes import OLDEST_AGE_YEARS, cap_age

_PER_YEAR: Mapping[float, str] = {
    1.0: "year years yr yrs y a annum jahr jahre annee annees ans an 岁 歲 年",
    12.0: "month months mo mos mon monat monate mois 月 月龄 个月",
    52.1775: "week weeks wk wks w woche wochen semaine semaines 周 週 星期",
    365.25: "day days d tag tage jour jours 天 日 日龄",
    8766.0: "hour hours hr hrs h stunde stunden heure heures 小时 小時",
}
"""How many make a year, and what they are called."""
UNITS = {word: count for count, words in _PER_YEAR.items() for word in words.split()}
OLDEST_PERSON_YEARS = 150.0
"""An age above it is in another unit, or is a code for something else."""
_NUMBER = r"(\d{1,3}(?:\.\d+)?)"
_YEARS = r"(?: ?(?:years?|yrs?|y|jahre?|ans?|岁|歲))?"
_BAND = re.compile(
    rf"[\[(]?{_NUMBER} ?(?:-|–|—|~|to|bis|à|,) ?{_NUMBER}{_YEARS}[\])]?", re.ASCII | re.IGNORECASE
)
_OLDER = "and above|and over|and older|or above|or over|or older|u\\.ä\\.|及以上|以上"
_OVER = re.compile(
    rf"(>=|≥|>|over|above|older than|über|ueber|plus de) ?{_NUMBER}{_YEARS}"
    rf"|{_NUMBER}{_YEARS} ?(?:\+|{_OLDER})",
    re.IGNORECASE,
)
_UNDER = re.compile(rf"(?:<=|≤|<|under|below|unter|moins de) ?{_NUMBER}{_YEARS}", re.IGNORECASE)


def units_per_year(unit: str | None, column: str) -> float | None:
    """How many units of an age column make a year: by its declared unit, else its name, else years.

    Returns:
        None for a declared unit that is no unit of time.
    """
    if unit is not None:
        return UNITS.get(unit.strip().lower().rstrip("."))
    return next((UNITS[part] for part in name_parts(column) if len(part) > 2 and part in UNITS), 1.0)


def capped(value: float, per_year: float) -> float:
    """An age in its unit: over 89 years as 90 years."""
    years = value / per_year
    return value if cap_age(years) == years else OLDEST_AGE_YEARS * per_year


def capped_text(text: str) -> str | None:
    """A band of ages in years, or an age with its comparator.

    Returns:
        the text as it was where all of it is up to 89; `90+` where all of it is over 89; None where it tells
        ages on both sides, or is none.
    """
    plain = " ".join(text.split())
    if band := _BAND.fullmatch(plain):
        low, high = float(band[1]), float(band[2])
        return _side(text, low, high) if low <= high else None
    if over := _OVER.fullmatch(plain):
        number = float(over[2] or over[3])
        exclusive = over[1] not in (None, ">=", "≥")
        return text if number + exclusive <= OLDEST_AGE_YEARS else f"{OLDEST_AGE_YEARS}+"
    if under := _UNDER.fullmatch(plain):
        return text if float(under[1]) <= OLDEST_AGE_YEARS else None
    return None


def _side(text: str, low: float, high: float) -> str | None:
    """Where a band stands: a band up to 90 tells no age above it."""
    if high <= OLDEST_AGE_YEARS and low < OLDEST_AGE_YEARS:
        return text
    return f"{OLDEST_AGE_YEARS}+" if low >= OLDEST_AGE_YEARS else None


def age_number(text: str) -> float | None:
    """An age written with a comparator as one number of years: `> 89` and `90+` are 90; None for a band."""
    over = _OVER.fullmatch(" ".join(text.split()))
    if over is None:
        return None
    number = float(over[2] or over[3]) + (over[1] not in (None, ">=", "≥"))
    return float(OLDEST_AGE_YEARS) if math.floor(number) >= OLDEST_AGE_YEARS else None

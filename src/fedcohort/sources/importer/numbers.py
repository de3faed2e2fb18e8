"""Numbers as people write them in texts: one grammar for CSV's first records, for both halves of its reader,
and for the texts of Parquet and SQL.

A text that a program would take for a number is not always one: 0389 and 1E2 are codes, 12_3 is Python's,
and 265,000 or 150.000 may be a thousand times as much as they seem.
"""

import decimal
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

Decimal = Literal[".", ","]
Thousands = Literal["", ",", ".", " ", "'"]

MISSING_MARKS = frozenset(
    {
        "NA",
        "na",
        "Na",
        "N/A",
        "n/a",
        "#N/A",
        "NULL",
        "null",
        "Null",
        "None",
        "none",
        "NONE",
        "NaN",
        "nan",
        "NAN",
    }
    | {".", "-", "--", "?"}
)
"""Texts that mean that there is no value, as R, SAS, spreadsheets, SQL and pandas write it."""

_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_CODE = re.compile(r"\s*[+-]?(?:0\d|\d+[eE]\d+\s*$)", re.ASCII)
_LIMIT = re.compile(r"\s*(?:<|>|≤|≥)=?\s*[+-]?\d+(?:[.,]\d+)?\s*", re.ASCII)
_GROUPS = {
    mark: re.compile(rf"\s*[+-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+\s*", re.ASCII) for mark in ".,"
}
_POINT = re.compile(r"\s*[+-]?\d*\.\d+\s*", re.ASCII)
_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)
_BOTH = re.compile(r"\s*[+-]?\d{1,3}(?:\.\d{3})+,\d+\s*", re.ASCII)
_NARROW = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2019": "'"})
"""Blanks that do not break, and the Swiss apostrophe, as keyboards have them."""

Reader = Callable[[object], float]


@dataclass(frozen=True)
class Writing:
    """How a table's numbers are written.

    Attributes:
        decimal: what stands before the decimals; beside a comma no point is read.
        thousands: what stands between groups of three digits; empty where nothing does.
        is_said: somebody said so; else numbers that could be read in two ways are asked about.
    """

    decimal: Decimal = "."
    thousands: Thousands = ""
    is_said: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is as programs write numbers, which Arrow reads by itself."""
        return self.decimal == "." and not self.thousands

    @property
    def reader(self) -> Reader:
        """From a text, or what a database gives, to a number; it raises ValueError or TypeError."""
        return plain_number if self.is_plain else self._read

    def _read(self, value: object) -> float:
        if not isinstance(value, str):
            return plain_number(value)
        text, mark = value.strip().translate(_NARROW), self.thousands
        if mark and mark in text:
            if not _grouped(mark, self.decimal).fullmatch(text):
                raise ValueError
            text = text.replace(mark, "")
        if self.decimal == ",":
            if "." in text:
                raise ValueError
            text = text.replace(",", ".", 1)
        return plain_number(text)


PLAIN = Writing()


def decimal_mark(text: str | None) -> Decimal | None:
    """What somebody typed for a decimal mark.

    Raises:
        ValueError: it is none.
    """
    return cast("Decimal | None", _mark(text, get_args(Decimal), "decimal: a point or a comma"))


def thousands_mark(text: str | None) -> Thousands | None:
    """What somebody typed for a mark between thousands.

    Raises:
        ValueError: it is none.
    """
    marks, words = get_args(Thousands), "thousands: a comma, a point, an apostrophe or a blank"
    return cast("Thousands | None", _mark(text, marks, words))


def _mark(text: str | None, marks: tuple[str, ...], words: str) -> str | None:
    if text is not None and text not in marks:
        raise ValueError(words)
    return text


def _grouped(mark: str, decimal: str) -> re.Pattern[str]:
    """Digits in groups of three; re keeps the few patterns that there are."""
    grouped, point = re.escape(mark), re.escape(decimal)
    return re.compile(rf"[+-]?\d{{1,3}}(?:{grouped}\d{{3}})+(?:{point}\d*)?", re.ASCII)


def plain_number(value: object) -> float:
    """A number with a decimal point; Python's own texts such as 1_000 are none. NaN means missing.

    Raises:
        ValueError, TypeError: it is none; or it is bytes, of which a text has to be made first.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        raise TypeError
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        value = value.strip()  # blanks that do not break
        if "_" in value or not value.isascii():
            raise ValueError
    return float(value)  # type: ignore[arg-type]


def undeclared_reader(writing: Writing, *, shows_decimals: bool) -> Reader:
    """As `writing.reader`, of a column that nobody declared to hold numbers: a code is none.

    Args:
        shows_decimals: a point was seen to stand before decimals; else 150.000 is none, either.
    """
    read, unsure = writing.reader, writing.is_plain and not (writing.is_said or shows_decimals)

    def number(value: object) -> float:
        if isinstance(value, str) and (_CODE.match(value) or (unsure and has_groups(value, "."))):
            raise ValueError
        return read(value)

    return number


def is_number(text: str, reader: Reader) -> bool:
    """Whether a text is a finite number to a reader."""
    try:
        return math.isfinite(reader(text))
    except ValueError:
        return False


def is_code(text: str) -> bool:
    """Whether a text is digits that somebody may mean as a code: 0389, 1E2."""
    return bool(_CODE.match(text))


def is_rounded_whole(value: object, writing: Writing = PLAIN) -> bool:
    """Whether a whole number becomes another one as a double, as most of more than 15 digits do."""
    if isinstance(value, str):
        digits = value.strip().translate(_NARROW).replace(writing.thousands, "")
        if not _WHOLE.fullmatch(digits):
            return False
        value = decimal.Decimal(digits)
    if isinstance(value, decimal.Decimal):
        return value == value.to_integral_value() and float(value) != value
    return isinstance(value, int) and float(value) != value


def has_groups(text: str, mark: str) -> bool:
    """Whether a text is digits in groups of three: by 1,000 more or less, as its mark is read."""
    return bool(_GROUPS[mark].fullmatch(text))


def is_two_numbers(texts: Iterable[str], mark: Decimal) -> bool:
    """Whether every text with a mark has three digits behind it, so that nothing tells what it means."""
    marked = [text for text in texts if mark in text]
    return bool(marked) and all(has_groups(text, mark) for text in marked)


def shows_decimals(texts: Iterable[str]) -> bool:
    """Whether a point is seen to stand before decimals: other than three digits follow it, once at least."""
    return any(_POINT.fullmatch(text) and not has_groups(text, ".") for text in texts)


NO_NUMBER = "is not a number"
TOO_LONG = (
    "is a whole number of more digits than a number keeps, so that another one would become the same: "
    "declare the column in a mapping file with text = true"
)


def why_no_number(
    text: str, writing: Writing, *, declared: bool, has_mapping: bool = True, missing: Iterable[str] = ()
) -> str:
    """What is wrong with a text among numbers, and what helps; it repeats nothing but marks of a closed list.

    Args:
        declared: a mapping file says that the column holds numbers; else the first records did.
        has_mapping: there is a mapping file; else the command line says how numbers are written.
        missing: the marks of missing values that the column has.
    """
    mark = text.strip()
    if mark in MISSING_MARKS and mark not in missing:
        return f'is not a number, but "{mark}": write missing = ["{mark}"] for the column in the mapping file'
    if not declared and is_code(text):
        return (
            "is written like a code (a zero before digits, or as 1E2), and the first records had numbers: "
            "declare the column in a mapping file, as a number or with text = true"
        )
    if is_limit(text):
        return (
            "is not a number, but a limit such as <0.5: in the mapping file give it one by codes, or make it "
            'missing by outside = "missing"'
        )
    why = _why_marked(text, writing, words(has_mapping=has_mapping))
    return f"{NO_NUMBER}{why and ', for '}{why}"


def words(*, has_mapping: bool) -> Callable[[str, str], str]:
    """How a way of writing numbers is said: in the mapping file, or on the command line."""
    if has_mapping:
        return lambda name, mark: f'write {name} = "{mark}" below the table in the mapping file'
    return lambda name, mark: f"say --{name} {mark}"


def _why_marked(text: str, writing: Writing, say: Callable[[str, str], str]) -> str:
    """What commas and points may mean; empty where that is not what is wrong."""
    commas = writing.decimal == "." and writing.thousands != ","
    if commas and has_groups(text, ","):
        return (
            "three digits stand behind a comma, which may be a thousand: if it is, "
            f"{say('thousands', ',')}; if they are decimals, {say('decimal', ',')}"
        )
    if commas and _COMMA.fullmatch(text):
        return f"it has a decimal comma: {say('decimal', ',')}"
    if _BOTH.fullmatch(text) and writing.thousands != ".":
        return f"it has points between thousands: {say('thousands', '.')}"
    if has_groups(text, ".") and writing.thousands != ".":
        decimals = f"; if they are decimals, {say('decimal', '.')}" if writing.decimal == "." else ""
        return (
            "three digits stand behind a point, which may be a thousand: if it is, "
            f"{say('thousands', '.')}{decimals}"
        )
    return ""


def is_limit(text: str) -> bool:
    """Whether a text is a limit such as <0.5 or > 89."""
    return bool(_LIMIT.fullmatch(text))

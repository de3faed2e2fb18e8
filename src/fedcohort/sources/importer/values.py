"""From a source's raw values to what a column declares: numbers in its unit, levels, texts; and why not.

A column is converted whole, by C loops; only where that fails is each value looked at,
to find the records at fault. Nothing here repeats a value: a refusal names the column.
"""

import dataclasses
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fedcohort.columns import Categorical, Numeric
from fedcohort.sources.catalogue.ages import age_number, units_per_year
from fedcohort.sources.catalogue.identifier_names import AGE, kind_of_name
from fedcohort.sources.catalogue.normal_form import (
    EXACT_BELOW,
    ROUNDED,
    UnreadableError,
    identifier,
    is_rounded,
    level_key,
)
from fedcohort.sources.catalogue.schema import LONGEST_ID, PATIENT_ID, Declared
from fedcohort.sources.importer.batch import Refusal
from fedcohort.sources.importer.numbers import (
    NO_NUMBER,
    PLAIN,
    TOO_LONG,
    Reader,
    Writing,
    is_limit,
    is_rounded_whole,
    undeclared_reader,
    why_no_number,
)

NUMBERED = "(number of the record)"
"""A source's column that it does not have: each record is a patient of its own, and is numbered."""


def numbers(digest: str, places: Sequence[int]) -> list[str]:
    """Identifiers for records without one: the same for the same content, and of no other content."""
    return [f"{digest[:16]}-{place}" for place in places]


@dataclass
class Faults:
    """What is wrong in a batch.

    Attributes:
        rows: record within the batch to column to reason.
        emptied: column and reason to the records whose value became missing because somebody asked for that.
    """

    rows: dict[int, dict[str, str]] = dataclasses.field(default_factory=dict)
    emptied: dict[str, list[int]] = dataclasses.field(default_factory=dict)

    def add(self, row: int, column: str, reason: str) -> None:
        """One more; of one column the first counts."""
        self.rows.setdefault(row, {}).setdefault(column, reason)

    def empty(self, why: str, rows: Sequence[int]) -> None:
        """Values that became missing."""
        self.emptied.setdefault(why, []).extend(rows)

    @property
    def made_missing(self) -> Mapping[str, int]:
        """How many values became missing, by column and reason, of the records that come in."""
        counts = {why: sum(row not in self.rows for row in rows) for why, rows in self.emptied.items()}
        return {why: count for why, count in counts.items() if count}

    def __bool__(self) -> bool:
        return bool(self.rows or self.emptied)


TEXTS = (str, bytes, bytearray, memoryview)
"""What drivers make of texts."""
MAX_TEXT = 2**20
"""Characters of one text."""
UNDECLARED = "holds a level that is not declared"


@dataclass(frozen=True)
class Field:
    """One column of the site's table, and where it comes from.

    Attributes:
        name: in the site's table.
        source: in the source.
        declared: None for a text of no declared levels.
        affine: (factor, offset) from the source's unit to the declared one.
        codes: the source's code to the declared level.
        missing: texts that mean that there is no value, in addition to the empty one.
        writing: how its numbers are written in texts.
        is_declared: somebody says what the column holds; else the first records did, and a text that looks
            like a code is no number.
        shows_decimals: of a column that nobody declared, whether a point was seen before decimals.
        is_exact: a whole number that a double does not hold refuses its record: in a key, and in a column
            that nobody declared, it may tell records apart.
        has_mapping: whether there is a mapping file, which remedies may name.
        outside: "missing" where a value outside what is declared becomes missing; else it refuses its record.
    """

    name: str
    source: str
    declared: Declared | None = None
    affine: tuple[float, float] = (1.0, 0.0)
    codes: Mapping[str, str | float] = dataclasses.field(default_factory=dict)
    missing: Collection[str] = frozenset()
    writing: Writing = PLAIN
    is_declared: bool = True
    shows_decimals: bool = True
    outside: Literal["refuse", "missing"] = "refuse"
    has_mapping: bool = True
    is_exact: bool = False

    @property
    def reader(self) -> Reader:
        """From a value to a number; it raises ValueError or TypeError."""
        if self.is_declared:
            return self.writing.reader
        return undeclared_reader(self.writing, shows_decimals=self.shows_decimals)


def shaped(
    fields: Sequence[Field], raw: Mapping[str, Sequence[object]]
) -> tuple[dict[str, list[object]], Faults]:
    """Convert a batch.

    Args:
        raw: by source column, the batch's values.
    Returns:
        by column, the values of the records without a fault; and the faults.
    """
    faults = Faults()
    converted = {field.name: _column(field, raw[field.source], faults) for field in fields}
    if not faults.rows:
        return converted, faults
    sound = [row for row in range(len(next(iter(converted.values()), []))) if row not in faults.rows]
    return {name: [values[row] for row in sound] for name, values in converted.items()}, faults


def refusals_of(file: str, places: Sequence[int], faults: Faults) -> list[Refusal]:
    """A batch's faults with their places.

    Args:
        places: the number of each record of the batch within its part.
    """
    refusals = []
    for row, reasons in sorted(faults.rows.items()):
        (column, reason), *others = reasons.items()
        refusals.append(Refusal(file, f"record {places[row]}", column, reason, tuple(others)))
    return refusals


def _column(field: Field, values: Sequence[object], faults: Faults) -> list[object]:
    kind = field.declared.kind if field.declared is not None else None
    if isinstance(kind, Numeric):
        return _numbers(field, kind, values, faults)
    if isinstance(kind, Categorical):
        return _levels(field, kind, values, faults)
    return _texts(field, values, faults)


def _is_missing(field: Field, value: object) -> bool:
    return value is None or value == "" or (isinstance(value, str) and value.strip() in {"", *field.missing})


def _numbers(field: Field, kind: Numeric, values: Sequence[object], faults: Faults) -> list[object]:
    numbers: list[float | None]
    read = field.reader
    values = _decoded(field, values) if field.codes else values
    try:
        if field.missing or None in values or "" in values:
            numbers = [None if _is_missing(field, value) else read(value) for value in values]
        else:
            numbers = list(map(read, values))
    except (TypeError, ValueError):
        numbers = [_number(field, value, row, faults) for row, value in enumerate(values)]
    if not math.isfinite(sum(filter(None, numbers))):
        numbers = [None if value is not None and math.isnan(value) else value for value in numbers]
    if field.is_exact and max(map(abs, filter(None, numbers)), default=0.0) >= EXACT_BELOW:
        _whole(field, values, numbers, faults)
    factor, offset = field.affine
    if field.affine != (1.0, 0.0):
        numbers = [None if value is None else factor * value + offset for value in numbers]
    return list(_within(field, kind, numbers, faults))


def _whole(field: Field, values: Sequence[object], numbers: Sequence[float | None], faults: Faults) -> None:
    """Refuse whole numbers that are others now."""
    for row, (value, number) in enumerate(zip(values, numbers, strict=True)):
        if number is not None and abs(number) >= EXACT_BELOW and is_rounded_whole(value, field.writing):
            faults.add(row, field.name, TOO_LONG)


def _decoded(field: Field, values: Sequence[object]) -> Sequence[object]:
    """The source's codes as the numbers that they stand for."""
    return [field.codes.get(value.strip(), value) if isinstance(value, str) else value for value in values]


def _within(
    field: Field, kind: Numeric, values: Sequence[float | None], faults: Faults
) -> Sequence[float | None]:
    """Numbers within the declared bounds; others are refused, or missing where that was asked for."""
    present = [value for value in values if value is not None]
    low, high = kind.bounds or (-sys.float_info.max, sys.float_info.max)
    if not present or low <= min(present) <= max(present) <= high:
        return values
    reason = "is not finite" if kind.bounds is None else f"is outside {low:g} to {high:g}"
    outside = [row for row, value in enumerate(values) if value is not None and not low <= value <= high]
    if field.outside == "missing":
        faults.empty(f"{field.name} {reason}", outside)
        return [None if value is not None and not low <= value <= high else value for value in values]
    for row in outside:
        faults.add(row, field.name, reason)
    return values


def _number(field: Field, value: object, row: int, faults: Faults) -> float | None:
    value = text_of(value) if isinstance(value, TEXTS) else value
    if _is_missing(field, value):
        return None
    try:
        return field.reader(value)
    except (TypeError, ValueError):
        if field.outside == "missing" and isinstance(value, str) and is_limit(value):
            faults.empty(f"{field.name} is a limit such as <0.5", [row])
        elif (age := _old_age(field, value)) is not None:
            return age
        else:
            faults.add(row, field.name, _why(field, value))
        return None


def _old_age(field: Field, value: object) -> float | None:
    """`> 89` in a column of ages in years: 90, which stands for 90 or older."""
    if not isinstance(value, str) or AGE not in (kind_of_name(field.name), kind_of_name(field.source)):
        return None
    unit = field.declared.unit if field.declared is not None else None
    years = units_per_year(unit, field.name) == 1.0 and field.affine == (1.0, 0.0)
    return age_number(value) if years else None


def _why(field: Field, value: object) -> str:
    if not isinstance(value, str):
        return NO_NUMBER
    why = why_no_number(
        value, field.writing, declared=field.is_declared, has_mapping=field.has_mapping, missing=field.missing
    )
    more = ", as the first records had: a mapping file can make the column a text (text = true)"
    return f"{why}{more}" if why == NO_NUMBER and not field.is_declared else why


def _levels(field: Field, kind: Categorical, values: Sequence[object], faults: Faults) -> list[object]:
    by_key = {level_key(level): level for level in kind.levels}
    table: dict[object, object] = {}
    unknown: set[object] = set()
    for value in set(values):
        text = value.strip() if isinstance(value, str) else value
        coded = field.codes.get(str(text), text)
        if _is_missing(field, coded):
            table[value] = None
        elif (key := _key(coded)) in by_key:
            table[value] = by_key[key]
        else:
            unknown.add(value)
    rows = [row for row, value in enumerate(values) if value in unknown] if unknown else []
    if rows and field.outside == "missing":
        faults.empty(f"{field.name} {UNDECLARED}", rows)
    else:
        for row in rows:
            faults.add(row, field.name, UNDECLARED)
    return [table.get(value) for value in values]


def _key(value: object) -> str | None:
    """By which a level is found; of what has no text, as of a text of unseen signs, none is."""
    try:
        return level_key(value)
    except UnreadableError:
        return None


def _texts(field: Field, values: Sequence[object], faults: Faults) -> list[object]:
    if field.name == PATIENT_ID:
        return _patients(field, values, faults)
    texts = [None if _is_missing(field, value) else text_of(value) for value in values]
    present = [value for value in texts if value is not None]
    try:
        "".join(present).encode()
        sound = "\x00" not in "".join(present) and max(map(len, present), default=0) <= MAX_TEXT
    except UnicodeEncodeError:
        sound = False
    if not sound:
        for row, value in enumerate(texts):
            reason = _unsound(value)
            if reason:
                faults.add(row, field.name, reason)
    return list(texts)


def text_of(value: object) -> str:
    """A value as a text: bytes are its UTF-8, for a driver gives texts as bytes, too."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    return str(value)


def _patients(field: Field, values: Sequence[object], faults: Faults) -> list[object]:
    """Identifiers as they came, each of which has a text."""
    patients: list[object] = []
    for row, value in enumerate(values):
        missing = _is_missing(field, value)
        if reason := "is missing" if missing else _no_patient(value):
            faults.add(row, field.name, reason)
        patients.append(bytes(value) if isinstance(value, bytearray | memoryview) else value)
    return patients


def _no_patient(value: object) -> str:
    if isinstance(value, str) and (reason := _unsound(value)):
        return reason
    if is_rounded(value):
        return f"is {ROUNDED}"
    try:
        text = identifier(value)
    except UnreadableError:
        return "is neither text nor number; cast it in a view of the source"
    if text is None:
        return "is missing"
    return "" if len(text) <= LONGEST_ID else f"is longer than {LONGEST_ID} characters; give another column"


def _unsound(value: str | None) -> str:
    if value is None:
        return ""
    if len(value) > MAX_TEXT:
        return f"is a text of more than {MAX_TEXT} characters"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "is not in the file's encoding; of a CSV file say another by --encoding, such as cp1252"
    return "holds a NUL character" if "\x00" in value else ""

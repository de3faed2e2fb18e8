"""From a source's raw values to what a column declares: numbers in its unit, levels, texts; and why not.

A column is converted whole, by C loops; only where that fails is each value looked at,
to find the records at fault. Nothing here repeats a value: a refusal names the column.
"""

import math
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fedcohort.columns import Categorical, Numeric
from fedcohort.sources.batch import Refusal
from fedcohort.sources.convert import level_key
from fedcohort.sources.schema import PATIENT_ID, Declared

Faults = dict[int, tuple[str, str]]
"""Record within the batch to column and reason; the first fault of a record counts."""
_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*", re.ASCII)
_HINT = 'is not a number, for it has a decimal comma: write decimal = "," below the table in the mapping file'
MAX_TEXT = 2**20
"""Characters of one text."""


@dataclass(frozen=True)
class Field:
    """One column of the site's table, and where it comes from.

    Attributes:
        name: in the site's table.
        source: in the source.
        declared: None for a text of no declared levels.
        affine: (factor, offset) from the source's unit to the declared one.
        codes: the source's code to the declared level.
        missing: texts that mean that there is no value, besides the empty one.
        decimal: what stands before a number's decimals in texts; beside a comma no point is read.
    """

    name: str
    source: str
    declared: Declared | None = None
    affine: tuple[float, float] = (1.0, 0.0)
    codes: Mapping[str, str | int] = field(default_factory=dict)
    missing: Collection[str] = frozenset()
    decimal: str = "."


def shaped(
    fields: Sequence[Field], raw: Mapping[str, Sequence[object]]
) -> tuple[dict[str, list[object]], Faults]:
    """Convert a batch.

    Args:
        raw: by source column, the batch's values.
    Returns:
        by column, the values of the records without a fault; and the faults.
    """
    faults: Faults = {}
    found = {one.name: _column(one, raw[one.source], faults) for one in fields}
    if not faults:
        return found, faults
    kept = [row for row in range(len(next(iter(found.values()), []))) if row not in faults]
    return {name: [values[row] for row in kept] for name, values in found.items()}, faults


def refusals_of(file: str, places: Sequence[int], faults: Faults) -> list[Refusal]:
    """A batch's faults with their places.

    Args:
        places: the number of each record of the batch within its part.
    """
    return [
        Refusal(file, f"record {places[row]}", column, reason)
        for row, (column, reason) in sorted(faults.items())
    ]


def _column(one: Field, values: Sequence[object], faults: Faults) -> list[object]:
    kind = one.declared.kind if one.declared is not None else None
    if isinstance(kind, Numeric):
        return _numbers(one, kind, values, faults)
    if isinstance(kind, Categorical):
        return _levels(one, kind, values, faults)
    return _texts(one, values, faults)


def _is_missing(one: Field, value: object) -> bool:
    return value is None or value == "" or (isinstance(value, str) and value.strip() in {"", *one.missing})


def _numbers(one: Field, kind: Numeric, values: Sequence[object], faults: Faults) -> list[object]:
    found: list[float | None]
    read = _reader(one)
    try:
        if one.missing or None in values or "" in values:
            found = [None if _is_missing(one, value) else read(value) for value in values]
        else:
            found = list(map(read, values))
    except (TypeError, ValueError):
        found = [_number(one, value, row, faults) for row, value in enumerate(values)]
    if not math.isfinite(sum(filter(None, found))):
        found = [None if value is not None and math.isnan(value) else value for value in found]
    factor, offset = one.affine
    if one.affine != (1.0, 0.0):
        found = [None if value is None else factor * value + offset for value in found]
    known = [value for value in found if value is not None]
    low, high = kind.bounds or (-sys.float_info.max, sys.float_info.max)
    if known and not low <= min(known) <= max(known) <= high:
        reason = "is not finite" if kind.bounds is None else f"is outside {low:g} to {high:g}"
        for row, value in enumerate(found):
            if value is not None and not low <= value <= high:
                faults.setdefault(row, (one.name, reason))
    return list(found)


def _number(one: Field, value: object, row: int, faults: Faults) -> float | None:
    if _is_missing(one, value):
        return None
    try:
        return _reader(one)(value)
    except (TypeError, ValueError):
        comma = one.decimal != "," and isinstance(value, str) and _COMMA.fullmatch(value)
        faults.setdefault(row, (one.name, _HINT if comma else "is not a number"))
        return None


def _reader(one: Field) -> Callable[[object], float]:
    return _with_comma if one.decimal == "," else _float


def _with_comma(value: object) -> float:
    """A number such as 120,5; one with a point may count thousands, and is none."""
    if not isinstance(value, str):
        return _float(value)
    if "." in value:
        raise ValueError
    return _float(value.replace(",", ".", 1))


def _float(value: object) -> float:
    """A number as people write it; Python's own texts such as 1_000 are none. NaN means missing."""
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        raise ValueError
    return float(value)  # type: ignore[arg-type]


def _levels(one: Field, kind: Categorical, values: Sequence[object], faults: Faults) -> list[object]:
    by_key = {level_key(level): level for level in kind.levels}
    table: dict[object, object] = {}
    unknown: set[object] = set()
    for value in set(values):
        text = value.strip() if isinstance(value, str) else value
        coded = one.codes.get(str(text), text)
        if _is_missing(one, coded):
            table[value] = None
        elif level_key(coded) in by_key:
            table[value] = by_key[level_key(coded)]
        else:
            unknown.add(value)
    if unknown:
        for row, value in enumerate(values):
            if value in unknown:
                faults.setdefault(row, (one.name, "holds a level that is not declared"))
    return [table.get(value) for value in values]


def _texts(one: Field, values: Sequence[object], faults: Faults) -> list[object]:
    found = [None if _is_missing(one, value) else str(value) for value in values]
    known = [value for value in found if value is not None]
    if one.name == PATIENT_ID and len(known) < len(found):
        for row, value in enumerate(found):
            if value is None:
                faults.setdefault(row, (one.name, "is missing"))
    try:
        "".join(known).encode()
        sound = "\x00" not in "".join(known) and max(map(len, known), default=0) <= MAX_TEXT
    except UnicodeEncodeError:
        sound = False
    if not sound:
        for row, value in enumerate(found):
            reason = _unsound(value)
            if reason:
                faults.setdefault(row, (one.name, reason))
    return list(found)


def _unsound(value: str | None) -> str:
    if value is None:
        return ""
    if len(value) > MAX_TEXT:
        return f"is a text of more than {MAX_TEXT} characters"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "is not in the file's encoding; name it, such as cp1252"
    return "holds a NUL character" if "\x00" in value else ""

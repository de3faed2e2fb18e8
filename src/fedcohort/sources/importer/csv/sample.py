"""What a CSV file's first records tell about its columns, and what has to be asked.

A column holds numbers where every value is one, by the very reader that the import uses. What
could be two numbers is never guessed: the import stops and names what would say it.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fedcohort.columns import Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.importer.numbers import (
    MISSING_MARKS,
    Writing,
    is_code,
    is_number,
    is_rounded_whole,
    is_two_numbers,
    shows_decimals,
    words,
)
from fedcohort.sources.importer.values import Field

_ZEROS = re.compile(r"^\s*[+-]?0\d", re.MULTILINE | re.ASCII)
_EXPONENTS = re.compile(r"^\s*[+-]?\d+[eE]\d+\s*$", re.MULTILINE | re.ASCII)
_DIGITS = 15
"""So many a double keeps of any whole number."""
_SOME = 100
"""So many values of a text are looked at first."""
_MOSTLY = 0.5
"""From this share of numbers on, a note says that a column became a text for the others."""

Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Sampled:
    """How the columns are read.

    Attributes:
        fields: one a column.
        notes: what the engineer should know of them, a line each.
    """

    fields: Sequence[Field]
    notes: Sequence[str] = ()


def undeclared(columns: Columns, patient: str, writing: Writing, *, has_mapping: bool = False) -> Sampled:
    """Columns that nobody declared, by their first values.

    Args:
        columns: name to the first records' values, the patient's among them.
        has_mapping: there is a mapping file, which declares others.
    Raises:
        SchemaError: numbers of some columns can be read in two ways; names all of them, and what says it.
    """
    asked = Asked(writing, has_mapping)
    answers = [_undeclared(name, values, asked) for name, values in columns.items() if name != patient]
    questions = [answer for answer in answers if isinstance(answer, str)]
    if questions:
        differing = "where columns differ, write decimal or thousands at each in a mapping file"
        raise SchemaError("; ".join([*questions, differing]))
    columns_read = [answer for answer in answers if not isinstance(answer, str)]
    fields = [Field(PATIENT_ID, patient), *(field for answer in columns_read for field in answer.fields)]
    empty = [name for name, values in columns.items() if name != patient and not any(map(str.strip, values))]
    notes = [note for answer in columns_read for note in answer.notes]
    if empty and columns[patient]:
        notes.append(
            f"{', '.join(empty)}: texts, for the first {len(columns[patient])} records have no value"
        )
    return Sampled(fields, notes)


@dataclass(frozen=True)
class Asked:
    """How numbers are written, as far as it was said, and whether there is a mapping file to say it in."""

    writing: Writing
    has_mapping: bool


def numeric_by_name(columns: Columns, patient: str, numbers: Collection[str]) -> Sampled:
    """Columns of a data set that is known: those of these names hold numbers."""
    kinds = {name: Declared(Numeric()) if name in numbers else None for name in columns if name != patient}
    return Sampled([Field(PATIENT_ID, patient), *(Field(name, name, kind) for name, kind in kinds.items())])


def _undeclared(name: str, values: Sequence[str], asked: Asked) -> Sampled | str:
    """What one column is; or what has to be asked about it."""
    writing = asked.writing
    present = list(filter(str.strip, values))
    unmarked, all_numbers = present, _are_numbers(present, writing)
    if not all_numbers:
        unmarked = [value for value in present if value.strip() not in MISSING_MARKS]
        all_numbers = len(unmarked) < len(present) and _are_numbers(unmarked, writing)
    text = Sampled([Field(name, name)])
    if not unmarked:
        return text
    if not all_numbers:
        return _question(name, unmarked, asked) or replace(
            text, notes=_why_a_text(name, values, unmarked, writing)
        )
    joined = "\n".join(unmarked)
    if _ZEROS.search(joined) or ("e" in joined.lower() and _EXPONENTS.search(joined)):
        return replace(
            text, notes=[f"{name}: a text, for some look like codes (a zero before others, or 1E2)"]
        )
    if any(is_rounded_whole(value, writing) for value in unmarked if len(value) > _DIGITS):
        return replace(text, notes=[f"{name}: a text, for some have more digits than a number keeps"])
    if writing.is_plain and not writing.is_said and is_two_numbers(unmarked, "."):
        say = words(has_mapping=asked.has_mapping)
        meaning = f"{say('thousands', '.')} where 150.000 is a thousand times 150"
        return _asked(name, "point", [meaning, say("decimal", ".")])
    sampled = Field(
        name,
        name,
        Declared(Numeric()),
        missing=MISSING_MARKS,
        writing=writing,
        is_declared=False,
        shows_decimals=shows_decimals(unmarked),
        has_mapping=asked.has_mapping,
        is_exact=True,
    )
    marks = len(present) - len(unmarked)
    note = (
        f"{name}: numbers; {marks} of the first {len(values)} records have a mark such as NA, read as missing"
    )
    return Sampled([sampled], [note] if marks else [])


def _are_numbers(texts: Sequence[str], writing: Writing) -> bool:
    joined = "\n".join(texts)
    if writing.is_plain and joined.isascii() and "_" not in joined:
        try:
            return all(map(math.isfinite, map(float, texts)))
        except ValueError:
            return False
    return all(is_number(text, writing.reader) for text in texts)


def _question(name: str, unmarked: Sequence[str], asked: Asked) -> str:
    """Where all would be numbers if commas meant something."""
    if asked.writing.is_said:
        return ""
    say = words(has_mapping=asked.has_mapping)
    answers = {
        f"{say('decimal', ',')} where 120,5 has decimals": Writing(","),
        f"{say('thousands', ',')} where 265,000 is a thousand times 265": Writing(".", ","),
    }
    if any("." in text for text in unmarked):
        answers[f"{say('thousands', '.')} where 1.234,5 has both"] = Writing(",", ".")
    possible = [mark for mark, writing in answers.items() if _are_numbers(unmarked, writing)]
    return _asked(name, "comma", possible) if possible else ""


def _asked(name: str, mark: str, answers: Sequence[str]) -> str:
    return f"{name}: its numbers have a {mark}: {', or '.join(answers)}"


def _why_a_text(name: str, values: Sequence[str], unmarked: Sequence[str], writing: Writing) -> list[str]:
    """A word where most of a column would have been numbers."""
    some = unmarked[:: max(1, len(unmarked) // _SOME)]
    if sum(is_number(text, writing.reader) for text in some) < _MOSTLY / 2 * len(some):
        return []
    others = [text for text in unmarked if not is_number(text, writing.reader) or is_code(text)]
    if len(unmarked) - len(others) < _MOSTLY * len(unmarked):
        return []
    first = values.index(others[0]) + 1
    return [
        f"{name}: a text, for {len(others)} of {len(unmarked)} values of the first records are no numbers "
        f"(record {first} the first); a mapping file can make it numbers, by missing, codes or outside for "
        "the others"
    ]

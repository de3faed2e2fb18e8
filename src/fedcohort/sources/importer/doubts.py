"""Texts of columns that a mapping file declares to be numbers, where they can be read in two ways.

150.000 may be a thousand times as much as it seems. That is never guessed, whatever the source: an
import of CSV, Parquet or SQL looks at its first records, and stops where only somebody can tell.
"""

import math
from collections.abc import Mapping, Sequence

from fedcohort.columns import Numeric
from fedcohort.errors import SchemaError
from fedcohort.sources.importer.numbers import Writing, is_two_numbers
from fedcohort.sources.importer.values import TEXTS, Field, text_of

SAMPLE_ROWS = 10_000
"""So many records are looked at."""


def ask(fields: Sequence[Field], columns: Mapping[str, Sequence[object]]) -> None:
    """Look at the first values of columns that a mapping file declares.

    Args:
        columns: by the source's name; of those that are left out nothing is asked.

    Raises:
        SchemaError: numbers of one can be read in two ways, and its bounds do not tell which.
    """
    questions = [_doubt(one, columns[one.source]) for one in fields if one.source in columns]
    if told := "; ".join(filter(None, questions)):
        raise SchemaError(told)


def is_open(one: Field) -> bool:
    """Whether a column holds numbers of which nobody said how they are written."""
    return one.declared is not None and isinstance(one.declared.kind, Numeric) and not one.writing.is_said


def _doubt(one: Field, values: Sequence[object]) -> str:
    kind = one.declared.kind if one.declared is not None else None
    if not isinstance(kind, Numeric) or not is_open(one):
        return ""
    texts = [text_of(value) for value in values if isinstance(value, TEXTS)]
    known = [text for text in texts if text.strip() and text.strip() not in one.missing]
    if not is_two_numbers(known, "."):
        return ""
    low, high = kind.bounds or (-math.inf, math.inf)
    factor, offset = one.affine

    def fits(writing: Writing) -> bool:
        numbers = [writing.reader(text) for text in known if "." in text]
        return all(low <= factor * number + offset <= high for number in numbers)

    as_decimals, as_thousands = fits(Writing(".")), fits(Writing(",", "."))
    if not as_thousands:
        return ""
    answers = ['thousands = "." where 150.000 is a thousand times 150']
    if as_decimals:
        answers.append('decimal = "." where its decimals are three')
    return (
        f"{one.name}: three digits stand behind every point of its numbers: write {', or '.join(answers)}, "
        "in the mapping file at this column or below its table"
    )

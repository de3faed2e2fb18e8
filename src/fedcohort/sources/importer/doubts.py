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
    questions = [_doubt(field, columns[field.source]) for field in fields if field.source in columns]
    if question := "; ".join(filter(None, questions)):
        raise SchemaError(question)


def is_open(field: Field) -> bool:
    """Whether a column holds numbers of which nobody said how they are written."""
    return (
        field.declared is not None and isinstance(field.declared.kind, Numeric) and not field.writing.is_said
    )


def _doubt(field: Field, values: Sequence[object]) -> str:
    kind = field.declared.kind if field.declared is not None else None
    if not isinstance(kind, Numeric) or not is_open(field):
        return ""
    texts = [text_of(value) for value in values if isinstance(value, TEXTS)]
    present = [text for text in texts if text.strip() and text.strip() not in field.missing]
    if not is_two_numbers(present, "."):
        return ""
    low, high = kind.bounds or (-math.inf, math.inf)
    factor, offset = field.affine

    def fits(writing: Writing) -> bool:
        numbers = [writing.reader(text) for text in present if "." in text]
        return all(low <= factor * number + offset <= high for number in numbers)

    as_decimals, as_thousands = fits(Writing(".")), fits(Writing(",", "."))
    if not as_thousands:
        return ""
    answers = ['thousands = "." where 150.000 is a thousand times 150']
    if as_decimals:
        answers.append('decimal = "." where its decimals are three')
    return (
        f"{field.name}: three digits stand behind every point of its numbers: write {', or '.join(answers)}, "
        "in the mapping file at this column or below its table"
    )

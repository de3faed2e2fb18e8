"""Whole columns of CSV, looked at by Arrow off Python's lock, and made into Python's objects part by part."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Categorical, Numeric
from fedcohort.sources.catalogue.normal_form import EXACT_BELOW
from fedcohort.sources.catalogue.schema import LONGEST_ID, PATIENT_ID
from fedcohort.sources.importer.values import MAX_TEXT, Field, shaped

_DOUBTFUL = r"^\s*([+-]?0\d|[+-]?\d+[eE]\d+\s*$)"
_GROUPED = r"^\s*[+-]?[1-9]\d{0,2}(\.\d{3})+\s*$"
Made = Callable[[slice], list[object]]
"""Makes a part of a column's values as Python's objects, which takes Python's lock."""


def quick(fields: Sequence[Field], raw: Mapping[str, Any]) -> dict[str, Made] | None:
    """Whole columns, looked at off Python's lock; None where a value must be looked at by itself."""
    columns_made: dict[str, Made] = {}
    for field in fields:
        made = _column(field, raw[field.source])
        if made is None:
            return None
        columns_made[field.name] = made
    return columns_made


def is_read_at_once(field: Field) -> bool:
    """Whether a text that Arrow takes for a number is this number, and no mark of a missing value."""
    number = field.declared is not None and isinstance(field.declared.kind, Numeric)
    return number and field.writing.is_plain and not any(_is_float(mark) for mark in field.missing)


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _column(field: Field, column: Any) -> Made | None:  # noqa: ANN401 - pyarrow has no types
    """A column's values; None where something in it does not fit, and must be looked at by value."""
    kind = field.declared.kind if field.declared is not None else None
    if isinstance(kind, Numeric):
        return _numbers(field, kind, column) if field.writing.is_plain and not field.codes else None
    if isinstance(kind, Categorical):
        return _levels(field, column)
    return _texts(field, column)


def _numbers(field: Field, kind: Numeric, column: Any) -> Made | None:  # noqa: ANN401
    import pyarrow

    try:
        numbers = _unmarked(field, column).cast(pyarrow.float64())
    except (pyarrow.ArrowInvalid, _Doubtful):
        return None
    missing = numbers.null_count > 0
    values = numbers.to_numpy(zero_copy_only=False)
    factor, offset = field.affine
    if field.affine != (1.0, 0.0):
        values = factor * values + offset
    present = values[~np.isnan(values)] if missing else values
    low, high = kind.bounds or (-np.inf, np.inf)
    if len(present):
        least, most = present.min(), present.max()  # NaN where there is one
        if not (np.isfinite(least) and np.isfinite(most) and low <= least and most <= high):
            return None
        if field.is_exact and max(-least, most) >= EXACT_BELOW:
            return None
    if len(present) + numbers.null_count != len(values):
        return None
    gone = np.asarray(numbers.is_null()) if missing else None
    return partial(_floats, values, gone)


class _Doubtful(Exception):
    """A text of a column that nobody declared may be a code, or two numbers."""


def _unmarked(field: Field, column: Any) -> Any:  # noqa: ANN401
    """A column with nothing in place of marks of missing values; numbers have none.

    Raises:
        _Doubtful: a text has to be looked at.
    """
    import pyarrow
    from pyarrow import compute, types

    if not types.is_string(column.type):
        return column
    if not field.is_declared:
        unsure = not (field.shows_decimals or field.writing.is_said)
        for pattern in (_DOUBTFUL, *([_GROUPED] if unsure else [])):
            if compute.any(compute.match_substring_regex(column, pattern)).as_py():
                raise _Doubtful
    if not field.missing:
        return column
    marks = pyarrow.array(["", *field.missing])
    marked = compute.is_in(compute.utf8_trim_whitespace(column), marks)
    return compute.if_else(marked, pyarrow.scalar(None, pyarrow.string()), column)


def _floats(values: NDArray[np.float64], missing: NDArray[np.bool_] | None, part: slice) -> list[object]:
    if missing is None:
        return list(values[part].tolist())
    objects = values[part].astype(object)
    objects[missing[part]] = None
    return list(objects.tolist())


def _levels(field: Field, column: Any) -> Made | None:  # noqa: ANN401
    encoded = column.dictionary_encode()
    levels, faults = shaped([field], {field.source: encoded.dictionary.to_pylist()})
    if faults:
        return None
    table = np.array([*levels[field.name], None], dtype=object)
    indices = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    return lambda part: list(table[indices[part]].tolist())


def _texts(field: Field, column: Any) -> Made | None:  # noqa: ANN401
    from pyarrow import compute

    if field.missing or (field.name == PATIENT_ID and column.null_count):
        return None
    longest = compute.max(compute.utf8_length(column)).as_py() or 0
    blank = compute.any(compute.utf8_is_space(column)).as_py()
    data = column.buffers()[2]
    most = LONGEST_ID if field.name == PATIENT_ID else MAX_TEXT
    if longest > most or blank or (data is not None and b"\x00" in memoryview(data).tobytes()):
        return None
    return lambda part: list(column[part].to_numpy(zero_copy_only=False).tolist())


def are_numbers(column: Any) -> bool:  # noqa: ANN401
    """Whether Arrow takes every text of a column for a number."""
    import pyarrow

    try:
        column.cast(pyarrow.float64())
    except pyarrow.ArrowInvalid:
        return False
    return True

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
    found: dict[str, Made] = {}
    for one in fields:
        made = _column(one, raw[one.source])
        if made is None:
            return None
        found[one.name] = made
    return found


def is_read_at_once(one: Field) -> bool:
    """Whether a text that Arrow takes for a number is this number, and no mark of a missing value."""
    number = one.declared is not None and isinstance(one.declared.kind, Numeric)
    return number and one.writing.is_plain and not any(_is_float(mark) for mark in one.missing)


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _column(one: Field, column: Any) -> Made | None:  # noqa: ANN401 - pyarrow has no types
    """A column's values; None where something in it does not fit, and must be looked at by value."""
    kind = one.declared.kind if one.declared is not None else None
    if isinstance(kind, Numeric):
        return _numbers(one, kind, column) if one.writing.is_plain and not one.codes else None
    if isinstance(kind, Categorical):
        return _levels(one, column)
    return _texts(one, column)


def _numbers(one: Field, kind: Numeric, column: Any) -> Made | None:  # noqa: ANN401
    import pyarrow

    try:
        numbers = _unmarked(one, column).cast(pyarrow.float64())
    except (pyarrow.ArrowInvalid, _Doubtful):
        return None
    missing = numbers.null_count > 0
    values = numbers.to_numpy(zero_copy_only=False)
    factor, offset = one.affine
    if one.affine != (1.0, 0.0):
        values = factor * values + offset
    known = values[~np.isnan(values)] if missing else values
    low, high = kind.bounds or (-np.inf, np.inf)
    if len(known):
        least, most = known.min(), known.max()  # NaN where there is one
        if not (np.isfinite(least) and np.isfinite(most) and low <= least and most <= high):
            return None
        if one.is_exact and max(-least, most) >= EXACT_BELOW:
            return None
    if len(known) + numbers.null_count != len(values):
        return None
    gone = np.asarray(numbers.is_null()) if missing else None
    return partial(_floats, values, gone)


class _Doubtful(Exception):
    """A text of a column that nobody declared may be a code, or two numbers."""


def _unmarked(one: Field, column: Any) -> Any:  # noqa: ANN401
    """A column with nothing in place of marks of missing values; numbers have none.

    Raises:
        _Doubtful: a text has to be looked at.
    """
    import pyarrow
    from pyarrow import compute, types

    if not types.is_string(column.type):
        return column
    if not one.is_declared:
        unsure = not (one.shows_decimals or one.writing.is_said)
        for pattern in (_DOUBTFUL, *([_GROUPED] if unsure else [])):
            if compute.any(compute.match_substring_regex(column, pattern)).as_py():
                raise _Doubtful
    if not one.missing:
        return column
    marks = pyarrow.array(["", *one.missing])
    marked = compute.is_in(compute.utf8_trim_whitespace(column), marks)
    return compute.if_else(marked, pyarrow.scalar(None, pyarrow.string()), column)


def _floats(values: NDArray[np.float64], missing: NDArray[np.bool_] | None, part: slice) -> list[object]:
    if missing is None:
        return list(values[part].tolist())
    objects = values[part].astype(object)
    objects[missing[part]] = None
    return list(objects.tolist())


def _levels(one: Field, column: Any) -> Made | None:  # noqa: ANN401
    encoded = column.dictionary_encode()
    found, faults = shaped([one], {one.source: encoded.dictionary.to_pylist()})
    if faults:
        return None
    table = np.array([*found[one.name], None], dtype=object)
    indices = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    return lambda part: list(table[indices[part]].tolist())


def _texts(one: Field, column: Any) -> Made | None:  # noqa: ANN401
    from pyarrow import compute

    if one.missing or (one.name == PATIENT_ID and column.null_count):
        return None
    longest = compute.max(compute.utf8_length(column)).as_py() or 0
    blank = compute.any(compute.utf8_is_space(column)).as_py()
    data = column.buffers()[2]
    most = LONGEST_ID if one.name == PATIENT_ID else MAX_TEXT
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

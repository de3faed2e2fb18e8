"""The fast half of reading CSV: whole columns by Arrow, as long as every record is sound.

Arrow splits and converts in C, off Python's lock. What it cannot place exactly (a record of
another length, bytes outside UTF-8, a quote that does not close) ends this half; the other
one (`csv_files`) goes on from there, record by record. A batch in which only values do not
fit is shaped like any other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from fedcohort.columns import Categorical, Numeric
from fedcohort.errors import DataError
from fedcohort.sources.schema import PATIENT_ID
from fedcohort.sources.shape import MAX_TEXT, Faults, Field, shaped

BLOCK_BYTES = 2**23

Columns = dict[str, list[object]]


def sound_batches(
    raw: IO[bytes], names: Sequence[str], delimiter: str, fields: Sequence[Field]
) -> Iterator[tuple[int, Columns, Faults]]:
    """(records, columns, faults) of each batch, up to the first record that is not sound.

    One of no records comes last when that was the end of the file; nothing at all without pyarrow.
    """
    try:
        import pyarrow
        from pyarrow import csv
    except ModuleNotFoundError:
        return
    sources = list(dict.fromkeys(one.source for one in fields))
    read = csv.ReadOptions(block_size=BLOCK_BYTES, column_names=list(names), skip_rows=1)
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pyarrow.string()),
        include_columns=sources,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    try:
        with csv.open_csv(pyarrow.PythonFile(raw, "r"), read, parse, convert) as reader:
            for batch in reader:
                columns = {name: batch.column(name) for name in sources}
                if batch.num_rows:
                    yield (batch.num_rows, *_shaped(fields, columns))
        yield 0, {}, {}
    except (DataError, pyarrow.ArrowException, OSError, ValueError):
        return


def _shaped(fields: Sequence[Field], raw: Mapping[str, Any]) -> tuple[Columns, Faults]:
    found: Columns = {}
    for one in fields:
        values = _column(one, raw[one.source])
        if values is None:
            return shaped(fields, {name: column.to_pylist() for name, column in raw.items()})
        found[one.name] = values
    return found, {}


def _column(one: Field, column: Any) -> list[object] | None:  # noqa: ANN401 - pyarrow has no types
    """A column's values; None where something in it does not fit, and must be looked at by value."""
    kind = one.declared.kind if one.declared is not None else None
    if isinstance(kind, Numeric):
        return None if one.missing else _numbers(one, kind, column)
    if isinstance(kind, Categorical):
        return _levels(one, column)
    return _texts(one, column)


def _numbers(one: Field, kind: Numeric, column: Any) -> list[object] | None:  # noqa: ANN401
    import pyarrow

    try:
        numbers = column.cast(pyarrow.float64())
    except pyarrow.ArrowInvalid:
        return None
    missing = numbers.null_count > 0
    values = numbers.to_numpy(zero_copy_only=False)
    factor, offset = one.affine
    if one.affine != (1.0, 0.0):
        values = factor * values + offset
    known = values[~np.isnan(values)] if missing else values
    low, high = kind.bounds or (-np.inf, np.inf)
    if len(known) and not (np.isfinite(known).all() and low <= known.min() and known.max() <= high):
        return None
    if len(known) + numbers.null_count != len(values):
        return None
    if not missing:
        return list(values.tolist())
    objects = values.astype(object)
    objects[np.asarray(numbers.is_null())] = None
    return list(objects.tolist())


def _levels(one: Field, column: Any) -> list[object] | None:  # noqa: ANN401
    encoded = column.dictionary_encode()
    found, faults = shaped([one], {one.source: encoded.dictionary.to_pylist()})
    if faults:
        return None
    table = np.array([*found[one.name], None], dtype=object)
    indices = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    return list(table[indices].tolist())


def _texts(one: Field, column: Any) -> list[object] | None:  # noqa: ANN401
    from pyarrow import compute

    if one.missing or (one.name == PATIENT_ID and column.null_count):
        return None
    longest = compute.max(compute.utf8_length(column)).as_py() or 0
    blank = compute.any(compute.equal(compute.utf8_trim_whitespace(column), "")).as_py()
    data = column.buffers()[2]
    if longest > MAX_TEXT or blank or (data is not None and b"\x00" in memoryview(data).tobytes()):
        return None
    return list(column.to_numpy(zero_copy_only=False).tolist())

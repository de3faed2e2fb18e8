"""Parquet as a source, by pyarrow: one row group after another, in batches."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from fedcohort.columns import Numeric
from fedcohort.errors import ConfigError, DataError, SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID, Declared
from fedcohort.sources.catalogue.units import conversion
from fedcohort.sources.importer.batch import Batch, Part, Refusal, Source
from fedcohort.sources.importer.doubts import SAMPLE_ROWS, ask, is_open
from fedcohort.sources.importer.files import FREE_BYTES, MAX_RATIO, digest_of, files_of, format_of
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.values import NUMBERED, Field, numbers, refusals_of, shaped

BATCH_ROWS = 20_000
ENDINGS = (".parquet", ".pq")
SECONDS = "s"
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of Arrow's durations; ours are seconds."""


def parquet_source(place: Path, table: str, mapping: MappedTable | None, patient: str = PATIENT_ID) -> Source:
    """One file or a folder of files, all into one table.

    Raises:
        ConfigError: there is no such file, or pyarrow is not installed.
        DataError, SchemaError: no file can be read, or the first that can names no patients.
    """
    files = files_of(place, *ENDINGS)
    fields = _fields_read(files, mapping, patient)
    if mapping is not None:
        _ask(files, mapping.fields)
    declared = {field.name: field.declared for field in fields if field.declared is not None}
    root = place if place.is_dir() else place.parent
    parts = []
    for path in files:
        name, digest = str(path.relative_to(root)), cache(partial(digest_of, path))
        parts.append(Part(name, table, digest, partial(_batches, path, name, table, fields, digest)))
    return Source({table: declared}, parts)


def _open(path: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A file whose texts come as dictionaries: one that stands in many records is read and held once.

    Raises:
        ConfigError: pyarrow is not installed. DataError, SchemaError: it is damaged, or names a column twice.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ConfigError(
            "Parquet needs pyarrow: pip install -c constraints.txt '.[files]' in fedcohort's folder"
        ) from None
    types = pyarrow.types
    other = format_of(path)
    if other and "parquet" not in other:
        raise DataError(other)
    try:
        schema = parquet.read_schema(path)
        texts = [
            column.name
            for column in schema
            if types.is_string(column.type) or types.is_large_string(column.type)
        ]
        if len(set(schema.names)) < len(schema.names):
            raise SchemaError("names a column twice; write it anew with each name once")
        return parquet.ParquetFile(path, read_dictionary=texts)
    except (pyarrow.ArrowException, OSError, ValueError):
        raise DataError("not a Parquet file, or damaged; ask for it again") from None


def _first_schema(files: Sequence[Path]) -> tuple[Path, Any]:
    """The first file that can be read; the others are refused when their turn comes.

    Raises:
        DataError, SchemaError: there is none; says what is wrong with the first.
    """
    errors: list[DataError] = []
    for path in files:
        try:
            with _open(path) as file:
                return path, file.schema_arrow
        except DataError as error:
            errors.append(type(error)(f"{path.name}: {error}"))
    raise errors[0]


def _fields_read(files: Sequence[Path], mapping: MappedTable | None, patient: str) -> list[Field]:
    """How the columns are read: as a mapping says, the others as the first file's own schema does."""
    if mapping is None:
        return _fields_of(files, patient)
    if not mapping.others:
        return mapping.fields
    mapped = mapping.fields
    named = {field.source for field in mapped} | {field.name for field in mapped}
    others = _fields_of(files, mapping.patient_id)[1:]
    return [*mapped, *(field for field in others if field.name not in named)]


def _ask(files: Sequence[Path], fields: Sequence[Field]) -> None:
    """Look at texts of the first file that are declared to be numbers.

    Raises:
        SchemaError: they can be read in two ways.
    """
    import pyarrow

    path, schema = _first_schema(files)
    texts = {column.name for column in schema if _is_text(column.type)}
    asked = [field for field in fields if field.source in texts and is_open(field)]
    names = sorted({field.source for field in asked})
    columns: dict[str, list[object]] = {}
    with contextlib.suppress(pyarrow.ArrowException, OSError), _open(path) as file:
        for first in islice(file.iter_batches(SAMPLE_ROWS, columns=names), 1 if names else 0):
            columns = _values(first)[0]  # what is damaged behind them is reported when it is read
    try:
        ask([field for field in asked if columns], columns)
    except SchemaError as error:
        raise SchemaError(f"{path.name}: {error}") from None


def _is_text(kind: Any) -> bool:  # noqa: ANN401
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _fields_of(files: Sequence[Path], patient: str) -> list[Field]:
    """The patient, then numbers without bounds, durations in seconds, and texts, as the schema says."""
    import pyarrow

    path, schema = _first_schema(files)
    if patient not in (*schema.names, NUMBERED):
        raise SchemaError(
            f"{path.name}: has no column {patient}; say in a mapping file which one names the patient: "
            'patient_id = "…" and others = true below its table, or, where each record is a patient of its '
            "own, --number-patients"
        )
    types = pyarrow.types
    nested = [column.name for column in schema if _is_nested(column.type)]
    if nested:
        raise SchemaError(
            f"{path.name}: {', '.join(nested)} hold lists, structures or bytes, which are no columns of a "
            "table; name the others in a mapping file"
        )
    kinds = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    fields = [Field(PATIENT_ID, patient)]
    for column in schema:
        if column.name == patient:
            continue
        kind = Declared(Numeric()) if any(kind(column.type) for kind in kinds) else None
        if types.is_duration(column.type):
            kind = Declared(Numeric(), SECONDS)
        fields.append(Field(column.name, column.name, kind, is_exact=True))
    return fields


def _durations(schema: Any, fields: Sequence[Field]) -> list[Field]:  # noqa: ANN401
    """Fields whose durations, which come in seconds, are converted to the unit that is declared.

    Raises:
        SchemaError: no unit is declared, so that nobody would know what the numbers are.
    """
    from pyarrow import types

    return [
        _in_its_unit(field, field.declared)
        if field.declared is not None and types.is_duration(schema.field(field.source).type)
        else field
        for field in fields
    ]


def _in_its_unit(field: Field, declared: Declared) -> Field:
    if not declared.unit:
        raise SchemaError(
            f'column {field.source} holds durations: write unit = "hour", or such, in a mapping'
        )
    if field.affine != (1.0, 0.0) or declared.unit == SECONDS:
        return field
    try:
        return replace(field, affine=conversion(SECONDS, declared.unit))
    except ValueError as error:
        raise SchemaError(f"column {field.source} holds durations: {error}") from None


def _is_nested(kind: Any) -> bool:  # noqa: ANN401
    from pyarrow import types

    return bool(types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind))


def _batches(
    path: Path, name: str, table: str, fields: Sequence[Field], digest: Callable[[], str], done: int
) -> Iterator[Batch]:
    import pyarrow

    read = done
    try:
        with _open(path) as file:
            _check(file.schema_arrow, [field.source for field in fields])
            fields = _durations(file.schema_arrow, fields)
            most = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
            content = digest() if fields[0].source == NUMBERED else ""
            for batch in _read(file, name, table, fields, done, most, content):
                yield batch
                read = batch.read
    except (DataError, pyarrow.ArrowException, OSError, MemoryError) as error:
        reason = str(error) if isinstance(error, DataError) else "is damaged behind this record"
        yield Batch(table, {}, read, (Refusal(name, f"after record {read}", "", reason),), broken=True)


def _check(schema: Any, sources: Sequence[str]) -> None:  # noqa: ANN401
    lacking = [name for name in sources if name not in (*schema.names, NUMBERED)]
    if lacking:
        raise SchemaError(f"has no column {', '.join(lacking)}; correct the mapping or the file")
    nested = [name for name in sources if name != NUMBERED and _is_nested(schema.field(name).type)]
    if nested:
        raise SchemaError(f"column {', '.join(nested)} holds lists, structures or bytes; correct the mapping")


def _read(
    file: Any,  # noqa: ANN401
    name: str,
    table: str,
    fields: Sequence[Field],
    done: int,
    most: int,
    digest: str,
) -> Iterator[Batch]:
    """Batches behind the first `done` records; texts of more than `most` bytes in all are a bomb."""
    read = unpacked = 0
    wanted = [field.source for field in fields if field.source != NUMBERED]
    for group in file.iter_batches(BATCH_ROWS, columns=list(dict.fromkeys(wanted))):
        before, read = read, read + group.num_rows
        unpacked += sum(_weight(group.column(column)) for column in group.schema.names)
        if unpacked > most:
            raise DataError(f"unpacks to more than {MAX_RATIO} times its size; write it without dictionaries")
        if read <= done:
            continue
        piece = group.slice(max(0, done - before))
        first = read - piece.num_rows
        raw, bad = _values(piece)
        if digest:
            raw[NUMBERED] = list[object](numbers(digest, range(first + 1, read + 1)))
        columns, faults = shaped(fields, raw)
        if bad:
            for row in bad:
                faults.rows[row] = {"": "holds a date that is none"} | faults.rows.get(row, {})
            sound = [row for row in range(piece.num_rows) if row not in faults.rows]
            columns, _ = shaped(
                fields, {column: [values[row] for row in sound] for column, values in raw.items()}
            )
        refusals = refusals_of(name, range(first + 1, read + 1), faults)
        yield Batch(table, columns, read, refusals, made_missing=faults.made_missing)


def _weight(column: Any) -> int:  # noqa: ANN401
    """Bytes of a column's values, each record's text counted in full."""
    from pyarrow import compute, types

    if not types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = compute.binary_length(column.dictionary).take(column.indices)
    return int(compute.sum(compute.cast(lengths, "int64")).as_py() or 0)


def _values(piece: Any) -> tuple[dict[str, list[object]], set[int]]:  # noqa: ANN401
    """Columns as Python's values, and the records whose date Python cannot hold."""
    from pyarrow import types

    values: dict[str, list[object]] = {}
    bad: set[int] = set()
    for name in piece.schema.names:
        column = piece.column(name)
        if types.is_dictionary(column.type):
            texts = [*_texts(column.dictionary), None]
            indices = column.indices.fill_null(len(texts) - 1).to_pylist()
            values[name] = [texts[index] for index in indices]
            continue
        if types.is_duration(column.type):
            counts = column.cast("int64").to_pylist()
            per_second = PER_SECOND[column.type.unit]
            values[name] = [None if count is None else count / per_second for count in counts]
            continue
        try:
            values[name] = column.to_pylist()
        except (OverflowError, ValueError):
            values[name] = [_one(value, row, bad) for row, value in enumerate(column)]
    return values, bad


def _texts(column: Any) -> list[object]:  # noqa: ANN401
    """Texts; one that is not UTF-8 is its own record's fault, which `shape` finds."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        encoded = column.cast("binary").to_pylist()
        return [None if text is None else text.decode("utf-8", "surrogateescape") for text in encoded]


def _one(value: Any, row: int, bad: set[int]) -> object:  # noqa: ANN401
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        bad.add(row)
        return None

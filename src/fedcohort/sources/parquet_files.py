"""Parquet as a source, by pyarrow: one row group after another, in batches."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fedcohort.columns import Numeric
from fedcohort.errors import ConfigError, DataError, SchemaError
from fedcohort.sources.batch import Batch, Part, Refusal, Source
from fedcohort.sources.files import digest_of, files_of
from fedcohort.sources.mapping import MappedTable
from fedcohort.sources.schema import PATIENT_ID, Declared
from fedcohort.sources.shape import Field, refusals_of, shaped

BATCH_ROWS = 20_000
ENDINGS = (".parquet", ".pq")


def parquet_source(place: Path, table: str, mapping: MappedTable | None) -> Source:
    """One file or a folder of files, all into one table.

    Raises:
        ConfigError: there is no such file, or pyarrow is not installed.
        DataError, SchemaError: the first file cannot be read, or names no patients.
    """
    files = files_of(place, *ENDINGS)
    fields = mapping.fields if mapping is not None else _fields_of(files[0])
    declared = {one.name: one.declared for one in fields if one.declared is not None}
    root = place if place.is_dir() else place.parent
    parts = []
    for path in files:
        name = str(path.relative_to(root))
        parts.append(Part(name, partial(digest_of, path), partial(_batches, path, name, table, fields)))
    return Source({table: declared}, parts)


def _open(path: Path) -> Any:  # noqa: ANN401 - pyarrow has no types
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        raise ConfigError("Parquet needs pyarrow: pip install 'fedcohort[files]'") from None
    try:
        return parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError, ValueError):
        raise DataError(f"{path.name}: not a Parquet file, or damaged; ask for it again") from None


def _fields_of(path: Path) -> list[Field]:
    """Numbers without bounds, and texts, as the file's own schema says."""
    import pyarrow

    with _open(path) as file:
        schema = file.schema_arrow
    if PATIENT_ID not in schema.names:
        raise SchemaError(
            f"{path.name}: has no column {PATIENT_ID}; say in a mapping file which one names the patient"
        )
    types = pyarrow.types
    kinds = (types.is_integer, types.is_floating, types.is_boolean, types.is_decimal)
    fields = []
    for column in schema:
        number = column.name != PATIENT_ID and any(kind(column.type) for kind in kinds)
        fields.append(Field(column.name, column.name, Declared(Numeric()) if number else None))
    return fields


def _batches(path: Path, name: str, table: str, fields: Sequence[Field], done: int) -> Iterator[Batch]:
    import pyarrow

    try:
        with _open(path) as file:
            lacking = [one.source for one in fields if one.source not in file.schema_arrow.names]
            if lacking:
                raise SchemaError(f"has no column {', '.join(lacking)}; correct the mapping or the file")
            yield from _read(file, name, table, fields, done)
    except (DataError, pyarrow.ArrowException, OSError) as error:
        reason = str(error) if isinstance(error, DataError) else "is damaged behind this record"
        yield Batch(table, {}, done, (Refusal(name, f"after record {done}", "", reason),))


def _read(file: Any, name: str, table: str, fields: Sequence[Field], done: int) -> Iterator[Batch]:  # noqa: ANN401
    read = 0
    for group in file.iter_batches(BATCH_ROWS, columns=[one.source for one in fields]):
        before, read = read, read + group.num_rows
        if read <= done:
            continue
        piece = group.slice(max(0, done - before))
        first = read - piece.num_rows
        raw = {column: piece.column(column).to_pylist() for column in piece.schema.names}
        found, faults = shaped(fields, raw)
        yield Batch(table, found, read, refusals_of(name, range(first + 1, read + 1), faults))

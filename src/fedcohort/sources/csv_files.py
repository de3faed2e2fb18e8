"""CSV (RFC 4180 and what hospitals make of it) as a source: every record in its place, or refused with it.

Python's own reader, which knows quotes, line breaks in fields and where each record stands;
columns are converted whole (see `shape`). A formula stays the text that it is.
"""

import contextlib
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

from fedcohort.columns import Numeric
from fedcohort.errors import DataError, SchemaError
from fedcohort.sources.batch import Batch, Part, Refusal, Source
from fedcohort.sources.files import digest_of, files_of, text_of
from fedcohort.sources.mapping import MappedTable
from fedcohort.sources.schema import PATIENT_ID, Declared
from fedcohort.sources.shape import Field, refusals_of, shaped

BATCH_ROWS = 20_000
SAMPLE_ROWS = 10_000
MAX_FIELD = 2**20
MAX_COLUMNS = 4096
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class Dialect:
    """How a file is written; None: by its beginning."""

    encoding: str | None = None
    delimiter: str | None = None


def csv_source(place: Path, table: str, mapping: MappedTable | None, dialect: Dialect = Dialect()) -> Source:
    """One file or a folder of files, all into one table.

    Args:
        mapping: names, units and codes; without one columns keep their names, numbers have no bounds and
            texts no levels, as far as the first records tell.
    Raises:
        ConfigError: there is no such file, or no such encoding.
        SchemaError: a header lacks a column, or names one twice.
    """
    files = files_of(place, *ENDINGS)
    fields = mapping.fields if mapping is not None else _fields_of(files[0], dialect)
    declared = {one.name: one.declared for one in fields if one.declared is not None}
    root = place if place.is_dir() else place.parent
    parts = [_part(path, str(path.relative_to(root)), table, fields, dialect) for path in files]
    return Source({table: declared}, parts)


def _part(path: Path, name: str, table: str, fields: Sequence[Field], dialect: Dialect) -> Part:
    packed = path.suffix == ".gz"
    return Part(
        name,
        partial(digest_of, path),
        partial(_batches, path, name, table, fields, dialect),
        path.stat().st_size,
        None if packed else partial(digest_of, path),
    )


def _open(path: Path, dialect: Dialect) -> tuple[IO[str], "Iterator[list[str]]", list[str]]:
    """The file, its records, and its header.

    Raises:
        DataError, SchemaError: it has no header that can be read.
    """
    csv.field_size_limit(MAX_FIELD)
    file = text_of(path, dialect.encoding)
    try:
        first = file.readline(MAX_FIELD)
        delimiter = dialect.delimiter or max(",;\t|", key=first.count)
        header = next(csv.reader([first], delimiter=delimiter), [])
    except (csv.Error, UnicodeError, DataError) as error:
        file.close()
        raise DataError(f"{path.name}: its first line is no header ({error})") from None
    names = [name.strip() for name in header]
    if not names or len(names) > MAX_COLUMNS or len(set(names)) < len(names):
        file.close()
        raise SchemaError(f"{path.name}: its first line must name each column once")
    return file, csv.reader(file, delimiter=delimiter), names


def _fields_of(path: Path, dialect: Dialect) -> list[Field]:
    """What the first records tell about the columns: numbers or texts."""
    file, reader, names = _open(path, dialect)
    with file:
        rows: list[list[str]] = []
        # What is wrong behind is told when it is read.
        with contextlib.suppress(DataError, UnicodeError):
            rows.extend(row for row in islice(_records(reader), SAMPLE_ROWS) if len(row) == len(names))
    if PATIENT_ID not in names:
        raise SchemaError(
            f"{path.name}: has no column {PATIENT_ID}; say in a mapping file which one names the patient"
        )
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    return [Field(name, name, _declared(name, values)) for name, values in columns.items()]


def _declared(name: str, values: Sequence[str]) -> Declared | None:
    known = [value for value in values if value.strip()]
    if name == PATIENT_ID or not known:
        return None
    try:
        _ = [float(value) for value in known]
    except ValueError:
        return None
    return Declared(Numeric())


class _Broken(list[str]):
    """In place of a record that cannot be read: why."""


def _records(reader: "Iterator[list[str]]") -> Iterator[list[str]]:
    """Every record; one that the reader refuses comes as `_Broken`, and the next goes on behind it."""
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _Broken([str(error)])


def _batches(
    path: Path, name: str, table: str, fields: Sequence[Field], dialect: Dialect, done: int
) -> Iterator[Batch]:
    try:
        file, reader, names = _open(path, dialect)
    except (DataError, SchemaError) as error:
        yield Batch(table, {}, done, (Refusal(name, "line 1", "", str(error)),))
        return
    lacking = [one.source for one in fields if one.source not in names]
    with file:
        if lacking:
            reason = f"the header has no column {', '.join(lacking)}; correct the mapping or the file"
            yield Batch(table, {}, done, (Refusal(name, "line 1", "", reason),))
            return
        records, read = _records(reader), 0
        try:
            for _ in islice(records, done):
                read += 1
            while rows := list(islice(records, BATCH_ROWS)):
                yield _batch(name, table, fields, names, rows, read)
                read += len(rows)
        except (DataError, UnicodeError) as error:
            reason = str(error) if isinstance(error, DataError) else "not in the file's encoding; name it"
            yield Batch(table, {}, read, (Refusal(name, f"after record {read}", "", reason),))


def _batch(
    file: str,
    table: str,
    fields: Sequence[Field],
    names: Sequence[str],
    rows: Sequence[list[str]],
    before: int,
) -> Batch:
    width, refusals, read = len(names), [], before + len(rows)
    places: Sequence[int] = range(before + 1, read + 1)
    if set(map(len, rows)) != {width} or _Broken in set(map(type, rows)):
        numbered = list(zip(places, rows, strict=True))
        reasons = ((number, _why(row, width)) for number, row in numbered)
        refusals = [Refusal(file, f"record {number}", "", reason) for number, reason in reasons if reason]
        good = [(number, row) for number, row in numbered if row and not _why(row, width)]
        places, rows = [number for number, _ in good], [row for _, row in good]
    if not rows:
        return Batch(table, {}, read, refusals)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    found, faults = shaped(fields, columns)
    refusals += refusals_of(file, places, faults)
    return Batch(table, found, read, refusals)


def _why(row: Sequence[str], width: int) -> str:
    """Why a record cannot be taken apart; empty when it can."""
    if isinstance(row, _Broken):
        long = f"a field of more than {MAX_FIELD} characters, or a quote that does not close"
        return long if "field larger" in row[0] else row[0]
    # A line without anything is no record.
    return f"has {len(row)} fields where the header has {width}" if row and len(row) != width else ""

"""CSV (RFC 4180 and what hospitals make of it) as a source: every record in its place, or refused with it.

Python's own reader, which knows quotes, line breaks in fields and where each record stands;
columns are converted whole (see `shape`). A formula stays the text that it is.
"""

import contextlib
import csv
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import TextIOWrapper
from itertools import islice
from pathlib import Path

from fedcohort.columns import Numeric
from fedcohort.errors import DataError, SchemaError
from fedcohort.sources.batch import Batch, Part, Refusal, Source
from fedcohort.sources.csv_fast import sound_batches
from fedcohort.sources.csv_records import MAX_FIELD, Broken, records
from fedcohort.sources.files import Content, files_of, raw_of, text_of
from fedcohort.sources.mapping import MappedTable
from fedcohort.sources.schema import PATIENT_ID, Declared
from fedcohort.sources.shape import Field, refusals_of, shaped

BATCH_ROWS = 20_000
SAMPLE_ROWS = 10_000
MAX_COLUMNS = 4096
_CODE = re.compile(r"^\s*0\d", re.MULTILINE)
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


@dataclass(frozen=True)
class Dialect:
    """How a file is written; None: by its beginning."""

    encoding: str | None = None
    delimiter: str | None = None


def csv_source(
    place: Path,
    table: str,
    mapping: MappedTable | None,
    dialect: Dialect = Dialect(),
    patient: str = PATIENT_ID,
    numbers: Collection[str] | None = None,
) -> Source:
    """One file or a folder of files, all into one table.

    Args:
        mapping: names, units and codes; without one columns keep their names, numbers have no bounds and
            texts no levels, as far as the first records tell.
        patient, numbers: without a mapping, the column that names the patient, and those that hold numbers;
            None: as the first records tell.
    Raises:
        ConfigError: there is no such file, or no such encoding.
        SchemaError: a header lacks a column, or names one twice.
    """
    files = files_of(place, *ENDINGS)
    fields = mapping.fields if mapping is not None else _fields_of(files, dialect, patient, numbers)
    declared = {one.name: one.declared for one in fields if one.declared is not None}
    root = place if place.is_dir() else place.parent
    parts = [_part(path, str(path.relative_to(root)), table, fields, dialect) for path in files]
    return Source({table: declared}, parts)


def _part(path: Path, name: str, table: str, fields: Sequence[Field], dialect: Dialect) -> Part:
    content = Content(path)
    batches = partial(_batches, path, name, table, fields, dialect)
    return Part(name, table, content.digest, batches, content.size, content.prefix)


@dataclass(frozen=True)
class Opened:
    """A file whose header has been read."""

    file: TextIOWrapper
    delimiter: str
    names: list[str]


def _open(path: Path, dialect: Dialect) -> Opened:
    """Read a file's header.

    Raises:
        DataError, SchemaError: it has none that can be read.
    """
    csv.field_size_limit(MAX_FIELD)
    file = text_of(path, dialect.encoding)
    try:
        first = file.readline(MAX_FIELD)
        delimiter = dialect.delimiter or max(",;\t|", key=first.count)
        header = next(csv.reader([first], delimiter=delimiter, strict=True), [])
    except (csv.Error, UnicodeError, DataError) as error:
        file.close()
        raise DataError(f"its first line is no header ({error})") from None
    names = [name.strip() for name in header]
    if not names or len(names) > MAX_COLUMNS or len(set(names)) < len(names):
        file.close()
        raise SchemaError("its first line must name each column once")
    if any(0xD800 <= ord(letter) < 0xE000 for name in names for letter in name):  # bytes that are no text
        file.close()
        raise SchemaError(f"its first line is not text in {dialect.encoding or 'UTF-8'}; say its --encoding")
    return Opened(file, delimiter, names)


def _first_of(files: Sequence[Path], dialect: Dialect) -> tuple[Path, Opened]:
    """The first file that has a header; the others are refused when their turn comes.

    Raises:
        DataError, SchemaError: none has one; says what is wrong with the first.
    """
    errors: list[DataError] = []
    for path in files:
        try:
            return path, _open(path, dialect)
        except DataError as error:
            errors.append(type(error)(f"{path.name}: {error}"))
    raise errors[0]


def _fields_of(
    files: Sequence[Path], dialect: Dialect, patient: str, numbers: Collection[str] | None
) -> list[Field]:
    """What the first records tell about the columns: numbers or texts; one without a name is left out."""
    path, opened = _first_of(files, dialect)
    names = opened.names
    with opened.file:
        rows: list[list[str]] = []
        # What is wrong behind is told when it is read.
        with contextlib.suppress(DataError, UnicodeError):
            found = islice(records(opened.file, opened.delimiter, len(names)), SAMPLE_ROWS)
            rows.extend(row for row in found if not isinstance(row, Broken) and len(row) == len(names))
    if patient not in names:
        raise SchemaError(
            f"{path.name}: has no column {patient}; say in a mapping file which one names the patient"
        )
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    columns.pop(patient)
    columns.pop("", None)  # behind a delimiter that ends every line
    known = {name: Declared(Numeric()) for name in numbers or ()}
    kinds = {
        name: _declared(values) if numbers is None else known.get(name) for name, values in columns.items()
    }
    return [Field(PATIENT_ID, patient), *(Field(name, name, kind) for name, kind in kinds.items())]


def _declared(values: Sequence[str]) -> Declared | None:
    """A number where all values are; a code such as 0042 is none."""
    if _CODE.search("\n".join(values)):
        return None
    try:
        known = list(map(float, filter(str.strip, values)))
    except ValueError:
        return None
    return Declared(Numeric()) if known else None


def _batches(
    path: Path, name: str, table: str, fields: Sequence[Field], dialect: Dialect, done: int
) -> Iterator[Batch]:
    try:
        opened = _open(path, dialect)
    except (DataError, SchemaError) as error:
        yield Batch(table, {}, done, (Refusal(name, "line 1", "", str(error)),), broken=True)
        return
    lacking = [one.source for one in fields if one.source not in opened.names]
    with opened.file:
        if lacking:
            reason = f"the header has no column {', '.join(lacking)}; correct the mapping or the file"
            yield Batch(table, {}, done, (Refusal(name, "line 1", "", reason),))
            return
        done, whole = yield from _sound(path, opened, name, table, fields, done)
        if not whole:
            yield from _one_by_one(opened, name, table, fields, done)


def _sound(
    path: Path, opened: Opened, name: str, table: str, fields: Sequence[Field], done: int
) -> Generator[Batch, None, tuple[int, bool]]:
    """Batches of sound records, by Arrow; returns how many are done, and whether that is all of them."""
    if opened.file.encoding != "utf-8-sig":
        return done, False
    read = 0
    with raw_of(path) as raw:
        if b"\r" in raw.readline(MAX_FIELD).rstrip(b"\r\n"):  # the header; its line ends may be of an old Mac
            return done, False
        for count, found, faults in sound_batches(raw, opened.names, opened.delimiter, fields):
            if count == 0:
                return max(done, read), read >= done
            before, read = read, read + count
            if before < done < read:
                return done, False
            if read > done:
                yield Batch(table, found, read, refusals_of(name, range(before + 1, read + 1), faults))
    return max(done, read), False


def _one_by_one(opened: Opened, name: str, table: str, fields: Sequence[Field], done: int) -> Iterator[Batch]:
    """All batches behind the first `done` records, by Python's reader."""
    found, read, why = records(opened.file, opened.delimiter, len(opened.names)), done, ""
    passed, why = _some(found, done)
    more = len(passed) == done
    while more and not why:
        rows, why = _some(found, BATCH_ROWS)
        if more := bool(rows):
            yield _batch(name, table, fields, opened.names, rows, read)
            read += len(rows)
    if why:
        yield Batch(table, {}, read, (Refusal(name, f"after record {read}", "", why),), broken=True)


def _some(found: Iterator[list[str]], most: int) -> tuple[list[list[str]], str]:
    """The next records, and why there can be no more of them; empty when there can."""
    rows: list[list[str]] = []
    try:
        rows.extend(islice(found, most))
    except DataError as error:
        return rows, str(error)
    except UnicodeError:
        return rows, "not in the file's encoding; name it"
    return rows, ""


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
    if set(map(len, rows)) != {width} or Broken in set(map(type, rows)):
        numbered = list(zip(places, rows, strict=True))
        reasons = ((number, _why(row, width)) for number, row in numbered)
        refusals = [Refusal(file, f"record {number}", "", reason) for number, reason in reasons if reason]
        good = [(number, row) for number, row in numbered if not _why(row, width)]
        places, rows = [number for number, _ in good], [row for _, row in good]
    if not rows:
        return Batch(table, {}, read, refusals)
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    found, faults = shaped(fields, columns)
    refusals += refusals_of(file, places, faults)
    return Batch(table, found, read, refusals)


def _why(row: Sequence[str], width: int) -> str:
    """Why a record cannot be taken apart; empty when it can."""
    if isinstance(row, Broken):
        return row[0]
    return "" if len(row) == width else f"has {len(row)} fields where the header has {width}"

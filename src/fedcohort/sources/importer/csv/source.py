"""CSV (RFC 4180 and what hospitals make of it) as a source: every record in its place, or refused with it.

Python's own reader, which knows quotes, line breaks in fields and where each record stands;
columns are converted whole (see `shape`). A formula stays the text that it is.
"""

import contextlib
from codecs import BOM_UTF8
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from fedcohort.errors import DataError, SchemaError
from fedcohort.sources.catalogue.schema import PATIENT_ID
from fedcohort.sources.importer.batch import Batch, Part, Refusal, Source
from fedcohort.sources.importer.csv.fast import sound_batches
from fedcohort.sources.importer.csv.opening import BY_ITS_BEGINNING, Dialect, Opened, open_csv, plain_name
from fedcohort.sources.importer.csv.records import Broken, records
from fedcohort.sources.importer.csv.sample import Columns, Sampled, numeric_by_name, undeclared
from fedcohort.sources.importer.doubts import SAMPLE_ROWS, ask
from fedcohort.sources.importer.files import Content, files_of, raw_of
from fedcohort.sources.importer.mapping import MappedTable
from fedcohort.sources.importer.numbers import PLAIN, Writing
from fedcohort.sources.importer.values import NUMBERED, Field, numbers, refusals_of, shaped

BATCH_ROWS = 20_000
ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")


def csv_source(
    place: Path,
    table: str,
    mapping: MappedTable | None,
    dialect: Dialect = BY_ITS_BEGINNING,
    patient: str = PATIENT_ID,
    numbers: Collection[str] | None = None,
    writing: Writing = PLAIN,
) -> Source:
    """One file or a folder of files, all into one table.

    Args:
        mapping: names, units and codes; without one columns keep their names, numbers have no bounds and
            texts no levels, as far as the first records tell.
        patient, numbers: without a mapping, the column that names the patient (NUMBERED: none does, and a
            record is a patient), and those that hold numbers; None: as the first records tell.
        writing: without a mapping, how numbers are written.
    Raises:
        ConfigError: there is no such file, or no such encoding.
        SchemaError: a header lacks a column, or names one twice; or numbers can be read in two ways.
    """
    files = files_of(place, *ENDINGS)
    asked = Asked(
        mapping, mapping.patient_id if mapping else patient, numbers, mapping.writing if mapping else writing
    )
    reading = _sampled(files, dialect, asked)
    declarations = {field.name: field.declared for field in reading.fields if field.declared is not None}
    root = place if place.is_dir() else place.parent
    parts = [_part(path, str(path.relative_to(root)), table, reading.fields, dialect) for path in files]
    return Source({table: declarations}, parts, reading.notes)


@dataclass(frozen=True)
class Asked:
    """What is said about a file's columns, as `csv_source` takes it."""

    mapping: MappedTable | None
    patient: str
    numbers: Collection[str] | None
    writing: Writing


def _part(path: Path, name: str, table: str, fields: Sequence[Field], dialect: Dialect) -> Part:
    content = Content(path)
    batches = partial(_batches, path, name, table, fields, dialect, content)
    return Part(name, table, content.digest, batches, content.size, content.prefix)


def _first_of(files: Sequence[Path], dialect: Dialect, patient: str) -> tuple[Path, Opened]:
    """The first file that has a header; the others are refused when their turn comes.

    Raises:
        DataError, SchemaError: none has one; says what is wrong with the first.
    """
    errors: list[DataError] = []
    for path in files:
        try:
            return path, open_csv(path, dialect, None if patient == NUMBERED else patient)
        except DataError as error:
            errors.append(type(error)(f"{path.name}: {error}"))
    raise errors[0]


def _sampled(files: Sequence[Path], dialect: Dialect, asked: Asked) -> Sampled:
    """How the columns are read: as a mapping says, and by the first records of the first file."""
    try:
        path, opened = _first_of(files, dialect, asked.patient)
    except DataError:
        if asked.mapping is None or asked.mapping.others:
            raise
        return Sampled(asked.mapping.fields)  # each is refused when its turn comes
    names = opened.names
    with opened.file:
        rows: list[list[str]] = []
        # What is wrong behind them is reported when it is read.
        with contextlib.suppress(DataError, UnicodeError):
            source_records = islice(records(opened.file, opened.delimiter, len(names)), SAMPLE_ROWS)
            rows.extend(
                row for row in source_records if not isinstance(row, Broken) and len(row) == len(names)
            )
    columns: dict[str, tuple[str, ...]] = dict.fromkeys(names, ())
    if rows:
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    columns.pop("", None)  # behind a delimiter that ends every line
    if asked.patient == NUMBERED:
        columns[NUMBERED] = tuple(map(str, range(len(rows))))
    try:
        reading = _fields(columns, asked)
    except SchemaError as error:
        raise SchemaError(f"{path.name}: {error}") from None
    where = f"{path.name}: the header is line {opened.before + 1}; what stands before it is no record"
    return replace(reading, notes=[*([where] if opened.before else []), *reading.notes])


def _fields(columns: Columns, asked: Asked) -> Sampled:
    mapping, patient = asked.mapping, asked.patient
    if mapping is not None:
        ask(mapping.fields, columns)
        if not mapping.others:
            return Sampled(mapping.fields)
    if patient not in columns:
        raise SchemaError(
            f"has no column {patient}; say in a mapping file which one names the patient: "
            'patient_id = "…" and others = true below its table, or, where each record is a patient of its '
            "own, --number-patients"
        )
    if asked.numbers is not None:
        return numeric_by_name(columns, patient, asked.numbers)
    mapped = [] if mapping is None else mapping.fields
    named = {field.source for field in mapped} | {field.name for field in mapped}
    others = {name: values for name, values in columns.items() if name == patient or name not in named}
    reading = undeclared(others, patient, asked.writing, has_mapping=mapping is not None)
    return replace(reading, fields=[*mapped, *reading.fields[1:]]) if mapped else reading


def _batches(
    path: Path,
    name: str,
    table: str,
    fields: Sequence[Field],
    dialect: Dialect,
    content: Content,
    done: int,
) -> Iterator[Batch]:
    numbered = fields[0].source == NUMBERED
    try:
        opened = open_csv(path, dialect, None if numbered else fields[0].source)
    except (DataError, SchemaError) as error:
        yield Batch(table, {}, done, (Refusal(name, "line 1", "", str(error)),), broken=True)
        return
    fields = [replace(field, source=plain_name(field.source)) for field in fields]
    lacking = [field.source for field in fields if field.source not in (*opened.names, NUMBERED)]
    with opened.file:
        if lacking:
            reason = f"the header has no column {', '.join(lacking)}; correct the mapping or the file"
            yield Batch(table, {}, done, (Refusal(name, "line 1", "", reason),))
            return
        if numbered:
            yield from _one_by_one(opened, name, table, fields, done, content.digest())
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
        head = opened.head.encode(errors="surrogateescape")
        start = raw.read(min(len(head), len(BOM_UTF8)))
        raw.read(len(head) - (0 if start == BOM_UTF8 else len(start)))
        if b"\r" in head.replace(b"\r\n", b"\n"):  # line ends of an old Mac
            return done, False
        for count, values, faults in sound_batches(raw, opened.names, opened.delimiter, fields):
            if count == 0:
                return max(done, read), read >= done
            before, read = read, read + count
            if before < done < read:
                return done, False
            if read > done:
                refusals = refusals_of(name, range(before + 1, read + 1), faults)
                yield Batch(table, values, read, refusals, made_missing=faults.made_missing)
    return max(done, read), False


def _one_by_one(
    opened: Opened, name: str, table: str, fields: Sequence[Field], done: int, digest: str = ""
) -> Iterator[Batch]:
    """All batches behind the first `done` records, by Python's reader; with a digest records are numbered."""
    source_records, read, why = records(opened.file, opened.delimiter, len(opened.names)), done, ""
    passed, why = _some(source_records, done)
    more = len(passed) == done
    while more and not why:
        rows, why = _some(source_records, BATCH_ROWS)
        if more := bool(rows):
            yield _batch(name, table, fields, opened.names, rows, read, digest)
            read += len(rows)
    if why:
        yield Batch(table, {}, read, (Refusal(name, f"after record {read}", "", why),), broken=True)


def _some(source_records: Iterator[list[str]], most: int) -> tuple[list[list[str]], str]:
    """The next records, and why there can be no more of them; empty when there can."""
    rows: list[list[str]] = []
    try:
        rows.extend(islice(source_records, most))
    except DataError as error:
        return rows, str(error)
    except UnicodeError:
        return rows, "not in the encoding it is read in; say its --encoding"
    return rows, ""


def _batch(
    file: str,
    table: str,
    fields: Sequence[Field],
    names: Sequence[str],
    rows: Sequence[list[str]],
    before: int,
    digest: str,
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
    columns: dict[str, Sequence[str]] = dict(zip(names, zip(*rows, strict=True), strict=True))
    if digest:
        columns[NUMBERED] = numbers(digest, places)
    values, faults = shaped(fields, columns)
    refusals += refusals_of(file, places, faults)
    return Batch(table, values, read, refusals, made_missing=faults.made_missing)


def _why(row: Sequence[str], width: int) -> str:
    """Why a record cannot be taken apart; empty when it can."""
    if isinstance(row, Broken):
        return row[0]
    return "" if len(row) == width else f"has {len(row)} fields where the header has {width}"

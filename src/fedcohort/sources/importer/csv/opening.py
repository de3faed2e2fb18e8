"""The beginning of a CSV file: its encoding, what stands before its header, and the header itself.

Programs write more than RFC 4180 knows: `sep=;` for a spreadsheet, a report's title and date, a
header whose names have line breaks.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from fedcohort.errors import DataError, SchemaError
from fedcohort.sources.importer.csv.records import MAX_FIELD
from fedcohort.sources.importer.files import format_of, text_of

MAX_COLUMNS = 4096
HEAD_LINES = 100
"""Where a header may stand, and the lines that it may have itself."""
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
_BREAK = re.compile(r"\s*[\r\n]+\s*")


@dataclass(frozen=True)
class Dialect:
    """How a file is written; None: by its beginning."""

    encoding: str | None = None
    delimiter: str | None = None


BY_ITS_BEGINNING = Dialect()


@dataclass(frozen=True)
class Opened:
    """A file whose header has been read.

    Attributes:
        head: all that stands before the first record, the header included.
        before: lines before the header.
    """

    file: TextIOWrapper
    delimiter: str
    names: list[str]
    head: str
    before: int


def open_csv(path: Path, dialect: Dialect, patient: str | None) -> Opened:
    """Read a file up to its header: the first line that names the patient's column, or else the first line.

    Raises:
        DataError, SchemaError: it has none that can be read.
    """
    csv.field_size_limit(MAX_FIELD)
    if other := format_of(path):
        raise DataError(other)
    file = text_of(path, dialect.encoding)
    try:
        opened = _header(file, dialect.delimiter, patient)
        unnamed = None if opened else patient
        if opened is None and patient is not None:
            file.close()
            file = text_of(path, dialect.encoding)
            opened = _header(file, dialect.delimiter, None)
        opened = opened or Opened(file, "", [], "", 0)
        _check(opened.names, dialect, unnamed)
    except (csv.Error, UnicodeError) as error:
        file.close()
        raise DataError(f"its first line is no header ({error})") from None
    except DataError:
        file.close()
        raise
    return opened


def _header(file: TextIOWrapper, delimiter: str | None, patient: str | None) -> Opened | None:
    """The first line that names the patient, or the very first; None where there is none such.

    Raises:
        csv.Error: the very first line cannot be taken apart.
    """
    lines = _Lines(file)
    while lines.count < HEAD_LINES:
        before = lines.count
        try:
            first = next(lines)
        except StopIteration:
            return None
        if separator := _SEPARATOR.fullmatch(first):
            delimiter = delimiter or separator[1]
            continue
        own = delimiter or max(",;\t|", key=first.count)
        try:
            names = next(csv.reader(_behind(first, lines), delimiter=own, strict=True), [])
        except csv.Error:
            if patient is None:
                raise
            continue
        names = [plain_name(name) for name in names]
        if patient is None or plain_name(patient) in names:
            return Opened(file, own, names, "".join(lines.taken), before)
    return None


def plain_name(name: str) -> str:
    """A column's name in one line."""
    return _BREAK.sub(" ", name.strip())


class _Lines(Iterator[str]):
    """A file's first lines, bounded, and remembered."""

    def __init__(self, file: TextIOWrapper) -> None:
        self.taken: list[str] = []
        self._file = file
        self._size = 0

    @property
    def count(self) -> int:
        """Lines so far."""
        return len(self.taken)

    def __next__(self) -> str:
        line = self._file.readline(MAX_FIELD) if self.count < 2 * HEAD_LINES else ""
        self._size += len(line)
        if not line or self._size > MAX_FIELD:
            raise StopIteration
        self.taken.append(line)
        return line


def _behind(first: str, lines: Iterator[str]) -> Iterator[str]:
    yield first
    yield from lines


def _check(names: list[str], dialect: Dialect, unnamed: str | None) -> None:
    """Refuse what is no header.

    Args:
        unnamed: the patient's column, where no line names it.
    """
    if not names:
        raise SchemaError("it is empty; its first line must name each column once")
    if len(names) > MAX_COLUMNS or len(set(names)) < len(names):
        behind = f" (none of {HEAD_LINES} names {unnamed}; patient_id in a mapping file says another)"
        raise SchemaError(f"its first line must name each column once{behind if unnamed else ''}")
    if any(0xD800 <= ord(letter) < 0xE000 for name in names for letter in name):  # bytes that are no text
        raise SchemaError(f"its first line is not text in {dialect.encoding or 'UTF-8'}; say its --encoding")

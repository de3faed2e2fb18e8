"""The fast half of reading CSV: whole columns by Arrow, as long as every record is sound.

Arrow splits and converts in C, off Python's lock. What it cannot place exactly (a record of
another length or of several lines, bytes outside UTF-8, a quote that does not close) ends this
half; the other one (`csv_files`) goes on from there, record by record. A batch in which only
values do not fit is shaped like any other.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, TypeVar, cast

import numpy as np

from fedcohort.errors import DataError
from fedcohort.sources.importer.csv.columns import Made, are_numbers, is_read_at_once, quick
from fedcohort.sources.importer.values import Faults, Field, shaped

BLOCK_BYTES = 2**21
AT_ONCE = 1_000
"""Records whose values are made, and written, together: they fit into a processor's cache."""
_QUOTE, _LINE_FEED, _RETURN, _ZERO, _EXPONENT, _POINT = b'"\n\r0e.'
_SKIPPED, _ENDS = (np.isin(np.arange(256), list(octets)) for octets in (b" \t+-", b'"\n\r'))

Columns = dict[str, list[object]]


def sound_batches(
    raw: IO[bytes], names: Sequence[str], delimiter: str, fields: Sequence[Field]
) -> Iterator[tuple[int, Columns, Faults]]:
    """(records, columns, faults) of each batch behind the header, up to the first that is not sound.

    One of no records comes last when that was the end of the file; nothing at all without pyarrow.
    """
    reader = _Reader(names, delimiter, fields)
    try:
        import pyarrow.csv
    except ModuleNotFoundError:
        return
    try:
        for block, count, made in one_ahead(_checked_blocks(raw, reader)):
            if made is None:
                yield count, *_shaped(fields, _columns(reader.read(block, ())))
                continue
            for start in range(0, max(count, 1), AT_ONCE):
                part = slice(start, min(start + AT_ONCE, count))
                yield part.stop - start, {name: make(part) for name, make in made.items()}, Faults()
    except (DataError, pyarrow.ArrowException, OSError, ValueError):
        return


@dataclass(frozen=True)
class _Reader:
    """How Arrow takes blocks of a file apart."""

    names: Sequence[str]
    delimiter: str
    fields: Sequence[Field]

    def numeric(self) -> set[str]:
        """Columns that can be read as numbers at once, because they are nothing but numbers to all fields."""
        others = {field.source for field in self.fields if not is_read_at_once(field)}
        return {field.source for field in self.fields} - others

    def doubtful(self, block: bytes) -> set[str]:
        """Columns to be read as texts, for something of this block may look like a code or two numbers."""
        sampled = [field for field in self.fields if not field.is_declared]
        if not sampled or not _has_doubtful(
            block, ord(self.delimiter), any(not field.shows_decimals for field in sampled)
        ):
            return set()
        return {field.source for field in sampled}

    def read(self, block: bytes, numeric: Collection[str]) -> Any:  # noqa: ANN401 - pyarrow has no types
        """A block as a table of texts, but for the numeric columns.

        Raises:
            pyarrow.ArrowInvalid: records differ in length, or a numeric column holds something else.
        """
        import pyarrow
        from pyarrow import csv

        kinds = {name: pyarrow.float64() if name in numeric else pyarrow.string() for name in self.names}
        convert = csv.ConvertOptions(
            column_types=kinds,
            include_columns=list(dict.fromkeys(field.source for field in self.fields)),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        )
        read = csv.ReadOptions(block_size=len(block) + 1, column_names=list(self.names), use_threads=False)
        parse = csv.ParseOptions(delimiter=self.delimiter)
        return csv.read_csv(pyarrow.BufferReader(block), read, parse, convert)


def _tables(raw: IO[bytes], reader: _Reader) -> Iterator[tuple[bytes, Any]]:
    """Each sound block with what Arrow makes of it, up to the first that is not; None behind the last."""
    import pyarrow

    numeric, delimiter = reader.numeric(), reader.delimiter
    for block in _blocks(raw):
        if not (_looks_plain(block, delimiter.encode()) or _a_record_a_line(block, ord(delimiter))):
            return
        try:
            table = reader.read(block, numeric - reader.doubtful(block))
        except pyarrow.ArrowInvalid:
            table = reader.read(block, ())
            numeric = {name for name in numeric if are_numbers(table.column(name))}
        if table.num_rows != _lines(block) and not _a_record_a_line(block, ord(delimiter)):
            return
        yield block, table
    yield b"", None


def _checked_blocks(raw: IO[bytes], reader: _Reader) -> Iterator[tuple[bytes, int, dict[str, Made] | None]]:
    """Each sound block, how many records it has, and its columns if every value fits; none come last."""
    for block, table in _tables(raw, reader):
        if table is None:
            yield b"", 0, {}
        elif table.num_rows:
            yield block, table.num_rows, quick(reader.fields, _columns(table))


def _columns(table: Any) -> dict[str, Any]:  # noqa: ANN401
    columns = {name: table.column(name) for name in table.schema.names}
    return {
        name: chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
        for name, chunks in columns.items()
    }


Item = TypeVar("Item")


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, each made by another thread while the one before is used: Arrow works off Python's lock."""
    end = object()
    with ThreadPoolExecutor(1, "csv-reader") as worker:
        waiting = worker.submit(next, items, end)
        while (item := waiting.result()) is not end:
            waiting = worker.submit(next, items, end)
            yield cast(Item, item)


def _blocks(raw: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, about `BLOCK_BYTES` at once; a line of more than that ends it.

    Raises:
        DataError: a line is longer, or the file is broken.
    """
    rest = b""
    while data := raw.read(BLOCK_BYTES):
        lines, end, tail = data.rpartition(b"\n")
        if not end:
            raise DataError("a line is too long")
        yield rest + lines + end
        rest = tail
    if rest:
        yield rest


def _lines(block: bytes) -> int:
    return block.count(b"\n") + (not block.endswith(b"\n"))


def _looks_plain(block: bytes, delimiter: bytes) -> bool:
    """Whether every other quote opens a field: quick, and true of most files."""
    quotes = block.count(b'"')
    opening = block.count(delimiter + b'"') if quotes else 0
    return quotes == 2 * opening or quotes == 2 * (opening + block.count(b'\n"') + block.startswith(b'"'))


def _a_record_a_line(block: bytes, delimiter: int) -> bool:
    """Whether quotes stand around whole fields only, and none of them is open where a line ends."""
    octets = np.frombuffer(b"\n" + block + b"\n", dtype=np.uint8)
    quotes = np.flatnonzero(octets == _QUOTE)
    ends = np.flatnonzero((octets == _LINE_FEED) | (octets == _RETURN))
    if (np.searchsorted(quotes, ends) % 2).any():
        return False
    beside = np.array([_QUOTE, _LINE_FEED, _RETURN, delimiter], dtype=np.uint8)
    before, after = octets[quotes[::2] - 1], octets[quotes[1::2] + 1]
    return bool(np.isin(before, beside).all() and np.isin(after, beside).all())


def _has_doubtful(block: bytes, delimiter: int, points: bool) -> bool:
    """Whether a field may begin with a zero before a digit, or have an exponent or three decimals.

    Of whole arrays by comparisons alone, which take a thousandth of a second, off Python's lock.
    """
    octets = np.frombuffer(b"\n" + block + b"\n\n\n\n", dtype=np.uint8)
    digits = (octets - np.uint8(_ZERO)) < 10
    beside = digits[2:] & ((octets[1:-1] | np.uint8(32)) == _EXPONENT) & digits[:-2]
    if beside.any():
        return True
    begins = _SKIPPED | _ENDS
    begins[delimiter] = True
    before = np.flatnonzero((octets[1:-1] == _ZERO) & digits[2:])
    before = before[begins[octets[before]]]
    for _ in range(4):  # a blank or a sign begins a field only behind what ends one: not in 2020-01-05
        before = before - _SKIPPED[octets[before]]
    if begins[octets[before]].any():
        return True
    if not points:
        return False
    grouped = (octets[1:-4] == _POINT) & digits[:-5]  # three digits behind a point, and no fourth
    for later in (2, 3, 4):
        grouped &= digits[later : later - 5]
    return bool((grouped & ~digits[5:]).any())


def _shaped(fields: Sequence[Field], raw: Mapping[str, Any]) -> tuple[Columns, Faults]:
    made = quick(fields, raw)
    if made is not None:
        return {name: make(slice(None)) for name, make in made.items()}, Faults()
    return shaped(fields, {name: column.to_pylist() for name, column in raw.items()})

"""The records of a CSV file, one by one: whatever a quote or a line may hide, none of them vanishes.

Python's reader in its strict form knows where each record stands. A quote that does not close
would take all that follows into one field; here its record is refused, and the lines that it
swallowed are read again, each by itself.
"""

import csv
from collections import deque
from collections.abc import Iterator
from typing import Protocol

MAX_FIELD = 2**20
MAX_LINE = 2**22
MAX_RECORD = 2**23
"""Characters of a field, of a line, and of all lines of one record."""


class _Text(Protocol):
    def readline(self, size: int = -1, /) -> str:
        """The next line, or its first `size` characters."""
        ...


class Broken(list[str]):
    """In place of a record that cannot be read: why."""


class _Lines(Iterator[str]):
    """A file's lines, each bounded.

    Attributes:
        taken: those of the record that is being read.
        again: those to be read once more.
    """

    def __init__(self, file: _Text) -> None:
        self.taken: list[str] = []
        self.again: deque[str] = deque()
        self._file = file
        self._size = 0

    def begin(self) -> None:
        """The next line is a record's first."""
        self.taken, self._size = [], 0

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else self._file.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self._size += len(line)
        if len(line) == MAX_LINE and line[-1] not in "\r\n":
            while (rest := self._file.readline(MAX_LINE)) and rest[-1] not in "\r\n":
                pass
            raise csv.Error(f"a line of more than {MAX_LINE} characters")
        if self._size > MAX_RECORD:
            self.again.appendleft(line)
            raise csv.Error(f"more than {MAX_RECORD} characters; a quote may not close")
        self.taken.append(line)
        return line


def records(file: _Text, delimiter: str, width: int) -> Iterator[list[str]]:
    """Every record; one that cannot be read comes as `Broken`, and the next goes on behind it.

    Args:
        width: fields that a record should have.
    """
    lines = _Lines(file)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        lines.begin()
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Broken([_words(error)])
            yield from _swallowed(lines, delimiter)
            continue
        if len(lines.taken) > 1 and len(record) != width:
            yield Broken([f"has {len(record)} fields where the header has {width}, over several lines"])
            yield from _swallowed(lines, delimiter)
        elif len(lines.taken) > 1 and _like_records(lines.taken[1:], delimiter, width):
            yield Broken([f"{len(lines.taken)} lines that look like records are one; a quote may not close"])
        elif record:  # a line without anything is none
            yield record


def _swallowed(lines: _Lines, delimiter: str) -> Iterator[list[str]]:
    """Lines behind a broken record's first: those between each alone, the last as a record's beginning."""
    behind = lines.taken[1:]
    lines.again.extendleft(behind[-1:])
    for line in behind[:-1]:
        try:
            record = next(csv.reader([line], delimiter=delimiter, strict=True), [])
        except csv.Error as error:
            record = Broken([_words(error)])
        if record:
            yield record


def _like_records(behind: list[str], delimiter: str, width: int) -> bool:
    """Whether each line of a field has as many delimiters as a record: then it is one, most likely."""
    return width > 2 and all(line.count(delimiter) >= width - 1 for line in behind)


def _words(error: csv.Error) -> str:
    text = str(error)
    if "field larger" in text:
        return f"a field of more than {MAX_FIELD} characters, or a quote that does not close"
    if "unexpected end" in text:
        return "a quote does not close"
    return "text beside a quoted field, or a quote that does not close" if "expected after" in text else text

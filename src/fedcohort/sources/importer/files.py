"""Files for an import: found, hashed, and read with a bound on what compression may hide."""

import gzip
import hashlib
import io
import zlib
from functools import cached_property
from pathlib import Path
from typing import IO

from fedcohort.errors import ConfigError, DataError

BLOCK = 2**20
ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz", ".bz2", ".xz", ".xlsx", ".xls")
MAX_RATIO, FREE_BYTES = 200, 2**26
"""A file that unpacks to more than so many times its size is a bomb; small ones are let pass."""


def files_of(place: Path, *endings: str) -> list[Path]:
    """A file, or a folder's files with one of these endings, sorted; links out of the folder are left out.

    Raises:
        ConfigError: there is none.
    """
    if place.is_file():
        return [place]
    root = place.resolve()
    files = [
        path
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name.lower().endswith(endings) and path.resolve().is_relative_to(root)
    ]
    if not files:
        others = [path.name for path in place.rglob("*") if path.name.lower().endswith(ARCHIVES)]
        if others:
            raise ConfigError(
                f"{place}: {min(others)} is no CSV or Parquet file: unpack it, or save it as CSV"
            )
        raise ConfigError(f"{place}: no file, or a folder without any {' or '.join(endings)}")
    return files


def digest_of(path: Path, size: int | None = None) -> str:
    """SHA-256 of a file, or of its first `size` bytes.

    Raises:
        DataError: it cannot be read.
    """
    digest, left = hashlib.sha256(), size
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK if left is None else min(BLOCK, left)):
                digest.update(block)
                left = None if left is None else left - len(block)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return digest.hexdigest()


class Content:
    """What an import takes a file for: its bytes, unpacked, as far as they can be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _read(self) -> tuple[str, int]:
        """Digest and size; of a packed file that is cut off, up to its last whole line."""
        digest, size = hashlib.sha256(), 0
        lines, of_lines = digest, size
        try:
            with raw_of(self._path) as file:
                while block := file.read1(BLOCK):  # `read` would lose it where the file is cut off
                    whole, end, rest = block.rpartition(b"\n")
                    if end:
                        digest.update(whole + end)
                        lines, of_lines = digest.copy(), size + len(whole) + 1
                    digest.update(rest)
                    size += len(block)
        except DataError:
            # Where nothing of it can be read, it is what its packed bytes are.
            return (lines.hexdigest(), of_lines) if of_lines else (digest_of(self._path), 0)
        except OSError as error:
            raise DataError(f"{self._path}: {error.strerror}") from error
        return digest.hexdigest(), size

    def digest(self) -> str:
        """SHA-256.

        Raises:
            DataError: it cannot be read.
        """
        return self._read[0]

    def size(self) -> int:
        """In bytes."""
        return self._read[1]

    def prefix(self, size: int) -> str:
        """SHA-256 of the first `size` bytes; empty when a record may go on behind them, or they are missing.

        Whoever reads a file while it is written may have read half of its last record.
        """
        digest, left, last = hashlib.sha256(), size, b""
        try:
            with raw_of(self._path) as file:
                while left and (block := file.read(min(BLOCK, left))):
                    digest.update(block)
                    left, last = left - len(block), (last + block)[-2:]
                following = file.read(2)
        except DataError:
            return ""
        ends = last[-1:], following[:1], last[:1] if last[1:] == b"\0" else b""  # the third: UTF-16
        ended = bool({b"\n", b"\r"}.intersection(ends))
        return digest.hexdigest() if ended and not left else ""


class Unpacked(io.RawIOBase):
    """A gzip file's content, as long as it stays within bounds."""

    def __init__(self, file: gzip.GzipFile, size: int) -> None:
        self._file = file
        self._most = max(FREE_BYTES, MAX_RATIO * size)
        self._read = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer.

        Raises:
            DataError: it unpacks to too much, or is broken.
        """
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            data = self._file.read1(
                len(view)
            )  # what there is: `read` would lose it where the file is cut off
        except (OSError, EOFError, zlib.error):
            raise DataError("the compressed file is broken or cut off; ask for it again") from None
        self._read += len(data)
        if self._read > self._most:
            raise DataError(
                f"unpacks to more than {MAX_RATIO} times its size; unpack it yourself if it is right"
            )
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Give the file back."""
        self._file.close()
        super().close()


def text_of(path: Path, encoding: str | None) -> io.TextIOWrapper:
    """A text file, packed or not; bytes outside its encoding become surrogates, which `shape` finds.

    Raises:
        ConfigError: Python knows no such encoding.
        DataError: it cannot be read.
    """
    try:
        raw: IO[bytes] = raw_of(path)
        used = encoding or _encoding_of(path)
        errors = "replace" if used.startswith("utf-16") else "surrogateescape"
        return io.TextIOWrapper(raw, used, errors, newline="")
    except LookupError:
        raw.close()
        raise ConfigError(f"--encoding {encoding}: unknown; write such as utf-8, cp1252 or utf-16") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def raw_of(path: Path) -> io.BufferedReader:
    """A file's bytes, unpacked within bounds where it is packed."""
    if not is_packed(path):
        return path.open("rb")
    return io.BufferedReader(Unpacked(gzip.GzipFile(path, "rb"), path.stat().st_size), BLOCK)


def is_packed(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() == ".gz"


def _encoding_of(path: Path) -> str:
    """By the byte-order mark, or by the zeros that UTF-16 has beside every Latin letter; UTF-8 without."""
    start = _start_of(path)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    most = len(start) // 4  # half of the letters there are
    even, odd = start[::2].count(0), start[1::2].count(0)
    if even == 0 and odd > most:
        return "utf-16-le"
    return "utf-16-be" if odd == 0 and even > most else "utf-8-sig"


def _start_of(path: Path) -> bytes:
    """The first bytes, unpacked; none where they cannot be read."""
    with gzip.open(path, "rb") if is_packed(path) else path.open("rb") as file:
        try:
            return file.read(256)
        except (OSError, EOFError, zlib.error):
            return b""


_FORMATS = {
    b"PK\x03\x04": "is a ZIP archive: unpack it, and import the files in it",
    b"\x1f\x8b": "is packed by gzip under another name: let its name end in .csv.gz, and import it again",
    b"7z\xbc\xaf'\x1c": "is a 7-Zip archive: unpack it, and import the files in it",
    b"Rar!": "is a RAR archive: unpack it, and import the files in it",
    b"BZh": "is packed by bzip2: unpack it, and import the file in it",
    b"\xfd7zXZ\x00": "is packed by xz: unpack it, and import the file in it",
    b"\x28\xb5\x2f\xfd": "is packed by zstd: unpack it, and import the file in it",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook: save each sheet of it as CSV UTF-8, and import those",
    b"PAR1": "is a Parquet file: import it by `fedcohort data import parquet --from FILE --into DATABASE`",
    b"SQLite format 3\x00": "is a SQLite database: import its tables by "
    "`fedcohort data import sql --from sqlite:///FILE --origin TABLE --into DATABASE`",
    b"%PDF-": "is a PDF: ask for the table as CSV",
}
"""How files that are no text begin, and what to do with them (Gary Kessler's table of file signatures)."""


def format_of(path: Path) -> str:
    """What a file is and what to do with it, where it surely is no text; empty where it may be one."""
    try:
        start = _start_of(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    if start.startswith(b"PK\x03\x04") and path.suffix.lower() in (".xlsx", ".xlsm", ".ods"):
        return _FORMATS[b"\xd0\xcf\x11\xe0"]
    return next((name for sign, name in _FORMATS.items() if start.startswith(sign)), "")

"""Files for an import: found, hashed, and read with a bound on what compression may hide."""

import gzip
import hashlib
import io
import zlib
from pathlib import Path
from typing import IO

from fedcohort.errors import ConfigError, DataError

BLOCK = 2**20
MAX_BYTES = 2**40
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
    found = [
        path
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.name.lower().endswith(endings) and path.resolve().is_relative_to(root)
    ]
    if not found:
        raise ConfigError(f"{place}: no file, or a folder without any {' or '.join(endings)}")
    return found


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
            data = self._file.read(len(view))
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
        found = encoding or _encoding_of(path)
        errors = "replace" if found.startswith("utf-16") else "surrogateescape"
        return io.TextIOWrapper(raw, found, errors, newline="")
    except LookupError:
        raise ConfigError(f"--encoding {encoding}: unknown; write such as utf-8, cp1252 or utf-16") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error


def raw_of(path: Path) -> IO[bytes]:
    """A file's bytes, unpacked within bounds where it is packed."""
    if path.suffix != ".gz":
        return path.open("rb")
    return io.BufferedReader(Unpacked(gzip.GzipFile(path, "rb"), path.stat().st_size), BLOCK)


def _encoding_of(path: Path) -> str:
    """By the byte-order mark; UTF-8 without one."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        try:
            start = file.read(4)
        except (OSError, EOFError, zlib.error):
            start = b""
    return "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"

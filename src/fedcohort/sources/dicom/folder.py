"""Finding images: a file, a folder and all below it, or what a DICOMDIR names (PS3.10, 8; PS3.3, F.3).

Links are not followed, and nothing outside the folder is opened. Files come in the order of
their names, whatever order the file system has.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fedcohort.errors import ConfigError, DicomError
from fedcohort.sources.dicom.file import parse, read_bytes
from fedcohort.sources.dicom.values import DataSet

DICOMDIR = "DICOMDIR"
_RECORDS, _FILE_ID = 0x00041220, 0x00041500
MAX_DEPTH = 64


class FoundFile(NamedTuple):
    """A file, and its name relative to what was asked for."""

    path: Path
    name: str


def find(path: Path) -> Iterator[FoundFile]:
    """Every file to be read.

    Raises:
        ConfigError: a DICOMDIR cannot be read, or a folder cannot be listed.
    """
    if path.is_dir():
        yield from _below(path)
    elif path.name.upper() == DICOMDIR:
        yield from _listed(path)
    else:
        yield FoundFile(path, path.name)


def _below(folder: Path) -> Iterator[FoundFile]:
    """Depth first, without recursion; a DICOMDIR is passed over, for what it names is found anyway."""
    stack = [iter(_entries(folder))]
    while stack:
        entry = next(stack[-1], None)
        if entry is None:
            stack.pop()
        elif entry.is_dir(follow_symlinks=False):
            if len(stack) >= MAX_DEPTH:
                raise ConfigError(f"{folder}: folders are nested more than {MAX_DEPTH} deep")
            stack.append(iter(_entries(Path(entry.path))))
        elif not entry.is_symlink() and entry.name.upper() != DICOMDIR:
            path = Path(entry.path)
            yield FoundFile(path, path.relative_to(folder).as_posix())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ConfigError(f"{folder}: {error.strerror}; make the folder readable") from error


def _listed(path: Path) -> Iterator[FoundFile]:
    """The files that a DICOMDIR names, each once."""
    folder, seen = path.parent, set()
    try:
        records = parse(read_bytes(path)).items(_RECORDS)
        names = [name for record in records if (name := _file_name(record)) is not None]
    except DicomError as error:
        raise ConfigError(f"{path}: {error}; or give the folder itself by --from") from None
    for name in names:
        if name not in seen:
            seen.add(name)
            yield FoundFile(_inside(folder, name), name)


def _file_name(record: DataSet) -> str | None:
    """A record's path in small parts, none of which leads out of the folder."""
    parts = record.texts(_FILE_ID)
    if not parts:
        return None
    if any(not part or part in (".", "..") or set(part) & set("/\\:\0") for part in parts):
        raise record.refusal(_FILE_ID, "leads out of the folder")
    return "/".join(parts)


def _inside(folder: Path, name: str) -> Path:
    """The file, in whatever case the medium or the DICOMDIR has it; none where a link leads out."""
    path = folder
    for part in name.split("/"):
        path = _part(path, part)
    if path.exists() and not path.resolve().is_relative_to(folder.resolve()):
        return folder / DICOMDIR / name  # not there: the refusal tells
    return path


def _part(folder: Path, part: str) -> Path:
    """One step down: by the exact name, or the first that differs in case alone (with ISO 9660's version)."""
    exact = folder / part
    if exact.exists() or not folder.is_dir():
        return exact
    same_name = (entry.name for entry in _entries(folder) if entry.name.upper().split(";")[0] == part.upper())
    return folder / next(same_name, part)

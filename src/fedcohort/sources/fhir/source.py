"""Files of FHIR as a feed of the import of events: a part a file, in the order of their names."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.events.change import Record, Refusal
from fedcohort.sources.events.feed import EventFeed, EventPart
from fedcohort.sources.fhir.files import ENDINGS, FhirOptions, check_installed, medications_of, records_of
from fedcohort.sources.importer.files import digest_of


@dataclass
class FhirFeed:
    """A feed, and what has become of its files.

    Attributes:
        paths: of its parts.
        broken: those of them that could not be read to their end.
    """

    feed: EventFeed
    paths: Sequence[Path] = ()
    broken: set[Path] = field(default_factory=set)


def fhir_feed(place: Path, options: FhirOptions, source: str) -> FhirFeed:
    """A file, or a folder of them: Bundles, NDJSON and single resources.

    Args:
        options: whose medications are those of the files, whatever they were.
        source: which system the files are from.
    Raises:
        ConfigError: orjson is not installed, there is no such file, or too much that requests refer to.
    """
    check_installed()
    paths = _files(place)
    known = replace(options, medications=medications_of(paths))
    noted = hashlib.sha256(json.dumps(known.medications, sort_keys=True).encode()).hexdigest()
    root, broken = place if place.is_dir() else place.parent, set[Path]()
    parts = [_part(path, path.relative_to(root).as_posix(), known, noted, broken) for path in paths]
    return FhirFeed(EventFeed(source, parts), paths, broken)


def _files(place: Path) -> list[Path]:
    """Sorted by name; links, and what is hidden, are passed over.

    Raises:
        ConfigError: there are none.
    """
    if place.is_file():
        return [place]
    root = place.resolve()
    found = [
        path
        for path in sorted(place.rglob("*"))
        if path.name.lower().endswith(ENDINGS)
        and not path.name.startswith(".")
        and not path.is_symlink()
        and path.is_file()
        and path.resolve().is_relative_to(root)
    ]
    if not found:
        raise ConfigError(f"{place}: no file ending in {', '.join(ENDINGS)}; unpack archives, or name a file")
    return found


def _part(path: Path, name: str, options: FhirOptions, noted: str, broken: set[Path]) -> EventPart:
    def digest() -> str:
        """Of the file, and of the medications that it may refer to: with others it is read anew."""
        content = digest_of(path)
        return hashlib.sha256(f"{content} {noted}".encode()).hexdigest() if options.medications else content

    return EventPart(name, digest, partial(_records, path, options, broken))


def _records(path: Path, options: FhirOptions, broken: set[Path], done: int) -> Iterator[Record]:
    """The file's records; what is broken from some place on is refused from there."""
    try:
        yield from records_of(path, options, done)
    except DataError as error:
        broken.add(path)
        sentence = str(error).removeprefix(f"{path}: ")
        yield Record("the end", (Refusal("", "broken", sentence[:900]),))


def context_of(views: Sequence[Path], zone: str) -> str:
    """What else decides the outcome: under other views or another zone a file is read anew."""
    return "\n".join(["fhir", zone, *(digest_of(path) for path in views)])

"""Files of FHIR: NDJSON as Bulk Data has it, Bundles of any size, single resources; packed by gzip or not.

A line or an entry is one record; what cannot be read is refused with its place, and the rest is read. Memory
does not grow with a file: a document that is larger than `WHOLE_BYTES` is read entry by entry (ijson).

Source: FHIR R4, "Bundle" and "Resource References" (2.3.4.1, resolving references in bundles); ndjson.org.
"""

import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.events.change import Record, Refusal
from fedcohort.sources.events.times import UTC, iso_time
from fedcohort.sources.fhir.resource import Reading, Resource, changes_of, deletion_of, written_at
from fedcohort.sources.fhir.views import Views
from fedcohort.sources.importer.files import BLOCK, raw_of

ENDINGS = (".json", ".ndjson", ".jsonl", ".json.gz", ".ndjson.gz", ".jsonl.gz")
WHOLE_BYTES = 2**24
"""A larger document, or line, is read by the entry."""
ENTRY_BYTES = 2**26
"""Of one entry of it."""
MOST_NOTED = 500_000
"""Medications, or ids of a bundle's own, that are kept in memory."""
MAX_NESTED = 3
"""Bundles in bundles, as the answer to a batch has them."""
_BOM = b"\xef\xbb\xbf"
_MEDICATION = re.compile(rb'"resourceType"\s{0,20}:\s{0,20}"Medication"')
_OWN_ID = re.compile(rb'"urn:(?:uuid|oid):')
LONGEST_MENTION = 100
PROBED_LINES = 20
_NO_JSON = Refusal("", "json", "is no JSON object; export the file again, or correct it there")
_NO_RESOURCE = Refusal("resourceType", "json", "is no FHIR resource; give Bundles or NDJSON of resources")
_NO_BUNDLE = Refusal("", "json", "is read as a Bundle for its size, and is none; give it as NDJSON")


@dataclass(frozen=True)
class Entry:
    """What stands at one place of a file: a resource, a deletion, or neither, for a reason.

    Attributes:
        removed: type and id of a resource that was deleted.
        full_url: by which other entries of the bundle refer to it.
        written: when its bundle was.
    """

    place: str
    resource: Resource | None = None
    removed: str | None = None
    full_url: str | None = None
    written: float | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True)
class FhirOptions:
    """How files are read.

    Attributes:
        views: by type of resource.
        zone: of times and dates that are written without one.
        medications: codings of Medication resources of all files, by id.
    """

    views: Views
    zone: datetime.tzinfo = UTC
    medications: Mapping[str, Any] = field(default_factory=dict)


def records_of(path: Path, options: FhirOptions, skip: int = 0) -> Iterator[Record]:
    """What a file says, in its order.

    Args:
        skip: records that were read before.
    Raises:
        ConfigError: ijson or orjson is not installed.
        DataError: the file is broken or cut off from here on.
    """
    reading = Reading(options.views, options.zone, options.medications)
    for index, (entry, aliases) in enumerate(_entries(path)):
        if index >= skip:
            yield _record(entry, replace(reading, aliases=aliases, written=entry.written))


def _record(entry: Entry, reading: Reading) -> Record:
    if entry.refusal is not None:
        return Record(entry.place, (entry.refusal,))
    if entry.resource is None:
        return Record(entry.place, deletion_of(entry.removed, entry.written, reading.views))
    resource = entry.resource
    if "id" not in resource and (own := _own_id(entry.full_url)):
        resource = {**resource, "id": own}
    return Record(entry.place, changes_of(resource, reading))


def _own_id(full_url: object) -> str | None:
    """The id of a resource that has only its bundle's."""
    if not isinstance(full_url, str) or not full_url.startswith(("urn:uuid:", "urn:oid:")):
        return None
    return full_url.rpartition(":")[2] or None


def medications_of(paths: Iterable[Path]) -> dict[str, Any]:
    """The codings of every Medication of some files, by its id: what requests refer to.

    Of a file that is cut off they are those before; whoever reads it for its events is told.

    Raises:
        ConfigError: there are more than can be kept.
    """
    found: dict[str, Any] = {}
    for path in paths:
        with suppress(DataError):
            if _mentions(path, _MEDICATION):
                found.update(_medications(path))
        if len(found) > MOST_NOTED:
            raise ConfigError(f"{path}: more than {MOST_NOTED:,} Medications; import in smaller pieces")
    return found


def _medications(path: Path) -> Iterator[tuple[str, Any]]:
    for entry, _ in _entries(path):
        resource = entry.resource or {}
        key = resource.get("id") or _own_id(entry.full_url)
        if resource.get("resourceType") == "Medication" and isinstance(key, str):
            yield key, {"coding": _codings(resource.get("code"))}


def _codings(concept: object) -> list[dict[str, Any]]:
    """Systems and codes, without the texts beside them."""
    codings = concept.get("coding") if isinstance(concept, dict) else None
    return [
        {"system": coding.get("system"), "code": coding.get("code")}
        for coding in (codings if isinstance(codings, list) else [])
        if isinstance(coding, dict)
    ]


Aliases = Mapping[str, str]
_Found = Iterator[tuple[Entry, Aliases]]


def _entries(path: Path) -> _Found:
    """Everything of a file, with the ids of its bundle's own that stand for others."""
    if _has_lines(path):
        with _opened(path) as file:
            yield from _of_lines(file)
        return
    with _opened(path) as file:
        content = file.read(WHOLE_BYTES + 1)
    if len(content) > WHOLE_BYTES:
        yield from _of_giant(path)
    elif content.strip():
        yield from _of_document(_parsed(_without_mark(content)), "", None, 0)


def _has_lines(path: Path) -> bool:
    """Whether it is NDJSON: one of its first lines is a resource by itself."""
    with _opened(path) as file:
        for number in range(PROBED_LINES):
            line = file.readline(WHOLE_BYTES + 1)
            first = _parsed(_without_mark(line) if number == 0 else line)
            if isinstance(first, dict) and "resourceType" in first:
                return True
            if not line:
                break
    return False


def _mentions(path: Path, pattern: re.Pattern[bytes]) -> bool:
    """Whether a file has something anywhere, without reading it as JSON."""
    before = b""
    with _opened(path) as file:
        while block := file.read(BLOCK):
            if pattern.search(before[-LONGEST_MENTION:] + block):
                return True
            before = block
    return False


def _opened(path: Path) -> IO[bytes]:
    try:
        return raw_of(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; make it readable") from error


def _without_mark(content: bytes) -> bytes:
    return content.removeprefix(_BOM)


def _parsed(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """The JSON, or None."""
    try:
        return _orjson().loads(content)
    except ValueError:
        return None


def check_installed() -> None:
    """Say what is missing before anything is read or written.

    Raises:
        ConfigError: orjson is not installed.
    """
    _orjson()


def _orjson() -> Any:  # noqa: ANN401 - a module
    try:
        import orjson
    except ImportError:
        raise ConfigError("FHIR needs orjson; pip install -c constraints.txt '.[fhir]'") from None
    return orjson


def _of_lines(file: IO[bytes]) -> _Found:
    """NDJSON: a resource a line; a line may be a Bundle, too, and may be blank."""
    number = 0
    while line := file.readline(WHOLE_BYTES + 1):
        number += 1
        if len(line) > WHOLE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(WHOLE_BYTES + 1)
            sentence = f"a line longer than {WHOLE_BYTES:,} bytes; give it as a file of its own, a Bundle"
            yield Entry(f"line {number}", refusal=Refusal("", "too-long", sentence)), {}
        elif content := (_without_mark(line) if number == 1 else line).strip():
            yield from _of_document(_parsed(content), f"line {number}", None, 0)


def _of_document(document: object, place: str, written: float | None, depth: int) -> _Found:
    """A resource, or all that a Bundle holds."""
    if not isinstance(document, dict):
        yield Entry(place or "document", refusal=_NO_JSON), {}
    elif not isinstance(document.get("resourceType"), str):
        yield Entry(place or "document", refusal=_NO_RESOURCE), {}
    elif document["resourceType"] != "Bundle":
        yield Entry(place or "document", document, written=written), {}
    elif depth >= MAX_NESTED:
        sentence = f"Bundles nested deeper than {MAX_NESTED}; give the inner one by itself"
        yield Entry(place or "document", refusal=Refusal("entry", "json", sentence)), {}
    else:
        yield from _of_bundle(document, place, written, depth)


def _of_bundle(bundle: Mapping[str, Any], place: str, written: float | None, depth: int) -> _Found:
    entries = bundle.get("entry")
    entries = entries if isinstance(entries, list) else []
    written = bundle_written(bundle, written)
    aliases = dict(pair for entry in entries if (pair := _alias(entry)))
    for number, entry in enumerate(entries, 1):
        where = f"{place}, entry {number}" if place else f"entry {number}"
        found = _of_entry(entry, where, written)
        if found.resource is not None and found.resource.get("resourceType") == "Bundle":
            yield from _of_document(found.resource, where, written, depth + 1)
        else:
            yield found, aliases


def bundle_written(bundle: Mapping[str, Any], otherwise: float | None) -> float | None:
    """When a bundle was put together."""
    text = bundle.get("timestamp")
    time = iso_time(text) if isinstance(text, str) else None
    return time[0] if time else written_at(bundle.get("meta"), otherwise)


def _of_entry(entry: object, place: str, written: float | None) -> Entry:
    """An entry: a resource, or a deletion (Bundle.entry.request, method DELETE)."""
    if not isinstance(entry, dict):
        return Entry(place, refusal=_NO_JSON)
    request, resource = entry.get("request"), entry.get("resource")
    if isinstance(request, dict) and request.get("method") == "DELETE":
        response = entry.get("response")
        text = response.get("lastModified") if isinstance(response, dict) else None
        time = iso_time(text) if isinstance(text, str) else None
        return Entry(place, removed=str(request.get("url")), written=time[0] if time else written)
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        return Entry(place, refusal=_NO_RESOURCE)
    return Entry(place, resource, full_url=entry.get("fullUrl"), written=written)


def _alias(entry: object) -> tuple[str, str] | None:
    """A bundle's own id of a resource that has another one."""
    if not isinstance(entry, dict):
        return None
    own, resource = _own_id(entry.get("fullUrl")), entry.get("resource")
    key = resource.get("id") if isinstance(resource, dict) else None
    return (own, key) if own and isinstance(key, str) and own != key else None


def _of_giant(path: Path) -> _Found:
    """A Bundle entry by entry, read twice: references within it may point to what stands behind them."""
    aliases: dict[str, str] = {}
    for entry in _giant_entries(path) if _mentions(path, _OWN_ID) else ():
        pair = _alias(entry)
        if pair is not None:
            aliases[pair[0]] = pair[1]
        if len(aliases) > MOST_NOTED:
            raise DataError(
                f"{path}: more than {MOST_NOTED:,} resources with two ids; export it as NDJSON instead"
            )
    number = 0
    for number, entry in enumerate(_giant_entries(path), 1):
        yield _of_entry(entry, f"entry {number}", None), aliases
    if number == 0:
        yield Entry("document", refusal=_NO_BUNDLE), {}


class _Bounded:
    """A document's bytes without their mark, as long as no single entry is beyond bounds."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._held, self.since = file, _without_mark(file.read(3)), 0

    def read(self, size: int = -1) -> bytes:
        """So many bytes."""
        if size == 0:  # as ijson asks whether it gets bytes
            return b""
        data, self._held = (self._held, b"") if self._held else (self._file.read(size), b"")
        self.since += len(data)
        if self.since > ENTRY_BYTES:
            raise DataError(f"an entry larger than {ENTRY_BYTES:,} bytes; leave it out of the export")
        return data


def _giant_entries(path: Path) -> Iterator[Any]:
    try:
        import ijson
    except ImportError:
        raise ConfigError(
            f"{path}: is larger than {WHOLE_BYTES:,} bytes, which needs ijson; "
            "pip install -c constraints.txt '.[fhir]'"
        ) from None
    with _opened(path) as file:
        bounded = _Bounded(file)
        try:
            for entry in ijson.items(bounded, "entry.item", use_float=True):
                bounded.since = 0
                yield entry
        except (ijson.JSONError, ValueError):
            raise DataError(f"{path}: is cut off or no JSON from here on; export it again") from None

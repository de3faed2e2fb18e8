"""Files of HL7 v2 messages, and the inbox of received ones, as a feed of the import of events."""

import datetime
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.events.change import Record, Refusal
from fedcohort.sources.events.feed import EventFeed, EventPart
from fedcohort.sources.hl7v2.charsets import CODECS
from fedcohort.sources.hl7v2.framing import messages
from fedcohort.sources.hl7v2.inbox import Inbox
from fedcohort.sources.hl7v2.mapping import read_message
from fedcohort.sources.hl7v2.reading import Hl7Options
from fedcohort.sources.importer.files import digest_of, raw_of

ENDINGS = (".hl7", ".hl7.gz", ".txt", ".txt.gz")
SOURCE = "hl7v2"
_CODECS = sorted(name for name, codec in CODECS.items() if codec != "ascii")
_LONGEST_FAULT = 900


def hl7_options(
    time_zone: str = "UTC",
    charset: str = "UNICODE UTF-8",
    authority: str | None = None,
    types: Sequence[str] = Hl7Options.types,
) -> Hl7Options:
    """How a site's messages are read, from words.

    Args:
        charset: a name of HL7 table 0211, for messages without MSH-18.
    Raises:
        ConfigError: a name is not known.
    """
    try:
        zone = datetime.UTC if time_zone == "UTC" else zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"time zone {time_zone[:80]}: unknown; write such as Europe/Berlin, or UTC"
        ) from None
    codec = CODECS.get(charset.upper())
    if codec is None:
        raise ConfigError(f"character set {charset[:80]}: unknown; choose one of {', '.join(_CODECS)}")
    return Hl7Options(zone, codec, authority or None, tuple(types) or Hl7Options.types)


def context_of(options: Hl7Options) -> str:
    """What else decides an import's outcome: under another zone or authority a file is read anew."""
    return "\n".join(("hl7v2", str(options.zone), options.charset, options.authority or "", *options.types))


def hl7_feed(place: Path, options: Hl7Options, source: str = SOURCE) -> EventFeed:
    """A file, or a folder of them.

    Raises:
        ConfigError: there is no such file.
    """
    root = place if place.is_dir() else place.parent
    parts = [
        EventPart(
            path.relative_to(root).as_posix(), partial(digest_of, path), partial(_records, path, options)
        )
        for path in _files(place)
    ]
    return EventFeed(source, parts)


def _files(place: Path) -> list[Path]:
    """Sorted by name; links out of the folder, and what is hidden, are passed over."""
    if place.is_file():
        return [place]
    root = place.resolve()
    found = [
        path
        for path in sorted(place.rglob("*"))
        if path.name.lower().endswith(ENDINGS)
        and not path.name.startswith(".")
        and path.is_file()
        and path.resolve().is_relative_to(root)
    ]
    if not found:
        raise ConfigError(f"{place}: no file ending in {', '.join(ENDINGS)}; unpack archives, or name a file")
    return found


def _records(path: Path, options: Hl7Options, done: int) -> Iterator[Record]:
    """A file's messages after the first `done`; from where it cannot be read on, a refusal."""
    number = 0
    try:
        with raw_of(path) as file:
            for one in messages(file):
                number = one.number
                if number > done:
                    changes = read_message(one.data, options) if one.data else _fault(one.fault)
                    yield Record(f"message {number}", changes)
    except (DataError, OSError) as error:
        if number >= done:
            # An OSError's own text names the file, and so perhaps a patient.
            said = (error.strerror or "") if isinstance(error, OSError) else str(error)
            yield Record(f"message {number + 1}", _fault(said.removeprefix(f"{path}: ")))


def _fault(sentence: str) -> tuple[Refusal, ...]:
    return (Refusal("", "file", sentence[:_LONGEST_FAULT]),)


def import_inbox(
    inbox: Inbox, options: Hl7Options, source: str, import_all: Callable[[EventFeed], object]
) -> int:
    """Import what has been received, and take it out of the inbox.

    Messages of which nothing is stored are kept beside the inbox, for a person to look at.

    Args:
        import_all: imports a feed, durably, before it returns.
    Returns:
        how many files are done with.
    Raises:
        StoreError: a file cannot be read or deleted.
    """
    paths = inbox.rotate()
    for path in paths:
        received = _Received(path, options)
        import_all(EventFeed(source, [EventPart(path.name, partial(digest_of, path), received.records)]))
        inbox.done(path, received.all_refused())
    return len(paths)


class _Received:
    """A file of received messages, and those of them of which nothing is stored."""

    def __init__(self, path: Path, options: Hl7Options) -> None:
        self._path, self._options = path, options
        self._refused: list[bytes] = []
        self._is_read = False

    def records(self, done: int) -> Iterator[Record]:
        """The messages after the first `done`; those before are read, too, for what was refused of them."""
        self._refused.clear()
        with self._path.open("rb") as file:
            for one in messages(file):
                changes = read_message(one.data, self._options) if one.data else _fault(one.fault)
                if all(isinstance(change, Refusal) for change in changes) and one.data:
                    self._refused.append(one.data)
                if one.number > done:
                    yield Record(f"message {one.number}", changes)
        self._is_read = True

    def all_refused(self) -> list[bytes]:
        """Also where an import before a crash had read the file, and this one did not."""
        if not self._is_read:
            for _ in self.records(0):
                pass
        return self._refused

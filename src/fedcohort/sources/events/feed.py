"""What every format yields to the import of events: parts, such as files, and their records."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fedcohort.sources.events.change import Record


@dataclass(frozen=True)
class EventPart:
    """What is imported once: a file, or a message of an inbox.

    Attributes:
        name: as the engineer named it, relative to what was imported.
        digest: SHA-256 of its content; a part whose digest was imported before is not read again.
        records: the part's records after the first `n`, a refused one included; each is counted.
        size: bytes of the content, where more may be appended to it.
        prefix: SHA-256 of its first so many bytes, or nothing where they end within a record; None where
            nothing is appended.
    """

    name: str
    digest: Callable[[], str]
    records: Callable[[int], Iterator[Record]]
    size: Callable[[], int] = lambda: 0
    prefix: Callable[[int], str] | None = None


@dataclass(frozen=True)
class EventFeed:
    """Everything that one import of events reads.

    Attributes:
        source: which system its events are from, as their `source` says; keys of two are never the same.
        parts: in the order of reading; may be found while reading.
    """

    source: str
    parts: Iterable[EventPart]

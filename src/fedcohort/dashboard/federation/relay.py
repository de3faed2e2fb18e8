"""Server-sent events from the coordinator, checked line by line before a browser sees them.

WHATWG HTML, section 9.2, "Server-sent events"; `broadcast` sends them to pages.
"""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from fedcohort.dashboard.federation.upstream import parse_finite

MAX_EVENT_BYTES = 2**20
PULSE = b": still here\n\n"
"""A page that receives not even this comment for a while knows that the connection is lost."""

_NUMBER = re.compile(r"\d{1,18}")
_KIND = re.compile(r"[a-z]{1,32}")


class StreamSlots:
    """The limit on open streams, of all visitors and of one."""

    def __init__(self, count: int, of_one: int) -> None:
        self._count, self._of_one = count, of_one
        self._taken: Counter[str | None] = Counter()
        self._lock = threading.Lock()

    def take(self, visitor: str | None) -> Callable[[], None] | None:
        """A slot's release, which may be called twice; None when all, or this visitor's, are taken.

        Args:
            visitor: by whom slots are counted; None is counted only among all.
        """
        with self._lock:
            mine = 0 if visitor is None else self._taken[visitor]
            if self._taken.total() >= self._count or mine >= self._of_one:
                return None
            self._taken[visitor] += 1
        once = threading.Lock()

        def release() -> None:
            if once.acquire(blocking=False):
                with self._lock:
                    self._taken[visitor] -= 1
                    self._taken += Counter()  # forget whoever has none left

        return release


@dataclass(frozen=True)
class ServerSentEvent:
    """One event; `number` is 0 where the coordinator has given none, `text` the event in its notation."""

    number: int
    kind: str
    data: dict[str, Any]
    text: bytes = field(repr=False)


def events_of(response: httpx.Response) -> Iterator[ServerSentEvent | None]:
    """Whole events as they come, until either side ends; None is a mere sign of life.

    Only known fields with valid values pass.
    """
    yield None
    fields: dict[str, str] = {}
    with _ended_quietly():
        for line in _lines(response):
            if line.startswith(":"):
                yield None
            elif line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields:
                if event := _event(fields):
                    yield event
                fields = {}


@contextmanager
def _ended_quietly() -> Iterator[None]:
    """A coordinator that goes away ends the stream; the page then asks why and comes back."""
    try:
        yield
    except (httpx.HTTPError, httpx.StreamError, UnicodeDecodeError):
        return


def _lines(response: httpx.Response) -> Iterator[str]:
    rest = b""
    for chunk in response.iter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.removesuffix(b"\r").decode()
        if len(rest) > MAX_EVENT_BYTES:
            return


def _event(fields: dict[str, str]) -> ServerSentEvent | None:
    """An event, or None when it is not one of ours."""
    data = parse_finite(fields.get("data", ""))
    kind, number = fields.get("event", "message"), fields.get("id", "")
    if not isinstance(data, dict) or not _KIND.fullmatch(kind):
        return None
    event_number = int(number) if _NUMBER.fullmatch(number) else 0
    head = f"id: {event_number}\n" if event_number else ""
    text = f"{head}event: {kind}\ndata: {json.dumps(data, allow_nan=False)}\n\n"
    return ServerSentEvent(event_number, kind, data, text.encode())

"""One stream of the coordinator for all pages of the same study: two hundred cost it as much as one.

Events that the coordinator has numbered (a study's) are kept for a while, so that a page that connects
later or again goes on after the last one that it received; of events without numbers (the
federation's) a new page first receives the newest of each kind. A page that reads too slowly is
disconnected, and connects again by itself.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from fedcohort.dashboard.federation.relay import PULSE, ServerSentEvent, events_of

MOST_KEPT = 4096
TICK_SECONDS = 0.3
"""After an event pages receive the next ones together at the next tick: a person notices no more, and one
burst costs the server far less than hundreds of single writes."""
PULSE_SECONDS = 5.0
"""How often a comment is written, by which a closed browser is noticed."""
PATIENCE_SECONDS = 1.0

Admits = Callable[[str, dict[str, Any]], bool]
Open = Callable[[int], httpx.Response]


@dataclass
class Broadcast:
    """The events of one stream, from number `begin` on; `n_gone` of them are no longer kept."""

    begin: int
    source: httpx.Response
    events: deque[ServerSentEvent] = field(default_factory=deque)
    n_gone: int = 0
    latest: dict[str, ServerSentEvent] = field(default_factory=dict)
    pulses: int = 0
    viewers: int = 0
    ended: bool = False
    news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def end(self) -> int:
        """The number of events so far."""
        return self.n_gone + len(self.events)

    def add(self, event: ServerSentEvent | None) -> bool:
        """Add an event, or None for a sign of life; False when no page follows any more."""
        with self.news:
            if event is None:
                self.pulses += 1
            else:
                self._keep(event)
            self.ended = self.ended or self.viewers == 0
            self.news.notify_all()
            return not self.ended

    def _keep(self, event: ServerSentEvent) -> None:
        self.events.append(event)
        if not event.number:
            self.latest[f"{event.kind} {event.data.get('id')}"] = event
        if len(self.events) > MOST_KEPT:
            self.begin = max(self.begin, self.events.popleft().number)
            self.n_gone += 1

    def first_after(self, number: int) -> tuple[int, list[ServerSentEvent]]:
        """The position of a page that has received events up to `number`, and what to send it first."""
        if self.latest:
            return self.end, list(self.latest.values())
        behind = sum(1 for event in self.events if event.number <= number)
        return self.n_gone + behind, []


class Broadcasts:
    """The streams that pages follow, by path."""

    def __init__(self) -> None:
        self._open: dict[str, Broadcast] = {}
        self._lock = threading.Lock()

    def follow(
        self, path: str, after: int, open_: Open, admits: Admits | None = None
    ) -> tuple[Iterator[bytes], Callable[[], None]]:
        """The events of `path` after number `after`, in the notation of server-sent events.

        Args:
            open_: opens the coordinator's stream after an event's number.
            admits: whether an event of this kind with these data is for this reader; by default all are.
        Returns:
            the stream, and a function that ends the page's part in it, once, also where nothing was read.
        Raises:
            NotFoundError, LinkClosedError, AuthenticationError: it cannot be opened.
        """
        # One page opens the stream and others join; they do not queue up behind a coordinator that is slow.
        first = self._lock.acquire(timeout=PATIENCE_SECONDS)
        try:
            broadcast = self._open.get(path)
            if broadcast is None or not _joined(broadcast, after):
                broadcast = self._begin(path, after, open_)
        finally:
            if first:
                self._lock.release()
        return _seen(broadcast, after, admits), _leaving(broadcast)

    def _begin(self, path: str, after: int, open_: Open) -> Broadcast:
        """Open a new stream, which later pages share."""
        begun = Broadcast(after, open_(after), viewers=1)
        self._open[path] = begun
        threading.Thread(target=self._read, args=(path, begun), daemon=True, name=f"stream {path}").start()
        return begun

    def _read(self, path: str, mine: Broadcast) -> None:
        for event in events_of(mine.source):
            if not mine.add(event):
                break
        mine.source.close()
        with mine.news:
            mine.ended = True
            mine.news.notify_all()
        if self._open.get(path) is mine:
            self._open.pop(path, None)


def _joined(broadcast: Broadcast, after: int) -> bool:
    """Join a stream, unless it has ended or events that this page lacks are no longer kept."""
    with broadcast.news:
        if broadcast.ended or after < broadcast.begin:
            return False
        broadcast.viewers += 1
        return True


def _seen(stream: Broadcast, after: int, admits: Admits | None) -> Iterator[bytes]:
    """The events for one page."""
    yield PULSE
    with stream.news:
        at, first = stream.first_after(after)
        pulses = stream.pulses
    yield _written(first, admits)
    while True:
        with stream.news:
            if stream.end <= at and stream.pulses == pulses and not stream.ended:
                stream.news.wait(PULSE_SECONDS)
            if at < stream.n_gone or (stream.ended and stream.end <= at):
                return
            fresh = [stream.events[index - stream.n_gone] for index in range(at, stream.end)]
            at, pulses = stream.end, stream.pulses
        yield _written(fresh, admits) or PULSE
        if fresh:
            time.sleep(TICK_SECONDS - time.monotonic() % TICK_SECONDS)


def _leaving(stream: Broadcast) -> Callable[[], None]:
    once = threading.Lock()

    def leave() -> None:
        if once.acquire(blocking=False):
            with stream.news:
                stream.viewers -= 1

    return leave


def _written(events: list[ServerSentEvent], admits: Admits | None) -> bytes:
    return b"".join(event.text for event in events if admits is None or admits(event.kind, event.data))

"""The live links to the sites, and the exchange that rounds go through.

A message that cannot be delivered waits for its site: whoever reconnects while
a round is open is asked again, and answers with what it stored. A site that was
away for a whole time-out is waited for no longer than the others need, until it
links again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from fedcohort.coordinator.plan import Receive
from fedcohort.coordinator.telemetry import Telemetry
from fedcohort.errors import AuthenticationError, FedcohortError, LinkClosedError
from fedcohort.logs import about
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import verify
from fedcohort.wire.link import Link, Traffic
from fedcohort.wire.messages import Contribution, Event, Help, Message, OpenRequest, Setup, SiteId, Task
from fedcohort.wire.signing import contribution_signing_bytes, help_signing_bytes

log = logging.getLogger("fedcohort.coordinator")


_ANSWERS: dict[type[Message], type[Message]] = {Task: Contribution, OpenRequest: Help, Setup: Setup}


def answers(question: Message, message: Message) -> bool:
    """Whether a message is an answer to this question, good or bad, and not a late one to another."""

    def about(what: Message) -> tuple[object, ...]:
        return tuple(getattr(what, name, None) for name in ("study_hash", "round", "attempt"))

    kinds = (_ANSWERS[type(question)], Event)
    return isinstance(message, kinds) and about(message) == about(question)


@dataclass
class OpenExchange:
    """Questions that wait for answers.

    Attributes:
        encoded: the questions, as they are sent.
        traffic: by site, what this study has sent and received.
    """

    questions: Mapping[SiteId, Message]
    encoded: Mapping[SiteId, bytes]
    receive: Receive
    enough: int
    pending: set[SiteId]
    traffic: Mapping[SiteId, Traffic]
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, site: SiteId, message: Message, away: Collection[SiteId]) -> None:
        """Hand an answer over; a bad one leaves the site out of this round, and a late one is passed over.

        Args:
            away: sites that are not waited for once enough others have answered.
        """
        if site not in self.pending or not answers(self.questions[site], message):
            return
        self.pending.discard(site)
        complete = False
        try:
            complete = self.receive(site, message)
        except FedcohortError as error:
            log.warning("%s: %s", site, error, extra=about(site))
        answered = len(self.encoded) - len(self.pending)
        if complete or not self.pending or (answered >= self.enough and self.pending <= set(away)):
            self.done.set()


@dataclass
class Hub:
    """One link a site.

    Attributes:
        greeting: what a site is told first, before any question.
        on_message: gets every message that answers no open round.
        on_change: called when a site comes or goes.
        away: sites that were not linked when a round's time was up.
        traffic: by study and site, bytes of the rounds' messages since this process began.
    """

    greeting: Callable[[], Message]
    on_message: Callable[[SiteId, Message], Awaitable[None]]
    on_change: Callable[[SiteId, bool], Awaitable[None]]
    links: dict[SiteId, Link] = field(default_factory=dict)
    open: dict[str, OpenExchange] = field(default_factory=dict)
    away: set[SiteId] = field(default_factory=set)
    telemetry: Telemetry = field(default_factory=Telemetry)
    traffic: dict[str, dict[SiteId, Traffic]] = field(default_factory=dict)

    async def serve(self, link: Link) -> None:
        """Take a site in and read what it says until the link ends."""
        site = link.peer.id
        await _send(link, encode(self.greeting()))
        if site in self.links:
            words = "%s: a second node with this id was turned away; stop one of the two"
            log.warning(words, site, extra=about(site, code="already-connected"))
            await link.close("already-connected")
            return
        self.links[site] = link
        self.away.discard(site)
        log.info("%s: linked", site, extra=about(site))
        try:
            await self.on_change(site, True)
            for exchange in list(self.open.values()):
                if site in exchange.pending:
                    await self._ask(exchange, link)
            while True:
                before = link.traffic.received
                message = await link.receive()
                await self._take(link, message, link.traffic.received - before)
        except LinkClosedError as error:
            log.info("%s: %s", site, error, extra=about(site))
        except FedcohortError as error:
            log.warning("%s: %s", site, error, extra=about(site))
            await link.close(error.code)
        finally:
            del self.links[site]
            self.telemetry.close(link.traffic)
            await self.on_change(site, False)

    async def _take(self, link: Link, message: Message, size: int) -> None:
        site = link.peer.id
        exchange = self.open.get(getattr(message, "study_hash", ""))
        if isinstance(message, Event) and message.kind == "refusal":
            self.telemetry.count_refusal("site", message.code)
        if exchange and site in exchange.traffic:
            exchange.traffic[site].received += size
        if isinstance(message, Contribution | Help):
            signed = (
                contribution_signing_bytes(message)
                if isinstance(message, Contribution)
                else help_signing_bytes(message)
            )
            if not verify(link.peer.key, message.signature, signed):
                raise AuthenticationError(f"{site}: an answer whose signature is not by the site's key")
            if exchange:
                exchange.settle(site, message, self.away)
        elif isinstance(message, Setup):
            if exchange:
                exchange.settle(site, message, self.away)
        elif exchange and isinstance(message, Event) and message.kind == "refusal":
            exchange.settle(site, message, self.away)
        else:
            await self.on_message(site, message)

    async def send(self, site: SiteId, message: Message) -> None:
        """Send a message that needs no answer within a round; a lost link is the reader's business."""
        link = self.links.get(site)
        if link:
            await _send(link, encode(message))

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        """Ask every site of `messages` and wait for all answers, or until time is up or enough have come."""
        if not messages:
            return
        once = {id(message): encode(message) for message in messages.values()}
        encoded = {site: once[id(message)] for site, message in messages.items()}
        study_hash = next(iter(messages.values())).study_hash  # type: ignore[union-attr]
        known = self.traffic.setdefault(study_hash, {})
        traffic = {site: known.setdefault(site, Traffic()) for site in messages}
        exchange = OpenExchange(messages, encoded, receive, enough, set(messages), traffic)
        self.open[study_hash] = exchange
        try:
            here = [self.links[site] for site in messages if site in self.links]
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(self._ask(exchange, link) for link in here))
                await exchange.done.wait()
        except TimeoutError:
            silent = ", ".join(sorted(exchange.pending))
            log.warning("no answer in %g s from %s", timeout, silent, extra=about(study=study_hash))
            self.away |= exchange.pending - set(self.links)
        finally:
            del self.open[study_hash]

    async def _ask(self, exchange: OpenExchange, link: Link) -> None:
        data = exchange.encoded[link.peer.id]
        exchange.traffic[link.peer.id].sent += len(data)
        await _send(link, data)


async def _send(link: Link, data: bytes) -> None:
    try:
        await link.send(data)
    except LinkClosedError as error:
        log.info("%s: %s", link.peer.id, error, extra=about(link.peer.id))

"""What stands above a carrier: bytes are decoded and verified here, and questions wait here for answers.

A message that cannot be delivered waits for its site: whoever comes back while
a round is open is asked again, and answers with what it stored. A site that was
away for a whole time-out is waited for no longer than the others need, until it
comes back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

from fedcohort.coordinator.plan import Receive
from fedcohort.coordinator.telemetry import Telemetry
from fedcohort.coordinator.traffic import Traffic
from fedcohort.engines.carrier import Carrier
from fedcohort.errors import AuthenticationError, FedcohortError, WireError
from fedcohort.logs import about
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import Contribution, Event, Help, Message, OpenRequest, Setup, SiteId, Task
from fedcohort.wire.signing import contribution_signing_bytes, help_signing_bytes

log = logging.getLogger("fedcohort.coordinator")


LONG_BODY_BYTES = 2**18
"""To hash so many bytes takes longer than to ask a thread."""
_ANSWERS: dict[type[Message], type[Message]] = {Task: Contribution, OpenRequest: Help, Setup: Setup}


def answers(question: Message, message: Message) -> bool:
    """Whether a message is an answer to this question, good or bad, and not a late one to another."""

    def about(what: Message) -> tuple[object, ...]:
        return tuple(getattr(what, name, None) for name in ("study_hash", "round", "attempt"))

    kinds = (_ANSWERS[type(question)], Event)
    return isinstance(message, kinds) and about(message) == about(question)


def _signing_bytes(message: Contribution | Help) -> bytes:
    if isinstance(message, Contribution):
        return contribution_signing_bytes(message)
    return help_signing_bytes(message)


@dataclass
class OpenExchange:
    """Questions that wait for answers.

    Attributes:
        encoded: the questions, as they are sent.
        traffic: by site, what this study has sent and received.
        overdue: sites whose time is up, while others have longer.
    """

    questions: Mapping[SiteId, Message]
    encoded: Mapping[SiteId, bytes]
    receive: Receive
    enough: int
    pending: set[SiteId]
    traffic: Mapping[SiteId, Traffic]
    overdue: set[SiteId] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self, site: SiteId, message: Message, away: Collection[SiteId]) -> bool:
        """Hand an answer over; a bad one leaves the site out of this round.

        Args:
            away: sites that are not waited for once enough others have answered.
        Returns:
            False for a late one, which is passed over.
        """
        if site not in self.pending or not answers(self.questions[site], message):
            return False
        self.pending.discard(site)
        complete = False
        try:
            complete = self.receive(site, message)
        except FedcohortError as error:
            log.warning("%s: %s", site, error, extra=about(site, code=error.code))
        answered = len(self.encoded) - len(self.pending)
        if complete or (answered >= self.enough and self.pending <= set(away)):
            self.done.set()
        self.end_if_overdue()
        return True

    def end_if_overdue(self) -> None:
        """End it when nobody is left who still has time."""
        if self.pending <= self.overdue:
            self.done.set()


@dataclass
class Hub:
    """All that is said between the coordinator and its sites; the carrier's `Receiver`.

    Attributes:
        key_of: a site's pinned key.
        first: what a site is told first, before any question.
        on_message: gets every message that answers no open round; its own signature is for it to verify.
        on_change: called when a site comes or goes.
        away: sites that were not present when a round's time was up.
        traffic: by study and site, bytes of the rounds' messages since this process began.
        keys: of the sites that are present, as far as they were needed.
        slow: by study and site, how many seconds longer a person there may take to let a contribution go.
    """

    carrier: Carrier
    key_of: Callable[[SiteId], bytes | None]
    first: Callable[[], Message]
    on_message: Callable[[SiteId, Message], Awaitable[None]]
    on_change: Callable[[SiteId, bool], Awaitable[None]]
    open: dict[str, OpenExchange] = field(default_factory=dict)
    away: set[SiteId] = field(default_factory=set)
    telemetry: Telemetry = field(default_factory=Telemetry)
    traffic: dict[str, dict[SiteId, Traffic]] = field(default_factory=dict)
    keys: dict[SiteId, bytes] = field(default_factory=dict)
    slow: dict[str, Mapping[SiteId, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.carrier.on_message(self)

    # --- what the carrier calls ------------------------------------------------------------

    def greeting(self) -> bytes:
        """What a site is told first."""
        return encode(self.first())

    async def came(self, site: SiteId) -> None:
        """Tell who waits for the site, and ask it what is open."""
        self.away.discard(site)
        self.keys.pop(site, None)
        await self.on_change(site, True)
        for exchange in list(self.open.values()):
            if site in exchange.pending:
                data = exchange.encoded[site]
                exchange.traffic[site].sent += len(data)
                await self._carry(site, data)

    async def left(self, site: SiteId) -> None:
        """Tell who counts on the site."""
        await self.on_change(site, False)

    async def take(self, site: SiteId, data: bytes) -> None:
        """Verify a message, and hand it to the question that it answers, or on.

        Raises:
            FedcohortError: it is refused.
        """
        size = len(data)
        self.telemetry.carried.received += size
        message = decode(data)
        del data  # of a large model as large as its message, which is all that is needed from here on
        refusal = message.code if isinstance(message, Event) and message.kind == "refusal" else None
        if refusal is not None:
            self.telemetry.count_refusal("site", refusal)
        if isinstance(message, Contribution | Help):
            await self._check_signature(site, message)
        exchange = self.open.get(getattr(message, "study_hash", ""))
        if exchange and site in exchange.traffic:
            exchange.traffic[site].received += size
        if isinstance(message, Contribution | Help | Setup) or (exchange and refusal is not None):
            settled = exchange is not None and exchange.settle(site, message, self.away)
            if isinstance(message, Contribution) and not settled:
                words = "%s: study %.12s: an answer to another question is passed over"
                where = about(site, message.study_hash, WireError.code)
                log.info(words, site, message.study_hash, extra=where)
        else:
            await self.on_message(site, message)

    async def _check_signature(self, site: SiteId, message: Contribution | Help) -> None:
        key = self.keys.get(site) or self.key_of(site)
        if len(message.body) < LONG_BODY_BYTES:
            signed = _signing_bytes(message)
        else:
            # hashlib lets other threads run: another site's message comes in meanwhile, and is hashed, too.
            signed = await asyncio.to_thread(_signing_bytes, message)
        if key is None or not verify(key, message.signature, signed):
            raise AuthenticationError(f"{site}: an answer whose signature is not by the site's key")
        self.keys[site] = key

    # --- what the coordinator calls ---------------------------------------------------------

    async def send(self, site: SiteId, message: Message) -> None:
        """Send a message that needs no answer within a round."""
        if site in self.carrier.present:
            await self._carry(site, encode(message))

    async def _carry(self, site: SiteId, data: bytes) -> None:
        self.telemetry.carried.sent += len(data)
        await self.carrier.send(site, data)

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        """Ask every site of `messages` and wait for all answers, or until time is up or enough have come.

        A contribution of a site that is slow has so much longer; others are not waited for meanwhile.
        """
        if not messages:
            return
        once = {id(message): encode(message) for message in messages.values()}
        encoded = {site: once[id(message)] for site, message in messages.items()}
        study_hash = next(iter(messages.values())).study_hash  # type: ignore[union-attr]
        by_site = self.traffic.setdefault(study_hash, {})
        traffic = {site: by_site.setdefault(site, Traffic()) for site in messages}
        exchange = OpenExchange(messages, encoded, receive, enough, set(messages), traffic)
        self.open[study_hash] = exchange
        present = self.carrier.present
        here = {site: data for site, data in encoded.items() if site in present}
        for site, data in here.items():
            traffic[site].sent += len(data)
            self.telemetry.carried.sent += len(data)
        longer = self._longer(messages, study_hash)
        timers = _timers(exchange, timeout, longer)
        try:
            async with asyncio.timeout(timeout + max(longer.values(), default=0.0)):
                await self.carrier.exchange(here, exchange.done)
        except TimeoutError:
            exchange.overdue |= exchange.pending
        finally:
            for timer in timers:
                timer.cancel()
            del self.open[study_hash]
        silent = exchange.pending & exchange.overdue
        if silent:
            names = ", ".join(sorted(silent))
            log.warning("no answer in %g s from %s", timeout, names, extra=about(study=study_hash))
            self.away |= silent - set(self.carrier.present)

    def _longer(self, messages: Mapping[SiteId, Message], study_hash: str) -> dict[SiteId, float]:
        """Who of those that are asked for a contribution has longer."""
        slow = self.slow.get(study_hash, {})
        return {site: slow[site] for site, message in messages.items()
                if site in slow and isinstance(message, Task)}  # fmt: skip


def _timers(
    exchange: OpenExchange, timeout: float, longer: Mapping[SiteId, float]
) -> list[asyncio.TimerHandle]:
    """End the waiting for each site in its time; for those with the longest the exchange itself ends."""
    by_site = {site: longer.get(site, 0.0) for site in exchange.questions}
    last, loop, timers = max(by_site.values()), asyncio.get_running_loop(), []

    def up(sites: set[SiteId]) -> None:
        exchange.overdue |= sites
        exchange.end_if_overdue()

    for more in set(by_site.values()) - {last}:
        sites = {site for site, seconds in by_site.items() if seconds == more}
        timers.append(loop.call_later(timeout + more, up, sites))
    return timers

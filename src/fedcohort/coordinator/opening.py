"""The second exchange of a round: survivors help to open their sum, and nothing else.

What is to be opened is durable before anybody is asked: a site helps once a round,
and a coordinator that was killed must ask for the very same.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedcohort.coordinator.plan import Exchange, Plan, pause_seconds, refusals_in_words
from fedcohort.coordinator.sums import Sum
from fedcohort.errors import RoundError, WireError
from fedcohort.logs import about
from fedcohort.protection import agreement, masks
from fedcohort.protection.context import RoundContext
from fedcohort.protection.fixed_point import Ring, ring_from_bytes
from fedcohort.protection.neighbours import Graph
from fedcohort.wire.codec import decode_record, encode_record
from fedcohort.wire.messages import Contribution, Event, Help, Message, OpenRequest, SiteId
from fedcohort.wire.signing import request_digest

log = logging.getLogger("fedcohort.coordinator")


SMALL_BYTES = 2**20
"""Fewer bytes than these times their sites are opened where they are: to ask a thread takes longer."""
MOST_REFUSED_ATTEMPTS = 3
"""After so many the same request is not repeated to sites that cannot answer it."""


@dataclass(frozen=True)
class Opening:
    """A round whose sum is complete and protected.

    Attributes:
        contributions: of each survivor, without the integers.
    """

    context: RoundContext
    total: bytes
    contributions: Mapping[SiteId, Contribution]

    @property
    def survivors(self) -> tuple[SiteId, ...]:
        """The sites in the sum, sorted."""
        return tuple(sorted(self.contributions))

    def to_record(self) -> bytes:
        """For the log."""
        parts = self.contributions.values()
        return encode_record(self.context.round, self.context.attempt, self.total, parts)


def opening_of(context: RoundContext, total: Sum) -> Opening:
    """A collected round, to be opened."""
    return Opening(context, total.total(), dict(total.kept))


def attempt_of(record: bytes | None, number: int) -> int | None:
    """Which attempt at this round was to be opened when the record was kept, if any."""
    if record is None:
        return None
    round_, attempt, _, _ = decode_record(record)
    return attempt if round_ == number else None


def opening_from_record(context: RoundContext, record: bytes) -> Opening:
    """Read what `Opening.to_record` wrote for this attempt."""
    _, _, total, contributions = decode_record(record)
    return Opening(context, total, {part.site: part for part in contributions})


@dataclass
class Helps:
    """The help that has come.

    Attributes:
        asked: by site, the digest of its request.
        missing: by survivor, how many more shares of its secrets are needed; empty when enough has come.
        around: by site, how many of its holders have helped; enough of them unlock its help.
    """

    opening: Opening
    masked: bool
    asked: dict[SiteId, bytes] = field(default_factory=dict)
    bodies: dict[SiteId, bytes] = field(default_factory=dict)
    refused: dict[SiteId, str] = field(default_factory=dict)
    missing: dict[SiteId, int] = field(default_factory=dict)
    around: dict[SiteId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = Graph(self.opening.context)
        if self.masked:
            self.missing = dict.fromkeys(self.opening.survivors, self.graph.threshold)

    def receive(self, site: SiteId, message: Message) -> bool:
        """Take help, or note a refusal; True when it is enough.

        Raises:
            WireError: the answer is to another question.
        """
        context = self.opening.context
        asked = (context.study_hash, context.round, context.attempt, site, self.asked.get(site))
        if isinstance(message, Event) and message.kind == "refusal":
            self.refused[site] = message.code
            return False
        if (
            not isinstance(message, Help)
            or (message.study_hash, message.round, message.attempt, message.site, message.request) != asked
        ):
            raise WireError(f"{site}: an answer to another question")
        if self.masked:
            masks.check_help(context, frozenset(self.opening.survivors), site, message.body)
        new = site not in self.bodies
        self.bodies[site] = message.body
        if new and self.masked:
            self._count(site)
        return self.enough

    def _count(self, helper: SiteId) -> None:
        """One more has helped: whose help can be unlocked now, and what is missing after that?"""
        threshold = self.graph.threshold
        for site in self.graph.holders(helper):
            self.around[site] = self.around.get(site, 0) + 1
            just_enough = self.around[site] == threshold and site in self.bodies
            if just_enough or (site == helper and self.around[site] > threshold):
                self._unlocked(site)

    def _unlocked(self, helper: SiteId) -> None:
        for site in self.graph.holders(helper):
            if site in self.missing:
                self.missing[site] -= 1
                if self.missing[site] == 0:
                    del self.missing[site]

    @property
    def enough(self) -> bool:
        """Whether the sum can be opened, if all help is true."""
        return bool(self.bodies) and not self.missing

    def open(self) -> Ring:
        """The sum.

        Raises:
            RoundError, WireError: help was false.
        """
        opening, sizes = self.opening, self.opening.context.shape.sizes
        if not self.masked:
            return ring_from_bytes(next(iter(self.bodies.values())), sizes)
        commitments = {site: part.body for site, part in opening.contributions.items()}
        survivors = frozenset(opening.survivors)
        unlocked = agreement.unlock(opening.context, self.bodies)
        shares = masks.Opening(opening.context, survivors, commitments, unlocked)
        return masks.open_sum(shares, ring_from_bytes(opening.total, sizes))


async def open_round(plan: Plan, opening: Opening, exchange: Exchange) -> Ring:
    """Ask for help until the sum is open; whoever has not helped yet is asked again, the same.

    Returns:
        the sum of the survivors' integers.
    Raises:
        RoundError: all have helped, and some of it is false.
    """
    helps = Helps(opening, plan.study.protection == "masks")
    requests = _requests(opening, masked=helps.masked)
    attempt = 0
    while True:
        helps.refused.clear()
        for batch in _batches(requests, helps):
            helps.asked |= {site: request_digest(request) for site, request in batch.items()}
            await exchange(dict(batch), helps.receive, len(batch), plan.study.round_timeout_seconds)
            total = await _try(plan, helps) if helps.enough else None
            if total is not None:
                if attempt:
                    plan.waiting("")
                return total
        unopened = sorted(site for site, code in helps.refused.items() if code == WireError.code)
        if unopened and attempt >= MOST_REFUSED_ATTEMPTS:
            raise RoundError(
                f"{', '.join(unopened)} cannot help to open round {opening.context.round}: what another site "
                "sealed for them does not open. Has a site's agreement.key been replaced? See its log"
            )
        plan.waiting(
            f"{len(helps.bodies)} of {len(opening.survivors)} sites have helped to open "
            f"round {opening.context.round}, which is too few{refusals_in_words(helps.refused)}"
        )
        await asyncio.sleep(pause_seconds(attempt))
        attempt += 1


async def _try(plan: Plan, helps: Helps) -> Ring | None:
    """The sum; None when help was false and others can still be asked."""
    try:
        small = len(helps.opening.total) * len(helps.bodies) <= SMALL_BYTES
        return helps.open() if small else await asyncio.to_thread(helps.open)
    except (RoundError, WireError) as error:
        if helps.masked and len(helps.bodies) == len(helps.opening.survivors):
            raise
        number = helps.opening.context.round
        log.warning(
            "study %.12s: round %d: %s", plan.study_hash, number, error, extra=about(study=plan.study_hash)
        )
    if not helps.masked:
        helps.bodies.clear()
    return None


def _requests(opening: Opening, *, masked: bool) -> dict[SiteId, OpenRequest]:
    """What each survivor would be asked."""
    context, survivors = opening.context, opening.survivors
    graph, found = Graph(context), {}
    proofs = (
        {} if masked else {site: part.body + part.signature for site, part in opening.contributions.items()}
    )
    for site in survivors:
        senders = (sender for sender in graph.holders(site) if sender in opening.contributions)
        extras = (
            {sender: opening.contributions[sender].extras[site] for sender in senders} if masked else proofs
        )
        found[site] = OpenRequest(
            context.study_hash,
            context.round,
            context.attempt,
            survivors,
            b"" if masked else opening.total,
            extras,
            context.roster,
        )
    return found


def _batches(requests: Mapping[SiteId, OpenRequest], helps: Helps) -> list[dict[SiteId, OpenRequest]]:
    """`masks`: at once all who have not helped yet; else one after another, another first each round."""
    if helps.masked:
        return [{site: request for site, request in requests.items() if site not in helps.bodies}]
    order = sorted(requests)
    first = helps.opening.context.round % len(order)
    return [{site: requests[site]} for site in (*order[first:], *order[:first])]

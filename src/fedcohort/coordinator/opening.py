"""The second exchange of a round: survivors help to open their sum, and nothing else.

What is to be opened is durable before anybody is asked: a site helps once a round,
and a coordinator that was killed must ask for the very same.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from fedcohort.coordinator.plan import Exchange, Plan, pause_seconds, refusals_in_words
from fedcohort.coordinator.sums import RunningSum
from fedcohort.errors import RoundError, WireError
from fedcohort.logs import about
from fedcohort.protection import contract
from fedcohort.protection.context import RoundContext
from fedcohort.protection.contract import CollectedHelp
from fedcohort.protection.fixed_point import Ring
from fedcohort.texts import say
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


def opening_of(context: RoundContext, total: RunningSum) -> Opening:
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


Shown = TypeVar("Shown")


@dataclass
class HelpInbox(Generic[Shown]):
    """What sites answer to the requests.

    Attributes:
        asked: by site, the digest of its request.
    """

    opening: Opening
    helps: CollectedHelp[Shown]
    asked: dict[SiteId, bytes] = field(default_factory=dict)
    refused: dict[SiteId, str] = field(default_factory=dict)

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
        self.helps.add(site, message.body)
        return self.helps.enough


def help_inbox(how: contract.OpeningExchange, opening: Opening) -> HelpInbox[Ring]:
    """Where help to open a sum goes; none has come yet."""
    heads = {site: part.body for site, part in opening.contributions.items()}
    return HelpInbox(opening, how.helps(opening.context, heads, opening.total))


async def open_round(plan: Plan, how: contract.OpeningExchange, opening: Opening, exchange: Exchange) -> Ring:
    """Ask for help until the sum is open.

    Returns:
        the sum of the survivors' integers.
    Raises:
        RoundError: all have helped, and some of it is false.
    """
    return await ask_for_help(plan, how, help_inbox(how, opening), exchange)


async def ask_for_help(
    plan: Plan, how: contract.OpeningExchange, inbox: HelpInbox[Shown], exchange: Exchange
) -> Shown:
    """Ask until the help is enough; whoever has not helped yet is asked again, the same.

    Raises:
        RoundError: all have helped, and some of it is false.
    """
    opening, helps = inbox.opening, inbox.helps
    requests = _requests(opening, plan.approvals, alone=how.alone)
    attempt = 0
    while True:
        inbox.refused.clear()
        for batch in _batches(requests, inbox, alone=how.alone):
            inbox.asked |= {site: request_digest(request) for site, request in batch.items()}
            await exchange(dict(batch), inbox.receive, len(batch), plan.study.round_timeout_seconds)
            if not helps.enough:
                continue
            opened = await _try(plan, inbox, alone=how.alone)
            if opened is not None:
                if attempt:
                    plan.waiting("")
                return opened
        unopened = sorted(site for site, code in inbox.refused.items() if code == WireError.code)
        if unopened and attempt >= MOST_REFUSED_ATTEMPTS:
            raise RoundError(
                "{sites} cannot help to open round {round}: what another site sealed for them does not open. "
                "Has a site's agreement.key been replaced? See its log",
                sites=", ".join(unopened),
                round=opening.context.round,
            )
        plan.waiting(
            say(
                "{count} of {all} sites have helped to open round {round}, which is too few{refused}",
                count=len(helps.bodies),
                all=len(opening.survivors),
                round=opening.context.round,
                refused=refusals_in_words(inbox.refused),
            )
        )
        await asyncio.sleep(pause_seconds(attempt))
        attempt += 1


async def _try(plan: Plan, inbox: HelpInbox[Shown], *, alone: bool) -> Shown | None:
    """What is opened; None when help was false and others can still be asked."""
    opening, helps = inbox.opening, inbox.helps
    try:
        small = len(opening.total) * len(helps.bodies) <= SMALL_BYTES
        return helps.open() if small else await asyncio.to_thread(helps.open)
    except (RoundError, WireError) as error:
        if not alone and len(helps.bodies) == len(opening.survivors):
            raise
        number = opening.context.round
        log.warning(
            "study %.12s: round %d: %s", plan.study_hash, number, error, extra=about(study=plan.study_hash)
        )
    if alone:
        helps.bodies.clear()
    return None


def _requests(
    opening: Opening, approvals: Mapping[SiteId, bytes], *, alone: bool
) -> dict[SiteId, OpenRequest]:
    """What each survivor would be asked: with the proofs of all, or with what others sealed for it.

    Args:
        approvals: follow the proofs, for a site that applies all sites' rules to the sum.
    """
    context, survivors, parts = opening.context, opening.survivors, opening.contributions
    shown: dict[SiteId, dict[SiteId, bytes]]
    if alone:
        proofs = {site: part.body + part.signature + approvals.get(site, b"") for site, part in parts.items()}
        shown = dict.fromkeys(survivors, proofs)
    else:
        shown = {site: {} for site in survivors}
        for sender in survivors:
            for receiver in parts[sender].extras.keys() & shown.keys():
                shown[receiver][sender] = parts[sender].extras[receiver]
    about_round = (context.study_hash, context.round, context.attempt, survivors)
    total = opening.total if alone else b""
    return {site: OpenRequest(*about_round, total, shown[site], context.roster) for site in survivors}


def _batches(
    requests: Mapping[SiteId, OpenRequest], inbox: HelpInbox[Shown], *, alone: bool
) -> list[dict[SiteId, OpenRequest]]:
    """At once all who have not helped yet; who opens alone, one after another, another first each round."""
    if not alone:
        return [{site: request for site, request in requests.items() if site not in inbox.helps.bodies}]
    order = sorted(requests)
    first = inbox.opening.context.round % len(order)
    return [{site: requests[site]} for site in (*order[first:], *order[:first])]

"""The node's process: one link to the coordinator at a time, one answer at a time.

Heartbeats go on while it computes (`worker`); what it answers from is opened in `running`.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from functools import partial

from fedcohort.errors import (
    FedcohortError,
    LedgerBehindError,
    LinkClosedError,
    StoreError,
    WireError,
)
from fedcohort.logs import about
from fedcohort.node import heads
from fedcohort.node.answer import HELD, answer, is_private, prepare
from fedcohort.node.cards import take_cards
from fedcohort.node.consent import LocalSite, receive_proposal, stored_answer, study_hash_of
from fedcohort.node.head_exchange import (
    countersign_for,
    refuse_unwitnessed,
    send_head,
    take_countersignature,
    take_heads,
    witness_last_release,
)
from fedcohort.node.keys import signed
from fedcohort.node.policy import SitePolicy
from fedcohort.node.published_rules import published_rules
from fedcohort.node.running import Running, log_error, offered_columns
from fedcohort.node.site_events import offered_catalogue
from fedcohort.node.snapshots import SECONDS_PER_DAY, forget
from fedcohort.wire.codec import encode
from fedcohort.wire.link import Link
from fedcohort.wire.messages import (
    Approval,
    Contribution,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Help,
    Message,
    Proposal,
    Roster,
)
from fedcohort.wire.signing import hashed_bodies_digest

log = logging.getLogger("fedcohort.node")

APPROVAL_POLL_SECONDS = 0.5
MOST_WAITING = 64
"""Messages that are read before they are looked at; more wait in the connection."""
HEAD_SECONDS = 5.0
"""How often others are told how far the event log has come, besides before bytes that spend a budget."""
SHORT_LINK_SECONDS, SHORT_LINK_PAUSE_SECONDS = 0.5, 2.0
"""A coordinator that turns us away at once, as it does a second node of one id, is asked with a pause."""


async def serve_link(running: Running, link: Link) -> None:
    """Say what is on offer, then answer until the link ends.

    Raises:
        StoreError: the node's own store cannot be read.
        LedgerBehindError: it is an older copy than the site has shown to others.
    """
    answered = set(running.store.answered())
    talk = asyncio.create_task(_announce(running, link, answered))
    inbox: asyncio.Queue[Message | Exception] = asyncio.Queue(MOST_WAITING)
    held: dict[str, Message] = {}
    releasing = asyncio.create_task(_ask_again_when_decided(running, held, inbox))
    reading = asyncio.create_task(_read(running, link, inbox))
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())
    shown = False
    try:
        while True:
            message = await _next(inbox)
            if isinstance(message, Heads | Roster):
                await _take_news(running, message)
                shown |= isinstance(message, Heads)
                continue
            if not shown:
                raise WireError("a question before the ledger heads that the coordinator holds")
            refusal = await refuse_unwitnessed(running, link, message)
            reply = refusal or await running.worker.answer(message, partial(_reply, running))
            if isinstance(reply, Event) and reply.kind == HELD:
                held[reply.study_hash] = message
                continue
            if isinstance(message, Proposal):
                (answered.add if isinstance(reply, Approval) else answered.discard)(study_hash_of(message))
            await _in_slot(running, reply)
            reply = await witness_last_release(running, link, reply)
            if _spends(running, reply):
                await send_head(running, link)
            await link.send(encode(reply))
            if isinstance(reply, Approval) and reply.approved:
                running.worker.make_ready(partial(_make_ready, running, reply.study_hash))
    except LinkClosedError as error:
        log_error(running, logging.INFO, error)
    except LedgerBehindError as error:
        await link.close(error.code)
        raise
    except FedcohortError as error:
        log_error(running, logging.WARNING, error)
        await link.close(error.code)
    finally:
        for beside in (talk, reading, releasing):
            beside.cancel()


async def _take_news(running: Running, news: Heads | Roster) -> None:
    """Take what is said to every site and asks nothing."""
    if isinstance(news, Heads):
        await asyncio.to_thread(take_heads, running, news)
    else:
        await asyncio.to_thread(take_cards, running.store, running.node.keys, running.cards, news)


async def _ask_again_when_decided(
    running: Running, held: dict[str, Message], inbox: "asyncio.Queue[Message | Exception]"
) -> None:
    """Put a question back once a person has let its answer go, in another process, or the time is up.

    Args:
        held: by study, the newest question whose answer waits.
    """
    airlock = running.node.airlock
    while airlock is not None:
        for study_hash in list(held):
            try:
                if await asyncio.to_thread(airlock.is_decided, study_hash):
                    await inbox.put(held.pop(study_hash))
            except FedcohortError as error:
                log_error(running, logging.WARNING, error)
        await asyncio.sleep(APPROVAL_POLL_SECONDS)


async def _next(inbox: "asyncio.Queue[Message | Exception]") -> Message:
    message = await inbox.get()
    if isinstance(message, Exception):
        raise message
    return message


async def _read(running: Running, link: Link, inbox: "asyncio.Queue[Message | Exception]") -> None:
    """Read what comes, also while an answer is computed: other sites wait for countersignatures."""
    try:
        while True:
            message = await link.receive()
            if isinstance(message, HeadCheck):
                countersignature = await asyncio.to_thread(countersign_for, running, message)
                if countersignature is not None:
                    await link.send(encode(countersignature))
            elif isinstance(message, Countersignature):
                if await asyncio.to_thread(take_countersignature, running, message):
                    running.witnesses.wake()
            else:
                await inbox.put(message)
    except Exception as error:
        # Whatever ends the reading ends the link, once what came before is answered.
        running.witnesses.wake()
        await inbox.put(error)
        raise


def _spends(running: Running, reply: Message) -> bool:
    """Whether a reply is about what no copy of the ledger may forget: a reservation, or a private release.

    A refusal may be one: it tells how a site's own test of a cohort came out. Help is one: a copy that has
    forgotten it would help to open another sum of the same round. Of an exact study it is the first answer,
    for which it counts as infinite.
    """
    if isinstance(reply, Contribution) and not is_private(running.node, reply.study_hash):
        new = reply.study_hash not in running.witnesses.exact
        running.witnesses.exact.add(reply.study_hash)
        return new
    if isinstance(reply, Contribution | Help | Event):
        return is_private(running.node, reply.study_hash)
    return isinstance(reply, Approval)


async def _in_slot(running: Running, reply: Message) -> None:
    """Hold what answers a private study, a refusal too, until the site's next slot."""
    if isinstance(reply, Contribution | Event) and is_private(running.node, reply.study_hash):
        await asyncio.sleep(_until_slot(running))


def _until_slot(running: Running, least: float = 0.0) -> float:
    """Seconds to the first multiple of `answer_slot` that is `least` or more away; 0 without one."""
    slot = running.site.policy.answer_slot
    return 0.0 if slot is None else least + slot - (time.time() + least) % slot


def _make_ready(running: Running, study_hash: str) -> None:
    """Select and compile between approval and first task; what fails here is told when the task comes."""
    try:
        prepare(running.node, study_hash)
    except FedcohortError as error:
        site = running.site.policy.id
        log.warning("%s: study %.12s: %s", site, study_hash, error, extra=about(site, study_hash))


def _reply(running: Running, message: Message) -> Message:
    """Consent for proposals, `answer()` for everything else; contributions and help are signed."""
    if isinstance(message, Proposal):
        return _consent(running.site, message)
    reply = answer(running.node, message)
    return signed(running.site.identity, reply, _hashed_bodies(running, reply))


def _hashed_bodies(running: Running, reply: Message) -> bytes | None:
    """What the signature covers of integers that leave as they were stored: the store has hashed them."""
    if not isinstance(reply, Contribution):
        return None
    stored = running.store.last(reply.study_hash)
    if stored is None or reply.body is not stored.integers:
        return None
    return hashed_bodies_digest(stored.integers_sha256, reply.extras)


def _consent(site: LocalSite, proposal: Proposal) -> Message:
    try:
        return receive_proposal(site, proposal)
    except FedcohortError as error:
        where = about(site.policy.id, study_hash_of(proposal))
        log.warning("%s: a proposal: %s", site.policy.id, error, extra=where)
        return Event("refusal", study_hash_of(proposal), code=error.code)
    except Exception:
        # A study that trips us up must not end the node.
        where = about(site.policy.id, study_hash_of(proposal), FedcohortError.code)
        log.exception("%s: a proposal: an unexpected error", site.policy.id, extra=where)
        return Event("refusal", study_hash_of(proposal), code=FedcohortError.code)


async def _announce(running: Running, link: Link, answered: set[str]) -> None:
    """Send this site's card, what is on offer, and then what `fedcohort approve` signs in another process.

    Args:
        answered: studies whose answer the coordinator has; those answered before this link, too.
    """
    card: bytes | None = None
    offer: bytes | None = None
    clock, sequence = asyncio.get_running_loop().time, 0
    head_at = clock() + _until_slot(running)
    while True:
        try:
            if card is None:
                card = encode(running.node.keys.card)
                await link.send(card)
                if held := await asyncio.to_thread(heads.held_heads, running.store):
                    await link.send(encode(Heads(held)))
            if clock() >= head_at:
                # In a slot, too: how far the log has come tells when an answer was computed.
                head_at = clock() + max(HEAD_SECONDS, _until_slot(running, HEAD_SECONDS))
                if (await asyncio.to_thread(running.store.newest))[0] > sequence:
                    sequence = await send_head(running, link)
            if offer is None:
                offer = await asyncio.to_thread(_offer, running.site.policy)
                await link.send(encode(Event("catalogue", detail=offer)))
            for study_hash in await asyncio.to_thread(running.store.answered):
                if study_hash not in answered:
                    answered.add(study_hash)
                    await asyncio.sleep(_until_slot(running))
                    await send_head(running, link)
                    await link.send(encode(stored_answer(running.site, study_hash)))
        except LinkClosedError:
            return
        except FedcohortError as error:
            log_error(running, logging.WARNING, error)
        await asyncio.sleep(APPROVAL_POLL_SECONDS)


def _offer(policy: SitePolicy) -> bytes:
    offer = {**offered_catalogue(policy, offered_columns(policy)), "rules": published_rules(policy)}
    return json.dumps(offer).encode()


async def run_node(running: Running, links: AsyncIterator[Link]) -> None:
    """Serve one link after another, for ever; once a day, forget patients who have left."""
    forgetting = asyncio.create_task(_forget_daily(running.site.policy))
    try:
        await _serve_links(running, links)
    finally:
        forgetting.cancel()


async def _forget_daily(policy: SitePolicy) -> None:
    while True:
        await asyncio.sleep(SECONDS_PER_DAY)
        try:
            await asyncio.to_thread(forget, policy)
        except Exception:
            log.exception("%s: snapshots: an unexpected error", policy.id, extra=about(policy.id))


async def _serve_links(running: Running, links: AsyncIterator[Link]) -> None:
    clock = asyncio.get_running_loop().time
    async for link in links:
        site = running.site.policy.id
        log.info("%s: linked to %s", site, link.peer.id, extra=about(site))
        began = clock()
        try:
            await serve_link(running, link)
        except StoreError as error:
            log_error(running, logging.WARNING, error)
            await link.close(error.code)
        if clock() - began < SHORT_LINK_SECONDS:
            await asyncio.sleep(SHORT_LINK_PAUSE_SECONDS)

"""The node's process: one link to the coordinator at a time, one answer at a time.

Heartbeats go on while it computes (`worker`). The database of the site's patients is
opened read-only, the node's own store in the folder `state` of site.toml.
"""

import asyncio
import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

from fedcohort.audit import Detail
from fedcohort.errors import (
    ConfigError,
    FedcohortError,
    LedgerBehindError,
    LinkClosedError,
    StoreError,
    UnwitnessedError,
    WireError,
)
from fedcohort.logs import about
from fedcohort.node import counter, heads
from fedcohort.node.answer import Node, answer, is_private, prepare, private_study
from fedcohort.node.cards import announced, take_cards
from fedcohort.node.consent import Site, read_approval, receive_proposal, stored_answer, study_hash_of
from fedcohort.node.keys import Keys, RosterFolder, signed
from fedcohort.node.policy import SitePolicy, check_study
from fedcohort.node.store import SqlNodeStore
from fedcohort.node.told import told_rules
from fedcohort.node.witness import WITNESS_SECONDS, Witnesses, countersign, missing_words, needed
from fedcohort.node.worker import Worker
from fedcohort.sources.catalogue import catalogue
from fedcohort.sources.cohort import load_cohort
from fedcohort.sources.durable import hold
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.wire.codec import encode
from fedcohort.wire.handshake import COUNTERSIGNING
from fedcohort.wire.identity import load_or_create, load_or_create_agreement
from fedcohort.wire.link import Link
from fedcohort.wire.messages import (
    Approval,
    Card,
    Contribution,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Message,
    Proposal,
    Roster,
    SiteId,
    Task,
)

log = logging.getLogger("fedcohort.node")

APPROVAL_POLL_SECONDS = 0.5
MOST_WAITING = 64
"""Messages that are read before they are looked at; more wait in the connection."""
HEAD_SECONDS = 5.0
"""How often others are told how far the event log has come, besides before bytes that spend a budget."""
SHORT_LINK_SECONDS, SHORT_LINK_PAUSE_SECONDS = 0.5, 2.0
"""A coordinator that turns us away at once, as it does a second node of one id, is asked with a pause."""


@dataclass(frozen=True)
class Running:
    """A node that is up: who it is, what it may answer and where, and whose cards it knows."""

    site: Site
    node: Node
    held: sqlite3.Connection
    worker: Worker
    cards: dict[SiteId, Card]
    witnesses: Witnesses = field(default_factory=Witnesses)

    @property
    def store(self) -> SqlNodeStore:
        """The node's own database."""
        store = self.site.store
        if not isinstance(store, SqlNodeStore):
            raise ConfigError("a live node needs its store on disk")
        return store


def open_node(policy: SitePolicy, *, newest_copy: bool = False) -> Running:
    """Open a site's key, store and data.

    Args:
        newest_copy: the operator's word that node.db is the newest copy, for as long as this process runs.
    Raises:
        KeyFileError, StoreError, LedgerBehindError, ConfigError: what is wrong, and the remedy.
    """
    held = hold(policy.state)
    identity = load_or_create(policy.state / "site.key", policy.id)
    agreement = load_or_create_agreement(policy.state / "agreement.key")
    store = SqlNodeStore(policy.state / "node.db", alone=True)
    heads.check_not_behind(store, policy.id)
    cards = announced(store)
    keys = Keys(identity, agreement, cards.get, RosterFolder(policy.roster))
    offered = offered_columns(policy)

    def load(cohort: Cohort, seed: int, private: bool) -> Table:
        return load_cohort(policy.data, cohort, seed, offered, policy.state, private)

    def read(encoded: bytes) -> Approval:
        return read_approval(identity, encoded)

    allow = partial(check_study, policy)
    node = Node(
        policy.id, policy.min_patients, store, keys, load, _remember(read), allow=allow,
        noisy_minimum=policy.noisy_minimum,
    )  # fmt: skip
    witnesses = Witnesses(by_operator=newest_copy)
    if policy.counter is not None:
        witnesses.by_counter = counter.agrees(policy.counter, identity, store)
    running = Running(Site(policy, identity, store), node, held, Worker(), cards, witnesses)
    if newest_copy:
        store.note("newest-copy")
        _vouched(running)
    return running


def _remember(read: Callable[[bytes], Approval]) -> Callable[[bytes], Approval]:
    """Verify a signature once for the same bytes; other bytes are verified anew."""
    seen: dict[bytes, Approval] = {}

    def remembered(encoded: bytes) -> Approval:
        if encoded not in seen:
            seen.clear()
            seen[encoded] = read(encoded)
        return seen[encoded]

    return remembered


def offered_columns(policy: SitePolicy) -> dict[str, list[str]]:
    """Tables and columns on offer; "*" is every column that an import declared."""
    declared = catalogue(policy.data, None)["tables"]
    return {
        table: list(declared.get(table, {}).get("columns", {})) if columns == "*" else list(columns)
        for table, columns in policy.tables.items()
    }


async def serve_link(running: Running, link: Link) -> None:
    """Say what is on offer, then answer until the link ends.

    Raises:
        StoreError: the node's own store cannot be read.
        LedgerBehindError: it is an older copy than the site has shown to others.
    """
    told = {found.study_hash for found in running.store.proposals() if found.state != "asked"}
    talk = asyncio.create_task(_tell(running, link, told))
    inbox: asyncio.Queue[Message | Exception] = asyncio.Queue(MOST_WAITING)
    reading = asyncio.create_task(_read(running, link, inbox))
    reading.add_done_callback(lambda task: task.cancelled() or task.exception())
    shown = False
    try:
        while True:
            message = await _next(inbox)
            if isinstance(message, Heads):
                await asyncio.to_thread(_take_heads, running, message)
                shown = True
                continue
            if isinstance(message, Roster):
                await asyncio.to_thread(take_cards, running.store, running.node.keys, running.cards, message)
                continue
            if not shown:
                raise WireError("a question before the ledger heads that the coordinator holds")
            refusal = await _unwitnessed(running, link, message)
            reply = refusal or await running.worker.answer(message, partial(_reply, running))
            if isinstance(message, Proposal):
                (told.add if isinstance(reply, Approval) else told.discard)(study_hash_of(message))
            await _in_slot(running, reply)
            if _spends(running, reply):
                await _tell_head(running, link)
            await link.send(encode(reply))
            if isinstance(reply, Approval) and reply.approved:
                running.worker.make_ready(partial(_make_ready, running, reply.study_hash))
    except LinkClosedError as error:
        _log(running, logging.INFO, error)
    except LedgerBehindError as error:
        await link.close(error.code)
        raise
    except FedcohortError as error:
        _log(running, logging.WARNING, error)
        await link.close(error.code)
    finally:
        talk.cancel()
        reading.cancel()


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
                told = await asyncio.to_thread(_countersign, running, message)
                if told is not None:
                    await link.send(encode(told))
            elif isinstance(message, Countersignature):
                if await asyncio.to_thread(_take_countersignature, running, message):
                    running.witnesses.wake()
            else:
                await inbox.put(message)
    except Exception as error:
        # Whatever ends the reading ends the link, once what came before is answered.
        running.witnesses.wake()
        await inbox.put(error)
        raise


def _countersign(running: Running, check: HeadCheck) -> Countersignature | None:
    return countersign(running.site.identity, running.store, _key_of(running), check)


def _take_countersignature(running: Running, told: Countersignature) -> bool:
    confirmed = running.node.keys.confirmed()
    return running.witnesses.take(running.site.identity, running.store, confirmed, told)


async def _unwitnessed(running: Running, link: Link, message: Message) -> Message | None:
    """A refusal, where nothing shows that a private study is not answered from an older copy.

    Raises:
        LedgerBehindError: it would be.
    """
    study = private_study(running.node, message.study_hash) if isinstance(message, Task) else None
    if study is None or not isinstance(message, Task) or study.hash in running.witnesses.studies:
        return None
    try:
        await _witness(running, link, study)
    except UnwitnessedError as error:
        site = running.site.policy.id
        where = about(site, study.hash, error.code)
        log.warning("%s: study %.12s: %s", site, study.hash, error, extra=where)
        return Event("refusal", study.hash, message.round, message.attempt, error.code)
    running.witnesses.studies.add(study.hash)
    return None


async def _witness(running: Running, link: Link, study: Study) -> None:
    """Have other sites countersign the newest head; else the counter or the operator's word must do.

    Raises:
        UnwitnessedError: too few have, and neither of them stands in.
        LedgerBehindError: another site holds a newer head.
    """
    witnesses, here = running.witnesses, running.site.identity.id
    peers = {site: key for site, key in running.node.keys.confirmed().items() if site != here}
    n_needed, asked = needed(len(peers), study.colluders), None
    if n_needed <= len(peers) and link.peer.version >= COUNTERSIGNING:
        check = await asyncio.to_thread(witnesses.ask, running.site.identity, running.store, n_needed)
        asked = witnesses.asked
        await link.send(encode(check))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WITNESS_SECONDS):
                await asked.done.wait() if asked is not None else None
        await asyncio.to_thread(heads.check_not_behind, running.store, here)
    if asked is not None and asked.enough:
        detail: Detail = {"sites": sorted(asked.signed)}
        await asyncio.to_thread(running.store.note, "countersigned", study.hash, detail)
        await asyncio.to_thread(_vouched, running)
    elif not (witnesses.by_operator or witnesses.by_counter):
        raise UnwitnessedError(missing_words(peers, asked, n_needed))


def _vouched(running: Running) -> None:
    """From here on the counter is kept up with the log."""
    place = running.site.policy.counter
    if place is not None:
        counter.advance(place, running.site.identity, running.store)
        running.witnesses.by_counter = True


def _log(running: Running, level: int, error: FedcohortError) -> None:
    site = running.site.policy.id
    log.log(level, "%s: %s", site, error, extra=about(site))


def _spends(running: Running, reply: Message) -> bool:
    """Whether a reply is about what no copy of the ledger may forget: a reservation, or a private release.

    A refusal may be one: it tells how a site's own test of a cohort came out.
    """
    if isinstance(reply, Contribution | Event):
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


async def _tell_head(running: Running, link: Link) -> int:
    """Tell how far the event log has come, and return it; the counter knows it before others do."""
    if running.witnesses.by_counter:
        await asyncio.to_thread(_vouched, running)
    head = await asyncio.to_thread(heads.sign_head, running.site.identity, running.store)
    await link.send(encode(Heads((head,))))
    return head.sequence


def _take_heads(running: Running, message: Heads) -> None:
    heads.take_heads(running.site.identity, running.store, _key_of(running), message)


def _key_of(running: Running) -> Callable[[SiteId], bytes | None]:
    """Another site's identity key, as far as it is known here."""
    confirmed = running.node.keys.confirmed()

    def key_of(name: SiteId) -> bytes | None:
        card = running.cards.get(name)
        return confirmed.get(name) or (card.identity_key if card else None)

    return key_of


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
    return signed(running.site.identity, answer(running.node, message))


def _consent(site: Site, proposal: Proposal) -> Message:
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


async def _tell(running: Running, link: Link, told: set[str]) -> None:
    """Send this site's card, what is on offer, and then what `fedcohort approve` signs in another process.

    Args:
        told: studies whose answer the coordinator has; those answered before this link, too.
    """
    card: bytes | None = None
    offer: bytes | None = None
    clock, sequence = asyncio.get_running_loop().time, 0
    tell_at = clock() + _until_slot(running)
    while True:
        try:
            if card is None:
                card = encode(running.node.keys.card)
                await link.send(card)
                if held := await asyncio.to_thread(heads.held_heads, running.store):
                    await link.send(encode(Heads(held)))
            if clock() >= tell_at:
                # In a slot, too: how far the log has come tells when an answer was computed.
                tell_at = clock() + max(HEAD_SECONDS, _until_slot(running, HEAD_SECONDS))
                if (await asyncio.to_thread(running.store.newest))[0] > sequence:
                    sequence = await _tell_head(running, link)
            if offer is None:
                offer = await asyncio.to_thread(_offer, running.site.policy)
                await link.send(encode(Event("catalogue", detail=offer)))
            proposals = await asyncio.to_thread(running.store.proposals)
            for found in proposals:
                if found.state != "asked" and found.study_hash not in told:
                    told.add(found.study_hash)
                    await asyncio.sleep(_until_slot(running))
                    await _tell_head(running, link)
                    await link.send(encode(stored_answer(running.site, found.study_hash)))
        except LinkClosedError:
            return
        except FedcohortError as error:
            _log(running, logging.WARNING, error)
        await asyncio.sleep(APPROVAL_POLL_SECONDS)


def _offer(policy: SitePolicy) -> bytes:
    offer = {**catalogue(policy.data, offered_columns(policy)), "rules": told_rules(policy)}
    return json.dumps(offer).encode()


async def run_node(running: Running, links: AsyncIterator[Link]) -> None:
    """Serve one link after another, for ever."""
    clock = asyncio.get_running_loop().time
    async for link in links:
        site = running.site.policy.id
        log.info("%s: linked to %s", site, link.peer.id, extra=about(site))
        began = clock()
        try:
            await serve_link(running, link)
        except StoreError as error:
            _log(running, logging.WARNING, error)
            await link.close(error.code)
        if clock() - began < SHORT_LINK_SECONDS:
            await asyncio.sleep(SHORT_LINK_PAUSE_SECONDS)

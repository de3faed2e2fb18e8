"""Ledger heads on a link: sent, checked, and countersigned before a private study is answered.

Heads and their counter are in `heads`, countersignatures in `witness`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from fedcohort.audit.chain import Detail
from fedcohort.errors import UnwitnessedError
from fedcohort.logs import about
from fedcohort.node import heads
from fedcohort.node.answer import is_last, is_private, private_study
from fedcohort.node.running import Running, keep_counter
from fedcohort.node.witness import WITNESS_SECONDS, HeadExchange, countersign, missing_words, needed
from fedcohort.study import Study
from fedcohort.wire.codec import encode
from fedcohort.wire.handshake import COUNTERSIGNING
from fedcohort.wire.link import Link
from fedcohort.wire.messages import (
    Contribution,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Help,
    Message,
    OpenRequest,
    SiteId,
    Task,
)

log = logging.getLogger("fedcohort.node")


async def refuse_unwitnessed(running: Running, link: Link, message: Message) -> Message | None:
    """A refusal of a private study, where nothing proves that node.db is its newest copy.

    Raises:
        LedgerBehindError: it would be.
    """
    if not isinstance(message, Task | OpenRequest):
        return None
    study = private_study(running.node, message.study_hash)
    if study is None or study.hash in running.witnesses.studies:
        return None
    refusal = await _unless_witnessed(running, link, study, message, first=True)
    if refusal is None:
        running.witnesses.studies.add(study.hash)
    return refusal


async def witness_last_release(running: Running, link: Link, reply: Message) -> Message:
    """The reply to a private study's last sum, or a refusal until other sites know the head that holds it.

    Otherwise an older copy from between the study's first answer and its last could answer it all again.

    Raises:
        LedgerBehindError: another site holds a head that the log lacks.
    """
    if not isinstance(reply, Contribution | Help) or not is_private(running.node, reply.study_hash):
        return reply
    study, what = running.node.studies[reply.study_hash], type(reply).__name__
    is_prepared = study.hash in running.node.prepared
    last = (
        is_last(running.node, reply) if is_prepared else await asyncio.to_thread(is_last, running.node, reply)
    )
    if not last or (study.hash, reply.round, what) in running.witnesses.last:
        return reply
    refusal = await _unless_witnessed(running, link, study, reply, first=False)
    if refusal is None:
        running.witnesses.last.add((study.hash, reply.round, what))
    return refusal or reply


async def _unless_witnessed(
    running: Running,
    link: Link,
    study: Study,
    about_it: Task | OpenRequest | Contribution | Help,
    *,
    first: bool,
) -> Event | None:
    try:
        await _witness(running, link, study, first=first)
    except UnwitnessedError as error:
        site = running.site.policy.id
        where = about(site, study.hash, error.code)
        log.warning("%s: study %.12s: %s", site, study.hash, error, extra=where)
        return Event("refusal", study.hash, about_it.round, about_it.attempt, error.code)
    return None


async def _witness(running: Running, link: Link, study: Study, *, first: bool) -> None:
    """Have other sites countersign the newest head; where too few do, the counter or the operator must vouch.

    Args:
        first: of this process and study, so that others first say what they hold, and the log must have it.
    Raises:
        UnwitnessedError: too few have, and neither of them stands in.
        LedgerBehindError: another site holds a head that the log lacks.
    """
    witnesses, identity = running.witnesses, running.site.identity
    peers = {site: key for site, key in running.node.keys.confirmed().items() if site != identity.id}
    n_needed, asked = needed(len(peers), study.colluders), None
    if n_needed <= len(peers) and link.peer.version >= COUNTERSIGNING:
        if first:
            asked = await _exchange(running, link, partial(witnesses.recall, identity, n_needed))
        if asked is None or asked.enough:
            asked = await _exchange(running, link, partial(witnesses.ask, identity, running.store, n_needed))
    if asked is not None and asked.enough:
        detail: Detail = {"sites": sorted(asked.signed)}
        await asyncio.to_thread(running.store.note, "countersigned", study.hash, detail)
        await asyncio.to_thread(keep_counter, running)
    elif not (witnesses.by_operator or witnesses.by_counter):
        raise UnwitnessedError(missing_words(peers, asked, n_needed))


async def _exchange(running: Running, link: Link, begin: Callable[[], HeadCheck]) -> HeadExchange | None:
    """Show the other sites a head, and wait until enough have signed, or no longer.

    Raises:
        LedgerBehindError: one of them holds a head that the log lacks.
    """
    check = await asyncio.to_thread(begin)
    asked = running.witnesses.asked
    await link.send(encode(check))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WITNESS_SECONDS):
            await asked.done.wait() if asked is not None else None
    await asyncio.to_thread(heads.check_not_behind, running.store, running.site.identity.id)
    return asked


async def send_head(running: Running, link: Link) -> int:
    """Send the newest head, after the counter is advanced, and return its entry's number."""
    if running.witnesses.by_counter:
        await asyncio.to_thread(keep_counter, running)
    head = await asyncio.to_thread(heads.sign_head, running.site.identity, running.store)
    await link.send(encode(Heads((head,))))
    return head.sequence


def take_heads(running: Running, message: Heads) -> None:
    """Compare this site's head with its log, and keep the other sites' newest.

    Raises:
        LedgerBehindError: the log does not hold what this site has signed.
    """
    heads.take_heads(running.site.identity, running.store, _key_of(running), message)


def countersign_for(running: Running, check: HeadCheck) -> Countersignature | None:
    """Sign what this site holds of another; None where the operator has not confirmed that site's key."""
    return countersign(running.site.identity, running.store, running.node.keys.confirmed().get, check)


def take_countersignature(running: Running, countersignature: Countersignature) -> bool:
    """Store another site's countersignature.

    Returns:
        whether enough sites have countersigned.

    Raises:
        LedgerBehindError: it holds a head of this site that the log lacks.
    """
    confirmed = running.node.keys.confirmed()
    return running.witnesses.take(running.site.identity, running.store, confirmed, countersignature)


def _key_of(running: Running) -> Callable[[SiteId], bytes | None]:
    """Another site's identity key, as far as it is known here."""
    confirmed = running.node.keys.confirmed()

    def key_of(name: SiteId) -> bytes | None:
        card = running.cards.get(name)
        return confirmed.get(name) or (card.identity_key if card else None)

    return key_of

"""Heads of event logs on a link: sent, checked, and countersigned before a private study is answered.

What a head and a countersignature are, and when one is refused, is in `heads` and `witness`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from fedcohort.audit import Detail
from fedcohort.errors import UnwitnessedError
from fedcohort.logs import about
from fedcohort.node import heads
from fedcohort.node.answer import private_study
from fedcohort.node.running import Running, keep_counter
from fedcohort.node.witness import WITNESS_SECONDS, countersign, missing_words, needed
from fedcohort.study import Study
from fedcohort.wire.codec import encode
from fedcohort.wire.handshake import COUNTERSIGNING
from fedcohort.wire.link import Link
from fedcohort.wire.messages import Countersignature, Event, HeadCheck, Heads, Message, SiteId, Task

log = logging.getLogger("fedcohort.node")


async def unwitnessed(running: Running, link: Link, message: Message) -> Message | None:
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
        await asyncio.to_thread(keep_counter, running)
    elif not (witnesses.by_operator or witnesses.by_counter):
        raise UnwitnessedError(missing_words(peers, asked, n_needed))


async def tell_head(running: Running, link: Link) -> int:
    """Tell how far the event log has come, and return it; the counter knows it before others do."""
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
    """Sign the newest head of another site that this one holds; None where that site is not known here."""
    return countersign(running.site.identity, running.store, _key_of(running), check)


def take_countersignature(running: Running, told: Countersignature) -> bool:
    """Take what another site has signed; whether so many have as must.

    Raises:
        LedgerBehindError: it holds a newer head of this site than the log does.
    """
    confirmed = running.node.keys.confirmed()
    return running.witnesses.take(running.site.identity, running.store, confirmed, told)


def _key_of(running: Running) -> Callable[[SiteId], bytes | None]:
    """Another site's identity key, as far as it is known here."""
    confirmed = running.node.keys.confirmed()

    def key_of(name: SiteId) -> bytes | None:
        card = running.cards.get(name)
        return confirmed.get(name) or (card.identity_key if card else None)

    return key_of

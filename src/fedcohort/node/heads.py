"""Ledger heads: no older copy of a site's database can forget what the site has spent.

A *head* is number and hash of the newest entry of a site's event log, signed by the
site's key, as certificate logs sign theirs (RFC 6962, section 3.5; Crosby and Wallach
2009). It goes out before the bytes that an entry is about. The coordinator and the other
sites keep the newest one of each site, and show it whenever the site links: a node whose
log does not hold what it has signed stops, and does not start again, until the newest
copy is back or its operator has written off what the older one cannot know.

The *counter* is a file outside the node's folder with the newest head. Where too few other sites can
countersign, it reveals an older copy of node.db: a restored backup of the folder does not restore it.
"""

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fedcohort.audit.chain import GENESIS
from fedcohort.errors import ConfigError, FedcohortError, LedgerBehindError
from fedcohort.logs import about
from fedcohort.node.consent import LocalSite, refuse
from fedcohort.node.ledger import left_of
from fedcohort.node.records import Limit, Reservation
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.files import write_whole
from fedcohort.wire.codec import decode_head, encode
from fedcohort.wire.identity import Identity
from fedcohort.wire.messages import Heads, LedgerHead, SiteId
from fedcohort.wire.signing import head_signing_bytes, is_signed_head

log = logging.getLogger("fedcohort.node")

WRITTEN_OFF = "written-off"
FORKED = "forked-ledger"
MAX_HEADS = 10_000
MOST_FORKS = 10
"""Forks of one site that the event log records."""


def sign_head(identity: Identity, store: SqlNodeStore) -> LedgerHead:
    """The newest head of this site's event log, signed."""
    head = LedgerHead(identity.id, _epoch(store), *store.newest())
    return replace(head, signature=identity.sign(head_signing_bytes(head)))


def no_head(identity: Identity) -> LedgerHead:
    """The head of an empty log, signed: it is older than any, and asks what others hold."""
    head = LedgerHead(identity.id, 0, 0, GENESIS)
    return replace(head, signature=identity.sign(head_signing_bytes(head)))


def _epoch(store: SqlNodeStore) -> int:
    return max((int(detail["epoch"]) for detail in store.details(WRITTEN_OFF)), default=0)


def check_not_behind(store: SqlNodeStore, site: SiteId) -> None:
    """Refuse to start on an older copy than the head that others have shown.

    Raises:
        LedgerBehindError: it is one.
    """
    encoded = store.heads.all().get(site)
    if encoded is not None:
        _check(store, decode_head(encoded))


def _check(store: SqlNodeStore, signed: LedgerHead) -> None:
    epoch = _epoch(store)
    if signed.epoch < epoch or (
        signed.epoch == epoch and (signed.sequence == 0 or store.hash_at(signed.sequence) == signed.hash)
    ):
        return
    raise LedgerBehindError(
        f"node.db: its event log ends at entry {store.newest()[0]} and lacks entry {signed.sequence}, "
        f"which {signed.site} has signed: an older copy was restored, or entries were taken away. Restore "
        "the newest copy, or give up what this one cannot know: `fedcohort ledger --write-off`"
    )


def take_heads(
    identity: Identity, store: SqlNodeStore, key_of: Callable[[SiteId], bytes | None], heads: Heads
) -> None:
    """Compare this site's head with its log, and keep the other sites' newest.

    Args:
        key_of: another site's identity key, as far as it is known here.
    Raises:
        LedgerBehindError: the log does not hold what this site has signed.
    """
    newest_heads = {head.site: head for head in held_heads(store)}
    for head in heads.heads:
        key = identity.public_key if head.site == identity.id else key_of(head.site)
        before = newest_heads.get(head.site)
        if key is None:
            words = "%s: a ledger head of %s is not kept yet: its key is neither announced nor confirmed here"
            log.info(words, identity.id, head.site, extra=about(identity.id))
            continue
        if (before is None and len(newest_heads) >= MAX_HEADS) or not is_signed_head(head, key):
            words = "%s: a ledger head of %s that its key has not signed"
            log.warning(words, identity.id, head.site, extra=about(identity.id))
            continue
        if before is not None and not is_signed_head(before, key):
            store.heads.forget(head.site)
            before = None
        if head.site == identity.id:
            _take_own(store, head)
            continue
        if before is not None and before.age == head.age and before.hash != head.hash:
            _note_fork(store, identity.id, head)
        store.heads.keep(head.site, head.age, encode(Heads((head,))))


def _take_own(store: SqlNodeStore, head: LedgerHead) -> None:
    """Check that this site's log holds what it has signed, however far an older copy has gone on since.

    A head that does not is kept in place of a newer one, so that the next start knows of it.
    """
    if _is_behind(store, head):
        store.heads.forget(head.site)
    store.heads.keep(head.site, head.age, encode(Heads((head,))))
    _check(store, head)


def is_own(head: LedgerHead, identity: Identity) -> bool:
    """Whether a head is this site's own, by its signature."""
    return head.site == identity.id and is_signed_head(head, identity.public_key)


def _note_fork(store: SqlNodeStore, here: SiteId, head: LedgerHead) -> None:
    """Record two signed logs of one length that differ: that site has run from two copies of its database.

    Once for each length, and a few times a site: it could sign as many as it likes.
    """
    noted = [detail["sequence"] for detail in store.details(FORKED) if detail["site"] == head.site]
    if head.sequence in noted or len(noted) >= MOST_FORKS:
        return
    words = "%s: %s has signed two different ledgers of %d entries"
    log.error(words, here, head.site, head.sequence, extra=about(here))
    store.note(FORKED, detail={"site": head.site, "sequence": head.sequence})


def held_heads(store: SqlNodeStore) -> tuple[LedgerHead, ...]:
    """Every head that this node keeps for others, and its own as others have shown it."""
    return tuple(decode_head(encoded) for encoded in store.heads.all().values())


def write_off(site: LocalSite, store: SqlNodeStore) -> int:
    """Write off what an older copy cannot know: every budget counts as spent, every approval ends.

    Nobody knows what was spent since that copy, so that nothing is left until site.toml gives more.

    Returns:
        the entry of the event log that was lost.
    Raises:
        ConfigError: nothing is lost.
    """
    encoded = store.heads.all().get(site.policy.id)
    lost = decode_head(encoded) if encoded is not None else None
    if lost is None or not _is_behind(store, lost):
        raise ConfigError(f"{site.policy.id}: its event log holds all that others have seen; nothing is lost")
    for proposal in store.proposals():
        if proposal.state == "approved":
            refuse(site, proposal.study_hash, LedgerBehindError.code)
    for group in site.policy.groups:
        if group.budget is None or math.isinf(group.budget.epsilon):
            continue
        # What counts as infinite now the operator may settle later, and must have nothing left then.
        finite = (reservation for reservation in store.reservations() if math.isfinite(reservation.epsilon))
        epsilon, delta = left_of(group.limit.counted(finite), group.limit)
        name = hashlib.sha256(f"{lost.epoch} {lost.sequence} {group.name}".encode()).hexdigest()
        store.reserve(Reservation(name, group.tables[0], epsilon, delta), Limit(group.name))
    store.note(WRITTEN_OFF, detail={"epoch": lost.epoch + 1, "sequence": lost.sequence})
    return lost.sequence


def _is_behind(store: SqlNodeStore, signed: LedgerHead) -> bool:
    try:
        _check(store, signed)
    except LedgerBehindError:
        return True
    return False


def counter_matches(path: Path, identity: Identity, store: SqlNodeStore) -> bool:
    """Whether the counter shows that the log is the newest copy; it is made where the log begins.

    Returns:
        False where the file is missing and the log has gone on: then it proves nothing.
    Raises:
        LedgerBehindError: the log lacks what the counter has seen.
        ConfigError: the file cannot be read or written, or is no counter of this site.
    """
    try:
        head = decode_head(path.read_bytes())
    except FileNotFoundError:
        if store.newest()[0] > 0:
            return False
        advance_counter(path, identity, store)
        return True
    except OSError as error:
        raise ConfigError(f"counter {path}: {error.strerror}; let the node's account read it") from None
    except FedcohortError:
        head = None
    if head is None or not is_own(head, identity):
        raise ConfigError(
            f"counter {path}: not a counter that {identity.id} has written; name another file, or restore it"
        )
    take_heads(identity, store, lambda _: None, Heads((head,)))
    return True


def advance_counter(path: Path, identity: Identity, store: SqlNodeStore) -> None:
    """Write the newest head to the counter, durably and as a whole.

    Raises:
        ConfigError: the file cannot be written.
    """
    data = encode(Heads((sign_head(identity, store),)))
    try:
        write_whole(path, data, sync_folder=True)
    except OSError as error:
        raise ConfigError(
            f"counter {path}: {error.strerror}; let the node's account write its folder"
        ) from error

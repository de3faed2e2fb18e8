"""Countersignatures of other sites on this site's newest ledger head, so that no older copy answers a study.

A coordinator that relays no heads would let a node that was restored from a backup spend twice. So once a
process start and study, before the first answer, a node asks the other sites with a nonce what they hold of
it, and each signs that: a head that the node's log must have. The nonce makes it fresh. Only then the node
shows its newest head, and each signs that it holds it. In one step an older copy that has gone on by itself
would show a head that is newer than what the others hold, and they would let go of what convicts it. For
the same reason a site keeps apart what it was asked to countersign from what a coordinator relays.

More than `colluders` must sign whose keys the operator has confirmed, and so many that two such sets share
a site that tells the truth (the quorum of decision 5). The newest head is shown once more before a study's
last release leaves, so that the others know what the study has cost. In between nothing is asked.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fedcohort.logs import about
from fedcohort.node.heads import is_own, no_head, sign_head, take_heads
from fedcohort.node.store import SqlNodeStore
from fedcohort.wire.codec import decode_head, encode
from fedcohort.wire.identity import Identity, verify
from fedcohort.wire.messages import Countersignature, HeadCheck, Heads, LedgerHead, SiteId
from fedcohort.wire.signing import countersigning_bytes, is_signed_head

log = logging.getLogger("fedcohort.node")

NONCE_BYTES = 32
WITNESS_SECONDS = 10.0
"""How long a task waits for countersignatures."""


def needed(n_peers: int, colluders: int) -> int:
    """How many of the confirmed other sites must countersign.

    Two sets of so many share more than `colluders` sites, so that one of them tells the truth about both.
    """
    return max(colluders + 1, (n_peers + colluders) // 2 + 1)


@dataclass
class HeadExchange:
    """One exchange: the head that was shown, and the sites that have countersigned it."""

    check: HeadCheck
    needed: int
    signed: set[SiteId] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def enough(self) -> bool:
        """Whether enough sites have signed."""
        return len(self.signed) >= self.needed


@dataclass
class Witnesses:
    """The evidence in this process that node.db is the newest copy.

    Attributes:
        studies: for which others have countersigned, or the counter or the operator stood in.
        last: what ends a study (its hash, its last round, contribution or help) and others have seen the
            head of.
        exact: studies without privacy that have released something, and whose head was sent.
        asked: the exchange that is going on.
        by_operator: the operator has said so when the process was started.
        by_counter: the counter outside the folder agrees with the log, and is kept up with it.
    """

    studies: set[str] = field(default_factory=set)
    last: set[tuple[str, int, str]] = field(default_factory=set)
    exact: set[str] = field(default_factory=set)
    asked: HeadExchange | None = None
    by_operator: bool = False
    by_counter: bool = False

    def ask(self, identity: Identity, store: SqlNodeStore, n_needed: int) -> HeadCheck:
        """Begin an exchange about the newest head."""
        return self._begin(sign_head(identity, store), n_needed)

    def recall(self, identity: Identity, n_needed: int) -> HeadCheck:
        """Begin an exchange about the heads that others hold, without showing a new one."""
        return self._begin(no_head(identity), n_needed)

    def _begin(self, head: LedgerHead, n_needed: int) -> HeadCheck:
        check = HeadCheck(head, secrets.token_bytes(NONCE_BYTES))
        self.asked = HeadExchange(check, n_needed)
        return check

    def take(
        self,
        identity: Identity,
        store: SqlNodeStore,
        confirmed: Mapping[SiteId, bytes],
        countersignature: Countersignature,
    ) -> bool:
        """Store another site's countersignature.

        Returns:
            whether enough sites have countersigned.

        Raises:
            LedgerBehindError: it holds a head of this site that the log lacks.
        """
        asked = self.asked
        if asked is not None and is_countersigned(identity, store, confirmed, asked.check, countersignature):
            asked.signed.add(countersignature.site)
        return asked is not None and asked.enough

    def wake(self) -> None:
        """End the wait for the exchange."""
        if self.asked is not None:
            self.asked.done.set()


def is_countersigned(
    identity: Identity,
    store: SqlNodeStore,
    confirmed: Mapping[SiteId, bytes],
    check: HeadCheck,
    countersignature: Countersignature,
) -> bool:
    """Whether a site whose key is confirmed here holds what it was shown, and nothing newer.

    Raises:
        LedgerBehindError: it holds a head that this site has signed, and the log lacks.
    """
    key, head = confirmed.get(countersignature.site), countersignature.head
    if key is None or countersignature.site == identity.id or countersignature.nonce != check.nonce:
        return False
    if not verify(key, countersignature.signature, countersigning_bytes(countersignature)):
        return False
    if not is_own(head, identity):
        return False
    take_heads(identity, store, lambda _: None, Heads((head,)))
    return (head.age, head.hash) == (check.head.age, check.head.hash) or head.age > check.head.age


def countersign(
    identity: Identity, store: SqlNodeStore, key_of: Callable[[SiteId], bytes | None], check: HeadCheck
) -> Countersignature | None:
    """Sign what this site holds of another: the newest head, or, where none is shown, what it signed last.

    Args:
        key_of: a site's key as the operator has confirmed it. One that a coordinator only announces it could
            exchange, and with it what is held.
    Returns:
        None where that site is not confirmed here, or has not signed what it shows.
    """
    shown, key = check.head, key_of(check.head.site)
    if shown.site == identity.id:
        return None
    if key is None or not is_signed_head(shown, key):
        words = "%s: no countersignature for %s: its key is not confirmed here (`fedcohort roster`)"
        log.info(words, identity.id, shown.site, extra=about(identity.id))
        return None
    head = _held(store, shown, key)
    if shown.sequence > 0:
        take_heads(identity, store, key_of, Heads((shown,)))
        store.countersigned.keep(shown.site, shown.age, encode(Heads((shown,))))
        encoded = store.heads.of(shown.site)
        head = decode_head(encoded) if encoded is not None else shown
    countersignature = Countersignature(identity.id, head, check.nonce)
    return replace(countersignature, signature=identity.sign(countersigning_bytes(countersignature)))


def _held(store: SqlNodeStore, shown: LedgerHead, key: bytes) -> LedgerHead:
    """The head of another site that this one countersigned last, or else holds, or else is shown."""
    for heads in (store.countersigned, store.heads):
        encoded = heads.of(shown.site)
        if encoded is not None:
            head = decode_head(encoded)
            if is_signed_head(head, key):
                return head
            heads.forget(shown.site)
    return shown


def missing_words(peers: Mapping[SiteId, bytes], asked: HeadExchange | None, n_needed: int) -> str:
    """Why too few sites countersigned, and what to do; for the operator's log."""
    signed = asked.signed if asked is not None else set()
    silent = ", ".join(sorted(set(peers) - signed)) or "none"
    reason = (
        f"{n_needed} other sites must countersign the newest ledger head, and {len(peers)} are confirmed here"
    )
    if n_needed <= len(peers):
        reason = (
            f"{len(signed)} of the {n_needed} other sites that must countersign the newest ledger head did"
        )
    return (
        f"{reason} (not heard of: {silent}; a site that is away or of an earlier version, or that has not "
        "confirmed this site's key, does not countersign). So nothing shows that node.db is the newest copy: "
        "wait for them, confirm more sites (`fedcohort roster`), or, where you know that it is the newest, "
        "start the node with --newest-copy: once, where counter in site.toml names a file outside the folder "
        "state, else at every start"
    )

"""Other sites countersign this site's newest ledger head, so that no older copy answers a private study.

A coordinator that relays no heads would let a node that was restored from a backup spend twice. So once a
process start and study, before the first answer, a node shows its newest head with a nonce to the other
sites, and each signs the newest head of it that it holds: this one, or a later one that the node has
forgotten. The nonce makes that fresh. More than `colluders` must sign whose keys the operator has
confirmed, and so many that two such sets share a site that tells the truth (the quorum of decision 5).
Between two such exchanges within one study nothing is asked: a round costs nothing more.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from fedcohort.node.heads import sign_head, take_heads
from fedcohort.node.store import SqlNodeStore
from fedcohort.wire.codec import decode_head
from fedcohort.wire.identity import Identity, verify
from fedcohort.wire.messages import Countersignature, Head, HeadCheck, Heads, SiteId
from fedcohort.wire.signing import countersigning_bytes, head_signing_bytes

NONCE_BYTES = 32
WITNESS_SECONDS = 10.0
"""How long a task waits for countersignatures."""


def needed(n_peers: int, colluders: int) -> int:
    """How many of the confirmed other sites must countersign.

    Two sets of so many share more than `colluders` sites, so that one of them tells the truth about both.
    """
    return max(colluders + 1, (n_peers + colluders) // 2 + 1)


@dataclass
class Asked:
    """One exchange: what was shown, and who has countersigned it."""

    check: HeadCheck
    needed: int
    signed: set[SiteId] = field(default_factory=set)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def enough(self) -> bool:
        """Whether so many have signed as must."""
        return len(self.signed) >= self.needed


@dataclass
class Witnesses:
    """What vouches in this process that node.db is the newest copy.

    Attributes:
        studies: for which others have countersigned, or the counter or the operator stood in.
        asked: the exchange that is going on.
        by_operator: the operator has said so when the process was started.
        by_counter: the counter outside the folder agrees with the log, and is kept up with it.
    """

    studies: set[str] = field(default_factory=set)
    asked: Asked | None = None
    by_operator: bool = False
    by_counter: bool = False

    def ask(self, identity: Identity, store: SqlNodeStore, n_needed: int) -> HeadCheck:
        """Begin an exchange about the newest head."""
        check = HeadCheck(sign_head(identity, store), secrets.token_bytes(NONCE_BYTES))
        self.asked = Asked(check, n_needed)
        return check

    def take(
        self,
        identity: Identity,
        store: SqlNodeStore,
        confirmed: Mapping[SiteId, bytes],
        told: Countersignature,
    ) -> bool:
        """Take what another site has signed; whether so many have as must.

        Raises:
            LedgerBehindError: it holds a newer head of this site than the log does.
        """
        asked = self.asked
        if asked is not None and is_countersigned(identity, store, confirmed, asked.check, told):
            asked.signed.add(told.site)
        return asked is not None and asked.enough

    def wake(self) -> None:
        """Let who waits for the exchange look again."""
        if self.asked is not None:
            self.asked.done.set()


def is_countersigned(
    identity: Identity,
    store: SqlNodeStore,
    confirmed: Mapping[SiteId, bytes],
    check: HeadCheck,
    told: Countersignature,
) -> bool:
    """Whether a site whose key is confirmed here holds what it was shown, and nothing newer.

    Raises:
        LedgerBehindError: it holds a newer head that this site has signed, and the log lacks.
    """
    key, head = confirmed.get(told.site), told.head
    if key is None or told.site == identity.id or told.nonce != check.nonce or head.site != identity.id:
        return False
    if not verify(key, told.signature, countersigning_bytes(told)):
        return False
    if not verify(identity.public_key, head.signature, head_signing_bytes(head)):
        return False
    take_heads(identity, store, lambda _: None, Heads((head,)))
    return (head.age, head.hash) == (check.head.age, check.head.hash) or head.age > check.head.age


def countersign(
    identity: Identity, store: SqlNodeStore, key_of: Callable[[SiteId], bytes | None], check: HeadCheck
) -> Countersignature | None:
    """Sign the newest head of another site that this one holds; None where that site is not known here.

    Raises:
        LedgerBehindError: never of another site's head.
    """
    shown = check.head
    if shown.site == identity.id:
        return None
    take_heads(identity, store, key_of, Heads((shown,)))
    encoded = store.heads.all().get(shown.site)
    if encoded is None:
        return None
    told = Countersignature(identity.id, decode_head(encoded), check.nonce)
    return replace(told, signature=identity.sign(countersigning_bytes(told)))


def missing_words(peers: Mapping[SiteId, bytes], asked: Asked | None, n_needed: int) -> str:
    """Why no other site vouches for the log, and what to do; for the operator's own log."""
    signed = asked.signed if asked is not None else set()
    silent = ", ".join(sorted(set(peers) - signed)) or "none"
    told = (
        f"{n_needed} other sites must countersign the newest ledger head, and {len(peers)} are confirmed here"
    )
    if n_needed <= len(peers):
        told = f"{len(signed)} of the {n_needed} other sites that must countersign the newest ledger head did"
    return (
        f"{told} (not heard of: {silent}; a site that is away or of an earlier version does not "
        "countersign). So nothing shows that node.db is the newest copy: wait for them, confirm more sites "
        "(`fedcohort roster`), or, where you know that it is the newest, start the node with --newest-copy: "
        "once, where counter in site.toml names a file outside the folder state, else at every start"
    )


def own(head: Head, identity: Identity) -> bool:
    """Whether a head is this site's own, by its signature."""
    return head.site == identity.id and verify(identity.public_key, head.signature, head_signing_bytes(head))

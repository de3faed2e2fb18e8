"""What coordinator and nodes say to each other, as plain frozen records.

The local engine passes these records as they are; `codec` turns them into
Protobuf and back. Nothing here reads or writes; arrays are never changed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from fedcohort.versions import RULES

SiteId = str
SITE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Of a site, in site.toml, roster and invitations: it names files, too."""
Array = NDArray[Any]
MOST_RELEASE_SECONDS = 30 * 86_400
"""How long a site may let a person take who lets its answer go."""


@dataclass(frozen=True)
class Proposal:
    """A researcher's study, shown to a site for its consent."""

    study: bytes
    """Canonical JSON; its SHA-256 is the study hash."""
    researcher: str
    researcher_key: bytes
    """Ed25519 public key, 32 bytes."""
    signature: bytes
    """By the researcher's key, over `study_signing_bytes(study)`."""
    rules: int = RULES
    """By which the coordinator computes (`fedcohort.versions.RULES`)."""


@dataclass(frozen=True)
class Approval:
    """A site's signed answer to a proposal: yes with limits and expiry, or no with a code."""

    study_hash: str
    site: SiteId
    approved: bool
    code: str = ""
    max_rounds: int = 0
    expires_at: int = 0
    """Seconds since 1970, UTC."""
    signature: bytes = b""
    rules: int = RULES
    """By which the site will compute (`fedcohort.versions.RULES`)."""
    disclosure: str = ""
    """What the site lets be shown (`disclosure.rules.rules_text`); empty: the default."""
    release_seconds: int = 0
    """How long a person there may take to let an answer go (`node.airlock`); 0: none is asked."""


@dataclass(frozen=True)
class Setup:
    """A study's key between its sites (`paillier`, `ckks`): who is asked without `public` makes it."""

    study_hash: str
    round: int
    attempt: int
    parcels: Mapping[SiteId, bytes] = field(default_factory=dict)
    """From the maker, by receiver: the secret key, sealed. To a site, by maker."""
    public: bytes = b""
    roster: tuple[SiteId, ...] = ()


@dataclass(frozen=True)
class Task:
    """One round's question: the state that every site computes on."""

    study_hash: str
    round: int
    attempt: int
    phase: str
    arrays: Mapping[str, Array]
    state_digest: bytes
    """SHA-256 over phase, round and arrays (`state_digest`)."""
    roster: tuple[SiteId, ...]

    # Once a task rather than once a site: in a simulation all sites are asked by this same record.
    @cached_property
    def roster_lines(self) -> str:
        """The roster in order, one a line, as a site stores it."""
        return "\n".join(self.roster)

    @cached_property
    def members(self) -> frozenset[SiteId]:
        """The roster without an order."""
        return frozenset(self.roster)


@dataclass(frozen=True)
class Contribution:
    """A site's answer to a task: one protected vector of ring integers."""

    study_hash: str
    round: int
    attempt: int
    site: SiteId
    state_digest: bytes
    body: bytes
    extras: Mapping[SiteId, bytes] = field(default_factory=dict)
    signature: bytes = b""
    compute_us: int = field(default=0, compare=False)
    seal_us: int = field(default=0, compare=False)
    """How long the site took, for the page; not signed, and 0 for what was computed before and under privacy,
    since a time follows from the patients."""

    def with_body(self, body: bytes, extras: Mapping[SiteId, bytes]) -> "Contribution":
        """The same with another body, for who keeps it without the integers."""
        # Written out: `dataclasses.replace` costs as much as adding 10,000 integers.
        about = (self.study_hash, self.round, self.attempt, self.site, self.state_digest)
        return Contribution(*about, body, extras, self.signature, self.compute_us, self.seal_us)


@dataclass(frozen=True)
class OpenRequest:
    """Who has contributed: a site helps to open their sum, once a round."""

    study_hash: str
    round: int
    attempt: int
    survivors: tuple[SiteId, ...]
    total: bytes
    extras: Mapping[SiteId, bytes] = field(default_factory=dict)
    """By survivor: its shares sealed for this site, or the proof that it has contributed."""
    roster: tuple[SiteId, ...] = ()


@dataclass(frozen=True)
class Help:
    """A site's part in opening a sum."""

    study_hash: str
    round: int
    attempt: int
    site: SiteId
    body: bytes
    signature: bytes = b""
    request: bytes = b""
    """SHA-256 of the request (`request_digest`), the survivors among it."""


@dataclass(frozen=True)
class Card:
    """A site's keys: its identity key signs the agreement key, by which sites share secrets."""

    site: SiteId
    identity_key: bytes
    """Ed25519 public key, 32 bytes."""
    agreement_key: bytes
    """X25519 public key, 32 bytes."""
    signature: bytes


@dataclass(frozen=True)
class Roster:
    """The cards of all who have joined, as the coordinator has them; a site believes confirmed keys only."""

    cards: tuple[Card, ...]


@dataclass(frozen=True)
class LedgerHead:
    """How far a site's event log has come: who holds it can tell an older copy of the log."""

    site: SiteId
    epoch: int
    """How often the site has written off what an older copy could not know."""
    sequence: int
    hash: bytes
    """Of the newest entry, which names the hash of every one before it."""
    signature: bytes = b""

    @property
    def age(self) -> tuple[int, int]:
        """Of two heads of a site the greater is the newer."""
        return self.epoch, self.sequence


@dataclass(frozen=True)
class Heads:
    """The newest heads that the sender holds; the coordinator's come before its first question."""

    heads: tuple[LedgerHead, ...]


@dataclass(frozen=True)
class HeadCheck:
    """A site's newest head, which other sites are asked to countersign."""

    head: LedgerHead
    nonce: bytes
    """32 bytes from the operating system, never used before."""


@dataclass(frozen=True)
class Countersignature:
    """The newest head of another site that a site holds, signed by it with the nonce that it was sent."""

    site: SiteId
    head: LedgerHead
    nonce: bytes
    signature: bytes = b""


@dataclass(frozen=True)
class Event:
    """Something that happened: a refusal (`code` of an error), a catalogue, a study's end."""

    kind: str
    study_hash: str = ""
    round: int = 0
    attempt: int = 0
    code: str = ""
    detail: bytes = b""
    """Canonical JSON of declared facts, such as a site's catalogue; never data."""


Message = (
    Proposal
    | Approval
    | Setup
    | Task
    | Contribution
    | OpenRequest
    | Help
    | Card
    | Roster
    | Heads
    | HeadCheck
    | Countersignature
    | Event
)

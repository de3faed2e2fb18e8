"""The records that a site keeps, and the contract of the store that keeps them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Protocol

from fedcohort.audit.chain import Detail


@dataclass(frozen=True)
class Stored:
    """The contribution that a site computed for one round of one study."""

    study_hash: str
    round: int
    state_digest: bytes
    integers: bytes
    shape: str
    """Of the integers, as `Shape.to_text`."""
    roster: str
    """The study's sites in order, one a line: they are the same in every round."""
    site_state: bytes = b""

    @cached_property
    def integers_sha256(self) -> bytes:
        """For the event log and, where the integers leave as they are, for the signature: hashed once."""
        return sha256(self.integers).digest()


@dataclass(frozen=True)
class HelpGiven:
    """The newest round of a study that this site has helped to open, and the help as it left.

    Attributes:
        request: SHA-256 of the request.
    """

    study_hash: str
    round: int
    request: bytes
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class StudyKey:
    """The key of a study: `locked` is the secret part, encrypted under the site's agreement key."""

    study_hash: str
    public: bytes
    locked: bytes = field(repr=False)


@dataclass(frozen=True)
class Reservation:
    """What an approved study may cost a table's patients, in epsilon and delta; studies add up.

    An exact study that was answered before there was a budget has an infinite epsilon until the operator
    says what it counts.
    """

    study_hash: str
    dataset: str
    epsilon: float
    delta: float


@dataclass(frozen=True)
class Limit:
    """What all studies of a group of tables may cost together.

    Attributes:
        group: its name in site.toml, for messages.
        epsilon, delta: infinite where the site has set no budget.
        elsewhere: tables whose patients are in none of the group's; what was spent from any other table
            counts, and from one that is no longer offered.
    """

    group: str
    epsilon: float = math.inf
    delta: float = math.inf
    elsewhere: frozenset[str] = frozenset()

    @property
    def is_set(self) -> bool:
        """Whether the site has set a budget."""
        return math.isfinite(self.epsilon) or math.isfinite(self.delta)

    def counted(self, reserved: Iterable[Reservation]) -> list[Reservation]:
        """Those reservations that draw on it."""
        return [reservation for reservation in reserved if reservation.dataset not in self.elsewhere]


@dataclass(frozen=True)
class Cost:
    """The releases of a study from a data set so far.

    Attributes:
        delta: of the study.
        releases: JSON of all its releases up to now; `node.ledger` computes what they cost.
    """

    study_hash: str
    dataset: str
    delta: float
    releases: str


@dataclass(frozen=True)
class StoredProposal:
    """A study that a researcher proposed, and what this site said: `asked`, `approved` or `refused`."""

    study_hash: str
    study: bytes
    researcher: str
    researcher_key: bytes
    signature: bytes
    state: str = "asked"


@dataclass(frozen=True)
class Spending:
    """The reservation that a release is part of, and the limit that its transaction enforces."""

    reserved: Reservation
    limit: Limit


class NodeStore(Protocol):
    """A site's store: `SqlNodeStore` of a process, `MemoryNodeStore` of a simulation."""

    def last(self, study_hash: str) -> Stored | None:
        """The newest contribution of a study."""
        ...

    def keep(self, stored: Stored, cost: Cost | None = None, spending: "Spending | None" = None) -> None:
        """Make a contribution and what it costs durable, and note its release in the event log.

        Raises:
            BudgetError: the studies that have released anything and this one are more than the limit.
        """
        ...

    def cost(self, study_hash: str) -> Cost | None:
        """What a study has released so far; None when nothing."""
        ...

    def reserve(self, wanted: Reservation, limit: Limit) -> None:
        """Set aside what a study may cost, within the whole budget of a group of tables; once a study.

        Raises:
            BudgetError: less is left; names how much.
        """
        ...

    def tested(self, study_hash: str) -> bool | None:
        """Whether a study's cohort passed this site's own noisy test; None before it was drawn."""
        ...

    def keep_test(self, study_hash: str, passed: bool, cost: Cost, spending: "Spending | None") -> None:
        """Make the outcome of the test and its cost durable, once and before anything is answered.

        Raises:
            BudgetError: as for `keep`.
        """
        ...

    def help_given(self, study_hash: str) -> HelpGiven | None:
        """The newest help of a study."""
        ...

    def keep_help(self, given: HelpGiven, n_survivors: int) -> None:
        """Make it durable that this site helps to open a sum, and note the release in the event log."""
        ...

    def study_key(self, study_hash: str) -> StudyKey | None:
        """The key of a study, when this site has one."""
        ...

    def n_study_keys(self, study_hash: str) -> int:
        """How many keys of a study were kept, one in place of the other."""
        ...

    def keep_study_key(self, key: StudyKey) -> None:
        """Remember a study's key in place of an earlier one."""
        ...

    def approval(self, study_hash: str) -> bytes | None:
        """The signed approval, encoded; None when there is none."""
        ...

    def proposal(self, study_hash: str) -> StoredProposal | None:
        """A study as it was proposed."""
        ...

    def proposals(self) -> list[StoredProposal]:
        """Every study that was ever proposed here."""
        ...

    def approved_since(self, researcher: str, key: bytes, at_ms: int, but: str) -> int:
        """How many studies of a researcher, by name or key, were approved since then, one study aside."""
        ...

    def proposed_since(self, at_ms: int) -> int:
        """How many studies were proposed for the first time since then."""
        ...

    def propose(self, proposal: StoredProposal, *, by_policy: bool = False) -> None:
        """Remember a proposal, and whether site.toml is to answer it."""
        ...

    def is_by_policy(self, study_hash: str) -> bool:
        """Whether site.toml was to answer a proposal, and no person has been asked since."""
        ...

    def decide(self, study_hash: str, state: str, approval: bytes | None, by: str = "") -> None:
        """Remember the site's answer to a proposal, and who gave it."""
        ...

    def note(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add to the event log."""
        ...

    def note_seldom(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """Add to the event log what others cause, until so many equal entries are there."""
        ...

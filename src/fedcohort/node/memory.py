"""The store of a simulated site, in memory."""

from collections import Counter
from dataclasses import dataclass, field, replace

from fedcohort.audit.chain import Detail
from fedcohort.node.records import (
    Cost,
    HelpGiven,
    Limit,
    Reservation,
    Spending,
    Stored,
    StoredProposal,
    StudyKey,
)


@dataclass
class MemoryNodeStore:
    """A `NodeStore` in memory."""

    costs: dict[str, Cost] = field(default_factory=dict)
    contributions: dict[str, Stored] = field(default_factory=dict)
    helps: dict[str, HelpGiven] = field(default_factory=dict)
    study_keys: dict[str, StudyKey] = field(default_factory=dict)
    n_keys: Counter[str] = field(default_factory=Counter)
    proposed: dict[str, StoredProposal] = field(default_factory=dict)
    approvals: dict[str, bytes] = field(default_factory=dict)
    tests: dict[str, bool] = field(default_factory=dict)

    def last(self, study_hash: str) -> Stored | None:
        """The newest contribution of a study."""
        return self.contributions.get(study_hash)

    def keep(self, stored: Stored, cost: Cost | None = None, spending: Spending | None = None) -> None:
        """Remember a contribution and what it costs."""
        self.contributions[stored.study_hash] = stored
        if cost is not None:
            self.costs[stored.study_hash] = cost

    def cost(self, study_hash: str) -> Cost | None:
        """What a study has released so far."""
        return self.costs.get(study_hash)

    def reserve(self, wanted: Reservation, limit: Limit) -> None:
        """A simulation has no budget."""

    def tested(self, study_hash: str) -> bool | None:
        """Whether a study's cohort passed this site's own noisy test."""
        return self.tests.get(study_hash)

    def keep_test(self, study_hash: str, passed: bool, cost: Cost, spending: Spending | None) -> None:
        """Remember the outcome of the test and its cost."""
        self.tests[study_hash] = passed
        self.costs[study_hash] = cost

    def help_given(self, study_hash: str) -> HelpGiven | None:
        """The newest help of a study."""
        return self.helps.get(study_hash)

    def keep_help(self, given: HelpGiven, n_survivors: int) -> None:
        """Remember help."""
        self.helps[given.study_hash] = given

    def study_key(self, study_hash: str) -> StudyKey | None:
        """The key of a study."""
        return self.study_keys.get(study_hash)

    def n_study_keys(self, study_hash: str) -> int:
        """How many keys of a study were kept, one in place of the other."""
        return self.n_keys[study_hash]

    def keep_study_key(self, key: StudyKey) -> None:
        """Remember a study's key."""
        self.study_keys[key.study_hash] = key
        self.n_keys[key.study_hash] += 1

    def approval(self, study_hash: str) -> bytes | None:
        """The signed approval, encoded."""
        return self.approvals.get(study_hash)

    def proposal(self, study_hash: str) -> StoredProposal | None:
        """A study as it was proposed."""
        return self.proposed.get(study_hash)

    def proposals(self) -> list[StoredProposal]:
        """Every study that was ever proposed here."""
        return list(self.proposed.values())

    def approved_since(self, researcher: str, key: bytes, at_ms: int, but: str) -> int:
        """A simulation limits nobody."""
        return 0

    def is_by_policy(self, study_hash: str) -> bool:
        """A simulation asks nobody."""
        return True

    def proposed_since(self, at_ms: int) -> int:
        """A simulation limits nobody."""
        return 0

    def propose(self, proposal: StoredProposal, *, by_policy: bool = False) -> None:
        """Remember a proposal."""
        self.proposed.setdefault(proposal.study_hash, proposal)

    def decide(self, study_hash: str, state: str, approval: bytes | None, by: str = "") -> None:
        """Remember the site's answer to a proposal."""
        self.proposed[study_hash] = replace(self.proposed[study_hash], state=state)
        if approval is not None:
            self.approvals[study_hash] = approval

    def note(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """A simulation keeps no event log."""

    def note_seldom(self, kind: str, study_hash: str = "", detail: Detail | None = None) -> None:
        """A simulation keeps no event log."""

"""The context of a round, for every protection: its sites, its state, and the quorum that may open it.

Two quorums of more than (n + c) / 2 sites share more than c sites, and so an honest
one, which helps to open one set of survivors a round: no two sets can both be opened.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fedcohort.errors import TooFewSitesError, WireError
from fedcohort.protection.fixed_point import Shape

SiteId = str
PairSecret = Callable[[SiteId], bytes]
"""The Diffie-Hellman secret that this site shares with another, 32 bytes; with itself, its own."""


@dataclass(frozen=True)
class RoundContext:
    """One attempt at one round.

    Attributes:
        roster: every site of the study.
        min_sites: of the study; no smaller set is ever opened.
        colluders: how many sites may collude with the coordinator.
    """

    study_hash: str
    round: int
    attempt: int
    state_digest: bytes
    roster: tuple[SiteId, ...]
    min_sites: int
    colluders: int
    shape: Shape

    @cached_property
    def binding(self) -> bytes:
        """SHA-256 over all that the sites of one attempt must agree on."""
        head = f"fedcohort-round-1|{self.study_hash}|{self.round}|{self.attempt}|{self.state_digest.hex()}"
        # No name holds a line break (wire/fields.py), so that no two rosters give the same text.
        return hashlib.sha256("\n".join((head, *self.roster)).encode()).digest()

    @property
    def quorum(self) -> int:
        """The smallest number of survivors whose sum may be opened."""
        n = len(self.roster)
        return max(self.min_sites, majority(n, self.colluders))

    def check_survivors(self, survivors: tuple[SiteId, ...], site: SiteId) -> None:
        """Refuse a set that this site must not help to open.

        Raises:
            WireError: it holds a stranger, or not this site, or a site twice.
            TooFewSitesError: it is smaller than the quorum.
        """
        if len(set(survivors)) != len(survivors) or not set(survivors) <= set(self.roster):
            raise WireError("survivors that are not of the study, or one of them twice")
        if site not in survivors:
            raise WireError("survivors without this site, which has nothing to open then")
        if len(survivors) < self.quorum:
            raise TooFewSitesError(
                "{count} survivors; this round is opened for {least} or more",
                count=len(survivors),
                least=self.quorum,
            )


def majority(n_sites: int, colluders: int) -> int:
    """The smallest number above (n + c) / 2, and never more than there are."""
    return min(n_sites, (n_sites + colluders) // 2 + 1)


@dataclass(frozen=True)
class Sealed:
    """A protected vector: `body` for the sum, `extras` for other sites by their id."""

    body: bytes = field(repr=False)
    extras: Mapping[SiteId, bytes] = field(default_factory=dict, repr=False)

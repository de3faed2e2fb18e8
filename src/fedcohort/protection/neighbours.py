"""Who masks with whom: everybody, or in large studies a random regular graph (Bell et al. 2020).

Up to 21 sites all are neighbours. Above that the sites stand on a ring in an order
drawn from the round's binding, and each is a neighbour of the 10 before and the 10
behind it (a Harary graph under a random permutation, eprint 2020/704, section 3).
A site's round secrets are shared among its neighbours and itself, its *holders*.

Why the sum cannot be split: to open a site, more than half of its neighbours must be
honest survivors. Two groups of survivors without an edge between them would then both
go all around the ring with gaps of at most 10, and so lie within 10 of each other
somewhere: there is an edge (docs/decisions/0005).
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from fedcohort.protection.context import RoundContext, SiteId, majority

MAX_NEIGHBOURS = 20
"""Even; the smallest study that is not complete has MAX_NEIGHBOURS + 2 sites."""


@dataclass(frozen=True)
class Graph:
    """The neighbours of one attempt at one round, which every site derives alike."""

    context: RoundContext
    _holders: dict[SiteId, tuple[SiteId, ...]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def ring(self) -> tuple[SiteId, ...]:
        """The sites in the order of this attempt; sorted when all are neighbours anyway."""
        return _ring(self.context.binding, self.context.roster)

    @cached_property
    def _place(self) -> dict[SiteId, int]:
        return {site: index for index, site in enumerate(self.ring)}

    def holders(self, site: SiteId) -> tuple[SiteId, ...]:
        """Neighbours and the site itself, sorted; a holder's place is that of its share."""
        n = len(self.ring)
        if n <= MAX_NEIGHBOURS + 1:
            return self.ring
        if site not in self._holders:
            place, reach = self._place[site], MAX_NEIGHBOURS // 2
            around = (self.ring[(place + step) % n] for step in range(-reach, reach + 1))
            self._holders[site] = tuple(sorted(around))
        return self._holders[site]

    def neighbours(self, site: SiteId) -> tuple[SiteId, ...]:
        """The sites that share a mask with this one, sorted."""
        return tuple(other for other in self.holders(site) if other != site)

    @cached_property
    def threshold(self) -> int:
        """How many of a site's holders it takes to recover one of its secrets."""
        n, colluders = len(self.ring), self.context.colluders
        if n <= MAX_NEIGHBOURS + 1:
            return majority(n, colluders)
        # Itself, the colluders, and more than half of the neighbours.
        connected = 1 + colluders + MAX_NEIGHBOURS // 2 + 1
        return min(MAX_NEIGHBOURS + 1, max(majority(MAX_NEIGHBOURS + 1, colluders), connected))

    def can_open(self, survivors: Collection[SiteId], helpers: Collection[SiteId]) -> bool:
        """Whether these helpers' shares recover the secrets of all survivors."""
        return len(survivors) >= self.context.quorum and all(
            len(set(helpers).intersection(self.holders(site))) >= self.threshold for site in survivors
        )


@lru_cache(maxsize=8)
def _ring(binding: bytes, roster: tuple[SiteId, ...]) -> tuple[SiteId, ...]:
    """Remembered, since a simulation asks for the same ring once a site."""
    if len(roster) <= MAX_NEIGHBOURS + 1:
        return tuple(sorted(roster))
    return tuple(sorted(roster, key=lambda site: hashlib.sha256(binding + site.encode()).digest()))

"""Neighbours, who mask with each other: all sites, or in large studies a random regular graph
(Bell et al. 2020).

Up to 21 sites all are neighbours. Above that the sites stand on a circle in an order
drawn from study and attempt, and each is a neighbour of the 10 before and the 10
behind it (a Harary graph under a random permutation, eprint 2020/704, section 3).
Rounds of one attempt number share a graph, so that sites reuse their pairs' secrets;
an attempt that failed for want of neighbours is followed by one with others.
A site's round secrets are shared among its neighbours and itself, its *holders*.

Why the sum cannot be split: to open a site, more than half of its neighbours must be
honest survivors. Two groups of survivors without an edge between them would then both
go all around the circle with gaps of at most 10, and so lie within 10 of each other
somewhere: there is an edge (docs/decisions/0005).
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache

from fedcohort.errors import StudyError
from fedcohort.protection.context import RoundContext, SiteId, majority

MAX_NEIGHBOURS = 20
"""Even; the smallest study that is not complete has MAX_NEIGHBOURS + 2 sites."""
MOST_COLLUDERS = MAX_NEIGHBOURS // 2 - 1


@dataclass(frozen=True)
class Circle:
    """The sites in circular order, and each site's holders and neighbours, sorted."""

    order: tuple[SiteId, ...]
    holders: dict[SiteId, tuple[SiteId, ...]]
    neighbours: dict[SiteId, tuple[SiteId, ...]]


@lru_cache(maxsize=8)
def _circle(study_hash: str, attempt: int, roster: tuple[SiteId, ...]) -> Circle:
    n, reach = len(roster), MAX_NEIGHBOURS // 2
    if n <= MAX_NEIGHBOURS + 1:
        order = tuple(sorted(roster))
        holders = dict.fromkeys(order, order)
    else:
        head = f"fedcohort-ring-1|{study_hash}|{attempt}|"
        order = tuple(sorted(roster, key=lambda site: hashlib.sha256((head + site).encode()).digest()))
        holders = {
            site: tuple(sorted(order[(place + step) % n] for step in range(-reach, reach + 1)))
            for place, site in enumerate(order)
        }
    others = {
        site: tuple(other for other in site_holders if other != site)
        for site, site_holders in holders.items()
    }
    return Circle(order, holders, others)


@dataclass(frozen=True)
class Graph:
    """The neighbours of one attempt at one round, which every site derives in the same way."""

    context: RoundContext

    @cached_property
    def _circle(self) -> Circle:
        return _circle(self.context.study_hash, self.context.attempt, self.context.roster)

    @property
    def circle(self) -> tuple[SiteId, ...]:
        """The sites in the order of this attempt; sorted when all are neighbours anyway."""
        return self._circle.order

    def holders(self, site: SiteId) -> tuple[SiteId, ...]:
        """Neighbours and the site itself, sorted; a holder's place is that of its share."""
        return self._circle.holders[site]

    def neighbours(self, site: SiteId) -> tuple[SiteId, ...]:
        """The sites that share a mask with this one, sorted."""
        return self._circle.neighbours[site]

    @cached_property
    def threshold(self) -> int:
        """How many of a site's holders it takes to recover one of its secrets.

        Raises:
            StudyError: no threshold guards against so many colluders.
        """
        n, colluders = len(self.circle), self.context.colluders
        if n <= MAX_NEIGHBOURS + 1:
            return majority(n, colluders)
        if colluders > MOST_COLLUDERS:
            raise StudyError(
                "colluders: in a study of more than {sites} sites masks hold against {most} at most; {asked} "
                "were asked for",
                sites=MAX_NEIGHBOURS + 1,
                most=MOST_COLLUDERS,
                asked=colluders,
            )
        # Itself, the colluders, and more than half of the neighbours.
        connected = 1 + colluders + MAX_NEIGHBOURS // 2 + 1
        return min(MAX_NEIGHBOURS + 1, max(majority(MAX_NEIGHBOURS + 1, colluders), connected))

    def usable(self, helpers: Collection[SiteId]) -> set[SiteId]:
        """Helpers whose help can be unlocked, since enough of their holders help, too (`agreement`)."""
        there = frozenset(helpers)
        return {site for site in there if len(there.intersection(self.holders(site))) >= self.threshold}

    def can_open(self, survivors: Collection[SiteId], helpers: Collection[SiteId]) -> bool:
        """Whether these helpers' shares recover the secrets of all survivors."""
        there = self.usable(helpers)
        return len(survivors) >= self.context.quorum and all(
            len(there.intersection(self.holders(site))) >= self.threshold for site in survivors
        )

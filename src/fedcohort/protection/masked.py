"""Protection `masks` as a record, of the parts in `masks` and `agreement`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fedcohort.protection import agreement, masks
from fedcohort.protection.context import RoundContext, Sealed, SiteId
from fedcohort.protection.contract import Key, Opening, Protection, Site
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, zero_ring
from fedcohort.protection.neighbours import Graph


def seal(context: RoundContext, site: Site, integers: bytes) -> Sealed:
    """Mask a site's integers, and share what it takes to unmask their sum."""
    ring = ring_from_bytes(integers, context.shape.sizes)
    return masks.seal(context, site.name, site.pair_secrets(), ring)


@dataclass
class MaskedSum:
    """Masked integers that add up in place: two vectors in memory however many sites."""

    context: RoundContext
    ring: Ring

    def add(self, site: SiteId, body: bytes, extras: Mapping[SiteId, bytes]) -> bytes:
        """Add one site's masked integers; its commitments tell true shares from false ones."""
        masks.check_extras(self.context, site, extras)
        commitments, part = masks.body_parts(self.context, site, body)
        add_ring(self.ring, part)
        return commitments

    def total(self) -> bytes:
        """The sum of the integers, masks and all."""
        return self.ring.to_bytes()


def new_sum(context: RoundContext, key: Key) -> MaskedSum:
    """An empty sum."""
    return MaskedSum(context, zero_ring(context.shape.sizes))


def help_open(
    context: RoundContext,
    site: Site,
    survivors: tuple[SiteId, ...],
    total: bytes,
    extras: Mapping[SiteId, bytes],
) -> bytes:
    """Give the shares that open the survivors' sum, locked until enough others help to open the very same.

    Raises:
        WireError: survivors or shares are not those of this round.
        TooFewSitesError: fewer survivors than may be opened.
    """
    pair_secret = site.pair_secrets()
    body = masks.help_open(context, site.name, pair_secret, survivors, extras)
    return agreement.lock(context, site.name, pair_secret, survivors, body)


@dataclass
class MaskedHelps:
    """Shares of the survivors' seeds.

    Attributes:
        commitments: by survivor, as its body began.
        total: the sum, masked.
        missing: by survivor, how many more shares of its secrets are needed; empty when enough has come.
        around: by site, how many of its holders have helped; enough of them unlock its help.
    """

    context: RoundContext
    commitments: Mapping[SiteId, bytes]
    total: bytes
    bodies: dict[SiteId, bytes] = field(default_factory=dict)
    missing: dict[SiteId, int] = field(default_factory=dict)
    around: dict[SiteId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.graph = Graph(self.context)
        self.survivors = frozenset(self.commitments)
        self.missing = dict.fromkeys(self.survivors, self.graph.threshold)

    def add(self, site: SiteId, body: bytes) -> None:
        """Take a site's shares.

        Raises:
            WireError: they are of another length than its shares have.
        """
        masks.check_help(self.context, self.survivors, site, body)
        new = site not in self.bodies
        self.bodies[site] = body
        if new:
            self._count(site)

    def _count(self, helper: SiteId) -> None:
        """One more has helped: whose help can be unlocked now, and what is missing after that?"""
        threshold = self.graph.threshold
        for site in self.graph.holders(helper):
            self.around[site] = self.around.get(site, 0) + 1
            just_enough = self.around[site] == threshold and site in self.bodies
            if just_enough or (site == helper and self.around[site] > threshold):
                self._unlocked(site)

    def _unlocked(self, helper: SiteId) -> None:
        for site in self.graph.holders(helper):
            if site in self.missing:
                self.missing[site] -= 1
                if self.missing[site] == 0:
                    del self.missing[site]

    @property
    def enough(self) -> bool:
        """Whether the shares open every survivor's secrets, if all of them are true."""
        return bool(self.bodies) and not self.missing

    def open(self) -> Ring:
        """Take the masks off.

        Raises:
            RoundError: a helper's shares are false, and too few true ones are left.
        """
        unlocked = agreement.unlock(self.context, self.bodies)
        shares = masks.Opening(self.context, self.survivors, self.commitments, unlocked)
        return masks.open_sum(shares, ring_from_bytes(self.total, self.context.shape.sizes))


def can_open(context: RoundContext, survivors: Collection[SiteId]) -> bool:
    """Whether enough holders of each survivor's shares survive."""
    return Graph(context).can_open(survivors, survivors)


MASKS = Protection(
    seal=seal,
    new_sum=new_sum,
    opening=Opening(alone=False, help=help_open, helps=MaskedHelps),
    can_open=can_open,
)

"""Protection `none`: the coordinator sees each site's vector.

The neutral element of the protections: it seals by leaving the integers unchanged and
opens by reading the sum, so that the layers above are the same with and without protection.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fedcohort.protection.context import RoundContext, SiteId
from fedcohort.protection.contract import CipherKey, Protection
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, zero_ring


@dataclass
class PlainSum:
    """The sum of integers, in place: two vectors in memory for any number of sites."""

    ring: Ring

    def add(self, site: SiteId, body: bytes, extras: Mapping[SiteId, bytes]) -> bytes:
        """Add one site's integers; there is nothing to open.

        Raises:
            WireError: the body's length does not fit the layout.
        """
        add_ring(self.ring, ring_from_bytes(body, (self.ring.wide.size, self.ring.narrow.size)))
        return b""

    def total(self) -> bytes:
        """The sum of the integers."""
        return self.ring.to_bytes()


def new_sum(context: RoundContext, key: CipherKey) -> PlainSum:
    """An empty sum."""
    return PlainSum(zero_ring(context.shape.sizes))


NONE = Protection(
    seal=None,
    new_sum=new_sum,
    opening=None,
    needs_roster=False,
    quorum=lambda context: context.min_sites,
)

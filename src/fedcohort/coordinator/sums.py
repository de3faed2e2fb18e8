"""The running sum of one round, by protection: nothing here holds a secret.

Besides the sum a coordinator keeps of each contribution what opening it takes: a
`masks` site's commitments and sealed shares, a `paillier` or `ckks` site's signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedcohort.protection import masks
from fedcohort.protection.context import RoundContext, SiteId
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, zero_ring
from fedcohort.protection.keyed import Key, Scheme
from fedcohort.wire.messages import Contribution
from fedcohort.wire.signing import bodies_digest


class Sum(Protocol):
    """What contributions are added to as they arrive."""

    @property
    def kept(self) -> Mapping[SiteId, Contribution]:
        """By site in the sum, its contribution without the integers."""
        ...

    def add(self, contribution: Contribution) -> None:
        """Add one.

        Raises:
            WireError: it does not fit the layout or the protection; the sum is as before.
        """
        ...

    def total(self) -> bytes:
        """The sum, as protected."""
        ...


@dataclass
class RingSum:
    """`none` and `masks`: integers that add up in place, two vectors in memory however many sites."""

    context: RoundContext
    masked: bool
    ring: Ring
    kept: dict[SiteId, Contribution] = field(default_factory=dict)

    def add(self, contribution: Contribution) -> None:
        """Add one site's integers."""
        site, commitments = contribution.site, b""
        if self.masked:
            masks.check_extras(self.context, site, contribution.extras)
            commitments, part = masks.body_parts(self.context, site, contribution.body)
        else:
            part = ring_from_bytes(contribution.body, self.context.shape.sizes)
        add_ring(self.ring, part)
        self.kept[site] = contribution.with_body(commitments, contribution.extras)

    def total(self) -> bytes:
        """The sum of the integers, masks and all."""
        return self.ring.to_bytes()


@dataclass
class CipherSum:
    """`paillier` and `ckks`: ciphertexts that the study's public key adds up."""

    context: RoundContext
    scheme: Scheme
    public: Key
    body: bytes | None = None
    kept: dict[SiteId, Contribution] = field(default_factory=dict)

    def add(self, contribution: Contribution) -> None:
        """Add one site's ciphertexts; its body's digest stays as proof that it was there."""
        self.body = self.scheme.add(self.public, self.context.shape, self.body, contribution.body)
        digest = bodies_digest(contribution.body, contribution.extras)
        self.kept[contribution.site] = contribution.with_body(digest, {})

    def total(self) -> bytes:
        """The sum of the ciphertexts."""
        return self.body or b""


def ring_sum(context: RoundContext, *, masked: bool) -> RingSum:
    """An empty sum of integers."""
    return RingSum(context, masked, zero_ring(context.shape.sizes))

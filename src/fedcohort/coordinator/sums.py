"""The running sum of one round, with the parts of contributions that opening it needs; nothing is secret."""

from dataclasses import dataclass, field

from fedcohort.protection.context import RoundContext, SiteId
from fedcohort.protection.contract import CipherKey, Protection, Sum
from fedcohort.wire.messages import Contribution
from fedcohort.wire.signing import bodies_digest


@dataclass
class RunningSum:
    """The sum that contributions are added to as they arrive.

    Attributes:
        proofs: whether a contribution is kept as the proof that it was there, by its digest and signature.
        kept: by site in the sum, its contribution without the integers.
    """

    sum: Sum
    proofs: bool
    kept: dict[SiteId, Contribution] = field(default_factory=dict)

    def add(self, contribution: Contribution) -> None:
        """Add one.

        Raises:
            WireError: it does not fit the layout or the protection; the sum is as before.
        """
        site, body, extras = contribution.site, contribution.body, contribution.extras
        head = self.sum.add(site, body, extras)
        if self.proofs:
            head, extras = bodies_digest(body, extras), {}
        self.kept[site] = contribution.with_body(head, extras)

    def total(self) -> bytes:
        """The sum, as protected."""
        return self.sum.total()


def new_sum(protection: Protection, context: RoundContext, public: CipherKey) -> RunningSum:
    """An empty sum.

    Args:
        public: the study's key as the coordinator has it; None where the protection has none.
    """
    return RunningSum(protection.new_sum(context, public), protection.needs_proofs)

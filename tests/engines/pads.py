"""A fifth protection, of the tests alone: pads of two sites each, which cancel in the sum of all sites.

It shows what a protection is made of. It is weaker than `masks`: a survivor tells the pads of lost sites,
so that a coordinator that only says that a site is lost reads its integers.
"""

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedcohort.cli.app import main
from fedcohort.protection import none
from fedcohort.protection.context import PairSecret, RoundContext, Sealed, SiteId
from fedcohort.protection.contract import OpeningExchange, Participant, Protection
from fedcohort.protection.fixed_point import Ring, add_ring, ring_from_bytes, zero_ring
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.protection.words import WORDS, Words

NAME = "pads"
ROOT = str(Path(__file__).parents[2])
PROGRAM = ("-c", f"import sys; sys.path.append({ROOT!r}); from {__name__} import run; run()")
"""What Python runs in place of `-m fedcohort`."""


def pad(context: RoundContext, site: SiteId, other: SiteId, pair_secret: PairSecret) -> Ring:
    """What a site adds for another one: the other adds its negative."""
    n_wide, n_narrow = context.shape.sizes
    stream = hashlib.shake_256(pair_secret(other) + context.binding).digest(8 * n_wide + 4 * n_narrow)
    ring = ring_from_bytes(stream, context.shape.sizes)
    return ring if site < other else Ring(-ring.wide, -ring.narrow)


def seal(context: RoundContext, site: Participant, integers: bytes) -> Sealed:
    pair_secret, total = site.pair_secrets(), zero_ring(context.shape.sizes)
    add_ring(total, ring_from_bytes(integers, context.shape.sizes))
    for other in context.roster:
        if other != site.name:
            add_ring(total, pad(context, site.name, other, pair_secret))
    return Sealed(total.to_bytes())


def help_open(
    context: RoundContext,
    site: Participant,
    survivors: tuple[SiteId, ...],
    total: bytes,
    extras: Mapping[SiteId, bytes],
) -> bytes:
    """The pads that this site has added for lost sites."""
    pair_secret, left = site.pair_secrets(), zero_ring(context.shape.sizes)
    for other in set(context.roster).difference(survivors):
        add_ring(left, pad(context, site.name, other, pair_secret))
    return left.to_bytes()


@dataclass
class PadHelps:
    """Each survivor's pads of lost sites; all are needed."""

    context: RoundContext
    heads: Mapping[SiteId, bytes]
    total: bytes
    bodies: dict[SiteId, bytes] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        return self.bodies.keys() == self.heads.keys()

    def add(self, site: SiteId, body: bytes) -> None:
        ring_from_bytes(body, self.context.shape.sizes)
        self.bodies[site] = body

    def open(self) -> Ring:
        sizes, total = self.context.shape.sizes, zero_ring(self.context.shape.sizes)
        add_ring(total, ring_from_bytes(self.total, sizes))
        for body in self.bodies.values():
            left = ring_from_bytes(body, sizes)
            add_ring(total, Ring(-left.wide, -left.narrow))
        return total


PADS = Protection(
    seal=seal,
    new_sum=none.new_sum,
    opening=OpeningExchange(alone=False, help=help_open, helps=PadHelps),
)
PAD_WORDS = Words(rests_on="It rests on hospitals that never tell the coordinator a pad, whoever is lost.")


def run() -> None:
    """The command, with the fifth protection beside the four."""
    WORDS[NAME], PROTECTIONS[NAME] = PAD_WORDS, PADS
    sys.argv[0] = "fedcohort"
    main()

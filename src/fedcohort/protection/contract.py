"""The contract of a protection: one record of functions; the rounds use these and never its name.

A site seals its integers (`seal`), the coordinator adds sealed vectors without a secret (`new_sum`), and
where that sum is hidden too, survivors help to open it (`opening`). A fifth protection is a fifth record
in `protection.registry`, and its words in `protection.words` (docs/architecture.md).
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fedcohort.protection.context import PairSecret, RoundContext, Sealed, SiteId
from fedcohort.protection.fixed_point import Ring

CipherKey = Any
"""A protection's own key object, opaque to everything else."""


@dataclass(frozen=True)
class Participant:
    """The site that seals or helps, with the secrets that it may use.

    Attributes:
        pair_secrets: reads the roster, once for one answer.
        key: the study's, as `SharedKey.load` gave it; None where the protection has none.
    """

    name: SiteId
    pair_secrets: Callable[[], PairSecret] = field(repr=False)
    key: CipherKey = field(default=None, repr=False)


@dataclass(frozen=True)
class SharedKey:
    """A key that all sites of a study hold and the coordinator does not: one makes it before the first round.

    Attributes:
        make: from the study's key_bits, a new key as (public, secret) bytes.
        load: the key of a site, checked: the secret belongs to the public part.
        load_public: the coordinator's part of it.
    """

    make: Callable[[int], tuple[bytes, bytes]]
    load: Callable[[bytes, bytes], CipherKey]
    load_public: Callable[[bytes], CipherKey]


class Sum(Protocol):
    """The running sum of one attempt at a round; it holds no secret."""

    def add(self, site: SiteId, body: bytes, extras: Mapping[SiteId, bytes]) -> bytes:
        """Add what a site has sealed.

        Returns:
            the part of its body that opening the sum needs.
        Raises:
            WireError: it does not fit the layout or the protection; the sum is as before.
        """
        ...

    def total(self) -> bytes:
        """The protected sum; a Ring's bytes where the protection has no opening."""
        ...


Opened_co = TypeVar("Opened_co", covariant=True)


class CollectedHelp(Protocol[Opened_co]):
    """The help received so far to open one sum.

    Attributes:
        bodies: by helper, its newest help.
    """

    bodies: dict[SiteId, bytes]

    @property
    def enough(self) -> bool:
        """Whether the sum can be opened, if all help is true."""
        ...

    def add(self, site: SiteId, body: bytes) -> None:
        """Take a site's help.

        Raises:
            WireError: it cannot be help of this site.
        """
        ...

    def open(self) -> Opened_co:
        """The sum, or what its opener shows of it.

        Raises:
            RoundError, WireError: help was false.
        """
        ...


@dataclass(frozen=True)
class OpeningExchange:
    """The second exchange of a round, in which survivors help to open their sum.

    Attributes:
        alone: a single site can open the sum. Sites are asked one after another and shown the total, together
            with each survivor's signature of its contribution: a site that can open a sum can open a single
            contribution, and has to verify that the total is none. Otherwise all are asked at once, and each
            is shown no total, only the extras that survivors sealed for it.
        help: a site's help, from the survivors (who include it and are enough), the total and the extras by
            sender.
        helps: an empty `CollectedHelp`, from what `Sum.add` returned by survivor, and the total.
    """

    alone: bool
    help: Callable[[RoundContext, Participant, tuple[SiteId, ...], bytes, Mapping[SiteId, bytes]], bytes]
    helps: Callable[[RoundContext, Mapping[SiteId, bytes], bytes], CollectedHelp[Ring]]


@dataclass(frozen=True)
class Protection:
    """How a site's vector is hidden from the coordinator, and how their sum is opened.

    Attributes:
        seal: a site's integers, as a Ring's bytes, hidden for one attempt at one round; None where they leave
            unchanged.
        new_sum: an empty sum; the key is `SharedKey.load_public`'s, None where there is none.
        opening: None where the coordinator's sum is not hidden.
        setup: None where there is no shared key.
        needs_roster: whether it relies on the other sites' keys, which a person must have confirmed.
        quorum: how many contributions make a sum that may be opened.
        can_open: whether these survivors, if all of them help, can open their sum.
    """

    seal: Callable[[RoundContext, Participant, bytes], Sealed] | None
    new_sum: Callable[[RoundContext, CipherKey], Sum]
    opening: OpeningExchange | None
    setup: SharedKey | None = None
    needs_roster: bool = True
    quorum: Callable[[RoundContext], int] = lambda context: context.quorum
    can_open: Callable[[RoundContext, Collection[SiteId]], bool] = lambda _context, _survivors: True

    @property
    def needs_proofs(self) -> bool:
        """Whether a site that helps must see who has contributed, and so contributions are signed."""
        return self.opening is not None and self.opening.alone

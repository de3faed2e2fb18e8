"""The only seam between the coordinator and a network: bytes to sites, and bytes from them.

A carrier is believed in one thing, which site it brings a message from, and of contributions,
help, approvals, cards and heads not even in that: whatever it brings is decoded, bounded in size
and held against the site's pinned key above it (`coordinator.hub`, `coordinator.inbound`), for
every engine. Refusals, catalogues and the parts of a study's key are not signed by themselves:
who can write in a site's name can refuse in its name, and can contribute nothing.
"""

from asyncio import Event
from collections.abc import Mapping
from typing import Protocol

from fedcohort.wire.messages import SiteId


class Receiver(Protocol):
    """What stands above a carrier."""

    def greeting(self) -> bytes:
        """What a site is told first, before anything else."""
        ...

    async def came(self, site: SiteId) -> None:
        """A site is `present` from now on, and has been greeted."""
        ...

    async def left(self, site: SiteId) -> None:
        """A site is `present` no longer."""
        ...

    async def take(self, site: SiteId, data: bytes) -> None:
        """Verify one message and do what it asks.

        Raises:
            FedcohortError: it is refused, and changes nothing; the site may hear the error's code.
        """
        ...


class Carrier(Protocol):
    """A network that reaches sites."""

    @property
    def present(self) -> Mapping[SiteId, int]:
        """The sites that can be reached now, each with the version of the protocol that it speaks."""
        ...

    def on_message(self, receiver: Receiver) -> None:
        """Hand all that comes to this receiver, from now on; called once, before anything is carried."""
        ...

    async def send(self, site: SiteId, data: bytes) -> None:
        """Carry a message that needs no answer within a round; what cannot be delivered is lost."""
        ...

    async def exchange(self, questions: Mapping[SiteId, bytes], done: Event) -> None:
        """Carry a question to each of these sites, all present, and return when `done` is set.

        Answers go to the receiver like everything else, and set `done`. The caller ends the waiting
        when time is up, by cancelling it, and asks a site again that comes back meanwhile.
        """
        ...

"""One coordinator process: its parts, put together over a carrier."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial

from fedcohort.coordinator.approvals import Approvals
from fedcohort.coordinator.changes import Changes
from fedcohort.coordinator.heads import held_heads
from fedcohort.coordinator.hub import Hub
from fedcohort.coordinator.inbound import Inbound
from fedcohort.coordinator.lifecycle import Lifecycle
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.roster import Rosters
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.engines.carrier import Carrier
from fedcohort.errors import StoreError
from fedcohort.wire.messages import Message, SiteId

SEEN_SECONDS = 60.0
"""How exactly it is known when a site was last here: a site that stays says nothing to the store."""


@dataclass
class Service:
    """A coordinator at work: takes studies in, asks sites for approval, runs what they approved."""

    store: CoordinatorStore
    members: Members
    carrier: Carrier
    changes: Changes = field(default_factory=Changes)
    watching: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        first = partial(held_heads, self.members)
        self.hub = Hub(self.carrier, self.members.key_of, first, self._on_message, self._on_change)
        approvals = Approvals(self.store, self.members, self.hub.telemetry)
        self.rosters = Rosters(self.store, self.members, self.hub, approvals, self.changes)
        self.inbound = Inbound(self.store, self.members, self.hub, approvals, self.changes.wake)
        self.lifecycle = Lifecycle(self.store, self.members, self.hub, self.rosters, self.changes)

    async def resume(self) -> None:
        """Go on with every study that was open when the last process ended."""
        self.lifecycle.resume()
        self.watching = asyncio.create_task(self._note_who_is_here())

    async def stop(self) -> None:
        """End all tasks; the store knows where to go on."""
        if self.watching:
            self.watching.cancel()
        await self.lifecycle.stop()

    async def _on_message(self, site: SiteId, message: Message) -> None:
        await self.inbound.take(site, message)

    async def _on_change(self, site: SiteId, here: bool) -> None:
        self.members.seen(site)
        if here:
            await self.rosters.propose_open(site)
        self.changes.wake()

    async def _note_who_is_here(self) -> None:
        """Remember that sites are here, for whoever asks after this process was killed."""
        while True:
            await asyncio.sleep(SEEN_SECONDS)
            with contextlib.suppress(StoreError):
                self.members.seen_now(list(self.carrier.present))

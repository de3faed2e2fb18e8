"""The signal of a change in the coordinator, which pages and waiting studies wait for."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class Changes:
    """The event of the next change; whoever waits takes it before reading the current state."""

    event: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Signal a change to all who wait; the next change is a new event."""
        self.event.set()
        self.event = asyncio.Event()

"""What pages and waiting studies wait for: that something has changed."""

import asyncio
from dataclasses import dataclass, field


@dataclass
class News:
    """The next change, as an event; whoever waits takes it before looking at how things stand."""

    event: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Wake whoever waits; the next news is a new event."""
        self.event.set()
        self.event = asyncio.Event()

"""An engine of one's own: messages travel through folders, one a site, a file a message."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fedcohort.engines.carrier import Receiver
from fedcohort.errors import FedcohortError
from fedcohort.wire.handshake import VERSION_MAX
from fedcohort.wire.link import Channel


def put(box: Path, data: bytes) -> None:
    part = box / f"{time.monotonic_ns():020}.part"
    part.write_bytes(data)
    part.rename(part.with_suffix(".message"))


async def get(box: Path) -> bytes:
    while not (files := sorted(box.glob("*.message"))):
        await asyncio.sleep(0.005)
    data = files[0].read_bytes()
    files[0].unlink()
    return data


@dataclass
class FolderCarrier:
    root: Path
    present: dict[str, int] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    receiver: Receiver = field(init=False)

    def on_message(self, receiver: Receiver) -> None:
        self.receiver = receiver

    async def send(self, site: str, data: bytes) -> None:
        put(self.root / site / "to", data)

    async def exchange(self, questions: Mapping[str, bytes], done: asyncio.Event) -> None:
        for site, data in questions.items():
            await self.send(site, data)
        await done.wait()

    async def serve(self, site: str) -> None:
        """Read a site's mailbox until it is cancelled; what is refused is noted, and ends nothing."""
        await self.send(site, self.receiver.greeting())
        self.present[site] = VERSION_MAX
        await self.receiver.came(site)
        while True:
            try:
                await self.receiver.take(site, await get(self.root / site / "from"))
            except FedcohortError as error:
                self.refused.append((site, error.code))


def site_channel(mailbox: Path) -> Channel:
    """A site's own end of its mailbox."""

    async def send(data: bytes) -> None:
        put(mailbox / "from", data)

    async def receive() -> bytes:
        return await get(mailbox / "to")

    async def close(reason: str) -> None:
        put(mailbox / "from", b"")

    return Channel(send, receive, close)

"""Links as a carrier: one a site, over any channel; a network of its own is another channel."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from fedcohort.engines.carrier import Receiver
from fedcohort.errors import FedcohortError, LinkClosedError
from fedcohort.logs import about
from fedcohort.wire.link import Link
from fedcohort.wire.messages import SiteId

log = logging.getLogger("fedcohort.coordinator")


@dataclass
class Links:
    """The links that stand, by site."""

    links: dict[SiteId, Link] = field(default_factory=dict)
    present: dict[SiteId, int] = field(default_factory=dict)
    receiver: Receiver = field(init=False)

    def on_message(self, receiver: Receiver) -> None:
        """Hand all that comes to this receiver."""
        self.receiver = receiver

    async def serve(self, link: Link) -> None:
        """Take a site in and read what it says until the link ends; a message that is refused ends it."""
        site = link.peer.id
        await _send(link, self.receiver.greeting())
        if site in self.links:
            words = "%s: a second node with this id was turned away; stop one of the two"
            log.warning(words, site, extra=about(site, code="already-connected"))
            await link.close("already-connected")
            return
        self.links[site], self.present[site] = link, link.peer.version
        log.info("%s: linked", site, extra=about(site))
        try:
            await self.receiver.came(site)
            while True:
                await self.receiver.take(site, await link.receive_bytes())
        except LinkClosedError as error:
            log.info("%s: %s", site, error, extra=about(site))
        except FedcohortError as error:
            log.warning("%s: %s", site, error, extra=about(site))
            await link.close(error.code)
        finally:
            del self.links[site], self.present[site]
            await self.receiver.left(site)

    async def send(self, site: SiteId, data: bytes) -> None:
        """Send to a site that is linked; a lost link is the reader's business."""
        link = self.links.get(site)
        if link:
            await _send(link, data)

    async def exchange(self, questions: Mapping[SiteId, bytes], done: asyncio.Event) -> None:
        """Send to all at once; their links' readers hand the answers over."""
        await asyncio.gather(*(self.send(site, data) for site, data in questions.items()))
        await done.wait()

    async def close(self, code: str) -> None:
        """End all links, telling the sites a code."""
        for link in list(self.links.values()):
            await link.close(code)


async def _send(link: Link, data: bytes) -> None:
    try:
        await link.send(data)
    except LinkClosedError as error:
        log.info("%s: %s", link.peer.id, error, extra=about(link.peer.id))

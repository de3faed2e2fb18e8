"""Messages of sites that answer no round: verified, stored, and relayed to other sites."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass

from fedcohort.coordinator.approvals import Approvals
from fedcohort.coordinator.heads import take_heads
from fedcohort.coordinator.hub import Hub
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import AuthenticationError, WireError
from fedcohort.logs import about
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.handshake import COUNTERSIGNING
from fedcohort.wire.identity import verify
from fedcohort.wire.messages import (
    Approval,
    Card,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Message,
    Roster,
    SiteId,
)
from fedcohort.wire.signing import card_signing_bytes

log = logging.getLogger("fedcohort.coordinator")

MAX_CATALOGUE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Inbound:
    """Messages that answer no open round; `wake` is called when one has changed something."""

    store: CoordinatorStore
    members: Members
    hub: Hub
    approvals: Approvals
    wake: Callable[[], None]

    async def take(self, site: SiteId, message: Message) -> None:
        """Process one message.

        Raises:
            AuthenticationError: it is not signed by the site's key.
            WireError: it is not for a site to say, or too large.
        """
        if isinstance(message, Heads):
            for head in take_heads(self.members, site, message):
                await self.hub.send(head.site, Heads((head,)))
            return
        if isinstance(message, HeadCheck | Countersignature):
            await self._relay(site, message)
            return
        study_hash = getattr(message, "study_hash", "")
        if study_hash and self.store.study(study_hash) is None:
            words = "%s: %s about study %.12s, which is not here"
            log.warning(words, site, type(message).__name__, study_hash, extra=about(site, study_hash))
        elif isinstance(message, Approval):
            self.approvals.record(site, message)
        elif isinstance(message, Card):
            await self._take_card(site, message)
        elif isinstance(message, Event) and message.kind == "catalogue":
            self.members.seen(site, _catalogue(site, message.detail))
        elif isinstance(message, Event) and message.kind == "asked" and study_hash:
            self.store.record_answer(message.study_hash, site, "asked")
        elif isinstance(message, Event) and message.kind == "refusal":
            self.approvals.record_refusal(site, message)
        else:
            raise WireError(f"{site}: {type(message).__name__} where none was expected")
        self.wake()

    async def _relay(self, site: SiteId, message: HeadCheck | Countersignature) -> None:
        """Carry a head to the sites that may countersign it, or what one of them has signed back.

        A site of an earlier version does not know the message, and is not asked.
        """
        asking, present = message.head.site, self.hub.carrier.present
        if site != (asking if isinstance(message, HeadCheck) else message.site):
            raise WireError(f"{site}: a {type(message).__name__} under another site's name")
        if isinstance(message, HeadCheck):
            list(take_heads(self.members, site, Heads((message.head,))))
            others = [other for other in present if other != site]
        else:
            others = [asking]
        for other in others:
            if present.get(other, 0) >= COUNTERSIGNING:
                await self.hub.send(other, message)

    async def _take_card(self, site: SiteId, card: Card) -> None:
        """Keep a site's card, and announce all cards to it, or to all when this one is new."""
        key = self.members.key_of(site)
        if (card.site, card.identity_key) != (site, key) or not verify(
            card.identity_key, card.signature, card_signing_bytes(card)
        ):
            raise AuthenticationError("{names}: a card that is not signed by the site's key", names=site)
        new = self.members.keep_card(site, encode(card))
        cards = [decode(encoded) for encoded in self.members.cards()]
        roster = Roster(tuple(card for card in cards if isinstance(card, Card)))
        for other in list(self.hub.carrier.present) if new else [site]:
            await self.hub.send(other, roster)


def _catalogue(site: SiteId, detail: bytes) -> dict[str, object]:
    if len(detail) > MAX_CATALOGUE_BYTES:
        raise WireError(f"{site}: a catalogue of {len(detail)} bytes")
    try:
        catalogue = json.loads(detail)
    except (ValueError, RecursionError):
        raise WireError(f"{site}: a catalogue that is not JSON") from None
    if not isinstance(catalogue, dict) or not isinstance(catalogue.get("tables"), dict):
        raise WireError(f"{site}: a catalogue without tables")
    return catalogue

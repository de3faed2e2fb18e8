"""Cards of other sites, as the coordinator announces them; a card counts only under a confirmed key."""

import logging

from fedcohort.logs import about
from fedcohort.node.keys import Keys, is_genuine
from fedcohort.node.store import SqlNodeStore
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.messages import SITE_NAME, Card, Roster, SiteId

log = logging.getLogger("fedcohort.node")

MAX_CARDS = 10_000


def announced(store: SqlNodeStore) -> dict[SiteId, Card]:
    """The newest card of every site that the coordinator has announced here."""
    cards = (decode(encoded) for encoded in store.cards().values())
    return {card.site: card for card in cards if isinstance(card, Card)}


def take_cards(store: SqlNodeStore, keys: Keys, cards: dict[SiteId, Card], roster: Roster) -> None:
    """Remember the other sites' cards; under a confirmed identity key no other key's card counts.

    Raises:
        StoreError: they cannot be stored.
    """
    here, confirmed = keys.card.site, keys.confirmed()
    for card in roster.cards:
        expected_key = confirmed.get(card.site, card.identity_key)
        if card.site == here or cards.get(card.site) == card:
            continue
        if not SITE_NAME.fullmatch(card.site) or (card.site not in cards and len(cards) >= MAX_CARDS):
            continue
        if not is_genuine(card) or expected_key != card.identity_key:
            log.warning("%s: a card of %s that its key has not signed", here, card.site, extra=about(here))
            continue
        store.keep_card(card.site, encode(card))
        cards[card.site] = card

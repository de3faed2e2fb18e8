"""Thousands of changed messages on their way, both ways: none ends a process, and none changes the sum.

What passes a link's reader goes where a live message goes: to the node's `answer()` or
its roster, and through the coordinator's hub, signatures and all.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fedcohort.coordinator.hub import Hub
from fedcohort.coordinator.plan import Receive
from fedcohort.engines.links import Links
from fedcohort.engines.local import Simulated
from fedcohort.errors import LinkClosedError, StoreError, WireError
from fedcohort.node.answer import Node, answer
from fedcohort.node.cards import take_cards
from fedcohort.node.heads import check_not_behind, held_heads, sign_head, take_heads
from fedcohort.node.keys import Keys, make_card, signed
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.handshake import Peer
from fedcohort.wire.identity import new_identity
from fedcohort.wire.link import Channel, Link
from fedcohort.wire.messages import (
    Card,
    Contribution,
    Event,
    Heads,
    Help,
    LedgerHead,
    Message,
    Roster,
    Setup,
    SiteId,
    Task,
)
from fedcohort.wire.signing import head_signing_bytes

from .hostile import SITES, Changer, recorded, study
from .support import Play, honest_nodes

pytestmark = pytest.mark.usefixtures("paillier_keys")

ANSWERS = (Contribution, Help, Setup)


@dataclass
class Besieged(Play):
    """A study whose every message comes after many changed ones, over the hub's own road.

    Changed tasks follow the true one: who may ask first decides what a round is about.
    """

    each: int = 160
    changer: Changer = field(default_factory=lambda: Changer(3))
    codes: Counter[str] = field(default_factory=Counter)
    links: Links = field(default_factory=Links)
    hub: Hub = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()

        async def on_message(site: SiteId, message: Message) -> None:
            self.codes["passed on"] += 1

        async def on_change(site: SiteId, here: bool) -> None:
            await asyncio.sleep(0)

        def key_of(site: SiteId) -> bytes:
            return self.nodes[site].keys.identity.public_key

        self.hub = Hub(self.links, key_of, lambda: Heads(()), on_message, on_change)

    @property
    def count(self) -> int:
        return sum(self.codes.values())

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        """Ask every site over a real hub; changed messages go ahead of every question and every answer."""
        asked = asyncio.create_task(self.hub.exchange(messages, receive, enough, timeout))
        await asyncio.sleep(0)
        for site, question in messages.items():
            node, data = self.nodes[site], encode(question)
            if not isinstance(question, Task):
                self.besiege(node, data)
            reply = signed(node.keys.identity, answer(node, question))
            self.seen.append((site, question, reply))
            if isinstance(question, Task):
                self.besiege(node, data)
            assert isinstance(reply, ANSWERS), reply
            if not isinstance(reply, Setup):
                for _ in range(self.each):
                    await self.say(site, self.changer.changed(encode(reply)))
            await self.say(site, encode(reply))
            self.changer.pool += [data, encode(reply)]
        await asked

    def besiege(self, node: Node, data: bytes) -> None:
        for _ in range(self.each):
            base = data if self.changer.draw.random() < 0.8 else self.changer.draw.choice(self.changer.pool)
            changed = self.changer.changed(base)
            if not (is_task(changed) and node.store.last(self.study.hash) is None):
                self.codes[outcome(node, changed)] += 1

    async def say(self, site: SiteId, data: bytes) -> None:
        """One message over a link of the site; what is refused ends that link and nothing else."""
        left, closed = [data], []

        async def send(_: bytes) -> None:
            await asyncio.sleep(0)

        async def receive() -> bytes:
            if not left:
                raise LinkClosedError("the connection ended")
            return left.pop()

        async def close(reason: str) -> None:
            closed.append(reason)

        peer = Peer(site, self.nodes[site].keys.identity.public_key)
        await self.links.serve(Link(peer, Channel(send, receive, close)))
        self.codes[f"coordinator: {closed[0] if closed else 'taken'}"] += 1


def is_task(data: bytes) -> bool:
    with suppress(WireError):
        return isinstance(decode(data), Task)
    return False


def outcome(node: Node, data: bytes) -> str:
    """What a node makes of a message from a link."""
    try:
        message = decode(data)
    except WireError as error:
        return f"unreadable: {error.code}"
    reply = answer(node, message)
    assert encode(reply)
    if isinstance(reply, Event):
        assert (reply.kind, reply.detail) == ("refusal", b"")
        return f"refused: {reply.code}"
    return type(reply).__name__


@pytest.mark.parametrize("protection", ["masks", "paillier"])
def test_after_thousands_of_changed_messages_the_sum_is_exact(protection: str) -> None:
    undisturbed = Play(study("none")).go()
    play = Besieged(study(protection), SITES, changer=Changer(20261123, recorded(protection)))
    assert play.go() == undisturbed
    assert play.survivors == [SITES]
    assert play.count > 2500, play.codes
    assert not [code for code in play.codes if "internal" in code], play.codes
    assert play.codes["refused: message-invalid"] > 100, play.codes
    assert play.codes["coordinator: not-authenticated"] > 50, play.codes


@pytest.mark.parametrize("protection", ["none", "masks", pytest.param("paillier", marks=pytest.mark.slow)])
def test_no_changed_first_message_gets_more_out_of_a_node_than_an_answer_or_a_code(protection: str) -> None:
    """A fresh site each time, that has yet answered nothing: whatever comes, it says a known code."""
    changer, codes = Changer(5, recorded(protection)), Counter[str]()
    bases = list(changer.pool)
    for number in range(1000):
        if number % 100 == 0:
            node = honest_nodes(study(protection), SITES)["a"]
        codes[outcome(node, changer.changed(bases[number % len(bases)]))] += 1
    assert not [code for code in codes if "internal" in code], codes
    assert sum(codes.values()) == 1000


def nothing_to_load(cohort: Cohort, seed: int, private: bool) -> Table:
    raise StoreError("no data here")


def test_changed_rosters_put_no_card_in_the_place_of_a_confirmed_sites(tmp_path: Path) -> None:
    federation = Simulated()
    cards = {site: federation.join(site).card for site in SITES}
    forged = [make_card(new_identity(site), X25519PrivateKey.generate()) for site in SITES]
    identity, store = new_identity("self"), SqlNodeStore(tmp_path / "node.db")
    known: dict[SiteId, Card] = {}
    keys = Keys(identity, X25519PrivateKey.generate(), known.get, lambda: federation.confirmed)
    with closing(store):
        take_cards(store, keys, known, Roster(tuple(cards.values())))
        changer, n_read = Changer(17, [encode(Roster((card,))) for card in forged]), 0
        for _ in range(1500):
            true = encode(Roster(tuple(changer.draw.sample(list(cards.values()), 3))))
            try:
                message = decode(changer.changed(true))
            except WireError:
                continue
            n_read += 1
            if isinstance(message, Roster):
                take_cards(store, keys, known, message)
        take_cards(store, keys, known, Roster(tuple(forged)))
        assert n_read > 100
        assert {site: known[site] for site in SITES} == cards
        assert {site: decode(store.cards()[site]) for site in SITES} == cards
        genuine = X25519PublicKey.from_public_bytes(cards["a"].agreement_key)
        assert keys.pair_secret("a") == keys.agreement.exchange(genuine)


def test_changed_heads_neither_stop_a_node_nor_displace_another_sites(tmp_path: Path) -> None:
    signers = {site: new_identity(site) for site in ("self", "b")}

    def head(site: str, sequence: int) -> LedgerHead:
        made = LedgerHead(site, 0, sequence, bytes(32))
        return replace(made, signature=signers[site].sign(head_signing_bytes(made)))

    old, new = Heads((head("b", 3),)), Heads((head("b", 9),))
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        store.note("refused")
        own = Heads((sign_head(signers["self"], store),))
        changer, n_read = Changer(23, [encode(old), encode(own)]), 0
        keys = {"b": signers["b"].public_key}
        take_heads(signers["self"], store, keys.get, new)
        for number in range(1500):
            try:
                message = decode(changer.changed(encode((new, own)[number % 2])))
            except WireError:
                continue
            n_read += 1
            if isinstance(message, Heads):
                take_heads(signers["self"], store, keys.get, message)
        assert n_read > 100
        assert set(held_heads(store)) <= {*new.heads, *own.heads}
        check_not_behind(store, "self")

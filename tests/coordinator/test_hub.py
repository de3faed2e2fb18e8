"""The hub over links in memory: who is waited for, and what a site that comes back is sent."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from fedcohort.coordinator import hub
from fedcohort.coordinator.hub import Hub
from fedcohort.engines.links import Links
from fedcohort.errors import LinkClosedError
from fedcohort.wire.codec import encode
from fedcohort.wire.handshake import Peer
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.link import Channel, Link
from fedcohort.wire.messages import Contribution, Event, Heads, Help, Message, OpenRequest, Task
from fedcohort.wire.signing import contribution_signing_bytes, help_signing_bytes, state_digest
from tests.patience import PATIENCE_SECONDS

HASH = "1" * 64
TURNS = 200
"""Of the event loop: in memory each message takes a few, and no time."""
TASK = Task(HASH, 0, 0, "moments", {}, state_digest("moments", 0, {}), ("a", "b"))


async def turns() -> None:
    """Let everything happen that needs no time."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@dataclass
class Ends:
    """Both ends of a link that has shaken hands, as queues."""

    to_site: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    to_hub: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    reason: str = ""

    def link(self, site: str, key: bytes) -> Link:
        async def send(data: bytes) -> None:
            await self.to_site.put(data)

        async def receive() -> bytes:
            data = await self.to_hub.get()
            if data is None:
                raise LinkClosedError("the connection ended")
            return data

        async def close(reason: str) -> None:
            self.reason = reason
            await self.to_hub.put(None)

        return Link(Peer(site, key), Channel(send, receive, close))


@dataclass
class Bench:
    """A hub, and sites that are told what to do."""

    identities: dict[str, Identity] = field(
        default_factory=lambda: {site: new_identity(site) for site in ("a", "b")}
    )
    received: list[str] = field(default_factory=list)
    serving: list[asyncio.Task[None]] = field(default_factory=list)
    complete: int = 0
    limits: list[asyncio.Timeout] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def limit(self, seconds: float) -> asyncio.Timeout:
        """In place of `asyncio.timeout`: the time is up when the test says so."""
        self.seconds.append(seconds)
        self.limits.append(asyncio.timeout(None))
        return self.limits[-1]

    def __post_init__(self) -> None:
        async def on_message(site: str, message: Message) -> None:
            self.received.append(f"{site}: {type(message).__name__}")

        async def on_change(site: str, here: bool) -> None:
            await asyncio.sleep(0)

        def key_of(site: str) -> bytes:
            return self.identities[site].public_key

        self.links = Links()
        self.hub = Hub(self.links, key_of, lambda: Heads(()), on_message, on_change)

    async def join(self, site: str) -> Ends:
        ends = Ends()
        link = ends.link(site, self.identities[site].public_key)
        self.serving.append(asyncio.create_task(self.links.serve(link)))
        assert await ends.to_site.get() == encode(Heads(()))
        await turns()
        return ends

    def contribution(self, site: str, number: int = 0) -> bytes:
        made = Contribution(HASH, number, 0, site, TASK.state_digest, b"body")
        signature = self.identities[site].sign(contribution_signing_bytes(made))
        return encode(replace(made, signature=signature))

    def time_is_up(self) -> None:
        """End the exchange that is open, however fast this machine is."""
        self.limits[-1].reschedule(asyncio.get_running_loop().time())

    def ask(self, timeout: float, enough: int = 1) -> asyncio.Task[None]:
        def receive(site: str, message: Message) -> bool:
            self.received.append(site)
            return len(self.received) == self.complete

        tasks: dict[str, Message] = {"a": TASK, "b": TASK}
        return asyncio.create_task(self.hub.exchange(tasks, receive, enough, timeout))


def run(scenario: Callable[[Bench], Awaitable[None]]) -> Bench:
    bench = Bench()

    async def all_of_it() -> None:
        with pytest.MonkeyPatch.context() as patch:
            loop = asyncio.get_running_loop
            used = SimpleNamespace(timeout=bench.limit, gather=asyncio.gather, get_running_loop=loop)
            patch.setattr(hub, "asyncio", used)
            await scenario(bench)
        for task in bench.serving:
            task.cancel()
        await asyncio.gather(*bench.serving, return_exceptions=True)

    asyncio.run(asyncio.wait_for(all_of_it(), PATIENCE_SECONDS))
    return bench


def test_an_exchange_ends_at_once_when_what_has_come_is_complete() -> None:
    async def scenario(bench: Bench) -> None:
        bench.complete = 1
        a, _ = await bench.join("a"), await bench.join("b")
        asked = bench.ask(timeout=PATIENCE_SECONDS)
        await a.to_hub.put(bench.contribution("a"))
        await asked

    assert run(scenario).received == ["a"]


def test_a_round_ends_when_the_last_site_has_answered() -> None:
    async def scenario(bench: Bench) -> None:
        a, b = await bench.join("a"), await bench.join("b")
        asked = bench.ask(timeout=PATIENCE_SECONDS)
        assert await a.to_site.get() == await b.to_site.get() == encode(TASK)
        for site, ends in (("b", b), ("a", a)):
            await ends.to_hub.put(bench.contribution(site))
        await asked

    assert run(scenario).received == ["b", "a"]


def test_a_site_that_links_while_a_round_is_open_is_asked() -> None:
    async def scenario(bench: Bench) -> None:
        a = await bench.join("a")
        asked = bench.ask(timeout=PATIENCE_SECONDS)
        await a.to_hub.put(bench.contribution("a"))
        await turns()
        assert not asked.done()
        b = await bench.join("b")
        assert await b.to_site.get() == encode(TASK)
        await b.to_hub.put(bench.contribution("b"))
        await asked

    assert run(scenario).received == ["a", "b"]


def test_a_site_that_was_away_for_a_whole_time_out_delays_no_further_round_until_it_is_back() -> None:
    async def scenario(bench: Bench) -> None:
        a = await bench.join("a")
        for is_up in (True, False):
            asked = bench.ask(1000.0)
            await a.to_hub.put(bench.contribution("a"))
            await turns()
            if is_up:
                bench.time_is_up()
            await asked
        assert bench.hub.away == {"b"}
        b = await bench.join("b")
        assert bench.hub.away == set()
        asked = bench.ask(1000.0)
        await a.to_hub.put(bench.contribution("a"))
        await turns()
        assert not asked.done()
        await b.to_hub.put(bench.contribution("b"))
        await asked

    assert run(scenario).received == ["a", "a", "a", "b"]


def test_below_enough_a_round_waits_for_sites_that_are_away_too() -> None:
    async def scenario(bench: Bench) -> None:
        a = await bench.join("a")
        bench.hub.away.add("b")
        asked = bench.ask(1000.0, enough=2)
        await a.to_hub.put(bench.contribution("a"))
        await turns()
        assert not asked.done()
        b = await bench.join("b")
        await b.to_hub.put(bench.contribution("b"))
        await asked

    assert run(scenario).received == ["a", "b"]


def test_a_linked_site_that_stays_silent_is_waited_for_until_the_time_is_up() -> None:
    async def scenario(bench: Bench) -> None:
        a, _ = await bench.join("a"), await bench.join("b")
        asked = bench.ask(1000.0)
        await a.to_hub.put(bench.contribution("a"))
        await turns()
        assert not asked.done()
        bench.time_is_up()
        await asked
        assert bench.hub.away == set()

    assert run(scenario).received == ["a"]


def test_a_site_where_a_person_is_asked_has_longer_and_others_do_not() -> None:
    async def scenario(bench: Bench) -> None:
        _, b = await bench.join("a"), await bench.join("b")
        bench.hub.slow[HASH] = {"b": 9.0}
        asked = bench.ask(timeout=0.0)
        await turns()
        assert not asked.done(), "b still has time"
        await b.to_hub.put(bench.contribution("b"))
        await asked
        asked = bench.ask(timeout=0.0)
        await b.to_hub.put(bench.contribution("b"))
        await asked

    assert run(scenario).received == ["b", "b"]


def test_a_site_that_is_away_is_not_waited_for_while_a_person_elsewhere_is_asked() -> None:
    async def scenario(bench: Bench) -> None:
        b = await bench.join("b")
        bench.hub.slow[HASH] = {"b": 1000.0}
        asked = bench.ask(timeout=0.0)
        await turns()
        await b.to_hub.put(bench.contribution("b"))
        await asked
        assert bench.hub.away == {"a"}

    assert run(scenario).received == ["b"]


def test_a_person_who_lets_nothing_go_ends_the_round_when_that_time_is_up_too() -> None:
    async def scenario(bench: Bench) -> None:
        a, _ = await bench.join("a"), await bench.join("b")
        bench.hub.slow[HASH] = {"b": 1000.0}
        asked = bench.ask(timeout=0.0)
        await a.to_hub.put(bench.contribution("a"))
        await turns()
        assert not asked.done()
        bench.time_is_up()
        await asked

    assert run(scenario).received == ["a"]


def test_help_is_waited_for_no_longer_at_a_site_where_a_person_is_asked() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.join("b")
        bench.hub.slow[HASH] = {"b": 1000.0}
        request = OpenRequest(HASH, 0, 0, ("a", "b"), b"", {}, ("a", "b"))
        asked = asyncio.create_task(bench.hub.exchange({"b": request}, lambda *_: False, 1, 1000.0))
        await turns()
        bench.time_is_up()
        await asked

    assert run(scenario).seconds == [1000.0]


def test_a_second_node_of_one_id_is_turned_away_and_the_first_stays() -> None:
    async def scenario(bench: Bench) -> None:
        first, second = await bench.join("a"), await bench.join("a")
        assert (first.reason, second.reason) == ("", "already-connected")
        assert set(bench.links.links) == {"a"}

    run(scenario)


@pytest.mark.parametrize("forged", [b"b", b"garbage"])
def test_a_contribution_that_the_site_did_not_sign_ends_its_link(forged: bytes) -> None:
    async def scenario(bench: Bench) -> None:
        a = await bench.join("a")
        data = bench.contribution("b") if forged == b"b" else forged
        await a.to_hub.put(data)
        await turns()
        assert a.reason == ("not-authenticated" if forged == b"b" else "message-invalid")
        assert bench.links.links == {}

    assert run(scenario).received == []


def test_help_that_the_site_did_not_sign_for_these_survivors_ends_its_link() -> None:
    """The signature covers the digest of the request, and so the survivors that it names."""

    async def scenario(bench: Bench) -> None:
        a = await bench.join("a")
        told = Help(HASH, TASK.round, 0, "a", b"shares", request=b"\x01" * 32)
        signature = bench.identities["a"].sign(help_signing_bytes(told))
        await a.to_hub.put(encode(replace(told, signature=signature)))
        await turns()
        assert a.reason == ""
        await a.to_hub.put(encode(replace(told, signature=signature, request=b"\x02" * 32)))
        await turns()
        assert a.reason == "not-authenticated"

    run(scenario)


def test_a_late_answer_to_the_last_question_is_not_taken_for_one_to_the_next() -> None:
    """As when enough sites have helped to open a round, and the last one's help comes during the next."""

    async def scenario(bench: Bench) -> None:
        a, b = await bench.join("a"), await bench.join("b")
        asked = bench.ask(timeout=PATIENCE_SECONDS)
        late = Event("refusal", HASH, TASK.round + 1, 0, "store")
        for message in (bench.contribution("a", TASK.round + 1), encode(late), bench.contribution("a")):
            await a.to_hub.put(message)
        await b.to_hub.put(bench.contribution("b"))
        await asked

    assert run(scenario).received == ["a", "b"]


def test_a_contribution_that_nobody_asked_for_changes_nothing() -> None:
    async def scenario(bench: Bench) -> None:
        a = await bench.join("a")
        await a.to_hub.put(bench.contribution("a"))
        await turns()
        assert set(bench.links.links) == {"a"}

    assert run(scenario).received == []

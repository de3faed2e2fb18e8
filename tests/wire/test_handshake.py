"""Both sides prove themselves before anything else is said."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.errors import AuthenticationError, LinkClosedError, VersionError, WireError
from fedcohort.wire import fedcohort_pb2 as pb
from fedcohort.wire import handshake
from fedcohort.wire.handshake import COUNTERSIGNING, VERSION_MAX, VERSION_MIN, Peer
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.link import Channel, open_link
from tests.patience import PATIENCE_SECONDS

from .support import Side, coordinator_side, memory_channels, node_side

Outcome = Peer | BaseException
TURNS = 1_000


def shake(
    left: Side, right: Side, channels: tuple[Channel, Channel] | None = None
) -> tuple[Outcome, Outcome]:
    """What each side ends with; a side that waits for ever ends when the other has."""

    async def both() -> tuple[Outcome, Outcome]:
        one, other = channels or memory_channels()
        tasks = [asyncio.ensure_future(left.shake(one)), asyncio.ensure_future(right.shake(other))]
        for _ in range(TURNS):  # in memory each message takes a turn or two of the loop, and no time
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        return found[0], found[1]

    return asyncio.run(both())


def test_at_first_contact_the_token_introduces_both_and_each_pins_the_other() -> None:
    coordinator, node = coordinator_side(), node_side()
    at_coordinator, at_node = shake(coordinator, node)
    assert at_coordinator == Peer("hospital_a", node.identity.public_key)
    assert at_node == Peer("coordinator", coordinator.identity.public_key)
    assert coordinator.trust.keys == {"hospital_a": node.identity.public_key}
    assert node.trust.keys == {"coordinator": coordinator.identity.public_key}


def test_once_pinned_the_token_is_used_up_and_not_needed() -> None:
    coordinator, node = coordinator_side(), node_side()
    shake(coordinator, node)
    node.trust.token = None
    for _ in range(2):
        at_coordinator, at_node = shake(coordinator, node)
        assert isinstance(at_coordinator, Peer)
        assert isinstance(at_node, Peer)
    assert coordinator.trust.token is None


def test_the_token_admits_no_second_key_after_the_first() -> None:
    coordinator, node = coordinator_side(), node_side()
    shake(coordinator, node)
    at_coordinator, at_node = shake(coordinator, node_side())
    assert_refused(at_coordinator, AuthenticationError, "wrong-key")
    assert_refused(at_node, AuthenticationError, "remove it and invite it again")


def assert_refused(outcome: Outcome, kind: type[Exception], words: str) -> None:
    assert isinstance(outcome, kind), outcome
    assert words in str(outcome)


def test_a_site_that_nobody_invited_is_refused() -> None:
    coordinator, node = coordinator_side(token=None), node_side()
    at_coordinator, at_node = shake(coordinator, node)
    assert_refused(at_coordinator, AuthenticationError, "invite")
    assert_refused(at_node, AuthenticationError, "unknown-site")
    assert coordinator.trust.keys == node.trust.keys == {}


def test_a_wrong_token_is_refused_and_nobody_is_pinned() -> None:
    coordinator, node = coordinator_side(), node_side(token=b"guessed")
    at_coordinator, at_node = shake(coordinator, node)
    assert_refused(at_coordinator, AuthenticationError, "bad-token")
    assert_refused(at_node, AuthenticationError, "ask the operator for a new one")
    assert coordinator.trust.keys == node.trust.keys == {}


def test_whoever_fails_the_handshake_without_end_fills_no_event_log(tmp_path: Path) -> None:
    with closing(CoordinatorStore(tmp_path / "coordinator.db")) as store:
        members = Members(store)
        members.invite_site("hospital_a", "the token")
        n_entries = store.verify()
        coordinator = replace(coordinator_side(), trust=members)
        for name in ("hospital_a", "hospital_b"):
            for _ in range(2):
                at_coordinator, _ = shake(coordinator, node_side(name, token=b"guessed"))
                assert isinstance(at_coordinator, AuthenticationError)
        assert store.verify() == n_entries
        node = node_side("hospital_a", token=b"the token")
        for _ in range(3):
            assert isinstance(shake(coordinator, node)[0], Peer)
        assert store.verify() == n_entries + 1, "a site joins once"


def test_a_coordinator_that_does_not_know_the_token_is_refused_by_the_node() -> None:
    """It accepts any node's proof, and yet cannot make its own."""
    node = node_side()
    impostor = coordinator_side(token=b"guessed", keys={"hospital_a": node.identity.public_key})
    at_impostor, at_node = shake(impostor, node)
    assert_refused(at_node, AuthenticationError, "bad-token")
    assert isinstance(at_impostor, AuthenticationError)
    assert node.trust.keys == {}


def test_a_coordinator_with_another_key_than_the_pinned_one_is_refused() -> None:
    coordinator, node = coordinator_side(), node_side()
    shake(coordinator, node)
    impostor = replace(coordinator, identity=new_identity("coordinator"))
    _, at_node = shake(impostor, node)
    assert_refused(at_node, AuthenticationError, "wrong-key")


def tampered(channel: Channel, change: Callable[[int, bytes], bytes]) -> Channel:
    """A channel whose incoming flights are changed; the first has number 0."""
    count = 0

    async def receive() -> bytes:
        nonlocal count
        data = change(count, await channel.receive())
        count += 1
        return data

    return Channel(channel.send, receive, channel.close)


def test_whoever_shows_a_site_key_without_holding_it_is_refused() -> None:
    coordinator, node = coordinator_side(), node_side()
    shake(coordinator, node)
    thief = replace(node, identity=new_identity("hospital_a"))

    def show_stolen_key(number: int, data: bytes) -> bytes:
        if number:
            return data
        hello = pb.Hello.FromString(data)
        hello.public_key = node.identity.public_key
        return hello.SerializeToString()

    one, other = memory_channels()
    at_coordinator, _ = shake(coordinator, thief, (tampered(one, show_stolen_key), other))
    assert_refused(at_coordinator, AuthenticationError, "bad-signature")


def test_a_recorded_handshake_cannot_be_played_again() -> None:
    coordinator, node = coordinator_side(), node_side()
    shake(coordinator, node)
    recorded: list[bytes] = []

    def record(number: int, data: bytes) -> bytes:
        recorded.append(data)
        return data

    one, other = memory_channels()
    shake(coordinator, node, (tampered(one, record), other))

    one, other = memory_channels()
    replayed = tampered(one, lambda number, _: recorded[number])
    at_coordinator, _ = shake(coordinator, node, (replayed, other))
    assert_refused(at_coordinator, AuthenticationError, "bad-signature")


def test_a_coordinators_own_flights_sent_back_to_it_prove_nothing() -> None:
    async def mirror() -> None:
        coordinator, queue = coordinator_side(), asyncio.Queue[bytes]()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await coordinator.shake(Channel(queue.put, queue.get, lambda _: asyncio.sleep(0)))

    with pytest.raises(AuthenticationError, match="wrong-role"):
        asyncio.run(mirror())


@pytest.mark.parametrize("newer_speaks", [(VERSION_MAX + 1, VERSION_MAX + 2), (VERSION_MAX + 1, 2**31)])
def test_a_newer_protocol_is_refused_with_both_versions(newer_speaks: tuple[int, int]) -> None:
    def newer(number: int, data: bytes) -> bytes:
        if number:
            return data
        hello = pb.Hello.FromString(data)
        hello.version_min, hello.version_max = newer_speaks
        return hello.SerializeToString()

    one, other = memory_channels()
    at_coordinator, at_node = shake(coordinator_side(), node_side(), (tampered(one, newer), other))
    assert_refused(
        at_coordinator,
        VersionError,
        f"{newer_speaks[0]} to {newer_speaks[1]}, this program 1 to {VERSION_MAX}",
    )
    assert_refused(at_node, VersionError, "update the older of the two")


def test_a_newer_program_that_still_speaks_ours_is_welcome(monkeypatch: pytest.MonkeyPatch) -> None:
    real = handshake._hello

    def newer_node(identity: object, role: str) -> bytes:
        hello = pb.Hello.FromString(real(identity, role))  # type: ignore[arg-type]
        hello.version_max = 7 if role == "node" else 1
        return hello.SerializeToString()

    monkeypatch.setattr(handshake, "_hello", newer_node)
    at_coordinator, at_node = shake(coordinator_side(), node_side())
    assert isinstance(at_coordinator, Peer)
    assert isinstance(at_node, Peer)


@pytest.mark.parametrize("seconds", [-400, 400])
def test_a_clock_that_is_far_off_is_refused_with_the_remedy(seconds: int) -> None:
    def shifted(number: int, data: bytes) -> bytes:
        if number:
            return data
        hello = pb.Hello.FromString(data)
        hello.unix_time += seconds
        return hello.SerializeToString()

    one, other = memory_channels()
    at_coordinator, at_node = shake(coordinator_side(), node_side(), (tampered(one, shifted), other))
    assert_refused(at_coordinator, AuthenticationError, "set both clocks")
    assert_refused(at_node, AuthenticationError, "set both clocks")


@pytest.mark.parametrize("pins_only", ["node", "coordinator"])
def test_a_connection_lost_in_the_last_flight_shuts_nobody_out(pins_only: str) -> None:
    """Whichever flight of the first contact is the last that arrives, a second attempt succeeds."""
    for lost in range(1, 4):
        coordinator, node = coordinator_side(), node_side()

        def cut(number: int, data: bytes, lost: int = lost) -> bytes:
            if number >= lost - 1:
                raise LinkClosedError("the connection ended")
            return data

        one, other = memory_channels()
        ends = (tampered(one, cut), other) if pins_only == "node" else (one, tampered(other, cut))
        shake(coordinator, node, ends)
        at_coordinator, at_node = shake(coordinator, node)
        assert isinstance(at_coordinator, Peer), f"flight {lost}: {at_coordinator}"
        assert isinstance(at_node, Peer), f"flight {lost}: {at_node}"


def test_a_stranger_learns_no_token_and_no_signature_from_a_coordinator() -> None:
    """The coordinator proves itself only to a node that has proven itself, and tells others a code."""
    seen: list[bytes] = []
    coordinator, stranger = coordinator_side(), node_side(token=b"guessed")
    one, other = memory_channels()

    def note(number: int, data: bytes) -> bytes:
        seen.append(data)
        return data

    shake(coordinator, stranger, (one, tampered(other, note)))
    assert pb.Proof.FromString(seen[1]) == pb.Proof(refusal="bad-token")
    assert len(seen) == 2


def hello(**changes: Any) -> bytes:
    parts: dict[str, Any] = {"version_min": 1, "version_max": 1, "role": "node", "id": "a", "unix_time": 0}
    return pb.Hello(**(parts | {"public_key": bytes(32), "nonce": bytes(32)} | changes)).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1",
        b"",
        hello(public_key=bytes(31)),
        hello(nonce=b""),
        hello(id=""),
        hello(id="a\nb"),
        hello(id="x" * 65),
        hello(id="x" * 70_000),
    ],
)
def test_what_is_not_a_hello_is_refused(data: bytes) -> None:
    async def say() -> None:
        one, other = memory_channels()
        await other.send(data)
        side = coordinator_side()
        await open_link(one, side.identity, side.role, side.trust)

    with pytest.raises(WireError):
        asyncio.run(say())


def test_whoever_stays_silent_is_left_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedcohort.wire.link.HANDSHAKE_SECONDS", 0.05)

    async def wait() -> None:
        one, _ = memory_channels()
        side = coordinator_side()
        await open_link(one, side.identity, side.role, side.trust)

    with pytest.raises(LinkClosedError, match="in time"):
        asyncio.run(wait())


def test_the_reason_of_a_refusal_is_told_even_when_the_other_side_has_gone() -> None:
    one, other = memory_channels()
    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        if sent:
            raise LinkClosedError("the connection ended")
        sent.append(data)
        await one.send(data)

    lost = Channel(send, one.receive, one.close)
    at_coordinator, _ = shake(coordinator_side(token=None), node_side(), (lost, other))
    assert_refused(at_coordinator, AuthenticationError, "unknown-site")


@pytest.mark.parametrize("newest", [VERSION_MIN, VERSION_MAX])
def test_both_sides_know_the_newest_version_that_both_speak(
    newest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hello of an earlier version names its own newest, which no handshake may raise."""
    hello = handshake._hello

    def of(identity: Identity, role: str) -> bytes:
        found = pb.Hello.FromString(hello(identity, role))
        found.version_max = newest if role == "node" else VERSION_MAX
        return found.SerializeToString()

    monkeypatch.setattr(handshake, "_hello", of)
    at_coordinator, _ = shake(coordinator_side(), node_side())
    assert isinstance(at_coordinator, Peer)
    assert at_coordinator.version == newest
    assert (newest >= COUNTERSIGNING) == (newest == VERSION_MAX)

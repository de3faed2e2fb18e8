"""One link: chunks, limits, back-pressure; over real sockets."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from fedcohort.errors import LinkClosedError, MessageTooLargeError, WireError
from fedcohort.wire.codec import CHUNK_TAG, encode, encode_chunk
from fedcohort.wire.handshake import Peer
from fedcohort.wire.link import CHUNK_BYTES, FRAME_BYTES, Link
from fedcohort.wire.messages import Contribution, Event, Message
from tests.patience import PATIENCE_SECONDS

from .support import HASH, Certified, Pair, linked, memory_channels

MEBIBYTE = 2**20
SMALL = Event("refusal", HASH, code="not-approved")


def contribution(size: int) -> Contribution:
    body = bytes(range(256)) * (size // 256)
    return Contribution(HASH, 1, 0, "hospital_a", bytes(32), body, {}, bytes(64))


def with_pair(
    run: Callable[[Pair], Awaitable[None]], tls: Certified | None = None, **options: object
) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), linked(tls, **options) as pair:
            await run(pair)

    asyncio.run(main())


@pytest.mark.parametrize("size", [0, MEBIBYTE - 256, MEBIBYTE, 3 * MEBIBYTE, 5 * MEBIBYTE + 768])
def test_a_message_of_any_length_arrives_both_ways_through_tls(tls: Certified, size: int) -> None:
    async def run(pair: Pair) -> None:
        message = contribution(size)
        for sender, receiver in ((pair.node, pair.coordinator), (pair.coordinator, pair.node)):
            _, found = await asyncio.gather(sender.send(encode(message)), receiver.receive())
            assert found == message

    with_pair(run, tls)


def memory_links(max_bytes: int = 2**30) -> tuple[Link, Link, list[bytes]]:
    """Two linked ends in memory, and the frames that the first sends."""
    one, other = memory_channels()
    frames: list[bytes] = []

    async def send(data: bytes) -> None:
        frames.append(data)
        await one.send(data)

    peer = Peer("peer", bytes(32))
    return Link(peer, replace(one, send=send), max_bytes), Link(peer, other, max_bytes), frames


def test_only_what_is_longer_than_a_chunk_is_cut_and_no_frame_exceeds_the_limit() -> None:
    async def run() -> None:
        sender, _, frames = memory_links()
        await sender.send(encode(contribution(MEBIBYTE // 2)))
        assert len(frames) == 1
        assert frames[0][:1] != CHUNK_TAG
        await sender.send(encode(contribution(3 * MEBIBYTE)))
        assert len(frames) == 1 + 4
        assert all(frame[:1] == CHUNK_TAG for frame in frames[1:])
        assert max(map(len, frames)) <= FRAME_BYTES

    asyncio.run(run())


def test_the_header_of_a_chunk_fits_beside_it_in_a_frame() -> None:
    last = encode_chunk(2**62, 2**62 - CHUNK_BYTES, bytes(CHUNK_BYTES))
    assert len(last) <= FRAME_BYTES


def test_small_messages_pass_between_the_chunks_of_a_long_one() -> None:
    async def run() -> None:
        sender, receiver, _ = memory_links()
        long = contribution(8 * MEBIBYTE)
        await asyncio.gather(sender.send(encode(long)), sender.send(encode(SMALL)))
        assert [await receiver.receive(), await receiver.receive()] == [SMALL, long]

    asyncio.run(run())


def test_two_long_messages_at_once_do_not_mix() -> None:
    async def run() -> None:
        sender, receiver, _ = memory_links()
        one, two = contribution(3 * MEBIBYTE), contribution(4 * MEBIBYTE)
        await asyncio.gather(sender.send(encode(one)), sender.send(encode(two)))
        assert [await receiver.receive(), await receiver.receive()] == [one, two]

    asyncio.run(run())


def test_a_receiver_that_is_cancelled_in_mid_message_loses_nothing() -> None:
    async def run() -> None:
        sender, receiver, frames = memory_links()
        long = contribution(3 * MEBIBYTE)
        waiting = asyncio.ensure_future(receiver.receive())
        sending = asyncio.ensure_future(sender.send(encode(long)))
        while len(frames) < 2:
            await asyncio.sleep(0)
        waiting.cancel()
        await sending
        assert await receiver.receive() == long

    asyncio.run(run())


def test_a_sender_that_gives_up_in_mid_message_can_send_another() -> None:
    async def run() -> None:
        sender, receiver, frames = memory_links()
        sending = asyncio.ensure_future(sender.send(encode(contribution(6 * MEBIBYTE))))
        while len(frames) < 2:
            await asyncio.sleep(0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        other = contribution(2 * MEBIBYTE)
        await sender.send(encode(other))
        assert await receiver.receive() == other

    asyncio.run(run())


def test_a_message_beyond_the_limit_is_not_sent() -> None:
    async def run() -> None:
        sender, _, frames = memory_links(max_bytes=1000)
        with pytest.raises(MessageTooLargeError, match="limit is 1000"):
            await sender.send(encode(contribution(1024)))
        assert frames == []

    asyncio.run(run())


async def received(link: Link) -> Message | WireError:
    try:
        return await link.receive()
    except WireError as error:
        return error


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([encode_chunk(2**40, 0, b"x")], MessageTooLargeError),
        ([encode_chunk(0, 0, b"x")], WireError),
        ([encode_chunk(5, 0, b"")], WireError),
        ([encode_chunk(5, 1, b"x")], WireError),
        ([encode_chunk(5, 0, b"xx"), encode_chunk(5, 3, b"x")], WireError),
        ([encode_chunk(5, 0, b"xx"), encode_chunk(6, 2, b"x")], WireError),
        ([encode_chunk(5, 0, b"xx"), encode_chunk(5, 2, b"xxxx")], WireError),
        ([CHUNK_TAG], WireError),
    ],
    ids=[
        "huge",
        "more than none",
        "empty",
        "no beginning",
        "a gap",
        "another total",
        "too many",
        "cut short",
    ],
)
def test_a_broken_stream_of_chunks_ends_the_link(frames: list[bytes], kind: type[WireError]) -> None:
    closed: list[str] = []

    async def run() -> None:
        one, other = memory_channels()

        async def close(code: str) -> None:
            closed.append(code)

        for frame in frames:
            await one.send(frame)
        link = Link(Peer("peer", bytes(32)), replace(other, close=close), heartbeat_seconds=1.0)
        outcome = await received(link)
        assert type(outcome) is kind

    asyncio.run(run())
    assert closed == [kind.code]


def test_a_message_that_cannot_be_read_leaves_the_link_standing() -> None:
    async def run(pair: Pair) -> None:
        await pair.node.send(b"noise")
        await pair.node.send(encode(SMALL))
        assert isinstance(await received(pair.coordinator), WireError)
        assert await pair.coordinator.receive() == SMALL

    with_pair(run)


def test_an_oversized_message_is_refused_at_its_first_chunk_and_ends_the_link(tls: Certified) -> None:
    async def run(pair: Pair) -> None:
        sending = asyncio.ensure_future(pair.node.send(encode(contribution(64 * MEBIBYTE))))
        with pytest.raises(MessageTooLargeError, match=str(2 * MEBIBYTE)):
            await pair.coordinator.receive()
        assert pair.coordinator.assembly.parts == []
        with contextlib.suppress(LinkClosedError):
            await sending
        with pytest.raises(LinkClosedError):
            await pair.node.receive()

    with_pair(run, tls, max_bytes=2 * MEBIBYTE)


@pytest.mark.parametrize("from_node", [True, False], ids=["from node", "from coordinator"])
def test_a_slow_receiver_holds_the_sender_back(tls: Certified, from_node: bool) -> None:
    """Of 64 MiB no more goes into buffers than the sockets and 16 frames hold, until somebody reads."""
    size = 64 * MEBIBYTE

    async def run(pair: Pair) -> None:
        ends = (pair.node, pair.coordinator) if from_node else (pair.coordinator, pair.node)
        gone = 0

        async def counted(data: bytes) -> None:
            nonlocal gone
            await ends[0].channel.send(data)
            gone += len(data)

        sender = replace(ends[0], channel=replace(ends[0].channel, send=counted))
        sending = asyncio.ensure_future(sender.send(encode(contribution(size))))
        before = -1
        while gone != before or gone == 0:
            before = gone
            await asyncio.sleep(0.3)
        assert gone < size // 2
        assert not sending.done()
        assert await ends[1].receive() == contribution(size)
        await sending

    with_pair(run, tls)


@pytest.mark.parametrize("by_node", [True, False], ids=["by node", "by coordinator"])
def test_a_closed_link_tells_the_other_side_a_code_and_neither_can_go_on(by_node: bool) -> None:
    async def run(pair: Pair) -> None:
        first, second = (pair.node, pair.coordinator) if by_node else (pair.coordinator, pair.node)
        waiting = asyncio.ensure_future(received(second))
        await first.close("already-connected")
        outcome = await waiting
        assert isinstance(outcome, LinkClosedError)
        assert "already-connected" in str(outcome)
        for link in (first, second):
            with pytest.raises(LinkClosedError):
                await link.send(encode(SMALL))
            with pytest.raises(LinkClosedError):
                await link.receive()
            await link.close("again")

    with_pair(run)

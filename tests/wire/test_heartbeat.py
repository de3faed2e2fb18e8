"""A peer that is gone is noticed; one that is only busy is not taken for dead."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from fedcohort.errors import LinkClosedError
from fedcohort.wire.codec import encode
from fedcohort.wire.link import MISSED_HEARTBEATS
from fedcohort.wire.messages import Contribution, Event, Message
from tests.patience import PATIENCE_SECONDS

from .support import HASH, Pair, coordinator_side, dial_node, node_side, running_coordinator, tcp_server

BEAT, SLOWEST_BEAT = 0.2, 20.0
LONG = Contribution(HASH, 1, 0, "hospital_a", bytes(32), bytes(24 * 2**20), {}, bytes(64))
SHORT = Event("asked", HASH)


@contextlib.asynccontextmanager
async def freezable(port: int, frozen: asyncio.Event) -> AsyncIterator[int]:
    """A network between two ends that swallows everything once it is frozen, and closes nothing."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if not frozen.is_set():
                writer.write(data)
        if not frozen.is_set():
            writer.close()

    async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("localhost", port)
        try:
            await asyncio.gather(carry(reader, back), carry(there, writer))
        finally:
            back.close()

    async with tcp_server(between) as outer:
        yield outer


def undisturbed(scenario: Callable[[float], Awaitable[None]]) -> None:
    """Run it with hearts that beat slower, where the machine has stalled for a beat and so ended a link."""
    beat, stalls = BEAT, [0.0]

    async def main() -> None:
        watching = asyncio.create_task(stall(stalls, beat / 10))
        try:
            await scenario(beat)
        finally:
            watching.cancel()

    while True:
        try:
            asyncio.run(main())
        except LinkClosedError:
            if stalls.pop() < beat or beat > SLOWEST_BEAT:
                raise
            beat, stalls = 4 * beat, [0.0]
        else:
            return


async def stall(stalls: list[float], pause: float) -> None:
    """The longest time for which this process did not come round, as the last of a list."""
    clock = asyncio.get_running_loop().time
    while True:
        before = clock()
        await asyncio.sleep(pause)
        stalls[-1] = max(stalls[-1], clock() - before - pause)


@contextlib.asynccontextmanager
async def beating(frozen: asyncio.Event, beat: float = BEAT) -> AsyncIterator[Pair]:
    """Both ends of a link whose hearts beat fast, over a network that can freeze."""
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        running_coordinator(coordinator_side(), heartbeat_seconds=beat) as coordinator,
        freezable(coordinator.port, frozen) as port,
    ):
        node = await dial_node(f"ws://localhost:{port}", node_side(), heartbeat_seconds=beat)
        link = await coordinator.links.get()
        try:
            yield Pair(node, link)
        finally:
            # Each waits for the other's answer, which nobody reads.
            await asyncio.gather(node.close("test-ended"), link.close("test-ended"))


def test_both_sides_notice_that_the_other_has_fallen_silent() -> None:
    async def main() -> None:
        frozen = asyncio.Event()
        async with beating(frozen) as pair:
            frozen.set()
            for end in (pair.node, pair.coordinator):
                with pytest.raises(LinkClosedError, match="no sign of life"):
                    await end.receive()
                with pytest.raises(LinkClosedError):
                    await end.receive()

    asyncio.run(main())


def test_two_that_have_nothing_to_say_stay_linked() -> None:
    async def main(beat: float) -> None:
        async with beating(asyncio.Event(), beat) as pair:
            waiting = [asyncio.ensure_future(end.receive()) for end in (pair.node, pair.coordinator)]
            await asyncio.sleep(3 * MISSED_HEARTBEATS * beat)
            await pair.node.send(encode(SHORT))
            await pair.coordinator.send(encode(SHORT))
            assert await asyncio.gather(*waiting) == [SHORT, SHORT]

    undisturbed(main)


@pytest.mark.parametrize("busy", ["node", "coordinator"])
@pytest.mark.parametrize("queued", [SHORT, LONG], ids=["short message queued", "long message queued"])
def test_who_computes_in_a_thread_is_not_taken_for_dead(busy: str, queued: Message) -> None:
    """The other goes on waiting for it all the while, and sends what fills every buffer between them."""

    async def main(beat: float) -> None:
        async with beating(asyncio.Event(), beat) as pair:
            ends = (pair.node, pair.coordinator)
            worker, other = ends if busy == "node" else ends[::-1]
            waiting = asyncio.ensure_future(other.receive())
            sending = asyncio.ensure_future(other.send(encode(queued)))
            await asyncio.to_thread(time.sleep, 3 * MISSED_HEARTBEATS * beat)
            assert await worker.receive() == queued
            await sending
            await worker.send(encode(SHORT))
            assert await waiting == SHORT

    undisturbed(main)


def test_a_closed_link_beats_no_more() -> None:
    async def main() -> None:
        async with beating(asyncio.Event()) as pair:
            await pair.node.close("test-ended")
            await asyncio.gather(*pair.node.beating, return_exceptions=True)
            assert all(task.done() for task in pair.node.beating)
            await asyncio.gather(*pair.coordinator.beating)

    asyncio.run(main())

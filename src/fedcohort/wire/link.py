"""One authenticated connection, in chunks, over any WebSocket (RFC 6455).

A message larger than a chunk goes in several WebSocket messages, between which
heartbeats and small messages pass; sending waits while the other side is slow.
The first chunk tells the whole size, so that limits hold before memory is taken.

Each side sends heartbeats whether it reads or not, and judges the other's only
while it waits for it. WebSocket pings would not do: a side that computes with a
long message in its queue reads no ping, and would be taken for dead.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fedcohort.errors import LinkClosedError, MessageTooLargeError, WireError
from fedcohort.wire.codec import HEARTBEAT, MAX_MESSAGE_BYTES, Chunk, decode, decode_chunk, encode_chunk
from fedcohort.wire.handshake import MAX_FLIGHT_BYTES, Peer, Trust, shake_hands
from fedcohort.wire.identity import Identity
from fedcohort.wire.messages import Message

CHUNK_BYTES = 2**20
FRAME_BYTES = CHUNK_BYTES + 64
"""Largest WebSocket message that either side takes."""
HEARTBEAT_SECONDS = 15.0
"""Both sides use the same; other intervals are for tests."""
MISSED_HEARTBEATS = 3
"""A peer from which so many heartbeats do not come is taken for dead."""
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 2.0
MAX_REASON_BYTES = 100


@dataclass(frozen=True)
class Channel:
    """Any WebSocket, as three functions; `receive` and `send` raise LinkClosedError when it ends."""

    send: Callable[[bytes], Awaitable[None]]
    receive: Callable[[], Awaitable[bytes]]
    close: Callable[[str], Awaitable[None]]


@dataclass
class Assembly:
    """The parts of a long message that have come so far."""

    total: int = 0
    size: int = 0
    parts: list[memoryview] = field(default_factory=list)

    def add(self, chunk: Chunk, max_bytes: int) -> bytes | None:
        """Take the next part; returns the message when it is complete.

        Raises:
            MessageTooLargeError: the message is beyond the limit; nothing of it is kept.
            WireError: a part is missing, repeated or of no size.
        """
        if chunk.total > max_bytes:
            raise MessageTooLargeError(f"a message of {chunk.total} bytes; the limit is {max_bytes}")
        if chunk.offset == 0:
            self.total, self.size, self.parts = chunk.total, 0, []
        data = chunk.data
        if not data or (chunk.total, chunk.offset) != (self.total, self.size):
            raise WireError("a chunk that does not follow the one before")
        self.size += len(data)
        self.parts.append(data)
        if self.size > self.total:
            raise WireError("chunks of more bytes than their message has")
        if self.size < self.total:
            return None
        message, self.parts = b"".join(self.parts), []
        return message


@dataclass(frozen=True)
class Link:
    """A connection to a proven peer; one task at a time may receive, any may send."""

    peer: Peer
    channel: Channel
    max_bytes: int = MAX_MESSAGE_BYTES
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)
    assembly: Assembly = field(default_factory=Assembly)
    beating: list[asyncio.Task[None]] = field(default_factory=list)

    async def send(self, data: bytes) -> None:
        """Send one encoded message; returns when the other side's buffers have room.

        Raises:
            MessageTooLargeError: it is beyond the limit.
            LinkClosedError: the connection ended.
        """
        if len(data) > self.max_bytes:
            raise MessageTooLargeError(f"a message of {len(data)} bytes; the limit is {self.max_bytes}")
        if len(data) <= CHUNK_BYTES:
            await self.channel.send(data)
            return
        view = memoryview(data)
        async with self.sending:
            for start in range(0, len(data), CHUNK_BYTES):
                await self.channel.send(encode_chunk(len(data), start, view[start : start + CHUNK_BYTES]))
                await asyncio.sleep(0)

    async def receive(self) -> Message:
        """Wait for the next message; cancelling it loses nothing.

        Raises:
            WireError: it cannot be read; the link still stands.
            MessageTooLargeError, WireError, LinkClosedError: as of `receive_bytes`.
        """
        return decode(await self.receive_bytes())

    async def receive_bytes(self) -> bytes:
        """Wait for the next message, and leave it to the caller to decode it; cancelling it loses nothing.

        Raises:
            MessageTooLargeError, WireError: on a broken or oversized stream of chunks the link is closed.
            LinkClosedError: the connection ended, or the other side has fallen silent.
        """
        while True:
            frame = await self._next_frame()
            if frame == HEARTBEAT:
                continue
            try:
                chunk = decode_chunk(frame)
                whole = self.assembly.add(chunk, self.max_bytes) if chunk else frame
            except WireError as error:
                await self.close(error.code)
                raise
            if whole is not None:
                return whole

    async def _next_frame(self) -> bytes:
        patience = MISSED_HEARTBEATS * self.heartbeat_seconds
        try:
            async with asyncio.timeout(patience):
                return await self.channel.receive()
        except TimeoutError:
            await self.close("silent")
            raise LinkClosedError(f"{self.peer.id}: no sign of life for {patience:g} seconds") from None

    async def beat(self) -> None:
        """Send heartbeats until the connection ends."""
        with contextlib.suppress(LinkClosedError):
            while True:
                await asyncio.sleep(self.heartbeat_seconds)
                await self.channel.send(HEARTBEAT)

    async def close(self, code: str) -> None:
        """End the connection, telling the other side a code."""
        for task in self.beating:
            task.cancel()
        try:
            await asyncio.wait_for(self.channel.close(code[:MAX_REASON_BYTES]), CLOSE_SECONDS)
        except (TimeoutError, LinkClosedError):
            return


async def open_link(
    channel: Channel,
    identity: Identity,
    role: str,
    trust: Trust,
    max_bytes: int = MAX_MESSAGE_BYTES,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
) -> Link:
    """Shake hands over a fresh channel, and let the heart beat.

    Args:
        max_bytes: the largest message to send or take.
    Raises:
        AuthenticationError, VersionError, WireError, LinkClosedError: and the channel is closed.
    """

    async def receive() -> bytes:
        data = await channel.receive()
        if len(data) > MAX_FLIGHT_BYTES:
            raise WireError("a handshake message that is too large")
        return data

    try:
        peer = await asyncio.wait_for(
            shake_hands(identity, role, trust, channel.send, receive), HANDSHAKE_SECONDS
        )
    except TimeoutError:
        await channel.close("handshake-timeout")
        raise LinkClosedError("the other side did not finish the handshake in time") from None
    except BaseException:
        await channel.close("handshake-failed")
        raise
    link = Link(peer, channel, max_bytes, heartbeat_seconds)
    link.beating.append(asyncio.create_task(link.beat()))
    return link

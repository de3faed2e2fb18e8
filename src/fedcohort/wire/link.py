"""One authenticated connection, in chunks, over any WebSocket (RFC 6455).

A message larger than a chunk goes in several WebSocket messages, between which
heartbeats (WebSocket pings) pass; sending waits while the other side is slow.
Limits hold before memory is taken.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from fedcohort.errors import LinkClosedError, MessageTooLargeError, WireError
from fedcohort.wire.codec import MAX_MESSAGE_BYTES, decode
from fedcohort.wire.handshake import MAX_FLIGHT_BYTES, Peer, Trust, shake_hands
from fedcohort.wire.identity import Identity
from fedcohort.wire.messages import Message

CHUNK_BYTES = 2**20
FRAME_BYTES = CHUNK_BYTES + 64
"""Largest WebSocket message that either side takes."""
HEARTBEAT_SECONDS = 15.0
HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 2.0
MAX_REASON_BYTES = 100

_MORE, _LAST = b"\x00", b"\x01"


@dataclass(frozen=True)
class Channel:
    """Any WebSocket, as three functions; `receive` and `send` raise LinkClosedError when it ends."""

    send: Callable[[bytes], Awaitable[None]]
    receive: Callable[[], Awaitable[bytes]]
    close: Callable[[str], Awaitable[None]]


@dataclass(frozen=True)
class Link:
    """A connection to a proven peer."""

    peer: Peer
    channel: Channel
    max_bytes: int = MAX_MESSAGE_BYTES
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, data: bytes) -> None:
        """Send one encoded message; returns when the other side's buffers have room.

        Raises:
            MessageTooLargeError: it is beyond the limit.
            LinkClosedError: the connection ended.
        """
        if len(data) > self.max_bytes:
            raise MessageTooLargeError(f"a message of {len(data)} bytes; the limit is {self.max_bytes}")
        async with self.sending:
            view, start = memoryview(data), 0
            while len(view) - start > CHUNK_BYTES:
                await self.channel.send(_MORE + view[start : start + CHUNK_BYTES])
                start += CHUNK_BYTES
            await self.channel.send(_LAST + view[start:])

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            WireError: it cannot be read.
            LinkClosedError: the connection ended.
        """
        chunk = await self.channel.receive()
        if chunk[:1] == _LAST:
            return decode(memoryview(chunk)[1:].tobytes())
        parts, size = [], 0
        while True:
            size += len(chunk) - 1
            if size > self.max_bytes:
                raise MessageTooLargeError(f"a message of more than {self.max_bytes} bytes")
            if chunk[:1] not in (_MORE, _LAST):
                raise WireError("a chunk without its mark")
            parts.append(memoryview(chunk)[1:])
            if chunk[:1] == _LAST:
                return decode(b"".join(parts))
            chunk = await self.channel.receive()

    async def close(self, code: str) -> None:
        """End the connection, telling the other side a code."""
        try:
            await asyncio.wait_for(self.channel.close(code[:MAX_REASON_BYTES]), CLOSE_SECONDS)
        except (TimeoutError, LinkClosedError):
            return


async def open_link(channel: Channel, identity: Identity, role: str, trust: Trust) -> Link:
    """Shake hands over a fresh channel.

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
    return Link(peer, channel)

"""MLLP, release 1: what an interface engine sends is on the disk before it is acknowledged.

HL7's "Minimal Lower Layer Protocol": a vertical tab, a message, a file separator and a carriage return. A
connection's messages are taken one after the other. Where the disk is full, nothing is answered and the
connection is closed: the engine keeps the message, and tries again.
"""

import asyncio
import ipaddress
import logging
import ssl
from dataclasses import dataclass
from typing import cast

from fedcohort.errors import ConfigError, StoreError
from fedcohort.sources.hl7v2.acknowledge import (
    REJECTED,
    Header,
    Verdict,
    acknowledgement,
    examine,
    header_of,
)
from fedcohort.sources.hl7v2.charsets import DEFAULT
from fedcohort.sources.hl7v2.inbox import END, START, Inbox

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.0/8", "::1/128")
_BEGINNING = 4096
"""Bytes of a message that is too long, of which its header is read."""


@dataclass(frozen=True)
class MllpLimits:
    """What connections may cost.

    Attributes:
        allow: networks that may connect, such as 10.1.0.0/16; any when empty, with client certificates.
        idle_seconds: between messages.
        message_seconds: of one message, from its first byte, and of an answer.
    """

    allow: tuple[str, ...] = LOOPBACK
    connections: int = 16
    message_bytes: int = 2**24
    idle_seconds: float = 3600.0
    message_seconds: float = 60.0

    def admits(self, address: str) -> bool:
        """Whether a peer's address is within one of the networks."""
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None) or peer
        return not self.allow or any(mapped in ipaddress.ip_network(network) for network in self.allow)


def check_networks(networks: tuple[str, ...]) -> None:
    """Refuse what is no network.

    Raises:
        ConfigError: names it.
    """
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ConfigError(f"{network}: not a network; write such as 10.1.0.0/16 or 10.1.2.3") from None


class MllpServer:
    """A listening server; `close` it to end."""

    def __init__(self, inbox: Inbox, limits: MllpLimits, charset: str = DEFAULT) -> None:
        self.inbox, self.limits, self.charset = inbox, limits, charset
        self.connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen.

        Returns:
            the port, which is a free one for 0.
        Raises:
            ConfigError: a network is none. StoreError: the port is taken.
        """
        check_networks(self.limits.allow)
        handshake = self.limits.message_seconds if tls else None
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: _Connection(self), host, port, ssl=tls, ssl_handshake_timeout=handshake
            )
        except OSError as error:
            raise StoreError(f"{host}:{port}: {error.strerror}; give another host or port") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and end all connections; what was not acknowledged, its sender keeps."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.abort()


class _Connection(asyncio.Protocol):
    """One sender: its messages are taken one after the other."""

    _transport: asyncio.Transport

    def __init__(self, server: MllpServer) -> None:
        self._server, self._limits = server, server.limits
        self._loop = asyncio.get_running_loop()
        self._peer = "?"
        self._received, self._searched = bytearray(), 0
        self._is_heard = True
        """The sender reads its answers."""
        self._header: Header | None = None
        """Of the message that is being stored."""
        self._deadline = self._loop.time() + self._limits.idle_seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let in who may connect, while there is room; others are closed without a word."""
        self._transport = cast(asyncio.Transport, transport)
        self._peer = str((transport.get_extra_info("peername") or ("?",))[0])
        many = len(self._server.connections) >= self._limits.connections
        if many or not self._limits.admits(self._peer):
            why = "there are too many connections" if many else "its address is not among those allowed"
            log.warning("%s: not let in: %s", self._peer, why)
            self._transport.abort()
            return
        self._server.connections.add(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It ended, within a message perhaps, which its sender keeps."""
        self._server.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        log.info("%s: the connection ended", self._peer)

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take what comes; a sender that does not wait for answers is read no further than one message."""
        self._received += data
        if self._header is None and self._is_heard:
            self._take_messages()
        elif len(self._received) > self._limits.message_bytes:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The sender does not read its answers: nothing more is taken, or they would fill the memory."""
        self._is_heard = False
        self._transport.pause_reading()
        self._deadline = self._loop.time() + self._limits.message_seconds

    def resume_writing(self) -> None:
        """It does again."""
        self._is_heard = True
        self._deadline = self._loop.time() + self._limits.idle_seconds
        self._go_on()

    def _go_on(self) -> None:
        """Read and take on, where nothing is being stored and the sender reads its answers."""
        if self._header is None and self._is_heard:
            self._transport.resume_reading()
            self._take_messages()

    def _take_messages(self) -> None:
        """Take whole messages until one is being stored."""
        while self._header is None and self._is_heard and not self._transport.is_closing():
            data = self._next()
            if data is None:
                return
            header, error = examine(data, self._server.charset)
            if error is None:
                self._header = header
                self._server.inbox.put(data).add_done_callback(self._stored)
                return
            log.warning("%s: a message was not taken: %s", self._peer, error)
            verdict: Verdict = "R" if error.fault in REJECTED else "E"
            self._answer(acknowledgement(header, verdict, error.fault))

    def _next(self) -> bytes | None:
        """The next whole message; what stands between messages is left out, such as line feeds."""
        received = self._received
        if not received.startswith(START):
            begin = received.find(START)
            del received[: begin if begin >= 0 else len(received)]
            self._searched = 0
            if not received:
                return None
        end = received.find(END, self._searched)
        if end > self._limits.message_bytes or (end < 0 and len(received) > self._limits.message_bytes):
            log.warning("%s: a message has more than %s bytes", self._peer, f"{self._limits.message_bytes:,}")
            beginning = header_of(bytes(received[1:_BEGINNING]))
            self._answer(acknowledgement(beginning, "R", "too-large"))
            self._transport.close()
            return None
        if end < 0:
            if self._searched == 0:
                self._deadline = self._loop.time() + self._limits.message_seconds
            self._searched = max(1, len(received) - len(END) + 1)
            return None
        data = bytes(received[1:end])
        del received[: end + len(END)]
        self._searched = 0
        self._deadline = self._loop.time() + self._limits.idle_seconds
        return data

    def _stored(self, future: "asyncio.Future[None]") -> None:
        """Answer a message that is on the disk; close the connection where it is not."""
        header, self._header = self._header, None
        error = future.exception()
        if error is not None or header is None:
            log.error("%s; %s: closed without an answer", error, self._peer)
            self._transport.abort()
            return
        self._answer(acknowledgement(header, "A"))
        self._go_on()

    def _answer(self, answer: bytes | None) -> None:
        if answer is not None and not self._transport.is_closing():
            self._transport.write(START + answer + END)

    def _watch(self) -> None:
        """End a connection that is idle or too slow."""
        if self._loop.time() >= self._deadline:
            log.info("%s: closed: idle, or too slow", self._peer)
            self._transport.abort()
            return
        wait = min(5.0, self._limits.idle_seconds, self._limits.message_seconds)
        self._timer = self._loop.call_later(wait, self._watch)

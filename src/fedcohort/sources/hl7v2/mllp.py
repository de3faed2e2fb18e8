"""MLLP, release 1: what an interface engine sends is on the disk before it is acknowledged.

HL7's "Minimal Lower Layer Protocol": a vertical tab, a message, a file separator and a carriage return. A
connection's messages are taken one after the other. Where the disk is full, nothing is answered and the
connection is closed: the engine keeps the message, and tries again.
"""

import asyncio
import contextlib
import ipaddress
import logging
import ssl
from dataclasses import dataclass

from fedcohort.errors import ConfigError, StoreError
from fedcohort.sources.hl7v2.acknowledge import REJECTED, Verdict, acknowledgement, examine, header_of
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
        self._inbox, self._limits, self._charset = inbox, limits, charset
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen.

        Returns:
            the port, which is a free one for 0.
        Raises:
            ConfigError: a network is none. StoreError: the port is taken.
        """
        check_networks(self._limits.allow)
        handshake = {"ssl_handshake_timeout": self._limits.message_seconds} if tls else {}
        try:
            self._server = await asyncio.start_server(
                self._accept, host, port, ssl=tls, limit=self._limits.message_bytes, **handshake
            )
        except OSError as error:
            raise StoreError(f"{host}:{port}: {error.strerror}; give another host or port") from error
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, and end all connections; what was not acknowledged, its sender keeps."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        peer = str((writer.get_extra_info("peername") or ("?",))[0])
        if (
            task is None
            or len(self._connections) >= self._limits.connections
            or not self._limits.admits(peer)
        ):
            log.warning("%s: not let in: it may not connect, or there are too many connections", peer)
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            await self._serve(reader, writer, peer)
        except asyncio.CancelledError:
            pass
        except TimeoutError:
            log.info("%s: closed: idle, or too slow", peer)
        except (OSError, EOFError):  # also of TLS; EOFError: it ended, within a message perhaps
            log.info("%s: the connection ended", peer)
        except StoreError as error:
            log.error("%s; %s: closed without an answer", error, peer)  # noqa: TRY400
        finally:
            self._connections.discard(task)
            with contextlib.suppress(OSError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
        while True:
            async with asyncio.timeout(self._limits.idle_seconds):
                first = await reader.readexactly(1)
            if first != START:  # what stands between messages is left out, such as line feeds
                continue
            try:
                async with asyncio.timeout(self._limits.message_seconds):
                    data = (await reader.readuntil(END)).removesuffix(END)
            except asyncio.LimitOverrunError:
                log.warning("%s: a message has more than %s bytes", peer, f"{self._limits.message_bytes:,}")
                beginning = header_of(await reader.read(_BEGINNING))
                await self._answer(writer, acknowledgement(beginning, "R", "too-large"))
                return
            await self._answer(writer, await self._take(data, peer))

    async def _take(self, data: bytes, peer: str) -> bytes | None:
        """Store a message that is for us.

        Returns:
            the answer.
        Raises:
            StoreError: it cannot be stored, and is not answered.
        """
        header, error = examine(data, self._charset)
        if error is not None:
            log.warning("%s: a message was not taken: %s", peer, error)
            verdict: Verdict = "R" if error.fault in REJECTED else "E"
            return acknowledgement(header, verdict, error.fault)
        await self._inbox.store(data)
        return acknowledgement(header, "A")

    async def _answer(self, writer: asyncio.StreamWriter, answer: bytes | None) -> None:
        if answer is not None:
            writer.write(START + answer + END)
            async with asyncio.timeout(self._limits.message_seconds):
                await writer.drain()

"""WebSockets as channels: dialled, listened for, or accepted by Starlette; TLS off loopback, always."""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidProxy, ProxyError, WebSocketException

from fedcohort.errors import AuthenticationError, ConfigError, FedcohortError, LinkClosedError
from fedcohort.wire.handshake import Trust
from fedcohort.wire.identity import Identity
from fedcohort.wire.link import CLOSE_SECONDS, FRAME_BYTES, HEARTBEAT_SECONDS, Channel, Link, open_link

log = logging.getLogger("fedcohort.wire")

OPEN_SECONDS = 20.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
LINK_PATH = "/link"

_OPTIONS: dict[str, Any] = {
    "compression": None,
    "max_size": FRAME_BYTES,
    "ping_interval": HEARTBEAT_SECONDS,
    "ping_timeout": 3 * HEARTBEAT_SECONDS,
    "close_timeout": CLOSE_SECONDS,
}

UVICORN_OPTIONS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": FRAME_BYTES,
    "ws_ping_interval": HEARTBEAT_SECONDS,
    "ws_ping_timeout": 3 * HEARTBEAT_SECONDS,
    "ws_per_message_deflate": False,
    "http": "h11",
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
}
"""How the coordinator's server must be run for its links."""


def is_loopback(host: str) -> bool:
    """Whether every address of this host is this machine.

    Raises:
        LinkClosedError: the name cannot be resolved.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise LinkClosedError(
            f"{host}: the name cannot be resolved; check it and the DNS settings"
        ) from error
    return all(ipaddress.ip_address(str(address[4][0]).split("%")[0]).is_loopback for address in found)


def client_tls(ca_file: Path | None) -> ssl.SSLContext:
    """Trust the system's CAs, or a corporate one.

    Raises:
        ConfigError: the file is not a CA certificate.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca_file}: cannot be read as a CA certificate in PEM") from error


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """Serve with this certificate.

    Raises:
        ConfigError: certificate and key cannot be read, or do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{certificate}, {key}: cannot be used as certificate and key in PEM") from error
    return context


def check_url(url: str) -> None:
    """Refuse an address that is not a WebSocket, or would send plain text over a network.

    Raises:
        ConfigError: and the remedy.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or not parts.hostname:
        raise ConfigError(f"{url!r}: give an address such as wss://coordinator.example:8760")
    if parts.scheme == "ws" and not is_loopback(parts.hostname):
        raise ConfigError(f"{url}: plain text is only allowed on this machine itself; use wss://")


def websocket_channel(connection: Connection) -> Channel:
    """A connection of the package `websockets`."""

    async def send(data: bytes) -> None:
        try:
            await connection.send(data)
        except ConnectionClosed as error:
            raise LinkClosedError(_words(error)) from None

    async def receive() -> bytes:
        try:
            data = await connection.recv(decode=False)
        except ConnectionClosed as error:
            raise LinkClosedError(_words(error)) from None
        return data

    async def close(reason: str) -> None:
        await connection.close(1000, reason)

    return Channel(send, receive, close)


def _words(error: ConnectionClosed) -> str:
    reason = error.rcvd.reason if error.rcvd else ""
    return f"the connection ended{': ' + reason if reason else ''}"


def starlette_channel(socket: WebSocket) -> Channel:
    """A connection that Starlette has accepted."""

    async def send(data: bytes) -> None:
        try:
            await socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError):
            raise LinkClosedError("the connection ended") from None

    async def receive() -> bytes:
        try:
            return await socket.receive_bytes()
        except (WebSocketDisconnect, RuntimeError, KeyError):
            raise LinkClosedError("the connection ended") from None

    async def close(reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(1000, reason)

    return Channel(send, receive, close)


async def dial(url: str, identity: Identity, role: str, trust: Trust, ca_file: Path | None = None) -> Link:
    """Open a link; HTTPS_PROXY and NO_PROXY of the environment hold.

    Args:
        url: wss://host:port; ws:// only to this machine.
    Raises:
        LinkClosedError: it cannot be reached, and why.
        AuthenticationError, VersionError: the handshake failed, or the proxy wants other credentials.
    """
    await asyncio.to_thread(check_url, url)
    context = client_tls(ca_file) if url.startswith("wss") else None
    target = url.rstrip("/") + LINK_PATH
    try:
        connection = await connect(target, ssl=context, open_timeout=OPEN_SECONDS, **_OPTIONS)
    except (InvalidProxy, ProxyError) as error:
        raise AuthenticationError(
            f"{url}: the proxy refused ({type(error).__name__}); check HTTPS_PROXY and its password"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise AuthenticationError(
            f"{url}: the certificate is not trusted ({error.verify_message}); give its CA by --ca-file"
        ) from error
    except (OSError, WebSocketException, TimeoutError) as error:
        raise LinkClosedError(
            f"{url}: cannot be reached ({type(error).__name__}); check address and network"
        ) from error
    return await open_link(websocket_channel(connection), identity, role, trust)


async def reconnecting(
    dial_once: Callable[[], Awaitable[Link]], longest_pause: float = LONGEST_PAUSE_SECONDS
) -> AsyncIterator[Link]:
    """Link after link for ever, with exponential back-off and full jitter between failures."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            link = await dial_once()
        except ConfigError:
            raise
        except FedcohortError as error:
            log.warning("%s", error)
        else:
            pause = FIRST_PAUSE_SECONDS
            yield link
        await asyncio.sleep(pause * secrets.randbelow(1001) / 1000)
        pause = min(2 * pause, longest_pause)


async def listen(
    host: str,
    port: int,
    handler: Callable[[Channel], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Wait to be dialled.

    Raises:
        ConfigError: plain text off loopback, or the port is taken.
    """
    if tls is None and not await asyncio.to_thread(is_loopback, host):
        raise ConfigError(
            f"{host}: plain text is only allowed on this machine itself; give certificate and key"
        )

    async def serve_one(connection: ServerConnection) -> None:
        try:
            await handler(websocket_channel(connection))
        except FedcohortError as error:
            log.warning("%s", error)

    try:
        return await serve(serve_one, host, port, ssl=tls, open_timeout=OPEN_SECONDS, **_OPTIONS)
    except OSError as error:
        raise ConfigError(f"{host}:{port}: cannot listen ({error.strerror}); choose another port") from error

"""WebSockets as channels: dialled, listened for, or accepted by Starlette; TLS off loopback, always."""

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import (
    ConnectionClosed,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    ProxyError,
    WebSocketException,
)

from fedcohort.errors import AuthenticationError, ConfigError, FedcohortError, LinkClosedError
from fedcohort.wire.address import check_url, client_tls, is_loopback, server_tls
from fedcohort.wire.codec import MAX_MESSAGE_BYTES
from fedcohort.wire.handshake import Trust
from fedcohort.wire.identity import Identity
from fedcohort.wire.link import CLOSE_SECONDS, FRAME_BYTES, HEARTBEAT_SECONDS, Channel, Link, open_link
from fedcohort.wire.proxy import environment_proxy

__all__ = [
    "LINK_PATH",
    "UVICORN_OPTIONS",
    "dial",
    "is_loopback",
    "listen",
    "reconnecting",
    "server_tls",
    "starlette_channel",
    "websocket_channel",
]

log = logging.getLogger("fedcohort.wire")

OPEN_SECONDS = 20.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
STEADY_SECONDS = 10.0
"""A link that lived so long was a good one: the next back-off begins anew."""
LINK_PATH = "/link"
PROXY_AUTHENTICATION_REQUIRED = 407

_OPTIONS: dict[str, Any] = {
    "compression": None,
    "max_size": FRAME_BYTES,
    "ping_interval": None,
    "close_timeout": CLOSE_SECONDS,
    "open_timeout": OPEN_SECONDS,
}
"""No pings: a link has heartbeats of its own."""

UVICORN_OPTIONS: dict[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": FRAME_BYTES,
    "ws_ping_interval": None,
    "ws_per_message_deflate": False,
    "http": "h11",
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    "proxy_headers": False,
}
"""How the coordinator's server must be run for its links."""


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
    return _ended(error.rcvd.reason if error.rcvd else "")


def _ended(reason: str) -> str:
    """Say that it ended, with the code that the other side gave; which is short (RFC 6455)."""
    return f"the connection ended{': ' + reason if reason and reason.isprintable() else ''}"


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
        except WebSocketDisconnect as error:
            raise LinkClosedError(_ended(error.reason)) from None
        except (RuntimeError, KeyError):
            raise LinkClosedError(_ended("")) from None

    async def close(reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await socket.close(1000, reason)

    return Channel(send, receive, close)


class _Direct(connect):
    """Goes to the address that was given: a redirect could lead off this machine, or to a stranger."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def dial(
    url: str,
    identity: Identity,
    role: str,
    trust: Trust,
    ca_file: Path | None = None,
    *,
    heartbeat_seconds: float = HEARTBEAT_SECONDS,
    max_bytes: int = MAX_MESSAGE_BYTES,
) -> Link:
    """Open a link; HTTPS_PROXY and NO_PROXY of the environment hold.

    Args:
        url: wss://host:port; ws:// only to this machine.
        max_bytes: the largest message to send or take.
    Raises:
        LinkClosedError: it cannot be reached, and why.
        AuthenticationError, VersionError: the handshake failed, or the proxy wants other credentials.
        ConfigError: the address, the CA file or the proxy's address cannot be used.
    """
    addresses = await asyncio.to_thread(check_url, url)
    with _explained(url):
        if addresses:
            connection = await _dial_plain(url, addresses)
        else:
            proxy = environment_proxy("wss", urlsplit(url).hostname or "")
            target = url.rstrip("/") + LINK_PATH
            connection = await _Direct(target, ssl=client_tls(ca_file), proxy=proxy, **_OPTIONS)
    channel = websocket_channel(connection)
    return await open_link(channel, identity, role, trust, max_bytes, heartbeat_seconds)


async def _dial_plain(url: str, addresses: list[str]) -> ClientConnection:
    """Connect to the addresses that were checked: not to what the name means a moment later, nor by proxy."""
    *others, last = addresses
    target = url.rstrip("/") + LINK_PATH
    for address in others:
        with contextlib.suppress(ConnectionError):
            return await _Direct(target, host=address, proxy=None, **_OPTIONS)
    return await _Direct(target, host=last, proxy=None, **_OPTIONS)


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """Turn what can go wrong while connecting into our errors, with a remedy."""
    try:
        yield
    except InvalidProxyStatus as error:
        status = error.response.status_code
        if status == PROXY_AUTHENTICATION_REQUIRED:
            raise AuthenticationError(
                f"{url}: the proxy refused user name or password (HTTP {status}); set "
                "HTTPS_PROXY=http://user:password@proxy:port, special characters percent-encoded"
            ) from None
        raise LinkClosedError(
            f"{url}: the proxy cannot or may not connect there (HTTP {status}); ask for this host and port"
        ) from None
    except InvalidProxy:
        raise ConfigError(
            f"{url}: the environment's proxy is no address; set HTTPS_PROXY=http://proxy:port"
        ) from None
    except ProxyError as error:
        raise LinkClosedError(f"{url}: the proxy did not answer as one; check HTTPS_PROXY") from error
    except ssl.SSLCertVerificationError as error:
        raise AuthenticationError(
            f"{url}: the certificate is not trusted ({error.verify_message}); give its CA by --ca-file"
        ) from error
    except InvalidStatus as error:
        raise LinkClosedError(
            f"{url}: answered HTTP {error.response.status_code}; give the address of a coordinator or node"
        ) from None
    except (OSError, WebSocketException, ImportError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
        raise LinkClosedError(
            f"{url}: cannot be reached ({reason}); check address, network, HTTPS_PROXY and NO_PROXY"
        ) from error


async def reconnecting(
    dial_once: Callable[[], Awaitable[Link]], longest_pause: float = LONGEST_PAUSE_SECONDS
) -> AsyncIterator[Link]:
    """Link after link for ever, with exponential back-off and full jitter between them.

    Source: Brooker 2015, "Exponential Backoff And Jitter" (AWS Architecture Blog).
    """
    clock = asyncio.get_running_loop().time
    pause = FIRST_PAUSE_SECONDS
    while True:
        begun = clock()
        try:
            link = await dial_once()
        except ConfigError:
            raise
        except FedcohortError as error:
            log.warning("%s", error)
        else:
            try:
                yield link
            finally:
                await link.close("link-ended")
            if clock() - begun >= STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
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
        return await serve(serve_one, host, port, ssl=tls, **_OPTIONS)
    except OSError as error:
        raise ConfigError(f"{host}:{port}: cannot listen ({error.strerror}); choose another port") from error

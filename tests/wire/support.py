"""What several tests of the wire share: trust in memory, and real coordinators and nodes on loopback."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from fedcohort.errors import FedcohortError
from fedcohort.wire.handshake import Peer, Trust, shake_hands
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.link import HEARTBEAT_SECONDS, Channel, Link, open_link
from fedcohort.wire.transport import LINK_PATH, UVICORN_OPTIONS, dial, starlette_channel
from tests.build import free_port

TOKEN = b"one-time-token"
HASH = "ab" * 32


@dataclass
class MemoryTrust:
    """Pins and tokens in memory; a coordinator keeps its token until the site is settled."""

    keys: dict[str, bytes] = field(default_factory=dict)
    token: bytes | None = TOKEN
    is_node: bool = False
    unknown: tuple[str, ...] = ()

    def key_of(self, name: str) -> bytes | None:
        return self.keys.get(name)

    def token_of(self, name: str) -> bytes | None:
        forgotten = name in self.unknown or (self.is_node and name in self.keys)
        return None if forgotten else self.token

    def pin(self, name: str, key: bytes) -> None:
        self.keys[name] = key

    def settled(self, name: str) -> None:
        if not self.is_node:
            self.token = None


@dataclass
class Side:
    """One end of a handshake."""

    identity: Identity
    role: str
    trust: Any

    def shake(self, channel: Channel) -> Awaitable[Peer]:
        return shake_hands(self.identity, self.role, self.trust, channel.send, channel.receive)


def coordinator_side(**trust: Any) -> Side:
    return Side(new_identity("coordinator"), "coordinator", MemoryTrust(**trust))


def node_side(name: str = "hospital_a", **trust: Any) -> Side:
    return Side(new_identity(name), "node", MemoryTrust(is_node=True, **trust))


def memory_channels() -> tuple[Channel, Channel]:
    """Two ends of a channel inside this process."""
    forth: asyncio.Queue[bytes] = asyncio.Queue()
    back: asyncio.Queue[bytes] = asyncio.Queue()

    async def close(reason: str) -> None:
        return None

    return Channel(forth.put, back.get, close), Channel(back.put, forth.get, close)


@dataclass(frozen=True)
class Certified:
    """A certificate for localhost, and the authority that signed it."""

    ca_file: Path
    certificate: Path


def certify(folder: Path) -> Certified:
    authority = trustme.CA()
    found = Certified(folder / "ca.pem", folder / "server.pem")
    authority.cert_pem.write_to_path(str(found.ca_file))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(found.certificate))
    return found


@dataclass
class Coordinator:
    """A real coordinator's port: uvicorn and Starlette, with the options that links need."""

    port: int
    side: Side
    links: asyncio.Queue[Link] = field(default_factory=asyncio.Queue)
    errors: list[FedcohortError] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    max_bytes: int = 2**30
    heartbeat_seconds: float = HEARTBEAT_SECONDS

    async def accept(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            link = await open_link(
                starlette_channel(socket),
                self.side.identity,
                "coordinator",
                self.side.trust,
                self.max_bytes,
                self.heartbeat_seconds,
            )
        except FedcohortError as error:
            self.errors.append(error)
            return
        self.links.put_nowait(link)
        await self.ended.wait()


@contextlib.asynccontextmanager
async def running_coordinator(
    side: Side | None = None, tls: Certified | None = None, **options: Any
) -> AsyncIterator[Coordinator]:
    coordinator = Coordinator(free_port(), side or coordinator_side(), **options)
    app = Starlette(routes=[WebSocketRoute(LINK_PATH, coordinator.accept)])
    files = {"ssl_certfile": tls.certificate, "ssl_keyfile": tls.certificate} if tls else {}
    server = uvicorn.Server(
        uvicorn.Config(app, host="localhost", port=coordinator.port, **(UVICORN_OPTIONS | files))
    )
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield coordinator
    finally:
        coordinator.ended.set()
        server.should_exit = True
        await task


@dataclass(frozen=True)
class Pair:
    """Both ends of one link."""

    node: Link
    coordinator: Link


@contextlib.asynccontextmanager
async def linked(tls: Certified | None = None, **options: Any) -> AsyncIterator[Pair]:
    """A node that has dialled a coordinator over a real socket."""
    async with running_coordinator(tls=tls, **options) as coordinator:
        url = f"{'wss' if tls else 'ws'}://localhost:{coordinator.port}"
        node = await dial_node(url, node_side(), tls.ca_file if tls else None)
        try:
            yield Pair(node, await coordinator.links.get())
        finally:
            await node.close("test-ended")


def dial_node(url: str, side: Side, ca_file: Path | None = None, **options: Any) -> Awaitable[Link]:
    trust: Trust = side.trust
    return dial(url, side.identity, side.role, trust, ca_file, **options)


@contextlib.asynccontextmanager
async def tcp_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A TCP server on loopback; gives its port, and leaves no connection behind."""
    tasks: set[asyncio.Task[None]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await handle(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(tracked, "localhost", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry bytes one way until the end."""
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()

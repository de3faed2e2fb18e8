"""The WebSocket engine: coordinator and nodes as processes, linked through one port."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET
from socket import socket as Socket

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from fedcohort.coordinator.api import routes
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.engines.links import Links
from fedcohort.errors import ConfigError, FedcohortError, JoinTokenError, LedgerBehindError
from fedcohort.local_token import RESEARCHER
from fedcohort.node.policy import ListenSettings
from fedcohort.node.process import run_node, serve_link
from fedcohort.node.running import Running
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.durable import lock_folder
from fedcohort.wire.identity import Identity, load_or_create
from fedcohort.wire.link import Channel, Link, open_link
from fedcohort.wire.renewal import renew_on_hangup
from fedcohort.wire.transport import (
    LINK_PATH,
    UVICORN_OPTIONS,
    dial,
    is_loopback,
    listen,
    reconnecting,
    server_tls,
    starlette_channel,
)

log = logging.getLogger("fedcohort")

TOKENS_ALWAYS = "tokens-always"
"""Entry of the event log: the operator has been told that every call needs a token."""


@dataclass(frozen=True)
class CoordinatorSettings:
    """How a coordinator is run.

    Attributes:
        state: folder of its key and, unless `database` is given, its database.
    """

    state: Path
    host: str = "127.0.0.1"
    port: int = 8760
    database: str | None = None
    certificate: Path | None = None
    key: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True)
class Coordinator:
    """A coordinator that is open, and the links that carry its messages."""

    service: Service
    links: Links
    identity: Identity


def open_coordinator(settings: CoordinatorSettings) -> Coordinator:
    """Open the coordinator's key and database.

    Raises:
        KeyFileError, StoreError: what is wrong, and the remedy.
    """
    identity = load_or_create(settings.state / "coordinator.key", "coordinator")
    store = CoordinatorStore(settings.database or settings.state / "coordinator.db", exclusive=True)
    links = Links()
    return Coordinator(Service(store, Members(store), links), links, identity)


def coordinator_app(
    coordinator: Coordinator,
    settings: CoordinatorSettings,
    on_start: Callable[[], None] = lambda: None,
) -> Starlette:
    """REST and links on one port; `on_start` is called in its loop."""
    service, links, identity = coordinator.service, coordinator.links, coordinator.identity

    async def accept(socket: WebSocket) -> None:
        await socket.accept()
        try:
            link = await open_link(starlette_channel(socket), identity, "coordinator", service.members)
            await links.serve(link)
        except FedcohortError as error:
            log.warning("a link was refused: %s", error)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        dialling = [
            asyncio.create_task(_keep_dialling(coordinator, str(row["url"]), settings.ca_file))
            for row in service.members.sites().values()
            if row["url"]
        ]
        await service.resume()
        on_start()
        yield
        for task in dialling:
            task.cancel()
        await service.stop()
        await links.close("coordinator-stopping")

    rest = routes(service, identity.public_key)
    return Starlette(routes=[*rest, WebSocketRoute(LINK_PATH, accept)], lifespan=lifespan)


async def _keep_dialling(coordinator: Coordinator, url: str, ca_file: Path | None) -> None:
    """Link to a node that listens, again and again."""
    identity, members = coordinator.identity, coordinator.service.members
    async for link in reconnecting(partial(dial, url, identity, "coordinator", members, ca_file)):
        await coordinator.links.serve(link)


def serve_coordinator(settings: CoordinatorSettings, on_listening: Callable[[], None] = lambda: None) -> None:
    """Run a coordinator until it is told to stop.

    Raises:
        ConfigError: plain text off loopback, a certificate or port that cannot be used; StoreError,
            KeyFileError: what cannot be opened.
    """
    if settings.certificate is None and not is_loopback(settings.host):
        raise ConfigError(
            f"{settings.host}: plain text is only allowed on this machine itself; "
            "give --certificate and --key, or listen on 127.0.0.1 behind nginx"
        )
    if settings.certificate is not None:
        server_tls(settings.certificate, settings.key or settings.certificate)
    held = lock_folder(settings.state)
    coordinator = open_coordinator(settings)
    service = coordinator.service

    def on_start() -> None:
        renew_on_hangup(lambda: config.ssl, settings.certificate, settings.key)
        for words in about_tokens(service, settings):
            log.warning("%s", words)

    config = uvicorn.Config(
        coordinator_app(coordinator, settings, on_start),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        timeout_graceful_shutdown=2,
        **UVICORN_OPTIONS,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    try:
        with _bound(settings.host, settings.port) as socket:
            on_listening()
            uvicorn.Server(config).run([socket])
    finally:
        service.store.close()
        held.close()


def about_tokens(service: Service, settings: CoordinatorSettings) -> list[str]:
    """What an operator must hear: that calls without a token are refused now, and that nobody has one."""
    invite = f"`fedcohort coordinator invite --researcher NAME --state {settings.state}`"
    if settings.database:
        invite += " (with --database, or FEDCOHORT_DATABASE)"
    words, researchers = [], service.members.researchers()
    if RESEARCHER not in researchers and service.store.was_open() and service.store.note_once(TOKENS_ALWAYS):
        words.append(
            "this coordinator has taken studies without a token; since this version every call needs one, on "
            "this machine and behind nginx too. Make one for each researcher, and one for the dashboard "
            f"(FEDCOHORT_TOKEN): {invite}"
        )
    if not researchers:
        words.append(f"nobody has a token, so that nobody can ask or look; make one: {invite}")
    return words


def _bound(host: str, port: int) -> Socket:
    """A socket that has the port; it listens once the application is up."""
    listener = Socket(AF_INET6 if ":" in host else AF_INET)
    if os.name == "posix":  # on Windows the option lets two programs have one port
        listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        return listener
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}:{port}: cannot be listened on ({error.strerror}); stop what listens there, or choose "
            "another --host or --port"
        ) from None


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Streams that are cut when the coordinator stops are no error of it."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


@dataclass(frozen=True)
class NodeTrust:
    """What a node knows: the coordinator's pinned key, or the token to join with."""

    store: SqlNodeStore
    token: bytes | None = None

    def key_of(self, name: str) -> bytes | None:
        """The key that was pinned at first contact."""
        return self.store.key_of(name)

    def token_of(self, name: str) -> bytes | None:
        """The join token, until the coordinator's key is pinned."""
        return self.token if self.store.key_of(name) is None else None

    def pin(self, name: str, key: bytes) -> None:
        """Remember the coordinator's key."""
        self.store.pin(name, key)

    def settled(self, name: str) -> None:
        """A node keeps no token beyond the key's pinning."""


async def serve_node(running: Running, token: str | None) -> None:
    """Run a node until it is cancelled: dial the coordinator, or wait to be dialled.

    Raises:
        ConfigError: the address cannot be used, or the site cannot join with this token or without one.
        LedgerBehindError: node.db is an older copy than others have seen.
    """
    policy, identity = running.site.policy, running.site.identity
    if not token and not _has_joined(running):
        raise ConfigError(
            f"{policy.id} has not joined yet, and no join token was given; give the one that the "
            f"coordinator's operator gets from `fedcohort coordinator invite --site {policy.id}`, by --token"
        )
    trust = NodeTrust(running.store, token.encode() if token else None)
    if policy.listen:
        await _listen(running, policy.listen, trust)
    elif policy.coordinator:
        dial_once = partial(dial, policy.coordinator, identity, "node", trust, policy.ca_file)
        await run_node(running, reconnecting(partial(_join, running, dial_once)))


def _has_joined(running: Running) -> bool:
    return running.store.key_of("coordinator") is not None


async def _join(running: Running, dial_once: Callable[[], Awaitable[Link]]) -> Link:
    """Dial; a token that is refused at first contact will never be taken, and another needs a new start.

    A site that has joined goes on asking: a coordinator that was restored may know it again.
    """
    try:
        return await dial_once()
    except JoinTokenError as error:
        if _has_joined(running):
            raise
        raise ConfigError(str(error)) from error


async def _listen(running: Running, place: ListenSettings, trust: NodeTrust) -> None:
    busy, ended = asyncio.Lock(), asyncio.get_running_loop().create_future()

    async def handle(channel: Channel) -> None:
        link = await open_link(channel, running.site.identity, "node", trust)
        if busy.locked():
            await link.close("already-connected")
            return
        async with busy:
            try:
                await serve_link(running, link)
            except LedgerBehindError as error:
                ended.set_exception(error)

    tls = server_tls(place.certificate, place.key) if place.certificate and place.key else None
    server = await listen(place.host, place.port, handle, tls)
    renew_on_hangup(lambda: tls, place.certificate, place.key)
    async with server:
        await ended

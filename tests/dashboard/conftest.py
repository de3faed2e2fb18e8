"""A stand-in coordinator, the dashboard in front of it, and one browser for all tests."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from argon2.profiles import RFC_9106_LOW_MEMORY
from playwright.sync_api import Browser

from fedcohort.dashboard import Settings, create_app
from fedcohort.dashboard.login import passwords
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, address_of, open_server
from tests.patience import PATIENCE_SECONDS

from .accounts import write_people
from .browser import Watched, chromium, watched
from .standin import Running, StandIn, rest, running

Serve = Callable[[Settings], str]


@pytest.fixture
def store() -> StandIn:
    return StandIn(sites={"hospital_a": "connected", "hospital_b": "connected", "hospital_c": "lost"})


@pytest.fixture
def coordinator(store: StandIn) -> Iterator[Running]:
    with running(rest(store)) as server:
        yield server


@contextmanager
def served(settings: Settings) -> Iterator[str]:
    """The dashboard with these settings, from a thread, for the length of a with block; its address."""
    listen = Listen("127.0.0.1", 0)
    app = create_app(settings)
    server = open_server(app, settings, listen)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address_of(listen, server.port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        close_app(app)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves the dashboard with given settings from a thread, and returns its address."""
    with ExitStack() as servers:
        yield lambda settings: servers.enter_context(served(settings))


@pytest.fixture
def dashboard(coordinator: Running, serve: Serve) -> str:
    return serve(Settings(coordinator.url))


@pytest.fixture
def client(dashboard: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=dashboard, timeout=PATIENCE_SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def quick_passwords() -> Iterator[None]:
    """argon2id at its least cost: what it costs in truth is for test_people.py alone."""
    least = replace(RFC_9106_LOW_MEMORY, time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "RFC_9106_LOW_MEMORY", least)
        patch.setattr(passwords, "DUMMY_HASH", passwords.DUMMY_HASH.replace("m=65536,t=3,p=4", "m=8,t=1,p=1"))
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    # Not for the session: while Playwright is open its event loop runs in this thread, and asyncio.run fails
    with chromium() as opened:
        yield opened


@pytest.fixture
def watch(browser: Browser) -> Iterator[Watched]:
    """One page of the browser."""
    with watched(browser) as watch:
        yield watch


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A file with one person a role."""
    return write_people(tmp_path / "people.db")

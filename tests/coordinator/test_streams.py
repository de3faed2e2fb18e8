"""Event streams of the coordinator: fast rounds are not slowed down by whoever watches."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from fedcohort.coordinator import streams, tables
from fedcohort.coordinator.api import sites_view
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.service import Service
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.coordinator.streams import (
    FEDERATION_PAUSE_SECONDS,
    PAUSE_SECONDS,
    federation_stream,
    study_stream,
)
from fedcohort.coordinator.study_list import all_studies
from fedcohort.engines.links import Links
from fedcohort.wire.handshake import VERSION_MAX
from tests.patience import PATIENCE_SECONDS

SUBMISSION = Submission("ab" * 32, "name", b"{}", "ada", b"k" * 32, b"s" * 64, 3)
ROUNDS, ROUNDS_A_PAUSE = 100, 10
TURNS = 50
"""Of the event loop, after which a stream has done all that it can before its pause ends."""


@pytest.fixture
def service(tmp_path: Path) -> Service:
    store = CoordinatorStore(tmp_path / "coordinator.db")
    store.submit(SUBMISSION)
    return Service(store, Members(store), Links())


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def looks_while_rounds_go_by(
    service: Service, stream: AsyncIterator[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, set[float]]:
    """How often the store was read for a page while a hundred rounds ended, and between which pauses.

    A pause lasts ten rounds, however long the machine takes for them.
    """
    database, looks = service.store.database, 0
    pauses, over = set[float](), asyncio.Event()

    async def pause(seconds: float) -> None:
        pauses.add(seconds)
        over.clear()
        await over.wait()

    clock = SimpleNamespace(sleep=pause, timeout=asyncio.timeout, Event=asyncio.Event)
    monkeypatch.setattr(streams, "asyncio", clock)

    def counting(work: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*values: object) -> Any:
            nonlocal looks
            looks += 1
            return work(*values)

        return counted

    for name in ("transaction", "read"):
        setattr(database, name, counting(getattr(database, name)))

    async def watch() -> None:
        async for _ in stream:
            pass

    watching = asyncio.create_task(watch())
    await turns()
    for number in range(1, ROUNDS + 1):
        service.changes.wake()
        if number % ROUNDS_A_PAUSE == 0:
            over.set()
        await turns()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return looks, pauses


@pytest.mark.parametrize("stream", [federation_stream, study_stream])
def test_a_page_that_is_open_does_not_read_the_store_at_every_round(
    service: Service, monkeypatch: pytest.MonkeyPatch, stream: object
) -> None:
    opened = (
        federation_stream(service) if stream is federation_stream else study_stream(service, SUBMISSION.id, 0)
    )
    pause, each = (FEDERATION_PAUSE_SECONDS, 2) if stream is federation_stream else (PAUSE_SECONDS, 1)
    looks, pauses = asyncio.run(looks_while_rounds_go_by(service, opened, monkeypatch))
    assert looks == each * (1 + ROUNDS // ROUNDS_A_PAUSE)
    assert pauses == {pause}
    service.store.close()


def test_a_change_of_a_study_is_told_without_waiting_for_a_sign_of_life(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "KEEP_ALIVE_SECONDS", 3600.0)

    async def told() -> str:
        async for text in federation_stream(service):
            if "proposed" in text:
                service.store.set_state(SUBMISSION.id, "running")
                service.changes.wake()
            if "running" in text:
                return text
        raise AssertionError("the stream has ended")

    assert SUBMISSION.id in asyncio.run(asyncio.wait_for(told(), PATIENCE_SECONDS))
    assert FEDERATION_PAUSE_SECONDS < 1.0, "all that it waits for"
    service.store.close()


def test_a_site_that_is_linked_was_last_seen_now_and_that_outlives_the_process(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedcohort.coordinator.service.SEEN_SECONDS", 0.02)
    for site in ("a", "b"):
        service.members.invite_site(site)
        service.members.pin(site, site.encode() * 32)
        service.members.seen(site)
    with service.store.database.transaction() as connection:
        connection.execute(update(tables.sites).values(last_seen=1_000))
    assert isinstance(service.carrier, Links)
    service.carrier.present["a"] = VERSION_MAX

    async def for_a_while() -> list[dict[str, object]]:
        await service.resume()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while service.members.sites()["a"]["last_seen"] == 1_000:
                await asyncio.sleep(0.01)
        assert service.watching is not None
        service.watching.cancel()
        return sites_view(service)

    a, b = asyncio.run(for_a_while())
    assert service.members.sites()["a"]["last_seen"] > 1_700_000_000
    assert (a["state"], b["state"]) == ("connected", "lost")
    assert str(a["last_seen"]) > "2024"
    assert b["last_seen"] == "1970-01-01T00:16:40+00:00"


def test_a_study_is_listed_from_the_moment_it_is_handed_in(service: Service) -> None:
    new = Submission("cd" * 32, "new", b"{}", "li-wei", b"k" * 32, b"s" * 64, 3)
    service.lifecycle.checking[new.id] = new
    first, _ = all_studies(service)
    assert (first["id"], first["state"], first["researcher"]) == (new.id, "checking", "li-wei")

    async def told() -> list[str]:
        stream = federation_stream(service)
        return [await anext(stream) for _ in range(2)]

    assert [event for event in asyncio.run(told()) if '"state": "checking"' in event]
    service.store.submit(new)
    assert [one["state"] for one in all_studies(service)] == ["proposed", "proposed"], "it is listed once"

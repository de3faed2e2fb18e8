"""A node that loses its coordinator comes back, neither too fast nor never."""

import asyncio

import pytest

from fedcohort.errors import ConfigError, LinkClosedError
from fedcohort.wire import transport
from fedcohort.wire.codec import encode
from fedcohort.wire.link import Channel, Link
from fedcohort.wire.messages import Event
from fedcohort.wire.transport import reconnecting
from tests.build import free_port
from tests.patience import PATIENCE_SECONDS

from .support import HASH, coordinator_side, dial_node, node_side, pump, running_coordinator, tcp_server

EVENT = Event("asked", HASH)


def test_a_node_comes_back_to_a_coordinator_that_was_started_anew() -> None:
    async def main() -> None:
        side, node = coordinator_side(), node_side()
        target = [free_port()]

        async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("localhost", target[0])
            try:
                await asyncio.wait(
                    [asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                back.close()

        async with tcp_server(between) as port, asyncio.timeout(PATIENCE_SECONDS):
            links = reconnecting(lambda: dial_node(f"ws://localhost:{port}", node))
            for _ in range(2):
                async with running_coordinator(side) as coordinator:
                    target[0] = coordinator.port
                    link = await anext(links)
                    await link.send(encode(EVENT))
                    assert await (await coordinator.links.get()).receive() == EVENT
                with pytest.raises(LinkClosedError):
                    await link.receive()
            await links.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def pauses_between(outcomes: list[str], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The longest pauses that reconnecting may take after each outcome: "error", "short" or "long" link."""
    pauses: list[float] = []
    now = [0.0]

    class Ended(Exception):
        pass

    async def sleep(seconds: float) -> None:
        pauses.append(round(seconds, 3))
        if len(pauses) == len(outcomes):
            raise Ended

    async def close(reason: str) -> None:
        return None

    async def dial_once() -> Link:
        outcome = outcomes[len(pauses)]
        if outcome == "error":
            raise LinkClosedError("nobody there")
        now[0] += transport.STEADY_SECONDS if outcome == "long" else 0.0
        return Link(None, Channel(close, None, close))  # type: ignore[arg-type]

    async def main() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])
        with pytest.raises(Ended):
            async for _ in reconnecting(dial_once, longest_pause=1.0):
                pass

    monkeypatch.setattr("fedcohort.wire.transport.secrets.randbelow", lambda limit: limit - 1)
    monkeypatch.setattr("fedcohort.wire.transport.asyncio.sleep", sleep)
    asyncio.run(main())
    return pauses


def test_pauses_double_up_to_a_bound_and_a_good_link_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pauses_between(["error"] * 5 + ["long", "error"], monkeypatch)
    assert found == [0.2, 0.4, 0.8, 1.0, 1.0, 0.2, 0.4]


def test_links_that_end_at_once_are_not_dialled_faster_and_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pauses_between(["short"] * 4, monkeypatch) == [0.2, 0.4, 0.8, 1.0]


def test_a_wrong_address_ends_the_dialling_at_once() -> None:
    async def main() -> None:
        async for _ in reconnecting(lambda: dial_node("ws://192.0.2.1:1", node_side())):
            pass

    with pytest.raises(ConfigError):
        asyncio.run(main())

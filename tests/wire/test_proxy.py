"""Out of a hospital through its HTTP CONNECT proxy (RFC 9110, section 9.3.6), with Basic credentials."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from fedcohort.errors import AuthenticationError, ConfigError, FedcohortError, LinkClosedError
from fedcohort.wire.codec import encode
from fedcohort.wire.messages import Event
from tests.patience import PATIENCE_SECONDS

from .support import HASH, Certified, dial_node, node_side, pump, running_coordinator, tcp_server

USER, PASSWORD, IN_URL = "hospital", "p@ss:word", "p%40ss%3Aword"
EVENT = Event("asked", HASH)


@dataclass
class Proxy:
    """A real CONNECT proxy that asks for a password and counts its tunnels."""

    port: int = 0
    tunnels: int = 0
    refusals: int = 0
    forbids: bool = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request, *headers = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = request.split(" ")
        expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        given = [
            line.split(": ", 1)[1] for line in headers if line.lower().startswith("proxy-authorization:")
        ]
        if method != "CONNECT" or self.forbids or given != [expected]:
            self.refusals += 1
            status = "403 Forbidden" if self.forbids else "407 Proxy Authentication Required"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        host, port = target.rsplit(":", 1)
        there, back = await asyncio.open_connection(host, int(port))
        self.tunnels += 1
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        ways = [asyncio.ensure_future(pump(reader, back)), asyncio.ensure_future(pump(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.close()


@contextlib.asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    async with tcp_server(proxy.handle) as proxy.port:
        yield proxy


async def exchange_one(tls: Certified, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    """Dial a coordinator behind TLS with the proxy in the environment, and say one thing each way."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://{USER}:{password}@localhost:{proxy.port}")
    async with asyncio.timeout(PATIENCE_SECONDS), running_coordinator(tls=tls) as coordinator:
        node = await dial_node(f"wss://localhost:{coordinator.port}", node_side(), tls.ca_file)
        link = await coordinator.links.get()
        await node.send(encode(EVENT))
        assert await link.receive() == EVENT
        await link.send(encode(EVENT))
        assert await node.receive() == EVENT
        await node.close("test-ended")


async def refusal(
    tls: Certified, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, password: str = IN_URL
) -> FedcohortError:
    with pytest.raises(FedcohortError) as caught:
        await exchange_one(tls, proxy, monkeypatch, password)
    return caught.value


def test_a_node_links_through_an_authenticating_proxy_with_tls_and_a_corporate_authority(
    tls: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running_proxy() as proxy:
            await exchange_one(tls, proxy, monkeypatch, IN_URL)
            assert (proxy.tunnels, proxy.refusals) == (1, 0)

    asyncio.run(main())


def test_a_wrong_proxy_password_is_said_to_be_one_and_is_not_shown(
    tls: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running_proxy() as proxy:
            error = await refusal(tls, proxy, monkeypatch, "wrong-secret")
            assert isinstance(error, AuthenticationError)
            assert "proxy refused user name or password" in str(error)
            assert "HTTPS_PROXY" in str(error)
            assert "wrong-secret" not in str(error)
            assert (proxy.tunnels, proxy.refusals) == (0, 1)

    asyncio.run(main())


def test_a_proxy_that_forbids_the_way_is_named(tls: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running_proxy() as proxy:
            proxy.forbids = True
            error = await refusal(tls, proxy, monkeypatch)
            assert isinstance(error, LinkClosedError)
            assert "HTTP 403" in str(error)

    asyncio.run(main())


def test_a_host_in_no_proxy_is_reached_directly(tls: Certified, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running_proxy() as proxy:
            monkeypatch.setenv("NO_PROXY", "localhost")
            await exchange_one(tls, proxy, monkeypatch, IN_URL)
            assert (proxy.tunnels, proxy.refusals) == (0, 0)

    asyncio.run(main())


def test_plain_text_on_this_machine_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with running_proxy() as proxy, running_coordinator() as coordinator:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "WS_PROXY"):
                monkeypatch.setenv(name, f"http://localhost:{proxy.port}")
            node = await dial_node(f"ws://localhost:{coordinator.port}", node_side())
            await node.close("test-ended")
            assert (proxy.tunnels, proxy.refusals) == (0, 0)

    asyncio.run(main())


@pytest.mark.parametrize("address", ["not-an-address", "ftp://proxy:1", "http://user@proxy:1"])
def test_an_environment_whose_proxy_is_no_address_is_said_to_be_so(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        asyncio.run(_dial_somewhere())


async def _dial_somewhere() -> None:
    await dial_node("wss://localhost:1", node_side())

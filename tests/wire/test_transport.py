"""Dialling, listening and reconnecting, over real sockets on loopback."""

import asyncio
import socket
from pathlib import Path

import pytest

from fedcohort.errors import AuthenticationError, ConfigError, FedcohortError, LinkClosedError
from fedcohort.wire import transport
from fedcohort.wire.address import check_url, client_tls, server_tls
from fedcohort.wire.codec import encode
from fedcohort.wire.link import Channel, open_link
from fedcohort.wire.messages import Event
from fedcohort.wire.transport import is_loopback, listen
from tests.build import free_port

from .support import (
    HASH,
    Certified,
    certify,
    coordinator_side,
    dial_node,
    node_side,
    running_coordinator,
    tcp_server,
)

EVENT = Event("asked", HASH)


def test_a_node_that_listens_is_dialled_by_its_coordinator_through_tls(tls: Certified) -> None:
    async def main() -> None:
        node, coordinator = node_side(), coordinator_side()
        peers: list[str] = []

        async def handle(channel: Channel) -> None:
            link = await open_link(channel, node.identity, "node", node.trust)
            peers.append(link.peer.id)
            await link.send(encode(await link.receive()))

        context = server_tls(tls.certificate, tls.certificate)
        async with await listen("localhost", 0, handle, context) as server:
            port = server.sockets[0].getsockname()[1]
            link = await dial_node(f"wss://localhost:{port}", coordinator, tls.ca_file)
            await link.send(encode(EVENT))
            assert await link.receive() == EVENT
            assert (link.peer.id, peers) == ("hospital_a", ["coordinator"])
            await link.close("test-ended")

    asyncio.run(main())


async def refused(url: str, ca_file: Path | None = None) -> FedcohortError:
    with pytest.raises(FedcohortError) as caught:
        await dial_node(url, node_side(), ca_file)
    return caught.value


@pytest.mark.parametrize("url", ["ws://192.0.2.1:8760", "ws://0.0.0.0:8760", "ws://[2001:db8::1]:8760"])
def test_plain_text_leaves_this_machine_never(url: str) -> None:
    error = asyncio.run(refused(url))
    assert isinstance(error, ConfigError)
    assert "use wss://" in str(error)


def test_plain_text_is_listened_for_on_loopback_only() -> None:
    async def main() -> None:
        await listen("0.0.0.0", 0, lambda _: asyncio.sleep(0))

    with pytest.raises(ConfigError, match="certificate and key"):
        asyncio.run(main())


def test_a_name_that_means_this_machine_and_another_is_not_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.0.0.1", "192.0.2.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    assert not is_loopback("hospital.example")
    with pytest.raises(ConfigError, match="use wss://"):
        check_url("ws://hospital.example:8760")


@pytest.mark.parametrize(
    "url", ["https://a:1", "coordinator:8760", "wss://", "wss://a:99999", "wss://a:x", ""]
)
def test_what_is_not_an_address_of_a_link_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(ConfigError, match=r"such as wss://coordinator\.example:8760"):
        check_url(url)


def test_a_name_that_does_not_exist_is_named() -> None:
    for url in ("ws://no-such-host.invalid:1", "wss://no-such-host.invalid:1"):
        error = asyncio.run(refused(url))
        assert isinstance(error, LinkClosedError)
        assert "no-such-host.invalid" in str(error)


def test_a_port_where_nobody_listens_is_named(tls: Certified) -> None:
    url = f"wss://localhost:{free_port()}"
    error = asyncio.run(refused(url, tls.ca_file))
    assert isinstance(error, LinkClosedError)
    assert url in str(error)


def test_a_certificate_of_a_strange_authority_is_refused_with_the_remedy(
    tls: Certified, tmp_path: Path
) -> None:
    async def main(ca_file: Path | None) -> FedcohortError:
        async with running_coordinator(tls=tls) as coordinator:
            return await refused(f"wss://localhost:{coordinator.port}", ca_file)

    for ca_file in (None, certify(tmp_path).ca_file):
        error = asyncio.run(main(ca_file))
        assert isinstance(error, AuthenticationError)
        assert "--ca-file" in str(error)


def test_a_certificate_for_another_name_is_refused(tls: Certified) -> None:
    async def main() -> FedcohortError:
        async with running_coordinator(tls=tls) as coordinator:
            return await refused(f"wss://127.0.0.1:{coordinator.port}", tls.ca_file)

    error = asyncio.run(main())
    assert isinstance(error, AuthenticationError)
    assert "127.0.0.1" in str(error)


def test_files_that_are_no_certificates_are_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    for make in (
        client_tls,
        lambda path: server_tls(path, path),
    ):
        for name in ("ca.pem", "missing.pem"):
            with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
                make(tmp_path / name)


def test_of_certificate_and_key_the_one_that_is_not_there_is_named(tls: Certified, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\S*missing\.pem: No such file or directory; give"):
        server_tls(tls.certificate, tmp_path / "missing.pem")


def test_a_web_server_that_is_no_coordinator_is_named_and_its_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        answer = b"HTTP/1.1 302 Found\r\nLocation: ws://192.0.2.1/link\r\nContent-Length: 0\r\n\r\n"
        writer.write(answer)
        await writer.drain()

    async def main() -> FedcohortError:
        async with tcp_server(web) as port:
            return await refused(f"ws://localhost:{port}")

    error = asyncio.run(main())
    assert isinstance(error, LinkClosedError)
    assert "HTTP 302" in str(error)
    assert len(asked) == 1


def test_a_site_that_is_refused_hears_why_over_a_real_socket() -> None:
    async def main() -> tuple[FedcohortError, list[FedcohortError]]:
        async with running_coordinator(coordinator_side(token=None)) as coordinator:
            error = await refused(f"ws://localhost:{coordinator.port}")
            return error, coordinator.errors

    at_node, at_coordinator = asyncio.run(main())
    assert isinstance(at_node, AuthenticationError)
    assert "unknown-site" in str(at_node)
    assert [error.code for error in at_coordinator] == ["not-authenticated"]


def test_a_stranger_who_floods_the_handshake_is_cut_off() -> None:
    async def main() -> list[FedcohortError]:
        async with running_coordinator() as coordinator:
            link = transport._Direct(f"ws://localhost:{coordinator.port}/link", proxy=None, compression=None)
            async with link as connection:
                await connection.send(bytes(70_000))
                await connection.wait_closed()
            return coordinator.errors

    assert [error.code for error in asyncio.run(main())] == ["message-invalid"]

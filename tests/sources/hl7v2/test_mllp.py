"""The receiver: real connections on loopback, honest and otherwise."""

import asyncio
import contextlib
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from fedcohort.errors import ConfigError, StoreError
from fedcohort.sources.hl7v2.framing import messages
from fedcohort.sources.hl7v2.inbox import END, START, Inbox
from fedcohort.sources.hl7v2.mllp import MllpLimits, MllpServer, check_networks
from fedcohort.storage.inbox_folder import InboxLimits
from tests.patience import PATIENCE_SECONDS

from .build import PID, message

LIMITS = MllpLimits(idle_seconds=PATIENCE_SECONDS, message_seconds=PATIENCE_SECONDS, message_bytes=100_000)
ROOM = InboxLimits(free_bytes=0)
ONE = message("ADT^A01", PID, control="1")


class Peer:
    """One connection of an interface engine."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(START + data + END)
        await self.writer.drain()

    async def answer(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(END), PATIENCE_SECONDS)

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.answer()

    async def ended(self) -> bool:
        """Whether the other side closes, without another word."""
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(self.reader.read(), PATIENCE_SECONDS) == b""
        return True


@contextlib.asynccontextmanager
async def serving(
    folder: Path, limits: MllpLimits = LIMITS, room: InboxLimits = ROOM, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[Inbox, int]]:
    inbox = Inbox(folder, room)
    server = MllpServer(inbox, limits)
    try:
        yield inbox, await server.start("127.0.0.1", 0, tls)
    finally:
        await server.close()
        inbox.close()


@contextlib.asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname="localhost" if tls else None
    )
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 4 * PATIENCE_SECONDS))


def stored(inbox: Inbox) -> list[bytes]:
    found = []
    for path in inbox.rotate():
        with path.open("rb") as file:
            found += [one.data + b"\r" for one in messages(file)]
    return found


def test_a_message_is_in_the_inbox_when_it_is_acknowledged(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port), connected(port) as peer:
            assert b"MSA|AA|1" in await peer.ask(ONE)
            assert stored(inbox) == [ONE]
            two = message("ORU^R01", PID, control="2")
            assert b"MSA|AA|2" in await peer.ask(two)
            assert b"MSA|AA|1" in await peer.ask(ONE)
            assert stored(inbox) == [ONE, two, ONE]
            assert b"MARKER" in inbox.rotate()[0].read_bytes()

    run(test)


def test_only_the_node_s_account_can_read_what_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port), connected(port) as peer:
            await peer.ask(ONE)
            for path in (inbox.folder, inbox.refused, *inbox.rotate()):
                assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path

    run(test)


def test_many_connections_share_what_is_written(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port):

            async def engine(number: int) -> None:
                async with connected(port) as peer:
                    for index in range(5):
                        name = f"{number}-{index}"
                        assert f"MSA|AA|{name}".encode() in await peer.ask(
                            message("ADT^A08", PID, control=name)
                        )

            await asyncio.gather(*(engine(number) for number in range(8)))
            assert len(stored(inbox)) == 40

    run(test)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (message("REF^I12", PID), b"MSA|AR|M1|type"),
        (message("ORU^R01", PID, "NTE|1||said\n" + "MSH|^~\\&|X|Y"), b"MSA|AE|M1|second-header"),
        (message("ADT^A01", PID, charset="UNICODE UTF-16"), b"MSA|AR|M1|charset"),
        (message("ADT^A01", PID).replace(b"PATIENT", b"\xff"), b"MSA|AR|M1|charset"),
        (message("ADT^A01", PID, processing="D"), b"MSA|AR|M1|not-production"),
        (b"hello", b"MSA|AE||no-message"),
        (message("REF^I12", PID).replace(b"|2.5.1|||", b"|2.5.1|||AL|"), b"MSA|CR|M1|type"),
    ],
)
def test_what_is_not_for_us_is_rejected_and_not_stored(tmp_path: Path, data: bytes, code: bytes) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port), connected(port) as peer:
            assert code in await peer.ask(data)
            assert b"MSA|AA" in await peer.ask(ONE)
            assert stored(inbox) == [ONE]

    run(test)


def test_a_message_that_is_too_long_is_rejected_and_its_connection_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port), connected(port) as peer:
            with contextlib.suppress(ConnectionError):
                await peer.send(message("ORU^R01", PID, "OBX|1|ED|1^T^L||" + "x" * 200_000, control="9"))
            assert b"MSA|AR|9|too-large" in await peer.answer()
            assert await peer.ended()
            assert stored(inbox) == []

    run(test)


def test_a_sender_that_wants_no_answer_gets_none(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port), connected(port) as peer:
            await peer.send(ONE.replace(b"|2.5.1|||", b"|2.5.1|||NE|NE"))
            assert b"MSA|AA|7" in await peer.ask(message("ADT^A01", PID, control="7"))
            assert len(stored(inbox)) == 2

    run(test)


@pytest.mark.parametrize("room", [InboxLimits(total_bytes=100, free_bytes=0), InboxLimits(free_bytes=2**62)])
def test_where_there_is_no_room_nothing_is_answered_and_the_connection_is_closed(
    tmp_path: Path, room: InboxLimits
) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox", room=room) as (inbox, port), connected(port) as peer:
            await peer.send(ONE)
            assert await peer.ended()
            assert stored(inbox) == []

    run(test)


FULL = """
import asyncio, resource, sys
from pathlib import Path
from fedcohort.errors import StoreError
from fedcohort.sources.hl7v2.inbox import Inbox
from fedcohort.storage.inbox_folder import InboxLimits

async def main() -> None:
    inbox = Inbox(Path(sys.argv[1]), InboxLimits(free_bytes=0))
    await inbox.put(b"MSH|^~\\\\&|first")
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        await inbox.put(b"MSH|^~\\\\&|" + b"x" * 9000)
    except StoreError as error:
        print("refused")
    await inbox.put(b"MSH|^~\\\\&|second")
    inbox.close()

asyncio.run(main())
"""


@pytest.mark.processes
@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files is POSIX")
def test_a_write_that_fails_half_way_leaves_what_was_stored_before_and_takes_what_comes_later(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "inbox")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
    inbox = Inbox(tmp_path / "inbox", ROOM)
    assert stored(inbox) == [b"MSH|^~\\&|first\r", b"MSH|^~\\&|second\r"]
    inbox.close()


def test_what_a_crash_cut_off_is_left_out_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir(mode=0o700)
    (folder / "000000000001.part").write_bytes(START + ONE + END + START + ONE[:40])
    (folder / "000000000002.part").write_bytes(START + ONE[:40])
    (folder / "000000000003.part").write_bytes(START + ONE + END + b"y" * (2**21))
    inbox = Inbox(folder, ROOM)
    assert [path.name for path in inbox.rotate()] == ["000000000001.hl7", "000000000003.hl7"]
    assert stored(inbox) == [ONE, ONE]
    inbox.close()


def test_one_process_at_a_time_has_an_inbox(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "inbox", ROOM)
    with pytest.raises(StoreError, match="another process"):
        Inbox(tmp_path / "inbox", ROOM)
    inbox.close()
    Inbox(tmp_path / "inbox", ROOM).close()


def test_refused_messages_are_kept_for_a_person_and_not_for_ever(tmp_path: Path) -> None:
    async def test() -> None:
        inbox = Inbox(tmp_path / "inbox", replace(ROOM, refused_days=1))
        await inbox.put(ONE)
        await inbox.put(ONE)
        (path,) = inbox.rotate()
        inbox.done(path, [ONE])
        (kept,) = inbox.refused.iterdir()
        assert kept.read_bytes() == START + ONE + END
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert inbox.rotate() == []
        os.utime(kept, (0, 0))
        await inbox.put(ONE)
        inbox.done(inbox.rotate()[0], [])
        assert list(inbox.refused.iterdir()) == []
        inbox.close()

    run(test)


def test_connections_are_bounded_in_number_and_time(tmp_path: Path) -> None:
    async def test() -> None:
        few = replace(LIMITS, connections=1)
        async with serving(tmp_path / "inbox", few) as (_, port), connected(port) as first:
            assert b"AA" in await first.ask(ONE)
            async with connected(port) as second:
                assert await second.ended()
            assert b"AA" in await first.ask(ONE)

        slow = replace(LIMITS, idle_seconds=0.05)
        async with serving(tmp_path / "slow", slow) as (_, port), connected(port) as peer:
            assert await peer.ended()
        dripping = replace(LIMITS, message_seconds=0.05)
        async with serving(tmp_path / "drip", dripping) as (inbox, port), connected(port) as peer:
            peer.writer.write(START + ONE[:20])
            assert await peer.ended()
            assert stored(inbox) == []

    run(test)


def test_who_is_not_in_the_networks_is_not_let_in(tmp_path: Path) -> None:
    async def test() -> None:
        elsewhere = replace(LIMITS, allow=("10.1.0.0/16",))
        async with serving(tmp_path / "inbox", elsewhere) as (_, port), connected(port) as peer:
            assert await peer.ended()

    run(test)
    with pytest.raises(ConfigError, match="not a network"):
        check_networks(("10.1.0.0/16", "lab"))


def test_with_tls_only_who_has_a_certificate_of_the_hospital_s_is_let_in(tmp_path: Path) -> None:
    ours, other = trustme.CA(), trustme.CA()

    def client(issuer: trustme.CA | None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        ours.configure_trust(context)
        if issuer is not None:
            issuer.issue_cert("engine@hospital.example").configure_cert(context)
        return context

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.issue_cert("localhost").configure_cert(server)
    ours.configure_trust(server)
    server.verify_mode = ssl.CERT_REQUIRED

    async def test() -> None:
        async with serving(tmp_path / "inbox", replace(LIMITS, allow=()), tls=server) as (inbox, port):
            async with connected(port, client(ours)) as peer:
                assert b"MSA|AA" in await peer.ask(ONE)
            for issuer in (None, other):
                with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
                    async with connected(port, client(issuer)) as peer:
                        await peer.ask(ONE)
            assert stored(inbox) == [ONE]

    run(test)


def test_what_stands_between_messages_is_left_out(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path / "inbox") as (inbox, port), connected(port) as peer:
            peer.writer.write(b"\r\n")
            await peer.ask(ONE)
            peer.writer.write(b"\n")
            await peer.ask(ONE)
            assert stored(inbox) == [ONE, ONE]

    run(test)


def test_a_sender_that_reads_no_answers_is_read_no_further(tmp_path: Path) -> None:
    """Else the answers to what is not taken, which no inbox bounds, would fill the memory."""
    many = (START + message("ADT^A01", PID, processing="T") + END) * 1000

    async def send_on(peer: Peer) -> None:
        for _ in range(200):
            peer.writer.write(many)
            await asyncio.wait_for(peer.writer.drain(), PATIENCE_SECONDS)

    async def test() -> None:
        deaf = replace(LIMITS, message_seconds=0.2)
        async with serving(tmp_path / "inbox", deaf) as (_, port), connected(port) as peer:
            with pytest.raises(ConnectionError):
                await send_on(peer)

    run(test)


def test_a_sender_that_reads_late_has_all_its_answers(tmp_path: Path) -> None:
    refused = message("ADT^A01", PID, processing="T")
    n = 60_000

    async def test() -> None:
        async with serving(tmp_path / "inbox") as (_, port), connected(port) as peer:
            sent = asyncio.create_task(_send(peer, (START + refused + END) * n))
            await asyncio.wait({sent}, timeout=0.2)  # patience: so long it reads nothing
            for _ in range(n):
                await peer.reader.readuntil(END)
            await asyncio.wait_for(sent, PATIENCE_SECONDS)

    run(test)


async def _send(peer: Peer, data: bytes) -> None:
    peer.writer.write(data)
    await peer.writer.drain()

"""Bad input at the door: the processes live, and the next study works."""

import asyncio
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fedcohort.wire import fedcohort_pb2 as pb
from fedcohort.wire.codec import encode, encode_chunk
from fedcohort.wire.handshake import shake_hands
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.link import FRAME_BYTES
from fedcohort.wire.messages import Approval, Contribution, Event, Message, Task
from fedcohort.wire.signing import approval_signing_bytes, contribution_signing_bytes
from tests.build import describe_study
from tests.patience import PATIENCE_SECONDS, until
from tests.processes.support import Group, random_name, wards

pytestmark = pytest.mark.processes

HASH = "0" * 64


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    with wards(tmp_path_factory.mktemp("door"), n_sites=2) as running:
        yield running


@pytest.fixture(autouse=True)
def next_study_works(group: Group) -> Iterator[None]:
    yield
    assert group.coordinator.lives
    group.wait_linked("a", "b")
    result = group.run(describe_study(random_name()))
    assert result.report["patients"] == 120
    assert "Traceback" not in group.coordinator.text, group.coordinator.text[-2000:]


async def converse(
    group: Group, talk: Callable[[ClientConnection], Awaitable[None]]
) -> tuple[int | None, str]:
    """Talk to the coordinator's link until it hangs up; returns how it did."""
    address = f"ws://127.0.0.1:{group.port}/link"
    async with connect(address, proxy=None, max_size=None, close_timeout=2) as link:
        try:
            await talk(link)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while True:
                    await link.recv()
        except ConnectionClosed as closed:
            return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, "")


def hello(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "version_min": 1,
        "version_max": 1,
        "role": "node",
        "id": "x",
        "public_key": bytes(32),
    }
    return pb.Hello(**{**fields, "nonce": bytes(32), "unix_time": 0, **changes}).SerializeToString()


GARBAGE = dict(zip(
    ["empty", "zeros", "long", "http", "text", "truncated", "oversized", "long id", "escape", "nonce",
     "role", "clock"],
    [b"", b"\x00" * 100, b"\xff" * 5000, b"GET / HTTP/1.1\r\n\r\n", "a text frame", hello()[:-7],
     bytes(FRAME_BYTES + 1), hello(id="x" * 65), hello(id="\x1b[31m"), hello(nonce=b"short"),
     hello(role="coordinator"), hello(unix_time=2**62)],
    strict=True,
))  # fmt: skip


def test_garbage_instead_of_a_hello_ends_only_that_connection(group: Group) -> None:
    for name, frame in GARBAGE.items():
        code, _ = asyncio.run(converse(group, lambda link, frame=frame: link.send(frame)))  # type: ignore[misc]
        assert code is not None, name
        assert "\x1b" not in group.coordinator.text, name


def test_a_newer_protocol_version_is_told_so(group: Group) -> None:
    heard: list[bytes | str] = []

    async def newer(link: ClientConnection) -> None:
        await link.send(hello(version_min=7, version_max=9))
        heard.extend([await link.recv(), await link.recv()])

    asyncio.run(converse(group, newer))
    last = heard[-1]
    assert isinstance(last, bytes)
    assert pb.Proof.FromString(last).refusal == "version-unsupported"
    until(lambda: "speaks protocol 7 to 9" in group.coordinator.text, "the remedy in the log")


@dataclass
class Joined:
    """A site that has joined with a key of its own, and then misbehaves."""

    token: bytes
    identity: Identity
    keys: dict[str, bytes] = field(default_factory=dict)

    def key_of(self, name: str) -> bytes | None:
        return self.keys.get(name)

    def token_of(self, name: str) -> bytes | None:
        return None if name in self.keys else self.token

    def pin(self, name: str, key: bytes) -> None:
        self.keys[name] = key

    def settled(self, name: str) -> None:
        """Nothing to forget."""


@pytest.fixture
def rogue(group: Group, next_study_works: None) -> Iterator[Joined]:
    token = group.members(lambda members: members.invite_site("rogue"))
    yield Joined(token.encode(), new_identity("rogue"))
    group.members(lambda members: str(members.remove_site("rogue")))


def misbehave(group: Group, rogue: Joined, *frames: bytes | str) -> str:
    """Shake hands properly, send frames, and return the reason with which the coordinator hangs up."""

    async def talk(link: ClientConnection) -> None:
        async def receive() -> bytes:
            data = await link.recv()
            assert isinstance(data, bytes)
            return data

        await shake_hands(rogue.identity, "node", rogue, link.send, receive)
        for frame in frames:
            await link.send(frame)

    return asyncio.run(converse(group, talk))[1]


def signed(rogue: Joined, approval: Approval) -> bytes:
    signature = rogue.identity.sign(approval_signing_bytes(approval))
    return encode(Approval(**{**vars(approval), "signature": signature}))


def contribution(rogue: Joined, *, site: str = "rogue", sign: bool = True) -> bytes:
    made = Contribution(HASH, 0, 0, site, bytes(32), b"body")
    signature = rogue.identity.sign(contribution_signing_bytes(made)) if sign else bytes(64)
    return encode(Contribution(**{**vars(made), "signature": signature}))


def message(kind: Message) -> bytes:
    return encode(kind)


def test_a_joined_site_that_sends_garbage_is_cut_off_with_a_code(group: Group, rogue: Joined) -> None:
    assert misbehave(group, rogue, b"\xff" * 100) == "message-invalid"
    assert misbehave(group, rogue, contribution(rogue)[:-20]) == "message-invalid"
    assert misbehave(group, rogue, contribution(rogue, sign=False)) == "not-authenticated"
    assert misbehave(group, rogue, encode_chunk(2**40, 0, b"part")) == "message-too-large"
    assert misbehave(group, rogue, encode_chunk(100, 50, b"part")) == "message-invalid"


def test_a_joined_site_that_speaks_out_of_turn_is_cut_off_with_a_code(group: Group, rogue: Joined) -> None:
    task = Task(HASH, 0, 0, "moments", {}, bytes(32), ("rogue",))
    assert misbehave(group, rogue, message(task)) == "message-invalid"
    assert misbehave(group, rogue, message(Event("catalogue", detail=b"not json"))) == "message-invalid"
    assert misbehave(group, rogue, message(Event("catalogue", detail=b"[" * 100_000))) == "message-invalid"
    assert misbehave(group, rogue, message(Event("catalogue", detail=b'{"tables": 3}'))) == "message-invalid"
    study = group.connect().studies()["id"][0]
    for_another = Approval(study, "a", approved=False, code="mine")
    assert misbehave(group, rogue, signed(rogue, for_another)) == "not-authenticated"


def test_an_answer_about_a_study_that_is_not_there_is_not_kept(group: Group, rogue: Joined) -> None:
    unknown = Approval(HASH, "rogue", approved=True, max_rounds=1, expires_at=1)
    frames = [message(Event("asked", HASH)), signed(rogue, unknown), b"\xff"]
    assert misbehave(group, rogue, *frames) == "message-invalid"
    with closing(sqlite3.connect(group.state / "coordinator.db")) as connection:
        assert connection.execute("SELECT * FROM answers WHERE site = 'rogue'").fetchall() == []


def test_a_text_frame_or_an_oversized_frame_ends_only_that_link(group: Group, rogue: Joined) -> None:
    misbehave(group, rogue, "text")
    misbehave(group, rogue, bytes(FRAME_BYTES + 1))


def test_a_raw_socket_that_talks_nonsense_or_goes_away_is_nothing(group: Group) -> None:
    for data in (b"", b"\x16\x03\x01\x02\x00\x01\x00", b"GET /link HTTP/1.1\r\nUpgrade: websocket\r\n"):
        with closing(socket.create_connection(("127.0.0.1", group.port), timeout=PATIENCE_SECONDS)) as raw:
            raw.sendall(data)


NO_STUDIES = (
    b"",
    b"{",
    b"[" * 200_000,
    b"[]",
    b'"text"',
    b"{}",
    b'{"study": {}, "public_key": 3, "signature": "00"}',
    b'{"study": {}, "public_key": "zz", "signature": "00"}',
    b'{"study": {}, "public_key": "00", "signature": "00"}',
    b'{"study": [1], "public_key": "00", "signature": "00"}',
    b'{"study": null, "public_key": "00", "signature": "00"}',
    b"\xff\xfe\x00",
    b'{"a": NaN}',
)


def test_a_study_that_is_none_is_refused_with_a_code(group: Group) -> None:
    for body in NO_STUDIES:
        response = httpx.post(f"{group.url}/api/studies", content=body, headers=group.bearer, trust_env=False)
        assert (response.status_code, response.json()["code"]) == (400, "study-invalid"), body[:60]


def test_an_oversized_study_is_refused_before_it_is_all_read(group: Group) -> None:
    response = httpx.post(
        f"{group.url}/api/studies", content=b"[" + b"0," * 2**25, headers=group.bearer, trust_env=False
    )
    assert response.json()["code"] == "study-invalid"
    assert "larger than" in response.json()["message"]


UNKNOWN = (
    "studies/zzzzzzzz", "studies/%25%25%25%25%25%25", "studies/a", "studies/%00%00%00%00%00%00/report",
    "studies/' OR 1=1 --/metrics", "studies/abcdefgh/model",
)  # fmt: skip


def test_an_unknown_study_is_not_found(group: Group) -> None:
    for path in UNKNOWN:
        response = httpx.get(f"{group.url}/api/{path}", headers=group.bearer, trust_env=False)
        assert (response.status_code, response.json()["code"]) == (404, "not-found"), path


@pytest.fixture(scope="module")
def finished(group: Group) -> str:
    return str(group.run(describe_study(random_name())).report["study"])


@pytest.mark.parametrize("after", ["-1", "x", "²", "9" * 40, ""])
def test_a_strange_position_in_the_metrics_is_no_fault(group: Group, finished: str, after: str) -> None:
    study = finished
    found, whole = (
        httpx.get(
            f"{group.url}/api/studies/{study}/metrics",
            params={"after": one},
            headers=group.bearer,
            trust_env=False,
        ).json()
        for one in (after, "0")
    )
    assert found == whole
    assert len(found["times"]) >= 1
    headers = [
        (b"Last-Event-ID", after.encode("latin-1")),
        (b"Authorization", f"Bearer {group.token}".encode()),
    ]
    address = f"{group.url}/api/studies/{study}/events"
    with httpx.stream("GET", address, headers=headers, trust_env=False) as stream:
        assert b"event: site" in next(stream.iter_bytes())

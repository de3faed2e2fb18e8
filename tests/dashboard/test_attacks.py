"""What somebody would try who means harm: strange paths, huge requests, all seats, a planted cookie."""

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from fedcohort.dashboard import Settings
from fedcohort.dashboard.federation.relay import StreamSlots
from tests.patience import PATIENCE_SECONDS

from .accounts import session_for, write_people
from .conftest import Serve, served
from .served_ward import write_passwords
from .standin import Running, StandIn, rest, running

PATHS = [
    "//evil.example/",
    "//evil.example/login",
    "///evil.example//",
    "/\\evil.example",
    "/login//",
    "/api//studies",
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/%2e%2e/app.py",
    "/static/....//app.py",
    "/static/%00",
    "/static//etc/passwd",
    "/api/studies/..%2f..%2fmetrics",
    "/api/studies/%2e%2e",
    "/api/studies/%2e%2e%2f%2e%2e%2fhealthz/report",
    "/login?next=//evil.example",
    "/?language=zh%0d%0aSet-Cookie:%20x=1",
    "/oidc/return?state=%0d%0aLocation:%20//evil.example",
]


def raw(address: str, request: str) -> str:
    """Send bytes that no browser would, and read the answer."""
    parts, answer = urlsplit(address), b""
    with socket.create_connection((str(parts.hostname), parts.port or 80), timeout=PATIENCE_SECONDS) as link:
        link.sendall(request.encode())
        try:
            while chunk := link.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass  # it had heard enough
    return answer.decode("latin-1")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_people(tmp_path_factory.mktemp("attacks") / "people.db")


@pytest.fixture(scope="module")
def address(people: Path) -> Iterator[str]:
    """One page for all attacks that it must outlive."""
    store = StandIn(sites={"hospital_a": "connected"})
    with running(rest(store)) as coordinator, served(Settings(coordinator.url, people=people)) as address:
        yield address


@pytest.mark.parametrize("path", PATHS)
def test_a_strange_path_leads_to_no_file_no_other_host_and_no_header(
    address: str, people: Path, path: str
) -> None:
    cookie = f"fedcohort-session={session_for(people, 'operator')}"
    head = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nCookie: {cookie}\r\n"
    headers, _, body = raw(address, f"{head}Connection: close\r\n\r\n").partition("\r\n\r\n")
    status = int(headers.split()[1])
    assert status in (200, 302, 308, 404)
    for line in headers.split("\r\n"):
        name, _, value = line.partition(": ")
        if name == "Location":
            assert urlsplit(value).netloc in ("", urlsplit(address).netloc)
            assert not value.startswith("//")
        assert (name, value) != ("Set-Cookie", "x=1")
    assert "root:" not in body
    assert "import Flask" not in body


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("POST /login HTTP/1.1\r\nContent-Length: 99999999", 413),
        ("POST /login HTTP/1.1\r\nContent-Length: -5", 400),
        ("POST /login HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6", 400),
        ("POST /login HTTP/1.1\r\nTransfer-Encoding: gzip", 501),
        (f"GET /healthz HTTP/1.1\r\nX: {'a' * 40_000}", 431),
        (f"GET /{'a' * 40_000} HTTP/1.1", 431),
    ],
)
def test_a_request_beyond_its_bounds_is_refused_and_the_next_is_answered(
    address: str, head: str, status: int
) -> None:
    answer = raw(address, f"{head}\r\nHost: {urlsplit(address).netloc}\r\nConnection: close\r\n\r\n")
    assert answer == "" or answer.split()[1] == str(status)
    assert httpx.get(f"{address}healthz").status_code == 200


def test_a_body_that_grows_without_an_end_is_cut(address: str) -> None:
    def endless() -> object:
        for _ in range(10_000):
            yield b"a" * 65536

    try:
        answer = httpx.post(f"{address}login", content=endless(), timeout=PATIENCE_SECONDS)  # type: ignore[arg-type]
    except httpx.TransportError:
        pass
    else:
        assert answer.status_code == 413
    assert httpx.get(f"{address}healthz").status_code == 200


def test_one_account_cannot_take_the_seats_of_all(coordinator: Running, serve: Serve, people: Path) -> None:
    from fedcohort.dashboard.federation.app import STREAMS_OF_ONE

    address = serve(Settings(coordinator.url, people=people, max_viewers=STREAMS_OF_ONE + 2))
    mine = {"fedcohort-session": session_for(people, "auditor")}
    other = {"fedcohort-session": session_for(people, "operator")}
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(cookies=mine, limits=limits) as client, httpx.Client(cookies=other) as another:
        asked = client.build_request("GET", f"{address}api/events")
        streams = [client.send(asked, stream=True) for _ in range(STREAMS_OF_ONE)]
        assert {stream.status_code for stream in streams} == {200}
        assert client.get(f"{address}api/events").json()["code"] == "busy"
        with another.stream("GET", f"{address}api/events") as stream:
            assert stream.status_code == 200
        for stream in streams:
            stream.close()


def test_a_seat_is_given_back_once_and_nobody_is_remembered() -> None:
    seats = StreamSlots(3, 1)
    first, second = seats.take("ada"), seats.take("linus")
    assert first is not None
    assert second is not None
    assert seats.take("ada") is None
    assert seats.take(None) is not None
    assert seats.take(None) is None
    first()
    first()
    assert seats.take("ada") is not None
    assert seats.take("ada") is None


def test_a_session_that_somebody_planted_is_not_the_one_after_log_in(
    coordinator: Running, serve: Serve, tmp_path: Path
) -> None:
    from .accounts import NAMES, PASSWORD, csrf_in

    people = write_passwords(tmp_path / "with.db")
    address = serve(Settings(coordinator.url, people=people))
    planted = session_for(people, "researcher")
    with httpx.Client(base_url=address) as client:
        client.cookies.set("fedcohort-form", "planted")
        form = {"csrf": csrf_in(client.get("/login").text), "name": NAMES["operator"], "password": PASSWORD}
        client.cookies.set("fedcohort-session", planted)
        origin = {"Origin": address.rstrip("/")}
        assert client.post("/login", data=form, headers=origin).status_code == 403
        client.cookies.delete("fedcohort-session")
        assert client.post("/login", data=form, headers=origin).status_code == 303
        assert client.cookies["fedcohort-session"] not in ("planted", planted)
    elsewhere = httpx.get(f"{address}people", cookies={"fedcohort-session": planted}, follow_redirects=False)
    assert elsewhere.status_code in (302, 403), "what was planted never became the operator's"

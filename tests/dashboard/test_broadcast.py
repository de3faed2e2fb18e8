"""One stream of the coordinator serves all pages; each is told everything it has not seen, once."""

import threading
from collections.abc import Iterator

import httpx
import pytest

from fedcohort.dashboard import Settings
from fedcohort.dashboard.federation.broadcast import MOST_KEPT, Broadcast, Broadcasts
from fedcohort.dashboard.federation.relay import ServerSentEvent
from tests.patience import PATIENCE_SECONDS, until

from .conftest import Serve
from .standin import FIRST_STUDY, Running, StandIn

PATH = f"api/studies/{FIRST_STUDY}/events"


@pytest.fixture
def url(store: StandIn, coordinator: Running, serve: Serve) -> str:
    """The dashboard, of a study of three rounds."""
    store.add_study()
    for number in range(3):
        store.add_round(number)
    return serve(Settings(coordinator.url))


def _ids(stream: httpx.Response, count: int) -> Iterator[str]:
    for line in stream.iter_lines():
        if line.startswith("id: "):
            yield line.removeprefix("id: ")
            count -= 1
        if count == 0:
            return


def test_pages_share_one_stream_and_each_begins_where_it_was(store: StandIn, url: str) -> None:
    with httpx.stream("GET", url + PATH) as first:
        assert list(_ids(first, 6)) == ["1", "2", "3", "4", "5", "6"]
        with httpx.stream("GET", url + PATH, headers={"Last-Event-ID": "4"}) as second:
            assert list(_ids(second, 2)) == ["5", "6"]
            store.add_round(3)
            with httpx.stream("GET", url + PATH, headers={"Last-Event-ID": "6"}) as third:
                assert list(_ids(third, 2)) == ["7", "8"]
        assert store.resumed_after == [0], "the coordinator was asked once"


def test_a_page_that_lacks_what_is_no_longer_kept_gets_a_stream_of_its_own(store: StandIn, url: str) -> None:
    with httpx.stream("GET", url + PATH, headers={"Last-Event-ID": "4"}) as first:
        assert list(_ids(first, 2)) == ["5", "6"]
        with httpx.stream("GET", url + PATH) as second:
            assert list(_ids(second, 6)) == ["1", "2", "3", "4", "5", "6"]
    assert store.resumed_after == [4, 0]


def test_a_new_page_is_told_the_newest_about_everything(
    store: StandIn, coordinator: Running, serve: Serve
) -> None:
    url = serve(Settings(coordinator.url))
    with httpx.stream("GET", f"{url}api/events") as first:
        seen = (line for line in first.iter_lines() if line.startswith("data: "))
        assert [next(seen) for _ in range(3)][-1] == 'data: {"id": "hospital_c", "state": "lost"}'
        store.sites["hospital_c"] = "connected"
        assert next(seen) == 'data: {"id": "hospital_c", "state": "connected"}'
        with httpx.stream("GET", f"{url}api/events") as second:
            told = (line for line in second.iter_lines() if line.startswith("data: "))
            assert [next(told) for _ in range(3)][-1] == 'data: {"id": "hospital_c", "state": "connected"}'
        assert store.viewers == 1


def test_the_stream_ends_with_the_last_page_and_not_before(
    store: StandIn, coordinator: Running, serve: Serve
) -> None:
    store.add_study()
    url = serve(Settings(coordinator.url))
    with httpx.stream("GET", url + PATH) as first:
        next(first.iter_lines())
        with httpx.stream("GET", url + PATH) as second:
            next(second.iter_lines())
        store.add_round(0)
        until(lambda: store.viewers == 1)
    until(lambda: store.viewers == 0)


def test_a_coordinator_that_goes_ends_every_page(store: StandIn, coordinator: Running, serve: Serve) -> None:
    store.add_study()
    url = serve(Settings(coordinator.url))
    with httpx.stream("GET", url + PATH) as first, httpx.stream("GET", url + PATH) as second:
        lines = [first.iter_lines(), second.iter_lines()]
        for each in lines:
            next(each)
        threading.Thread(target=coordinator.stop).start()
        for each in lines:
            list(each)


def test_only_so_many_events_are_kept() -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))) as client:
        stream = Broadcast(0, client.get("http://coordinator/"), viewers=1)
    for number in range(1, MOST_KEPT + 11):
        assert stream.add(ServerSentEvent(number, "metrics", {}, b""))
    assert (len(stream.events), stream.begin, stream.n_gone) == (MOST_KEPT, 10, 10)
    assert stream.first_after(10) == (10, [])
    assert stream.first_after(MOST_KEPT + 10) == (stream.end, [])


def test_a_page_that_is_closed_before_it_reads_gives_its_seat_back(
    store: StandIn, coordinator: Running, serve: Serve
) -> None:
    store.add_study()
    assert httpx.head(serve(Settings(coordinator.url)) + PATH).status_code == 200
    until(lambda: store.resumed_after == [0] and store.viewers == 0)


@pytest.mark.parametrize("after", [0, 10**17])
def test_an_event_that_is_not_for_a_reader_is_not_told(after: int, coordinator: Running) -> None:
    with httpx.Client(base_url=coordinator.url, timeout=PATIENCE_SECONDS) as client:

        def open_(number: int) -> httpx.Response:
            return client.send(client.build_request("GET", "/api/events"), stream=True)

        told, leave = Broadcasts().follow(
            "/api/events", after, open_, lambda kind, data: data["id"] == "hospital_b"
        )
        heard = b""
        while b"hospital_b" not in heard:
            heard += next(told)
        leave()
        leave()
    assert b"hospital_a" not in heard

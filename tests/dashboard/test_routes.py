"""What the dashboard answers to a program that asks it: real HTTP on both of its sides."""

import io
import math

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from fedcohort.dashboard import Settings
from tests.patience import until

from .conftest import Serve
from .standin import FIRST_STUDY, Running, StandIn, running

IMPORTANCE = {"age": 0.2, "price in $ and $": 0.1, "胆固醇": -0.01}


def test_training_metrics_are_the_held_out_values_of_the_newest_study(
    store: StandIn, client: httpx.Client
) -> None:
    store.add_study("cd" * 32)
    store.add_study()
    store.add_round(0)
    store.add_round(1)
    answer = client.get("/training_metrics").json()
    assert (answer["study"], answer["split"], answer["round"]) == (FIRST_STUDY, "test", [0, 1])
    assert answer["loss"] == pytest.approx([0.74, 0.70])
    assert answer["accuracy"] == pytest.approx([0.51, 0.555])
    assert answer["auc"] == pytest.approx([0.58, 0.64])


def test_training_metrics_fall_back_to_the_training_split(store: StandIn, client: httpx.Client) -> None:
    store.add_study()
    store.updates[FIRST_STUDY] = [("metrics", {"round": 3, "split": "train", "loss": 0.5, "accuracy": 0.75})]
    answer = client.get("/training_metrics", params={"study": FIRST_STUDY}).json()
    assert (answer["split"], answer["round"], answer["loss"], answer["accuracy"]) == (
        "train",
        [3],
        [0.5],
        [0.75],
    )


def test_values_that_are_not_finite_become_null(store: StandIn, client: httpx.Client) -> None:
    store.add_study()
    row = {"round": 0, "split": "test", "loss": math.nan, "accuracy": math.inf, "auc": -math.inf}
    store.updates[FIRST_STUDY] = [("metrics", row)]
    answer = client.get("/training_metrics").json()
    assert (answer["loss"], answer["accuracy"], answer["auc"]) == ([None], [None], [None])


def test_feature_importance_is_a_picture_of_all_columns(store: StandIn, client: httpx.Client) -> None:
    store.add_study(name="who pays $5 and $10")
    store.finish(IMPORTANCE)
    answer = client.get("/feature_importance")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    picture = Image.open(io.BytesIO(answer.content)).convert("RGB")
    colours = {colour for _, colour in picture.getcolors(1 << 24) or []}
    assert {(0, 0x72, 0xB2), (0xD5, 0x5E, 0)} <= colours  # two columns help, one misleads


def test_without_importance_there_is_a_404_that_says_why(store: StandIn, client: httpx.Client) -> None:
    assert client.get("/feature_importance").json() == {
        "code": "not-found",
        "message": "there is no study yet",
    }
    store.add_study()
    unfinished = client.get("/feature_importance")
    assert (unfinished.status_code, unfinished.json()["code"]) == (404, "no-importance")
    store.finish({})
    finished = client.get("/feature_importance").json()
    assert finished == {"code": "no-importance", "message": "the study has no feature importance"}


def test_a_missing_study_is_a_404(client: httpx.Client, store: StandIn) -> None:
    store.add_study()
    for route in ("/training_metrics", "/feature_importance"):
        for name in ("ffffffff", "../federation", "AB12CD", "x", "%00"):
            answer = client.get(route, params={"study": name})
            assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), (route, name)


def test_a_dead_coordinator_is_a_503_and_its_return_is_noticed(
    store: StandIn, coordinator: Running, serve: Serve
) -> None:
    address = serve(Settings(coordinator.url))
    coordinator.stop()
    for path in ("api/federation", "api/studies", "api/events", "training_metrics", "feature_importance"):
        answer = httpx.get(address + path)
        assert (answer.status_code, answer.json()["code"]) == (503, "link-closed")
        assert "fedcohort coordinator" in answer.json()["message"]
    assert httpx.get(address).status_code == 200
    assert httpx.get(address + "healthz").json()["status"] == "ok"


def test_something_else_at_the_coordinators_address_is_named_as_such(serve: Serve) -> None:
    page = Starlette(routes=[Route("/{path:path}", lambda request: HTMLResponse("<h1>a printer</h1>"))])
    with running(page) as printer:
        address = serve(Settings(printer.url))
        for path in ("api/federation", "api/events"):
            answer = httpx.get(address + path)
            assert (answer.status_code, answer.json()["code"]) == (503, "link-closed")
            assert "something that is not" in answer.json()["message"]


def test_the_dashboard_shows_its_own_token_to_the_coordinator(
    store: StandIn, coordinator: Running, serve: Serve
) -> None:
    store.token = "a-researchers-token"
    refused = httpx.get(serve(Settings(coordinator.url)) + "api/federation")
    assert (refused.status_code, refused.json()["code"]) == (502, "coordinator-refused")
    answer = httpx.get(serve(Settings(coordinator.url, token=store.token)) + "api/federation")
    assert [site["id"] for site in answer.json()["sites"]] == ["hospital_a", "hospital_b", "hospital_c"]


def test_events_go_on_after_the_last_one_that_was_seen(store: StandIn, client: httpx.Client) -> None:
    store.add_study()
    for number in range(3):
        store.add_round(number)
    path = f"/api/studies/{FIRST_STUDY}/events"
    with client.stream("GET", path, headers={"Last-Event-ID": "4"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert _first_ids(stream, 2) == ["id: 5", "id: 6"]
    with client.stream("GET", path, params={"after": 5}) as stream:
        assert _first_ids(stream, 1) == ["id: 6"]


def _first_ids(stream: httpx.Response, count: int) -> list[str]:
    ids = []
    for line in stream.iter_lines():
        if line.startswith("id: "):
            ids.append(line)
        if len(ids) == count:
            return ids
    return ids


def test_numbers_that_are_not_finite_are_null_in_events_too(store: StandIn, client: httpx.Client) -> None:
    store.add_study()
    store.updates[FIRST_STUDY] = [("metrics", {"round": 0, "split": "test", "loss": math.nan})]
    with client.stream("GET", f"/api/studies/{FIRST_STUDY}/events") as stream:
        data = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert data == 'data: {"round": 0, "split": "test", "loss": null}'


def test_a_stream_to_the_coordinator_ends_when_the_browser_leaves(
    store: StandIn, client: httpx.Client
) -> None:
    store.add_study()
    with client.stream("GET", "/api/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        until(lambda: store.viewers == 1)
    until(lambda: store.viewers == 0)


def test_there_are_only_so_many_viewers(coordinator: Running, serve: Serve) -> None:
    address = serve(Settings(coordinator.url, max_viewers=1))
    with httpx.stream("GET", f"{address}api/events") as first:
        lines = first.iter_lines()
        next(lines)
        second = httpx.get(f"{address}api/events")
        assert (second.status_code, second.json()["code"]) == (503, "busy")
    until(lambda: _opens(f"{address}api/events"))


def _opens(url: str) -> bool:
    with httpx.stream("GET", url) as stream:
        return stream.status_code == 200


def test_an_event_stream_of_a_missing_study_is_a_404(client: httpx.Client) -> None:
    assert client.get(f"/api/studies/{'ee' * 32}/events").json()["code"] == "not-found"


def test_every_answer_carries_the_security_headers(client: httpx.Client) -> None:
    for path in ("/", "/nowhere", "/api/federation", "/static/js/main.js", "/training_metrics"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert "Werkzeug" not in headers["server"]


def test_scripts_are_served_as_scripts_and_charts_come_from_here(client: httpx.Client) -> None:
    page = client.get("/").text
    assert "http://" not in page
    assert "https://" not in page
    for name in ("js/main.js", "vendor/echarts.common.min.js"):
        assert client.get(f"/static/{name}").headers["content-type"].startswith("text/javascript")


def test_without_a_key_nothing_can_be_changed_through_the_dashboard(client: httpx.Client) -> None:
    assert client.post("/api/studies", json={}).json()["code"] == "no-key"
    assert client.delete(f"/api/studies/{FIRST_STUDY}").status_code == 405

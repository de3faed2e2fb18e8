"""Behind a proxy: whom the dashboard believes, and whether it says that it can serve."""

import http.client
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from fedcohort.dashboard import Settings, create_app
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, open_server
from tests.dashboard.conftest import Serve
from tests.dashboard.standin import Running
from tests.patience import PATIENCE_SECONDS

NOWHERE = "http://127.0.0.1:9"
FAR = "203.0.113.9"


def ask(url: str, path: str, headers: dict[str, str], source: str = "127.0.0.1") -> http.client.HTTPResponse:
    """One request from an address of this machine, with exactly these headers."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, 10, source_address=(source, 0))
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_a_proxy_on_this_machine_says_who_asks_and_how(serve: Serve, people: Path) -> None:
    url = serve(Settings(NOWHERE, people=people))
    secure = {"X-Forwarded-For": FAR, "X-Forwarded-Proto": "https"}
    assert ask(url, "/login", secure).status == 200
    plain = {"X-Forwarded-For": FAR, "X-Forwarded-Proto": "http"}
    assert ask(url, "/login", plain).status == 403, "plain text is for loopback only"
    assert ask(url, "/login", {"X-Forwarded-For": FAR}).status == 403


def test_the_cookie_is_for_tls_alone_when_the_proxy_was_asked_by_tls(serve: Serve, people: Path) -> None:
    url = serve(Settings(NOWHERE, people=people))
    headers = {"X-Forwarded-For": FAR, "X-Forwarded-Proto": "https"}
    with httpx.Client(base_url=url, headers=headers) as client:
        cookie = client.get("/login").headers["set-cookie"]
    assert cookie.startswith("__Host-fedcohort-form=")
    assert {"Secure", "HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}


def test_the_last_word_is_the_proxys_own_and_not_what_a_visitor_sent_it(serve: Serve) -> None:
    url = serve(Settings(NOWHERE))
    assert ask(url, "/healthz", {"X-Forwarded-For": f"127.0.0.1, {FAR}"}).status == 403


def test_without_accounts_a_proxy_opens_nothing_to_others(serve: Serve) -> None:
    url = serve(Settings(NOWHERE))
    headers = {"X-Forwarded-For": FAR, "X-Forwarded-Proto": "https"}
    assert ask(url, "/healthz", headers).status == 403
    assert ask(url, "/healthz", {"Host": "dashboard.example"}).status == 403


def test_nobody_else_is_believed(serve: Serve, people: Path) -> None:
    url = serve(Settings(NOWHERE, people=people))
    headers = {"X-Forwarded-For": FAR, "X-Forwarded-Host": "evil.example", "Forwarded": "for=9.9.9.9"}
    assert ask(url, "/login", headers, source="127.0.0.2").status == 200, "its own address counts"
    away = ask(url, "/", {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"})
    assert away.status == 302
    assert "evil" not in str(away.getheader("location"))


@pytest.mark.parametrize("value", ["not-a-protocol", "https,https"])
def test_a_malformed_header_is_refused(serve: Serve, value: str) -> None:
    assert ask(serve(Settings(NOWHERE)), "/healthz", {"X-Forwarded-Proto": value}).status == 400


def test_it_is_ready_while_the_coordinator_answers_and_takes_its_token(
    coordinator: Running, serve: Serve
) -> None:
    url = serve(Settings(coordinator.url))
    ready = httpx.get(f"{url}readyz")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    away = httpx.get(f"{serve(Settings(NOWHERE))}readyz")
    assert (away.status_code, away.json()) == (503, {"status": "not-ready", "code": "link-closed"})
    assert httpx.get(f"{serve(Settings(NOWHERE))}healthz").json()["status"] == "ok"


def test_readiness_needs_no_log_in_and_tells_no_more_than_a_code(serve: Serve, people: Path) -> None:
    away = httpx.get(f"{serve(Settings(NOWHERE, people=people))}readyz")
    assert away.json() == {"status": "not-ready", "code": "link-closed"}


def test_what_a_browser_fetches_first_is_small(coordinator: Running, serve: Serve) -> None:
    url = serve(Settings(coordinator.url))
    plain = ask(url, "/static/vendor/echarts.common.min.js", {})
    zipped = ask(url, "/static/vendor/echarts.common.min.js", {"Accept-Encoding": "gzip, br"})
    assert (plain.getheader("Content-Encoding"), zipped.getheader("Content-Encoding")) == (None, "gzip")
    assert int(str(zipped.getheader("Content-Length"))) < 0.4 * int(str(plain.getheader("Content-Length")))
    assert "Accept-Encoding" in str(zipped.getheader("Vary"))
    seen = {"Accept-Encoding": "gzip", "If-None-Match": str(zipped.getheader("ETag"))}
    assert ask(url, "/static/vendor/echarts.common.min.js", seen).status == 304


def test_what_may_hold_a_secret_is_not_compressed(coordinator: Running, serve: Serve) -> None:
    url = serve(Settings(coordinator.url))
    for path in ("/", "/api/federation"):
        assert ask(url, path, {"Accept-Encoding": "gzip"}).getheader("Content-Encoding") is None


def test_a_server_shuts_down_while_the_last_answer_wakes_it() -> None:
    settings = Settings(NOWHERE)
    app = create_app(settings)
    server: Any = open_server(app, settings, Listen("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    pull = server.inner.trigger._physical_pull

    def after_another() -> None:
        pull()
        time.sleep(0.3)  # the thread that serves takes up what waits for it
        pull()

    server.inner.trigger._physical_pull = after_another
    server.shutdown()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    server.server_close()
    close_app(app)

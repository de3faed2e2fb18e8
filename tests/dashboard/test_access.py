"""The door: loopback without accounts, a log-in and TLS for everybody else."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from flask import Flask
from flask.testing import FlaskClient

from fedcohort.dashboard import Settings, create_app, run_dashboard, settings_from_environment
from fedcohort.dashboard.login.access import same_token
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, address_of, open_server
from fedcohort.errors import ConfigError
from fedcohort.wire.address import is_loopback_name

from .accounts import Browser

TOKEN = "a token of 16 or more"
NOWHERE = "http://127.0.0.1:9"
FAR = {"REMOTE_ADDR": "192.0.2.7"}


@pytest.fixture
def app(people: Path) -> Iterator[Flask]:
    """A dashboard with accounts and a token for programs."""
    app = create_app(Settings(NOWHERE, dashboard_token=TOKEN, people=people))
    yield app
    close_app(app)


@pytest.fixture
def alone() -> Iterator[FlaskClient]:
    """A dashboard without accounts, as the demo starts it."""
    app = create_app(Settings(NOWHERE))
    yield app.test_client()
    close_app(app)


def test_without_accounts_only_this_machine_is_served(alone: FlaskClient) -> None:
    assert alone.get("/", base_url="http://localhost:5000").status_code == 200
    assert alone.get("/", environ_base=FAR).status_code == 403
    assert alone.get("/static/js/main.js", environ_base=FAR).status_code == 403


def test_without_accounts_nothing_can_be_changed_and_there_is_nothing_to_log_in_to(
    alone: FlaskClient,
) -> None:
    cancel = alone.post("/api/studies/abcdef/cancel", headers={"Origin": "http://localhost"})
    assert (cancel.status_code, cancel.get_json()["code"]) == (403, "not-allowed")
    assert alone.get("/people").status_code == 403
    assert alone.get("/login").location == "/"
    assert alone.get("/password?token=x").status_code == 404
    assert "Log out" not in alone.get("/").text


def test_another_sites_name_for_this_machine_is_refused(alone: FlaskClient) -> None:
    refused = alone.get("/api/studies", base_url="http://rebound.example:5000")
    assert (refused.status_code, refused.get_json()["code"]) == (403, "not-authenticated")


def test_with_accounts_the_page_leads_to_the_form_and_programs_get_401(app: Flask) -> None:
    client = app.test_client()
    assert client.get("/").location == "/login"
    answer = client.get("/training_metrics")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/nothing").status_code == 401


def test_programs_read_with_the_token_and_change_nothing(app: Flask) -> None:
    client, header = app.test_client(), {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/", headers=header).status_code == 200
    cancel = client.post("/api/studies/abcdef/cancel", headers=header)
    assert (cancel.status_code, cancel.get_json()["code"]) == (403, "not-allowed")
    assert client.get("/people", headers=header).status_code == 403
    for wrong in (f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN[:-1]}"):
        assert client.get("/", headers={"Authorization": wrong}).status_code == 302


def test_plain_text_from_another_machine_is_refused_whoever_asks(app: Flask, people: Path) -> None:
    client = Browser(app, people, "operator").client
    header = {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/", environ_base=FAR).status_code == 403
    assert client.get("/", environ_base=FAR, headers=header).status_code == 403
    assert client.get("/", environ_base=FAR, headers=header, base_url="https://d.example").status_code == 200


def test_tokens_of_any_letters_and_lengths_can_be_compared() -> None:
    assert same_token("médecin", "médecin")
    assert not same_token("", "médecin")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *((host, True) for host in ("localhost", "127.0.0.9", "::1", "[::1]", "::ffff:127.0.0.1")),
        *((host, False) for host in ("0.0.0.0", "10.0.0.1", "localhost.example", "", None)),
    ],
)
def test_loopback_is_recognised(host: str | None, loopback: bool) -> None:
    assert is_loopback_name(host) is loopback


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "FEDCOHORT_PEOPLE"),
        ({"people": Path("people.db")}, "certificate"),
        ({"dashboard_token": TOKEN}, "FEDCOHORT_PEOPLE"),
        ({"dashboard_token": "short", "people": Path("people.db")}, "16 characters"),
        ({"ca_file": Path("absent.pem")}, "absent.pem"),
        ({"coordinator": "http://coordinator.example:8760"}, "https"),
        ({"coordinator": "coordinator:8760"}, "not an address"),
        ({"coordinator": "https://user:secret@coordinator.example"}, "FEDCOHORT_TOKEN"),
        ({"address": "dashboard.example"}, "FEDCOHORT_URL"),
    ],
)
def test_a_dashboard_that_would_not_be_safe_does_not_start(
    more: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        run_dashboard(Settings(**{"coordinator": NOWHERE, **more}), "0.0.0.0", 0)


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="key"):
        run_dashboard(Settings(NOWHERE), "127.0.0.1", 0, certificate=Path("c.pem"))


def test_a_port_in_use_is_a_clear_error() -> None:
    settings = Settings(NOWHERE)
    app = create_app(settings)
    server = open_server(app, settings, Listen("127.0.0.1", 0))
    with pytest.raises(ConfigError, match="another --port"):
        open_server(app, settings, Listen("127.0.0.1", server.port))
    server.server_close()
    close_app(app)


def test_settings_come_from_the_environment_and_do_not_show_their_tokens(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    given = {"FEDCOHORT_COORDINATOR": "https://c.example", "FEDCOHORT_TOKEN": "secret-1"}
    given |= {"FEDCOHORT_CA_FILE": str(tmp_path / "ca.pem"), "FEDCOHORT_DASHBOARD_TOKEN": TOKEN}
    given |= {"FEDCOHORT_PEOPLE": "people.db", "FEDCOHORT_URL": "https://page.example"}
    settings = settings_from_environment(given)
    assert settings == Settings(
        "https://c.example", "secret-1", tmp_path / "ca.pem", TOKEN, Path("people.db"), "https://page.example"
    )
    assert "secret-1" not in repr(settings)
    assert TOKEN not in repr(settings)
    assert settings_from_environment({"FEDCOHORT_TOKEN": ""}) == Settings()


def test_https_serves_others_while_one_client_is_silent(tmp_path: Path, people: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    settings = Settings(NOWHERE, people=people)
    app, listen = create_app(settings), Listen("127.0.0.1", 0, certificate, key)
    server = open_server(app, settings, listen)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    context = ssl.create_default_context(cafile=ca)
    with socket.create_connection(("127.0.0.1", server.port)), httpx.Client(verify=context) as client:
        assert client.get(f"{address_of(listen, server.port)}healthz").json()["status"] == "ok"
    server.shutdown()
    thread.join()
    server.server_close()
    close_app(app)

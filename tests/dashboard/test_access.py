"""The door: loopback without a token, a token and TLS for everybody else."""

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from flask.testing import FlaskClient

from fedcohort.dashboard import Settings, create_app, run_dashboard, settings_from_environment
from fedcohort.dashboard.access import same_token
from fedcohort.dashboard.app import close_app
from fedcohort.dashboard.serve import Listen, address_of, open_server
from fedcohort.dashboard.settings import is_loopback
from fedcohort.errors import ConfigError

TOKEN = "a token of 16 or more"
NOWHERE = "http://127.0.0.1:9"
FAR = {"REMOTE_ADDR": "192.0.2.7"}


def _client(token: str | None = None) -> FlaskClient:
    app = create_app(Settings(NOWHERE, dashboard_token=token))
    close_app(app)
    return app.test_client()


def test_without_a_token_only_this_machine_is_served() -> None:
    client = _client()
    assert client.get("/", base_url="http://localhost:5000").status_code == 200
    assert client.get("/", environ_base=FAR).status_code == 403
    assert client.get("/static/js/main.js", environ_base=FAR).status_code == 403


def test_another_sites_name_for_this_machine_is_refused() -> None:
    refused = _client().get("/api/studies", base_url="http://rebound.example:5000")
    assert (refused.status_code, refused.get_json()["code"]) == (403, "not-authenticated")


def test_with_a_token_the_page_leads_to_the_form_and_programs_get_401() -> None:
    client = _client(TOKEN)
    assert client.get("/").location == "/login"
    answer = client.get("/training_metrics")
    assert (answer.status_code, answer.get_json()["code"]) == (401, "not-authenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_right_token_opens_a_session_and_logging_out_ends_it() -> None:
    client = _client(TOKEN)
    assert client.post("/login", data={"token": TOKEN[:-1]}).status_code == 403
    assert client.get("/").location == "/login"
    opened = client.post("/login", data={"token": TOKEN})
    cookie = opened.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert TOKEN not in cookie
    assert client.get("/").status_code == 200
    client.post("/logout")
    assert client.get("/").location == "/login"


def test_the_session_cookie_is_for_tls_only_where_the_page_came_by_tls() -> None:
    opened = _client(TOKEN).post("/login", data={"token": TOKEN}, base_url="https://dashboard.example")
    assert "Secure" in opened.headers["Set-Cookie"]


def test_a_form_on_another_site_cannot_log_in_or_out() -> None:
    client = _client(TOKEN)
    elsewhere = {"Origin": "https://elsewhere.example"}
    client.post("/login", data={"token": TOKEN}, headers=elsewhere)
    assert client.get("/").location == "/login"
    client.post("/login", data={"token": TOKEN}, headers={"Origin": "http://localhost"})
    client.post("/logout", headers=elsewhere)
    assert client.get("/").status_code == 200


def test_a_bearer_header_is_as_good_as_the_form() -> None:
    client = _client(TOKEN)
    ok = client.get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    assert ok.status_code == 200
    assert client.get("/", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 302
    assert client.get("/", headers={"Authorization": "Bearer"}).status_code == 302


def test_plain_text_from_another_machine_is_refused_even_with_the_token() -> None:
    client = _client(TOKEN)
    header = {"Authorization": f"Bearer {TOKEN}"}
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
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "FEDCOHORT_DASHBOARD_TOKEN"),
        ({"dashboard_token": TOKEN}, "certificate"),
        ({"dashboard_token": "short"}, "16 characters"),
        ({"certificate": Path("c.pem")}, "key"),
        ({"ca_file": Path("absent.pem")}, "absent.pem"),
        ({"coordinator": "http://coordinator.example:8760"}, "https"),
        ({"coordinator": "coordinator:8760"}, "not an address"),
        ({"coordinator": "https://user:secret@coordinator.example"}, "FEDCOHORT_TOKEN"),
    ],
)
def test_a_dashboard_that_would_not_be_safe_does_not_start(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_dashboard("0.0.0.0", 0, **{"coordinator": NOWHERE, **more})


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
    settings = settings_from_environment(given)
    assert settings == Settings("https://c.example", "secret-1", tmp_path / "ca.pem", TOKEN)
    assert "secret-1" not in repr(settings)
    assert TOKEN not in repr(settings)
    assert settings_from_environment({"FEDCOHORT_TOKEN": ""}) == Settings()


def test_https_serves_others_while_one_client_is_silent(tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, ca = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(ca)
    settings = Settings(NOWHERE, dashboard_token=TOKEN)
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

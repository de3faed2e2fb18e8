"""Log-in by an identity provider: real tokens over loopback, and every way in which one may be wrong."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser as Chromium

from fedcohort.dashboard import Settings, create_app
from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, open_server
from fedcohort.errors import ConfigError
from tests.build import free_port

from .browser import watched
from .identity import CLIENT, SECRET, Claims, Identity, new_key, provider
from .standin import running

HERE, NOWHERE = "http://localhost", "http://127.0.0.1:9"
ADA = {"sub": "u-1", "preferred_username": "ada", "groups": ["staff", "fedcohort-research"]}


@dataclass(frozen=True)
class Hospital:
    """A page, and the provider that its people log in with."""

    app: Flask
    identity: Identity

    @property
    def people(self) -> People:
        found: People = self.app.extensions["fedcohort-people"]
        return found

    def start(self, client: FlaskClient) -> str:
        """Follow the button to the provider, which knows the person; returns where it sends them back."""
        there = client.get("/oidc").location
        assert there.startswith(self.identity.url), there
        return str(httpx.get(there).headers["location"]).removeprefix(HERE)

    def log_in(self, client: FlaskClient | None = None) -> tuple[int, str]:
        """All of it; returns status and the page's words."""
        client = client or self.app.test_client()
        answer = client.get(self.start(client))
        return answer.status_code, client.get("/").text if answer.status_code == 303 else answer.text


def write_provider(path: Path, issuer: str, **more: str) -> Path:
    keys = {"issuer": issuer, "client_id": CLIENT, **more}
    lines = [f'{name} = "{value}"' for name, value in keys.items()]
    roles = (
        '[roles]\nfedcohort-operators = "operator"\nfedcohort-research = "researcher"\naudit = "auditor"\n'
    )
    path.write_text("\n".join(lines) + "\n" + roles)
    return path


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    identity = Identity(user=dict(ADA))
    with running(provider(identity)) as server:
        identity.url = server.url
        declared = write_provider(tmp_path / "provider.toml", server.url)
        settings = Settings(
            NOWHERE, people=tmp_path / "people.db", address=HERE, oidc=declared, oidc_secret=SECRET
        )
        app = create_app(settings)
        yield Hospital(app, identity)
        close_app(app)


def test_somebody_gets_in_with_the_role_of_the_group(hospital: Hospital) -> None:
    client = hospital.app.test_client()
    assert "Log in with your organisation" in client.get("/login").text
    status, text = hospital.log_in(client)
    assert (status, "ada · researcher" in text) == (303, True)
    (person,) = hospital.people.all()
    assert (person.name, person.role, person.state) == ("ada", "researcher", "active")
    asked = next(iter(hospital.identity.asked.values()))
    assert asked["response_type"] == "code"
    assert asked["scope"] == "openid profile"
    assert asked["redirect_uri"] == f"{HERE}/oidc/return"
    assert len(asked["state"]) == len(asked["nonce"]) == 64
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3


def test_the_role_is_the_claims_of_the_last_log_in_and_the_person_the_subject(hospital: Hospital) -> None:
    first = hospital.app.test_client()
    hospital.log_in(first)
    hospital.identity.user |= {"groups": "audit", "preferred_username": "ada-married"}
    hospital.log_in()
    (person,) = hospital.people.all()
    assert (person.name, person.role) == ("ada", "auditor")
    assert "ada · auditor" in first.get("/").text


def test_somebody_without_a_group_or_with_anothers_name_does_not_get_in(hospital: Hospital) -> None:
    hospital.identity.user["groups"] = ["staff"]
    assert hospital.log_in()[0] == 403
    hospital.identity.user |= {"groups": ["audit"], "preferred_username": "OPS"}
    hospital.people.add("ops", "operator")
    status, text = hospital.log_in()
    assert (status, "taken here by somebody else" in text) == (403, True)
    assert [person.name for person in hospital.people.all()] == ["ops"]


def test_a_name_that_is_none_is_refused(hospital: Hospital) -> None:
    for name in (None, "", 7, "a" * 65, "\u202eada"):
        hospital.identity.user["preferred_username"] = name
        assert hospital.log_in()[0] == 403, name
        assert hospital.people.all() == [], name


def test_a_disabled_person_does_not_come_back(hospital: Hospital) -> None:
    client = hospital.app.test_client()
    hospital.log_in(client)
    hospital.people.disable("ada")
    assert client.get("/").location == "/login"
    assert hospital.log_in()[0] == 403
    with pytest.raises(ConfigError, match="disabled"):
        hospital.people.reset("ada")
    hospital.people.enable("ada")
    with pytest.raises(ConfigError, match="identity provider"):
        hospital.people.reset("ada")
    assert hospital.people.secret("ada").hash is None


def without(name: str) -> Callable[[Claims], None]:
    return lambda claims: claims.pop(name) and None


def with_(**more: Any) -> Callable[[Claims], None]:
    return lambda claims: claims.update(more)


WRONG_CLAIMS = (
    *map(without, ("iss", "aud", "exp", "iat", "nonce", "sub")),
    with_(iss="https://evil.example"),
    with_(aud="another-page"),
    with_(aud=[CLIENT, "another-page"]),
    with_(aud=[CLIENT, "another-page"], azp="another-page"),
    with_(nonce="of another log-in"),
    with_(exp=1),
    with_(exp="late"),
    with_(nbf=4_000_000_000),
    with_(sub=""),
    with_(sub=7),
)


def test_a_token_with_wrong_claims_opens_nothing(hospital: Hospital) -> None:
    for number, changed in enumerate(WRONG_CLAIMS):
        hospital.identity.changed = changed
        status, text = hospital.log_in()
        assert (status, "did not let you in" in text) == (403, True), number
        assert hospital.people.all() == [], number


def test_a_token_that_the_provider_has_not_signed_opens_nothing(hospital: Hospital) -> None:
    identity, other = hospital.identity, new_key("one")

    def unsigned(claims: Claims) -> str:
        _, body, _ = identity.signed(claims).split(".")
        return f"eyJhbGciOiJub25lIn0.{body}."

    def cut(claims: Claims) -> str:
        return identity.signed(claims)[:-4]

    for sign in (lambda claims: identity.signed(claims, other), unsigned, cut,
                 identity.hmac_with_the_public_key, lambda claims: "no token"):  # fmt: skip
        identity.sign = sign
        assert hospital.log_in()[0] == 403
    assert hospital.people.all() == []


def test_new_keys_of_the_provider_are_asked_for(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    assert hospital.log_in()[0] == 303
    hospital.identity.key = new_key("two")
    assert hospital.log_in()[0] == 403, "not more often than once a minute"
    monkeypatch.setattr("fedcohort.dashboard.login.provider.KEYS_SECONDS", 0.0)
    assert hospital.log_in()[0] == 303


def test_an_answer_is_good_once_and_in_the_browser_that_asked(hospital: Hospital) -> None:
    mine, other = hospital.app.test_client(), hospital.app.test_client()
    back = hospital.start(mine)
    hospital.start(other)
    assert other.get(back).status_code == 403, "another's code in this browser"
    assert hospital.app.test_client().get(back).status_code == 403
    assert mine.get(back).status_code == 303
    assert mine.get(back).status_code == 403


def test_an_answer_that_was_changed_on_the_way_opens_nothing(hospital: Hospital) -> None:
    for change in ("state=x", "iss=https%3A%2F%2Fevil.example", "code=", "code=made-up"):
        client = hospital.app.test_client()
        back, name = hospital.start(client), change.partition("=")[0]
        given = parse_qs(urlsplit(back).query)
        query = "&".join([*(f"{key}={value[0]}" for key, value in given.items() if key != name), change])
        assert client.get(f"/oidc/return?{query}").status_code == 403, change
        assert client.get("/").location == "/login", change


def test_a_provider_that_is_away_or_says_that_it_is_another_is_named(hospital: Hospital) -> None:
    hospital.identity.issuer = "https://evil.example"
    answer = hospital.app.test_client().get("/oidc")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)


def test_attempts_to_come_back_are_counted(hospital: Hospital) -> None:
    client = hospital.app.test_client()
    codes = [client.get("/oidc/return?state=x&code=y").status_code for _ in range(31)]
    assert codes == [403] * 30 + [429]


def test_logs_hold_neither_tokens_nor_names(hospital: Hospital, caplog: pytest.LogCaptureFixture) -> None:
    hospital.identity.changed = with_(aud="another-page")
    with caplog.at_level(logging.DEBUG, "fedcohort"):
        hospital.log_in()
        hospital.identity.changed, hospital.identity.user["preferred_username"] = None, "ada\u202e"
        hospital.log_in()
    assert "log-in by the provider" in caplog.text
    for secret in ("ada", "u-1", "eyJ", SECRET):
        assert secret not in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("issuer = ", "TOML"),
        ('issuer = "https://x"\nclient_id = "y"', "roles: missing"),
        (
            'issuer = "https://x"\nclient_id = "y"\nsecret = "z"\n[roles]\na = "auditor"',
            "secret: there is no such key; known are issuer",
        ),
        ('issuer = "https://x"\nclient_id = "y"\n[roles]\na = "root"', "researcher, data-owner"),
        ('issuer = "https://x"\nclient_id = 7\n[roles]\na = "auditor"', "client_id: give a text"),
        ('issuer = "http://id.example"\nclient_id = "y"\n[roles]\na = "auditor"', "no https address"),
        ('issuer = "https://x"\nclient_id = "y"\nscopes = ["x"]\n[roles]\na = "auditor"', "openid"),
    ],
)
def test_a_providers_file_that_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "provider.toml").write_text(text)
    settings = Settings(NOWHERE, people=tmp_path / "people.db", address=HERE, oidc=tmp_path / "provider.toml")
    with pytest.raises(ConfigError, match=said):
        create_app(settings)


def test_a_provider_wants_accounts_and_an_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FEDCOHORT_URL"):
        Settings(NOWHERE, people=tmp_path / "people.db", oidc=tmp_path / "provider.toml")


def test_without_a_provider_there_is_no_way_there(tmp_path: Path) -> None:
    app = create_app(Settings(NOWHERE, people=tmp_path / "people.db"))
    for path in ("/oidc", "/oidc/return?code=x&state=y"):
        assert app.test_client().get(path).status_code == 404
    assert "organisation" not in app.test_client().get("/login").text
    close_app(app)


@pytest.mark.browser
def test_a_browser_goes_there_and_back(tmp_path: Path, browser: Chromium) -> None:
    identity, port = Identity(user={**ADA, "groups": ["fedcohort-operators"]}), free_port()
    with running(provider(identity)) as server:
        # Another site to a browser: localhost and 127.0.0.1 share nothing.
        identity.url = server.url.replace("127.0.0.1", "localhost")
        declared = write_provider(tmp_path / "provider.toml", identity.url)
        address = f"http://127.0.0.1:{port}"
        settings = Settings(NOWHERE, None, None, None, tmp_path / "people.db", address, declared, SECRET)
        app = create_app(settings)
        page = open_server(app, settings, Listen("127.0.0.1", port))
        thread = Thread(target=page.serve_forever, daemon=True)
        thread.start()
        with watched(browser) as watch:
            watch.page.goto(f"{address}/login")
            watch.page.click("text=organisation")
            watch.wait("location.pathname === '/'")
            assert "ada · operator" in watch.text("header")
            watch.page.goto(f"{address}/people")
            assert watch.text("h1") == "Accounts"
        page.shutdown()
        thread.join()
        page.server_close()
        close_app(app)

"""A file of people with somebody in each role, and browsers that are logged in as one of them."""

import re
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.login.sessions import csrf_token, open_session

NAMES = {"researcher": "dr-chen", "data-owner": "Grace", "auditor": "linus", "operator": "ops"}
"""dr-chen is whose studies the stand-in coordinator has."""
PASSWORD = "a sentence is a good one"
ORIGIN = "http://localhost"


def write_people(path: Path) -> Path:
    """A file with one person a role; nobody has a password yet."""
    people = People(path)
    for role, name in NAMES.items():
        people.add(name, role)
    people.close()
    return path


def session_for(path: Path, role: str) -> str:
    """A session's token, opened beside the page's own process, for whoever has the role or the name."""
    people = People(path)
    token = open_session(people, NAMES.get(role, role))
    people.close()
    return token


class Browser:
    """A test client with the cookies and forms of somebody in a role, or of nobody."""

    def __init__(self, app: Flask, path: Path, role: str = "nobody") -> None:
        self.client: FlaskClient = app.test_client()
        self.token = session_for(path, role) if role != "nobody" else ""
        if self.token:
            self.client.set_cookie("fedcohort-session", self.token)

    def get(self, path: str) -> TestResponse:
        """GET, as a link does."""
        return self.client.get(path)

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> TestResponse:
        """POST a form of the page itself; a header replaces what a browser would send."""
        csrf = csrf_token(self.token) if self.token else self.form_token()
        data = {"csrf": csrf, **(form or {})}
        return self.client.post(path, data=data, headers={"Origin": ORIGIN, **headers})

    def send(self, path: str, body: object) -> TestResponse:
        """POST JSON as the page's own scripts do."""
        headers = {"Origin": ORIGIN, "X-CSRF-Token": csrf_token(self.token)}
        return self.client.post(path, json=body, headers=headers)

    def form_token(self) -> str:
        """What the log-in form holds for this browser."""
        return csrf_of(self.client.get("/login"))

    def raw_post(self, path: str, **more: Any) -> TestResponse:
        """POST what another page could send."""
        return self.client.post(path, **more)


def csrf_of(page: TestResponse) -> str:
    """The hidden field of a form."""
    return csrf_in(page.text)


def csrf_in(text: str) -> str:
    """The hidden field of a form."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', text)
    return found[1] if found else ""

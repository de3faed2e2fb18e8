"""Log-in and log-out, and the forms behind one-time links by which a password is set."""

import logging
import secrets
from dataclasses import dataclass, field

from flask import Flask, Request, Response, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.access import Door, cookie_name, visitor
from fedcohort.dashboard.limits import Limiter, address_key
from fedcohort.dashboard.passwords import Passwords, objection
from fedcohort.dashboard.people import FIRST, SECRET_BYTES, People, fold
from fedcohort.dashboard.people_page import add_people_page
from fedcohort.dashboard.sessions import LONGEST_SECONDS, end_session, open_session
from fedcohort.dashboard.settings import Settings
from fedcohort.errors import ConfigError, NotFoundError

log = logging.getLogger("fedcohort.dashboard")

MAX_TOKEN = 128


@dataclass(frozen=True)
class Attempts:
    """NIST SP 800-63B-4, section 3.2.2, allows 100 in a row; these are fewer, and the bucket fills again."""

    by_name: Limiter = field(default_factory=lambda: Limiter(10, 60.0))
    by_address: Limiter = field(default_factory=lambda: Limiter(30, 10.0))

    def take(self, request: Request, name: str) -> int:
        """Count an attempt; returns how many seconds to wait, 0 to go on."""
        wait = self.by_address.take(address_key(request.remote_addr))
        return wait or (self.by_name.take(fold(name)) if name else 0)


def add_login(app: Flask, door: Door, settings: Settings) -> None:
    """Log-in, log-out and passwords; where there are no accounts, they lead back to the page."""
    attempts, passwords = Attempts(), Passwords()
    _add_log_in(app, door, attempts, passwords)
    _add_password(app, door, attempts, passwords)
    add_people_page(app, door, settings)

    @app.post("/logout")
    def logout() -> ResponseReturnValue:
        asking = visitor()
        if door.people is not None and asking is not None and asking.session is not None:
            end_session(door.people, asking.session)
            door.people.note("logged-out", name=asking.name)
        response = redirect(url_for("login"), 303)
        response.delete_cookie(cookie_name(request, "session"), secure=request.is_secure, httponly=True)
        return response


def _add_log_in(app: Flask, door: Door, attempts: Attempts, passwords: Passwords) -> None:
    @app.get("/login")
    def login() -> ResponseReturnValue:
        if door.people is None or visitor() is not None:
            return redirect(url_for("page"))
        return _form("login.html")

    @app.post("/login")
    def login_post() -> ResponseReturnValue:
        if door.people is None:
            return redirect(url_for("page"), 303)
        name = request.form.get("name", "")
        if wait := attempts.take(request, name):
            return _slow("login.html", wait, name=name)
        person = passwords.check(door.people, name, request.form.get("password", ""))
        if person is None:
            log.warning("a log-in from %s was refused", address_key(request.remote_addr))
            return _form("login.html", 403, problem="login.wrong", name=name)
        attempts.by_name.forget(fold(name))
        return let_in(door.people, person)


def let_in(people: People, name: str) -> Response:
    """Open a session under a new id, and lead to the page."""
    cookie = cookie_name(request, "session")
    token = open_session(people, name, request.cookies.get(cookie))
    response = make_response(redirect(url_for("page"), 303))
    _set_cookie(response, "session", token, LONGEST_SECONDS)
    response.delete_cookie(cookie_name(request, "form"), secure=request.is_secure, httponly=True)
    return response


def _add_password(app: Flask, door: Door, attempts: Attempts, passwords: Passwords) -> None:
    @app.get("/password")
    def password() -> ResponseReturnValue:
        people, token = _people(door), request.args.get("token", "")[:MAX_TOKEN]
        return _password_form(token, people.linked(token))

    @app.post("/password")
    def password_post() -> ResponseReturnValue:
        people, token = _people(door), request.form.get("token", "")[:MAX_TOKEN]
        folded = people.linked(token)
        if wait := attempts.take(request, ""):
            return _slow("password.html", wait, token=token, first=folded == FIRST)
        if folded is None:
            return _password_form(token, None)
        name = request.form.get("name", "") if folded == FIRST else folded
        given = request.form.get("password", "")
        problem = objection(given, name)
        if given != request.form.get("again", ""):
            problem = "password.differ"
        if problem:
            return _password_form(token, folded, 422, problem=problem, name=name)
        hash = passwords.hash(given)
        if hash is None:
            return _password_form(token, folded, 503, problem="login.slow", name=name)
        try:
            done = people.take_link(token, name, hash)
        except ConfigError:
            return _password_form(token, folded, 422, problem="password.name", name=name)
        return redirect(url_for("login"), 303) if done else _password_form(token, None)


def _people(door: Door) -> People:
    if door.people is None:
        raise NotFoundError("this page has no accounts: FEDCOHORT_PEOPLE")
    return door.people


def _password_form(token: str, folded: str | None, status: int = 200, **words: str) -> ResponseReturnValue:
    if folded is None:
        return _form("password.html", 404, problem="password.used", token="", first=False)
    return _form("password.html", status, token=token, first=folded == FIRST, **words)


def _form(template: str, status: int = 200, **words: str | bool) -> ResponseReturnValue:
    """A form for somebody who has no session: a cookie of its own takes the session's part against CSRF."""
    cookie = request.cookies.get(cookie_name(request, "form"), "")
    g.form_secret = cookie or secrets.token_urlsafe(SECRET_BYTES)
    response = make_response(render_template(template, **words), status)
    if not cookie:
        _set_cookie(response, "form", g.form_secret, None)
    return response


def _slow(template: str, wait: int, **words: str | bool) -> ResponseReturnValue:
    response = make_response(_form(template, 429, problem="login.slow", **words))
    response.headers["Retry-After"] = str(wait)
    return response


def _set_cookie(response: Response, what: str, value: str, seconds: int | None) -> None:
    response.set_cookie(
        cookie_name(request, what),
        value,
        max_age=seconds,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )

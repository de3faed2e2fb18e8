"""The pages of log-in and log-out, and the forms behind one-time links that set a password."""

import logging

from flask import Flask, redirect, request, url_for
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.login.access import AccessControl, cookie_name, visitor
from fedcohort.dashboard.login.forms import LoginAttempts, form_page, log_in
from fedcohort.dashboard.login.oidc import add_oidc
from fedcohort.dashboard.login.passwords import Passwords, objection
from fedcohort.dashboard.login.people import FIRST, fold
from fedcohort.dashboard.login.people_page import add_people_page
from fedcohort.dashboard.login.rate_limits import address_key
from fedcohort.dashboard.login.sessions import end_session
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import ConfigError

log = logging.getLogger("fedcohort.dashboard")

MAX_TOKEN = 128


def add_login(app: Flask, access: AccessControl, settings: Settings) -> None:
    """Routes of log-in, log-out and passwords; without accounts they redirect to the page."""
    attempts, passwords = LoginAttempts(), Passwords()
    _add_log_in(app, access, attempts, passwords)
    _add_password(app, access, attempts, passwords)
    add_oidc(app, access, settings, attempts)
    add_people_page(app, access, settings)

    @app.post("/logout")
    def logout() -> ResponseReturnValue:
        asking = visitor()
        if access.people is not None and asking is not None and asking.session is not None:
            end_session(access.people, asking.session)
            access.people.note("logged-out", name=asking.name)
        response = redirect(url_for("login"), 303)
        response.delete_cookie(cookie_name(request, "session"), secure=request.is_secure, httponly=True)
        return response


def _add_log_in(app: Flask, access: AccessControl, attempts: LoginAttempts, passwords: Passwords) -> None:
    @app.get("/login")
    def login() -> ResponseReturnValue:
        if access.people is None or visitor() is not None:
            return redirect(url_for("page"))
        return form_page("login.html")

    @app.post("/login")
    def login_post() -> ResponseReturnValue:
        if access.people is None:
            return redirect(url_for("page"), 303)
        name = request.form.get("name", "")
        if wait := attempts.take(request, name):
            return form_page("login.html", 429, wait, problem="login.slow", name=name)
        person = passwords.check(access.people, name, request.form.get("password", ""))
        if person is None:
            log.warning("a log-in from %s was refused", address_key(request.remote_addr))
            return form_page("login.html", 403, problem="login.wrong", name=name)
        attempts.by_name.forget(fold(name))
        return log_in(access, person)


def _add_password(app: Flask, access: AccessControl, attempts: LoginAttempts, passwords: Passwords) -> None:
    @app.get("/password")
    def password() -> ResponseReturnValue:
        people, token = access.accounts, request.args.get("token", "")[:MAX_TOKEN]
        return _password_form(token, people.linked(token))

    @app.post("/password")
    def password_post() -> ResponseReturnValue:
        people, token = access.accounts, request.args.get("token", "")[:MAX_TOKEN]
        folded = people.linked(token)
        if wait := attempts.take(request, ""):
            return _password_form(token, folded, 429, wait, problem="login.slow")
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


def _password_form(
    token: str, folded: str | None, status: int = 200, wait: int = 0, **words: str
) -> ResponseReturnValue:
    if folded is None:
        return form_page("password.html", 404, problem="password.used", token="", first=False)
    return form_page("password.html", status, wait, token=token, first=folded == FIRST, **words)

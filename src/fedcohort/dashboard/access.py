"""Who may look: this machine's own users, or whoever shows the dashboard's token.

Without a token only loopback is served, and only under a loopback name, so that a
web page elsewhere cannot reach the dashboard by DNS rebinding. Off loopback both a
token and TLS are needed.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    jsonify,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.sessions import SecureCookieSessionInterface
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.settings import Settings, is_loopback

SESSION_HOURS = 12
OPEN_ENDPOINTS = frozenset({"static", "access.login", "access.login_post", "health", "ready"})


class _Sessions(SecureCookieSessionInterface):
    """The cookie travels over TLS only, wherever the page itself came by TLS."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def guard(app: Flask, settings: Settings) -> None:
    """Put the door in front of every route of `app`."""
    app.secret_key = secrets.token_bytes(32)
    app.session_interface = _Sessions()
    app.config.update(
        SESSION_COOKIE_NAME="fedcohort_dashboard",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        PERMANENT_SESSION_LIFETIME=timedelta(hours=SESSION_HOURS),
    )
    app.before_request(lambda: _refuse(request, settings))
    app.register_blueprint(_routes(settings.dashboard_token))


def _refuse(request: Request, settings: Settings) -> ResponseReturnValue | None:
    local = is_loopback(request.remote_addr)
    if settings.dashboard_token is None:
        if local and is_loopback(urlsplit(f"//{request.host}").hostname):
            return None
        return _denied("this dashboard serves its own machine only; set FEDCOHORT_DASHBOARD_TOKEN to open it")
    if not local and not request.is_secure:
        return _denied("plain text is for loopback only; use https")
    if (
        request.endpoint in OPEN_ENDPOINTS
        or session.get("in")
        or _has_bearer(request, settings.dashboard_token)
    ):
        return None
    if request.path == "/":
        return redirect(url_for("access.login"))
    answer = jsonify(code="not-authenticated", message="log in, or send 'Authorization: Bearer …'")
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer, 401


def _denied(message: str) -> tuple[Response, int]:
    return jsonify(code="not-authenticated", message=message), 403


def _has_bearer(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and same_token(given.strip(), token)


def same_token(given: str, token: str) -> bool:
    """Compare in a time that tells nothing, not even the length."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, token))
    return hmac.compare_digest(*digests)


def _routes(token: str | None) -> Blueprint:
    access = Blueprint("access", __name__)

    @access.get("/login")
    def login() -> ResponseReturnValue:
        if token is None or session.get("in"):
            return redirect(url_for("page"))
        return render_template("login.html", wrong=False)

    @access.post("/login", endpoint="login_post")
    def log_in() -> ResponseReturnValue:
        if token is None or not same_origin(request):
            return redirect(url_for("access.login"))
        if not same_token(request.form.get("token", ""), token):
            return render_template("login.html", wrong=True), 403
        session.clear()
        session["in"] = True
        session.permanent = True
        return redirect(url_for("page"), 303)

    @access.post("/logout")
    def log_out() -> ResponseReturnValue:
        if same_origin(request):
            session.clear()
        return redirect(url_for("access.login"), 303)

    return access


def same_origin(request: Request) -> bool:
    """Whether a page of this server sent it, or no page at all."""
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host

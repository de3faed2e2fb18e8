"""Forms, cookies and attempt limits of the pages before log-in."""

import secrets
from dataclasses import dataclass, field

from flask import Request, Response, g, make_response, redirect, render_template, request, url_for

from fedcohort.dashboard.login.access import AccessControl, cookie_name
from fedcohort.dashboard.login.people import SECRET_BYTES, fold
from fedcohort.dashboard.login.rate_limits import Limiter, address_key
from fedcohort.dashboard.login.sessions import LONGEST_SECONDS, open_session


@dataclass(frozen=True)
class LoginAttempts:
    """Limits on log-in attempts, below the 100 in a row of NIST SP 800-63B-4, section 3.2.2; they refill."""

    by_name: Limiter = field(default_factory=lambda: Limiter(10, 60.0))
    by_address: Limiter = field(default_factory=lambda: Limiter(30, 10.0))

    def take(self, request: Request, name: str) -> int:
        """Count an attempt; returns how many seconds to wait, 0 to go on."""
        wait = self.by_address.take(address_key(request.remote_addr))
        return wait or (self.by_name.take(fold(name)) if name else 0)


def form_page(template: str, status: int = 200, wait: int = 0, **words: str | bool) -> Response:
    """A form for a visitor without a session, whose own cookie replaces the session's against CSRF."""
    cookie = request.cookies.get(cookie_name(request, "form"), "")
    g.form_secret = cookie or secrets.token_urlsafe(SECRET_BYTES)
    response = make_response(render_template(template, **words), status)
    if not cookie:
        set_cookie(response, "form", g.form_secret, None)
    if wait:
        response.headers["Retry-After"] = str(wait)
    return response


def log_in(access: AccessControl, name: str) -> Response:
    """Open a session under a new id, and redirect to the page."""
    cookie = cookie_name(request, "session")
    token = open_session(access.accounts, name, request.cookies.get(cookie))
    response = make_response(redirect(url_for("page"), 303))
    set_cookie(response, "session", token, LONGEST_SECONDS)
    for used in ("form", "oidc"):
        response.delete_cookie(cookie_name(request, used), secure=request.is_secure, httponly=True)
    return response


def set_cookie(response: Response, what: str, value: str, seconds: int | None) -> None:
    """Set a cookie for this host only, which no script can read."""
    response.set_cookie(
        cookie_name(request, what),
        value,
        max_age=seconds,
        secure=request.is_secure,
        httponly=True,
        samesite="Lax",
    )

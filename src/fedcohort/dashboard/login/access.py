"""Access control before every route: who asks, whether that role may, and whether the page itself sent it.

Without accounts (`Settings.people`) a page serves its own machine only, under a loopback name, so
that a web page elsewhere cannot reach it by DNS rebinding.
With accounts everybody logs in, on loopback too; other machines by TLS only. A request that
changes something must come from the page itself: by its Origin, and by the session's own token.
"""

import hashlib
import hmac
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from flask import Flask, Request, Response, g, jsonify, redirect, request, url_for
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.login.people import People
from fedcohort.dashboard.login.roles import KNOWN, LOCAL, NOBODY, PAGES, PROGRAM
from fedcohort.dashboard.login.sessions import csrf_token, session_of
from fedcohort.dashboard.shared.application import close_with
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import NotFoundError
from fedcohort.texts import Text, say
from fedcohort.texts.look_up import carried
from fedcohort.wire.address import is_loopback_name

SAFE = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Visitor:
    """Who asks; without a session it is this machine's user, or a program that sends the token."""

    name: str
    role: str
    session: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class AccessControl:
    """The access rules of a page.

    Attributes:
        people: the accounts; None serves this machine only.
        token: that programs may send in place of a session.
        allowed: which roles each route answers.
    """

    people: People | None
    token: str | None
    allowed: Mapping[str, Set[str]]

    @property
    def accounts(self) -> People:
        """The accounts.

        Raises:
            NotFoundError: this page has none.
        """
        if self.people is None:
            raise NotFoundError("this page has no accounts: FEDCOHORT_PEOPLE")
        return self.people


def guard(app: Flask, settings: Settings, allowed: Mapping[str, Set[str]]) -> AccessControl:
    """Check access before every route of `app`.

    Raises:
        KeyFileError, StoreError: the file of people cannot be used.
    """
    from fedcohort.dashboard.login.pages import add_login

    people = People(settings.people, exclusive=True) if settings.people is not None else None
    access = AccessControl(people, settings.dashboard_token, allowed)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.extensions["fedcohort-people"] = people
    if people is not None:
        close_with(app, people.close)
    app.before_request(lambda: _refuse(request, access))
    app.context_processor(_known_to_templates)
    add_login(app, access, settings)
    return access


def visitor() -> Visitor | None:
    """Who asks; None for somebody who has not logged in."""
    asking: Visitor | None = g.get("visitor")
    return asking


def still_allowed(access: AccessControl, asked: Visitor) -> bool:
    """Whether the reader of a stream may go on; reading does not count as use of a session."""
    if access.people is None or asked.session is None:
        return True
    session = session_of(access.people, asked.session, use=False)
    return session is not None and session.role == asked.role


def _known_to_templates() -> dict[str, object]:
    asking = visitor()
    session = asking.session if asking else None
    return {
        "visitor": asking,
        "has_login": session is not None,
        "csrf": csrf_token(secret) if (secret := session or g.get("form_secret", "")) else "",
    }


def _refuse(request: Request, access: AccessControl) -> ResponseReturnValue | None:
    local = is_loopback_name(request.remote_addr)
    if access.people is None and not (local and is_loopback_name(urlsplit(f"//{request.host}").hostname)):
        return _denied(say("this page serves its own machine only until it has accounts: FEDCOHORT_PEOPLE"))
    if not local and not request.is_secure:
        return _denied(say("plain text is for loopback only; use https"))
    g.visitor = asking = _visitor(request, access)
    if _role_of(asking) not in _allowed(request, access):
        return _not_allowed(request, asking)
    changes = request.url_rule is not None and request.method not in SAFE
    if changes and not _is_from_own_page(request, asking):
        ended = say("not sent from this page, or its session has ended; load the page again")
        return _denied(ended, "not-own-page")
    return None


def _visitor(request: Request, access: AccessControl) -> Visitor | None:
    if access.people is None:
        return Visitor("", LOCAL)
    if access.token is not None and _has_bearer(request, access.token):
        return Visitor("", PROGRAM)
    token = request.cookies.get(cookie_name(request, "session"), "")
    session = session_of(access.people, token) if token else None
    return Visitor(session.name, session.role, session.token) if session else None


def _role_of(asking: Visitor | None) -> str:
    return asking.role if asking else NOBODY


def _allowed(request: Request, access: AccessControl) -> Set[str]:
    """The roles that a route answers; that there is no such route all known roles may learn."""
    if request.url_rule is None:
        return KNOWN
    method = "GET" if request.method == "HEAD" else request.method
    return access.allowed.get(f"{method} {request.url_rule.rule}", frozenset())


def _not_allowed(request: Request, asking: Visitor | None) -> ResponseReturnValue:
    if asking is not None:
        return _denied(say("the role {role} may not do this", role=asking.role), "not-allowed")
    if request.method in SAFE and request.url_rule is not None and request.url_rule.rule in PAGES:
        return redirect(url_for("login"))
    answer = jsonify(code="not-authenticated", **carried(say("log in, or send 'Authorization: Bearer …'")))
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer, 401


def _denied(message: Text, code: str = "not-authenticated") -> tuple[Response, int]:
    return jsonify(code=code, **carried(message)), 403


def _is_from_own_page(request: Request, asking: Visitor | None) -> bool:
    """Whether a form or script of this page asks, in the session that it was made for."""
    said = request.headers.get("Origin")
    origin = urlsplit(said or "")
    own = (origin.scheme, origin.netloc) == (request.scheme, request.host)
    if asking is not None and asking.session is None:
        # No cookie lets it in. A program sends no Origin; a page elsewhere cannot leave it out.
        return own or said is None
    secret = asking.session if asking else request.cookies.get(cookie_name(request, "form"))
    given = request.headers.get("X-CSRF-Token") or request.form.get("csrf", "")
    return bool(secret) and own and hmac.compare_digest(given.encode(), csrf_token(str(secret)).encode())


def cookie_name(request: Request, what: str) -> str:
    """A cookie's name; over TLS bound to TLS and to this host (RFC 6265bis, section 4.1.3)."""
    return f"__Host-fedcohort-{what}" if request.is_secure else f"fedcohort-{what}"


def _has_bearer(request: Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and same_token(given.strip(), token)


def same_token(given: str, token: str) -> bool:
    """Compare in a time that depends on nothing, not even the length."""
    digests = (hashlib.sha256(text.encode()).digest() for text in (given, token))
    return hmac.compare_digest(*digests)

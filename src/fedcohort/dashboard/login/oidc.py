"""Log-in by an identity provider (extra [oidc]): the redirects, and the role that a claim gives."""

import hmac
import logging
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flask import Flask, make_response, redirect, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select, update

from fedcohort.dashboard.login import people_tables as tables
from fedcohort.dashboard.login.access import AccessControl, cookie_name
from fedcohort.dashboard.login.forms import LoginAttempts, form_page, log_in, set_cookie
from fedcohort.dashboard.login.people import SECRET_BYTES, People
from fedcohort.dashboard.shared.application import close_with
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import AuthenticationError, ConfigError, LinkClosedError, NotFoundError

if TYPE_CHECKING:
    from fedcohort.dashboard.login.provider import LoginSecrets, Provider, ProviderConfig

log = logging.getLogger("fedcohort.dashboard")

COOKIE_SECONDS = 600
MAX_CODE = 4096


def add_oidc(app: Flask, access: AccessControl, settings: Settings, attempts: LoginAttempts) -> None:
    """The routes to the provider and back; without a provider they answer 404.

    Raises:
        ConfigError: the provider's file is not valid, or [oidc] is not installed.
    """
    provider = _provider(settings)
    back = f"{(settings.address or '').rstrip('/')}/oidc/return"
    app.context_processor(lambda: {"oidc": provider is not None})
    if provider is not None:
        close_with(app, provider.client.close)

    @app.get("/oidc")
    def oidc() -> ResponseReturnValue:
        secret, chosen = secrets.token_urlsafe(SECRET_BYTES), _configured(provider)
        try:
            response = make_response(redirect(chosen.login_address(back, _login_secrets(secret))))
        except (LinkClosedError, AuthenticationError, ConfigError) as error:
            return _refused(error)
        set_cookie(response, "oidc", secret, COOKIE_SECONDS)
        return response

    @app.get("/oidc/return")
    def oidc_return() -> ResponseReturnValue:
        chosen = _configured(provider)
        if wait := attempts.take(request, ""):
            return form_page("login.html", 429, wait, problem="login.slow")
        try:
            name = _returned(access, chosen, back)
        except (LinkClosedError, AuthenticationError, ConfigError) as error:
            return _refused(error)
        return log_in(access, name)


def _provider(settings: Settings) -> "Provider | None":
    if settings.oidc is None:
        return None
    try:
        from fedcohort.dashboard.login.provider import open_provider, read_provider
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"log-in by a provider needs more: "
            f"pip install -c constraints.txt '.[oidc]' in fedcohort's folder ({error})"
        ) from error
    return open_provider(read_provider(settings.oidc, settings.oidc_secret), settings.ca_file)


def _configured(provider: "Provider | None") -> "Provider":
    if provider is None:
        raise NotFoundError("this page knows no identity provider: FEDCOHORT_OIDC")
    return provider


def _login_secrets(secret: str) -> "LoginSecrets":
    """State, nonce and verifier, derived from the cookie, so that nothing is stored between the requests."""
    from fedcohort.dashboard.login.provider import LoginSecrets

    parts = (hmac.digest(secret.encode(), name, "sha256").hex() for name in (b"state", b"nonce", b"verifier"))
    return LoginSecrets(*parts)


def _returned(access: AccessControl, provider: "Provider", back: str) -> str:
    """The account of the person whom the provider has sent back.

    Raises:
        AuthenticationError, LinkClosedError, ConfigError: nobody who may log in.
    """
    secret, given = request.cookies.get(cookie_name(request, "oidc"), ""), request.args
    expected = _login_secrets(secret)
    if not secret or not hmac.compare_digest(given.get("state", "").encode(), expected.state.encode()):
        raise AuthenticationError("the answer is not to a log-in of this browser")
    if given.get("iss", provider.config.issuer) != provider.config.issuer:
        raise AuthenticationError("the answer is of another provider")
    code = given.get("code", "")
    if not 0 < len(code) <= MAX_CODE:
        raise AuthenticationError("the identity provider refused the log-in")
    claims = provider.claims(code, back, expected)
    if access.people is None:
        raise AuthenticationError("this page has no accounts")
    subject = f"{provider.config.issuer} {claims['sub']}"
    return admit(access.people, subject, _name(provider.config, claims), _role(provider.config, claims))


def _name(config: "ProviderConfig", claims: Mapping[str, Any]) -> str:
    name = claims.get(config.name_claim)
    if not isinstance(name, str):
        raise AuthenticationError(f"the ID token has no claim {config.name_claim}")
    return name


def _role(config: "ProviderConfig", claims: Mapping[str, Any]) -> str:
    """The role of the first group in the file that the claim has."""
    given = claims.get(config.role_claim)
    groups = {given} if isinstance(given, str) else set(map(str, given)) if isinstance(given, list) else set()
    for group, role in config.roles.items():
        if group in groups:
            return role
    raise AuthenticationError("no group of this person has a role here; see [roles] in the provider's file")


def admit(people: People, subject: str, name: str, role: str) -> str:
    """The account of somebody whom the provider knows, made at the first log-in; its role is the claim's.

    Args:
        subject: issuer and `sub`: who it is, whatever name the provider gives later.
    Raises:
        ConfigError: the name is not valid, or somebody else's.
        AuthenticationError: the account is disabled.
    """
    mine = tables.people.c.subject == subject
    with people.database.transaction() as connection:
        row = connection.execute(select(tables.people).where(mine)).first()
        if row is None:
            people.insert(connection, name, role, subject=subject)
            detail = {"name": name, "role": role, "by": "the identity provider"}
            people.log.append(connection, "person-added", detail=detail)
            return name
        if row.disabled:
            raise AuthenticationError("the account is disabled")
        if row.role != role:
            connection.execute(update(tables.people).where(mine).values(role=role))
            detail = {"name": row.name, "role": role, "by": "the identity provider"}
            people.log.append(connection, "role-changed", detail=detail)
        return str(row.name)


def _refused(error: AuthenticationError | LinkClosedError | ConfigError) -> ResponseReturnValue:
    """The log-in form with a message; the log has the reason, which names nobody."""
    away = isinstance(error, LinkClosedError)
    # A name that does not fit is quoted in the error, and does not belong in a log.
    log.warning("log-in by the provider: %s", error.code if isinstance(error, ConfigError) else error)
    problem = "oidc.away" if away else "oidc.name" if isinstance(error, ConfigError) else "oidc.refused"
    return form_page("login.html", 503 if away else 403, problem=problem)

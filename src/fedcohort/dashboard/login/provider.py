"""An OpenID provider as this page knows it: its addresses and keys, and what an ID token of it is worth.

OpenID Connect Core 1.0 (sections 3.1.2 and 3.1.3) and Discovery 1.0, with PKCE (RFC 7636), the
answer's issuer (RFC 9207) and the advice of RFC 9700: code flow alone, state and nonce bound to the
browser, redirect address fixed, signatures by public keys alone.
"""

import json
import ssl
import threading
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from fedcohort.dashboard.login.roles import ROLES
from fedcohort.errors import AuthenticationError, ConfigError, LinkClosedError
from fedcohort.field_faults import unknown_key
from fedcohort.wire.address import is_loopback_name

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
    "EdDSA",
)
"""Neither `none` nor HMAC, whose key would be a public one."""
MAX_ANSWER_BYTES = 2**20
WAIT_SECONDS = 10.0
KNOWN_SECONDS = 3600.0
KEYS_SECONDS = 60.0
"""How soon the keys are asked for again because of a token that none of them has signed."""
LEEWAY_SECONDS = 60


@dataclass(frozen=True)
class Declared:
    """What the operator wrote down, in TOML: one provider, and which of its groups has which role.

    Attributes:
        roles: by value of `role_claim`; where somebody has several, the first in the file counts.
    """

    issuer: str
    client_id: str
    roles: Mapping[str, str]
    name_claim: str = "preferred_username"
    role_claim: str = "groups"
    scopes: tuple[str, ...] = ("openid", "profile")
    secret: str | None = field(default=None, repr=False)


def read_declared(path: Path, secret: str | None) -> Declared:
    """The provider's file.

    Raises:
        ConfigError: it cannot be read, or a key of it is missing, unknown or wrong.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error
    texts = dict.fromkeys(("issuer", "client_id", "name_claim", "role_claim"))
    known = [*texts, "roles", "scopes"]
    if unknown := sorted(given.keys() - set(known)):
        raise ConfigError("\n".join(f"{path}: {key}: {unknown_key(key, known)}" for key in unknown))
    if missing := {"issuer", "client_id", "roles"} - given.keys():
        raise ConfigError(f"{path}: {', '.join(sorted(missing))}: missing; write it")
    for name in texts.keys() & given.keys():
        if not isinstance(given[name], str) or not given[name]:
            raise ConfigError(f"{path}: {name}: give a text")
    roles, scopes = given["roles"], given.get("scopes", ["openid", "profile"])
    if not isinstance(roles, dict) or not roles or not set(map(str, roles.values())) <= set(ROLES):
        raise ConfigError(f"{path}: [roles]: give each group one of {', '.join(ROLES)}")
    if not isinstance(scopes, list) or "openid" not in scopes:
        raise ConfigError(f'{path}: scopes: give a list with "openid" in it')
    _check_secure(given["issuer"], f"{path}: issuer")
    return Declared(**{**given, "scopes": tuple(map(str, scopes)), "secret": secret})


def _check_secure(address: object, what: str) -> str:
    """An address by https, or on this machine.

    Raises:
        ConfigError: it is not.
    """
    parts = urlsplit(address if isinstance(address, str) else "")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback_name(parts.hostname)):
        raise ConfigError(f"{what}: {str(address)[:200]!r} is no https address")
    return str(address)


@dataclass
class Provider:
    """A provider, asked when somebody logs in; safe to use from several threads."""

    declared: Declared
    client: httpx.Client
    lock: threading.Lock = field(default_factory=threading.Lock)
    known: dict[str, Any] = field(default_factory=dict)
    keys: KeySet | None = None
    known_at: float = float("-inf")
    keys_at: float = float("-inf")

    def log_in_at(self, back: str, secret: "Bound") -> str:
        """Where the browser is sent.

        Raises:
            LinkClosedError: the provider does not answer, or not as one.
        """
        address: str = prepare_grant_uri(
            self._known()["authorization_endpoint"],
            self.declared.client_id,
            "code",
            redirect_uri=back,
            scope=" ".join(self.declared.scopes),
            state=secret.state,
            nonce=secret.nonce,
            code_challenge=create_s256_code_challenge(secret.verifier),
            code_challenge_method="S256",
        )
        return address

    def claims(self, code: str, back: str, secret: "Bound") -> Mapping[str, Any]:
        """Exchange a code for an ID token, and return what it says once everything of it was checked.

        Raises:
            LinkClosedError: the provider does not answer.
            AuthenticationError: it refuses the code, or its token is not for this log-in.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
        form["code_verifier"], auth = secret.verifier, None
        if self.declared.secret is None:
            form["client_id"] = self.declared.client_id
        else:  # RFC 6749, section 2.3.1
            auth = httpx.BasicAuth(
                quote(self.declared.client_id, safe=""), quote(self.declared.secret, safe="")
            )
        answer = self._ask("POST", self._known()["token_endpoint"], data=form, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise AuthenticationError("the identity provider gave no ID token")
        return self._checked(token, secret.nonce)

    def _checked(self, token: str, nonce: str) -> Mapping[str, Any]:
        """OpenID Connect Core 1.0, section 3.1.3.7."""
        try:
            found = self._signed(token)
            options = {"iss": {"essential": True, "value": self.declared.issuer},
                       "aud": {"essential": True, "value": self.declared.client_id}}  # fmt: skip
            params = {"nonce": nonce, "client_id": self.declared.client_id}
            claims = CodeIDToken(found.claims, found.header, options, params)
            claims.validate(leeway=LEEWAY_SECONDS)
        except (JoseError, ValueError, TypeError) as error:
            raise AuthenticationError(f"the ID token is not valid ({type(error).__name__})") from error
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise AuthenticationError("the ID token names nobody")
        return dict(claims)

    def _signed(self, token: str) -> jwt.Token:
        """The token, when a key of the provider has signed it; new keys are asked for once."""
        try:
            return jwt.decode(token, self._keys(), list(ALGORITHMS))
        except (JoseError, ValueError):
            with self.lock:
                stale = time.monotonic() - self.keys_at >= KEYS_SECONDS
                self.keys = None if stale else self.keys
            if not stale:
                raise
        return jwt.decode(token, self._keys(), list(ALGORITHMS))

    def _known(self) -> dict[str, Any]:
        with self.lock:
            if time.monotonic() - self.known_at >= KNOWN_SECONDS:
                found = self._ask(
                    "GET", f"{self.declared.issuer.rstrip('/')}/.well-known/openid-configuration"
                )
                if found.get("issuer") != self.declared.issuer:
                    raise LinkClosedError(
                        "the identity provider says that it is another issuer; check issuer"
                    )
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _check_secure(found.get(name), f"the identity provider's {name}")
                self.known, self.known_at = found, time.monotonic()
            return self.known

    def _keys(self) -> KeySet:
        address = self._known()["jwks_uri"]
        with self.lock:
            if self.keys is None or time.monotonic() - self.keys_at >= KNOWN_SECONDS:
                found: Any = self._ask("GET", address)
                self.keys, self.keys_at = KeySet.import_key_set(found), time.monotonic()
            return self.keys

    def _ask(self, method: str, address: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """One JSON object, bounded."""
        body = bytearray()
        try:
            with self.client.stream(method, address, **options) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise LinkClosedError("the identity provider's answer is too long")
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise LinkClosedError(
                f"the identity provider does not answer ({type(error).__name__})"
            ) from error
        if 400 <= response.status_code < 500:
            raise AuthenticationError(f"the identity provider refused with status {response.status_code}")
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if response.status_code != 200 or not isinstance(found, dict):
            raise LinkClosedError(
                f"the identity provider answered with status {response.status_code}, not JSON"
            )
        return found


@dataclass(frozen=True)
class Bound:
    """What ties an answer to the browser that asked, all from one secret in its cookie."""

    state: str
    nonce: str
    verifier: str = field(repr=False)


def open_provider(declared: Declared, ca_file: Path | None) -> Provider:
    """A provider that nobody has asked yet.

    Raises:
        ConfigError: the CA file cannot be read.
    """
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except OSError as error:
        raise ConfigError(
            f"{ca_file}: cannot be read as a CA certificate ({error}); give it in PEM"
        ) from error
    trust = not is_loopback_name(urlsplit(declared.issuer).hostname)
    return Provider(declared, httpx.Client(verify=context, timeout=WAIT_SECONDS, trust_env=trust))

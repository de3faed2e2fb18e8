"""An OpenID provider: its configuration, addresses and keys, and the checks of its ID tokens.

OpenID Connect Core 1.0 (sections 3.1.2 and 3.1.3) and Discovery 1.0, with PKCE (RFC 7636), the
answer's issuer (RFC 9207) and the advice of RFC 9700: code flow only, state and nonce bound to the
browser, redirect address fixed, signatures by public keys only.
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
from fedcohort.wire.address import client_tls, is_loopback_name

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
METADATA_SECONDS = 3600.0
KEYS_SECONDS = 60.0
"""The shortest time between two requests for the keys because of a token that none of them has signed."""
LEEWAY_SECONDS = 60


@dataclass(frozen=True)
class ProviderConfig:
    """The operator's configuration, in TOML: one provider, and the role of each of its groups.

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


def read_provider(path: Path, secret: str | None) -> ProviderConfig:
    """The provider's file.

    Raises:
        ConfigError: it cannot be read, or a key of it is missing, unknown or wrong.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from error
    texts = dict.fromkeys(("issuer", "client_id", "name_claim", "role_claim"))
    known_keys = [*texts, "roles", "scopes"]
    if unknown := sorted(given.keys() - set(known_keys)):
        raise ConfigError("\n".join(f"{path}: {key}: {unknown_key(key, known_keys)}" for key in unknown))
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
    return ProviderConfig(**{**given, "scopes": tuple(map(str, scopes)), "secret": secret})


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
    """A client of a provider; safe to use from several threads."""

    config: ProviderConfig
    client: httpx.Client
    lock: threading.Lock = field(default_factory=threading.Lock)
    metadata: dict[str, Any] = field(default_factory=dict)
    keys: KeySet | None = None
    metadata_at: float = float("-inf")
    keys_at: float = float("-inf")

    def login_address(self, back: str, secret: "LoginSecrets") -> str:
        """The provider's address of log-in, for the browser.

        Raises:
            LinkClosedError: the provider does not answer, or not as one.
        """
        address: str = prepare_grant_uri(
            self._metadata()["authorization_endpoint"],
            self.config.client_id,
            "code",
            redirect_uri=back,
            scope=" ".join(self.config.scopes),
            state=secret.state,
            nonce=secret.nonce,
            code_challenge=create_s256_code_challenge(secret.verifier),
            code_challenge_method="S256",
        )
        return address

    def claims(self, code: str, back: str, secret: "LoginSecrets") -> Mapping[str, Any]:
        """Exchange a code for an ID token, and return its claims after all checks.

        Raises:
            LinkClosedError: the provider does not answer.
            AuthenticationError: it refuses the code, or its token is not for this log-in.
        """
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back}
        form["code_verifier"], auth = secret.verifier, None
        if self.config.secret is None:
            form["client_id"] = self.config.client_id
        else:  # RFC 6749, section 2.3.1
            auth = httpx.BasicAuth(quote(self.config.client_id, safe=""), quote(self.config.secret, safe=""))
        answer = self._ask("POST", self._metadata()["token_endpoint"], data=form, auth=auth)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise AuthenticationError("the identity provider gave no ID token")
        return self._checked(token, secret.nonce)

    def _checked(self, token: str, nonce: str) -> Mapping[str, Any]:
        """OpenID Connect Core 1.0, section 3.1.3.7."""
        try:
            decoded = self._signed(token)
            options = {"iss": {"essential": True, "value": self.config.issuer},
                       "aud": {"essential": True, "value": self.config.client_id}}  # fmt: skip
            params = {"nonce": nonce, "client_id": self.config.client_id}
            claims = CodeIDToken(decoded.claims, decoded.header, options, params)
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

    def _metadata(self) -> dict[str, Any]:
        with self.lock:
            if time.monotonic() - self.metadata_at >= METADATA_SECONDS:
                metadata = self._ask(
                    "GET", f"{self.config.issuer.rstrip('/')}/.well-known/openid-configuration"
                )
                if metadata.get("issuer") != self.config.issuer:
                    raise LinkClosedError(
                        "the identity provider says that it is another issuer; check issuer"
                    )
                for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                    _check_secure(metadata.get(name), f"the identity provider's {name}")
                self.metadata, self.metadata_at = metadata, time.monotonic()
            return self.metadata

    def _keys(self) -> KeySet:
        address = self._metadata()["jwks_uri"]
        with self.lock:
            if self.keys is None or time.monotonic() - self.keys_at >= METADATA_SECONDS:
                key_set: Any = self._ask("GET", address)
                self.keys, self.keys_at = KeySet.import_key_set(key_set), time.monotonic()
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
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if response.status_code != 200 or not isinstance(answer, dict):
            raise LinkClosedError(
                f"the identity provider answered with status {response.status_code}, not JSON"
            )
        return answer


@dataclass(frozen=True)
class LoginSecrets:
    """What binds an answer to the browser that asked, derived from one secret in its cookie."""

    state: str
    nonce: str
    verifier: str = field(repr=False)


def open_provider(config: ProviderConfig, ca_file: Path | None) -> Provider:
    """A client of a provider, before its first request.

    Raises:
        ConfigError: the CA file cannot be read.
    """
    trust = not is_loopback_name(urlsplit(config.issuer).hostname)
    return Provider(config, httpx.Client(verify=client_tls(ca_file), timeout=WAIT_SECONDS, trust_env=trust))

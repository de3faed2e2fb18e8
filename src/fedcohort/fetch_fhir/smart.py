"""SMART Backend Services: a token for a client that proves itself by a signature, without anybody logging in.

Source: HL7 SMART App Launch 2.2, "Backend Services" and "Client Authentication: Asymmetric" (RS384, ES384);
RFC 7523 (JWT as client assertion), RFC 7515 (JWS).
"""

import base64
import json
import secrets
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from fedcohort.errors import AuthenticationError, ConfigError, DataError, LinkClosedError
from fedcohort.fetch_fhir.server import Answer, unpacked
from fedcohort.field_faults import unknown_key
from fedcohort.storage.files import read_key_file
from fedcohort.wire.address import check_http
from fedcohort.wire.proxy import reason

ASSERTION_SECONDS = 240
"""Of at most 300 that the specification allows."""
MAX_TOKEN_BYTES = 2**16
TOKEN_SECONDS = 60.0
EARLY_SECONDS = 30.0
"""Before its end a token is renewed."""
LONGEST_LIFE_SECONDS = 3600.0
_KEYS = ("client_id", "key", "kid", "token_url", "scope")
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class SmartClient:
    """What the operator registered at the server.

    Attributes:
        key: signs; RSA of at least 2,048 bits (RS384) or P-384 (ES384).
        kid: which of the registered keys that is.
        token_url: where tokens are; None: what the server's .well-known/smart-configuration says.
    """

    client_id: str
    key: PrivateKey = field(repr=False)
    kid: str
    token_url: str | None = None
    scope: str = "system/*.rs"


def read_smart(path: Path) -> SmartClient:
    """The file of --smart: client_id, key (a PEM file), kid; token_url and scope, where they differ.

    Raises:
        ConfigError: a key of it is missing, unknown or wrong, or the private key is of another kind.
        KeyFileError: others can read the private key.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML; write client_id, key and kid there") from error
    if unknown := sorted(given.keys() - set(_KEYS)):
        raise ConfigError("\n".join(f"{path}: {key}: {unknown_key(key, list(_KEYS))}" for key in unknown))
    for name in _KEYS:
        if not isinstance(given.get(name, "" if name in _KEYS[:3] else "x"), str) or given.get(name) == "":
            raise ConfigError(f"{path}: {name}: give a text")
    if missing := sorted(set(_KEYS[:3]) - given.keys()):
        raise ConfigError(f"{path}: {', '.join(missing)}: missing; write it")
    if "token_url" in given:
        check_http(given["token_url"], f"{path}: token_url")
    return SmartClient(**{**given, "key": _private_key(path.parent / given["key"])})


def _private_key(path: Path) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(read_key_file(path), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: is no private key without a password; give it in PEM (PKCS 8)") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1):
        return key
    raise ConfigError(
        f"{path}: give an RSA key of at least 2,048 bits (RS384), or one of curve P-384 (ES384)"
    )


def assertion(client: SmartClient, audience: str, now: float) -> str:
    """A signed JWT that is good once and for four minutes."""
    algorithm = "RS384" if isinstance(client.key, rsa.RSAPrivateKey) else "ES384"
    header = {"alg": algorithm, "kid": client.kid, "typ": "JWT"}
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": audience,
        "exp": int(now) + ASSERTION_SECONDS,
        "jti": secrets.token_urlsafe(32),
    }
    signed = ".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
    return f"{signed}.{_base64(_signature(client.key, signed.encode()))}"


def _signature(key: PrivateKey, content: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, padding.PKCS1v15(), hashes.SHA384())
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48) + s.to_bytes(48)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


@dataclass
class SmartTokens:
    """The tokens of a client at one server, one at a time, in memory alone."""

    base: str
    client: SmartClient
    http: httpx.Client = field(repr=False)
    _token: str = field(default="", repr=False)
    _until: float = 0.0

    def bearer(self) -> str:
        """The token, asked for anew shortly before it ends.

        Raises:
            AuthenticationError: the server does not take the client's proof.
            ConfigError: it says nowhere where tokens are.
            LinkClosedError: it does not answer.
        """
        if time.monotonic() >= self._until:
            self._token, seconds = self._asked()
            self._until = time.monotonic() + max(seconds - EARLY_SECONDS, seconds / 2)
        return self._token

    def renew(self) -> bool:
        """Forget the token."""
        self._until = 0.0
        return True

    def _asked(self) -> tuple[str, float]:
        url = self.client.token_url or self._discovered()
        form = {
            "grant_type": "client_credentials",
            "scope": self.client.scope,
            "client_assertion_type": _ASSERTION_TYPE,
            "client_assertion": assertion(self.client, url, time.time()),
        }
        answer = self._exchange("POST", url, form)
        if answer.status != 200:
            raise AuthenticationError(
                f"{urlsplit(url).hostname}: gives no token ({answer.status}); "
                "check client_id, kid, key and scope with the server's operator"
            )
        return _token_of(answer.json("token"))

    def _discovered(self) -> str:
        answer = self._exchange("GET", f"{self.base}/.well-known/smart-configuration", None)
        url = answer.json("smart-configuration").get("token_endpoint") if answer.status == 200 else None
        if not isinstance(url, str):
            raise ConfigError(
                f"{self.base}: says nowhere where tokens are; write token_url into the file of --smart"
            )
        check_http(url, f"{self.base}: its token_endpoint")
        return url

    def _exchange(self, method: str, url: str, form: Mapping[str, Any] | None) -> Answer:
        """One request without a token, of which no redirect is followed."""
        try:
            headers = {"accept": "application/json", "accept-encoding": "identity"}
            with self.http.stream(method, url, data=form, headers=headers) as response:
                body = b"".join(unpacked(response, MAX_TOKEN_BYTES, TOKEN_SECONDS, "token"))
                return Answer(url, response.status_code, dict(response.headers), body)
        except httpx.HTTPError as error:
            raise LinkClosedError(f"{urlsplit(url).hostname}: no answer; {reason(error)}") from None


def _token_of(answer: Mapping[str, Any]) -> tuple[str, float]:
    token, kind, seconds = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in", 300)
    is_text = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
    if not is_text or not token or str(kind).lower() != "bearer":
        raise DataError("the server's answer holds no bearer token; ask its operator")
    usable = isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0
    return str(token), min(float(seconds), LONGEST_LIFE_SECONDS) if usable else 300.0


@dataclass(frozen=True)
class FixedToken:
    """A token that the operator put into a file."""

    token: str = field(repr=False)

    def bearer(self) -> str:
        """It."""
        return self.token

    def renew(self) -> bool:
        """There is no other."""
        return False


def read_token(path: Path) -> FixedToken:
    """The file of --token, which holds it and nothing else.

    Raises:
        ConfigError: it holds none.
        KeyFileError: others can read it.
    """
    token = read_key_file(path).decode("ascii", "replace").strip()
    if not token or not token.isprintable() or not token.isascii() or " " in token:
        raise ConfigError(f"{path}: holds no token; let the file hold the token alone")
    return FixedToken(token)

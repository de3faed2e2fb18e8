"""A small OpenID provider with real signed tokens over loopback, which can be told to misbehave."""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

jwt = pytest.importorskip("joserfc.jwt", reason="needs the extra [oidc]")
jwk = pytest.importorskip("joserfc.jwk", reason="needs the extra [oidc]")

CLIENT, SECRET = "fedcohort", "the page's own secret"
Claims = dict[str, Any]
Key = Any


def new_key(name: str) -> Key:
    return jwk.RSAKey.generate_key(2048, {"kid": name, "use": "sig"})


@cache
def first_key() -> Key:
    """One for all tests that need no other."""
    return new_key("one")


@dataclass
class Identity:
    """One provider, and the person who is logged in to it.

    Attributes:
        changed: changes the claims of a token before it is signed.
        sign: makes the token; by default by `key`.
        asked: what the page sent to the authorization endpoint, by code.
    """

    url: str = ""
    user: Claims = field(default_factory=dict)
    key: Key = field(default_factory=first_key)
    changed: Callable[[Claims], None] | None = None
    sign: Callable[[Claims], str] | None = None
    issuer: str | None = None
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)

    def token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.user}
        if self.changed:
            self.changed(claims)
        return self.sign(claims) if self.sign else self.signed(claims)

    def signed(self, claims: Claims, key: Key | None = None) -> str:
        by = key or self.key
        return str(jwt.encode({"alg": "RS256", "kid": str(by.kid)}, claims, by))

    def hmac_with_the_public_key(self, claims: Claims) -> str:
        """The old trick: a public key as the secret of HS256; by hand, for no library makes it any more."""
        head = _base64(f'{{"alg":"HS256","kid":"{self.key.kid}"}}'.encode())
        body = self.signed(claims).split(".")[1]
        mac = hmac.digest(self.key.as_pem(private=False), f"{head}.{body}".encode(), "sha256")
        return f"{head}.{body}.{_base64(mac)}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def provider(identity: Identity) -> Starlette:
    """The provider's four addresses."""

    def discovery(request: Request) -> Response:
        return JSONResponse(
            {
                "issuer": identity.issuer or identity.url,
                "authorization_endpoint": f"{identity.url}/authorize",
                "token_endpoint": f"{identity.url}/token",
                "jwks_uri": f"{identity.url}/keys",
            }
        )

    def keys(request: Request) -> Response:
        return JSONResponse({"keys": [identity.key.as_dict(private=False)]})

    def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        code = secrets.token_urlsafe(16)
        identity.asked[code] = asked
        back = {"code": code, "state": asked["state"], "iss": identity.url}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def token(request: Request) -> Response:
        form = {name: value[0] for name, value in parse_qs((await request.body()).decode()).items()}
        code, verifier = form.get("code", ""), form.get("code_verifier", "")
        asked = identity.asked.get(code)
        challenge = _base64(hashlib.sha256(verifier.encode()).digest())
        basic = base64.b64encode(f"{CLIENT}:the%20page%27s%20own%20secret".encode()).decode()
        if (
            asked is None
            or code in identity.used
            or request.headers.get("authorization") != f"Basic {basic}"
            or form.get("redirect_uri") != asked["redirect_uri"]
            or asked["code_challenge_method"] != "S256"
            or challenge != asked["code_challenge"]
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        identity.used.append(code)
        return JSONResponse(
            {"token_type": "Bearer", "access_token": "x", "id_token": identity.token(asked["nonce"])}
        )

    paths = {"/.well-known/openid-configuration": discovery, "/keys": keys, "/authorize": authorize}
    routes = [Route(path, route) for path, route in paths.items()]
    return Starlette(routes=[*routes, Route("/token", token, methods=["POST"])])

"""A FHIR server of our own: what the specifications say, and what servers do otherwise, on request.

It serves `resources` by search with opaque links, and by Bulk Data, and writes down each request.
"""

import base64
import contextlib
import gzip
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

Answered = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""

    @property
    def token(self) -> str | None:
        return self.headers.get("authorization")


@dataclass
class FakeServer:
    """State of a server; `before` answers a request in place of it.

    Attributes:
        resources: by type.
        page: resources a page, whatever the client asks for.
        token: that every request needs; None: none does.
        preparing: how often the export's status is 202.
        expected: kid to public key of a client.
    """

    resources: dict[str, list[dict[str, Any]]]
    page: int = 2
    token: str | None = None
    preparing: int = 2
    retry_after: str = "0"
    expires: str | None = None
    manifest_more: dict[str, Any] = field(default_factory=dict)
    requires_token: bool = True
    elsewhere: str = ""
    packed: bool = False
    expected: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Asked], Answered | None] = lambda _asked: None
    asked: list[Asked] = field(default_factory=list)
    address: str = ""
    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    assertions: list[dict[str, Any]] = field(default_factory=list)
    export_types: list[str] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"{self.address}/fhir"

    def paths(self, start: str = "/fhir") -> list[str]:
        return [one.path.removeprefix("/fhir") for one in self.asked if one.path.startswith(start)]

    def answer(self, asked: Asked) -> Answered:
        self.asked.append(asked)
        if (given := self.before(asked)) is not None:
            return given
        if asked.path == "/token":
            return self._give_token(asked)
        if asked.path.endswith("smart-configuration"):
            return _json(200, {"token_endpoint": f"{self.address}/token"})
        if asked.path.startswith("/files/"):
            return self._file(asked)
        if self.token is not None and asked.token != f"Bearer {self.token}":
            return _json(401, outcome("login"))
        if asked.path == "/fhir/metadata":
            types = [{"type": name} for name in self.resources]
            return _json(200, {"resourceType": "CapabilityStatement", "rest": [{"resource": types}]})
        if asked.path.endswith("$export"):
            self.export_types = asked.query["_type"].split(",")
            return 202, {"Content-Location": f"{self.address}/fhir/status/1"}, b""
        if asked.path == "/fhir/status/1":
            return self._status(asked)
        return self._search(asked)

    def _search(self, asked: Asked) -> Answered:
        if asked.path == "/fhir":
            name, start = self.links[asked.query["page"]]
        else:
            name, start = asked.path.rpartition("/")[2], 0
        found = self.resources.get(name, [])
        end = start + min(self.page, int(asked.query.get("_count", self.page)))
        entries = [{"resource": one, "search": {"mode": "match"}} for one in found[start:end]]
        bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
        if end < len(found):
            link = secrets.token_urlsafe(8)
            self.links[link] = (name, end)
            url = f"{self.base}?page={link}&_count={end - start}"
            bundle["link"] = [{"relation": "next", "url": url}]
        return _json(200, bundle)

    def _status(self, asked: Asked) -> Answered:
        if asked.method == "DELETE":
            return 202, {}, b""
        if self.preparing > 0:
            self.preparing -= 1
            return 202, {"Retry-After": self.retry_after, "X-Progress": "some"}, b""
        files = self.elsewhere or self.address
        output = [
            {"type": name, "url": f"{files}/files/{name}", "count": len(self.resources[name])}
            for name in self.export_types
            if self.resources.get(name)
        ]
        manifest = {
            "transactionTime": "2026-01-31T00:00:00Z",
            "requiresAccessToken": self.requires_token,
            "output": output,
            **self.manifest_more,
        }
        status, headers, body = _json(200, manifest)
        return status, headers | ({"Expires": self.expires} if self.expires else {}), body

    def _file(self, asked: Asked) -> Answered:
        name = asked.path.rpartition("/")[2]
        lines = b"".join(json.dumps(one).encode() + b"\n" for one in self.resources.get(name, []))
        return 200, {"Content-Type": "application/fhir+ndjson"}, lines

    def _give_token(self, asked: Asked) -> Answered:
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        if kid_of(form["client_assertion"]) not in self.expected:
            return _json(400, {"error": "invalid_client"})
        header, claims = verified(form["client_assertion"], self.expected)
        self.assertions.append({"header": header, "claims": claims, "form": form})
        self.token = secrets.token_urlsafe(16)
        return _json(200, {"access_token": self.token, "token_type": "bearer", "expires_in": 300})


def outcome(code: str, text: str = "Zebedee") -> dict[str, Any]:
    issue = [{"severity": "error", "code": code, "diagnostics": text}]
    return {"resourceType": "OperationOutcome", "issue": issue}


def _json(status: int, content: object) -> Answered:
    return status, {"Content-Type": "application/fhir+json"}, json.dumps(content).encode()


def kid_of(assertion: str) -> str:
    """Which key a JWT says that it was signed by."""
    part = assertion.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["kid"])


def verified(assertion: str, expected: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT whose signature is checked as a server does."""
    parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in assertion.split(".")]
    header, claims = json.loads(parts[0]), json.loads(parts[1])
    key, signed = expected[header["kid"]], assertion.rpartition(".")[0].encode()
    if isinstance(key, rsa.RSAPublicKey):
        assert header["alg"] == "RS384"
        key.verify(parts[2], signed, padding.PKCS1v15(), hashes.SHA384())
    else:
        assert header["alg"] == "ES384"
        assert len(parts[2]) == 96
        pair = int.from_bytes(parts[2][:48]), int.from_bytes(parts[2][48:])
        key.verify(encode_dss_signature(*pair), signed, ec.ECDSA(hashes.SHA384()))
    return header, claims


@contextlib.contextmanager
def served(server: FakeServer) -> Iterator[FakeServer]:
    """Serve it on this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            status, more, content = server.answer(Asked(self.command, parts.path, query, headers, body))
            if server.packed:
                content, more = gzip.compress(content), more | {"Content-Encoding": "gzip"}
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            if "Content-Length" not in more:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, *_: object) -> None:
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.address = f"http://127.0.0.1:{http.server_port}"
    threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()

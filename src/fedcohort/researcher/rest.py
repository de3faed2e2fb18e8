"""A client of the coordinator's REST, which raises every failure as one of our errors."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from fedcohort.errors import (
    AuthenticationError,
    ConfigError,
    FedcohortError,
    LinkClosedError,
    NotFoundError,
    StudyError,
    StudyFailedError,
)
from fedcohort.local_token import token_of_machine
from fedcohort.texts.look_up import received
from fedcohort.wire.address import check_http, is_loopback_name, tls_towards
from fedcohort.wire.proxy import environment_proxy, reason

TIMEOUT_SECONDS = 30.0
TAKE_SECONDS = 120.0
"""The first study that trains has the coordinator load TensorFlow before it says that it takes it."""
PAGE_HEADER = "Fedcohort-Page"
"""A header of every response of a page for people, whose paths are similar to the coordinator's."""
IDLE_SECONDS = 2.0
"""A connection that was idle for longer is not used again: the server closes it after five seconds."""
RETRY_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""How long a watcher waits for a coordinator that went away."""

GATEWAY_ERRORS = (502, 503, 504)
"""Statuses of a proxy while the coordinator restarts, or of the coordinator while its database is away."""

_BY_CODE: dict[str, type[FedcohortError]] = {
    "study-invalid": StudyError,
    "not-authenticated": AuthenticationError,
    "not-found": NotFoundError,
    "not-finished": StudyFailedError,
}


class Answer(dict[str, Any]):
    """A JSON object of the coordinator."""

    def __missing__(self, key: str) -> Any:  # noqa: ANN401
        raise _no_coordinator(f"no {key!r} in its answer")


@dataclass(frozen=True)
class Rest:
    """An HTTP client with the coordinator's address and token."""

    client: httpx.Client

    def get(self, path: str) -> Answer:
        """GET a JSON object."""
        return _answer_of(self._call("GET", path))

    def get_bytes(self, path: str) -> bytes:
        """GET a binary body."""
        return self._call("GET", path).content

    def post(self, path: str, body: object) -> Answer:
        """POST JSON, and read the JSON that comes back."""
        return _answer_of(self._call("POST", path, json=body, timeout=TAKE_SECONDS))

    def _call(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        try:
            response = self.client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        if PAGE_HEADER in response.headers:
            raise ConfigError(
                f"{self.client.base_url} is the address of a page for people, the dashboard or a hospital's; "
                "give the coordinator's own, such as https://HOST:8760"
            )
        if response.is_error:
            raise _error_of(response)
        return response

    def _unreachable(self, error: Exception) -> LinkClosedError:
        return LinkClosedError(
            f"the coordinator at {self.client.base_url} cannot be reached: {reason(error)}"
        )

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Follow a stream of server-sent events, resuming after breaks.

        Raises:
            LinkClosedError: the coordinator stayed away for a minute.
        """
        last, deadline = "0", time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                for number, kind, data in self._stream(path, last):
                    last, deadline = number or last, time.monotonic() + PATIENCE_SECONDS
                    yield kind, data
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise self._unreachable(error) from error
            time.sleep(RETRY_SECONDS)

    def _stream(self, path: str, last: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
        with self.client.stream("GET", path, headers={"Last-Event-ID": last}) as response:
            if response.status_code in GATEWAY_ERRORS:
                response.raise_for_status()
            if response.is_error:
                response.read()
                raise _error_of(response)
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif "data" in fields:
                    yield fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"])
                    fields = {}


def _answer_of(response: httpx.Response) -> Answer:
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise _no_coordinator("no JSON object in its answer")
    return Answer(body)


def _no_coordinator(why: str) -> LinkClosedError:
    return LinkClosedError(
        f"what answers at this address is no coordinator of this version ({why}); check it"
    )


def _error_of(response: httpx.Response) -> FedcohortError:
    try:
        body = response.json()
        code, message = str(body["code"]), received(body) or str(body["message"])
    except (ValueError, KeyError, TypeError):
        return LinkClosedError(_without_words(response))
    error = _BY_CODE.get(code, FedcohortError)(message)
    error.code = code
    return error


def _without_words(response: httpx.Response) -> str:
    """The meaning of an error without the coordinator's own message: it comes from a proxy before it."""
    said = f"HTTP {response.status_code} for {response.request.url.path}"
    if response.status_code in GATEWAY_ERRORS:
        return (
            f"the proxy or web server before the coordinator answers {said}: the coordinator behind it does "
            "not; it is down or starts, or the proxy's address of it is wrong; try again in a minute, then "
            "ask its operator"
        )
    if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return f"{said}: what stands before the coordinator takes no request of this size; ask its operator"
    return f"{said}, in no words of a coordinator; check the address, and what stands before it"


def open_rest(url: str, token: str | None, ca_file: str | Path | None) -> Rest:
    """A client for this address.

    Raises:
        ConfigError: the address is none, or plain text to another machine, or the CA file cannot be read.
    """
    parts = check_http(url, repr(url))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # A proxy that the environment names must not be asked for this very machine, least of all with a token.
    host = parts.hostname or ""
    proxy = None if is_loopback_name(host) else environment_proxy(parts.scheme, host)
    client = httpx.Client(
        base_url=url,
        headers=headers,
        auth=None if token else token_of_machine(url),
        verify=tls_towards(url, Path(ca_file) if ca_file else None),
        timeout=TIMEOUT_SECONDS,
        limits=httpx.Limits(max_connections=100, keepalive_expiry=IDLE_SECONDS),
        proxy=proxy,
        trust_env=False,
    )
    return Rest(client)

"""The coordinator's REST as the dashboard reads it: bounded in size and time, never trusted.

JSON knows neither NaN nor infinity (RFC 8259, section 6), yet some writers put them
there; here they become null, so that a browser can read what is passed on.
"""

import json
import math
import re
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import AuthenticationError, FedcohortError, LinkClosedError, NotFoundError
from fedcohort.local_token import token_of_machine
from fedcohort.researcher.rest import IDLE_SECONDS
from fedcohort.texts.look_up import carried, received
from fedcohort.wire.address import is_loopback_name, tls_towards

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
TAKE_SECONDS = 90.0
"""The first study that trains has the coordinator load TensorFlow before it says that it takes it."""
WHOLE_ANSWER_SECONDS = 30.0
SILENT_STREAM_SECONDS = 45.0
"""The coordinator sends a comment every 15 seconds; three missed ones mean that it is gone."""
MAX_ANSWER_BYTES = 32 * 2**20
MAX_MESSAGE_LENGTH = 2000
STUDY_ID = re.compile(r"[0-9a-f]{6,64}")

_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=8, keepalive_expiry=IDLE_SECONDS)
_STREAM_TIMEOUT = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, read=SILENT_STREAM_SECONDS)


@dataclass(frozen=True)
class UpstreamResponse:
    """The coordinator's response, as finite JSON."""

    status: int
    body: dict[str, object]

    @property
    def ok(self) -> bool:
        """Whether `body` is what was asked for, and not an error."""
        return self.status == 200


def study_path(study_id: str, what: str = "") -> str:
    """Where the coordinator's REST has a study, or `what` of it.

    Raises:
        NotFoundError: no study can be named like this.
    """
    if not STUDY_ID.fullmatch(study_id):
        raise NotFoundError("a study is named by its hash, or by the first six characters or more of it")
    return f"/api/studies/{study_id}{what}"


@dataclass(frozen=True)
class Upstream:
    """One coordinator, safe to use from many threads."""

    client: httpx.Client

    def get(self, path: str) -> UpstreamResponse:
        """Read one JSON object.

        Returns:
            the answer; an error that the coordinator explains, such as 404 or 409, is an answer too.
        Raises:
            LinkClosedError: the coordinator is away, too slow, or does not speak this language.
            AuthenticationError: it does not accept the dashboard's token.
        """
        return self._ask("GET", path)

    def _ask(self, method: str, path: str, sent: object = None) -> UpstreamResponse:
        patience = READ_SECONDS if method == "GET" else TAKE_SECONDS
        timeout = httpx.Timeout(patience, connect=CONNECT_SECONDS)
        with self._translated(), self.client.stream(method, path, json=sent, timeout=timeout) as response:
            _check(response)
            body = parse_finite(_read(response))
        if not isinstance(body, dict):
            raise self._gone("it sent something that is not JSON")
        return UpstreamResponse(response.status_code, body if response.is_success else _error_body(body))

    def post(self, path: str, body: object) -> UpstreamResponse:
        """Send a JSON object and read the one that comes back.

        Raises:
            LinkClosedError, AuthenticationError: as for `get`.
        """
        return self._ask("POST", path, body)

    def read(self, path: str) -> dict[str, object]:
        """The JSON object at a path; what the coordinator explains instead is an error here.

        Raises:
            NotFoundError: there is none, or not yet.
            LinkClosedError, AuthenticationError: as for `get`.
        """
        answer = self.get(path)
        if not answer.ok:
            raise NotFoundError(received(answer.body) or "")
        return answer.body

    def get_bytes(self, path: str) -> bytes | None:
        """Read what is not JSON; None when the coordinator has no such thing.

        Raises:
            LinkClosedError, AuthenticationError: as for `get`.
        """
        with self._translated(), self.client.stream("GET", path) as response:
            _check(response)
            return _read(response) if response.status_code == 200 else None

    def open_stream(self, path: str, after: int) -> httpx.Response:
        """Start reading server-sent events that follow number `after`; the caller closes the response.

        Raises:
            NotFoundError: there is no such study.
            LinkClosedError, AuthenticationError: as for `get`.
        """
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._translated():
            request = self.client.build_request("GET", path, headers=headers, timeout=_STREAM_TIMEOUT)
            response = self.client.send(request, stream=True)
            try:
                self._check_stream(response)
            except FedcohortError:
                response.close()
                raise
        return response

    def _check_stream(self, response: httpx.Response) -> None:
        _check(response)
        if response.status_code == 404:
            raise NotFoundError("the coordinator knows no such study")
        kind = response.headers.get("content-type", "")
        if response.status_code != 200 or not kind.startswith("text/event-stream"):
            raise self._gone("it sent something that is not an event stream")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise self._gone(type(error).__name__) from error

    def _gone(self, why: str) -> LinkClosedError:
        return LinkClosedError(
            "the coordinator at {address} does not answer ({why}); check the address, and that 'fedcohort "
            "coordinator' runs",
            address=self.client.base_url,
            why=why,
        )


def open_upstream(settings: Settings) -> Upstream:
    """A client for the settings' coordinator.

    Raises:
        ConfigError: the CA file cannot be read.
    """
    client = httpx.Client(
        base_url=settings.coordinator,
        headers={"Authorization": f"Bearer {settings.token}"} if settings.token else {},
        auth=None if settings.token else token_of_machine(settings.coordinator),
        verify=tls_towards(settings.coordinator, settings.ca_file),
        timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
        limits=_LIMITS,
        # A proxy that the environment names must not be asked for this very machine.
        trust_env=not is_loopback_name(urlsplit(settings.coordinator).hostname),
    )
    return Upstream(client)


def parse_finite(text: bytes | str) -> object:
    """JSON with every number that is not finite as None; None also for what is not JSON."""
    try:
        return json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, RecursionError):
        return None


def _finite(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _check(response: httpx.Response) -> None:
    if response.status_code in (401, 403):
        raise AuthenticationError(
            "the coordinator does not accept this dashboard's token; set FEDCOHORT_TOKEN to a valid one"
        )


def _read(response: httpx.Response) -> bytes:
    body, deadline = bytearray(), time.monotonic() + WHOLE_ANSWER_SECONDS
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES or time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer is too large or too slow", request=response.request)
    return bytes(body)


def _error_body(body: dict[str, object]) -> dict[str, object]:
    """A code and a text, neither longer than a page has room for; values beyond it are left out."""
    code, text = body.get("code"), received(body)
    known = {"message": ""} if text is None else carried(text)
    if len(json.dumps(known)) > 4 * MAX_MESSAGE_LENGTH:
        known = {"message": str(known["message"])[:MAX_MESSAGE_LENGTH]}
    return {"code": code[:64] if isinstance(code, str) else "internal", **known}

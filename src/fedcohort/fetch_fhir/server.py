"""Requests to a FHIR server: bounded in size and time, and repeated where the server asks for it.

A token is never sent where a redirect leads. Nothing of a request's address but the server's is in an error:
what stands behind it may name a patient.

Source: RFC 9110, 10.2.3 (Retry-After) and 15.4 (redirections); RFC 6585, 4 (429).
"""

import email.utils
import json
import re
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit

import httpx

from fedcohort.errors import AuthenticationError, ConfigError, DataError, LinkClosedError
from fedcohort.wire.address import check_http, is_loopback_name
from fedcohort.wire.proxy import environment_proxy, reason

PAGE_BYTES = 2**26
"""Of a page, a manifest or a token, unpacked."""
ANSWER_SECONDS = 600.0
"""For the whole of one."""
FILE_SECONDS = 24 * 3600.0
SILENT_SECONDS = 60.0
ATTEMPTS = 8
LONGEST_WAIT_SECONDS = 600.0
MAX_REDIRECTS = 3
MAX_URL = 16_384
BUSY = (429, 502, 503, 504)
GONE = (404, 410)
_REDIRECTS = (301, 302, 303, 307, 308)
_BLOCK = 2**16
_ISSUE = re.compile(r"[a-z][a-z-]{1,30}")
T = TypeVar("T")


class Authorization(Protocol):
    """Who asks."""

    def bearer(self) -> str:
        """The token that is good now."""
        ...

    def renew(self) -> bool:
        """Forget a token that was refused; False where there is no other."""
        ...


@dataclass(frozen=True)
class Answer:
    """What a server answered.

    Attributes:
        url: that it answered for; links are relative to it.
        headers: names in lower case.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self, label: str) -> dict[str, Any]:
        """Its JSON object.

        Raises:
            DataError: it is none.
        """
        try:
            read = json.loads(self.body)
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict):
            raise DataError(f"{label}: the server's answer is no JSON object; ask its operator")
        return read


@dataclass(frozen=True)
class Server:
    """A FHIR server.

    Attributes:
        base: its address, without a slash at the end.
        sleep: waits so many seconds.
    """

    base: str
    client: httpx.Client = field(repr=False)
    authorization: Authorization | None = field(default=None, repr=False)
    sleep: Callable[[float], object] = time.sleep

    def get(self, url: str, label: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET from the server's own origin, with the token.

        Args:
            label: what is asked for, as errors name it.
        Raises:
            DataError: the address is another origin's, or the answer is too large, or is a redirect.
            LinkClosedError: there was no answer, however often it was asked.
        """
        return self._own("GET", url, label, headers or {})

    def delete(self, url: str, label: str) -> Answer:
        """DELETE at the server's own origin, with the token."""
        return self._own("DELETE", url, label, {})

    def _own(self, method: str, url: str, label: str, headers: Mapping[str, str]) -> Answer:
        if not is_same_origin(url, self.base):
            raise DataError(f"{label}: the server refers to another server; ask its operator")

        def take(response: httpx.Response) -> Answer:
            if response.status_code in _REDIRECTS:
                raise DataError(
                    f"{label}: the server redirects to elsewhere, where no token goes; "
                    "give the address that it redirects to by --from"
                )
            body = b"".join(unpacked(response, PAGE_BYTES, ANSWER_SECONDS, label))
            return Answer(url, response.status_code, dict(response.headers), body)

        return self.ask(method, url, label, {"accept": "application/fhir+json", **headers}, take)

    def ask(
        self,
        method: str,
        url: str,
        label: str,
        headers: Mapping[str, str],
        take: Callable[[httpx.Response], T],
        *,
        with_token: bool = True,
    ) -> T:
        """Ask until the server is not busy, and take its answer; a refused token is renewed once."""
        renewed, why = self.authorization is None or not with_token, ""
        for attempt in range(ATTEMPTS):
            wait = min(2.0**attempt, LONGEST_WAIT_SECONDS)
            sent = {"accept-encoding": "gzip", **headers}
            if with_token and self.authorization is not None:
                sent["authorization"] = f"Bearer {self.authorization.bearer()}"
            try:
                with self.client.stream(method, url, headers=sent) as response:
                    if response.status_code == 401 and not renewed and self.authorization is not None:
                        renewed = True
                        if self.authorization.renew():
                            continue
                    if response.status_code not in BUSY:
                        return take(response)
                    why = f"it answers {response.status_code}"
                    wait = retry_after(response.headers.get("retry-after"), wait)
            except httpx.TransportError as error:
                why = reason(error)
            except httpx.InvalidURL:
                raise DataError(
                    f"{label}: the server refers to what is no address; ask its operator"
                ) from None
            if attempt + 1 < ATTEMPTS:
                self.sleep(wait)
        raise LinkClosedError(f"{label}: {self.base}: no answer after {ATTEMPTS} attempts; {why}")

    def chunks(
        self, url: str, label: str, limit: int, write: Callable[[bytes], object], *, with_token: bool
    ) -> None:
        """Download a file piece by piece, following redirects, on which no token goes.

        Args:
            write: takes a piece; called with nothing where the download begins anew.
        Raises:
            DataError: it is larger than the limit, or is not there.
        """
        for _ in range(MAX_REDIRECTS + 1):
            check_http(url, f"{label}: the address of the file")

            def take(response: httpx.Response) -> str | None:
                if response.status_code in _REDIRECTS:
                    return str(response.headers.get("location", ""))
                check_status(response.status_code, label, b"")
                write(b"")
                for piece in unpacked(response, limit, FILE_SECONDS, label):
                    write(piece)
                return None

            headers = {"accept": "application/fhir+ndjson"}
            location = self.ask("GET", url, label, headers, take, with_token=with_token)
            if location is None:
                return
            url, with_token = joined(url, location, label), False
        raise DataError(f"{label}: more than {MAX_REDIRECTS} redirects; ask the server's operator")


def absent_types(server: Server, types: Sequence[str]) -> tuple[str, ...]:
    """Those of some types that the server says it does not have; none where it does not say what it has."""
    answer = server.get(f"{server.base}/metadata", "metadata")
    rest = answer.json("metadata").get("rest") if answer.status == 200 else None
    offered = {
        resource.get("type")
        for part in (rest if isinstance(rest, list) else [])
        if isinstance(part, dict) and isinstance(part.get("resource"), list)
        for resource in part["resource"]
        if isinstance(resource, dict) and isinstance(resource.get("type"), str)
    }
    return tuple(name for name in types if offered and name not in offered)


def check_base(base: str) -> None:
    """Refuse an address that would carry patients or a token in plain text, or a secret in itself.

    Raises:
        ConfigError: and the remedy.
    """
    parts = check_http(base, f"--from {without_secrets(base)}")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(
            "--from: give the address alone; a token belongs into a file, by --token or --smart"
        )


def http_client(base: str, tls: ssl.SSLContext) -> httpx.Client:
    """A client that follows nothing by itself, and takes proxies from the environment alone."""
    parts = urlsplit(base)
    return httpx.Client(
        verify=tls,
        proxy=environment_proxy(parts.scheme, parts.hostname or ""),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(SILENT_SECONDS, connect=30.0),
    )


def without_secrets(url: str) -> str:
    """An address for an error: without user, password and query."""
    return url.partition("?")[0].rpartition("@")[2][:200]


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port.

    Raises:
        ValueError: it is no address.
    """
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").lower(),
        parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0),
    )


def is_same_origin(url: str, base: str) -> bool:
    """Whether an address is at the server itself; one with a user or password never is."""
    try:
        return origin(url) == origin(base) and "@" not in urlsplit(url).netloc
    except ValueError:
        return False


def check_not_here(url: str, base: str, label: str) -> None:
    """Refuse an address of this machine that a server elsewhere names: it would have us ask our own services.

    Raises:
        DataError: it is one.
    """
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None  # is told as no address when it is asked
    if is_loopback_name(host) and not is_loopback_name(urlsplit(base).hostname):
        raise DataError(f"{label}: the server refers to this machine; ask its operator")


def joined(url: str, link: object, label: str) -> str:
    """A link of an answer, relative or not.

    Raises:
        DataError: it is no address.
    """
    if not isinstance(link, str) or not link or len(link) > MAX_URL:
        raise DataError(f"{label}: the server refers to what is no address; ask its operator")
    try:
        return urljoin(url, link)
    except ValueError:
        raise DataError(f"{label}: the server refers to what is no address; ask its operator") from None


def retry_after(value: str | None, otherwise: float, now: float | None = None) -> float:
    """Seconds to wait, of a number of them or a date; bounded, and `otherwise` where there is neither."""
    seconds = otherwise
    if value is not None and value.strip().isdecimal():
        seconds = float(value.strip()[:9])
    elif value is not None:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - (
                time.time() if now is None else now
            )
        except (ValueError, OverflowError):
            seconds = otherwise
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def check_status(status: int, label: str, body: bytes) -> None:
    """Refuse an answer that is an error.

    Raises:
        AuthenticationError: the server does not take who asks.
        DataError: anything else; with the code of its OperationOutcome, and none of its texts.
    """
    if status in (401, 403):
        raise AuthenticationError(
            f"{label}: the server does not let this client read it ({status}); "
            "check client, key and scope with its operator, or leave the type out by --type"
        )
    if status >= 400 or status < 200:
        raise DataError(f"{label}: the server answers {status}{_issue(body)}; ask its operator")


def _issue(body: bytes) -> str:
    try:
        code = json.loads(body)["issue"][0]["code"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return ""
    return f" ({code})" if isinstance(code, str) and _ISSUE.fullmatch(code) else ""


def unpacked(response: httpx.Response, limit: int, seconds: float, label: str) -> Iterator[bytes]:
    """A body's pieces, unpacked within bounds of size and time.

    Raises:
        DataError: it is larger, or packed in a way that was not asked for, or is broken.
        LinkClosedError: it takes longer.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise DataError(
            f"{label}: the server packs its answer in a way that was not asked for; ask its operator"
        )
    unpacking = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    deadline, size = time.monotonic() + seconds, 0
    for raw in response.iter_raw(_BLOCK):
        for piece in _inflated(raw, unpacking, label) if unpacking else (raw,):
            size += len(piece)
            if size > limit:
                raise DataError(f"{label}: is larger than {limit:,} bytes; ask for less by --count or --type")
            yield piece
        if time.monotonic() > deadline:
            raise LinkClosedError(f"{label}: takes longer than {seconds:g} s; ask for less by --count")
    if unpacking is not None and not unpacking.eof:
        raise DataError(f"{label}: the server's packed answer is cut off; fetch again")


def _inflated(raw: bytes, unpacking: "zlib._Decompress", label: str) -> Iterator[bytes]:
    """At most a block at a time, so that no piece is larger than one, however well it was packed."""
    try:
        while raw and not unpacking.eof:
            yield unpacking.decompress(raw, _BLOCK)
            raw = unpacking.unconsumed_tail
    except zlib.error:
        raise DataError(f"{label}: the server's packed answer is broken; fetch again") from None

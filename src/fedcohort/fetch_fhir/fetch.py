"""One run of `fedcohort data fetch-fhir`: what is asked for, and that an interrupted run is gone on with."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fedcohort.errors import ConfigError
from fedcohort.fetch_fhir.export import export
from fedcohort.fetch_fhir.fetched import Fetched
from fedcohort.fetch_fhir.inbox import STATE, Inbox
from fedcohort.fetch_fhir.search import search
from fedcohort.fetch_fhir.server import Authorization, Server, check_base, http_client
from fedcohort.fetch_fhir.smart import SmartTokens, read_smart, read_token
from fedcohort.wire.address import client_tls

LAST = "last"
MAX_COUNT = 10_000
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?", re.ASCII)
_TYPE = re.compile(r"[A-Z][A-Za-z]{2,40}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9.-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Wish:
    """What is asked of a server.

    Attributes:
        types: of resources.
        since: what was written since; `last`: since the run before; None: everything.
        is_export: by Bulk Data, and not by search.
        group: id of a Group whose members are exported.
        count: resources a page.
    Raises:
        ConfigError: one of them is no such thing.
    """

    types: tuple[str, ...]
    since: str | None = None
    is_export: bool = False
    group: str | None = None
    count: int = 500

    def __post_init__(self) -> None:
        """Refuse what would be another request than the one that is meant."""
        for name in self.types:
            if not _TYPE.fullmatch(name):
                raise ConfigError(f"--type {name[:80]}: write a type of FHIR R4, such as Observation")
        if self.since not in (None, LAST) and not _INSTANT.fullmatch(self.since or ""):
            raise ConfigError("--since: write a day, a time such as 2026-01-31T00:00:00Z, or last")
        if self.group is not None and not (self.is_export and _ID.fullmatch(self.group)):
            raise ConfigError("--group: write the id of a Group, and --export")


def fetch(server: Server, inbox: Inbox, wish: Wish) -> Fetched:
    """Read a server into an inbox, or go on with what was interrupted.

    Raises:
        ConfigError: the inbox is another server's, or an interrupted run asked for something else.
        AuthenticationError, DataError, LinkClosedError: the server's answer; what is there stays.
        StoreError: the inbox cannot be written.
    """
    known = inbox.get("base")
    if known not in (None, server.base):
        raise ConfigError(f"{inbox.folder}: is the inbox of another server; name another folder by --into")
    since = wish.since
    if since == LAST:
        since = inbox.get("last")
        if since is None:
            raise ConfigError(
                f"{inbox.folder}: no run has ended here; leave --since out, to fetch everything"
            )
    asked = {**asdict(wish), "types": list(wish.types), "since": since}
    interrupted = inbox.get("asked")
    if interrupted not in (None, asked):
        raise ConfigError(
            f"{inbox.folder}: an interrupted run asked for something else; repeat it with its options, "
            f"or delete {STATE} there, to begin anew"
        )
    inbox.put(base=server.base, asked=asked)
    if wish.is_export:
        return export(server, inbox, wish.types, since, wish.group)
    return search(server, inbox, wish.types, since, wish.count)


@contextmanager
def connect(
    base: str,
    ca_file: Path | None,
    smart: Path | None,
    token: Path | None,
    sleep: Callable[[float], object] = time.sleep,
) -> Iterator[Server]:
    """A server, and who asks: a registered client, a token in a file, or nobody.

    Raises:
        ConfigError: the address or a file is wrong, or both are given.
        KeyFileError: others can read a secret.
    """
    if smart is not None and token is not None:
        raise ConfigError("--smart, --token: give one of them")
    check_base(base)
    tls = client_tls(ca_file)
    authorization: Authorization | None = None
    with ExitStack() as stack:
        if smart is not None:
            client = read_smart(smart)
            tokens = stack.enter_context(http_client(base, tls))
            authorization = SmartTokens(base.rstrip("/"), client, tokens)
        elif token is not None:
            authorization = read_token(token)
        client_of_pages = stack.enter_context(http_client(base, tls))
        yield Server(base.rstrip("/"), client_of_pages, authorization, sleep)


def default_types(read: Sequence[str]) -> tuple[str, ...]:
    """The types that views read, after Medication, to which requests refer."""
    return ("Medication", *sorted(read))

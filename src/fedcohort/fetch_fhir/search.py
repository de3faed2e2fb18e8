"""A server read by search: each type page by page, along `next` links that are taken as they come.

Source: FHIR R4, "Search", 3.1.1.5.1 (paging), and "Bundle", links.
"""

import email.utils
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode

from fedcohort.errors import DataError
from fedcohort.fetch_fhir.fetched import Fetched
from fedcohort.fetch_fhir.inbox import Inbox
from fedcohort.fetch_fhir.server import (
    GONE,
    Answer,
    Server,
    absent_types,
    check_status,
    is_same_origin,
    joined,
)

MAX_PAGES = 200_000
"""Of one type."""
OVERLAP_SECONDS = 300
"""What was written while a run began is read again by the next: the same twice does no harm."""


def search(server: Server, inbox: Inbox, types: Sequence[str], since: str | None, count: int) -> Fetched:
    """Read every resource of these types, or those written since; goes on where it was interrupted.

    Args:
        count: resources a page, as the server is asked for.
    Raises:
        AuthenticationError, DataError, LinkClosedError: the server's answer; what is there stays.
        StoreError: the inbox cannot be written.
    """
    run = inbox.get("run") or 1
    absent = absent_types(server, types)
    done: list[str] = inbox.get("types_done") or []
    for name in types:
        if name not in done and name not in absent:
            _type(server, inbox, name, _first(server, name, since, count), run)
            done.append(name)
            inbox.put(types_done=done, next=None)
    pages, began = inbox.get("pages") or 0, inbox.get("began")
    inbox.put(last=began, run=run + 1, types_done=None, next=None, pages=None, began=None, asked=None)
    return Fetched(pages, absent)


def _first(server: Server, name: str, since: str | None, count: int) -> str:
    asked = {"_count": str(count)} | ({"_lastUpdated": f"ge{since}"} if since else {})
    return f"{server.base}/{name}?{urlencode(asked)}"


def _type(server: Server, inbox: Inbox, name: str, url: str, run: int) -> None:
    """All pages of a type; the next one is known on the disk before this one is asked for."""
    number = 1
    if (noted := inbox.get("next")) is not None:
        url, number = noted
    seen: set[int] = set()
    while True:
        label = f"{name}, page {number}"
        if number > MAX_PAGES or hash(url) in seen:
            raise DataError(f"{label}: the server's pages lead in a circle; ask its operator")
        seen.add(hash(url))
        inbox.room()
        answer = server.get(url, label)
        if answer.status in GONE and noted is not None:
            inbox.put(next=None)
            raise DataError(
                f"{label}: the server keeps this page no longer; fetch again, from {name}'s first page"
            )
        check_status(answer.status, label, answer.body)
        following, has_entries = _page(answer, server, label)
        if has_entries:
            inbox.write(f"{run:04}-{name}-{number:06}.json", answer.body)
        number += 1
        pages = (inbox.get("pages") or 0) + has_entries
        began = inbox.get("began") or before(answer)
        inbox.put(pages=pages, began=began, next=None if following is None else (following, number))
        if following is None:
            return
        url = following


def _page(answer: Answer, server: Server, label: str) -> tuple[str | None, bool]:
    """The address behind a page, and whether anything is on it.

    Raises:
        DataError: it is no Bundle, or leads to another server.
    """
    page = answer.json(label)
    if page.get("resourceType") != "Bundle":
        raise DataError(
            f"{label}: the server's answer is no Bundle; give the address of its FHIR R4 by --from"
        )
    links = page.get("link")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("relation") == "next":
            url = joined(answer.url, link.get("url"), label)
            if not is_same_origin(url, server.base):
                raise DataError(
                    f"{label}: the next page is at another address than --from; "
                    "give the address by which the server calls itself"
                )
            return url, bool(page.get("entry"))
    return None, bool(page.get("entry"))


def before(answer: Answer) -> str:
    """A time before the server answered, by its own clock."""
    try:
        seconds = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        seconds = time.time()
    return datetime.fromtimestamp(seconds - OVERLAP_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

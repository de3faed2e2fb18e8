"""A server read by Bulk Data: it prepares files, which are asked after, downloaded, and deleted there.

Source: HL7 FHIR Bulk Data Access 2.0 (kick-off, status, manifest, delete).
"""

import email.utils
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fedcohort.errors import DataError
from fedcohort.fetch_fhir.fetched import Fetched
from fedcohort.fetch_fhir.inbox import Inbox
from fedcohort.fetch_fhir.server import (
    GONE,
    Server,
    absent_types,
    check_not_here,
    check_status,
    is_same_origin,
    joined,
    retry_after,
)

POLL_SECONDS = 10.0
WAIT_SECONDS = 7 * 24 * 3600.0
"""For the server to prepare an export."""
MAX_FILES = 100_000
_KINDS = (("output", ""), ("deleted", "deleted"), ("error", "error"))
"""Lists of a manifest, and how their files are called."""


@dataclass(frozen=True)
class ExportFile:
    """A file of a manifest, and its name in the inbox."""

    name: str
    url: str
    label: str
    count: int | None


def export(
    server: Server, inbox: Inbox, types: Sequence[str], since: str | None, group: str | None = None
) -> Fetched:
    """Have the server export these types, and download what it prepared; goes on where it was interrupted.

    Args:
        group: id of a Group, where only its members' resources are wanted.
    Raises:
        AuthenticationError, DataError, LinkClosedError: the server's answer; what is there stays.
        StoreError: the inbox cannot be written.
    """
    status_url = inbox.get("status_url") or _begun(server, inbox, types, since, group)
    manifest = inbox.get("manifest") or _manifest(server, inbox, status_url)
    run = inbox.get("run") or 1
    files = list(files_of(manifest, run, status_url))
    done = set(inbox.get("files_done") or [])
    for file in files:
        if file.name not in done:
            _download(server, inbox, file, manifest)
            done.add(file.name)
            inbox.put(files_done=sorted(done))
    server.delete(status_url, "export")  # the server may keep what it exported; it has been read either way
    written = manifest.get("transactionTime")
    absent = tuple(inbox.get("absent") or ())
    _forget(inbox, last=written if isinstance(written, str) else None, run=run + 1)
    errors = [file for file in files if "-error-" in file.name]
    return Fetched(len(files) - len(errors), absent, len(errors))


def _forget(inbox: Inbox, **values: object) -> None:
    inbox.put(status_url=None, absent=None, manifest=None, files_done=None, asked=None, began=None, **values)


def _begun(server: Server, inbox: Inbox, types: Sequence[str], since: str | None, group: str | None) -> str:
    """Kick the export off; the address of its status is on the disk when this returns."""
    absent = absent_types(server, types)
    wanted = [name for name in types if name not in absent]
    asked = {"_outputFormat": "application/fhir+ndjson", "_type": ",".join(wanted)}
    asked |= {"_since": since} if since else {}
    place = f"/Group/{quote(group, safe='')}" if group else "/Patient"
    answer = server.get(
        f"{server.base}{place}/$export?{urlencode(asked)}", "export", {"prefer": "respond-async"}
    )
    check_status(answer.status, "export", answer.body)
    if answer.status != 202:
        raise DataError(
            f"export: the server answers {answer.status} and not 202; leave --export out, to search"
        )
    url = joined(answer.url, answer.headers.get("content-location"), "export")
    inbox.put(status_url=url, absent=absent)
    return url


def _manifest(server: Server, inbox: Inbox, url: str) -> Mapping[str, Any]:
    """Ask after the export until it is there.

    Raises:
        DataError: it failed, is gone, or takes longer than a week.
    """
    waited = 0.0
    while True:
        answer = server.get(url, "export status", {"accept": "application/json"})
        if answer.status != 202:
            break
        wait = max(retry_after(answer.headers.get("retry-after"), POLL_SECONDS), 1.0)
        waited += wait
        if waited > WAIT_SECONDS:
            raise DataError("export: the server takes longer than a week; ask its operator")
        server.sleep(wait)
    if answer.status in GONE:
        raise _expired(inbox)
    if answer.status >= 400:
        _forget(inbox)
    check_status(answer.status, "export status", answer.body)
    manifest = answer.json("export manifest")
    if not isinstance(manifest.get("output"), list):
        raise DataError("export manifest: lists no output; ask the server's operator")
    manifest["expires"] = answer.headers.get("expires")
    inbox.put(manifest=manifest)
    return manifest


def _expired(inbox: Inbox) -> DataError:
    """The next run begins a new export; what was downloaded stays."""
    _forget(inbox)
    return DataError("export: the server keeps it no longer; fetch again, which begins a new one")


def files_of(manifest: Mapping[str, Any], run: int, status_url: str) -> Iterator[ExportFile]:
    """The files of a manifest: what there is, what was deleted, and what failed.

    Raises:
        DataError: a list or an entry is none.
    """
    number = 0
    for key, kind in _KINDS:
        entries = manifest.get(key) or []
        if not isinstance(entries, list):
            raise DataError(f"export manifest: {key} is no list; ask the server's operator")
        for entry in entries:
            number += 1
            if not isinstance(entry, dict) or number > MAX_FILES:
                raise DataError(f"export manifest: {key}: more than is read, or no file; ask its operator")
            named = kind or str(entry.get("type"))
            word = named if named.isascii() and named.isalpha() and len(named) < 64 else "Resource"
            count = entry.get("count")
            url = joined(status_url, entry.get("url"), "export manifest")
            # 'deleted' and 'error' sort behind types, so that an import reads them last.
            name = f"{run:04}-{word}-{number:06}.ndjson"
            yield ExportFile(name, url, f"{word}, file {number}", count if type(count) is int else None)


def _download(server: Server, inbox: Inbox, file: ExportFile, manifest: Mapping[str, Any]) -> None:
    """One file, whole; the token goes with it to its own server, and to another where the manifest says so.

    Raises:
        DataError: it is gone, or has another number of resources than the manifest says.
    """
    if _has_expired(manifest.get("expires")):
        raise _expired(inbox)
    check_not_here(file.url, server.base, file.label)
    needs_token = manifest.get("requiresAccessToken") is True or is_same_origin(file.url, server.base)
    lines = 0
    with inbox.writing(file.name) as out:

        def write(piece: bytes) -> None:
            nonlocal lines
            if not piece:  # from the beginning, where an attempt broke off
                out.seek(0)
                out.truncate()
                lines = 0
            out.write(piece)
            lines += piece.count(b"\n")

        server.chunks(file.url, file.label, inbox.room(), write, with_token=needs_token)
        if file.count is not None and lines not in (file.count, file.count - 1):
            raise DataError(f"{file.label}: has not as many resources as the manifest says; fetch again")


def _has_expired(expires: object) -> bool:
    try:
        return email.utils.parsedate_to_datetime(str(expires)).timestamp() < time.time()
    except (ValueError, TypeError):
        return False

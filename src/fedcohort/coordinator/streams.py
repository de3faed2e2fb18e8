"""Server-sent events: what happened to a study or to the federation, resumable after a break.

WHATWG HTML, section 9.2, "Server-sent events".
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager

from fedcohort.coordinator.service import Service
from fedcohort.coordinator.study_list import all_studies
from fedcohort.errors import StoreError

log = logging.getLogger("fedcohort.coordinator")

KEEP_ALIVE_SECONDS = 15.0
PAUSE_SECONDS = 0.05
"""Between two looks at the store: a person sees no more, and fast rounds spend their time on rounds."""
FEDERATION_PAUSE_SECONDS = 0.25
"""The same of all sites and studies, who change seldom; every round of any study would ask for a look."""


def event(kind: str, data: Mapping[str, object], number: int | None = None) -> str:
    """One event in the stream's own notation."""
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(data)}\n\n"


async def study_stream(service: Service, study_id: str, after: int) -> AsyncIterator[str]:
    """Everything since update number `after`, then whatever comes."""
    with _ended_without_store(f"study {study_id:.12}"):
        while True:
            change = service.changes.event
            if updates := service.store.updates(study_id, after):
                after = updates[-1].sequence
                yield "".join(event(update.kind, update.data, update.sequence) for update in updates)
            await asyncio.sleep(PAUSE_SECONDS)
            if not await _changed(change):
                yield ": still here\n\n"


async def federation_stream(service: Service) -> AsyncIterator[str]:
    """Sites that come and go, and studies that move on; first everything as it is."""
    sent: dict[str, str] = {}
    with _ended_without_store("the federation"):
        while True:
            change = service.changes.event
            for key, (kind, data) in _snapshot(service).items():
                text = json.dumps(data)
                if sent.get(key) != text:
                    sent[key] = text
                    yield event(kind, data)
            await asyncio.sleep(FEDERATION_PAUSE_SECONDS)
            if not await _changed(change):
                yield ": still here\n\n"


@contextmanager
def _ended_without_store(what: str) -> Iterator[None]:
    """A stream ends when the database fails; whoever follows it asks again, and goes on from there."""
    try:
        yield
    except StoreError as error:
        log.warning("the stream of %s has ended: %s", what, error)


def _snapshot(service: Service) -> dict[str, tuple[str, dict[str, object]]]:
    snapshot: dict[str, tuple[str, dict[str, object]]] = {}
    for site, row in service.members.sites().items():
        joined = row["public_key"] is not None
        state = "connected" if site in service.carrier.present else "lost" if joined else "invited"
        snapshot[f"site {site}"] = ("site", {"id": site, "state": state})
    for study in all_studies(service):
        data = {"id": study["id"], "state": study["state"], "name": study["name"]}
        snapshot[f"study {study['id']}"] = ("study", data)
    return snapshot


async def _changed(change: asyncio.Event) -> bool:
    try:
        # Python 3.11's wait_for loses a cancellation that comes together with the change.
        async with asyncio.timeout(KEEP_ALIVE_SECONDS):
            await change.wait()
    except TimeoutError:
        return False
    return True

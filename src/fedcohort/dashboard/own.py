"""Whose study it is: a researcher sees and cancels the studies that the coordinator has under the same name.

The check stands before every route that names a study, so that a route which is added is behind it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import request

from fedcohort.dashboard.access import Visitor, visitor
from fedcohort.dashboard.upstream import STUDY_ID, Upstream
from fedcohort.errors import FedcohortError, NotFoundError

CHECK_SECONDS = 3.0
"""How often a stream asks whether its reader's session still stands."""

Admits = Callable[[str, dict[str, Any]], bool]


def only_own(upstream: Upstream) -> None:
    """Answer as if there were no such study where it is somebody else's.

    Raises:
        NotFoundError: it is, or there is none.
    """
    asking = visitor()
    study = (request.view_args or {}).get("study_id") or request.args.get("study")
    if study is None or asking is None or sees_all(asking):
        return
    if not _is_own(upstream, asking, study):
        raise NotFoundError("there is no such study of yours")


def sees_all(asking: Visitor) -> bool:
    """Whether other people's studies are shown, too."""
    return asking.role != "researcher"


def own_studies(asking: Visitor | None, body: dict[str, object]) -> dict[str, object]:
    """The coordinator's list of studies, as far as it is for this visitor."""
    if asking is None or sees_all(asking):
        return body
    given = body.get("studies")
    rows = given if isinstance(given, list) else []
    return {
        "studies": [row for row in rows if isinstance(row, dict) and row.get("researcher") == asking.name]
    }


def own_events(upstream: Upstream, asking: Visitor | None) -> Admits | None:
    """Which of the federation's events are for this visitor; None when all are."""
    if asking is None or sees_all(asking):
        return None
    known: dict[str, bool] = {}

    def admits(kind: str, data: dict[str, Any]) -> bool:
        if kind != "study":
            return True
        study = str(data.get("id", ""))
        if study not in known:
            try:
                known[study] = _is_own(upstream, asking, study)
            except FedcohortError:
                return False
        return known[study]

    return admits


def while_allowed(events: Iterator[bytes], allowed: Callable[[], bool]) -> Iterator[bytes]:
    """A stream that ends with the session of whoever reads it, at its next event or pulse."""
    asked = time.monotonic()
    for event in events:
        if time.monotonic() - asked >= CHECK_SECONDS:
            if not allowed():
                return
            asked = time.monotonic()
        yield event


def _is_own(upstream: Upstream, asking: Visitor, study: str) -> bool:
    if not STUDY_ID.fullmatch(study):
        return False
    answer = upstream.get(f"/api/studies/{study}")
    return answer.ok and answer.body.get("researcher") == asking.name

"""Ownership of studies: a researcher sees and cancels only studies of their own.

These are the studies that the coordinator has under the account's name, and those that the person has
handed in by this page, which the coordinator knows by the page's token only. The check runs before every
route that names a study, new routes included.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from flask import request
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from fedcohort.dashboard.federation.upstream import STUDY_ID, Upstream
from fedcohort.dashboard.login import people_tables as tables
from fedcohort.dashboard.login.access import AccessControl, Visitor, visitor
from fedcohort.dashboard.login.people import fold
from fedcohort.dashboard.login.roles import PAGES
from fedcohort.errors import FedcohortError, NotFoundError

CHECK_SECONDS = 3.0
"""How often a stream checks that its reader's session has not ended."""

Admits = Callable[[str, dict[str, Any]], bool]


def check_ownership(upstream: Upstream, access: AccessControl) -> None:
    """Refuse somebody else's study as if it did not exist.

    Raises:
        NotFoundError: it is somebody else's, or does not exist.
    """
    asking = visitor()
    if asking is None or _sees_all(asking) or request.url_rule is None or request.url_rule.rule in PAGES:
        return  # a page itself holds nothing of a study; its scripts ask for that
    study = (request.view_args or {}).get("study_id") or request.args.get("study")
    if study is None:
        return
    if not _is_own(upstream, access, asking, study):
        raise NotFoundError("there is no such study of yours")


def own_studies(access: AccessControl, body: dict[str, object]) -> dict[str, object]:
    """The part of the coordinator's list of studies that this visitor may see."""
    asking = visitor()
    if asking is None or _sees_all(asking):
        return body
    given, submitted = body.get("studies"), _submitted(access, asking)
    rows = given if isinstance(given, list) else []
    return {"studies": [row for row in rows if isinstance(row, dict) and _owns(asking, submitted, row)]}


def own_events(upstream: Upstream, access: AccessControl) -> Admits | None:
    """The filter of the federation's events for this visitor; None when all are allowed."""
    asking = visitor()
    if asking is None or _sees_all(asking):
        return None
    owned: dict[str, bool] = {}

    def admits(kind: str, data: dict[str, Any]) -> bool:
        if kind != "study":
            return True
        study = str(data.get("id", ""))
        if study not in owned:
            try:
                owned[study] = _is_own(upstream, access, asking, study)
            except FedcohortError:
                return False
        return owned[study]

    return admits


def while_allowed(events: Iterator[bytes], allowed: Callable[[], bool]) -> Iterator[bytes]:
    """A stream that ends with its reader's session, at the next event or pulse."""
    asked = time.monotonic()
    for event in events:
        if time.monotonic() - asked >= CHECK_SECONDS:
            if not allowed():
                return
            asked = time.monotonic()
        yield event


def claim(access: AccessControl, study: str) -> None:
    """Record who has handed a new study in by this page; the first stays its owner."""
    asking = visitor()
    if access.people is None or asking is None or asking.session is None:
        return
    row = {"study": study, "folded": fold(asking.name)}
    with access.people.database.transaction() as connection:
        connection.execute(insert(tables.submitted).on_conflict_do_nothing(), row)
        access.people.log.append(connection, "study-submitted", study, {"name": asking.name})


def _sees_all(asking: Visitor) -> bool:
    return asking.role != "researcher"


def _is_own(upstream: Upstream, access: AccessControl, asking: Visitor, study: str) -> bool:
    if not STUDY_ID.fullmatch(study):
        return False
    answer = upstream.get(f"/api/studies/{study}")
    return answer.ok and _owns(asking, _submitted(access, asking), answer.body)


def _submitted(access: AccessControl, asking: Visitor) -> set[str]:
    """The studies that this person has handed in by this page."""
    if access.people is None:
        return set()
    mine = tables.submitted.c.folded == fold(asking.name)
    with access.people.database.transaction() as connection:
        return set(connection.execute(select(tables.submitted.c.study).where(mine)).scalars())


def _owns(asking: Visitor, submitted: set[str], study: dict[str, object]) -> bool:
    return study.get("researcher") == asking.name or study.get("id") in submitted

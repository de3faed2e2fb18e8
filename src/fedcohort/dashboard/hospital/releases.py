"""The releases of a hospital, from its event log: as rows of the page and as a CSV file.

The cost of a release is its epsilon by itself, at the study's delta; a study's releases together cost
what the ledger says, which is less than their sum.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from fedcohort.node.ledger import released
from fedcohort.node.records import Cost
from fedcohort.node.store import SqlNodeStore
from fedcohort.privacy.accounting import epsilon
from fedcohort.study import parse_study

RELEASE_KINDS = {"release": "contribution", "help": "help", "charged": "charged", "study-key": "key"}
"""By kind in the event log, the kind of release: bytes that left, or were paid for."""
EXACT = "exact"
"""The cost of a release without noise: no epsilon bounds it."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""The beginnings of cells that a spreadsheet would execute (OWASP, "CSV Injection")."""

Detail = Mapping[str, Any]


@dataclass(frozen=True)
class ReleaseRow:
    """One release, by its entry of the event log.

    Attributes:
        at: UTC, ISO 8601.
        cost: epsilon of this release by itself, `exact`, or 0 where it reveals nothing that was not paid for.
        digest: SHA-256 of what was released: of a contribution the integers as they were before they
            were hidden, and so the same however often it was sealed.
        entry, hash: of the event log.
    """

    at: str
    kind: str
    study: str
    name: str
    round: str
    bytes: str
    cost: str
    digest: str
    entry: str
    hash: str


def list_releases(store: SqlNodeStore, newest: int | None = None) -> list[ReleaseRow]:
    """Releases, the newest first; `newest` is how many, None means all."""
    proposals = store.proposals()
    studies = {proposal.study_hash: parse_study(proposal.study) for proposal in proposals}
    deltas = {cost.study_hash: cost.delta for cost in store.costs()}
    events = store.events(RELEASE_KINDS, newest=newest)
    before: dict[str, str] = {}
    if newest is not None and events:
        shown = {str(event["study_hash"]) for event in events}
        before = store.releases_before(int(str(events[0]["sequence"])), RELEASE_KINDS, shown)
    rows = []
    for event in events:
        kind, hash_, detail = (
            RELEASE_KINDS[str(event["kind"])],
            str(event["study_hash"]),
            store.read_detail(event),
        )
        earlier = before.get(hash_, "[]")
        before[hash_] = str(detail.get("releases", earlier))
        study = studies.get(hash_)
        private = study.privacy is not None if study else hash_ in deltas
        cost = _cost(kind, detail, earlier, deltas.get(hash_, 0.0), private=private)
        rows.append(_row(event, kind, detail, study.name if study else "", cost))
    return rows[::-1]


def _row(event: Detail, kind: str, detail: Detail, name: str, cost: str) -> ReleaseRow:
    at = datetime.fromtimestamp(int(str(event["at_ms"])) / 1000, UTC).isoformat(timespec="seconds")
    hash_ = event["hash"].hex() if isinstance(event["hash"], bytes) else ""
    number, size, digest = (str(detail.get(key, "")) for key in ("round", "bytes", "digest"))
    return ReleaseRow(
        at, kind, str(event["study_hash"]), name, number, size, cost, digest, str(event["sequence"]), hash_
    )


def _cost(kind: str, detail: Detail, before: str, delta: float, *, private: bool) -> str:
    if kind in ("help", "key"):
        return "0"
    if not private:
        return EXACT
    return f"{_alone(before, str(detail.get('releases', before)), delta):.6g}"


def _alone(before: str, after: str, delta: float) -> float:
    """The epsilon of the releases that were added to a study's."""
    return _epsilon(json.dumps(list(_added(json.loads(before), json.loads(after)))), delta)


def _added(before: list[Detail], after: list[Detail]) -> Iterator[Detail]:
    """The releases that were added; equal ones are counted together in both."""
    counted = {_kind(release): int(release.get("count", 1)) for release in before}
    for release in after:
        more = int(release.get("count", 1)) - counted.get(_kind(release), 0)
        if more > 0:
            yield {**release, "count": more}


def _kind(release: Detail) -> str:
    return json.dumps({**release, "count": 1}, sort_keys=True)


@lru_cache(maxsize=1024)
def _epsilon(releases: str, delta: float) -> float:
    """Computed once for equal releases, of which a study may have thousands."""
    decoded = released(Cost("", "", delta, releases))
    return epsilon(decoded, delta) if decoded else 0.0


def as_csv(rows: list[ReleaseRow]) -> str:
    """The rows for a spreadsheet, which executes nothing that a researcher has written."""
    out = io.StringIO()
    writer = csv.writer(out)
    names = [field.name for field in fields(ReleaseRow)]
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return out.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text

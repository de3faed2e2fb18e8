"""What left a hospital, release by release, from its event log: as rows of the page and as a CSV file.

What a release costs is the epsilon that it has by itself, at the study's delta; a study's releases
together cost what the ledger says, which is less than their sum.
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

LEFT = {"release": "contribution", "help": "help", "charged": "charged", "study-key": "key"}
"""Kinds of the event log that are about bytes which left, or were paid for."""
EXACT = "exact"
"""The cost of what left without noise: no epsilon bounds it."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run (OWASP, "CSV Injection")."""

Detail = Mapping[str, Any]


@dataclass(frozen=True)
class Left:
    """One entry of the event log about what left.

    Attributes:
        at: UTC, ISO 8601.
        cost: epsilon of this release by itself, `exact`, or 0 where it tells nothing that was not paid for.
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


def what_left(store: SqlNodeStore, newest: int | None = None) -> list[Left]:
    """Releases, the newest first; `newest` is how many, None means all."""
    studies = {found.study_hash: parse_study(found.study) for found in store.proposals()}
    deltas = {cost.study_hash: cost.delta for cost in store.costs()}
    events = store.events(LEFT, newest=newest)
    before: dict[str, str] = {}
    if newest is not None and events:
        shown = {str(event["study_hash"]) for event in events}
        before = store.releases_before(int(str(events[0]["sequence"])), LEFT, shown)
    found = []
    for event in events:
        kind, hash_, detail = LEFT[str(event["kind"])], str(event["study_hash"]), store.read_detail(event)
        known = before.get(hash_, "[]")
        before[hash_] = str(detail.get("releases", known))
        study = studies.get(hash_)
        private = study.privacy is not None if study else hash_ in deltas
        cost = _cost(kind, detail, known, deltas.get(hash_, 0.0), private=private)
        found.append(_row(event, kind, detail, study.name if study else "", cost))
    return found[::-1]


def _row(event: Detail, kind: str, detail: Detail, name: str, cost: str) -> Left:
    at = datetime.fromtimestamp(int(str(event["at_ms"])) / 1000, UTC).isoformat(timespec="seconds")
    hash_ = event["hash"].hex() if isinstance(event["hash"], bytes) else ""
    number, size, digest = (str(detail.get(key, "")) for key in ("round", "bytes", "digest"))
    return Left(
        at, kind, str(event["study_hash"]), name, number, size, cost, digest, str(event["sequence"]), hash_
    )


def _cost(kind: str, detail: Detail, before: str, delta: float, *, private: bool) -> str:
    if kind in ("help", "key"):
        return "0"
    if not private:
        return EXACT
    return f"{_alone(before, str(detail.get('releases', before)), delta):.6g}"


def _alone(before: str, after: str, delta: float) -> float:
    """Epsilon of what was added to a study's releases."""
    return _epsilon(json.dumps(list(_added(json.loads(before), json.loads(after)))), delta)


def _added(before: list[Detail], after: list[Detail]) -> Iterator[Detail]:
    """Equal releases are counted together in both."""
    counted = {_kind(one): int(one.get("count", 1)) for one in before}
    for one in after:
        more = int(one.get("count", 1)) - counted.get(_kind(one), 0)
        if more > 0:
            yield {**one, "count": more}


def _kind(release: Detail) -> str:
    return json.dumps({**release, "count": 1}, sort_keys=True)


@lru_cache(maxsize=1024)
def _epsilon(releases: str, delta: float) -> float:
    """Reckoned once for equal releases, of which a study may have thousands."""
    told = released(Cost("", "", delta, releases))
    return epsilon(told, delta) if told else 0.0


def as_csv(rows: list[Left]) -> str:
    """All of it, for a spreadsheet; nothing that a researcher has written runs there."""
    out = io.StringIO()
    writer = csv.writer(out)
    names = [field.name for field in fields(Left)]
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return out.getvalue()


def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text

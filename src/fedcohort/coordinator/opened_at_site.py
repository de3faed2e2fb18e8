"""A sum that a site opens and hides: what comes of it is a report, and the coordinator has no sum.

A study of one sum under a protection that one site opens alone (`opened_at = "site"`). The site's part is
`node.suppression`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedcohort.analyses.contract import Report, State
from fedcohort.coordinator.opening import HelpInbox, Opening, ask_for_help
from fedcohort.coordinator.plan import Exchange, Plan, RoundLog
from fedcohort.errors import DisclosureError, WireError
from fedcohort.protection import contract
from fedcohort.protection.context import SiteId
from fedcohort.texts.look_up import received

KEPT = "report"
"""What the round log keeps it as."""
MOST_BYTES = 2**26
"""Of a report, as JSON."""


@dataclass
class Reports:
    """What sites show of the sum; the first is used."""

    bodies: dict[SiteId, bytes] = field(default_factory=dict)

    @property
    def enough(self) -> bool:
        """Whether one has opened it."""
        return bool(self.bodies)

    def add(self, site: SiteId, body: bytes) -> None:
        """Store what a site shows."""
        self.bodies[site] = body

    def open(self) -> bytes:
        """What is shown.

        Raises:
            WireError: it is nothing that a site shows.
        """
        body = next(iter(self.bodies.values()))
        _read(body)
        return body


async def open_at_site(
    plan: Plan, how: contract.OpeningExchange, opening: Opening, exchange: Exchange
) -> bytes:
    """Ask one survivor after another to open the sum, and to show what may be shown."""
    return await ask_for_help(plan, how, HelpInbox(opening, Reports()), exchange)


def shown_state(plan: Plan, log: RoundLog, before: State, shown: bytes) -> State:
    """The finished state of which a site has shown the report.

    Raises:
        DisclosureError: by the rules the sum ends the study.
    """
    told = _read(shown)
    if (why := received(told.get("refused"))) is not None:
        raise DisclosureError(why)
    log.keep(plan.study_hash, KEPT, shown)
    return State("done", before.round + 1, finished=True, rows=tuple(told["rows"]))


def kept_report(log_kept: bytes | None) -> Report:
    """The report that a site has shown.

    Raises:
        WireError: there is none.
    """
    told = _read(log_kept or b"")
    return {str(name): part for name, part in told["report"].items()}


def _read(body: bytes) -> Mapping[str, Any]:
    """What a site shows: a refusal, or a report and the metrics of the round."""
    try:
        told = json.loads(body) if len(body) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        told = None
    match told:
        case {"refused": dict() as why} if received(why) is not None:
            return {"refused": why}
        case {"report": dict() as report, "rows": [*rows]} if all(isinstance(row, dict) for row in rows):
            return {"report": report, "rows": rows}
    raise WireError("a site that opened the sum has sent no report")

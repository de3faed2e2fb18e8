"""What a study's loop is given: its plan, who carries its messages, and where its progress is kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedcohort.analyses.contract import Analysis, Row, State
from fedcohort.analyses.disclosing import Control
from fedcohort.protection.contract import Protection
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.study import Study
from fedcohort.wire.messages import Message, SiteId

Receive = Callable[[SiteId, Message], bool]
"""Takes an answer; True when no more are needed. Raises a FedcohortError for one that is no answer."""
TRANSIENT_CODES = frozenset({"store", "link-closed", "roster-unconfirmed", "ledger-unwitnessed"})
"""A site that refuses with one of these is asked again; any other refusal is for good."""
LONGEST_PAUSE_SECONDS = 30.0


class Exchange(Protocol):
    """Sends each site its message and hands over every answer; returns when all have come or time is up."""

    async def __call__(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        """Returns early when `receive` says so.

        Sites that have been away for a whole time-out need not be waited for once `enough` have answered.
        """
        ...


class RoundLog(Protocol):
    """Where a study's progress is made durable."""

    def load_state(self, study_id: str) -> State | None:
        """Where the study is, or None before its first round."""
        ...

    def save_round(
        self, study_id: str, state: State, survivors: tuple[SiteId, ...], rows: list[Row], spent: Row
    ) -> None:
        """Make a round's outcome durable: its metrics, and where its time went."""
        ...

    def load_kept(self, study_id: str, what: str) -> bytes | None:
        """What `keep` has kept."""
        ...

    def keep(self, study_id: str, what: str, data: bytes) -> None:
        """Make durable what a restart must not lose: a study's `key`, `opening` of its round, or `report`."""
        ...


@dataclass(frozen=True)
class Plan:
    """A study that may run: the sites of its roster have approved its hash.

    Attributes:
        study_hash: of the study, computed once.
        approvals: of the roster, encoded, where a site opens and hides (`opened_at = "site"`).
        control: of what is shown of its sums; None under [privacy].
        waiting: called with the reason when too few sites answered, with "" when it goes on.
        refused: called with a site and its code when the site refuses for good.
    """

    study: Study
    study_hash: str
    analysis: Analysis
    roster: tuple[SiteId, ...]
    waiting: Callable[[str], None] = lambda _: None
    refused: Callable[[SiteId, str], None] = lambda _site, _code: None
    control: Control | None = None
    approvals: Mapping[SiteId, bytes] = field(default_factory=dict)

    @property
    def protection(self) -> Protection:
        """How the study hides what its sites have computed."""
        return PROTECTIONS[self.study.protection]


def pause_seconds(attempt: int) -> float:
    """How long to wait before asking again."""
    return float(min(0.1 * 2.0 ** min(attempt, 16), LONGEST_PAUSE_SECONDS))


def refusals_in_words(refused: Mapping[SiteId, str]) -> str:
    """Who refused with which code, in parentheses; empty when nobody did."""
    listed = ", ".join(f"{site}: {code}" for site, code in sorted(refused.items()))
    return f" ({listed})" if listed else ""

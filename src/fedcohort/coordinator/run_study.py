"""A study as one loop: ask all sites, add up what they answer, take the next step.

The loop knows neither network nor process: `exchange` carries the messages, in a
live federation and in a simulation alike. Contributions are added as they
arrive, so that memory is two vectors however many sites there are, and a state
is durable before the next round begins, so that a coordinator that is killed
goes on from there.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from fedcohort.analyses.contract import Analysis, Row, State
from fedcohort.errors import TooFewSitesError, WireError
from fedcohort.protection import none
from fedcohort.protection.fixed_point import Ring, from_ring, shape_of, zero_ring
from fedcohort.study import Study
from fedcohort.wire.codec import state_digest
from fedcohort.wire.messages import Contribution, Event, Message, SiteId, Task

Receive = Callable[[SiteId, Message], None]
TRANSIENT_CODES = frozenset({"store", "link-closed"})
"""A site that refuses with one of these is asked again; any other refusal is for good."""
LONGEST_PAUSE_SECONDS = 30.0


class Exchange(Protocol):
    """Sends each site its message and hands over every answer; returns when all have come or time is up."""

    async def __call__(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        """`receive` raises a FedcohortError for an answer that is not one.

        Sites that have been away for a whole time-out need not be waited for once `enough` have answered.
        """
        ...


class RoundLog(Protocol):
    """Where a study's progress is made durable."""

    def load_state(self, study_id: str) -> State | None:
        """Where the study is, or None before its first round."""
        ...

    def save_round(self, study_id: str, state: State, survivors: tuple[SiteId, ...], rows: list[Row]) -> None:
        """Make a round's outcome durable."""
        ...


@dataclass(frozen=True)
class Plan:
    """A study that may run: the sites of its roster have approved its hash.

    Attributes:
        study_hash: of the study, computed once.
        waiting: called with the reason when too few sites answered, with "" when it goes on.
        refused: called with a site and its code when the site refuses for good.
    """

    study: Study
    study_hash: str
    analysis: Analysis
    roster: tuple[SiteId, ...]
    waiting: Callable[[str], None] = lambda _: None
    refused: Callable[[SiteId, str], None] = lambda _site, _code: None


@dataclass
class Inbox:
    """The running sum of one round, and who is in it."""

    task: Task
    total: Ring
    sizes: tuple[int, int]
    survivors: set[SiteId] = field(default_factory=set)
    refused: dict[SiteId, str] = field(default_factory=dict)

    def receive(self, site: SiteId, message: Message) -> None:
        """Add a contribution, or note a refusal.

        Raises:
            WireError: the answer is to another question, or comes twice.
        """
        asked = (self.task.study_hash, self.task.round)
        if isinstance(message, Event) and message.kind == "refusal":
            self.refused[site] = message.code
        elif not isinstance(message, Contribution) or (message.study_hash, message.round) != asked:
            raise WireError(f"{site}: an answer to another question")
        elif message.site != site or message.state_digest != self.task.state_digest or site in self.survivors:
            raise WireError(f"{site}: a contribution for another site or state, or a second one")
        else:
            none.add(self.total, message.body, self.sizes)
            self.survivors.add(site)


async def run_study(plan: Plan, log: RoundLog, exchange: Exchange) -> State:
    """Run a study to its end, from wherever it was.

    Returns:
        the finished state.
    Raises:
        TooFewSitesError: so many sites refused that min_sites cannot be reached.
    """
    stored = log.load_state(plan.study_hash)
    state = stored if stored is not None else await asyncio.to_thread(plan.analysis.start)
    excluded: dict[SiteId, str] = {}
    while not state.finished:
        began = time.monotonic()
        inbox = await _round(plan, state, exchange, excluded)
        total = from_ring(plan.analysis.layout(state), inbox.total, len(plan.roster))
        state = plan.analysis.update(state, total)
        seconds = round(time.monotonic() - began, 6)
        rows: list[Row] = [{**row, "seconds": seconds} for row in state.rows]
        log.save_round(plan.study_hash, state, tuple(sorted(inbox.survivors)), rows)
        state = replace(state, rows=())
    return state


async def _round(plan: Plan, state: State, exchange: Exchange, excluded: dict[SiteId, str]) -> Inbox:
    """Ask until enough sites have answered; a site that refuses for good is not asked again."""
    sizes = shape_of(plan.analysis.layout(state), len(plan.roster)).sizes
    digest = state_digest(state.phase, state.round, state.arrays)
    attempt = 0
    while True:
        task = Task(plan.study_hash, state.round, attempt, state.phase, state.arrays, digest, plan.roster)
        inbox = Inbox(task, zero_ring(sizes), sizes)
        asked = {site: task for site in plan.roster if site not in excluded}
        if len(asked) < plan.study.min_sites:
            reasons = ", ".join(f"{site}: {code}" for site, code in sorted(excluded.items()))
            raise TooFewSitesError(
                f"{len(asked)} of the {plan.study.min_sites} sites that the study needs are left ({reasons})"
            )
        await exchange(asked, inbox.receive, plan.study.min_sites, plan.study.round_timeout_seconds)
        for site, code in inbox.refused.items():
            if code not in TRANSIENT_CODES:
                excluded[site] = code
                plan.refused(site, code)
        if len(inbox.survivors) >= plan.study.min_sites:
            if attempt:
                plan.waiting("")
            return inbox
        plan.waiting(_shortage(plan, inbox))
        await asyncio.sleep(min(0.1 * 2.0**attempt, LONGEST_PAUSE_SECONDS))
        attempt += 1


def _shortage(plan: Plan, inbox: Inbox) -> str:
    refusals = ", ".join(f"{site}: {code}" for site, code in sorted(inbox.refused.items()))
    return (
        f"{len(inbox.survivors)} of the {plan.study.min_sites} sites that the study needs have answered"
        + (f" ({refusals})" if refusals else "")
    )

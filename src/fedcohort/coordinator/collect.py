"""The first exchange of a round: every site's contribution, added up as it arrives."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from fedcohort.analyses.contract import State
from fedcohort.coordinator.plan import TRANSIENT_CODES, Exchange, Plan, pause_seconds, refusals_in_words
from fedcohort.coordinator.sums import RunningSum
from fedcohort.errors import TooFewSitesError, WireError
from fedcohort.protection.context import RoundContext
from fedcohort.protection.fixed_point import Shape
from fedcohort.texts import say
from fedcohort.wire.messages import Contribution, Event, Message, SiteId, Task
from fedcohort.wire.signing import state_digest

LONG_STATE_BYTES = 2**18
"""To hash so many bytes takes longer than to ask a thread."""


@dataclass
class Inbox:
    """The running sum of one attempt at a round, and who is in it."""

    task: Task
    sum: RunningSum
    refused: dict[SiteId, str] = field(default_factory=dict)

    @property
    def survivors(self) -> set[SiteId]:
        """The sites in the sum."""
        return set(self.sum.kept)

    def receive(self, site: SiteId, message: Message) -> bool:
        """Add a contribution, or note a refusal.

        Raises:
            WireError: the answer is to another question, or comes twice.
        """
        asked = (self.task.study_hash, self.task.round, self.task.attempt)
        if isinstance(message, Event) and message.kind == "refusal":
            self.refused[site] = message.code
        elif (
            not isinstance(message, Contribution)
            or (message.study_hash, message.round, message.attempt) != asked
        ):
            raise WireError(f"{site}: an answer to another question")
        elif message.site != site or message.state_digest != self.task.state_digest or site in self.sum.kept:
            raise WireError(f"{site}: a contribution for another site or state, or a second one")
        else:
            self.sum.add(message)
        return False


@dataclass
class Sites:
    """Which sites of a plan can still take part.

    Attributes:
        excluded: sites that have refused for good, with their codes.
        ready: sites that have the study's key; None where its protection needs none.
    """

    plan: Plan
    excluded: dict[SiteId, str] = field(default_factory=dict)
    ready: set[SiteId] | None = None

    def left(self) -> list[SiteId]:
        """Those who have not refused for good.

        Raises:
            TooFewSitesError: fewer than the study needs.
        """
        left = [site for site in self.plan.roster if site not in self.excluded]
        if len(left) < self.plan.study.min_sites:
            raise TooFewSitesError(
                "{left} of the {least} sites that the study needs are left{refused}",
                left=len(left),
                least=self.plan.study.min_sites,
                refused=refusals_in_words(self.excluded),
            )
        return left

    def note(self, refused: dict[SiteId, str]) -> None:
        """Leave out from now on who has refused for good."""
        for site, code in refused.items():
            if code not in TRANSIENT_CODES and site not in self.excluded:
                self.excluded[site] = code
                self.plan.refused(site, code)


def hashed(state: State) -> asyncio.Future[bytes]:
    """A state's digest; that of a long state is computed in a thread, while the loop goes on."""
    loop = asyncio.get_running_loop()
    content = (state.phase, state.round, state.arrays)
    if sum(array.nbytes for array in state.arrays.values()) >= LONG_STATE_BYTES:
        return loop.run_in_executor(None, state_digest, *content)
    digest: asyncio.Future[bytes] = loop.create_future()
    digest.set_result(state_digest(*content))
    return digest


def round_context(plan: Plan, number: int, digest: bytes, shape: Shape, attempt: int) -> RoundContext:
    """What coordinator and sites call the same attempt at the same round."""
    study = plan.study
    return RoundContext(
        plan.study_hash,
        number,
        attempt,
        digest,
        plan.roster,
        study.least_sites(len(plan.roster)),
        study.colluders,
        shape,
    )


async def collect(
    sites: Sites,
    state: State,
    digest: bytes,
    shape: Shape,
    new_sum: Callable[[RoundContext], RunningSum],
    exchange: Exchange,
) -> tuple[RoundContext, RunningSum]:
    """Ask until enough sites have answered; a site that refuses for good is not asked again.

    Returns:
        the attempt that succeeded, and its sum.
    Raises:
        TooFewSitesError: so many sites refused that min_sites cannot be reached.
    """
    plan, attempt, protection = sites.plan, 0, sites.plan.protection
    while True:
        context = round_context(plan, state.round, digest, shape, attempt)
        task = Task(
            plan.study_hash,
            state.round,
            attempt,
            state.phase,
            state.arrays,
            context.state_digest,
            plan.roster,
        )
        inbox = Inbox(task, new_sum(context))
        asked = {site: task for site in sites.left() if sites.ready is None or site in sites.ready}
        needed = protection.quorum(context)
        await exchange(asked, inbox.receive, needed, plan.study.round_timeout_seconds)
        sites.note(inbox.refused)
        # Nobody is asked to open a sum that too few could open.
        if len(inbox.survivors) >= needed and protection.can_open(context, inbox.survivors):
            if attempt:
                plan.waiting("")
            return context, inbox.sum
        plan.waiting(
            say(
                "{count} of the {least} sites that the round needs have answered{refused}",
                count=len(inbox.survivors),
                least=needed,
                refused=refusals_in_words(inbox.refused),
            )
        )
        await asyncio.sleep(pause_seconds(attempt))
        attempt += 1

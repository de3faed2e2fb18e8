"""The roster of a study: sites are asked, their answers are awaited, and then it is fixed."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from fedcohort.coordinator.approvals import Approvals
from fedcohort.coordinator.changes import Changes
from fedcohort.coordinator.hub import Hub
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore
from fedcohort.study import Study
from fedcohort.wire.messages import Proposal, SiteId

GRACE_SECONDS = 30.0
"""How long a study waits for sites that have joined but are not present, before it starts without them."""
PROPOSAL_SECONDS = 5.0
"""How often a site that is present and has said nothing, not even that a person was asked, is asked again."""


@dataclass
class Rosters:
    """The rosters of all studies.

    Attributes:
        started: studies that somebody wants to start with the sites that have approved.
    """

    store: CoordinatorStore
    members: Members
    hub: Hub
    approvals: Approvals
    changes: Changes
    started: set[str] = field(default_factory=set)

    async def wait(self, study: Study) -> tuple[SiteId, ...]:
        """Wait until every site has answered: lost ones for a while, those that are present without end.

        Raises:
            TooFewSitesError: so many have refused that the study cannot have its sites.
        """
        clock = asyncio.get_running_loop().time
        end, ask_again = clock() + GRACE_SECONDS, clock()
        while True:
            if clock() >= ask_again:
                await self._propose_to_silent(study.hash)
                ask_again = clock() + PROPOSAL_SECONDS
            change = self.changes.event
            approved, silent = self.approvals.of(study)
            joined = self.members.joined() if clock() <= end else set()
            silent = [site for site in silent if site in joined or site in self.hub.carrier.present]
            if len(approved) >= study.min_sites and (not silent or study.hash in self.started):
                return approved
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await change.wait()

    async def propose_open(self, site: SiteId) -> None:
        """Propose every open study to a site that has come, unless it has said yes or no."""
        for study_id in self.store.open_studies():
            answer = self.store.answers(study_id).get(site)
            if answer is None or answer["state"] == "asked":
                await self._propose(study_id, site)

    async def _propose_to_silent(self, study_id: str) -> None:
        answers = self.store.answers(study_id)
        for site in list(self.hub.carrier.present):
            if site not in answers:
                await self._propose(study_id, site)

    async def _propose(self, study_id: str, site: SiteId) -> None:
        row = self.store.study(study_id)
        if row:
            proposal = Proposal(row["study"], row["researcher"], row["researcher_key"], row["signature"])
            await self.hub.send(site, proposal)

"""A whole protocol in one process: nodes' `answer()`, the coordinator's loop, and who disturbs them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Report, Row
from fedcohort.coordinator.plan import Plan, Receive
from fedcohort.coordinator.run_study import run_study
from fedcohort.engines.local import MemoryLog, Simulated, simulated_node
from fedcohort.errors import FedcohortError
from fedcohort.node.answer import Node, answer
from fedcohort.node.keys import signed
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.wire.messages import Message, SiteId
from tests.build import frame_of, ward_rows

Disturb = Callable[[SiteId, Message, Message], Sequence[Message]]
"""By site, question and honest answer: what comes instead; nothing when the site is lost."""
ROUNDS_AT_MOST = 60


class StuckError(Exception):
    """The study would wait for ever."""


def honest_nodes(study: Study, sites: Sequence[SiteId], n_patients: int = 60) -> dict[SiteId, Node]:
    """Nodes in memory that have confirmed each other's keys."""
    federation = Simulated()

    def node(index: int, site: SiteId) -> Node:
        def load(cohort: Cohort, seed: int, private: bool) -> Table:
            return table_from_frame(frame_of(ward_rows(index, n_patients)), cohort, seed)

        return simulated_node(federation, site, study, load, build_analysis(study))

    return {site: node(index, site) for index, site in enumerate(sites)}


@dataclass
class Play:
    """One study over honest nodes, some of whose messages are disturbed on their way."""

    study: Study
    sites: Sequence[SiteId] = ("a", "b", "c", "d", "e")
    disturb: Disturb = lambda _site, _question, reply: [reply]
    nodes: dict[SiteId, Node] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    errors: list[FedcohortError] = field(default_factory=list)
    survivors: list[tuple[SiteId, ...]] = field(default_factory=list)
    seen: list[tuple[SiteId, Message, Message]] = field(default_factory=list)
    log: MemoryLog = field(default_factory=lambda: MemoryLog(lambda _: None))

    def __post_init__(self) -> None:
        self.nodes = self.nodes or honest_nodes(self.study, self.sites)

    def go(self) -> Report:
        """Run it to its end.

        Raises:
            StuckError: it waits for what does not come.
        """
        analysis = build_analysis(self.study)
        plan = Plan(self.study, self.study.hash, analysis, tuple(sorted(self.nodes)), self._waiting)
        state = asyncio.run(run_study(plan, self._log(), self.exchange))
        return analysis.report(state)

    def _waiting(self, reason: str) -> None:
        self.reasons.append(reason)
        if len([reason for reason in self.reasons if reason]) > 3:
            raise StuckError(reason)

    def _log(self) -> MemoryLog:
        play, log = self, self.log

        class Log(MemoryLog):
            def save_round(
                self, study_id: str, state: object, survivors: tuple[SiteId, ...], rows: list[Row], spent: Row
            ) -> None:
                play.survivors.append(survivors)

        return Log(log.on_rows, kept=log.kept)

    async def exchange(
        self, messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        """Carry messages as the local engine does, disturbed."""
        for site, question in messages.items():
            node = self.nodes[site]
            reply = signed(node.keys.identity, answer(node, question))
            self.seen.append((site, question, reply))
            for message in self.disturb(site, question, reply):
                try:
                    if receive(site, message):
                        return
                except FedcohortError as error:
                    self.errors.append(error)

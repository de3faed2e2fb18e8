"""The local engine: every site in this process, through the same `answer()` as a live node."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fedcohort.analyses import build_analysis
from fedcohort.analyses.contract import Analysis, Report, Row, State
from fedcohort.coordinator.run_study import Plan, Receive, run_study
from fedcohort.errors import StudyFailedError
from fedcohort.node.answer import Node, answer, prepare
from fedcohort.node.store import MemoryNodeStore, StoredProposal
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.wire.messages import Approval, Message, SiteId

Load = Callable[[Cohort, int], Table]
FAR_FUTURE = 2**62


@dataclass
class MemoryLog:
    """Keeps what a coordinator would store."""

    on_rows: Callable[[list[Row]], None]
    state: State | None = None
    rows: list[Row] = field(default_factory=list)

    def load_state(self, study_id: str) -> State | None:
        """A simulation always begins at the beginning."""
        return None

    def save_round(self, study_id: str, state: State, survivors: tuple[SiteId, ...], rows: list[Row]) -> None:
        """Collect the metrics."""
        self.state = state
        self.rows += rows
        self.on_rows(rows)


@dataclass(frozen=True)
class Outcome:
    """What a study left: its report, its metrics and its last state."""

    report: Report
    rows: list[Row]
    state: State


def simulated_node(site: SiteId, study: Study, load: Load, analysis: Analysis, min_patients: int = 1) -> Node:
    """A node in memory whose site has approved this study."""
    approval = Approval(study.hash, site, approved=True, max_rounds=FAR_FUTURE, expires_at=FAR_FUTURE)
    store = MemoryNodeStore()
    store.propose(StoredProposal(study.hash, study.canonical, "local", b"", b""))
    store.decide(study.hash, "approved", b"approved")
    return Node(site, min_patients, store, load, lambda _: approval, lambda _: analysis)


def run_local(study: Study, loaders: Mapping[SiteId, Load], on_rows: Callable[[list[Row]], None]) -> Outcome:
    """Run a study over sites that are functions of this process.

    Args:
        loaders: by site, what selects its cohort.
        on_rows: called with the metrics of every round.
    Raises:
        DataError: what a live node would only log is raised here, for the data are the caller's own.
    """
    analysis = build_analysis(study)
    nodes = [simulated_node(site, study, load, analysis) for site, load in sorted(loaders.items())]
    for node in nodes:
        prepare(node, study.hash)
    return run_nodes(study, analysis, nodes, on_rows)


def run_nodes(
    study: Study, analysis: Analysis, nodes: list[Node], on_rows: Callable[[list[Row]], None]
) -> Outcome:
    """Run a study over nodes in memory."""
    by_site = {node.site: node for node in nodes}

    async def exchange(
        messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        for site, message in messages.items():
            receive(site, answer(by_site[site], message))

    def refused(site: SiteId, code: str) -> None:
        raise StudyFailedError(f"{site}: {code}; the log says more")

    log = MemoryLog(on_rows)
    plan = Plan(study, study.hash, analysis, tuple(sorted(by_site)), refused=refused)
    state = _run(lambda: asyncio.run(run_study(plan, log, exchange)))
    return Outcome(analysis.report(state), log.rows, state)


def _run(work: Callable[[], State]) -> State:
    """Run in a thread of its own, so that a notebook's running event loop is no hindrance."""
    with ThreadPoolExecutor(1, "fedcohort-local") as pool:
        return pool.submit(work).result()

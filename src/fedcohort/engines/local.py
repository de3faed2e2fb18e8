"""The local engine: every site in this process, through the same `answer()` as a live node."""

import asyncio
import ctypes
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass, field
from threading import Event, Thread

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis, Report, Row, State
from fedcohort.analyses.disclosing import Control, asked_under, reported
from fedcohort.coordinator.plan import Plan, Receive
from fedcohort.coordinator.run_study import run_study
from fedcohort.disclosure.rules import Disclosure, rules_text
from fedcohort.errors import FedcohortError, StudyFailedError
from fedcohort.node.answer import Node, answer, prepare
from fedcohort.node.keys import Keys, signed
from fedcohort.node.memory import MemoryNodeStore
from fedcohort.node.records import StoredProposal
from fedcohort.protection.registry import PROTECTIONS
from fedcohort.refusals import in_words
from fedcohort.sources.cohort.order import empty_cohort
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Approval, Card, Message, SiteId

Load = Callable[[Cohort, int, bool], Table]
FAR_FUTURE = 2**62


@dataclass
class MemoryLog:
    """Keeps what a coordinator would store."""

    on_rows: Callable[[list[Row]], None]
    state: State | None = None
    rows: list[Row] = field(default_factory=list)
    kept: dict[str, bytes] = field(default_factory=dict)

    def load_state(self, study_id: str) -> State | None:
        """A simulation always begins at the beginning."""
        return None

    def save_round(
        self, study_id: str, state: State, survivors: tuple[SiteId, ...], rows: list[Row], spent: Row
    ) -> None:
        """Collect the metrics."""
        self.state = state
        self.rows += rows
        self.on_rows(rows)

    def load_kept(self, study_id: str, what: str) -> bytes | None:
        """What was kept in this process."""
        return self.kept.get(what)

    def keep(self, study_id: str, what: str, data: bytes) -> None:
        """Remember it while the process lives."""
        self.kept[what] = data


@dataclass(frozen=True)
class SimulatedRun:
    """What a study left: its report, its metrics and its last state."""

    report: Report
    rows: list[Row]
    state: State


@dataclass(frozen=True)
class Simulated:
    """The keys of all simulated sites, each of which has confirmed all others."""

    cards: dict[SiteId, Card] = field(default_factory=dict)
    confirmed: dict[SiteId, bytes] = field(default_factory=dict)

    def join(self, site: SiteId) -> Keys:
        """A site with fresh keys."""
        keys = Keys(new_identity(site), X25519PrivateKey.generate(), self.cards.get, lambda: self.confirmed)
        self.cards[site], self.confirmed[site] = keys.card, keys.identity.public_key
        return keys


def simulated_node(
    federation: Simulated,
    site: SiteId,
    study: Study,
    load: Load,
    analysis: Analysis,
    min_patients: int = 0,
) -> Node:
    """A node in memory whose site has approved this study, and knows the federation's other sites."""
    approval = Approval(
        study.hash, site, approved=True, max_rounds=FAR_FUTURE, expires_at=FAR_FUTURE,
        disclosure=rules_text(Disclosure(), by_site=True),
    )  # fmt: skip
    store = MemoryNodeStore()
    store.propose(StoredProposal(study.hash, study.canonical, "local", b"", b""))
    store.decide(study.hash, "approved", b"approved")
    keys = federation.join(site)
    return Node(site, min_patients, store, keys, load, lambda _: approval, lambda _: analysis)


def run_local(
    study: Study,
    loaders: Mapping[SiteId, Load],
    on_rows: Callable[[list[Row]], None],
    control: Control | None = None,
) -> SimulatedRun:
    """Run a study over sites that are functions of this process.

    Args:
        loaders: by site, what selects its cohort.
        on_rows: called with the metrics of every round.
        control: of what is shown of exact sums.
    Raises:
        DataError: what a live node would only log is raised here, for the data are the caller's own; nobody
            at any site is in the cohort.
    """
    analysis = build_analysis(study)
    federation = Simulated()
    nodes = [
        simulated_node(federation, site, study, load, analysis) for site, load in sorted(loaders.items())
    ]
    for node in nodes:
        _prepare(node, study.hash)
    if study.privacy is None and not any(node.prepared[study.hash].n_patients for node in nodes):
        raise empty_cohort(study.cohort.table)
    return run_nodes(study, analysis, nodes, on_rows, control)


def _prepare(node: Node, study_hash: str) -> None:
    """Make a site ready; what is wrong is told with the site that it is wrong at."""
    try:
        prepare(node, study_hash)
    except FedcohortError as error:
        if str(error).startswith(f"{node.site}: "):
            raise
        told = copy(error)
        told.args = (f"{node.site}: {error}",)
        raise told from error


def run_nodes(
    study: Study,
    analysis: Analysis,
    nodes: list[Node],
    on_rows: Callable[[list[Row]], None],
    control: Control | None = None,
) -> SimulatedRun:
    """Run a study over nodes in memory."""
    by_site, interrupted = {node.site: node for node in nodes}, Event()
    needs_proofs = PROTECTIONS[study.protection].needs_proofs

    async def exchange(
        messages: Mapping[SiteId, Message], receive: Receive, enough: int, timeout: float
    ) -> None:
        for site, message in messages.items():
            if interrupted.is_set():
                raise KeyboardInterrupt
            node = by_site[site]
            reply = answer(node, message)
            # Only a proof of contribution is ever verified here; a thousand sites would sign for nothing.
            if receive(site, signed(node.keys.identity, reply) if needs_proofs else reply):
                return

    def refused(site: SiteId, code: str) -> None:
        raise StudyFailedError(f"{site}: {in_words(code)}; the log says more")

    def waiting(reason: str) -> None:
        # Nobody is going to come back: what a live study waits for, a simulation lacks.
        if reason:
            raise StudyFailedError(f"{reason}; the log says more")

    analysis, log = asked_under(analysis, control), MemoryLog(on_rows)
    plan = Plan(study, study.hash, analysis, tuple(sorted(by_site)), waiting, refused, control)
    state = _run(lambda: asyncio.run(run_study(plan, log, exchange)), interrupted)
    return SimulatedRun(reported(analysis, state, control), log.rows, state)


def _run(work: Callable[[], State], interrupted: Event) -> State:
    """Run in a thread of its own, so that a notebook's running event loop is no hindrance.

    An interrupt reaches this thread alone. It is handed on, at the next step that the other thread
    takes in Python, and nothing computes any longer when this returns.
    """
    outcome: Future[State] = Future()

    def compute() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # noqa: BLE001  the other thread raises it
            outcome.set_exception(error)

    thread = Thread(target=compute, name="fedcohort-local", daemon=True)
    thread.start()
    try:
        return outcome.result()
    except KeyboardInterrupt:
        interrupted.set()
        _interrupt(thread)
        raise


def _interrupt(thread: Thread) -> None:
    """Raise KeyboardInterrupt in a thread, and wait for its end; a library may swallow one."""
    while thread.is_alive():
        identity = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(KeyboardInterrupt))
        thread.join(5.0)

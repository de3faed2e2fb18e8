"""The one exit for data: `answer()` is the only function that turns patients into outgoing bytes.

A reviewer who reads this file knows what can leave a hospital: one layout of
declared blocks a round, for a study whose very hash the site's key has signed,
over a cohort that is large enough; and the same integers again when a task is
repeated.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fedcohort.analyses import build_analysis
from fedcohort.analyses.contract import Analysis, Draw, Local, State
from fedcohort.arrays import arrays_from_bytes, arrays_to_bytes
from fedcohort.errors import (
    ApprovalExpiredError,
    CohortTooSmallError,
    FedcohortError,
    NotApprovedError,
    PolicyError,
    StoreError,
    WireError,
)
from fedcohort.node.store import NodeStore, Stored
from fedcohort.protection import none
from fedcohort.protection.fixed_point import to_ring
from fedcohort.study import Cohort, Study, parse_study
from fedcohort.table import Table
from fedcohort.wire.messages import Approval, Contribution, Event, Message, Task

log = logging.getLogger("fedcohort.node")


@dataclass(frozen=True)
class Prepared:
    """A study made ready at this site: its cohort selected, its analysis compiled."""

    study: Study
    analysis: Analysis
    local: Local


@dataclass(frozen=True)
class Node:
    """What `answer()` may use.

    Attributes:
        load: selects a cohort from the site's database, read-only.
        read_approval: decodes this site's approval and verifies its signature by the site's own key.
        prepared: studies in memory, by hash.
    """

    site: str
    min_patients: int
    store: NodeStore
    load: Callable[[Cohort, int], Table]
    read_approval: Callable[[bytes], Approval]
    build: Callable[[Study], Analysis] = build_analysis
    now: Callable[[], float] = time.time
    prepared: dict[str, Prepared] = field(default_factory=dict)


def answer(node: Node, message: Message) -> Message:
    """Answer one message of the coordinator; whatever goes wrong, the answer is a code.

    Returns:
        a contribution, or an event `refusal` with the error's code and nothing else.
    """
    study_hash = getattr(message, "study_hash", "")
    try:
        if not isinstance(message, Task):
            raise WireError(f"{type(message).__name__}: this protection needs no such message")
        return _contribute(node, message)
    except FedcohortError as error:
        log.warning("%s: study %.12s: %s", node.site, study_hash, error)
        code = error.code
    except Exception:
        # A fault of ours or of a library must neither end the node nor tell the coordinator anything.
        log.exception("%s: study %.12s: an unexpected error", node.site, study_hash)
        code = FedcohortError.code
    _note_refusal(node, study_hash, code)
    number, attempt = (message.round, message.attempt) if isinstance(message, Task) else (0, 0)
    return Event("refusal", study_hash, number, attempt, code)


def _note_refusal(node: Node, study_hash: str, code: str) -> None:
    """Into the event log; a log that cannot be written must not keep the coordinator waiting for the code."""
    try:
        node.store.note("refused", study_hash, {"code": code})
    except StoreError as error:
        log.warning("%s: %s", node.site, error)


def _contribute(node: Node, task: Task) -> Contribution:
    _check_approval(node, task)
    stored = node.store.last(task.study_hash)
    if stored is None or stored.round < task.round:
        stored = _compute(node, task, stored)
    elif stored.round > task.round:
        raise WireError(f"round {task.round} has passed: this site has already answered round {stored.round}")
    elif stored.state_digest != task.state_digest:
        raise WireError(f"round {task.round} was asked before, of another state; a round has one answer")
    return Contribution(
        study_hash=task.study_hash,
        round=task.round,
        attempt=task.attempt,
        site=node.site,
        state_digest=task.state_digest,
        body=stored.integers,
    )


def _check_approval(node: Node, task: Task) -> None:
    encoded = node.store.approval(task.study_hash)
    if encoded is None:
        raise NotApprovedError(f"nobody has approved study {task.study_hash[:12]}; see `fedcohort approve`")
    approval = node.read_approval(encoded)
    if approval.study_hash != task.study_hash or approval.site != node.site or not approval.approved:
        raise NotApprovedError(f"the approval on file is not for study {task.study_hash[:12]} at this site")
    if node.now() > approval.expires_at:
        raise ApprovalExpiredError("the approval has expired; approve the study again")
    if task.round >= approval.max_rounds:
        raise PolicyError(f"round {task.round} is beyond the {approval.max_rounds} rounds that were approved")


def prepare(node: Node, study_hash: str) -> Prepared:
    """Select the cohort and make the study's analysis ready, once a process.

    Raises:
        NotApprovedError: the study was never proposed here, or its text is not what was hashed.
        CohortTooSmallError: fewer patients than the site's policy demands.
    """
    if study_hash not in node.prepared:
        proposal = node.store.proposal(study_hash)
        study = parse_study(proposal.study) if proposal else None
        if study is None or study.hash != study_hash:
            raise NotApprovedError(f"study {study_hash[:12]} was not proposed here")
        table = node.load(study.cohort, study.seed)
        if table.n_patients < node.min_patients:
            raise CohortTooSmallError(
                f"the cohort has fewer than min_patients = {node.min_patients} patients"
            )
        analysis = node.build(study)
        node.prepared[study_hash] = Prepared(study, analysis, analysis.prepare(table))
    return node.prepared[study_hash]


def _compute(node: Node, task: Task, before: Stored | None) -> Stored:
    prepared = prepare(node, task.study_hash)
    state = State(task.phase, task.round, task.arrays)
    layout = prepared.analysis.layout(state)
    draw = Draw(prepared.study.seed, node.site, task.round)
    kept = arrays_from_bytes(before.site_state) if before else {}
    vector, site_state = prepared.local(state, kept, draw)
    integers = none.seal(to_ring(layout, vector, len(task.roster)))
    stored = Stored(task.study_hash, task.round, task.state_digest, integers, arrays_to_bytes(site_state))
    node.store.keep(stored)
    return stored

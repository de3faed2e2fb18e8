"""The one exit for data: `answer()` is the only function that turns patients into outgoing bytes.

A reviewer who reads this file knows what can leave a hospital: one layout of
declared blocks a round, for a study whose very hash the site's key has signed,
over a cohort that is large enough, hidden as the study's protection says; the
same integers again when a task is repeated; help to open one sum a round; and a
study's key, sealed for the study's other sites.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis, Draw, SiteState, Stage, State, Sums
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.site_sum import site_sum
from fedcohort.arrays import arrays_from_bytes, arrays_to_bytes
from fedcohort.disclosure.rules import Disclosure, strictest, tells_by_site
from fedcohort.errors import (
    ApprovalExpiredError,
    AuthenticationError,
    CohortError,
    CohortTooSmallError,
    ConfigError,
    DisclosureError,
    EmptyCohortError,
    FedcohortError,
    KeyFileError,
    LedgerBehindError,
    NotApprovedError,
    NotReleasedError,
    PolicyError,
    RowsError,
    SchemaError,
    StoreError,
    StudyError,
    TooFewSitesError,
    WireError,
    WithheldError,
)
from fedcohort.handed_in import check_rules
from fedcohort.logs import about
from fedcohort.node import protect
from fedcohort.node.airlock import Airlock
from fedcohort.node.keys import Keys
from fedcohort.node.ledger import added_cost
from fedcohort.node.noise import NOT_DRAWN, draw_noise, noise_plan
from fedcohort.node.records import Cost, HelpGiven, NodeStore, Spending, Stored, StudyKey
from fedcohort.node.suppression import shown_of_sum
from fedcohort.privacy.plan import TEST_STEPS
from fedcohort.privacy.samplers import discrete_gaussian, poisson_sample
from fedcohort.protection.contract import CipherKey, SharedKey
from fedcohort.protection.fixed_point import from_ring, shape_from_text, shape_of, to_ring
from fedcohort.protection.words import WORDS
from fedcohort.sources.cohort.convert import nobody
from fedcohort.study import Cohort, Study, parse_study
from fedcohort.table import Table
from fedcohort.wire.messages import Approval, Contribution, Event, Help, Message, OpenRequest, Setup, Task
from fedcohort.wire.signing import request_digest

log = logging.getLogger("fedcohort.node")

HELD = "held"
"""The kind of event that `answer` gives while a person is asked; nothing is then said to the coordinator."""
MOST_KEYS = 10
"""Of one study, one in place of the other before its first answer: each stands in the event log."""

TOLD = (
    StudyError,
    ConfigError,
    PolicyError,
    SchemaError,
    CohortError,
    WireError,
    AuthenticationError,
    KeyFileError,
    LedgerBehindError,
    StoreError,
    TooFewSitesError,
)
"""Reasons that follow from study, site.toml, keys, messages and the database's tables, not from a patient's
values: what a private study reads never raises one of these for what stands in a row, but for RowsError."""


@dataclass(frozen=True)
class Prepared:
    """A study made ready at this site: its cohort selected, its analysis compiled."""

    study: Study
    analysis: Analysis
    rows: Rows = field(repr=False)
    n_patients: int = field(repr=False)
    spending: Spending | None = None


@dataclass(frozen=True)
class Node:
    """What `answer()` may use.

    Attributes:
        load: selects a cohort from the site's database, read-only; whether the study is private.
        read_approval: decodes this site's approval and verifies its signature by the site's own key.
        allow: raises where site.toml, as it is now, does not offer what a study asks for, and gives the
            budget that its releases are held to.
        rules: the site's, of what may be shown where its own sum can be seen; None: of a simulation, where
            nobody sees it.
        airlock: holds answers for a person; without one a study that was approved for it is not answered.
        suppresses: of a sum of `opened_at = "site"` that it opens it sends what may be shown; a simulation,
            which is one process, shows and hides at its end.
        remember: keeps whom a study selects, for comparison with later ones.
        noisy_minimum: the site tests a private study's cohort against `min_patients`, with noise.
        studies, study_keys, prepared: in memory, by study hash.
    """

    site: str
    min_patients: int
    store: NodeStore
    keys: Keys
    load: Callable[[Cohort, int, bool], Table]
    read_approval: Callable[[bytes], Approval]
    build: Callable[[Study], Analysis] = build_analysis
    now: Callable[[], float] = time.time
    allow: Callable[[Study], Spending | None] = lambda _: None
    noisy_minimum: bool = False
    airlock: Airlock | None = None
    rules: Disclosure | None = None
    suppresses: bool = False
    remember: Callable[[Study, Table], None] = lambda _study, _table: None
    studies: dict[str, Study] = field(default_factory=dict)
    study_keys: dict[str, CipherKey] = field(default_factory=dict, repr=False)
    prepared: dict[str, Prepared] = field(default_factory=dict)


def answer(node: Node, message: Message) -> Message:
    """Answer one message of the coordinator; whatever goes wrong, the answer is a code.

    Returns:
        a contribution, help, or a part of a study's key; or an event `refusal` with the error's code
        and nothing else; or `HELD`, which must not leave.
    """
    study_hash = getattr(message, "study_hash", "")
    try:
        match message:
            case Task():
                return _contribute(node, message)
            case OpenRequest():
                return _help(node, message)
            case Setup():
                return _set_up(node, message)
            case _:
                raise WireError(f"{type(message).__name__}: not a question")
    except FedcohortError as error:
        log.warning("%s: study %.12s: %s", node.site, study_hash, error, extra=about(node.site, study_hash))
        code = error.code if is_told(error) or not is_private(node, study_hash) else WithheldError.code
    except Exception:
        # A fault of ours or of a library must neither end the node nor tell the coordinator anything.
        where = about(node.site, study_hash, FedcohortError.code)
        log.exception("%s: study %.12s: an unexpected error", node.site, study_hash, extra=where)
        code = WithheldError.code if is_private(node, study_hash) else FedcohortError.code
    _note_refusal(node, study_hash, code)
    number, attempt = getattr(message, "round", 0), getattr(message, "attempt", 0)
    return Event("refusal", study_hash, number, attempt, code)


def is_told(error: FedcohortError) -> bool:
    """Whether the code of an error may leave under privacy, too."""
    return isinstance(error, TOLD) and not isinstance(error, RowsError)


def is_private(node: Node, study_hash: str) -> bool:
    """Whether a study has [privacy]; one that was never answered for was not read, and has told nothing."""
    study = node.studies.get(study_hash)
    return study is not None and study.privacy is not None


def private_study(node: Node, study_hash: str) -> Study | None:
    """A proposed study, where it has [privacy].

    Raises:
        StoreError: nobody can tell, as node.db cannot be read.
    """
    try:
        study = _study(node, study_hash)
    except (NotApprovedError, StudyError):
        return None
    return study if study.privacy is not None else None


def is_last(node: Node, reply: Contribution | Help) -> bool:
    """Whether a private study asks for no sum after the one that this is about."""
    study = node.studies.get(reply.study_hash)
    if study is None or study.privacy is None:
        return False
    prepared = node.prepared.get(study.hash)
    analysis = node.build(study) if prepared is None else prepared.analysis
    return reply.round + 1 >= analysis.n_rounds


def _note_refusal(node: Node, study_hash: str, code: str) -> None:
    """Into the event log; a log that cannot be written must not keep the coordinator waiting for the code.

    Whoever asks about studies that were never proposed here makes no entry for each of them.
    """
    try:
        known = study_hash in node.studies or node.store.proposal(study_hash) is not None
        node.store.note_seldom("refused", study_hash if known else "", {"code": code})
    except StoreError as error:
        log.warning("%s: %s", node.site, error, extra=about(node.site, study_hash))


def _contribute(node: Node, task: Task) -> Contribution | Event:
    approval = _approval(node, task.study_hash, task.round)
    study = _study(node, task.study_hash)
    key = _key(node, study)
    stored, began = node.store.last(task.study_hash), time.perf_counter()
    if stored is None or stored.round < task.round:
        # Before anything is computed: what is stored counts as released, and settles the roster.
        protect.check_roster(study, node.keys, task.members)
        stored = _new(node, task, stored, approval)
        if stored is None:
            return Event(HELD, task.study_hash, task.round, task.attempt)
    elif stored.round > task.round:
        raise WireError(f"round {task.round} has passed: this site has already answered round {stored.round}")
    elif stored.state_digest != task.state_digest:
        raise WireError(f"round {task.round} was asked before, of another state; a round has one answer")
    else:
        _check_roster(stored, task.roster_lines)
    computed = time.perf_counter()
    sealed = protect.seal(study, task, node.keys, key, stored)
    seconds = (computed - began, time.perf_counter() - computed)
    about = (task.study_hash, task.round, task.attempt, node.site, task.state_digest)
    if study.privacy is not None:
        # How long a site computes follows from its patients, and no noise is on it.
        seconds = (0.0, 0.0)
    times = int(seconds[0] * 1e6), int(seconds[1] * 1e6)
    return Contribution(*about, sealed.body, sealed.extras, b"", *times)


def _help(node: Node, request: OpenRequest) -> Help:
    """Help to open this site's newest round: one request, ever; it is durable before help leaves."""
    study = _approved(node, request.study_hash, request.round)
    if protect.protection_of(study).opening is None:
        raise WireError("this protection needs no opening")
    stored, digest = node.store.last(request.study_hash), request_digest(request)
    if stored is None or stored.round != request.round:
        raise WireError(f"round {request.round} is not the one that this site has answered last")
    given = node.store.help_given(request.study_hash)
    if given and (given.round > request.round or (given.round == request.round and given.request != digest)):
        raise WireError(f"this site has helped to open other survivors of round {given.round}")
    if given is None or given.round < request.round:
        _check_roster(stored, "\n".join(request.roster))
        context = protect.round_context(study, request, stored.state_digest, shape_from_text(stored.shape))
        body = protect.help_open(study, context, node.keys, _key(node, study), request)
        if study.opened_at == "site" and node.suppresses:
            body = shown_of_sum(study, node.build(study), node.keys, request, stored, body)
        given = HelpGiven(request.study_hash, request.round, digest, body)
        node.store.keep_help(given, len(request.survivors))
    return Help(request.study_hash, request.round, request.attempt, node.site, given.body, request=digest)


def _check_roster(before: Stored, roster_lines: str) -> None:
    """Who takes part in a study is settled by its first round, whoever is lost later."""
    if before.roster != roster_lines:
        raise WireError("another roster than in the rounds before; a study's sites stay the same")


def _set_up(node: Node, setup: Setup) -> Setup:
    """Make the study's key and seal it for the other sites, or take the one that another has made."""
    study = _approved(node, setup.study_hash, 0)
    shared = protect.protection_of(study).setup
    if shared is None:
        raise WireError("this protection has no key of the study")
    protect.check_roster(study, node.keys, setup.roster)
    stored = node.store.study_key(study.hash)
    if not setup.public:
        public, secret = _made_key(node, study, shared, stored)
        sealed = protect.parcels(study, node.keys, setup.roster, public, secret)
        return Setup(study.hash, setup.round, setup.attempt, sealed, public, setup.roster)
    if stored is None or stored.public != setup.public:
        if stored is not None and node.store.last(study.hash) is not None:
            raise WireError("another key than the one that this site has answered under")
        if node.store.n_study_keys(study.hash) >= MOST_KEYS:
            raise WireError(
                f"this study has had {MOST_KEYS} keys, and no more are taken; give it another name"
            )
        secret = protect.open_parcel(study, node.keys, setup)
        node.study_keys[study.hash] = shared.load(setup.public, secret)
        node.store.keep_study_key(_locked(node, study, setup.public, secret))
    return Setup(study.hash, setup.round, setup.attempt, {}, setup.public, setup.roster)


def _made_key(node: Node, study: Study, shared: SharedKey, stored: StudyKey | None) -> tuple[bytes, bytes]:
    if stored is not None:
        return stored.public, node.keys.unlock(study.hash, stored.locked)
    public, secret = shared.make(study.key_bits)
    node.store.keep_study_key(_locked(node, study, public, secret))
    return public, secret


def _locked(node: Node, study: Study, public: bytes, secret: bytes) -> StudyKey:
    return StudyKey(study.hash, public, node.keys.lock(study.hash, secret))


def _key(node: Node, study: Study) -> CipherKey:
    """The study's key at this site; None where its protection has none.

    Raises:
        WireError: no key has come yet.
    """
    shared = protect.protection_of(study).setup
    if shared is None:
        return None
    if study.hash not in node.study_keys:
        stored = node.store.study_key(study.hash)
        if stored is None:
            raise WireError("a task before the study's key")
        secret = node.keys.unlock(study.hash, stored.locked)
        node.study_keys[study.hash] = shared.load(stored.public, secret)
    return node.study_keys[study.hash]


def _approved(node: Node, study_hash: str, number: int) -> Study:
    """The study, when this site's approval of it holds for this round."""
    _approval(node, study_hash, number)
    return _study(node, study_hash)


def _approval(node: Node, study_hash: str, number: int) -> Approval:
    """This site's approval, when it holds for this round."""
    encoded = node.store.approval(study_hash)
    if encoded is None:
        raise NotApprovedError(f"nobody has approved study {study_hash[:12]}; see `fedcohort approve`")
    approval = node.read_approval(encoded)
    if approval.study_hash != study_hash or approval.site != node.site or not approval.approved:
        raise NotApprovedError(f"the approval on file is not for study {study_hash[:12]} at this site")
    check_rules(approval.rules, "this site's approval")
    if node.now() > approval.expires_at:
        raise ApprovalExpiredError("the approval has expired; approve the study again")
    if number >= approval.max_rounds:
        raise PolicyError(f"round {number} is beyond the {approval.max_rounds} rounds that were approved")
    return approval


def _study(node: Node, study_hash: str) -> Study:
    if study_hash not in node.studies:
        proposal = node.store.proposal(study_hash)
        study = parse_study(proposal.study) if proposal else None
        if study is None or study.hash != study_hash:
            raise NotApprovedError(f"study {study_hash[:12]} was not proposed here")
        node.studies[study_hash] = study
    return node.studies[study_hash]


def prepare(node: Node, study_hash: str) -> Prepared:
    """Select the cohort and make the study's analysis ready, once a process.

    Raises:
        NotApprovedError: the study was never proposed here, or its text is not what was hashed.
        PolicyError, SchemaError: site.toml has changed since the approval, and allows it no more.
        CohortTooSmallError: fewer patients than the site's policy demands; never of a private study, whose
            answer does not depend on how many there are.
    """
    if study_hash not in node.prepared:
        study = _study(node, study_hash)
        spending = node.allow(study)
        table = _cohort(node, study)
        analysis = node.build(study)
        rows = Rows(table, study.privacy.rows_per_patient if study.privacy else None)
        analysis.prepare(rows)
        node.remember(study, table)
        node.prepared[study_hash] = Prepared(study, analysis, rows, table.n_patients, spending)
    return node.prepared[study_hash]


def _cohort(node: Node, study: Study) -> Table:
    """The study's patients; where the site demands no least number, a cohort of nobody adds zeros.

    Raises:
        CohortTooSmallError, EmptyCohortError: fewer patients than the site's policy demands.
    """
    try:
        table = node.load(study.cohort, study.seed, study.privacy is not None)
    except EmptyCohortError:
        if node.min_patients:
            raise
        table = nobody(study.cohort, study.seed)
    if study.privacy is None and table.n_patients < node.min_patients:
        raise CohortTooSmallError(f"the cohort has fewer than min_patients = {node.min_patients} patients")
    return table


def _test_cohort(node: Node, prepared: Prepared, kept: SiteState, n_sites: int) -> None:
    """At a site that insists on it, test once, with noise that the study pays for, for enough patients.

    Raises:
        CohortTooSmallError: too few, by the noisy count that was drawn once.
    """
    if not node.noisy_minimum:
        return
    study, store = prepared.study, node.store
    passed = store.tested(study.hash)
    if passed is None:
        test = noise_plan(study, prepared.analysis, kept, n_sites).test
        if test is None:
            raise PolicyError("site.toml: noisy_minimum, and the study has no privacy.cohort_test")
        noisy = prepared.n_patients * TEST_STEPS + int(discrete_gaussian(test.sigma, 1)[0])
        passed = noisy >= node.min_patients * TEST_STEPS
        store.keep_test(
            study.hash, passed, added_cost(study, store.cost(study.hash), [test]), prepared.spending
        )
    if not passed:
        raise CohortTooSmallError(
            f"by this site's own noisy count the cohort has fewer than min_patients = {node.min_patients}"
        )


def _new(node: Node, task: Task, before: Stored | None, approval: Approval) -> Stored | None:
    """A round's contribution, computed once and durable; None while a person is asked whether it may leave.

    A person is asked where the approval says so, site.toml does by now, or one was asked before.
    """
    airlock = node.airlock
    seconds = approval.release_seconds or (0 if airlock is None else airlock.seconds)
    if not seconds and not (airlock is not None and airlock.store.has(task.study_hash)):
        computed = _compute(node, task, before, approval)
        node.store.keep(computed.stored, computed.cost, computed.spending)
        return computed.stored
    if airlock is None:
        raise NotReleasedError("this node asks nobody, and the study was approved to be asked about")
    held = airlock.held_for(task)
    if held is None:
        airlock.hold(_compute(node, task, before, approval).stored, seconds)
        return None
    stored = airlock.let_go(held)
    if stored is not None:
        node.store.keep(stored)
        airlock.store.forget(task.study_hash)
    return stored


@dataclass(frozen=True)
class _Computed:
    """A round's contribution before it is durable, and what it costs."""

    stored: Stored
    cost: Cost | None
    spending: Spending | None


def _compute(node: Node, task: Task, before: Stored | None, approval: Approval) -> _Computed:
    prepared = prepare(node, task.study_hash)
    if before is not None:
        _check_roster(before, task.roster_lines)
    study, analysis, stage = prepared.study, prepared.analysis, _stage(prepared.analysis, task)
    state = State(task.phase, task.round, task.arrays)
    layout, n_sites = analysis.layout(state), len(task.roster)
    draw = Draw(study.seed, node.site, task.round)
    kept = arrays_from_bytes(before.site_state) if before else {}
    drawn, cost = NOT_DRAWN, None
    if study.privacy is not None:
        # Who knows the seed of dropout sees through the noise: it is the site's secret.
        _test_cohort(node, prepared, kept, n_sites)
        drawn = draw_noise(study, analysis, state, kept, n_sites)
        draw = Draw(secrets.randbits(62), node.site, task.round, drawn.inside, poisson_sample)
        cost = added_cost(study, node.store.cost(task.study_hash), drawn.releases)
    rows = replace(prepared.rows, site_state=kept) if kept else prepared.rows
    if study.analysis.by_hospital and tells_by_site(approval.disclosure):
        rows = replace(rows, told_as=node.site)
    contributed = stage.contribute(state, rows, draw)
    vector = site_sum(stage.blocks, contributed, rows, study.privacy is not None)
    ring = to_ring(layout, vector, n_sites, drawn.noise)
    if node.rules is not None and study.privacy is None and not WORDS[study.protection].hides:
        _check_alone(node.rules, replace(prepared, rows=rows), state, Sums(from_ring(layout, ring, n_sites)))
    stored = Stored(
        task.study_hash,
        task.round,
        task.state_digest,
        ring.to_bytes(),
        shape_of(layout, n_sites).text,
        task.roster_lines,
        arrays_to_bytes(analysis.remembered(kept, lambda: from_ring(layout, ring, n_sites))),
    )
    return _Computed(stored, cost, prepared.spending)


def _check_alone(rules: Disclosure, prepared: Prepared, state: State, own: Sums) -> None:
    """Judge this site's own sum by the rules, where the coordinator sees it alone.

    Under a protection that hides it, it is not judged: a refusal would tell what nobody sees.

    Raises:
        DisclosureError: it tells of single patients.
    """
    study = prepared.study
    held = strictest([rules, *([] if study.disclosure is None else [study.disclosure])])
    why = prepared.analysis.under(held).objection_at_site(state, own, prepared.rows, held)
    if why is not None:
        raise DisclosureError(
            "disclosure: of this site's patients alone, whose sums protection = {protection!r} shows: {why}",
            protection=study.protection,
            why=why,
        )


def _stage(analysis: Analysis, task: Task) -> Stage:
    """What a round asks: each round stands for one sum of the study's sequence, and is answered once.

    Raises:
        WireError: the sequence has no such round, or another sum in its place.
    """
    stage = analysis.stage_at(task.round)
    if stage is None or stage.name != task.phase:
        raise WireError(
            f"round {task.round} asks for {task.phase[:64]!r}, which the study does not have there"
        )
    return stage

"""A node's side of a link, in memory: what it says by itself, and what does not end it."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedcohort.analyses.build import build_analysis
from fedcohort.coordinator.plan import TRANSIENT_CODES
from fedcohort.errors import LedgerBehindError, LinkClosedError, StoreError, ValueRangeError
from fedcohort.node import head_exchange, process
from fedcohort.node.answer import Node, is_last, private_study
from fedcohort.node.consent import LocalSite, approve, read_approval
from fedcohort.node.heads import check_not_behind, no_head, take_heads
from fedcohort.node.keys import Keys, RosterFolder, confirm
from fedcohort.node.policy import ListenSettings, SitePolicy
from fedcohort.node.process import serve_link
from fedcohort.node.records import StoredProposal
from fedcohort.node.running import Running
from fedcohort.node.store import SqlNodeStore
from fedcohort.node.witness import Witnesses, countersign, is_countersigned
from fedcohort.node.worker import Worker
from fedcohort.sources.cohort.select import load_cohort
from fedcohort.study import Cohort, Privacy, Study, Train
from fedcohort.table import Table
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.handshake import Peer
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.link import Channel, Link
from fedcohort.wire.messages import (
    Approval,
    Card,
    Contribution,
    Countersignature,
    Event,
    HeadCheck,
    Heads,
    Help,
    Message,
    OpenRequest,
    Proposal,
    Task,
)
from fedcohort.wire.signing import state_digest, study_signing_bytes
from tests.build import TABLE, describe_study, explicit, ward_rows, write_ward
from tests.patience import PATIENCE_SECONDS

STUDY = explicit(describe_study("asked of one node"))
OPEN = explicit(describe_study("exact", protection="none"))


@dataclass
class Coordinator:
    """The other end of a node's link: what it sends, and what it hears."""

    inbox: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    outbox: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    heads: list[Heads] = field(default_factory=list)
    reason: str = ""

    def link(self) -> Link:
        async def receive() -> bytes:
            data = await self.outbox.get()
            if data is None:
                raise LinkClosedError("the connection ended")
            return data

        async def close(reason: str) -> None:
            self.reason = reason

        return Link(Peer("coordinator", bytes(32)), Channel(self.inbox.put, receive, close))

    async def hear(self) -> Message:
        """The next message that is not about the ledger's head."""
        while isinstance(
            message := decode(await asyncio.wait_for(self.inbox.get(), PATIENCE_SECONDS)), Heads
        ):
            self.heads.append(message)
        return message

    async def say(self, message: Message) -> None:
        await self.outbox.put(encode(message))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    database = write_ward(tmp_path / "a.db", ward_rows(0, 20))
    policy = SitePolicy(
        id="a",
        data=str(database),
        tables={TABLE: "*"},
        listen=ListenSettings(port=0),
        state=tmp_path / "state",
    )
    identity, store = new_identity("a"), SqlNodeStore(tmp_path / "state" / "node.db")
    cards: dict[str, Card] = {}
    roster = RosterFolder(tmp_path / "roster")
    keys = Keys(identity, X25519PrivateKey.generate(), cards.get, roster)
    site = LocalSite(policy, identity, store)
    offered = {TABLE: ["age", "bp", "sex", "ill"]}
    node = Node(
        "a", 10, store, keys,
        lambda cohort, seed, private: load_cohort(database, cohort, seed, offered, private=private),
        lambda encoded: read_approval(identity, encoded),
    )  # fmt: skip
    with ThreadPoolExecutor(1) as thread, contextlib.closing(sqlite3.connect(":memory:")) as held:
        yield Running(site, node, held, Worker(thread), cards)
    store.close()


def converse(running: Running, talk: Callable[[Coordinator], Awaitable[None]]) -> Coordinator:
    async def all_of_it() -> Coordinator:
        coordinator = Coordinator()
        serving = asyncio.create_task(serve_link(running, coordinator.link()))
        assert await coordinator.hear() == running.node.keys.card
        await coordinator.say(Heads(()))
        await talk(coordinator)
        await coordinator.outbox.put(None)
        await serving
        return coordinator

    return asyncio.run(asyncio.wait_for(all_of_it(), PATIENCE_SECONDS))


def proposal(study: Study = STUDY) -> Proposal:
    researcher = new_identity("ada")
    signature = researcher.sign(study_signing_bytes(study.canonical))
    return Proposal(study.canonical, "ada", researcher.public_key, signature)


def test_a_node_first_says_what_it_offers(running: Running) -> None:
    async def talk(coordinator: Coordinator) -> None:
        offer = await coordinator.hear()
        assert isinstance(offer, Event)
        assert offer.kind == "catalogue"
        assert b'"bp"' in offer.detail
        assert b"patient_id" not in offer.detail

    converse(running, talk)


def test_an_approval_signed_right_after_the_proposal_is_sent_on(running: Running) -> None:
    async def talk(coordinator: Coordinator) -> None:
        await coordinator.hear()
        await coordinator.say(proposal())
        assert await coordinator.hear() == Event("asked", STUDY.hash)
        signed = approve(running.site, STUDY.hash)
        assert await coordinator.hear() == signed

    converse(running, talk)


def test_an_approval_is_sent_once_a_link(running: Running) -> None:
    async def talk(coordinator: Coordinator) -> None:
        await coordinator.hear()
        await asyncio.sleep(1.2)
        assert coordinator.inbox.empty()

    made = proposal()
    running.site.store.propose(
        StoredProposal(STUDY.hash, made.study, "ada", made.researcher_key, made.signature)
    )
    approve(running.site, STUDY.hash)
    converse(running, talk)


def test_a_study_that_is_asked_anew_and_then_approved_is_sent_on(running: Running) -> None:
    strict = replace(running.site, policy=running.site.policy.model_copy(update={"analyses": ("train",)}))

    async def refuse(coordinator: Coordinator) -> None:
        await coordinator.hear()
        await coordinator.say(proposal())
        answer = await coordinator.hear()
        assert isinstance(answer, Approval)
        assert answer.code == "policy-refused"

    async def ask(coordinator: Coordinator) -> None:
        await coordinator.hear()
        await coordinator.say(proposal())
        assert await coordinator.hear() == Event("asked", STUDY.hash)
        signed = approve(running.site, STUDY.hash)
        assert await coordinator.hear() == signed

    converse(replace(running, site=strict), refuse)
    converse(running, ask)


def test_a_message_that_cannot_be_read_ends_the_link_and_not_the_node(running: Running) -> None:
    async def talk(coordinator: Coordinator) -> None:
        await coordinator.hear()
        await coordinator.outbox.put(b"\xff\xff")

    assert converse(running, talk).reason == "message-invalid"


def test_a_proposal_that_is_no_study_is_refused_with_its_hash_and_a_code(running: Running) -> None:
    async def talk(coordinator: Coordinator) -> None:
        await coordinator.hear()
        for body in (b"{}", b"[" * 50_000, b"\xff", b'{"name": 3}'):
            researcher = new_identity("ada")
            signature = researcher.sign(study_signing_bytes(body))
            await coordinator.say(Proposal(body, "ada", researcher.public_key, signature))
            answer = await coordinator.hear()
            assert isinstance(answer, Approval | Event)
            assert (answer.code, len(answer.study_hash)) == ("study-invalid", 64)

    converse(running, talk)


def test_a_hospital_database_that_is_away_is_offered_when_it_is_back(running: Running) -> None:
    database = Path(running.site.policy.data)
    away = database.rename(database.with_suffix(".away"))

    async def talk(coordinator: Coordinator) -> None:
        await asyncio.sleep(0.7)
        assert coordinator.inbox.empty()
        away.rename(database)
        offer = await coordinator.hear()
        assert isinstance(offer, Event)
        assert offer.kind == "catalogue"

    converse(running, talk)


PRIVATE = explicit(describe_study("private", protection="none", privacy=Privacy(epsilon=1.0, delta=1e-5)))


def first_task(study: Study) -> Task:
    state = build_analysis(study).start()
    digest = state_digest(state.phase, 0, state.arrays)
    return Task(study.hash, 0, 0, state.phase, state.arrays, digest, ("a", "b"))


def slotted(running: Running, seconds: float) -> Running:
    site = replace(running.site, policy=running.site.policy.model_copy(update={"answer_slot": seconds}))
    return replace(running, site=site)


def test_a_slot_begins_at_a_multiple_of_its_seconds(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "time", SimpleNamespace(time=lambda: 1_003.5))
    assert process._until_slot(slotted(running, 60.0)) == 16.5
    assert process._until_slot(slotted(running, 2.0), 5.0) == 6.5
    assert process._until_slot(running) == 0.0


def unreadable(cohort: Cohort, seed: int, private: bool) -> Table:
    raise ValueRangeError("age: 200 is beyond the bounds")


@pytest.mark.parametrize("refused", [False, True])
def test_what_answers_a_private_study_waits_for_its_slot(
    running: Running, monkeypatch: pytest.MonkeyPatch, refused: bool
) -> None:
    """A contribution and a refusal alike, and no head of the ledger tells when they were computed."""
    monkeypatch.setattr(process, "time", SimpleNamespace(time=lambda: 3_600.0))
    monkeypatch.setattr(process, "HEAD_SECONDS", 0.1)
    node = replace(running.node, load=unreadable) if refused else running.node

    async def all_of_it() -> None:
        sure = replace(running, node=node, witnesses=Witnesses(by_operator=True))
        coordinator, kept = Coordinator(), slotted(sure, 3600.0)
        offered = kept.site.policy.model_copy(update={"protections": ("none",)})
        site_of = replace(kept.site, policy=offered)
        for study in (OPEN, PRIVATE):
            made = proposal(study)
            row = StoredProposal(study.hash, made.study, "ada", made.researcher_key, made.signature)
            running.site.store.propose(row)
            approve(site_of, study.hash)
        serving = asyncio.create_task(serve_link(kept, coordinator.link()))
        assert await coordinator.hear() == running.node.keys.card
        await coordinator.say(Heads(()))
        assert isinstance(await coordinator.hear(), Event)
        before = running.store.newest()[0]
        for study in (OPEN, PRIVATE):
            await coordinator.say(first_task(study))
        exact = await coordinator.hear()
        assert exact.study_hash == OPEN.hash  # type: ignore[union-attr]
        kind = "refused" if refused else "release"
        while [event["kind"] for event in running.store.events()].count(kind) < 2:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert running.store.newest()[0] > before
        assert coordinator.inbox.empty()
        of_exact, _ = sequences(running, kind)
        told_of = [head.sequence for heads in coordinator.heads for head in heads.heads]
        assert told_of == ([] if refused else [of_exact])
        serving.cancel()

    asyncio.run(asyncio.wait_for(all_of_it(), PATIENCE_SECONDS))


def test_how_far_the_ledger_has_come_is_told_before_a_refusal_that_a_test_of_the_cohort_decided(
    running: Running,
) -> None:
    """The test was drawn and charged: a copy from before it would draw it again."""
    privacy = Privacy(epsilon=1.0, delta=1e-5, cohort_test=0.2)
    asked = explicit(describe_study("tested", protection="none", privacy=privacy))
    strict = replace(running.node, noisy_minimum=True, min_patients=100_000)
    here = replace(approved(running, asked), node=strict, witnesses=Witnesses(by_operator=True))

    async def talk(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(asked))
        refused = await told(coordinator)
        assert isinstance(refused, Event)
        assert refused.code == "cohort-too-small"
        drawn = [e["sequence"] for e in here.store.events() if e["kind"] == "cohort-test"]
        shown = max((head.sequence for heads in coordinator.heads for head in heads.heads), default=0)
        assert drawn
        assert shown >= max(drawn)  # type: ignore[type-var, operator]

    converse(here, talk)


def relayed(
    peers: dict[str, SqlNodeStore], keys: dict[str, Identity], check: HeadCheck
) -> list[Countersignature]:
    """What an honest coordinator brings back from the other sites."""
    found = [countersign(keys[site], store, lambda name: keys[name].public_key, check)
             for site, store in peers.items()]  # fmt: skip
    return [one for one in found if one is not None]


@pytest.fixture
def peers(running: Running, tmp_path: Path) -> Iterator[tuple[dict[str, SqlNodeStore], dict[str, Identity]]]:
    """Two other sites, whose keys this one has confirmed."""
    keys = {site: new_identity(site) for site in ("b", "c")}
    for site, identity in keys.items():
        confirm(tmp_path / "roster", site, identity.public_key)
    stores = {site: SqlNodeStore(tmp_path / site / "node.db") for site in keys}
    yield stores, {**keys, "a": running.site.identity}
    for store in stores.values():
        store.close()


def approved(running: Running, study: Study) -> Running:
    """The site, which allows `none`, has approved a study."""
    policy = running.site.policy.model_copy(update={"protections": ("none",)})
    here = replace(running, site=replace(running.site, policy=policy))
    made = proposal(study)
    here.store.propose(StoredProposal(study.hash, made.study, "ada", made.researcher_key, made.signature))
    approve(here.site, study.hash)
    return here


async def told(coordinator: Coordinator) -> Message:
    """The next message that is neither the catalogue nor an approval."""
    while True:
        message = await coordinator.hear()
        if isinstance(message, Approval) or (isinstance(message, Event) and message.kind == "catalogue"):
            continue
        return message


Peers = tuple[dict[str, SqlNodeStore], dict[str, Identity]]


async def countersigned(
    coordinator: Coordinator, peers: Peers, most: int = 99, before: Callable[[], None] = lambda: None
) -> tuple[Message, list[HeadCheck]]:
    """Let the peers sign what they are shown; what the node says then, and what it has shown.

    Args:
        most: checks that are relayed; others are lost.
        before: called before the first check is.
    """
    checks: list[HeadCheck] = []
    while isinstance(message := await told(coordinator), HeadCheck):
        if not checks:
            before()
        checks.append(message)
        for signed in relayed(*peers, message) if len(checks) <= most else []:
            await coordinator.say(signed)
    return message, checks


def sequences(running: Running, kind: str) -> list[object]:
    return [event["sequence"] for event in running.store.events() if event["kind"] == kind]


def test_a_private_study_is_countersigned_at_its_beginning_and_with_its_last_release_and_no_more(
    running: Running, peers: Peers
) -> None:
    here = approved(running, PRIVATE)

    async def talk(coordinator: Coordinator) -> None:
        began = here.store.newest()[0]
        await coordinator.say(first_task(PRIVATE))
        said, checks = await countersigned(coordinator, peers)
        assert isinstance(said, Contribution)
        (release,) = sequences(here, "release")
        assert [check.head.sequence for check in checks] == [0, began, release]
        assert len({check.nonce for check in checks}) == 3
        await coordinator.say(replace(first_task(PRIVATE), attempt=1))
        assert isinstance(await told(coordinator), Contribution), "never again"

    converse(here, talk)
    assert here.store.details("countersigned") == [{"sites": ["b", "c"]}] * 2


TRAINED = explicit(
    describe_study(
        "trained",
        protection="none",
        privacy=Privacy(epsilon=1.0, delta=1e-5),
        analysis=Train.private(rounds=5),
    )
)


@pytest.mark.parametrize(("number", "last"), [(0, False), (5, False), (6, True), (9, True)])
def test_the_last_sum_is_known_by_the_study_and_counted_from_the_coordinator_s_rounds(
    running: Running, number: int, last: bool
) -> None:
    """A coordinator that skips numbers only brings the exchange forward."""
    node = replace(running.node, studies={TRAINED.hash: TRAINED, OPEN.hash: OPEN})
    assert build_analysis(TRAINED).n_rounds == 7
    assert is_last(node, Contribution(TRAINED.hash, number, 0, "a", bytes(32), b"")) == last
    assert is_last(node, Help(TRAINED.hash, number, 0, "a", b"")) == last
    assert not is_last(node, Contribution(OPEN.hash, number, 0, "a", bytes(32), b""))


def test_the_last_release_waits_until_others_know_of_it_and_is_then_the_same(
    running: Running, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_exchange, "WITNESS_SECONDS", 0.5)
    here = approved(running, PRIVATE)

    async def talk(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(PRIVATE))
        refused, checks = await countersigned(coordinator, peers, most=2)
        assert isinstance(refused, Event)
        assert (refused.code, len(checks)) == ("ledger-unwitnessed", 3)
        stored = here.store.last(PRIVATE.hash)
        assert stored is not None
        await coordinator.say(replace(first_task(PRIVATE), attempt=1))
        said, checks = await countersigned(coordinator, peers)
        assert isinstance(said, Contribution)
        assert (said.body, len(checks)) == (stored.integers, 1)

    converse(here, talk)
    assert len(sequences(here, "release")) == 1


def test_a_copy_from_between_a_study_s_beginning_and_its_end_is_found_out(
    running: Running, peers: Peers, tmp_path: Path
) -> None:
    """Nothing was relayed but the exchanges; the copy has answered the study's check and not the study."""
    here, copy = approved(running, PRIVATE), tmp_path / "backup.db"

    async def first(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(PRIVATE))
        said, _ = await countersigned(coordinator, peers, before=lambda: backed_up(here, copy))
        assert isinstance(said, Contribution)

    converse(here, first)
    with contextlib.closing(SqlNodeStore(copy)) as older:
        restored = replace(
            here, site=replace(here.site, store=older), node=replace(here.node, store=older, prepared={}),
            witnesses=Witnesses(),
        )  # fmt: skip
        for _ in range(20):
            older.note("goes on by itself")

        async def second(coordinator: Coordinator) -> None:
            await coordinator.say(first_task(PRIVATE))
            check = await told(coordinator)
            assert isinstance(check, HeadCheck)
            for signed in relayed(*peers, check):
                await coordinator.say(signed)

        with pytest.raises(LedgerBehindError, match="an older copy was restored"):
            converse(restored, second)
        assert older.cost(PRIVATE.hash) is None


@pytest.mark.training
def test_the_next_private_study_shows_what_one_that_was_cancelled_released(
    running: Running, peers: Peers, tmp_path: Path
) -> None:
    """Nothing is relayed but the exchanges, and nobody tells a node that a study has ended."""
    here, copy = approved(approved(running, TRAINED), PRIVATE), tmp_path / "backup.db"

    async def cut_short(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(TRAINED))
        said, _ = await countersigned(coordinator, peers, before=lambda: backed_up(here, copy))
        assert isinstance(said, Contribution)

    async def next_one(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(PRIVATE))
        said, checks = await countersigned(coordinator, peers)
        assert isinstance(said, Contribution)
        assert [checks[1].head.sequence] == sequences(here, "release")[:1]

    converse(here, cut_short)
    with contextlib.closing(SqlNodeStore(copy)) as older:
        assert older.cost(TRAINED.hash) is None
        assert {one.study_hash for one in older.reservations()} == {TRAINED.hash, PRIVATE.hash}

        def asked_what_others_hold() -> None:
            for signed in relayed(*peers, HeadCheck(no_head(here.site.identity), bytes(32))):
                take_heads(here.site.identity, older, lambda _: None, Heads((signed.head,)))

        asked_what_others_hold()
        converse(here, next_one)
        with pytest.raises(LedgerBehindError, match="an older copy was restored"):
            asked_what_others_hold()


def backed_up(running: Running, copy: Path) -> None:
    with contextlib.closing(sqlite3.connect(str(running.store._database._url.database))) as source:
        source.execute(f"VACUUM INTO '{copy}'")


def test_help_with_a_private_study_is_countersigned_as_its_contributions_are(
    running: Running, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the first question may be to help; an older copy would help to open another sum."""
    monkeypatch.setattr(head_exchange, "WITNESS_SECONDS", 0.2)
    here = approved(approved(running, PRIVATE), OPEN)

    async def talk(coordinator: Coordinator) -> None:
        await coordinator.say(OpenRequest(PRIVATE.hash, 0, 3, ("a", "b"), b"", {}, ("a", "b")))
        refused, checks = await countersigned(coordinator, peers, most=0)
        assert refused == Event("refusal", PRIVATE.hash, 0, 3, "ledger-unwitnessed")
        assert len(checks) == 1
        await coordinator.say(OpenRequest(OPEN.hash, 0, 0, ("a", "b"), b"", {}, ("a", "b")))
        _, checks = await countersigned(coordinator, peers)
        assert checks == []

    converse(here, talk)


def test_the_head_is_told_before_help_and_before_an_exact_study_s_first_answer(running: Running) -> None:
    here = approved(approved(running, PRIVATE), OPEN)
    for study in (PRIVATE, OPEN):
        here.node.studies[study.hash] = study
    help_of = {study.hash: Help(study.hash, 0, 0, "a", b"") for study in (PRIVATE, OPEN)}
    exact = Contribution(OPEN.hash, 0, 0, "a", bytes(32), b"")
    assert process._spends(here, help_of[PRIVATE.hash])
    assert not process._spends(here, help_of[OPEN.hash])
    assert [process._spends(here, exact) for _ in range(3)] == [True, False, False]


def test_a_study_that_node_db_cannot_tell_is_not_answered_as_if_it_were_exact(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that is gone a moment later must not spare a private study its countersignatures."""
    here = approved(running, PRIVATE)

    def locked(study_hash: str) -> StoredProposal:
        raise StoreError("node.db is locked")

    monkeypatch.setattr(here.store, "proposal", locked)
    with pytest.raises(StoreError):
        private_study(here.node, PRIVATE.hash)


def test_nobody_countersigns_under_a_key_that_only_the_coordinator_announces(
    running: Running, peers: Peers
) -> None:
    """With keys of its own it would let a site forget what it holds of another."""
    stores, keys = peers
    stranger = new_identity("d")
    keys["d"] = stranger
    running.cards["d"] = Card("d", stranger.public_key, bytes(32), bytes(64))
    for site, counts in (("b", True), ("d", False)):
        check = Witnesses().ask(keys[site], stores["b"], 1)
        assert (head_exchange.countersign_for(running, check) is not None) == counts


def test_without_countersignatures_a_private_study_waits_and_an_exact_one_does_not(
    running: Running, peers: Peers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A coordinator that relays nothing gets no private answer, and the site is asked again."""
    monkeypatch.setattr(head_exchange, "WITNESS_SECONDS", 0.2)
    here, (stores, keys) = approved(approved(running, PRIVATE), OPEN), peers

    async def talk(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(PRIVATE))
        assert isinstance(await told(coordinator), HeadCheck)
        refused = await told(coordinator)
        assert isinstance(refused, Event)
        assert refused.code == "ledger-unwitnessed"
        assert refused.code in TRANSIENT_CODES
        await coordinator.say(first_task(OPEN))
        assert isinstance(await told(coordinator), Contribution)
        await coordinator.say(replace(first_task(PRIVATE), attempt=1))
        check = await told(coordinator)
        assert isinstance(check, HeadCheck)
        first, second = relayed(stores, keys, check)
        await coordinator.say(first)
        await coordinator.say(first)
        assert isinstance(await told(coordinator), Event), "one site that signs twice is one site"
        await coordinator.say(second)

    converse(here, talk)
    assert "0 of the 2 other sites that must countersign" in caplog.text
    assert "not heard of: b, c; a site that is away or of an earlier version" in caplog.text
    assert here.store.cost(PRIVATE.hash) is None


def test_a_restored_copy_stops_where_the_coordinator_relays_no_head_at_all(
    running: Running, peers: Peers, tmp_path: Path
) -> None:
    """The first life answers one study; a copy from before it is found out by what peers have signed."""
    here = approved(running, PRIVATE)
    copy = tmp_path / "backup.db"
    backed_up(here, copy)

    async def first(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(PRIVATE))
        said, _ = await countersigned(coordinator, peers)
        assert isinstance(said, Contribution)

    running.store.note("later", "")
    converse(here, first)
    with contextlib.closing(SqlNodeStore(copy)) as older:
        restored = replace(here, site=replace(here.site, store=older), node=replace(here.node, store=older))

        async def second(coordinator: Coordinator) -> None:
            await coordinator.say(first_task(PRIVATE))
            check = await told(coordinator)
            assert isinstance(check, HeadCheck)
            for signed in relayed(*peers, check):
                await coordinator.say(signed)

        with pytest.raises(LedgerBehindError, match="an older copy was restored"):
            converse(replace(restored, witnesses=Witnesses()), second)
        with pytest.raises(LedgerBehindError):
            check_not_behind(older, "a")
        assert older.cost(PRIVATE.hash) is None


@pytest.mark.parametrize("word", ["newest-copy", "counter", "neither"])
def test_with_too_few_other_sites_the_operator_s_word_or_a_counter_stands_in(
    running: Running, word: str
) -> None:
    here = approved(running, PRIVATE)
    vouched = Witnesses(by_operator=word == "newest-copy", by_counter=word == "counter")

    async def talk(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(PRIVATE))
        reply = await told(coordinator)
        assert isinstance(reply, Event if word == "neither" else Contribution)
        assert getattr(reply, "code", "") == ("ledger-unwitnessed" if word == "neither" else "")

    converse(replace(here, witnesses=vouched), talk)


def test_a_node_countersigns_while_it_computes(
    running: Running, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes that wait for each other would wait for ever."""
    stores, keys = peers
    release = threading.Event()

    def slow(cohort: Cohort, seed: int, private: bool) -> Table:
        assert release.wait(PATIENCE_SECONDS)
        raise ValueRangeError("age")

    here = approved(running, OPEN)
    here = replace(here, node=replace(here.node, load=slow))

    async def talk(coordinator: Coordinator) -> None:
        await coordinator.say(first_task(OPEN))
        check = Witnesses().ask(keys["b"], stores["b"], 1)
        await coordinator.say(check)
        signed = await told(coordinator)
        assert isinstance(signed, Countersignature)
        assert is_countersigned(keys["b"], stores["b"], {"a": keys["a"].public_key}, check, signed)
        release.set()
        assert isinstance(await told(coordinator), Event)

    converse(here, talk)

"""The airlock: what is computed waits for a person, and leaves as it was looked at or not at all."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from fedcohort.errors import ConfigError, NotFoundError, PolicyError, StoreError, StudyError
from fedcohort.node.airlock import Airlock, Held, decide, find_held
from fedcohort.node.answer import HELD, Node, answer
from fedcohort.node.consent import LocalSite, approve, stored_answer
from fedcohort.node.held_answer import as_csv, held_answer
from fedcohort.node.policy import MOST_RELEASES, SECONDS_PER_DAY, SitePolicy, check_study, read_policy
from fedcohort.node.published_rules import objections, published_rules
from fedcohort.node.records import Stored
from fedcohort.node.running import open_node
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Privacy, Study, Train
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Contribution, Event, Message
from tests.build import describe_study, explicit
from tests.dashboard.hospital_site import ask, asking_policy, ward_study

from .test_answer import ABOUT, NOW, STUDY, TWO, Bench, code_of, task

HOUR = 3600


@dataclass
class Clock:
    """Seconds, which pass when the test says so."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Ward:
    """A site where a person lets each answer go."""

    bench: Bench
    clock: Clock = field(default_factory=Clock)

    def approved(self, study: Study = STUDY, seconds: int = HOUR) -> Node:
        return self._held(self.bench.approved(study, release_seconds=seconds))

    def restarted(self) -> Node:
        return self._held(self.bench.node())

    def _held(self, node: Node) -> Node:
        store = node.store
        assert isinstance(store, SqlNodeStore)
        return replace(node, airlock=Airlock(store.held, self.bench.keys.identity, 0, self.clock))

    @property
    def store(self) -> SqlNodeStore:
        return self.bench.stores[-1]

    def held(self, study: Study = STUDY) -> Held:
        return find_held(self.store.held, study.hash[:8], int(self.clock.now * 1000))

    def say(self, word: str, held: Held | None = None, by: str = "Grace") -> None:
        state = "released" if word == "released" else "withheld"
        decide(self.store.held, self.bench.keys.identity, held or self.held(), state, by, self.clock.now)  # type: ignore[arg-type]

    def kinds(self) -> list[str]:
        return [str(event["kind"]) for event in self.store.events()][2:]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    made = Ward(Bench(tmp_path))
    yield made
    for store in made.bench.stores:
        store.close()


def waits(reply: Message) -> bool:
    return isinstance(reply, Event) and reply == Event(HELD, STUDY.hash, 0, reply.attempt)


def test_an_answer_waits_until_a_person_lets_it_go_and_is_computed_once(ward: Ward) -> None:
    node = ward.approved()
    assert waits(answer(node, task()))
    assert waits(answer(node, task(attempt=1)))
    assert (node.store.last(STUDY.hash), ward.kinds()) == (None, ["held"])
    ward.say("released")
    reply = answer(node, task(attempt=2))
    assert isinstance(reply, Contribution)
    assert ward.kinds() == ["held", "let-go", "release"]
    assert (ward.bench.selected, ward.store.held.waiting(), ward.store.verify()) == (1, [], 5)


def test_what_was_shown_is_what_is_sent_and_what_an_open_site_sends(ward: Ward, tmp_path: Path) -> None:
    node = ward.approved()
    answer(node, task())
    held = ward.held()
    shown = held_answer(STUDY, held, SitePolicy.model_fields["disclosure"].default)
    ward.say("released", held)
    reply = answer(node, task())
    assert isinstance(reply, Contribution)
    assert reply.body == held.stored.integers
    (release,) = [event for event in ward.store.events() if event["kind"] == "release"]
    assert ward.store.read_detail(release)["digest"] == held.digest.hex()
    open_site = Bench(tmp_path / "open")
    assert answer(open_site.approved(), task()) == replace(reply, signature=b""), (
        "the airlock changes nothing of what leaves"
    )
    values = {block.name: block.values.reshape(-1).tolist() for block in shown.blocks}
    assert [20.0] in values.values(), "twenty patients"
    assert f"{values['levels/sex'][0]:.0f}" in as_csv(shown)


def test_a_node_that_was_restarted_goes_on_waiting_and_computes_nothing_again(ward: Ward) -> None:
    answer(ward.approved(), task())
    before = ward.held()
    node = ward.restarted()
    assert waits(answer(node, task(attempt=5)))
    assert ward.held() == before
    assert ward.bench.selected == 1
    ward.say("released")
    assert isinstance(answer(ward.restarted(), task(attempt=6)), Contribution)
    assert ward.bench.selected == 1


def test_a_no_and_a_silence_look_alike_from_outside(ward: Ward, tmp_path: Path) -> None:
    seen = []
    for name, word in (("no", "withheld"), ("silence", "")):
        one = Ward(Bench(tmp_path / name))
        node = one.approved()
        told: list[tuple[Message, int]] = []
        for step in range(4):
            told.append((answer(node, task(attempt=step)), one.store.newest()[0]))
            if step == 0 and word:
                one.say(word)
            one.clock.now += HOUR / 3
        seen.append(told)
        assert one.store.held.of(STUDY.hash).stored.integers == b""  # type: ignore[union-attr]
        (ended,) = [event for event in one.store.events() if event["kind"] == "withheld"]
        assert one.store.read_detail(ended).get("by") == ("Grace" if word else None)
    assert seen[0] == seen[1]
    assert [code_of(reply) for reply, _ in seen[0][3:]] == ["not-released"]


def test_a_round_that_nobody_let_go_is_lost_for_good_and_so_is_the_study(ward: Ward) -> None:
    node = ward.approved(TWO)
    answer(node, task(TWO, 0))
    held = ward.held(TWO)
    ward.clock.now += HOUR
    for number in (0, 1):
        assert code_of(answer(node, task(TWO, number, **ABOUT))) == "not-released"
    with pytest.raises(NotFoundError, match="waits no longer"):
        ward.say("released", held)
    with pytest.raises(NotFoundError, match="0 answers wait"):
        ward.held(TWO)
    assert code_of(answer(ward.restarted(), task(TWO, 0))) == "not-released"


def test_a_decision_is_taken_once(ward: Ward) -> None:
    answer(ward.approved(), task())
    held = ward.held()
    ward.say("withheld", held)
    with pytest.raises(NotFoundError, match="this answer waits no longer; load the list again"):
        ward.say("released", held)
    assert ward.store.held.waiting(int(NOW * 1000)) == []


def test_what_was_let_go_and_is_never_asked_for_is_deleted_in_the_end(ward: Ward) -> None:
    node = ward.approved()
    answer(node, task())
    ward.say("released")
    assert node.airlock is not None
    for days, kept in ((29, True), (31, False)):
        ward.clock.now = NOW + HOUR + days * SECONDS_PER_DAY
        node.airlock.end_overdue()
        assert ward.store.held.has(STUDY.hash) is kept


def test_each_round_waits_for_itself(ward: Ward) -> None:
    node = ward.approved(TWO)
    answer(node, task(TWO, 0))
    assert code_of(answer(node, task(TWO, 1, **ABOUT))) == "message-invalid", "the first one waits"
    ward.say("released", ward.held(TWO))
    assert isinstance(answer(node, task(TWO, 0)), Contribution)
    second = task(TWO, 1, **ABOUT)
    assert isinstance(answer(node, second), Event)
    assert code_of(answer(node, task(TWO, 1, **{**ABOUT, "centre": [51.0]}))) == "message-invalid"
    shown = held_answer(TWO, ward.held(TWO), SitePolicy.model_fields["disclosure"].default)
    assert (shown.held.stored.round, shown.n_rounds) == (1, 2)
    ward.say("released", ward.held(TWO))
    assert isinstance(answer(node, second), Contribution)


def tamper(path: Path, column: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"UPDATE held SET {column} = ?", (value,))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("integers", lambda held: bytes([held.stored.integers[0] ^ 1]) + held.stored.integers[1:]),
        ("site_state", lambda held: held.stored.site_state + b"1"),
        ("signature", lambda _: bytes(64)),
    ],
    ids=["integers", "site_state", "signature"],
)
def test_a_vector_that_was_changed_after_it_was_let_go_does_not_leave(
    ward: Ward, column: str, value: object
) -> None:
    node = ward.approved()
    answer(node, task())
    held = ward.held()
    ward.say("released", held)
    tamper(ward.bench.folder / "node.db", column, value(held))  # type: ignore[operator]
    assert code_of(answer(node, task())) == "not-released"
    assert node.store.last(STUDY.hash) is None


def test_a_vector_that_was_changed_before_it_was_looked_at_goes_once_node_db_is_restored(ward: Ward) -> None:
    answer(ward.approved(), task())
    database, kept = ward.bench.folder / "node.db", ward.held().stored.integers
    tamper(database, "integers", bytes(len(kept)))
    with pytest.raises(StoreError, match=r"was computed; node\.db was changed: restore a backup"):
        ward.say("released")
    tamper(database, "integers", kept)
    ward.say("released")


def test_a_study_that_was_approved_before_waits_too_once_site_toml_asks_for_it(ward: Ward) -> None:
    node = ward.approved(seconds=0)
    assert node.airlock is not None
    assert waits(answer(replace(node, airlock=replace(node.airlock, seconds=HOUR)), task()))
    assert waits(answer(ward._held(ward.bench.node()), task())), "and goes on waiting, whatever it says later"


POLICY = {"id": "a", "data": "a.db", "tables": {"ward": "*"}, "coordinator": "ws://x", "release": "person"}


def test_private_studies_and_long_ones_are_refused_where_a_person_lets_answers_go() -> None:
    policy = SitePolicy(**POLICY, protections=("none",))  # type: ignore[arg-type]
    check_study(policy, STUDY)
    private = STUDY.model_copy(update={"privacy": Privacy(epsilon=1.0)})
    with pytest.raises(PolicyError, match=r"under \[privacy\] the person's no would tell"):
        check_study(policy, private)
    open_ = policy.model_copy(update={"release": "auto"})
    check_study(open_, private)
    long = explicit(describe_study("long", protection="none")).model_copy(
        update={"analysis": Train(rounds=MOST_RELEASES + 1)}
    )
    with pytest.raises(PolicyError, match=rf"at most {MOST_RELEASES} of a study.*fewer rounds"):
        check_study(policy, long)
    check_study(open_, long)
    check_study(policy, long.model_copy(update={"analysis": STUDY.analysis}))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("privacy_required = true", "privacy_required asks for such studies"),
        ("noisy_minimum = true\nanswer_slot = 5.0", "noisy_minimum, answer_slot asks for such studies"),
        ("[budget.ward]\nepsilon = 1.0", "budget asks for such studies"),
        ("release_hours = 721.0", "release_hours"),
        ("release_hours = 48.0\napproval_days = 1", "longer than the approval_days"),
    ],
    ids=["required", "noisy", "budget", "long", "days"],
)
def test_a_site_toml_that_contradicts_its_person_is_refused_in_words(
    tmp_path: Path, words: str, told: str
) -> None:
    path = tmp_path / "site.toml"
    head, _, table = words.partition("[")
    named = 'id = "a"\ndata = "a.db"\ncoordinator = "ws://x"\nrelease = "person"\n'
    text = f'{named}{head}\n[tables]\nward = "*"\n'
    path.write_text(text + (f"[{table}\n" if table else ""), encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        read_policy(path)
    path.write_text(path.read_text(encoding="utf-8").replace('release = "person"\n', ""), encoding="utf-8")
    if "release_hours" not in words:
        read_policy(path)


def test_a_time_for_nobody_is_refused_and_the_time_is_three_days_where_none_is_said() -> None:
    with pytest.raises(StudyError, match='release_hours: it has an effect with release = "person" only'):
        SitePolicy(**{**POLICY, "release": "auto", "release_hours": 1.0})  # type: ignore[arg-type]
    assert SitePolicy(**POLICY).release_seconds == 72 * HOUR  # type: ignore[arg-type]
    assert SitePolicy(**{**POLICY, "release_hours": 0.5}).release_seconds == HOUR // 2  # type: ignore[arg-type]
    assert SitePolicy(**{**POLICY, "release": "auto"}).release_seconds == 0  # type: ignore[arg-type]


def test_the_rules_verdicts_name_small_cells_and_what_would_end_the_study(ward: Ward) -> None:
    answer(ward.approved(), task())
    rules = SitePolicy.model_fields["disclosure"].default
    shown = held_answer(STUDY, ward.held(), rules)
    by_name = {block.name: block for block in shown.blocks}
    counts = by_name["levels/sex"]
    small = {place for place, value in enumerate(counts.values.reshape(-1)) if 0 < value < rules.min_cell}
    assert counts.few == small
    assert np.sum(counts.values) <= 20
    assert {line.verdict for line in shown.verdicts} <= {"ready", "warning"}
    assert any("min_cell = 10" in line.found for line in shown.verdicts)


def test_a_site_says_its_time_with_its_approval_and_its_rule_with_its_catalogue(tmp_path: Path) -> None:
    policy = asking_policy(tmp_path).model_copy(update={"release": "person", "release_hours": 0.5})
    with closing(SqlNodeStore(tmp_path / "node.db")) as store:
        site = LocalSite(policy, new_identity("a"), store)
        signed = approve(site, ask(site, "described"))
        assert (signed.approved, signed.release_seconds) == (True, HOUR // 2)
        refused = stored_answer(site, ask(site, "private", epsilon=1.0))
        assert (refused.approved, refused.code, refused.release_seconds) == (False, "policy-refused", 0)
    told = {"a": {"tables": {"ward": {}}, "rules": published_rules(policy)}}
    assert objections(ward_study("described"), told) == {}
    assert "the person's no would tell" in objections(ward_study("private", 1.0), told)["a"]


def test_a_node_that_was_down_when_the_time_was_up_deletes_the_vector_when_it_starts(tmp_path: Path) -> None:
    policy = asking_policy(tmp_path).model_copy(update={"release": "person"})
    for number in range(2):
        running = open_node(policy)
        if number == 0:
            running.store.held.hold(Stored("0" * 64, 0, b"d", b"integers", "[]", "a"), until_ms=1)
        held = running.store.held.of("0" * 64)
        assert held is not None
        assert (held.state, held.stored.integers) == (("waiting", b"integers"), ("ended", b""))[number]
        running.store.close()
        running.held.close()

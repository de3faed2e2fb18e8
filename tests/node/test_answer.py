"""The one exit for data: computed once, resent as stored, refused with a code and nothing else."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedcohort as fc
from fedcohort.analyses.build import build_analysis
from fedcohort.analyses.contract import Analysis
from fedcohort.engines.local import Simulated
from fedcohort.errors import PrivacyRequiredError, StoreError
from fedcohort.node.answer import Node, answer
from fedcohort.node.budgets import Budget
from fedcohort.node.keys import Keys
from fedcohort.node.policy import SECONDS_PER_DAY, SitePolicy, check_study
from fedcohort.node.records import StoredProposal
from fedcohort.node.running import open_node
from fedcohort.node.store import SqlNodeStore
from fedcohort.sources.catalogue.schema import wide_table
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.importer.deidentification import MADE_UP
from fedcohort.sources.importer.whole_dataset import write_rows
from fedcohort.storage.durable import MOST_EQUAL_ENTRIES
from fedcohort.study import Cohort, Study
from fedcohort.table import Table
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.messages import Approval, Contribution, Event, OpenRequest, Task
from fedcohort.wire.signing import approval_signing_bytes, state_digest
from tests.build import COLUMNS, describe_study, explicit, frame_of, ward_rows

NOW = 1_800_000_000.0
STUDY = explicit(describe_study("one site", protection="none"))


@dataclass
class Bench:
    """One site with a store on disk, that counts how often it selects its cohort."""

    folder: Path
    keys: Keys = field(default_factory=lambda: Simulated().join("a"))
    selected: int = 0
    stores: list[SqlNodeStore] = field(default_factory=list)

    def load(self, cohort: Cohort, seed: int, private: bool) -> Table:
        self.selected += 1
        return table_from_frame(frame_of(ward_rows(0, 20)), cohort, seed)

    def read(self, encoded: bytes) -> Approval:
        approval = decode(encoded)
        assert isinstance(approval, Approval)
        return approval

    def node(self, load: Callable[[Cohort, int, bool], Table] | None = None, min_patients: int = 10) -> Node:
        """The node as after a restart: nothing but its store is kept."""
        store = SqlNodeStore(self.folder / "node.db")
        self.stores.append(store)
        return Node("a", min_patients, store, self.keys, load or self.load, self.read, now=lambda: NOW)

    def approved(self, study: Study = STUDY, **changes: object) -> Node:
        node = self.node()
        node.store.propose(StoredProposal(study.hash, study.canonical, "ada", bytes(32), bytes(64)))
        fresh = Approval(study.hash, "a", approved=True, max_rounds=5, expires_at=int(NOW) + SECONDS_PER_DAY)
        approval = replace(fresh, **changes)  # type: ignore[arg-type]
        signature = self.keys.identity.sign(approval_signing_bytes(approval))
        node.store.decide(study.hash, "approved", encode(replace(approval, signature=signature)))
        return node


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for store in made.stores:
        store.close()


def task(study: Study = STUDY, number: int = 0, attempt: int = 0, phase: str = "", **more: object) -> Task:
    """What the study asks in a round, or another phase in its place, of a state with more arrays."""
    analysis = build_analysis(study)
    stage = analysis.stage_at(number)
    phase = phase or (stage.name if stage else "moments")
    arrays = {**analysis.start().arrays, **{name: np.asarray(array) for name, array in more.items()}}
    digest = state_digest(phase, number, arrays)
    return Task(study.hash, number, attempt, phase, arrays, digest, ("a", "b"))


def two_sums() -> Study:
    """Of a number without bounds: `moments`, then `histograms` about them."""
    columns = {"age": fc.Numeric()}
    asked = fc.Study(
        name="two", cohort=fc.Cohort(columns=columns), analysis=fc.Describe(), protection="none", min_sites=2
    )
    assert [stage.name for stage in build_analysis(asked).stages] == ["moments", "histograms"]
    return explicit(asked)


TWO = two_sums()
ABOUT: dict[str, Any] = {"centre": [50.0], "scale": [30.0]}


def code_of(message: object) -> str:
    assert isinstance(message, Event), message
    assert message.kind == "refusal"
    assert message.detail == b""
    return message.code


def test_a_repeated_task_resends_the_stored_bytes_without_computing_again(bench: Bench) -> None:
    node = bench.approved()
    first, again = answer(node, task()), answer(node, task(attempt=1))
    assert isinstance(first, Contribution)
    assert isinstance(again, Contribution)
    assert first.body == again.body
    assert (first.attempt, again.attempt) == (0, 1)
    assert bench.selected == 1


def test_after_a_restart_a_repeated_task_resends_the_stored_bytes_without_its_patients(bench: Bench) -> None:
    first = answer(bench.approved(), task())

    def gone(cohort: Cohort, seed: int, private: bool) -> Table:
        raise StoreError("hospital.db: is gone")

    assert answer(bench.node(load=gone), task()) == first
    assert bench.selected == 1


def test_a_contribution_is_in_the_event_log_before_it_leaves_and_once_only(bench: Bench) -> None:
    node = bench.approved()
    answer(node, task())
    answer(node, task(attempt=1))
    releases = [event for event in bench.stores[0].events() if event["kind"] == "release"]
    assert len(releases) == 1
    assert bench.stores[0].verify() == len(bench.stores[0].events())


def test_a_round_has_one_answer_whatever_state_is_asked_of_it_later(bench: Bench) -> None:
    node = bench.approved()
    answer(node, task())
    assert code_of(answer(node, task(nudge=1.0))) == "message-invalid"


def test_a_round_that_has_passed_is_not_answered(bench: Bench) -> None:
    node = bench.approved(TWO)
    assert isinstance(answer(node, task(TWO, 1, **ABOUT)), Contribution)
    assert code_of(answer(node, task(TWO, 0))) == "message-invalid"


@pytest.mark.parametrize(
    ("number", "phase"),
    [
        (0, "histograms"),
        (1, "moments"),
        (0, "train"),
        (0, "done"),
        (2, "moments"),
        (2, "histograms"),
        (2, "done"),
        (4, "histograms"),
    ],
    ids=str,
)
@pytest.mark.parametrize("answered", [0, 1, 2], ids="{} answered".format)
def test_a_round_is_asked_for_the_sum_that_stands_in_its_place_and_for_nothing_else(
    bench: Bench, answered: int, number: int, phase: str
) -> None:
    """Moments once more, of another roster or after a patient was entered, would tell by subtraction."""
    node = bench.approved(TWO)
    honest = [answer(node, task(TWO, place, **ABOUT)) for place in range(answered)]
    assert all(isinstance(reply, Contribution) for reply in honest)
    before = node.store.last(TWO.hash)
    asked = task(TWO, number, phase=phase, **ABOUT)
    assert code_of(answer(node, asked)) == "message-invalid"
    assert node.store.last(TWO.hash) == before


@pytest.mark.parametrize("lines", [0, 1, 19, 20, 21])
def test_a_centre_of_as_many_lines_as_there_are_rows_is_refused_as_any_other(
    bench: Bench, lines: int
) -> None:
    """It would fit the site's 20 rows and no other number, so that the refusals would count them."""
    node = bench.approved(TWO)
    for name in ABOUT:
        strange = task(TWO, 1, **{**ABOUT, name: np.ones((lines, 1))})
        assert code_of(answer(node, strange)) == "message-invalid"
    assert isinstance(answer(node, task(TWO, 1, **ABOUT)), Contribution)


def test_a_sum_that_was_asked_is_not_asked_in_a_later_round_whatever_it_is_called(bench: Bench) -> None:
    node = bench.approved(TWO)
    assert isinstance(answer(node, task(TWO, 0)), Contribution)
    for number in (1, 2, 3, 4):
        assert code_of(answer(node, task(TWO, number, phase="moments"))) == "message-invalid"
    assert isinstance(answer(node, task(TWO, 1, **ABOUT)), Contribution)
    assert code_of(answer(node, task(TWO, 1, **{**ABOUT, "centre": [51.0]}))) == "message-invalid"


def test_a_study_that_nobody_approved_is_not_answered(bench: Bench) -> None:
    node = bench.node()
    node.store.propose(StoredProposal(STUDY.hash, STUDY.canonical, "ada", bytes(32), bytes(64)))
    assert code_of(answer(node, task())) == "not-approved"
    assert bench.selected == 0


def test_whoever_asks_without_end_what_is_refused_fills_no_event_log(bench: Bench) -> None:
    node = bench.node()
    node.store.propose(StoredProposal(STUDY.hash, STUDY.canonical, "ada", bytes(32), bytes(64)))
    for number in range(2 * MOST_EQUAL_ENTRIES):
        assert code_of(answer(node, task())) == "not-approved"
        assert code_of(answer(node, replace(task(), study_hash=f"{number:064}"))) == "not-approved"
    store = node.store
    assert isinstance(store, SqlNodeStore)
    refused = [str(event["study_hash"]) for event in store.events() if event["kind"] == "refused"]
    assert sorted(refused) == [""] * MOST_EQUAL_ENTRIES + [STUDY.hash] * MOST_EQUAL_ENTRIES


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires_at": int(NOW) - 1}, "approval-expired"),
        ({"rules": 1}, "rules-differ"),
        ({"approved": False}, "not-approved"),
        ({"site": "b"}, "not-approved"),
        ({"study_hash": "0" * 64}, "not-approved"),
        ({"max_rounds": 0}, "policy-refused"),
    ],
    ids=str,
)
def test_an_approval_holds_only_for_its_study_site_rounds_and_days(
    bench: Bench, changes: dict[str, object], code: str
) -> None:
    node = bench.approved()
    encoded = node.store.approval(STUDY.hash)
    assert encoded is not None
    approval = replace(bench.read(encoded), **changes)  # type: ignore[arg-type]
    node.store.decide(STUDY.hash, "approved", encode(approval))
    assert code_of(answer(node, task())) == code
    assert bench.selected == 0


def test_a_cohort_below_min_patients_is_not_answered(bench: Bench) -> None:
    bench.approved()
    assert code_of(answer(bench.node(min_patients=21), task())) == "cohort-too-small"
    assert isinstance(answer(bench.node(min_patients=20), task()), Contribution)


def test_a_site_that_sets_a_budget_while_a_study_without_privacy_runs_releases_no_more_of_it(
    bench: Bench,
) -> None:
    policy = SitePolicy(
        id="a", data="a.db", tables={"ward": "*"}, coordinator="ws://x", protections=("none",),
        budget={"ward": Budget(epsilon=1.0)},
    )  # fmt: skip
    first = answer(bench.approved(), task())
    restarted = replace(bench.node(), allow=partial(check_study, policy))
    assert code_of(answer(restarted, task(number=1))) == "privacy-required"
    assert answer(restarted, task()) == first, "what has left may be sent again"


def test_a_live_node_holds_every_study_against_its_site_toml(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.db", wide_table("ward", COLUMNS), COLUMNS, ward_rows(0), MADE_UP)
    policy = SitePolicy(
        id="a", data=str(tmp_path / "a.db"), tables={"ward": "*"}, coordinator="ws://x",
        state=tmp_path / "state", roster=tmp_path / "roster", budget={"ward": Budget(epsilon=1.0)},
    )  # fmt: skip
    running = open_node(policy)
    with pytest.raises(PrivacyRequiredError, match=r"a study without \[privacy\] costs more than any budget"):
        running.node.allow(explicit(describe_study("exact")))
    running.store.close()
    running.held.close()


def test_an_unexpected_exception_becomes_the_code_internal_and_the_next_task_is_answered(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    node = bench.approved()
    calls: list[Study] = []

    def build(study: Study) -> Analysis:
        calls.append(study)
        if len(calls) == 1:
            raise ZeroDivisionError("patient s0p0007 is 97.25 years old")
        return build_analysis(study)

    shaky = replace(node, build=build)
    with caplog.at_level(logging.ERROR):
        reply = answer(shaky, task())
    assert code_of(reply) == "internal"
    assert b"s0p0007" not in encode(reply)
    assert isinstance(answer(shaky, task()), Contribution)


def test_a_message_that_is_no_task_is_refused(bench: Bench) -> None:
    node = bench.approved()
    request = OpenRequest(STUDY.hash, 0, 0, ("a", "b"), b"")
    assert code_of(answer(node, request)) == "message-invalid"


def test_a_task_of_a_shape_that_the_study_does_not_have_is_refused_with_a_code(bench: Bench) -> None:
    node = bench.approved()
    arrays = {"weights": np.zeros(3)}
    strange = Task(STUDY.hash, 0, 0, "train", arrays, state_digest("train", 0, arrays), ("a", "b"))
    assert code_of(answer(node, strange)) in {"internal", "message-invalid"}
    assert isinstance(answer(node, task()), Contribution)


def test_a_store_that_cannot_be_written_lets_nothing_leave(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = bench.approved()

    def full(*_: object) -> None:
        raise StoreError("node.db: has no space left; free disk space and try again")

    with monkeypatch.context() as patch:
        patch.setattr(SqlNodeStore, "keep", full)
        patch.setattr(SqlNodeStore, "note", full)
        assert code_of(answer(node, task())) == "store"
    assert isinstance(answer(node, task()), Contribution)


def test_the_integers_are_those_of_the_same_patients_at_any_time(bench: Bench, tmp_path: Path) -> None:
    other = Bench(tmp_path / "other")
    first, second = answer(bench.approved(), task()), answer(other.approved(), task())
    other.stores[0].close()
    assert isinstance(first, Contribution)
    assert isinstance(second, Contribution)
    assert first.body == second.body


def test_a_study_keeps_its_roster_and_asks_nothing_beyond_its_last_round(
    bench: Bench,
) -> None:
    """A second roster, or the means once more without some sites, would tell by subtraction."""
    node = bench.approved()
    assert isinstance(answer(node, task()), Contribution)
    assert code_of(answer(node, replace(task(attempt=1), roster=("a", "c")))) == "message-invalid"
    assert code_of(answer(node, task(number=1))) == "message-invalid"
    assert isinstance(answer(node, task(attempt=2)), Contribution)

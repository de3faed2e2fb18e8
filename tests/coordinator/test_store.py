"""The coordinator's memory: stored once, kept after a failure, and read on by pages after a break."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from fedcohort.analyses.contract import State
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.errors import ConfigError, StoreError

STUDY = "ab" * 32
SUBMISSION = Submission(STUDY, "ages", b"{}", "r", b"k" * 32, b"s" * 64, 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CoordinatorStore]:
    store = CoordinatorStore(tmp_path / "coordinator.db")
    yield store
    store.close()


def test_the_same_study_is_taken_in_once(store: CoordinatorStore) -> None:
    assert store.submit(SUBMISSION)
    assert not store.submit(SUBMISSION)
    assert [row["name"] for row in store.studies()] == ["ages"]


def test_a_study_is_found_by_a_prefix_that_only_it_has(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    assert store.study("abab") is not None
    assert store.study("%") is None
    store.submit(Submission("ab" * 31 + "cd", "other", b"{}", "r", b"k" * 32, b"s" * 64, 3))
    assert store.study("abab") is None


def test_a_state_survives_the_process(store: CoordinatorStore, tmp_path: Path) -> None:
    store.submit(SUBMISSION)
    state = State("train", 2, {"weights": np.arange(3, dtype=np.float32)}, {"momentum": np.ones(3)})
    store.save_round(STUDY, State("moments", 1), ("a", "b"), [])
    store.save_round(STUDY, state, ("a", "b"), [{"round": 1, "split": "test", "loss": 0.5}])
    store.close()
    again = CoordinatorStore(tmp_path / "coordinator.db")
    found = again.load_state(STUDY)
    assert found is not None
    assert (found.phase, found.round, found.finished) == ("train", 2, False)
    np.testing.assert_array_equal(found.arrays["weights"], [0, 1, 2])
    np.testing.assert_array_equal(found.kept["momentum"], [1, 1, 1])
    assert [update.data["loss"] for update in again.updates(STUDY, kind="metrics")] == [0.5]
    assert again.open_studies() == [STUDY]
    again.close()


def test_pages_read_on_after_the_last_update_they_saw(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.set_state(STUDY, "running")
    first = store.updates(STUDY)
    store.set_state(STUDY, "waiting", "too-few-sites")
    assert [update.data["state"] for update in store.updates(STUDY, first[-1].sequence)] == ["waiting"]


def test_a_failed_study_may_be_sent_again_and_asks_the_sites_anew(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.record_answer(STUDY, "a", "refused", "policy-refused")
    assert not store.retry(STUDY), "it has not failed"
    store.set_state(STUDY, "failed", "too-few-sites", "one site")
    assert store.retry(STUDY)
    row = store.study(STUDY)
    assert row is not None
    assert (row["state"], row["error_code"]) == ("proposed", "")
    assert store.answers(STUDY) == {}


def test_a_study_that_failed_midway_goes_on_with_the_sites_it_had(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.record_answer(STUDY, "a", "approved", approval=b"yes")
    store.set_roster(STUDY, ("a",))
    store.record_answer(STUDY, "a", "refused", "saturation", b"yes")
    store.set_state(STUDY, "failed", "too-few-sites", "")
    assert store.retry(STUDY)
    assert {site: row["state"] for site, row in store.answers(STUDY).items()} == {"a": "approved"}


def test_every_step_stands_in_the_event_log_and_a_change_is_found(store: CoordinatorStore) -> None:
    store.submit(SUBMISSION)
    store.save_round(STUDY, State("done", 1, finished=True), ("a",), [])
    store.finish(STUDY, {})
    assert store.verify() == 3
    with store.database.transaction() as connection:
        connection.execute(text("UPDATE events SET kind = 'nothing' WHERE sequence = 2"))
    with pytest.raises(StoreError, match="entry 2"):
        store.verify()


def test_a_site_joins_once_and_its_token_is_forgotten_when_both_have_pinned(store: CoordinatorStore) -> None:
    members = Members(store)
    token = members.invite_site("a")
    assert members.token_of("a") == token.encode()
    members.pin("a", b"k" * 32)
    assert members.key_of("a") == b"k" * 32
    with pytest.raises(ConfigError, match="already joined"):
        members.invite_site("a")
    members.settled("a")
    assert members.token_of("a") is None
    assert members.remove_site("a")
    assert not members.remove_site("a")


def test_a_researchers_token_ends_when_it_is_revoked(store: CoordinatorStore) -> None:
    members = Members(store)
    token = members.issue_token("ada")
    assert members.researcher_of(token) == "ada"
    assert members.researcher_of("guess") is None
    assert members.revoke_tokens("ada") == 1
    assert members.researcher_of(token) is None

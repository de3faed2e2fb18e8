"""Studies and sites of another version, which computes by other rules, at the coordinator."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedcohort.coordinator.approvals import Approvals
from fedcohort.coordinator.members import Members
from fedcohort.coordinator.store import CoordinatorStore, Submission
from fedcohort.coordinator.telemetry import Telemetry
from fedcohort.errors import RulesError
from fedcohort.study import Cohort, Describe, Numeric, Study
from fedcohort.versions import RULES
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.identity import Identity, new_identity
from fedcohort.wire.messages import Approval, Proposal
from fedcohort.wire.signing import approval_signing_bytes

STUDY = Study(name="ages", cohort=Cohort(columns={"age": Numeric(18, 90)}), analysis=Describe())
SITE = new_identity("a")


@pytest.fixture
def approvals(tmp_path: Path) -> Iterator[Approvals]:
    store = CoordinatorStore(tmp_path / "coordinator.db")
    members = Members(store)
    members.invite_site("a")
    members.pin("a", SITE.public_key)
    store.submit(Submission(STUDY.hash, STUDY.name, STUDY.canonical, "ada", bytes(32), bytes(64), 1))
    yield Approvals(store, members, Telemetry())
    store.close()


def signed(identity: Identity, rules: int) -> Approval:
    yes = Approval(STUDY.hash, identity.id, approved=True, max_rounds=9, expires_at=2**40, rules=rules)
    return replace(yes, signature=identity.sign(approval_signing_bytes(yes)))


def test_a_site_of_an_earlier_version_is_left_out(approvals: Approvals) -> None:
    approvals.record("a", signed(SITE, 1))
    assert approvals.left_out(STUDY.hash) == {"a": "rules-differ"}


def test_a_study_that_an_earlier_version_had_begun_ends_in_words(approvals: Approvals) -> None:
    approvals.store.record_answer(STUDY.hash, "a", "approved", "", encode(signed(SITE, 1)))
    approvals.store.set_roster(STUDY.hash, ("a",))
    approvals.forget_outdated(STUDY.hash)
    with pytest.raises(
        RulesError, match=r"the approval of a is of rules 1.*submit the study under a new name"
    ):
        approvals.check_rules_of(STUDY.hash, ("a",))


def test_sites_are_asked_again_about_a_study_that_had_not_begun(approvals: Approvals) -> None:
    approvals.store.record_answer(STUDY.hash, "a", "approved", "", encode(signed(SITE, 1)))
    approvals.forget_outdated(STUDY.hash)
    assert approvals.store.answers(STUDY.hash) == {}
    approvals.record("a", signed(SITE, RULES))
    approvals.forget_outdated(STUDY.hash)
    approvals.check_rules_of(STUDY.hash, ("a",))


def test_messages_without_a_number_are_of_the_first_rules() -> None:
    old = decode(encode(replace(signed(SITE, 1), rules=0)))
    assert isinstance(old, Approval)
    assert old == signed(SITE, 1)
    proposal = decode(encode(Proposal(STUDY.canonical, "ada", bytes(32), bytes(64), rules=0)))
    assert isinstance(proposal, Proposal)
    assert proposal.rules == 1

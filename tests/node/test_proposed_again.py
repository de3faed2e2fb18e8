"""A study that is proposed again: what a person said stands, what site.toml said is looked at anew."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedcohort.errors import TooManyStudiesError
from fedcohort.node import consent
from fedcohort.node.consent import LocalSite, approve, receive_proposal, refuse
from fedcohort.node.policy import ListenSettings, SitePolicy
from fedcohort.node.store import SqlNodeStore
from fedcohort.storage.durable import MOST_EQUAL_ENTRIES
from fedcohort.study import Cohort, Describe, Numeric, Study
from fedcohort.versions import RULES
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import new_identity
from fedcohort.wire.messages import Approval, Event, Proposal
from fedcohort.wire.signing import approval_signing_bytes, study_signing_bytes

STUDY = Study(name="ages", cohort=Cohort(columns={"age": Numeric(18, 90)}), analysis=Describe())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[LocalSite]:
    policy = SitePolicy(
        id="a", data="a.db", tables={"records": ("age",)}, listen=ListenSettings(port=0), state=tmp_path
    )
    store = SqlNodeStore(tmp_path / "node.db")
    yield LocalSite(policy, new_identity("a"), store)
    store.close()


def signed(study: Study) -> Proposal:
    researcher = new_identity("r")
    signature = researcher.sign(study_signing_bytes(study.canonical))
    return Proposal(study.canonical, "r", researcher.public_key, signature)


def kinds(site: LocalSite) -> list[object]:
    assert isinstance(site.store, SqlNodeStore)
    return [event["kind"] for event in site.store.events()]


@pytest.fixture
def proposal() -> Proposal:
    return signed(STUDY)


def _with_policy(site: LocalSite, **changes: object) -> LocalSite:
    return replace(site, policy=site.policy.model_copy(update=changes))


def test_a_persons_no_stands(site: LocalSite, proposal: Proposal) -> None:
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)
    refuse(site, STUDY.hash)
    again = receive_proposal(_with_policy(site, approval="auto"), proposal)
    assert isinstance(again, Approval)
    assert (again.approved, again.code) == (False, "refused-by-site")


def test_what_the_policy_refused_is_asked_again_when_the_policy_has_changed(
    site: LocalSite, proposal: Proposal
) -> None:
    refused = receive_proposal(_with_policy(site, analyses=("train",)), proposal)
    assert isinstance(refused, Approval)
    assert (refused.approved, refused.code) == (False, "policy-refused")
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)
    assert site.store.approval(STUDY.hash) is None


def test_a_yes_is_sent_again_until_it_expires(site: LocalSite, proposal: Proposal) -> None:
    receive_proposal(site, proposal)
    signed = approve(site, STUDY.hash)
    assert receive_proposal(site, proposal) == signed
    old = replace(signed, expires_at=int(time.time()) - 1, signature=b"")
    old = replace(old, signature=site.identity.sign(approval_signing_bytes(old)))
    site.store.decide(STUDY.hash, "approved", encode(old))
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)


def test_a_proposal_of_another_version_is_refused_with_a_code(site: LocalSite, proposal: Proposal) -> None:
    for rules in (RULES - 1, RULES + 1):
        answer = receive_proposal(site, replace(proposal, rules=rules))
        assert isinstance(answer, Approval)
        assert (answer.approved, answer.code) == (False, "rules-differ")
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)


def test_a_yes_to_an_earlier_version_s_rules_is_asked_for_anew(site: LocalSite, proposal: Proposal) -> None:
    receive_proposal(site, proposal)
    old = replace(approve(site, STUDY.hash), rules=1, signature=b"")
    old = replace(old, signature=site.identity.sign(approval_signing_bytes(old)))
    site.store.decide(STUDY.hash, "approved", encode(old))
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)


def test_a_study_that_is_not_in_canonical_form_is_not_even_remembered(
    site: LocalSite, proposal: Proposal
) -> None:
    loose = json.dumps(json.loads(proposal.study), indent=1).encode()
    researcher = new_identity("r")
    signature = researcher.sign(study_signing_bytes(loose))
    answer = receive_proposal(site, Proposal(loose, "r", researcher.public_key, signature))
    assert isinstance(answer, Event)
    assert answer.code == "not-authenticated"
    assert site.store.proposals() == []


def test_a_study_that_waits_for_a_person_is_not_answered_by_auto(site: LocalSite, proposal: Proposal) -> None:
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)
    auto = _with_policy(site, approval="auto")
    for _ in range(2):
        assert receive_proposal(auto, proposal) == Event("asked", STUDY.hash)
    assert site.store.approval(STUDY.hash) is None
    assert approve(auto, STUDY.hash).approved


def test_an_answer_by_auto_that_was_interrupted_is_given_after_the_restart(
    site: LocalSite, proposal: Proposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = _with_policy(site, approval="auto")
    with monkeypatch.context() as context:
        context.setattr(SqlNodeStore, "decide", _killed)
        with pytest.raises(KeyboardInterrupt):
            receive_proposal(auto, proposal)
    answer = receive_proposal(auto, proposal)
    assert isinstance(answer, Approval)
    assert answer.approved


def test_a_person_who_is_asked_after_an_interrupted_auto_stays_the_one_asked(
    site: LocalSite, proposal: Proposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto = _with_policy(site, approval="auto")
    with monkeypatch.context() as context:
        context.setattr(SqlNodeStore, "decide", _killed)
        with pytest.raises(KeyboardInterrupt):
            receive_proposal(auto, proposal)
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash)
    assert receive_proposal(auto, proposal) == Event("asked", STUDY.hash)


def test_a_coordinator_that_proposes_without_end_fills_no_event_log(
    site: LocalSite, proposal: Proposal, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = _with_policy(site, analyses=("train",))
    first = receive_proposal(strict, proposal)
    assert [receive_proposal(strict, proposal) for _ in range(3)] == [first] * 3, "the same signed no"
    assert kinds(site) == ["proposal", "refused"]
    for _ in range(2 * MOST_EQUAL_ENTRIES):
        receive_proposal(site, replace(proposal, rules=RULES + 1))
        receive_proposal(site, proposal)
    assert len(kinds(site)) <= 1 + 2 * MOST_EQUAL_ENTRIES
    monkeypatch.setattr(consent, "MOST_NEW_A_DAY", 2)
    others = [signed(STUDY.model_copy(update={"name": name})) for name in ("second", "third")]
    assert isinstance(receive_proposal(site, others[0]), Event)
    with pytest.raises(TooManyStudiesError, match="2 new studies were proposed within 24 hours"):
        receive_proposal(site, others[1])
    assert len(site.store.proposals()) == 2
    assert receive_proposal(site, proposal) == Event("asked", STUDY.hash), "who is known is heard"


def _killed(*_: object) -> None:
    raise KeyboardInterrupt

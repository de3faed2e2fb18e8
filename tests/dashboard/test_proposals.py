"""A data owner at the hospital's page: reads what a study would take, and signs yes or no."""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from flask import Flask

from fedcohort.dashboard import Settings
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.shared.application import close_app
from fedcohort.node.consent import REFUSALS, LocalSite, approve, receive_proposal, stored_answer
from fedcohort.node.policy import SitePolicy, rules
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import Binary, Train
from fedcohort.texts.look_up import translated
from fedcohort.wire.codec import encode
from fedcohort.wire.identity import load_or_create
from fedcohort.wire.messages import Approval, Proposal
from fedcohort.wire.signing import approval_signing_bytes

from .accounts import NAMES, Browser, write_people
from .hospital_site import ask, asking_policy, ward_study


@dataclass(frozen=True)
class Ward:
    """A hospital that asks, its page, and its file of people."""

    site: LocalSite
    store: SqlNodeStore
    app: Flask
    people: Path

    def browser(self, role: str = "data-owner") -> Browser:
        return Browser(self.app, self.people, role)

    def decisions(self) -> list[tuple[str, object]]:
        """What the event log says was answered, and by whom."""
        return [
            (str(event["kind"]), self.store.read_detail(event).get("by"))
            for event in self.store.events()
            if event["kind"] in ("approved", "refused")
        ]


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    yield from made(tmp_path, asking_policy(tmp_path))


def made(folder: Path, policy: SitePolicy) -> Iterator[Ward]:
    store, people = SqlNodeStore(folder / "node.db"), write_people(folder / "people.db")
    site = LocalSite(policy, load_or_create(folder / "site.key", "a"), store)
    app = build_hospital_page(policy, store, (), Settings(people=people))
    yield Ward(site, store, app, people)
    close_app(app)


def test_the_page_says_what_a_study_takes_and_whether_it_could_run(ward: Ward) -> None:
    asked = ask(ward.site, "Who is old?")
    browser = ward.browser("auditor")
    assert f"/studies/{asked}" in browser.get("/").text
    text = browser.get(f"/studies/{asked}").text
    assert "What leaves the hospital" in text
    assert "Asked by: dr-chen" in text
    assert re.search(r'<span class="verdict" data-verdict="(ready|warning)">', text)
    assert "there and offered" in text
    assert "Approve and sign" not in text, "an auditor only reads"


def test_a_data_owner_approves_and_the_log_says_who_while_the_answer_does_not(ward: Ward) -> None:
    asked = ask(ward.site, "Who is old?")
    browser = ward.browser()
    assert "Approve and sign for" in browser.get(f"/studies/{asked}").text
    answer = browser.post(f"/studies/{asked}", {"answer": "approve"})
    assert (answer.status_code, answer.location) == (303, f"/studies/{asked}")
    signed = stored_answer(ward.site, asked)
    assert (signed.approved, signed.study_hash) == (True, asked)
    assert NAMES["data-owner"] not in repr(signed)
    assert ward.decisions() == [("approved", "Grace")]
    assert "approved by Grace" in browser.get(f"/studies/{asked}").text
    assert ward.store.verify() > 0


@pytest.mark.parametrize("code", REFUSALS)
def test_a_data_owner_refuses_with_a_code_which_stands(ward: Ward, code: str) -> None:
    asked = ask(ward.site, "Who is old?")
    assert ward.browser().post(f"/studies/{asked}", {"answer": "refuse", "code": code}).status_code == 303
    signed = stored_answer(ward.site, asked)
    assert (signed.approved, signed.code) == (False, code)
    assert ward.decisions() == [("refused", "Grace")]
    proposal = ward.store.proposal(asked)
    assert proposal is not None
    again = receive_proposal(
        ward.site,
        Proposal(proposal.study, proposal.researcher, proposal.researcher_key, proposal.signature),
    )
    assert isinstance(again, Approval)
    assert (again.approved, again.code) == (False, code), "a person's no stands"


@pytest.mark.parametrize(
    "form", [{}, {"answer": "refuse", "code": "made-up"}, {"answer": "refuse"}, {"answer": "yes"}]
)
def test_a_form_that_answers_nothing_decides_nothing(ward: Ward, form: dict[str, str]) -> None:
    asked = ask(ward.site, "Who is old?")
    answer = ward.browser().post(f"/studies/{asked}", form)
    assert (answer.status_code, "Choose to approve" in answer.text) == (422, True)
    assert ward.decisions() == []


@pytest.mark.parametrize("role", ["researcher", "auditor", "operator", "nobody"])
def test_nobody_else_decides(ward: Ward, role: str) -> None:
    asked = ask(ward.site, "Who is old?")
    answer = ward.browser(role).post(f"/studies/{asked}", {"answer": "approve"})
    assert answer.status_code == (401 if role == "nobody" else 403)
    assert ward.decisions() == []


def test_without_accounts_the_page_reads_and_names_the_command(tmp_path: Path) -> None:
    for ward in made(tmp_path, asking_policy(tmp_path)):
        asked = ask(ward.site, "Who is old?")
        app = build_hospital_page(ward.site.policy, ward.store)
        client = app.test_client()
        text = client.get(f"/studies/{asked}").text
        assert f"fedcohort approve {asked[:12]}" in text
        assert "<form" not in text
        answer = client.post(
            f"/studies/{asked}", data={"answer": "approve"}, headers={"Origin": "http://localhost"}
        )
        assert (answer.status_code, ward.decisions()) == (403, [])


def test_what_the_policy_or_the_budget_does_not_allow_is_said_and_not_signed(
    tmp_path: Path,
) -> None:
    for ward in made(tmp_path, asking_policy(tmp_path, 2.0)):
        first, second = ask(ward.site, "first", epsilon=1.5), ask(ward.site, "second", epsilon=1.5)
        browser = ward.browser()
        assert browser.post(f"/studies/{first}", {"answer": "approve"}).status_code == 303
        assert "budget left" in browser.get(f"/studies/{second}").text
        refused = browser.post(f"/studies/{second}", {"answer": "approve"})
        assert (refused.status_code, "budget-exhausted" in refused.text) == (422, True)
        assert ward.decisions() == [("approved", "Grace")]


def test_a_study_that_nobody_proposed_is_not_there(ward: Ward) -> None:
    for name in ("ab" * 32, "x", "..%2f"):
        assert ward.browser().get(f"/studies/{name}").status_code == 404
        assert ward.browser().post(f"/studies/{name}", {"answer": "approve"}).status_code == 404


def test_no_patients_value_is_on_the_page(ward: Ward) -> None:
    asked = ask(ward.site, "Who is old?")
    text = ward.browser().get(f"/studies/{asked}").text
    assert "s0p0001" not in text
    assert not re.search(r"\b60 patients\b", text)


def test_the_list_says_who_asked_when_for_how_much_and_what_waits_for_the_reader(tmp_path: Path) -> None:
    ward = next(made(tmp_path, asking_policy(tmp_path, 4.0)))
    waiting = ask(ward.site, "private", "dr-chen", 1.5)
    answered = ask(ward.site, "answered", "li-wei", 0.5)
    approve(ward.site, answered)
    text = ward.browser().get("/").text
    assert text.index(waiting) < text.index(answered), "what waits stands first"
    assert re.search(r"asked by dr-chen on \d+ \w+ \d{4}, \d\d:\d\d:\d\d · epsilon 1.5, delta 1e-05", text)
    assert re.search(r"asked by li-wei on .* · epsilon 0.5, delta 1e-05", text)
    assert (text.count("waits for you"), text.count(">approved<")) == (1, 1)
    assert "waits for you" not in ward.browser("auditor").get("/").text
    close_app(ward.app)


def test_what_is_approved_is_not_offered_for_approval_until_it_expires(ward: Ward) -> None:
    asked = ask(ward.site, "Who is old?")
    browser = ward.browser()
    signed = approve(ward.site, asked)
    text = browser.get(f"/studies/{asked}").text
    assert "Approve and sign" not in text
    assert "This study is approved until" in text
    assert 'value="refuse"' in text, "an approval can be taken back"
    old = replace(signed, expires_at=int(time.time()) - 1, signature=b"")
    old = replace(old, signature=ward.site.identity.sign(approval_signing_bytes(old)))
    ward.store.decide(asked, "approved", encode(old))
    assert "Approve and sign" in browser.get(f"/studies/{asked}").text


def test_what_cannot_run_here_is_not_offered_for_approval(tmp_path: Path) -> None:
    policy = asking_policy(tmp_path).model_copy(update={"min_patients": 10_000})
    for ward in made(tmp_path, policy):
        asked = ask(ward.site, "Who is old?")
        text = ward.browser().get(f"/studies/{asked}").text
        assert 'data-verdict="not ready"' in text
        assert "Approve and sign" not in text
        assert "It cannot run here as it stands" in text


def test_a_private_study_that_would_wait_for_countersignatures_is_not_offered_in_either_language(
    tmp_path: Path,
) -> None:
    policy = asking_policy(tmp_path, 2.0).model_copy(update={"roster": tmp_path / "nobody"})
    for ward in made(tmp_path, policy):
        asked = ask(ward.site, "Who is old?", epsilon=1.5)
        browser = ward.browser()
        text = browser.get(f"/studies/{asked}").text
        assert "private studies need countersignatures of 2 other sites; 0 are confirmed" in text
        assert "Approve and sign" not in text
        text = browser.get(f"/studies/{asked}?language=zh").text
        assert "隐私研究需要 2 家其他医院会签；已确认 0 家" in text
        assert "用 --newest-copy 启动节点一次" in text


def test_every_rule_of_a_site_has_its_name_in_chinese(ward: Ward) -> None:
    for asked in (ward_study("one"), ward_study("two", 1.5)):
        cohort = asked.cohort.model_copy(update={"label": Binary("died")})
        study = asked.model_copy(update={"analysis": Train(), "cohort": cohort})
        names = {what for what, _ in rules(ward.site.policy, study)}
        assert len(names) > 6
        assert {name for name in names if translated(name, "zh") == name} == set()

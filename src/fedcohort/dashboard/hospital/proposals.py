"""Proposed studies at the hospital: what each would release, whether it could run, and the answer.

The answer is that of `fedcohort approve`: the site's key signs it, and the running node sends it.
Only the site's event log holds who gave it.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Flask, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.login.access import visitor
from fedcohort.dashboard.shared.texts import spoken
from fedcohort.errors import FedcohortError, NotFoundError
from fedcohort.explain import explain
from fedcohort.node import consent
from fedcohort.node.policy import SitePolicy
from fedcohort.node.readiness import Readiness, check_readiness
from fedcohort.node.records import StoredProposal
from fedcohort.node.store import SqlNodeStore
from fedcohort.sources.catalogue.described import units_of
from fedcohort.study import Study, parse_study
from fedcohort.texts import say
from fedcohort.wire.codec import decode
from fedcohort.wire.identity import load_or_create
from fedcohort.wire.messages import Approval


@dataclass(frozen=True)
class HospitalSite:
    """The hospital whose page it is; readiness reads its database for one visitor at a time."""

    policy: SitePolicy
    store: SqlNodeStore
    turn: threading.Lock = field(default_factory=threading.Lock)

    def site(self) -> consent.LocalSite:
        """The site with the key that signs."""
        key = load_or_create(self.policy.state / "site.key", self.policy.id)
        return consent.LocalSite(self.policy, key, self.store)


def add_proposals(app: Flask, hospital: HospitalSite) -> None:
    """Routes of one study, and of the answer to it."""

    @app.get("/studies/<study_hash>")
    def proposal(study_hash: str) -> ResponseReturnValue:
        return _page(hospital, _proposed(hospital, study_hash))

    @app.post("/studies/<study_hash>")
    def answer(study_hash: str) -> ResponseReturnValue:
        stored, asking = _proposed(hospital, study_hash), visitor()
        by = asking.name if asking else ""
        said, code = request.form.get("answer"), request.form.get("code", "")
        try:
            if said == "approve":
                consent.approve(hospital.site(), study_hash, by)
            elif said == "refuse" and code in consent.REFUSALS:
                consent.refuse(hospital.site(), study_hash, code, by)
            else:
                return _page(hospital, stored, "hospital.no_answer"), 422
        except FedcohortError as error:
            return _page(hospital, stored, words=say("{place}: {what}", place=error.code, what=error)), 422
        return redirect(url_for("proposal", study_hash=study_hash), 303)


def proposals_view(store: SqlNodeStore) -> list[dict[str, Any]]:
    """Every proposed study, and when: those that wait for a person first, then the newest."""
    asked = {str(event["study_hash"]): _moment(event) for event in store.events(("proposal",))}
    views = [proposal_view(proposal) for proposal in store.proposals()]
    views.sort(key=lambda view: asked.get(view["hash"], ""), reverse=True)
    views.sort(key=lambda view: view["state"] != "asked")
    return [{**view, "at": asked.get(view["hash"], "")} for view in views]


def _moment(event: Mapping[str, object]) -> str:
    """The time of an entry of the event log."""
    return datetime.fromtimestamp(int(str(event["at_ms"])) / 1000, UTC).isoformat()


def proposal_view(proposal: StoredProposal, policy: SitePolicy | None = None) -> dict[str, Any]:
    """A proposal as pages show it, with the units that the site's database declares, and its rules."""
    study = parse_study(proposal.study)
    units = {} if policy is None else units_of(policy.data, study.cohort.table)
    rules, seconds = (None, 0) if policy is None else (policy.disclosure, policy.release_seconds)
    by_site = None if policy is None else policy.by_site
    language, asked_by = spoken()["language"], (proposal.researcher, proposal.researcher_key)
    words = explain(
        study, *asked_by, units,
        rules=rules, release_seconds=seconds, by_site=by_site, language=language,
    )  # fmt: skip
    return {
        "name": study.name,
        "hash": proposal.study_hash,
        "state": proposal.state,
        "words": words,
        "researcher": proposal.researcher,
        "privacy": study.privacy,
    }


def _proposed(hospital: HospitalSite, study_hash: str) -> StoredProposal:
    proposal = hospital.store.proposal(study_hash)
    if proposal is None:
        raise NotFoundError("no such study was proposed to this hospital")
    return proposal


def _page(hospital: HospitalSite, proposal: StoredProposal, problem: str = "", words: str = "") -> str:
    asking = visitor()
    return render_template(
        "proposal.html",
        one=proposal_view(proposal, hospital.policy),
        readiness=_readiness(hospital, parse_study(proposal.study)),
        codes=consent.REFUSALS,
        days=hospital.policy.approval_days,
        until=_approved_until(hospital, proposal),
        may_answer=asking is not None and asking.role == "data-owner",
        answers=_answers(hospital, proposal.study_hash),
        problem=problem,
        words=words,
    )


def _approved_until(hospital: HospitalSite, proposal: StoredProposal) -> str:
    """Until when a signed approval holds; empty where there is none, or it has ended."""
    encoded = hospital.store.approval(proposal.study_hash)
    answer = None if encoded is None else decode(encoded)
    if not isinstance(answer, Approval) or not consent.still_holds(answer) or not answer.approved:
        return ""
    return datetime.fromtimestamp(answer.expires_at, UTC).isoformat()


def _readiness(hospital: HospitalSite, study: Study) -> Readiness:
    with hospital.turn:
        return check_readiness(hospital.policy, study, hospital.store.reservations())


def _answers(hospital: HospitalSite, study_hash: str) -> list[dict[str, str]]:
    """This site's answers so far, with who gave them, the newest last."""
    answers = []
    for event in hospital.store.events(("approved", "refused"), study_hash):
        detail = hospital.store.read_detail(event)
        if "code" not in detail:  # a round that was refused, not the study
            by = str(detail.get("by", ""))
            answers.append({"answer": str(event["kind"]), "by": by, "at": _moment(event)})
    return answers

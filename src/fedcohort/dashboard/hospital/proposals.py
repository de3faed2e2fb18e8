"""A study that asked, at the hospital: what it would take, whether it could run, and the answer.

The answer is the one of `fedcohort approve`: the site's key signs it, and the running node sends it
on. Who gave it stands in the site's own event log, and nowhere else.
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
from fedcohort.wire.codec import decode
from fedcohort.wire.identity import load_or_create
from fedcohort.wire.messages import Approval


@dataclass(frozen=True)
class Here:
    """The site whose page it is; readiness reads its database for one visitor at a time."""

    policy: SitePolicy
    store: SqlNodeStore
    turn: threading.Lock = field(default_factory=threading.Lock)

    def site(self) -> consent.Site:
        """Who signs."""
        key = load_or_create(self.policy.state / "site.key", self.policy.id)
        return consent.Site(self.policy, key, self.store)


def add_proposals(app: Flask, here: Here) -> None:
    """The page of one study, and the answer to it."""

    @app.get("/studies/<study_hash>")
    def proposal(study_hash: str) -> ResponseReturnValue:
        return _page(here, _found(here, study_hash))

    @app.post("/studies/<study_hash>")
    def answer(study_hash: str) -> ResponseReturnValue:
        found, asking = _found(here, study_hash), visitor()
        by = asking.name if asking else ""
        said, code = request.form.get("answer"), request.form.get("code", "")
        try:
            if said == "approve":
                consent.approve(here.site(), study_hash, by)
            elif said == "refuse" and code in consent.REFUSALS:
                consent.refuse(here.site(), study_hash, code, by)
            else:
                return _page(here, found, "hospital.no_answer"), 422
        except FedcohortError as error:
            return _page(here, found, words=f"{error.code}: {error}"), 422
        return redirect(url_for("proposal", study_hash=study_hash), 303)


def proposals_view(store: SqlNodeStore) -> list[dict[str, Any]]:
    """Every study that asked, and when: those that wait for a person first, then the newest."""
    asked = {str(event["study_hash"]): _moment(event) for event in store.events(("proposal",))}
    views = [proposal_view(found) for found in store.proposals()]
    views.sort(key=lambda one: asked.get(one["hash"], ""), reverse=True)
    views.sort(key=lambda one: one["state"] != "asked")
    return [{**one, "at": asked.get(one["hash"], "")} for one in views]


def _moment(event: Mapping[str, object]) -> str:
    """When an entry of the event log was made."""
    return datetime.fromtimestamp(int(str(event["at_ms"])) / 1000, UTC).isoformat()


def proposal_view(found: StoredProposal, data: str | None = None) -> dict[str, Any]:
    """A proposal as pages show it, with the units that the database `data` declares."""
    study = parse_study(found.study)
    units = {} if data is None else units_of(data, study.cohort.table)
    language = spoken()["language"]
    words = explain(study, found.researcher, found.researcher_key, units, language=language)
    return {
        "name": study.name,
        "hash": found.study_hash,
        "state": found.state,
        "words": words,
        "researcher": found.researcher,
        "privacy": study.privacy,
    }


def _found(here: Here, study_hash: str) -> StoredProposal:
    found = here.store.proposal(study_hash)
    if found is None:
        raise NotFoundError("no such study was proposed to this hospital")
    return found


def _page(here: Here, found: StoredProposal, problem: str = "", words: str = "") -> str:
    asking = visitor()
    return render_template(
        "proposal.html",
        one=proposal_view(found, here.policy.data),
        readiness=_readiness(here, parse_study(found.study)),
        codes=consent.REFUSALS,
        days=here.policy.approval_days,
        until=_approved_until(here, found),
        may_answer=asking is not None and asking.role == "data-owner",
        answers=_answers(here, found.study_hash),
        problem=problem,
        words=words,
    )


def _approved_until(here: Here, found: StoredProposal) -> str:
    """Until when a signed yes holds; empty where there is none, or no longer."""
    encoded = here.store.approval(found.study_hash)
    answer = None if encoded is None else decode(encoded)
    if not isinstance(answer, Approval) or not consent.stands(answer) or not answer.approved:
        return ""
    return datetime.fromtimestamp(answer.expires_at, UTC).isoformat()


def _readiness(here: Here, study: Study) -> Readiness:
    with here.turn:
        return check_readiness(here.policy, study, here.store.reservations())


def _answers(here: Here, study_hash: str) -> list[dict[str, str]]:
    """What this site has answered so far, and by whom, the newest last."""
    found = []
    for event in here.store.events(("approved", "refused"), study_hash):
        detail = here.store.read_detail(event)
        if "code" not in detail:  # a round that was refused, not the study
            by = str(detail.get("by", ""))
            found.append({"answer": str(event["kind"]), "by": by, "at": _moment(event)})
    return found

"""Answers that wait at the hospital: a data owner looks at one, and lets it go or not.

As `fedcohort release` does: the site's key signs what was looked at, and the running node sends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask, Response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.hospital.proposals import HospitalSite
from fedcohort.dashboard.login.access import visitor
from fedcohort.errors import FedcohortError
from fedcohort.node import airlock
from fedcohort.node.airlock import Held, find_held
from fedcohort.node.held_answer import HeldAnswer, as_csv, read_held
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import parse_study
from fedcohort.texts import say

SHOWN = 200
"""Cells of a block on the page; the CSV file has all."""

DECISIONS: dict[str, airlock.Decision] = {"release": "released", "withhold": "withheld"}


@dataclass(frozen=True)
class WaitingAnswer:
    """An answer that waits, for the list: nothing of its content."""

    study: str
    name: str
    round: int
    until: str


def waiting_answers(store: SqlNodeStore) -> list[WaitingAnswer]:
    """What waits, the most urgent first."""
    return [*_waiting(store)]


def _waiting(store: SqlNodeStore) -> Iterator[WaitingAnswer]:
    for held in store.held.waiting():
        proposal = store.proposal(held.stored.study_hash)
        if proposal is not None:
            name = parse_study(proposal.study).name
            yield WaitingAnswer(held.stored.study_hash, name, held.stored.round, _until(held))


def _until(held: Held) -> str:
    return datetime.fromtimestamp(held.until_ms / 1000, UTC).isoformat()


def add_held(app: Flask, hospital: HospitalSite) -> None:
    """Routes of one answer that waits, of its figures as a file, and of the decision."""

    @app.get("/held/<study_hash>")
    def held(study_hash: str) -> ResponseReturnValue:
        return _page(_read(hospital, study_hash))

    @app.get("/held/<study_hash>.csv")
    def held_csv(study_hash: str) -> ResponseReturnValue:
        answer = _read(hospital, study_hash)
        name = f"{study_hash[:12]}-{answer.held.stored.round}.csv"
        attached = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(as_csv(answer), mimetype="text/csv", headers=attached)

    @app.post("/held/<study_hash>")
    def decide(study_hash: str) -> ResponseReturnValue:
        answer, asking = _read(hospital, study_hash), visitor()
        looked_at = (request.form.get("digest"), request.form.get("round"))
        if looked_at != (answer.held.digest.hex(), str(answer.held.stored.round)):
            return _page(answer, "hospital.held_other"), 422
        decision = DECISIONS.get(request.form.get("answer", ""))
        if decision is None:
            return _page(answer, "hospital.held_no_answer"), 422
        try:
            by = asking.name if asking else ""
            airlock.decide(hospital.store.held, hospital.site().identity, answer.held, decision, by)
        except FedcohortError as error:
            return _page(answer, words=say("{place}: {what}", place=error.code, what=error)), 422
        return redirect(url_for("page"), 303)


def _read(hospital: HospitalSite, study_hash: str) -> HeldAnswer:
    held = find_held(hospital.store.held, study_hash)
    return read_held(hospital.store, held, hospital.policy.disclosure)


def _page(answer: HeldAnswer, problem: str = "", words: str = "") -> str:
    return render_template(
        "held.html",
        answer=answer,
        blocks=[(block, [*_first(block.cells())], block.values.size) for block in answer.blocks],
        digest=answer.held.digest.hex(),
        until=_until(answer.held),
        shown=SHOWN,
        problem=problem,
        words=words,
    )


def _first(cells: Iterator[tuple[str, str, bool]]) -> Iterator[tuple[str, str, bool]]:
    return (cell for _, cell in zip(range(SHOWN), cells, strict=False))

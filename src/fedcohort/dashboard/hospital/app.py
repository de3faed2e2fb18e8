"""A hospital's own page: data sets, privacy budgets, the studies that asked, every byte that left, models.

It is served by the hospital, to the hospital's own machine, and reads the node's store beside
the running node. With accounts, a data owner answers there what `fedcohort approve` answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flask import Flask, Response, jsonify, render_template
from flask.typing import ResponseReturnValue

import fedcohort
from fedcohort.dashboard.hospital.datasets import add_data, offered_tables
from fedcohort.dashboard.hospital.predicting import TEXT_BYTES, Bedside, bedside_of, predicting
from fedcohort.dashboard.hospital.proposals import Here, add_proposals, proposals_view
from fedcohort.dashboard.hospital.released import as_csv, what_left
from fedcohort.dashboard.login.access import guard, visitor
from fedcohort.dashboard.login.roles import HOSPITAL, LOCAL
from fedcohort.dashboard.shared.application import HERE, close_with, explain_errors, harden
from fedcohort.dashboard.shared.explained import READINESS, sentence
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.dashboard.shared.texts import speak, spoken
from fedcohort.node.ledger import accounts, epsilons
from fedcohort.node.policy import SitePolicy
from fedcohort.node.records import Cost
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.inference import Predictor
from fedcohort.study import parse_study

SHOWN = 200
"""Of the newest releases; the CSV file has all."""


@dataclass(frozen=True)
class Spent:
    """What one study was promised of a budget, and has cost."""

    study: str
    reserved: float
    delta: float
    spent: float
    alone: float

    @property
    def exact(self) -> bool:
        """Answered without privacy, and nobody has said what it counts."""
        return math.isinf(self.reserved)


def build_hospital_page(
    policy: SitePolicy,
    store: SqlNodeStore,
    predictors: Sequence[Predictor] = (),
    settings: Settings | None = None,
) -> Flask:
    """The application.

    Args:
        predictors: the trained models that it offers.
        settings: of them only accounts, address and token; without accounts it only reads.
    Raises:
        KeyFileError, StoreError: the file of people cannot be used.
    """
    app = Flask("fedcohort.dashboard", root_path=str(HERE))
    guard(app, settings or Settings(), HOSPITAL)
    close_with(app, store.close)
    bedside = bedside_of(predictors)
    app.config.update(MAX_CONTENT_LENGTH=bedside.most_bytes, MAX_FORM_MEMORY_SIZE=TEXT_BYTES)
    app.register_blueprint(predicting(bedside))
    app.context_processor(lambda: {"version": fedcohort.__version__, "site": policy.id})
    speak(app)
    app.after_request(harden)
    explain_errors(app)
    app.add_template_filter(lambda words: sentence(words, spoken()["language"], READINESS), "readiness")
    here = Here(policy, store)
    _add_pages(app, policy, store, bedside)
    add_data(app, here)
    add_proposals(app, here)
    return app


def _add_pages(app: Flask, policy: SitePolicy, store: SqlNodeStore, bedside: Bedside) -> None:
    @app.get("/")
    def page() -> ResponseReturnValue:
        return render_template(
            "hospital.html",
            models={key: one.study.name for key, one in bedside.models.items()},
            ledger=_ledger(policy, store),
            proposals=proposals_view(store),
            answers=_may_answer(),
            releases=what_left(store, SHOWN),
            tables=offered_tables(policy),
            min_patients=policy.min_patients,
        )

    @app.get("/releases.csv")
    def releases() -> ResponseReturnValue:
        attached = {"Content-Disposition": f'attachment; filename="releases-{policy.id}.csv"'}
        return Response(as_csv(what_left(store)), mimetype="text/csv", headers=attached)

    @app.get("/healthz")
    def health() -> ResponseReturnValue:
        return jsonify(status="ok", version=fedcohort.__version__)


def _may_answer() -> bool:
    """Whether a study that asked waits for this reader: a data owner, or this machine's own user."""
    asking = visitor()
    return asking is not None and asking.role in ("data-owner", LOCAL)


def _ledger(policy: SitePolicy, store: SqlNodeStore) -> list[dict[str, Any]]:
    """By data set: given, left, and by study reserved and spent."""
    names = {found.study_hash: parse_study(found.study).name for found in store.proposals()}
    found = []
    for account in accounts(policy, store.reservations(), store.costs()):
        costs = {cost.study_hash: cost for cost in account.costs}
        studies = []
        for one in account.reserved:
            spent, alone = _epsilons(costs[one.study_hash]) if one.study_hash in costs else (0.0, 0.0)
            name = names.get(one.study_hash, one.study_hash[:12])
            studies.append(Spent(name, one.epsilon, one.delta, spent, alone))
        whole = {
            "dataset": account.dataset, "tables": [*account.tables], "given": account.budget,
            "left": account.left, "taken": account.taken,
        }  # fmt: skip
        found.append({**whole, "studies": studies})
    return found


@lru_cache(maxsize=1024)
def _epsilons(cost: Cost) -> tuple[float, float]:
    """Reckoned once for the same releases."""
    return epsilons(cost)

"""The hospital page: data sets, privacy budgets, proposed studies, releases, and trained models.

The hospital serves it on its own machine; it reads the node's store while the node runs. With
accounts, a data owner approves or refuses studies there, as `fedcohort approve` does.
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
from fedcohort.dashboard.hospital.held import add_held, waiting_answers
from fedcohort.dashboard.hospital.predictions import (
    TEXT_BYTES,
    PredictionService,
    prediction_routes,
    prediction_service,
)
from fedcohort.dashboard.hospital.proposals import HospitalSite, add_proposals, proposals_view
from fedcohort.dashboard.hospital.releases import as_csv, list_releases
from fedcohort.dashboard.login.access import guard, visitor
from fedcohort.dashboard.login.roles import HOSPITAL, LOCAL
from fedcohort.dashboard.shared.application import HERE, close_with, explain_errors, harden
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.dashboard.shared.texts import speak
from fedcohort.node.ledger import accounts, epsilons
from fedcohort.node.policy import SitePolicy
from fedcohort.node.records import Cost
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.inference import Predictor
from fedcohort.study import parse_study

SHOWN = 200
"""The number of newest releases; the CSV file has all."""


@dataclass(frozen=True)
class StudySpending:
    """What one study has reserved of a budget, and has cost."""

    study: str
    reserved: float
    delta: float
    spent: float
    alone: float

    @property
    def exact(self) -> bool:
        """Whether it was answered without privacy, and its cost has not been settled."""
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
        settings: accounts, address and token are used; without accounts the page only reads.
    Raises:
        KeyFileError, StoreError: the file of people cannot be used.
    """
    app = Flask("fedcohort.dashboard", root_path=str(HERE))
    guard(app, settings or Settings(), HOSPITAL)
    close_with(app, store.close)
    predictions = prediction_service(predictors)
    app.config.update(MAX_CONTENT_LENGTH=predictions.most_bytes, MAX_FORM_MEMORY_SIZE=TEXT_BYTES)
    app.register_blueprint(prediction_routes(predictions))
    app.context_processor(lambda: {"version": fedcohort.__version__, "site": policy.id})
    speak(app)
    app.after_request(harden)
    explain_errors(app)
    hospital = HospitalSite(policy, store)
    _add_pages(app, policy, store, predictions)
    add_data(app, hospital)
    add_proposals(app, hospital)
    add_held(app, hospital)
    return app


def _add_pages(app: Flask, policy: SitePolicy, store: SqlNodeStore, predictions: PredictionService) -> None:
    @app.get("/")
    def page() -> ResponseReturnValue:
        return render_template(
            "hospital.html",
            models={key: model.study.name for key, model in predictions.models.items()},
            ledger=_ledger(policy, store),
            proposals=proposals_view(store),
            held=waiting_answers(store),
            decides=_is_data_owner(),
            answers=_may_answer(),
            releases=list_releases(store, SHOWN),
            tables=offered_tables(policy),
            min_patients=policy.min_patients,
        )

    @app.get("/releases.csv")
    def releases() -> ResponseReturnValue:
        attached = {"Content-Disposition": f'attachment; filename="releases-{policy.id}.csv"'}
        return Response(as_csv(list_releases(store)), mimetype="text/csv", headers=attached)

    @app.get("/healthz")
    def health() -> ResponseReturnValue:
        return jsonify(status="ok", version=fedcohort.__version__)


def _is_data_owner() -> bool:
    """Whether this visitor may look at an answer that waits: nobody may without an account."""
    asking = visitor()
    return asking is not None and asking.role == "data-owner"


def _may_answer() -> bool:
    """Whether this visitor may answer studies: a data owner, or this machine's user."""
    asking = visitor()
    return asking is not None and asking.role in ("data-owner", LOCAL)


def _ledger(policy: SitePolicy, store: SqlNodeStore) -> list[dict[str, Any]]:
    """By data set: given, left, and by study reserved and spent."""
    names = {proposal.study_hash: parse_study(proposal.study).name for proposal in store.proposals()}
    ledger = []
    for account in accounts(policy, store.reservations(), store.costs()):
        costs = {cost.study_hash: cost for cost in account.costs}
        studies = []
        for reservation in account.reserved:
            study = reservation.study_hash
            spent, alone = _epsilons(costs[study]) if study in costs else (0.0, 0.0)
            name = names.get(study, study[:12])
            studies.append(StudySpending(name, reservation.epsilon, reservation.delta, spent, alone))
        whole = {
            "dataset": account.dataset, "tables": [*account.tables], "given": account.budget,
            "left": account.left, "taken": account.taken,
        }  # fmt: skip
        ledger.append({**whole, "studies": studies})
    return ledger


@lru_cache(maxsize=1024)
def _epsilons(cost: Cost) -> tuple[float, float]:
    """Computed once for equal releases."""
    return epsilons(cost)

"""A hospital's own page: its privacy budgets, the studies that asked, every byte that left, and its models.

It is served by the hospital, to the hospital's own machine, and reads the node's store beside
the running node. With accounts, a data owner answers there what `fedcohort approve` answers.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from flask import Flask, Response, jsonify, render_template
from flask.typing import ResponseReturnValue

import fedcohort
from fedcohort.dashboard.access import guard
from fedcohort.dashboard.app import HERE, explain_errors, harden
from fedcohort.dashboard.predicting import TEXT_BYTES, Bedside, bedside_of, predicting
from fedcohort.dashboard.proposals import Here, add_proposals, proposal_view
from fedcohort.dashboard.roles import HOSPITAL
from fedcohort.dashboard.settings import Settings
from fedcohort.dashboard.texts import speak
from fedcohort.inference import Predictor
from fedcohort.node.ledger import accounts, epsilons
from fedcohort.node.policy import SitePolicy
from fedcohort.node.records import Cost
from fedcohort.node.store import SqlNodeStore
from fedcohort.study import parse_study

LEFT = {"release": "contribution", "help": "help", "charged": "charged", "study-key": "key"}
"""Kinds of the event log that are about bytes which left, or were paid for."""
COLUMNS = ("at", "kind", "study", "round", "bytes", "digest", "entry", "hash")
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
    app.extensions["fedcohort"] = store.close
    bedside = bedside_of(predictors)
    app.config.update(MAX_CONTENT_LENGTH=bedside.most_bytes, MAX_FORM_MEMORY_SIZE=TEXT_BYTES)
    app.register_blueprint(predicting(bedside))
    app.context_processor(lambda: {"version": fedcohort.__version__, "site": policy.id})
    speak(app)
    app.after_request(harden)
    explain_errors(app)
    _add_pages(app, policy, store, bedside)
    add_proposals(app, Here(policy, store))
    return app


def _add_pages(app: Flask, policy: SitePolicy, store: SqlNodeStore, bedside: Bedside) -> None:
    @app.get("/")
    def page() -> ResponseReturnValue:
        return render_template(
            "hospital.html",
            models={key: one.study.name for key, one in bedside.models.items()},
            ledger=_ledger(policy, store),
            proposals=[proposal_view(found) for found in reversed(store.proposals())],
            releases=_releases(store)[:SHOWN],
        )

    @app.get("/releases.csv")
    def releases() -> ResponseReturnValue:
        attached = {"Content-Disposition": f'attachment; filename="releases-{policy.id}.csv"'}
        return Response(_as_csv(_releases(store)), mimetype="text/csv", headers=attached)

    @app.get("/healthz")
    def health() -> ResponseReturnValue:
        return jsonify(status="ok", version=fedcohort.__version__)


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
        whole = {"dataset": account.dataset, "given": account.budget, "left": account.left}
        found.append({**whole, "studies": studies})
    return found


@lru_cache(maxsize=1024)
def _epsilons(cost: Cost) -> tuple[float, float]:
    """Reckoned once for the same releases."""
    return epsilons(cost)


def _releases(store: SqlNodeStore) -> list[dict[str, object]]:
    """The newest first.

    `digest` is the SHA-256 of what was released: of a contribution the integers as they were before
    they were hidden, and so the same however often it was sealed; `hash` is that of the event log's entry.
    """
    rows: list[dict[str, object]] = []
    for event in reversed(store.events()):
        kind = LEFT.get(str(event["kind"]))
        if kind is None:
            continue
        detail = store.read_detail(event)
        at = datetime.fromtimestamp(int(str(event["at_ms"])) / 1000, UTC).isoformat(timespec="seconds")
        entry_hash = event["hash"].hex() if isinstance(event["hash"], bytes) else ""
        rows.append(
            {"at": at, "kind": kind, "study": event["study_hash"], "round": detail.get("round", ""),
             "bytes": detail.get("bytes", ""), "digest": detail.get("digest", ""),
             "entry": event["sequence"], "hash": entry_hash}
        )  # fmt: skip
    return rows


def _as_csv(rows: list[dict[str, object]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()

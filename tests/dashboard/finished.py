"""A finished study as the coordinator's REST tells it, with all that a page can show."""

from copy import deepcopy
from typing import Any

from .standin import FIRST_STUDY, StandIn

SITES = {"charite": "connected", "mayo_clinic": "connected", "zhongshan": "connected", "st_thomas": "lost"}
IMPORTANCE = {
    "chest_pain_type": 0.081, "vessels_coloured": 0.064, "st_depression": 0.045, "max_heart_rate": 0.031,
    "sex": 0.024, "age": 0.012, "cholesterol": 0.004, "fasting_glucose": -0.001,
}  # fmt: skip
TRAIN = {
    "name": "heart-disease",
    "protection": "masks",
    "privacy": {"epsilon": 1.5, "delta": 0.001},
    "analysis": {"kind": "train", "model": "mlp_medical", "rounds": 60},
    "cohort": {"label": {"column": "disease", "positive": 1, "negative": 0}},
}
DESCRIBED: dict[str, Any] = {
    "age": {
        "n": 918, "missing": 2, "mean": 53.51, "std": 9.43,
        "histogram": {"low": 20.0, "high": 80.0, "counts": [3, 61, 210, 362, 241, 41],
                      "below": 0, "above": 3},
    },
    "cholesterol": {
        "n": 716, "n_error": 12.3, "missing": 204, "mean": 246.83, "std": 58.53,
        "mean_low": 243.2, "mean_high": 250.1, "std_low": 55.1, "std_high": 61.9,
        "histogram": {"low": 0.0, "high": 600.0, "counts": [2, 300, 390, 22, 2, 0], "error": 14.2},
    },
    "sex": {"n": 920, "missing": 0, "levels": {"female": 194, "male": 726}},
    "chest_pain_type": {
        "n": 920, "missing": 0,
        "levels": {"typical": 46, "atypical": 174, "non-anginal": 204, "asymptomatic": 496},
        "levels_error": 9.1,
    },
}  # fmt: skip


def measured() -> dict[str, Any]:
    """What a report says of held-out patients."""
    rates = [index / 32 for index in range(33)]
    bins = [0.06, 0.14, 0.25, 0.36, 0.44, 0.56, 0.65, 0.75, 0.86, 0.94]
    observed = [0.03, 0.17, 0.21, 0.41, 0.40, 0.61, 0.63, 0.79, 0.83, 0.97]
    return {
        "loss": 0.42, "accuracy": 0.815, "auc": 0.884, "auc_error": 0.0004,
        "roc": {"false_positive": rates, "true_positive": [1 - (1 - rate) ** 4 for rate in rates]},
        "calibration": [
            {"rows": 18, "predicted": predicted, "observed": seen}
            for predicted, seen in zip(bins, observed, strict=True)
        ],
        "confusion": [[62, 18], [16, 88]],
    }  # fmt: skip


def add_finished(store: StandIn, rounds: int = 60) -> str:
    """A private training with all figures."""
    answers = [
        {"id": site, "state": "approved" if state == "connected" else "refused",
         "code": "" if state == "connected" else "cohort-too-small",
         "bytes_to": 1_240_000 + 9_000 * index, "bytes_from": 905_000 - 7_000 * index}
        for index, (site, state) in enumerate(store.sites.items())
    ]  # fmt: skip
    store.add_study(rounds=rounds, study=deepcopy(TRAIN), sites=answers)
    for number in range(1, rounds + 1):
        store.add_round(number)
    store.finish(IMPORTANCE)
    spent = {"epsilon": 1.5, "delta": 0.001, "epsilon_spent": 1.4997, "epsilon_if_all_others_collude": 2.61}
    named = {"column": "disease", "positive": 1, "negative": 0}
    privacy = {**spent, "words": []}
    store.reports[FIRST_STUDY] |= {"label": named, "test": measured(), "privacy": privacy, "patients": 920}
    return FIRST_STUDY


def add_description(store: StandIn) -> str:
    """A finished description, without privacy."""
    asked = {
        "name": "who-they-are", "protection": "paillier", "privacy": None,
        "analysis": {"kind": "describe"}, "cohort": {},
    }  # fmt: skip
    study_id = store.add_study("cd" * 32, name="who-they-are", rounds=1, study=asked, researcher="li-wei")
    store.reports[study_id] = {"patients": 920, "rows": 920, "describe": deepcopy(DESCRIBED)}
    store.set_state("finished", study_id)
    return study_id


def full_store(catalogue: dict[str, Any] | None = None) -> StandIn:
    """Four hospitals, a finished description and a finished training, the newest; two offer `catalogue`."""
    offered = {site: catalogue for site in ("charite", "mayo_clinic") if catalogue}
    store = StandIn(sites=dict(SITES), catalogues=offered)
    add_description(store)
    add_finished(store)
    return store

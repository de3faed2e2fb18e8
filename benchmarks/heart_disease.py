"""`heart_disease`: four real hospitals, federated against the same model on the pooled rows, five seeds.

Published on the same split (FLamby): pooled .795, best federated .785, FedAvg .748.
"""

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.harness import at_least, data_folder, emit, reported, say, within
from benchmarks.heart import (
    CROSS_VALIDATED,
    SETTINGS,
    Rows,
    explicit_study,
    heart_databases,
    loader,
    pooled_rows,
)
from fedcohort.analyses.algorithms.server import server_step
from fedcohort.analyses.model_of import model_of
from fedcohort.engines.local import run_local
from fedcohort.study import Study, Train

SEEDS, FOLDS = 5, 5
CHECKPOINTS = (30, 60, 120, 240)
PENALTIES = (0.0, 0.003, 0.01, 0.03)
OPTIMIZERS = (
    {"server_optimizer": "momentum", "learning_rate": 0.03},
    {"server_optimizer": "momentum", "learning_rate": 0.1},
    {"server_optimizer": "momentum", "learning_rate": 0.3},
    {"server_optimizer": "adam", "learning_rate": 1.0, "server_learning_rate": 0.003},
    {"server_optimizer": "adam", "learning_rate": 1.0, "server_learning_rate": 0.01},
)
TARGETS = {"logistic": (0.79, 0.88), "mlp_medical": (0.80, 0.88)}

Scores = tuple[float, float]


def federated(databases: dict[str, str], study: Study) -> Scores:
    """Test accuracy and AUC of the federated model over all hospitals' test rows."""
    loaders = {site: loader(path) for site, path in databases.items()}
    report = run_local(study, loaders, lambda rows: None).report["test"]
    assert isinstance(report, dict)
    return float(report["accuracy"]), float(report["auc"])


def pooled(databases: dict[str, str], study: Study) -> Scores:
    """The same Keras model, optimiser and number of steps on the rows of all hospitals in one place."""
    train, test = pooled_rows(databases, study)
    rows = np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])
    return fit(study, rows, test)[-1]


def fit(study: Study, rows: Rows, test: Rows, checkpoints: Sequence[int] = ()) -> list[Scores]:
    """Train on rows in one place; accuracy and AUC on others, at each checkpoint and at the end."""
    (x, y), (test_x, test_y) = rows, test
    analysis = study.analysis
    assert isinstance(analysis, Train)
    model = model_of(study, analysis.model)
    weights: NDArray[np.float64] = model.initial().astype(np.float64)
    kept: dict[str, NDArray[np.float64]] = {}
    scores: list[Scores] = []
    for step in range(1, analysis.rounds + 1):
        seed = 1_000_003 * study.seed + step
        gradient, _ = model.gradient(weights.astype(np.float32), x, y, l2=analysis.l2, seed=seed)
        update = gradient.astype(np.float64) * (-analysis.learning_rate / len(x))
        weights, kept = server_step(analysis, weights, update, kept, model.trainable_mask)
        if step in (*checkpoints, analysis.rounds):
            score = model.predict(weights.astype(np.float32), test_x)[:, 0]
            scores.append((float(((score >= 0.5) == test_y).mean()), float(roc_auc_score(test_y, score))))
    return scores


def scikit_learn(databases: dict[str, str], study: Study) -> Scores:
    """scikit-learn's logistic regression on the pooled rows."""
    train, (test_x, test_y) = pooled_rows(databases, study)
    x, y = np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])
    model = LogisticRegression(max_iter=2000).fit(x, y)
    return float(model.score(test_x, test_y)), float(roc_auc_score(test_y, model.decision_function(test_x)))


def choose(databases: dict[str, str]) -> None:
    """Three times five-fold cross-validation on the training rows; the mean of accuracy and AUC decides."""
    base = explicit_study(databases, "logistic", 0)
    train, _ = pooled_rows(databases, base)
    x, y = np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])
    parts = [
        np.random.default_rng(seed).permutation(len(x)) % FOLDS == part
        for seed in range(3)
        for part in range(FOLDS)
    ]
    for model, optimizer, l2 in itertools.product(TARGETS, OPTIMIZERS, PENALTIES):
        change = {"model": model, "l2": l2, "rounds": CHECKPOINTS[-1], **optimizer}
        study = base.model_copy(update={"analysis": base.analysis.model_copy(update=change)})
        scores = [fit(study, (x[~out], y[~out]), (x[out], y[out]), CHECKPOINTS[:-1]) for out in parts]
        for rounds, (accuracy, auc) in zip(CHECKPOINTS, np.mean(scores, axis=0), strict=True):
            say(
                f"{(accuracy + auc) / 2:.4f}  {accuracy:.4f} {auc:.4f}  "
                f"{model} {optimizer} l2={l2} rounds={rounds}"
            )


def main() -> None:
    """Print all claims."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--choose", action="store_true", help="show the cross-validation behind the settings")
    options = parser.parse_args()
    folder = data_folder(options.data) / "heart_disease"
    say(f"settings of both models: {SETTINGS}")
    with tempfile.TemporaryDirectory() as scratch:
        databases = heart_databases(folder, Path(scratch))
        if options.choose:
            choose(databases)
            return
        baseline = scikit_learn(databases, explicit_study(databases, "logistic", 0))
        for name, (least_accuracy, least_auc) in TARGETS.items():
            studies = [explicit_study(databases, name, seed) for seed in range(SEEDS)]
            ours = np.mean([federated(databases, study) for study in studies], axis=0)
            peer = np.mean([pooled(databases, study) for study in studies], axis=0)
            for index, (what, least) in enumerate((("accuracy", least_accuracy), ("AUC", least_auc))):
                mine, theirs = float(ours[index]), float(peer[index])
                emit(at_least(f"heart_disease: {name} test {what}", mine, theirs, "", least))
                emit(
                    within(f"heart_disease: {name} test {what} against pooled Keras", mine, theirs, "", 0.01)
                )
            studies = [explicit_study(databases, name, seed, CROSS_VALIDATED) for seed in range(SEEDS)]
            blind = np.mean([federated(databases, study) for study in studies], axis=0)
            for what, score in zip(("accuracy", "AUC"), blind, strict=True):
                emit(
                    reported(
                        f"heart_disease: {name} test {what}, cross-validated settings", float(score), None, ""
                    )
                )
        for index, what in enumerate(("accuracy", "AUC")):
            emit(reported(f"heart_disease: scikit-learn logistic, pooled, {what}", None, baseline[index], ""))


if __name__ == "__main__":
    main()

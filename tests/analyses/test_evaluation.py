"""Importance and metrics of a model that a person can follow, against scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

import fedcohort as fc
from fedcohort.analyses.contract import Draw
from fedcohort.analyses.evaluation import N_SHUFFLES, Evaluation, evaluation_report, sum_evaluation
from fedcohort.analyses.metrics import Task
from fedcohort.analyses.score_bins import FINAL_BINS, even_edges
from fedcohort.models.inputs import Inputs

EVALUATION = Evaluation(Task(fc.Binary("sick"), ("train", "test")), {"x": slice(0, 1), "y": slice(1, 2)})
DRAW = Draw(0, "a", 4)
EDGES = even_edges(1, FINAL_BINS)


def predict(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sigmoid of the first column, whatever the second says."""
    return (1 / (1 + np.exp(-2 * x[:, :1]))).astype(np.float32)


def predict_inputs(inputs: Inputs) -> NDArray[np.float32]:
    return predict(inputs.take()[0])


def rows(n: int = 300) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int8]]:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(n, 2)).astype(np.float32)
    y = (x[:, 0] + draw.normal(size=n) > 0).astype(np.float32)
    return x, y, (np.arange(n) % 3 == 0).astype(np.int8)


def test_importance_is_the_mean_over_shuffles_computed_directly() -> None:
    x, y, split = rows()
    report = evaluation_report(
        EVALUATION, sum_evaluation(EVALUATION, predict_inputs, Inputs({"record": x}), y, split, EDGES, DRAW)
    )
    held_x, held_y = x[split == 1], y[split == 1]
    loss, auc = log_loss(held_y, predict(held_x)[:, 0]), roc_auc_score(held_y, predict(held_x)[:, 0])
    generator = DRAW.generator("importance")
    losses, aucs = [], []
    for _ in range(N_SHUFFLES):
        score = predict(held_x[generator.permutation(len(held_x))])[:, 0]
        losses.append(log_loss(held_y, score))
        aucs.append(roc_auc_score(held_y, score))
    importance = report["importance"]
    assert isinstance(importance, dict)
    assert importance["x"]["loss_increase"] == pytest.approx(np.mean(losses) - loss, abs=1e-5)
    assert importance["x"]["auc_drop"] == pytest.approx(auc - np.mean(aucs), abs=2e-3)
    assert importance["y"]["loss_increase"] == pytest.approx(0.0, abs=1e-9)
    assert importance["y"]["auc_drop"] == 0.0


def test_two_sites_added_measure_what_one_site_with_all_rows_does() -> None:
    x, y, split = rows()
    plain = Evaluation(EVALUATION.task, {})
    whole = sum_evaluation(plain, predict_inputs, Inputs({"record": x}), y, split, EDGES, DRAW)
    parts = [
        sum_evaluation(plain, predict_inputs, Inputs({"record": x[p]}), y[p], split[p], EDGES, DRAW)
        for p in (slice(90), slice(90, None))
    ]
    total = {name: np.asarray(parts[0][name]) + parts[1][name] for name in parts[0]}
    for name, values in whole.items():
        np.testing.assert_allclose(total[name], values, atol=1e-9)
    held = evaluation_report(plain, total)["test"]
    assert isinstance(held, dict)
    expected = confusion_matrix(y[split == 1], predict(x[split == 1])[:, 0] >= 0.5)
    assert held["confusion"] == expected.tolist()


def test_a_site_without_held_out_rows_adds_nothing_to_the_held_out_measure() -> None:
    x, y, split = rows()
    vector = sum_evaluation(
        EVALUATION, predict_inputs, Inputs({"record": x}), y, np.zeros_like(split), EDGES, DRAW
    )
    for name in ("confusion", "calibration/rows", "calibration/scores", "importance/loss"):
        assert not np.any(vector[name])

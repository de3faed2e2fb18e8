"""Importance and metrics of a model that a person can follow, against scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss, roc_auc_score

import fedcohort as fc
from fedcohort.analyses.contract import Draw, Sums
from fedcohort.analyses.evaluation import N_SHUFFLES, Evaluation
from fedcohort.analyses.measure import Measure
from fedcohort.analyses.metrics import Outcome
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.score_bins import FINAL_BINS, even_edges
from fedcohort.analyses.site_sum import site_sum
from fedcohort.models.inputs import Inputs
from fedcohort.table import Table
from fedcohort.vector import Array

MEASURE = Measure(Outcome(fc.Binary("sick"), ("train", "test")))
EVALUATION = Evaluation(MEASURE, {"x": slice(0, 1), "y": slice(1, 2)}, MEASURE.outcome.splits)
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


def measured(
    evaluation: Evaluation, x: NDArray[np.float32], y: NDArray[np.float32], split: NDArray[np.int8]
) -> dict[str, Array]:
    """What the rows of one site add up to."""
    table = Rows(Table(np.array([f"p{row:03}" for row in range(len(x))]), {}, split))
    parts = evaluation.contribute(predict_inputs, Inputs({"record": x}), y, table, EDGES, DRAW)
    return site_sum(evaluation.blocks, parts, table, private=False)


def test_importance_is_the_mean_over_shuffles_computed_directly() -> None:
    x, y, split = rows()
    report = EVALUATION.report(Sums(measured(EVALUATION, x, y, split)))
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
    plain = Evaluation(MEASURE, {}, MEASURE.outcome.splits)
    whole = measured(plain, x, y, split)
    parts = [measured(plain, x[p], y[p], split[p]) for p in (slice(90), slice(90, None))]
    total = {name: np.asarray(parts[0][name]) + parts[1][name] for name in parts[0]}
    for name, values in whole.items():
        np.testing.assert_allclose(total[name], values, atol=1e-9)
    held = plain.report(Sums(total))["test"]
    assert isinstance(held, dict)
    expected = confusion_matrix(y[split == 1], predict(x[split == 1])[:, 0] >= 0.5)
    assert held["confusion"] == expected.tolist()


def test_a_site_without_held_out_rows_adds_nothing_to_the_held_out_measure() -> None:
    x, y, split = rows()
    vector = measured(EVALUATION, x, y, np.zeros_like(split))
    for name in ("confusion", "calibration/rows", "calibration/scores", "importance/loss"):
        assert not np.any(vector[name])

"""The whole measure of one model: metrics, confusion, calibration and permutation importance.

Importance is how much the loss grows when one column's values are shuffled among
the rows of each site (Breiman 2001; Fisher, Rudin, Dominici 2019), measured on
held-out rows, the mean of several shuffles.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Draw, Report
from fedcohort.analyses.exact_sums import VALUES, limbs, totals
from fedcohort.analyses.metrics import (
    LOSS_RESOLUTION,
    MAX_LOSS,
    Task,
    auc_from_counts,
    metrics_layout,
    metrics_of,
    predicted_class,
    row_losses,
    score_counts,
    sum_errors,
    sum_metrics,
)
from fedcohort.analyses.score_bins import Edges, coarser, coarser_counts, tie_error
from fedcohort.models.inputs import Inputs
from fedcohort.table import SPLITS
from fedcohort.vector import MAX_ROWS, Block, Layout, Vector, counts

N_SHUFFLES = 5
CALIBRATION_BINS = 10

Predict = Callable[[Inputs], NDArray[np.float32]]


@dataclass(frozen=True)
class Evaluation:
    """What is measured: a task, and the columns that importance shuffles (none: leave it out).

    Attributes:
        columns: to where they are in the record; None for an image, which is shuffled as a whole.
    """

    task: Task
    columns: dict[str, slice | None]

    @property
    def split(self) -> str:
        """Confusion, calibration and importance are measured on held-out rows, or on all when none are."""
        return "test" if "test" in self.task.splits else "train"


def evaluation_layout(evaluation: Evaluation) -> Layout:
    """The blocks of `sum_evaluation`."""
    task, n_columns = evaluation.task, len(evaluation.columns)
    blocks = list(metrics_layout(task, task.final_bins))
    if task.n_classes:
        blocks.append(counts("confusion", task.n_classes, task.n_classes))
    if task.is_binary:
        blocks += [
            counts("calibration/rows", CALIBRATION_BINS, 2),
            Block("calibration/scores", (CALIBRATION_BINS,), MAX_ROWS, LOSS_RESOLUTION),
        ]
    if n_columns:
        blocks.append(
            Block("importance/loss", (n_columns,), MAX_ROWS * MAX_LOSS, LOSS_RESOLUTION)
            if task.n_classes
            else limbs("importance/loss", n_columns, VALUES)
        )
    if n_columns and task.is_binary:
        blocks.append(counts("importance/scores", n_columns, N_SHUFFLES, 2, task.round_bins))
    return tuple(blocks)


def sum_evaluation(
    evaluation: Evaluation,
    predict: Predict,
    x: Inputs,
    y: NDArray[np.float32],
    split: NDArray[np.int8],
    edges: Edges,
    draw: Draw,
) -> Vector:
    """One site's part.

    Args:
        predict: n rows to (n, outputs) float32.
        x, y: inputs and targets of all rows, as `Encoder` gives them.
        edges: between the bins of scores.
    """
    task = evaluation.task
    predicted = predict(x)
    held = np.flatnonzero(split == SPLITS[evaluation.split])
    vector = dict(sum_metrics(task, predicted, y, split, edges))
    if task.n_classes:
        pairs = y[held].astype(np.int64) * task.n_classes + predicted_class(task, predicted[held])
        confusion = np.bincount(pairs, minlength=task.n_classes**2)
        vector["confusion"] = confusion.reshape(task.n_classes, task.n_classes)
    if task.is_binary:
        vector |= _sum_calibration(predicted[held, 0].astype(np.float64), y[held])
    if evaluation.columns:
        vector |= _sum_importance(evaluation, predict, x[held], y[held], edges, draw)
    return vector


def _sum_calibration(score: NDArray[np.float64], y: NDArray[np.float32]) -> Vector:
    bins = np.clip((score * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
    rows = np.bincount(bins * 2 + (y > 0), minlength=2 * CALIBRATION_BINS).reshape(CALIBRATION_BINS, 2)
    return {
        "calibration/rows": rows,
        "calibration/scores": np.bincount(bins, weights=score, minlength=CALIBRATION_BINS),
    }


def _sum_importance(
    evaluation: Evaluation,
    predict: Predict,
    x: Inputs,
    y: NDArray[np.float32],
    edges: Edges,
    draw: Draw,
) -> Vector:
    task, n_columns = evaluation.task, len(evaluation.columns)
    losses = np.zeros((n_columns, N_SHUFFLES, len(x)))
    scores = np.zeros((n_columns, N_SHUFFLES, 2, task.round_bins), np.int64)
    generator = draw.generator("importance")
    for index, (name, part) in enumerate(evaluation.columns.items()):
        for shuffle in range(N_SHUFFLES):
            predicted = predict(x.moved(name, part, generator.permutation(len(x))))
            losses[index, shuffle] = row_losses(task, predicted, y) / N_SHUFFLES
            if task.is_binary:
                scores[index, shuffle] = score_counts(task, predicted, y, coarser(edges, task.round_bins))[0]
    if not task.n_classes:
        return {"importance/loss": sum_errors(losses.reshape(n_columns, -1).T)}
    return {"importance/loss": losses.sum((1, 2))} | ({"importance/scores": scores} if task.is_binary else {})


def evaluation_report(evaluation: Evaluation, total: Vector) -> Report:
    """Metrics by split, then confusion, calibration and importance on the held-out rows."""
    task = evaluation.task
    report: Report = dict(task.told)
    for index, name in enumerate(task.splits):
        metrics = metrics_of(task, total, index)
        if metrics is not None:
            report[name] = {**metrics, "rows": _rows(task, total, index)}
    held = report.get(evaluation.split)
    if not isinstance(held, dict):
        return report
    if task.n_classes:
        held["confusion"] = np.asarray(total["confusion"]).astype(int).tolist()
    if task.is_binary:
        held["calibration"] = _calibration(total)
        held["roc"] = _roc(np.asarray(total["scores"][task.splits.index(evaluation.split)][0], np.float64))
    if evaluation.columns:
        report["importance"] = _importance(evaluation, total, held)
    return report


def _rows(task: Task, total: Vector, index: int) -> int:
    """How many rows a split has."""
    return int(np.sum(total["scores"][index][0]) if task.n_classes else total["rows"][index])


def _calibration(total: Vector) -> list[dict[str, float | int]]:
    rows, scores = np.asarray(total["calibration/rows"]), np.asarray(total["calibration/scores"])
    return [
        {"rows": int(n), "predicted": float(score) / float(n), "observed": float(positive) / float(n)}
        for n, positive, score in zip(rows.sum(1), rows[:, 1], scores, strict=True)
        if n
    ]


def _roc(curve: NDArray[np.float64]) -> dict[str, list[float]]:
    """True against false positive rate at up to 64 thresholds."""
    sides = np.concatenate([np.zeros((2, 1)), np.cumsum(curve[:, ::-1], axis=1)], axis=1)
    rates = sides / np.maximum(sides[:, -1:], 1)
    picked = np.unique(np.linspace(0, rates.shape[1] - 1, 65).astype(int))
    return {"false_positive": rates[0, picked].tolist(), "true_positive": rates[1, picked].tolist()}


def _importance(
    evaluation: Evaluation, total: Vector, held: dict[str, object]
) -> dict[str, dict[str, float]]:
    task = evaluation.task
    index = task.splits.index(evaluation.split)
    n = _rows(task, total, index)
    losses = _importance_losses(task, total)
    importance = {}
    for column, name in enumerate(evaluation.columns):
        entry = {"loss_increase": losses[column] / n - float(str(held["loss"]))}
        if task.is_binary and held["auc"] is not None:
            whole = coarser_counts(np.asarray(total["scores"][index][0], np.float64), task.round_bins)
            entry |= _auc_drop(whole, np.asarray(total["importance/scores"][column], np.float64))
        importance[name] = entry
    return importance


def _importance_losses(task: Task, total: Vector) -> list[float]:
    found = total["importance/loss"]
    return [float(loss) for loss in (found if task.n_classes else totals(found, VALUES))]


def _auc_drop(whole: NDArray[np.float64], shuffles: NDArray[np.float64]) -> dict[str, float]:
    """Counted in the same bins with and without shuffling, so that what changes nothing drops by nothing."""
    auc = auc_from_counts(*whole) or 0.0
    drops = [auc - (auc_from_counts(*curve) or 0.0) for curve in shuffles]
    errors = [tie_error(*curve) or 0.0 for curve in shuffles]
    return {
        "auc_drop": sum(drops) / len(drops),
        "auc_drop_error": (tie_error(*whole) or 0.0) + sum(errors) / len(errors),
    }

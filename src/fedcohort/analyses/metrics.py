"""Metrics as sums: loss, accuracy and ROC AUC of a model on each split.

AUC comes from scores counted in equal bins, positives and negatives apart; two
scores in one bin count as a tie (Mann and Whitney 1947), so that the error is
at most half the share of pairs that fall in one bin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Binary, Classes, Label, Number
from fedcohort.table import SPLITS
from fedcohort.vector import MAX_ROWS, Block, Layout, Vector, counts

LOSS_RESOLUTION = 2.0**-16
SMALLEST_PROBABILITY = 1e-7
MAX_LOSS = 17.0
"""-log of the smallest probability is 16.2."""
MAX_SQUARED_ERROR = 2.0**20
"""In units of the label's half range; a larger error is a training that diverged."""
BINARY_BINS, CLASS_BINS = 1024, 256

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What a model predicts, and on which splits it is measured."""

    label: Label
    splits: tuple[str, ...]

    @property
    def n_classes(self) -> int:
        """2 for a binary label, 0 for a number."""
        return len(self.label.levels) if isinstance(self.label, Classes) else 2 if self.is_binary else 0

    @property
    def is_binary(self) -> bool:
        """One output, the probability of yes."""
        return isinstance(self.label, Binary)

    @property
    def bins(self) -> int:
        """Bins of the score histogram."""
        return BINARY_BINS if self.is_binary else CLASS_BINS

    @property
    def n_curves(self) -> int:
        """ROC curves: one for a binary label, one a class otherwise (one against the rest)."""
        return 1 if self.is_binary else self.n_classes


def metrics_layout(task: Task) -> Layout:
    """The blocks of `sum_metrics`."""
    n = len(task.splits)
    if task.n_classes:
        return (
            Block("loss", (n,), MAX_ROWS * MAX_LOSS, LOSS_RESOLUTION),
            counts("correct", n),
            counts("scores", n, task.n_curves, 2, task.bins),
        )
    return (
        counts("rows", n),
        Block("loss", (n,), MAX_ROWS * MAX_SQUARED_ERROR, LOSS_RESOLUTION),
        Block("absolute", (n,), MAX_ROWS * MAX_SQUARED_ERROR, LOSS_RESOLUTION),
        Block("target", (n, 2), MAX_ROWS, LOSS_RESOLUTION),
    )


def row_losses(task: Task, predicted: NDArray[np.float32], target: NDArray[np.float32]) -> Floats:
    """(n_rows,): cross-entropy, or the squared error of the scaled label."""
    p = predicted.astype(np.float64)
    if task.is_binary:
        p = np.clip(p[:, 0], SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return -np.where(target > 0, np.log(p), np.log1p(-p))
    if task.n_classes:
        own = np.take_along_axis(p, target.astype(np.int64)[:, None], axis=1)[:, 0]
        return -np.log(np.clip(own, SMALLEST_PROBABILITY, 1.0))
    return np.square(p[:, 0] - target)


def predicted_class(task: Task, predicted: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n_rows,): 0 or 1 at the threshold one half, or the likeliest class."""
    return (predicted[:, 0] >= 0.5).astype(np.int64) if task.is_binary else np.argmax(predicted, axis=1)


def score_counts(
    task: Task, predicted: NDArray[np.float32], target: NDArray[np.float32]
) -> NDArray[np.int64]:
    """(n_curves, 2, bins): rows by score, negatives first."""
    bins = np.clip((predicted * task.bins).astype(np.int64), 0, task.bins - 1)
    table = np.zeros((task.n_curves, 2, task.bins), np.int64)
    for curve in range(task.n_curves):
        positive = target > 0 if task.is_binary else target == curve
        for side in (0, 1):
            table[curve, side] = np.bincount(bins[positive == side, curve], minlength=task.bins)
    return table


def sum_metrics(
    task: Task, predicted: NDArray[np.float32], target: NDArray[np.float32], split: NDArray[np.int8]
) -> Vector:
    """Sum one site's rows, split by split.

    Args:
        predicted: (n_rows, outputs): probabilities, or the scaled number.
        target: (n_rows,): as `Encoder.targets` gives it.
    """
    losses = row_losses(task, predicted, target)
    members = [np.flatnonzero(split == SPLITS[name]) for name in task.splits]
    loss = np.array([losses[rows].sum() for rows in members])
    if task.n_classes:
        hits = predicted_class(task, predicted) == target
        return {
            "loss": loss,
            "correct": np.array([hits[rows].sum() for rows in members]),
            "scores": np.stack([score_counts(task, predicted[rows], target[rows]) for rows in members]),
        }
    error = np.abs(predicted[:, 0].astype(np.float64) - target)
    exact = target.astype(np.float64)
    return {
        "rows": np.array([len(rows) for rows in members]),
        "loss": loss,
        "absolute": np.array([error[rows].sum() for rows in members]),
        "target": np.array([[exact[rows].sum(), np.square(exact[rows]).sum()] for rows in members]),
    }


def auc_from_counts(negatives: Floats, positives: Floats) -> float | None:
    """Area under the ROC curve from scores counted in bins; None when a side is empty."""
    n_negative, n_positive = float(negatives.sum()), float(positives.sum())
    if not n_negative or not n_positive:
        return None
    below = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
    return float((positives * (below + negatives / 2)).sum() / (n_negative * n_positive))


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def metrics_of(task: Task, total: Vector, index: int) -> dict[str, float | None] | None:
    """The metrics of one split from the sums of all sites; None when it has no rows.

    A multi-class AUC is the mean over classes, each against the rest. `mae` is in the label's own units.
    """
    if task.n_classes:
        scores = np.asarray(total["scores"][index], np.float64)
        n = float(scores[0].sum())
        if not n:
            return None
        auc = _mean([auc_from_counts(*curve) for curve in scores])
        return {
            "loss": float(total["loss"][index]) / n,
            "accuracy": float(total["correct"][index]) / n,
            "auc": auc,
        }
    n = float(total["rows"][index])
    if not n:
        return None
    half_range = (task.label.high - task.label.low) / 2 if isinstance(task.label, Number) else 1.0
    target_sum, target_squares = (float(value) for value in total["target"][index])
    spread = target_squares - target_sum**2 / n
    loss = float(total["loss"][index])
    return {
        "loss": loss / n,
        "mae": float(total["absolute"][index]) / n * half_range,
        "r2": 1 - loss / spread if spread > 0 else None,
        "accuracy": None,
        "auc": None,
    }

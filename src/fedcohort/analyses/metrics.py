"""Metrics as sums: loss, accuracy and ROC AUC of a model on each split.

AUC comes from scores counted in bins, positives and negatives apart (`score_bins`);
two scores in one bin count as a tie (Mann and Whitney 1947), so that the error is
at most half the share of pairs that fall in one bin, and is told as `auc_error`.
Errors of a number are summed exactly: a label may have declared bounds of any width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exact_sums import SQUARES, VALUES, limbs, sum_squares, sum_values, totals
from fedcohort.analyses.score_bins import (
    CLASS_FINAL_BINS,
    CLASS_ROUND_BINS,
    FINAL_BINS,
    ROUND_BINS,
    Edges,
    bin_of,
    tie_error,
)
from fedcohort.columns import Binary, Classes, Label, Number
from fedcohort.errors import ValueRangeError
from fedcohort.table import SPLITS
from fedcohort.vector import MAX_ROWS, Block, Layout, Vector, counts

LOSS_RESOLUTION = 2.0**-16
SMALLEST_PROBABILITY = 1e-7
MAX_LOSS = 17.0
"""-log of the smallest probability is 16.2."""

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
    def told(self) -> dict[str, object]:
        """What a report says of a yes-or-no label: which level counts as yes, and which as no."""
        if not isinstance(self.label, Binary):
            return {}
        return {"label": self.label.model_dump(include={"column", "positive", "negative"})}

    @property
    def round_bins(self) -> int:
        """Bins of a score histogram in every round, and after a column was shuffled."""
        return ROUND_BINS if self.is_binary else CLASS_ROUND_BINS

    @property
    def final_bins(self) -> int:
        """Bins of the finished model's score histogram."""
        return FINAL_BINS if self.is_binary else CLASS_FINAL_BINS

    @property
    def n_curves(self) -> int:
        """ROC curves: one for a binary label, one a class otherwise (one against the rest)."""
        return 1 if self.is_binary else self.n_classes


def metrics_layout(task: Task, n_bins: int) -> Layout:
    """The blocks of `sum_metrics`, with scores in so many bins."""
    n = len(task.splits)
    if task.n_classes:
        return (
            Block("loss", (n,), MAX_ROWS * MAX_LOSS, LOSS_RESOLUTION),
            counts("correct", n),
            counts("scores", n, task.n_curves, 2, n_bins),
        )
    return (
        counts("rows", n),
        limbs("loss", n, VALUES),
        limbs("absolute", n, VALUES),
        limbs("target", n, VALUES),
        limbs("target/squares", n, SQUARES),
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
    task: Task, predicted: NDArray[np.float32], target: NDArray[np.float32], edges: Edges
) -> NDArray[np.int64]:
    """(n_curves, 2, bins): rows by score, negatives first."""
    n_bins = edges.shape[1] + 1
    table = np.zeros((task.n_curves, 2, n_bins), np.int64)
    for curve in range(task.n_curves):
        positive = target > 0 if task.is_binary else target == curve
        places = bin_of(edges, curve, predicted[:, curve]) + n_bins * positive
        table[curve] = np.bincount(places, minlength=2 * n_bins).reshape(2, n_bins)
    return table


def sum_errors(errors: Floats) -> NDArray[np.int64]:
    """Limbs of the exact sum of each column of (n_rows, n).

    Raises:
        ValueRangeError: one is not finite, as of a training that diverged.
    """
    if not np.all(np.isfinite(errors)):
        raise ValueRangeError("an error is not a finite number; lower the learning rate or check the data")
    return sum_values(errors)


def sum_metrics(
    task: Task,
    predicted: NDArray[np.float32],
    target: NDArray[np.float32],
    split: NDArray[np.int8],
    edges: Edges,
) -> Vector:
    """Sum one site's rows, split by split.

    Args:
        predicted: (n_rows, outputs): probabilities, or the scaled number.
        target: (n_rows,): as `Encoder.targets` gives it.
        edges: between the bins of scores; of no use to a number.
    """
    losses = row_losses(task, predicted, target)
    members = [np.flatnonzero(split == SPLITS[name]) for name in task.splits]
    if task.n_classes:
        loss = np.array([losses[rows].sum() for rows in members])
        hits = predicted_class(task, predicted) == target
        return {
            "loss": loss,
            "correct": np.array([hits[rows].sum() for rows in members]),
            "scores": np.stack(
                [score_counts(task, predicted[rows], target[rows], edges) for rows in members]
            ),
        }
    error = np.abs(predicted[:, 0].astype(np.float64) - target)
    exact = target.astype(np.float64)
    return {
        "rows": np.array([len(rows) for rows in members]),
        "loss": np.concatenate([sum_errors(losses[rows, None]) for rows in members]),
        "absolute": np.concatenate([sum_errors(error[rows, None]) for rows in members]),
        "target": np.concatenate([sum_values(exact[rows, None]) for rows in members]),
        "target/squares": np.concatenate([sum_squares(exact[rows, None]) for rows in members]),
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

    A multi-class AUC is the mean over classes, each against the rest, and so is its error. `mae` is in the
    label's own units.
    """
    if task.n_classes:
        scores = np.asarray(total["scores"][index], np.float64)
        n = float(scores[0].sum())
        if not n:
            return None
        return {
            "loss": float(total["loss"][index]) / n,
            "accuracy": float(total["correct"][index]) / n,
            "auc": _mean([auc_from_counts(*curve) for curve in scores]),
            "auc_error": _mean([tie_error(*curve) for curve in scores]),
        }
    n = int(total["rows"][index])
    if not n:
        return None
    half_range = (task.label.high - task.label.low) / 2 if isinstance(task.label, Number) else 1.0
    loss, absolute, target = (totals(total[name], VALUES)[index] for name in ("loss", "absolute", "target"))
    spread = totals(total["target/squares"], SQUARES)[index] - target**2 / n
    return {
        "loss": float(loss / n),
        "mae": float(absolute / n) * half_range,
        "r2": float(1 - loss / spread) if spread > 0 else None,
        "accuracy": None,
        "auc": None,
    }

"""Metrics as sums: loss, accuracy and ROC AUC of a model on each split.

AUC comes from scores counted in bins, positives and negatives apart (`score_bins`);
two scores in one bin count as a tie (Mann and Whitney 1947), so that the error is
at most half the share of pairs that fall in one bin, and is told as `auc_error`.
Errors of a number are summed exactly: a label may have declared bounds of any width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.exact_sums import sum_values
from fedcohort.analyses.score_bins import (
    CLASS_FINAL_BINS,
    CLASS_ROUND_BINS,
    FINAL_BINS,
    ROUND_BINS,
    Edges,
    bin_of,
)
from fedcohort.columns import Binary, Classes, Label
from fedcohort.errors import ValueRangeError

LOSS_RESOLUTION = 2.0**-16
SMALLEST_PROBABILITY = 1e-7
MAX_LOSS = 17.0
"""-log of the smallest probability is 16.2."""

Floats = NDArray[np.float64]
Predicted = NDArray[np.floating[Any]]
"""In the precision of the model, and so are its targets."""


@dataclass(frozen=True)
class Outcome:
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
    def label_report(self) -> dict[str, object]:
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


def row_losses(outcome: Outcome, predicted: Predicted, target: Predicted) -> Floats:
    """(n_rows,): cross-entropy, or the squared error of the scaled label."""
    p = predicted.astype(np.float64)
    if outcome.is_binary:
        p = np.clip(p[:, 0], SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        return -np.where(target > 0, np.log(p), np.log1p(-p))
    if outcome.n_classes:
        own = np.take_along_axis(p, target.astype(np.int64)[:, None], axis=1)[:, 0]
        return -np.log(np.clip(own, SMALLEST_PROBABILITY, 1.0))
    return np.square(p[:, 0] - target)


def predicted_class(outcome: Outcome, predicted: Predicted) -> NDArray[np.int64]:
    """(n_rows,): 0 or 1 at the threshold one half, or the likeliest class."""
    return (predicted[:, 0] >= 0.5).astype(np.int64) if outcome.is_binary else np.argmax(predicted, axis=1)


def score_cells(outcome: Outcome, predicted: Predicted, target: Predicted, edges: Edges) -> NDArray[np.int64]:
    """(n_rows, n_curves): of each curve the cell of (2, bins) that a row falls into, negatives first."""
    n_bins = edges.shape[1] + 1
    cells = np.empty((len(target), outcome.n_curves), np.int64)
    for curve in range(outcome.n_curves):
        positive = target > 0 if outcome.is_binary else target == curve
        cells[:, curve] = bin_of(edges, curve, predicted[:, curve]) + n_bins * positive
    return cells


def sum_errors(errors: Floats) -> NDArray[np.int64]:
    """Limbs of the exact sum of each column of (n_rows, n).

    Raises:
        ValueRangeError: one is not finite, as of a training that diverged.
    """
    if not np.all(np.isfinite(errors)):
        raise ValueRangeError("an error is not a finite number; lower the learning rate or check the data")
    return sum_values(errors)


def auc_from_counts(negatives: Floats, positives: Floats) -> float | None:
    """Area under the ROC curve from scores counted in bins; None when a side is empty."""
    n_negative, n_positive = float(negatives.sum()), float(positives.sum())
    if not n_negative or not n_positive:
        return None
    below = np.concatenate([[0.0], np.cumsum(negatives)[:-1]])
    return float((positives * (below + negatives / 2)).sum() / (n_negative * n_positive))

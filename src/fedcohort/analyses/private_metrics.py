"""What private training may know of held-out patients: a few noisy counts, and how far to trust them.

One histogram of scores gives loss, accuracy and ROC AUC of a binary model, so that one noisy
release pays for all three. Its bins are fixed on the log-odds scale, finest about even odds. A patient
counts with one row. Noise makes counts of empty bins negative, and they are added as they are: to lift
them to zero would add patients that nobody has, in every bin, and no interval would hold the truth. The
intervals are those of the added noise alone: what the same counts would show under other draws of it.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.metrics import Task, auc_from_counts, predicted_class, score_counts
from fedcohort.analyses.score_bins import tie_error
from fedcohort.columns import Number
from fedcohort.errors import CohortTooSmallError
from fedcohort.vector import MAX_ROWS, Block, Vector

LOG_ODDS = (0.25, 0.5, 0.8, 1.2, 1.8, 2.6, 3.6, 4.8, 6.2)
"""Edges between bins, to both sides of even odds, which are one too: probabilities of .002 to .998."""
_INNER = np.array([*(-edge for edge in reversed(LOG_ODDS)), 0.0, *LOG_ODDS])
EDGES = (1 / (1 + np.exp(-_INNER))).astype(np.float32)[None]
"""(1, BINS - 1) probabilities."""
BINS = EDGES.shape[1] + 1
_OUTER = np.array([-7.5, *_INNER, 7.5])
MIDDLE = 1 / (1 + np.exp(-(_OUTER[:-1] + _OUTER[1:]) / 2))
"""(BINS,): the probability that a bin's rows are taken to have; of the outermost, at log-odds of 6.85."""
DRAWS, INTERVAL = 200, 0.95
RESOLUTION = 2.0**-16
"""Of counts, too: the noise of a small study is less than a patient wide, and still many steps."""

Floats = NDArray[np.float64]
Metrics = dict[str, float | None]


def measured_block(name: str, task: Task, repeats: int = 1) -> Block:
    """The noisy counts of one model, or of `repeats` variants of it, on held-out patients.

    Binary: (repeats, 2, bins) rows by outcome and score. Classes: (repeats, 2) right and all. A
    number: (repeats, 2) half the absolute error in units of the label's half range, and all.
    """
    if task.is_binary:
        return Block(name, (repeats, 2, BINS), MAX_ROWS, RESOLUTION, sensitivity=math.sqrt(repeats))
    return Block(name, (repeats, 2), MAX_ROWS, RESOLUTION, sensitivity=math.sqrt(2 * repeats))


def measure(task: Task, predicted: NDArray[np.float32], target: NDArray[np.float32]) -> Floats:
    """One site's counts of one model: (2, bins) or (2,); each row adds at most 1 in each of two places.

    Args:
        predicted: (n_patients, outputs); a row that is not finite counts as the lowest prediction.
        target: (n_patients,).
    """
    safe = np.nan_to_num(predicted, nan=0.0, posinf=1.0, neginf=0.0)
    if task.is_binary:
        counts: Floats = score_counts(task, safe, target, EDGES)[0].astype(np.float64)
        return counts
    if task.n_classes:
        return np.array([np.count_nonzero(predicted_class(task, safe) == target), len(target)], np.float64)
    error = np.abs(np.clip(safe[:, 0].astype(np.float64), -1, 1) - np.clip(target, -1, 1))
    return np.array([on_grid(error / 2).sum(), len(target)])


def on_grid(values: Floats) -> Floats:
    """Values as multiples of RESOLUTION, of which a sum is exact: no rounding hides in it, none is lost."""
    rounded: Floats = np.rint(values / RESOLUTION) * RESOLUTION
    return rounded


def noisy_metrics(task: Task, counts: Floats, sigma: float, seed: int) -> Metrics:
    """Metrics of one model from its noisy counts, with the interval of each as `_low` and `_high`.

    Args:
        counts: one entry of a `measured_block`.
        sigma: standard deviation of the noise in each count.
        seed: of the interval's draws, which are not secret.
    Returns:
        with an AUC, `auc_error`: how far it may be from that of the scores, as far as the counts tell.
    """
    draw = np.random.default_rng(seed)
    others = [_metrics(task, counts + sigma * draw.standard_normal(counts.shape)) for _ in range(DRAWS)]
    found = _with_intervals(_metrics(task, counts), others)
    if found.get("auc") is not None:
        error = tie_error(*counts)
        found["auc_error"] = None if error is None else min(max(error, 0.0), 0.5)
    return found


LEAST_PATIENTS = 10
"""By noisy count, fewer than these at all hospitals together teach and describe nothing."""


def check_enough(n_patients: float, sigma: float) -> None:
    """End a study in words on the noisy count that it has released, where that is surely too small.

    Args:
        sigma: of the noise of the count; 95 % of it leave the count too small, or the study goes on.
    Raises:
        CohortTooSmallError: says the count and how far it may be off.
    """
    error = 1.96 * sigma
    if n_patients + error >= LEAST_PATIENTS:
        return
    n = max(0, round(n_patients))
    raise CohortTooSmallError(
        f"by its noisy count the cohort has {n} patients at all hospitals together (95 % of the noise is "
        f"below {error:.0f}), and {LEAST_PATIENTS} are the least; widen `where`, or ask more hospitals; what "
        "was released is paid for"
    )


def noisy_rows(task: Task, counts: Floats) -> int:
    """How many rows were measured, with noise."""
    return max(0, round(float(np.sum(counts) if task.is_binary else counts[1])))


def _metrics(task: Task, counts: Floats) -> Metrics:
    if not task.is_binary:
        total = float(counts[1])
        share = min(max(float(counts[0]) / total, 0.0), 1.0) if total >= 1 else None
        if task.n_classes:
            return {"accuracy": share}
        half = (task.label.high - task.label.low) / 2 if isinstance(task.label, Number) else 1.0
        return {"mae": None if share is None else share * 2 * half}
    negatives, positives = counts
    n_negative, n_positive = float(negatives.sum()), float(positives.sum())
    n = n_negative + n_positive
    if n < 1:
        return {"loss": None, "accuracy": None, "auc": None}
    loss = -(positives @ np.log(MIDDLE) + negatives @ np.log1p(-MIDDLE)) / n
    right = float(negatives[: BINS // 2].sum() + positives[BINS // 2 :].sum())
    auc = auc_from_counts(negatives, positives) if min(n_negative, n_positive) >= 1 else None
    return {
        "loss": max(0.0, float(loss)),
        "accuracy": min(max(right / n, 0.0), 1.0),
        "auc": None if auc is None else min(max(auc, 0.0), 1.0),
    }


def noisy_importance(
    task: Task, whole: Floats, without: Mapping[str, Floats], sigmas: tuple[float, float]
) -> dict[str, Metrics]:
    """How much worse the model is when a column is hidden from it: the metrics' differences.

    Args:
        without: by column, the counts when it is hidden.
        sigmas: of the noise in each count of `whole`, and in each of `without`.
    Returns:
        by column each difference, with its interval as `_low` and `_high`.
    """
    draw = np.random.default_rng(0)
    shape = (DRAWS, *whole.shape)
    wholes = [_metrics(task, one) for one in whole + sigmas[0] * draw.standard_normal(shape)]
    base, found = _metrics(task, whole), {}
    for name, counts in without.items():
        drops = _drops(task, base, _metrics(task, counts))
        noisy = counts + sigmas[1] * draw.standard_normal(shape)
        others = [_drops(task, one, _metrics(task, two)) for one, two in zip(wholes, noisy, strict=True)]
        found[name] = _with_intervals(drops, others)
    return found


def _drops(task: Task, whole: Metrics, hidden: Metrics) -> Metrics:
    if not task.is_binary:
        key = "accuracy" if task.n_classes else "mae"
        return {f"{key}_change": _difference(hidden[key], whole[key])}
    return {
        "auc_drop": _difference(whole["auc"], hidden["auc"]),
        "loss_increase": _difference(hidden["loss"], whole["loss"]),
    }


def _with_intervals(found: Metrics, others: Sequence[Metrics]) -> Metrics:
    """With each known metric, between which values it lies in INTERVAL of the other draws."""
    ends: Metrics = {}
    for name, value in found.items():
        known = [other[name] for other in others if other[name] is not None]
        if value is not None and known:
            low, high = np.quantile(np.array(known, np.float64), [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
            ends |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return {**found, **ends}


def _difference(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def sigma_of(total: Vector, block: str) -> float:
    """The noise that the coordinator says is in a block, in the block's own units."""
    return float(np.asarray(total.get(f"{block}/sigma", 0.0)))

"""What may be shown of how good a model is: no metric, cell, bin or threshold that rests on few patients."""

from collections.abc import Sequence

import numpy as np

from fedcohort.analyses.contract import Floats, Sums
from fedcohort.analyses.evaluation import Evaluation
from fedcohort.disclosure.cells import Mask, hidden, possible, small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import ROUNDING, masked
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.disclosure.windows import windows
from fedcohort.vector import Array


def shown_measure(
    evaluation: Evaluation, sums: Sums, rules: Disclosure
) -> tuple[dict[str, Array], list[Suppressed]]:
    """Sums of a measure, of a round or of the finished model, without what must not leave.

    Returns:
        a split with few patients of one outcome shows nothing; `shown/roc/SPLIT`, (2, points), are rows above
        the thresholds of a ROC curve that are told.
    """
    values: dict[str, Array] = {**sums.values, ROUNDING: np.array([rules.rounding])}
    found: list[Suppressed] = []
    for split in evaluation.splits:
        names = [name for name in values if name.endswith(f"/{split}")]
        if not names:
            continue
        if _few(evaluation, sums, split, rules):
            values |= {name: np.full(np.shape(values[name]), np.nan) for name in names}
            found.append(Suppressed(split, "min_cell", len(names)))
            if split == evaluation.split:
                values |= {
                    name: np.full(np.shape(values[name]), np.nan) for name in values if name.startswith(HELD)
                }
        else:
            found += _accuracy(values, sums, split, rules)
            found += _held(evaluation, values, sums, split, rules)
    return values, found


HELD = ("confusion", "calibration/", "importance/")
"""Blocks of the finished model on held-out rows."""


def _few(evaluation: Evaluation, sums: Sums, split: str, rules: Disclosure) -> bool:
    """Whether the rows are few, or those of one outcome."""
    if not evaluation.outcome.n_classes:
        return bool(0 < float(sums[f"rows/{split}"][0]) < rules.min_cell)
    sizes = np.asarray(sums[f"scores/{split}"], np.float64).sum(-1)
    return bool(small(sizes, rules.min_cell).any())


def _accuracy(values: dict[str, Array], sums: Sums, split: str, rules: Disclosure) -> list[Suppressed]:
    """Who is classified wrongly, or rightly, may be few."""
    name = f"correct/{split}"
    if name not in values:
        return []
    right, n = float(sums[name][0]), float(np.asarray(sums[f"scores/{split}"])[0].sum())
    if not small(np.array([right, n - right]), rules.min_cell).any():
        return []
    values[name] = np.array([np.nan])
    return [Suppressed(split, "min_cell", 1)]


def _held(
    evaluation: Evaluation, values: dict[str, Array], sums: Sums, split: str, rules: Disclosure
) -> list[Suppressed]:
    """Confusion, calibration and ROC curve of the finished model."""
    if split != evaluation.split or "confusion" not in values:
        return []
    confusion = np.asarray(sums["confusion"], np.float64)
    told = not np.isnan(values[f"correct/{split}"]).any()
    mask, determined = _confusion(confusion, told, rules)
    values["confusion"] = masked(confusion, mask, rules)
    found = [Suppressed("confusion", "min_cell", int(mask.sum()))]
    if determined:
        values[f"correct/{split}"] = np.array([np.nan])
        found.append(Suppressed(split, "min_cell", 1))
    if not evaluation.outcome.is_binary:
        return found
    bins = _bins(np.asarray(sums["calibration/rows"], np.float64), rules)
    values["calibration/rows"] = masked(
        sums["calibration/rows"], bins[:, None] & np.array([True, True]), rules
    )
    # A bin's mean score is that of its rows, as many as there are.
    scores, rows = (np.asarray(sums[f"calibration/{name}"], np.float64) for name in ("scores", "rows"))
    shown = values["calibration/rows"].sum(1)
    with np.errstate(invalid="ignore"):
        values["calibration/scores"] = np.where(bins, np.nan, scores / np.maximum(rows.sum(1), 1) * shown)
    curve = np.asarray(sums[f"scores/{split}"][0], np.float64)[:, ::-1]
    ends = windows(curve.T, rules.min_cell, closed=True)
    values[f"shown/roc/{split}"] = np.cumsum(curve, axis=1)[:, ends]
    return [*found, Suppressed("calibration", "min_cell", int(bins.sum()))]


def _confusion(counts: Floats, told: bool, rules: Disclosure) -> tuple[Mask, bool]:
    """Hidden cells; rows of each outcome are known, and where accuracy is told, all that are right.

    Returns:
        also, whether accuracy gives a hidden cell away.
    """
    places = np.arange(counts.size).reshape(counts.shape)
    off = ~np.eye(len(counts), dtype=bool)
    lines = [*places, *([places[off], np.diagonal(places)] if told else [])]
    flat = counts.reshape(-1)
    mask = hidden(flat, lines, rules.min_cell)
    return mask.reshape(counts.shape), told and _determined(flat, lines, mask, rules)


def _determined(flat: Floats, lines: Sequence[Array], mask: Mask, rules: Disclosure) -> bool:
    few = np.flatnonzero(mask & small(flat, rules.min_cell))
    ends = (possible(flat, lines, mask, int(cell)) for cell in few)
    return any(high - low < rules.min_cell - 1e-6 for low, high in ends)


def _bins(rows: Floats, rules: Disclosure) -> Mask:
    """Bins of calibration that are hidden, each with both outcomes, whose totals are known."""
    flat, places = rows.reshape(-1), np.arange(rows.size).reshape(rows.shape)
    mask = hidden(flat, list(places.T), rules.min_cell).reshape(rows.shape)
    bins = np.asarray(mask.any(1))
    while True:
        own = rows[bins]
        if not bins.any() or bins.all() or bool(np.all((own.sum(0) == 0) | (own.sum(0) >= rules.min_cell))):
            return bins
        sizes = np.where(bins | (rows.sum(1) == 0), np.inf, rows.sum(1))
        if not np.isfinite(sizes).any():
            return np.ones_like(bins)
        bins = bins.copy()
        bins[int(np.argmin(sizes))] = True

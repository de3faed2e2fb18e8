"""How good a model is, as sums: rows by score and outcome, losses and errors, by split.

Without privacy losses are summed and scores counted in many bins, whose edges the data of the round before
have placed. Under privacy one histogram of scores by outcome gives loss, accuracy and ROC AUC, so that one
release pays for all three; its bins are fixed on the log-odds scale, finest about even odds, and a patient
counts with one row. Noise makes counts of empty bins negative, and they are added as they are: to lift
them to zero would add patients that nobody has, in every bin, and no interval would hold the truth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Contribution, Proved, State, Sums, Tally
from fedcohort.analyses.exact_sums import SQUARES, VALUES, limbs, sum_squares, sum_values, totals
from fedcohort.analyses.intervals import Estimates, drawn, ends
from fedcohort.analyses.metrics import (
    LOSS_RESOLUTION,
    MAX_LOSS,
    Outcome,
    Predicted,
    auc_from_counts,
    predicted_class,
    row_losses,
    score_cells,
    sum_errors,
)
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.score_bins import Edges, tie_error
from fedcohort.columns import Number
from fedcohort.disclosure.shown import count_of, number_of
from fedcohort.errors import WireError
from fedcohort.vector import MAX_ROWS, Block, counts

LOG_ODDS = (0.25, 0.5, 0.8, 1.2, 1.8, 2.6, 3.6, 4.8, 6.2)
"""Edges between fixed bins, to both sides of even odds, which are one too: probabilities of .002 to .998."""
_INNER = np.array([*(-edge for edge in reversed(LOG_ODDS)), 0.0, *LOG_ODDS])
EDGES: Edges = (1 / (1 + np.exp(-_INNER))).astype(np.float32)[None]
"""(1, BINS - 1) probabilities."""
BINS = EDGES.shape[1] + 1
_OUTER = np.array([-7.5, *_INNER, 7.5])
MIDDLE = 1 / (1 + np.exp(-(_OUTER[:-1] + _OUTER[1:]) / 2))
"""(BINS,): the probability that a bin's rows are taken to have; of the outermost, at log-odds of 6.85."""

Floats = NDArray[np.float64]
Metrics = dict[str, float | None]


@dataclass(frozen=True)
class Measure:
    """What is counted of predictions on a split's rows, and the metrics that follow.

    Attributes:
        private: with fixed bins, and one row a patient.
    """

    outcome: Outcome
    private: bool = False

    def edges_of(self, state: State, n_bins: int) -> Edges:
        """The edges between bins of scores that a state says; those of fixed bins are in no state.

        Raises:
            WireError: they are not between so many bins of each curve, in order: other cells than the sum's.
        """
        if self.private or not self.outcome.n_classes:
            return EDGES
        edges: Edges = np.asarray(state.arrays.get("edges", ()))
        shape = (self.outcome.n_curves, n_bins - 1)
        if edges.shape != shape or edges.dtype != np.float32 or not np.all(np.diff(edges) >= 0):
            raise WireError(f"a state without edges between {n_bins} bins of scores")
        return edges

    def rows(self, rows: Rows, split: str) -> NDArray[np.int64]:
        """Whose predictions count."""
        return rows.patients(split) if self.private else rows.of(split)

    def blocks(self, split: str, n_bins: int) -> tuple[Block, ...]:
        """Of one model on one split.

        Args:
            n_bins: of each histogram of scores, where bins are not fixed.
        """
        if self.private:
            return (self.private_block("scores", split),)
        if self.outcome.n_classes:
            loss = Block(f"loss/{split}", (1,), resolution=LOSS_RESOLUTION, bound=MAX_ROWS * MAX_LOSS)
            return (
                loss,
                counts(f"correct/{split}", 1),
                counts(f"scores/{split}", self.outcome.n_curves, 2, n_bins),
            )
        return (
            counts(f"rows/{split}", 1),
            limbs(f"loss/{split}", 1, VALUES),
            limbs(f"absolute/{split}", 1, VALUES),
            limbs(f"target/{split}", 1, VALUES),
            limbs(f"target/squares/{split}", 1, SQUARES),
        )

    def private_block(self, name: str, split: str, variants: int = 1, share: float = 1.0) -> Block:
        """The counts of one model, or of `variants` of it, on a split's patients.

        Binary: (variants, 2, bins) rows by outcome and score. Classes: (variants, 2) right and all. A
        number: (variants, 2) half the absolute error in units of the label's half range, and all.
        """
        shape = (variants, 2, BINS) if self.outcome.is_binary else (variants, 2)
        row = math.sqrt(variants if self.outcome.is_binary else 2 * variants)
        return Block(f"{name}/{split}", shape, row, share, part=split, once=True, bound=MAX_ROWS)

    def contribute(
        self,
        predicted: Predicted,
        target: Predicted,
        rows: NDArray[np.int64],
        split: str,
        edges: Edges,
    ) -> dict[str, Contribution]:
        """What the rows of one split add.

        Args:
            predicted: (n, outputs): probabilities, or the scaled number.
            target: (n,): as `Encoder.targets` gives it.
            rows: (n,) whose they are.
            edges: between the bins of scores, where they are not fixed; of no use to a number.
        """
        if self.private:
            return {f"scores/{split}": self.private_tally([predicted], target, rows)}
        losses = row_losses(self.outcome, predicted, target)
        if self.outcome.n_classes:
            hits = predicted_class(self.outcome, predicted) == target
            return {
                f"loss/{split}": Proved(np.array([losses.sum()])),
                f"correct/{split}": Tally(hits[:, None], rows=rows),
                f"scores/{split}": Tally(cell=score_cells(self.outcome, predicted, target, edges), rows=rows),
            }
        error = np.abs(predicted[:, 0].astype(np.float64) - target)
        exact = target.astype(np.float64)
        return {
            f"rows/{split}": Tally(rows=rows),
            f"loss/{split}": Proved(sum_errors(losses[:, None])),
            f"absolute/{split}": Proved(sum_errors(error[:, None])),
            f"target/{split}": Proved(sum_values(exact[:, None])),
            f"target/squares/{split}": Proved(sum_squares(exact[:, None])),
        }

    def private_tally(self, predicted: list[Predicted], target: Predicted, rows: NDArray[np.int64]) -> Tally:
        """What patients add to a `private_block`, by variant of the model.

        A prediction that is not finite counts as the lowest.
        """
        safe = [np.nan_to_num(scores, nan=0.0, posinf=1.0, neginf=0.0) for scores in predicted]
        if self.outcome.is_binary:
            cells = [score_cells(self.outcome, scores, target, EDGES)[:, 0] for scores in safe]
            return Tally(cell=np.stack(cells, axis=1), rows=rows)
        parts: list[Floats] = []
        for scores in safe:
            if self.outcome.n_classes:
                part = (predicted_class(self.outcome, scores) == target).astype(np.float64)
            else:
                part = np.abs(np.clip(scores[:, 0].astype(np.float64), -1, 1) - np.clip(target, -1, 1)) / 2
            parts += [part, np.ones(len(target))]
        return Tally(np.stack(parts, axis=1), rows=rows)

    def n_rows(self, sums: Sums, split: str) -> int:
        """How many rows were measured; under privacy, as the noise leaves their number."""
        if not self.private:
            n = sums[f"scores/{split}"][0] if self.outcome.n_classes else sums[f"rows/{split}"]
            return count_of(np.sum(n)) or 0  # where they are hidden, no row is shown to be there
        counted = sums[f"scores/{split}"][0]
        return max(0, round(float(np.sum(counted) if self.outcome.is_binary else counted[1])))

    def metrics(self, sums: Sums, split: str) -> Metrics | None:
        """The metrics of one split; None when it has no rows.

        With noise, each with its interval as `_low` and `_high`; with an AUC `auc_error`, how far it may be
        from that of the scores, as far as the counts tell. A multi-class AUC is the mean over classes, each
        against the rest, and so is its error. `mae` is in the label's own units.
        """
        if not self.private:
            return exact_metrics(self.outcome, sums, split) if self.n_rows(sums, split) else None
        name = f"scores/{split}"
        ours = Sums({name: sums[name]}, {name: sums.noise(name)})
        estimate = partial(self._estimates, name=name, variant=0)
        metrics = with_intervals(_known(estimate(ours)), drawn(estimate, ours))
        if metrics.get("auc") is not None:
            error = tie_error(*ours[name][0])
            metrics["auc_error"] = None if error is None else min(max(error, 0.0), 0.5)
        return metrics

    def _estimates(self, sums: Sums, name: str, variant: int) -> Estimates:
        metrics = noisy_metrics(self.outcome, sums[name][variant])
        return {key: np.array(np.nan if value is None else value) for key, value in metrics.items()}

    def private_importance(self, sums: Sums, split: str, columns: tuple[str, ...]) -> dict[str, Metrics]:
        """By column, how much worse the model is when it is hidden from it, with the interval of each."""
        names = (f"scores/{split}", f"importance/{split}")
        ours = Sums({name: sums[name] for name in names}, {name: sums.noise(name) for name in names})
        drops, others = (
            self._drops(ours, split, columns),
            drawn(partial(self._drops, split=split, columns=columns), ours),
        )
        keys = [key.partition("/")[0] for key in drops if key.endswith("/0")]
        return {
            column: with_intervals(
                _known({key: drops[f"{key}/{place}"] for key in keys}),
                {key: others[f"{key}/{place}"] for key in keys},
            )
            for place, column in enumerate(columns)
        }

    def _drops(self, sums: Sums, split: str, columns: tuple[str, ...]) -> Estimates:
        whole = self._estimates(sums, f"scores/{split}", 0)
        drops: dict[str, Floats] = {}
        for place in range(len(columns)):
            hidden = self._estimates(sums, f"importance/{split}", place)
            if self.outcome.is_binary:
                drops[f"auc_drop/{place}"] = whole["auc"] - hidden["auc"]
                drops[f"loss_increase/{place}"] = hidden["loss"] - whole["loss"]
            else:
                key = "accuracy" if self.outcome.n_classes else "mae"
                drops[f"{key}_change/{place}"] = hidden[key] - whole[key]
        return drops


def exact_metrics(outcome: Outcome, sums: Sums, split: str) -> Metrics:
    """Of exact sums over the rows of one split, of which there are some."""
    if outcome.n_classes:
        scores = np.asarray(sums[f"scores/{split}"], np.float64)
        n = float(scores[0].sum())
        return {
            "loss": float(sums[f"loss/{split}"][0]) / n,
            "accuracy": number_of(sums[f"correct/{split}"][0] / n),
            "auc": _mean([auc_from_counts(*curve) for curve in scores]),
            "auc_error": _mean([tie_error(*curve) for curve in scores]),
        }
    n_rows = int(sums[f"rows/{split}"][0])
    half_range = (outcome.label.high - outcome.label.low) / 2 if isinstance(outcome.label, Number) else 1.0
    loss, absolute, target = (
        totals(sums[f"{name}/{split}"], VALUES)[0] for name in ("loss", "absolute", "target")
    )
    spread = totals(sums[f"target/squares/{split}"], SQUARES)[0] - target**2 / n_rows
    return {
        "loss": float(loss / n_rows),
        "mae": float(absolute / n_rows) * half_range,
        "r2": float(1 - loss / spread) if spread > 0 else None,
        "accuracy": None,
        "auc": None,
    }


def noisy_metrics(outcome: Outcome, counted: Floats) -> Metrics:
    """Of one variant of a `private_block`."""
    if not outcome.is_binary:
        total = float(counted[1])
        share = min(max(float(counted[0]) / total, 0.0), 1.0) if total >= 1 else None
        if outcome.n_classes:
            return {"accuracy": share}
        half = (outcome.label.high - outcome.label.low) / 2 if isinstance(outcome.label, Number) else 1.0
        return {"mae": None if share is None else share * 2 * half}
    negatives, positives = counted
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


def with_intervals(metrics: Metrics, others: Mapping[str, Floats]) -> Metrics:
    """With each known metric, between which values it lies in most of the other draws."""
    limits: Metrics = {}
    for name, value in metrics.items():
        low, high = ends(others[name])
        if value is not None and not math.isnan(low):
            limits |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return {**metrics, **limits}


def _known(estimates: Estimates) -> Metrics:
    return {name: None if math.isnan(value) else float(value) for name, value in estimates.items()}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None

"""The whole measure of one model: metrics, confusion, calibration and permutation importance.

Importance is how much worse the model is without what one column says (Breiman 2001; Fisher, Rudin, Dominici
2019), measured on held-out rows: the mean of several shuffles among the rows of each site; or under privacy,
where one row may say nothing of another, with the column hidden.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Contribution, Draw, Proved, Report, Row, State, Sums, Tally
from fedcohort.analyses.exact_sums import VALUES, limbs, totals
from fedcohort.analyses.measure import Measure
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
from fedcohort.analyses.score_bins import Edges, coarser, coarser_counts, placed_edges, tie_error
from fedcohort.disclosure.cells import rounded
from fedcohort.disclosure.shown import count_of, rounding_of
from fedcohort.models.inputs import Inputs
from fedcohort.vector import MAX_ROWS, Block, counts

N_SHUFFLES = 5
CALIBRATION_BINS = 10

Floats = NDArray[np.float64]
Targets = Predicted
Indices = NDArray[np.int64]
Predict = Callable[[Inputs], Predicted]


class MeasuredModel(Protocol):
    """A model that is measured, and how it reads a site's rows."""

    def data(self, rows: Rows, state: State) -> tuple[Inputs, Targets]:
        """Inputs and targets of all rows of a table."""
        ...

    def predict(self, state: State) -> Predict:
        """The model with its weights."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """What is measured: an outcome, and the columns of which the importance is asked (none: leave it out).

    Attributes:
        columns: to where they are in the record; None for an image, which is shuffled or hidden as a whole.
        splits: on which the model is measured.
        importance_share: of the privacy loss, against that of one measure.
    """

    measure: Measure
    columns: Mapping[str, slice | None]
    splits: tuple[str, ...]
    importance_share: float = 1.0

    @property
    def outcome(self) -> Outcome:
        """What the model predicts."""
        return self.measure.outcome

    @property
    def split(self) -> str:
        """Confusion, calibration and importance are measured on held-out rows, or on all when none are."""
        return "test" if "test" in self.splits else "train"

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of the finished model."""
        blocks = [
            block for split in self.splits for block in self.measure.blocks(split, self.outcome.final_bins)
        ]
        if self.measure.private:
            n, share = len(self.columns), self.importance_share
            block = self.measure.private_block("importance", self.split, n, share) if n else None
            return (*blocks, *([block] if block else []))
        return (*blocks, *self._exact_blocks)

    @property
    def _exact_blocks(self) -> tuple[Block, ...]:
        outcome, n_columns = self.outcome, len(self.columns)
        blocks = [counts("confusion", outcome.n_classes, outcome.n_classes)] if outcome.n_classes else []
        if outcome.is_binary:
            scores = Block(
                "calibration/scores", (CALIBRATION_BINS,), resolution=LOSS_RESOLUTION, bound=MAX_ROWS
            )
            blocks += [counts("calibration/rows", CALIBRATION_BINS, 2), scores]
        if n_columns:
            bound = MAX_ROWS * MAX_LOSS
            blocks.append(
                Block("importance/loss", (n_columns,), resolution=LOSS_RESOLUTION, bound=bound)
                if outcome.n_classes
                else limbs("importance/loss", n_columns, VALUES)
            )
        if n_columns and outcome.is_binary:
            blocks.append(counts("importance/scores", n_columns, N_SHUFFLES, 2, outcome.round_bins))
        return tuple(blocks)

    def contribute(
        self, predict: Predict, x: Inputs, y: Targets, rows: Rows, edges: Edges, draw: Draw
    ) -> dict[str, Contribution]:
        """One site's part.

        Args:
            predict: n rows to (n, outputs).
            x, y: inputs and targets of all rows.
            edges: between the bins of scores, where they are not fixed.
        """
        parts = self.measured(predict, x, y, rows, edges, finished=True)
        held = self.measure.rows(rows, self.split)
        if self.columns and self.measure.private:
            hidden = [predict(x[held].hidden(name, part)) for name, part in self.columns.items()]
            parts[f"importance/{self.split}"] = self.measure.private_tally(hidden, y[held], held)
        elif self.columns:
            parts |= self._sum_importance(predict, x[held], y[held], edges, draw)
        return parts

    def measured(
        self, predict: Predict, x: Inputs, y: Targets, rows: Rows, edges: Edges, finished: bool = False
    ) -> dict[str, Contribution]:
        """What counts for metrics by split; of the finished model confusion and calibration, too."""
        parts: dict[str, Contribution] = {}
        # Without privacy all at once; with it each part alone: no patient's bits follow from others.
        everyone = None if self.measure.private else predict(x)
        for split in self.splits:
            ours = self.measure.rows(rows, split)
            predicted = predict(x[ours]) if everyone is None else everyone[ours]
            parts |= self.measure.contribute(predicted, y[ours], ours, split, edges)
            if finished and split == self.split and not self.measure.private:
                parts |= self._sum_held(predicted, y[ours], ours)
        return parts

    def _sum_held(self, predicted: Predicted, y: Targets, rows: Indices) -> dict[str, Contribution]:
        """Confusion and calibration of the held-out rows."""
        outcome = self.outcome
        parts: dict[str, Contribution] = {}
        if outcome.n_classes:
            pairs = y.astype(np.int64) * outcome.n_classes + predicted_class(outcome, predicted)
            parts["confusion"] = Tally(cell=pairs, rows=rows)
        if outcome.is_binary:
            score = predicted[:, 0].astype(np.float64)
            bins = np.clip((score * CALIBRATION_BINS).astype(np.int64), 0, CALIBRATION_BINS - 1)
            parts["calibration/rows"] = Tally(cell=bins * 2 + (y > 0), rows=rows)
            parts["calibration/scores"] = Tally(score[:, None], bins, rows)
        return parts

    def _sum_importance(
        self, predict: Predict, x: Inputs, y: Targets, edges: Edges, draw: Draw
    ) -> dict[str, Contribution]:
        outcome, n_columns = self.outcome, len(self.columns)
        losses = np.zeros((n_columns, N_SHUFFLES, len(x)))
        scores = np.zeros((n_columns, N_SHUFFLES, 2 * outcome.round_bins), np.int64)
        generator = draw.generator("importance")
        for index, (name, part) in enumerate(self.columns.items()):
            for shuffle in range(N_SHUFFLES):
                predicted = predict(x.moved(name, part, generator.permutation(len(x))))
                losses[index, shuffle] = row_losses(outcome, predicted, y) / N_SHUFFLES
                if outcome.is_binary:
                    cells = score_cells(outcome, predicted, y, coarser(edges, outcome.round_bins))[:, 0]
                    scores[index, shuffle] = np.bincount(cells, minlength=2 * outcome.round_bins)
        if not outcome.n_classes:
            return {"importance/loss": Proved(sum_errors(losses.reshape(n_columns, -1).T))}
        parts: dict[str, Contribution] = {"importance/loss": Proved(losses.sum((1, 2)))}
        shape = (n_columns, N_SHUFFLES, 2, outcome.round_bins)
        return parts | ({"importance/scores": Proved(scores.reshape(shape))} if outcome.is_binary else {})

    def metric_rows(self, sums: Sums, step: int) -> tuple[Row, ...]:
        """The metrics of each split that has rows, as those of a round."""
        measured = ((split, self.measure.metrics(sums, split)) for split in self.splits)
        return tuple({"round": step, "split": split, **metrics} for split, metrics in measured if metrics)

    def report(self, sums: Sums) -> Report:
        """Metrics by split, then confusion, calibration and importance on the held-out rows."""
        report: Report = dict(self.outcome.label_report)
        for split in self.splits:
            metrics = self.measure.metrics(sums, split)
            if metrics is not None:
                n = self.measure.n_rows(sums, split)
                report[split] = {**metrics, "rows": int(rounded(np.array(n), rounding_of(sums.values)))}
        held = report.get(self.split)
        if not isinstance(held, dict):
            return report
        if self.measure.private:
            columns = tuple(self.columns)
            if columns:
                report["importance"] = self.measure.private_importance(sums, self.split, columns)
            return report
        if self.outcome.n_classes:
            held["confusion"] = [[count_of(n) for n in row] for row in np.asarray(sums["confusion"])]
        if self.outcome.is_binary:
            held["calibration"] = _calibration(sums)
            held["roc"] = _roc(_thresholds(sums, self.split))
        if self.columns:
            report["importance"] = self._importance(sums, held)
        return report

    def _importance(self, sums: Sums, held: Mapping[str, object]) -> dict[str, dict[str, float | None]]:
        outcome, n = self.outcome, self.measure.n_rows(sums, self.split)
        summed = sums["importance/loss"]
        losses = [float(loss) for loss in (summed if outcome.n_classes else totals(summed, VALUES))]
        importance = {}
        for column, name in enumerate(self.columns):
            entry: dict[str, float | None] = {"loss_increase": losses[column] / n - float(str(held["loss"]))}
            if outcome.is_binary and held["auc"] is not None:
                scores = np.asarray(sums[f"scores/{self.split}"][0], np.float64)
                whole = coarser_counts(scores, outcome.round_bins)
                entry |= _auc_drop(whole, np.asarray(sums["importance/scores"][column], np.float64))
            importance[name] = entry
        return importance


@dataclass(frozen=True)
class MeasureStage:
    """The metrics of a model in training, beside a step of it: of the weights before that step."""

    evaluation: Evaluation
    subject: MeasuredModel
    rounds: int
    name: str = "measured"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """By split."""
        measure, splits = self.evaluation.measure, self.evaluation.splits
        return tuple(block for split in splits for block in measure.blocks(split, measure.outcome.round_bins))

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What a site's rows add."""
        predict, evaluation = self.subject.predict(state), self.evaluation
        edges = evaluation.measure.edges_of(state, evaluation.outcome.round_bins)
        x, y = self.subject.data(rows, state)
        return evaluation.measured(predict, x, y, rows, edges)

    def update(self, state: State, sums: Sums) -> State:
        """Metrics, and where the bins of the next scores lie."""
        step, evaluation = int(state.arrays["step"][0]), self.evaluation
        outcome, arrays = evaluation.outcome, dict(state.arrays)
        if "edges" in arrays and outcome.n_classes:
            n_bins = outcome.round_bins if step + 1 < self.rounds else outcome.final_bins
            arrays["edges"] = placed_edges(arrays["edges"], sums[f"scores/{evaluation.split}"], n_bins)
        return replace(state, arrays=arrays, rows=(*state.rows, *self.metric_rows(state, sums)))

    def metric_rows(self, state: State, sums: Sums) -> tuple[Row, ...]:
        """The metrics of the weights before the round; none of those that nobody has trained."""
        step = int(state.arrays["step"][0])
        return self.evaluation.metric_rows(sums, step) if step else ()


@dataclass(frozen=True)
class EvaluateStage:
    """The whole measure of one model, once.

    Attributes:
        step: the round that its metrics are of; None: they are in the report alone.
    """

    evaluation: Evaluation
    subject: MeasuredModel
    step: int | None = None
    name: str = "evaluate"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All that is measured."""
        return self.evaluation.blocks

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What a site's rows add."""
        predict, evaluation = self.subject.predict(state), self.evaluation
        edges = evaluation.measure.edges_of(state, evaluation.outcome.final_bins)
        x, y = self.subject.data(rows, state)
        return evaluation.contribute(predict, x, y, rows, edges, draw)

    def update(self, state: State, sums: Sums) -> State:
        """Metrics by split."""
        return replace(state, rows=(*state.rows, *self.metric_rows(state, sums)))

    def metric_rows(self, state: State, sums: Sums) -> tuple[Row, ...]:
        """The metrics of the finished model, as those of a round."""
        return () if self.step is None else self.evaluation.metric_rows(sums, self.step)


def _calibration(sums: Sums) -> list[dict[str, float | int]]:
    rows, scores = np.asarray(sums["calibration/rows"]), np.asarray(sums["calibration/scores"])
    return [
        {"rows": int(n), "predicted": float(score) / float(n), "observed": float(positive) / float(n)}
        for n, positive, score in zip(rows.sum(1), rows[:, 1], scores, strict=True)
        if n > 0  # not of a bin that is empty, or hidden
    ]


def _thresholds(sums: Sums, split: str) -> Floats:
    """(2, thresholds): negatives and positives with a score above each, all of them at the last."""
    curve = np.asarray(sums[f"scores/{split}"][0], np.float64)[:, ::-1]
    above = np.cumsum(curve, axis=1)
    shown: Floats = sums.values.get(f"shown/roc/{split}", above)
    whole = shown.shape[1] and np.array_equal(shown[:, -1], above[:, -1])
    return shown if whole else np.concatenate([shown, above[:, -1:]], axis=1)


def _roc(above: Floats) -> dict[str, list[float]]:
    """True against false positive rate at up to 64 thresholds."""
    sides = np.concatenate([np.zeros((2, 1)), above], axis=1)
    rates = sides / np.maximum(sides[:, -1:], 1)
    picked = np.unique(np.linspace(0, rates.shape[1] - 1, 65).astype(int))
    return {"false_positive": rates[0, picked].tolist(), "true_positive": rates[1, picked].tolist()}


def _auc_drop(whole: Floats, shuffles: Floats) -> dict[str, float]:
    """Counted in the same bins with and without shuffling, so that what changes nothing drops by nothing."""
    auc = auc_from_counts(*whole) or 0.0
    drops = [auc - (auc_from_counts(*curve) or 0.0) for curve in shuffles]
    errors = [tie_error(*curve) or 0.0 for curve in shuffles]
    return {
        "auc_drop": sum(drops) / len(drops),
        "auc_drop_error": (tie_error(*whole) or 0.0) + sum(errors) / len(errors),
    }

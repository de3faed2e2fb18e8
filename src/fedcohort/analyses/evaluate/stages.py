"""Evaluate: measure a trained model on the cohort, in two sums: where its scores lie, and how good they are.

A number, which has no scores, is measured at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix
from fedcohort.analyses.contract import Draw, Local, Report, SiteState, State
from fedcohort.analyses.encode import Encoder, feature_slices
from fedcohort.analyses.evaluation import Evaluation, evaluation_layout, evaluation_report, sum_evaluation
from fedcohort.analyses.metrics import score_counts
from fedcohort.analyses.model_of import model_of, task_of
from fedcohort.analyses.moments import refuse_outside
from fedcohort.analyses.score_bins import even_edges, placed_edges
from fedcohort.columns import Numeric
from fedcohort.errors import StudyError
from fedcohort.study import Evaluate, SavedModel, Study
from fedcohort.table import SPLITS, Table
from fedcohort.vector import Layout, Vector, counts

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel


@dataclass(frozen=True)
class EvaluateAnalysis:
    """The model, its weights and its encoding are part of the study, and so of what a hospital approves."""

    study: Study
    saved: SavedModel
    evaluation: Evaluation

    @cached_property
    def model(self) -> "LocalModel":
        """The compiled model; tensorflow is imported here and not before."""
        return model_of(self.study, self.saved.model)

    def start(self) -> State:
        """Scores are counted evenly first, to place bins of which each holds few of them."""
        task = self.evaluation.task
        edges = {"edges": even_edges(task.n_curves, task.round_bins)}
        return State("scores" if task.n_classes else "evaluate", 0, edges)

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked."""
        return {"scores": 1, "evaluate": 1}

    def layout(self, state: State) -> Layout:
        """Scores alone, or metrics, confusion, calibration and importance."""
        task = self.evaluation.task
        if state.phase == "scores":
            return (counts("scores", task.n_curves, 2, task.round_bins),)
        return evaluation_layout(self.evaluation)

    def prepare(self, table: Table) -> Local:
        """Encode as the model was trained, and read its weights.

        Raises:
            ValueRangeError: a value of any split lies outside its column's declared bounds.
        """
        from fedcohort.models.saved import weights_from_base64

        columns = numeric_columns(self.study.cohort.schema_)
        refuse_outside(numeric_matrix(table, self.study.cohort, list(columns)), columns)
        encoder = Encoder(self.study.cohort, np.array(self.saved.mean), np.array(self.saved.deviation))
        x, y = encoder.inputs(table), encoder.targets(table)
        predict = partial(self.model.predict, weights_from_base64(self.saved.weights, self.model.n_weights))

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            edges, task = state.arrays["edges"], self.evaluation.task
            if state.phase == "scores":
                held = np.flatnonzero(table.split == SPLITS[self.evaluation.split])
                return {"scores": score_counts(task, predict(x[held]), y[held], edges)}, site_state
            return sum_evaluation(self.evaluation, predict, x, y, table.split, edges, draw), site_state

        return local

    def update(self, state: State, total: Vector) -> State:
        """Scores place the bins; then it is done."""
        if state.phase == "scores":
            edges = placed_edges(state.arrays["edges"], total["scores"], self.evaluation.task.final_bins)
            return State("evaluate", state.round + 1, {"edges": edges})
        return state.ended(total)

    def report(self, state: State) -> Report:
        """Metrics by split, confusion, calibration and importance."""
        return evaluation_report(self.evaluation, state.kept)


def evaluate(study: Study) -> EvaluateAnalysis:
    """The analysis of `fc.Evaluate(model=...)`."""
    if not isinstance(study.analysis, Evaluate):
        raise StudyError("analysis: not an evaluation")
    task = task_of(study.cohort)
    saved = study.analysis.model
    n_numeric = sum(isinstance(kind, Numeric) for kind in study.cohort.schema_.values())
    if len(saved.mean) != n_numeric or len(saved.deviation) != n_numeric:
        raise StudyError(f"analysis.model: made for other columns than the cohort's {n_numeric} numeric ones")
    columns = feature_slices(study.cohort) if study.analysis.importance else {}
    return EvaluateAnalysis(study, saved, Evaluation(task, columns))

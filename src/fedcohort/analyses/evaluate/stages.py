"""Evaluate: measure a trained model on the cohort, in two sums: where its scores lie, and how good they are.

A number, which has no scores, is measured at once; and so is every model under privacy, where bins stay where
they are, a patient counts with one row, and the splits, which have no patient in common, may each spend the
whole epsilon (parallel composition).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.encode import feature_slices
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.evaluation import EvaluateStage, Evaluation
from fedcohort.analyses.measure import Measure
from fedcohort.analyses.metrics import score_cells
from fedcohort.analyses.model_of import outcome_of
from fedcohort.analyses.moments import refuse_outside
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.score_bins import even_edges, placed_edges
from fedcohort.analyses.shown_measure import shown_measure
from fedcohort.analyses.subjects import TrainedSubject
from fedcohort.analyses.trained.at_work import AtWork, at_work
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import StudyError
from fedcohort.study import Evaluate, Privacy, Study, missing_bounds
from fedcohort.vector import Array, Block, counts


@dataclass(frozen=True)
class ScoresStage:
    """Scores are counted evenly first, to place bins of which each holds few of them."""

    evaluation: Evaluation
    subject: TrainedSubject
    name: str = "scores"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Scores of the held-out rows alone."""
        outcome = self.evaluation.outcome
        return (counts("scores", outcome.n_curves, 2, outcome.round_bins),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each row's bin."""
        outcome, predict = self.evaluation.outcome, self.subject.predict(state)
        edges = self.evaluation.measure.edges_of(state, outcome.round_bins)
        x, y = self.subject.data(rows, state)
        held = rows.of(self.evaluation.split)
        cells = score_cells(outcome, predict(x[held]), y[held], edges)
        return {"scores": Tally(cell=cells, rows=held)}

    def update(self, state: State, sums: Sums) -> State:
        """Bins for the next sum."""
        edges = placed_edges(state.arrays["edges"], sums["scores"], self.evaluation.outcome.final_bins)
        return replace(state, arrays={"edges": edges})


@dataclass(frozen=True)
class EvaluateAnalysis(Analysis):
    """The model, its weights and its encoding are part of the study, and so of what a hospital approves."""

    study: Study
    model: AtWork
    evaluation: Evaluation
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "EvaluateAnalysis":
        """With fixed bins, and noise.

        Raises:
            StudyError: a number has no declared bounds.
        """
        if missing := missing_bounds(self.study.cohort):
            raise StudyError(missing)
        measure = replace(self.evaluation.measure, private=True)
        return replace(self, evaluation=replace(self.evaluation, measure=measure), privacy=privacy)

    @cached_property
    def subject(self) -> TrainedSubject:
        """The study's model."""
        return TrainedSubject(self.study.cohort, self.model, self.privacy is not None)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Scores alone, where bins have to be placed; then metrics, confusion, calibration and importance."""
        step = None if self.privacy is None else 1
        last = EvaluateStage(self.evaluation, self.subject, step)
        placed = self.privacy is None and self.evaluation.outcome.n_classes > 0
        return (ScoresStage(self.evaluation, self.subject), last) if placed else (last,)

    @property
    def foreseen(self) -> Mapping[Block, int]:
        """What is released of the first split; it needs no model to be known."""
        blocks = self.evaluation.blocks
        return {block: 1 for block in blocks if block.part == blocks[0].part}

    def first_arrays(self) -> Mapping[str, Array]:
        """Where scores are counted first."""
        outcome = self.evaluation.outcome
        return {"edges": even_edges(outcome.n_curves, outcome.round_bins)} if self.privacy is None else {}

    def prepare(self, rows: Rows) -> None:
        """Encode as the model was trained.

        Raises:
            ValueRangeError: without privacy a value of any split lies outside its column's declared bounds.
        """
        if self.privacy is None:
            columns = numeric_columns(self.study.cohort.schema_)
            refuse_outside(numeric_matrix(rows.table, self.study.cohort, list(columns)), columns)
        self.subject.predict(self.start())
        self.subject.data(rows, self.start())

    def update(self, state: State, sums: Sums) -> State:
        """The end, where there are patients enough.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        if self.privacy is not None:
            splits = self.evaluation.splits
            n = sum(self.evaluation.measure.n_rows(sums, split) for split in splits)
            # The held-out pay for importance, too, so that their noise is another.
            noises = (
                sums.noise(name) * math.sqrt(sums[name].size) for name in map("scores/{}".format, splits)
            )
            check_enough(n, math.hypot(*noises))
        return super().update(state, sums)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """No metric, cell, bin or threshold that rests on few patients."""
        sums = state.sums or Sums({})
        values, suppressed = shown_measure(self.evaluation, sums, rules)
        return Disclosed(replace(state, sums=replace(sums, values=values)), gathered(suppressed))

    def report(self, state: State) -> Report:
        """Metrics by split, confusion, calibration and importance."""
        return self.evaluation.report(state.sums or Sums({}))


def build(study: Study) -> EvaluateAnalysis:
    """The analysis of `fc.Evaluate(model=...)`.

    Raises:
        StudyError: the model reads other columns, or predicts another kind of label.
    """
    if not isinstance(study.analysis, Evaluate):
        raise StudyError("analysis: not an evaluation")
    outcome = outcome_of(study.cohort)
    model = at_work(study, study.analysis.model)
    columns = feature_slices(study.cohort) if study.analysis.importance else {}
    return EvaluateAnalysis(study, model, Evaluation(Measure(outcome), columns, outcome.splits))

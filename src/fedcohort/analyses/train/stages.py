"""Train a Keras model: every round is one sum of the sites' weighted updates, or of clipped gradients.

A site's update is weighted by its share of all training rows, so that the sum is the mean; the sum of the
shares that arrived corrects for a site that was lost. With each update come the metrics of the model it
started from. Under privacy a site's part is that of `train.private`; metrics come from held-out patients, who
are no training patients, so that the two parts compose in parallel; and the average of the second half of the
weights is the model (Polyak and Juditsky 1992): less of the noise is left in it, at no cost.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import ModuleType

import numpy as np

from fedcohort.analyses.algorithms import fedavg, fedprox, fedsgd
from fedcohort.analyses.algorithms.server import Server, update_block
from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Parallel,
    Proved,
    Report,
    Row,
    SiteState,
    Stage,
    State,
    Sums,
)
from fedcohort.analyses.encode import feature_slices
from fedcohort.analyses.evaluation import EvaluateStage, Evaluation, MeasureStage
from fedcohort.analyses.measure import Measure
from fedcohort.analyses.metrics import Outcome
from fedcohort.analyses.model_of import check_capacity, first_weights, outcome_of, private_model_of
from fedcohort.analyses.moments import ExactMoments, moments_from_sums
from fedcohort.analyses.moments_told import told_by_moments
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.score_bins import even_edges
from fedcohort.analyses.shown_measure import shown_measure
from fedcohort.analyses.subjects import ModelInTraining, bounds_scaling
from fedcohort.analyses.train.private import CountStage, PrivateStage
from fedcohort.columns import Numeric
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import CohortError, StudyError, WireError
from fedcohort.study import Privacy, Study, Train, missing_bounds
from fedcohort.table import SPLITS
from fedcohort.texts import Text, say
from fedcohort.vector import Array, Block, counts

ALGORITHMS = {"fedavg": fedavg, "fedprox": fedprox, "fedsgd": fedsgd}


@dataclass(frozen=True)
class ScalingStage:
    """Rows by split, and mean and deviation of the training rows."""

    subject: ModelInTraining
    train: Train
    outcome: Outcome
    moments: ExactMoments
    name: str = "moments"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Sizes and moments."""
        return (counts("rows", len(SPLITS)), *self.moments.blocks)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What a site's rows add."""
        values = numeric_matrix(rows.table, self.subject.study.cohort, list(self.moments.columns))
        self.moments.check(values)
        sizes = np.array([len(rows.of(split)) for split in SPLITS])
        ours = rows.of("train")
        return {"rows": Proved(sizes), **self.moments.contribute(values[ours], ours)}

    def update(self, state: State, sums: Sums) -> State:
        """Where training begins.

        Raises:
            CohortError: there is nothing to learn from.
        """
        n_train = float(sums["rows"][SPLITS["train"]])
        if not n_train:
            raise CohortError("no site has a row to train on; check 'where', 'split' and the label")
        moments = moments_from_sums(sums.values)
        arrays: dict[str, Array] = {
            "weights": first_weights(self.train, self.subject.model),
            "mean": moments.mean,
            "deviation": moments.deviation,
            "rows": np.array([n_train]),
            "step": np.array([0]),
            "edges": even_edges(self.outcome.n_curves, self.outcome.round_bins),
        }
        return replace(state, arrays=arrays)


@dataclass(frozen=True)
class UpdateStage:
    """Each site's update times its share of all training rows."""

    subject: ModelInTraining
    train: Train
    server: Server
    name: str = "train"
    times: int = 1

    @property
    def algorithm(self) -> ModuleType:
        """Its pair of functions."""
        return ALGORITHMS["fedprox" if self.train.proximal_mu else self.train.algorithm]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The update, and the rows of the sites that arrived."""
        return update_block(self.subject.model.n_weights), counts("train_rows", 1)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site without rows to learn from moves nothing."""
        weights, ours = self.subject.weights_of(state), rows.of("train")
        n_rows = _rows_of(state)
        update = np.zeros(len(weights))
        if len(ours):
            x, y = self.subject.data(rows, state)
            x = x.augmented(self.train.augment, draw.generator("augment"))
            share = len(ours) / n_rows
            update = self.algorithm.local(self.subject.model, self.train, weights, x, y, ours, share, draw)
        return {"update": Proved(update), "train_rows": Proved(np.array([len(ours)]))}

    def update(self, state: State, sums: Sums) -> State:
        """The mean update, taken.

        Raises:
            CohortError: no site that answered has anything to learn from.
        """
        arrived = float(sums["train_rows"][0])
        if not arrived:
            raise CohortError("no site that answered has a row to train on")
        update = self.algorithm.mean(np.asarray(sums["update"], np.float64), _rows_of(state), arrived)
        return self.server.advance(state, update, self.subject.model.trainable_mask)


def _rows_of(state: State) -> float:
    """How many rows all sites train on, looked at before any row is.

    Raises:
        WireError: the coordinator has sent no such number; told only where there are rows to train on, this
            would say whether there are any.
    """
    rows = np.asarray(state.arrays.get("rows", ()))
    if rows.shape != (1,) or not rows[0] >= 1:
        raise WireError("a state without the number of all training rows")
    return float(rows[0])


@dataclass(frozen=True)
class TrainAnalysis(Analysis):
    """Moments, `rounds` of training with metrics, one evaluation; under privacy a count first, and noise."""

    study: Study
    train: Train
    numeric: dict[str, Numeric]
    outcome: Outcome
    columns: dict[str, slice | None]
    privacy: Privacy | None = None
    site_patients: float = 0.0
    _at_sites: dict[float, "TrainAnalysis"] = field(default_factory=dict, repr=False, compare=False)

    def for_privacy(self, privacy: Privacy) -> "TrainAnalysis":
        """The same training of clipped gradients.

        Raises:
            StudyError: a number has no declared bounds.
        """
        if missing := missing_bounds(self.study.cohort):
            raise StudyError(missing)
        return replace(self, privacy=privacy, _at_sites={})

    @cached_property
    def subject(self) -> ModelInTraining:
        """The model in training; under privacy its scaling follows from the study, and not from the state.

        A mean of so many rows that a coordinator sends would fit a table of so many, and no other.
        """
        if self.privacy is None:
            return ModelInTraining(self.study, self.train.model)
        scaling = bounds_scaling(self.study.cohort)
        return ModelInTraining(self.study, self.train.model, private=True, scaling=scaling)

    @property
    def server(self) -> Server:
        """Under privacy the second half of the weights is averaged where the study says nothing else."""
        rounds = self.train.rounds
        default = None if self.privacy is None else rounds - rounds // 2
        return Server(self.train, self.train.average_rounds or default)

    @cached_property
    def measured_rounds(self) -> tuple[int, ...]:
        """Under privacy, the rounds before which held-out patients are measured."""
        if self.privacy is None or "test" not in self.outcome.splits:
            return ()
        return tuple(range(self.privacy.evaluate_every, self.train.rounds, self.privacy.evaluate_every))

    @cached_property
    def evaluation(self) -> Evaluation | None:
        """None where nobody is held out of private training, and so nothing is measured."""
        if self.privacy is None:
            return Evaluation(Measure(self.outcome), self.columns, self.outcome.splits)
        if "test" not in self.outcome.splits:
            return None
        share = 1.0 + len(self.measured_rounds)
        return Evaluation(Measure(self.outcome, private=True), self.columns, ("test",), share)

    @property
    def foreseen(self) -> dict[Block, int]:
        """What is released of held-out patients, and how often; it needs no model to be known."""
        if self.evaluation is None:
            return {}
        first, *others = self.evaluation.blocks
        return {first: 1 + len(self.measured_rounds), **dict.fromkeys(others, 1)}

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """In order."""
        subject, train, rounds, evaluation = self.subject, self.train, self.train.rounds, self.evaluation
        if self.privacy is not None:
            return self._private_stages(self.privacy)
        if evaluation is None:
            raise ValueError("a training without privacy is measured")
        measured = MeasureStage(evaluation, subject, rounds)
        update = UpdateStage(subject, train, self.server)
        return (
            ScalingStage(subject, train, self.outcome, ExactMoments(self.numeric)),
            Parallel("train", rounds, (measured, update)),
            EvaluateStage(evaluation, subject, rounds),
        )

    def _private_stages(self, privacy: Privacy) -> tuple[Stage, ...]:
        subject, train, rounds = self.subject, self.train, self.train.rounds
        learn = PrivateStage(subject, train, privacy, self.server, self.site_patients)
        stages: list[Stage] = [CountStage(subject, train)]
        if self.evaluation is None:
            return (*stages, replace(learn, times=rounds))
        both = Parallel("measured", 1, (MeasureStage(self.evaluation, subject, rounds), learn))
        done = 0
        for measured in self.measured_rounds:
            stages += [replace(learn, times=measured - done)] if measured > done else []
            stages.append(both)
            done = measured + 1
        stages += [replace(learn, times=rounds - done)] if rounds > done else []
        return (*stages, EvaluateStage(self.evaluation, subject, rounds))

    def first_arrays(self) -> Mapping[str, Array]:
        """Nothing; a model that cannot be built or trained ends here.

        Raises:
            StudyError: the model is not allowed, or does not fit the columns or the algorithm.
        """
        model = self.subject.model
        check_capacity(self.study, self.train, model.n_weights)
        first_weights(self.train, model)
        if self.privacy is not None:
            private = private_model_of(self.study, self.train.model, self.privacy.rows_per_patient)
            if not private.trainable_mask.any():
                raise StudyError("analysis.model: no layer of it can be trained")
        elif self.train.algorithm == "fedsgd" and not model.trainable_mask.all():
            raise StudyError("algorithm: fedsgd cannot train layers that keep moving statistics; use fedavg")
        return {}

    def at_site(self, site_state: SiteState) -> Analysis:
        """Where sites take steps of their own, with the sampling that follows from a site's own count."""
        if self.privacy is None or self.train.algorithm != "fedavg" or "patients" not in site_state:
            return self
        patients = float(site_state["patients"][0])
        if patients not in self._at_sites:
            self._at_sites[patients] = replace(self, site_patients=patients, _at_sites={})
        return self._at_sites[patients]

    def remembered(self, site_state: SiteState, released: Callable[[], Mapping[str, Array]]) -> SiteState:
        """A site's own noisy count of patients, from which its sampling follows."""
        if self.privacy is None or self.train.algorithm != "fedavg" or "patients" in site_state:
            return site_state
        values = released()
        return {**site_state, "patients": values["patients"]} if "patients" in values else site_state

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """The measure of the finished model as one of `evaluate`."""
        sums = state.sums or Sums({})
        if self.evaluation is None:
            return Disclosed(state)
        values, suppressed = shown_measure(self.evaluation, sums, rules)
        return Disclosed(replace(state, sums=replace(sums, values=values)), gathered(suppressed))

    def disclosed_rows(self, state: State, sums: Sums, rules: Disclosure) -> tuple[Row, ...]:
        """Metrics of splits with enough patients of each outcome."""
        stage = self.stage_at(state.round)
        measured = [
            part
            for part in (stage.stages if isinstance(stage, Parallel) else (stage,))
            if isinstance(part, MeasureStage | EvaluateStage)
        ]
        if self.evaluation is None or not measured:
            return ()
        values, _ = shown_measure(self.evaluation, sums, rules)
        shown = replace(sums, values=values)
        return tuple(row for part in measured for row in part.metric_rows(state, shown))

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """The model carries the mean and deviation of each number, and has to have rows to learn from."""
        if not isinstance(self.stage_at(state.round), ScalingStage):
            return None
        if 0 < float(sums["rows"][SPLITS["train"]]) < rules.min_cell:
            template = (
                "fewer than min_cell = {least} rows to train on at all hospitals together; widen `where`"
            )
            return say(template, least=rules.min_cell)
        return told_by_moments(sums.values, self.numeric, rules)

    def report(self, state: State) -> Report:
        """Metrics, confusion, calibration and importance of the finished model."""
        measured = (
            self.evaluation.report(state.sums or Sums({}))
            if self.evaluation
            else dict(self.outcome.label_report)
        )
        return {"rounds": self.train.rounds, **measured}


def build(study: Study) -> TrainAnalysis:
    """The analysis of `fc.Train(...)`."""
    if not isinstance(study.analysis, Train):
        raise StudyError("analysis: not a training")
    columns = feature_slices(study.cohort) if study.analysis.importance else {}
    numeric = numeric_columns(study.cohort.schema_)
    return TrainAnalysis(study, study.analysis, numeric, outcome_of(study.cohort), columns)

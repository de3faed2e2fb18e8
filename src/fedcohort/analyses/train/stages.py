"""Train a Keras model: every round is one sum of the sites' weighted updates.

FedAvg: McMahan et al. 2017 (arXiv 1602.05629); FedProx: Li et al. 2020 (arXiv
1812.06127). A site's update is weighted by its share of all training rows, so
that the sum is the mean; the sum of the shares that arrived corrects for a site
that was lost. With each update come the metrics of the model it started from.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix
from fedcohort.analyses.contract import Draw, Local, Report, SiteState, State
from fedcohort.analyses.encode import Encoder, feature_slices
from fedcohort.analyses.evaluation import Evaluation, evaluation_layout, evaluation_report, sum_evaluation
from fedcohort.analyses.metrics import Task, metrics_layout, metrics_of, sum_metrics
from fedcohort.analyses.model_of import check_capacity, first_weights, model_of, task_of
from fedcohort.analyses.moments import (
    moments_from_sums,
    moments_layout,
    refuse_outside,
    sum_moments,
)
from fedcohort.analyses.score_bins import even_edges, placed_edges
from fedcohort.analyses.train.server_optimizer import mean_so_far, server_step
from fedcohort.columns import Numeric
from fedcohort.errors import CohortError, StudyError
from fedcohort.models.inputs import Inputs
from fedcohort.study import Study, Train
from fedcohort.table import SPLITS, TRAIN, Table
from fedcohort.vector import Array, Block, Layout, Vector, counts

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel

UPDATE_BOUND, UPDATE_RESOLUTION = 16.0, 2.0**-22
"""A weight that moves by more than the bound in one round belongs to a training that diverged."""


@dataclass(frozen=True)
class Site:
    """One site's rows as inputs and targets, made once the mean and deviation are known."""

    x: Inputs
    y: NDArray[np.float32]
    split: NDArray[np.int8]

    @cached_property
    def train_rows(self) -> NDArray[np.int64]:
        """Indices of the rows to learn from."""
        return np.flatnonzero(self.split == TRAIN)


@dataclass(frozen=True)
class TrainAnalysis:
    """Moments, then `rounds` of training, then one evaluation."""

    study: Study
    train: Train
    numeric: dict[str, Numeric]
    task: Task
    evaluation: Evaluation

    @cached_property
    def model(self) -> "LocalModel":
        """The model with its compiled local round; tensorflow is imported here and not before."""
        return model_of(self.study, self.train.model)

    def start(self) -> State:
        """Before the first round; a model that cannot be built ends here.

        Raises:
            StudyError: the model is not allowed, or does not fit the columns or the algorithm.
        """
        check_capacity(self.study, self.train, self.model.n_weights)
        first_weights(self.train, self.model)
        moving = not self.model.trainable_mask.all()
        if self.train.algorithm == "fedsgd" and moving:
            raise StudyError("algorithm: fedsgd cannot train layers that keep moving statistics; use fedavg")
        return State("moments")

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked."""
        return {"moments": 1, "train": self.train.rounds, "evaluate": 1}

    def layout(self, state: State) -> Layout:
        """The blocks of the next sum."""
        match state.phase:
            case "moments":
                return (counts("rows", len(SPLITS)), *moments_layout(len(self.numeric)))
            case "train":
                update = Block("update", (self.model.n_weights,), UPDATE_BOUND, UPDATE_RESOLUTION)
                return (update, counts("train_rows", 1), *metrics_layout(self.task, self.task.round_bins))
            case _:
                return evaluation_layout(self.evaluation)

    def prepare(self, table: Table) -> Local:
        """Gather the columns; features follow when the mean and deviation are known."""
        cohort = self.study.cohort
        values = numeric_matrix(table, cohort, list(self.numeric))
        sites: dict[bytes, Site] = {}

        def site_of(state: State) -> Site:
            key = state.arrays["mean"].tobytes() + state.arrays["deviation"].tobytes()
            if key not in sites:
                sites.clear()
                encoder = Encoder(cohort, state.arrays["mean"], state.arrays["deviation"])
                sites[key] = Site(encoder.inputs(table), encoder.targets(table), table.split)
            return sites[key]

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            match state.phase:
                case "moments":
                    return self._sum_moments(table, values), site_state
                case "train":
                    return self._sum_update(state, site_of(state), draw), site_state
                case _:
                    site, predict = site_of(state), partial(self.model.predict, state.arrays["weights"])
                    edges = state.arrays["edges"]
                    return sum_evaluation(
                        self.evaluation, predict, site.x, site.y, site.split, edges, draw
                    ), site_state

        return local

    def _sum_moments(self, table: Table, values: NDArray[np.float64]) -> Vector:
        refuse_outside(values, self.numeric)
        rows = np.array([np.count_nonzero(table.split == code) for code in SPLITS.values()])
        return {"rows": rows, **sum_moments(values[table.split == TRAIN])}

    def _sum_update(self, state: State, site: Site, draw: Draw) -> Vector:
        weights, n = state.arrays["weights"], len(site.train_rows)
        predicted = self.model.predict(weights, site.x)
        share = n / float(state.arrays["rows"][0])
        update = np.zeros(len(weights)) if not n else self._update(weights, site, share, draw)
        metrics = sum_metrics(self.task, predicted, site.y, site.split, state.arrays["edges"])
        return {"update": update, "train_rows": np.array([n]), **metrics}

    def _update(
        self, weights: NDArray[np.float32], site: Site, share: float, draw: Draw
    ) -> NDArray[np.float64]:
        train, rows, seed = self.train, site.train_rows, draw.number("dropout")
        x = site.x.augmented(train.augment, draw.generator("augment"))
        if train.algorithm == "fedsgd":
            gradient, _ = self.model.gradient(weights, x[rows], site.y[rows], l2=train.l2, seed=seed)
            step: NDArray[np.float64] = gradient.astype(np.float64) * (
                -train.learning_rate * share / len(rows)
            )
            return step
        trained = self.model.train(
            weights,
            x,
            site.y,
            epoch_batches(rows, train.batch_size, train.local_epochs, draw.generator("batches")),
            learning_rate=train.learning_rate,
            l2=train.l2,
            proximal_mu=train.proximal_mu,
            seed=seed,
        )
        moved: NDArray[np.float64] = (trained.astype(np.float64) - weights) * share
        return moved

    def update(self, state: State, total: Vector) -> State:
        """What follows from the sum."""
        match state.phase:
            case "moments":
                return self._first_train_state(state, total)
            case "train":
                return self._next_train_state(state, total)
            case _:
                return state.ended(total, self._rows(total, self.train.rounds))

    def _first_train_state(self, state: State, total: Vector) -> State:
        n_train = float(total["rows"][SPLITS["train"]])
        if not n_train:
            raise CohortError("no site has a row to train on; check 'where', 'split' and the label")
        moments = moments_from_sums(total)
        arrays: dict[str, Array] = {
            "weights": first_weights(self.train, self.model),
            "mean": moments.mean,
            "deviation": moments.deviation,
            "rows": np.array([n_train]),
            "step": np.array([0]),
            "edges": even_edges(self.task.n_curves, self.task.round_bins),
        }
        return State("train", state.round + 1, arrays)

    def _next_train_state(self, state: State, total: Vector) -> State:
        step = int(state.arrays["step"][0])
        arrived = float(total["train_rows"][0])
        if not arrived:
            raise CohortError("no site that answered has a row to train on")
        update = np.asarray(total["update"], np.float64) * (float(state.arrays["rows"][0]) / arrived)
        weights = state.arrays["weights"].astype(np.float64)
        moved, kept = server_step(self.train, weights, update, state.kept, self.model.trainable_mask)
        phase = "train" if step + 1 < self.train.rounds else "evaluate"
        if self.train.average_rounds is not None:
            kept |= mean_so_far(moved, state.kept, step + 1, self.train.rounds, self.train.average_rounds)
            moved = moved if phase == "train" else np.asarray(kept["average"], np.float64)
        arrays = {**state.arrays, "weights": moved.astype(np.float32), "step": np.array([step + 1])}
        if self.task.n_classes:
            n_bins = self.task.round_bins if phase == "train" else self.task.final_bins
            scores = total["scores"][self.task.splits.index(self.evaluation.split)]
            arrays["edges"] = placed_edges(state.arrays["edges"], scores, n_bins)
        rows = self._rows(total, step) if step else ()
        return State(phase, state.round + 1, arrays, kept, rows)

    def _rows(self, total: Vector, step: int) -> tuple[dict[str, float | int | str | None], ...]:
        measured = (
            (name, metrics_of(self.task, total, index)) for index, name in enumerate(self.task.splits)
        )
        return tuple({"round": step, "split": name, **metrics} for name, metrics in measured if metrics)

    def report(self, state: State) -> Report:
        """Metrics, confusion, calibration and importance of the finished model."""
        return {"rounds": self.train.rounds, **evaluation_report(self.evaluation, state.kept)}


def epoch_batches(
    rows: NDArray[np.int64], batch_size: int, epochs: int, generator: np.random.Generator
) -> NDArray[np.int32]:
    """Shuffle row indices into batches, epoch after epoch.

    Returns:
        (epochs * steps, batch_size) int32, padded with -1.
    """
    steps = -(-len(rows) // batch_size)
    batches = np.full((epochs, steps * batch_size), -1, np.int32)
    for epoch in range(epochs):
        batches[epoch, : len(rows)] = generator.permutation(rows)
    return batches.reshape(epochs * steps, batch_size)


def train(study: Study) -> TrainAnalysis:
    """The analysis of `fc.Train(...)`."""
    if not isinstance(study.analysis, Train):
        raise StudyError("analysis: not a training")
    task = task_of(study.cohort)
    columns = feature_slices(study.cohort) if study.analysis.importance else {}
    numeric = numeric_columns(study.cohort.schema_)
    return TrainAnalysis(study, study.analysis, numeric, task, Evaluation(task, columns))

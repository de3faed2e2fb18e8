"""Private training: noisy sums of gradients, each clipped by patient (DP-SGD, Abadi et al. 2016).

`fedsgd` releases one sum a round over all patients. `fedavg` takes noisy steps at each site, on
patients that are sampled by Poisson, and releases where they led; `batch_size` is then the
expected sample, drawn with a probability that follows from the site's own noisy count.

Nothing is computed from the data that is not released with noise and accounted (arXiv
1607.00133): features are scaled by declared bounds, the number of training patients is
itself a noisy count, and metrics come from held-out patients, who are no training patients,
so that the two parts of patients compose in parallel. The average of the second half of the
weights is the model (Polyak and Juditsky 1992): less of the noise is left in it, at no cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.contract import Draw, Local, Report, Row, SiteState, State
from fedcohort.analyses.encode import feature_slices
from fedcohort.analyses.metrics import Task
from fedcohort.analyses.model_of import (
    check_capacity,
    first_weights,
    model_of,
    private_model_of,
    task_of,
)
from fedcohort.analyses.patients import patients_of
from fedcohort.analyses.private_metrics import (
    RESOLUTION,
    check_enough,
    measure,
    measured_block,
    noisy_importance,
    noisy_metrics,
    noisy_rows,
    sigma_of,
)
from fedcohort.analyses.train.rows import PrivateRows, Sampling, bounds_scaling, encoded, sampling_of
from fedcohort.analyses.train.server_optimizer import mean_so_far, server_step
from fedcohort.errors import StudyError, WireError
from fedcohort.models.inputs import Inputs
from fedcohort.study import Privacy, Study, Train, missing_bounds
from fedcohort.table import Table
from fedcohort.vector import MAX_ROWS, Array, Block, Layout, Noisy, Vector

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel
    from fedcohort.models.private import PrivateModel

UPDATE_BOUND, UPDATE_RESOLUTION = 16.0, 2.0**-22
COUNT_SHARE = 0.05
"""Of epsilon and delta, what the count costs where the sampling depends on it (fedavg)."""
COUNT_WEIGHT = 0.01
"""Of the training part's privacy loss, what the count of patients costs, against that of all rounds."""
STEPS_PER_CLIP = 2.0**16
"""Integers between 0 and the clip: rounding costs little and a sum of sites fits 64 bits."""


STEP_PHASES = ("train", "measured")
"""The phases that are rounds of the noise schedule."""


@dataclass(frozen=True)
class PrivateTrain:
    """A noisy count, then `rounds` of noisy gradients, some with a measurement, then one evaluation."""

    study: Study
    train: Train
    privacy: Privacy
    task: Task
    slices: dict[str, slice | None]

    @cached_property
    def model(self) -> "LocalModel":
        """For predictions and the first weights; tensorflow is imported here and not before."""
        return model_of(self.study, self.train.model)

    @cached_property
    def private(self) -> "PrivateModel":
        """For gradients that are clipped by patient."""
        return private_model_of(self.study, self.train.model, self.privacy.rows_per_patient)

    @property
    def measures(self) -> bool:
        """Whether patients are held out to measure the model on."""
        return "test" in self.task.splits

    def start(self) -> State:
        """Before the first round.

        Raises:
            StudyError: the model cannot be trained privately.
        """
        check_capacity(self.study, self.train, self.model.n_weights)
        first_weights(self.train, self.model)
        if not self.private.trainable_mask.any():
            raise StudyError("analysis.model: no layer of it can be trained")
        return State("count")

    def phases(self) -> Mapping[str, int]:
        """How often each phase is asked: no release beyond those that were planned."""
        measured = (self.train.rounds - 1) // self.privacy.evaluate_every if self.measures else 0
        evaluated = {"measured": measured, "evaluate": 1} if self.measures else {}
        return {"count": 1, "train": self.train.rounds - measured, **evaluated}

    # --- what is released -----------------------------------------------------------------

    @property
    def _patients_block(self) -> Block:
        return Block("patients", (1,), MAX_ROWS, RESOLUTION, sensitivity=1.0)

    @cached_property
    def _gradient_block(self) -> Block:
        clip = self.privacy.clip
        resolution = 2.0 ** np.floor(np.log2(clip / STEPS_PER_CLIP))
        return Block("gradient", (self.model.n_weights,), clip * MAX_ROWS, float(resolution), clip)

    @property
    def _scores_block(self) -> Block:
        return measured_block("scores", self.task)

    @property
    def _importance_block(self) -> Block:
        return measured_block("importance", self.task, len(self.slices))

    @property
    def _update_block(self) -> Block:
        """Where noisy steps led; it is private because they are."""
        return Block("update", (self.model.n_weights,), UPDATE_BOUND, UPDATE_RESOLUTION)

    @property
    def _learning_block(self) -> Block:
        return self._update_block if self._steps_at_site else self._gradient_block

    @property
    def _steps_at_site(self) -> bool:
        return self.train.algorithm == "fedavg"

    def _sampling(self, site_state: SiteState) -> Sampling:
        return sampling_of(self.train, float(site_state["patients"][0]) if "patients" in site_state else 0.0)

    def planned(self, site_state: SiteState) -> tuple[Noisy, ...]:
        """Every release of the whole study, at a site that knows its noisy count of patients or not."""
        rounds = self.train.rounds
        if self._steps_at_site:
            sampling = self._sampling(site_state)
            found = [
                Noisy(self._patients_block, "train", 1, whole=True, apart=COUNT_SHARE),
                Noisy(
                    self._gradient_block, "train", rounds * sampling.steps, steps=True, inside="update",
                    sampling_probability=sampling.probability, a_round=sampling.steps,
                ),
            ]  # fmt: skip
        else:
            found = [
                Noisy(self._patients_block, "train", 1, COUNT_WEIGHT * rounds, whole=True),
                Noisy(self._gradient_block, "train", rounds, steps=True),
            ]
        return (*found, *self.measurements)

    @property
    def measurements(self) -> tuple[Noisy, ...]:
        """What is released of held-out patients, which needs no model to be known."""
        if not self.measures:
            return ()
        times = 1 + (self.train.rounds - 1) // self.privacy.evaluate_every
        scores = Noisy(self._scores_block, "test", times, whole=True)
        return (
            scores,
            *([Noisy(self._importance_block, "test", 1, float(times), whole=True)] if self.slices else []),
        )

    def step(self, state: State) -> int:
        """How many rounds of the noise schedule came before this one."""
        return int(state.arrays["step"][0]) if "step" in state.arrays else 0

    def steps_asked(self, phases: Mapping[str, int]) -> int:
        """How many rounds of the noise schedule a site has been asked for."""
        return sum(phases.get(phase, 0) for phase in STEP_PHASES)

    def layout(self, state: State) -> Layout:
        """The blocks of the next sum."""
        match state.phase:
            case "count":
                return (self._patients_block,)
            case "train":
                return (self._learning_block,)
            case "measured":
                return (self._learning_block, self._scores_block)
            case _:
                return (self._scores_block, *([self._importance_block] if self.slices else []))

    # --- at a site ------------------------------------------------------------------------

    def prepare(self, table: Table) -> Local:
        """Scale by declared bounds, and group rows by patient."""
        x, y = encoded(self.study.cohort, table)
        patients = patients_of(table, self.privacy.rows_per_patient)

        def local(state: State, site_state: SiteState, draw: Draw) -> tuple[Vector, SiteState]:
            if state.phase == "count":
                n = len(patients.rows)
                noisy = n + draw.noise["patients"][0] * self._patients_block.resolution
                return {"patients": np.array([n])}, {**site_state, "patients": np.array([noisy])}
            vector: dict[str, NDArray[np.float64]] = {}
            weights, clip = self._weights_of(state), self.privacy.clip
            if state.phase in STEP_PHASES:
                rows = PrivateRows(self.private, x, y, patients)
                if self._steps_at_site:
                    if "patients" not in site_state:
                        # Noise and sampling would follow from no count, and from another plan after it.
                        raise WireError("steps before this site's count of patients; it comes first")
                    resolution = self._gradient_block.resolution
                    sampling = self._sampling(site_state)
                    moved = rows.update(weights, self.train, clip, resolution, sampling, draw)
                    vector["update"] = np.clip(moved, -UPDATE_BOUND, UPDATE_BOUND)
                else:
                    vector["gradient"] = rows.gradient(weights, clip, draw)
            if state.phase != "train":
                held_x, held_y = x[patients.held], y[patients.held]
                vector["scores"] = self._measured(weights, held_x, held_y)[None]
                if state.phase == "evaluate" and self.slices:
                    hidden = (held_x.hidden(name, part) for name, part in self.slices.items())
                    vector["importance"] = np.stack([self._measured(weights, one, held_y) for one in hidden])
            return vector, site_state

        return local

    def _weights_of(self, state: State) -> NDArray[np.float32]:
        """The weights that the coordinator has sent, looked at before any patient is.

        Raises:
            WireError: they are not the model's. Told only where there are patients to compute with, this
                would say without noise whether there are any.
        """
        weights = np.asarray(state.arrays.get("weights", ()))
        if weights.shape != (self.model.n_weights,) or weights.dtype.kind != "f":
            raise WireError("a state without as many weights as the model has")
        return weights.astype(np.float32)

    def _measured(
        self, weights: NDArray[np.float32], x: Inputs, y: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        return measure(self.task, self.model.predict_apart(weights, x), y)

    # --- at the coordinator ---------------------------------------------------------------

    def update(self, state: State, total: Vector) -> State:
        """What follows from the sum."""
        match state.phase:
            case "count":
                return self._first(state, total)
            case "train" | "measured":
                return self._next(state, total)
            case _:
                return state.ended(total, self._rows(total, self.train.rounds))

    def _first(self, state: State, total: Vector) -> State:
        check_enough(float(np.asarray(total["patients"])[0]), sigma_of(total, "patients"))
        weights = first_weights(self.train, self.model)
        patients = max(1.0, float(np.asarray(total["patients"])[0]))
        arrays: dict[str, Array] = {"weights": weights, "step": np.array([0])}
        kept: dict[str, Array] = {"patients": np.array([patients])}
        return State("train", state.round + 1, arrays, kept)

    def _next(self, state: State, total: Vector) -> State:
        step = self.step(state) + 1
        weights = state.arrays["weights"].astype(np.float64)
        if self._steps_at_site:
            update = np.asarray(total["update"], np.float64) / float(np.asarray(total["sites"])[0])
        else:
            mean = np.asarray(total["gradient"], np.float64) / float(state.kept["patients"][0])
            penalty = self.private.penalty_gradient(state.arrays["weights"], l2=self.train.l2)
            update = -self.train.learning_rate * (mean + penalty)
        moved, memory = server_step(self.train, weights, update, state.kept, self.private.trainable_mask)
        rounds = self.train.rounds
        last = self.train.average_rounds or rounds - rounds // 2
        kept = {**state.kept, **memory, **mean_so_far(moved, state.kept, step, rounds, last)}
        arrays: dict[str, Array] = {"weights": moved.astype(np.float32), "step": np.array([step])}
        rows = self._rows(total, step - 1) if "scores" in total else ()
        number = state.round + 1
        if step < self.train.rounds:
            due = self.measures and step % self.privacy.evaluate_every == 0
            return State("measured" if due else "train", number, arrays, kept, rows)
        finished = {**arrays, "weights": kept["average"].astype(np.float32)}
        finished |= bounds_scaling(self.study.cohort)
        return State("evaluate", number, finished, kept, rows, finished=not self.measures)

    def _rows(self, total: Vector, step: int) -> tuple[Row, ...]:
        counts, sigma = np.asarray(total["scores"])[0], sigma_of(total, "scores")
        return ({"round": step, "split": "test", **noisy_metrics(self.task, counts, sigma, step)},)

    def report(self, state: State) -> Report:
        """Metrics and importance of the averaged model, with what the noise leaves uncertain."""
        found: Report = {"rounds": self.train.rounds, **self.task.told}
        if "scores" in state.kept:
            whole = state.kept["scores"][0]
            sigma = sigma_of(state.kept, "scores")
            measured = noisy_metrics(self.task, whole, sigma, self.train.rounds)
            found["test"] = {**measured, "rows": noisy_rows(self.task, whole)}
        if "importance" in state.kept:
            hidden = dict(zip(self.slices, state.kept["importance"], strict=True))
            sigmas = sigma_of(state.kept, "scores"), sigma_of(state.kept, "importance")
            found["importance"] = noisy_importance(self.task, whole, hidden, sigmas)
        return found


def private_train(study: Study) -> PrivateTrain:
    """The analysis of `fc.Train(...)` under `[privacy]`.

    Raises:
        StudyError: a numeric column has no declared bounds.
    """
    if not isinstance(study.analysis, Train) or study.privacy is None:
        raise StudyError("analysis: not a private training")
    if missing := missing_bounds(study.cohort):
        raise StudyError(missing)
    columns = feature_slices(study.cohort) if study.analysis.importance else {}
    return PrivateTrain(study, study.analysis, study.privacy, task_of(study.cohort), columns)

"""Private training at a site: a sum of gradients that are clipped by patient (DP-SGD, Abadi et al. 2016), or
noisy steps of its own on patients that are sampled by Poisson.

Nothing is computed from the data that is not released with noise and accounted (arXiv 1607.00133): the number
of training patients is itself a noisy count, from which a site's sampling follows, and features are scaled by
declared bounds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedcohort.analyses.algorithms.server import Server, update_block
from fedcohort.analyses.contract import Contribution, Draw, Floats, Proved, State, Sums, Tally
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.model_of import first_weights, private_model_of
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.subjects import ModelInTraining, bounds_scaling
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Privacy, Train
from fedcohort.vector import MAX_ROWS, Block, Steps, counts

if TYPE_CHECKING:
    from fedcohort.models.private import PrivateModel

COUNT_COST = 0.05
"""Of epsilon and delta, what the count costs where the sampling depends on it (fedavg)."""
COUNT_SHARE = 0.01
"""Of the training part's privacy loss, what the count of patients costs, against that of all rounds."""
MOST_STEPS = 10_000
"""Of one site in one round."""


@dataclass(frozen=True)
class Sampling:
    """How a site samples its patients for noisy steps of its own.

    Attributes:
        probability: of each patient, in each step.
        steps: in a round.
        expected: patients in a step, by the site's noisy count; what a step's sum is divided by.
    """

    probability: float
    steps: int
    expected: float


def sampling_of(train: Train, noisy_patients: float) -> Sampling:
    """What follows from a site's noisy count of patients, and from nothing else of its data."""
    patients = max(noisy_patients, 1.0)
    probability = min(1.0, train.batch_size / patients)
    steps = min(MOST_STEPS, max(1, round(train.local_epochs / probability)))
    return Sampling(probability, steps, probability * patients)


@dataclass(frozen=True)
class CountStage:
    """How many patients there are to learn from."""

    subject: ModelInTraining
    train: Train
    name: str = "count"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """One number. Where a site's sampling depends on it, it is paid apart."""
        block = counts("patients", 1, part="train", share=COUNT_SHARE * self.train.rounds, once=True)
        return (block if self.train.algorithm == "fedsgd" else replace(block, share=1.0, apart=COUNT_COST),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """One a patient."""
        return {"patients": Tally(rows=rows.patients("train"))}

    def update(self, state: State, sums: Sums) -> State:
        """Where training begins.

        Raises:
            CohortTooSmallError: too few patients, by the noisy count.
        """
        patients = float(sums["patients"][0])
        check_enough(patients, sums.noise("patients"))
        mean, deviation = bounds_scaling(self.subject.study.cohort)
        arrays = {
            "weights": first_weights(self.train, self.subject.model),
            "mean": mean,
            "deviation": deviation,
            "step": np.array([0]),
        }
        return replace(state, arrays=arrays, kept={"patients": np.array([max(1.0, patients)])})


@dataclass(frozen=True, eq=False)
class PrivateStage:
    """A round of private learning: a sum of clipped gradients, or where a site's noisy steps led.

    Attributes:
        site_patients: this site's own noisy count, where it has released it.
        times: how often in a row.
    """

    subject: ModelInTraining
    train: Train
    privacy: Privacy
    server: Server
    site_patients: float = 0.0
    name: str = "train"
    times: int = 1

    @cached_property
    def model(self) -> "PrivateModel":
        """The model whose gradients are clipped by patient."""
        return private_model_of(self.subject.study, self.subject.spec, self.privacy.rows_per_patient)

    @property
    def steps_at_site(self) -> bool:
        """Whether sites take noisy steps of their own."""
        return self.train.algorithm == "fedavg"

    @cached_property
    def gradient_block(self) -> Block:
        """The sum over patients of their clipped gradients."""
        clip, n = self.privacy.clip, self.subject.model.n_weights
        bound = clip * MAX_ROWS
        return Block("gradient", (n,), clip, part="train", scheduled=True, proved=True, bound=bound)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The gradients' sum, or the update that noisy steps came to; it is private because they are."""
        if not self.steps_at_site:
            return (self.gradient_block,)
        sampling = sampling_of(self.train, self.site_patients)
        steps = Steps(self.gradient_block, sampling.steps, sampling.probability)
        return (replace(update_block(self.subject.model.n_weights), steps=steps, scheduled=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """This site's part.

        Raises:
            WireError: steps before this site's count of patients.
        """
        if not self.steps_at_site:
            return {"gradient": Proved(self._gradient(state, rows, draw))}
        if "patients" not in rows.site_state:
            # Noise and sampling would follow from no count, and from another plan after it.
            raise WireError("steps before this site's count of patients; it comes first")
        moved = self._stepped(state, rows, draw)
        bound = update_block(1).bound or 0.0
        return {"update": Proved(np.clip(moved, -bound, bound))}

    def _gradient(self, state: State, rows: Rows, draw: Draw) -> Floats:
        """(n_weights,): the sum over patients of their clipped gradients."""
        from fedcohort.models.pieces import cut

        weights, (x, y) = self.subject.weights_of(state), self.subject.data(rows, state)
        patients = rows.by_patient("train")
        (pieces,) = cut(patients, [np.arange(len(patients))], self.model.cohort_patients)
        seed = draw.number("dropout")
        return self.model.clipped_sum(weights, x, y, pieces, clip=self.privacy.clip, seed=seed)

    def _stepped(self, state: State, rows: Rows, draw: Draw) -> Floats:
        """(n_weights,): where a round's noisy steps led, each on patients that were sampled for it.

        Raises:
            StudyError: nobody samples.
        """
        from fedcohort.models.pieces import cut

        if draw.sample is None:
            raise StudyError("private steps need the node's sampler")
        train, (x, y) = self.train, self.subject.data(rows, state)
        weights, patients = self.subject.weights_of(state), rows.by_patient("train")
        sampling = sampling_of(train, float(rows.site_state["patients"][0]))
        samples = [
            np.flatnonzero(draw.sample(len(patients), sampling.probability)) for _ in range(sampling.steps)
        ]
        trained = self.model.train(
            weights,
            x,
            y,
            cut(patients, samples, self.model.piece_patients(sampling.expected)),
            draw.noise["gradient"],
            clip=self.privacy.clip,
            resolution=self.gradient_block.derived_resolution,
            expected_patients=sampling.expected,
            learning_rate=train.learning_rate,
            l2=train.l2,
            proximal_mu=train.proximal_mu,
            seed=draw.number("dropout"),
        )
        return np.nan_to_num(trained.astype(np.float64) - weights)

    def update(self, state: State, sums: Sums) -> State:
        """The mean step, taken."""
        if self.steps_at_site:
            update = np.asarray(sums["update"], np.float64) / sums.n_sites
        else:
            mean = np.asarray(sums["gradient"], np.float64) / float(state.kept["patients"][0])
            penalty = self.model.penalty_gradient(state.arrays["weights"], l2=self.train.l2)
            update = -self.train.learning_rate * (mean + penalty)
        return self.server.advance(state, update, self.model.trainable_mask)

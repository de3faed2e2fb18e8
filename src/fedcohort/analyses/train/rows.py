"""A site's rows as private training takes them: one clipped sum a round, or noisy steps of its own."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_columns
from fedcohort.analyses.contract import Draw
from fedcohort.analyses.encode import Encoder
from fedcohort.analyses.moments import declared_scaling
from fedcohort.analyses.patients import Patients
from fedcohort.errors import StudyError
from fedcohort.models.inputs import RECORD, Inputs
from fedcohort.study import Cohort, Train, missing_bounds
from fedcohort.table import Table
from fedcohort.vector import Array

if TYPE_CHECKING:
    from fedcohort.models.private import PrivateModel

Floats = NDArray[np.float32]

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


def bounds_scaling(cohort: Cohort) -> dict[str, Array]:
    """The scaling with which declared bounds become -1 and 1.

    Raises:
        StudyError: a number has no declared bounds.
    """
    scaling = declared_scaling(numeric_columns(cohort.schema_))
    if scaling is None:
        raise StudyError(missing_bounds(cohort) or "cohort.bounds: privacy needs declared bounds")
    return {"mean": scaling.centre, "deviation": scaling.scale}


def encoded(cohort: Cohort, table: Table) -> tuple[Inputs, Floats]:
    """The inputs of all rows, the record in [-1, 1] and one-hot, and targets."""
    encoder = Encoder(cohort, **bounds_scaling(cohort))
    parts = dict(encoder.inputs(table).parts)
    if RECORD in parts:
        parts[RECORD] = np.clip(encoder.features(table), -1, 1)
    return Inputs(parts), encoder.targets(table)


@dataclass(frozen=True, repr=False, eq=False)
class PrivateRows:
    """All rows of a site, and which of them train as one patient; no message shows them.

    Attributes:
        x, y: (n, ...) inputs and (n,) targets of all rows.
        patients: whose rows are whose, and who is held out.
    """

    model: "PrivateModel"
    x: Inputs
    y: Floats
    patients: Patients

    def gradient(self, weights: Floats, clip: float, draw: Draw) -> NDArray[np.float64]:
        """(n_weights,): the sum over patients of their clipped gradients."""
        from fedcohort.models.pieces import cut

        rows = self.patients.rows
        (pieces,) = cut(rows, [np.arange(len(rows))], self.model.cohort_patients)
        seed = draw.number("dropout")
        return self.model.clipped_sum(weights, self.x, self.y, pieces, clip=clip, seed=seed)

    def update(
        self, weights: Floats, train: Train, clip: float, resolution: float, sampling: Sampling, draw: Draw
    ) -> NDArray[np.float64]:
        """(n_weights,): where a round's noisy steps led, each on patients that were sampled for it.

        Args:
            resolution: what the noise's integers are multiples of.
        Raises:
            StudyError: nobody samples.
        """
        from fedcohort.models.pieces import cut

        if draw.sample is None:
            raise StudyError("private steps need the node's sampler")
        rows, chance = self.patients.rows, sampling.probability
        samples = [np.flatnonzero(draw.sample(len(rows), chance)) for _ in range(sampling.steps)]
        trained = self.model.train(
            weights,
            self.x,
            self.y,
            cut(rows, samples, self.model.piece_patients(sampling.expected)),
            draw.noise["gradient"],
            clip=clip,
            resolution=resolution,
            expected_patients=sampling.expected,
            learning_rate=train.learning_rate,
            l2=train.l2,
            proximal_mu=train.proximal_mu,
            seed=draw.number("dropout"),
        )
        return np.nan_to_num(trained.astype(np.float64) - weights)

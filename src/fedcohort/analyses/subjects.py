"""A model as it is trained and measured at a site: how it reads the table, and with which weights."""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_columns
from fedcohort.analyses.contract import State
from fedcohort.analyses.encode import Encoder, targets_of
from fedcohort.analyses.evaluation import Predict, Targets
from fedcohort.analyses.model_of import model_of
from fedcohort.analyses.moments import declared_scaling
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.trained.at_work import AtWork
from fedcohort.errors import StudyError, WireError
from fedcohort.models.inputs import Inputs
from fedcohort.study import Cohort, Study, missing_bounds
from fedcohort.table import Table
from fedcohort.vector import Array

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel


@dataclass(frozen=True, eq=False)
class ModelInTraining:
    """A Keras model in training; the state says its weights, and mean and deviation where they are not given.

    Attributes:
        spec: the model's name or configuration.
        private: a value beyond its declared bounds counts as the bound, and each row is computed apart.
        scaling: mean and deviation by numeric column.
    """

    study: Study
    spec: str | dict[str, Any]
    private: bool = False
    scaling: tuple[Array, Array] | None = None

    @cached_property
    def model(self) -> "LocalModel":
        """The compiled model; tensorflow is imported here and not before."""
        return model_of(self.study, self.spec)

    def data(self, rows: Rows, state: State) -> tuple[Inputs, NDArray[np.float32]]:
        """Inputs and targets of all rows, made once for one mean and deviation."""
        mean, deviation = self._scaling_of(state)

        def make() -> tuple[Inputs, NDArray[np.float32]]:
            table = within_bounds(rows.table, self.study.cohort) if self.private else rows.table
            encoder = Encoder(self.study.cohort, np.asarray(mean), np.asarray(deviation))
            return encoder.inputs(table), encoder.targets(table)

        return rows.latest("data", np.asarray(mean).tobytes() + np.asarray(deviation).tobytes(), make)

    def _scaling_of(self, state: State) -> tuple[Array, Array]:
        """Mean and deviation by numeric column.

        Raises:
            WireError: those that the coordinator has sent are not one a column. A mean of as many lines as
                a site has rows would fit its rows, and any other would not: the answer would tell how many.
        """
        if self.scaling is not None:
            return self.scaling
        shape = (len(numeric_columns(self.study.cohort.schema_)),)
        mean, deviation = (np.asarray(state.arrays.get(name, ())) for name in ("mean", "deviation"))
        if mean.shape != shape or deviation.shape != shape:
            raise WireError("a state without a mean and a deviation of each numeric column")
        return mean, deviation

    def weights_of(self, state: State) -> NDArray[np.float32]:
        """The model's weights, looked at before any patient is.

        Raises:
            WireError: those that the coordinator has sent are not the model's. Told only where there are
                patients to compute with, this would say without noise whether there are any.
        """
        weights = np.asarray(state.arrays.get("weights", ()))
        if weights.shape != (self.model.n_weights,) or weights.dtype.kind != "f":
            raise WireError("a state without as many weights as the model has")
        return weights.astype(np.float32, copy=False)

    def predict(self, state: State) -> Predict:
        """The model with its weights."""
        return partial(
            self.model.predict_apart if self.private else self.model.predict, self.weights_of(state)
        )


@dataclass(frozen=True, eq=False)
class TrainedSubject:
    """A trained model that is measured: all of it stands in the study, and nothing in the state.

    Attributes:
        private: a value beyond its declared bounds counts as the bound, and each row is computed apart.
    """

    cohort: Cohort
    model: AtWork
    private: bool = False

    def data(self, rows: Rows, state: State) -> tuple[Inputs, Targets]:
        """Inputs and targets of all rows, made once."""

        def made() -> tuple[Inputs, Targets]:
            table = within_bounds(rows.table, self.cohort) if self.private else rows.table
            return self.model.inputs(table), targets_of(table, self.cohort, self.model.precision)

        return rows.once("data", made)

    def predict(self, state: State) -> Predict:
        """The model, made ready before any patient is looked at."""
        self.model.start()
        return self.model.predict_apart if self.private else self.model.predict


def bounds_scaling(cohort: Cohort) -> tuple[Array, Array]:
    """The mean and deviation with which declared bounds become -1 and 1.

    Raises:
        StudyError: a number has no declared bounds.
    """
    scaling = declared_scaling(numeric_columns(cohort.schema_))
    if scaling is None:
        raise StudyError(missing_bounds(cohort) or "cohort.bounds: privacy needs declared bounds")
    return scaling.centre, scaling.scale


def within_bounds(table: Table, cohort: Cohort) -> Table:
    """A value beyond its declared bounds counts as the bound; without privacy it would be refused."""
    columns = dict(table.columns)
    for name, kind in numeric_columns(cohort.schema_).items():
        if kind.bounds is not None:
            columns[name] = np.clip(columns[name].astype(np.float64), *kind.bounds)
    return replace(table, columns=columns)

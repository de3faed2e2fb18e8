"""A trained Keras model at work."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.encode import Encoder, feature_slices
from fedcohort.analyses.model_of import model_of
from fedcohort.models.inputs import RECORD, Inputs
from fedcohort.study import SavedModel, Study
from fedcohort.table import Table

if TYPE_CHECKING:
    from fedcohort.models.local import LocalModel

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class KerasAtWork:
    """Configuration, weights and scaling, as training left them."""

    study: Study
    saved: SavedModel

    @property
    def precision(self) -> type[np.float32]:
        """TensorFlow's."""
        return np.float32

    @cached_property
    def model(self) -> "LocalModel":
        """The compiled model; tensorflow is imported here and not before."""
        return model_of(self.study, self.saved.model)

    @cached_property
    def weights(self) -> Floats:
        """(n_weights,).

        Raises:
            StudyError: they are not the model's.
        """
        from fedcohort.models.saved import weights_from_base64

        return weights_from_base64(self.saved.weights, self.model.n_weights)

    def start(self) -> None:
        """Build the model, and check its weights.

        Raises:
            StudyError: TensorFlow is not installed, or the weights are not the model's.
        """
        _ = self.weights

    def inputs(self, table: Table) -> Inputs:
        """Rows as the model was trained on them."""
        scaling = np.array(self.saved.mean), np.array(self.saved.deviation)
        return Encoder(self.study.cohort, *scaling).inputs(table)

    def encoded(self, table: Table) -> dict[str, Floats]:
        """By input of the Keras model, in its order: (n_rows, n_features), or images from 0 to 1."""
        return self.model.arranged(self.inputs(table))

    def predict(self, x: Inputs) -> Floats:
        """(n_rows, outputs)."""
        return self.model.predict(self.weights, x)

    def predict_apart(self, x: Inputs) -> Floats:
        """(n_rows, outputs), to the same bits whoever else is among the rows."""
        return self.model.predict_apart(self.weights, x)

    def contributions(self, x: Inputs, output: int) -> Mapping[str, float]:
        """Integrated gradients along the line from the second row to the first."""
        from fedcohort.models.attribution import integrated_gradients
        from fedcohort.models.saved import to_keras

        arranged = self.model.arranged(x)
        patient, nobody = ({name: rows[index] for name, rows in arranged.items()} for index in (0, 1))
        parts = integrated_gradients(to_keras(self.model, self.weights), patient, nobody, output)
        return {
            name: float((parts[name] if name in parts else parts[RECORD][part]).sum())
            for name, part in feature_slices(self.study.cohort).items()
        }

    def log_odds(self, x: Inputs) -> Mapping[str, float]:
        """None: columns act on each other."""
        return {}


def build(study: Study, saved: SavedModel) -> KerasAtWork:
    """The model of a study's words."""
    return KerasAtWork(study, saved)

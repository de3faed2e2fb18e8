"""A trained model at work on the rows of a hospital, whatever kind it is."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from fedcohort.analyses.metrics import Predicted
from fedcohort.errors import StudyError
from fedcohort.models.inputs import Inputs
from fedcohort.study import Study, Trained
from fedcohort.table import Table


class AtWork(Protocol):
    """What an evaluation and a prediction ask of a trained model.

    Rows are encoded by `inputs`, in features where `feature_slices` says; zeros there are no information
    on a column. Predictions are probabilities, or numbers in [-1, 1] of the label's declared range.
    """

    @property
    def precision(self) -> type[np.floating[Any]]:
        """Of predictions."""
        ...

    def start(self) -> None:
        """Load all that it needs, TensorFlow where it needs that, before any patient is looked at.

        Raises:
            StudyError: something of it is not installed here, or does not fit.
        """
        ...

    def inputs(self, table: Table) -> Inputs:
        """Encode rows."""
        ...

    def predict(self, x: Inputs) -> Predicted:
        """(n_rows, outputs)."""
        ...

    def predict_apart(self, x: Inputs) -> Predicted:
        """The same with bits of each row that do not depend on the other rows, as privacy needs it."""
        ...

    def contributions(self, x: Inputs, output: int) -> Mapping[str, float]:
        """By column, how much it moved an output from the second of two rows to the first; they add up."""
        ...

    def log_odds(self, x: Inputs) -> Mapping[str, float]:
        """The same in log-odds, of a model in which columns add up there; empty for others."""
        ...


def at_work(study: Study, model: Trained) -> AtWork:
    """A trained model of a study's columns; nothing heavy is imported before it starts.

    Raises:
        StudyError: it reads other columns, or predicts another kind of label.
    """
    try:
        model.check(study.cohort)
    except ValueError as error:
        raise StudyError(str(error)) from None
    made: AtWork = import_module(f"fedcohort.analyses.trained.{model.file}").build(study, model)
    return made

"""Inference by a trained model, for one patient or a whole cohort of a site; nothing leaves the machine.

It needs only what `result.save` wrote: the study says how columns are read, `model.json` holds the model.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fedcohort.analyses.model_of import outcome_of
from fedcohort.analyses.trained.at_work import AtWork, at_work
from fedcohort.columns import Binary, Categorical, Classes, Column, Image, Number, Survival
from fedcohort.errors import StudyError, ValueRangeError
from fedcohort.sources.catalogue.normal_form import UnreadableError, level_key
from fedcohort.sources.cohort.frame import table_from_frame
from fedcohort.sources.cohort.predictions import Predicted, write_predictions
from fedcohort.study import Cohort, Study, Trained, parse_study, read_saved_model
from fedcohort.table import Table
from fedcohort.texts import say

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Prediction:
    """One patient's prediction.

    Attributes:
        outcome: the level, or the label's name where it is a number.
        value: its probability, or the number in the label's own unit.
        label: the column that is predicted.
        unit: of a number, where the study names one.
        baseline: the same for a patient of whom no value is known.
        contributions: by column, how much it moved `value` away from `baseline`; they add up.
        missing: columns that had no value, and count as unknown.
        log_odds: the contributions in log-odds, for a model in which they add up there; else empty.
    """

    outcome: str
    value: float
    baseline: float
    contributions: Mapping[str, float]
    label: str = ""
    unit: str | None = None
    missing: tuple[str, ...] = ()
    log_odds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictor:
    """A model, with the study that says how columns are read."""

    study: Study
    saved: Trained

    @cached_property
    def model(self) -> AtWork:
        """The model, ready to compute.

        Raises:
            StudyError: it is not one of these columns.
        """
        return at_work(self.study, self.saved)

    @property
    def cohort(self) -> Cohort:
        """The study's columns; label, split and condition do not apply to a new patient."""
        return self.study.cohort.model_copy(update={"label": None, "split": None, "where": None})

    def predict_table(self, table: Table) -> NDArray[np.floating[Any]]:
        """(n_rows, outputs): probabilities, or numbers in [-1, 1] of the label's range."""
        return self.model.predict(self.model.inputs(table))

    def predict_one(self, values: Mapping[str, object]) -> Prediction:
        """Predict one patient, and say how much each column moved the prediction.

        Args:
            values: by column; a column that is left out is missing. An image is PNG bytes or an array
                of its declared shape; a missing one is black.
        Raises:
            StudyError: no such column, or no number or level of it.
            ValueRangeError: a number beyond the declared bounds.
        """
        row = {name: _checked(name, kind, values.get(name)) for name, kind in self.cohort.schema_.items()}
        without = {name: _checked(name, kind, None) for name, kind in self.cohort.schema_.items()}
        unknown = sorted(set(values) - set(row))
        if unknown:
            raise StudyError(
                "{names}: no column of this model; it has {columns}",
                names=", ".join(unknown),
                columns=", ".join(row),
            )
        frame = pd.DataFrame([row, without], dtype=object)
        frame[self.cohort.patient_id] = ["0", "1"]
        table = table_from_frame(frame, self.cohort, self.study.seed)
        x = self.model.inputs(table)
        predicted = self.model.predict(x)
        output = int(predicted[0].argmax())
        scale, shift = self._units
        return Prediction(
            self._outcome(output),
            float(predicted[0, output]) * scale + shift,
            float(predicted[1, output]) * scale + shift,
            {name: part * scale for name, part in self.model.contributions(x, output).items()},
            self.label.column,
            self.label.unit if isinstance(self.label, Number) else None,
            tuple(name for name in row if _is_absent(values.get(name))),
            self.model.log_odds(x),
        )

    @property
    def label(self) -> Binary | Classes | Number:
        """What is predicted, with the names of its classes or its range.

        Raises:
            StudyError: it is a survival time.
        """
        label = outcome_of(self.study.cohort).label
        if isinstance(label, Survival):
            raise StudyError("cohort.label: a survival time is not predicted")
        return label

    @property
    def _units(self) -> tuple[float, float]:
        """Scale and shift from an output to probability, or to the label's own unit."""
        label = self.study.cohort.typed_label
        if isinstance(label, Number):
            return (label.high - label.low) / 2, (label.low + label.high) / 2
        return 1.0, 0.0

    def _outcome(self, output: int) -> str:
        match self.label:
            case Binary(positive=positive):
                return str(positive)
            case Classes(levels=levels):
                return str(levels[output])
            case Number(column=column):
                return column

    def predict_cohort(self, table: Table, database: str | Path) -> int:
        """Predict every row of a site's cohort into the site's own database.

        Returns:
            how many rows were predicted.
        Raises:
            StoreError: the database cannot be written.
        """
        predicted = self.predict_table(table).astype(np.float64)
        scale, shift = self._units
        now = int(time.time())
        rows = [
            Predicted(self.study.hash, str(patient), self._outcome(output), float(value) * scale + shift, now)
            for patient, values in zip(table.patient_ids, predicted, strict=True)
            for output, value in enumerate(values)
        ]
        write_predictions(database, self.study.hash, rows)
        return len(predicted)


def _is_absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _checked(name: str, kind: Column, value: object) -> object:
    """A value as a hospital's database would hold it."""
    if isinstance(kind, Image):
        return np.zeros(kind.shape, np.uint8) if value is None else value
    if value is None or value == "":
        return None
    if isinstance(kind, Categorical):
        levels = {level_key(level): level for level in kind.levels}
        try:
            key = level_key(value)
        except UnreadableError:
            key = None
        if key not in levels:
            raise StudyError(
                "{name}: none of its levels {levels}",
                name=name,
                levels=", ".join(str(level) for level in kind.levels),
            )
        return levels[key]
    text = str(value).strip()
    number = float(text) if _NUMBER.fullmatch(text) else float("nan")
    if not np.isfinite(number):
        raise StudyError("{name}: not a number; write digits with a point, such as 5.4", name=name)
    if kind.bounds is not None and not kind.bounds[0] <= number <= kind.bounds[1]:
        low, high = kind.bounds
        raise ValueRangeError(
            say(
                "{name}: outside {low:g} to {high:g} in {unit}; check the value and its unit",
                name=name,
                low=low,
                high=high,
                unit=kind.unit,
            )
            if kind.unit
            else say(
                "{name}: outside {low:g} to {high:g}; check the value and its unit",
                name=name,
                low=low,
                high=high,
            )
        )
    return number


def load_predictor(folder: Path) -> Predictor:
    """Read what `result.save(folder)` wrote.

    Raises:
        StudyError: the folder holds no saved model, or it is damaged.
    """
    path = folder / "study.json"
    try:
        study = parse_study(path.read_bytes(), str(path))
    except OSError as error:
        raise StudyError(
            "{path}: {error}; give the folder that result.save wrote", path=path, error=error.strerror
        ) from error
    return Predictor(study, read_saved_model(folder))

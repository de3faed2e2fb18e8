"""A score of coefficients at work, by NumPy alone.

Each row is a sum of one product a column, added in the order of the cohort's columns: no product of
matrices, whose kernels add in an order that depends on how many rows there are.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.encode import feature_slices
from fedcohort.analyses.moments import centre_and_scale
from fedcohort.columns import Categorical, Number
from fedcohort.models.inputs import RECORD, Inputs
from fedcohort.study import Coefficients, Study
from fedcohort.table import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CoefficientsAtWork:
    """A feature is the distance from a patient of whom nothing is known: zeros are a missing value."""

    study: Study
    score: Coefficients

    @property
    def precision(self) -> type[np.float64]:
        """NumPy's own."""
        return np.float64

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        """By column the coefficient of each of its features, of a missing level the last."""
        given = self.score.coefficients
        names = {
            name: [f"{name}={level}" for level in (*kind.levels, "")]
            if isinstance(kind, Categorical)
            else [name]
            for name, kind in self.study.cohort.schema_.items()
        }
        return {name: np.array([given.get(key, 0.0) for key in keys]) for name, keys in names.items()}

    @cached_property
    def _baseline(self) -> float:
        """The sum of a patient without any value."""
        numbers = sum(self.score.coefficients[name] * value for name, value in self.score.missing.items())
        levels = sum(float(values[-1]) for values in self._columns.values() if len(values) > 1)
        return self.score.intercept + numbers + levels

    def start(self) -> None:
        """Nothing to load."""

    def inputs(self, table: Table) -> Inputs:
        """(n_rows, n_features) float64."""
        parts: list[Floats] = []
        for name, kind in self.study.cohort.schema_.items():
            values = values_of(table, self.study.cohort, name)
            if isinstance(kind, Categorical):
                n = len(kind.levels)
                distances = np.eye(n + 1) - np.eye(n + 1)[n]
                parts.append(distances[np.nan_to_num(values, nan=n).astype(np.int64)])
            else:
                missing = self.score.missing.get(name, 0.0)
                parts.append((np.nan_to_num(values, nan=missing) - missing)[:, None])
        return Inputs({RECORD: np.concatenate(parts, axis=1)})

    def predict(self, x: Inputs) -> Floats:
        """(n_rows, 1)."""
        return self._outputs(self._sums(x), np.exp)

    def predict_apart(self, x: Inputs) -> Floats:
        """(n_rows, 1); exp is taken of each row alone, for NumPy's kernels differ at the end of an array."""
        return self._outputs(self._sums(x), np.vectorize(math.exp, otypes=[np.float64]))

    def _sums(self, x: Inputs) -> Floats:
        record = np.asarray(x.parts[RECORD])
        sums = np.full(len(record), self._baseline)
        with np.errstate(over="ignore", invalid="ignore"):
            for feature, coefficient in enumerate(np.concatenate(list(self._columns.values()))):
                sums += coefficient * record[:, feature]
        return sums

    def _outputs(self, sums: Floats, exp: Callable[[Floats], Floats]) -> Floats:
        label = self.study.cohort.typed_label
        if isinstance(label, Number):
            centre, scale = centre_and_scale(label.low, label.high)
            return ((sums - centre) / scale)[:, None]
        small = exp(-np.abs(sums))
        return (np.where(sums < 0, small, 1.0) / (1.0 + small))[:, None]

    def _parts(self, x: Inputs) -> dict[str, float]:
        """By column the coefficients times the distance of the first row from the second."""
        first, second = np.asarray(x.parts[RECORD])
        slices = feature_slices(self.study.cohort)
        return {
            name: float((values * (first - second)[slices[name]]).sum())
            for name, values in self._columns.items()
        }

    def contributions(self, x: Inputs, output: int) -> Mapping[str, float]:
        """Integrated gradients: along the line between two sums the slope is the same for every column."""
        sums = self._sums(x)
        low, high = np.sort(self._outputs(sums, np.exp)[:, output])
        label = self.study.cohort.typed_label
        if isinstance(label, Number):
            slope = 1 / centre_and_scale(label.low, label.high)[1]
        else:
            # (high - low) / moved, without the difference of two probabilities that are about the same.
            moved = abs(float(sums[0] - sums[1]))
            slope = float(high * (1 - low)) * (-math.expm1(-moved) / moved if moved else 1.0)
        return {name: slope * part for name, part in self._parts(x).items()}

    def log_odds(self, x: Inputs) -> Mapping[str, float]:
        """Where the sum is log-odds."""
        return self._parts(x) if self.score.link == "logit" else {}


def build(study: Study, score: Coefficients) -> CoefficientsAtWork:
    """The score of a study's words."""
    return CoefficientsAtWork(study, score)

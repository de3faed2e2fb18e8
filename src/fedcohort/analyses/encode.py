"""How a cohort's columns become a model's features, alike at every site.

A numeric column is standardised by the federated mean and deviation, a missing
value taking the mean; a categorical column is one-hot, a missing value being a
level of its own; together they are the record. An image is an input of its own, and
its bytes mean 0 to 1 whatever the data.
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_columns, numeric_matrix, values_of
from fedcohort.analyses.moments import centre_and_scale
from fedcohort.columns import Categorical, Number, Numeric
from fedcohort.models.inputs import RECORD, Data, Inputs
from fedcohort.study import Cohort
from fedcohort.table import Table

Float = TypeVar("Float", bound=np.floating[Any])


@dataclass(frozen=True)
class Encoder:
    """Features in the order of the cohort's columns.

    Attributes:
        mean, deviation: (n_numeric,) in the columns' own units.
    """

    cohort: Cohort
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def features(self, table: Table) -> NDArray[np.float32]:
        """(n_rows, n_features) float32: the record; a value beyond float32 is infinite, and no warning."""
        names = list(numeric_columns(self.cohort.schema_))
        safe_mean = np.nan_to_num(self.mean)
        divisor = np.where(np.nan_to_num(self.deviation) > 0, np.nan_to_num(self.deviation), 1.0)
        with np.errstate(over="ignore"):
            standard = np.nan_to_num((numeric_matrix(table, self.cohort, names) - safe_mean) / divisor)
        position = {name: index for index, name in enumerate(names)}
        parts: list[NDArray[np.float64]] = []
        for name, kind in self.cohort.schema_.items():
            if isinstance(kind, Numeric):
                parts.append(standard[:, position[name], None])
            elif isinstance(kind, Categorical):
                levels = np.nan_to_num(values_of(table, self.cohort, name), nan=len(kind.levels))
                parts.append(np.eye(len(kind.levels) + 1)[levels.astype(np.int64)])
        if not parts:
            return np.zeros((table.n_rows, 0), np.float32)
        with np.errstate(over="ignore"):
            return np.concatenate(parts, axis=1).astype(np.float32)

    def inputs(self, table: Table) -> Inputs:
        """The record, when there are ordinary columns, and every image column."""
        record: dict[str, Data] = {RECORD: self.features(table)} if n_features(self.cohort) else {}
        return Inputs({**record, **table.images})

    def targets(self, table: Table) -> NDArray[np.float32]:
        """(n_rows,): `targets_of` as float32."""
        return targets_of(table, self.cohort, np.float32)


def targets_of(table: Table, cohort: Cohort, dtype: type[Float]) -> NDArray[Float]:
    """(n_rows,): 0 or 1, a class index, or a number scaled to [-1, 1] by its declared range."""
    if table.label is None:
        raise ValueError("the cohort has no label")
    if not isinstance(cohort.label, Number):
        return table.label.astype(dtype)
    centre, scale = centre_and_scale(cohort.label.low, cohort.label.high)
    with np.errstate(over="ignore"):
        return ((table.label - centre) / scale).astype(dtype)


def feature_slices(cohort: Cohort) -> dict[str, slice | None]:
    """Which features of the record each column became; an image is one feature of its own, and has none."""
    slices: dict[str, slice | None] = {}
    start = 0
    for name, kind in cohort.schema_.items():
        width = len(kind.levels) + 1 if isinstance(kind, Categorical) else int(isinstance(kind, Numeric))
        slices[name] = slice(start, start + width) if width else None
        start += width
    return slices


def n_features(cohort: Cohort) -> int:
    """Width of the record."""
    return sum(part.stop - part.start for part in feature_slices(cohort).values() if part is not None)

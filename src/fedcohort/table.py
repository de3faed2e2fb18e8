"""Table: the only form in which patient data are held in memory.

A source builds it from the cohort's rows, an analysis reads it, and it never
leaves the process that made it: it has no serialisation, and its `repr`
tells the shape and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fedcohort.pixels import Pixels

TRAIN, TEST, VALID = 0, 1, 2
"""Codes of the splits in `Table.split`."""

SPLITS = {"train": TRAIN, "test": TEST, "valid": VALID}


@dataclass(frozen=True, repr=False)
class Table:
    """A site's rows of one cohort.

    Attributes:
        patient_ids: (n,) str; a patient may have several rows.
        columns: numeric columns are (n,) float64 with NaN where missing; categorical
            ones are (n,) int64 indices into the study's levels, -1 where missing.
        label: (n,) float64: 0 or 1, a class index, or a number; None without a label.
        event: (n,) float64 0 or 1 with a survival time in `label`; None otherwise.
        split: (n,) int8 of TRAIN, TEST and VALID.
        images: image columns, an image a row, which are read when they are needed.
        one_row_each: patients are known to stand in order, each with one row; False: nobody has looked.
    """

    patient_ids: NDArray[np.str_]
    columns: Mapping[str, NDArray[np.float64] | NDArray[np.int64]]
    split: NDArray[np.int8]
    label: NDArray[np.float64] | None = None
    event: NDArray[np.float64] | None = None
    images: Mapping[str, Pixels] = field(default_factory=dict)
    one_row_each: bool = False

    def __post_init__(self) -> None:
        n = len(self.patient_ids)
        arrays = {**self.columns, "split": self.split, "label": self.label, "event": self.event}
        for name, values in arrays.items():
            if values is not None and values.shape != (n,):
                raise ValueError(f"{name}: shape {values.shape} where ({n},) is needed")
        for name, pixels in self.images.items():
            if len(pixels) != n:
                raise ValueError(f"{name}: {len(pixels)} images where {n} are needed")

    def __repr__(self) -> str:
        return f"Table({self.n_rows} rows, {len(self.columns) + len(self.images)} columns)"

    @property
    def n_rows(self) -> int:
        """Rows of the cohort at this site."""
        return len(self.patient_ids)

    @property
    def n_patients(self) -> int:
        """Distinct patients of the cohort at this site."""
        return len(np.unique(self.patient_ids))

"""Which columns a cohort has, its label among them, and their values in a table."""

import numpy as np
from numpy.typing import NDArray

from fedcohort.columns import Categorical, Column, Image, Numeric, Survival
from fedcohort.study import Cohort
from fedcohort.table import Table

ALL = slice(None)
NOT_DESCRIBED = "an image: it has no mean and no levels; every row of the cohort has one"


def described_columns(cohort: Cohort) -> dict[str, Column]:
    """Every column, the cohort's own and then the label's; images are among them, and have no sums."""
    return cohort.every_column


def unit_of(column: Numeric) -> dict[str, str]:
    """What a report says of a number's unit; nothing where nobody declared one."""
    return {"unit": column.unit} if column.unit else {}


def numeric_columns(columns: dict[str, Column]) -> dict[str, Numeric]:
    """Those that are numbers, in order."""
    return {name: column for name, column in columns.items() if isinstance(column, Numeric)}


def categorical_columns(columns: dict[str, Column]) -> dict[str, Categorical]:
    """Those that are levels, in order."""
    return {name: column for name, column in columns.items() if isinstance(column, Categorical)}


def image_columns(columns: dict[str, Column]) -> dict[str, Image]:
    """Those that are images, in order."""
    return {name: column for name, column in columns.items() if isinstance(column, Image)}


def not_described(cohort: Cohort) -> dict[str, dict[str, str]]:
    """What a report says of columns that have no sums; nothing when there are none."""
    images = dict.fromkeys(image_columns(cohort.schema_), NOT_DESCRIBED)
    return {"not_described": images} if images else {}


def values_of(
    table: Table, cohort: Cohort, name: str, rows: slice | NDArray[np.int64] = ALL
) -> NDArray[np.float64]:
    """A column's or label's values as float64; level indices for levels, NaN where missing.

    Args:
        rows: which of the table's are meant.
    """
    if name in table.columns:
        values = table.columns[name][rows]
        return np.where(values < 0, np.nan, values) if values.dtype.kind == "i" else values.astype(np.float64)
    label = table.event if isinstance(cohort.label, Survival) and name == cohort.label.event else table.label
    if label is None:
        raise ValueError(f"the table has no column {name}")
    return label[rows]


def numeric_matrix(table: Table, cohort: Cohort, names: list[str]) -> NDArray[np.float64]:
    """(n_rows, n_columns) float64, NaN where missing."""
    if not names:
        return np.zeros((table.n_rows, 0))
    return np.stack([values_of(table, cohort, name) for name in names], axis=1)

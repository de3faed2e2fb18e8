"""A cohort's values as they came from a database or a data frame, and which of them do not fit a study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.errors import DataError

Mask = NDArray[np.bool_]

NEITHER = "{column}: holds something that is neither text nor number; correct it"


@dataclass(frozen=True)
class Coded:
    """Texts of a column as places in a tuple of the distinct ones, -1 where missing."""

    codes: NDArray[np.int64]
    values: tuple[object, ...]


Values = Sequence[object] | NDArray[np.generic] | Coded


@dataclass(frozen=True)
class Raw:
    """A chunk of a cohort's rows as they came: one sequence a column, all of one length."""

    table: str
    values: Mapping[str, Values]


@dataclass(frozen=True)
class Unfit:
    """Values of one column that do not fit a study, and what is said about them where it may be said.

    Attributes:
        rows: (n,) which.
        needed: a row cannot be without this value; else it counts as missing.
    """

    rows: Mask
    error: DataError
    needed: bool = False


def unfit_where(rows: Mask, error: DataError, *, needed: bool = False) -> list[Unfit]:
    """Nothing where all fits."""
    return [Unfit(rows, error, needed)] if rows.any() else []


def plain(values: Values) -> Sequence[object]:
    """Python's own objects, with None for NaN: every NaN would be looked up as a level of its own."""
    if isinstance(values, Coded):
        return [None if code < 0 else values.values[code] for code in values.codes.tolist()]
    if not isinstance(values, np.ndarray):
        return values
    return [None if isinstance(value, float) and math.isnan(value) else value for value in values.tolist()]

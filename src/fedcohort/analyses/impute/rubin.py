"""Rubin's rules: results of several imputed data sets as one (Rubin 1987, Multiple Imputation, chapter 3).

Degrees of freedom after Barnard and Rubin 1999 (Biometrika 86:948), so that they are never more than those
of complete data.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.design import DesignColumn
from fedcohort.analyses.tails import t_p, t_quantile
from fedcohort.disclosure.shown import count_of

Floats = NDArray[np.float64]
COVERAGE = 0.975
ROUNDING = 1e-12
"""Of the total variance: data sets that differ by less are the same but for rounding."""


@dataclass(frozen=True, eq=False)
class Found:
    """The regression of each of m data sets.

    Attributes:
        family: as a report names it.
        columns: of the coefficients.
        estimates, variances: (m, p).
        degrees: of complete data.
        more: what a report says beside them.
    """

    family: str
    names: Sequence[str]
    columns: Sequence[DesignColumn]
    estimates: Floats
    variances: Floats
    degrees: float
    more: dict[str, object]


@dataclass(frozen=True, eq=False)
class Pooled:
    """Of each coefficient.

    Attributes:
        degrees: of Student's t.
        missing_information: the fraction of the information that missing values cost.
    """

    coefficients: Floats
    errors: Floats
    degrees: Floats
    missing_information: Floats


def pooled(estimates: Floats, variances: Floats, complete_degrees: float) -> Pooled:
    """Combine data sets.

    Args:
        estimates, variances: (m, p).
        complete_degrees: of complete data: rows beyond the coefficients.
    """
    m = len(estimates)
    within, between = variances.mean(0), estimates.var(0, ddof=1)
    total = within + (1 + 1 / m) * between
    with np.errstate(divide="ignore", invalid="ignore"):
        added = (1 + 1 / m) * between / total
        old = (m - 1) / added**2
        observed = (complete_degrees + 1) / (complete_degrees + 3) * complete_degrees * (1 - added)
        differ = added > ROUNDING
        degrees = np.where(differ, 1 / (1 / old + 1 / observed), observed)
        ratio = (1 + 1 / m) * between / within
        missing = (ratio + 2 / (degrees + 3)) / (1 + ratio)
    return Pooled(estimates.mean(0), np.sqrt(total), degrees, np.where(differ, missing, 0.0))


def rubin_rows(names: Sequence[str], found: Pooled, known: Sequence[float | None]) -> list[dict[str, object]]:
    """A row a coefficient with its test and its 95 % interval.

    Args:
        known: of each, how many rows have its column; NaN where that is hidden, None where it is of several.
    """
    rows: list[dict[str, object]] = []
    columns = (found.coefficients, found.errors, found.degrees, found.missing_information)
    for name, n, *numbers in zip(names, known, *(column.tolist() for column in columns), strict=True):
        coefficient, error, degrees, missing = numbers
        row: dict[str, object] = {"name": name, "coef": coefficient, "se": None, "t": None, "df": None}
        row |= {"p": None, "low": None, "high": None, "fmi": None, "n": None if n is None else count_of(n)}
        if math.isfinite(error) and error > 0 and degrees > 0:
            far, ratio = t_quantile(COVERAGE, degrees), coefficient / error
            row |= {"se": error, "t": ratio, "df": degrees, "p": t_p(ratio, degrees), "fmi": missing}
            row |= {"low": coefficient - far * error, "high": coefficient + far * error}
        rows.append(row)
    return rows

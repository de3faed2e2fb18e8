"""A design over a site's rows, some thousand rows at a time: so rows times columns take no memory.

Up to `HELD` numbers are held as one array. More are made anew of the table whenever they are looked at, in
the same pieces, so that sums have the same bits: a million rows and 500 columns would be 4 GB.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.design import CHUNK, Design
from fedcohort.study import Cohort
from fedcohort.table import Table

Floats = NDArray[np.float64]
HELD = 2**25
"""Numbers that are held: 256 MiB."""
WEIGHTED = 2**11
"""Rows that are weighted together: they are in the processor's cache with what is made of them."""


@dataclass(frozen=True, eq=False)
class DesignRows:
    """(n, p) numbers that are not held.

    Attributes:
        make: the first so many columns of some rows of a table.
        places: (n,) which of the table's rows are meant, in which order; None: all.
        first: the first column that is meant.
        scaling: centre and scale of the columns that are meant.
    """

    shape: tuple[int, int]
    make: Callable[[slice | NDArray[np.int64], int], Floats]
    places: NDArray[np.int64] | None = None
    first: int = 0
    scaling: tuple[Floats, Floats] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Floats:
        begin, end, _ = rows.indices(len(self))
        at = slice(begin, end) if self.places is None else self.places[begin:end]
        part = self.make(at, self.first + self.shape[1])[:, self.first :]
        return part if self.scaling is None else _standardised(part, *self.scaling)


Matrix: TypeAlias = Floats | DesignRows


def design_rows(design: Design, table: Table, cohort: Cohort, held: bool = False) -> Matrix:
    """A design over all rows of a table, as `Design.matrix`."""
    shape = (table.n_rows, len(design.columns))
    if shape[0] * shape[1] <= HELD:
        return design.matrix(table, cohort, held)
    return DesignRows(shape, lambda rows, k: design.part(table, cohort, rows, k, held))


def parts(x: Matrix, at_once: int = CHUNK) -> Iterator[tuple[slice, Floats]]:
    """All rows, some thousand at a time."""
    for begin in range(0, len(x), at_once):
        rows = slice(begin, min(begin + at_once, len(x)))
        yield rows, x[rows]


def complete(x: Matrix) -> NDArray[np.bool_]:
    """(n,): rows of which every column has a value."""
    there, nothing = np.ones(len(x), np.bool_), np.zeros(x.shape[1])
    with np.errstate(invalid="ignore"):
        for rows, part in parts(x):
            there[rows] = np.isfinite(part @ nothing)  # 0 but where a value is none
    return there


def pieces(x: Matrix) -> list[slice]:
    """Rows that are looked at together: all that are held, or some thousand."""
    if isinstance(x, DesignRows):
        return [slice(begin, min(begin + CHUNK, len(x))) for begin in range(0, len(x), CHUNK)]
    return [slice(0, len(x))]


def taken(x: Matrix, rows: NDArray[np.int64]) -> Matrix:
    """Some of the rows, in this order."""
    if not isinstance(x, DesignRows):
        return x.take(rows, axis=0)
    places = rows if x.places is None else x.places[rows]
    return replace(x, shape=(len(places), x.shape[1]), places=places)


def leading(x: Matrix, k: int) -> Matrix:
    """The first k columns."""
    if not isinstance(x, DesignRows):
        return x[:, :k]
    scaling = None if x.scaling is None else (x.scaling[0][:k], x.scaling[1][:k])
    return replace(x, shape=(len(x), k), scaling=scaling)


def without_intercept(x: Matrix) -> Matrix:
    """All columns but the first, before they are standardised."""
    if not isinstance(x, DesignRows):
        return x[:, 1:]
    return replace(x, shape=(len(x), x.shape[1] - 1), first=1)


def scaled(x: Matrix, centre: Floats, scale: Floats) -> Matrix:
    """Standardised columns; an array is changed where it stands."""
    if isinstance(x, DesignRows):
        return replace(x, scaling=(centre, scale))
    for _, part in parts(x):
        _standardised(part, centre, scale)
    return x


def _standardised(part: Floats, centre: Floats, scale: Floats) -> Floats:
    """Columns, changed where they stand."""
    with np.errstate(over="ignore"):
        part -= centre
        part /= scale
    return part


def times(x: Matrix, beta: Floats) -> Floats:
    """(n,): x beta."""
    found = np.empty(len(x))
    for rows, part in parts(x):
        found[rows] = part @ beta
    return found


def totals(x: Matrix, weights: Floats) -> Floats:
    """(k, p): weights x, of (k, n) weights."""
    found = np.zeros((len(weights), x.shape[1]))
    for rows, part in parts(x):
        found += weights[:, rows] @ part
    return found


def gram(x: Matrix, weights: Floats | None = None) -> Floats:
    """(p, p): x' diag(weights) x."""
    found = np.zeros((x.shape[1], x.shape[1]))
    for rows, part in parts(x, WEIGHTED):
        found += part.T @ (part if weights is None else part * weights[rows, None])
    return found

"""The patients of a site of whom all is known that a Cox regression needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, State
from fedcohort.analyses.design import Design
from fedcohort.analyses.design_rows import Matrix, complete, design_rows, scaled, taken, without_intercept
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_by_design import ToldByDesign
from fedcohort.columns import Categorical
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Cohort

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cases:
    """Complete cases, a row a patient.

    Attributes:
        design: (n, 1 + p) the formula's columns, the intercept first.
        stratum: (n,) which combination of levels each has; 0 where there are none.
        rows: (n,) in the table; `missing` those of the other patients.
    """

    design: Matrix
    time: Floats
    event: Floats
    stratum: Ints
    rows: Ints
    missing: Ints

    @property
    def x(self) -> Matrix:
        """(n, p) the columns without the intercept."""
        return without_intercept(self.design)


@dataclass(frozen=True, eq=False)
class Asked:
    """What is looked at of a table.

    Attributes:
        strata: columns of levels, with how many each has.
        held: a number beyond its declared bounds counts as the bound.
    """

    cohort: Cohort
    design: Design
    strata: tuple[tuple[str, int], ...] = ()
    held: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return self.design.names[1:]

    @property
    def are_levels(self) -> tuple[bool, ...]:
        """By column, whether it says 1 of those who have a level, or levels of several columns."""
        kinds = self.design.kinds
        return tuple(
            all(isinstance(kinds[factor.column], Categorical) for factor, _ in column.parts)
            for column in self.design.columns[1:]
        )

    @property
    def n_strata(self) -> int:
        """How many combinations of levels there are."""
        return int(np.prod([n for _, n in self.strata], dtype=np.int64))

    @cached_property
    def told(self) -> ToldByDesign:
        """What the columns tell of single patients."""
        return ToldByDesign(self.cohort, self.design)

    def told_sums(self, rows: Rows) -> dict[str, Contribution]:
        """Of complete cases."""
        cases = self.cases(rows)
        cells = self.told.cells_of(rows.table)[cases.rows]
        return self.told.contribute(cases.design, cells, cases.event == 1)

    def cases(self, rows: Rows) -> Cases:
        """A site's, made once.

        Raises:
            StudyError: the cohort has no survival label.
        """
        return rows.once("cases", lambda: self._cases(rows))

    def _cases(self, rows: Rows) -> Cases:
        ours, table = rows.patients("all"), rows.table
        if table.label is None or table.event is None:
            raise StudyError("cohort.label: cox needs fc.Survival(time, event)")
        with np.errstate(over="ignore", invalid="ignore"):
            design = design_rows(self.design, table, self.cohort, self.held)
            design = design if rows.once_each else taken(design, ours)
            known = complete(design)
        time, event = rows.firsts(table.label), rows.firsts(table.event)
        stratum = np.zeros(len(ours))
        for name, n_levels in self.strata:
            stratum = stratum * n_levels + values_of(table, self.cohort, name)[ours]
        known &= np.isfinite(time) & np.isfinite(event) & np.isfinite(stratum) & (np.nan_to_num(time) >= 0)
        if known.all():
            return Cases(design, time, event, stratum.astype(np.int64), ours, ours[:0])
        return Cases(
            taken(design, np.flatnonzero(known)),
            time[known],
            event[known],
            stratum[known].astype(np.int64),
            ours[known],
            ours[~known],
        )


@dataclass(frozen=True, eq=False)
class Scaling:
    """About what, and in which unit, (p,) columns are computed; one without a scale stays in its own."""

    centre: Floats
    scale: Floats

    @classmethod
    def of(cls, state: State, p: int) -> "Scaling":
        """As a state says, looked at before any patient is.

        Raises:
            WireError: as of `array_of`.
        """
        return cls(array_of(state, "centre", (p,)), array_of(state, "scale", (p,)))

    @property
    def key(self) -> bytes:
        """What tells it from another."""
        return self.centre.tobytes() + self.scale.tobytes()

    def __call__(self, x: Matrix) -> Floats:
        """(n, p) columns, scaled, as one array."""
        return self.of_own(np.array(x[:]))[:]

    def of_own(self, x: Matrix) -> Matrix:
        """(n, p) columns, scaled; an array is changed where it stands."""
        return scaled(x, self.centre, np.where(self.scale > 0, self.scale, 1.0))


def array_of(state: State, name: str, shape: Sequence[int]) -> Floats:
    """An array of a state, looked at before any patient is.

    Raises:
        WireError: it is not there, of another shape, or not of numbers.
    """
    array = np.asarray(state.arrays.get(name, ()))
    if array.shape != tuple(shape) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise WireError("a state without the numbers that this round needs")
    return array.astype(np.float64, copy=False)

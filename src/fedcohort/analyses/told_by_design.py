"""Whether a regression's columns single patients out, by the first sum of all hospitals together.

Cells: each combination of levels that a product of the formula tells apart, the reference's too, which has
no column of its own. Pieces between knots of splines are counted so, too. Powers: sums of the first four
powers of each column, by which it is seen where few patients make up a column's variance: n over the
kurtosis is their number if they have it in equal parts (as Kish's effective size is of weights: 1965,
Survey Sampling, section 8.2), and a kurtosis that is the squared skewness and 1 means that there are two
values (Pearson 1916, Philosophical Transactions A 216).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.carried_sums import carried, from_limbs, to_limbs
from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution, Floats, Proved
from fedcohort.analyses.design import Design
from fedcohort.analyses.design_rows import Matrix, parts
from fedcohort.analyses.formula.words import BSpline, NaturalSpline, has_levels
from fedcohort.columns import Categorical
from fedcohort.disclosure.rules import Disclosure
from fedcohort.study import Cohort
from fedcohort.table import Table
from fedcohort.texts import Text, say
from fedcohort.vector import Array, Block, counts

CELLS, POWERS, SIZE = "told/cells", "told/powers", "told/n"
N_POWERS = 4
SEEN = 1e-12
"""Of its mean square: a variance so small is rounding, and of its square a fourth moment."""
LARGEST = 2.0**33
"""A scaled value beyond it counts as it, so that sums of fourth powers can be carried."""
TWO_VALUES = 1e-6
LEAST_SHARE = 1 / 6
"""Of few patients a smaller number counts as enough: normal values have a kurtosis of 3."""
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ToldByDesign:
    """What the columns of a design, and numbers beside them, tell of single patients.

    Attributes:
        others: names of numbers beside the design's columns, such as weights.
    """

    cohort: Cohort
    design: Design
    others: tuple[str, ...] = ()

    @cached_property
    def sets(self) -> tuple[tuple[str, ...], ...]:
        """Columns of levels that the formula's products tell apart together; none that is part of another."""
        kinds, found = self.design.kinds, dict[tuple[str, ...], None]()
        for column in self.design.columns:
            factors = [factor for factor, _ in column.parts if has_levels(factor, kinds)]
            found[tuple(sorted({factor.column for factor in factors}))] = None
        return tuple(one for one in found if one and not any(set(one) < set(other) for other in found))

    @cached_property
    def splines(self) -> tuple[BSpline | NaturalSpline, ...]:
        """Of whose pieces between knots none may be that of few: a sum of columns may be theirs alone."""
        factors = (factor for column in self.design.columns for factor, _ in column.parts)
        return tuple(dict.fromkeys(one for one in factors if isinstance(one, BSpline | NaturalSpline)))

    @cached_property
    def lengths(self) -> tuple[int, ...]:
        """How many cells each set, and then each spline, has."""
        pieces = (len(factor.knots) + 1 for factor in self.splines)
        return (*(math.prod(self.sizes(names)) for names in self.sets), *pieces)

    def sizes(self, names: Sequence[str]) -> tuple[int, ...]:
        """How many levels each has."""
        kinds = (self.design.kinds[name] for name in names)
        return tuple(len(kind.levels) for kind in kinds if isinstance(kind, Categorical))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of each cell those without and with the outcome; of each number its powers."""
        n_cells = sum(self.lengths)
        powers = carried(POWERS, len(self.design.columns) + len(self.others), N_POWERS)
        sums = counts(SIZE, 1), powers
        return (*sums, counts(CELLS, 2 * n_cells)) if n_cells else sums

    def cells_of(self, table: Table) -> Ints:
        """(n, sets and splines): the cell of each row of a table in each; -1 where a level is missing."""
        cells = np.zeros((table.n_rows, len(self.lengths)), np.int64)
        for place, names in enumerate(self.sets):
            for name, size in zip(names, self.sizes(names), strict=True):
                level = values_of(table, self.cohort, name)
                known = np.isfinite(level) & (cells[:, place] >= 0)
                cells[:, place] = np.where(known, cells[:, place] * size + np.nan_to_num(level), -1)
        for place, factor in enumerate(self.splines, len(self.sets)):
            values = values_of(table, self.cohort, factor.column)
            cells[:, place] = np.searchsorted(np.array(factor.knots), values, side="right")
        return cells

    def contribute(
        self, x: Matrix, cells: Ints, has_it: NDArray[np.bool_], others: Sequence[Floats] = ()
    ) -> dict[str, Contribution]:
        """What complete rows that count add up to.

        Args:
            x: (n, p) the design's columns.
            cells: of the same rows.
            has_it: (n,) who has the outcome.
        """
        middle, half = self.design.scaling()
        powers = [_powers(x, middle, half)]
        powers += [_powers(values[:, None], np.zeros(1), np.ones(1)) for values in others]
        size = Proved(np.array([len(x)]))
        found: dict[str, Contribution] = {SIZE: size, POWERS: Proved(to_limbs(np.concatenate(powers)))}
        counted = [
            np.bincount(2 * cell + has_it, minlength=2 * length)
            for length, cell in zip(self.lengths, cells.T, strict=True)
        ]
        return {**found, CELLS: Proved(np.concatenate(counted))} if counted else found

    def cells(self, values: Mapping[str, Array]) -> dict[tuple[str, ...], Floats]:
        """By set, (cells, 2): how many have not and have the outcome."""
        found: dict[tuple[str, ...], Floats] = {}
        begin = 0
        for names in self.sets:
            end = begin + 2 * math.prod(self.sizes(names))
            found[names] = np.asarray(values[CELLS][begin:end], np.float64).reshape(-1, 2)
            begin = end
        return found

    def levels(self, values: Mapping[str, Array]) -> dict[str, float]:
        """How many have each combination of levels, and lie in each piece of a spline."""
        found = {
            name: float(count.sum())
            for names, table in self.cells(values).items()
            for name, count in zip(self._named(names), table, strict=True)
        }
        end = 2 * sum(self.lengths[: len(self.sets)])
        for factor, n in zip(self.splines, self.lengths[len(self.sets) :], strict=True):
            pieces = np.asarray(values[CELLS][end : end + 2 * n], np.float64).reshape(n, 2).sum(1)
            found |= {f"{factor}, piece {place}": float(count) for place, count in enumerate(pieces, 1)}
            end += 2 * n
        return found

    def outcomes(self, values: Mapping[str, Array]) -> dict[str, float]:
        """Of each combination of levels, how many have the outcome, and how many have not."""
        return {
            f"{name}, {said}": float(count)
            for names, table in self.cells(values).items()
            for name, both in zip(self._named(names), table, strict=True)
            for said, count in zip(("no", "yes"), both, strict=True)
        }

    def _named(self, names: Sequence[str]) -> list[str]:
        kinds = (self.design.kinds[name] for name in names)
        levels = product(*(kind.levels for kind in kinds if isinstance(kind, Categorical)))
        return [
            ", ".join(f"{name} = {level}" for name, level in zip(names, chosen, strict=True))
            for chosen in levels
        ]

    def by_few(self, values: Mapping[str, Array], rules: Disclosure) -> Text | None:
        """A number that few patients decide: one of two values that few have, or few that lie far away."""
        if rules.min_cell <= 1:
            return None
        design, n = self.design, float(values[SIZE][0])
        named = [*((column.name, design.is_indicator(column)) for column in design.columns)]
        named += [(name, False) for name in self.others]
        for (name, by_levels), sums in zip(named, from_limbs(values[POWERS]), strict=True):
            # Levels are counted in cells.
            if not by_levels and of_few(n, sums, rules.min_cell):
                return say(
                    "{column}: fewer than min_cell = {least} patients at all hospitals together decide what "
                    "it tells, since few have one of its values or lie far from all others; leave it out, "
                    "take its logarithm, or narrow cohort.bounds with `where`",
                    column=name,
                    least=rules.min_cell,
                )
        return None


def _powers(x: Matrix, middle: Floats, half: Floats) -> Floats:
    """(p, 4): sums of the first powers of scaled columns."""
    sums = np.zeros((x.shape[1], N_POWERS))
    with np.errstate(over="ignore", invalid="ignore"):
        for _, part in parts(x):
            scaled = part - middle
            scaled /= half
            np.clip(scaled, -LARGEST, LARGEST, out=scaled)
            squares, ones = scaled * scaled, np.ones(len(scaled))
            sums[:, 0] += ones @ scaled
            sums[:, 1] += ones @ squares
            sums[:, 2] += ones @ np.multiply(squares, scaled, out=scaled)
            sums[:, 3] += ones @ np.multiply(squares, squares, out=squares)
    return sums


def of_few(n: float, sums: Floats, min_cell: int) -> bool:
    """Whether a number's variance is that of few patients.

    Args:
        sums: (4,) of its first powers over n patients.
    """
    if not n:
        return False
    first, second, third, fourth = (float(power) / n for power in sums)
    variance = second - first**2
    if not variance > SEEN * second:
        return False
    skew: float = (third - 3 * first * second + 2 * first**3) / variance**1.5
    kurtosis: float = (fourth - 4 * first * third + 6 * first**2 * second - 3 * first**4) / variance**2
    if kurtosis < 0.5:  # so small a unit that fourth powers are beyond what is carried
        return False
    if abs(kurtosis - skew**2 - 1) < TWO_VALUES * kurtosis:
        return round(n * (1 - abs(skew) / math.sqrt(4 + skew**2)) / 2) < min_cell
    return fourth * SEEN < kurtosis * variance**2 and n / kurtosis < min(min_cell, LEAST_SHARE * n)

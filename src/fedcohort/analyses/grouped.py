"""Numbers of patients, means and variances of numbers by group, from one sum.

Without privacy sums are exact (`exact_sums`), so that neither unit nor offset costs a digit. Under privacy a
patient adds to one group a vector of scaled values and their squares, whose length does not grow with the
number of groups, and which is kept as short as can be (`vectors`). A patient counts with one row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import numeric_matrix, values_of
from fedcohort.analyses.contract import Contribution, Draw, Floats, Proved, State, Sums, Tally
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.exact_sums import SQUARES, VALUES, limbs, sum_both, totals
from fedcohort.analyses.mean_tests import GroupMoments
from fedcohort.analyses.moments import Scaling, declared_scaling, refuse_outside
from fedcohort.analyses.moments_told import tells, told_by_moments
from fedcohort.analyses.rows import Rows
from fedcohort.columns import Numeric
from fedcohort.disclosure.cells import hidden, small
from fedcohort.disclosure.magnitudes import coarse_step, to_step
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import masked
from fedcohort.disclosure.verdicts import Suppressed
from fedcohort.study import Cohort
from fedcohort.texts import Text
from fedcohort.vector import MAX_ROWS, Array, Block, counts

HIDDEN, HIDDEN_TOGETHER = "shown/hidden", "shown/hidden/together"
STEPS, STEPS_TOGETHER = "shown/steps", "shown/steps/together"
"""To which steps means and deviations are rounded, whose number of values is hidden."""
GROUPS_SHARE = 0.25
"""Of the privacy loss that moments take: values are counted with them, too."""
KNOWN = math.sqrt(0.5)
"""What a value counts in a private sum: less than a patient, so that its size is known the better."""
MIDDLE = 0.5
"""What is taken off a scaled square: with a value x of -1 to 1 the length of (x, x^2 - 1/2) is at most 1.118,
and that of (x, x^2) is 1.414."""
ROW = math.sqrt(KNOWN**2 + 1 + (1 - MIDDLE) ** 2)
"""The length of one value's vector, at most."""
LEAST_VARIANCE = 1e-4
"""Of scaled values: what noise leaves of a variance is no less."""


@dataclass(frozen=True)
class GroupedStage:
    """How many patients each group has, and moments of each number in it.

    Attributes:
        by: the column that says the group; None: all patients are one.
        private: whether sums are of scaled values.
        counts_groups: whether it counts the groups' patients, or a stage beside it does.
    """

    cohort: Cohort
    columns: Mapping[str, Numeric]
    by: str | None
    n_groups: int
    private: bool = False
    counts_groups: bool = True
    name: str = "moments"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The last of the groups are patients whose group is missing."""
        n = len(self.columns)
        share = GROUPS_SHARE if n else 1.0
        counted = counts("groups", self.n_groups + 1, once=True, share=share)
        groups = (counted,) if self.counts_groups else ()
        if not n:
            return groups
        if self.private:
            row = math.sqrt(n) * ROW
            return (*groups, Block("moments", (self.n_groups, 3 * n), row, once=True, bound=MAX_ROWS))
        size = self.n_groups * n
        return (*groups, counts("n", size), limbs("sum", size, VALUES), limbs("squares", size, SQUARES))

    @cached_property
    def scaling(self) -> Scaling:
        """Of the declared bounds, which under privacy all columns have."""
        scaling = declared_scaling(self.columns)
        if scaling is None:
            raise ValueError("a column without bounds")
        return scaling

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's group, and what the values add to it."""
        ours = rows.patients("all")
        group = group_of(rows, self.cohort, self.by)
        cell = np.where(np.isnan(group), self.n_groups, group).astype(np.int64)
        parts: dict[str, Contribution] = {}
        if self.counts_groups:
            parts["groups"] = Tally(cell=cell, rows=ours)
        if not self.columns:
            return parts
        values = numeric_matrix(rows.table, self.cohort, list(self.columns))[ours]
        if not self.private:
            refuse_outside(values, self.columns)
            return {**parts, **self._exact(values, cell)}
        with np.errstate(over="ignore"):  # what no double holds lies beyond the bound, too
            scaled = np.clip((values - self.scaling.centre) / self.scaling.scale, -1.0, 1.0)
        known = (~np.isnan(scaled)).astype(np.float64)
        filled = np.nan_to_num(scaled, nan=0.0)
        vector = vectors(known, filled, np.square(filled)).reshape(-1, 3 * len(self.columns))
        inside = np.where(cell == self.n_groups, -1, cell)
        return {**parts, "moments": Tally(vector, inside, rows=ours)}

    def _exact(self, values: Floats, cell: NDArray[np.int64]) -> dict[str, Contribution]:
        n, sums, squares = [], [], []
        for group in range(self.n_groups):
            ours = values[cell == group]
            n.append((~np.isnan(ours)).sum(0))
            of_values, of_squares = sum_both(ours)
            sums.append(of_values)
            squares.append(of_squares)
        return {
            "n": Proved(np.concatenate(n)),
            "sum": Proved(np.concatenate(sums)),
            "squares": Proved(np.concatenate(squares)),
        }

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sums.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        if not self.counts_groups:
            return state
        patients = np.asarray(sums["groups"][:-1], np.float64)
        check_enough(float(patients.sum()), sums.noise("groups") * math.sqrt(self.n_groups))
        return state

    def n_error(self, sums: Sums) -> float:
        """Standard deviation of the noise in a private number of values."""
        return sums.noise("moments") / KNOWN

    def moments(self, sums: Sums, together: bool = False) -> GroupMoments:
        """In the columns' own units; under privacy as noise leaves them, within what is possible.

        Args:
            together: of all groups as one.
        """
        if not self.columns:
            empty = np.zeros((1 if together else self.n_groups, 0))
            return GroupMoments(empty, empty, empty)
        if self.private:
            return self._bounded(sums["moments"], together)
        names = ("n", "sum", "squares")
        n, total, squares = (self._by_group(sums[name], together) for name in names)
        exact = [
            _exact_moments(int(count), *both)
            for count, *both in zip(n[:, 0], totals(total, VALUES), totals(squares, SQUARES), strict=True)
        ]
        shape = (-1, len(self.columns))
        mean, variance = np.array(exact, np.float64).reshape(-1, 2).T
        found = [np.asarray(n[:, 0], np.float64).reshape(shape), mean.reshape(shape), variance.reshape(shape)]
        masks = sums.values.get(HIDDEN_TOGETHER if together else HIDDEN)
        if masks is None:
            return GroupMoments(*found)
        n_of, means, variances = (
            np.where(mask, np.nan, part) for mask, part in zip(masks, found, strict=True)
        )
        steps = np.asarray(sums[STEPS_TOGETHER if together else STEPS], np.float64)
        deviations = _to_steps(np.sqrt(variances), steps)
        return GroupMoments(n_of, _to_steps(means, steps), np.where(steps > 0, deviations**2, variances))

    def shown(self, sums: Sums, rules: Disclosure) -> tuple[dict[str, Array], list[Suppressed]]:
        """The sums, with what must not be read of them: groups and moments that rest on few patients.

        Returns:
            also `shown/hidden`, (3, groups, columns), of numbers of values, means and variances, and
            `shown/hidden/together`, of all groups as one.
        """
        groups = np.asarray(sums["groups"], np.float64)
        few = hidden(groups, [np.arange(groups.size)], rules.min_cell)
        values: dict[str, Array] = {"groups": masked(groups, few, rules)}
        found = [Suppressed("groups", "min_cell", int(few.sum()))]
        if not self.columns:
            return values, found
        by_group = self._told(sums, rules, together=False)
        missing = groups[:-1, None] - np.asarray(sums["n"], np.float64).reshape(self.n_groups, -1)
        by_group[0] |= small(missing, rules.min_cell) | few[:-1, None]
        by_group[1:] |= few[:-1, None] & small(groups[:-1], rules.min_cell)[:, None]
        together = self._told(sums, rules, together=True)
        # All groups together, less those that are shown, would be the one that is not.
        together[0] |= by_group[0].sum(0) == 1
        together[1:] |= by_group[1:].sum(1, keepdims=True) == 1
        values |= {HIDDEN: by_group, HIDDEN_TOGETHER: together}
        for name, mask, as_one in ((STEPS, by_group, False), (STEPS_TOGETHER, together, True)):
            values[name] = _steps(self.moments(sums, as_one), mask[0], rules)
        names = list(self.columns)
        found += [Suppressed(names[at], "min_cell", int(n)) for at, n in enumerate(by_group.sum((0, 1)))]
        return values, found

    def told_alone(self, sums: Sums, rules: Disclosure) -> Text | None:
        """What the moments of a group tell of single patients."""
        n = len(self.columns)
        if not n:
            return None
        blocks = {name: np.asarray(sums[name]).reshape(self.n_groups, n, -1) for name in ("sum", "squares")}
        sizes = np.asarray(sums["n"]).reshape(self.n_groups, n)
        for group in range(self.n_groups):
            lines = {"n": sizes[group], **{name: block[group] for name, block in blocks.items()}}
            if why := told_by_moments(lines, self.columns, rules):
                return why
        return None

    def _told(self, sums: Sums, rules: Disclosure, *, together: bool) -> NDArray[np.bool_]:
        """(3, groups, columns): which would tell of single patients by itself."""
        counts_, sums_, squares = (self._by_group(sums[name], together) for name in ("n", "sum", "squares"))
        kinds = list(self.columns.values()) * (1 if together else self.n_groups)
        sizes = np.asarray(counts_[:, 0], np.float64)
        lines = zip(sizes, totals(sums_, VALUES), totals(squares, SQUARES), kinds, strict=True)
        told = np.array(
            [tells(int(n), total, square, kind.bounds, rules) for n, total, square, kind in lines]
        )
        few = (sizes > 0) & (sizes < rules.min_cell)
        short = (sizes > 0) & (sizes - 1 < rules.min_dof)
        return np.stack([few, few | told, few | told | short]).reshape(3, -1, len(self.columns))

    def _by_group(self, values: Array, together: bool) -> Array:
        """A line a group and column; of limbs, which are added as they are, one a column."""
        lines = np.asarray(values).reshape(self.n_groups, len(self.columns), -1)
        if together:
            lines = lines.sum(0, keepdims=True)
        return lines.reshape(-1, lines.shape[-1])

    def _bounded(self, values: Array, together: bool) -> GroupMoments:
        vector = np.asarray(values, np.float64).reshape(self.n_groups, 3, len(self.columns))
        if together:
            vector = vector.sum(0, keepdims=True)
        n, mean, variance = scaled_moments(vector)
        scale = self.scaling.scale
        return GroupMoments(n, mean * scale + self.scaling.centre, variance * scale**2)


def vectors(n: Floats, sums: Floats, squares: Floats) -> Floats:
    """(rows, 3, columns): what values add to private sums, alone or many together."""
    return np.stack([KNOWN * n, sums, squares - MIDDLE * n], axis=1)


def scaled_moments(vector: Floats) -> tuple[Floats, Floats, Floats]:
    """Of noisy (groups, 3, columns): how many values, and mean and variance in units of half the range."""
    counted = vector[:, 0] / KNOWN
    n = np.maximum(counted, 2.0)
    mean = np.clip(vector[:, 1] / n, -1.0, 1.0)
    spread = np.clip((vector[:, 2] + MIDDLE * counted) / n - mean**2, LEAST_VARIANCE, 1.0)
    return n, mean, spread * n / (n - 1)


def _steps(moments: GroupMoments, hidden_n: NDArray[np.bool_], rules: Disclosure) -> Floats:
    """To which steps means and deviations are rounded whose number of values is hidden; 0: to none.

    From a mean with sixteen digits of values with one, the number could be searched for.
    """
    spread = np.sqrt(np.nan_to_num(moments.variance))
    each = zip(spread.flat, moments.n.flat, hidden_n.flat, strict=True)
    steps = [coarse_step(float(sd), float(n), rules.min_cell) if few else 0.0 for sd, n, few in each]
    return np.array(steps, np.float64).reshape(hidden_n.shape)


def _to_steps(values: Floats, steps: Floats) -> Floats:
    each = zip(values.flat, steps.flat, strict=True)
    return np.array([to_step(float(value), float(step)) for value, step in each]).reshape(values.shape)


def _exact_moments(n: int, total: Fraction, squares: Fraction) -> tuple[float, float]:
    if not n:
        return math.nan, math.nan
    mean = total / n
    return float(mean), float((squares - total * mean) / (n - 1)) if n > 1 else math.nan


def group_of(rows: Rows, cohort: Cohort, by: str | None) -> Floats:
    """Of each patient the group's place among the levels; NaN where it is missing."""

    def made() -> Floats:
        ours = rows.patients("all")
        return np.zeros(len(ours)) if by is None else values_of(rows.table, cohort, by)[ours]

    return rows.once(("group", by), made)

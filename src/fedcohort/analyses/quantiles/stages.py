"""Quantiles in rounds of counts: first how many patients are in equal parts of each column's range, then in
parts of the parts that hold a quantile (`order_statistics`). Under privacy one release of a tree of counts
(`count_tree`); intervals come from counts that are drawn again, patients (Poisson) and noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses import count_tree
from fedcohort.analyses.columns_of import numeric_matrix, unit_of, values_of
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Proved,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.declared_numbers import numbers_of
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.intervals import Estimates, drawn, ends
from fedcohort.analyses.moments import refuse_outside
from fedcohort.analyses.order_statistics import (
    Cells,
    Grid,
    Ints,
    between,
    cells_of,
    edges_of,
    part_of,
    placed,
    ranks_of,
    refined,
)
from fedcohort.analyses.quantiles.question import Quantiles
from fedcohort.analyses.rows import Rows
from fedcohort.columns import Numeric
from fedcohort.disclosure.cells import hidden, small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError, WireError
from fedcohort.questions import levels_of
from fedcohort.study import Cohort, Privacy, Study
from fedcohort.vector import MAX_ROWS, Array, Block, counts

ALL = "all"
"""What all groups together are called."""
FIRST_BITS, ROUND_BITS = 10, 6
"""Halvings of a range by the first round, and of a cell by every later one."""
GROUPS_SHARE = 0.25
"""Of the privacy loss that each level of a tree takes."""
COUNTS = ("n", "held")
ENDS = 4
"""Order statistics behind a quantile: on both sides of it, and of its interval."""


@dataclass(frozen=True)
class Patients:
    """A site's patients as all rounds see them: one row of each, its group, and its place in each column.

    Attributes:
        levels: of the groups; none where there is one group of all.
    """

    cohort: Cohort
    by: str | None
    levels: tuple[str | int, ...]
    numbers: Mapping[str, Numeric]
    grids: tuple[Grid, ...]
    private: bool = False

    @property
    def n_groups(self) -> int:
        """Of which each patient is in one."""
        return max(1, len(self.levels))

    @property
    def samples(self) -> int:
        """Groups of which there are quantiles: all patients together are another one, the last."""
        return len(self.levels) + 1

    def group(self, rows: Rows) -> Ints:
        """(n_patients,): the group of each; the number of groups where it is missing."""
        ours = rows.patients("all")
        if self.by is None:
            return np.zeros(len(ours), np.int64)
        values = values_of(rows.table, self.cohort, self.by)[ours]
        return np.nan_to_num(values, nan=self.n_groups).astype(np.int64)

    def places(self, rows: Rows) -> Ints:
        """(n_patients, n_columns): -1 where the value, or the group, is missing."""
        return rows.once("places", lambda: self._places(rows))

    def _places(self, rows: Rows) -> Ints:
        values = numeric_matrix(rows.table, self.cohort, list(self.numbers))[rows.patients("all")]
        if not self.private:
            refuse_outside(values, self.numbers)
        places = [grid.places(column) for grid, column in zip(self.grids, values.T, strict=True)]
        known = self.group(rows) < self.n_groups
        return np.where(known[:, None], np.stack(places, axis=1), -1)

    def off_grid(self, rows: Rows) -> NDArray[np.bool_]:
        """(n_patients, n_columns): whose value lies between two places of a declared grid."""
        values = numeric_matrix(rows.table, self.cohort, list(self.numbers))[rows.patients("all")]
        off = [grid.is_between(column) for grid, column in zip(self.grids, values.T, strict=True)]
        between: NDArray[np.bool_] = np.stack(off, axis=1) & (self.places(rows) >= 0)
        return between

    def in_order(self, rows: Rows) -> list[list[Ints]]:
        """By column and sample, the places of those that have one, in order."""
        return rows.once("in order", lambda: self._in_order(rows))

    def _in_order(self, rows: Rows) -> list[list[Ints]]:
        group = self.group(rows)
        found = []
        for column in self.places(rows).T:
            everyone = [group == level for level in range(len(self.levels))]
            samples = [np.sort(column[who & (column >= 0)]) for who in everyone]
            found.append([*samples, np.sort(column[column >= 0])])
        return found


@dataclass(frozen=True)
class CountsStage:
    """How many patients of each group lie in equal parts of each column's range.

    Attributes:
        part_bits: of each block of counts, halvings of the range.
    """

    patients: Patients
    part_bits: tuple[int, ...]
    name: str = "counts"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A patient has one group, and one part of each column in each block."""
        n = len(self.patients.grids)
        groups = counts("groups", self.patients.n_groups + 1, once=True, share=GROUPS_SHARE)
        parts = (
            Block(
                name,
                (n, self.patients.n_groups << bits),
                math.sqrt(n),
                resolution=1.0,
                once=True,
                bound=MAX_ROWS,
            )
            for name, bits in self.named.items()
        )
        between = Block("between", (n,), math.sqrt(n), resolution=1.0, once=True, bound=MAX_ROWS)
        return groups, *parts, *([] if self.patients.private else [between])

    @property
    def named(self) -> dict[str, int]:
        """The bits of each block of counts by its name."""
        return {f"counts/{1 << bits}": bits for bits in self.part_bits}

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's parts."""
        ours, group = rows.patients("all"), self.patients.group(rows)
        places, grids = self.patients.places(rows), self.patients.grids
        parts: dict[str, Contribution] = {"groups": Tally(cell=group, rows=ours)}
        for name, bits in self.named.items():
            columns = [part_of(column, grid.bits, bits) for column, grid in zip(places.T, grids, strict=True)]
            cell = np.where(places >= 0, np.stack(columns, axis=1) + (group << bits)[:, None], -1)
            parts[name] = Tally(cell=cell, rows=ours)
        if not self.patients.private:
            parts["between"] = Tally(self.patients.off_grid(rows), rows=ours)
        return parts

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the counts.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        groups = np.asarray(sums["groups"], np.float64)
        check_enough(float(groups[:-1].sum()), sums.noise("groups") * math.sqrt(groups.size - 1))
        return state


@dataclass(frozen=True)
class FirstCellsStage(CountsStage):
    """The same, from which the cells of the next rounds follow."""

    probabilities: tuple[float, ...] = ()
    min_cell: int = 0

    def update(self, state: State, sums: Sums) -> State:
        """Where each order statistic lies."""
        cells = first_cells(self.patients, self.probabilities, sums, self.min_cell)
        n = by_sample(sums[f"counts/{1 << FIRST_BITS}"], self.patients).sum(-1)
        kept = {name: np.asarray(sums[name]) for name in ("groups", "between")}
        kept |= {"n": n, **to_arrays(cells)}
        return replace(state, arrays={"cells": cells.asked}, kept=kept)


@dataclass(frozen=True)
class CellsStage:
    """How many patients lie in equal parts of the cells that hold an order statistic."""

    patients: Patients
    n_probabilities: int
    times: int
    min_cell: int = 0
    name: str = "cells"

    @property
    def n(self) -> int:
        """How many order statistics there are: by column, sample, probability."""
        return len(self.patients.grids) * self.patients.samples * self.n_probabilities * ENDS

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A line an order statistic."""
        return (Block("cells", (self.n, 1 << ROUND_BITS), resolution=1.0, bound=MAX_ROWS),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Of each cell the patients in its parts, by a search in their order."""
        asked = self._asked(state)
        bits = self._bits(state.round)
        in_order = self.patients.in_order(rows)
        lines = np.zeros((self.n, 1 << ROUND_BITS), np.int64)
        per_sample = self.n_probabilities * ENDS
        for line in np.flatnonzero(asked >= 0):
            column, sample = divmod(int(line) // per_sample, self.patients.samples)
            edges = edges_of(int(asked[line]), bits[column], ROUND_BITS)
            lines[line] = np.diff(np.searchsorted(in_order[column][sample], edges))
        return {"cells": Proved(lines)}

    def _bits(self, number: int) -> list[int]:
        """By column, of the cells of a round: its number says how often they were halved."""
        halved = FIRST_BITS + ROUND_BITS * (number - 1)
        return [max(grid.bits - halved, 0) for grid in self.patients.grids]

    def _asked(self, state: State) -> Ints:
        """Where the cells begin, looked at before any patient is.

        Raises:
            WireError: they are no cells of this round.
        """
        asked = np.asarray(state.arrays.get("cells", ()))
        fits = asked.shape == (self.n,) and asked.dtype.kind == "i"
        per_column = self.patients.samples * self.n_probabilities * ENDS
        for column, bits in enumerate(self._bits(state.round) if fits else ()):
            cells = asked[column * per_column : (column + 1) * per_column]
            last = (1 << self.patients.grids[column].bits) - (1 << bits)
            inside = (cells >= 0) & (cells <= last) & (cells % (1 << bits) == 0) & (bits > 0)
            fits = fits and bool(np.all(inside | (cells == -1)))
        if not fits:
            raise WireError(f"a state without the cells of {self.n} order statistics")
        return asked.astype(np.int64)

    def update(self, state: State, sums: Sums) -> State:
        """Smaller cells; no more rounds where none is asked for."""
        cells = refined(from_arrays(state.kept), np.asarray(sums["cells"]), self.min_cell)
        asked = cells.asked
        kept = {**state.kept, **to_arrays(cells)}
        return replace(state, arrays={"cells": asked}, kept=kept, settled=bool(np.all(asked < 0)))


def first_cells(patients: Patients, probabilities: tuple[float, ...], sums: Sums, min_cell: int) -> Cells:
    """The order statistics behind every quantile, and their cells after the first counts."""
    tally = by_sample(sums[f"counts/{1 << FIRST_BITS}"], patients)
    n_of = tally.sum(-1)
    ranks = [ranks_of(np.array(probabilities), int(n)).reshape(-1) for n in n_of.reshape(-1)]
    per_sample = len(probabilities) * ENDS
    bits = np.repeat([grid.bits for grid in patients.grids], patients.samples * per_sample)
    n = np.repeat(n_of.reshape(-1), per_sample).astype(np.int64)
    counted = np.repeat(tally.reshape(-1, 1 << FIRST_BITS), per_sample, axis=0)
    return refined(cells_of(np.concatenate(ranks), bits, n), counted, min_cell)


def by_sample(tally: Array, patients: Patients) -> Floats:
    """(columns, samples, parts): counts by group, and of all of them together where there are groups."""
    counted = np.asarray(tally, np.float64).reshape(len(patients.grids), patients.n_groups, -1)
    if not patients.levels:
        return counted
    return np.concatenate([counted, counted.sum(1, keepdims=True)], axis=1)


def to_arrays(cells: Cells) -> dict[str, Array]:
    """As a state keeps them."""
    return {f"cells/{name}": values for name, values in vars(cells).items()}


def from_arrays(kept: Mapping[str, Array]) -> Cells:
    """What `to_arrays` made."""
    return Cells(
        **{name.removeprefix("cells/"): values for name, values in kept.items() if name.startswith("cells/")}
    )


@dataclass(frozen=True)
class QuantilesAnalysis(Analysis):
    """Of every number, by group and together.

    Attributes:
        min_cell: a cell is halved only while it holds at least twice so many patients.
    """

    question: Quantiles
    patients: Patients
    min_cell: int = 0
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "QuantilesAnalysis":
        """One release of a tree of counts."""
        return replace(self, patients=replace(self.patients, private=True), privacy=privacy)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum where the first counts tell every place apart."""
        if self.privacy is not None:
            bits = tuple(parts.bit_length() - 1 for parts in count_tree.PARTS)
            return (CountsStage(self.patients, bits),)
        p = tuple(self.question.probabilities)
        first = FirstCellsStage(self.patients, (FIRST_BITS,), probabilities=p, min_cell=self.min_cell)
        left = max(grid.bits for grid in self.patients.grids) - FIRST_BITS
        if left <= 0:
            return (first,)
        return first, CellsStage(self.patients, len(p), -(-left // ROUND_BITS), self.min_cell)

    def prepare(self, rows: Rows) -> None:
        """Find each patient's place.

        Raises:
            ValueRangeError: without privacy a value lies outside its column's declared bounds.
        """
        self.patients.places(rows)

    def under(self, rules: Disclosure) -> "QuantilesAnalysis":
        """A cell is halved only while its halves hold enough; by a threshold of 1 down to one place."""
        return replace(self, min_cell=0 if rules.min_cell == 1 else rules.min_cell)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Quantiles of groups that are large enough, none nearer its end than so many patients."""
        groups, n = (np.asarray(state.kept[name], np.float64) for name in ("groups", "n"))
        lost = hidden(groups, [np.arange(groups.size)], rules.min_cell)
        few = small(n, rules.min_cell)
        there = np.append(groups[:-1], groups[:-1].sum()) if self.patients.levels else groups[:1]
        untold = few | small(there - n, rules.min_cell)
        if self.patients.levels:
            # All together, less those that are shown, would be the one that is not.
            untold[:, -1] |= untold[:, :-1].sum(1) == 1
            few[:, -1] |= few[:, :-1].sum(1) == 1
        kept = {**state.kept, "groups": masked(groups, lost, rules), "n": masked(n, untold, rules)}
        kept["shown/hidden"] = few[:, :, None] | self._at_ends(n, rules)
        names = list(self.patients.numbers)
        each = zip(names, untold.sum(1) + kept["shown/hidden"].sum((1, 2)), strict=True)
        found = [Suppressed("groups", "min_cell", int(lost.sum()))]
        found += [Suppressed(name, "min_cell", int(count)) for name, count in each]
        return Disclosed(replace(state, kept=kept), gathered(found))

    def _at_ends(self, n: Floats, rules: Disclosure) -> NDArray[np.bool_]:
        """(columns, samples, probabilities): quantiles beyond which few patients lie."""
        p = np.array(self.question.probabilities)
        beyond = np.minimum(p, 1 - p) * n[..., None]
        ends: NDArray[np.bool_] = (beyond < rules.min_cell) & (rules.min_cell > 1)
        return ends

    def report(self, state: State) -> Report:
        """By column and group: how many there are, each quantile, its interval, and how far it may be off."""
        if self.privacy is None:
            figures, groups = self._exact(state), np.asarray(state.kept["groups"], np.float64)
        else:
            sums = state.sums or Sums({})
            figures, groups = self._private(sums), np.asarray(sums["groups"], np.float64)
        columns = {}
        for column, (name, kind) in enumerate(self.patients.numbers.items()):
            samples = {
                str(level): self._sample(groups, figures, column, sample)
                for sample, level in enumerate((*self.patients.levels, ALL))
            }
            columns[name] = {**unit_of(kind), "bounds": list(kind.bounds or ()), "groups": samples}
        found: dict[str, object] = {"probabilities": list(self.question.probabilities), "columns": columns}
        found |= {} if self.question.by is None else {"by": self.question.by}
        return {"patients": count_of(groups[:-1].sum()), "missing": count_of(groups[-1]), "quantiles": found}

    def _sample(self, groups: Floats, figures: Estimates, column: int, sample: int) -> dict[str, object]:
        n = figures["n"][column, sample]
        there = groups[:-1].sum() if sample == len(self.patients.levels) else groups[sample]
        lists = {
            name: _numbers(values[column, sample]) for name, values in figures.items() if name not in COUNTS
        }
        held = (
            {"held": [count_of(count) for count in figures["held"][column, sample]]}
            if "held" in figures
            else {}
        )
        return {"n": count_of(n), "missing": count_of(there - n), **lists, **held}

    def _exact(self, state: State) -> Estimates:
        """(columns, samples, probabilities) of each."""
        cells, shape = from_arrays(state.kept), (len(self.patients.grids), self.patients.samples, -1, ENDS)
        values, within = (np.zeros(cells.rank.shape) for _ in range(2))
        per_column = len(cells.rank) // len(self.patients.grids)
        for column, grid in enumerate(self.patients.grids):
            part = slice(column * per_column, (column + 1) * per_column)
            ours = Cells(**{name: array[part] for name, array in vars(cells).items()})
            values[part], within[part] = placed(ours, grid)
            if grid.step is not None and state.kept["between"][column]:
                within[part] += grid.step / 2
        values, within, held = values.reshape(shape), within.reshape(shape), cells.held.reshape(shape)
        n = np.asarray(state.kept["n"], np.float64)
        p = np.array(self.question.probabilities)
        found = {
            "n": n,
            "values": between(p, n[..., None], values[..., 0], values[..., 1]),
            "low": values[..., 2],
            "high": values[..., 3],
            "within": within[..., :2].max(-1),
            "held": held[..., :2].min(-1).astype(np.float64),
        }
        return {name: self._shown(state, values) for name, values in found.items()}

    def _shown(self, state: State, values: Floats) -> Floats:
        """Without the quantiles that are hidden; numbers of patients are hidden by themselves."""
        mask = state.kept.get("shown/hidden")
        return values if mask is None or values.ndim == 2 else np.where(mask, np.nan, values)

    def _private(self, sums: Sums) -> Estimates:
        """Percentiles of the redrawn counts, and a finest part more: where in it values lie nobody knows.

        On a grid half a step more: nobody has counted which values lie between its places.
        """
        found = self._estimates(sums)
        low, high = ends(drawn(self._estimates, sums, self._redraw)["places"])
        figures = {name: np.empty_like(low) for name in ("values", "low", "high")}
        for column, grid in enumerate(self.patients.grids):
            part = 2.0 ** max(grid.bits - count_tree.FINEST_BITS, 0)
            part = 0.0 if grid.step is not None and part == 1 else part
            place = found["places"][column]
            figures["values"][column] = _value_at(grid, place)
            half = (grid.step or 0.0) / 2
            figures["low"][column] = _value_at(grid, np.fmin(low[column] - part, place)) - half
            figures["high"][column] = _value_at(grid, np.fmax(high[column] + part, place)) + half
        return {"n": found["n"], **figures}

    def _finest(self, sums: Sums) -> Floats:
        """(columns, groups, 512): consistent counts."""
        shape = (len(self.patients.grids), self.patients.n_groups, -1)
        levels = [
            np.asarray(sums[f"counts/{parts}"], np.float64).reshape(shape) for parts in count_tree.PARTS
        ]
        return count_tree.consistent(levels)

    def _estimates(self, sums: Sums) -> Estimates:
        """Places in each column's range, not yet whole ones."""
        finest = by_sample(self._finest(sums), self.patients)
        shares = count_tree.quantiles(finest, np.array(self.question.probabilities))
        places = np.array([1 << grid.bits for grid in self.patients.grids])
        return {"n": finest.sum(-1), "places": shares * places[:, None, None]}

    def _redraw(self, sums: Sums, generator: np.random.Generator) -> Sums:
        """Other patients of the same population."""
        finest = generator.poisson(count_tree.expected(self._finest(sums))).astype(np.float64)
        levels = zip(count_tree.PARTS, count_tree.levels_of(finest), strict=True)
        values = {f"counts/{parts}": level.reshape(len(level), -1) for parts, level in levels}
        return replace(sums, values={**sums.values, **values})

    def width(self, n_patients: int, sigma: Mapping[str, float]) -> float:
        """Half the width of a median's interval as a share of the bounds, where values lie evenly."""
        one = replace(self, question=self.question.model_copy(update={"probabilities": (0.5,)}))
        shape = (len(self.patients.grids), self.patients.n_groups, count_tree.PARTS[-1])
        finest = np.full(shape, n_patients / self.patients.n_groups / count_tree.PARTS[-1])
        levels = zip(count_tree.PARTS, count_tree.levels_of(finest), strict=True)
        sums = Sums({f"counts/{parts}": level for parts, level in levels}, sigma)
        low, high = (one._private(sums)[end] for end in ("low", "high"))
        bounds = np.array([grid.high - grid.low for grid in self.patients.grids])[:, None, None]
        return float(np.nanmax((high - low) / bounds)) / 2


def _value_at(grid: Grid, place: Floats) -> Floats:
    """The value at a place of a range, which is within its bounds, and on its grid where it has one."""
    if grid.step is None:
        return grid.value(np.clip(place, 0.0, grid.n))
    return grid.value(np.clip(np.floor(place), 0.0, grid.n - 1) + 0.5)


def _numbers(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def build(study: Study) -> QuantilesAnalysis:
    """The analysis of `fc.Quantiles(...)`.

    Raises:
        StudyError: a number has no declared bounds, or a group no levels.
    """
    question, cohort = study.analysis, study.cohort
    if not isinstance(question, Quantiles):
        raise StudyError("analysis: not quantiles")
    numbers = numbers_of(cohort)
    try:
        levels = () if question.by is None else levels_of(study, "by", question.by) or ()
    except ValueError as error:
        raise StudyError(str(error)) from None
    if not numbers or any(kind.bounds is None for kind in numbers.values()):
        raise StudyError("cohort.bounds: quantiles are of numbers with declared bounds")
    grids = tuple(
        Grid(*(kind.bounds or (0.0, 1.0)), question.grid.get(name)) for name, kind in numbers.items()
    )
    return QuantilesAnalysis(question, Patients(cohort, question.by, levels, numbers, grids))

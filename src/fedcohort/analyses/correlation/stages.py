"""Correlations in two sums: where the numbers lie, then the products of scaled numbers.

Of Pearson's coefficient the first sum is of exact moments; the second is then the matrix itself. Of
Spearman's it counts patients by place, from which every place's mid-rank follows, and the second is of scaled
ranks. Under privacy a tree of noisy counts comes first, which places ranks, or says where and how widely
numbers lie, so that bounds may be wide. Intervals are then of products drawn again, patients and noise.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses import count_tree
from fedcohort.analyses.columns_of import numeric_matrix
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Gram,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.correlation.question import Correlation
from fedcohort.analyses.correlations import (
    components,
    correlation,
    fisher,
    mid_ranks,
    other_patients,
    p_values,
    ties_within,
)
from fedcohort.analyses.declared_numbers import numbers_of
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.intervals import Estimates, centred, drawn
from fedcohort.analyses.moments import ExactMoments, moments_from_sums, refuse_outside
from fedcohort.analyses.moments_told import told_by_moments
from fedcohort.analyses.order_statistics import Grid, Ints, part_of
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.tails import normal_p
from fedcohort.analyses.told_by_regression import told_by_size
from fedcohort.columns import Numeric
from fedcohort.disclosure.cells import small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError, WireError
from fedcohort.study import Cohort, Privacy, Study
from fedcohort.texts import Text
from fedcohort.vector import MAX_ROWS, Array, Block, counts

PART_BITS = 12
"""Halvings of the range of a column without a grid, of whose values ranks are made."""
HIDDEN = 0.025
"""Of the draws, in which a column does not vary: in more of them its coefficients may be anything."""
CASES_SHARE, TREE_SHARE = 0.1, 0.15
"""Of the privacy loss that the products take: of how many patients there are, and of each level of a tree."""
PRIVATE_UNIT = 0.5
"""What stands for 1 in a private row: the less it is, the less noise, and means are about 0 already."""
TAILS = (0.01, 0.5, 0.99)
"""A private number is scaled by how far the farther of its tails is from its median, and held to that."""
EVEN = (1 / (2 * 0.49)) ** 2 / 3
"""The variance of a number so scaled whose values lie evenly in its bounds."""
PRODUCTS = Block("products", (), resolution=2.0**-50, bound=2.0)
"""Of numbers that are scaled so that their squares add up to 1 over all hospitals."""


@dataclass(frozen=True)
class Cases:
    """A site's patients who have every number."""

    cohort: Cohort
    numbers: Mapping[str, Numeric]
    grids: tuple[Grid, ...] = ()
    private: bool = False

    @property
    def n(self) -> int:
        """How many columns there are."""
        return len(self.numbers)

    @cached_property
    def places(self) -> int:
        """Of the column that has most."""
        if self.private:
            return count_tree.PARTS[-1]
        return max(1 << PART_BITS if grid.step is None else grid.n for grid in self.grids)

    def of(self, rows: Rows) -> tuple[NDArray[np.int64], Floats]:
        """One row of each of these patients, and their (n, columns) numbers."""
        return rows.once("cases", lambda: self._of(rows))

    def _of(self, rows: Rows) -> tuple[NDArray[np.int64], Floats]:
        ours = rows.patients("all")
        values = numeric_matrix(rows.table, self.cohort, list(self.numbers))[ours]
        if not self.private:
            refuse_outside(values, self.numbers)
        complete = ~np.isnan(values).any(1)
        return ours[complete], values[complete]

    def within_bounds(self, values: Floats) -> Floats:
        """Under privacy a value beyond its declared bounds counts as the bound."""
        if not self.private:
            return values
        low, high = np.array([(grid.low, grid.high) for grid in self.grids]).T
        return np.clip(values, low, high)

    def block(self) -> Block:
        """Of how many there are, and how many lack a number."""
        return counts("cases", 2, once=True, share=CASES_SHARE)

    def counted(self, rows: Rows) -> Tally:
        """What `block` counts."""
        ours = rows.patients("all")
        return Tally(cell=np.where(np.isin(ours, self.of(rows)[0]), 0, 1), rows=ours)

    def place(self, rows: Rows) -> Ints:
        """(n, columns): each number's place, of which there are `places` at most."""
        return rows.once("place", lambda: self._place(rows))

    def _place(self, rows: Rows) -> Ints:
        _, values = self.of(rows)
        columns = []
        for grid, column in zip(self.grids, values.T, strict=True):
            places = grid.places(column)
            bits = count_tree.FINEST_BITS if self.private else PART_BITS
            whole = grid.step is not None and not self.private
            columns.append(places if whole else part_of(places, grid.bits, bits))
        return np.stack(columns, axis=1)

    def check(self, sums: Sums) -> None:
        """End where there are too few, by noisy counts.

        Raises:
            CohortTooSmallError: there are.
        """
        check_enough(float(sums["cases"][0]), sums.noise("cases"))


@dataclass(frozen=True)
class MomentsStage:
    """Exact sums and squares of every number, from which their scaling follows."""

    cases: Cases
    name: str = "moments"
    times: int = 1

    @cached_property
    def moments(self) -> ExactMoments:
        """Of the complete cases."""
        return ExactMoments(self.cases.numbers)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """How many patients, and the moments."""
        return (self.cases.block(), *self.moments.blocks)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What complete cases add."""
        ours, values = self.cases.of(rows)
        return {"cases": self.cases.counted(rows), **self.moments.contribute(values, ours)}

    def update(self, state: State, sums: Sums) -> State:
        """Centre and scale with which squares add up to 1."""
        moments, n = moments_from_sums(sums.values), float(sums["cases"][0])
        spread = np.nan_to_num(moments.deviation) * math.sqrt(n)
        scale = np.where(spread > 0, 1 / np.where(spread > 0, spread, 1.0), 0.0)
        arrays = {"centre": np.nan_to_num(moments.mean), "scale": scale, "unit": _unit(n)}
        return replace(state, arrays=arrays, kept={"cases": np.asarray(sums["cases"])})


@dataclass(frozen=True)
class PlacesStage:
    """How many complete cases have each place of each column, from which mid-ranks follow."""

    cases: Cases
    name: str = "places"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """How many patients; by column and place; and of how many the value is between two places."""
        n = self.cases.n
        shapes = {"places": (n, self.cases.places), "between": (n,)}
        blocks = (
            Block(name, shape, math.sqrt(n), resolution=1.0, once=True, bound=MAX_ROWS)
            for name, shape in shapes.items()
        )
        return (self.cases.block(), *blocks)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's places."""
        ours, values = self.cases.of(rows)
        between = [
            np.ones(len(ours), np.bool_) if grid.step is None else grid.is_between(column)
            for grid, column in zip(self.cases.grids, values.T, strict=True)
        ]
        return {
            "cases": self.cases.counted(rows),
            "places": Tally(cell=self.cases.place(rows), rows=ours),
            "between": Tally(np.stack(between, axis=1), rows=ours),
        }

    def update(self, state: State, sums: Sums) -> State:
        """Of each place the scaled mid-rank of those who have it."""
        n = float(sums["cases"][0])
        tally = np.asarray(sums["places"], np.float64)
        ranks = mid_ranks(tally) - (n + 1) / 2
        spread = np.sqrt((tally * np.square(ranks)).sum(-1, keepdims=True))
        # A place that nobody has is looked up by nobody; its rank between others is no concern.
        scaled = np.where(tally > 0, ranks, 0.0) / np.where(spread > 0, spread, np.inf)
        unsure = np.where(np.asarray(sums["between"])[:, None] > 0, tally, 0.0)
        kept = {"cases": np.asarray(sums["cases"]), "unsure": unsure}
        return replace(state, arrays={"ranks": scaled, "unit": _unit(n)}, kept=kept)


@dataclass(frozen=True)
class TreeStage:
    """Noisy counts of each column in a tree of parts, from which the share of patients below each follows."""

    cases: Cases
    of_ranks: bool
    name: str = "tree"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """How many patients; by column and part, a block a level."""
        n = self.cases.n
        levels = (
            Block(f"parts/{parts}", (n, parts), math.sqrt(n), TREE_SHARE, once=True, bound=MAX_ROWS)
            for parts in count_tree.PARTS
        )
        return (self.cases.block(), *levels)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's parts."""
        (ours, _), place = self.cases.of(rows), self.cases.place(rows)
        levels: dict[str, Contribution] = {"cases": self.cases.counted(rows)}
        for parts in count_tree.PARTS:
            wide = count_tree.PARTS[-1] // parts
            levels[f"parts/{parts}"] = Tally(cell=place // wide, rows=ours)
        return levels

    def update(self, state: State, sums: Sums) -> State:
        """Of each finest part the mid-rank of its patients, from -1 to 1; or each number's middle and scale.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        self.cases.check(sums)
        levels = [np.asarray(sums[f"parts/{parts}"], np.float64) for parts in count_tree.PARTS]
        finest = count_tree.consistent(levels)
        arrays = self._ranks(finest) if self.of_ranks else self._scaling(finest)
        kept = {"cases": np.asarray(sums["cases"])}
        return replace(state, arrays={**arrays, "unit": np.full(1, PRIVATE_UNIT)}, kept=kept)

    def _ranks(self, finest: Floats) -> dict[str, Array]:
        reached = count_tree.cumulated(finest)
        share = reached / np.maximum(reached[:, -1:], 1.0)
        return {"ranks": share[:, 1:] + share[:, :-1] - 1}

    def _scaling(self, finest: Floats) -> dict[str, Array]:
        low, high = np.array([(grid.low, grid.high) for grid in self.cases.grids]).T
        shares = count_tree.quantiles(finest, np.array(TAILS))
        shares = np.where(np.isnan(shares), np.array([0.0, 0.5, 1.0]), shares)
        farther = np.maximum(shares[:, 2] - shares[:, 1], shares[:, 1] - shares[:, 0])
        farther = np.maximum(farther, 1 / count_tree.PARTS[-1])
        return {"centre": low + shares[:, 1] * (high - low), "scale": 1 / (farther * (high - low))}


@dataclass(frozen=True)
class ProductsStage:
    """Sums of products of scaled numbers, or ranks, and a unit beside them."""

    cases: Cases
    of_ranks: bool
    name: str = "products"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Of rows (unit, x), of which each number is at most 1 from zero."""
        side = self.cases.n + 1
        if not self.cases.private:
            return (replace(PRODUCTS, shape=(side, side)),)
        row = PRIVATE_UNIT**2 + self.cases.n
        return (Block("products", (side, side), row, once=True, outer=True, bound=MAX_ROWS * side),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """What complete cases add."""
        arrays = self._arrays(state)
        ours, values = self.cases.of(rows)
        if self.of_ranks:
            scaled = np.take_along_axis(arrays["ranks"].T, self.cases.place(rows), axis=0)
        else:
            scaled = (self.cases.within_bounds(values) - arrays["centre"]) * arrays["scale"]
        unit = np.full((len(ours), 1), arrays["unit"][0])
        return {"products": Gram(np.concatenate([unit, np.clip(scaled, -1.0, 1.0)], axis=1), rows=ours)}

    @property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """What the state says of the scaling."""
        n, unit = self.cases.n, {"unit": (1,)}
        return (
            {"ranks": (n, self.cases.places), **unit}
            if self.of_ranks
            else {"centre": (n,), "scale": (n,), **unit}
        )

    def _arrays(self, state: State) -> dict[str, Array]:
        """The scaling, looked at before any patient is.

        Raises:
            WireError: it is not one of these columns.
        """
        arrays = {name: np.asarray(state.arrays.get(name, ())) for name in self._shapes}
        for name, shape in self._shapes.items():
            found = arrays[name]
            if found.shape != shape or found.dtype.kind != "f" or not np.all(np.isfinite(found)):
                raise WireError(f"a state without {name} of {self.cases.n} columns")
        return arrays

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the products."""
        return state


def _unit(n: float) -> Floats:
    return np.array([1 / math.sqrt(n) if n > 0 else 0.0])


@dataclass(frozen=True)
class CorrelationAnalysis(Analysis):
    """Of every pair of numbers."""

    question: Correlation
    cases: Cases
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "CorrelationAnalysis":
        """Numbers scaled by their bounds, or ranks by noisy counts."""
        return replace(self, cases=replace(self.cases, private=True), privacy=privacy)

    @property
    def of_ranks(self) -> bool:
        """Whether it is Spearman's coefficient."""
        return self.question.method == "spearman"

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Scaling, and products."""
        products = ProductsStage(self.cases, self.of_ranks)
        if self.privacy is not None:
            return TreeStage(self.cases, self.of_ranks), products
        return (PlacesStage(self.cases) if self.of_ranks else MomentsStage(self.cases)), products

    def prepare(self, rows: Rows) -> None:
        """Find the complete cases.

        Raises:
            ValueRangeError: without privacy a value lies outside its column's declared bounds.
        """
        self.cases.of(rows)

    def objection(self, state: State, sums: Sums, rules: Disclosure) -> Text | None:
        """Products of nearly as many columns as patients are the patients, with a rare level its few."""
        stage = self.stage_at(state.round)
        if not isinstance(stage, MomentsStage | PlacesStage):
            return None
        told = told_by_size(float(sums["cases"][0]), self.cases.n, rules)
        return told or (told_by_moments(sums.values, self.cases.numbers, rules) if "sum" in sums else None)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """No coefficient of few patients, nor with few degrees of freedom; a small count is hidden."""
        sums, counted = state.sums or Sums({}), np.asarray(state.kept["cases"], np.float64)
        n, mask = float(counted[0]), small(counted, rules.min_cell)
        suppressed = [Suppressed("cases", "min_cell", int(mask.sum()))]
        values, pairs = dict(sums.values), self.cases.n * (self.cases.n - 1) // 2
        if mask[0] or 0 < n < rules.min_dof + 2:
            values["products"] = np.full_like(sums["products"], np.nan)
            suppressed.append(Suppressed("correlation", "min_cell" if mask[0] else "min_dof", pairs))
        else:
            values["shown/pairs"] = self._small_pairs(
                state, correlation(np.asarray(sums["products"])), n, rules
            )
            told = int(np.triu(values["shown/pairs"], 1).sum())
            suppressed.append(Suppressed("correlation", "min_cell", told))
        kept = {**state.kept, "cases": masked(counted, mask, rules)}
        shown = replace(state, kept=kept, sums=replace(sums, values=values))
        return Disclosed(shown, gathered(suppressed))

    def _small_pairs(self, state: State, matrix: Floats, n: float, rules: Disclosure) -> NDArray[np.bool_]:
        """Pairs of columns of two values each, whose coefficient tells how many have both, and few have."""
        share = self._shares(state)
        spread = np.sqrt(share * (1 - share))
        both = n * (np.outer(share, share) + matrix * np.outer(spread, spread))
        cells = np.stack([both, n * share[:, None] - both, n * share - both])
        cells = np.concatenate([cells, n - cells.sum(0, keepdims=True)])
        rounded_cells = np.rint(np.nan_to_num(cells))
        found: NDArray[np.bool_] = small(rounded_cells, rules.min_cell).any(0) & ~np.isnan(both)
        np.fill_diagonal(found, val=False)
        return found

    def _shares(self, state: State) -> Floats:
        """By column the share of patients with the larger of two values; NaN of a column of more."""
        if self.of_ranks:
            lines = [np.unique(line[line != 0]) for line in np.asarray(state.arrays["ranks"], np.float64)]
            return np.array([-one[0] / (one[1] - one[0]) if len(one) == 2 else np.nan for one in lines])
        centre, scale = (np.asarray(state.arrays[name], np.float64) for name in ("centre", "scale"))
        n = float(np.asarray(state.kept["cases"])[0])
        ends = [kind.bounds or (0.0, 1.0) for kind in self.cases.numbers.values()]
        low, high = np.array(ends).T
        share = (centre - low) / (high - low)
        with np.errstate(divide="ignore"):
            variance = 1 / (np.square(scale * (high - low)) * n)
        return np.where(np.isclose(share * (1 - share), variance, rtol=1e-9), share, np.nan)

    def report(self, state: State) -> Report:
        """Matrices of coefficients, intervals and p-values; and principal components where asked for."""
        sums, counted = state.sums or Sums({}), np.asarray(state.kept["cases"], np.float64)
        n = float(counted[0])
        figures = self._exact(sums, state, n) if self.privacy is None else self._private(sums, n)
        mask = sums.values.get("shown/pairs")
        if mask is not None:
            figures = {name: np.where(mask, np.nan, values) for name, values in figures.items()}
        found: dict[str, object] = {"method": self.question.method, "n": count_of(n)}
        found["columns"] = list(self.cases.numbers)
        found |= {name: _lists(values) for name, values in figures.items() if not name.startswith("eigen")}
        if self.privacy is not None and not self.of_ranks:
            found["held"] = self._held(state)
        if self.question.pca is not None:
            found["pca"] = self._components(figures, self.question.pca)
        return {"patients": count_of(n), "missing": count_of(counted[1]), "correlation": found}

    def _exact(self, sums: Sums, state: State, n: float) -> Estimates:
        matrix = correlation(np.asarray(sums["products"], np.float64))
        low, high = fisher(matrix, n, self.of_ranks)
        off = (
            {"within": ties_within(np.asarray(state.kept["unsure"], np.float64), matrix)}
            if self.of_ranks
            else {}
        )
        return {"r": matrix, "low": low, "high": high, "p": p_values(matrix, n), **off}

    def _held(self, state: State) -> list[list[float]]:
        """By column between which values they counted as they are; those beyond counted as these."""
        centre, scale = (np.asarray(state.arrays[name], np.float64) for name in ("centre", "scale"))
        ends = self.cases.within_bounds(np.stack([centre - 1 / scale, centre + 1 / scale]))
        return [[float(low), float(high)] for low, high in ends.T]

    def _private(self, sums: Sums, n: float) -> Estimates:
        """Intervals of products drawn again; p-values by their spread on Fisher's scale.

        Where noise often hides that a column varies, nothing is known of its coefficients.
        """
        found = self._estimates(sums)
        others = drawn(self._estimates, sums, partial(_redraw, patients=n))
        hidden = np.isnan(others["r"]).mean(0) > HIDDEN
        drawn_r = np.where(np.isnan(others["r"]), found["r"], others["r"])
        low, high = (np.clip(end, -1.0, 1.0) for end in centred(found["r"], drawn_r))
        spread = np.arctanh(np.clip(drawn_r, -0.9999, 0.9999)).std(axis=0)
        z = np.arctanh(np.clip(found["r"], -0.9999, 0.9999)) / np.maximum(spread, 1e-9)
        p = np.array([[np.nan if np.isnan(one) else normal_p(float(one)) for one in line] for line in z])
        low, high, p = np.where(hidden, -1.0, low), np.where(hidden, 1.0, high), np.where(hidden, np.nan, p)
        known = others["eigen"][~np.isnan(others["eigen"]).any(1)]
        ends = (
            centred(found["eigen"], known)
            if len(known) > len(others["eigen"]) / 2
            else (found["eigen"] * np.nan,) * 2
        )
        return {
            "r": found["r"],
            "low": low,
            "high": high,
            "p": p,
            "eigen_low": ends[0],
            "eigen_high": ends[1],
        }

    def _estimates(self, sums: Sums) -> Estimates:
        matrix = correlation(np.asarray(sums["products"], np.float64))
        return {"r": matrix, "eigen": _eigenvalues(matrix)}

    def _components(self, figures: Estimates, k: int) -> dict[str, object] | None:
        """None where a column does not vary."""
        matrix = figures["r"]
        if np.isnan(matrix).any():
            return None
        values, loadings = components(matrix)
        ends = {
            name: np.clip(figures[f"eigen_{name}"], 0.0, self.cases.n)[:k].tolist()
            for name in ("low", "high")
            if f"eigen_{name}" in figures
        }
        return {
            "eigenvalues": values[:k].tolist(),
            **ends,
            "share": (values[:k] / len(values)).tolist(),
            "loadings": {
                name: line[:k].tolist() for name, line in zip(self.cases.numbers, loadings, strict=True)
            },
        }

    def width(self, n_patients: int, sigma: Mapping[str, float]) -> float:
        """Half the width of the interval of no correlation, where values lie evenly in their bounds."""
        side = self.cases.n + 1
        gram = np.diag([PRIVATE_UNIT**2, *[1 / 3 if self.of_ranks else EVEN] * self.cases.n]) * n_patients
        found = self._private(Sums({"products": gram}, {"products": sigma["products"]}), float(n_patients))
        off = ~np.eye(side - 1, dtype=bool)
        return float(np.nanmean((found["high"] - found["low"])[off])) / 2


def _redraw(sums: Sums, generator: np.random.Generator, patients: float) -> Sums:
    """Other patients of the same population."""
    gram = other_patients(np.asarray(sums["products"], np.float64), patients, generator)
    return replace(sums, values={**sums.values, "products": gram})


def _eigenvalues(matrix: Floats) -> Floats:
    if np.isnan(matrix).any():
        return np.full(len(matrix), np.nan)
    return components(matrix)[0]


def _lists(values: Floats) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in line] for line in values]


def build(study: Study) -> CorrelationAnalysis:
    """The analysis of `fc.Correlation(...)`.

    Raises:
        StudyError: ranks are asked of a number without declared bounds.
    """
    question = study.analysis
    if not isinstance(question, Correlation):
        raise StudyError("analysis: not a correlation")
    numbers = numbers_of(study.cohort)
    needed = question.method == "spearman" or study.privacy is not None
    if needed and any(kind.bounds is None for kind in numbers.values()):
        raise StudyError("cohort.bounds: ranks, and private numbers, have declared bounds")
    grids = tuple(
        Grid(*(kind.bounds or (0.0, 1.0)), question.grid.get(name)) for name, kind in numbers.items()
    )
    return CorrelationAnalysis(question, Cases(study.cohort, numbers, grids))

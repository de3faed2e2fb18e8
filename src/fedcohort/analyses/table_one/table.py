"""The report of a table one, from its sums: figures by column and group, tests, standardised differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fedcohort.analyses.cells import CellsStage
from fedcohort.analyses.columns_of import unit_of
from fedcohort.analyses.contingency import chi_squared, fisher_p
from fedcohort.analyses.contract import Floats, Report, Sums
from fedcohort.analyses.crosstab.redrawn import Redrawn
from fedcohort.analyses.grouped import HIDDEN, GroupedStage
from fedcohort.analyses.intervals import NORMAL, NORMAL_EXACT, numbers
from fedcohort.analyses.mean_tests import GroupMoments, anova, pairs_of, smd, smd_error, smd_of_levels, welch
from fedcohort.analyses.order_statistics import Grid
from fedcohort.analyses.rank_tests import kruskal
from fedcohort.analyses.redrawn_groups import RedrawnMoments, RedrawnRanks, level_smds
from fedcohort.analyses.table_one.question import TableOne
from fedcohort.columns import Categorical
from fedcohort.disclosure.shown import count_of

RANK_PARTS, PRIVATE_RANK_PARTS = 1024, 64
"""Equal parts of a range in which ranks are told apart: those of the first counts of quantiles."""

Json = Mapping[str, Any]


@dataclass(frozen=True)
class TableOfSums:
    """What the table's sums show.

    Attributes:
        levels: of the groups; none where there is one group of all.
        quartiles: what `fc.Quantiles` reports of the nonnormal numbers, by column.
        grids: of the nonnormal numbers, in the order in which they were counted.
        categorical: the columns of `tables`.
    """

    question: TableOne
    levels: tuple[str | int, ...]
    moments: GroupedStage
    tables: Mapping[str, CellsStage]
    categorical: Mapping[str, Categorical]
    sums: Sums
    quartiles: Json
    grids: Mapping[str, Grid]
    private: bool

    def report(self) -> Report:
        """Counts and figures, by column and group."""
        groups = np.asarray(self.sums["groups"], np.float64)
        sizes = groups[:-1]
        by: dict[str, object] = {}
        if self.levels:
            named = zip(self.levels, sizes, strict=True)
            by = {"by": self.question.by, "groups": {str(level): count_of(n) for level, n in named}}
        found = {**by, "columns": {**self._numbers(sizes), **self._levels(sizes)}}
        if self.private:
            found["groups_error"] = round(NORMAL * self.sums.noise("groups"), 1)
        return {"patients": count_of(sizes.sum()), "missing": count_of(groups[-1]), "table_one": found}

    @cached_property
    def _redrawn(self) -> RedrawnMoments:
        return RedrawnMoments(self.sums, self.moments)

    def _numbers(self, sizes: Floats) -> dict[str, object]:
        if not self.moments.columns:
            return {}
        by_group, together = (self.moments.moments(self.sums, whole) for whole in (False, True))
        by_group_ends = together_ends = None
        if self.private:
            by_group_ends, together_ends = (self._redrawn.interval(name) for name in ("mean", "together"))
        found: dict[str, object] = {}
        for column, (name, kind) in enumerate(self.moments.columns.items()):
            cells = {
                str(level): self._number(name, level, by_group, (place, column), sizes[place], by_group_ends)
                for place, level in enumerate(self.levels)
            }
            whole_ends = None if together_ends is None else tuple(end[None] for end in together_ends)
            told = {
                **unit_of(kind),
                "nonnormal": name in self.question.nonnormal,
                "overall": self._number(name, "all", together, (0, column), sizes.sum(), whole_ends),
            }
            tests = {**self._number_test(name, column, by_group), **self._number_smd(column, by_group)}
            found[name] = {**told, **({"groups": cells} if self.levels else {}), **tests}
        return found

    def _number(
        self,
        name: str,
        level: str | int,
        moments: GroupMoments,
        place: tuple[int, int],
        size: float,
        ends: tuple[Floats, ...] | None,
    ) -> dict[str, object]:
        """One number in one group, or in all."""
        n = moments.n[place]
        figures = {"mean": moments.mean[place], "std": np.sqrt(moments.variance[place])}
        if ends is not None:
            figures |= {"mean_low": ends[0][place], "mean_high": ends[1][place]}
        told: dict[str, object] = {"n": count_of(n), "missing": count_of(size - n), **numbers(figures)}
        if name not in self.quartiles:
            return told
        quartiles = self.quartiles[name]["groups"][str(level)]
        for place_of, figure in enumerate(("q1", "median", "q3")):
            told[figure] = quartiles["values"][place_of]
            if self.private:
                told[f"{figure}_low"] = quartiles["low"][place_of]
                told[f"{figure}_high"] = quartiles["high"][place_of]
        return told

    def _number_test(self, name: str, column: int, moments: GroupMoments) -> dict[str, object]:
        if not (self.question.tests and self.levels):
            return {}
        if name in self.grids:
            return {"test": self._rank_test(name)}
        two = len(self.levels) == 2
        test = "welch" if two else "anova"
        if self.private:
            p = self._redrawn.p("t")[0, column] if two else self._redrawn.p("f")[column]
            return {"test": {"name": test, **numbers({"p": p})}}
        found = welch(moments).test(column) if two else anova(moments, column)
        return {"test": {"name": test, **numbers(found)}}

    def _rank_test(self, name: str) -> dict[str, object]:
        """Kruskal and Wallis's, of the first counts by which quartiles are looked for."""
        grid, line = self.grids[name], list(self.grids).index(name)
        if HIDDEN in self.sums and self.sums[HIDDEN][:2, :, list(self.moments.columns).index(name)].any():
            # A rank sum of few values, or of two, would tell what is hidden of them.
            return {"name": "kruskal", "statistic": None, "p": None}
        block = f"counts/{PRIVATE_RANK_PARTS if self.private else RANK_PARTS}"
        counts = np.asarray(self.sums[block][line], np.float64).reshape(len(self.levels), -1)
        if self.private:
            ranks = RedrawnRanks(counts, self.sums.noise(block))
            return {"name": "kruskal", "p": ranks.kruskal_p()}
        exact = grid.step is not None and grid.n <= RANK_PARTS and not self.sums["between"][line]
        return {"name": "kruskal", **numbers(kruskal(counts)), "exact": bool(exact)}

    def _number_smd(self, column: int, moments: GroupMoments) -> dict[str, object]:
        if not (self.question.smd and self.levels):
            return {}
        pairs = pairs_of(len(self.levels))
        values = [float(smd(moments.of(*pair))[column]) for pair in pairs]
        if self.private:
            low, high = (end[:, column] for end in self._redrawn.interval("smd"))
            return {"smd": self._pairs(values, low, high)}
        errors = [
            NORMAL_EXACT * smd_error(value, moments.n[list(pair), column])
            for value, pair in zip(values, pairs, strict=True)
        ]
        return {"smd": self._pairs(values, np.subtract(values, errors), np.add(values, errors))}

    def _pairs(self, values: Sequence[float], low: Floats, high: Floats) -> list[dict[str, object]]:
        """Standardised differences with the two groups that each is of."""
        found: list[dict[str, object]] = []
        for (one, other), *figures in zip(pairs_of(len(self.levels)), values, low, high, strict=True):
            names = [str(self.levels[one]), str(self.levels[other])]
            value, least, most = figures
            found.append({"groups": names, **numbers({"value": value, "low": least, "high": most})})
        return found

    def _levels(self, sizes: Floats) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, stage in self.tables.items():
            table = stage.table(self.sums).reshape(-1, stage.shape[-1])
            totals = self.sums.values.get(overall(stage), table.sum(0))
            levels = [str(level) for level in self.categorical[name].levels]
            told: dict[str, object] = {"overall": _cell(totals, levels, sizes.sum())}
            if self.private:
                told["error"] = round(NORMAL * self.sums.noise(stage.block), 1)
            if self.levels:
                cells = zip(self.levels, table, sizes, strict=True)
                told["groups"] = {str(level): _cell(line, levels, size) for level, line, size in cells}
                told |= self._level_test(stage, table[:, :-1]) | self._level_smd(stage, table[:, :-1])
            found[name] = told
        return found

    def _level_test(self, stage: CellsStage, counts: Floats) -> dict[str, object]:
        """Chi-squared; of two by two levels with Yates' correction, or Fisher's where few are expected."""
        if not self.question.tests:
            return {}
        if self.private:
            noisy = Sums({"cells": np.append(counts, 0.0)}, {"cells": self.sums.noise(stage.block)})
            tested = Redrawn(noisy, (1, *counts.shape), pools=False).distance_test()
            return {"test": {"name": "chi_squared", **tested}}
        found = None if np.isnan(counts).any() else chi_squared(counts)
        if found is None:  # by its margins a statistic would give hidden cells away
            return {"test": {"name": "chi_squared", "statistic": None, "p": None}}
        degrees = {"degrees": found.degrees, "few": found.few}
        if np.isnan(found.corrected):
            return {"test": {"name": "chi_squared", "statistic": found.statistic, "p": found.p, **degrees}}
        if found.few:
            there = counts[counts.sum(1) > 0][:, counts.sum(0) > 0]
            return {"test": {"name": "fisher", "p": fisher_p(there), "few": found.few}}
        return {"test": {"name": "yates", "statistic": found.corrected, "p": found.corrected_p, **degrees}}

    def _level_smd(self, stage: CellsStage, counts: Floats) -> dict[str, object]:
        if not self.question.smd:
            return {}
        if self.private:
            values, low, high = level_smds(counts, self.sums.noise(stage.block))
            return {"smd": self._pairs(values.tolist(), low, high)}
        values = np.array([smd_of_levels(counts[list(pair)]) for pair in pairs_of(len(counts))])
        errors = [
            NORMAL_EXACT * smd_error(value, counts[list(pair)].sum(1))
            for value, pair in zip(values.tolist(), pairs_of(len(counts)), strict=True)
        ]
        return {"smd": self._pairs(values.tolist(), np.maximum(values - errors, 0.0), values + errors)}


def overall(stage: CellsStage) -> str:
    """The sum that has a table's totals over all groups, where some of its cells are hidden."""
    return f"shown/overall/{stage.block}"


def _cell(counts: Floats, levels: Sequence[str], size: float) -> dict[str, object]:
    """A column of levels in one group of this size, of which the last count is that of the missing."""
    known = counts[:-1]
    n = size - counts[-1] if np.isnan(known).any() else known.sum()
    named = {level: count_of(count) for level, count in zip(levels, known, strict=True)}
    return {"n": count_of(n), "missing": count_of(counts[-1]), "levels": named}

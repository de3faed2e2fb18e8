"""A noisy crosstab's intervals and p-values: the same figures of counts that are drawn again."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from fedcohort.analyses.contingency import Figures, Strata, expected, two_groups
from fedcohort.analyses.contract import Floats, Sums
from fedcohort.analyses.intervals import Estimates, centred, drawn

P_DRAWS = 1000
"""Of counts as they would be if rows and columns were independent."""
COMPARED = ("odds_ratio", "risk_ratio", "risk_difference", "risk")
RATIOS = ("odds_ratio", "risk_ratio")
"""Whose intervals are of the logarithm."""
LEAST = 0.5
"""Of a noisy count: a ratio has no logarithm of less."""
POOLED = 0
"""The place of the figures over all strata, as the first group is compared with none."""


@dataclass(frozen=True)
class Redrawn:
    """Counts with noise.

    Attributes:
        shape: (strata, rows, columns) of the block `cells`, whose last cell is that of the missing.
        pools: whether there are strata to pool.
    """

    sums: Sums
    shape: tuple[int, int, int]
    pools: bool

    def counts(self, sums: Sums) -> Floats:
        """(strata, rows, columns)."""
        return np.asarray(sums["cells"], np.float64)[:-1].reshape(self.shape)

    @cached_property
    def figures(self) -> dict[int, Figures]:
        """By place of the group that is compared with the first, each with its interval."""
        others = drawn(self._estimates, self.sums, partial(self._redraw, independent=False))
        found: dict[int, Figures] = {}
        for name, value in self._estimates(self.sums).items():
            place, figure = name.split("/")
            low, high = centred(value, others[name])
            for end, number in (("", value), ("_low", low), ("_high", high)):
                told = np.exp(number) if figure in RATIOS else number
                found.setdefault(int(place), {})[figure + end] = float(_possible(figure, told))
        return found

    def distance_test(self) -> dict[str, float]:
        """Of independence, over all strata together."""
        others = drawn(self._distance, self.sums, partial(self._redraw, independent=True), P_DRAWS)[
            "distance"
        ]
        far = float(self._distance(self.sums)["distance"])
        return {"statistic": far, "p": (1 + int((others >= far).sum())) / (P_DRAWS + 1)}

    def excess_test(self) -> dict[str, float]:
        """Of no effect in any stratum: patients of the second group with the outcome, beyond chance."""
        others = drawn(self._excess, self.sums, partial(self._redraw, independent=True), P_DRAWS)["excess"]
        middle = others.mean()
        far = abs(float(self._excess(self.sums)["excess"]) - middle)
        return {"p": (1 + int((np.abs(others - middle) >= far).sum())) / (P_DRAWS + 1)}

    def _estimates(self, sums: Sums) -> Estimates:
        """By group and figure, ratios as logarithms."""
        counts, found = self.counts(sums), dict[str, Floats]()
        table = np.maximum(counts.sum(0), LEAST)
        for place in range(1, len(table)):
            compared = two_groups(table[[0, place]])
            found |= {f"{place}/{name}": _logarithm(name, compared[name]) for name in COMPARED}
        if self.pools:
            pooled = Strata(np.maximum(counts, LEAST)).pooled()
            found |= {f"{POOLED}/{name}": _logarithm(name, pooled[name]) for name in RATIOS}
        return found

    def _distance(self, sums: Sums) -> Estimates:
        """Pearson's sum over cells, of which none is expected to hold less than one patient."""
        table = self.counts(sums).sum(0)
        alike = expected(np.maximum(table, 0.0) + 1e-9)
        return {"distance": ((table - alike) ** 2 / np.maximum(alike, 1.0)).sum()}

    def _excess(self, sums: Sums) -> Estimates:
        counts = self.counts(sums)
        return {"excess": np.asarray(Strata(np.maximum(counts, LEAST)).excess)}

    def _redraw(self, sums: Sums, generator: np.random.Generator, independent: bool) -> Sums:
        """Other patients of the same population, or of one in which rows and columns are independent."""
        counts = np.maximum(self.counts(sums), 0.0)
        total = max(float(self.counts(sums).sum()), 0.0)
        counts *= total / max(float(counts.sum()), 1e-9)
        if independent:
            counts = np.stack([expected(stratum + 1e-9) for stratum in counts])
        patients = generator.poisson(counts).astype(np.float64)
        return replace(sums, values={"cells": np.append(patients.reshape(-1), sums["cells"][-1])})


def _logarithm(name: str, value: float) -> Floats:
    return np.asarray(np.log(value) if name in RATIOS else value)


def _possible(name: str, value: Floats) -> Floats:
    """Within what a figure can be."""
    low, high = {"risk": (0.0, 1.0), "risk_difference": (-1.0, 1.0)}.get(name, (0.0, np.inf))
    return np.clip(value, low, high)

"""Private comparisons of groups: intervals and p-values from sums that are drawn again, patients and noise.

Other patients' means and variances are drawn as of normal values, their counts by value as Poisson counts. A
p-value counts the draws that are as extreme, of groups of one mean, or of one distribution.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from fedcohort.analyses.contract import Floats, Sums
from fedcohort.analyses.grouped import GroupedStage, scaled_moments, vectors
from fedcohort.analyses.intervals import Estimates, centred, drawn
from fedcohort.analyses.mean_tests import f_statistic, pairs_of, smd, smd_of_levels, welch
from fedcohort.analyses.rank_tests import mann_whitney_u, ranks

P_DRAWS = 1000
LEAST = 1e-3
"""Of a noisy count by value: patients are there, though few."""

Interval = tuple[Floats, Floats]


@dataclass(frozen=True)
class RedrawnMoments:
    """Moments by group with noise."""

    sums: Sums
    stage: GroupedStage

    @cached_property
    def _others(self) -> dict[str, Floats]:
        return drawn(self._estimates, self.sums, partial(self._redraw, one_mean=False))

    @cached_property
    def _alike(self) -> dict[str, Floats]:
        return drawn(self._statistics, self.sums, partial(self._redraw, one_mean=True), P_DRAWS)

    def interval(self, name: str) -> Interval:
        """Of `mean` or `difference`, by group; of the mean `together`; or of `smd`, by pair of groups."""
        low, high = centred(self._estimates(self.sums)[name], self._others[name])
        if name in ("difference", "smd"):
            return low, high
        floor, ceiling = (self.stage.scaling.centre + sign * self.stage.scaling.scale for sign in (-1, 1))
        return np.clip(low, floor, ceiling), np.clip(high, floor, ceiling)

    def p(self, name: str) -> Floats:
        """Of `t` (groups but the first, columns), of which both signs count, or of `f` (columns)."""
        found, others = self._statistics(self.sums)[name], self._alike[name]
        if name == "t":
            found, others = np.abs(found - others.mean(0)), np.abs(others - others.mean(0))
        values: Floats = (1 + (others >= found).sum(0)) / (P_DRAWS + 1)
        return values

    def statistic(self, name: str) -> Floats:
        """What `p` is of."""
        return np.asarray(self._statistics(self.sums)[name])

    def _estimates(self, sums: Sums) -> Estimates:
        moments = self.stage.moments(sums)
        together = self.stage.moments(sums, together=True)
        return {
            "mean": moments.mean,
            "together": together.mean[0],
            "difference": moments.mean[1:] - moments.mean[:1],
            "smd": np.array([smd(moments.of(*pair)) for pair in pairs_of(self.stage.n_groups)]),
        }

    def _statistics(self, sums: Sums) -> Estimates:
        moments = self.stage.moments(sums)
        pairs = [welch(moments.of(0, other)).t for other in range(1, self.stage.n_groups)]
        found: dict[str, Floats] = {"f": f_statistic(moments)[0]}
        return {**found, "t": np.stack(pairs)} if pairs else found

    def _redraw(self, sums: Sums, generator: np.random.Generator, one_mean: bool) -> Sums:
        """Other patients of the same population, or of one in which all groups have one mean."""
        shape = (self.stage.n_groups, 3, len(self.stage.columns))
        n, mean, variance = scaled_moments(np.asarray(sums["moments"], np.float64).reshape(shape))
        if one_mean:
            mean = np.broadcast_to((n * mean).sum(0) / n.sum(0), mean.shape)
        patients = np.maximum(generator.poisson(n), 2).astype(np.float64)
        means = generator.normal(mean, np.sqrt(variance / patients))
        spread = variance * generator.chisquare(patients - 1) / patients
        vector = vectors(patients, patients * means, patients * (spread + means**2))
        return replace(sums, values={**sums.values, "moments": vector.reshape(self.stage.n_groups, -1)})


@dataclass(frozen=True)
class RedrawnRanks:
    """(groups, places) counts by value, with noise of this deviation in each."""

    noisy: Floats
    sigma: float

    @property
    def figures(self) -> dict[str, float]:
        """Of two groups the share of pairs in which the second has the larger value, with its interval."""
        found = _superiority(self._sums)["superiority"]
        others = drawn(_superiority, self._sums, partial(_other_ranks, alike=False))["superiority"]
        low, high = (float(np.clip(end, 0.0, 1.0)) for end in centred(found, others))
        return {"superiority": float(found), "superiority_low": low, "superiority_high": high}

    def mann_whitney_p(self) -> float:
        """Of two groups: how far one's values are the larger ones, to either side."""
        others = drawn(_superiority, self._sums, partial(_other_ranks, alike=True), P_DRAWS)["superiority"]
        middle = float(others.mean())
        far = abs(float(_superiority(self._sums)["superiority"]) - middle)
        return _p(far, np.abs(others - middle))

    def kruskal_p(self) -> float:
        """Of any number of groups: how far their mean ranks lie from each other."""
        others = drawn(_distance, self._sums, partial(_other_ranks, alike=True), P_DRAWS)["distance"]
        return _p(float(_distance(self._sums)["distance"]), others)

    @property
    def _sums(self) -> Sums:
        return Sums({"counts": self.noisy}, {"counts": self.sigma})


def level_smds(noisy: Floats, sigma: float) -> tuple[Floats, Floats, Floats]:
    """By pair of groups the standardised difference of (groups, levels) counts, with its interval."""

    def estimate(sums: Sums) -> Estimates:
        counts = np.maximum(sums["counts"], LEAST)
        return {"smd": np.array([smd_of_levels(counts[list(pair)]) for pair in pairs_of(len(counts))])}

    def others(sums: Sums, generator: np.random.Generator) -> Sums:
        patients = generator.poisson(np.maximum(sums["counts"], 0.0))
        return replace(sums, values={"counts": patients.astype(np.float64)})

    sums = Sums({"counts": noisy}, {"counts": sigma})
    found = estimate(sums)["smd"]
    low, high = centred(found, drawn(estimate, sums, others)["smd"])
    return found, np.maximum(low, 0.0), np.maximum(high, 0.0)


def _superiority(sums: Sums) -> Estimates:
    two = sums["counts"]
    pairs = np.maximum(two.sum(1), 1.0).prod()
    return {"superiority": np.clip(np.asarray(mann_whitney_u(two) / pairs), 0.0, 1.0)}


def _distance(sums: Sums) -> Estimates:
    """Between the groups' mean ranks, weighted by their sizes, as in H without its factor."""
    counts = sums["counts"]
    n = np.maximum(counts.sum(1), 1.0)
    means = (counts * ranks(counts)).sum(1) / n
    grand = (n * means).sum() / n.sum()
    return {"distance": (n * (means - grand) ** 2).sum() / n.sum() ** 2}


def _other_ranks(sums: Sums, generator: np.random.Generator, alike: bool) -> Sums:
    """Other patients of the same population, or of one in which all groups have one distribution."""
    noisy = sums["counts"]
    counts = np.maximum(noisy, LEAST)
    counts *= (np.maximum(noisy.sum(1), 0.0) / counts.sum(1))[:, None]
    if alike:
        counts = np.outer(counts.sum(1), counts.sum(0)) / max(counts.sum(), LEAST)
    return replace(sums, values={"counts": generator.poisson(counts).astype(np.float64)})


def _p(found: float, others: Floats) -> float:
    """Of draws as extreme, the one that was found among them."""
    return (1 + int((others >= found).sum())) / (len(others) + 1)

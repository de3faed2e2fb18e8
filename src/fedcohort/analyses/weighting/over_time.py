"""Weighted survival of two groups: curves on a grid of times, and the hazard ratio within hospitals.

Once patients' weights follow from the treatment's regression, one sum by group and time gives both curves, a
few small ones the hazard ratio, and a last one all errors. Where rules of disclosure put times together, they
do so before any weight is summed: no sum is of few patients' weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.carried_sums import carried, from_limbs, to_limbs
from fedcohort.analyses.contract import (
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Parallel,
    Proved,
    Report,
    Stage,
    State,
    Sums,
)
from fedcohort.analyses.curves_told import shown_places
from fedcohort.analyses.disclosed_exits import at_risk_at, of_windows, shown_exits
from fedcohort.analyses.exits import GridPlaces, at_ends
from fedcohort.analyses.glm.estimates import coefficient_rows
from fedcohort.analyses.glm.newton import Ascent, advance, is_near
from fedcohort.analyses.glm.stages import MomentsStage, NewtonStage
from fedcohort.analyses.intervals import NORMAL_EXACT
from fedcohort.analyses.product_limit import log_log_interval, median_of_windows
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.weighting.curves import Curve, Windows
from fedcohort.analyses.weighting.hazard import TwoGroups
from fedcohort.analyses.weighting.influence import Influences, Parts, regression_sums
from fedcohort.analyses.weighting.propensity import Propensity
from fedcohort.analyses.weighting.stages import ArmsStage, Estimated, WeightingAnalysis, found_of
from fedcohort.analyses.weighting.weights import ArmSums, Treated, scores_of, weights_of
from fedcohort.disclosure.rules import OPEN, Disclosure
from fedcohort.disclosure.shown import count_of, number_of, rounding_of
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import WireError
from fedcohort.vector import Block, counts

MOST_STEPS = 30
NO_END = 20.0
"""Of a hazard ratio's logarithm: beyond it one group has no event while the other is observed."""
LEAST = 1e-12
"""Of the events' weight, the information below which there is no hazard ratio."""
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OverTime:
    """What the stages have in common."""

    regression: Propensity

    @cached_property
    def grid(self) -> tuple[float, ...]:
        """Of times."""
        return tuple(self.regression.asked.grid or ())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the exits: by group and time, the last beyond the grid, without the event and with it."""
        return 2, len(self.grid) + 1, 2

    @property
    def n_estimates(self) -> int:
        """By group the curve at each time and its mean time, and the hazard ratio."""
        return 2 * (len(self.grid) + 1) + 1

    def rows(self, state: State, rows: Rows) -> tuple[Treated, Floats, Floats]:
        """A site's patients, the coefficients, and the weights that follow."""
        beta, scaling = found_of(state, self.regression)
        ours = self.regression.treated(rows, scaling)
        weight, _ = weights_of(self.regression.asked.estimand, ours.a, scores_of(ours.x, beta))
        return ours, beta, weight

    def windows(self, state: State) -> list[Windows]:
        """By group.

        Raises:
            WireError: the coordinator has sent other times than the grid's.
        """
        ends = np.asarray(state.arrays.get("ends", ()), np.float64)
        if ends.shape != (2, len(self.grid)) or not np.isin(ends, (0.0, 1.0)).all():
            raise WireError("a state without the times of each group")
        return [Windows(np.array(self.grid), np.flatnonzero(group)) for group in ends]

    def cells(self, rows: Treated, windows: Sequence[Windows] | None = None) -> Ints:
        """(n,): who leaves when, by group and event, at windows' ends where there are any."""
        last = len(self.grid)
        place = GridPlaces.of(self.grid)(np.zeros(0) if rows.time is None else rows.time)
        if windows is not None:
            ends = [np.append(group.places, last)[group.of(np.arange(last + 1))] for group in windows]
            place = np.stack(ends)[rows.a.astype(np.int64), place]
        died = (rows.y == 1) & (place < last)
        found: Ints = ((rows.a.astype(np.int64) * (last + 1) + place) * 2 + died).astype(np.int64)
        return found

    def curves(self, state: State) -> list[Curve]:
        """By group.

        Raises:
            WireError: the coordinator has sent no weights of who leaves when.
        """
        weighted = np.asarray(state.arrays.get("weighted", ()), np.float64)
        if weighted.shape != self.shape or not np.isfinite(weighted).all():
            raise WireError("a state without the weights of each group")
        pairs = zip(self.windows(state), weighted, strict=True)
        return [Curve(windows, exits[[*windows.places, -1]]) for windows, exits in pairs]

    def groups_of(self, state: State, rows: Rows) -> TwoGroups:
        """A site's groups at its times of events, made once for the coefficients."""
        ours, beta, weight = self.rows(state, rows)
        return rows.latest("weighted groups", beta.tobytes(), lambda: TwoGroups.of(ours, weight))


@dataclass(frozen=True, eq=False)
class CountsStage:
    """How many of each group leave at each time, with the event and without."""

    model: OverTime
    rules: Disclosure = OPEN
    name: str = "arms"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """A patient leaves once."""
        return (counts("exits", int(np.prod(self.model.shape)), once=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient of whom all is known."""
        ours = self.model.rows(state, rows)[0]
        size = int(np.prod(self.model.shape))
        return {"exits": Proved(np.bincount(self.model.cells(ours), minlength=size))}

    def update(self, state: State, sums: Sums) -> State:
        """Times are put together until each window holds enough patients of each group."""
        exits = np.asarray(sums["exits"], np.float64).reshape(self.model.shape)
        ends = shown_exits(exits, 0.0, ("0", "1"), self.rules)[0]["shown/ends"]
        arrays = {**state.arrays, "ends": np.asarray(ends, np.float64)}
        return replace(state, arrays=arrays, kept={**state.kept, "exits": exits})


@dataclass(frozen=True, eq=False)
class ExitsStage:
    """The weights of those who leave, by group, window and event."""

    model: OverTime
    name: str = "curves"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """By cell."""
        return (carried("weighted", *self.model.shape),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's weights."""
        windows = self.model.windows(state)
        ours, _, weight = self.model.rows(state, rows)
        weights = np.bincount(self.model.cells(ours, windows), weight, int(np.prod(self.model.shape)))
        return {"weighted": Proved(to_limbs(weights.astype(np.float64).reshape(self.model.shape)))}

    def update(self, state: State, sums: Sums) -> State:
        """Both curves, and where the hazard ratio is looked for first."""
        arrays = {**state.arrays, "weighted": from_limbs(sums["weighted"]), "hazard": np.zeros(1)}
        return replace(state, arrays=arrays)


@dataclass(frozen=True, eq=False)
class HazardStage:
    """The partial likelihood of the treatment alone within hospitals, weighted, and its derivatives."""

    model: OverTime
    name: str = "hazard"
    times: int = MOST_STEPS

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Three numbers."""
        return (carried("hazard", 3),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part.

        Raises:
            WireError: the coordinator has sent no hazard ratio.
        """
        at = np.asarray(state.arrays.get("hazard", ()), np.float64)
        if at.shape != (1,) or not np.isfinite(at).all():
            raise WireError("a state without a hazard ratio")
        return {"hazard": Proved(to_limbs(self.model.groups_of(state, rows).likelihood(float(at[0]))))}

    def update(self, state: State, sums: Sums) -> State:
        """The next point; settled where it is found, or where there is none."""
        value, slope, information = from_limbs(sums["hazard"]).tolist()
        arm_sums = ArmSums.of(state.kept["arms"])
        at = np.asarray(state.arrays["hazard"])
        before = Ascent.from_arrays({
            name: state.kept[f"hazard/{name}"]
            for name in ("theta", "step", "objective")
            if f"hazard/{name}" in state.kept
        })  # fmt: skip
        none = replace(state, arrays={**state.arrays, "hazard": np.zeros(0)}, settled=True)
        if information <= LEAST * float(arm_sums.weighted_y.sum()):
            return none
        ascent = advance(before, at, value, np.array([slope]), np.array([[information]]))
        if abs(float(ascent.next[0])) > NO_END:
            return none
        found = {f"hazard/{name}": part for name, part in ascent.to_arrays().items()}
        kept = {**state.kept, **found}
        if ascent.theta is at and is_near(ascent.step, 1.0):
            arrays = {**state.arrays, "hazard": np.array([float(ascent.next[0]), information])}
            return replace(state, arrays=arrays, kept=kept, settled=True)
        return replace(state, arrays={**state.arrays, "hazard": ascent.next}, kept=kept)


@dataclass(frozen=True, eq=False)
class ErrorsStage:
    """What patients' weights change in each estimate, squared, and times their scores."""

    model: OverTime
    name: str = "errors"
    times: int = 1

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Of the treatment's regression, and of each estimate."""
        p = self.model.regression.p
        return carried("regression", p * (p + 1)), carried("estimates", self.model.n_estimates, 1 + 2 * p)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """A site's part.

        Raises:
            WireError: the coordinator has sent no curves, or half a hazard ratio.
        """
        curves, model = self.model.curves(state), self.model
        hazard = np.asarray(state.arrays.get("hazard", (0.0,)), np.float64)
        known = hazard.shape == (2,) and bool(np.isfinite(hazard).all()) and hazard[1] > 0
        if not known and hazard.shape != (0,):
            raise WireError("a state without a hazard ratio")
        ours, beta, _ = model.rows(state, rows)
        parts = Parts.of(model.regression.asked.estimand, ours, beta)
        estimates = np.zeros((model.n_estimates, 1 + 2 * model.regression.p))
        cells = model.cells(ours, [curve.windows for curve in curves])
        by_cell = parts.by_cell(cells, int(np.prod(model.shape))).reshape(*model.shape, -1)
        for place, (curve, sums) in enumerate(zip(curves, by_cell, strict=True)):
            begin = place * (len(model.grid) + 1)
            estimates[begin : begin + len(model.grid) + 1] = _of_curve(curve, sums)
        if known:
            changes = model.groups_of(state, rows).changes(ours, float(hazard[0]))
            estimates[-1] = parts.sums(changes / hazard[1])
        sums_of = {"regression": regression_sums(ours, beta), "estimates": estimates}
        return {name: Proved(to_limbs(values)) for name, values in sums_of.items()}

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the sums."""
        found = {name: from_limbs(sums[name]) for name in ("regression", "estimates")}
        return replace(state, kept={**state.kept, **found})


def _of_curve(curve: Curve, sums: Floats) -> Floats:
    """(times + 1, 1 + 2 p): of one group's curve at each time, and last of its mean time.

    Args:
        sums: (times + 1, 2, 1 + 2 p), as `Parts.by_cell` made them.
    """
    found, windows = np.zeros((len(sums), sums.shape[2])), curve.windows
    there = sums[[*windows.places, -1]]
    found[windows.places, 0] = curve.log_changes(there[..., 0], power=2)
    found[windows.places, 1:] = curve.log_changes(there[..., 1:])
    changes = curve.mean_changes
    found[-1, 0] = float((changes**2 * there[..., 0]).sum())
    found[-1, 1:] = np.einsum("ce,cej->j", changes, there[..., 1:])
    return found


@dataclass(frozen=True)
class WeightedSurvival(WeightingAnalysis):
    """A weighted comparison of survival.

    Attributes:
        rules: by which times are put together before weights are summed.
    """

    rules: Disclosure = OPEN

    @cached_property
    def model(self) -> OverTime:
        """What its stages compute with."""
        return OverTime(self.regression)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The regression of the treatment, who leaves when, the curves, the hazard ratio, and all errors."""
        regression, model = self.regression, self.model
        arms = Parallel("arms", 1, (ArmsStage(regression), CountsStage(model, self.rules)))
        last = ExitsStage(model), HazardStage(model), ErrorsStage(model)
        return MomentsStage(regression), NewtonStage(regression), arms, *last

    def under(self, rules: Disclosure) -> "WeightedSurvival":
        """Times are put together until each holds enough patients of a group."""
        return replace(self, rules=rules)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """As of another outcome; and of who leaves when what its windows show."""
        told = super().disclosed(state, rules)
        values, found = shown_exits(state.kept["exits"], 0.0, self._names, rules)
        kept = {**told.state.kept, **values, "shown/missing": told.state.kept["shown/missing"]}
        return Disclosed(replace(told.state, kept=kept), gathered([*told.suppressed, *found]))

    @property
    def _names(self) -> tuple[str, ...]:
        treated = self.regression.asked.treated
        return tuple(f"{treated} {level}" for level in self.levels)

    def estimated(self, state: State) -> Estimated:
        """Curves, mean times, and what the treatment changes in them."""
        model, kept = self.model, state.kept
        influences = Influences(kept["regression"], kept["estimates"])
        variances = np.maximum(influences.variances(), 0.0)
        curves = model.curves(state)
        by_group = np.sqrt(variances[:-1]).reshape(2, -1)
        groups: Report = {}
        shown: Report = {}
        arms = ArmSums.of(kept["arms"])
        for arm, level in enumerate(self.levels):
            shown[level] = self._curve(kept, arm, curves[arm], by_group[arm])
            groups[level] = {**self._size(arms, arm), "events": shown[level].pop("events")}  # type: ignore[attr-defined]
        return Estimated(
            groups=groups,
            effect=self._effects(state, curves, influences, variances),
            coefficients=influences.coefficient_covariance,
            more={"survival": {"grid": list(model.grid), "groups": shown}},
        )

    def _curve(self, kept: Mapping[str, Floats], arm: int, curve: Curve, errors: Floats) -> Report:
        """One group's.

        Args:
            errors: (times + 1,) of the curve's logarithm, and last of the mean time.
        """
        windows, grid = curve.windows, np.array(self.model.grid)
        counted = kept["exits"][arm]
        at_windows = at_ends(counted, windows.places)
        died = float(counted[:-1, 1].sum())
        events = float(kept["shown/events"][arm, 0]) if "shown/events" in kept else died
        low, high = log_log_interval(curve.survival, errors[windows.places])
        told: Report = {"events": count_of(events)}
        told |= dict.fromkeys(("median", "median_low", "median_high", "rmst", "rmst_low", "rmst_high"))
        if windows.n:
            told |= median_of_windows(windows.times, windows.places, curve.survival, low, high)
        if windows.reach_the_end:
            mean, half = curve.mean_time, NORMAL_EXACT * float(errors[-1])
            ends = max(mean - half, 0.0), min(mean + half, float(grid[-1]))
            told |= {"rmst": mean, "rmst_low": ends[0], "rmst_high": ends[1]}
        lines = {"survival": curve.survival, "low": low, "high": high}
        told |= {name: [number_of(v) for v in windows.spread(line)] for name, line in lines.items()}
        left = of_windows(at_windows, windows.places)[0]
        return {**told, "at_risk": at_risk_at(len(grid), windows.places, left, rounding_of(kept))}

    def _effects(
        self, state: State, curves: list[Curve], influences: Influences, variances: Floats
    ) -> list[Report]:
        """The logarithm of the hazard ratio; differences of mean times and survival, treated less others."""
        n = len(self.model.grid) + 1
        names, values, errors = [], [], []
        hazard = np.asarray(state.arrays["hazard"])
        if hazard.size:
            names, values, errors = ["hazard_ratio"], [float(hazard[0])], [float(np.sqrt(variances[-1]))]
        asked = self.regression.asked.at or (self.model.grid[-1],)
        places = dict(zip(asked, shown_places(self.model.grid, asked), strict=True))
        told = [("rmst_difference", n - 1)] if all(one.windows.reach_the_end for one in curves) else []
        told += [
            (f"survival_difference_{time:g}", place)
            for time, place in places.items()
            if all(place in one.windows.places for one in curves)
        ]
        for name, place in told:
            means = self._values_at(curves, place)
            # Of survival the error is of its logarithm, which changes by one part of it.
            scale = np.ones(2) if place == n - 1 else means
            shared = float(influences.covariances([place], [n + place])[0])
            variance = scale**2 @ variances[[place, n + place]] - 2 * scale.prod() * shared
            names.append(name)
            values.append(float(means[1] - means[0]))
            errors.append(float(np.sqrt(max(variance, 0.0))))
        return coefficient_rows(names, np.array(values), np.array(errors))

    def _values_at(self, curves: list[Curve], place: int) -> Floats:
        """(2,): of survival at a time, or behind the grid of mean times."""
        if place == len(self.model.grid):
            return np.array([curve.mean_time for curve in curves])
        return np.array([float(curve.windows.spread(curve.survival)[place]) for curve in curves])

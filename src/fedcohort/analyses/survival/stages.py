"""Kaplan-Meier from one sum: how many patients left at each time of a grid, by group, and if by the event.

A patient falls into one cell, of a stratum where the log-rank test has strata, so that one patient moves the
sum by 1, however fine the grid and however many the groups. All else is arithmetic on the counts
(`life_table`); under privacy intervals and the p-value come from counts that are drawn again, patients
(Poisson) and noise, as of the curve that was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Floats,
    Report,
    Stage,
    State,
    Sums,
    Tally,
)
from fedcohort.analyses.enough import check_enough
from fedcohort.analyses.intervals import NORMAL_EXACT, Estimates, centred, drawn, ends, hull
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.survival.disclosed import ShownGroup, shown_sums
from fedcohort.analyses.survival.life_table import LifeTable, median
from fedcohort.analyses.survival.question import KaplanMeier
from fedcohort.columns import Categorical
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, rounding_of
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Privacy, Study
from fedcohort.vector import Block, counts

ALL = "all"
"""The group's name where there is one."""


@dataclass(frozen=True)
class ExitsStage:
    """Who left when, by group; and those of whom group, time or event is missing."""

    cohort: Cohort
    question: KaplanMeier
    levels: tuple[str | int, ...]
    n_strata: int = 1
    name: str = "exits"
    times: int = 1

    @property
    def n_cells(self) -> int:
        """Of one group: each time without and with the event, and what is beyond the grid, twice."""
        return 2 * (len(self.question.grid) + 1)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """A patient is in one cell; the last is that of the missing."""
        return (counts("exits", self.n_strata * len(self.levels) * self.n_cells + 1, once=True),)

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Each patient's cell."""
        ours, table = rows.patients("all"), rows.table
        if table.label is None or table.event is None:
            raise StudyError("cohort.label: survival needs fc.Survival(time, event)")
        time, event = table.label[ours], table.event[ours]
        group = np.zeros(len(ours))
        for name, n_levels in ((self.question.strata, 0), (self.question.by, len(self.levels))):
            if name is not None:
                group = group * n_levels + values_of(table, self.cohort, name)[ours]
        complete = ~(np.isnan(time) | np.isnan(event) | np.isnan(group)) & (np.nan_to_num(time) >= 0)
        place = np.searchsorted(self.question.grid, np.where(complete, time, 0.0), side="left")
        beyond = place == len(self.question.grid)
        cell = np.nan_to_num(group).astype(np.int64) * self.n_cells + 2 * place
        cell += np.where(beyond, 0, np.nan_to_num(event)).astype(np.int64)
        return {"exits": Tally(cell=np.where(complete, cell, self.blocks[0].size - 1), rows=ours)}

    def update(self, state: State, sums: Sums) -> State:
        """The report reads the counts.

        Raises:
            CohortTooSmallError: too few patients, by noisy counts.
        """
        exits = np.asarray(sums["exits"], np.float64)[:-1]
        check_enough(float(exits.sum()), sums.noise("exits") * float(np.sqrt(exits.size)))
        return state


@dataclass(frozen=True)
class SurvivalAnalysis(Analysis):
    """Curves by group; `n_strata` are those of the log-rank test."""

    cohort: Cohort
    question: KaplanMeier
    levels: tuple[str | int, ...]
    n_strata: int = 1
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "SurvivalAnalysis":
        """The same counts; who is lost between two times of the grid counts for half of it."""
        return replace(self, privacy=privacy)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum."""
        return (ExitsStage(self.cohort, self.question, self.levels, self.n_strata),)

    def strata(self, sums: Sums) -> LifeTable:
        """The counts, by stratum and group."""
        exits = np.asarray(sums["exits"], np.float64)[:-1]
        counts = exits.reshape(self.n_strata, len(self.levels), -1, 2)
        return LifeTable(counts, halved=self.privacy is not None)

    def table(self, sums: Sums) -> LifeTable:
        """The counts, by group."""
        table = self.strata(sums)
        return replace(table, counts=table.counts.sum(0))

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Times put together, of groups that are large enough."""
        sums = state.sums or Sums({})
        exits, missing = self.strata(sums).counts, float(sums["exits"][-1])
        values, suppressed = shown_sums(exits, missing, tuple(map(str, self.levels)), rules)
        return Disclosed(replace(state, sums=replace(sums, values=values)), gathered(suppressed))

    def report(self, state: State) -> Report:
        """Curves with intervals, numbers at risk, medians, and the log-rank test of more groups than one."""
        sums = state.sums or Sums({})
        shown = "shown/exits" in sums
        groups = self._shown_groups(sums) if shown else self._groups(sums)
        survival: dict[str, object] = {"grid": list(self.question.grid), "groups": groups}
        survival |= {} if self.question.by is None else {"by": self.question.by}
        if len(self.levels) > 1:
            survival["logrank"] = self._logrank(sums)
        sizes = [group["n"] for group in groups.values()]
        patients = None if None in sizes else sum(int(str(n)) for n in sizes)
        missing = sums["shown/missing"][0] if shown else sums["exits"][-1]
        return {"patients": patients, "missing": count_of(missing), "survival": survival}

    def _shown_groups(self, sums: Sums) -> dict[str, dict[str, object]]:
        """As the rules of disclosure let them be."""
        names = ("shown/exits", "shown/ends", "shown/events")
        grid, rounding = np.array(self.question.grid), rounding_of(sums.values)
        return {
            str(level): ShownGroup(grid, exits, np.flatnonzero(ends), float(events), rounding).report()
            for level, exits, ends, events in zip(self.levels, *(sums[name] for name in names), strict=True)
        }

    def _groups(self, sums: Sums) -> dict[str, dict[str, object]]:
        """By group curves with intervals, numbers at risk and medians."""
        table, grid = self.table(sums), np.array(self.question.grid)
        others = {} if self.privacy is None else self._others(table, sums.noise("exits"))
        curve, (low, high), means = table.survival, self._ends(table, others), self._means(table, others)
        groups: dict[str, dict[str, object]] = {}
        for index, level in enumerate(self.levels):
            groups[str(level)] = {
                "n": max(0, round(float(table.counts[index].sum()))),
                "events": max(0, round(float(table.events[index].sum()))),
                "median": median(grid, curve[index]),
                "median_low": median(grid, np.nan_to_num(low[index], nan=1.0)),
                "median_high": median(grid, np.nan_to_num(high[index], nan=1.0)),
                **{name: float(values[index]) for name, values in means.items()},
                "survival": curve[index].tolist(),
                "low": _numbers(low[index]),
                "high": _numbers(high[index]),
                "at_risk": [max(0, round(float(n))) for n in table.at_risk[index]],
            }
        return groups

    def width(self, n_patients: int, sigma: float) -> float:
        """Half the width of a curve's interval in the middle of the grid, of the noise alone.

        Where groups are of one size, and half of each have the event, evenly over the grid.
        """
        n_times = len(self.question.grid)
        cells = np.zeros((len(self.levels), n_times + 1, 2))
        cells[:, :-1, 1] = n_patients / len(self.levels) / 2 / n_times
        cells[:, -1, 0] = n_patients / len(self.levels) / 2
        noise = sigma * float(np.sqrt(self.n_strata))
        low, high = ends(drawn(self._curves, Sums({"exits": cells}, {"exits": noise}))["survival"])
        return float((high - low)[:, n_times // 2].max()) / 2

    def _others(self, table: LifeTable, sigma: float) -> Estimates:
        """Curves of other patients and noise; in a cell of all strata is the noise of each."""
        sums = Sums({"exits": table.counts}, {"exits": sigma * float(np.sqrt(self.n_strata))})
        expected = table.expected()
        return drawn(self._curves, sums, partial(_redraw, expected))

    def _ends(self, table: LifeTable, others: Estimates) -> tuple[Floats, Floats]:
        """95 % intervals: Greenwood's, or of the counts drawn again."""
        if self.privacy is None:
            return table.greenwood()
        curve = table.survival
        of_noise = centred(table.product, others["product"])
        low, high = hull(of_noise, ends(others["survival"]), (curve, curve))
        return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)

    def _means(self, table: LifeTable, others: Estimates) -> dict[str, Floats]:
        """By group the restricted mean survival time, with its interval."""
        grid = np.array(self.question.grid)
        mean = table.mean_time(grid)
        if self.privacy is None:
            error = table.mean_time_error(grid)
            low, high = mean - NORMAL_EXACT * error, mean + NORMAL_EXACT * error
        else:
            low, high = hull(centred(mean, others["mean"]), ends(others["mean"]))
        return {"rmst": mean, "rmst_low": np.maximum(low, 0.0), "rmst_high": np.minimum(high, grid[-1])}

    def _logrank(self, sums: Sums) -> dict[str, object]:
        named: dict[str, object] = {} if self.question.strata is None else {"strata": self.question.strata}
        if "shown/logrank" in sums:
            statistic, p = (float(part) for part in sums["shown/logrank"])
            return {**named, "statistic": statistic, "degrees": len(self.levels) - 1, "p": p}
        table = self.strata(sums)
        if self.privacy is None:
            statistic, p = table.logrank()
            return {**named, "statistic": statistic, "degrees": len(self.levels) - 1, "p": p}
        noisy = Sums({"exits": table.counts}, {"exits": sums.noise("exits")})
        redraw = partial(_redraw, table.expected(one_hazard=True))
        others = drawn(self._excess, noisy, redraw, draws=P_DRAWS)["excess"]
        middle = others.mean(0)
        spread = np.linalg.pinv(np.cov(others[:, :-1].T).reshape(len(middle) - 1, -1))

        def distance(excess: Floats) -> Floats:
            off = (excess - middle)[..., :-1]
            squared: Floats = np.einsum("...g,gh,...h->...", off, spread, off)
            return squared

        far = distance(table.excess)
        as_far = int((distance(others) >= far).sum())
        return {**named, "statistic": float(far), "p": (1 + as_far) / (P_DRAWS + 1)}

    def _curves(self, sums: Sums) -> Estimates:
        table = LifeTable(sums["exits"], halved=True)
        mean = table.mean_time(np.array(self.question.grid))
        return {"product": table.product, "survival": table.survival, "mean": mean}

    def _excess(self, sums: Sums) -> Estimates:
        return {"excess": LifeTable(sums["exits"], halved=True).excess}


def _redraw(expected: Floats, sums: Sums, generator: np.random.Generator) -> Sums:
    """Other patients of the same population."""
    return replace(sums, values={"exits": generator.poisson(expected).astype(np.float64)})


P_DRAWS = 1000
"""Of counts as they would be if all groups had one hazard."""


def _numbers(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def build(study: Study) -> SurvivalAnalysis:
    """The analysis of `fc.KaplanMeier(...)`."""
    if not isinstance(study.analysis, KaplanMeier):
        raise StudyError("analysis: not a survival curve")
    levels = _levels(study.cohort, study.analysis.by)
    n_strata = len(_levels(study.cohort, study.analysis.strata))
    return SurvivalAnalysis(study.cohort, study.analysis, levels, n_strata)


def _levels(cohort: Cohort, name: str | None) -> tuple[str | int, ...]:
    """Of a column; where none is named, or a site's are not known, there is one."""
    kind = cohort.every_column.get(name) if name else None
    return tuple(kind.levels) if isinstance(kind, Categorical) else (ALL,)

"""Kaplan-Meier from one sum: how many patients left at each time of a grid, by group, and if by the event.

A patient falls into one cell, of a stratum where the log-rank test has strata, so that one patient moves the
sum by 1, however fine the grid and however many the groups. All else is arithmetic on the counts
(`life_table`); under privacy intervals and the p-value come from counts that are drawn again, patients
(Poisson) and noise, as of the curve that was found.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from fedcohort.analyses.contract import Analysis, Disclosed, Floats, Report, Stage, State, Sums
from fedcohort.analyses.exits import ExitsStage, levels_by, redraw
from fedcohort.analyses.intervals import (
    NORMAL_EXACT,
    P_DRAWS,
    Estimates,
    centred,
    drawn,
    ends,
    hull,
    p_of_draws,
)
from fedcohort.analyses.product_limit import median
from fedcohort.analyses.survival.disclosed import ShownGroup, shown_sums
from fedcohort.analyses.survival.life_table import LifeTable
from fedcohort.analyses.survival.question import KaplanMeier
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, counts_of, numbers_of, rounding_of
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Privacy, Study


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
        return (self._exits,)

    @cached_property
    def _exits(self) -> ExitsStage:
        columns, sizes = (self.question.strata, self.question.by), (self.n_strata, len(self.levels))
        named = [(name, size) for name, size in zip(columns, sizes, strict=True) if name is not None]
        return ExitsStage(
            self.cohort,
            tuple(self.question.grid),
            tuple(name for name, _ in named),
            tuple(size for _, size in named),
        )

    def strata(self, sums: Sums) -> LifeTable:
        """The counts, by stratum and group."""
        counts = self._exits.counts(sums).reshape(self.n_strata, len(self.levels), -1, 2)
        return LifeTable(counts, halved=self.privacy is not None)

    def table(self, sums: Sums) -> LifeTable:
        """The counts, by group."""
        table = self.strata(sums)
        return replace(table, counts=table.counts.sum(0))

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Times put together, of groups that are large enough."""
        sums = state.sums or Sums({})
        exits, missing = self.strata(sums).counts, float(sums["exits"][-1])
        by = self.question.by
        groups = tuple(str(level) if by is None else f"{by} {level}" for level in self.levels)
        values, suppressed = shown_sums(exits, missing, groups, rules)
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
            str(level): ShownGroup(grid, exits, np.flatnonzero(ends), float(events[0]), rounding).report()
            for level, exits, ends, events in zip(self.levels, *(sums[name] for name in names), strict=True)
        }

    def _groups(self, sums: Sums) -> dict[str, dict[str, object]]:
        """By group curves with intervals, numbers at risk and medians."""
        table, grid = self.table(sums), np.array(self.question.grid)
        others = {} if self.privacy is None else self._others(table, sums.noise("exits"))
        curve, (low, high), means = table.survival, self._ends(table, others), self._means(table, others)
        at_risk = table.at_risk
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
                "low": numbers_of(low[index]),
                "high": numbers_of(high[index]),
                "at_risk": counts_of(at_risk[index]),
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
        return drawn(self._curves, sums, partial(redraw, expected))

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
        redraw_as = partial(redraw, table.expected(one_hazard=True))
        others = drawn(self._excess, noisy, redraw_as, draws=P_DRAWS)["excess"]
        distance, p = p_of_draws(table.excess[:-1], others[:, :-1])
        return {**named, "statistic": distance, "p": p}

    def _curves(self, sums: Sums) -> Estimates:
        table = LifeTable(sums["exits"], halved=True)
        mean = table.mean_time(np.array(self.question.grid))
        return {"product": table.product, "survival": table.survival, "mean": mean}

    def _excess(self, sums: Sums) -> Estimates:
        return {"excess": LifeTable(sums["exits"], halved=True).excess}


def build(study: Study) -> SurvivalAnalysis:
    """The analysis of `fc.KaplanMeier(...)`."""
    if not isinstance(study.analysis, KaplanMeier):
        raise StudyError("analysis: not a survival curve")
    levels = levels_by(study.cohort, study.analysis.by)
    n_strata = len(levels_by(study.cohort, study.analysis.strata))
    return SurvivalAnalysis(study.cohort, study.analysis, levels, n_strata)

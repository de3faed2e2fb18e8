"""Cumulative incidence from one sum: how many patients left at each time of a grid, by group and cause.

A patient falls into one cell. All else is arithmetic on the counts (`aalen_johansen`, `gray`); under privacy
intervals and p-values come from counts that are drawn again, patients (Poisson) and noise, as of the curves
that were found.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from fedcohort.analyses.contract import Analysis, Disclosed, Floats, Report, Stage, State, Sums
from fedcohort.analyses.exits import ExitsStage, levels_by, redraw
from fedcohort.analyses.incidence.aalen_johansen import IncidenceTable
from fedcohort.analyses.incidence.disclosed import ShownGroup, shown_sums
from fedcohort.analyses.incidence.gray import GrayTest
from fedcohort.analyses.incidence.question import CumulativeIncidence
from fedcohort.analyses.intervals import P_DRAWS, Estimates, centred, drawn, ends, hull, p_of_draws
from fedcohort.columns import Survival
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of, counts_of, numbers_of, rounding_of
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Privacy, Study


@dataclass(frozen=True)
class IncidenceAnalysis(Analysis):
    """Curves by group and cause."""

    cohort: Cohort
    question: CumulativeIncidence
    levels: tuple[str | int, ...]
    causes: tuple[int, ...]
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "IncidenceAnalysis":
        """The same counts; who is lost between two times of the grid counts for half of it."""
        return replace(self, privacy=privacy)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum."""
        return (self._exits,)

    @cached_property
    def _exits(self) -> ExitsStage:
        by = self.question.by
        columns, sizes = ((), ()) if by is None else ((by,), (len(self.levels),))
        return ExitsStage(self.cohort, tuple(self.question.grid), columns, sizes, len(self.causes))

    def table(self, sums: Sums) -> IncidenceTable:
        """The counts, by group."""
        counts = self._exits.counts(sums).reshape(len(self.levels), -1, 1 + len(self.causes))
        return IncidenceTable(counts, halved=self.privacy is not None)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Times put together, of groups that are large enough."""
        sums = state.sums or Sums({})
        exits, missing = self.table(sums).counts, float(sums["exits"][-1])
        values, suppressed = shown_sums(exits, missing, tuple(map(str, self.levels)), rules)
        return Disclosed(replace(state, sums=replace(sums, values=values)), gathered(suppressed))

    def report(self, state: State) -> Report:
        """By group and cause the curve with its interval, numbers at risk, and Gray's test by cause."""
        sums = state.sums or Sums({})
        shown = "shown/exits" in sums
        groups = self._shown_groups(sums) if shown else self._groups(sums)
        incidence: dict[str, object] = {
            "grid": list(self.question.grid),
            "causes": [str(name) for name in self.causes],
        }
        incidence |= {} if self.question.by is None else {"by": self.question.by}
        incidence["groups"] = groups
        if len(self.levels) > 1:
            incidence["gray"] = {str(name): self._gray(sums, cause) for cause, name in enumerate(self.causes)}
        sizes = [group["n"] for group in groups.values()]
        patients = None if None in sizes else sum(int(str(n)) for n in sizes)
        missing = sums["shown/missing"][0] if shown else sums["exits"][-1]
        return {"patients": patients, "missing": count_of(missing), "incidence": incidence}

    def _shown_groups(self, sums: Sums) -> dict[str, dict[str, object]]:
        """As the rules of disclosure let them be."""
        n_times, rounding = len(self.question.grid), rounding_of(sums.values)
        names = ("shown/exits", "shown/ends", "shown/events")
        return {
            str(level): ShownGroup(
                n_times, self.causes, exits, np.flatnonzero(ends), events, rounding
            ).report()
            for level, exits, ends, events in zip(self.levels, *(sums[name] for name in names), strict=True)
        }

    def _groups(self, sums: Sums) -> dict[str, dict[str, object]]:
        table = self.table(sums)
        at_risk, curve = table.at_risk, table.incidence
        low, high = self._ends(table, sums.noise("exits"))
        return {
            str(level): {
                "n": count_of(table.counts[index].sum()),
                "at_risk": counts_of(at_risk[index]),
                "causes": {
                    str(name): {
                        "events": count_of(table.events[index, cause].sum()),
                        "incidence": curve[index, cause].tolist(),
                        "low": numbers_of(low[index, cause]),
                        "high": numbers_of(high[index, cause]),
                    }
                    for cause, name in enumerate(self.causes)
                },
            }
            for index, level in enumerate(self.levels)
        }

    def width(self, n_patients: int, sigma: float) -> float:
        """Half the width of a curve's interval in the middle of the grid, of the noise alone.

        Where groups are of one size, and half of each have an event, evenly over the grid and the causes.
        """
        n_times, n_groups, n_causes = len(self.question.grid), len(self.levels), len(self.causes)
        cells = np.zeros((n_groups, n_times + 1, 1 + n_causes))
        cells[:, :-1, 1:] = n_patients / n_groups / 2 / n_times / n_causes
        cells[:, -1, 0] = n_patients / n_groups / 2
        low, high = ends(drawn(_curves, Sums({"exits": cells}, {"exits": sigma}))["incidence"])
        return float((high - low)[..., n_times // 2].max()) / 2

    def _ends(self, table: IncidenceTable, noise: float) -> tuple[Floats, Floats]:
        """95 % intervals: of Aalen's variance, or of the counts drawn again."""
        if self.privacy is None:
            return table.ends()
        others = drawn(_curves, *_as_of(table.counts, noise, table.expected()))
        curve = table.incidence
        low, high = hull(centred(table.sum, others["sum"]), ends(others["incidence"]), (curve, curve))
        return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)

    def _gray(self, sums: Sums, cause: int) -> dict[str, float]:
        degrees = len(self.levels) - 1
        if "shown/gray" in sums:
            statistic, p = (float(part) for part in sums["shown/gray"][cause])
            return {"statistic": statistic, "degrees": degrees, "p": p}
        table = self.table(sums)
        test = GrayTest(table.counts, cause, self.privacy is not None)
        if self.privacy is None:
            statistic, p = test.statistic()
            return {"statistic": statistic, "degrees": degrees, "p": p}

        def excess(sums: Sums) -> Estimates:
            return {"excess": GrayTest(sums["exits"], cause, halved=True).excess}

        alike = _as_of(table.counts, sums.noise("exits"), table.expected(same=cause))
        others = drawn(excess, *alike, draws=P_DRAWS)["excess"]
        distance, p = p_of_draws(test.excess[:-1], others[:, :-1])
        return {"statistic": distance, "p": p}


def _as_of(counts: Floats, noise: float, expected: Floats) -> tuple[Sums, "partial[Sums]"]:
    """What `drawn` draws counts from: their noise, and the patients that are expected."""
    return Sums({"exits": counts}, {"exits": noise}), partial(redraw, expected)


def _curves(sums: Sums) -> Estimates:
    table = IncidenceTable(sums["exits"], halved=True)
    return {"sum": table.sum, "incidence": table.incidence}


def build(study: Study) -> IncidenceAnalysis:
    """The analysis of `fc.CumulativeIncidence(...)`."""
    label = study.cohort.label
    if not isinstance(study.analysis, CumulativeIncidence) or not isinstance(label, Survival):
        raise StudyError("analysis: no cumulative incidence of a survival label")
    levels = levels_by(study.cohort, study.analysis.by)
    return IncidenceAnalysis(study.cohort, study.analysis, levels, label.causes)

"""Comparisons of one number between groups, from one sum: moments by group, and counts of values by group.

All tests are arithmetic on these (`mean_tests`, `rank_tests`), of which any analysis that compares groups
makes use. Under privacy p-values and intervals come from sums that are drawn again (`redrawn_groups`).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.columns_of import unit_of
from fedcohort.analyses.compare.question import Compare
from fedcohort.analyses.contract import Analysis, Disclosed, Floats, Parallel, Report, Stage, State, Sums
from fedcohort.analyses.grouped import HIDDEN, GroupedStage
from fedcohort.analyses.intervals import NORMAL, numbers
from fedcohort.analyses.mean_tests import GroupMoments, anova, mean_intervals, student, welch
from fedcohort.analyses.rank_tests import kruskal, mann_whitney, mean_ranks, rank_errors, u_error
from fedcohort.analyses.redrawn_groups import RedrawnMoments, RedrawnRanks
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.value_counts import ValuesStage, places_of
from fedcohort.columns import Categorical, Numeric
from fedcohort.disclosure.cells import small
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Privacy, Study, missing_bounds
from fedcohort.texts import Text

Figures = dict[str, float | None]
RANKS_HIDDEN = "shown/ranks/hidden"


@dataclass(frozen=True)
class CompareAnalysis(Analysis):
    """One number by the levels of one column."""

    cohort: Cohort
    question: Compare
    number: Numeric
    levels: tuple[str | int, ...]
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "CompareAnalysis":
        """Sums of scaled values, and counts by a coarse part of the range.

        Raises:
            StudyError: the column has no declared bounds.
        """
        if self.number.bounds is None:
            missing = missing_bounds(self.cohort)
            raise StudyError(missing or "cohort.label: privacy needs declared bounds")
        return replace(self, privacy=privacy)

    @cached_property
    def moments(self) -> GroupedStage:
        """The groups' sizes, means and deviations."""
        columns = {self.question.column: self.number}
        private = self.privacy is not None
        return GroupedStage(self.cohort, columns, self.question.by, len(self.levels), private)

    @cached_property
    def values(self) -> ValuesStage | None:
        """The groups' counts by value; None where no bounds say where values lie."""
        bounds, private = self.number.bounds, self.privacy is not None
        if bounds is None:
            return None
        places = places_of(bounds, self.question.grid, private)
        question = self.question
        return ValuesStage(self.cohort, question.column, places, question.by, len(self.levels), private)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum."""
        values = () if self.values is None else (self.values,)
        return (Parallel("compare", 1, (self.moments, *values)),)

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """Means and deviations of groups that are those of few."""
        return self.moments.told_alone(sums, rules)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Groups that are large enough; ranks only where no group's are those of few."""
        sums = state.sums or Sums({})
        values, suppressed = self.moments.shown(sums, rules)
        if self.values is not None and np.asarray(values[HIDDEN])[:2].any():
            # A rank sum of few values, or of two, would tell what is hidden of them.
            values[RANKS_HIDDEN] = np.array([1])
            suppressed.append(Suppressed("ranks", "min_cell", len(self.levels) + 1))
        if self.values is not None:
            between = np.asarray(sums[self.values.between], np.float64)
            values[self.values.between] = np.where(small(between, rules.min_cell), np.nan, between)
        return Disclosed(
            replace(state, sums=replace(sums, values={**sums.values, **values})), gathered(suppressed)
        )

    def report(self, state: State) -> Report:
        """Each group, what it differs by from the first, and the tests."""
        sums = state.sums or Sums({})
        groups = np.asarray(sums["groups"], np.float64)
        moments = self.moments.moments(sums)
        counted = count_of(moments.n.sum())
        found: dict[str, object] = {"column": self.question.column, "by": self.question.by}
        found |= dict(unit_of(self.number))
        if self.privacy is None:
            found |= {"groups": self._groups(moments), **self._means(moments), **self._ranks(sums)}
        else:
            found |= self._private(sums, moments)
        return {
            "patients": counted,
            "missing": count_of(groups.sum() - moments.n.sum()),
            "compare": found,
        }

    def _groups(
        self, moments: GroupMoments, interval: tuple[Floats, Floats] | None = None
    ) -> dict[str, Figures]:
        """Of each group its size, mean with interval, and deviation."""
        low, high = mean_intervals(moments) if interval is None else interval
        return {
            str(level): {
                "n": count_of(moments.n[place, 0]),
                **numbers(
                    {
                        "mean": moments.mean[place, 0],
                        "mean_low": low[place, 0],
                        "mean_high": high[place, 0],
                        "std": np.sqrt(moments.variance[place, 0]),
                    }
                ),
            }
            for place, level in enumerate(self.levels)
        }

    def _means(self, moments: GroupMoments) -> dict[str, object]:
        """Each group against the first, and all of them."""
        differences: dict[str, Figures] = {}
        for place, level in enumerate(self.levels[1:], 1):
            compared = welch(moments.of(0, place))
            differences[str(level)] = numbers({"difference": compared.value[0], **compared.test(0)})
        tests: dict[str, object] = {"anova": numbers(anova(moments, 0))}
        if len(self.levels) == 2:
            compared = student(moments)
            tests["student"] = numbers({"difference": compared.value[0], **compared.test(0)})
        return {"reference": str(self.levels[0]), "differences": differences, **tests}

    def _ranks(self, sums: Sums) -> dict[str, object]:
        """Rank tests, and where values were counted in parts how far ranks may be off."""
        if self.values is None or RANKS_HIDDEN in sums:
            return {}
        counts, exact = self.values.counts(sums), self.values.is_exact(sums)
        ranks, errors = mean_ranks(counts), rank_errors(counts)
        told: dict[str, object] = {
            "grid": self.question.grid,
            "places": self.values.places.n,
            "between": count_of(sums[self.values.between][0]),
            "mean_ranks": {
                str(level): numbers({"rank": ranks[place], "error": 0.0 if exact else errors[place]})
                for place, level in enumerate(self.levels)
            },
            "kruskal": numbers(kruskal(counts)),
        }
        if len(self.levels) == 2:
            error = 0.0 if exact else u_error(counts)
            told["mann_whitney"] = numbers({**mann_whitney(counts), "error": error})
        return told

    def _private(self, sums: Sums, moments: GroupMoments) -> dict[str, object]:
        redrawn = RedrawnMoments(sums, self.moments)
        low, high = redrawn.interval("difference")
        t, p = redrawn.statistic("t"), redrawn.p("t")
        differences = {
            str(level): numbers(
                {
                    "difference": moments.mean[place + 1, 0] - moments.mean[0, 0],
                    "low": low[place, 0],
                    "high": high[place, 0],
                    "statistic": t[place, 0],
                    "p": p[place, 0],
                }
            )
            for place, level in enumerate(self.levels[1:])
        }
        found: dict[str, object] = {
            "groups": self._groups(moments, redrawn.interval("mean")),
            "n_error": round(NORMAL * self.moments.n_error(sums), 1),
            "reference": str(self.levels[0]),
            "differences": differences,
            "anova": numbers({"statistic": redrawn.statistic("f")[0], "p": redrawn.p("f")[0]}),
        }
        if self.values is None:
            return found
        ranks = RedrawnRanks(self.values.counts(sums), sums.noise(self.values.name))
        found["kruskal"] = numbers({"p": ranks.kruskal_p()})
        if len(self.levels) == 2:
            found["mann_whitney"] = numbers({**ranks.figures, "p": ranks.mann_whitney_p()})
        return found


def build(study: Study) -> CompareAnalysis:
    """The analysis of `fc.Compare(...)`."""
    question, columns = study.analysis, study.cohort.every_column
    if not isinstance(question, Compare):
        raise StudyError("analysis: not a comparison")
    number, by = columns[question.column], columns[question.by]
    if not (isinstance(number, Numeric) and isinstance(by, Categorical)):
        raise StudyError("analysis: a comparison is of a number by the levels of a column")
    return CompareAnalysis(study.cohort, question, number, by.levels)

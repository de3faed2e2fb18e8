"""Crosstabs from one sum: how many patients are in each cell; all else is arithmetic (`contingency`).

A patient falls into one cell, so that one patient moves the sum by 1, however many the levels. Under privacy
intervals come from counts that are drawn again, patients (Poisson) and noise, and p-values from counts as
they would be if rows and columns were independent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fedcohort.analyses.cells import CellsStage
from fedcohort.analyses.contingency import Strata, chi_squared, fisher_p, two_groups
from fedcohort.analyses.contract import Analysis, Disclosed, Floats, Report, Stage, State, Sums
from fedcohort.analyses.crosstab.question import Crosstab
from fedcohort.analyses.crosstab.redrawn import POOLED, Redrawn
from fedcohort.analyses.intervals import NORMAL, numbers
from fedcohort.analyses.tails import chi_squared_p
from fedcohort.columns import Categorical
from fedcohort.disclosure.rules import Disclosure
from fedcohort.disclosure.shown import count_of
from fedcohort.disclosure.verdicts import gathered
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Privacy, Study

Levels = Mapping[str, tuple[str | int, ...]]


@dataclass(frozen=True)
class CrosstabAnalysis(Analysis):
    """Counts of two columns' levels, by those of a third where there is one.

    Attributes:
        levels: by field of the question, in the order of the table of counts.
    """

    cohort: Cohort
    question: Crosstab
    levels: Levels
    privacy: Privacy | None = None

    def for_privacy(self, privacy: Privacy) -> "CrosstabAnalysis":
        """The same counts."""
        return replace(self, privacy=privacy)

    @cached_property
    def cells(self) -> CellsStage:
        """The one sum."""
        sizes = tuple(len(known) for known in self.levels.values())
        return CellsStage(self.cohort, tuple(self.question.named.values()), sizes)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum."""
        return (self.cells,)

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Cells above the threshold; a test or comparison of hidden cells is hidden with them."""
        sums = state.sums or Sums({})
        block, suppressed = self.cells.shown(sums, rules)
        values = {**sums.values, self.cells.block: block}
        return Disclosed(replace(state, sums=replace(sums, values=values)), gathered(suppressed))

    def report(self, state: State) -> Report:
        """Counts, tests, and of an outcome of two levels the comparison of each group with the first."""
        sums = state.sums or Sums({})
        strata = self._by_stratum(self.cells.table(sums))
        table = strata.sum(0)
        redrawn = None
        if self.privacy is not None:
            redrawn = Redrawn(sums, (len(strata), *table.shape), self.question.strata is not None)
        crosstab: dict[str, object] = {
            **self.question.named,
            "levels": {field: [str(level) for level in known] for field, known in self.levels.items()},
            "counts": whole(strata if self.question.strata else table),
            **_tests(table, redrawn),
            **self._comparisons(table, redrawn),
            **self._stratified(strata, redrawn),
        }
        if self.privacy is not None:
            crosstab["counts_error"] = round(NORMAL * sums.noise("cells"), 1)
        missing = count_of(self.cells.missing(sums))
        return {"patients": count_of(table.sum()), "missing": missing, "crosstab": crosstab}

    def _by_stratum(self, table: Floats) -> Floats:
        """(strata, rows, columns); without strata there is one."""
        by_stratum: Floats = table.reshape(-1, *table.shape[-2:])
        return by_stratum

    def _comparisons(self, table: Floats, redrawn: Redrawn | None) -> dict[str, object]:
        """By level of the rows but the first."""
        if table.shape[1] != 2:
            return {}
        found: dict[str, object] = {}
        for place, level in enumerate(self.levels["rows"][1:], 1):
            pair = np.maximum(np.rint(table[[0, place]]), 0)
            compared = _compared(table[[0, place]]) if redrawn is None else redrawn.figures[place]
            counts = {"n": count_of(pair[1].sum()), "events": count_of(pair[1, 1])}
            reference = {"n_reference": count_of(pair[0].sum()), "events_reference": count_of(pair[0, 1])}
            found[str(level)] = {**counts, **reference, **numbers(compared)}
        return {
            "outcome": str(self.levels["columns"][1]),
            "reference": str(self.levels["rows"][0]),
            "groups": found,
        }

    def _stratified(self, strata: Floats, redrawn: Redrawn | None) -> dict[str, object]:
        if self.question.strata is None or np.isnan(strata).any():
            return {}
        if redrawn is not None:
            return {"mantel_haenszel": {**numbers(redrawn.figures[POOLED]), **redrawn.excess_test()}}
        counted = Strata(strata)
        statistic, corrected = counted.test()
        homogeneity, degrees = counted.breslow_day()
        tests = {
            "statistic": statistic,
            "p": chi_squared_p(statistic, 1),
            "corrected_statistic": corrected,
            "corrected_p": chi_squared_p(corrected, 1),
        }
        breslow_day = {"statistic": homogeneity, "p": chi_squared_p(homogeneity, max(degrees, 1))}
        by_stratum = zip(self.levels["strata"], strata, strict=True)
        return {
            "mantel_haenszel": numbers({**counted.pooled(), **tests}),
            "breslow_day": {**numbers(breslow_day), "degrees": degrees},
            "strata_groups": {
                str(level): {"n": int(each.sum()), **numbers(two_groups(each))} for level, each in by_stratum
            },
        }


def _tests(table: Floats, redrawn: Redrawn | None) -> dict[str, object]:
    """Of independence."""
    if redrawn is not None:
        return {"chi_squared": redrawn.distance_test()}
    if np.isnan(table).any():
        return {}  # by the margins a statistic would give the hidden cells away
    test = chi_squared(table)
    if test is None:
        return {}
    told: dict[str, object] = {
        "chi_squared": {
            "statistic": test.statistic,
            "degrees": test.degrees,
            "p": test.p,
            "few": test.few,
        }
    }
    if not np.isnan(test.corrected):
        told["yates"] = {"statistic": test.corrected, "p": test.corrected_p}
    if table.shape == (2, 2):
        told["fisher"] = {"p": fisher_p(table)}
    return told


def _compared(pair: Floats) -> Mapping[str, float]:
    """A group and the first one; nothing where cells of them are hidden."""
    return {} if np.isnan(pair).any() else two_groups(pair)


def whole(counts: Floats) -> object:
    """Counts as a report has them: whole numbers, none of them negative; None where one is hidden."""
    return count_of(counts) if np.ndim(counts) == 0 else [whole(part) for part in counts]


def build(study: Study) -> CrosstabAnalysis:
    """The analysis of `fc.Crosstab(...)`."""
    question = study.analysis
    if not isinstance(question, Crosstab):
        raise StudyError("analysis: not a crosstab")
    kinds = {field: study.cohort.every_column[name] for field, name in question.named.items()}
    levels = {field: kind.levels for field, kind in kinds.items() if isinstance(kind, Categorical)}
    return CrosstabAnalysis(study.cohort, question, levels)

"""Table one: the stages of comparisons, crosstabs and quantiles side by side, and a table of what they show.

All of it is one sum, but for the quartiles of nonnormal numbers, which are looked for in a few more rounds.
No arithmetic is here: means and t-tests are those of `fc.Compare`, counts and chi-squared of `fc.Crosstab`,
medians of `fc.Quantiles`, of whose first counts the rank test is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fedcohort.analyses.cells import CellsStage
from fedcohort.analyses.columns_of import (
    categorical_columns,
    described_columns,
    not_described,
    numeric_columns,
)
from fedcohort.analyses.contract import (
    Analysis,
    Contribution,
    Disclosed,
    Draw,
    Parallel,
    Report,
    Stage,
    State,
    Sums,
)
from fedcohort.analyses.grouped import GroupedStage
from fedcohort.analyses.order_statistics import Grid
from fedcohort.analyses.quantiles.question import Quantiles
from fedcohort.analyses.quantiles.stages import Patients, QuantilesAnalysis
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.table_one.question import QUARTILES, TableOne
from fedcohort.analyses.table_one.table import TableOfSums, overall
from fedcohort.columns import Categorical, Numeric
from fedcohort.disclosure.cells import hidden
from fedcohort.disclosure.rules import OPEN, Disclosure
from fedcohort.disclosure.shown import masked
from fedcohort.disclosure.verdicts import Suppressed, gathered
from fedcohort.errors import StudyError
from fedcohort.study import Cohort, Privacy, Study, missing_bounds
from fedcohort.texts import Text
from fedcohort.vector import Block

FIRST = "first/"
"""Of the first sum, which a state keeps while quartiles are looked for."""


@dataclass(frozen=True)
class KeptStage:
    """Adds nothing, and keeps the sum of the round for the report."""

    name: str = "kept"
    times: int = 1

    @property
    def blocks(self) -> tuple[Block, ...]:
        """None."""
        return ()

    def contribute(self, state: State, rows: Rows, draw: Draw) -> Mapping[str, Contribution]:
        """Nothing."""
        return {}

    def update(self, state: State, sums: Sums) -> State:
        """Beside what other stages keep."""
        kept = {f"{FIRST}{name}": value for name, value in sums.values.items()}
        return replace(state, kept={**state.kept, **kept})


@dataclass(frozen=True)
class TableOneAnalysis(Analysis):
    """All columns by group.

    Attributes:
        levels: of the groups; none where there is one group of all.
        rules: by which quartiles are looked for only where enough patients lie together.
    """

    cohort: Cohort
    question: TableOne
    numeric: dict[str, Numeric]
    categorical: dict[str, Categorical]
    levels: tuple[str | int, ...]
    privacy: Privacy | None = None
    rules: Disclosure = OPEN

    def for_privacy(self, privacy: Privacy) -> "TableOneAnalysis":
        """Sums of scaled values, counts, and a tree of counts for quartiles, all of them noised.

        Raises:
            StudyError: a number has no declared bounds.
        """
        if any(kind.bounds is None for kind in self.numeric.values()):
            missing = missing_bounds(self.cohort)
            raise StudyError(missing or "cohort.label: privacy needs declared bounds")
        return replace(self, privacy=privacy)

    @property
    def n_groups(self) -> int:
        """Of which each patient is in one."""
        return max(1, len(self.levels))

    @cached_property
    def moments(self) -> GroupedStage:
        """Of numbers, nonnormal ones too: their standardised differences are of means."""
        private, ranked = self.privacy is not None, self.quantiles is not None
        return GroupedStage(
            self.cohort, self.numeric, self.question.by, self.n_groups, private, counts_groups=not ranked
        )

    @cached_property
    def tables(self) -> dict[str, CellsStage]:
        """Of levels, those of the groups and of the column together."""
        by = () if self.question.by is None else (self.question.by,)
        groups = () if self.question.by is None else (self.n_groups,)
        return {
            name: CellsStage(
                self.cohort, (*by, name), (*groups, len(kind.levels)), f"levels/{name}", tells_missing=True
            )
            for name, kind in self.categorical.items()
        }

    @cached_property
    def quantiles(self) -> QuantilesAnalysis | None:
        """Of nonnormal numbers; None where there are none."""
        question = self.question
        if not question.nonnormal:
            return None
        numbers = {name: self.numeric[name] for name in question.nonnormal}
        grids = tuple(
            Grid(*(kind.bounds or (0.0, 1.0)), question.grid.get(name)) for name, kind in numbers.items()
        )
        patients = Patients(self.cohort, question.by, self.levels, numbers, grids)
        asked = Quantiles(probabilities=QUARTILES, by=question.by, grid=question.grid)
        exact = QuantilesAnalysis(asked, patients).under(self.rules)
        return exact if self.privacy is None else exact.for_privacy(self.privacy)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """One sum, and the rounds in which quartiles are found."""
        ranked = () if self.quantiles is None else self.quantiles.stages
        together = (*ranked[:1], self.moments, *self.tables.values(), KeptStage())
        return (Parallel("table", 1, together), *ranked[1:])

    def prepare(self, rows: Rows) -> None:
        """Find each patient's place, where there are nonnormal numbers.

        Raises:
            ValueRangeError: without privacy a value lies outside its column's declared bounds.
        """
        if self.quantiles is not None:
            self.quantiles.prepare(rows)

    def under(self, rules: Disclosure) -> "TableOneAnalysis":
        """Quartiles are looked for only where enough patients lie together."""
        return replace(self, rules=rules)

    def objection_at_site(self, state: State, sums: Sums, rows: Rows, rules: Disclosure) -> Text | None:
        """Means and deviations of groups that are those of few."""
        return self.moments.told_alone(sums, rules) if state.round == 0 else None

    def disclosed(self, state: State, rules: Disclosure) -> Disclosed:
        """Groups, moments, cells and quartiles that rest on enough patients, each as in its own analysis."""
        sums = self._first(state)
        values, suppressed = self.moments.shown(sums, rules)
        for name, stage in self.tables.items():
            values[stage.block], hidden_cells = stage.shown(sums, rules)
            totals = stage.table(sums).reshape(-1, stage.shape[-1]).sum(0)
            # A table's totals may be known when its cells are hidden, and so they are shown.
            few = hidden(totals, [np.arange(totals.size)], rules.min_cell)
            values[overall(stage)] = masked(totals, few, rules)
            suppressed += [replace(one, figure=name) for one in hidden_cells]
            suppressed.append(Suppressed(name, "min_cell", int(few.sum())))
        if self.quantiles is not None:
            found = self.quantiles.disclosed(state, rules)
            state, suppressed = found.state, [*suppressed, *found.suppressed]
        kept = {**state.kept, **{f"{FIRST}{name}": value for name, value in values.items()}}
        last = replace(state.sums or Sums({}), values={})  # all that a report reads is kept
        return Disclosed(replace(state, kept=kept, sums=last), gathered(suppressed))

    def _first(self, state: State) -> Sums:
        """The first sum."""
        kept = {
            name.removeprefix(FIRST): value for name, value in state.kept.items() if name.startswith(FIRST)
        }
        return replace(state.sums or Sums({}), values=kept)

    def report(self, state: State) -> Report:
        """The table, by column and group."""
        table = TableOfSums(
            self.question,
            self.levels,
            self.moments,
            self.tables,
            self.categorical,
            self._first(state),
            self._quartiles(state),
            {} if self.quantiles is None else self._grids(self.quantiles),
            self.privacy is not None,
        )
        return {**table.report(), **not_described(self.cohort)}

    def _quartiles(self, state: State) -> Mapping[str, Any]:
        """By column, as `fc.Quantiles` reports them."""
        if self.quantiles is None:
            return {}
        report: Mapping[str, Any] = self.quantiles.report(state)
        columns: Mapping[str, Any] = report["quantiles"]["columns"]
        return columns

    def _grids(self, quantiles: QuantilesAnalysis) -> dict[str, Grid]:
        patients = quantiles.patients
        return dict(zip(patients.numbers, patients.grids, strict=True))


def build(study: Study) -> TableOneAnalysis:
    """The analysis of `fc.TableOne(...)`."""
    question, columns = study.analysis, described_columns(study.cohort)
    if not isinstance(question, TableOne):
        raise StudyError("analysis: not a table one")
    by = columns.get(question.by) if question.by else None
    others = {name: kind for name, kind in columns.items() if name != question.by}
    numeric = numeric_columns(others)
    if set(question.nonnormal) - set(numeric):
        raise StudyError("analysis: a table whose nonnormal columns are not numbers")
    levels = by.levels if isinstance(by, Categorical) else ()
    return TableOneAnalysis(study.cohort, question, numeric, categorical_columns(others), levels)

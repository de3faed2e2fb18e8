"""A regression's question over a cohort whose columns are known: design, outcome, a site's complete rows."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.contract import Contribution
from fedcohort.analyses.design import Design, design_of
from fedcohort.analyses.design_rows import complete, design_rows, scaled, taken
from fedcohort.analyses.glm.families import COUNTS, FAMILIES, Family
from fedcohort.analyses.glm.newton import Scaling
from fedcohort.analyses.glm.question import GLM
from fedcohort.analyses.glm.sums import Rows as Complete
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.told_by_design import ToldByDesign
from fedcohort.columns import Categorical
from fedcohort.errors import StudyError
from fedcohort.study import Cohort

Floats = NDArray[np.float64]
COMPLETE = "complete rows of a regression"


@dataclass(frozen=True, eq=False)
class Regression:
    """What is asked, resolved.

    Attributes:
        offset: a design whose last column it is.
    """

    cohort: Cohort
    question: GLM
    design: Design
    offset: Design | None
    family: Family

    @property
    def penalised(self) -> bool:
        """Whether the question could be asked with a ridge or Firth's penalty."""
        return True

    @property
    def p(self) -> int:
        """Columns of the design."""
        return len(self.design.columns)

    @property
    def has_free_intercept(self) -> bool:
        """Whether all hospitals have one intercept."""
        return self.design.has_intercept and self.question.site != "fixed"

    @property
    def q(self) -> int:
        """Coefficients that are fitted together: under fixed effects each hospital has its own intercept."""
        return self.p - (self.question.site == "fixed")

    @property
    def n_null(self) -> int:
        """Coefficients of the model without columns."""
        return int(self.has_free_intercept)

    @property
    def n_dispersions(self) -> int:
        """Parameters beside the coefficients: log(alpha), or the deviation of hospitals' intercepts."""
        is_random = self.question.site == "random" and not self.is_mixed
        return int(self.family.name == "negative_binomial" or is_random)

    @property
    def is_mixed(self) -> bool:
        """Whether it is a linear regression with a random intercept."""
        return self.question.site == "random" and self.family.name == "gaussian"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the coefficients."""
        return self.design.names[self.p - self.q :]

    @property
    def indicator_names(self) -> dict[int, str]:
        """Names of the columns of zeros and ones, by place."""
        return {
            place: self.design.names[place]
            for place, column in enumerate(self.design.columns)
            if column.parts and self.design.is_indicator(column)
        }

    @property
    def pearson(self) -> bool:
        """Whether Pearson's chi-squared is asked for: of a model whose rows each have a variance."""
        return self.question.site != "random" and not self.question.firth

    @property
    def meat(self) -> bool:
        """Whether the sandwich is asked for."""
        return self.question.se != "model"

    def penalty(self, scaling: Scaling) -> Floats:
        """(q,), or one more: the ridge of each standardised coefficient; none of an intercept or alpha."""
        penalty = np.full(self.q + self.n_dispersions, self.question.ridge)
        if self.has_free_intercept:
            penalty[0] = 0.0
        penalty[self.q :] = 0.0
        return penalty

    def reported(self, scaling: Scaling) -> Scaling:
        """Of the coefficients that are reported."""
        left_out = self.p - self.q
        return Scaling(scaling.centre[left_out:], scaling.scale[left_out:], self.has_free_intercept)

    @cached_property
    def told(self) -> ToldByDesign:
        """What its columns tell of single patients."""
        question, kinds = self.question, self.cohort.every_column
        others = [] if isinstance(kinds[question.outcome], Categorical) else [question.outcome]
        others += [] if question.weights is None else [question.weights]
        others += [] if question.offset is None else [str(question.offset.terms[0])]
        return ToldByDesign(self.cohort, self.design, tuple(others))

    def told_sums(self, ours: Complete) -> dict[str, Contribution]:
        """Of complete rows."""
        is_level = isinstance(self.cohort.every_column[self.question.outcome], Categorical)
        others = [None if is_level else ours.y, ours.weights, ours.offset]
        given = [each for each in others if each is not None]
        cells = np.zeros((len(ours.y), 0), np.int64) if ours.cells is None else ours.cells
        if ours.weights is None or np.all(ours.weights):
            return self.told.contribute(ours.x, cells, ours.y > 0, given)
        # A row whose weight is 0 hides no other.
        there = ours.weights > 0
        given = [each[there] for each in given]
        return self.told.contribute(
            taken(ours.x, np.flatnonzero(there)), cells[there], ours.y[there] > 0, given
        )

    def complete(self, rows: Rows) -> tuple[Complete, int, int]:
        """A site's complete rows as they stand, how many lack a value, and of how many patients they are."""
        return rows.once(COMPLETE, lambda: self._complete(rows))

    def _complete(self, rows: Rows) -> tuple[Complete, int, int]:
        table = rows.table
        x = design_rows(self.design, table, self.cohort)
        y = values_of(table, self.cohort, self.question.outcome).astype(np.float64)
        there = np.isfinite(y) & complete(x)
        if self.family.name in COUNTS:
            there &= np.nan_to_num(y) >= 0
        offset = weights = None
        if self.offset is not None:
            offset = self.offset.matrix(table, self.cohort)[:, -1]
            there &= np.isfinite(offset)
        if self.question.weights is not None:
            weights = values_of(table, self.cohort, self.question.weights)
            there &= np.isfinite(weights) & (np.nan_to_num(weights) >= 0)
        n_missing, cells = int(len(y) - there.sum()), self.told.cells_of(table)
        n_patients = n_patients_of(table.patient_ids[there] if n_missing else table.patient_ids)
        if n_missing:
            x, y, cells = taken(x, np.flatnonzero(there)), y[there], cells[there]
            offset = None if offset is None else offset[there]
            weights = None if weights is None else weights[there]
        return Complete(x, y, offset, weights, cells), n_missing, n_patients

    def standardised(self, rows: Rows, scaling: Scaling) -> Complete:
        """Complete rows in standardised columns, made once for a scaling."""

        def make() -> Complete:
            ours = self.complete(rows)[0]
            # Held once: the rows as they stand are not needed any more.
            rows.made.pop(COMPLETE)
            return replace(ours, x=scaled(ours.x, scaling.centre, scaling.scale))

        return rows.latest("standardised", scaling.centre.tobytes() + scaling.scale.tobytes(), make)


def n_patients_of(ids: NDArray[np.str_]) -> int:
    """Distinct patients; a source sorts them, and then changes are counted."""
    if not len(ids):
        return 0
    changes = ids[1:] != ids[:-1]
    if np.all(ids[1:] >= ids[:-1]):
        return 1 + int(changes.sum())
    return len(np.unique(ids))


def regression_of(cohort: Cohort, question: GLM) -> Regression:
    """Resolve a question.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    try:
        design = design_of(cohort, question.formula)
        offset = None if question.offset is None else design_of(cohort, question.offset)
    except ValueError as error:
        raise StudyError("analysis.{name}: {why}", name="formula", why=error.args[0]) from None
    return Regression(cohort, question, design, offset, FAMILIES[question.family_of(cohort.every_column)])

"""The regression of the treatment, over rows of which the outcome is known, too."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fedcohort.analyses.columns_of import values_of
from fedcohort.analyses.glm.newton import Scaling
from fedcohort.analyses.glm.question import GLM
from fedcohort.analyses.glm.regression import Regression, regression_of
from fedcohort.analyses.glm.sums import Rows as Complete
from fedcohort.analyses.rows import Rows
from fedcohort.analyses.weighting.question import Weighting
from fedcohort.analyses.weighting.weights import Treated
from fedcohort.columns import Categorical
from fedcohort.study import Cohort
from fedcohort.table import Table

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Propensity(Regression):
    """A logistic regression of who is treated.

    Attributes:
        asked: what it is for.
    """

    asked: Weighting

    @property
    def penalised(self) -> bool:
        """A penalty would bias the weights; none is offered."""
        return False

    @property
    def is_share(self) -> bool:
        """Whether the outcome is a yes or no."""
        return isinstance(self.cohort.every_column[self.asked.outcome], Categorical)

    @property
    def indicators(self) -> NDArray[np.bool_]:
        """(p,): columns of zeros and ones, the intercept not among them."""
        columns = self.design.columns
        return np.array([bool(each.parts) and self.design.is_indicator(each) for each in columns])

    def _complete(self, rows: Rows) -> tuple[Complete, int, int]:
        """Of rows whose outcome is known; how many lack a value, and of how many patients the others are."""
        table = self._known(rows.table)
        ours, missing, patients = super()._complete(replace(rows, table=table, made={}))
        return ours, missing + rows.table.n_rows - table.n_rows, patients

    def treated(self, rows: Rows, scaling: Scaling) -> Treated:
        """Complete rows in standardised columns, with their outcome."""
        ours = self.standardised(rows, scaling)

        def outcome() -> Floats:
            table = self._known(rows.table)
            parts = (
                self.design.matrix(table, self.cohort),
                values_of(table, self.cohort, self.asked.treated),
            )
            there = np.isfinite(parts[0]).all(1) & np.isfinite(parts[1])
            return values_of(table, self.cohort, self.asked.outcome)[there]

        return Treated(ours.x, ours.y, rows.once("weighting/outcome", outcome))

    def _known(self, table: Table) -> Table:
        """Rows whose outcome is known."""
        there = np.isfinite(values_of(table, self.cohort, self.asked.outcome))
        if there.all():
            return table
        label, event = (None if one is None else one[there] for one in (table.label, table.event))
        columns = {name: values[there] for name, values in table.columns.items()}
        return Table(table.patient_ids[there], columns, table.split[there], label, event)


def propensity_of(cohort: Cohort, asked: Weighting) -> Propensity:
    """Resolve a question.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    found = regression_of(cohort, GLM(formula=asked.formula, family="binomial", rounds=asked.rounds))
    return Propensity(found.cohort, found.question, found.design, found.offset, found.family, asked)

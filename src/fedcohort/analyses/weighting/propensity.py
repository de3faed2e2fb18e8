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
    def pearson(self) -> bool:
        """How well scores fit is judged by balance."""
        return False

    @property
    def is_share(self) -> bool:
        """Whether the outcome is a yes or no, such as an event."""
        return isinstance(self.cohort.every_column[self.asked.read], Categorical)

    @property
    def indicators(self) -> NDArray[np.bool_]:
        """(p,): columns of zeros and ones, the intercept not among them."""
        columns = self.design.columns
        return np.array([bool(each.parts) and self.design.is_indicator(each) for each in columns])

    def _complete(self, rows: Rows) -> tuple[Complete, int, int]:
        """Of rows whose outcome is known; how many lack a value, and of how many patients the others are."""
        chosen, table = self._known(rows)
        n_asked = rows.table.n_rows if self.asked.survival is None else len(rows.patients("all"))
        ours, missing, patients = super()._complete(replace(rows, table=table, made={}))
        return ours, missing + n_asked - len(chosen), patients

    def treated(self, rows: Rows, scaling: Scaling) -> Treated:
        """Complete rows in standardised columns, with their outcome."""
        ours = self.standardised(rows, scaling)

        def outcome() -> tuple[Floats, Floats | None]:
            table = self._known(rows)[1]
            x = self.design.matrix(table, self.cohort)
            there = np.isfinite(x).all(1) & np.isfinite(values_of(table, self.cohort, self.asked.treated))
            y = values_of(table, self.cohort, self.asked.read)[there]
            if self.asked.survival is None:
                return y, None
            return np.minimum(y, 1.0), values_of(table, self.cohort, self.asked.survival.time)[there]

        return Treated(ours.x[:], ours.y, *rows.once("weighting/outcome", outcome))

    def _known(self, rows: Rows) -> tuple[NDArray[np.int64], Table]:
        """Rows whose outcome is known, one a patient where it is survival; their places, and their table."""
        table, survival = rows.table, self.asked.survival
        there = np.isfinite(values_of(table, self.cohort, self.asked.read))
        if survival is not None:
            there &= values_of(table, self.cohort, survival.time) >= 0
            first = np.zeros(table.n_rows, np.bool_)
            first[rows.patients("all")] = True
            there &= first
        chosen = np.flatnonzero(there)
        if there.all():
            return chosen, table
        label, event = (None if one is None else one[there] for one in (table.label, table.event))
        columns = {name: values[there] for name, values in table.columns.items()}
        return chosen, Table(table.patient_ids[there], columns, table.split[there], label, event)


def propensity_of(cohort: Cohort, asked: Weighting) -> Propensity:
    """Resolve a question.

    Raises:
        StudyError: the formula cannot be computed from the cohort's columns.
    """
    found = regression_of(cohort, GLM(formula=asked.formula, family="binomial", rounds=asked.rounds))
    return Propensity(found.cohort, found.question, found.design, found.offset, found.family, asked)

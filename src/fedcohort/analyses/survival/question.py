"""The words of `fc.KaplanMeier(...)`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.columns import Categorical, Identifier, Real, Survival
from fedcohort.questions import Privacy, Question, one_row_a_patient

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_CELLS = 100_000
Times = Annotated[Sequence[Annotated[Real, Field(gt=0)]], AfterValidator(tuple)]


class KaplanMeier(Question):
    """Survival over time by group (Kaplan and Meier 1958), numbers at risk, median and the log-rank test.

    Times count as the next of `grid`, which ends the observation: with the days or months in which times are
    written the curve is exactly that of all hospitals' patients together. Under privacy a coarser grid, of
    about 20 places, leaves less noise. `by` is a column of levels; `at` are times that tables show. A patient
    counts with one row. The cohort's label is `fc.Survival(time, event)`.
    """

    kind: Literal["survival"] = "survival"
    grid: Annotated[Times, Field(min_length=1, max_length=10_000)]
    by: Identifier | None = None
    at: Annotated[Times, Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(after <= before for before, after in pairwise(self.grid)):
            raise ValueError("grid: write times in order, each once, such as [30, 60, 90]")
        if any(time > self.grid[-1] for time in self.at):
            raise ValueError(
                f"at: a time beyond {self.grid[-1]:g}, the grid's last; let the grid reach farther"
            )
        return self

    def check(self, study: "Study") -> None:
        """A survival label, and groups that are levels.

        Raises:
            ValueError: names the field.
        """
        cohort = study.cohort
        if not isinstance(cohort.label, Survival):
            raise ValueError("cohort.label: survival needs fc.Survival(time, event)")
        if self.by is None:
            return
        if self.by not in cohort.schema_:
            raise ValueError(f"analysis.by: {self.by} is not among the cohort's columns; name it there, too")
        kind = cohort.schema_[self.by]
        if cohort.is_explicit and not isinstance(kind, Categorical):
            raise ValueError(f"analysis.by: {self.by} has no levels; name a categorical column")
        if isinstance(kind, Categorical) and len(kind.levels) * len(self.grid) > MOST_CELLS:
            raise ValueError(f"analysis.grid: times and levels make over {MOST_CELLS:,} cells; name fewer")

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """The grid's last time bounds the time of survival.

        Raises:
            ValueError: privacy says what a survival curve does not heed.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)

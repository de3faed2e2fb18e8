"""The words of `fc.KaplanMeier(...)`."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.columns import Identifier, Real, Survival
from fedcohort.questions import Privacy, Question, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_CELLS = 100_000
Times = Annotated[Sequence[Annotated[Real, Field(gt=0)]], AfterValidator(tuple)]


class KaplanMeier(Question):
    """Survival over time by group (Kaplan and Meier 1958), numbers at risk, median and the log-rank test.

    Times count as the next of `grid`, which ends the observation: with the days or months in which times are
    written the curve is exactly that of all hospitals' patients together. Under privacy a coarser grid, of
    about 20 places, leaves less noise. `by` is a column of levels; `at` are times that tables show. `strata`
    is a column of levels within which the log-rank test compares groups. A patient counts with one row. The
    cohort's label is `fc.Survival(time, event)`.
    """

    kind: Literal["survival"] = "survival"
    grid: Annotated[Times, Field(min_length=1, max_length=10_000)]
    by: Identifier | None = None
    at: Annotated[Times, Field(max_length=20)] = ()
    # Left out of the hash at its default, so that a study of an earlier version keeps its hash.
    strata: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)

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
        if not isinstance(study.cohort.label, Survival):
            raise ValueError("cohort.label: survival needs fc.Survival(time, event)")
        if self.strata is not None and self.by in (None, self.strata):
            raise ValueError(
                say("analysis.strata: the test compares groups within strata; name another column as `by`")
            )
        cells = len(self.grid)
        for field, name in (("by", self.by), ("strata", self.strata)):
            if name is not None:
                cells *= len(levels_of(study, field, name) or (None,))
        if cells > MOST_CELLS:
            raise ValueError(f"analysis.grid: times and levels make over {MOST_CELLS:,} cells; name fewer")

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """The grid's last time bounds the time of survival.

        Raises:
            ValueError: privacy says what a survival curve does not heed.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)

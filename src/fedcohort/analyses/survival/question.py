"""The words of `fc.KaplanMeier(...)`."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedcohort.analyses.grids import Grid, ShownTimes, check_cells, check_in_order
from fedcohort.columns import Identifier, Survival
from fedcohort.questions import Privacy, Question, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study


class KaplanMeier(Question):
    """Survival over time by group (Kaplan and Meier 1958), numbers at risk, median and the log-rank test.

    Times count as the next of `grid`, which ends the observation: with the days or months in which times are
    written the curve is exactly that of all hospitals' patients together. Under privacy a coarser grid, of
    about 20 places, leaves less noise. `by` is a column of levels; `at` are times that tables show. `strata`
    is a column of levels within which the log-rank test compares groups. A patient counts with one row. The
    cohort's label is `fc.Survival(time, event)`; of competing causes each is the event.
    """

    kind: Literal["survival"] = "survival"
    tells_causes: ClassVar[bool] = True
    grid: Grid
    by: Identifier | None = None
    at: ShownTimes = ()
    # Left out of the hash at its default, so that a study of an earlier version keeps its hash.
    strata: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        check_in_order(self.grid, self.at)
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
        check_cells(study, self.grid, {"by": self.by, "strata": self.strata})

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """The grid's last time bounds the time of survival.

        Raises:
            ValueError: privacy says what a survival curve does not heed.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)

"""The words of `fc.CumulativeIncidence(...)`."""

from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from fedcohort.analyses.grids import Grid, ShownTimes, check_cells, check_in_order
from fedcohort.columns import Identifier, Survival
from fedcohort.questions import Privacy, Question, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study


class CumulativeIncidence(Question):
    """Share of patients who have had each competing event (Aalen and Johansen 1978), and Gray's test.

    Times count as the next of `grid`, which ends the observation. `by` is a column of levels; `at` are times
    that tables show. A patient counts with one row. The cohort's label is
    `fc.Survival(time, event, causes=(1, 2))`: the first event that befalls a patient stands in its column.
    """

    kind: Literal["incidence"] = "incidence"
    tells_causes: ClassVar[bool] = True
    grid: Grid
    by: Identifier | None = None
    at: ShownTimes = ()

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        check_in_order(self.grid, self.at)
        return self

    def check(self, study: "Study") -> None:
        """A label of competing causes, and groups that are levels.

        Raises:
            ValueError: names the field.
        """
        label = study.cohort.label
        if not isinstance(label, Survival) or not label.causes:
            raise ValueError(
                say("cohort.label: incidence needs causes, such as fc.Survival(time, event, causes=(1, 2))")
            )
        check_cells(study, self.grid, {"by": self.by}, each=len(label.events))

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """The grid's last time bounds the time.

        Raises:
            ValueError: privacy says what cumulative incidence does not heed.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)

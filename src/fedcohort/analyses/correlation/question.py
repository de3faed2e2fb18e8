"""The words of `fc.Correlation(...)`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from fedcohort.analyses.declared_numbers import check_bounds, check_grid, numbers_of
from fedcohort.columns import Identifier, Real
from fedcohort.questions import Privacy, Question, kind_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_COLUMNS = 60
MOST_PLACES = 2.0**16
"""Of a grid, on which ranks are counted."""


class Correlation(Question):
    """Correlations between the cohort's numbers, with intervals and p-values, of patients who have them all.

    `method` is `"pearson"`, or `"spearman"`, which is of ranks: on the column's `grid`, the step in which its
    values are recorded, such as `{"age": 1.0}`, or else in 4,096 parts of its declared bounds. `pca` asks for
    so many principal components of the matrix. A patient counts with one row.
    """

    kind: Literal["correlation"] = "correlation"
    tells_causes: ClassVar[bool] = True
    method: Literal["pearson", "spearman"] = "pearson"
    pca: Annotated[int, Field(strict=True, ge=1, le=MOST_COLUMNS)] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )
    grid: Annotated[Mapping[Identifier, Annotated[Real, Field(gt=0)]], AfterValidator(dict)] = Field(
        default_factory=dict
    )

    def check(self, study: "Study") -> None:
        """Two numbers or more; of ranks, with bounds and a grid that fits them.

        Raises:
            ValueError: names the field.
        """
        if self.grid and self.method == "pearson":
            raise ValueError('analysis.grid: ranks are of a grid; leave it out, or take method = "spearman"')
        for name in self.grid:
            kind_of(study, "grid", name)
        if not study.cohort.is_explicit:
            return
        numbers = numbers_of(study.cohort)
        if len(numbers) < 2:
            raise ValueError(
                "cohort.columns: a correlation is of two numbers; name two numeric columns or more"
            )
        if len(numbers) > MOST_COLUMNS:
            raise ValueError(
                say("cohort.columns: correlations of over {most} numbers; name fewer", most=MOST_COLUMNS)
            )
        if self.pca is not None and self.pca > len(numbers):
            raise ValueError(
                say(
                    "analysis.pca: {asked} components of {n} numbers; ask for no more than there are numbers",
                    asked=self.pca,
                    n=len(numbers),
                )
            )
        if self.method == "spearman":
            check_bounds(self.kind, numbers)
            check_grid(self.grid, numbers, MOST_PLACES)

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """A patient counts with one row.

        Raises:
            ValueError: privacy says what is not heeded.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)

"""The words of `fc.Quantiles(...)`."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.analyses.declared_numbers import check_bounds, check_grid, numbers_of
from fedcohort.columns import Identifier, Real
from fedcohort.questions import Privacy, Question, kind_of, levels_of, one_row_a_patient

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_FIGURES = 2_000
MOST_PLACES = 2.0**46
"""Of a grid; more are finer than what a column without one is looked at."""
Probability = Annotated[Real, Field(gt=0, lt=1)]


class Quantiles(Question):
    """Medians, quartiles and other quantiles of the cohort's numbers, together and by group.

    `probabilities` are the shares of patients below each. `by` is a column of levels, or the label. `grid`
    says in which steps a column's values are recorded, such as `{"age": 1.0}`: fewer rounds are needed then,
    and of a coarse grid private quantiles are its own values. A patient counts with one row, and numbers need
    declared bounds.
    """

    kind: Literal["quantiles"] = "quantiles"
    tells_causes: ClassVar[bool] = True
    probabilities: Annotated[
        Sequence[Probability], AfterValidator(tuple), Field(min_length=1, max_length=99)
    ] = (0.25, 0.5, 0.75)
    by: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)
    grid: Annotated[Mapping[Identifier, Annotated[Real, Field(gt=0)]], AfterValidator(dict)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if any(after <= before for before, after in pairwise(self.probabilities)):
            raise ValueError("probabilities: write them in order, each once, such as [0.25, 0.5, 0.75]")
        return self

    def check(self, study: "Study") -> None:
        """Numbers with bounds and a grid that fits them, and groups that are levels.

        Raises:
            ValueError: names the field.
        """
        cohort = study.cohort
        groups = () if self.by is None else levels_of(study, "by", self.by) or ()
        for name in self.grid:
            kind_of(study, "grid", name)
        if not cohort.is_explicit:
            return
        numbers = numbers_of(cohort)
        if not numbers:
            raise ValueError("cohort.columns: quantiles are of numbers; name a numeric column")
        check_bounds(self.kind, numbers)
        check_grid(self.grid, numbers, MOST_PLACES)
        if len(numbers) * (len(groups) + 1) * len(self.probabilities) > MOST_FIGURES:
            raise ValueError(
                f"analysis: columns, levels and probabilities make over {MOST_FIGURES:,} figures; name fewer"
            )

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """One release, of a patient with one row.

        Raises:
            ValueError: privacy or the question says what is not heeded.
        """
        self.refuse_steps(privacy)
        one_row_a_patient(self.kind, privacy)

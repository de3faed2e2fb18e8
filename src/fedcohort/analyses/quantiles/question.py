"""The words of `fc.Quantiles(...)`."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.columns import Identifier, Number, Numeric, Real
from fedcohort.questions import Privacy, Question, kind_of, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Cohort, Study

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
        _check_bounds(numbers)
        _check_grid(self.grid, numbers)
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


def numbers_of(cohort: "Cohort") -> dict[str, Numeric]:
    """The cohort's numeric columns, a label that is a number among them; a time of survival is none."""
    numbers = {name: kind for name, kind in cohort.schema_.items() if isinstance(kind, Numeric)}
    match cohort.typed_label:
        case Number(column=name, low=low, high=high, unit=unit):
            numbers[name] = Numeric(low, high, unit=unit)
    return numbers


def _check_bounds(numbers: Mapping[str, Numeric]) -> None:
    names = [name for name, kind in numbers.items() if kind.bounds is None]
    if names:
        raise ValueError(
            say(
                "cohort.bounds: quantiles are looked for within declared bounds, and {names} has none; "
                "declare them, such as the clinical range",
                names=", ".join(names),
            )
        )


def _check_grid(grid: Mapping[str, float], numbers: Mapping[str, Numeric]) -> None:
    for name, step in grid.items():
        bounds = numbers[name].bounds if name in numbers else None
        if bounds is None:
            raise ValueError(say("analysis.grid: {name} is not a number; leave it out", name=name))
        places = (bounds[1] - bounds[0]) / step
        if not 1 <= places <= MOST_PLACES:
            raise ValueError(
                say(
                    "analysis.grid: {name}: a step of {step:g} does not fit its bounds; write the step in "
                    "which values are recorded, such as {width:g}",
                    name=name,
                    step=step,
                    width=(bounds[1] - bounds[0]) / 100,
                )
            )

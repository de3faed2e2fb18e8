"""The words of `fc.Compare(...)`."""

import math
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fedcohort.columns import Frozen, Identifier, Numeric, Real
from fedcohort.questions import Privacy, Question, kind_of, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_CELLS = 100_000


class Compare(Question):
    """A number between groups: means with Welch's and Student's t and analysis of variance, and rank tests.

    `by` is a column of levels, or the label; each group is compared with the first. Rank tests (Mann-Whitney,
    Kruskal-Wallis) count values: with `grid`, the step in which values are recorded, such as 1 of years or
    0.1 of kilograms, they are exact; without, values of one part in 1,024 of the declared bounds count as
    equal, and the report tells how far that may be off. Without declared bounds there are none. A patient
    counts with one row.
    """

    kind: Literal["compare"] = "compare"
    tells_causes: ClassVar[bool] = True
    column: Identifier
    by: Identifier
    # Left out where there is none: TOML has no word for None.
    grid: Annotated[Real, Field(gt=0)] | None = Field(default=None, exclude_if=lambda value: value is None)

    def __init__(self, column: str = "", by: str = "", **extra: object) -> None:
        named = {"column": column, "by": by}
        Frozen.__init__(self, **{name: value for name, value in named.items() if value}, **extra)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if self.column == self.by:
            raise ValueError("by: this is the column itself; name the column that says the group")
        return self

    def check(self, study: "Study") -> None:
        """A number and groups that are levels; a grid within bounds.

        Raises:
            ValueError: names the field.
        """
        levels = levels_of(study, "by", self.by)
        kind = kind_of(study, "column", self.column)
        if kind is None:
            return
        if not isinstance(kind, Numeric):
            raise ValueError(
                say("analysis.column: {name} is not a number; take fc.Crosstab for levels", name=self.column)
            )
        if self.grid is not None:
            check_grid("analysis.grid", self.column, kind, self.grid, len(levels or ()) or 1)

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Declared bounds, which every private study needs, bound what a patient adds.

        Raises:
            ValueError: privacy says what sums do not heed.
        """
        super().check_private(study, privacy)
        one_row_a_patient(self.kind, privacy)


def check_grid(field: str, name: str, kind: Numeric, step: float, n_groups: int) -> None:
    """A grid of few enough values for each group to be counted by them.

    Raises:
        ValueError: names the field.
    """
    if kind.bounds is None:
        raise ValueError(
            say(
                "{field}: {name} has no declared bounds, within which a grid lies; declare them",
                field=field,
                name=name,
            )
        )
    low, high = kind.bounds
    if math.isfinite((high - low) / step) and n_groups * (high - low) / step < MOST_CELLS:
        return
    raise ValueError(
        say(
            "{field}: {name} has over {most:,} cells in steps of {step:g}; take wider steps, or narrower "
            "bounds",
            field=field,
            name=name,
            most=MOST_CELLS,
            step=step,
        )
    )

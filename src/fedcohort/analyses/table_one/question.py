"""The words of `fc.TableOne(...)`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fedcohort.analyses.declared_numbers import check_bounds, check_grid
from fedcohort.analyses.quantiles.question import MOST_FIGURES, MOST_PLACES
from fedcohort.columns import Identifier, Image, Numeric, Real
from fedcohort.questions import Privacy, Question, kind_of, levels_of, one_row_a_patient
from fedcohort.texts import say

if TYPE_CHECKING:
    from fedcohort.study import Study

MOST_GROUPS = 20
"""A table has a column for each."""
QUARTILES = (0.25, 0.5, 0.75)


class TableOne(Question):
    """The patients in one table: of each column and group how many are known, mean and deviation or levels.

    All of the cohort's columns and its label are in it. `by` is a column of levels, or the label; without it
    there is one group. Of `nonnormal` numbers come median and quartiles, and a rank test; they need declared
    bounds, and `grid` says in which steps they are recorded, as of `fc.Quantiles`. With `tests` each column
    has a p-value: Welch's t of two groups, analysis of variance of more, Kruskal-Wallis of nonnormal numbers,
    and of levels chi-squared, or Fisher's exact test of two by two where fewer than 5 patients are expected
    in a cell. With `smd` each two groups have a standardised mean difference. A patient counts with one row.
    """

    kind: Literal["table_one"] = "table_one"
    tells_causes: ClassVar[bool] = True
    # Left out where there is none: TOML has no word for None.
    by: Identifier | None = Field(default=None, exclude_if=lambda value: value is None)
    nonnormal: Annotated[Sequence[Identifier], AfterValidator(tuple)] = ()
    tests: Annotated[bool, Field(strict=True)] = True
    smd: Annotated[bool, Field(strict=True)] = True
    grid: Annotated[Mapping[Identifier, Annotated[Real, Field(gt=0)]], AfterValidator(dict)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.nonnormal)) < len(self.nonnormal):
            raise ValueError("nonnormal: a column is named twice; name it once")
        if unknown := sorted(set(self.grid) - set(self.nonnormal)):
            raise ValueError(
                say("grid: {names} is not among nonnormal; name it there, too", names=", ".join(unknown))
            )
        return self

    def check(self, study: "Study") -> None:
        """Groups that are few levels, and nonnormal numbers with bounds.

        Raises:
            ValueError: names the field.
        """
        groups = None if self.by is None else levels_of(study, "by", self.by)
        if groups is not None and len(groups) > MOST_GROUPS:
            raise ValueError(
                say(
                    "analysis.by: {name} has {n} levels, and the table a column for each; name a column of "
                    "{most} levels or fewer",
                    name=self.by,
                    n=len(groups),
                    most=MOST_GROUPS,
                )
            )
        kinds = {name: kind_of(study, "nonnormal", name) for name in self.nonnormal}
        numbers = {name: kind for name, kind in kinds.items() if isinstance(kind, Numeric)}
        if others := sorted(name for name, kind in kinds.items() if kind and name not in numbers):
            raise ValueError(
                say("analysis.nonnormal: {names} is not a number; leave it out", names=", ".join(others))
            )
        if study.cohort.is_explicit:
            check_bounds(self.kind, numbers)
            check_grid(self.grid, numbers, MOST_PLACES)
        n_groups = 1 + len(groups or ())
        if len(self.nonnormal) * n_groups * len(QUARTILES) > MOST_FIGURES:
            raise ValueError(
                say(
                    "analysis.nonnormal: columns and levels make over {most:,} quartiles; name fewer columns",
                    most=MOST_FIGURES,
                )
            )
        columns = study.cohort.every_column
        if all(isinstance(kind, Image) or name == self.by for name, kind in columns.items()):
            raise ValueError("cohort.columns: a table needs a column beside `by`; name a number or levels")

    def check_private(self, study: "Study", privacy: Privacy) -> None:
        """Declared bounds, which every private study needs, bound what a patient adds.

        Raises:
            ValueError: privacy says what sums do not heed.
        """
        super().check_private(study, privacy)
        one_row_a_patient(self.kind, privacy)
